"""Where is a crack wide? A photo with its centre lines coloured by width, the widest place marked.

Lines of what is too wide for a crack, and in no sum, are grey. The legend is below the picture.
"""

import itertools
import math

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from unet_resnet.measure.widths import Measurement, class_names, class_of

# Narrow to wide. Lightness rises, so that it reads with every colour vision and in grey; even the
# darkest colour has a contrast above 4.5 with the casing, which sets it off from pale concrete.
RAMP = ((90, 140, 240), (255, 130, 190), (255, 180, 80), (250, 250, 60))
DARK, LIGHT, GREY = (20, 20, 20), (255, 255, 255), (150, 150, 150)
NUMBERED = 20  # of the longest cracks; more numbers would hide the photo

Box = tuple[float, float, float, float]  # left, top, right, bottom


def colours(share: np.ndarray) -> np.ndarray:
    """(n,) in 0..1 -> (n, 3) uint8 along the ramp."""
    at = np.linspace(0, 1, len(RAMP))
    channels = [np.interp(share, at, channel) for channel in zip(*RAMP)]
    return np.stack(channels, 1).round().astype(np.uint8)


def figures(value: float) -> str:
    """Three figures: 0, 0.125, 1.25, 12.5, 125, 1250."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


class Scale:
    """A colour for each class of width; without classes, for each fifth of the range of widths."""

    def __init__(self, found: Measurement) -> None:
        self.unit, self.factor = ("mm", found.mm_per_pixel) if found.mm_per_pixel else ("px", 1.0)
        lines = found.lines_of(wide=False) or found.lines_of(wide=True)
        widths = np.concatenate([line[:, 2] for line in lines]) * self.factor
        fifths = np.linspace(widths.min(), widths.max(), 6)[1:-1]
        self.limits = found.width_classes or np.unique(fifths).tolist()

    def colours(self, width: np.ndarray) -> np.ndarray:
        """Widths (n,) in pixels -> (n, 3) uint8."""
        limits = np.divide(self.limits, self.factor)
        return colours(class_of(width, limits) / len(limits))

    def text(self, pixels: float) -> str:
        return f"{figures(pixels * self.factor)} {self.unit}"

    def legend(self, class_lengths: tuple[float, ...]) -> dict[str, tuple[int, ...]]:
        """Texts and their colours, the narrowest first."""
        limits = [float(figures(limit)) for limit in self.limits]
        names = [f"{name} {self.unit}".replace("_", " ") for name in class_names(limits)]
        for i, length in enumerate(class_lengths):
            names[i] += f": {self.text(length)} long"
        return dict(zip(names, map(tuple, colours(np.linspace(0, 1, len(names))).tolist())))


def circle(x: float, y: float, radius: float) -> Box:
    return x - radius, y - radius, x + radius, y + radius


def overlap(one: Box, other: Box) -> bool:
    return (one[0] < other[2] and other[0] < one[2]
            and one[1] < other[3] and other[1] < one[3])


def draw_lines(canvas: ImageDraw.ImageDraw, lines: list[np.ndarray], radius: float,
               scale: Scale | None) -> None:
    """Lines (n, 3) of x, y and width, on a dark casing; grey without a scale."""
    step = max(1, int(radius))  # so that discs overlap by half
    points = np.concatenate([np.empty((0, 3)), *(line[::step] for line in lines)])
    for x, y, _ in points.tolist():
        canvas.ellipse(circle(x, y, radius + max(1, radius / 2)), fill=DARK)
    fills = scale.colours(points[:, 2]).tolist() if scale else itertools.repeat(GREY)
    for (x, y, _), fill in zip(points.tolist(), fills):
        canvas.ellipse(circle(x, y, radius), fill=tuple(fill))


def draw_labels(canvas: ImageDraw.ImageDraw, labels: list[tuple[float, float, float, str]],
                font: ImageFont.FreeTypeFont) -> None:
    """Texts, each beside the circle of a mark (x, y, radius); one without room is left out."""
    taken = [circle(x, y, radius) for x, y, radius, _ in labels]
    for x, y, radius, text in labels:
        half = (font.getlength(text) + font.size / 2) / 2, 0.7 * font.size
        # Corners first: a horizontal or vertical crack stays visible.
        for far, down, across in itertools.product((1, 2, 3), (-1, 1, 0), (1, -1, 0)):
            centre = x + across * (far * radius + half[0]), y + down * (far * radius + half[1])
            box = *np.subtract(centre, half).tolist(), *np.add(centre, half).tolist()
            inside = min(box) >= 0 and box[2] <= canvas.im.size[0] and box[3] <= canvas.im.size[1]
            if inside and not any(overlap(box, other) for other in taken):
                taken.append(box)
                canvas.rectangle(box, fill=DARK)
                canvas.text(centre, text, LIGHT, font, "mm")
                break


def add_legend(image: Image.Image, found: Measurement, scale: Scale, font: ImageFont.FreeTypeFont
               ) -> Image.Image:
    """The picture with the sums and the meaning of the colours below it, widened where needed."""
    count, em, entries = len(found.cracks) - found.wide, font.size, {}
    title = f"{count} crack{'s' if count != 1 else ''}"
    if count:
        entries = scale.legend(found.total.class_lengths)
        title += (f", {scale.text(found.total.length)} long, up to "
                  f"{scale.text(found.total.width_max)} wide. Width:")
    if found.wide:
        entries[f"wide, not counted: {found.wide}"] = GREY
    width = max(image.width, math.ceil(max(map(font.getlength, [title, *entries])) + 3 * em))
    height = image.height + round(em * (2.25 + 1.5 * len(entries)))
    whole = Image.new("RGB", (width, height), DARK)
    whole.paste(image)
    canvas = ImageDraw.Draw(whole)
    canvas.text((em / 2, image.height + 1.25 * em), title, LIGHT, font, "lm")
    for i, (text, colour) in enumerate(entries.items()):
        y = image.height + em * (2.25 + 1.5 * i)
        canvas.rectangle((em / 2, y, 1.5 * em, y + em), fill=colour)
        canvas.text((1.9 * em, y + em / 2), text, LIGHT, font, "lm")
    return whole


def draw(photo: Tensor, found: Measurement, legend: bool = True) -> Tensor:
    """The photo (3, h, w) uint8, or an overlay of it, with the measured cracks drawn on it.

    The longest cracks are labelled with their numbers in the tables. With a legend the result is
    larger than the photo; without one (for a video), or without cracks, it has the same size.
    """
    if not found.cracks:
        return photo.clone()
    image = Image.fromarray(photo.permute(1, 2, 0).numpy())
    canvas, scale = ImageDraw.Draw(image), Scale(found)
    font = ImageFont.load_default(max(12, round(max(image.size) / 50)))
    radius = max(1, max(image.size) / 500)
    draw_lines(canvas, found.lines_of(wide=True), radius, None)
    draw_lines(canvas, found.lines_of(wide=False), radius, scale)
    longest = sorted(enumerate(found.cracks, start=1), key=lambda one: -one[1].length)
    counted = [one for one in longest if not one[1].wide]
    widest = max(counted, key=lambda one: one[1].width_max, default=None)
    labels = []
    if widest:
        number, crack = widest
        x, y, ring = crack.max_x, crack.max_y, max(crack.width_max, 6 * radius)
        canvas.ellipse(circle(x, y, ring + radius), outline=DARK, width=round(3 * radius))
        canvas.ellipse(circle(x, y, ring), outline=LIGHT, width=round(radius))
        text = f"{number}: widest, {scale.text(crack.width_max)}"
        labels.append((x, y, ring + 2 * radius, text))
    for number, crack in longest[:NUMBERED]:
        if (number, crack) != widest:
            text = f"{number}: wide" if crack.wide else str(number)
            labels.append((crack.max_x, crack.max_y, crack.width_max / 2 + 3 * radius, text))
    draw_labels(canvas, labels, font)
    if legend:
        image = add_legend(image, found, scale, font)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)

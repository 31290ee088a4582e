"""Where is a crack wide? A photo with its centre lines coloured by width, the widest place marked.

Lines of what is too wide for a crack are grey: it is in no sum. The legend stands below the
picture.
"""

import itertools
import math

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from unet_resnet.measure.widths import Measurement, class_names, class_of

# Narrow to wide. Lightness rises, so that it reads with every colour vision and in grey; even the
# darkest colour has a contrast of 4.5 with the casing, which sets it off from pale concrete.
RAMP = ((90, 140, 240), (255, 130, 190), (255, 180, 80), (250, 250, 60))
DARK, LIGHT, GREY = (20, 20, 20), (255, 255, 255), (150, 150, 150)
NUMBERED = 20  # of the longest cracks; more numbers would hide the photo

Box = tuple[float, float, float, float]  # left, top, right, bottom


def colours(share: np.ndarray) -> np.ndarray:
    """(n,) in 0..1 -> (n, 3) uint8 along the ramp."""
    at = np.linspace(0, 1, len(RAMP))
    return np.stack([np.interp(share, at, channel).round() for channel in zip(*RAMP)],
                    1).astype(np.uint8)


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


def around(x: float, y: float, radius: float) -> Box:
    return x - radius, y - radius, x + radius, y + radius


def draw_lines(canvas: ImageDraw.ImageDraw, lines: list[np.ndarray], radius: float,
               scale: Scale | None) -> None:
    """Lines (n, 3) of x, y and width, on a dark casing; grey without a scale."""
    step = max(1, int(radius))  # so that discs overlap by half
    points = np.concatenate([np.empty((0, 3)), *(line[::step] for line in lines)])
    for x, y, _ in points.tolist():
        canvas.ellipse(around(x, y, radius + max(1, radius / 2)), fill=DARK)
    fills = scale.colours(points[:, 2]).tolist() if scale else itertools.repeat(GREY)
    for (x, y, _), fill in zip(points.tolist(), fills):
        canvas.ellipse(around(x, y, radius), fill=tuple(fill))


def draw_labels(canvas: ImageDraw.ImageDraw, labels: list[tuple[float, float, float, str]],
                font: ImageFont.FreeTypeFont) -> None:
    """Texts, each beside a place (x, y) that has this much to itself; without room, not at all."""
    taken = [around(x, y, own) for x, y, own, _ in labels]
    for x, y, own, text in labels:
        half = (font.getlength(text) + font.size / 2) / 2, 0.7 * font.size
        # Corners first: a crack that runs level or upright stays visible.
        for far, down, across in itertools.product((1, 2, 3), (-1, 1, 0), (1, -1, 0)):
            middle = x + across * (far * own + half[0]), y + down * (far * own + half[1])
            left, top, right, bottom = box = (middle[0] - half[0], middle[1] - half[1],
                                              middle[0] + half[0], middle[1] + half[1])
            inside = min(left, top) >= 0 and right <= canvas.im.size[0] and (
                bottom <= canvas.im.size[1])
            if inside and not any(left < other[2] and other[0] < right and top < other[3]
                                  and other[1] < bottom for other in taken):
                taken.append(box)
                canvas.rectangle(box, fill=DARK)
                canvas.text(middle, text, LIGHT, font, "mm")
                break


def add_legend(image: Image.Image, found: Measurement, scale: Scale, font: ImageFont.FreeTypeFont
               ) -> Image.Image:
    """The picture with the sums and the meaning of the colours below it, widened where needed."""
    count, em, steps = len(found.cracks) - found.wide, font.size, {}
    title = f"{count} crack{'s' * (count != 1)}"
    if count:
        steps = scale.legend(found.total.class_lengths)
        title += (f", {scale.text(found.total.length)} long, up to "
                  f"{scale.text(found.total.width_max)} wide. Width:")
    if found.wide:
        steps[f"wide, not counted: {found.wide}"] = GREY
    column = max(map(font.getlength, steps)) + 3 * em
    across = max(1, int(image.width // column))
    width = max(image.width, math.ceil(max(column, font.getlength(title) + em)))
    below = round(em * (2.25 + 1.5 * math.ceil(len(steps) / across)))
    whole = Image.new("RGB", (width, image.height + below), DARK)
    whole.paste(image)
    canvas = ImageDraw.Draw(whole)
    canvas.text((em / 2, image.height + 1.25 * em), title, LIGHT, font, "lm")
    for i, (text, colour) in enumerate(steps.items()):
        x, y = em / 2 + i % across * column, image.height + em * (2.25 + 1.5 * (i // across))
        canvas.rectangle((x, y, x + em, y + em), fill=colour)
        canvas.text((x + 1.4 * em, y + em / 2), text, LIGHT, font, "lm")
    return whole


def draw(photo: Tensor, found: Measurement, legend: bool = True) -> Tensor:
    """The photo (3, h, w) uint8, or an overlay of it, with what was measured in it drawn on it.

    The longest cracks carry their number in the tables. Without legend, or without cracks, the
    result has the photo's size, as the frames of a video must; otherwise it is larger.
    """
    if not found.cracks:
        return photo.clone()
    image = Image.fromarray(photo.permute(1, 2, 0).numpy())
    canvas, scale = ImageDraw.Draw(image), Scale(found)
    font = ImageFont.load_default(max(12, round(max(image.size) / 50)))
    radius = max(1, max(image.size) / 500)
    draw_lines(canvas, found.lines_of(wide=True), radius, None)
    draw_lines(canvas, found.lines_of(wide=False), radius, scale)
    order = sorted(enumerate(found.cracks, start=1), key=lambda one: -one[1].length)
    widest = max((one for one in order if not one[1].wide), default=None,
                 key=lambda one: one[1].width_max)
    labels = []
    if widest:
        number, crack = widest
        ring = max(crack.width_max, 6 * radius)
        place = crack.max_x, crack.max_y
        canvas.ellipse(around(*place, ring + radius), outline=DARK, width=round(3 * radius))
        canvas.ellipse(around(*place, ring), outline=LIGHT, width=round(radius))
        labels = [(*place, ring + 2 * radius,
                   f"{number}: widest, {scale.text(crack.width_max)}")]
    labels += [(crack.max_x, crack.max_y, crack.width_max / 2 + 3 * radius,
                f"{number}: wide" if crack.wide else str(number))
               for number, crack in order[:NUMBERED] if (number, crack) != widest]
    draw_labels(canvas, labels, font)
    if legend:
        image = add_legend(image, found, scale, font)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)

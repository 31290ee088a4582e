"""Where is a crack wide? A photo with its centre lines coloured by width, the widest place marked.

Lines of what is too wide for a crack are grey: it is in no sum. Small photos are enlarged, so that
lines and labels have room; the legend stands below the picture.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from unet_resnet.measure.widths import Measurement, class_of

# Narrow to wide. Lightness rises, so that it reads with every colour vision and in grey; even the
# darkest colour has a contrast of 4.5 with the casing, which sets it off from pale concrete.
RAMP = ((90, 140, 240), (255, 130, 190), (255, 180, 80), (250, 250, 60))
DARK, LIGHT, GREY = (20, 20, 20), (255, 255, 255), (150, 150, 150)
NUMBERED = 20  # of the longest cracks; more numbers would hide the photo
SIDE = 640  # pixels; a smaller photo is enlarged by a whole factor, up to this

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

    def legend(self, class_lengths: tuple[float, ...]) -> dict[str, np.ndarray]:
        """Texts and their colours, the narrowest first."""
        limits = [*map(figures, self.limits)]
        names = [f"below {limits[0]}", *map(" to ".join, itertools.pairwise(limits)),
                 f"from {limits[-1]}"]
        lengths = [f": {self.text(length)} long" for length in class_lengths] or [""] * len(names)
        return {f"{name} {self.unit}{length}": colour for name, length, colour
                in zip(names, lengths, colours(np.linspace(0, 1, len(names))))}


def around(x: float, y: float, radius: float) -> Box:
    return x - radius, y - radius, x + radius, y + radius


def enlarge(line: np.ndarray, zoom: int) -> np.ndarray:
    """A line (n, 3) of x, y and width in a picture enlarged by a whole factor: (zoom * n, 3)."""
    at = np.linspace(0, len(line) - 1, zoom * len(line))
    x, y, width = (np.interp(at, np.arange(len(line)), column) for column in line.T)
    return np.column_stack([(x + 0.5) * zoom - 0.5, (y + 0.5) * zoom - 0.5, width])


def draw_lines(canvas: ImageDraw.ImageDraw, lines: list[np.ndarray], radius: float,
               colours: Callable[[np.ndarray], np.ndarray]) -> None:
    """Lines (n, 3) of x, y and width, on a dark casing; `colours` (n, 3) are those of widths."""
    lines = [line[::max(1, int(radius))] for line in lines]  # discs overlap by half
    for line in lines:
        for x, y, _ in line.tolist():
            canvas.ellipse(around(x, y, radius + max(1, radius / 2)), fill=DARK)
    for line in lines:
        for (x, y, _), colour in zip(line.tolist(), colours(line[:, 2]).tolist()):
            canvas.ellipse(around(x, y, radius), fill=tuple(colour))


def free_box(x: float, y: float, gap: float, size: tuple[float, float], inside: tuple[int, int],
             taken: list[Box], points: np.ndarray) -> Box | None:
    """Where a label of this size fits beside (x, y), clear of the boxes taken (one of them around
    (x, y)) and over as few points (n, 2) of the lines as possible; None where it does not fit."""
    best, fewest = None, np.inf
    for far, across, down in itertools.product((1, 2, 3), (1, -1, 0), (0, -1, 1)):
        left = x + across * (far * gap + size[0] / 2) - size[0] / 2
        top = y + down * (far * gap + size[1] / 2) - size[1] / 2
        right, bottom = left + size[0], top + size[1]
        if min(left, top) < 0 or right > inside[0] or bottom > inside[1] or any(
                left < box[2] and box[0] < right and top < box[3] and box[1] < bottom
                for box in taken):
            continue
        covered = ((points >= (left, top)) & (points <= (right, bottom))).all(1).sum()
        if covered < fewest:
            best, fewest = (left, top, right, bottom), covered
    return best


def draw_labels(canvas: ImageDraw.ImageDraw, labels: list[tuple[float, float, float, str]],
                points: np.ndarray, font: ImageFont.FreeTypeFont) -> None:
    """Texts, each beside a place (x, y) that has this much to itself; without room, not at all."""
    taken = [around(x, y, own) for x, y, own, _ in labels]
    for x, y, own, text in labels:
        size = font.getlength(text) + font.size / 2, 1.4 * font.size
        if box := free_box(x, y, own, size, canvas.im.size, taken, points):
            taken.append(box)
            canvas.rectangle(box, fill=DARK)
            canvas.text((box[0] + size[0] / 2, box[1] + size[1] / 2), text, LIGHT, font, "mm")


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
        steps[f"wide, not counted: {found.wide}"] = np.array(GREY)
    column = max(map(font.getlength, steps)) + 3 * em
    across = max(1, int(image.width // column))
    width = max(image.width, math.ceil(max(column, font.getlength(title) + em)))
    whole = Image.new("RGB", (width, image.height + round(
        em * (2.25 + 1.5 * math.ceil(len(steps) / across)))), DARK)
    whole.paste(image)
    canvas = ImageDraw.Draw(whole)
    canvas.text((em / 2, image.height + 1.25 * em), title, LIGHT, font, "lm")
    for i, (text, colour) in enumerate(steps.items()):
        x, y = em / 2 + i % across * column, image.height + em * (2.25 + 1.5 * (i // across))
        canvas.rectangle((x, y, x + em, y + em), fill=tuple(colour.tolist()))
        canvas.text((x + 1.4 * em, y + em / 2), text, LIGHT, font, "lm")
    return whole


def draw(photo: Tensor, found: Measurement, legend: bool = True) -> Tensor:
    """The photo (3, h, w) uint8, or an overlay of it, with what was measured in it drawn on it.

    The longest cracks carry their number in the tables. Without legend, or without cracks, the
    result has the photo's size, as the frames of a video must; otherwise it is larger.
    """
    if not found.cracks:
        return photo.clone()
    zoom = max(1, SIDE // max(photo.shape)) if legend else 1
    large = photo.repeat_interleave(zoom, 1).repeat_interleave(zoom, 2)
    image = Image.fromarray(large.permute(1, 2, 0).numpy())
    canvas, scale = ImageDraw.Draw(image), Scale(found)
    font = ImageFont.load_default(max(12, round(max(image.size) / 50)))
    radius = max(1, max(image.size) / 500)
    wide, lines = ([enlarge(line, zoom) for line in found.lines_of(wide)] for wide in (True, False))
    draw_lines(canvas, wide, radius, lambda widths: np.tile(GREY, (len(widths), 1)))
    draw_lines(canvas, lines, radius, scale.colours)
    places = [((crack.max_x + 0.5) * zoom - 0.5, (crack.max_y + 0.5) * zoom - 0.5,
               crack.width_max * zoom) for crack in found.cracks]
    summed = [i for i, crack in enumerate(found.cracks) if not crack.wide]
    widest, labels = max(summed, key=lambda i: places[i][2], default=None), []
    if summed:
        x, y, width = places[widest]
        ring = max(width, 6 * radius)
        canvas.ellipse(around(x, y, ring + radius), outline=DARK, width=round(3 * radius))
        canvas.ellipse(around(x, y, ring), outline=LIGHT, width=round(radius))
        labels = [(x, y, ring + 2 * radius, f"{widest + 1}: widest, {scale.text(width / zoom)}")]
    longest = sorted(range(len(places)), key=lambda i: -found.cracks[i].length)
    for i in [i for i in longest[:NUMBERED] if i != widest]:
        x, y, width = places[i]
        text = f"{i + 1}: wide" if found.cracks[i].wide else str(i + 1)
        labels.append((x, y, width / 2 + 3 * radius, text))
    draw_labels(canvas, labels, np.concatenate(wide + lines)[:, :2], font)
    return torch.from_numpy(np.array(add_legend(image, found, scale, font) if legend else image)
                            ).permute(2, 0, 1)

"""Where is a crack wide? A photo with its centre lines coloured by width, the widest marked."""

import itertools

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from unet_resnet.measure.widths import Measurement, class_of

# From matplotlib's plasma (van der Walt and Smith, 2015), without its dark end: narrow to wide.
# Lightness rises along it, so it reads with every colour vision, and in grey.
RAMP = ((126, 3, 168), (204, 71, 120), (248, 149, 64), (240, 249, 33))
DARK, LIGHT = (20, 20, 20), (255, 255, 255)
NUMBERED = 20  # of the longest cracks; more numbers would hide the photo


def colours(share: np.ndarray) -> np.ndarray:
    """(n,) in 0..1 -> (n, 3) uint8 along the ramp."""
    at = np.linspace(0, 1, len(RAMP))
    return np.stack([np.interp(share, at, channel).round() for channel in zip(*RAMP)],
                    1).astype(np.uint8)


def figures(value: float) -> str:
    """Three figures: 0, 0.125, 1.25, 12.5, 125, 1250."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


class Scale:
    """From widths in pixels to colours: by class where there are classes, else from the narrowest
    to the widest of the photo."""

    def __init__(self, found: Measurement) -> None:
        self.unit, self.factor = ("mm", found.mm_per_pixel) if found.mm_per_pixel else ("px", 1.0)
        self.limits = found.width_classes
        widths = np.concatenate([line[:, 2] for line in found.lines]) * self.factor
        self.low, self.high = float(widths.min()), float(widths.max())

    def colours(self, width: np.ndarray) -> np.ndarray:
        """Widths (n,) in pixels -> (n, 3) uint8."""
        if self.limits:
            limits = np.divide(self.limits, self.factor)
            return colours(class_of(width, limits) / len(limits))
        return colours((width * self.factor - self.low) / max(self.high - self.low, 1e-9))

    def text(self, pixels: float) -> str:
        return f"{figures(pixels * self.factor)} {self.unit}"

    def steps(self, class_lengths: tuple[float, ...]) -> list[tuple[tuple[int, ...], str]]:
        """Colours and what they mean, the widest first."""
        if not self.limits:
            share = np.linspace(0, 1, 5)
            texts = [f"{figures(self.low + (self.high - self.low) * part)} {self.unit}"
                     for part in share]
        else:
            share = np.linspace(0, 1, len(self.limits) + 1)
            low, high = ("", *map("{:g}".format, self.limits)), map("{:g}".format, self.limits)
            names = [f"{a} to {b}" if a else f"below {b}" for a, b in zip(low, high)]
            texts = [f"{name} {self.unit}: {self.text(length)} long" for name, length
                     in zip([*names, f"from {low[-1]}"], class_lengths)]
        return [(tuple(colour), text) for colour, text in zip(colours(share).tolist(), texts)][::-1]


def disc(canvas: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: tuple[int, ...]
         ) -> None:
    canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def draw_lines(canvas: ImageDraw.ImageDraw, found: Measurement, scale: Scale, radius: float
               ) -> None:
    """The centre lines, on a dark casing that sets them off from a pale photo."""
    lines = [line[::max(1, int(radius))] for line in found.lines]  # discs overlap by half
    for line in lines:
        for x, y, _ in line.tolist():
            disc(canvas, x, y, radius + max(1, radius / 2), DARK)
    for line in lines:
        for (x, y, _), colour in zip(line.tolist(), scale.colours(line[:, 2]).tolist()):
            disc(canvas, x, y, radius, tuple(colour))


def draw_label(canvas: ImageDraw.ImageDraw, x: float, y: float, gap: float, text: str,
               font: ImageFont.FreeTypeFont) -> None:
    """Text on a dark ground, `gap` pixels beside a place, kept inside the picture."""
    across, down = canvas.im.size
    left, top, right, bottom = canvas.textbbox((0, 0), text, font)
    pad = font.size / 4
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = x + gap if x + gap + width <= across else x - gap - width
    x, y = max(0, min(x, across - width)), max(0, min(y - height / 2, down - height))
    canvas.rectangle((x, y, x + width, y + height), fill=DARK)
    canvas.text((x + pad - left, y + pad - top), text, LIGHT, font)


def legend(found: Measurement, scale: Scale, font: ImageFont.FreeTypeFont) -> Image.Image:
    """A panel with the sums and what the colours mean."""
    em, row = font.size, round(1.5 * font.size)
    count = len(found.cracks)
    titles = [f"{count} crack{'s' * (count != 1)}, {scale.text(found.total.length)} long",
              "width of the crack"]
    steps = scale.steps(found.total.class_lengths)
    texts = max(font.getlength(text) for text in titles), max(font.getlength(t) for _, t in steps)
    size = round(max(texts[0], texts[1] + 3 * em) + em), row * (len(titles) + len(steps)) + em
    panel = Image.new("RGB", size, DARK)
    canvas = ImageDraw.Draw(panel)
    for i, text in enumerate(titles):
        canvas.text((em / 2, em / 2 + i * row), text, LIGHT, font)
    for i, (colour, text) in enumerate(steps, start=len(titles)):
        top = em / 2 + i * row
        canvas.rectangle((em / 2, top, em * 2.5, top + row - 1), fill=colour)
        canvas.text((em * 3, top + row / 2), text, LIGHT, font, anchor="lm")
    return panel


def emptiest(found: Measurement, size: tuple[int, int], panel: tuple[int, int], margin: float
             ) -> tuple[int, int]:
    """Left and top of a panel where least of the lines is within a margin of it, in a corner or
    towards one. Sizes are width and height, all in pixels."""
    points = np.concatenate([line[:, :2] for line in found.lines])
    steps = [0, 1, 0.25, 0.75, 0.5]
    places = [np.multiply((x, 1 - y), np.subtract(size, panel)).astype(int).tolist()
              for x, y in sorted(itertools.product(steps, steps),
                                 key=lambda xy: sum(min(part, 1 - part) for part in xy))]
    return min(places, key=lambda place: (
        (points >= np.subtract(place, margin)) & (points <= np.add(place, panel) + margin)
    ).all(1).sum())


def draw(photo: Tensor, found: Measurement) -> Tensor:
    """The photo (3, h, w) uint8, or an overlay of it, with what was measured in it drawn on it.

    The longest cracks carry their number in the tables. Lines and letters grow with the photo.
    """
    if not found.cracks:
        return photo.clone()
    image = Image.fromarray(photo.permute(1, 2, 0).numpy())
    canvas, scale, total = ImageDraw.Draw(image), Scale(found), found.total
    font = ImageFont.load_default(max(10, round(max(image.size) / 50)))
    radius = max(1, max(image.size) / 500)
    draw_lines(canvas, found, scale, radius)
    panel = legend(found, scale, font)
    image.paste(panel, emptiest(found, image.size, panel.size, 2 * font.size))
    ring = max(total.width_max, 6 * radius)
    for extra, colour in ((radius, DARK), (0, LIGHT)):
        canvas.ellipse((total.max_x - ring - extra, total.max_y - ring - extra,
                        total.max_x + ring + extra, total.max_y + ring + extra),
                       outline=colour, width=round(radius + 2 * extra) or 1)
    order = sorted(range(len(found.cracks)), key=lambda i: -found.cracks[i].length)
    widest = next(i for i, crack in enumerate(found.cracks)
                  if (crack.max_x, crack.max_y) == (total.max_x, total.max_y))
    for i in reversed(order[:NUMBERED]):
        crack = found.cracks[i]
        if i != widest:
            draw_label(canvas, crack.max_x, crack.max_y, crack.width_max / 2 + 3 * radius,
                       str(i + 1), font)
    draw_label(canvas, total.max_x, total.max_y, ring + 2 * radius,
               f"{widest + 1}: widest, {scale.text(total.width_max)}", font)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)

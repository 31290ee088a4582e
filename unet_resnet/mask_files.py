"""What is in one mask file: which values, in which channels, and which of them fill areas?"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

from unet_resnet.images import has_pages, opened, turn_of, upright

Label = int | tuple[int, int, int]  # a grey value, or a colour with channels that differ
WHITE = 255
NEAR = 48  # so close to black or white, values may be noise of a JPEG or of resampling
# Levels that the noise of a JPEG seldom crosses; that of colours is larger.
COARSE = [0 if value < NEAR else WHITE if value > WHITE - NEAR else (value + 16) // 32 * 32
          for value in range(256)]
COARSE_COLOURS = [0 if value < 80 else 128 if value < 192 else WHITE for value in range(256)] * 3
REMEDY = f"save cracks as {WHITE} and all else as 0"


@dataclass(frozen=True, eq=False)
class MaskValues:
    """What is in one mask file, before its folder decides what it means."""

    path: Path
    size: tuple[int, int]  # height and width, upright
    values: np.ndarray  # pixels of each brightness, that of the highest channel
    labels: frozenset[Label]  # values of areas, not of soft edges or noise; without 0
    alpha: np.ndarray | None  # pixels of each opacity, if nothing else can vary
    turned: bool  # by an EXIF orientation of its own
    lossy: bool  # a JPEG
    pages: bool  # more than the one that is read


def survey(path: Path) -> MaskValues:
    """Raises OSError or ValueError, naming the file, if it cannot be read."""
    with opened(path) as image:
        lossy, turned = image.format == "JPEG", turn_of(image) is not None
        pages = has_pages(image)
        values, colours, alpha = decoded(upright(image), lossy)
    return MaskValues(path, values.shape, histogram(values), flat_labels(values, colours, lossy),
                      None if alpha is None else histogram(alpha), turned, lossy, pages)


def decoded(image: Image.Image, lossy: bool
            ) -> tuple[np.ndarray, Image.Image | None, np.ndarray | None]:
    """Brightness (h, w); the image in RGB if it has colours; opacity (h, w) if only that varies.

    Where colours and transparency vary, the image is laid on black.
    """
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = np.array(image.getchannel("A"))
        if alpha.min() < WHITE and len(image.convert("RGB").getcolors(2) or "...") == 1:
            brightness = max(image.getpixel((0, 0))[:3]) if alpha.any() else 0
            return np.full(alpha.shape, brightness, np.uint8), None, alpha
        image = image.convert("RGB")
        if alpha.min() < alpha.max():
            image = Image.composite(image, Image.new("RGB", image.size), Image.fromarray(alpha))
            if len(image.getcolors(2) or "...") == 1:
                raise ValueError(f"its transparency hides what is drawn; {REMEDY}, all opaque")
    if image.mode == "F" or image.mode.startswith("I"):
        return whole_numbers(np.array(image)), None, None
    if image.mode == "P" and len(image.convert("RGB").getcolors()) < len(image.getcolors()):
        return np.array(image), None, None  # its palette shows two values as one
    if image.mode in ("1", "L"):
        return np.array(image if image.mode == "L" else image.convert("L")), None, None
    image = image.convert("RGB")
    red, green, blue = image.split()
    highest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    lowest = ImageChops.darker(ImageChops.darker(red, green), blue)
    if ImageChops.difference(highest, lowest).getextrema()[1] <= (NEAR // 3 if lossy else 0):
        return np.array(image.convert("L")), None, None
    return np.array(highest), image, None


def whole_numbers(array: np.ndarray) -> np.ndarray:
    """Values of 16 bits or floats, as 0..255 if they fill 16 bits or 0..1, else as they are."""
    if not np.isfinite(array).all() or array.min() < 0:
        raise ValueError(f"its values are not all finite and positive; {REMEDY}")
    high, drawn = array.max(), np.count_nonzero(array)
    numbers = 20 * (np.count_nonzero(array <= 256) - array.size + drawn) > drawn  # beside a void
    top = (65535 if high >= 2**15 and not numbers
           else 1 if array.dtype.kind == "f" and high <= 1 else WHITE)
    return np.rint(array * (WHITE / top)).clip(0, 65535).astype(np.int32)


def histogram(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.uint8:
        return np.array(Image.fromarray(values).histogram())  # no copy of 64 bits a pixel
    return np.bincount(values.ravel(), minlength=WHITE + 1)


def counts(values: np.ndarray, colours: Image.Image | None) -> dict[Label, int]:
    if colours is None:
        pixels = histogram(values)
        return {int(value): int(pixels[value]) for value in pixels.nonzero()[0]}
    return {colour if len({*colour}) > 1 else colour[0]: count
            for count, colour in colours.getcolors(2**24)}


def flat_labels(values: np.ndarray, colours: Image.Image | None, lossy: bool) -> frozenset[Label]:
    """The labels of areas, without black.

    A pixel of a soft edge, or of noise, has a darker and a brighter one beside it; one of an area
    seldom has both. A shrunken mask has many values: there, a label must be a tenth of all drawn.
    """
    if lossy or colours and not colours.getcolors(64):  # perhaps a JPEG once, or soft edges
        values = np.array(COARSE, np.uint8)[values]
        colours = colours and colours.point(COARSE_COLOURS)
    found = counts(values, colours)
    found.pop(0, None)
    if len(found) <= 1:
        return frozenset(found)
    padded = np.pad(values, 1, mode="edge")
    level = np.zeros(values.shape, bool)
    for most in (np.maximum, np.minimum):
        rows = most(most(padded[:-2], padded[1:-1]), padded[2:])
        level |= values == most(most(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
    flat = counts(values[level][None],
                  colours and Image.fromarray(np.array(colours)[level][None]))
    shades = [label for label in found if label != WHITE]
    areas = 4 * sum(flat.get(label, 0) for label in shades) > 3 * sum(map(found.get, shades))
    least = 0.001 if areas else 0.1 if len(found) > 8 else 0.02
    return frozenset(
        label for label, count in found.items() if 4 * flat.get(label, 0) > 3 * count
        and count > sum(found.values()) * min(least, 1 if isinstance(label, int) else 0.02))

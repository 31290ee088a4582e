"""How is a photo or a mask read as a tensor, whatever its format, and a tensor written as a file?

JPEG, PNG, BMP, TIFF and WebP are read. They are recognised by content; by name, only a camera's raw
files are refused.

| in the file | result |
|---|---|
| palette, grey, CMYK | RGB |
| transparency | dropped: the colours under it count |
| grey values of 10 to 16 bits, floats | scaled to 0..255, or refused (`to_bytes`) |
| pages or frames after the first | not read |
| EXIF orientation | the picture is turned upright; damaged EXIF data are ignored |
| more pixels than the limit | refused before they are decoded |
| cut off, empty, another format, a pipe, a folder | refused |

Masks have no standard: cracks are 255, or 1, or red. The audit looks at a whole folder and makes a
`MaskRule`, by which each of its files is read here.

A refusal is a ValueError or an OSError whose text is one line and names the file. (For a damaged
compressed TIFF, libtiff prints lines of its own to stderr, past Python.)
"""

import logging
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageChops
from torch import Tensor

from unet_resnet.files import atomic_write, one_line

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".bmp", ".tif", ".tiff", ".webp")
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")  # Pillow would run Ghostscript on PostScript
# Pictures that are not read: of phones; raw files of cameras, some of which look like TIFFs; more.
OTHERS = (".heic", ".heif", ".avif", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2",
          ".gif", ".jp2", ".jxl", ".psd")
MAX_MEGAPIXELS = 400  # a larger file is refused as a decompression bomb
LIMIT = "UNET_RESNET_MAX_MEGAPIXELS"  # environment variable that sets another limit
ORIENTATION = 0x0112  # EXIF tag
TURNS = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
         4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
         6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90}
QUARTER_TURNS = [TURNS[orientation] for orientation in (5, 6, 7, 8)]  # exchange the sides
WHITES = (1, 255, 1023, 4095, 16383, 65535)  # grey values that may stand for white
MIN_SPAN = 1 / 32  # of that range in a photo: 8 of 256 levels
BITS, PHOTOMETRIC, PLANES, NO_DATA = 258, 262, 284, 42113  # TIFF tags
REMEDY = "save it as 8 bits"
WHITE = 255
MASK_REMEDY = f"save cracks as {WHITE} and all else as 0"
UNTURNED = "if masks fit the photos as stored, before EXIF turns them, add --masks-unturned"

Image.MAX_IMAGE_PIXELS = None  # 179 megapixels otherwise; `check_megapixels` sets the limit
# Pillow warns of damaged EXIF data and logs what it then raises: our one line says more.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)


def is_picture(path: Path) -> bool:
    """Whether the name has the ending of a picture that can be read."""
    return path.suffix.lower() in SUFFIXES


def unread_note(paths: Iterable[Path]) -> str:
    """A line on pictures of kinds that cannot be read, e.g. a phone's HEIC; "" without any."""
    suffixes = (path.suffix.lower() for path in paths)
    counts = Counter(suffix for suffix in suffixes if suffix in OTHERS)
    found = ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common())
    return f"pictures not read: {found}; save them as .jpg or .png first" if counts else ""


def check_megapixels(height: float, width: float) -> None:
    """Raise ValueError for a picture with more pixels than the limit."""
    limit = float(os.environ.get(LIMIT) or MAX_MEGAPIXELS)
    if not height * width <= limit * 1e6:
        raise ValueError(f"{height * width / 1e6:.4g} megapixels, more than the limit of "
                         f"{limit:g}: cut it into parts, or set {LIMIT}")


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """The image at `path`, not yet decoded.

    Raises FileNotFoundError, or ValueError, naming the file, for anything that fails in the block
    but a MemoryError.
    """
    if not os.path.isfile(path):  # opening a named pipe would wait for a writer
        what = "not a file" if os.path.exists(path) else "no such file"
        raise FileNotFoundError(f"{one_line(path)}: {what}")
    try:
        # Not by name: Pillow would map a turned grey TIFF into memory with its sides swapped.
        with open(path, "rb") as file, Image.open(file, formats=FORMATS) as image:
            if path.suffix.lower() in OTHERS:
                raise Image.UnidentifiedImageError
            check_megapixels(image.height, image.width)
            yield image
    except MemoryError:
        raise
    # Pillow's decoders raise nearly anything on damaged files: SyntaxError, struct.error, ...
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):
            reason = (f"not a picture in a format that can be read ({', '.join(FORMATS)}); if it "
                      "is another, such as HEIC or GIF, save it as JPEG or PNG first")
        raise ValueError(f"{one_line(path)}: {one_line(reason)}") from error


def tags_of(image: Image.Image) -> dict:
    """The tags of a TIFF; empty for other formats."""
    return getattr(image, "tag_v2", {})


def upright(image: Image.Image) -> Image.Image:
    """The decoded image as a person should see it; itself, not a copy, if it is upright."""
    image.load()  # not in `exif_turn`, which would hide that it cannot be decoded
    turn = exif_turn(image)
    # Pillow has turned a TIFF by now.
    return image if turn is None or image.format == "TIFF" else image.transpose(turn)


def exif_turn(image: Image.Image) -> Image.Transpose | None:
    """The turn by which EXIF makes an image upright, or None; of a TIFF, only until decoded."""
    try:
        return TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF data do not affect the pixels
        return None


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Height and width of the image as a person should see it; it need not be decoded."""
    if exif_turn(image) in QUARTER_TURNS:
        if image.format != "TIFF":
            return image.size
        image.load()  # only now has every version of Pillow exchanged its sides
    return image.size[::-1]


def read_photo(path: Path) -> Tensor:
    """The photograph upright, as (3, h, w) uint8 RGB."""
    with open_image(path) as image:
        return to_rgb(image)


def to_rgb(image: Image.Image) -> Tensor:
    """A PIL image, upright, as (3, h, w) uint8 RGB.

    Raises ValueError for too many pixels, or for more than 8 bits in an unknown range.
    """
    check_megapixels(image.height, image.width)
    tags, raw = tags_of(image), str(getattr(image, "tile", ""))
    more_bits = max(tags.get(BITS, (8,))) > 8 or image.format == "PNG" and ";16" in raw
    image = upright(image)
    if is_deep(image):
        return torch.from_numpy(to_bytes(image)).expand(3, -1, -1).contiguous()
    array = np.array(image if image.mode == "RGB" else image.convert("RGB"))  # writable
    # Pillow keeps the upper 8 bits of colours, and mixes up planes (one colour after the other).
    if more_bits and (array.max() < 64 or tags.get(PLANES) == 2):
        raise ValueError(f"colours of more than 8 bits, too dark or in separate planes; {REMEDY}")
    return torch.from_numpy(array).permute(2, 0, 1)


def is_deep(image: Image.Image) -> bool:
    """Whether it has grey values of more than 8 bits, so that decoding may refuse it."""
    return image.mode == "F" or image.mode.startswith("I")


def to_bytes(image: Image.Image) -> np.ndarray:
    """A decoded image that `is_deep` as grey values (h, w) uint8; white is the least of WHITES
    that holds the values.

    Raises ValueError if values are negative, not finite, beyond 16 bits or nearly all the same, and
    for a TIFF in which 0 is white, or some value means no data.
    """
    values, tags = np.array(image).astype(np.float32), tags_of(image)
    # A few outliers do not count.
    low, high = np.percentile(values, (0.5, 99.5), method="nearest")
    white = next((white for white in WHITES if high <= white), np.nan)
    if not (low >= 0 and high - low >= white * MIN_SPAN and tags.get(PHOTOMETRIC, 1) == 1
            and NO_DATA not in tags):
        raise ValueError(f"its grey values, {low:g} to {high:g}, have no known range: "
                         f"floats from 0 to 1 or 255, or 8, 10, 12, 14 or 16 bits; {REMEDY}")
    return np.rint(values * (255 / white)).clip(0, 255).astype(np.uint8)


@dataclass(frozen=True)
class MaskRule:
    """How the masks of a folder are read: crack is brighter than `threshold`."""

    threshold: int = WHITE // 2
    unturned: bool = False  # masks are drawn on the stored pixels of photos that EXIF turns

    def read(self, mask: Path, photo: Path) -> Tensor:
        """The mask of a photo, upright, as (1, h, w) uint8: 1 for crack, else 0.

        Raises OSError or ValueError, naming the file, if it cannot be read.
        """
        with open_image(mask) as image:
            turned = exif_turn(image) is not None
            crack = np.uint8(brightness(decode_mask(image)) > self.threshold)
        if self.unturned and not turned:
            with open_image(photo) as image:
                turn = exif_turn(image)
            if turn is not None:
                crack = np.array(Image.fromarray(crack).transpose(turn))
        return torch.from_numpy(crack)[None]


def decode_mask(image: Image.Image) -> Image.Image:
    """A mask in mode L or RGB, upright, on black where it is transparent."""
    stored = image = upright(image)
    if is_deep(image):
        raise ValueError(f"a mask of more than 8 bits; {MASK_REMEDY}")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "black"), layer)
    image = image.convert("L" if image.mode in ("1", "L") else "RGB")
    if is_uniform(image) and not is_uniform(stored):
        raise ValueError(f"its palette or its transparency hides the cracks; {MASK_REMEDY}")
    return image


def is_uniform(image: Image.Image) -> bool:
    return all(low == high for low, high in (band.getextrema() for band in image.split()))


def brightness(image: Image.Image) -> np.ndarray:
    """(h, w) uint8: the highest channel of each pixel."""
    return np.array(reduce(ImageChops.lighter, image.split()))


def size_mismatch(mask: Sequence[int], photo: Sequence[int]) -> str:
    """That a mask (h, w) does not fit its photo (h, w), and what to do."""
    swapped = tuple(mask) == tuple(photo)[::-1]
    return (f"{mask[1]}x{mask[0]} pixels, but its photo has {photo[1]}x{photo[0]}; "
            + (UNTURNED if swapped else "export the mask at the photo's size"))


def write_png(path: Path, pixels: Tensor) -> None:
    """Write (3, h, w) or (1, h, w) uint8 as PNG, whole or not at all."""
    picture = Image.fromarray(pixels.permute(1, 2, 0).squeeze(2).numpy())
    with atomic_write(path) as file:
        # Level 1 is three times faster than the default and 10 to 20 % larger.
        picture.save(file, "PNG", compress_level=1)

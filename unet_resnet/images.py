"""How does a picture file become a tensor, whatever it was saved as, and a tensor a file?

JPEG, PNG, BMP, TIFF and WebP are read, recognised by their content, not by their name.

| in the file | result |
|---|---|
| palette, grey, CMYK | RGB |
| transparency | dropped: the colours under it count |
| 16 bits, floats | scaled to 0..255, or refused (`deep`) |
| pages or frames after the first | not read (`has_pages`) |
| EXIF orientation | the picture is turned upright; damaged EXIF data are ignored |
| more pixels than the limit | refused before they are decoded |
| cut off, empty, another format, a pipe, a folder | refused |

A refusal is a ValueError or an OSError whose text is one line and names the file. (For a damaged
compressed TIFF, libtiff prints lines of its own to stderr, past Python.)
"""

import logging
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unet_resnet import deep
from unet_resnet.files import one_line, written_whole
from unet_resnet.formats import kind_of

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".bmp", ".tif", ".tiff", ".webp")
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")  # Pillow would run Ghostscript on PostScript
MAX_MEGAPIXELS = 400  # above, a file is taken for a decompression bomb
LIMIT = "UNET_RESNET_MAX_MEGAPIXELS"  # environment variable that sets another limit
ORIENTATION = 0x0112  # EXIF tag
TURNS = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
         4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
         6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90}
QUARTER_TURNS = (TURNS[5], TURNS[6], TURNS[7], TURNS[8])  # exchange height and width

LOCK, LIFTED = Lock(), []  # of `pillow_limit_lifted`
# Pillow warns of damaged EXIF data and logs what it then raises: our one line says more.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)


def is_picture(path: Path) -> bool:
    """Whether its name ends as that of a picture that can be read."""
    return path.suffix.lower() in SUFFIXES


def check_megapixels(height: float, width: float) -> None:
    """Raise ValueError for a picture with more pixels than the limit."""
    text = os.environ.get(LIMIT) or MAX_MEGAPIXELS
    try:
        limit = float(text)
    except ValueError:
        raise ValueError(f"{LIMIT} is {text!r}; wanted a number of megapixels") from None
    if not height * width <= limit * 1e6:
        raise ValueError(f"{height * width / 1e6:.4g} megapixels, more than the limit of "
                         f"{limit:g}: cut it into parts, or set {LIMIT}")


@contextmanager
def pillow_limit_lifted() -> Iterator[None]:
    """Pillow's own limit, 179 megapixels, is global: the first thread lifts it, the last restores
    what the program around us had set."""
    with LOCK:
        LIFTED.append(LIFTED[0] if LIFTED else Image.MAX_IMAGE_PIXELS)
        Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        with LOCK:
            limit = LIFTED.pop()
            if not LIFTED:
                Image.MAX_IMAGE_PIXELS = limit


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The image at `path`, not yet decoded.

    Raises FileNotFoundError, or ValueError, naming the file, for anything that fails in the block.
    """
    try:
        found = os.stat(path)
        if stat.S_ISDIR(found.st_mode):
            os.listdir(path)  # that it may not be read is a better reason
            raise ValueError("a folder, not a picture")
        if not stat.S_ISREG(found.st_mode):  # opening a named pipe would wait for a writer
            raise ValueError("not a regular file")
        if not found.st_size:
            raise ValueError("the file is empty")
        # Not by name: Pillow would map a turned grey TIFF into memory with its sides exchanged.
        with (pillow_limit_lifted(), open(path, "rb") as file,
              Image.open(file, formats=FORMATS) as image):
            check_megapixels(image.height, image.width)
            deep.check_decoder(image)
            yield image
    except FileNotFoundError:
        reason = "a link to a file that is not there" if path.is_symlink() else "no such file"
        raise FileNotFoundError(f"{one_line(path)}: {reason}") from None
    # Pillow's decoders raise nearly anything on damaged files: SyntaxError, struct.error, ...
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):
            kind = kind_of(path)
            reason = (f"this is {kind}: save it as JPEG or PNG first" if kind not in ("", *FORMATS)
                      else f"not a picture in a format that can be read ({', '.join(FORMATS)})")
        raise ValueError(f"{one_line(path)}: {one_line(reason)}") from error


def has_pages(image: Image.Image) -> bool:
    """Whether it has more pages or frames than one, which is all that is read."""
    # An MPO is a phone's JPEG with a preview or a depth map.
    return getattr(image, "is_animated", False) and image.format != "MPO"


def upright(image: Image.Image) -> Image.Image:
    """The decoded image as a person should see it; itself, not a copy, if it is upright."""
    image.load()  # not in `turn_of`, which would hide that it cannot be decoded
    turn = turn_of(image)
    # Pillow has turned a TIFF by now.
    return image if turn is None or image.format == "TIFF" else image.transpose(turn)


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """By which EXIF turns an image upright, None if it does not. A TIFF is asked before decoding.
    """
    try:
        return TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF data do the pixels no harm
        return None


def size_of(path: Path) -> tuple[int, int]:
    """Height and width as `read_photo` returns them; most formats need no decoding for it."""
    with opened(path) as image:
        return upright_size(image)


def upright_size(image: Image.Image) -> tuple[int, int]:
    if image.format in ("PNG", "TIFF"):  # EXIF data may stand at a PNG's end
        image.load()  # turns a TIFF
    size, turned = (image.height, image.width), turn_of(image) in QUARTER_TURNS
    return size[::-1] if turned and image.format != "TIFF" else size


def read_photo(path: Path) -> Tensor:
    """The photograph upright, as (3, h, w) uint8 RGB."""
    with opened(path) as image:
        return interpreted(image)[0]


def interpreted(image: Image.Image) -> tuple[Tensor, tuple[str, ...]]:
    """A PIL image, upright, as (3, h, w) uint8 RGB, and what of `deep.ASSUMED` this took."""
    image = upright(image)
    if deep.is_deep(image):
        grey, assumed = deep.to_bytes(image)
        return torch.from_numpy(grey).expand(3, -1, -1).contiguous(), assumed
    deep.check_colours(image)
    if image.mode == "P":  # straight to RGB, Pillow warns of a transparent palette
        image = image.convert("RGBA")
    array = np.array(image if image.mode == "RGB" else image.convert("RGB"))  # writable
    return torch.from_numpy(array).permute(2, 0, 1), ()


def write_png(path: Path, pixels: Tensor) -> None:
    """Write (3, h, w) or (1, h, w) uint8 as PNG, whole or not at all."""
    array = pixels.permute(1, 2, 0).numpy()
    with written_whole(path) as file:
        # Level 1 is three times faster than the default and 10 to 20 % larger.
        Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array).save(
            file, "PNG", compress_level=1)

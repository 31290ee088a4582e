"""How does a picture file become a tensor, whatever it was saved as, and a tensor a file?

JPEG, PNG, BMP, TIFF and WebP are read, and known by their content, not by their name.

| in the file | what is made of it |
|---|---|
| palette, grey, CMYK | RGB |
| transparency | dropped: the colours under it count |
| 16 bits, floats | scaled to 0..255; refused if any is NaN or infinite |
| pages or frames after the first | not read; `remark` says so |
| EXIF orientation | the picture is turned upright; damaged EXIF data are passed over |
| more pixels than the limit | refused before they are decoded |
| cut off, empty, no such format, a pipe, a folder | refused |

Whatever is refused is a ValueError or an OSError whose text names the file and is one line. (Of a
damaged compressed TIFF, libtiff prints lines of its own to stderr, past Python.)
"""

import logging
import os
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from unet_resnet.files import check_ours, ends_of, one_line, written_whole

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")  # Pillow would run Ghostscript on PostScript
MASK_THRESHOLD = 127  # grey values above are crack; JPEG masks carry noise around 0 and 255
MAX_MEGAPIXELS = 400  # above, a file is taken for a decompression bomb
LIMIT = "UNET_RESNET_MAX_MEGAPIXELS"  # environment variable that sets another limit
SOFTWARE = "unet_resnet"  # stands in every PNG written here, so that a rerun knows its own files
MARK = b"tEXtSoftware\0" + SOFTWARE.encode()  # so it does in their bytes
ORIENTATION = 0x0112  # EXIF tag
TURNS = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
         4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
         6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90}

Image.MAX_IMAGE_PIXELS = None  # Pillow warns from 89 megapixels; the limit above takes its place
# It warns of damaged EXIF data and logs what it then raises: one line of ours says more.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)


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
def opened(path: Path) -> Iterator[Image.Image]:
    """The image at `path`, not yet decoded.

    Raises FileNotFoundError, or ValueError with the file's name in it for whatever Pillow cannot
    read in the block.
    """
    try:
        found = os.stat(path)
        if stat.S_ISDIR(found.st_mode):
            os.listdir(path)  # that it may not be read is the better reason
            raise ValueError("a folder, not a picture")
        if not stat.S_ISREG(found.st_mode):  # a named pipe would keep us waiting
            raise ValueError("not a regular file")
        if not found.st_size:
            raise ValueError("the file is empty")
        with Image.open(path, formats=FORMATS) as image:
            check_megapixels(image.height, image.width)
            yield image
    except FileNotFoundError:
        reason = "a link to a file that is not there" if path.is_symlink() else "no such file"
        raise FileNotFoundError(f"{one_line(path)}: {reason}") from None
    # Pillow's decoders raise nearly anything on damaged files: SyntaxError, struct.error, ...
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):
            reason = f"not a picture in a format that can be read ({', '.join(FORMATS)})"
        raise ValueError(f"{one_line(path)}: {one_line(reason)}") from error


def remark(path: Path) -> str:
    """What of a picture file is left out, or ""."""
    with opened(path) as image:
        # An MPO is a JPEG of a phone with a preview or a depth map behind it.
        more = getattr(image, "is_animated", False) and image.format != "MPO"
    return "only the first of its pages or frames is read" if more else ""


def upright(image: Image.Image) -> Image.Image:
    """The decoded image as it is to be looked at; itself, not a copy, where it stands upright."""
    image.load()  # here, for what is raised below is not to hide that it cannot be
    turn = _turn(image)
    return image if turn is None else image.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return TURNS.get(image.getexif().get(ORIENTATION))
    except Exception:  # the EXIF data are damaged, which does the pixels no harm
        return None


def size_of(path: Path) -> tuple[int, int]:
    """Height and width in pixels as read_photo would return them; few formats are decoded for it.
    """
    with opened(path) as image:
        # EXIF data may stand at a PNG's end; versions of Pillow turn TIFFs when opened or decoded.
        if image.format in ("PNG", "TIFF"):
            image.load()
        turned = _turn(image) in (TURNS[5], TURNS[6], TURNS[7], TURNS[8])
        return (image.width, image.height) if turned else (image.height, image.width)


def read_photo(path: Path) -> Tensor:
    """The photograph upright, as (3, h, w) uint8 RGB.

    Transparency is dropped; 16-bit and float pictures are scaled to 0..255.
    """
    with opened(path) as image:
        return to_rgb(upright(image))


def to_rgb(image: Image.Image) -> Tensor:
    """A PIL image as (3, h, w) uint8 RGB, as `read_photo` gives it."""
    if _is_deep(image):
        return _deep_to_uint8(image).expand(3, -1, -1).contiguous()
    if image.mode == "P":  # straight to RGB, Pillow warns of a transparent palette
        image = image.convert("RGBA")
    return _to_tensor(image if image.mode == "RGB" else image.convert("RGB"))


def read_grey(path: Path) -> Tensor:
    """The picture upright, as (1, h, w) uint8 grey values."""
    with opened(path) as image:
        image = upright(image)
        return _deep_to_uint8(image) if _is_deep(image) else _to_tensor(image.convert("L"))


def read_mask(path: Path) -> Tensor:
    """The mask as (1, h, w) uint8: 1 where there is crack (grey value above 127), else 0.

    A mask whose only values are 0 and 1 is read as such; JPEG masks are not, for there a 1 is
    noise on black. The data report counts 0/1 masks aloud.
    """
    grey = read_grey(path)
    threshold = 0 if is_zero_one(path, grey) else MASK_THRESHOLD
    return (grey > threshold).to(torch.uint8)


def is_zero_one(path: Path, grey: Tensor) -> bool:
    """Whether these grey values are labels 0 and 1 in place of 0 and 255."""
    return grey.max().item() == 1 and path.suffix.lower() not in (".jpg", ".jpeg")


def _is_deep(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")


def _deep_to_uint8(image: Image.Image) -> Tensor:
    """Grey values of 16 bits or float; what they mean is told by the highest of them.

    Whole numbers up to 255 are those of 8 bits in a wider type, as label programs write them;
    above, they fill 16 bits. Floats up to 1 fill 0..1; above, 0..255.
    """
    grey = torch.from_numpy(np.array(image, dtype=np.float32))
    if not grey.isfinite().all():
        raise ValueError("its grey values are not all finite; save it again as 8 or 16 bit")
    low, high = (1.0, 255.0) if image.mode == "F" else (255.0, 65535.0)
    top = low if grey.max() <= low else high
    return (grey / top * 255).round().clamp(0, 255).to(torch.uint8)[None]


def _to_tensor(image: Image.Image) -> Tensor:
    array = np.array(image)  # a copy: torch wants to own writable memory
    return torch.from_numpy(array.reshape(image.height, image.width, -1)).permute(2, 0, 1)


def write_png(path: Path, pixels: Tensor, photo: str = "") -> None:
    """Write (3, h, w) or (1, h, w) uint8 as PNG, whole or not at all.

    `photo` tells of which photo it is (`inputs.mark_of`) and is kept in the file.
    Raises FileExistsError where `path` is a file that was not written by this function, or of
    another photo.
    """
    check_ours(path, MARK)
    known = signed(path) if photo else set()
    if known and known.isdisjoint(photo.split()):  # names are kept apart, but not between processes
        raise FileExistsError(f"{path}: meanwhile another process has written there what it found "
                              "in another photo; choose another --output")
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", signature(photo))
    array = pixels.permute(1, 2, 0).numpy()
    image = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    with written_whole(path) as file:
        # Level 1 is three times faster than the default and 10 to 20 % larger.
        image.save(file, "PNG", pnginfo=info, compress_level=1)


def signature(photo: str) -> str:
    return f"{SOFTWARE} of {photo}" if photo else SOFTWARE


def signed(path: Path) -> set[str]:
    """The two parts of `photo` that a file written here holds; none of others."""
    found = re.search(rf"{SOFTWARE} of ([0-9a-f]{{16}}) ([0-9a-f]{{16}})".encode(), ends_of(path))
    return {part.decode() for part in found.groups()} if found else set()


def is_ours(path: Path) -> bool:
    """Whether this is a picture that write_png wrote."""
    return MARK in ends_of(path)

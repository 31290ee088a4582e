"""How does a picture file become a tensor, whatever it was saved as, and a tensor a file?"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, PngImagePlugin
from torch import Tensor

from unet_resnet.files import written_whole

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
MASK_THRESHOLD = 127  # grey values above are crack; JPEG masks carry noise around 0 and 255
MAX_MEGAPIXELS = 400  # above, a file is taken for a decompression bomb
SOFTWARE = "unet_resnet"  # stands in every PNG written here, so that a rerun knows its own files

Image.MAX_IMAGE_PIXELS = None  # Pillow warns from 89 megapixels; the limit above takes its place


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The image at `path`, not yet decoded.

    Raises ValueError, with the file's name in it, for whatever Pillow cannot read in the block.
    """
    try:
        with Image.open(path) as image:
            megapixels = image.width * image.height / 1e6
            if megapixels > MAX_MEGAPIXELS:
                raise ValueError(f"{megapixels:.0f} megapixels, more than {MAX_MEGAPIXELS}; "
                                 "cut it into parts")
            yield image
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    # Pillow's decoders raise nearly anything on damaged files: SyntaxError, struct.error, ...
    except Exception as error:
        reason = str(error) or type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "not a picture in a format that can be read"
        raise ValueError(f"{path}: {reason}") from error


def size_of(path: Path) -> tuple[int, int]:
    """Height and width in pixels as read_photo would return them, from the header alone."""
    with opened(path) as image:
        if image.format == "TIFF":  # some versions of Pillow turn its size already when opened
            image = ImageOps.exif_transpose(image)
            return image.height, image.width
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # quarter turns
        return (image.width, image.height) if turned else (image.height, image.width)


def read_photo(path: Path) -> Tensor:
    """The photograph upright, as (3, h, w) uint8 RGB.

    Transparency is dropped; 16-bit and float pictures are scaled to 0..255.
    """
    with opened(path) as image:
        ImageOps.exif_transpose(image, in_place=True)  # no copy where nothing is to be turned
        return to_rgb(image)


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
        image = ImageOps.exif_transpose(image)
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


def write_png(path: Path, pixels: Tensor) -> None:
    """Write (3, h, w) or (1, h, w) uint8 as PNG, whole or not at all.

    Raises FileExistsError where `path` is a file that was not written by this function.
    """
    if path.exists() and not is_ours(path):
        raise FileExistsError(f"{path} exists and was not written by {SOFTWARE}; it is left alone:"
                              " choose another --output")
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", SOFTWARE)
    array = pixels.permute(1, 2, 0).numpy()
    image = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    with written_whole(path) as file:
        # Level 1 is three times faster than the default and 10 to 20 % larger.
        image.save(file, "PNG", pnginfo=info, compress_level=1)


def is_ours(path: Path) -> bool:
    """Whether this is a picture that write_png wrote."""
    try:
        with opened(path) as image:
            return image.info.get("Software") == SOFTWARE
    except ValueError:
        return False

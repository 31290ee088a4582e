"""How does a mask file become crack or not crack, pixel by pixel?

Masks have no standard: cracks are 255, or 1, or red, or numbered, or opaque. The audit looks
at a whole folder and makes a `Rule`, by which each of its files is read here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageChops
from torch import Tensor

from unet_resnet.images import QUARTER_TURNS, opened, turn_of, upright

WHITE = 255
NEAR = 48  # so close to black or white, values may be noise of a JPEG or of resampling
REMEDY = f"save cracks as {WHITE} and all else as 0"
UNTURNED = "if masks are drawn on the photos as stored, add --masks-unturned"


@dataclass(frozen=True)
class Rule:
    """How the masks of a folder are read: crack is brighter than `threshold`."""

    threshold: int = WHITE // 2
    in_alpha: bool = False  # crack is more opaque than that, instead
    unturned: bool = False  # masks are drawn on the stored pixels of photos that EXIF turns

    def read(self, mask: Path, photo: Path) -> Tensor:
        """The mask of a photo, upright, as (1, h, w) uint8: 1 for crack, else 0.

        Raises OSError or ValueError, naming the file, if it cannot be read.
        """
        turn = exif_turn(photo) if self.unturned else None
        with opened(mask) as image:
            turn = turn if turn_of(image) is None else None
            values, _, alpha = decoded(image)
        if self.in_alpha:
            values = np.zeros_like(values) if alpha is None else alpha
        crack = (values > self.threshold).astype(np.uint8)
        if turn is not None:
            crack = np.array(Image.fromarray(crack).transpose(turn))
        return torch.from_numpy(crack)[None]


def exif_turn(photo: Path) -> Image.Transpose | None:
    with opened(photo) as image:
        return turn_of(image)


def misfit(mask: Sequence[int], photo: Sequence[int], turn: Image.Transpose | None) -> str:
    """Why a mask (h, w) does not fit its photo (h, w), which EXIF may turn, and what to do."""
    sizes = f"{mask[1]}x{mask[0]} pixels, but its photo has {photo[1]}x{photo[0]}"
    if turn in QUARTER_TURNS and tuple(mask) == tuple(photo)[::-1]:
        return f"{sizes} after EXIF turns it; {UNTURNED}"
    return f"{sizes}; export the mask at the photo's size"


def decoded(image: Image.Image) -> tuple[np.ndarray, Image.Image | None, np.ndarray | None]:
    """Of a mask, upright: brightness (h, w); the image in RGB if it has colours; opacity (h, w) if
    only that varies. Where colours and transparency vary, the image is laid on black.
    """
    lossy, image = image.format == "JPEG", upright(image)
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

"""How does a mask file become crack or not crack, pixel by pixel?

Masks have no standard: cracks are 255, or 1, or red. The audit looks at a whole folder and makes a
`Rule`, by which each of its files is read here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageChops
from torch import Tensor

from unet_resnet.images import QUARTER_TURNS, exif_turn, open_image, upright

WHITE = 255
NEAR = 48  # values this close to black or white may be noise of a JPEG or of resampling
REMEDY = f"save cracks as {WHITE} and all else as 0"
UNTURNED = "if masks are drawn on the photos as stored, add --masks-unturned"


@dataclass(frozen=True)
class Rule:
    """How the masks of a folder are read: crack is brighter than `threshold`."""

    threshold: int = WHITE // 2
    unturned: bool = False  # masks are drawn on the stored pixels of photos that EXIF turns

    def read(self, mask: Path, photo: Path) -> Tensor:
        """The mask of a photo, upright, as (1, h, w) uint8: 1 for crack, else 0.

        Raises OSError or ValueError, naming the file, if it cannot be read.
        """
        turn = photo_turn(photo) if self.unturned else None
        with open_image(mask) as image:
            turn = turn if exif_turn(image) is None else None
            crack = np.uint8(brightness(decoded(image)) > self.threshold)
        if turn is not None:
            crack = np.array(Image.fromarray(crack).transpose(turn))
        return torch.from_numpy(crack)[None]


def photo_turn(photo: Path) -> Image.Transpose | None:
    with open_image(photo) as image:
        return exif_turn(image)


def size_mismatch(mask: Sequence[int], photo: Sequence[int], turn: Image.Transpose | None) -> str:
    """Why a mask (h, w) does not fit its photo (h, w), which EXIF may turn, and what to do."""
    sizes = f"{mask[1]}x{mask[0]} pixels, but its photo has {photo[1]}x{photo[0]}"
    if turn in QUARTER_TURNS and tuple(mask) == tuple(photo)[::-1]:
        return f"{sizes} after EXIF turns it; {UNTURNED}"
    return f"{sizes}; export the mask at the photo's size"


def decoded(image: Image.Image) -> Image.Image:
    """A mask, upright, on black where it is transparent: in mode L, or in RGB if it has colours."""
    lossy, image = image.format == "JPEG", upright(image)
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(as_bytes(np.array(image)))
    stored = image
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "black"), layer).convert("RGB")
    image = image.convert("RGB" if image.mode not in ("1", "L") else "L")
    if is_uniform(image) and not is_uniform(stored):
        raise ValueError(f"its palette or its transparency hides what is drawn; {REMEDY}")
    bands = image.split()
    colour = ImageChops.difference(reduce(ImageChops.lighter, bands),
                                   reduce(ImageChops.darker, bands))
    return image.convert("L") if colour.getextrema()[1] <= (NEAR // 3 if lossy else 0) else image


def brightness(image: Image.Image) -> np.ndarray:
    """(h, w) uint8: the highest channel of each pixel."""
    return np.array(reduce(ImageChops.lighter, image.split()))


def is_uniform(image: Image.Image) -> bool:
    return all(low == high for low, high in (band.getextrema() for band in image.split()))


def as_bytes(array: np.ndarray) -> np.ndarray:
    """Values of 16 bits or floats as 0..255. White is 65535 where the highest value is above 255, 1
    for floats up to 1, else 255."""
    if not np.isfinite(array).all() or array.min() < 0:
        raise ValueError(f"its values are negative or not finite; {REMEDY}")
    high = array.max()
    top = (max(65535, high) if high > WHITE
           else 1 if array.dtype.kind == "f" and high <= 1 else WHITE)
    if 20 * np.count_nonzero((array > 0) & (array < top / 512)) > np.count_nonzero(array):
        raise ValueError(f"has values up to {high:g}, too high for its other values; {REMEDY}")
    return np.rint(array * (WHITE / top)).astype(np.uint8)

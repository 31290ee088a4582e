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

from unet_resnet.images import exif_turn, is_deep, open_image, upright

WHITE = 255
REMEDY = f"save cracks as {WHITE} and all else as 0"
UNTURNED = "if masks fit the photos as stored, before EXIF turns them, add --masks-unturned"


@dataclass(frozen=True)
class Rule:
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
    image = upright(image)
    if is_deep(image):
        raise ValueError(f"a mask of more than 8 bits; {REMEDY}")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "black"), layer)
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def brightness(image: Image.Image) -> np.ndarray:
    """(h, w) uint8: the highest channel of each pixel."""
    return np.array(reduce(ImageChops.lighter, image.split()))


def size_mismatch(mask: Sequence[int], photo: Sequence[int]) -> str:
    """That a mask (h, w) does not fit its photo (h, w), and what to do."""
    swapped = tuple(mask) == tuple(photo)[::-1]
    return (f"{mask[1]}x{mask[0]} pixels, but its photo has {photo[1]}x{photo[0]}; "
            + (UNTURNED if swapped else "export the mask at the photo's size"))

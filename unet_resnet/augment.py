"""How does one photo become many crops, with image and mask in step?

The geometry here moves both together; confusers and photometric transforms are in synthetic/. All
randomness comes from the torch.Generator passed in: same state, same crop.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

# On an image (3, h, w) float in 0..1 and a mask (1, h, w) float 0/1.
Confuse = Callable[[Tensor, Tensor, Generator], tuple[Tensor, Tensor]]
Photometric = Callable[[Tensor, Generator], Tensor]


def uniform(low: float, high: float, generator: Generator) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()


def happens(probability: float, generator: Generator) -> bool:
    return torch.rand((), generator=generator).item() < probability


class Augment:
    """One random crop of an image (3, h, w) uint8 and its mask (1, h, w) uint8 0/1, of any size.

    Returns (3, crop, crop) float32 in 0..1 and (1, crop, crop) float32 0/1. Half of the crops keep
    the photo's own pixels, flipped or turned by quarter turns. The others are rotated by any angle
    and scaled, log-uniformly within `scales`: cracks wider than those of the data are learned from
    enlarged photos. A photo smaller than the crop is extended by reflection. `confuse` (image,
    mask, generator) paints crack-like things into some of the crops; `photometric` (image,
    generator) changes light, lens and file.

    With a `strength` below 1, the scales are nearer to 1, and fewer crops are confused or changed
    photometrically: a trained network gains from crops more like the photos it will see, as in the
    last epochs of YOLOX (Ge et al., 2021).
    """

    def __init__(self, crop: int, confuse: Confuse | None = None,
                 photometric: Photometric | None = None, strength: float = 1.0,
                 scales: tuple[float, float] = (0.5, 3.0), warp_probability: float = 0.5,
                 confuse_probability: float = 0.4) -> None:
        self.crop, self.confuse, self.photometric = crop, confuse, photometric
        self.scales = [scale ** strength for scale in scales]
        self.warp_probability = warp_probability
        self.confuse_probability = strength * confuse_probability
        self.photometric_probability = strength

    def __call__(self, image: Tensor, mask: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        size = self.crop
        if warped := happens(self.warp_probability, generator):
            angle = uniform(-math.pi, math.pi, generator)
            scale = math.exp(uniform(*map(math.log, self.scales), generator))
            size = window_size(self.crop, angle, scale)
        both = random_window(torch.cat((image, mask)), size, generator)
        both = flip_and_turn(both, generator).float()
        image, mask = both[:3] / 255, both[3:]
        if warped:
            image = warp(image, self.crop, angle, scale, "bilinear")
            mask = warp(mask, self.crop, angle, scale, "nearest")
        if self.confuse and happens(self.confuse_probability, generator):
            image, mask = self.confuse(image, mask, generator)
        if self.photometric and happens(self.photometric_probability, generator):
            image = self.photometric(image, generator)
        return image, mask


def flip_and_turn(both: Tensor, generator: Generator) -> Tensor:
    """(c, h, w) under one of the eight symmetries of the square, exact to the pixel."""
    if happens(0.5, generator):
        both = both.flip(-1)
    return both.rot90(int(torch.randint(4, (), generator=generator)), (-2, -1))


def window_size(crop: int, angle: float, scale: float) -> int:
    """Side of the square of source pixels that a rotated and scaled crop reads."""
    reach = crop / scale * (abs(math.sin(angle)) + abs(math.cos(angle)))
    return math.ceil(reach) + 2  # bilinear reads one pixel further on each side


def random_window(both: Tensor, size: int, generator: Generator) -> Tensor:
    """A square (c, size, size) from anywhere in a photo (c, h, w); a side that is too short lies
    anywhere in the square and is mirrored beyond its ends."""
    beyond = [(0, 0)]
    for dim, length in enumerate(both.shape[1:], start=1):
        low, high = sorted((0, length - size))
        start = int(torch.randint(low, high + 1, (), generator=generator))
        both = both.narrow(dim, max(start, 0), min(size, length))
        beyond.append((max(-start, 0), max(start + size - length, 0)))
    if beyond == [(0, 0)] * 3:
        return both
    return torch.from_numpy(np.pad(both.numpy(), beyond, "symmetric"))  # F.pad omits the edge


def warp(window: Tensor, crop: int, angle: float, scale: float, mode: str) -> Tensor:
    """The middle of a float window (c, s, s), turned by `angle` radians and magnified by `scale`.

    Returns (c, crop, crop). Coordinates are those of pixel centres (align_corners=False): with
    align_corners=True, mask and image would move against each other by half a pixel, and a shift of
    one pixel costs a quarter of the IoU on thin cracks. "nearest" keeps the area of a crack on
    average, but breaks one of less than 1 / scale pixels into dashes.
    """
    # grid_sample's window spans -1..1, so the crop's pixel centres span a part of that.
    reach = (crop - 1) / (window.shape[-1] * scale)
    centres = torch.linspace(-reach, reach, crop)
    along, across = centres * math.cos(angle), centres * math.sin(angle)
    # For column c and row r, x = c cos - r sin and y = r cos + c sin: sums of a row and a column,
    # five times faster than affine_grid's product of matrices.
    grid = torch.stack((along - across[:, None], across + along[:, None]), dim=-1)
    return F.grid_sample(window[None], grid[None], mode, "border", align_corners=False)[0]

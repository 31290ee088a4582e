"""How is a mask dilated by a distance, and thinned to its centre line?"""

import operator
from functools import reduce

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def dilate_disk(mask: Tensor, radius: int) -> Tensor:
    """All pixels within Euclidean distance `radius` of a pixel of the mask: (h, w) bool."""
    height, width = mask.shape
    padded = F.pad(mask, (radius,) * 4)
    steps = range(-radius, radius + 1)
    disc = [(y, x) for y in steps for x in steps if x * x + y * y <= radius * radius]
    return reduce(operator.or_, (padded[radius + y:, radius + x:][:height, :width]
                                 for y, x in disc))


def _deletable() -> np.ndarray:
    """In which neighbourhoods may a pixel be deleted? (2 steps, 256 neighbourhoods) bool.

    Bits 0..7 are P2..P9 of Zhang & Suen 1984: clockwise from the upper neighbour.
    """
    ring = np.arange(256)[:, None] >> np.arange(8) & 1
    neighbours = ring.sum(1)
    rises = (ring < np.roll(ring, -1, 1)).sum(1)
    up, right, down, left = ring[:, ::2].T
    outline = (neighbours >= 2) & (neighbours <= 6) & (rises == 1)
    steps = np.stack([outline & (right & down & (up | left) == 0),
                      outline & (up & left & (right | down) == 0)])
    # The paper's rule wipes out 2x2 squares and leaves stairs two pixels wide. scikit-image, the
    # usual basis of clDice, decides these neighbourhoods the other way.
    steps[0, [5, 12, 20, 24, 28, 48, 65, 67, 80, 96, 97, 99, 112, 133, 192, 208]] ^= True
    steps[1, [3, 5, 6, 7, 13, 20, 24, 52, 54, 65, 80, 88, 129, 192, 193]] ^= True
    return steps


DELETABLE = _deletable()


def thin(mask: Tensor) -> Tensor:
    """The centre lines of a mask, one pixel wide: (h, w) bool -> (h, w) bool.

    Zhang & Suen 1984, pixel for pixel as scikit-image's `skeletonize`: two steps alternate, and
    each deletes at once every outline pixel it may, until neither finds any.
    """
    # A copy; beyond the border is background.
    padded = np.pad(np.ascontiguousarray(mask.numpy()), 1)
    row, pixels = padded.shape[1], padded.reshape(-1)
    offsets = np.array([-row, 1 - row, 1, row + 1, row, row - 1, -1, -row - 1])
    left, before = np.flatnonzero(pixels), None
    while left.size != before:
        before = left.size
        for deletable in DELETABLE:
            code = np.zeros(left.size, np.uint8)
            for bit, offset in enumerate(offsets):
                code |= pixels[left + offset] << np.uint8(bit)
            pixels[left[deletable[code]]] = False
            left = left[pixels[left]]
    return torch.from_numpy(padded[1:-1, 1:-1])

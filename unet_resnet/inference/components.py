"""Which pixels of a mask are connected, and in how large areas?"""

import numpy as np
import torch
from torch import Tensor


def without_specks(mask: Tensor, least: int) -> Tensor:
    """The mask (h, w) bool without its components (8-connected) of fewer than `least` pixels.

    Each pixel takes the lowest number among its neighbours, then the number of that number, until
    neighbours agree (Shiloach and Vishkin, 1982): few rounds, however long a crack is. The cost
    grows with the area of the cracks.
    """
    row = mask.shape[1] + 2  # beyond the border is background
    pixels = np.flatnonzero(np.pad(mask.numpy(), 1))
    ends = []
    for offset in (1, row - 1, row, row + 1):  # the other four see the same pairs from behind
        place = np.searchsorted(pixels, pixels + offset).clip(max=max(pixels.size - 1, 0))
        here = np.flatnonzero(pixels[place] == pixels + offset)
        ends.append(np.stack((here, place[here])))
    pairs, number = np.concatenate(ends, 1), np.arange(pixels.size)
    while pairs.size:
        lowest = number[pairs].min(0)
        for end in pairs:
            np.minimum.at(number, number[end], lowest)
        while (number != (further := number[number])).any():
            number = further
        one, other = number[pairs]
        pairs = pairs[:, one != other]
    large = np.bincount(number, minlength=1)[number] >= least
    kept = torch.zeros(mask.shape, dtype=torch.bool)
    kept[np.divmod(pixels[large] - row - 1, row)] = True
    return kept

"""Which pixels of a mask are connected, and in how large areas?

A run is a stretch of crack pixels in one row. Runs of neighbouring rows that touch are joined,
after the labelling of runs by He, Chao and Suzuki (2008).
"""

import numpy as np
import torch
from torch import Tensor


def remove_small_areas(mask: Tensor, min_area: int) -> Tensor:
    """The mask (h, w) bool without its components (8-connected) of fewer than `min_area` pixels."""
    padded = np.pad(mask.numpy(), ((0, 0), (1, 1)))  # so that no run goes on in the next row
    flat, row = padded.ravel(), padded.shape[1]
    starts, ends = (np.flatnonzero(flat[1:] != flat[:-1]) + 1).reshape(-1, 2).T.copy()
    # Of two runs that touch, one is the first that touches the other: runs that both come later
    # would have to cross.
    index, pairs = np.arange(starts.size), []
    for step in (row, -row):
        first = np.searchsorted(ends, starts + step).clip(max=max(starts.size - 1, 0))
        touch = (starts[first] <= ends + step) & (ends[first] >= starts + step)
        pairs.append(np.stack((index[touch], first[touch])))
    component = connected_components(np.concatenate(pairs, 1), starts.size)
    large = np.bincount(component, ends - starts, starts.size)[component] >= min_area
    flat[flat] = np.repeat(large, ends - starts)
    return torch.from_numpy(padded[:, 1:-1].copy())


def connected_components(pairs: np.ndarray, count: int) -> np.ndarray:
    """For each number below `count`, the lowest that pairs (2, n) connect it with.

    The higher of a pair points to the lowest partner, then to where that points, until pairs agree
    (Shiloach and Vishkin, 1982): few rounds, however long a crack is.
    """
    lowest = np.arange(count)
    while pairs.size:
        np.minimum.at(lowest, pairs.max(0), pairs.min(0))
        while (lowest != (further := lowest[lowest])).any():
            lowest = further
        pairs = lowest[pairs]
        pairs = pairs[:, pairs[0] != pairs[1]]
    return lowest

"""Which pixels of a mask are connected, and in how large areas?

A run is a stretch of crack pixels in one row. Runs of neighbouring rows that touch are joined,
after the labelling of runs by He, Chao and Suzuki (2008), in bands of rows: memory follows the
photo, not its cracks.
"""

import numpy as np
import torch
from torch import Tensor

BAND = 2**18  # pixels; of a whole band, indices of 64 bits are in memory


def without_specks(mask: Tensor, least: int) -> Tensor:
    """The mask (h, w) bool without its components (8-connected) of fewer than `least` pixels.

    At most 8 bytes per pixel are needed besides, whatever is in the mask.
    """
    pixels, (height, width) = mask.numpy(), mask.shape
    tops = range(0, height, max(1, BAND // max(1, width)))
    labels, sizes, pairs, count = [np.empty(0, np.int32)], [], [], 0
    for top in tops:
        # The row above is read twice: its labels in both bands belong together.
        starts, ends = runs(pixels[max(0, top - 1):top + tops.step])
        label, found = components(starts, ends, width + 1)
        label += count
        count += found
        again = np.searchsorted(starts, width) if top else 0
        pairs.append(np.stack((labels[-1][len(labels[-1]) - again:], label[:again])))
        labels.append(label[again:])
        sizes.append(np.bincount(labels[-1] - (count - found), (ends - starts)[again:], found)
                     .astype(np.int32))
    size = np.concatenate([*sizes, np.empty(0, np.int32)])
    lowest = joined(np.concatenate([*pairs, np.empty((2, 0), np.int32)], 1), size.size)
    moved = np.flatnonzero(lowest != np.arange(size.size, dtype=np.int32))
    np.add.at(size, lowest[moved], size[moved])  # bincount would take floats of 64 bits
    large = (size >= least)[lowest]
    kept = np.zeros_like(pixels)
    for top, label in zip(tops, labels[1:]):
        band = pixels[top:top + tops.step]
        starts, ends = runs(band)
        kept[top:top + tops.step][band] = np.repeat(large[label], ends - starts)
    return torch.from_numpy(kept)


def runs(band: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the runs of a band (h, w) bool start and end, with one column of background added at
    the right: row * (w + 1) + column; the end is the first pixel after a run."""
    padded = np.zeros((band.shape[0], band.shape[1] + 1), bool)
    padded[:, :-1] = band
    flat = padded.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate(([0], edges)) if flat[:1].any() else edges
    return edges[::2], edges[1::2]


def components(starts: np.ndarray, ends: np.ndarray, row: int) -> tuple[np.ndarray, int]:
    """The component, from 0, of each run in rows of `row` pixels; and how many there are.

    Of two runs that touch, one is the first that touches the other: runs that both come later
    would have to cross.
    """
    index, pairs = np.arange(starts.size, dtype=np.int32), []
    for step in (row, -row):
        first = np.searchsorted(ends, starts + step).clip(max=max(starts.size - 1, 0))
        touch = (starts[first] <= ends + step) & (ends[first] >= starts + step)
        pairs.append(np.stack((index[touch], first[touch].astype(np.int32))))
    lowest = joined(np.concatenate(pairs, 1), starts.size)
    own = lowest == index
    return (own.cumsum(dtype=np.int32) - 1)[lowest], int(own.sum())


def joined(pairs: np.ndarray, count: int) -> np.ndarray:
    """For each number below `count`, the lowest that pairs (2, n) connect it with.

    The higher of a pair points to the lowest partner, then to where that points, until pairs agree
    (Shiloach and Vishkin, 1982): few rounds, however long a crack is.
    """
    lowest = np.arange(count, dtype=np.int32)
    while pairs.size:
        np.minimum.at(lowest, pairs.max(0), pairs.min(0))
        while (lowest != (further := lowest[lowest])).any():
            lowest = further
        pairs = lowest[pairs]
        pairs = pairs[:, pairs[0] != pairs[1]]
    return lowest

"""Are specks what scipy's labels say?"""

import tracemalloc

import numpy as np
import pytest
import torch
from scipy.ndimage import label
from torch import Generator, Tensor

from unet_resnet.inference.components import remove_small_areas


def by_labels(mask: Tensor, least: int) -> Tensor:
    labels, _ = label(mask.numpy(), np.ones((3, 3)))
    large = np.bincount(labels.ravel()) >= least
    large[0] = False
    return torch.from_numpy(large[labels])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.45, 0.7, 1.0])
def test_specks_are_those_of_scipy(share):
    generator = Generator().manual_seed(0)
    for _ in range(30):
        height, width = torch.randint(1, 60, (2,), generator=generator).tolist()
        mask = torch.rand(height, width, generator=generator) < share
        before = mask.clone()
        for least in (0, 1, 2, 5, 30):
            assert torch.equal(remove_small_areas(mask, least), by_labels(mask, least))
        assert torch.equal(mask, before)


def test_a_long_crack_and_one_across_the_border():
    """A snake through all of the picture is one crack; rows do not hang together at their ends."""
    mask = torch.zeros(200, 200, dtype=torch.bool)
    for row in range(0, 200, 4):
        mask[row] = True
        mask[row:row + 4, -1 if row % 8 else 0] = True
    assert torch.equal(remove_small_areas(mask, int(mask.sum())), mask)
    mask = torch.zeros(4, 9, dtype=torch.bool)
    mask[1, -1] = mask[2, 0] = True
    assert not remove_small_areas(mask, 2).any()
    assert torch.equal(remove_small_areas(mask.t(), 1), mask.t())


def test_memory_follows_the_photo():
    """Where cracks cover a part of it. NumPy reports its memory to tracemalloc."""
    mask = torch.zeros(1500, 1700, dtype=torch.bool)
    mask[::40] = mask[:, ::60] = True
    mask |= torch.rand(mask.shape, generator=Generator().manual_seed(0)) < 0.01
    tracemalloc.start()
    try:
        found = remove_small_areas(mask, 9)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 16 * mask.numel()
    assert torch.equal(found, by_labels(mask, 9))

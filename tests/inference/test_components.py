"""Are specks what scipy's labels say?"""

import tracemalloc

import numpy as np
import pytest
import torch
from scipy.ndimage import label
from torch import Generator, Tensor

from unet_resnet.inference.components import without_specks


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
            assert torch.equal(without_specks(mask, least), by_labels(mask, least))
        assert torch.equal(mask, before)


def test_a_long_crack_and_one_across_the_border():
    """A snake through all of the picture is one crack; rows do not hang together at their ends."""
    mask = torch.zeros(200, 200, dtype=torch.bool)
    for row in range(0, 200, 4):
        mask[row] = True
        mask[row:row + 4, -1 if row % 8 else 0] = True
    assert torch.equal(without_specks(mask, int(mask.sum())), mask)
    mask = torch.zeros(4, 9, dtype=torch.bool)
    mask[1, -1] = mask[2, 0] = True
    assert not without_specks(mask, 2).any()
    assert torch.equal(without_specks(mask.t(), 1), mask.t())


SHAPE = 1500, 1700
DRAWN = torch.zeros(2, *SHAPE, dtype=torch.bool)
DRAWN[0, ::2, ::2] = DRAWN[0, 1::2, 1::2] = True
DRAWN[1, ::2, ::2] = True


@pytest.mark.parametrize("mask", [
    torch.ones(SHAPE, dtype=torch.bool), DRAWN[0], DRAWN[1], DRAWN[1] | DRAWN[1].roll(1, 0),
    torch.rand(SHAPE, generator=Generator().manual_seed(0)) < 0.4],
    ids=["full", "checkerboard", "dots", "columns", "random"])
def test_memory_follows_the_photo_and_not_its_cracks(mask):
    """Over many bands, too, the answer is scipy's. NumPy reports its memory to tracemalloc."""
    tracemalloc.start()
    try:
        found = without_specks(mask, 9)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 8 * mask.numel()
    assert torch.equal(found, by_labels(mask, 9))

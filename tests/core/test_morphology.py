"""Widths by their definition, centre lines by scipy's and scikit-image's morphology."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.morphology import skeletonize
from torch import Generator, Tensor
from torch.nn import functional as F

from unet_resnet.data import WIDTHS
from unet_resnet.morphology import dilate, skeletons, width_classes


# Widths

@pytest.mark.parametrize("seed", range(6))
def test_width_classes_are_those_of_the_largest_square_around_each_pixel(seed):
    """Compared with the definition, square by square; the mask is smaller than one limit."""
    limits = (1, 2, 3, 5, 8, 20)
    mask = torch.rand(1, 14, 17, generator=Generator().manual_seed(seed)) > (0.05, 0.2)[seed % 2]
    wanted = np.zeros((14, 17), int)
    for order, side in enumerate(limits, start=1):
        for y in range(14 - side + 1):
            for x in range(17 - side + 1):
                if mask[0, y:y + side, x:x + side].all():
                    wanted[y:y + side, x:x + side] = order
    found = width_classes(mask.to(torch.uint8), limits)
    assert found.dtype == torch.uint8 and np.array_equal(found[0], wanted)
    assert len(np.unique(wanted)) > 3


def test_width_classes_of_a_photo_with_a_narrow_and_a_wide_crack():
    mask = torch.zeros(1, 80, 90, dtype=torch.uint8)
    mask[:, 5:10, :] = 1
    mask[:, :, 20:70] = 1
    found = width_classes(mask, WIDTHS)[0]
    assert (found[:, 20:70] == 4).all() and (found[5:10, :20] == 1).all()
    assert (found[mask[0] == 0] == 0).all()


@pytest.mark.parametrize("reach", [3, 10, 25])
def test_a_diagonal_crack_counts_as_at_most_the_root_of_2_narrower(reach):
    rows, columns = torch.arange(120)[:, None], torch.arange(120)
    mask = ((rows - columns).abs() <= reach).to(torch.uint8)[None]
    width = (2 * reach + 1) / 2**0.5
    found = int(width_classes(mask, range(1, 60))[0, 60, 60])
    assert width / 2**0.5 <= found <= width


# Centre lines

def strokes(seed: int, count: int = 3, side: int = 96) -> Tensor:
    """Masks (N, 1, side, side) of smooth curves, 1 to 13 pixels wide, some leaving the picture."""
    draw = Generator().manual_seed(seed)
    masks = torch.zeros(count, 1, side, side, dtype=torch.uint8)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    for i in range(count):
        bend, start, slope = (torch.rand(3, generator=draw) * 2 - 1).tolist()
        centre = side / 2 + side * (0.3 * start + 0.2 * bend * torch.sin(columns / 15)
                                    + slope * (columns / side - 0.5))
        masks[i, 0] = (rows - centre).abs() <= 0.7 + 3 * i
    return masks


@pytest.mark.parametrize("seed", range(4))
def test_skeletons_are_lantuejouls(seed):
    """By scipy's morphology, in which the border does not erode either."""
    masks, square = strokes(seed), np.ones((3, 3), bool)
    for mask, line in zip(masks, skeletons(masks)):
        rest, wanted = mask[0].numpy() > 0, np.zeros(mask.shape[1:], bool)
        while rest.any():
            eroded = ndimage.binary_erosion(rest, square, border_value=1)
            wanted |= rest & ~ndimage.binary_dilation(eroded, square)
            rest = eroded
        assert wanted.any() and torch.equal(line[0] > 0, torch.from_numpy(wanted))


@pytest.mark.parametrize("seed", range(4))
def test_tubes_hold_the_thinned_line(seed):
    """Without the ends at the border, where thinning stops early or late."""
    for mask, line in zip(masks := strokes(seed), skeletons(masks)):
        tube = dilate(line, 2)[0] > 0
        thinned = skeletonize(mask[0].numpy() > 0)[8:-8, 8:-8]
        assert thinned.any() and (tube.numpy()[8:-8, 8:-8] | ~thinned).all()


def test_areas_have_no_skeletons():
    for value in (0, 1):
        assert not skeletons(torch.full((2, 1, 9, 9), value, dtype=torch.uint8)).any()
    wide = torch.zeros(1, 1, 200, 200, dtype=torch.uint8)
    wide[..., 50:50 + 64 + 2, :] = 1
    assert not skeletons(wide).any()
    wide[..., 50 + 64 - 1:, :] = 0
    assert skeletons(wide).sum() == 200


@pytest.mark.parametrize("reach", [1, 2, 5])
def test_grown_areas_are_those_of_max_pooling(reach):
    masks = (torch.rand(2, 1, 30, 9, generator=Generator().manual_seed(0)) < 0.02).byte()
    wanted = F.max_pool2d(masks.float(), 2 * reach + 1, stride=1, padding=reach)
    assert wanted.any() and torch.equal(dilate(masks, reach).float(), wanted)

"""scikit-image and scipy as oracles."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import binary_dilation, distance_transform_edt
from skimage.morphology import skeletonize

from unet_resnet.evaluation.thinning import dilate_disk, thin

bounded = settings(deadline=None, max_examples=100, derandomize=True)
MASKS = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda shape: arrays(bool, shape)).map(torch.from_numpy)


@bounded
@given(MASKS)
def test_thin_equals_scikit_image(mask):
    assert np.array_equal(thin(mask), skeletonize(mask.numpy()))


def test_thin_equals_scikit_image_on_every_neighbourhood():
    for code in range(2**9):
        mask = np.array([code >> bit & 1 for bit in range(9)], bool).reshape(3, 3)
        assert np.array_equal(thin(torch.from_numpy(mask)), skeletonize(mask)), mask


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9, 0.99, 1])
def test_thin_equals_scikit_image_on_blobs_and_noise(share):
    draw = np.random.default_rng(0)
    for thickness in (0, 1, 3):
        mask = draw.random((67, 90)) < share
        if thickness:
            mask = binary_dilation(mask & (draw.random(mask.shape) < 0.02), iterations=thickness)
        before = mask.copy()
        assert np.array_equal(thin(torch.from_numpy(mask)), skeletonize(mask))
        assert np.array_equal(mask, before)  # the caller's mask is not written to


@bounded
@given(MASKS, st.integers(0, 6))
def test_dilate_equals_distance_transform(mask, radius):
    expected = (distance_transform_edt(~mask.numpy()) <= radius if mask.any()
                else np.zeros(mask.shape))  # without a mask pixel scipy has no distance
    assert np.array_equal(dilate_disk(mask, radius), expected)

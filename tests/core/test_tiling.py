"""Is the whole photograph predicted, and is no tile's edge to be seen?"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from unet_resnet.tiling import gaussian, predict, starts

bounded = settings(deadline=None, max_examples=60, derandomize=True)
SIDES, TILES, OVERLAPS = st.integers(1, 50), st.integers(1, 30), st.floats(0, 0.9)


def drawn(height: int, width: int) -> Tensor:
    draw = torch.Generator().manual_seed(height * 1000 + width)
    return torch.randint(256, (3, height, width), dtype=torch.uint8, generator=draw)


def pointwise(tiles: Tensor) -> Tensor:
    return tiles[:, :1].float() / 255


def uneven(tiles: Tensor) -> Tensor:
    """A prediction that depends on where in its tile a pixel lies, as a network's does."""
    sums = tiles[:, 1:2].double().cumsum(-1).cumsum(-2)
    return sums / sums.amax((-1, -2), keepdim=True).clamp(min=1)


def naive(photo: Tensor, tile: int, overlap: float) -> np.ndarray:
    """The definition: Gaussian-weighted mean of all tiles, in float64 pictures of full size."""
    height, width = photo.shape[-2:]
    rows, columns = min(tile, height), min(tile, width)
    y, x = np.mgrid[:rows, :columns]
    weight = np.exp(-((y - (rows - 1) / 2) / (rows / 8)) ** 2 / 2
                    - ((x - (columns - 1) / 2) / (columns / 8)) ** 2 / 2)
    sums, weights = np.zeros((2, height, width))
    for top in starts(height, tile, overlap):
        for left in starts(width, tile, overlap):
            here = slice(top, top + rows), slice(left, left + columns)
            sums[here] += weight * uneven(photo[(slice(None), *here)][None])[0, 0].numpy()
            weights[here] += weight
    return sums / weights


# Where the tiles lie

@pytest.mark.parametrize("length, tile, overlap, expected", [
    (1000, 448, 0.5, [0, 184, 368, 552]),  # the docstring's example
    (448, 448, 0.5, [0]),
    (1, 448, 0.5, [0]),
    (449, 448, 0.5, [0, 1]),
    (12, 4, 0, [0, 4, 8]),
    (13, 4, 0, [0, 3, 6, 9]),
    (4, 2, 0.9, [0, 1, 2]),  # a step is never shorter than a pixel
])
def test_starts_by_hand(length, tile, overlap, expected):
    assert starts(length, tile, overlap) == expected


@bounded
@given(st.integers(1, 5000), st.integers(1, 700), OVERLAPS)
def test_laws_of_starts(length, tile, overlap):
    first = starts(length, tile, overlap)
    assert first[0] == 0 and first[-1] == max(0, length - tile)  # touches both borders
    steps = np.diff(first)
    allowed = max(1, tile * (1 - overlap))
    assert ((steps > 0) & (steps <= allowed)).all()  # so every pixel is covered
    if len(steps):
        assert steps.max() - steps.min() <= 1  # spread evenly
        assert (len(steps) - 1) * math.floor(allowed) < length - tile  # no tile too many


@pytest.mark.parametrize("tile", [1, 2, 31, 448, 2048])
def test_weights_are_symmetric_and_nowhere_zero(tile):
    weights = gaussian(tile)
    assert torch.equal(weights, weights.flip(0)) and weights.min() > 3e-4 and weights.max() <= 1
    assert weights.argmax().item() in (tile // 2, (tile - 1) // 2)


# What comes out

@settings(bounded, max_examples=40)
@given(SIDES, SIDES, TILES, OVERLAPS, st.integers(1, 5))
def test_equals_the_naive_average(height, width, tile, overlap, batch):
    photo = drawn(height, width)
    found = predict(uneven, photo, tile, overlap, batch)
    assert found.shape == (1, height, width) and found.dtype == torch.float32
    np.testing.assert_allclose(found[0], naive(photo, tile, overlap), rtol=0, atol=2e-6)


@bounded
@given(SIDES, SIDES, TILES, OVERLAPS, st.integers(1, 5))
def test_a_pointwise_prediction_shows_no_tiles(height, width, tile, overlap, batch):
    photo = drawn(height, width)
    torch.testing.assert_close(predict(pointwise, photo, tile, overlap, batch),
                               pointwise(photo[None])[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("probability", [0.3, 1.0])
@pytest.mark.parametrize("height, width, tile", [(1001, 613, 448), (77, 33, 16), (5, 70, 31)])
def test_a_constant_stays_constant_and_a_probability(height, width, tile, probability):
    found = predict(lambda tiles: torch.full((len(tiles), 1, *tiles.shape[-2:]), probability),
                    drawn(height, width), tile)
    torch.testing.assert_close(found, torch.full((1, height, width), probability),
                               rtol=0, atol=1e-6)
    assert found.max().item() <= 1, "rounded above 1, which the scores refuse"


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_batches_are_full_and_change_nothing(batch):
    photo, sizes = drawn(50, 90), []

    def probability(tiles: Tensor) -> Tensor:
        assert tiles.shape[1:] == (3, 20, 20) and tiles.dtype == torch.uint8
        sizes.append(len(tiles))
        return uneven(tiles)

    assert torch.equal(predict(probability, photo, 20, 0.5, batch), predict(uneven, photo, 20))
    columns, rows = len(starts(90, 20, 0.5)), len(starts(50, 20, 0.5))
    assert sum(sizes) == rows * columns and max(sizes) == min(batch, columns)
    assert len(sizes) == rows * math.ceil(columns / batch)


@pytest.mark.parametrize("height, width", [(1, 1), (13, 7), (32, 31), (32, 32)])
def test_a_small_photo_goes_through_whole_and_unpadded(height, width):
    photo, seen = drawn(height, width), []

    def probability(tiles: Tensor) -> Tensor:
        seen.append(tiles)
        return uneven(tiles)

    found = predict(probability, photo, tile=32)
    assert len(seen) == 1 and torch.equal(seen[0], photo[None])
    torch.testing.assert_close(found, uneven(photo[None])[0].float(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_answers_that_are_no_numbers_are_not_taken_for_no_crack(dtype):
    def spoilt(tiles):
        answers = tiles[:, :1].float().clone()
        answers[..., 3, 3] = math.nan
        return answers

    with pytest.raises(ValueError, match="--precision fp32"):
        predict(spoilt, torch.rand(3, 20, 30), tile=16, dtype=dtype)

"""Is the whole photograph predicted, and is no tile's edge to be seen?"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from unet_resnet.tiling import OVERLAP, TILE, lattice, predict, ramp, starts

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


def weights_of(size: int, first: list[int]) -> np.ndarray:
    """The distance of a pixel's centre to the tile's border, in overlaps, at most 1."""
    overlap = max(1, min([size - (b - a) for a, b in zip(first, first[1:])] or [1]))
    return np.array([min(1, min(i + 0.5, size - i - 0.5) / overlap) for i in range(size)])


def naive(photo: Tensor, tile: int, overlap: float) -> np.ndarray:
    """The definition: weighted mean of all tiles, in float64 pictures of full size."""
    height, width = photo.shape[-2:]
    (rows, tops), (columns, lefts) = (lattice(side, tile, overlap) for side in (height, width))
    weight = weights_of(rows, tops)[:, None] * weights_of(columns, lefts)
    sums, weights = np.zeros((2, height, width))
    for top in tops:
        for left in lefts:
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


@pytest.mark.parametrize("length, tile, overlap, size, first", [
    (4000, 1600, 1 / 12, 1440, [0, 1280, 2560]),  # the docstring's example
    (3000, 1600, 1 / 12, 1568, [0, 1432]),
    (1536, 1536, 1 / 12, 1536, [0]),
    (1537, 1536, 1 / 12, 864, [0, 673]),  # two tiles of half the size, not two of the full one
    (1000, 448, 0.5, 448, [0, 184, 368, 552]),
    (5, 70, 0.5, 5, [0]),
    (13, 4, 0, 4, [0, 3, 6, 9]),
])
def test_a_lattice_by_hand(length, tile, overlap, size, first):
    assert lattice(length, tile, overlap) == (size, first)


@bounded
@given(st.integers(1, 9000), st.integers(1, 2000), OVERLAPS)
def test_laws_of_a_lattice(length, tile, overlap):
    size, first = lattice(length, tile, overlap)
    assert size <= tile and first[0] == 0 and first[-1] == length - size
    assert len(first) == len(starts(length, tile, overlap))
    overlaps = size - np.diff(first)
    assert (overlaps >= math.floor(overlap * tile) - 1).all()  # steps are rounded
    assert not len(first) > 1 or overlaps.max() - overlaps.min() <= 1


def test_twelve_megapixels_are_computed_little_more_than_once():
    (height, tops), (width, lefts) = (lattice(side, TILE, OVERLAP) for side in (3000, 4000))
    assert height * len(tops) * width * len(lefts) <= 1.25 * 3000 * 4000


@bounded
@given(st.integers(1, 3000), st.integers(1, 500), OVERLAPS)
def test_weights_are_symmetric_nowhere_zero_and_small_at_borders(length, tile, overlap):
    size, first = lattice(length, tile, overlap)
    weights = ramp(size, first)
    assert torch.equal(weights, weights.flip(0)) and weights.min() > 0 and weights.max() <= 1
    shared = size - max(np.diff(first), default=size)
    assert weights[0] <= 0.5 / max(1, shared) + 1e-6


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

    assert torch.equal(predict(probability, photo, 20, 0.5, batch),
                       predict(uneven, photo, 20, 0.5))
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


def test_no_border_of_a_tile_is_a_step():
    """Tiles that disagree blend: from one pixel to the next nothing jumps by more than a ramp's
    step, also where the tiles overlap little."""
    answers = iter(range(1000))

    def by_turns(tiles: Tensor) -> Tensor:
        return torch.full((1, 1, *tiles.shape[-2:]), float(next(answers) % 2))

    found = predict(by_turns, torch.zeros(3, 300, 500, dtype=torch.uint8), tile=120, overlap=0.2)
    assert found.min() == 0 and found.max() == 1
    for dim in (1, 2):
        assert found.diff(dim=dim).abs().max() < 1.5 / (0.2 * 120)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_answers_that_are_no_numbers_are_not_taken_for_no_crack(dtype):
    def spoilt(tiles):
        answers = tiles[:, :1].float().clone()
        answers[..., 3, 3] = math.nan
        return answers

    with pytest.raises(FloatingPointError, match="--precision fp32"):
        predict(spoilt, torch.rand(3, 20, 30), tile=16, dtype=dtype)

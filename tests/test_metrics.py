"""Hand-counted cases, scikit-image and scipy as oracles, then laws."""

import json
import math
import random
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import binary_dilation, distance_transform_edt
from skimage.morphology import skeletonize

from unet_resnet.metrics import (Counts, Match, ScoreSheet, best_threshold, count, counts_at, dilate,
                                 histogram, match_skeletons, match_within, thin)

bounded = settings(deadline=None, max_examples=100, derandomize=True)
SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))
MASKS = SHAPES.flatmap(lambda shape: arrays(bool, shape)).map(torch.from_numpy)
PAIRS = SHAPES.flatmap(lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))).map(
    lambda pair: tuple(map(torch.from_numpy, pair)))
NAMES = ("iou", "dice", "precision", "recall")


def drawn(text: str) -> torch.Tensor:
    return torch.tensor([[letter == "#" for letter in line] for line in text.split()])


def scores(counts) -> list[float]:
    return [getattr(counts, name) for name in NAMES]


def photo(seed: int, cracks: bool = True, size: int = 24):
    """A probability map in steps of 1/512 and a truth it knows something about."""
    draw = torch.Generator().manual_seed(seed)
    truth = torch.zeros(1, size, size, dtype=torch.bool)
    if cracks:
        truth[0, int(torch.randint(size, (), generator=draw)), 2:] = True
        truth = dilate(truth[0], 1)[None]
    noise = torch.randint(0, 513, truth.shape, generator=draw) / 512
    return (0.5 * noise + 0.4 * truth + 0.05).clamp(0, 1), truth


# Counts

def test_hand_counted():
    counts = count(drawn("##.. #... ...."), drawn("#.#. #.#. ...."))
    assert counts == Counts(tp=2, fp=1, fn=2, tn=7)
    assert scores(counts) == [2 / 5, 4 / 7, 2 / 3, 1 / 2]
    assert (counts.accuracy, counts.black_accuracy) == (9 / 12, 8 / 12)


@pytest.mark.parametrize("prediction, truth, expected", [
    ("...", "...", [1, 1, 1, 1]),
    ("#..", "...", [0, 0, 0, 0]),
    ("...", "#..", [0, 0, 0, 0]),
    ("#..", "#..", [1, 1, 1, 1]),
    ("#..", "..#", [0, 0, 0, 0]),
    ("###", "#..", [1 / 3, 1 / 2, 1 / 3, 1]),
])
def test_empty_and_one_pixel(prediction, truth, expected):
    prediction, truth = drawn(prediction), drawn(truth)
    assert scores(count(prediction, truth)) == expected
    assert scores(match_within(prediction, truth, 0)) == expected
    assert scores(match_within(prediction, truth, 1)) == (
        [1, 1, 1, 1] if expected[2] == 1 / 3 or expected == [1, 1, 1, 1] else [0, 0, 0, 0]
    ) or prediction.sum() == 3


def test_nothing_was_counted():
    assert Counts(0, 0, 0, 0).accuracy == 1


def test_shapes_are_not_broadcast():
    for compare in (count, lambda p, t: match_within(p, t, 2), match_skeletons, histogram):
        with pytest.raises(ValueError, match=r"\(1, 3\).*\(2, 3\)"):
            compare(torch.zeros(1, 3, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.bool))


@bounded
@given(PAIRS)
def test_laws_of_counts(pair):
    prediction, truth = pair
    counts, swapped = count(prediction, truth), count(truth, prediction)
    assert (counts.iou, counts.dice) == (swapped.iou, swapped.dice)
    if prediction.any() and truth.any():
        assert (counts.precision, counts.recall) == (swapped.recall, swapped.precision)
    assert counts.dice == pytest.approx(2 * counts.iou / (1 + counts.iou))
    assert count(~prediction, ~truth) == Counts(counts.tn, counts.fn, counts.fp, counts.tp)
    assert count(~truth, truth).iou == 0 and count(truth, truth).iou == 1
    half = len(truth) // 2
    assert counts == count(prediction[:half], truth[:half]) + count(prediction[half:], truth[half:])
    assert counts.black_accuracy == count(torch.zeros_like(truth), truth).accuracy

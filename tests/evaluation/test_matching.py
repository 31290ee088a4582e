"""Hand-counted cases, fractions, and laws."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from mask_pairs import EMPTY, PAIRS, bounded, mask_of

from unet_resnet.evaluation.matching import Match, match_skeletons, match_within
from unet_resnet.metrics import Counts, count


def scores(counts: Counts | Match) -> list[float]:
    return [counts.iou, counts.dice, counts.precision, counts.recall]


@pytest.mark.parametrize("prediction, truth, expected", EMPTY)
def test_empty_masks_and_single_pixels(prediction, truth, expected):
    prediction, truth = mask_of(prediction), mask_of(truth)
    assert scores(match_within(prediction, truth, 0)) == expected
    if not (prediction.any() and truth.any()):
        assert scores(match_within(prediction, truth, 5)) == expected
        assert scores(match_skeletons(prediction, truth)) == expected


def test_shapes_are_not_broadcast():
    for compare in (lambda p, t: match_within(p, t, 2), match_skeletons):
        with pytest.raises(ValueError, match=r"\(1, 3\).*\(2, 3\)"):
            compare(torch.zeros(1, 3, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.bool))


@bounded
@given(st.integers(1, 10**12), st.integers(1, 10**12), st.integers(1, 10**12),
       st.integers(1, 10**12))
def test_dice_is_the_harmonic_mean(hits, wrong, found, missed):
    match = Match(hits, hits + wrong, found, found + missed)
    precision, recall = Fraction(hits, hits + wrong), Fraction(found, found + missed)
    dice = 2 * precision * recall / (precision + recall)
    expected = [float(x) for x in (dice / (2 - dice), dice, precision, recall)]
    assert scores(match) == pytest.approx(expected, rel=1e-12)


def test_hand_counted_tolerance():
    assert match_within(mask_of("####..#"), mask_of("#....#."), 1) == Match(3, 5, 2, 2)
    corner, other = mask_of("#. .."), mask_of(".. .#")
    assert match_within(corner, other, 1) == Match(0, 1, 0, 1)  # the diagonal is 1.41 pixels
    assert match_within(corner, other, 2) == Match(1, 1, 1, 1)


def test_hand_counted_skeletons():
    short, long, bar = (mask_of(f"....... {row} .......")
                        for row in (".###...", ".#####.", "#######"))
    assert match_skeletons(short, long) == Match(3, 3, 3, 5)
    assert match_skeletons(long, short) == Match(3, 5, 3, 3)
    assert match_skeletons(short, short.roll(1, 0)) == Match(0, 3, 0, 3)
    thick = match_skeletons(torch.ones(3, 7, dtype=torch.bool), bar)
    assert thick.recall == 1 and thick.predicted < 7 < 21  # the thickness is not held against it


@bounded
@given(PAIRS)
def test_laws_of_tolerance(pair):
    prediction, truth = pair
    assert scores(match_within(prediction, truth, 0)) == pytest.approx(
        scores(count(prediction, truth)), rel=1e-12)
    rising = [scores(match_within(prediction, truth, tolerance)) for tolerance in range(6)]
    assert all(np.less_equal(*step).all() for step in zip(rising, rising[1:]))
    for match in (lambda *masks: match_within(*masks, 2), match_skeletons):
        there, back = match(prediction, truth), match(truth, prediction)
        assert there == Match(back.found, back.true, back.hits, back.predicted)

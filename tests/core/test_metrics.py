"""Hand-counted cases; comparing at every threshold as an oracle; laws."""

import math

import pytest
import torch
from hypothesis import given, strategies as st
from mask_pairs import EMPTY, PAIRS, bounded, mask_of

from unet_resnet.metrics import Counts, best_threshold, count, counts_at, histogram

NAMES = ("iou", "dice", "precision", "recall")


def scores(counts: Counts) -> list[float]:
    return [getattr(counts, name) for name in NAMES]


# Counts

def test_hand_counted():
    counts = count(mask_of("##.. #... ...."), mask_of("#.#. #.#. ...."))
    assert counts == Counts(tp=2, fp=1, fn=2, tn=7)
    assert scores(counts) == [2 / 5, 4 / 7, 2 / 3, 1 / 2]
    assert (counts.accuracy, counts.black_accuracy) == (9 / 12, 8 / 12)


@pytest.mark.parametrize("prediction, truth, expected", EMPTY)
def test_empty_masks_and_single_pixels(prediction, truth, expected):
    assert scores(count(mask_of(prediction), mask_of(truth))) == expected


def test_shapes_are_not_broadcast():
    for compare in (count, histogram):
        with pytest.raises(ValueError, match=r"\(1, 3\).*\(2, 3\)"):
            compare(torch.zeros(1, 3, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.bool))


@bounded
@given(PAIRS)
def test_laws_of_counts(pair):
    prediction, truth = pair
    counts, swapped = count(prediction, truth), count(truth, prediction)
    assert scores(counts) == [swapped.iou, swapped.dice, swapped.recall, swapped.precision]
    assert counts.dice == pytest.approx(2 * counts.iou / (1 + counts.iou))
    assert count(~prediction, ~truth) == Counts(counts.tn, counts.fn, counts.fp, counts.tp)
    assert count(~truth, truth).iou == count(~truth, truth).accuracy == 0
    assert count(truth, truth).iou == count(truth, truth).accuracy == 1
    assert counts.black_accuracy == count(torch.zeros_like(truth), truth).accuracy
    top, rest = truth[:1], truth[1:]
    assert counts == count(prediction[:1], top) + count(prediction[1:], rest)


# Thresholds

@bounded
@given(st.integers(0, 2**32 - 1), st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_histogram_equals_comparing_at_every_threshold(seed, dtype):
    draw = torch.Generator().manual_seed(seed)
    truth = torch.rand(16, 16, generator=draw) < 0.2
    probability = torch.rand(16, 16, generator=draw, dtype=torch.float64).to(dtype)
    probability[:8] = torch.randint(0, 257, (8, 16), generator=draw) / 256  # on the edges of bins
    bins = histogram(probability, truth)
    assert bins.shape == (2, 256) and bins.dtype == torch.int64
    every = [count(probability >= k / 256, truth) for k in range(256)]
    assert [counts_at(bins, k / 256) for k in range(256)] == every
    best = max(counts.dice for counts in every[1:])
    equal = [k for k in range(1, 256) if every[k].dice == best]
    nearest = min(equal, key=lambda k: (abs(k - 128), k))
    assert best_threshold([bins]) == (nearest / 256, best)
    for fixed, k in ((0.3, 77), (1.0, 255)):  # rounded to the nearest that a histogram has
        assert best_threshold([bins], fixed) == (k / 256, every[k].dice)


@pytest.mark.parametrize("crack, background, expected", [
    (0.9, 0.1, (0.5, 1.0)),  # all of 26/256 .. 230/256 are right: nearest to 0.5
    (0.4, 0.1, (102 / 256, 1.0)),
    (1.0, 254.5 / 256, (255 / 256, 1.0)),
    (0.0, 0.5, (0.5, 0.0)),  # nothing helps
])
def test_best_threshold_and_ties(crack, background, expected):
    bins = histogram(torch.tensor([crack, background]), torch.tensor([True, False]))
    assert best_threshold([bins]) == expected


@bounded
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_the_best_threshold_against_trying_all(seed, sources):
    """Sources of different sizes and difficulty, one of them at times without cracks."""
    draw = torch.Generator().manual_seed(seed)
    photos = []
    for source in range(sources):
        truth = torch.rand(4 + 8 * source, 9, generator=draw) < 0.1 * source
        noise = torch.rand(truth.shape, generator=draw)
        photos.append(((truth * 0.3 + noise).clamp(max=1), truth))
    photos = [(probability, truth) for probability, truth in photos if truth.any()] or photos
    means = {k: sum(count(probability >= k / 256, truth).dice for probability, truth in photos)
             / len(photos) for k in range(1, 256)}
    found, mean = best_threshold([histogram(*photo) for photo in photos])
    assert mean == pytest.approx(max(means.values())) == pytest.approx(means[found * 256])


def test_a_small_source_counts_as_much_as_a_large_one_and_one_without_cracks_not_at_all():
    """The large one is best at 0.5 and bears 0.25; the small one needs 0.25."""
    large = histogram(torch.tensor([0.9] * 90 + [0.4] * 10), torch.arange(100) < 90)
    small = histogram(torch.tensor([0.25, 0.1]), torch.tensor([True, False]))
    free = histogram(torch.full((500,), 0.6), torch.zeros(500, dtype=torch.bool))
    assert best_threshold([large + small]) == (0.5, 180 / 181)
    assert best_threshold([large, small]) == (0.25, (180 / 190 + 1) / 2)
    assert best_threshold([large, small, free]) == (0.25, (180 / 190 + 1) / 2)
    assert best_threshold([free]) == (154 / 256, 1.0), "what finds nothing is right"
    assert best_threshold([large, small], fixed=0.5) == (0.5, (180 / 180 + 0) / 2)


def test_of_two_equally_near_thresholds_the_lower():
    probability = torch.tensor([129, 128, 127, 127]) / 256
    bins = histogram(probability, torch.tensor([True, False, True, False]))
    assert [counts_at(bins, k / 256).dice for k in (127, 128, 129)] == [2 / 3, 2 / 4, 2 / 3]
    assert best_threshold([bins]) == (127 / 256, 2 / 3)


def test_what_is_refused():
    truth = torch.tensor([[True, False]])
    for wrong in (math.nan, -0.1, 1.1):
        with pytest.raises(ValueError, match="0..1"):
            histogram(torch.tensor([[0.5, wrong]]), truth)
    for threshold in (0.3, 1.0, -1 / 256):
        with pytest.raises(ValueError, match="k/256"):
            counts_at(histogram(truth.float(), truth), threshold)

"""Hand-counted cases; scikit-image, scipy and brute force as oracles; laws."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import binary_dilation, distance_transform_edt
from skimage.morphology import skeletonize

from unet_resnet.evaluation.sheet import Match, ScoreSheet, match_skeletons, match_within
from unet_resnet.metrics import Counts, best_threshold, count, counts_at, histogram
from unet_resnet.evaluation.morphology import dilate, thin

bounded = settings(deadline=None, max_examples=100, derandomize=True)
SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))
MASKS = SHAPES.flatmap(lambda shape: arrays(bool, shape)).map(torch.from_numpy)
PAIRS = SHAPES.flatmap(lambda shape: arrays(bool, (2, *shape))).map(torch.from_numpy)
NAMES = ("iou", "dice", "precision", "recall")


def drawn(text: str) -> torch.Tensor:
    return torch.tensor([[letter == "#" for letter in line] for line in text.split()])


def scores(counts: Counts | Match) -> list[float]:
    return [getattr(counts, name) for name in NAMES]


def image(seed: int, cracks: bool = True, size: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """A truth and a map that half knows it, in steps of 1/512: (1, size, size) float and bool."""
    draw = torch.Generator().manual_seed(seed)
    truth = torch.zeros(size, size, dtype=torch.bool)
    if cracks:
        truth[torch.randint(size, (), generator=draw), 2:] = True
        truth = dilate(truth, 1)
    noise = torch.randint(0, 513, truth.shape, generator=draw) / 512
    return ((noise + truth) / 2)[None], truth[None]


def sheet_of(images, **settings) -> ScoreSheet:
    sheet = ScoreSheet(0.5, **settings)
    for name, source, probability, truth in images:
        sheet.add(name, source, probability, truth)
    return sheet


IMAGES = [(f"{source}{seed}", source, *image(seed, cracks=source != "blank")) for seed, source
          in enumerate(["CFD", "CFD", "DeepCrack", "DeepCrack", "DeepCrack", "blank"])]
IMAGES.append(("quiet", "DeepCrack", torch.zeros(24, 24), torch.zeros(24, 24)))


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
def test_empty_masks_and_single_pixels(prediction, truth, expected):
    prediction, truth = drawn(prediction), drawn(truth)
    assert scores(count(prediction, truth)) == expected
    assert scores(match_within(prediction, truth, 0)) == expected
    if not (prediction.any() and truth.any()):
        assert scores(match_within(prediction, truth, 5)) == expected
        assert scores(match_skeletons(prediction, truth)) == expected


def test_shapes_are_not_broadcast():
    for compare in (count, lambda p, t: match_within(p, t, 2), match_skeletons, histogram):
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


@bounded
@given(st.integers(1, 10**12), st.integers(1, 10**12), st.integers(1, 10**12),
       st.integers(1, 10**12))
def test_dice_is_the_exact_harmonic_mean(hits, wrong, found, missed):
    match = Match(hits, hits + wrong, found, found + missed)
    precision, recall = Fraction(hits, hits + wrong), Fraction(found, found + missed)
    dice = 2 * precision * recall / (precision + recall)
    assert scores(match) == [float(x) for x in (dice / (2 - dice), dice, precision, recall)]


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
    assert best_threshold(bins) == (nearest / 256, best)


@pytest.mark.parametrize("crack, background, expected", [
    (0.9, 0.1, (0.5, 1.0)),  # all of 26/256 .. 230/256 are right: nearest to 0.5
    (0.4, 0.1, (102 / 256, 1.0)),
    (1.0, 254.5 / 256, (255 / 256, 1.0)),
    (0.0, 0.5, (0.5, 0.0)),  # nothing helps
])
def test_best_threshold_and_ties(crack, background, expected):
    bins = histogram(torch.tensor([crack, background]), torch.tensor([True, False]))
    assert best_threshold(bins) == expected


def test_of_two_equally_near_thresholds_the_lower():
    probability = torch.tensor([129, 128, 127, 127]) / 256
    bins = histogram(probability, torch.tensor([True, False, True, False]))
    assert [counts_at(bins, k / 256).dice for k in (127, 128, 129)] == [2 / 3, 2 / 4, 2 / 3]
    assert best_threshold(bins) == (127 / 256, 2 / 3)


def test_what_is_refused():
    truth = torch.tensor([[True, False]])
    for wrong in (math.nan, -0.1, 1.1):
        with pytest.raises(ValueError, match="0..1"):
            histogram(torch.tensor([[0.5, wrong]]), truth)
    for threshold in (0.3, 1.0, -1 / 256):
        with pytest.raises(ValueError, match="k/256"):
            counts_at(histogram(truth.float(), truth), threshold)
    with pytest.raises(ValueError, match="photo.*255"):
        ScoreSheet(0.5).add("photo", "", truth.float(), 255 * truth)
    with pytest.raises(ValueError, match="no image"):
        ScoreSheet(0.5).summary()


# Shapes

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
    assert np.array_equal(dilate(mask, radius), expected)


def test_hand_counted_tolerance():
    assert match_within(drawn("####..#"), drawn("#....#."), 1) == Match(3, 5, 2, 2)
    corner, other = drawn("#. .."), drawn(".. .#")
    assert match_within(corner, other, 1) == Match(0, 1, 0, 1)  # the diagonal is 1.41 pixels
    assert match_within(corner, other, 2) == Match(1, 1, 1, 1)


def test_hand_counted_skeletons():
    short, long, bar = (drawn(f"....... {row} .......")
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
    assert scores(match_within(prediction, truth, 0)) == scores(count(prediction, truth))
    rising = [scores(match_within(prediction, truth, tolerance)) for tolerance in range(6)]
    assert all(np.less_equal(*step).all() for step in zip(rising, rising[1:]))
    for match in (lambda *masks: match_within(*masks, 2), match_skeletons):
        there, back = match(prediction, truth), match(truth, prediction)
        assert there == Match(back.found, back.true, back.hits, back.predicted)


# The score sheet

def brute(images) -> dict:
    """Pooled scores and means over images, from scratch, with scipy and scikit-image."""
    def parts(probability, truth):
        truth, found = truth.numpy().squeeze() > 0, probability.numpy().squeeze() >= 0.5
        near = {"": (found, truth, truth, found)}
        for tolerance in (2, 5):
            around = [distance_transform_edt(~mask) <= tolerance if mask.any() else mask
                      for mask in (truth, found)]
            near[f"_{tolerance}px"] = (found, around[0], truth, around[1])
        near["cl"] = (skeletonize(found), truth, skeletonize(truth), found)
        return {key: np.array([(a & b).sum(), a.sum(), (c & d).sum(), c.sum()])
                for key, (a, b, c, d) in near.items()}

    def flat(numbers):
        result = {}
        for key, (hits, predicted, found, true) in numbers.items():
            precision, recall = hits / predicted, found / true
            dice = 2 * precision * recall / (precision + recall)
            result |= ({"cldice": dice} if key == "cl" else
                       dict(zip((name + key for name in NAMES),
                                (dice / (2 - dice), dice, precision, recall))))
        return result

    def best(pairs):
        probability, truth = (torch.cat([x.flatten() for x in column]) for column in zip(*pairs))
        return max(count(probability >= k / 256, truth == 1).dice for k in range(1, 256))

    numbers = [parts(probability, truth) for *_, probability, truth in images]
    cracked = [i for i, (*_, truth) in enumerate(images) if truth.any()]
    each = [flat(numbers[i]) for i in cracked]
    return {"pooled": flat({key: sum(n[key] for n in numbers) for key in numbers[0]})
            | {"ods_oracle": best([rest for _, _, *rest in images])},
            "mean_over_images": {key: np.mean([row[key] for row in each]) for key in each[0]}
            | {"ois_oracle": np.mean([best([images[i][2:]]) for i in cracked])}}


def test_summary_equals_brute_force():
    summary = sheet_of(IMAGES).summary()
    groups = {"CFD": IMAGES[:2], "DeepCrack": IMAGES[2:5] + IMAGES[6:]}
    for got, images in [(summary["total"], IMAGES),
                        *((summary["sources"][name], groups[name]) for name in groups)]:
        for block, expected in brute(images).items():
            assert {key: got[block][key] for key in expected} == pytest.approx(expected)
    assert list(summary["sources"]) == ["CFD", "DeepCrack", "blank"]
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_accuracy_beside_the_black_answer():
    pooled = sheet_of(IMAGES).summary()["total"]["pooled"]
    right = sum(int(((p >= 0.5).flatten() == (t > 0).flatten()).sum()) for *_, p, t in IMAGES)
    black = sum(int((t == 0).sum()) for *_, t in IMAGES)
    assert pooled["images"] == 7 and pooled["pixels"] == 7 * 24 * 24
    assert pooled["accuracy"] == right / pooled["pixels"]
    assert pooled["all_black_accuracy"] == black / pooled["pixels"]


def test_images_without_cracks_have_their_own_block():
    blank, alarm = torch.zeros(10, 10), torch.zeros(10, 10)
    alarm[0, :3] = 1
    crack = (alarm > 0) & (torch.arange(10) < 2)
    only_blank = sheet_of([("a", "s", blank, blank), ("b", "s", alarm, blank)])
    with_crack = sheet_of([("a", "s", blank, blank), ("b", "s", alarm, blank),
                           ("c", "s", alarm, crack)])
    block = {"images": 2, "false_alarm_share": 0.5, "false_pixels_per_megapixel": 15000.0}
    for sheet in (only_blank, with_crack):
        assert sheet.summary()["total"]["crack_free"] == block
    total = with_crack.summary()["total"]
    assert total["pooled"]["precision"] == 2 / 6  # the false alarm costs precision
    assert total["mean_over_images"]["precision"] == 2 / 3  # of one image, not three
    assert total["mean_over_images"]["images"] == 1
    total = only_blank.summary()["total"]
    assert total["pooled"]["accuracy"] == 197 / 200
    assert all(total["pooled"][key] is None for key in (*NAMES, "dice_5px", "cldice", "ods_oracle",
                                                        "ods_oracle_threshold"))
    assert set(total["mean_over_images"].values()) == {0, None}
    assert only_blank.rows[1]["iou"] is None and only_blank.rows[1]["fp"] == 3
    no_blank = sheet_of([("c", "s", alarm, crack)]).summary()["total"]["crack_free"]
    assert no_blank == {"images": 0, "false_alarm_share": None, "false_pixels_per_megapixel": None}


def test_rows_average_to_the_mean_over_images():
    sheet = sheet_of(IMAGES)
    mean = sheet.summary()["total"]["mean_over_images"]
    for key in (*NAMES, "iou_2px", "cldice", "ois_oracle"):
        column = [row[key] for row in sheet.rows if row[key] is not None]
        assert len(column) == mean["images"] == 5
        assert math.fsum(column) / 5 == mean[key]
    assert [row["name"] for row in sheet.rows] == [name for name, *_ in IMAGES]
    assert all(row["tp"] + row["fp"] + row["fn"] + row["tn"] == row["pixels"] for row in sheet.rows)


@settings(bounded, max_examples=20)
@given(st.permutations(IMAGES))
def test_the_order_of_images_does_not_matter(images):
    assert sheet_of(images).summary() == sheet_of(IMAGES).summary()


def test_cheap_sheet_agrees_and_its_histograms_give_the_counts_of_the_set():
    cheap, full = sheet_of(IMAGES, tolerances=(), skeletons=False), sheet_of(IMAGES)
    for small, large in zip(cheap.rows, full.rows):
        assert small == {key: large[key] for key in small}
    assert "cldice" not in cheap.rows[0] and "iou_2px" not in cheap.rows[0]
    threshold, dice = best_threshold(sum(cheap.histograms.values()))
    assert dice == full.summary()["total"]["pooled"]["ods_oracle"]
    for source in ("CFD", "DeepCrack", "blank"):
        direct = [count(p.flatten() >= threshold, t.flatten() > 0)
                  for _, of, p, t in IMAGES if of == source]
        assert counts_at(cheap.histograms[source], threshold) == sum(direct, Counts(0, 0, 0, 0))


def test_table_keeps_the_two_averages_apart():
    table = sheet_of(IMAGES).table()
    assert max(map(len, table.splitlines())) <= 100
    blocks = [block.splitlines() for block in table.split("\n\n")]
    titles = [block[0] for block in blocks]
    assert [title.split()[0] for title in titles] == [
        "Scores", "Pooled", "Pooled", "Mean", "Mean", "Images", "Pixel", "oracle:"]
    for block in blocks[1:-1]:
        assert [line.split()[0] for line in block[-4:]] == ["CFD", "DeepCrack", "blank", "total"]
    total = sheet_of(IMAGES).summary()["total"]
    assert blocks[1][-1].split()[1:3] == ["7", f"{total['pooled']['iou']:.4f}"]
    assert blocks[3][-1].split()[1:3] == ["5", f"{total['mean_over_images']['iou']:.4f}"]
    assert blocks[3][-2].split()[1:] == ["0"] + ["-"] * 6
    short = sheet_of(IMAGES, tolerances=(), skeletons=False).table()
    assert "px" not in short and "cldice" not in short

"""What is reported, and over which pixels is it averaged?

Every score here is of the crack class: cracks cover a few per cent of a photo, so scores that count
background look splendid on a black answer. All are ratios of whole numbers of pixels. Two averages
exist, two numbers with two names: *pooled* adds the numbers up over all images and divides once;
*mean over images* divides per image first. A pixel is predicted crack when its probability is at
least the threshold.
"""

import itertools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from unet_resnet.morphology import dilate, thin

BINS = 256  # a power of two: probability * BINS is exact, so counts at k/BINS are too
SCORES = ("iou", "dice", "precision", "recall")


class Scores:
    """Scores of the crack class, from `hits` of `predicted` and `found` of `true` pixels.

    precision = hits / predicted, recall = found / true, Dice (F1) = their harmonic mean,
    IoU = Dice / (2 - Dice). 0/0 is 1 when truth and prediction are both empty (black on black is
    right), otherwise 0. In whole numbers, divided once: exact to the last bit of the float.
    """

    def __add__(self, other: "Scores") -> "Scores":
        return type(self)(*map(operator.add, vars(self).values(), vars(other).values()))

    def _ratio(self, part: int, whole: int) -> float:
        return part / whole if whole else float(self.predicted == self.true == 0)

    @property
    def precision(self) -> float:
        return self._ratio(self.hits, self.predicted)

    @property
    def recall(self) -> float:
        return self._ratio(self.found, self.true)

    @property
    def dice(self) -> float:
        return self._ratio(2 * self.hits * self.found,
                           self.hits * self.true + self.found * self.predicted)

    @property
    def iou(self) -> float:
        both = self.hits * self.found
        return self._ratio(both, self.hits * self.true + self.found * self.predicted - both)


@dataclass(frozen=True)
class Match(Scores):
    """Right pixels need not lie on each other, so `hits` and `found` are two numbers."""

    hits: int
    predicted: int
    found: int
    true: int


@dataclass(frozen=True)
class Counts(Scores):
    """Pixels by predicted and true class; crack is the positive class."""

    tp: int
    fp: int
    fn: int
    tn: int

    hits = found = property(lambda self: self.tp)
    predicted = property(lambda self: self.tp + self.fp)
    true = property(lambda self: self.tp + self.fn)
    pixels = property(lambda self: self.tp + self.fp + self.fn + self.tn)

    @property
    def accuracy(self) -> float:
        """Share of right pixels, background included: means little without black_accuracy."""
        return self._ratio(self.tp + self.tn, self.pixels)

    @property
    def black_accuracy(self) -> float:
        """The accuracy of answering "no crack" everywhere."""
        return self._ratio(self.fp + self.tn, self.pixels)


def count(prediction: Tensor, truth: Tensor) -> Counts:
    """Compare two bool tensors of one shape, pixel by pixel."""
    _check_shapes(prediction, truth)
    tp = _size(prediction & truth)
    fp, fn = _size(prediction) - tp, _size(truth) - tp
    return Counts(tp, fp, fn, truth.numel() - tp - fp - fn)


def match_within(prediction: Tensor, truth: Tensor, tolerance: int) -> Match:
    """Right is what lies within `tolerance` pixels of the other mask: (h, w) bool, twice.

    Human outlines of a thin crack differ by a pixel or two, so CrackForest (Shi et al. 2016) counts
    as right what is within 5 pixels, others within 2. Tolerance 0 gives the plain scores.
    """
    _check_shapes(prediction, truth)
    return _match(prediction, dilate(truth, tolerance), truth, dilate(prediction, tolerance))


def match_skeletons(prediction: Tensor, truth: Tensor) -> Match:
    """Right are centre lines inside the other mask: (h, w) bool, twice; `.dice` is clDice.

    Precision and recall are the topology precision and sensitivity of Shit et al. 2021. Unlike the
    paper's soft skeleton (a loss), this is a true thinning.
    """
    _check_shapes(prediction, truth)
    return _match(thin(prediction), truth, thin(truth), prediction)


def _match(predicted: Tensor, near_truth: Tensor, true: Tensor, near_prediction: Tensor) -> Match:
    return Match(_size(predicted & near_truth), _size(predicted),
                 _size(true & near_prediction), _size(true))


def _size(mask: Tensor) -> int:
    return int(mask.count_nonzero())


def _check_shapes(prediction: Tensor, truth: Tensor) -> None:
    if prediction.shape != truth.shape:  # broadcasting would count pixels that do not exist
        raise ValueError(f"prediction {tuple(prediction.shape)} and truth {tuple(truth.shape)} "
                         "differ in shape")


def histogram(probability: Tensor, truth: Tensor) -> Tensor:
    """Background and crack pixels per probability bin [k/256, (k+1)/256): (2, 256) int64.

    probability: floats in 0..1, 1 falls in the last bin; truth: bool, the same shape.
    """
    _check_shapes(probability, truth)
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("probabilities must lie in 0..1: NaN, or logits without a sigmoid?")
    bins = (probability * BINS).int().clamp(max=BINS - 1)
    crack = bins[truth].bincount(minlength=BINS)
    return torch.stack([bins.flatten().bincount(minlength=BINS) - crack, crack]).cpu()


def counts_at(histogram: Tensor, threshold: float) -> Counts:
    """The exact counts at a threshold k/256, k = 0..255."""
    k = int(threshold * BINS)
    if k != threshold * BINS or not 0 <= k < BINS:
        raise ValueError(f"a histogram knows the thresholds k/{BINS}, k = 0..{BINS - 1}; "
                         f"got {threshold}")
    (tn, fn), (fp, tp) = histogram[:, :k].sum(1).tolist(), histogram[:, k:].sum(1).tolist()
    return Counts(tp, fp, fn, tn)


def best_threshold(histogram: Tensor) -> tuple[float, float]:
    """The threshold of the highest Dice among 1/256 .. 255/256, and that Dice.

    Of equally good ones the nearest to 0.5, then the lower. Chosen with the truth in hand: an
    oracle if reported on the images that chose it, fair on others.
    """
    fp, tp = histogram.flip(1).cumsum(1).flip(1).double()  # at each k/256
    both = fp + tp + histogram[1].sum()  # predicted + true
    dice = torch.where(both > 0, 2 * tp / both, 1.0)
    order = sorted(range(1, BINS), key=lambda k: abs(k - BINS // 2))  # argmax takes the first
    k = order[int(dice[order].argmax())]
    return k / BINS, float(dice[k])


class ScoreSheet:
    """Scores of a data set, one image at a time, per source and in total.

    Of an image only its numbers are kept, so the set need not fit in memory and the order of the
    images does not matter. An image without cracks counts in the pooled scores, where its false
    alarms cost precision, and in a block of its own; it has no part in the mean over images, where
    a black answer would earn it a 1. A score that nothing defines (no crack pixel in the truth, no
    crack-free image) is None. ODS and OIS (Dice at the best threshold of the set, of each image:
    Arbelaez et al. 2011) choose with the truth in hand, so their keys say oracle. OIS is the mean
    of the images' Dice here, where that paper pools their counts.

    tolerances: in pixels. ScoreSheet(0.5, (), skeletons=False) is cheap enough for validation;
    best_threshold(sum(sheet.histograms.values())) is then the threshold to keep.
    """

    def __init__(self, threshold: float, tolerances: Sequence[int] = (2, 5),
                 skeletons: bool = True) -> None:
        self.threshold, self.tolerances, self.skeletons = float(threshold), tolerances, skeletons
        self.rows: list[dict] = []  # one flat dict per image
        self.histograms: dict[str, Tensor] = {}  # per source; their sum is the whole set's
        self._counts: list[dict[str, Scores]] = []  # per image, under the ending of their keys

    def add(self, name: str, source: str, probability: Tensor, truth: Tensor) -> None:
        """One image: probability in 0..1 and truth, bool or 0/1; (h, w) or (1, h, w) each."""
        probability, truth = (plane.detach().cpu().reshape(plane.shape[-2:])
                              for plane in (probability, truth))
        if not ((truth == 0) | (truth == 1)).all():
            raise ValueError(f"{name}: the truth must be 0 or 1, found {truth.max()}")
        truth, prediction = truth == 1, probability >= self.threshold
        bins = histogram(probability, truth)
        counts = {"": count(prediction, truth)}
        for tolerance in self.tolerances:
            counts[f"_{tolerance}px"] = match_within(prediction, truth, tolerance)
        if self.skeletons:
            counts["cldice"] = match_skeletons(prediction, truth)
        self._counts.append(counts)
        self.histograms[source] = self.histograms.get(source, 0) + bins
        self.rows.append({"name": name, "source": source, "pixels": truth.numel(),
                          **vars(counts[""]), **_scores(counts, bins, "ois_oracle")})

    def summary(self) -> dict:
        """All scores, ready for JSON: the threshold, the total and the same per source."""
        if not self.rows:
            raise ValueError("no image has been scored yet")
        sources = sorted(self.histograms)
        return {"threshold": self.threshold, "total": self._summary(sources),
                "sources": {source: self._summary([source]) for source in sources}}

    def _summary(self, sources: Sequence[str]) -> dict:
        rows, counts = zip(*[(row, counts) for row, counts in zip(self.rows, self._counts)
                             if row["source"] in sources])
        pooled = {kind: reduce(operator.add, (image[kind] for image in counts))
                  for kind in counts[0]}
        scores = _scores(pooled, sum(self.histograms[source] for source in sources), "ods_oracle")
        cracked = [row for row in rows if row["tp"] + row["fn"]]
        blank = [row for row in rows if not row["tp"] + row["fn"]]
        return {
            "pooled": {"images": len(rows), "pixels": pooled[""].pixels, **scores,
                       "accuracy": pooled[""].accuracy,
                       "all_black_accuracy": pooled[""].black_accuracy},
            "mean_over_images": {"images": len(cracked), **{
                key: _mean([row[key] for row in cracked])
                for key in [*scores, "ois_oracle"] if key in rows[0]}},
            "crack_free": {"images": len(blank),
                           "false_alarm_share": _mean([row["fp"] > 0 for row in blank]),
                           "false_pixels_per_megapixel": 1e6 * sum(row["fp"] for row in blank)
                           / sum(row["pixels"] for row in blank) if blank else None},
        }

    def table(self) -> str:
        """The summary for a terminal; headings are the keys of the JSON, broken at each `_`."""
        summary = self.summary()
        groups = [*summary["sources"].items(), ("total", summary["total"])]
        plain = ["images", *SCORES] + ["cldice"] * self.skeletons
        tolerant = [f"{name}_{tolerance}px" for tolerance in self.tolerances for name in SCORES]
        parts = [f"Scores of the crack class, threshold {self.threshold:g}"]
        for title, block, keys in (
            ("Pooled over all pixels of all images", "pooled",
             [*plain, "ods_oracle", "ods_oracle_threshold"]),
            ("Pooled over all pixels of all images, with a tolerance", "pooled", tolerant),
            ("Mean over the images with cracks", "mean_over_images", [*plain, "ois_oracle"]),
            ("Mean over the images with cracks, with a tolerance", "mean_over_images", tolerant),
            ("Images without cracks", "crack_free",
             ["images", "false_alarm_share", "false_pixels_per_megapixel"]),
            ("Pixel accuracy, background included", "pooled", ["accuracy", "all_black_accuracy"]),
        ):
            if keys:
                headings = itertools.zip_longest(*(key.split("_") for key in keys), fillvalue="")
                cells = [(name, *(_cell(group[block][key]) for key in keys))
                         for name, group in groups]
                parts.append(f"{title}\n{align([('', *words) for words in headings] + cells)}")
        return "\n\n".join([*parts, "oracle: the threshold was chosen with the truth in hand"])


def _scores(counts: dict[str, Scores], histogram: Tensor, oracle: str) -> dict[str, float | None]:
    scores = {name + ending: getattr(numbers, name) for ending, numbers in counts.items()
              for name in SCORES if ending != "cldice"}
    if "cldice" in counts:
        scores["cldice"] = counts["cldice"].dice
    threshold, scores[oracle] = best_threshold(histogram)
    scores[f"{oracle}_threshold"] = threshold
    return scores if counts[""].true else dict.fromkeys(scores)


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None  # fsum: the order cannot matter


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def align(lines: list[tuple[str, ...]]) -> str:
    """Cells as text in columns, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
                     for line in lines)

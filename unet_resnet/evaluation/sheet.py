"""How well was found what the true masks show? The score sheet of a data set."""

import itertools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from torch import Tensor

from unet_resnet.evaluation.morphology import dilate, thin
from unet_resnet.files import align
from unet_resnet.metrics import (
    SCORES, Scores, best_threshold, check_shapes, count, histogram, size)


@dataclass(frozen=True)
class Match(Scores):
    """Right pixels need not lie on each other, so `hits` and `found` are two numbers."""

    hits: int
    predicted: int
    found: int
    true: int


def match_within(prediction: Tensor, truth: Tensor, tolerance: int) -> Match:
    """Right is what lies within `tolerance` pixels of the other mask: (h, w) bool, twice.

    Human outlines of a thin crack differ by a pixel or two, so CrackForest (Shi et al. 2016) counts
    as right what is within 5 pixels, others within 2. Tolerance 0 gives the plain scores.
    """
    check_shapes(prediction, truth)
    return _match(prediction, dilate(truth, tolerance), truth, dilate(prediction, tolerance))


def match_skeletons(prediction: Tensor, truth: Tensor) -> Match:
    """Right are centre lines inside the other mask: (h, w) bool, twice; `.dice` is clDice.

    Precision and recall are the topology precision and sensitivity of Shit et al. 2021. Unlike the
    paper's soft skeleton (a loss), this is a true thinning.
    """
    check_shapes(prediction, truth)
    return _match(thin(prediction), truth, thin(truth), prediction)


def _match(predicted: Tensor, near_truth: Tensor, true: Tensor, near_prediction: Tensor) -> Match:
    return Match(size(predicted & near_truth), size(predicted),
                 size(true & near_prediction), size(true))


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

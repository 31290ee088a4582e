"""What is reported, and over which pixels is it averaged?

Every score here is of the crack class: cracks cover a few per cent of a photo, so scores that count
background are high for an all-black answer. All are ratios of whole numbers of pixels. There are
two averages, with different names: *pooled* adds the numbers up over all images and divides once;
*mean over images* divides per image first. A pixel is predicted crack when its probability is at
least the threshold.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BINS = 256  # a power of two: probability * BINS is exact, so counts at k/BINS are too
SCORES = ("iou", "dice", "precision", "recall")


@dataclass(frozen=True)
class Counts:
    """Pixels by predicted and true class; crack is the positive class.

    The scores are ratios of whole numbers, exact to the last bit. 0/0 is 1 where truth and
    prediction are both empty (black on black is right), otherwise 0.
    """

    tp: int
    fp: int
    fn: int
    tn: int

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*map(operator.add, vars(self).values(), vars(other).values()))

    def _ratio(self, part: int, whole: int) -> float:
        return part / whole if whole else float(self.fp == self.fn == 0)

    @property
    def precision(self) -> float:
        return self._ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        return self._ratio(self.tp, self.tp + self.fn)

    @property
    def dice(self) -> float:
        return self._ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def iou(self) -> float:
        return self._ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def pixels(self) -> int:
        return self.tp + self.fp + self.fn + self.tn

    @property
    def accuracy(self) -> float:
        """Share of correct pixels, background included; means little without black_accuracy."""
        return self._ratio(self.tp + self.tn, self.pixels)

    @property
    def black_accuracy(self) -> float:
        """The accuracy of answering "no crack" everywhere."""
        return self._ratio(self.fp + self.tn, self.pixels)


def count(prediction: Tensor, truth: Tensor) -> Counts:
    """Compare two bool tensors of one shape, pixel by pixel."""
    check_shapes(prediction, truth)
    tp, predicted, true = (int(pixels.count_nonzero()) for pixels in (
        prediction & truth, prediction, truth))
    return Counts(tp, predicted - tp, true - tp, truth.numel() - predicted - true + tp)


def check_shapes(prediction: Tensor, truth: Tensor) -> None:
    if prediction.shape != truth.shape:  # broadcasting would count pixels that do not exist
        raise ValueError(f"prediction {tuple(prediction.shape)} and truth {tuple(truth.shape)} "
                         "differ in shape")


def histogram(probability: Tensor, truth: Tensor) -> Tensor:
    """Background and crack pixels per probability bin [k/256, (k+1)/256): (2, 256) int64.

    probability: floats in 0..1, 1 falls in the last bin; truth: bool, the same shape.
    """
    check_shapes(probability, truth)
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("probabilities must lie in 0..1: NaN, or logits without a sigmoid?")
    bins = (probability * BINS).int().clamp(max=BINS - 1)
    crack = bins[truth].bincount(minlength=BINS)
    return torch.stack([bins.flatten().bincount(minlength=BINS) - crack, crack]).cpu()


def counts_at(histogram: Tensor, threshold: float) -> Counts:
    """The exact counts at a threshold k/256, k = 0..255."""
    k = int(threshold * BINS)
    if k != threshold * BINS or not 0 <= k < BINS:
        raise ValueError(f"a histogram has the thresholds k/{BINS}, k = 0..{BINS - 1}; "
                         f"got {threshold}")
    (tn, fn), (fp, tp) = histogram[:, :k].sum(1).tolist(), histogram[:, k:].sum(1).tolist()
    return Counts(tp, fp, fn, tn)


def best_threshold(histograms: Sequence[Tensor], fixed: float | None = None
                   ) -> tuple[float, float]:
    """The threshold of the highest mean Dice over several sources, among 1/256 .. 255/256, and that
    mean; or the mean at a `fixed` threshold.

    Each source counts the same, however many pixels it has. Those without crack pixels are left
    out, unless all are: any threshold above their highest probability would suit them. Ties go to
    the nearest to 0.5, then to the lower one. The choice uses the truth: the Dice is an oracle's on
    the images it was chosen on, and fair on others.
    """
    cracked = [one for one in histograms if one[1].any()] or histograms
    dice = torch.stack([dice_at_thresholds(one) for one in cracked]).mean(0)
    choice = range(1, BINS) if fixed is None else [min(round(fixed * BINS), BINS - 1)]
    order = sorted(choice, key=lambda k: abs(k - BINS // 2))  # argmax takes the first
    k = order[int(dice[order].argmax())]
    return k / BINS, float(dice[k])


def dice_at_thresholds(histogram: Tensor) -> Tensor:
    """The Dice at each threshold k/256, (256,) float64."""
    fp, tp = histogram.flip(1).cumsum(1).flip(1).double()  # the pixels in this bin and above
    both = fp + tp + histogram[1].sum()  # predicted + true
    return torch.where(both > 0, 2 * tp / both, 1.0)

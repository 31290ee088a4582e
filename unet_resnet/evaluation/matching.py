"""How well do two masks agree within a tolerance, or along their centre lines?"""

import operator
from dataclasses import dataclass

from torch import Tensor

from unet_resnet.evaluation.thinning import dilate_disk, thin
from unet_resnet.metrics import check_shapes


@dataclass(frozen=True)
class Match:
    """`hits` of `predicted` pixels are right, and `found` of `true` pixels are found; with a
    tolerance, these are two numbers. 0/0 is 1 if both masks are empty, otherwise 0."""

    hits: int
    predicted: int
    found: int
    true: int

    def __add__(self, other: "Match") -> "Match":
        return Match(*map(operator.add, vars(self).values(), vars(other).values()))

    @property
    def precision(self) -> float:
        return self.hits / self.predicted if self.predicted else float(self.true == 0)

    @property
    def recall(self) -> float:
        return self.found / self.true if self.true else float(self.predicted == 0)

    @property
    def dice(self) -> float:
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0

    @property
    def iou(self) -> float:
        return self.dice / (2 - self.dice)


def match_within(prediction: Tensor, truth: Tensor, tolerance: int) -> Match:
    """Pixels within `tolerance` pixels of the other mask are right: (h, w) bool, twice.

    Human outlines of a thin crack differ by a pixel or two, so CrackForest (Shi et al., 2016)
    accepts pixels within 5 pixels, others within 2. Tolerance 0 gives the plain scores.
    """
    near_truth, near_prediction = (dilate_disk(mask, tolerance) for mask in (truth, prediction))
    return _match(prediction, near_truth, truth, near_prediction)


def match_skeletons(prediction: Tensor, truth: Tensor) -> Match:
    """Centre lines inside the other mask are right: (h, w) bool, twice; `.dice` is clDice.

    Precision and recall are the topology precision and sensitivity of Shit et al., 2021. That
    paper's loss has a soft skeleton; this is a true thinning.
    """
    return _match(thin(prediction), truth, thin(truth), prediction)


def _match(predicted: Tensor, near_truth: Tensor, true: Tensor, near_prediction: Tensor) -> Match:
    check_shapes(predicted, true)
    return Match(*(int(pixels.count_nonzero()) for pixels in (
        predicted & near_truth, predicted, true & near_prediction, true)))

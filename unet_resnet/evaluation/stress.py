"""How much of a score survives bad light, bad lenses and painted lines?

Each photograph is predicted again under each of `STRESS`, through which a person still sees the
cracks, and scored against the same mask. Benchmarks of corruptions (Hendrycks and Dietterich, 2019)
do the same for classifiers.
"""

import zlib
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from unet_resnet.synthetic import confusers, photometric
from unet_resnet.files import align
from unet_resnet.metrics import Counts, count


def painted_lines(image: Tensor, strength: float, generator: Generator) -> Tensor:
    """Straight lines over photograph and cracks alike."""
    return confusers.line(image, torch.zeros(1, *image.shape[1:]), generator)[0]


STRESS: dict[str, tuple[Callable[[Tensor, float, Generator], Tensor], float]] = {
    "dark": (photometric.dark, 0.3), "blur": (photometric.blur, 2.0),
    "half size": (photometric.low_resolution, 2.0), "noise": (photometric.noise, 0.08),
    "JPEG": (photometric.jpeg, 15), "painted lines": (painted_lines, 1.0)}


def spoil(photo: Tensor, name: str, seed: int = 0) -> Tensor:
    """A photograph (3, h, w) uint8 under the stress of that name."""
    transform, strength = STRESS[name]
    image = transform(photo.float() / 255, strength, Generator().manual_seed(seed))
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def stressed(photo: Tensor, found: Tensor, truth: Tensor,
             find: Callable[[Tensor], Tensor]) -> dict[str, Counts]:
    """The counts of a photo as it is and under each stress.

    photo (3, h, w) uint8, the cracks found in it and the true ones (1, h, w) bool; `find` finds
    them in a photo of that size.
    """
    seed = zlib.crc32(photo.numpy().tobytes())  # lines of its own, in whatever order
    return {"as it is": count(found, truth)} | {
        name: count(find(spoil(photo, name, seed)), truth) for name in STRESS}


class StressSheet:
    """Pooled scores under each stress, beside those of the photographs as they are."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(["as it is", *STRESS], Counts(0, 0, 0, 0))

    def add(self, counts: dict[str, Counts]) -> None:
        """One photo, as `stressed` gives it."""
        for name, of_photo in counts.items():
            self.counts[name] += of_photo

    def summary(self) -> dict[str, dict[str, float]]:
        whole = self.counts["as it is"].dice
        return {name: {"iou": counts.iou, "dice": counts.dice, "precision": counts.precision,
                       "recall": counts.recall, "survives": counts.dice / whole if whole else 0.0}
                for name, counts in self.counts.items()}

    def table(self) -> str:
        rows = [(name, *(f"{value:.3f}" for value in list(scores.values())[:-1]),
                 f"{scores['survives']:.0%}") for name, scores in self.summary().items()]
        return "Under stress, pooled over all pixels of all images\n" + align(
            [("", "iou", "dice", "precision", "recall", "of dice"), *rows])

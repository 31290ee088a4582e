"""How much of a score survives bad light, bad lenses, painted lines, and another scale?

    python benchmarks/stress.py PHOTOS --masks MASKS [--checkpoint RUN]

Each photo is predicted again in conditions in which a person still sees the cracks, and scored
against its mask; an enlarged or reduced photo against its mask of the same size. Benchmarks of
corruptions (Hendrycks and Dietterich, 2019) do the same for classifiers.
"""

import argparse
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.nn import functional as F
from tqdm import tqdm

from unet_resnet import load
from unet_resnet.audit.folders import find
from unet_resnet.audit.scoring import exclude_trained, resolve_masks
from unet_resnet.checkpoint import SHIPPED
from unet_resnet.data import read_pair
from unet_resnet.files import align, run
from unet_resnet.inference.predictor import MIN_AREA
from unet_resnet.metrics import Counts, count
from unet_resnet.synthetic import confusers, photometric


def painted_lines(image: Tensor, strength: float, generator: Generator) -> Tensor:
    """Straight lines across photo and cracks alike."""
    return confusers.line(image, torch.zeros(1, *image.shape[1:]), generator)[0]


STRESS: dict[str, tuple[Callable[[Tensor, float, Generator], Tensor], float]] = {
    "dark": (photometric.dark, 0.3), "blur": (photometric.blur, 2.0),
    "half size": (photometric.low_resolution, 2.0), "noise": (photometric.noise, 0.08),
    "JPEG": (photometric.jpeg, 15), "painted lines": (painted_lines, 1.0)}
SCALES = {"enlarged x2": 2.0, "enlarged x4": 4.0, "reduced x0.5": 0.5}


def degrade(photo: Tensor, name: str, seed: int = 0) -> Tensor:
    """A photo (3, h, w) uint8 under one of `STRESS`."""
    transform, strength = STRESS[name]
    image = transform(photo.float() / 255, strength, Generator().manual_seed(seed))
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def rescale(photo: Tensor, truth: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    """Photo (3, h, w) uint8 and mask (1, h, w) bool at `factor` times their size.

    A reduced pixel is crack where at least half of its area is.
    """
    size = [max(1, round(side * factor)) for side in photo.shape[1:]]
    photo = F.interpolate(photo[None], size, mode="bilinear", antialias=True)[0]
    return photo, F.interpolate(truth[None].float(), size, mode="area")[0] >= 0.5


def conditions(photo: Tensor, truth: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, photo and mask of each row of the sheet, for photo (3, h, w) uint8, mask (1, h, w)."""
    truth = truth.bool()
    seed = zlib.crc32(photo.numpy().tobytes())  # its own noise, in any order of photos
    yield "as it is", photo, truth
    for name in STRESS:
        yield name, degrade(photo, name, seed), truth
    for name, factor in SCALES.items():
        yield name, *rescale(photo, truth, factor)


class StressSheet:
    """Pooled scores in each condition, and the share of Dice that is left in it."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(["as it is", *STRESS, *SCALES], Counts(0, 0, 0, 0))

    def add(self, photo: Tensor, truth: Tensor, detect: Callable[[Tensor], Tensor]) -> None:
        """Score one photo; `detect` maps photos (3, h, w) uint8 to masks (1, h, w) bool."""
        for name, image, mask in conditions(photo, truth):
            self.counts[name] += count(detect(image), mask)

    def summary(self) -> dict[str, dict[str, float]]:
        whole = self.counts["as it is"].dice
        return {name: {"iou": counts.iou, "dice": counts.dice, "precision": counts.precision,
                       "recall": counts.recall, "survives": counts.dice / whole if whole else 0.0}
                for name, counts in self.counts.items()}

    def table(self) -> str:
        rows = [(name, *(f"{value:.3f}" for value in list(scores.values())[:-1]),
                 f"{scores['survives']:.0%}") for name, scores in self.summary().items()]
        return "Robustness, pooled over all pixels of all photos\n" + align(
            [("", "iou", "dice", "precision", "recall", "of dice"), *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="a folder")
    parser.add_argument("--masks", type=Path, required=True, help="their masks, by file name")
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED)
    args = parser.parse_args()
    predictor = load(args.checkpoint)

    def detect(photo: Tensor) -> Tensor:
        return predictor(photo, min_area=MIN_AREA) >= predictor.threshold

    pairs = {pair.image: pair for pair in find([args.photos, args.masks])["train"].pairs}
    pairs = resolve_masks([pairs[photo] for photo in exclude_trained([*pairs], predictor.split)])
    sheet = StressSheet()
    for pair in tqdm(pairs, unit="photo"):
        sheet.add(*read_pair(pair), detect)
    print(f"{len(pairs)} photos, {args.checkpoint}, threshold {predictor.threshold:g}\n\n"
          f"{sheet.table()}")


if __name__ == "__main__":
    run(main, "stress.py")

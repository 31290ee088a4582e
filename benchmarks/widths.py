"""How close are measured widths and lengths of predicted cracks to those of the true masks?

    python benchmarks/widths.py --data crackmix confusers --checkpoint runs/cracks-1 --calibrate

Each validation photo of the checkpoint is predicted and measured as infer.py --include-wide does,
and so is its mask. Ratios are per photo: predicted over true mean width, and length. Printed are
medians and quartiles, by source and by true mean width. Photos without a true crack are left out;
those in which nothing is found are counted as missed.

--calibrate: the factor for widths that makes the median ratio 1 on every other photo, and its
effect on the rest.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mosaic import validation_pairs
from tqdm import tqdm

from unet_resnet import load
from unet_resnet.checkpoint import SHIPPED
from unet_resnet.data import read_pair
from unet_resnet.files import align, run
from unet_resnet.inference.predictor import MIN_AREA
from unet_resnet.measure.widths import measure

LIMITS = (3, 6, 12, 25)  # pixels of true mean width


class Photo(NamedTuple):
    """Mean width and length of all its cracks, in pixels; 0 where nothing is found."""
    source: str
    true_width: float
    width: float
    true_length: float
    length: float


def photos_of(args: argparse.Namespace) -> list[Photo]:
    """What is called too wide for a crack is measured, too: true masks have some."""
    predictor, photos = load(args.checkpoint, args.device), []
    pairs = validation_pairs(args.data, predictor.split)
    if not pairs:
        raise ValueError(f"{args.data[0]}: no photo that {args.checkpoint} was validated on")
    for pair in tqdm(pairs, unit="photo", mininterval=10):
        photo, mask = read_pair(pair)
        crack = predictor(photo, min_area=MIN_AREA) >= predictor.threshold
        true, found = (measure(each, include_wide=True).total for each in (mask, crack))
        if true.length:
            photos.append(Photo(pair.source, true.width_mean, found.width_mean or 0.0, true.length,
                                found.length))
    return photos


def width_class(photo: Photo) -> str:
    """Its name begins with a digit that sorts."""
    low, high = (0, *LIMITS), (*map(str, LIMITS), "more")
    i = int(np.digitize(photo.true_width, LIMITS))
    return f"{i + 1}: {low[i]} to {high[i]} px"


def quartiles(found: np.ndarray, true: np.ndarray) -> tuple[str, ...]:
    """Median and quartiles of the ratio."""
    low, middle, high = np.quantile(found / true, (0.25, 0.5, 0.75))
    return f"{middle:.2f}", f"{low:.2f} to {high:.2f}"


def line(name: str, photos: Sequence[Photo]) -> tuple[str, ...]:
    found = np.array([photo[1:] for photo in photos if photo.length]).T
    counts = str(len(photos)), str(sum(not photo.length for photo in photos))
    if not found.size:
        return (name, *counts, *4 * ["-"])
    true_width, width, true_length, length = found
    return (name, *counts, *quartiles(width, true_width), *quartiles(length, true_length))


def table(photos: Sequence[Photo]) -> str:
    ratio = "median", "quartiles"
    lines = [("", "", "", "width", "", "length", ""), ("", "photos", "missed", *2 * ratio)]
    for name_of in (lambda photo: photo.source, width_class):
        lines += [line(name, [photo for photo in photos if name_of(photo) == name])
                  for name in sorted({*map(name_of, photos)})]
    return align([*lines, line("all", photos)])


def calibration(photos: Sequence[Photo]) -> str:
    """The factor of every other photo, in order of true width, and its effect on the rest."""
    ratios = np.array([photo.width / photo.true_width for photo in sorted(
        photos, key=lambda photo: photo.true_width) if photo.length])
    if len(ratios) < 2:
        return "calibration: too few photos"
    factor, rest = 1 / np.median(ratios[::2]), ratios[1::2]
    before, after = ("{:.2f} to {:.2f}, median error {:.1%}".format(
        *np.quantile(each, (0.25, 0.75)), np.median(np.abs(each - 1)))
        for each in (rest, factor * rest))
    return (f"calibration: widths times {factor:.3f}, from {len(ratios[::2])} photos; on the other "
            f"{len(rest)}, quartiles of {before}, become {after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="data sets")
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--calibrate", action="store_true", help="also find a factor for widths")
    args = parser.parse_args()
    photos = photos_of(args)
    if not photos:
        raise ValueError(f"{args.data[0]}: no validation photo has a crack in its mask")
    print(table(photos))
    if args.calibrate:
        print(calibration(photos))


if __name__ == "__main__":
    run(main, "widths.py")

"""Do fewer, larger tiles that overlap less cost accuracy?

    python benchmarks/mosaic.py --data crackmix confusers

No data set has masks for photos of 12 megapixels. So photos are joined, row by row, to mosaics of
4000x3000: once the validation photos of the bundled weights, once synthetic pavement. Each is
predicted with several tiles and overlaps, the first of which are common elsewhere. Printed are Dice
at the bundled threshold, and pixels computed per pixel of the mosaic.
"""

import argparse
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path

import torch
from torch import Tensor

from unet_resnet import load, tiling
from unet_resnet.audit.folders import find
from unet_resnet.audit.scoring import resolve_masks
from unet_resnet.checkpoint import Split
from unet_resnet.data import Pair, read_pair
from unet_resnet.files import fingerprint
from unet_resnet.metrics import BINS, counts_at, histogram
from unet_resnet.synthetic import pavement

HEIGHT, WIDTH = 3000, 4000
LATTICES = ((640, 0.5), (640, 0.25), (1536, 1 / 24), (tiling.TILE, tiling.OVERLAP), (1536, 1 / 8))


def validation_pairs(folders: Sequence[Path], split: Split) -> list[Pair]:
    hashes = {*split["validation"].values()}  # photos to train on may have the same names
    return resolve_masks([pair for part in find(folders).values() for pair in part.pairs
                          if fingerprint(pair.image) in hashes])


def mosaic(parts: Iterator[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Photos (3, h, w) and masks (1, h, w), side by side until the mosaic is full."""
    photo, mask = (torch.zeros(channels, HEIGHT, WIDTH, dtype=torch.uint8) for channels in (3, 1))
    top = 0
    while top < HEIGHT:
        row, left = [], 0
        while left < WIDTH:
            row.append((*next(parts), left))
            left += row[-1][0].shape[2]
        height = min(min(image.shape[1] for image, _, _ in row), HEIGHT - top)
        for image, truth, left in row:
            width = min(image.shape[2], WIDTH - left)
            for target, source in ((photo, image), (mask, truth)):
                target[:, top:top + height, left:left + width] = source[:, :height, :width]
        top += height
    return photo, mask


def counting(probability: Callable[[Tensor], Tensor], areas: list[int]
             ) -> Callable[[Tensor], Tensor]:
    def counted(tiles: Tensor) -> Tensor:
        areas.append(tiles[:, 0].numel())
        return probability(tiles)
    return counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", help="data sets of the bundled weights")
    parser.add_argument("--mosaics", type=int, default=3, help="of each kind")
    args = parser.parse_args()
    predictor = load()
    pairs = validation_pairs(args.data, predictor.split) if args.data else []
    kinds = {"synthetic": cycle(pavement.render(index, 1, 448) for index in range(80))}
    if pairs:
        random.Random(0).shuffle(pairs)
        kinds["photos"] = map(read_pair, cycle(pairs))
    for kind, parts in kinds.items():
        mosaics = [mosaic(parts) for _ in range(args.mosaics)]
        print(f"{kind:12}{'Dice':>8}{'computed':>10}")
        for tile, overlap in LATTICES:
            total, areas = torch.zeros(2, BINS, dtype=torch.int64), []
            for photo, mask in mosaics:
                found = tiling.predict(counting(predictor.probability, areas), photo, tile, overlap)
                total += histogram(found, mask.bool())
            dice = counts_at(total, predictor.threshold).dice
            computed = sum(areas) / (len(mosaics) * HEIGHT * WIDTH)
            print(f"{tile}, {overlap:.3f} {dice:8.4f}{computed:10.2f}", flush=True)


if __name__ == "__main__":
    main()

"""How much do a few labelled photos of one's own improve the scores?

    python benchmarks/few_shot.py --data morecams --source SUT --photos 5 10 20 40

For a camera that the weights have never seen: N photos of one source become a data set, which
`train.py --weights` is run on as a user would, with its defaults. The result is scored on the other
photographs of the source. 0 photos are the weights as they are. Arguments after -- go to train.py.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import torch
from tqdm import tqdm

from unet_resnet import load
from unet_resnet.audit.folders import find
from unet_resnet.audit.groups import photographs
from unet_resnet.audit.scoring import resolve_masks
from unet_resnet.data import Pair, read_pair
from unet_resnet.files import run
from unet_resnet.inference.predictor import MIN_AREA
from unet_resnet.metrics import BINS, best_threshold, counts_at, histogram

ROOT = Path(__file__).resolve().parents[1]


def pairs_of(folder: Path, source: str, seed: int) -> tuple[list[Pair], list[Pair]]:
    """The pairs of a source in two halves, in random order, no photograph in both."""
    groups: dict[str, list[Pair]] = defaultdict(list)
    pairs = resolve_masks([pair for part in find([folder]).values() for pair in part.pairs
                           if pair.source == source])
    for pair, group in zip(pairs, photographs(pairs)):
        groups[group].append(pair)
    if len(groups) < 2:
        raise ValueError(f"{source}: {len(groups)} photographs in {folder}, expected 2")
    shuffled = sorted(groups)
    random.Random(seed).shuffle(shuffled)
    halves = shuffled[:len(shuffled) // 2], shuffled[len(shuffled) // 2:]
    train, test = ([pair for group in half for pair in groups[group]] for half in halves)
    return train, test


def fine_tune(pairs: list[Pair], folder: Path, weights: str, flags: list[str]) -> None:
    for part in ("images", "masks"):
        (folder / "mine" / part).mkdir(parents=True)
    for pair in pairs:
        (folder / "mine/images" / pair.image.name).symlink_to(pair.image.resolve())
        (folder / "mine/masks" / pair.mask.name).symlink_to(pair.mask.resolve())
    subprocess.run([sys.executable, ROOT / "train.py", "--data", folder / "mine", "--weights",
                    weights, "--output", folder / "run", *flags], check=True,
                   stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--source", required=True, help="one that the weights have not seen")
    parser.add_argument("--photos", type=int, nargs="+", default=[0, 5, 10, 20, 40])
    parser.add_argument("--weights", default="cracks")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of photos")
    parser.add_argument("flags", nargs="*", help="of train.py, after --")
    args = parser.parse_args()
    mine, rest = pairs_of(args.data, args.source, args.seed)
    if max(args.photos) > len(mine):
        raise ValueError(f"--photos {max(args.photos)}: {args.source} has {len(mine)} to train on")
    print(f"{args.source}, scored on {len(rest)} photos; {' '.join(args.flags) or 'defaults'}")
    print(f"{'photos':>6}{'IoU':>8}{'Dice':>8}{'best':>8}{'minutes':>9}")
    for count in args.photos:
        with tempfile.TemporaryDirectory() as folder:
            began, weights = time.perf_counter(), args.weights
            if count:
                fine_tune(mine[:count], Path(folder), args.weights, args.flags)
                weights = Path(folder, "run")
            minutes = (time.perf_counter() - began) / 60
            predictor, total = load(weights), torch.zeros(2, BINS, dtype=torch.int64)
            for pair in tqdm(rest, "scoring", leave=False):
                photo, truth = read_pair(pair)
                total += histogram(predictor(photo, min_area=MIN_AREA), truth.bool())
        scores = counts_at(total, predictor.threshold)
        print(f"{count:6}{scores.iou:8.3f}{scores.dice:8.3f}{best_threshold([total])[1]:8.3f}"
              f"{minutes:9.1f}", flush=True)


if __name__ == "__main__":
    run(main, "few_shot.py")

"""How many crops per second does one core read and augment, compared with torchvision's v2?

    pip install -e ".[bench]" && python benchmarks/loader.py [--data FOLDER]

Both sides read the same files with the same code and make batches of 8 crops of 448 pixels. v2 runs
those of our transforms that it has, with the same probabilities. It has no confusers, shadow, haze,
darkness, motion blur, low resolution, colour cast or reflection beyond rotated borders, so it does
less.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from timing import interleave, table
from torch import Generator, Tensor
from torch.utils.data import default_collate
from torchvision import tv_tensors
from torchvision.transforms import v2

from unet_resnet.audit.split import load_pairs
from unet_resnet.augment import Augment
from unet_resnet.data import Pair, read_pair
from unet_resnet.synthetic import pavement
from unet_resnet.synthetic.confusers import confuse
from unet_resnet.synthetic.photometric import photometric

CROP, BATCH = 448, 8


def torchvision_pipeline() -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    bilinear = v2.InterpolationMode.BILINEAR
    transforms = v2.Compose([
        v2.RandomApply([v2.RandomAffine(180, scale=(0.5, 3.0), interpolation=bilinear)], 0.5),
        v2.RandomCrop(CROP, pad_if_needed=True, padding_mode="reflect"),
        v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(),
        v2.RandomApply([v2.JPEG((10, 60))], 0.15),
        v2.ToDtype(torch.float32, scale=True),
        v2.RandomApply([v2.ColorJitter(brightness=0.2)], 0.4),
        v2.RandomApply([v2.ColorJitter(contrast=0.4)], 0.4),
        v2.RandomApply([v2.Lambda(lambda image: image if isinstance(image, tv_tensors.Mask)
                                  else v2.functional.adjust_gamma(image, 0.8))], 0.3),
        v2.RandomApply([v2.ColorJitter(saturation=0.5)], 0.3),
        v2.RandomApply([v2.GaussianBlur(9, (0.4, 2.0))], 0.15),
        v2.RandomApply([v2.GaussianNoise(sigma=0.03)], 0.25)])

    def augment(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        image, mask = transforms(tv_tensors.Image(image), tv_tensors.Mask(mask))
        return image.as_subclass(Tensor), mask.as_subclass(Tensor).float()
    return augment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a data set; default: synthetic pavement")
    parser.add_argument("--photos", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if not args.data:
            args.data = Path(folder, "synthetic")
            pavement.write(args.data, args.photos)
        train, validation, *_ = load_pairs([args.data])
        pairs = [*train, *validation]
        pairs = pairs[::max(1, len(pairs) // args.photos)][:args.photos]
        measure(pairs, args.rounds)


def measure(pairs: Sequence[Pair], rounds: int) -> None:
    generator, ours = Generator().manual_seed(0), Augment(CROP, confuse, photometric)
    theirs = torchvision_pipeline()
    decoded = [read_pair(pair) for pair in pairs]

    def batches(crops: Sequence[tuple[Tensor, Tensor]]) -> None:
        for first in range(0, len(crops), BATCH):
            default_collate(crops[first:first + BATCH])

    seconds = interleave({
        "v2: augment": lambda: [theirs(*pair) for pair in decoded],
        "ours: augment": lambda: [ours(*pair, generator) for pair in decoded],
        "read": lambda: [read_pair(pair) for pair in pairs],
        "v2: read, augment, collate": lambda: batches(
            [theirs(*read_pair(pair)) for pair in pairs]),
        "ours: read, augment, collate": lambda: batches(
            [ours(*read_pair(pair), generator) for pair in pairs]),
    }, rounds, warmup=1)
    milliseconds = {name: 1000 * time / len(pairs) for name, time in seconds.items()}
    print(f"{len(pairs)} photos, crops of {CROP}, one core, torch {torch.__version__}")
    print(table("per crop", "ms", milliseconds, ("v2: augment", "v2: read, augment, collate")))
    rate = 1000 / milliseconds["ours: read, augment, collate"]
    print(f"ours: {rate:.0f} crops per second and core")


if __name__ == "__main__":
    main()

"""From folders to (image, mask) tensors; and who may sit in which split?

`python -m unet_resnet.data FOLDER` reports on a data set.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset

from unet_resnet.groups import split_groups
from unet_resnet.images import SUFFIXES, read_mask, read_photo
from unet_resnet.pairs import Pair, layout, match

VALIDATION_SHARE = 0.15

Transform = Callable[[Tensor, Tensor, Generator], tuple[Tensor, Tensor]]


Split = dict[str, dict[str, str]]  # "train" and "validation": file name -> fingerprint


def load_pairs(paths: Sequence[Path], seed: int = 0,
               split: Split | None = None) -> tuple[list[Pair], list[Pair]]:
    """The pairs to train on and those to validate on.

    By `split` where one is given; else validation is the part test/ where the data set has one,
    else about 15 % of the photographs of each source, drawn by `seed`. All crops of a photograph
    fall on one side.

    Raises ValueError or FileNotFoundError, naming the file, for a data set that is not in order.
    """
    parts = {}
    for name, (images, masks) in layout(paths).items():
        parts[name] = match(images, masks).check()
        if not parts[name]:
            raise ValueError(f"{images}: no pictures in it ({', '.join(SUFFIXES)})")
    if split is not None:
        return apply_split([pair for pairs in parts.values() for pair in pairs], split)
    if "test" in parts:
        return parts["train"], parts["test"]
    pairs = parts["train"]
    held_out = split_groups([pair.group for pair in pairs], [pair.source for pair in pairs],
                            VALIDATION_SHARE, seed)
    return ([pair for pair, held in zip(pairs, held_out) if not held],
            [pair for pair, held in zip(pairs, held_out) if held])


def fingerprint(path: Path) -> str:
    """SHA-256 of a file, shortened to 16 hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def describe_split(train: Sequence[Pair], validation: Sequence[Pair]) -> Split:
    """What split.json and every checkpoint hold: the photos of each side with their hashes."""
    return {name: {pair.image.name: fingerprint(pair.image) for pair in pairs}
            for name, pairs in (("train", train), ("validation", validation))}


def apply_split(pairs: Sequence[Pair], split: Split) -> tuple[list[Pair], list[Pair]]:
    """The pairs of each side of a split, found by content, so that files may have moved.

    Raises ValueError unless the data set and the split hold the same photographs.
    """
    sides = {mark: side for side in ("train", "validation") for mark in split[side].values()}
    train, validation = [], []
    for pair in pairs:
        side = sides.get(fingerprint(pair.image))
        if side is None:
            raise ValueError(f"{pair.image}: not in the split, or changed since; train anew, or "
                             "restore the data set")
        (train if side == "train" else validation).append(pair)
    found = {pair.image.name for pair in pairs}
    missing = [name for side in split.values() for name in side if name not in found]
    if missing:
        raise ValueError(f"{missing[0]} (of {len(missing)}): in the split but not in the data set;"
                         " restore it, or train anew")
    return train, validation


def read_pair(photo: Path, mask: Path) -> tuple[Tensor, Tensor]:
    """Photo (3, h, w) uint8 RGB and mask (1, h, w) uint8 0/1.

    Raises ValueError, naming the file, where one is unreadable or the sizes differ.
    """
    image, truth = read_photo(photo), read_mask(mask)
    if image.shape[1:] != truth.shape[1:]:
        raise ValueError(f"{mask}: {truth.shape[2]}x{truth.shape[1]} pixels, but its photo has "
                         f"{image.shape[2]}x{image.shape[1]}; export the mask at the photo's size")
    return image, truth


class Crops(Dataset):
    """An endless stream of augmented training crops, addressed by position.

    Position p is picture p % n of epoch p // n in that epoch's own shuffled order, cropped with
    random numbers seeded by p. So a crop depends on its position alone: not on the number of
    workers, nor on what was read before it, and a run can go on from any position.
    """

    def __init__(self, pairs: Sequence[Pair], augment: Transform, seed: int) -> None:
        self.pairs, self.augment, self.seed = pairs, augment, seed

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        epoch, place = divmod(position, len(self.pairs))
        # Seeds of shuffling are small, those of cropping begin at two thousand million.
        shuffle = Generator().manual_seed(self.seed * 1_000_003 + 2 * epoch + 1)
        index = torch.randperm(len(self.pairs), generator=shuffle)[place]
        pair = self.pairs[index]
        return self.augment(*read_pair(pair.image, pair.mask), Generator().manual_seed(
            (self.seed + 1) * 2_000_000_011 + 2 * position))


class WholePictures(Dataset):
    """The pairs as they are: photo (3, h, w) uint8 and mask (1, h, w) uint8 0/1."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return read_pair(self.pairs[index].image, self.pairs[index].mask)

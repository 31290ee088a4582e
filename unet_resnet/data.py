"""How often is a pair of photo and mask shown in an epoch, and how does it become crops?"""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from unet_resnet.images import MaskRule, read_photo, size_mismatch
from unet_resnet.morphology import width_classes

T = TypeVar("T")
Transform = Callable[[Tensor, Tensor, Generator], tuple[Tensor, Tensor]]

WIDTHS = (5, 10, 20, 50)  # pixels: the borders of the classes that `balance` evens out
# Pillow decodes outside Python's lock; each thread holds a whole photo, hence not all cores.
THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class Pair:
    """A photo, its mask and the data set they come from."""

    image: Path
    mask: Path
    source: str
    folder: str = ""  # of the photo, below the images/ of its data set
    fingerprints: dict[str, str] = field(default_factory=dict, compare=False)  # of image and mask
    rule: MaskRule = field(default=MaskRule(), compare=False)  # by which the mask is read

    @property
    def name(self) -> str:
        """The photo's name with its subfolders, such as day1/001.jpg."""
        return f"{self.folder}/{self.image.name}" if self.folder else self.image.name


def read_pair(pair: Pair) -> tuple[Tensor, Tensor]:
    """Photo (3, h, w) uint8 RGB and mask (1, h, w) uint8 0/1.

    Raises ValueError, naming the file, if one is unreadable or the sizes differ.
    """
    image = read_photo(pair.image)
    return image, read_truth(pair, image)


def read_truth(pair: Pair, image: Tensor) -> Tensor:
    """The mask (1, h, w) uint8 0/1 of a photo (3, h, w); ValueError where the sizes differ."""
    truth = pair.rule.read(pair.mask, pair.image)
    if image.shape[1:] != truth.shape[1:]:
        raise ValueError(f"{pair.mask}: {size_mismatch(truth.shape[1:], image.shape[1:])}")
    return truth


def map_in_threads(function: Callable[[Pair], T], pairs: Sequence[Pair], title: str) -> list[T]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(tqdm(pool.map(function, pairs), title, len(pairs), unit="pair", leave=False))


def balance(pairs: Sequence[Pair], minimum: int = 1) -> list[Pair]:
    """The pairs of an epoch: those of a rare kind repeated, up to six times their number; then all
    of them repeated until there are at least `minimum`.

    The widest place of a mask gives its width class (`WIDTHS`); each class is brought to a fifth of
    its source's photos (repeat factor sampling; Gupta et al., LVIS, 2019; but in full proportion,
    not its root). Photos without cracks, if there are any, are brought to a third of the
    epoch: they teach what is not a crack.
    """
    def widest_class(pair: Pair) -> int:
        mask = pair.rule.read(pair.mask, pair.image)
        return int((mask + width_classes(mask, WIDTHS)).max())  # 0: no crack

    groups = defaultdict(list)
    for pair, width in zip(pairs, map_in_threads(widest_class, pairs, "measuring cracks")):
        groups[pair.source, width].append(pair)
    photos = Counter(pair.source for pair in pairs)
    crack_free = [pair for (_, width), members in groups.items() if not width for pair in members]
    epoch = [*pairs]
    for (source, width), members in groups.items():
        if width:
            epoch += repeats(members, photos[source] // 5)
    epoch += repeats(crack_free, (len(epoch) - len(crack_free)) // 2)
    return epoch * -(-minimum // len(epoch))


def repeats(members: Sequence[Pair], target: int) -> list[Pair]:
    """The repeats that bring the members to the target number, or to six times their own: evenly
    from the whole list, in which the tiles of a photograph are neighbours."""
    extra = max(0, min(target, 6 * len(members)) - len(members))
    return [members[i * len(members) // extra] for i in range(extra)]


def derive_seed(*purpose: str | int) -> int:
    """A separate seed for each purpose, of 32 bits: torch's CPU generator uses no more."""
    return int.from_bytes(hashlib.sha256(repr(purpose).encode()).digest()[:4], "big")


def spread(sources: Sequence[str], generator: Generator) -> list[int]:
    """A random order of 0 .. len(sources) - 1 in which each source is spread evenly.

    The n members of a source are shuffled; the i-th gets a random place in the i-th of n parts.
    """
    order = torch.randperm(len(sources), generator=generator).tolist()
    chance = torch.rand(len(sources), generator=generator).tolist()
    counts, seen, places = Counter(sources), Counter(), {}
    for index in order:
        places[index] = (seen[sources[index]] + chance[index]) / counts[sources[index]]
        seen[sources[index]] += 1
    return sorted(order, key=places.__getitem__)


class Crops(Dataset):
    """An endless stream of augmented training crops, addressed by position.

    Position p is pair p % n of epoch p // n in that epoch's own order, cropped with random numbers
    seeded by p. Neither the number of workers nor what was read before matters: a run can resume at
    any position.
    """

    def __init__(self, pairs: Sequence[Pair], augment: Transform, seed: int) -> None:
        self.pairs, self.augment, self.seed = pairs, augment, seed
        self.epoch, self.order = -1, []  # of the crop read last

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        epoch, place = divmod(position, len(self.pairs))
        if epoch != self.epoch:
            shuffle = Generator().manual_seed(derive_seed("shuffle", self.seed, epoch))
            self.epoch = epoch
            self.order = spread([pair.source for pair in self.pairs], shuffle)
        pair = self.pairs[self.order[place]]
        crop = Generator().manual_seed(derive_seed("crop", self.seed, position))
        return self.augment(*read_pair(pair), crop)

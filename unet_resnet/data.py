"""Which mask belongs to which photo, and how does a pair become training crops?"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from unet_resnet.images import SUFFIXES, read_mask, read_photo

Transform = Callable[[Tensor, Tensor, Generator], tuple[Tensor, Tensor]]
CAMERA = r"(?:IMG|MVIMG|DSC[NF]?|DJI|GOPR|PXL|P)"

NOT_A_SOURCE = re.compile(rf"(?:\d.*)?|{CAMERA}[\d-]*", re.IGNORECASE)
TWO_WORD_SOURCES = ("Eugen_Muller", "Sylvie_Chambon")


@dataclass(frozen=True)
class Pair:
    """A photo and its mask; `source` is the data set it comes from."""

    image: Path
    mask: Path
    source: str


@dataclass
class Part:
    """The pairs of two folders, and what kept other files from becoming pairs."""

    pairs: list[Pair] = field(default_factory=list)
    without_mask: list[Path] = field(default_factory=list)
    without_image: list[Path] = field(default_factory=list)
    doubled: list[Path] = field(default_factory=list)  # a second file of the same stem


def source_of(stem: str) -> str:
    """The data set an image came from: `CFD_014` -> `CFD`; a camera's own name -> `photos`."""
    for source in TWO_WORD_SOURCES:
        if stem.startswith(source + "_"):
            return source
    prefix, underscore, _ = stem.partition("_")
    return "photos" if not underscore or NOT_A_SOURCE.fullmatch(prefix) else prefix


def pictures_in(folder: Path) -> list[Path]:
    """The picture files directly in a folder, sorted; hidden ones left out."""
    return sorted(path for path in folder.iterdir()
                  if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))


def by_stem(paths: Iterable[Path]) -> tuple[dict[str, Path], list[Path]]:
    """The first file of each stem, and the rest."""
    files = defaultdict(list)
    for path in paths:
        files[path.stem].append(path)
    return ({stem: paths[0] for stem, paths in files.items()},
            [path for paths in files.values() for path in paths[1:]])


def match(images: Path, masks: Path) -> Part:
    """Pair two folders by file stem, sorted by stem."""
    photos, doubled_photos = by_stem(pictures_in(images))
    partners, doubled_masks = by_stem(pictures_in(masks))
    pairs = [Pair(photos[stem], partners[stem], source_of(stem))
             for stem in sorted(photos.keys() & partners.keys())]
    return Part(pairs, [photos[stem] for stem in sorted(photos.keys() - partners.keys())],
                [partners[stem] for stem in sorted(partners.keys() - photos.keys())],
                doubled_photos + doubled_masks)


def layout(paths: Sequence[Path]) -> dict[str, list[tuple[Path, Path]]]:
    """The folders of photos and masks of data sets, under "train" and perhaps "test".

    Each of `paths` is a folder with images/ and masks/, or with train/images, train/masks and
    perhaps test/images, test/masks (the layout of khanhha/crack_segmentation). Or they are two
    folders, of photos and of masks.

    Raises FileNotFoundError where none of these is found.
    """
    for path in paths:
        if not path.is_dir():
            raise FileNotFoundError(f"{path}: no such folder")
    insides = [_parts_in(path) for path in paths]
    if len(paths) == 2 and not any(insides):
        return {"train": [(paths[0], paths[1])]}
    found = defaultdict(list)
    for path, inside in zip(paths, insides):
        if "train" not in inside:
            raise FileNotFoundError(
                f"{path}: neither images/ and masks/ nor train/images/ and train/masks/ in it; "
                "make one of these, or name the two folders, photos first")
        for part, folders in inside.items():
            found[part].append(folders)
    return dict(found)


def _parts_in(root: Path) -> dict[str, tuple[Path, Path]]:
    parts = {}
    for name, folder in (("train", root), ("train", root / "train"), ("test", root / "test")):
        if (folder / "images").is_dir() and (folder / "masks").is_dir():
            parts.setdefault(name, (folder / "images", folder / "masks"))
    return parts


def find(paths: Sequence[Path]) -> dict[str, Part]:
    """The pairs of data sets (`layout`), those of one part together."""
    parts = {}
    for name, folders in layout(paths).items():
        found = [vars(match(*pair)).values() for pair in folders]
        parts[name] = Part(*(sum(lists, []) for lists in zip(*found)))
    return parts


def read_pair(photo: Path, mask: Path) -> tuple[Tensor, Tensor]:
    """Photo (3, h, w) uint8 RGB and mask (1, h, w) uint8 0/1.

    Raises ValueError, naming the file, where one is unreadable or the sizes differ.
    """
    image, truth = read_photo(photo), read_mask(mask)
    if image.shape[1:] != truth.shape[1:]:
        raise ValueError(f"{mask}: {truth.shape[2]}x{truth.shape[1]} pixels, but its photo has "
                         f"{image.shape[2]}x{image.shape[1]}; export the mask at the photo's size")
    return image, truth


def seed_of(*purpose: str | int) -> int:
    """A seed of its own for each purpose; of 32 bits, for torch's CPU generator heeds no more."""
    return int.from_bytes(hashlib.sha256(repr(purpose).encode()).digest()[:4], "big")


def spread(sources: Sequence[str], generator: Generator) -> list[int]:
    """A random order of 0 .. len(sources) - 1 in which each source is spread evenly.

    The i-th of n of a source, in random order, stands at a random place in the i-th of n equal
    parts of the whole.
    """
    indices, places = torch.randperm(len(sources), generator=generator).tolist(), {}
    chance = torch.rand(len(sources), generator=generator).tolist()
    counts, seen = Counter(sources), Counter()
    for index in indices:
        source = sources[index]
        places[index] = (seen[source] + chance[index]) / counts[source]
        seen[source] += 1
    return sorted(indices, key=places.__getitem__)


def width_classes(mask: Tensor, limits: Sequence[int]) -> Tensor:
    """How many of the limits the local width of a crack reaches, at each of its pixels.

    mask: (..., h, w) uint8 of 0 and 1; limits: whole pixels. Returns the mask's shape and type,
    0 outside the cracks.

    The width at a pixel is the side of the largest square of crack pixels that contains it: a
    morphological opening at each limit. A diagonal crack thus counts as narrower than it is, by
    a factor of at most the root of 2. Beyond the edge of the mask there is no crack.
    """
    classes = torch.zeros_like(mask)
    for side in limits:
        eroded = least(F.pad(mask, [side - 1] * 4), side)
        classes += 1 - least(1 - eroded, side)
    return classes


def least(image: Tensor, side: int) -> Tensor:
    """(..., h, w) -> (..., h - side + 1, w - side + 1): the least value of each square."""
    reached = 1
    while reached < side:
        step = min(reached, side - reached)  # squares that overlap or touch make a larger one
        image = torch.minimum(image[..., step:, :], image[..., :-step, :])
        image = torch.minimum(image[..., step:], image[..., :-step])
        reached += step
    return image


class Crops(Dataset):
    """An endless stream of augmented training crops, addressed by position.

    Position p is picture p % n of epoch p // n in that epoch's own order, cropped with random
    numbers seeded by p. The order is shuffled, yet the pictures of each source are spread evenly
    over the epoch: each batch has some without cracks, where these are a source of their own.

    So a crop depends on its position alone: not on the number of workers, nor on what was read
    before it, and a run can go on from any position.
    """

    def __init__(self, pairs: Sequence[Pair], augment: Transform, seed: int) -> None:
        self.pairs, self.augment, self.seed = pairs, augment, seed
        self.epoch, self.order = -1, []  # of the crop read last

    def __len__(self) -> int:
        return len(self.pairs)

    def pair_at(self, position: int) -> Pair:
        epoch, place = divmod(position, len(self.pairs))
        if epoch != self.epoch:
            shuffle = Generator().manual_seed(seed_of("shuffle", self.seed, epoch))
            self.epoch = epoch
            self.order = spread([pair.source for pair in self.pairs], shuffle)
        return self.pairs[self.order[place]]

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        pair = self.pair_at(position)
        crop = Generator().manual_seed(seed_of("crop", self.seed, position))
        return self.augment(*read_pair(pair.image, pair.mask), crop)


class WholePictures(Dataset):
    """The pairs as they are: photo (3, h, w) uint8 and mask (1, h, w) uint8 0/1."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def pair_at(self, index: int) -> Pair:
        return self.pairs[index]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return read_pair(self.pairs[index].image, self.pairs[index].mask)

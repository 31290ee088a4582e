"""Which mask belongs to which photograph, and where do they lie?"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unet_resnet.groups import group_of, source_of
from unet_resnet.images import SUFFIXES


@dataclass(frozen=True)
class Pair:
    """A photograph and its mask; `source` is the data set and `group` the photograph's name."""

    image: Path
    mask: Path
    source: str
    group: str


@dataclass
class Part:
    """The pairs of two folders, and what kept other files from becoming pairs."""

    pairs: list[Pair] = field(default_factory=list)
    without_mask: list[Path] = field(default_factory=list)
    without_image: list[Path] = field(default_factory=list)
    doubled: list[Path] = field(default_factory=list)  # a second file of the same stem


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
    pairs = [Pair(photos[stem], partners[stem], source_of(stem), group_of(stem))
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

"""Which photos and masks are in a data set, which belong together, and which files are not used?

A data set is a folder with one of these; subfolders of images/ and masks/ are read, too:

    images/ masks/                          train/images/ train/masks/ val/images/ val/masks/ ...
    images/train/ masks/train/ ...          NAME.jpg and NAME_mask.png in one folder
"""

import os
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from unet_resnet.audit.groups import source_of
from unet_resnet.data import Pair
from unet_resnet.files import one_line
from unet_resnet.images import SUFFIXES, is_picture, unread_note

PARTS = {"train": ("train", "training"), "validation": ("val", "valid", "validation"),
         "test": ("test", "testing")}
MASK_END = re.compile(r"[_-](masks?|labels?|gt|seg)$", re.IGNORECASE)  # of a name


@dataclass
class Part:
    """The pairs of some folders, and the files that have no partner or are not used."""

    pairs: list[Pair] = field(default_factory=list)
    without_mask: list[Path] = field(default_factory=list)
    without_image: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)  # perhaps pictures that cannot be read
    unused: list[str] = field(default_factory=list)  # folders


def fail(error: OSError) -> NoReturn:
    raise error


def pictures_below(folder: Path, apart: Set[Path] = frozenset()
                   ) -> tuple[dict[str, Path], list[Path]]:
    """The pictures in and below a folder, by names such as day1/001 for folder/day1/001.jpg, and
    the other files; without those that are hidden, or in the folders `apart`.

    Links to folders are not followed: they can lead in circles. Raises OSError for a folder that
    cannot be read, and ValueError for two pictures of one name.
    """
    files: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders
                      if name[0] != "." and Path(parent, name) not in apart]
        files += [Path(parent, name) for name in names if name[0] != "."]
    pictures: dict[str, Path] = {}
    for file in filter(is_picture, sorted(files)):
        if pictures.setdefault(name_below(folder, file), file) is not file:
            raise ValueError(f"{file}: a second picture of that name; keep one of them, or if one "
                             "is the mask, name it NAME_mask or use two folders")
    return pictures, [file for file in files if not is_picture(file)]


def name_below(folder: Path, path: Path) -> str:
    return Path(os.path.relpath(path, folder)).with_suffix("").as_posix()


def predicted_among(names: Set[str]) -> set[str]:
    """Those of the names that are masks which infer.py wrote, with NAME_probability beside them."""
    return {name for name in names if name.endswith("_mask")
            and f"{name.removesuffix('_mask')}_probability" in names}


def masks_among(names: Set[str]) -> set[str]:
    """Those of the names that are masks of others, such as NAME_mask beside NAME; not those that
    infer.py wrote."""
    return {name for name in names if (photo := MASK_END.sub("", name)) != name and photo in names
            } - predicted_among(names)


def layout(paths: Sequence[Path]) -> dict[str, list[tuple[Path, Path]]]:
    """The folders of photos and of masks, under "train" and perhaps "validation" and "test".

    Each path is a data set; two paths may also be a folder of photos and a folder of masks.

    Raises FileNotFoundError if a path is neither.
    """
    for path in paths:
        if not path.is_dir():
            raise FileNotFoundError(f"{path}: no such folder")
    found = [parts_of(path) for path in paths]
    apart = any(images != masks for parts in found for images, masks in parts.values())
    if len(paths) == 2 and not apart and not all(found):
        return {"train": [(paths[0], paths[1])]}
    for path, parts in zip(paths, found):
        if "train" not in parts:
            raise FileNotFoundError(
                f"{path}: neither images/ and masks/ nor train/images/ and train/masks/ in it; "
                "make one of these, or name the two folders, photos first")
    return {part: [parts[part] for parts in found if part in parts]
            for part in PARTS if any(part in parts for parts in found)}


def parts_of(root: Path) -> dict[str, tuple[Path, Path]]:
    """`layout` of one data set; {} if it is none."""
    found = {}
    for part, names in PARTS.items():
        names = [spelled for name in names for spelled in (name, name.title(), name.upper())]
        places = [root / name for name in names]
        if part == "train":  # images/ and masks/ without a part are of train
            places.insert(0, root)
        apart = [(root / "images" / name, root / "masks" / name) for name in names]
        apart += [(place / "images", place / "masks") for place in places]
        choices = [both for both in apart if both[0].is_dir() and both[1].is_dir()]
        choices += [(place, place) for place in places if holds_both(place)]
        if choices:
            found[part] = choices[0]
    return found


def holds_both(folder: Path) -> bool:
    """Whether masks lie directly beside their photos in a folder."""
    return folder.is_dir() and bool(masks_among(
        {path.stem for path in folder.iterdir() if is_picture(path)}))


def find(paths: Sequence[Path]) -> dict[str, Part]:
    """The pairs of data sets, under the names of `layout`. Raises ValueError if there are no
    pictures."""
    folders, parts = layout(paths), {}
    using = {folder for some in folders.values() for both in some for folder in both}
    for name, some in folders.items():
        parts[name] = Part()
        for images, masks in some:
            add_pairs(parts[name], images, masks, using)
    parts["train"].unused = [folder for path in paths for folder in unused(path, using)]
    if not any(part.pairs or part.without_mask or part.without_image for part in parts.values()):
        raise ValueError("; ".join([f"{paths[0]}: no pictures in it ({' '.join(SUFFIXES)})",
                                    *notes(parts)]))
    return parts


def add_pairs(part: Part, images: Path, masks: Path, apart: Set[Path]) -> None:
    """Add to a part what is in a folder of photos and in one of masks, which may be the same."""
    photos, others = pictures_below(images, apart - {images})
    if images == masks:
        truths = {name: photos.pop(name) for name in masks_among(photos.keys())}
    else:
        truths, more = pictures_below(masks, apart - {masks})
        others += more
    part.others += others
    match(part, photos, truths)


def match(part: Part, photos: Mapping[str, Path], masks: Mapping[str, Path]) -> None:
    """Add to a part the pairs of photos and masks, both by name, and those without a partner.

    A photo's mask has its name, or if there is none, one such as NAME_mask.
    """
    others = sorted(masks.keys() - photos.keys(), reverse=True)  # of several, the first is taken
    mask_of = {MASK_END.sub("", mask): mask for mask in others} | {name: name for name in masks}
    partner = {name: mask_of[name] for name in sorted(photos) if name in mask_of}
    part.pairs += [Pair(photos[name], masks[mask], source_of(photos[name].stem),
                        name.rpartition("/")[0]) for name, mask in partner.items()]
    part.without_mask += [photos[name] for name in sorted(photos.keys() - partner.keys())]
    part.without_image += [masks[name] for name in sorted(masks.keys() - partner.values())]


def notes(parts: Mapping[str, Part]) -> list[str]:
    """What is not used, in at most a line each: folders, and pictures of other kinds."""
    folders = ", ".join(folder for part in parts.values() for folder in part.unused)
    unread = unread_note(sorted(path for part in parts.values() for path in part.others))
    return [one_line(note) for note in (folders and f"not used: {folders}", unread) if note]


def unused(folder: Path, using: Set[Path], name: str = "") -> list[str]:
    """The folders in a data set that hold no photos and masks of it."""
    found = []
    for child in sorted(folder.iterdir()) if folder not in using else ():
        if child.is_dir() and child.name[0] != ".":
            leads = any(child in (place, *place.parents) for place in using)
            inside = f"{name}{child.name}/"
            found += unused(child, using, inside) if leads else [inside]
    return found

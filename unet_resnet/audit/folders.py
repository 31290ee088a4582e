"""Which photos and masks are in a data set, which belong together, and which files are not used?

A data set is a folder with one of these; sub-folders of images/ and masks/ are read, too:

    images/ masks/                          train/images/ train/masks/ val/images/ val/masks/ ...
    images/train/ masks/train/ ...          NAME.jpg and NAME_mask.png in one folder

val/ (or valid/, validation/) validates, and test/ is then kept apart; without it, test/ validates.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from unet_resnet.audit.groups import source_of
from unet_resnet.data import Pair
from unet_resnet.images import SUFFIXES, is_other, is_picture, passed_over

PARTS = {"train": ("train",), "validation": ("val", "valid", "validation"), "test": ("test",)}
# Ends of names: of masks, and of what else infer.py writes beside its mask.
MASK_END = re.compile(r"[_-](masks?|labels?|gt|seg)$", re.IGNORECASE)
RESULT_END = re.compile(r"_(probability|overlay|widths)$")
NAMED = 5  # unused folders named in a message


@dataclass
class Part:
    """The pairs of some folders, and the files that have no partner or are not used."""

    pairs: list[Pair] = field(default_factory=list)
    without_mask: list[Path] = field(default_factory=list)
    without_image: list[Path] = field(default_factory=list)
    doubled: list[Path] = field(default_factory=list)  # a second file of the same name
    beside: list[Path] = field(default_factory=list)  # NAME_overlay.png ... of a photo NAME
    unread: list[Path] = field(default_factory=list)  # pictures of other kinds


def fail(error: OSError) -> NoReturn:
    raise error


def pictures_below(folder: Path, apart: Set[Path] = frozenset()) -> tuple[list[Path], list[Path]]:
    """The pictures in and below a folder by their endings, and other files that hold a picture;
    sorted, without hidden ones and without the folders kept `apart`.

    Links to folders are not followed: they can lead in circles.
    """
    files: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders
                      if name[0] != "." and Path(parent, name) not in apart]
        files += [Path(parent, name) for name in names if name[0] != "."]
    files.sort()
    return ([file for file in files if is_picture(file)],
            [file for file in files if is_other(file)])


def name_below(folder: Path, path: Path) -> str:
    """Such as day1/001 for folder/day1/001.jpg."""
    return Path(os.path.relpath(path, folder)).with_suffix("").as_posix()


def by_name(folder: Path, paths: Iterable[Path]) -> tuple[dict[str, Path], list[Path]]:
    """The first file of each name below the folder, and the rest."""
    first: dict[str, Path] = {}
    rest = [path for path in paths if first.setdefault(name_below(folder, path), path) is not path]
    return first, rest


def photo_named_by(name: str) -> str:
    """The name of the photo that a mask or another result belongs to: wall_mask -> wall."""
    return RESULT_END.sub("", MASK_END.sub("", name))


def partners(photos: Set[str], masks: Set[str]) -> dict[str, str]:
    """The name of each photo's mask: the photo's, or if there is none, one such as NAME_mask."""
    plain = {name: name for name in photos & masks}
    named = {photo: name for name in sorted(masks - plain.keys(), reverse=True)
             if (photo := MASK_END.sub("", name)) != name and photo in photos}
    return named | plain


def masks_among(names: Set[str]) -> set[str]:
    """The names of masks of others, such as NAME_mask; not those that infer.py wrote, with its
    NAME_probability beside them."""
    return {name for name in names if (photo := MASK_END.sub("", name)) != name and photo in names
            and not (name == f"{photo}_mask" and f"{photo}_probability" in names)}


def holds_both(folder: Path) -> bool:
    """Whether masks lie directly beside their photos in a folder."""
    return folder.is_dir() and bool(masks_among(
        {path.stem for path in folder.iterdir() if is_picture(path)}))


def layout(paths: Sequence[Path]) -> dict[str, list[tuple[Path, Path]]]:
    """The folders of photos and of masks, under "train" and perhaps "validation" and "test".

    Each path is a data set; two paths may also be a folder of photos and a folder of masks.

    Raises FileNotFoundError if a path is neither.
    """
    for path in paths:
        if not path.is_dir():
            raise FileNotFoundError(f"{path}: no such folder")
    found = [parts_of(path) for path in paths]
    apart = any(images != masks for parts in found for some in parts.values()
                for images, masks in some)
    if len(paths) == 2 and not apart and not all(found):
        return {"train": [(paths[0], paths[1])]}
    for path, parts in zip(paths, found):
        if "train" not in parts:
            there = listed([f"{child.name}/" for child in sorted(path.iterdir())
                            if child.is_dir() and child.name[0] != "."])
            raise FileNotFoundError(
                f"{path}: neither images/ and masks/ nor train/images/ and train/masks/ in it"
                f"{f', but {there}' if there else ''}; make one of these, or name the two "
                "folders, photos first")
    return {part: folders for part in PARTS
            if (folders := [both for parts in found for both in parts.get(part, [])])}


def parts_of(root: Path) -> dict[str, list[tuple[Path, Path]]]:
    """`layout` of one data set; {} if it is none."""
    found = {}
    for part, names in PARTS.items():
        choices = [(root / "images" / name, root / "masks" / name) for name in names]
        choices += [(root / "images", root / "masks")] * (part == "train")
        choices += [(root / name / "images", root / name / "masks") for name in names]
        choices = [both for both in choices if both[0].is_dir() and both[1].is_dir()]
        together = [root / name for name in (*[""] * (part == "train"), *names)]
        choices += [(folder, folder) for folder in together if holds_both(folder)]
        if choices:
            found[part] = choices[:1]
    return found


def find(paths: Sequence[Path]) -> dict[str, Part]:
    """The pairs of data sets, under the names of `layout`."""
    folders, parts = layout(paths), {}
    for name, some in folders.items():
        parts[name] = Part()
        for images, masks in some:
            pair_up(parts[name], images, masks, used(folders))
    return parts


def used(folders: Mapping[str, Sequence[tuple[Path, Path]]]) -> set[Path]:
    return {folder for some in folders.values() for both in some for folder in both}


def pair_up(part: Part, images: Path, masks: Path, apart: Set[Path]) -> None:
    """Add to a part what is in a folder of photos and in one of masks, which may be the same.

    A picture of another kind counts if it has a partner: reading it then says what is wrong.
    """
    found, other = pictures_below(images, apart - {images})
    photos, doubled = by_name(images, found + other)
    if images == masks:
        truths = {name: photos.pop(name) for name in sorted(masks_among(photos.keys()))}
    else:
        found, more = pictures_below(masks, apart - {masks})
        truths, twice = by_name(masks, found + more)
        other, doubled = other + more, doubled + twice
    part.doubled += [path for path in doubled if is_picture(path)]
    paired = match(part, photos, truths)
    part.unread += [path for path in other if path not in paired]


def match(part: Part, photos: Mapping[str, Path], truths: Mapping[str, Path]) -> set[Path]:
    """Add to a part the pairs of photos and masks, both by name, and the pictures without a
    partner; returns the files of all its pairs."""
    partner = partners(photos.keys(), truths.keys())
    part.pairs += [Pair(photos[name], truths[partner[name]], source_of(photos[name].stem),
                        name.rpartition("/")[0]) for name in sorted(partner)]
    paired = {path for pair in part.pairs for path in (pair.image, pair.mask)}
    for names, alone in ((photos, part.without_mask), (truths, part.without_image)):
        for name, path in sorted(names.items()):
            if path not in paired and is_picture(path):
                photo = photo_named_by(name)
                second = names is truths and MASK_END.search(name)
                (alone if photo == name or photo not in photos else
                 part.doubled if second else part.beside).append(path)
    return paired


def notes(paths: Sequence[Path], parts: Mapping[str, Part]) -> list[str]:
    """What is not used, in at most a line each: folders, results of infer.py, other kinds."""
    using = used(layout(paths))
    found = [name for path in paths for name in unused(path, using)]
    beside = [path for part in parts.values() for path in part.beside]
    if beside:
        found.append(f"pictures such as {beside[0].name}: {len(beside)}")
    unread = passed_over(path for part in parts.values() for path in part.unread)
    return [f"not used: {listed(found)}"] * bool(found) + [unread] * bool(unread)


def unused(folder: Path, using: Set[Path], name: str = "") -> list[str]:
    """The folders in a data set that hold no photos and masks of it, and pictures beside them."""
    if folder in using:
        return []
    found, pictures = [], 0
    for child in sorted(folder.iterdir()):
        if child.name[0] == ".":
            continue
        if not child.is_dir():
            pictures += is_picture(child) or is_other(child)
        elif any(child in (place, *place.parents) for place in using):
            found += unused(child, using, f"{name}{child.name}/")
        else:
            found.append(f"{name}{child.name}/")
    return found + [f"{pictures} picture{'s' * (pictures != 1)} directly in {name or folder}"] * (
        pictures > 0)


def listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def nothing_in(path: Path, remarks: Sequence[str]) -> ValueError:
    """The error of a data set without pictures; remarks: of `notes`."""
    return ValueError("; ".join([f"{path}: no pictures in it ({' '.join(SUFFIXES)})", *remarks]))

"""Which photos and videos are meant by files, folders and patterns, and which masks are theirs?"""

import os
from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from unet_resnet.data import read_truth
from unet_resnet.files import one_line
from unet_resnet.folders import (
    Pair, by_name, holds_both, is_picture, partners, photo_named_by, pictures_below, source_of)
from unet_resnet.formats import kind_of, passed_over
from unet_resnet.images import SUFFIXES, has_pages, interpreted, opened, upright
from unet_resnet.inference import index
from unet_resnet.masks import rule_for

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mts", ".m2ts", ".mpg", ".mpeg",
                  ".wmv", ".3gp")  # not .ts, which is TypeScript too


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def counted(paths: Sequence[Path]) -> str:
    """Such as "2 photos and 1 video"."""
    videos = sum(map(is_video, paths))
    parts = {"photo": len(paths) - videos, "video": videos}
    return " and ".join(f"{number} {what}{'s' * (number != 1)}" for what, number in parts.items()
                        if number) or "0 photos"


def part_of(number: int, paths: Sequence[Path]) -> str:
    """Such as "1 of 2 photos" or "3 of 5 photos and videos"."""
    mixed = 0 < sum(map(is_video, paths)) < len(paths)
    return f"{number} of {f'{len(paths)} photos and videos' if mixed else counted(paths)}"


def find_photos(names: Sequence[str | Path]) -> tuple[list[Path], Path]:
    """The photos and videos meant by files, folders and patterns, in order, each once; and the
    folder that results are named from: the one that all of these have in common.

    A missing file stays in the list: reading it reports that after the others are done. In a
    folder, hidden files and results of earlier runs are left out, and pictures of other kinds,
    whose number is printed. Raises ValueError if nothing is found.
    """
    given = [path for name in names for path in _expanded(Path(name))]
    photos = [photo for path in given
              for photo in (_below(path) if os.path.isdir(path) else [path])]
    folders = [os.path.abspath(path if os.path.isdir(path) else path.parent) for path in given]
    if not photos:
        raise ValueError(f"{names[0]}: no photos in it ({' '.join(SUFFIXES)})")
    places: dict[str, Path] = {}
    for photo in photos:
        places.setdefault(os.path.abspath(photo), photo)
    return list(places.values()), Path(os.path.commonpath(folders))


def _below(folder: Path) -> list[Path]:
    """The photos and videos anywhere below a folder, and the folders that cannot be read.

    Links to folders are not followed: they can lead in circles.
    """
    found: list[Path] = []
    ours: set[Path] = set()  # results of earlier runs: files, and folders of stills
    others: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=lambda e: found.append(Path(e.filename))):
        for entry in (index.read(Path(parent, index.NAME)) or {}).values():
            ours.update(Path(parent, file) for file in entry.files)
        # Hidden folders are trash cans and previews.
        folders[:] = [name for name in folders if name[0] != "." and Path(parent, name) not in ours]
        files = [Path(parent, name) for name in names if name[0] != "."]
        for file in files:
            if file not in ours:
                (found if is_picture(file) or is_video(file) else others).append(file)
    if unread := passed_over(file for file in others if kind_of(file)):
        print(one_line(f"{folder}: {unread}"))
    return sorted(found)


def _expanded(path: Path) -> list[Path]:
    """The matches of a pattern that the shell has not expanded; any other path as it is.

    Not by the module glob, which runs in circles of links.
    """
    if os.path.lexists(path):
        return [path]
    try:
        found = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    except (ValueError, OSError):  # not a pattern that pathlib knows, or too long for a name
        return [path]
    given = set(path.parts)
    return [match for match in found
            if not any(part[0] == "." for part in match.parts if part not in given)] or [path]


def find_masks(folder: Path, photos: Sequence[Path], root: Path
               ) -> tuple[list[Path], dict[Path, Path]]:
    """The photos to score, without videos and files in the folder itself, and their masks; prints
    how many are left out or have no partner.

    Names are compared (`partners`), with their folders below `root` if the masks lie in
    sub-folders. Of a `folder` that holds photos and their NAME_mask, both are found. Raises
    FileNotFoundError, or ValueError where no mask fits or one fits two photos.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder}: no such folder")
    photos = beside(folder, photos)
    if films := [photo for photo in photos if is_video(photo)]:
        print(f"{counted(films)} left out: --masks scores photos")
        photos = [photo for photo in photos if not is_video(photo)]
    if not photos:
        raise ValueError(f"{folder}: no photos except those in this folder; wanted photos and "
                         "their masks in two folders")
    masks = masks_below(folder, {os.path.realpath(photo) for photo in photos})
    nested = any("/" in name for name in masks)
    names: dict[str, list[Path]] = defaultdict(list)
    for photo in photos:
        place = Path(os.path.relpath(photo, root) if nested else photo.name)
        names[place.with_suffix("").as_posix()].append(photo)
    partner = partners(names.keys(), masks.keys())
    if doubled := [some[1] for name, some in names.items() if name in partner and some[1:]]:
        raise ValueError(f"{doubled[0]}: a second photo of that name, and one mask; score the "
                         "folders one by one")
    if not partner:
        found = f"only {min(masks)} and so on" if masks else "no picture"
        raise ValueError(f"{folder}: {found}; wanted masks with the photos' names, such as "
                         f"{min(names)}.png")
    strays = [name for name in masks if photo_named_by(name) not in names and name not in names]
    for what, number in (("photos without a mask, not scored", len(names) - len(partner)),
                         ("masks that belong to none of these photos", len(strays))):
        if number:
            print(f"{what}: {number}")
    return photos, {names[name][0]: masks[mask] for name, mask in partner.items()}


def masks_below(folder: Path, photos: Collection[str]) -> dict[str, Path]:
    """The pictures in and below a folder that are none of the photos (real paths), by name."""
    pictures, others = pictures_below(folder)
    if unread := passed_over(others):
        print(one_line(f"{folder}: {unread}"))
    masks, doubled = by_name([path for path in pictures if os.path.realpath(path) not in photos],
                             folder)
    if doubled:
        raise ValueError(f"{doubled[0]}: a second mask of that name; keep one of them")
    return masks


def beside(folder: Path, photos: Sequence[Path]) -> list[Path]:
    """The photos that are not in the folder of their masks; or those in it, if it holds both."""
    inside = os.path.join(os.path.realpath(folder), "")
    outside = [photo for photo in photos if not os.path.realpath(photo).startswith(inside)]
    if outside or not holds_both(folder):
        return outside
    names = {photo.with_suffix("") for photo in photos}
    return [photo for photo in photos if (name := photo_named_by(photo.stem)) == photo.stem
            or photo.with_name(name) not in names]


def pairs_of(photos: Sequence[Path], masks: Mapping[Path, Path], unturned: bool
             ) -> dict[Path, Pair]:
    """The photos that have a mask, as pairs; prints notes on how their masks are read.

    unturned: masks are drawn on the photos as stored, before EXIF turns them. Raises ValueError,
    naming a mask, if they cannot be understood.
    """
    files = {photo: masks[photo] for photo in photos if photo in masks}
    rule, notes = rule_for(files, unturned)
    for note in notes:
        print(one_line(note))
    return {photo: Pair(photo, mask, source_of(photo.stem), rule=rule)
            for photo, mask in files.items()}


class Reading(NamedTuple):
    """A photo as it was read."""

    photo: Tensor  # (3, h, w) uint8
    truth: Tensor | None  # (1, h, w) uint8 0/1
    has_pages: bool  # after the first, which are not read
    assumed: tuple[str, ...]  # of `deep.ASSUMED`
    facts: index.Facts


def read(path: Path, pair: Pair | None) -> Reading:
    """Raises OSError or ValueError, naming the file, for one that cannot be read."""
    with opened(path) as image:
        (photo, assumed), more = interpreted(upright(image)), has_pages(image)
    truth = read_truth(pair, photo) if pair else None
    return Reading(photo, truth, more, assumed, index.facts_of(path))


def read_ahead(photos: Sequence[Path], pairs: Mapping[Path, Pair]
               ) -> Iterator[tuple[Path, "Future[Reading]"]]:
    """Each photo with the future of its reading, while the next one is being read.

    Videos go through, too; the reading of one fails.
    """
    with ThreadPoolExecutor(1) as reader:
        waiting: deque[tuple[Path, Future[Reading]]] = deque()
        for path in photos:
            waiting.append((path, reader.submit(read, path, pairs.get(path))))
            if len(waiting) > 1:
                yield waiting.popleft()
        yield from waiting

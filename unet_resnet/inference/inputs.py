"""Which photos and videos are meant by files, folders and patterns, and how are they read?"""

import glob
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from unet_resnet.data import Pair, read_truth
from unet_resnet.files import one_line
from unet_resnet.images import SUFFIXES, is_picture, open_image, to_rgb, unread_note
from unet_resnet.inference import index

Pairs = Mapping[Path, Pair]  # of a photo's path, its pair with a true mask

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mts", ".m2ts", ".mpg", ".mpeg",
                  ".wmv", ".3gp")  # not .ts, which is TypeScript too


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def describe(paths: Sequence[Path]) -> str:
    """Such as "2 photos and 1 video"."""
    videos = sum(map(is_video, paths))
    parts = {"photo": len(paths) - videos, "video": videos}
    return " and ".join(f"{number} {what}{'s' * (number != 1)}" for what, number in parts.items()
                        if number) or "0 photos"


def find_photos(names: Sequence[str | Path]) -> tuple[list[Path], Path]:
    """The photos and videos meant by files, folders and patterns, in order, each once; and the
    folder that results are named from: the one that all of these have in common.

    A missing file stays in the list: reading it reports that after the others are done. In a
    folder, hidden files and results of earlier runs are left out, and pictures of other kinds,
    whose number is printed. Raises ValueError if nothing is found.
    """
    given: list[Path] = []
    for name in map(str, names):
        if not name:
            raise ValueError("an empty name of a photo; for those in this folder, write .")
        matches = [] if os.path.lexists(name) else sorted(glob.glob(name, recursive=True))
        given += map(Path, matches or [name])
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
    if unread := unread_note(others):
        print(one_line(f"{folder}: {unread}"))
    return sorted(found)


def exclude_videos(paths: Sequence[Path]) -> list[Path]:
    """The photos among these; prints how many videos are left out. ValueError without a photo."""
    photos = [path for path in paths if not is_video(path)]
    if films := [path for path in paths if is_video(path)]:
        print(f"{describe(films)} left out: --masks scores photos")
    if not photos:
        raise ValueError("--masks scores photos: expected some, found only videos")
    return photos


class Reading(NamedTuple):
    """A photo as it was read."""

    photo: Tensor  # (3, h, w) uint8
    truth: Tensor | None = None  # (1, h, w) uint8 0/1
    source: str = ""  # of a photo with a true mask
    has_pages: bool = False  # after the first, which are not read
    state: index.FileState = (0, 0, "")  # of a photo that is a file


def read(path: Path, pair: Pair | None) -> Reading:
    """Raises OSError or ValueError, naming the file, for one that cannot be read."""
    with open_image(path) as image:
        photo = to_rgb(image)
        # An MPO is a phone's JPEG with a preview or a depth map.
        more = getattr(image, "is_animated", False) and image.format != "MPO"
    truth, source = (read_truth(pair, photo), one_line(pair.source)) if pair else (None, "")
    return Reading(photo, truth, source, more, index.file_state(path))


def read_ahead(photos: Mapping[str, Path], pairs: Pairs
               ) -> Iterator[tuple[str, Path, "Future[Reading]"]]:
    """Each photo, by name, with the future of its reading, while the next one is being read.

    Videos go through, too; the reading of one fails.
    """
    with ThreadPoolExecutor(1) as reader:
        waiting: deque[tuple[str, Path, Future[Reading]]] = deque()
        for name, path in photos.items():
            waiting.append((name, path, reader.submit(read, path, pairs.get(path))))
            if len(waiting) > 1:
                yield waiting.popleft()
        yield from waiting

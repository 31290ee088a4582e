"""Which files in --output are ours, and which photos are they of? `index.json` there says it.

    {"software": "infer.py of unet_resnet",
     "photos": {
      "wall/x": {"photo": "/data/wall/x.png", "size": 81234, "time": 1719387000123456789,
                 "hash": "0f43a2...", "checkpoint": "9a01c4...", "done": true,
                 "files": ["wall/x_probability.png", ..., "report.html"]},
      ...}}

One entry per photo or video, by the name of its results. `size` (bytes), `time` (of the last
change, in ns) and `hash` are those of the photo when it was predicted, `checkpoint` is the hash of
the weights. `files` are its results, with / at the end of a folder of stills. A table or a report
is a file of every photo in it.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from unet_resnet.files import fingerprint, lock, one_line, written_whole

NAME = "index.json"
HEAD = b'{"software": "infer.py of unet_resnet",'
PAUSE = 30.0  # seconds between two savings
REMEDY = "choose another --output"


class Facts(NamedTuple):
    """By what a file is recognised."""

    size: int
    time: int
    hash: str


def facts_of(path: Path) -> Facts:
    """Raises OSError."""
    found = os.stat(path)
    return Facts(found.st_size, found.st_mtime_ns, fingerprint(path))


@dataclass(slots=True)
class Entry:
    """What the index says of a photo."""

    photo: str  # its absolute path
    size: int
    time: int
    hash: str  # empty until it has been read
    checkpoint: str
    done: bool
    files: list[str]


def read(path: Path) -> dict[str, Entry] | None:
    """The entries of an index.json, None where there is none or another program wrote it.

    Raises ValueError for a damaged one.
    """
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        if file.read(len(HEAD)) != HEAD:
            return None
        file.seek(0)
        try:
            entries = {name: Entry(**entry) for name, entry in json.load(file)["photos"].items()}
            if not all(isinstance(file, str) for entry in entries.values()
                       for file in (entry.photo, *entry.files)):
                raise TypeError("a name that is no text")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{one_line(path)}: damaged ({one_line(error)}), so which files are "
                             "results is not known; move them and it away") from error
    return entries


class Index:
    """The index of a folder; as a context, saved when it ends, by an error or Ctrl-C too.

    Raises FileExistsError for an index.json of another program, ValueError for a damaged one,
    BlockingIOError while another process writes to the folder.
    """

    def __init__(self, folder: Path, checkpoint: str) -> None:
        self.folder, self.checkpoint, self.saved = folder, checkpoint, 0.0
        folder.mkdir(parents=True, exist_ok=True)
        lock(folder)
        found = read(folder / NAME)
        if found is None and os.path.lexists(folder / NAME):
            raise FileExistsError(f"{folder / NAME} was not written by infer.py; {REMEDY}")
        self.entries = found or {}

    def __enter__(self) -> "Index":
        self.save()
        return self

    def __exit__(self, *_: object) -> None:
        self.save()

    def save(self) -> None:
        with written_whole(self.folder / NAME) as file:
            file.write(HEAD + b'\n "photos": {')
            for i, (name, entry) in enumerate(self.entries.items()):
                line = f"{',' * (i > 0)}\n  {json.dumps(name)}: {json.dumps(asdict(entry))}"
                file.write(line.encode())
            file.write(b"}}\n")
        self.saved = time.monotonic()

    def is_done(self, name: str, photo: Path, files: Iterable[str]) -> bool:
        """Whether these files are finished results of the photo as it is now."""
        entry = self.entries.get(name)
        return (entry is not None and entry.done and {*files} <= {*entry.files}
                and all(os.path.exists(self.folder / file) for file in entry.files
                        if file.startswith(tuple(files)))
                and _is_unchanged(entry, photo))

    def claim(self, photos: Mapping[str, Path], files: Mapping[str, Sequence[str]],
              inputs: Iterable[Path]) -> None:
        """Note which files a run is about to write for each photo, both by the results' names.

        Raises FileExistsError, with nothing changed, where one of the files exists and is an input
        or is not in the index, or where the index says that it holds another photo, too.
        """
        owners = defaultdict(list)
        for name, entry in self.entries.items():
            for file in entry.files:
                owners[file].append(name)
        known = {name for name, photo in photos.items()
                 if name in self.entries and _is_same(self.entries[name], photo)}
        given = {os.path.realpath(path) for path in inputs}
        for file in dict.fromkeys(file for wanted in files.values() for file in wanted):
            path = self.folder / file
            if not os.path.lexists(path):
                continue
            if file not in owners or os.path.realpath(path) in given:
                reason = f"is not in {NAME}" if file not in owners else "is an input of this run"
                raise FileExistsError(f"{path} exists and {reason}; it is left alone: {REMEDY}")
            if others := [name for name in owners[file] if name not in known]:
                raise FileExistsError(f"{path} holds results of {self.entries[others[0]].photo}, "
                                      "which is not predicted now; it is left alone: predict that "
                                      f"again, too, or {REMEDY}")
        for name, photo in photos.items():
            before = self.entries[name].files if name in known else []
            size, changed = _size_and_time(photo)
            self.entries[name] = Entry(os.path.abspath(photo), size, changed, "", self.checkpoint,
                                       False, list(dict.fromkeys((*before, *files[name]))))

    def finish(self, name: str, facts: Facts) -> None:
        """Note that all results of this photo are written."""
        entry = self.entries[name]
        (entry.size, entry.time, entry.hash), entry.done = facts, True
        stills = [path.relative_to(self.folder).as_posix()
                  for file in entry.files if file.endswith("/")
                  for path in sorted((self.folder / file).glob("[0-9]*_*.png"))]
        entry.files = list(dict.fromkeys(entry.files + stills))
        if time.monotonic() - self.saved > PAUSE:
            self.save()


def _size_and_time(photo: Path) -> tuple[int, int]:
    try:
        found = os.stat(photo)
    except OSError:  # said when the photo is to be read
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _is_same(entry: Entry, photo: Path) -> bool:
    """Whether it is the entry's photo: where that was, or the same file moved."""
    return entry.photo == os.path.abspath(photo) or _has_hash(entry, photo)


def _is_unchanged(entry: Entry, photo: Path) -> bool:
    return (entry.photo == os.path.abspath(photo)
            and (entry.size, entry.time) == _size_and_time(photo)) or _has_hash(entry, photo)


def _has_hash(entry: Entry, photo: Path) -> bool:
    return entry.hash != "" and entry.hash == fingerprint(photo)

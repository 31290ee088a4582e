"""Which files in --output are ours, and which photos are they of? `index.json` there says it.

    {"software": "infer.py of unet_resnet",
     "photos": {
      "wall/x": {"photo": "/data/wall/x.png", "size": 81234, "time": 1719387000123456789,
                 "hash": "0f43a2...", "checkpoint": "9a01c4...", "done": true,
                 "files": ["wall/x_probability.png", ..., "report.html"]},
      ...}}

One entry per photo or video, by the name of its results. `size` (bytes), `time` (of the last
change, in ns) and `hash` are those of the photo when it was read, 0 and "" until it is done;
`checkpoint` is the hash of the weights. `files` are its results, with / at the end of a folder of
stills. A table or a report is a file of every photo in it.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
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
    return Facts(*size_and_time(path), fingerprint(path))


def size_and_time(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


@dataclass(slots=True)
class Entry:
    """What the index says of a photo."""

    photo: str  # its absolute path
    size: int
    time: int
    hash: str
    checkpoint: str
    done: bool
    files: list[str]

    def is_of(self, photo: Path, unchanged: bool = False) -> bool:
        """Whether this is said of the photo: it lies where that was, `unchanged` since then if so
        wanted; or it is, by its hash, the same file moved."""
        if self.photo == os.path.abspath(photo):
            with suppress(OSError):  # a photo that is gone has changed
                if not unchanged or (self.size, self.time) == size_and_time(photo):
                    return True
        return self.hash != "" and self.hash == fingerprint(photo)


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
        lines = (f"  {json.dumps(name)}: {json.dumps(asdict(entry))}"
                 for name, entry in self.entries.items())
        with written_whole(self.folder / NAME) as file:
            file.write(HEAD + b'\n "photos": {\n' + ",\n".join(lines).encode() + b"}}\n")
        self.saved = time.monotonic()

    def is_done(self, name: str, photo: Path, files: Iterable[str]) -> bool:
        """Whether these files are finished results of the photo as it is now."""
        entry = self.entries.get(name)
        return (entry is not None and entry.done and {*files} <= {*entry.files}
                and all(os.path.exists(self.folder / file) for file in entry.files
                        if file.startswith(tuple(files)))
                and entry.is_of(photo, unchanged=True))

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
                 if name in self.entries and self.entries[name].is_of(photo)}
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
            self.entries[name] = Entry(os.path.abspath(photo), 0, 0, "", self.checkpoint, False,
                                       list(dict.fromkeys((*before, *files[name]))))

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

"""Which files in --output did we write, and for which photo? `index.json` there records it.

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
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from unet_resnet.files import atomic_write, fingerprint, lock, one_line

NAME = "index.json"
HEAD = b'{"software": "infer.py of unet_resnet",'
SAVE_INTERVAL = 30.0  # seconds between two savings

FileState = tuple[int, int, str]  # size, time and hash, by which a file is recognised


def file_state(path: Path) -> FileState:
    """Raises OSError."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, fingerprint(path)


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
        """Whether the entry is of this photo: of its path (with `unchanged`, only if size and time
        are the same, too), or by its hash, since the same file may have moved."""
        if self.photo == os.path.abspath(photo):
            if not unchanged:
                return True
            if photo.exists():
                found = photo.stat()
                if (self.size, self.time) == (found.st_size, found.st_mtime_ns):
                    return True
        return self.hash != "" and self.hash == fingerprint(photo)


def read(path: Path) -> dict[str, Entry] | None:
    """The entries of an index.json, None where there is none or another program wrote it.

    Raises ValueError for a damaged one.
    """
    if not path.is_file() or not (content := path.read_bytes()).startswith(HEAD):
        return None
    try:
        entries = {name: Entry(**entry) for name, entry in json.loads(content)["photos"].items()}
        for entry in entries.values():
            "".join((entry.photo, *entry.files))  # a TypeError unless all are text
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
            raise FileExistsError(f"{folder / NAME} was not written by infer.py; choose "
                                  "another --output")
        self.entries = found or {}

    def __enter__(self) -> "Index":
        self.save()
        return self

    def __exit__(self, *_: object) -> None:
        self.save()

    def save(self) -> None:
        lines = (f"  {json.dumps(name)}: {json.dumps(asdict(entry))}"
                 for name, entry in self.entries.items())
        with atomic_write(self.folder / NAME) as file:
            file.write(HEAD + b'\n "photos": {\n' + ",\n".join(lines).encode() + b"}}\n")
        self.saved = time.monotonic()

    def is_done(self, name: str, photo: Path, files: Collection[str]) -> bool:
        """Whether these files are finished results of the photo as it is now."""
        entry = self.entries.get(name)
        return (entry is not None and entry.done and {*files} <= {*entry.files}
                and all(os.path.exists(self.folder / file) for file in files)
                and entry.is_of(photo, unchanged=True))

    def by_other_checkpoint(self, names: Iterable[str]) -> int:
        return sum(self.entries[name].checkpoint != self.checkpoint for name in names)

    def has_changed(self, name: str, photo: Path) -> bool:
        """Whether finished results are of this path, but of a photo that has been replaced."""
        entry = self.entries.get(name)
        return (entry is not None and entry.done and entry.is_of(photo)
                and not entry.is_of(photo, unchanged=True))

    def claim(self, photos: Mapping[str, Path], files: Mapping[str, Sequence[str]],
              inputs: Iterable[Path]) -> None:
        """Note which files a run is about to write for each photo, both by the results' names.

        Raises FileExistsError, with nothing changed, where one of the files exists and is an input
        or is not in the index, or where the index says that it holds another photo, too.
        """
        known = {name for name, photo in photos.items()
                 if name in self.entries and self.entries[name].is_of(photo)}
        ours = {file for name in known for file in self.entries[name].files}
        others = {file: entry.photo for name, entry in self.entries.items() if name not in known
                  for file in entry.files}
        given = {os.path.realpath(path) for path in inputs}
        for file in dict.fromkeys(chain(*files.values())):
            path = self.folder / file
            is_input = os.path.realpath(path) in given
            if os.path.lexists(path) and (is_input or file in others or file not in ours):
                content = ("a photo or mask of this run" if is_input
                           else f"results of {others[file]}" if file in others
                           else "no results of these photos")
                raise FileExistsError(f"{path} holds {content}; it is left alone: choose another "
                                      "--output")
        for name, photo in photos.items():
            before = self.entries[name].files if name in known else []
            self.entries[name] = Entry(os.path.abspath(photo), 0, 0, "", self.checkpoint, False,
                                       list(dict.fromkeys((*before, *files[name]))))

    def finish(self, name: str, state: FileState) -> None:
        """Note that all results of this photo are written."""
        entry = self.entries[name]
        (entry.size, entry.time, entry.hash), entry.done = state, True
        if time.monotonic() - self.saved > SAVE_INTERVAL:
            self.save()

"""How is a file written whole or not at all, and whose is the one that stands there?"""

import csv
import errno
import hashlib
import io
import os
import re
import shutil
import stat
import sys
import tempfile
import time
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, that takes the name `path` once it is complete and on the disk.

    If the block fails, `path` is as it was and nothing else is left behind. An OSError of writing,
    which does not say where, is given the name.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _replace(temporary, path)
    except OSError as error:
        if error.errno and not error.filename:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    with suppress(OSError):  # the new name, too; not every system can do this with a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _replace(new: Path, old: Path) -> None:
    """os.replace; on Windows it fails while a virus scanner, say, has the old file open."""
    for pause in (0.1, 1, 3):
        try:
            os.replace(new, old)
            return
        except PermissionError:
            if os.name != "nt":
                raise
            time.sleep(pause)
    os.replace(new, old)


def lock(folder: Path, new: bool = True) -> None:
    """Keep other processes out of `folder`, till this one ends, by whatever end.

    Its file .lock is the lock; without `new` it is not made where there is none. Raises
    BlockingIOError where another process has it. On a system or a disk without such locks, or where
    the folder cannot be written in, nothing happens.
    """
    try:
        import fcntl  # POSIX only
        # Not flock, which the workers of a killed process would hold on to. Never closed.
        file = os.open(folder / ".lock", os.O_RDWR | new * os.O_CREAT, 0o666)
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        return
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN) and not error.filename:
            raise BlockingIOError(f"{folder}: another process is at work there; wait for its end, "
                                  "or stop it") from error


def remove_unfinished(path: Path) -> None:
    """Remove what is left of a `path` that was being written when the process was killed."""
    for file in path.parent.iterdir():
        if re.fullmatch(re.escape(f".{path.name}.") + "[0-9]+", file.name):
            file.unlink()


def csv_lines(*rows: Iterable[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "replace")  # a file name need not be UTF-8


def ends_of(path: Path, size: int = 4096) -> bytes:
    """The first and the last bytes of a regular file; b"" for what is none or cannot be read."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a named pipe would wait for a writer
            return b""
        with open(path, "rb") as file:
            start = file.read(size)
            file.seek(-len(start), os.SEEK_END)
            return start + file.read(size)
    except OSError:
        return b""


def check_ours(path: Path, mark: bytes, remedy: str = "choose another --output") -> None:
    """Raise FileExistsError where `path` is anything but a file with this mark at its start or end.

    A link counts by what it leads to, one that leads nowhere is its owner's.
    """
    if os.path.lexists(path) and mark not in ends_of(path):
        raise FileExistsError(f"{path} exists and was not written by unet_resnet; it is left "
                              f"alone: {remedy}")


def one_line(text: object) -> str:
    """As one line: a file name may hold newlines, codes that steer a terminal, bytes that are no
    text. They are shown as \\n, \\x1b, \\udcff."""
    return "".join(char if char.isprintable() or unicodedata.category(char) == "Zs"
                   else char.encode("unicode_escape").decode() for char in str(text))


def print_any_name() -> None:
    """From now on, print what the terminal's encoding lacks as an escape, and do not fail of it."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def align(lines: list[tuple[str, ...]]) -> str:
    """Cells as text in columns, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
                     for line in lines)


def fingerprint(path: Path) -> str:
    """SHA-256 of a file, shortened to 16 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()[:16]


def check_folder(folder: Path, remedy: str = "choose another --output") -> None:
    """Raise OSError where no file could be written in `folder`, which need not exist yet."""
    nearest = _nearest(folder)
    if not nearest.is_dir():
        raise NotADirectoryError(f"{nearest}: a file, where a folder is wanted; {remedy}")
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise OSError(f"{nearest}: cannot be written in ({error.strerror}); {remedy}") from error


def check_place(path: Path) -> None:
    """Raise OSError where there is no folder for a file `path`, or it cannot be written in."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder")
    check_folder(path.parent, "choose another one")


def check_absent(path: Path) -> None:
    """Raise FileExistsError where there is anything of that name, a link that leads nowhere too."""
    if os.path.lexists(path):
        raise FileExistsError(f"{path} exists; choose another name")


def check_space(folder: Path, wanted: int) -> None:
    """Raise OSError where `wanted` more bytes do not fit on the disk of `folder`."""
    free = shutil.disk_usage(_nearest(folder)).free
    if wanted > free:
        raise OSError(f"{folder}: {free / 1e9:.2f} GB free, but its files will take "
                      f"{wanted / 1e9:.2f} GB; make room, or choose another --output")


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest above it that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def check_extra(extra: str, purpose: str, *packages: str) -> None:
    """Raise ModuleNotFoundError, naming the remedy, where a package of an extra is missing."""
    if missing := [name for name in packages if find_spec(name) is None]:
        raise ModuleNotFoundError(f"{purpose} needs {', '.join(missing)}: "
                                  f'pip install "unet_resnet[{extra}]"')

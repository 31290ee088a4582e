"""How is a file written whole or not at all, and what is checked before long work?"""

import argparse
import csv
import errno
import hashlib
import io
import os
import re
import shutil
import sys
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO, NoReturn


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which gets the name `path` once it is complete and on the disk.

    If the block fails, `path` is as it was and nothing else is left behind. An OSError of writing
    is given the name, which it lacks.
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
    with suppress(OSError):  # the name, too; not every system can do this with a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _replace(new: Path, old: Path) -> None:
    """os.replace; on Windows it fails while a virus scanner, say, has the old file open."""
    for pause in (0.1, 1, 3, 0):
        try:
            return os.replace(new, old)
        except PermissionError:
            if os.name != "nt" or not pause:
                raise
            time.sleep(pause)


def lock(folder: Path, new: bool = True) -> None:
    """Keep other processes out of `folder` until this one ends; its file .lock is the lock.

    Without `new` the file is not created. Raises BlockingIOError if another process has the lock.
    Does nothing on a system or a disk without such locks, or if the folder cannot be written.
    """
    try:
        import fcntl  # POSIX only
        # Not flock, which the workers of a killed process would keep. Never closed.
        file = os.open(folder / ".lock", os.O_RDWR | new * os.O_CREAT, 0o666)
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        return
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN) and not error.filename:
            raise BlockingIOError(f"{folder}: another process is at work there; wait for its end, "
                                  "or stop it") from error


def remove_unfinished(path: Path) -> None:
    """Remove what `written_whole` left of a `path` when its process was killed."""
    for file in path.parent.iterdir():
        if re.fullmatch(re.escape(f".{path.name}.") + "[0-9]+", file.name):
            file.unlink()


def csv_lines(*rows: Iterable[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "replace")  # a file name need not be UTF-8


def one_line(text: object) -> str:
    """As one line: newlines, codes that steer a terminal and bytes that are not text, which a file
    name may hold, are shown as \\n, \\x1b, \\udcff."""
    return "".join(char if char.isprintable() or unicodedata.category(char) == "Zs"
                   else char.encode("unicode_escape").decode() for char in str(text))


def run(main: Callable[[], int | None], script: str) -> NoReturn:
    """Run a script and exit; an error that its user can mend ends it in one line."""
    print_safely()
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(f"{script}: stopped")
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"{script}: {one_line(error)}")


def print_safely() -> None:
    """From now on, print as an escape what the terminal's encoding lacks, and nothing where there
    is no terminal (pythonw, services), instead of failing."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", errors="backslashreplace"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def align(lines: list[tuple[str, ...]]) -> str:
    """Cells as columns of text, the first aligned left, the others right."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
                     for line in lines)


def fingerprint(path: Path) -> str:
    """SHA-256 of a file, shortened to 16 hexadecimal digits; "" if it cannot be read."""
    digest = hashlib.sha256()
    try:
        if not path.is_file():  # opening a named pipe would wait for a writer
            return ""
        with open(path, "rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()[:16]


def check_folder(folder: Path, remedy: str = "choose another --output", wanted: int = 0) -> None:
    """Raise OSError where no file, or not `wanted` bytes, could be written in `folder`, which need
    not exist yet."""
    folder = folder.absolute()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir():
        raise NotADirectoryError(f"{nearest}: a file, not a folder; {remedy}")
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise OSError(f"{nearest}: cannot be written in ({error.strerror}); {remedy}") from error
    if wanted > (free := shutil.disk_usage(nearest).free):
        raise OSError(f"{folder}: {free / 1e9:.2f} GB free, its files will take "
                      f"{wanted / 1e9:.2f} GB; make room, or {remedy}")


def check_new(path: Path) -> None:
    """Raise OSError where `path` exists, or its folder is missing or cannot be written in."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder")
    check_folder(path.parent, "choose another one")
    check_absent(path)


def check_absent(path: Path) -> None:
    """Raise FileExistsError for anything of that name, even a link that leads nowhere."""
    if os.path.lexists(path):
        raise FileExistsError(f"{path} exists; choose another name")


def check_extra(extra: str, purpose: str, *packages: str) -> None:
    """Raise ModuleNotFoundError, naming the remedy, where a package of an extra is missing."""
    if missing := [name for name in packages if find_spec(name) is None]:
        raise ModuleNotFoundError(f"{purpose} needs {', '.join(missing)}: "
                                  f'pip install -e ".[{extra}]"')


def number(low: float, high: float, kind: type = float) -> Callable[[str], float]:
    """The type of a command line's flag: a number from `low` to below `high`."""
    def number(text: str) -> float:  # of this name in argparse's messages
        value = kind(text)
        if not low <= value < high:
            raise argparse.ArgumentTypeError(f"{text}; wanted {low:g} or more, and less than "
                                             f"{high:g}")
        return value
    return number

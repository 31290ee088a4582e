"""How is a file written whole or not at all, and what do all scripts do alike: flags, one-line
errors, tables, checks before a long run?
"""

import argparse
import csv
import hashlib
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO, NoReturn

import torch

UNFINISHED = ".part"  # ends the name of a file while it is being written
# In messages of other errors than torch.OutOfMemoryError when memory is full; the last two are of
# cuDNN and, from a worker, of numpy.
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED",
                 "unable to find an engine", "Unable to allocate")


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which gets the name `path` once it is complete and on the disk.

    If the block fails, `path` is as it was and nothing else is left behind. The file's name is
    added to an OSError that lacks it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno and not error.filename:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def lock(folder: Path) -> None:
    """Keep other processes out of `folder` until this one ends; its file .lock is the lock.

    Raises BlockingIOError if another process has the lock. Does nothing on a system or a disk
    without such locks.
    """
    try:
        import fcntl  # POSIX only
        file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)  # never closed
        # Not flock, which the workers of a killed process would keep.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(f"{folder}: another process is at work there; wait until it ends, "
                              "or stop it") from error
    except (ImportError, OSError):
        return


def csv_lines(*rows: Iterable[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "replace")  # a file name need not be UTF-8


def one_line(text: object) -> str:
    """The text on one line: newlines, terminal codes and bytes that are not text, all possible in a
    file name, are shown as \\n, \\x1b, \\udcff."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode()
                   for char in str(text))


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one line, without the usage, which is longer than a screen."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def is_out_of_memory(error: BaseException) -> bool:
    return (isinstance(error, (torch.OutOfMemoryError, MemoryError))
            or any(words in str(error) for words in OUT_OF_MEMORY))


def explain(error: Exception) -> str:
    """A line on an error that a user can fix; "" for one that deserves its traceback."""
    if is_out_of_memory(error):
        return "out of memory; end other programs that use the device, or use --device cpu"
    return str(error) if isinstance(error, (ImportError, OSError, ValueError)) else ""


def run(main: Callable[[], int | None], script: str,
        explain: Callable[[Exception], str] = explain) -> NoReturn:
    """Run a script and exit; an error that its user can fix ends it with one line."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # escape what the terminal's encoding lacks
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(f"{script}: stopped")
    except Exception as error:
        if not (line := explain(error)):
            raise
        sys.exit(f"{script}: {one_line(line)}")


def align(lines: Sequence[tuple[str, ...]]) -> str:
    """Cells as columns of text, the first aligned left, the others right."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
                     for line in lines)


def fingerprint(path: Path) -> str:
    """SHA-256 of a file, shortened to 16 hexadecimal digits; "" if there is no such file."""
    if not os.path.isfile(path):  # opening a named pipe would wait for a writer
        return ""
    found = path.stat()
    return _fingerprint(os.path.abspath(path), found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=2**16)  # several parts of a script ask for the same photo
def _fingerprint(path: str, size: int, time: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()[:16]


def check_folder(folder: Path) -> None:
    """Raise OSError if no file can be written in `folder`, which need not exist yet."""
    folder = folder.absolute()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        raise PermissionError(f"{nearest}: no file can be written here; choose another --output")


def check_new(path: Path) -> None:
    """Raise OSError if `path` exists, be it a link that leads nowhere, or its folder is missing."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder")
    if os.path.lexists(path):
        raise FileExistsError(f"{path} exists; choose another name")


def check_extra(extra: str, purpose: str, *packages: str) -> None:
    """Raise ModuleNotFoundError, naming the remedy, if a package of an extra is missing."""
    if missing := [name for name in packages if find_spec(name) is None]:
        raise ModuleNotFoundError(f"{purpose} needs {', '.join(missing)}: "
                                  f'pip install -e ".[{extra}]"')


def number(low: float, high: float, kind: type = float) -> Callable[[str], float]:
    """The type of a command line's flag: a number from `low` to below `high`."""
    def number(text: str) -> float:  # of this name in argparse's messages
        value = kind(text)
        if not low <= value < high:
            below = f" and less than {high:g}" if high < 1e9 else ""
            raise argparse.ArgumentTypeError(f"{text}; expected {low:g} or more{below}")
        return value
    return number

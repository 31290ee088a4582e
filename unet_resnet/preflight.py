"""What would stop a run only later, and can be told before any long work?"""

import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path


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

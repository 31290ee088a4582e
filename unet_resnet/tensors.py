"""How does a file from anywhere become tensors, without being trusted?

PyTorch reads it with `weights_only=True`, so it cannot run code. What PyTorch leaves unchecked is
checked here: checksums, sizes, and whether the tensors are those that are wanted.
"""

import mmap
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

State = dict[str, Tensor]

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# What often stands under the name of weights, by how it begins (blanks left out, in small letters).
IMPOSTORS = {b"<": "a web page, not weights: download it again",
             b"version https://git-lfs": "a Git LFS pointer, not the weights: run git lfs pull",
             b"{": "text in JSON, not weights: download it again"}
# The one callable of a pickle that takes memory for which no bytes stand in the file.
BOMB = b"\nbytearray\n"


def read(path: Path) -> Any:
    """What torch.save wrote, its tensors on the CPU.

    Raises, in one line that names the file, an OSError where it cannot be opened, and ValueError
    for anything but an intact file of tensors, numbers and strings.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path}: a folder; wanted a file in it, such as best.pt")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; wanted weights or a checkpoint")
    with open(path, "rb") as file:
        start = file.read(64)
        if not start:
            raise ValueError(f"{path}: an empty file; a copy or a download may have failed")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            bomb = content.find(BOMB) >= 0
    reason = "it would fill the memory" if bomb else _impostor(start)
    if not reason and start.startswith(b"PK"):
        reason = fault_of_archive(path)
    if reason:
        raise ValueError(f"{path}: not a file of PyTorch tensors: {reason}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats
            return torch.load(path, map_location="cpu", weights_only=True)
    # torch.load raises nearly anything on foreign files: KeyError, EOFError, UnpicklingError, ...
    except Exception as error:
        reason = f"or damaged ({type(error).__name__})"
        if called := re.search(r"GLOBAL ([\w.]{1,80})", str(error)):
            reason = (f"but a pickle that calls {called[1]}, which could run any program; of a "
                      "whole model, save its state_dict()")
        raise ValueError(f"{path}: not a file of PyTorch tensors, {reason}") from error


def _impostor(start: bytes) -> str:
    """What a file is that begins so; "" where it may be a file of tensors."""
    if start[8:10] == b'{"':  # behind the length of the header
        return "a safetensors file; wanted one of torch.save"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((what for mark, what in IMPOSTORS.items() if text.startswith(mark)), "")


def fault_of_archive(path: Path) -> str:
    """What is wrong with a zip file for one of torch.save, which stores its tensors unpacked.

    Checksums are compared here, for torch.load does not; nor would it stop at a zip bomb.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = {entry.filename.rpartition("/")[2] for entry in entries}
            if "constants.pkl" in names:
                return "a TorchScript archive; wanted one of torch.save"
            if "data.pkl" not in names:
                return "another zip file; if the weights are in it, unpack them"
            if (any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
                    or sum(entry.file_size for entry in entries) > path.stat().st_size):
                return "a zip file that was packed anew; wanted it as torch.save wrote it"
            damaged = archive.testzip()
            return f"damaged, the checksum of {damaged[-40:]!r} is wrong" if damaged else ""
    except Exception as error:  # zipfile, too, raises nearly anything on damaged files
        return f"damaged or cut off ({type(error).__name__})"


class _Blank(TorchFunctionMode):
    """Normal random numbers are left out. torch draws them for the meta device as well, where they
    are nothing, and first imports for more than a second."""

    def __torch_function__(self, function: Callable[..., Any], types: Any,
                           arguments: tuple = (), options: dict[str, Any] | None = None) -> Any:
        return (arguments[0] if function is Tensor.normal_
                else function(*arguments, **(options or {})))


@contextmanager
def sketched() -> Iterator[None]:
    """Modules built in the block have shapes and types, but no numbers and no memory."""
    with torch.device("meta"), _Blank():
        yield


def check(state: Any, wanted: State, path: Path) -> State:
    """`state` of the file `path`, its floats in the precision of `wanted`.

    Raises ValueError, naming the tensor, unless it has plain tensors of the names, shapes and
    types of `wanted`, all numbers finite and in the file. `wanted` may be `sketched`.
    """
    if not (isinstance(state, dict) and all(isinstance(tensor, Tensor) and isinstance(name, str)
                                            for name, tensor in state.items())):
        raise ValueError(f"{path}: wanted a dict of tensors by their names in it")
    for names, others, fault in ((wanted, state, "missing"), (state, wanted, "not a part of it")):
        if odd := next((name for name in names if name not in others), None):
            raise ValueError(f"{path}: does not fit this network: {odd[:80]!r} is {fault}")
    for name, like in wanted.items():
        if fault := _fault_of(state[name], like):
            raise ValueError(f"{path}: does not fit this network: {fault} of {name}")
    # A tensor of stride 0 is small in the file and huge in memory.
    claimed, size = sum(tensor.nbytes for tensor in state.values()), path.stat().st_size
    if claimed > size:
        raise ValueError(f"{path}: its tensors claim {claimed} bytes, the file has {size}")
    state = {name: state[name].to(like.dtype) for name, like in wanted.items()}
    for name, tensor in state.items():
        # The sum is faster; it may overflow, so it only proves that all is well.
        if not (tensor.sum().isfinite() or tensor.isfinite().all()):
            raise ValueError(f"{path}: NaN or infinity in {name}: these weights are spoilt, take "
                             "an earlier file")
    return state


def _fault_of(tensor: Tensor, like: Tensor) -> str:
    if tensor.shape != like.shape:
        return f"size mismatch, {[*tensor.shape]} in place of {[*like.shape]},"
    if tensor.dtype != like.dtype and not (tensor.dtype in FLOATS and like.dtype in FLOATS):
        return f"type {tensor.dtype} in place of {like.dtype}"
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_nested:
        return f"layout {tensor.layout} on {tensor.device} in place of plain numbers"
    return ""

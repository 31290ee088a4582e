"""The only file that reads or writes checkpoints.

A checkpoint is a plain dict of tensors and numbers, so it is read with `weights_only=True`: a
file from the internet cannot run code. It rebuilds its own model.
"""

import math
import os
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from unet_resnet import tensors
from unet_resnet.quantize import quantize, dequantize, is_quantized
from unet_resnet.files import written_whole
from unet_resnet.model import UNetResNet
from unet_resnet.files import check_absent, check_place

KIND, VERSION = "unet_resnet checkpoint", 2
SHIPPED = Path(__file__).with_name("cracks.pt")  # made as MODEL_CARD.md tells
WIDEST = 2**16  # channels
PATHS = ("data", "weights", "split")  # the settings that name files
TENSORS_OF_A_BLOCK = 18  # at least, in a state dict


@dataclass
class Checkpoint:
    """What a file holds. The fields with a default belong to a training; best.pt lacks some."""

    blocks: list[int]  # of the encoder's four stages
    widths: list[int]  # of the decoder's five levels
    model: tensors.State
    threshold: float  # from which on a probability is a crack
    split: dict[str, dict[str, str | None]]  # fingerprints by file name, of train, validation
    history: list[dict[str, float]] = field(default_factory=list)  # one row per epoch
    settings: dict[str, Any] = field(default_factory=dict)  # train.py's flags
    masks: dict[str, dict[str, str | None]] | None = None  # as `split`
    optimizer: dict[str, Any] | None = None  # Adam's averages
    scaler: dict[str, Any] | None = None  # empty unless the run is in fp16
    losses: list[float | None] | None = None  # of the windows of an epoch that is not finished


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _are_counts(value: Any, length: int, most: float) -> bool:
    return (isinstance(value, list) and len(value) == length
            and all(type(count) is int and 1 <= count <= most for count in value))


def _are_numbers(value: Any) -> bool:
    """By their names."""
    return isinstance(value, dict) and all(
        isinstance(name, str) and _is_number(number) for name, number in value.items())


def _is_side(value: Any) -> bool:
    """Of a split: fingerprints by file name."""
    return isinstance(value, dict) and all(isinstance(text, str) for text in (
        *value, *(mark for mark in value.values() if mark is not None)))


def _are_sides(value: Any) -> bool:
    return (isinstance(value, dict) and {"train", "validation"} <= value.keys()
            and all(map(_is_side, value.values())))


def _is_setting(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return all(type(value) in (str, int, float, bool, type(None)) for value in values)


# What a checkpoint holds beside tensors: whether it does, and how to call it.
FORMS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "blocks": (lambda value: _are_counts(value, 4, math.inf), "four whole numbers above 0"),
    "widths": (lambda value: _are_counts(value, 5, WIDEST),
               f"five whole numbers from 1 to {WIDEST}"),
    "model": (lambda value: isinstance(value, dict), "tensors by their names"),
    "threshold": (lambda value: _is_number(value) and 0 <= value <= 1, "a number from 0 to 1"),
    "split": (_are_sides, "two sides of file names"),
    "masks": (_are_sides, "two sides of file names"),
    "history": (lambda value: isinstance(value, list) and all(map(_are_numbers, value)),
                "a list of epochs, each of numbers by their names"),
    "losses": (lambda value: isinstance(value, list) and all(
        one is None or _is_number(one) for one in value), "a list of numbers"),
    "scaler": (lambda value: _are_numbers(value) and (
        not value or value.keys() == GradScaler("cpu").state_dict().keys()),
        "the state of a GradScaler"),
    "settings": (lambda value: isinstance(value, dict) and all(
        isinstance(name, str) and _is_setting(one) for name, one in value.items()),
        "numbers and words by their names"),
}


def save(path: Path, model: nn.Module, threshold: float = 0.5,
         split: dict[str, dict[str, str]] | None = None, small: bool = False,
         **content: Any) -> None:
    """Write the model, its threshold, the split it was trained with (file names and fingerprints
    of "train", "validation" and, where its weights are of another checkpoint, "before") and
    `content` (numbers, strings, tensors in dicts and lists).
    With `small` the weights are kept in 8 bits (quantize.py): for prediction, or to start from.

    The file is written whole or not at all, and takes the place of an older one when it has been
    read back from the disk. Raises OSError where it cannot be written, on a full disk say.
    """
    state = model.state_dict()
    content |= {"kind": KIND, "version": VERSION, "blocks": list(model.blocks),
                "widths": list(model.widths), "model": quantize(state) if small else state,
                "threshold": threshold, "split": split or {"train": {}, "validation": {}}}
    try:
        with written_whole(path) as file:
            torch.save(content, file)
            _read_back(file)
    except (OSError, RuntimeError) as error:
        # After a failed write torch's own complaint is of a wrong position in the file.
        cause = error if isinstance(error, OSError) else error.__context__
        if isinstance(cause, SystemExit):  # by a second signal
            raise cause from None
        if not isinstance(cause, OSError):
            raise
        raise OSError(f"{path}: not written ({cause.strerror or cause}); what stood there before "
                      "still does") from error


def _read_back(file: BinaryIO) -> None:
    """Raise OSError where a file just written does not have the contents its checksums tell."""
    file.flush()
    os.fsync(file.fileno())
    if hasattr(os, "posix_fadvise"):  # from the disk, not from the system's memory of it
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if tensors.fault_of_archive(Path(file.name)):
        raise OSError("it reads back otherwise than it was written; the disk may be failing")


def read(path: Path) -> Checkpoint:
    """The content of a checkpoint, its tensors on the CPU, checked to be what `save` writes.

    Raises an OSError or ValueError, in one line that names the file, for one that cannot be read
    or is not an intact checkpoint of this version.
    """
    content = tensors.read(path)
    parts = {"kind", "version", "blocks", "widths", "model", "threshold", "split"}
    if not (isinstance(content, dict) and parts <= content.keys() and content["kind"] == KIND):
        raise ValueError(f"{path}: not a checkpoint of train.py; pass a run's folder, or its "
                         "best.pt or last.pt")
    if type(version := content["version"]) is not int:
        raise _spoilt(path, "its version should be a whole number")
    if version != VERSION:
        writer = ("a newer version: update unet_resnet" if version > VERSION
                  else "an older version, whose network was another: train it again")
        raise ValueError(f"{path}: format {version}, this version reads {VERSION}; written by "
                         f"{writer}")
    for name, (check, wanted) in FORMS.items():
        if name in content and not check(content[name]):
            raise _spoilt(path, f"its {name} should be {wanted}")
    blocks, state = content["blocks"], content["model"]
    if sum(blocks) * TENSORS_OF_A_BLOCK > len(state):  # before a network of that size is built
        raise ValueError(f"{path}: does not fit this network: blocks {blocks} are more than its "
                         f"{len(state)} tensors")
    with tensors.sketched():
        wanted = UNetResNet(blocks, content["widths"]).state_dict()
    if is_quantized(state):
        wanted = quantize(wanted)
    content["model"] = dequantize(tensors.check(state, wanted, path))
    return Checkpoint(**{one.name: content[one.name] for one in fields(Checkpoint)
                         if one.name in content})


def read_last(path: Path) -> Checkpoint:
    """The content of a last.pt, from which a training can go on. Raises what `read` does."""
    content = read(path)
    for name in ("optimizer", "scaler", "losses"):
        if getattr(content, name) is None:
            raise ValueError(f"{path}: no last.pt, for it has no {name}: a training cannot go on "
                             "from it; --weights starts a new one with a best.pt")
    for name in ("blocks", "widths"):
        if content.settings.get(name) != getattr(content, name):
            raise _spoilt(path, f"its settings have other {name} than its network")
    if not all({"iou", "threshold"} <= row.keys() for row in content.history):
        raise _spoilt(path, "an epoch without scores")
    return content


def _spoilt(path: Path, what: str) -> ValueError:
    return ValueError(f"{path}: damaged, or not written by train.py: {what}")


def load(path: Path) -> tuple[UNetResNet, Checkpoint]:
    """The model that a checkpoint, named as `located` tells, describes, on the CPU in eval mode,
    and the checkpoint's content.

    Raises what `read` does.
    """
    content = read(located(path))
    model = UNetResNet(content.blocks, content.widths)
    model.load_state_dict(content.model)
    return model.eval(), content


def located(path: Path) -> Path:
    """The file that is meant by a checkpoint's name: of a run's folder its best.pt; by the word
    cracks, where nothing else has that name, the file that comes with the package.

    Raises FileNotFoundError for the folder of a run in its first epoch.
    """
    if (path / "best.pt").is_file():
        return path / "best.pt"
    if (path / "last.pt").is_file():
        raise FileNotFoundError(f"{path}: no best.pt in it yet, which train.py writes after the "
                                f"first epoch; go on with --resume {path}")
    return SHIPPED if str(path) == "cracks" and not path.is_file() else path


def find(weights: str) -> Path | None:
    """The checkpoint that --weights means; None for other things, such as a ResNet's weights.
    Nothing is checked yet."""
    if weights in ("imagenet", "none"):
        return None
    path = located(Path(weights))
    if path != Path(weights):
        return path
    # zipfile raises nearly anything on foreign files, whose fault is told by who reads them.
    with suppress(Exception), zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        with archive.open(pickles[0]) as file:
            return path if KIND.encode() in file.read(2**26) else None
    return None


def shrink(path: Path, small: Path) -> str:
    """Write a checkpoint anew for others: weights in 8 bits, no optimizer, no paths; returns in one
    line what was written.

    Raises FileExistsError where `small` exists, and what `load` raises.
    """
    check_place(small)
    check_absent(small)
    path = located(path)
    model, content = load(path)
    settings = {name: value for name, value in content.settings.items() if name not in PATHS}
    save(small, model, content.threshold, content.split, small=True, settings=settings,
         history=content.history)
    return (f"{small}: {small.stat().st_size / 1e6:.0f} MB in place of "
            f"{path.stat().st_size / 1e6:.0f}, threshold {content.threshold:g}")


def space_wanted(folder: Path, blocks: Sequence[int], widths: Sequence[int]) -> int:
    """Bytes that the checkpoints of a training will take on the disk beyond those in `folder`.

    A last.pt holds the weights and, of the same size, Adam's two averages; a second one is written
    before the first gives way; and best.pt holds the weights.
    """
    with tensors.sketched():
        state = UNetResNet(blocks, widths).state_dict()
    there = [folder / name for name in ("last.pt", "best.pt") if (folder / name).is_file()]
    return (3 + 3 + 1) * sum(tensor.nbytes for tensor in state.values()) - sum(
        path.stat().st_size for path in there)


def load_optimizer(optimizer: Optimizer, saved: Any, path: Path) -> None:
    """Fill Adam with the averages in its saved state dict; its settings stay as they are.

    Raises ValueError, naming `path`, where these are not averages of its parameters.
    """
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    try:
        state = saved["state"]
        found = {f"{name} of parameter {i}": tensor for i in state
                 for name, tensor in state[i].items()}
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise _spoilt(path, "no state of Adam in it") from error
    if found:  # none before the first update
        wanted = {f"{name} of parameter {i}": like for i, parameter in enumerate(parameters)
                  for name, like in (("step", torch.zeros(())), ("exp_avg", parameter),
                                     ("exp_avg_sq", parameter))}
        tensors.check(found, wanted, path)
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})

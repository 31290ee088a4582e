"""How is a trained network saved, and how is it read from a file that is not trusted?

A checkpoint is a plain dict of tensors, numbers and strings, from which the network is rebuilt.
PyTorch reads it with `weights_only=True`, so that it cannot run code. What PyTorch leaves unchecked
is checked here: checksums, types, sizes, and that all weights are finite.
"""

import zipfile
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

import torch
from torch import Tensor

from unet_resnet.files import atomic_write, is_out_of_memory, one_line
from unet_resnet.model import UNetResNet

KIND, VERSION = "unet_resnet checkpoint", 2
SHIPPED = Path(__file__).with_name("cracks.pt")  # MODEL_CARD.md says how it was made
MAX_BLOCKS = 200  # ResNet-152 has 50
SCALE = ":scale"  # ends the name of the scales of a tensor in 8 bits

State = dict[str, Tensor]
# Fingerprints by file name, by side: train, validation, and before for those of earlier runs.
Split = dict[str, dict[str, str | None]]
Setting = str | int | float | bool | None


@dataclass
class Checkpoint:
    """What a file holds."""

    blocks: list[int]  # of the encoder's four stages
    widths: list[int]  # of the decoder's five levels
    model: State
    threshold: float  # from this probability on, a pixel is crack
    split: Split
    history: list[dict[str, float]] = field(default_factory=list)  # one row per epoch
    settings: dict[str, Setting | list[Setting]] = field(default_factory=dict)  # train.py's flags
    masks: Split | None = None
    optimizer: dict | None = None  # this and what follows only in a last.pt
    scaler: dict[str, float] = field(default_factory=dict)  # empty unless the training is in fp16
    losses: list[float | None] = field(default_factory=list)  # of the current epoch's windows


def save(path: Path, network: UNetResNet, threshold: float = 0.5, split: Split | None = None,
         **content: Any) -> None:
    """Write a checkpoint, whole or, with an OSError, not at all; `content` are its other fields."""
    content = {"kind": KIND, "version": VERSION, "blocks": list(network.blocks),
               "widths": list(network.widths), "model": network.state_dict(),
               "threshold": threshold, "split": split or {"train": {}, "validation": {}}} | content
    with atomic_write(path) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # behind it, torch hides a full disk or a second Ctrl-C
            raise error.__context__ or error from None


def load(path: Path) -> tuple[UNetResNet, Checkpoint]:
    """The network, on the CPU in eval mode, and the checkpoint that `path` stands for.

    Raises an OSError or ValueError, in one line that names the file, for one that cannot be read,
    is damaged, or is not a checkpoint of this version.
    """
    content = read_tensors(path := resolve(path))
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise ValueError(f"{path}: not a checkpoint of train.py; pass a run's folder, or its "
                         "best.pt or last.pt")
    try:
        found = parse(content)
        # Before memory is taken: a level of the decoder has 9 w^2 weights and more.
        least = 9 * sum(width**2 for width in found.widths)
        claimed = sum(tensor.numel() for tensor in found.model.values())
        if max(least, claimed) > path.stat().st_size or sum(found.blocks) > MAX_BLOCKS:
            raise ValueError(f"blocks {found.blocks}, widths {found.widths} and {claimed} weights "
                             "are more than it has bytes for")
        network = UNetResNet(found.blocks, found.widths)
        network.load_state_dict(dequantize(found.model))  # strict: all names and shapes
        check_finite(network.state_dict())
    except Exception as error:  # anything may stand in a file
        raise damaged_error(path, error) from error
    found.model = network.state_dict()
    return network.eval(), found


def read(path: Path) -> Checkpoint:
    """The checkpoint that `load` returns, without the network."""
    return load(path)[1]


def parse(content: dict) -> Checkpoint:
    """The checkpoint in a file's dict; raises ValueError if it is not one of this version."""
    if content["version"] != VERSION:
        raise ValueError(f"format {content['version']!r:.9}, expected {VERSION}; if it is newer, "
                         "update unet_resnet, if it is older, train again")
    found = Checkpoint(**{one.name: content[one.name] for one in fields(Checkpoint)
                          if one.name in content})
    for one in fields(found):
        if not has_type(getattr(found, one.name), one.type):
            raise ValueError(f"its {one.name} has another type")
    if not 0 <= found.threshold <= 1 or not {"train", "validation"} <= found.split.keys():
        raise ValueError("a threshold outside 0..1, or a split without train or validation")
    return found


def has_type(value: Any, hint: Any) -> bool:
    """Whether a value has a type such as dict[str, Tensor], to any depth."""
    kind, inside = get_origin(hint) or hint, get_args(hint)
    if kind is UnionType:
        return any(has_type(value, one) for one in inside)
    if not isinstance(value, (int, float) if kind is float else kind):
        return False
    if kind is list:
        return all(has_type(one, inside[0]) for one in value)
    if kind is dict and inside:
        return all(has_type(key, inside[0]) and has_type(one, inside[1])
                   for key, one in value.items())
    return True


def damaged_error(path: Path | str, error: Exception) -> ValueError:
    """What to raise when a file's content is refused; if memory is full, that is raised at once."""
    if is_out_of_memory(error):
        raise error
    reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    reason = " ".join(reason.split())  # those of load_state_dict have many lines
    return ValueError(f"{path}: damaged or incompatible: {one_line(reason):.300}")


def resolve(path: Path) -> Path:
    """The file that a name stands for: best.pt for a run's folder, SHIPPED for the word cracks."""
    if (path / "best.pt").is_file():
        return path / "best.pt"
    return SHIPPED if str(path) == "cracks" and not path.is_file() else path


def read_tensors(path: Path) -> Any:
    """What torch.save wrote into a file, its tensors on the CPU; no code in it is run.

    Raises, in one line that names the file, an OSError if it cannot be opened, or ValueError for
    anything but an intact file of tensors, numbers and strings.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a file of weights, or a run's "
                                "folder with the best.pt that its first epoch writes")
    with open(path, "rb") as file:
        start = file.read(20)
        try:
            if start.startswith(b"PK") and zipfile.ZipFile(file).testzip():  # torch checks no sums
                raise zipfile.BadZipFile
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # nearly any: KeyError, EOFError, UnpicklingError, ...
            if is_out_of_memory(error):
                raise
            raise ValueError(
                f"{path}: not a file of PyTorch tensors, or damaged (it begins with {start!r}); "
                "download it again, or save a module's state_dict()") from error


def check_finite(state: State) -> None:
    """Raise ValueError, naming the tensor, for a NaN or an infinity."""
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise ValueError(f"NaN or infinity in {name}")


def dequantize(state: State) -> State:
    """float32 from the 8 bits of export/small.py; other tensors stay as they are."""
    restored = dict(state)
    for name, tensor in state.items():
        if tensor.dtype == torch.int8:
            scale = restored.pop(name + SCALE)  # one number per output channel
            restored[name] = tensor * scale.view(len(tensor), *[1] * (tensor.dim() - 1))
    return restored

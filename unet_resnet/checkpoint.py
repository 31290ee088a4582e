"""The only file that reads or writes weights.

A checkpoint is a plain dict of tensors and numbers, so it is read with `weights_only=True`: a
file from the internet cannot run code. It rebuilds its own model.
"""

import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn
from torchvision import models

from unet_resnet.encoder import ResNetEncoder
from unet_resnet.files import written_whole
from unet_resnet.model import UNetResNet

KIND, VERSION = "unet_resnet checkpoint", 2

# The first training recipe, not the newer "V2": longer, stronger regularised training classifies
# better but transfers less well (Kornblith et al., 2021), and every peer's scores start here.
IMAGENET = {(3, 4, 6, 3): models.ResNet50_Weights.IMAGENET1K_V1,
            (3, 4, 23, 3): models.ResNet101_Weights.IMAGENET1K_V1,
            (3, 8, 36, 3): models.ResNet152_Weights.IMAGENET1K_V1}

State = dict[str, Tensor]


def save(path: Path, model: nn.Module, threshold: float = 0.5,
         split: dict[str, dict[str, str]] | None = None, **content: Any) -> None:
    """Write the model, its threshold, the split it was trained with (file names and fingerprints
    of "train" and "validation") and `content` (numbers, strings, tensors in dicts and lists).

    The file is written whole or not at all, and takes the place of an older one when it has been
    read back from the disk. Raises OSError where it cannot be written, on a full disk say.
    """
    content |= {"kind": KIND, "version": VERSION, "blocks": list(model.blocks),
                "widths": list(model.widths), "model": model.state_dict(),
                "threshold": threshold, "split": split or {"train": {}, "validation": {}}}
    try:
        with written_whole(path) as file:
            torch.save(content, file)
            _read_back(file)
    except (OSError, RuntimeError) as error:
        # After a failed write torch's own complaint is of a wrong position in the file.
        cause = error if isinstance(error, OSError) else error.__context__
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
    try:
        with zipfile.ZipFile(file.name) as records:
            whole = records.testzip() is None
    except zipfile.BadZipFile:
        whole = False
    if not whole:
        raise OSError("it reads back otherwise than it was written; the disk may be failing")


def read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, its tensors on the CPU.

    Raises FileNotFoundError, or ValueError for a file that is not a checkpoint of this project.
    """
    content = _read_tensors(path)
    parts = {"kind", "version", "blocks", "widths", "model", "threshold", "split"}
    if not (isinstance(content, dict) and parts <= content.keys() and content["kind"] == KIND):
        raise ValueError(f"{path}: not a checkpoint of train.py; pass a best.pt or last.pt")
    if content["version"] != VERSION:
        writer = ("a newer version: update unet_resnet" if content["version"] > VERSION
                  else "an older version, whose network was another: train it again")
        raise ValueError(f"{path}: format {content['version']}, this version reads {VERSION}; "
                         f"written by {writer}")
    return content


def load(path: Path) -> tuple[UNetResNet, dict[str, Any]]:
    """The model a checkpoint describes, on the CPU in eval mode, and the checkpoint's content."""
    content = read(path)
    model = UNetResNet(content["blocks"], content["widths"])
    _load_strictly(model, content["model"], path)
    return model.eval(), content


def load_encoder(encoder: ResNetEncoder, weights: str) -> str:
    """Fill the encoder with trained weights and say in one line what was done.

    `weights`: "none" keeps the random ones; "imagenet" takes torchvision's file of the encoder's
    depth from its cache or the network, and checks its hash; anything else is the path of a
    ResNet state dict with torchvision's names. From a shallower ResNet the encoder is grown.

    Raises FileNotFoundError where there is no such file, ConnectionError where it cannot be
    downloaded, ValueError where it does not fit.
    """
    if weights == "none":
        return "encoder: random weights"
    if weights == "imagenet":
        state = _imagenet_state(encoder.blocks)
    else:
        state = _read_tensors(Path(weights))
        if not (isinstance(state, dict) and "layer4.0.conv3.weight" in state
                and all(isinstance(tensor, Tensor) for tensor in state.values())):
            raise ValueError(f"{weights}: not the state dict of a bottleneck ResNet with "
                             "torchvision's names (50, 101 or 152 layers)")
    state = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    found = blocks_of(state)
    grown = [have < want for have, want in zip(found, encoder.blocks)]
    if any(have == 1 < want for have, want in zip(found, encoder.blocks)):
        raise ValueError(f"{weights}: blocks {found}; a stage of a single block cannot be grown")
    if any(grown):
        state = grow(state, encoder.blocks)
    _load_strictly(encoder, state, weights)
    line = f"encoder: {weights}, blocks {found}"
    return line + f", grown to {encoder.blocks} with identities" if any(grown) else line


def blocks_of(state: State) -> tuple[int, ...]:
    """The number of blocks in each of the four stages of a ResNet state dict."""
    return tuple(len({name.split(".")[1] for name in state if name.startswith(f"layer{stage}.")})
                 for stage in (1, 2, 3, 4))


def grow(state: State, blocks: tuple[int, ...]) -> State:
    """A state dict with `blocks` in its stages that computes the same maps.

    A block that is missing becomes a copy of the stage's last one whose final BatchNorm has scale
    and shift 0, so that it adds nothing to its input (Net2Net, Chen et al., 2016). The scale has
    a gradient, through which the new block learns. A stage of one block cannot be grown: that
    block changes the number of channels.
    """
    grown = dict(state)
    for stage, (have, want) in enumerate(zip(blocks_of(state), blocks), start=1):
        last = f"layer{stage}.{have - 1}."
        for new in range(have, want):
            for name in [name for name in state if name.startswith(last)]:
                part = name.removeprefix(last)
                silent = part in ("bn3.weight", "bn3.bias")
                copy = torch.zeros_like if silent else torch.clone
                grown[f"layer{stage}.{new}.{part}"] = copy(state[name])
    return grown


def _imagenet_state(blocks: tuple[int, ...]) -> State:
    if blocks not in IMAGENET:
        raise ValueError(f"no ImageNet weights exist for blocks {blocks}; use one of "
                         f"{list(IMAGENET)} or --weights none")
    weights = IMAGENET[blocks]
    try:
        return weights.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, no space, or a wrong hash
        raise ConnectionError(
            f"{weights.url} could not be downloaded ({error}): fetch it elsewhere and pass "
            "--weights FILE, or a ResNet-50 file of the same kind, or --weights none") from error


def _read_tensors(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    # torch.load raises nearly anything on foreign files: KeyError, EOFError, UnpicklingError, ...
    except Exception as error:
        raise ValueError(f"{path}: not a file of PyTorch tensors, or damaged "
                         f"({type(error).__name__})") from error


def _load_strictly(module: nn.Module, state: State, path: Path | str) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise ValueError(f"{path}: does not fit this network: {first[:200]}") from error

"""How is a checkpoint made small enough to be given away?"""

from pathlib import Path

import torch

from unet_resnet import checkpoint
from unet_resnet.checkpoint import SCALE, State
from unet_resnet.files import check_new

PATHS = ("data", "weights", "split")  # settings with paths on the machine of the training
MIN_SIZE = 4096  # numbers; a smaller tensor stays as it is
LEVELS = 127  # of int8, on each side of 0


def shrink(path: Path, small: Path) -> str:
    """Write a copy of a checkpoint to give away: weights in 8 bits, no optimizer, no paths;
    returns one line that says so.

    Raises FileExistsError where `small` exists, and what `checkpoint.load` raises.
    """
    check_new(small)
    path = checkpoint.resolve(path)
    network, found = checkpoint.load(path)
    settings = {name: value for name, value in found.settings.items() if name not in PATHS}
    checkpoint.save(small, network, found.threshold, found.split, settings=settings,
                    history=found.history, model=quantize(found.model))
    return (f"{small}: {small.stat().st_size / 1e6:.0f} MB instead of "
            f"{path.stat().st_size / 1e6:.0f}, threshold {found.threshold:g}")


def quantize(state: State) -> State:
    """A state dict with its large tensors in 8 bits and a float32 scale per output channel.

    The weights of an output channel are its scale times a whole number from -127 to 127 (Jacob et
    al., 2018, without zero points), off by half a scale at most. `checkpoint.load` restores them.
    """
    small = {}
    for name, tensor in state.items():
        if tensor.dim() < 2 or tensor.numel() < MIN_SIZE:
            small[name] = tensor
            continue
        scale = tensor.float().flatten(1).abs().amax(1).clamp(min=1e-12) / LEVELS
        scale = scale.view(-1, *[1] * (tensor.dim() - 1))
        small[name] = (tensor / scale).round().to(torch.int8)
        small[name + SCALE] = scale
    return small

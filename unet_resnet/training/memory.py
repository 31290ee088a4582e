"""How much memory does a training need, and how much is there?"""

import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from unet_resnet.device import autocast, memory_format
from unet_resnet.losses import crack_loss

GB = 1e9
PROBE = 64  # side in pixels of the crops with which activations are counted


def estimate(model: nn.Module, side: int, micro_batch: int, precision: torch.dtype) -> str:
    """What a training on crops of `side` pixels will need beside the weights, in one line; and what
    to change if that is more than there is. Leaves the model in eval mode."""
    state, each = state_bytes(model, precision), activation_bytes(model, side, precision)
    free, needed = free_bytes(next(model.parameters()).device), state + micro_batch * each
    line = (f"memory: gradients and Adam {state / GB:.2f} GB; activations {micro_batch} x "
            f"{each / GB:.3f} GB; together {needed / GB:.1f} GB")
    if free:
        line += f" of {free / GB:.1f} GB free"
    if 0 < free < needed:
        line += ": may not fit; try a smaller --micro-batch, --recompute or a smaller --crop"
    return line


def state_bytes(model: nn.Module, precision: torch.dtype) -> int:
    """Gradients and Adam's two averages in float32; a 16-bit forward pass copies the weights."""
    each = 12 if precision == torch.float32 else 14
    return each * sum(parameter.numel() for parameter in model.parameters())


def activation_bytes(model: nn.Module, side: int, precision: torch.dtype) -> int:
    """Bytes kept for the backward pass per crop of `side` pixels.

    Counted with small crops, since maps grow with the area, and as the difference of two crops and
    one: that leaves out what a forward pass keeps once, such as the weights in 16 bits.
    """
    device = next(model.parameters()).device
    model.eval()  # blank crops must not enter BatchNorm's statistics

    def forward(crops: int) -> None:
        images, truth = (torch.zeros(crops, channels, PROBE, PROBE, device=device)
                         for channels in (3, 1))
        with autocast(device, precision):
            logits = model(images.to(memory_format=memory_format(device)))
        crack_loss(logits, truth)

    one, two = (saved_bytes(lambda: forward(crops)) for crops in (1, 2))
    padded = -(-side // 32) * 32  # as the model does
    return round((two - one) * padded**2 / PROBE**2)


def saved_bytes(forward: Callable[[], object]) -> int:
    """The bytes that autograd keeps for the backward pass of what `forward` computes."""
    kept: dict[int, Tensor] = {}  # alive until they are counted, so that no address recurs

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def free_bytes(device: torch.device) -> int:
    """Free memory of the device; 0 if it is unknown. A container may allow less."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    table = Path("/proc/meminfo")  # Linux
    found = re.search(r"MemAvailable: *(\d+) kB", table.read_text() if table.exists() else "")
    return int(found[1]) * 1024 if found and device.type == "cpu" else 0

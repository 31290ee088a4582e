"""How much memory does a training need, and how much is there?"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from unet_resnet.device import autocast, memory_format
from unet_resnet.training.windows import buffers_of

GB = 1e9
STATE_BYTES = 16  # a parameter in float32: itself, its gradient, and Adam's two averages
PROBE = 64  # side in pixels of the crops on which activations are counted


def saved_bytes(forward: Callable[[], object], model: nn.Module) -> int:
    """The bytes that autograd keeps for the backward pass of what `forward` computes.

    Each storage counts once; the model's own parameters and buffers do not count. Exact, and the
    same on any machine.
    """
    own = {tensor.untyped_storage().data_ptr() for tensor in
           (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}  # alive until they are counted, so that no address recurs

    def keep(tensor: Tensor) -> Tensor:
        if (address := tensor.untyped_storage().data_ptr()) not in own:
            kept[address] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Forward passes in the block leave no trace in BatchNorm's running statistics."""
    put_back = buffers_of(model)
    try:
        yield
    finally:
        put_back()


def activation_bytes(model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], side: int,
                     precision: torch.dtype) -> int:
    """Bytes kept for the backward pass, for each crop of `side` pixels more in a micro-batch.

    Counted with small crops, for maps grow with the area, and as the difference of two crops and
    one: that leaves out what a micro-batch keeps once, the weights in 16 bits.
    """
    with buffers_kept(model):
        one, two = (
            saved_bytes(lambda: _loss_of_blanks(model, loss, PROBE, crops, precision), model)
            for crops in (1, 2))
    padded = -(-side // 32) * 32  # as the model does
    return round((two - one) * padded**2 / PROBE**2)


def _loss_of_blanks(model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], side: int,
                    crops: int, precision: torch.dtype) -> Tensor:
    device = next(model.parameters()).device
    image, truth = (torch.zeros(crops, channels, side, side, device=device) for channels in (3, 1))
    with autocast(device, precision):
        logits = model(image.to(memory_format=memory_format(device)))
    return loss(logits, truth)


def state_bytes(model: nn.Module, precision: torch.dtype) -> int:
    """Weights, gradients, Adam's averages and, where 16 bits compute, the weights in these."""
    copies = 0 if precision == torch.float32 else 2
    return (STATE_BYTES + copies) * sum(parameter.numel() for parameter in model.parameters())


def added_bytes(model: nn.Module, precision: torch.dtype) -> int:
    """What training adds to the weights of a model that is in memory."""
    return state_bytes(model, precision) - sum(tensor.nbytes for tensor in model.parameters())


def estimate(model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], side: int,
             micro_batch: int, precision: torch.dtype) -> str:
    """What a training will need, in one line; and what to change if that is more than there is."""
    state, each = state_bytes(model, precision), activation_bytes(model, loss, side, precision)
    free, activations = free_bytes(next(model.parameters()).device), micro_batch * each
    parameters = sum(parameter.numel() for parameter in model.parameters())
    line = (f"memory: {parameters / 1e6:.1f} million parameters, with gradients and Adam "
            f"{state / GB:.2f} GB; activations {micro_batch} x {each / GB:.3f} GB; together "
            f"{(state + activations) / GB:.1f} GB")
    if free is not None:
        line += f" of {free / GB:.1f} GB free"
        if added_bytes(model, precision) + activations > free:
            line += ": may not fit; try a smaller --micro-batch, --recompute or a smaller --crop"
    return line


def free_bytes(device: torch.device) -> int | None:
    """What is still free on the device; None where that cannot be told."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    table = Path("/proc/meminfo")  # Linux
    if not table.exists():
        return None
    available = next(line for line in table.read_text().splitlines() if "MemAvailable" in line)
    return int(available.split()[1]) * 1024

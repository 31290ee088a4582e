"""How much memory does a training need, and how much is there?"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from unet_resnet.device import autocast, is_out_of_memory, memory_format
from unet_resnet.training.windows import buffers_of

GB = 1e9
STATE_BYTES = 16  # a parameter in float32: itself, its gradient, and Adam's two averages
CONTAINER = Path("/sys/fs/cgroup")
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
            line += ": may not fit; try --micro-batch auto, --recompute, or a smaller --crop"
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
    of_system, of_container = int(available.split()[1]) * 1024, _container_bytes(CONTAINER)
    return of_system if of_container is None else min(of_system, of_container)


def _container_bytes(folder: Path) -> int | None:
    """What a container's limit (cgroup v2) leaves, with files in the cache, which give way; None
    where there is no limit."""
    try:
        limit, used = (int((folder / f"memory.{name}").read_text()) for name in ("max", "current"))
        lines = (folder / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):  # no such group; "max" in place of a number
        return None
    return limit - used + int(dict(map(str.split, lines)).get("inactive_file", 0))


def largest_micro_batch(model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], side: int,
                        most: int, precision: torch.dtype) -> int:
    """The largest useful number of blank crops, up to `most`, that can be trained on at once.

    Useful is what needs fewer passes for `most` crops than the next smaller one: of 8 these are 8,
    4, 3, 2 and 1. `model` gets gradients and its BatchNorm statistics are spoilt: pass a copy of
    the model to train. With a block of its size held here as well, it takes the place of Adam's
    averages, which do not exist yet. 1 is not tried.
    """
    device = next(model.parameters()).device
    sizes = sorted({-(-most // passes) for passes in range(1, most + 1)}, reverse=True)
    if device.type == "cpu" and (free := free_bytes(device)):
        # There the system does not refuse memory but ends programs: only what will fit is tried.
        each, added = activation_bytes(model, loss, side, precision), added_bytes(model, precision)
        sizes = [size for size in sizes if added + size * each < free] or [1]
    held = [torch.empty_like(parameter) for parameter in model.parameters()]  # noqa: F841
    return next((size for size in sizes if size == 1 or _fits(model, loss, side, size, precision)))


def _fits(model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], side: int, crops: int,
          precision: torch.dtype) -> bool:
    fits = False
    try:
        _loss_of_blanks(model, loss, side, crops, precision).backward()
        fits = True
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    model.zero_grad(set_to_none=True)  # here, for the error holds the failed pass's tensors
    torch.cuda.empty_cache()
    return fits

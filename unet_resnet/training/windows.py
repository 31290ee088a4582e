"""Which crops make up an update, and what if an update fails?"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.utils.data import DataLoader
from tqdm import tqdm

from unet_resnet.data import Crops
from unet_resnet.device import memory_format
from unet_resnet.files import is_out_of_memory
from unet_resnet.training.processes import Group
from unet_resnet.training.signals import ignore_signals

SKIPPED = 5  # windows in a row, after which training will not recover by itself

Window = tuple[Tensor, Tensor, Tensor]


def read(numbers: Sequence[int], crops: Crops, size: int, workers: int, group: Group,
         device: torch.device) -> Iterator[Window]:
    """The windows of these updates of a run, this process's share of each.

    Window n holds the crops from n * size to (n + 1) * size - 1. Yields images (n, 3, h, w) and
    masks (n, 1, h, w), float32 in 0..1, and the weight of each crop in the window's mean, (n,).
    """
    whole = [range(number * size, (number + 1) * size) for number in numbers]
    gpu = device.type == "cuda"
    loader = DataLoader(crops, batch_sampler=[group.shard(window) for window in whole],
                        num_workers=workers, worker_init_fn=ignore_signals, pin_memory=gpu)
    for images, masks in loader:
        yield (images.to(device, memory_format=memory_format(device), non_blocking=gpu),
               masks.to(device, non_blocking=gpu),
               group.shard_weights(size).to(device, non_blocking=gpu))


@contextmanager
def all_or_nothing(network: nn.Module) -> Iterator[None]:
    """A window counts as a whole or not at all: if the block fails, gradients are dropped and
    BatchNorm's running statistics are put back."""
    statistics = [buffer.clone() for buffer in network.buffers()]
    try:
        yield
    except BaseException:
        network.zero_grad(set_to_none=True)
        for buffer, value in zip(network.buffers(), statistics):
            buffer.copy_(value)
        raise


def halve_micro_batch(micro_batch: int, error: Exception, group: Group) -> int:
    """Half the micro-batch, if that may help: if memory ran out. Raises other errors."""
    # Of several processes, the others wait for this pass: only one alone can repeat it.
    if not is_out_of_memory(error) or micro_batch == 1 or group.size > 1:
        raise error
    tqdm.write(f"out of memory: going on with --micro-batch {(micro_batch + 1) // 2}")
    return (micro_batch + 1) // 2


def finite_mean(loss: Tensor, network: nn.Module, scaler: GradScaler, group: Group) -> float:
    """The mean of the loss, (), over all processes.

    Raises FloatingPointError, in all of them, if it, a gradient or a BatchNorm statistic is not
    finite. While they are, so are the weights after a step of Adam: its averages are no larger, and
    its step is bounded (Kingma and Ba, 2015). Gradients that float16's scale alone made infinite
    are left to the scaler, which skips the step and lowers it.
    """
    values = [value.grad for value in network.parameters() if value.grad is not None]
    values += [buffer for buffer in network.buffers() if buffer.is_floating_point()]
    norm = nn.utils.get_total_norm(values)
    mean, norm = group.sum(torch.stack((loss / group.size, norm))).tolist()
    if not math.isfinite(mean) or not math.isfinite(norm) and scaler.get_scale() <= 1:
        raise FloatingPointError
    return mean


def check_skipped(losses: Sequence[float | None], epoch: int, updates: int) -> None:
    """Print it if the last window was skipped, `losses` being those of the epoch so far.

    Raises FloatingPointError for the fifth in a row, or if an epoch's `updates` are all skipped.
    """
    if losses[-1] is not None:
        return
    tqdm.write(f"epoch {epoch + 1}, update {len(losses)}: skipped, its loss or gradients are not "
               "finite")
    most = min(SKIPPED, updates)
    if losses[-most:] == [None] * most:
        raise FloatingPointError(
            f"loss or gradients were not finite in {most} updates in a row; last.pt is from before "
            "them: resume it with a lower --lr or with --precision fp32, or look at the data with "
            "python -m unet_resnet.audit")

"""How do several processes train one network as a single process would?

`torchrun --nproc-per-node N train.py ...` starts the processes and gives each its rank. Each takes
a share of every window of crops and of the validation photos; gradients, losses and counts are
summed over all of them.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

PATIENCE = timedelta(hours=1)  # while one downloads weights, or still reads its photos
SMALL_BATCH = 8  # crops, below which the BatchNorm statistics of one process are rough


@dataclass(frozen=True)
class Group:
    """The processes of this training; a single one unless torchrun started more."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among the processes of this machine: the number of its GPU

    @classmethod
    def from_environment(cls) -> "Group":
        """The group that torchrun describes, not yet joined."""
        return cls(*(int(os.environ.get(name, default)) for name, default in
                     (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))))

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that prints and writes."""
        return self.rank == 0

    def silence_others(self) -> None:
        if not self.is_main:
            sys.stdout = open(os.devnull, "w")

    def join(self, device: torch.device) -> None:
        """Meet the other processes; a GPU `device` becomes the current one.

        Raises ConnectionError if they do not meet, e.g. because the port is in use.
        """
        gpu = device.type == "cuda"
        if gpu:
            torch.cuda.set_device(device)
        if self.size > 1:
            try:
                distributed.init_process_group("nccl" if gpu else "gloo", timeout=PATIENCE,
                                               device_id=device if gpu else None)
            except distributed.DistError as error:
                reason = str(error).splitlines()[0]
                raise ConnectionError(f"the processes cannot meet: {reason}") from error

    def leave(self) -> None:
        if self.size > 1:
            distributed.destroy_process_group()

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """The first process runs the block alone, then the others: they find its files."""
        if self.size > 1 and not self.is_main:
            distributed.barrier()
        yield
        if self.size > 1 and self.is_main:
            distributed.barrier()

    def sync_batchnorm(self, model: nn.Module, crops: int, device: torch.device) -> None:
        """With few `crops` in a forward pass, let BatchNorm average over all GPUs."""
        if self.size > 1 and device.type == "cuda" and crops < SMALL_BATCH:
            nn.SyncBatchNorm.convert_sync_batchnorm(model)  # in place

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model, with its gradients averaged over all processes in each backward pass."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model, [device] if device.type == "cuda" else None,
                                       gradient_as_bucket_view=True)  # no second copy of them

    def no_sync_unless(self, network: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Gradients are exchanged once per window, when its `last` micro-batch goes backward."""
        return nullcontext() if last or self.size == 1 else network.no_sync()

    def shard(self, window: Sequence[int]) -> list[int]:
        """This process's part of a window of crops; all parts have the same length.

        If the window cannot be divided, the last shards are filled up with its first crop, which
        `shard_weights` then counts as zero.
        """
        each = -(-len(window) // self.size)
        mine = list(window[self.rank * each:(self.rank + 1) * each])
        return mine + [window[0]] * (each - len(mine))

    def shard_weights(self, crops: int) -> Tensor:
        """The weight of each crop of `shard` in the mean over a window of `crops`, (n,) float32.

        The backward pass averages over processes; the factor `size` makes that a sum.
        """
        each = -(-crops // self.size)
        mine = min(max(crops - self.rank * each, 0), each)
        return (torch.arange(each) < mine) * (self.size / crops)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def any(self, condition: bool, device: torch.device) -> bool:
        """Whether the condition holds in one of the processes."""
        return bool(self.sum(torch.tensor(float(condition), device=device)))

    def broadcast_buffers(self, model: nn.Module) -> None:
        """Copy the first process's BatchNorm statistics to all, so that all predict the same."""
        if self.size > 1:
            for buffer in model.buffers():
                distributed.broadcast(buffer, 0)

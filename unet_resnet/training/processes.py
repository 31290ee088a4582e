"""How do several processes train one network as one would?

`torchrun --nproc-per-node N train.py ...` starts the processes and tells each its rank. Each takes
a share of every window of crops and of the photos to validate on; gradients, losses and counts are
added up over all of them.
"""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

PATIENCE = timedelta(hours=1)  # while the first one downloads weights and reads all photos


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
    def first(self) -> bool:
        """Whether this process is the one that prints and writes."""
        return self.rank == 0

    def join(self, device: torch.device) -> None:
        """Meet the others; of several GPUs, `device` is from now on the current one.

        Raises ValueError for a device on which no group can train.
        """
        gpu = device.type == "cuda"
        if gpu:
            torch.cuda.set_device(device)
        if self.size == 1:
            return
        if not gpu and device.type != "cpu":
            raise ValueError(f"--device {device}: several processes train on cuda or cpu only")
        distributed.init_process_group("nccl" if gpu else "gloo", timeout=PATIENCE,
                                       device_id=device if gpu else None)

    def leave(self) -> None:
        if self.size > 1:
            distributed.destroy_process_group()

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            distributed.barrier()

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model, whose gradients are averaged over all processes in each backward pass."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model, [device] if device.type == "cuda" else None,
                                       gradient_as_bucket_view=True)  # no second copy of them

    def held_back(self, network: nn.Module, last: bool) -> AbstractContextManager[None]:
        """In this context gradients stay in the process, but for the last micro-batch of a window.
        """
        return nullcontext() if last or self.size == 1 else network.no_sync()

    def share(self, window: Sequence[int]) -> list[int]:
        """This process's part of a window of crops, of equal length on all.

        Where the window cannot be divided, the last ones get its first crop again; `weights` makes
        it count for nothing.
        """
        each = -(-len(window) // self.size)
        mine = list(window[self.rank * each:(self.rank + 1) * each])
        return mine + [window[0]] * (each - len(mine))

    def weights(self, crops: int) -> Tensor:
        """What each crop of `share` weighs in the mean over a window of `crops`, (n,) float32.

        The backward pass averages over processes, which `size` takes back.
        """
        each = -(-crops // self.size)
        mine = min(max(crops - self.rank * each, 0), each)
        return (torch.arange(each) < mine) * (self.size / crops)

    def sum(self, values: Tensor) -> Tensor:
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def share_buffers(self, model: nn.Module) -> None:
        """All take the first process's BatchNorm statistics, so that all predict the same."""
        if self.size > 1:
            for buffer in model.buffers():
                distributed.broadcast(buffer, 0)

"""Which file was a worker of a DataLoader reading when it died?

An error in a worker names its file. A worker that is killed, for want of memory or by a crash in a
decoder, can say nothing more: so each notes beforehand, in memory that the main process sees, what
it is about to read.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch.utils.data import Dataset, get_worker_info

from unet_resnet.data import Pair

DEATH = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) "
                   r"(?:is )?(killed by signal: [\w ]+|exited unexpectedly)")
SHARED = re.compile(r"killed by signal: Bus error|allocate shared memory")
NOTHING = -1  # in place of an index


class Pairs(Protocol):
    """A data set of photos and masks."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Any: ...
    def pair_at(self, index: int) -> Pair: ...


class Watched(Dataset):
    """The same data set, of which it is known what each of its workers is reading."""

    def __init__(self, dataset: Pairs, workers: int) -> None:
        self.dataset = dataset
        self.notes = torch.zeros(workers, 2, dtype=torch.int64).share_memory_()  # process, index

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        if not (worker := get_worker_info()):
            return self.dataset[index]
        self.notes[worker.id] = torch.tensor((os.getpid(), index))
        item = self.dataset[index]
        self.notes[worker.id, 1] = NOTHING
        return item

    @contextmanager
    def deaths_named(self) -> Iterator[None]:
        """A worker's death in the block becomes a ChildProcessError of one line, with its file."""
        try:
            yield
        except RuntimeError as error:
            if SHARED.search(str(error)):
                raise ChildProcessError(
                    "shared memory, through which workers hand over what they have read, is full: "
                    "use --workers 0, or start the container with more (--shm-size 1g)") from error
            if not (death := DEATH.search(str(error))):
                raise
            dead = [int(process) for process in death[1].split(",")]
            files = [str(self.dataset.pair_at(index).image) for process, index
                     in self.notes.tolist() if process in dead and index != NOTHING]
            raise ChildProcessError(
                f"{' or '.join(files) or 'between two photos'}: a worker died reading it "
                f"({death[2].strip()}); if memory is short use fewer --workers, else look at the "
                "file") from error

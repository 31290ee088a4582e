"""How does a training go on where it stopped, to the same bits?

last.pt in a run's folder holds all that a training has reached. It is written every few minutes,
after each epoch, and when a training is stopped or fails between two updates.
"""

import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer
from tqdm import tqdm

from unet_resnet import checkpoint
from unet_resnet.checkpoint import Checkpoint
from unet_resnet.files import check_folder, check_space, lock, remove_unfinished
from unet_resnet.model import UNetResNet
from unet_resnet.training import manifest
from unet_resnet.training.processes import Group

FILES = ("last.pt", "best.pt", "history.csv", "preview.png", "run.json", "split.json")


def newest() -> Path:
    """The folder of the run that was saved last; FileNotFoundError if there is none."""
    runs = sorted(Path("runs").glob("*/last.pt"), key=lambda path: path.stat().st_mtime)
    if not runs:
        raise FileNotFoundError("--resume: no runs/*/last.pt here; name the run's folder")
    return runs[-1].parent


def check_room(folder: Path, blocks: Sequence[int], widths: Sequence[int]) -> None:
    """Raise OSError if the checkpoints of such a network cannot be written to the folder."""
    check_folder(folder)
    check_space(folder, checkpoint.space_wanted(folder, blocks, widths))


def next_free(name: str) -> Path:
    """The first runs/NAME-1, runs/NAME-2, ... that does not exist; makes it."""
    number = 1
    while True:
        folder = Path("runs") / f"{name}-{number}"
        try:  # two runs started at once get a folder each
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1


def open_folder(folder: Path) -> None:
    """Make the folder if necessary, lock it against other trainings, and remove what a killed
    process left half written."""
    folder.mkdir(parents=True, exist_ok=True)
    lock(folder)
    for file in FILES:
        remove_unfinished(folder / file)


def begin(folder: Path | None, last: Checkpoint | None, model: UNetResNet, optimizer: Optimizer,
          scaler: torch.amp.GradScaler, settings: dict[str, Any], split: Mapping[str, Any],
          masks: Mapping[str, Any], precision: torch.dtype, group: Group) -> "Progress":
    """Open the run's folder and note this start in it. For a resumed run, fill optimizer and scaler
    from its `last` checkpoint; for a new one, write a first last.pt.

    Each save takes `settings` as it then is. Raises ValueError if `last` does not fit.
    """
    if last:
        checkpoint.load_optimizer(optimizer, last.optimizer, folder / "last.pt")
        if last.scaler:  # empty unless the run was in fp16
            scaler.load_state_dict(last.scaler)
    if group.first:
        data = settings["data"]
        folder = folder or next_free(Path(data[0]).name if data else "sample")
        open_folder(folder)
        manifest.note_start(folder, settings, split, next(model.parameters()).device, precision,
                            group.size)
    progress = Progress(folder or Path(), settings["save_every"], group, model, optimizer, scaler,
                        last.losses if last else [], last.history if last else [],
                        settings=settings, split=split, masks=masks)
    if not last:
        progress.save()  # from now on there is something to resume
    return progress


class Progress:
    """What a training has reached: `save` writes it to last.pt as it is at that moment.

    losses: of this epoch's windows so far, None for one that was skipped; history: a row per
    finished epoch; content: saved as it is. Only the first process of the group writes.
    """

    def __init__(self, folder: Path, minutes: float, group: Group, model: UNetResNet,
                 optimizer: Optimizer, scaler: torch.amp.GradScaler, losses: list[float | None],
                 history: list[dict[str, float]], **content: Any) -> None:
        self.folder, self.minutes, self.group = folder, minutes, group
        self.model, self.optimizer, self.scaler = model, optimizer, scaler
        self.losses, self.history, self.content = losses, history, content
        self.saved = time.monotonic()

    def save(self) -> None:
        self.saved = time.monotonic()
        if self.group.first:
            checkpoint.save(
                self.folder / "last.pt", self.model, losses=self.losses, history=self.history,
                threshold=self.history[-1]["threshold"] if self.history else 0.5,
                # The schedule sets its learning rates anew.
                optimizer={"state": self.optimizer.state_dict()["state"]},
                scaler=self.scaler.state_dict(), **self.content)

    def save_when_due(self) -> None:
        """Save every few minutes, but not after a skipped window: what led to it may be spoilt."""
        if time.monotonic() - self.saved >= 60 * self.minutes and self.losses[-1] is not None:
            try:
                self.save()
            except OSError as error:  # there may be space again by the next time
                tqdm.write(f"{error}; training goes on")

    @contextmanager
    def saved_on_failure(self) -> Iterator[None]:
        """A training that is stopped or fails within the block ends with last.pt as it then is."""
        try:
            yield
        except KeyboardInterrupt:
            self.save()
            processes = self.group.size
            program = f"torchrun --nproc-per-node {processes}" if processes > 1 else "python"
            sys.exit(f"stopped in epoch {len(self.history) + 1}; go on with: {program} train.py "
                     f"--resume {shlex.quote(self.folder.as_posix())}" if self.group.first else 1)
        except FloatingPointError as error:  # not saved: what led to it may be spoilt as well
            sys.exit(f"train.py: {error}" if self.group.first else 1)
        # A damaged photo, no memory, another process that ended: the run can go on once mended.
        except (OSError, ValueError, RuntimeError, MemoryError):
            with suppress(OSError):  # a full disk may be the error itself
                self.save()
            raise

"""How does a training resume exactly where it stopped?

last.pt in a run's folder holds all that a training has reached. It is written every few minutes,
before and after each validation, and when a training is stopped or fails.
"""

import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch.amp import GradScaler
from torch.optim import Optimizer
from tqdm import tqdm

from unet_resnet import checkpoint
from unet_resnet.checkpoint import Checkpoint, Split, damaged_error
from unet_resnet.files import UNFINISHED, atomic_write, csv_lines, lock
from unet_resnet.model import UNetResNet
from unet_resnet.training import manifest
from unet_resnet.training.processes import Group


def newest() -> Path:
    """The folder of the run that was saved last; FileNotFoundError if there is none."""
    runs = Path("runs").glob("*/last.pt")
    if last := max(runs, key=lambda path: path.stat().st_mtime, default=None):
        return last.parent
    raise FileNotFoundError("--resume: no runs/*/last.pt here; name the run's folder")


def load_optimizer(optimizer: Optimizer, saved: dict | None, path: Path) -> None:
    """Give Adam the averages of a checkpoint; ValueError, naming `path`, if they do not fit."""
    try:
        parameters = [one for group in optimizer.param_groups for one in group["params"]]
        state = saved["state"]  # empty before the first update
        for i, parameter in enumerate(parameters if state else ()):
            shapes = {"exp_avg": parameter.shape, "exp_avg_sq": parameter.shape, "step": ()}
            for name, shape in shapes.items():
                if state[i][name].shape != shape:
                    raise ValueError(f"{name} of parameter {i} has another shape")
            checkpoint.check_finite(state[i])
        optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    except Exception as error:  # anything may stand in a file
        raise damaged_error(path, error) from error


def next_free(name: str) -> Path:
    """The first runs/NAME-1, runs/NAME-2, ... that does not exist; makes it."""
    for number in count(1):
        folder = Path("runs") / f"{name}-{number}"
        with suppress(FileExistsError):  # two runs started at once get a folder each
            folder.mkdir(parents=True)
            return folder


@dataclass
class Progress:
    """What a training has reached. Only the first process of the group writes it."""

    model: UNetResNet
    optimizer: Optimizer
    scaler: GradScaler
    group: Group
    settings: dict[str, Any]  # the micro-batch may change
    split: Split
    masks: Split
    folder: Path = Path()
    losses: list[float | None] = field(default_factory=list)  # of this epoch; None: skipped window
    history: list[dict[str, float]] = field(default_factory=list)  # a row per finished epoch
    saved: float = 0.0  # when it was, in seconds of the monotonic clock

    def begin(self, folder: Path | None, last: Checkpoint | None, precision: torch.dtype) -> None:
        """Open the run's folder, by default the next free one, and note this start in it.

        A resumed run goes on from its `last` checkpoint; ValueError if that does not fit. A new one
        writes a first last.pt, so that there is something to resume.
        """
        if last:
            load_optimizer(self.optimizer, last.optimizer, folder / "last.pt")
            if last.scaler:  # empty unless the run was in fp16
                self.scaler.load_state_dict(last.scaler)
            self.losses, self.history = last.losses, last.history
        if self.group.is_main:
            data = self.settings["data"]
            self.folder = folder or next_free(Path(data[0]).name if data else "sample")
            self.folder.mkdir(parents=True, exist_ok=True)
            lock(self.folder)  # against other trainings
            for file in self.folder.glob(f".*{UNFINISHED}"):  # of a killed process
                file.unlink()
            device = next(self.model.parameters()).device
            manifest.record_start(self.folder, self.settings, self.split, device, precision,
                                  self.group.size)
        self.saved = time.monotonic()
        if not last:
            self.save()

    def save(self) -> None:
        """Write last.pt."""
        self.saved = time.monotonic()
        if self.group.is_main:
            checkpoint.save(
                self.folder / "last.pt", self.model, losses=self.losses, history=self.history,
                threshold=self.history[-1]["threshold"] if self.history else 0.5,
                # The schedule sets its learning rates anew.
                optimizer={"state": self.optimizer.state_dict()["state"]},
                scaler=self.scaler.state_dict(), settings=self.settings, split=self.split,
                masks=self.masks)

    def save_when_due(self) -> None:
        """Save every few minutes, but not after a skipped window: what led to it may be damaged."""
        due = time.monotonic() - self.saved >= 60 * self.settings["save_every"]
        if due and self.losses[-1] is not None:
            try:
                self.save()
            except OSError as error:  # a full disk: by the next time there may be space
                tqdm.write(f"{error}; training goes on")

    def to_keep(self, row: dict[str, float]) -> bool:
        """Whether best.pt is to be of this epoch: the best so far, or, with too few validation
        photos to choose a threshold, the last one."""
        return self.settings.get("threshold") is not None or all(
            row["mean_dice"] > earlier["mean_dice"] for earlier in self.history)

    def end_epoch(self, row: dict[str, float]) -> None:
        """Write best.pt if the epoch of that row is the best, history.csv and, after them, last.pt:
        a run that is killed before will validate again."""
        history = [*self.history, row]
        if self.group.is_main:
            if self.to_keep(row):
                checkpoint.save(self.folder / "best.pt", self.model, row["threshold"], self.split,
                                history=history, settings=self.settings)
            with suppress(PermissionError):  # on Windows, while another program has it open
                with atomic_write(self.folder / "history.csv") as file:
                    rows = ([each.get(name) for name in row] for each in history)
                    file.write(csv_lines(row, *rows))
        self.losses, self.history = [], history
        self.save()

    @contextmanager
    def save_on_failure(self) -> Iterator[None]:
        """A training that is stopped or fails within the block ends with last.pt as it then is;
        except after a FloatingPointError: what led to it may be damaged as well."""
        try:
            yield
        except KeyboardInterrupt:
            self.save()
            sys.exit(f"stopped in epoch {len(self.history) + 1}; go on with: "
                     f"{manifest.launcher(self.group.size)} train.py --resume "
                     f"{shlex.quote(self.folder.as_posix())}" if self.group.is_main else 1)
        # A damaged photo, no memory, another process that ended: the run can go on once mended.
        except (OSError, ValueError, RuntimeError, MemoryError):
            # Adam allocates its averages in its first step: half of them could not be resumed.
            kept = sum(map(len, self.optimizer.state.values()))
            if kept in (0, 3 * len([*self.model.parameters()])):
                with suppress(OSError):  # a full disk may be the error itself
                    self.save()
            raise

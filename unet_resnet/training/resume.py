"""How does a training go on where it stopped, to the same bits?

last.pt in a run's folder holds all that a training has reached. It is written every few minutes,
after each epoch, and when a training is stopped or fails between two updates.
"""

import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch.amp import GradScaler
from torch.optim import Optimizer

from unet_resnet import checkpoint
from unet_resnet.checkpoint import Checkpoint, Split
from unet_resnet.files import check_folder, csv_lines, lock, remove_unfinished, written_whole
from unet_resnet.model import UNetResNet
from unet_resnet.training import manifest
from unet_resnet.training.failures import survived
from unet_resnet.training.processes import Group

FILES = ("last.pt", "best.pt", "history.csv", "preview.png", "run.json", "split.json")


def newest() -> Path:
    """The folder of the run that was saved last; FileNotFoundError if there is none."""
    runs = sorted(Path("runs").glob("*/last.pt"), key=lambda path: path.stat().st_mtime)
    if not runs:
        raise FileNotFoundError("--resume: no runs/*/last.pt here; name the run's folder")
    return runs[-1].parent


def read_last(path: Path) -> Checkpoint:
    """A last.pt, from which a training can go on. Raises what `load` does."""
    last = checkpoint.read(path)
    if last.optimizer is None:
        raise ValueError(f"{path}: not a last.pt, it has no optimizer's state to go on with; "
                         "--weights starts a new training from a best.pt")
    if (last.settings.get("blocks") != last.blocks or last.settings.get("widths") != last.widths
            or last.scaler and last.scaler.keys() != GradScaler("cpu").state_dict().keys()
            or not all({"dice", "threshold"} <= row.keys() for row in last.history)):
        raise checkpoint.spoilt(path, "its settings, scaler or history are of another training")
    for row in last.history:  # of runs from before the best epoch was that of the best mean Dice
        row.setdefault("mean_dice", row["dice"])
    return last


def space_wanted(folder: Path, blocks: Sequence[int], widths: Sequence[int]) -> int:
    """Bytes that the checkpoints of a training will take on the disk beyond those in `folder`."""
    weights = sum(tensor.nbytes for tensor in UNetResNet(blocks, widths).state_dict().values())
    there = [folder / name for name in ("last.pt", "best.pt") if (folder / name).is_file()]
    # In two last.pt (one replaces the other) the weights and Adam's two averages; and best.pt.
    return (3 + 3 + 1) * weights - sum(path.stat().st_size for path in there)


def load_optimizer(optimizer: Optimizer, saved: dict, path: Path) -> None:
    """Give Adam the averages in a state dict; ValueError, naming `path`, if they are others'."""
    state = saved.get("state")
    if not checkpoint.fits(state, dict[int, checkpoint.State]):
        raise checkpoint.spoilt(path, "its optimizer is not the state of Adam")
    if state:  # empty before the first update
        parameters = [one for group in optimizer.param_groups for one in group["params"]]
        state = {i: checkpoint.fitted(state.get(i, {}), {"step": torch.zeros(()), "exp_avg": one,
                                                         "exp_avg_sq": one}, path)
                 for i, one in enumerate(parameters)}
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def check_room(folder: Path, blocks: Sequence[int], widths: Sequence[int]) -> None:
    """Raise OSError if the checkpoints of such a network cannot be written to the folder."""
    check_folder(folder, wanted=space_wanted(folder, blocks, widths))


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
    settings: dict[str, Any]  # saved as they then are: the micro-batch may change
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
        self.folder = folder or Path()
        if last:
            load_optimizer(self.optimizer, last.optimizer, self.folder / "last.pt")
            if last.scaler:  # empty unless the run was in fp16
                self.scaler.load_state_dict(last.scaler)
            self.losses, self.history = last.losses, last.history
        if self.group.first:
            data = self.settings["data"]
            self.folder = folder or next_free(Path(data[0]).name if data else "sample")
            self.folder.mkdir(parents=True, exist_ok=True)
            lock(self.folder)  # against other trainings
            for file in FILES:
                remove_unfinished(self.folder / file)  # what a killed process left half written
            manifest.note_start(self.folder, self.settings, self.split,
                                next(self.model.parameters()).device, precision, self.group.size)
        self.saved = time.monotonic()
        if not last:
            self.save()

    def save(self) -> None:
        """Write last.pt."""
        self.saved = time.monotonic()
        if self.group.first:
            checkpoint.save(
                self.folder / "last.pt", self.model, losses=self.losses, history=self.history,
                threshold=self.history[-1]["threshold"] if self.history else 0.5,
                # The schedule sets its learning rates anew.
                optimizer={"state": self.optimizer.state_dict()["state"]},
                scaler=self.scaler.state_dict(), settings=self.settings, split=self.split,
                masks=self.masks)

    def save_when_due(self) -> None:
        """Save every few minutes, but not after a skipped window: what led to it may be spoilt."""
        due = time.monotonic() - self.saved >= 60 * self.settings["save_every"]
        if due and self.losses[-1] is not None:
            with survived(OSError):
                self.save()

    def is_best(self, row: dict[str, float]) -> bool:
        """With too few validation photos to choose a threshold, always: the last epoch counts."""
        return self.settings.get("threshold") is not None or all(
            row["mean_dice"] > earlier["mean_dice"] for earlier in self.history)

    def end_epoch(self, row: dict[str, float]) -> None:
        """Write best.pt if the epoch of that row is the best, history.csv and, after them, last.pt:
        a run that is killed before will validate again."""
        history = [*self.history, row]
        if self.group.first:
            if self.is_best(row):
                checkpoint.save(self.folder / "best.pt", self.model, row["threshold"], self.split,
                                history=history, settings=self.settings)
            with survived(PermissionError):  # on Windows, while another program has it open
                with written_whole(self.folder / "history.csv") as file:
                    rows = ([each.get(name) for name in row] for each in history)
                    file.write(csv_lines(row, *rows))
        self.losses, self.history = [], history
        self.save()

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

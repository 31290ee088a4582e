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
from torch.amp import GradScaler
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


def read_last(path: Path) -> Checkpoint:
    """A last.pt, from which a training can go on. Raises what `load` does."""
    last = checkpoint.read(path)
    if last.optimizer is None:
        raise ValueError(f"{path}: not a last.pt, it has no optimizer's state to go on with; "
                         "--weights starts a new training from a best.pt")
    if (last.settings.get("blocks") != last.blocks or last.settings.get("widths") != last.widths
            or last.scaler and last.scaler.keys() != GradScaler("cpu").state_dict().keys()
            or not all({"iou", "threshold"} <= row.keys() for row in last.history)):
        raise checkpoint.spoilt(path, "its settings, scaler or history are of another training")
    return last


def space_wanted(folder: Path, blocks: Sequence[int], widths: Sequence[int]) -> int:
    """Bytes that the checkpoints of a training will take on the disk beyond those in `folder`."""
    # In two last.pt (one replaces the other) the weights and Adam's two averages; and best.pt.
    state = UNetResNet(blocks, widths).state_dict()
    there = [folder / name for name in ("last.pt", "best.pt") if (folder / name).is_file()]
    return (3 + 3 + 1) * sum(tensor.nbytes for tensor in state.values()) - sum(
        path.stat().st_size for path in there)


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
    check_folder(folder)
    check_space(folder, space_wanted(folder, blocks, widths))


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
          scaler: GradScaler, settings: dict[str, Any], split: Mapping[str, Any],
          masks: Mapping[str, Any], precision: torch.dtype, group: Group) -> "Progress":
    """Open the run's folder and note this start in it. For a resumed run, fill optimizer and scaler
    from its `last` checkpoint; for a new one, write a first last.pt.

    Each save takes `settings` as it then is. Raises ValueError if `last` does not fit.
    """
    if last:
        load_optimizer(optimizer, last.optimizer, folder / "last.pt")
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
                 optimizer: Optimizer, scaler: GradScaler, losses: list[float | None],
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

"""What does a training hold, and how does it begin or go on?"""

import argparse
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Adam
from tqdm import tqdm

from unet_resnet import checkpoint, files, imagenet
from unet_resnet.synthetic import pavement
from unet_resnet.training import memory, manifest
from unet_resnet.audit.split import (
    Side, Split, check_masks, describe_split, learned_from, load_pairs, read_split, recognised)
from unet_resnet.data import WholePhotos
from unet_resnet.files import fingerprint
from unet_resnet.files import lock, remove_unfinished, written_whole
from unet_resnet.training.processes import Group
from unet_resnet.device import check_compiler, memory_format
from unet_resnet.losses import crack_loss
from unet_resnet.evaluation.sheet import ScoreSheet
from unet_resnet.metrics import best_threshold, counts_at
from unet_resnet.model import UNetResNet
from unet_resnet.data import Pair, layout
from unet_resnet.training.recompute import recompute_activations
from unet_resnet.training.signals import Stop

SAMPLE_FOLDER, SAMPLE_COUNT = Path("sample_set"), 240
SMALL_BATCH = 8  # crops, below which BatchNorm's statistics of one process are rough

Content = checkpoint.Checkpoint  # of a last.pt


@dataclass
class Run:
    """What a training holds. `save` keeps all of it, for `--resume`."""

    folder: Path
    args: argparse.Namespace
    device: torch.device
    precision: torch.dtype
    model: UNetResNet
    network: nn.Module  # the model as it is trained: compiled, or one of a group
    optimizer: Adam
    scaler: torch.amp.GradScaler
    split: Split
    masks: Split  # their hashes, as those of the photos in `split`
    stop: Stop
    group: Group = Group()
    losses: list[float | None] = field(default_factory=list)  # of this epoch's windows so far
    history: list[dict[str, float]] = field(default_factory=list)  # one row for each epoch
    saved: float = field(default_factory=time.monotonic)  # when `save` was last called

    @property
    def settings(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self.args).items()
                if name not in ("output", "resume")}

    def save(self) -> None:
        self.saved = time.monotonic()
        if not self.group.first:
            return
        checkpoint.save(self.folder / "last.pt", self.model, settings=self.settings,
                        # Its rates are the schedule's, which the number of updates tells.
                        optimizer={"state": self.optimizer.state_dict()["state"]},
                        scaler=self.scaler.state_dict(),
                        losses=self.losses, history=self.history, split=self.split,
                        masks=self.masks,
                        threshold=self.history[-1]["threshold"] if self.history else 0.5)

    def save_when_due(self) -> None:
        """Save every --save-every minutes, but not in a row of windows that are left out: what
        led to them may be spoilt as well."""
        due = time.monotonic() - self.saved >= 60 * self.args.save_every
        if due and self.losses[-1] is not None:
            try:
                self.save()
            except OSError as error:  # there may be space again by the next time
                tqdm.write(f"{error}; training goes on")


def look_ahead(args: argparse.Namespace, last: Content | None, device: torch.device,
               group: Group) -> Split | str | None:
    """Raise ValueError or an OSError for what would stop the run only after long work; returns the
    split to take, a resumed run's own say."""
    if args.compile:
        check_compiler(device)
    if args.data:
        layout(data_folders(args))
    if group.first:
        folder = args.output or Path("runs")
        files.check_folder(folder)
        files.check_space(folder, checkpoint.space_wanted(folder, args.blocks, args.widths))
    if last:
        return last.split
    return args.split if args.split in (None, "groups") else read_split(Path(args.split))


def data_folders(args: argparse.Namespace) -> list[Path]:
    return [Path(folder) for folder in args.data or [SAMPLE_FOLDER]]


def make_model(args: argparse.Namespace, last: Content | None,
               group: Group) -> tuple[UNetResNet, Side]:
    """The network to train, and the photos that the weights it starts from have learned from."""
    if not group.first:  # one process downloads what the others then find
        group.wait()
    torch.manual_seed(args.seed)
    model, before = UNetResNet(args.blocks, args.widths), {}
    if last is not None:
        model.load_state_dict(last.model)
        before = last.split.get("before", {})
    elif start := checkpoint.find(args.weights):
        before = start_from(model, start)
        print(f"network: {args.weights}, trained on {len(before)} photos")
    else:
        print(imagenet.load_encoder(model.encoder, args.weights))
    if group.first:
        group.wait()
    return model, before


def start_from(model: UNetResNet, path: Path) -> Side:
    """Fill the model from a checkpoint; returns the photos that it has learned from.

    Raises ValueError for one of another network, and what `checkpoint.read` does.
    """
    content = checkpoint.read(path)
    for name in ("blocks", "widths"):
        found, wanted = getattr(content, name), list(getattr(model, name))
        if found != wanted:
            raise ValueError(f"{path}: a network of {name} {found}, not {wanted}; leave out "
                             f"--{name}")
    model.load_state_dict(content.model)
    return learned_from(content.split)


def find_pairs(args: argparse.Namespace, split: Split | str | None, last: Content | None,
               group: Group, before: Side) -> tuple[list[Pair], list[Pair], Split, Split]:
    """The pairs to train on, those to validate on, and the hashes of their photos and masks; says
    what there is to say about them. The sample set is drawn where it is wanted.

    Raises ValueError for data that are not those of the run that is resumed.
    """
    if not args.data:
        if not SAMPLE_FOLDER.exists():
            print(f"drawing {SAMPLE_COUNT} pictures of pavement into {SAMPLE_FOLDER}/, once")
        if group.first:
            pavement.write(SAMPLE_FOLDER, SAMPLE_COUNT)
        group.wait()
    pairs, held_out, notes = load_pairs(data_folders(args), args.seed, split, strict=bool(last))
    described = describe_split(pairs, held_out)
    masks = describe_split(pairs, held_out, "mask")
    if before:
        described["before"] = before
    if last:
        check_masks(masks, last.masks or masks)
    for note in notes:
        print(note)
    if known := known_photos(described):
        print(f"--weights has learned from {known} of the {len(held_out)} validation photos, or "
              "from other crops of them: their scores will be flattered")
    if not last and group.first:
        print(f"the best threshold on grey values alone has an IoU of "
              f"{grey_baseline(held_out):.3f}")
    return pairs, held_out, described, masks


def known_photos(split: Split) -> int:
    """How many of the validation photos the weights had learned from before this run."""
    held_out = {Path(name): mark for name, mark in split["validation"].items()}
    return sum(recognised(list(held_out), split.get("before", {}), held_out.get))


def grey_baseline(pairs: Sequence[Pair]) -> float:
    """The IoU that the best threshold on darkness reaches: what a network has to beat."""
    sheet = ScoreSheet(0.5, tolerances=(), skeletons=False)
    for pair, (photo, mask) in zip(pairs, WholePhotos(pairs)):
        grey = photo.float().mean(0, keepdim=True) / 255
        sheet.add(pair.image.name, pair.source, 1 - grey, mask)
    histogram = sum(sheet.histograms.values())
    return counts_at(histogram, best_threshold(histogram)[0]).iou


def make_optimizer(args: argparse.Namespace, model: UNetResNet) -> Adam:
    rest = [*model.decoder.parameters(), *model.head.parameters()]
    # fused: one pass over the memory of the weights in place of ten.
    return Adam([{"params": rest, "factor": 1.0},
                 {"params": model.encoder.parameters(), "factor": args.encoder_lr}], fused=True)


def make_run_folder(args: argparse.Namespace) -> Path:
    """The folder for this run's files: --output, or the next free runs/NAME-N."""
    if args.output is not None:
        args.output.mkdir(parents=True, exist_ok=True)
        return args.output
    name = Path(args.data[0]).name if args.data else "sample"
    for number in count(1):
        folder = Path("runs") / f"{name}-{number}"
        with suppress(FileExistsError):  # so that of two begun at once each has its own
            folder.mkdir(parents=True)
            return folder


def start(args: argparse.Namespace, model: UNetResNet, device: torch.device,
          precision: torch.dtype, split: Split, masks: Split, last: Content | None,
          group: Group) -> Run:
    """A new run, or one that goes on from the content of last.pt."""
    model.to(device, memory_format=memory_format(device))
    scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)
    crops = min(args.micro_batch, -(-args.batch_size // group.size))  # in a forward pass
    if group.size > 1 and device.type == "cuda" and crops < SMALL_BATCH:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    if args.recompute:
        recompute_activations(model)
    print(memory.estimate(model, crack_loss, args.crop, crops, precision))
    optimizer = make_optimizer(args, model)
    network = group.wrap(torch.compile(model) if args.compile else model, device)
    run = Run(make_run_folder(args) if group.first else Path(), args, device, precision, model,
              network, optimizer, scaler, split, masks, Stop(patient=group.size > 1), group)
    if last is not None:
        checkpoint.load_optimizer(optimizer, last.optimizer, args.output / "last.pt")
        if last.scaler:  # empty where the run was not in fp16
            scaler.load_state_dict(last.scaler)
        run.losses, run.history = last.losses, last.history
    if group.first:
        open_folder(run, new=last is None)
    return run


def open_folder(run: Run, new: bool) -> None:
    """Lock the run's folder, tidy it up after a killed process, and note this start in it."""
    lock(run.folder)
    for name in ("last.pt", "best.pt", "history.csv", "preview.png", "run.json", "split.json"):
        remove_unfinished(run.folder / name)
    if new:  # so that from now on there is something to resume
        run.save()
    with written_whole(run.folder / "split.json") as file:
        file.write((json.dumps(run.split, indent=1) + "\n").encode())
    start = checkpoint.located(Path(run.args.weights))
    manifest.note_start(run.folder, run.settings, processes=run.group.size,
                        device=str(run.device), device_name=manifest.device_name(run.device),
                        precision=str(run.precision).removeprefix("torch."),
                        weights_hash=fingerprint(start) if start.is_file() else None)

"""Train a crack detector: `python train.py` on drawn pavement, `--data FOLDER` on photographs."""

import argparse
import math
import os
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

# Before torch starts its threads: spinning while they wait, they would starve on a busy machine.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Adam, Optimizer
from torch.utils.data import DataLoader
from tqdm import tqdm

from unet_resnet import UNetResNet, checkpoint, files, imagenet, metrics, tiling
from unet_resnet.audit.split import sides_of_run
from unet_resnet.augment import Augment
from unet_resnet.checkpoint import Checkpoint
from unet_resnet.data import Crops, Pair, WholePhotos, balanced
from unet_resnet.device import (
    autocast, memory_format, pick_device, pick_precision, probability_function, why_not_cuda)
from unet_resnet.images import write_png
from unet_resnet.inference import overlay
from unet_resnet.losses import crack_loss
from unet_resnet.synthetic import confusers, pavement, photometric
from unet_resnet.training import failures, memory, resume, settings, windows
from unet_resnet.training.processes import Group
from unet_resnet.training.recompute import recompute_activations
from unet_resnet.training.signals import Stop, ignore_signals

DRAWN_SET, DRAWN_COUNT = Path("sample_set"), 240
WARMUP = 0.05  # share of all updates
PREVIEWS = 6  # validation photos in preview.png


def make_model(args: argparse.Namespace, saved: Checkpoint | None, device: torch.device,
               group: Group) -> UNetResNet:
    """The network on its device, with its first weights or those that were saved."""
    torch.manual_seed(args.seed)
    model = UNetResNet(args.blocks, args.widths)
    if saved:
        model.load_state_dict(saved.model)
    else:
        with group.first_goes_ahead():  # one process downloads
            print(imagenet.load_encoder(model.encoder, args.weights))
    return model.to(device, memory_format=memory_format(device))


def make_optimizer(model: UNetResNet, encoder_lr: float) -> Adam:
    """Adam with two learning rates, the schedule's times a factor: trained weights move slowly."""
    new = [*model.decoder.parameters(), *model.head.parameters()]
    return Adam([{"params": new, "factor": 1.0},
                 {"params": model.encoder.parameters(), "factor": encoder_lr}],
                fused=True)  # one pass over the weights instead of ten


def schedule(update: int, updates: int) -> float:
    """Factor of the learning rate: linear warm-up, then half a cosine down to zero.

    Warm-up: Goyal et al., 2017; cosine: SGDR (Loshchilov and Hutter, 2017) without restarts.
    """
    warmup = max(1, round(WARMUP * updates))
    if update < warmup:
        return (update + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (update - warmup) / max(1, updates - warmup)))


def accumulate(network: nn.Module, scaler: GradScaler, parts: Iterable[windows.Window],
               precision: torch.dtype) -> Tensor:
    """Sum the gradients of a window's micro-batches; returns its loss, ().

    Each crop counts with its weight in the mean over the window, so the sum is the gradient of the
    whole window. Only BatchNorm, which sees one micro-batch at a time, makes a difference.
    """
    total = torch.zeros(())
    for images, masks, weights in parts:
        with autocast(images.device, precision):
            logits = network(images)
        loss = crack_loss(logits, masks, weights=weights)
        scaler.scale(loss).backward()
        total = total + loss.detach()
    return total


def train_window(network: nn.Module, optimizer: Optimizer, scaler: GradScaler,
                 window: windows.Window, micro_batch: int, precision: torch.dtype, group: Group,
                 stop: Stop) -> tuple[float | None, int]:
    """One update; returns the window's mean loss, None if it was skipped because loss or gradients
    are not finite, and the micro-batch that fits into memory."""
    mean, attempts = None, windows.Attempts(network, micro_batch, group)
    for micro_batch in attempts:
        with attempts:
            parts = windows.micro_batches(window, micro_batch, network, group, stop)
            loss = accumulate(network, scaler, parts, precision)
            mean = windows.agreed_mean(loss, network, scaler, group)
    if mean is not None:
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
    return mean, micro_batch


def train(args: argparse.Namespace, model: UNetResNet, network: nn.Module, optimizer: Optimizer,
          scaler: GradScaler, crops: Crops, held_out: Sequence[Pair], progress: resume.Progress,
          precision: torch.dtype, group: Group) -> None:
    """Epoch by epoch: an update per window of crops, then validation and saving."""
    losses, history, device = progress.losses, progress.history, next(model.parameters()).device
    stop, updates = Stop(alone=group.size == 1), -(-len(crops) // args.batch_size)
    while len(history) < args.epochs:
        epoch, began = len(history), time.perf_counter()
        network.train()
        if args.freeze_bn:
            model.encoder.eval()  # of its parts, only BatchNorm has such a mode
        left = windows.of_epoch(epoch, crops, args.batch_size, len(losses), args.workers, group,
                                device)
        with tqdm(left, f"epoch {epoch + 1}/{args.epochs}", updates, initial=len(losses),
                  unit="update", leave=False, disable=not group.first) as bar:
            for window in bar:
                lr = args.lr * schedule(epoch * updates + len(losses), args.epochs * updates)
                for parameters in optimizer.param_groups:
                    parameters["lr"] = lr * parameters["factor"]
                loss, args.micro_batch = train_window(network, optimizer, scaler, window,
                                                      args.micro_batch, precision, group, stop)
                losses.append(loss)
                if loss is None:
                    windows.report_skipped(losses, epoch, updates)
                else:
                    bar.set_postfix(loss=f"{loss:.3f}", lr=f"{lr:.1e}")
                if group.any(stop.signals > 0, device):
                    raise KeyboardInterrupt
                progress.save_when_due()
        seconds = time.perf_counter() - began
        if group.size > 1:  # torchrun waits 30 s for processes to stop, validation may take more
            progress.save()
        counts, shown = validate(model, held_out, precision, args.workers, group, stop)
        row = summary(epoch, losses, seconds, counts)
        if group.first:
            write_epoch(progress, row, args.epochs, shown)
        history.append(row)
        losses.clear()
        progress.save()


def validate(model: UNetResNet, pairs: Sequence[Pair], precision: torch.dtype, workers: int,
             group: Group, stop: Stop) -> tuple[Tensor, list[list[Tensor]]]:
    """The histogram of all validation photos (`metrics.histogram`), and of some a corner to look
    at: [photo, truth, probability]."""
    group.share_buffers(model)
    pairs, device = pairs[group.rank::group.size], next(model.parameters()).device
    probability = probability_function(model.eval(), device, precision)
    total, shown = torch.zeros(2, metrics.BINS, dtype=torch.int64), []
    wanted = {round(i * (len(pairs) - 1) / (PREVIEWS - 1)) for i in range(PREVIEWS)}
    loader = DataLoader(WholePhotos(pairs), None, num_workers=workers,
                        worker_init_fn=ignore_signals)
    with tqdm(loader, "validation", unit="photo", leave=False, disable=not group.first) as bar:
        for i, (photo, mask) in enumerate(bar):
            stop.check()
            prediction = tiling.predict(probability, photo)
            total += metrics.histogram(prediction, mask.bool())
            if i in wanted:
                shown.append([tensor[:, :tiling.TILE, :tiling.TILE].clone()
                              for tensor in (photo, mask, prediction)])
    return group.sum(total.to(device)).cpu(), shown


def summary(epoch: int, losses: Sequence[float | None], seconds: float,
            counts: Tensor) -> dict[str, float]:
    """A row of history.csv: the scores are over the pixels of all photos, at the best threshold."""
    threshold, _ = metrics.best_threshold(counts)
    scores = metrics.counts_at(counts, threshold)
    return {"epoch": epoch + 1, "loss": fmean(loss for loss in losses if loss is not None),
            "seconds": round(seconds, 1), "threshold": threshold,
            **{name: getattr(scores, name) for name in
               ("iou", "dice", "precision", "recall", "accuracy", "black_accuracy")}}


def score_apart(folder: Path, pairs: Sequence[Pair], device: torch.device,
                precision: torch.dtype, workers: int) -> None:
    """Print the scores of best.pt on photos that neither trained it nor chose its epoch."""
    model, best = checkpoint.load(folder / "best.pt")
    model.to(device, memory_format=memory_format(device))
    counts, _ = validate(model, pairs, precision, workers, Group(), Stop())
    scores = metrics.counts_at(counts, best.threshold)
    print(f"best.pt on test/ (photos: {len(pairs)}), at its threshold:", *(
        f" {name} {getattr(scores, name):.3f}" for name in ("iou", "dice", "precision", "recall")))


def write_epoch(progress: resume.Progress, row: dict[str, float], epochs: int,
                shown: Sequence[Sequence[Tensor]]) -> None:
    """Write best.pt if the epoch is the best, history.csv and preview.png; print its scores."""
    folder, history = progress.folder, [*progress.history, row]
    best = all(row["iou"] > earlier["iou"] for earlier in progress.history)
    if best:
        checkpoint.save(folder / "best.pt", progress.model, row["threshold"], history=history,
                        split=progress.content["split"], settings=progress.content["settings"])
    pictures = [[photo, overlay.grey(truth), overlay.grey(probability),
                 overlay.overlay(photo, probability >= row["threshold"], truth)]
                for photo, truth, probability in shown]
    try:
        with files.written_whole(folder / "history.csv") as file:
            file.write(files.csv_lines(row, *(each.values() for each in history)))
        write_png(folder / "preview.png", overlay.sheet(pictures))
    except PermissionError as error:  # on Windows, while another program has one of them open
        tqdm.write(f"{error}; training goes on")
    names = "loss", "iou", "dice", "precision", "recall", "threshold"
    scores = "  ".join(f"{name} {row[name]:.3f}" for name in names)
    print(f"epoch {row['epoch']}/{epochs}  {scores}" + "  (best so far)" * best)


def main() -> None:
    files.print_safely()
    group = Group.from_environment()
    group.silence_others()
    args, folder, last, start = settings.from_flags(__doc__, writes=group.first)
    device = pick_device(args.device, group.local_rank)
    if args.device == "auto":
        print(why_not_cuda(device), end="")
    precision = pick_precision(args.precision, device)
    group.join(device)
    if not args.data:
        with group.first_goes_ahead():
            pavement.write(DRAWN_SET, DRAWN_COUNT)
    folders = [Path(folder) for folder in args.data or [DRAWN_SET]]
    pairs, held_out, apart, split, masks = sides_of_run(folders, args.seed, args.split, last, start,
                                                        args.masks_unturned)
    crops = Crops(balanced(pairs), Augment(args.crop, confusers.confuse,
                                           photometric.photometric), args.seed)
    model = make_model(args, last or start, device, group)
    crops_at_once = min(args.micro_batch, -(-args.batch_size // group.size))
    model = group.share_norms(model, crops_at_once, device)
    if args.recompute:
        recompute_activations(model)
    print(memory.estimate(model, args.crop, crops_at_once, precision))
    network = group.wrap(torch.compile(model) if args.compile else model, device)
    optimizer = make_optimizer(model, args.encoder_lr)
    scaler = GradScaler(device.type, enabled=precision == torch.float16)
    progress = resume.begin(folder, last, model, optimizer, scaler, vars(args), split, masks,
                            precision, group)
    del last, start  # their tensors take as much memory as the model's and Adam's
    at_end = f", {len(apart)} of test/ to score at the end" * bool(apart)
    print(f"{len(pairs)} photos to train on, {len(held_out)} to validate on{at_end}; {device}, "
          f"{str(precision).removeprefix('torch.')}; files go to {progress.folder}")
    with progress.saved_on_failure():
        train(args, model, network, optimizer, scaler, crops, held_out, progress, precision, group)
    group.leave()
    if apart and group.first:
        score_apart(progress.folder, apart, device, precision, args.workers)
    command = shlex.join(["python", "infer.py", held_out[0].image.as_posix(), "--checkpoint",
                          progress.folder.as_posix()])
    print(f"look at {progress.folder / 'preview.png'}, then try: {command}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("train.py: stopped before or after training")
    except (OSError, ValueError, RuntimeError, MemoryError) as error:
        if not (line := failures.explain(error)):
            raise
        sys.exit(f"train.py: {line}")

"""Train a crack detector: `python train.py` on synthetic photos, `--data FOLDER` on yours."""

import argparse
import math
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

# Before torch is imported: its threads spin while they wait, which is slow on a busy machine.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Adam, Optimizer
from torch.utils.data import DataLoader
from tqdm import tqdm

from unet_resnet import UNetResNet, checkpoint, imagenet, metrics, tiling
from unet_resnet.audit.split import split_for_run
from unet_resnet.augment import Augment
from unet_resnet.data import Crops, Pair, balance, read_pair
from unet_resnet.device import (
    autocast, memory_format, pick_device, pick_precision, probability_function, why_not_cuda)
from unet_resnet.images import write_png
from unet_resnet.inference import overlay
from unet_resnet.losses import crack_loss
from unet_resnet.synthetic import confusers, pavement, photometric
from unet_resnet.training import failures, memory, recompute, settings, windows
from unet_resnet.training.processes import Group
from unet_resnet.training.resume import Progress
from unet_resnet.training.signals import Stop, ignore_signals

SAMPLE_SET, SAMPLE_COUNT = Path("sample_set"), 240
WARMUP, PREVIEWS = 0.05, 6  # share of all updates; validation photos in preview.png
FEW = 10  # validation photos; chosen on fewer, a threshold would be chance
LOGGED = (*metrics.SCORES, "accuracy", "black_accuracy")  # in history.csv


def main() -> None:
    """Flags, data, model, optimizer; then the loop, with validation and saving."""
    group = Group.from_environment()
    group.silence_others()
    args, folder, resumed, pretrained = settings.from_flags(__doc__, group.is_main)
    device = pick_device(args.device, group.local_rank)
    print(why_not_cuda(args.device, device), end="")
    precision = pick_precision(args.precision, device)
    group.join(device)

    if not args.data:
        with group.main_process_first():
            pavement.write(SAMPLE_SET, SAMPLE_COUNT)
    train_pairs, validation_pairs, test_pairs, split, masks = split_for_run(
        [Path(data) for data in args.data or [SAMPLE_SET]], args.seed, args.split, resumed,
        pretrained, args.masks_unturned)
    augment = Augment(args.crop, confusers.confuse, photometric.photometric, args.augment)
    crops = Crops(balance(train_pairs, args.min_crops), augment, args.seed)
    if pretrained and len(validation_pairs) < FEW:
        args.threshold = pretrained.threshold
        print(f"too few validation photos to choose a threshold: it stays {args.threshold:g}")

    model = make_model(args, resumed or pretrained, device, precision, group)
    network = group.wrap(torch.compile(model) if args.compile else model, device)
    optimizer = make_optimizer(model, args.encoder_lr)
    scaler = GradScaler(device.type, enabled=precision == torch.float16)
    progress = Progress(model, optimizer, scaler, group, vars(args), split, masks)
    progress.begin(folder, resumed, precision)
    del resumed, pretrained  # their tensors take as much memory as the model's and Adam's
    print(f"{len(train_pairs)} photos to train on, {len(validation_pairs)} to validate on, "
          f"{len(test_pairs)} to test on; {device}, "
          f"{str(precision).removeprefix('torch.')}; files go to {progress.folder}")
    with progress.save_on_failure():
        train(args, network, crops, validation_pairs, progress, precision)
    group.leave()
    if test_pairs and group.is_main:
        score_test(progress, test_pairs, precision, args.workers)
    command = shlex.join(["python", "infer.py", validation_pairs[0].image.as_posix(),
                          "--checkpoint", progress.folder.as_posix()])
    print(f"look at {progress.folder / 'preview.png'}, then try: {command}")


def make_model(args: argparse.Namespace, saved: checkpoint.Checkpoint | None, device: torch.device,
               precision: torch.dtype, group: Group) -> UNetResNet:
    """The network on its device, with its first weights or those that were saved."""
    torch.manual_seed(args.seed)
    model = UNetResNet(args.blocks, args.widths)
    if saved:
        model.load_state_dict(saved.model)
    else:
        with group.main_process_first():  # one process downloads
            print(imagenet.load_encoder(model.encoder, args.weights))
    model.to(device, memory_format=memory_format(device))
    crops_at_once = min(args.micro_batch, -(-args.batch_size // group.size))
    group.sync_batchnorm(model, crops_at_once, device)
    if args.recompute:
        recompute.recompute_activations(model)
    print(memory.estimate(model, args.crop, crops_at_once, precision))
    return model


def make_optimizer(model: UNetResNet, encoder_lr: float) -> Adam:
    """Adam; the encoder's learning rate is `encoder_lr` times that of decoder and head."""
    new = [*model.decoder.parameters(), *model.head.parameters()]
    slow = {"params": model.encoder.parameters(), "factor": encoder_lr}
    return Adam([{"params": new, "factor": 1.0}, slow], fused=True)  # one pass over the weights


def schedule(update: int, updates: int) -> float:
    """Factor of the learning rate: linear warm-up (Goyal et al., 2017), then half a cosine down to
    zero (SGDR of Loshchilov and Hutter, 2017, without restarts)."""
    warmup = max(1, round(WARMUP * updates))
    if update < warmup:
        return (update + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (update - warmup) / max(1, updates - warmup)))


def train(args: argparse.Namespace, network: nn.Module, crops: Crops,
          validation_pairs: Sequence[Pair], progress: Progress, precision: torch.dtype) -> None:
    """Epoch by epoch: an update per window (the crops of a batch), then validation and saving."""
    model, optimizer, group = progress.model, progress.optimizer, progress.group
    device, stop, flags = next(model.parameters()).device, Stop(group), progress.settings
    updates = -(-len(crops) // args.batch_size)  # an epoch's; the last may reach into the next one
    for epoch in range(len(progress.history), args.epochs):
        began, done = time.perf_counter(), len(progress.losses)  # updates, if resumed in it
        network.train(args.freeze_bn != "all")  # only BatchNorm behaves differently in it
        if args.freeze_bn == "encoder":
            model.encoder.eval()
        numbers = range(epoch * updates + done, (epoch + 1) * updates)
        left = windows.read(numbers, crops, args.batch_size, args.workers, group, device)
        with tqdm(left, f"epoch {epoch + 1}/{args.epochs}", updates, initial=done, unit="update",
                  leave=False, disable=not group.is_main) as bar:
            for window, number in zip(bar, numbers):
                lr = args.lr * schedule(number, args.epochs * updates)
                for parameters in optimizer.param_groups:
                    parameters["lr"] = lr * parameters["factor"]
                loss, flags["micro_batch"] = train_window(
                    network, optimizer, progress.scaler, window, flags["micro_batch"], precision,
                    group, stop)
                progress.losses.append(loss)
                bar.set_postfix(loss=loss, lr=lr)
                windows.check_skipped(progress.losses, epoch, updates)
                stop.check_together(device)
                progress.save_when_due()
        seconds = round(time.perf_counter() - began, 1)
        progress.save()  # validation may take long, and torchrun kills what takes 30 s to stop
        histograms, shown = validate(model, validation_pairs, precision, args.workers, group, stop)
        threshold, mean_dice = metrics.best_threshold([*histograms.values()], args.threshold)
        scores = metrics.counts_at(sum(histograms.values()), threshold)  # over all pixels
        mean_loss = fmean(loss for loss in progress.losses if loss is not None)
        row = {"epoch": epoch + 1, "loss": mean_loss, "seconds": seconds, "threshold": threshold,
               "mean_dice": mean_dice, **{name: getattr(scores, name) for name in LOGGED}}
        if group.is_main:
            show(row, args.epochs, histograms, shown, progress)
        progress.end_epoch(row)  # writes best.pt, history.csv and last.pt


def train_window(network: nn.Module, optimizer: Optimizer, scaler: GradScaler,
                 window: windows.Window, micro_batch: int, precision: torch.dtype, group: Group,
                 stop: Stop) -> tuple[float | None, int]:
    """One update; returns the window's mean loss, None if it was skipped because loss or gradients
    are not finite, and the micro-batch that fits into memory."""
    while True:
        try:
            with windows.all_or_nothing(network):
                loss = accumulate(network, scaler, window, micro_batch, precision, group, stop)
                mean = windows.finite_mean(loss, network, scaler, group)
            break
        except FloatingPointError:
            return None, micro_batch
        except (RuntimeError, MemoryError) as error:
            micro_batch = windows.halve_micro_batch(micro_batch, error, group)
        torch.cuda.empty_cache()  # out here, the error no longer holds the tensors of its pass
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    return mean, micro_batch


def accumulate(network: nn.Module, scaler: GradScaler, window: windows.Window, micro_batch: int,
               precision: torch.dtype, group: Group, stop: Stop) -> Tensor:
    """Sum the gradients of a window's micro-batches; returns its loss, ().

    Each crop counts with its weight in the mean over the window, so the sum is the gradient of the
    whole window. Only BatchNorm, which sees one micro-batch at a time, makes a difference.
    """
    total, parts = torch.zeros(()), list(zip(*(tensor.split(micro_batch) for tensor in window)))
    for number, (images, masks, weights) in enumerate(parts, start=1):
        stop.check()
        with group.no_sync_unless(network, last=number == len(parts)):
            with autocast(images.device, precision):
                logits = network(images)
            loss = crack_loss(logits, masks, weights=weights)
            scaler.scale(loss).backward()
        total = total + loss.detach()
    return total


def validate(model: UNetResNet, pairs: Sequence[Pair], precision: torch.dtype, workers: int,
             group: Group, stop: Stop) -> tuple[dict[str, Tensor], list[list[Tensor]]]:
    """`metrics.histogram` of each source; a corner of a few photos: [photo, truth, probability]."""
    group.broadcast_buffers(model)
    sources, device = sorted({pair.source for pair in pairs}), next(model.parameters()).device
    histograms, shown = torch.zeros(len(sources), 2, metrics.BINS, dtype=torch.int64), []
    pairs = pairs[group.rank::group.size]
    previewed = {round(i * (len(pairs) - 1) / (PREVIEWS - 1)) for i in range(PREVIEWS)}
    probability = probability_function(model.eval(), device, precision)
    read = DataLoader(pairs, None, collate_fn=read_pair, num_workers=workers,
                      worker_init_fn=ignore_signals)
    bar = tqdm(read, "validation", unit="photo", leave=False, disable=not group.is_main)
    for i, (photo, mask) in enumerate(bar):
        stop.check()
        prediction = tiling.predict(probability, photo)
        histograms[sources.index(pairs[i].source)] += metrics.histogram(prediction, mask.bool())
        if i in previewed:
            shown.append([tensor[:, :tiling.TILE, :tiling.TILE].clone()
                          for tensor in (photo, mask, prediction)])
    return dict(zip(sources, group.sum(histograms.to(device)).cpu())), shown


def show(row: dict[str, float], epochs: int, histograms: Mapping[str, Tensor],
         shown: Sequence[Sequence[Tensor]], progress: Progress) -> None:
    """Print the scores of an epoch, and write preview.png."""
    names = ("loss", "mean_dice", *metrics.SCORES, "threshold")
    scores = "  ".join(f"{name} {row[name]:.3f}" for name in names)
    print(f"epoch {row['epoch']}/{epochs}  {scores}" + "  -> best.pt" * progress.to_keep(row))
    cracked = {source: one for source, one in histograms.items() if one[1].any()}
    if 2 <= len(cracked) <= 12:
        print("dice by source", *(f"{source} {metrics.counts_at(one, row['threshold']).dice:.3f}"
                                  for source, one in cracked.items()), sep="  ")
    pictures = [overlay.comparison(*corner, row["threshold"]) for corner in shown]
    write_png(progress.folder / "preview.png",
              overlay.contact_sheet(pictures, headings=overlay.HEADINGS))


def score_test(progress: Progress, pairs: Sequence[Pair], precision: torch.dtype,
               workers: int) -> None:
    """Print the scores of best.pt on photos that neither trained it nor chose its epoch."""
    best = checkpoint.read(progress.folder / "best.pt")
    progress.model.load_state_dict(best.model)
    histograms, _ = validate(progress.model, pairs, precision, workers, Group(), Stop(Group()))
    scores = metrics.counts_at(sum(histograms.values()), best.threshold)
    print(f"best.pt on test/ (photos: {len(pairs)}), at its threshold:",
          *(f" {name} {getattr(scores, name):.3f}" for name in metrics.SCORES))


if __name__ == "__main__":
    failures.run(main)

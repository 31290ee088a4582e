"""Train a crack detector: `python train.py` on drawn pavement, `--data FOLDER` on photographs."""

import math
import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader
from tqdm import tqdm

from unet_resnet import checkpoint, tiling
from unet_resnet.inference import overlay
from unet_resnet.training.arguments import parse_arguments
from unet_resnet.augment import Augment
from unet_resnet.data import Crops, WholePhotos
from unet_resnet.files import csv_lines, one_line, print_any_name, written_whole
from unet_resnet.training.processes import Group
from unet_resnet.device import (
    autocast, is_out_of_memory, memory_format, pick_device, pick_precision, predictor)
from unet_resnet.images import write_png
from unet_resnet.losses import crack_loss
from unet_resnet.evaluation.sheet import ScoreSheet
from unet_resnet.metrics import BINS, best_threshold, counts_at
from unet_resnet.data import Pair
from unet_resnet.training.run import Run, find_pairs, look_ahead, make_model, start
from unet_resnet.training.signals import ignore_signals
from unet_resnet.synthetic.confusers import confuse
from unet_resnet.synthetic.photometric import photometric
from unet_resnet.training.windows import check_streak, extent, undone_on_failure

WARMUP = 0.05  # share of all updates
PREVIEWS = 6


def schedule(update: int, updates: int) -> float:
    """Factor of the learning rate: linear warm-up, then half a cosine down to zero.

    The warm-up is that of Goyal et al., 2017; the cosine is SGDR's (Loshchilov and Hutter, 2017),
    without its restarts.
    """
    warmup = max(1, round(WARMUP * updates))
    if update < warmup:
        return (update + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (update - warmup) / max(1, updates - warmup)))


def accumulate(run: Run, images: Tensor, masks: Tensor, weights: Tensor) -> float:
    """Add up the gradients of a window of crops, a micro-batch at a time; returns the mean loss.

    Each crop's loss counts with its weight in the mean over the window (`Group.weights`), so
    micro-batches add up to the gradient of the window whole, also when the last ones are smaller.
    Only BatchNorm, which sees one micro-batch at a time, can tell the difference.

    Raises FloatingPointError where loss or gradients are not finite; but gradients that only
    float16's scale has made infinite are the scaler's, which leaves the step out and scales less.
    """
    total, pinned = torch.zeros((), device=run.device), run.device.type == "cuda"
    parts = list(zip(*(tensor.split(run.args.micro_batch) for tensor in (images, masks, weights))))
    for part, (image, mask, weight) in enumerate(parts, start=1):
        run.stop.check()
        image = image.to(run.device, memory_format=memory_format(run.device), non_blocking=pinned)
        mask, weight = (tensor.to(run.device, non_blocking=pinned) for tensor in (mask, weight))
        with run.group.held_back(run.network, last=part == len(parts)):
            with autocast(run.device, run.precision):
                logits = run.network(image)
            loss = crack_loss(logits, mask, weights=weight)
            run.scaler.scale(loss).backward()
        total += loss.detach()
    # What one process of a group knows, all must: to stop after different updates would leave the
    # last ones waiting. Before the step, so that where another process has died nothing is half.
    known = torch.stack((total / run.group.size, extent(run.model),
                         total.new_tensor(run.stop.signals)))
    mean, norm, run.stop.agreed = run.group.sum(known).tolist()
    if not math.isfinite(mean) or not math.isfinite(norm) and run.scaler.get_scale() <= 1:
        raise FloatingPointError
    return mean


def train_window(run: Run, images: Tensor, masks: Tensor, weights: Tensor) -> float | None:
    """One update from a window of crops; returns the mean loss. None where `accumulate` finds loss
    or gradients not finite: then nothing is changed.

    Where the device's memory does not suffice, the micro-batch is halved for the rest of the run
    and the window taken again: no crop is lost and the batch stays what it was.
    """
    loss = None
    while loss is None:
        try:
            with undone_on_failure(run.model):
                loss = accumulate(run, images, masks, weights)
        except FloatingPointError:
            return None
        except RuntimeError as error:
            # In a group the others wait for this pass: the run ends, and can be resumed.
            if not is_out_of_memory(error) or run.args.micro_batch == 1 or (
                    run.group.size > 1):
                raise
            run.args.micro_batch = (run.args.micro_batch + 1) // 2
        if loss is None:  # here, not above, where the error still holds the failed pass's tensors
            torch.cuda.empty_cache()
            tqdm.write(f"out of memory: going on with --micro-batch {run.args.micro_batch}")
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.optimizer.zero_grad(set_to_none=True)
    return loss


def train_epoch(run: Run, crops: Crops) -> None:
    """The updates of one epoch, from where the run stands in it."""
    args, epoch = run.args, len(run.history)
    positions = range(epoch * len(crops), (epoch + 1) * len(crops))
    windows = [positions[first:first + args.batch_size]  # the last one may be short
               for first in range(0, len(crops), args.batch_size)]
    left = windows[len(run.losses):]
    loader = DataLoader(crops, batch_sampler=[run.group.share(window) for window in left],
                        num_workers=args.workers, worker_init_fn=ignore_signals,
                        pin_memory=run.device.type == "cuda")
    run.network.train()
    if args.freeze_bn:
        for module in run.model.encoder.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
    with tqdm(
            zip(left, loader), f"epoch {epoch + 1}/{args.epochs}", len(windows),
            initial=len(run.losses), unit="update", leave=False,
            disable=not run.group.first) as bar:
        for window, (images, masks) in bar:
            factor = schedule(epoch * len(windows) + len(run.losses), args.epochs * len(windows))
            for parameters in run.optimizer.param_groups:
                parameters["lr"] = args.lr * parameters["factor"] * factor
            weights = run.group.weights(len(window))
            loss = train_window(run, images, masks, weights)
            run.losses.append(loss)
            if loss is None:
                tqdm.write(f"epoch {epoch + 1}, update {len(run.losses)}: left out, its loss or "
                           "gradients are not finite")
                check_streak(run.losses, len(windows))
            else:
                bar.set_postfix(loss=f"{loss:.3f}", lr=f"{args.lr * factor:.1e}")
            if run.stop.agreed:
                raise KeyboardInterrupt
            run.save_when_due()


def validate(run: Run, pairs: Sequence[Pair]) -> tuple[Tensor, list[list[Tensor]]]:
    """The histogram of all photographs (`metrics.histogram`), and of some a corner to look at:
    [photo, truth, probability].
    """
    run.group.share_buffers(run.model)
    pairs = pairs[run.group.rank::run.group.size]
    probability = predictor(run.model.eval(), run.device, run.precision)
    sheet, shown = ScoreSheet(0.5, tolerances=(), skeletons=False), []
    wanted = {round(i * (len(pairs) - 1) / (PREVIEWS - 1)) for i in range(PREVIEWS)}
    loader = DataLoader(WholePhotos(pairs), batch_size=None, num_workers=run.args.workers,
                        worker_init_fn=ignore_signals)
    bar = tqdm(zip(pairs, loader), "validation", len(pairs), unit="photo", leave=False,
               disable=not run.group.first)
    for i, (pair, (photo, mask)) in enumerate(bar):
        run.stop.check()
        prediction = tiling.predict(probability, photo)
        sheet.add(pair.image.name, pair.source, prediction, mask)
        if i in wanted:
            shown.append([tensor[:, :tiling.TILE, :tiling.TILE].clone()
                          for tensor in (photo, mask, prediction)])
    counts = sum(sheet.histograms.values(), torch.zeros(2, BINS, dtype=torch.int64))
    return run.group.sum(counts.to(run.device)).cpu(), shown


def finish_epoch(run: Run, held_out: Sequence[Pair], seconds: float) -> None:
    """Validate, choose the threshold, and write last.pt, best.pt, history.csv and preview.png."""
    if run.group.size > 1:  # torchrun waits 30 s for processes to stop, less than this may take
        run.save()
    histogram, shown = validate(run, held_out)
    threshold, _ = best_threshold(histogram)
    scores = counts_at(histogram, threshold)
    losses = [loss for loss in run.losses if loss is not None]
    row = {"epoch": len(run.history) + 1, "loss": sum(losses) / len(losses),
           "seconds": round(seconds, 1), "threshold": threshold,
           **{name: getattr(scores, name) for name in
              ("iou", "dice", "precision", "recall", "accuracy", "black_accuracy")}}
    best = all(row["iou"] > earlier["iou"] for earlier in run.history)
    history = [*run.history, row]
    if not run.group.first:
        run.history, run.losses = history, []
        return
    if best:
        checkpoint.save(run.folder / "best.pt", run.model, settings=run.settings,
                        threshold=threshold, history=history, split=run.split)
    rows = [[photo, overlay.grey(truth), overlay.grey(probability),
             overlay.overlay(photo, probability >= threshold, truth)]
            for photo, truth, probability in shown]
    try:
        with written_whole(run.folder / "history.csv") as file:
            file.write(csv_lines(row, *(earlier.values() for earlier in history)))
        write_png(run.folder / "preview.png", overlay.sheet(rows))
    except PermissionError as error:  # on Windows, while another program has one of them open
        tqdm.write(f"{error}; training goes on")
    # Last of all: a run that dies before this does the epoch's end again when it is resumed.
    run.history, run.losses = history, []
    run.save()
    print(f"epoch {row['epoch']}/{run.args.epochs}  loss {row['loss']:.3f}  " + "  ".join(
        f"{name} {row[name]:.3f}" for name in ("iou", "dice", "precision", "recall"))
        + f"  at threshold {threshold:.2f}{'  (best so far)' * best}")


def train(run: Run, crops: Crops, held_out: Sequence[Pair]) -> None:
    """Epoch by epoch to the last one. What ends it before, ends the program, with all it has
    reached in last.pt."""
    try:
        while len(run.history) < run.args.epochs:
            began = time.perf_counter()
            train_epoch(run, crops)
            finish_epoch(run, held_out, time.perf_counter() - began)
    except KeyboardInterrupt:
        run.save()
        processes = run.group.size
        program = f"torchrun --nproc-per-node {processes}" if processes > 1 else "python"
        sys.exit(f"stopped in epoch {len(run.history) + 1}; go on with: {program} train.py "
                 f"--resume {shlex.quote(run.folder.as_posix())}" if run.group.first else 1)
    except FloatingPointError as error:  # not saved: what comes before it may be spoilt as well
        sys.exit(f"train.py: {error}" if run.group.first else 1)
    # A damaged photo, no memory, the end of another process: once it is mended, the run can go on.
    except (OSError, ValueError, RuntimeError, MemoryError):
        with suppress(OSError):  # a full disk may be the error itself
            run.save()
        raise


def main() -> None:
    print_any_name()
    group = Group.from_environment()
    if not group.first:
        sys.stdout = open(os.devnull, "w")
    args, last = parse_arguments(__doc__, group.first)
    device = pick_device(args.device, group.local_rank)
    precision = pick_precision(args.precision, device)
    split = look_ahead(args, last, device, group)
    group.join(device)
    model, before = make_model(args, last, group)
    pairs, held_out, split, masks = find_pairs(args, split, last, group, before)
    if last and len(last.history) >= args.epochs:
        group.leave()
        print(f"{args.output} is finished: {len(last.history)} of {args.epochs} epochs; resume "
              "with a higher --epochs for more")
        return
    run = start(args, model, device, precision, split, masks, last, group)
    last = None  # its tensors are no longer needed
    print(f"{len(pairs)} photos to train on, {len(held_out)} to validate on; {run.device}, "
          f"{str(run.precision).removeprefix('torch.')}; files go to {run.folder}")
    train(run, Crops(pairs, Augment(args.crop, confuse, photometric), args.seed), held_out)
    group.leave()
    command = ["python", "infer.py", held_out[0].image.as_posix(), "--checkpoint",
               run.folder.as_posix()]
    print(f"look at {run.folder / 'preview.png'}, then try: {shlex.join(command)}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("train.py: stopped before the first update")
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            sys.exit("train.py: out of memory; use a smaller --micro-batch, --recompute, a smaller "
                     "--crop, or --device cpu")
        if "DataLoader worker" in str(error):  # killed: memory is short, or a decoder crashed
            sys.exit("train.py: " + one_line(str(error).splitlines()[0]))
        if isinstance(error, torch.distributed.DistError) or "Connection" in str(error):
            sys.exit("train.py: another process of this training has ended; what was reached is "
                     "saved")
        raise
    except (OSError, ValueError) as error:  # one from a worker carries a traceback; its end counts
        sys.exit("train.py: " + one_line(re.sub(r"^\w+Error: ", "", str(error).splitlines()[-1])))

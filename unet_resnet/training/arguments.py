"""What can be set for a training, and what must a resumed run keep?"""

import argparse
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from unet_resnet import checkpoint
from unet_resnet.files import lock

# With --data, and on the drawn sample set: that is small and easy, so a network of one block per
# stage learns it from random weights in minutes on a CPU.
DEFAULTS = {"weights": ("imagenet", "none"), "blocks": ([3, 4, 23, 3], [1, 1, 1, 1]),
            "widths": ([256, 128, 64, 32, 16], [64, 48, 32, 24, 16]), "epochs": (50, 6),
            "crop": (448, 160), "batch_size": (8, 4), "lr": (5e-4, 2e-3)}
# What --resume must not change.
FIXED = ("weights", "blocks", "widths", "batch_size", "crop", "seed", "split")


def whole(low: int, high: int = 2**31) -> Callable[[str], int]:
    """An argparse type: a whole number from `low` to `high`."""
    def parse(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)
    return parse


def below(high: float) -> Callable[[str], float]:
    """An argparse type: a number from 0 to below `high`."""
    def parse(text: str) -> float:
        with suppress(ValueError):
            if 0 <= float(text) < high:
                return float(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to below {high:g}")
    return parse


def usable_cores() -> int:
    """Fewer than the machine has in a container; what only Linux can tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)

    def add(flag: str, text: str, **options: Any) -> None:
        name = flag.removeprefix("--").replace("-", "_")
        if name in DEFAULTS:
            real, drawn = (" ".join(map(str, value)) if isinstance(value, list) else value
                           for value in DEFAULTS[name])
            text += f" (default: {real} with --data, {drawn} on the sample set)"
        elif options.get("default") is not None:
            text += " (default: %(default)s)"
        parser.add_argument(flag, help=text, **options)

    add("--data", "data sets (images/ and masks/, or train/ and test/ with these in them), or the "
        "two folders of one; without, a set drawn by a program", nargs="+", metavar="FOLDER",
        type=os.path.abspath)
    add("--output", "the run's folder (default: the next free runs/NAME-N)", type=Path)
    add("--weights", "to start from, of the encoder: imagenet, none, or the file of a ResNet's "
        "state dict; of the whole network: cracks (which comes with the project), a run's folder, "
        "or a checkpoint")
    add("--blocks", "bottlenecks in the encoder's four stages", type=whole(1), nargs=4,
        metavar="N")
    add("--widths", "channels of the decoder's five levels", type=whole(1, checkpoint.WIDEST),
        nargs=5, metavar="N")
    add("--epochs", "passes over the training photos", type=whole(1))
    add("--batch-size", "crops per update", type=whole(1))
    add("--micro-batch", "crops per forward pass: less memory, same gradients up to BatchNorm "
        "(default: the batch size; halved when memory runs out)", type=whole(1))
    add("--recompute", "compute activations a second time in place of keeping them: a fraction of "
        "the memory, more time", action="store_true")
    add("--freeze-bn", "leave the encoder's BatchNorm statistics as they were trained; for "
        "micro-batches of 1 or 2", action="store_true")
    add("--compile", "let torch.compile fuse the network's operations: minutes at the start, "
        "updates may then be faster", action="store_true")
    add("--crop", "side of a training crop in pixels", type=whole(64))
    add("--lr", "Adam's highest learning rate", type=below(10))
    add("--encoder-lr", "the encoder's learning rate as a factor of --lr (default: 0.2 for "
        "trained weights, 1 for random ones)", type=below(10), metavar="FACTOR")
    add("--precision", "of the forward pass; auto: what the hardware is fast at", default="auto",
        choices=("auto", "fp32", "fp16", "bf16"))
    add("--device", "cpu, cuda, cuda:1, mps; auto: the fastest present", default="auto")
    add("--workers", "processes that read and augment", type=whole(0),
        default=min(2, usable_cores()))
    add("--seed", "of weights, crops and split", type=whole(0), default=0)
    add("--split", "a split.json, or your own {\"train\": [names], \"validation\": [names]}; "
        "groups: draw one by photograph even where there is a test/", metavar="FILE",
        type=lambda name: name if name == "groups" else os.path.abspath(name))
    add("--save-every", "save within an epoch, too, so that kill -9 or a power cut costs no more "
        "than this; 0: after each update", type=below(1e6), default=10, metavar="MINUTES")
    add("--resume", "go on with a run where it stopped, with its settings (without RUN: the "
        "newest)", type=Path, nargs="?", const=Path("newest"), metavar="RUN")
    return parser


def parse_arguments(description: str,
                    first: bool = True) -> tuple[argparse.Namespace, checkpoint.Checkpoint | None]:
    """The settings, and the content of last.pt where a run is resumed.

    `first`: of several processes the one that writes. Raises ValueError or an OSError for settings
    that make no sense, BlockingIOError where another process trains in the run's folder.
    """
    parser = make_parser(description)
    args = parser.parse_args()
    last = None
    if args.resume:
        run = newest_run() if args.resume == Path("newest") else args.resume
        if first:
            lock(run, new=False)  # before reading: another process may be about to save
        last = checkpoint.read_last(run / "last.pt")
        last.settings = checked(last.settings, parser, run / "last.pt")
        parser.set_defaults(**last.settings)
        args = parser.parse_args()
        if args.output:
            raise ValueError(f"--output {args.output}: a resumed run stays in its folder, {run}")
        args.output = run
        for name in FIXED:
            new, old = getattr(args, name), last.settings[name]
            if new != old:
                raise ValueError(f"--resume {run}: --{name.replace('_', '-')} was {old}, now "
                                 f"{new}; leave it, or start a new run")
        for name, old in last.settings.items():
            if getattr(args, name) != old:
                print(f"--{name.replace('_', '-')} was {old}, now {getattr(args, name)}")
    elif args.output and args.output.is_dir() and any(args.output.iterdir()):
        raise FileExistsError(f"{args.output} is not empty; choose another --output, or "
                              f"--resume {args.output}")
    elif args.weights and (start := checkpoint.find(args.weights)):
        content = checkpoint.read(start)
        args.blocks, args.widths = (getattr(args, name) or getattr(content, name)
                                    for name in ("blocks", "widths"))
    for name, (real, drawn) in DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, real if args.data else drawn)
    if args.micro_batch is None:
        args.micro_batch = args.batch_size
    if args.encoder_lr is None:
        args.encoder_lr = 1.0 if args.weights == "none" else 0.2
    if args.compile and args.recompute:
        raise ValueError("--compile and --recompute do not go together: torch.compile knows no "
                         "recomputation that leaves BatchNorm's statistics alone")
    if args.micro_batch > args.batch_size:
        raise ValueError(f"--micro-batch {args.micro_batch} is above --batch-size "
                         f"{args.batch_size}: a batch is cut into micro-batches")
    return args, last


def checked(settings: dict[str, Any], parser: argparse.ArgumentParser,
            path: Path) -> dict[str, Any]:
    """The settings that stand in the last.pt `path`, read by `parser` as if they were flags.

    Raises ValueError where they are none.
    """
    def refuse(message: str) -> None:
        raise ValueError(f"{path}: damaged, or not written by train.py: {message[:200]}")

    known = vars(parser.parse_args([])).keys() - {"output", "resume"}
    if odd := (settings.keys() - known) | (set(FIXED) - settings.keys()):
        refuse(f"a setting {min(odd)!r} too many or too few")
    flags = []
    for name, value in settings.items():
        if value is not None and value is not False:
            flags.append(f"--{name.replace('_', '-')}")
            if value is not True:
                flags += map(str, value if isinstance(value, list) else [value])
    parser.error = refuse
    try:
        parsed = parser.parse_args(flags)
    finally:
        del parser.error
    return {name: getattr(parsed, name) for name in settings}


def newest_run() -> Path:
    runs = sorted(Path("runs").glob("*/last.pt"), key=lambda path: path.stat().st_mtime)
    if not runs:
        raise FileNotFoundError("--resume: no runs/*/last.pt here; name the run's folder")
    return runs[-1].parent

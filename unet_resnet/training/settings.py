"""What can be set for a training, and what must a resumed run keep?

Settings are a dict, named like the flags of train.py; last.pt and run.json hold it.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from unet_resnet import checkpoint
from unet_resnet.checkpoint import Checkpoint
from unet_resnet.device import PRECISIONS
from unet_resnet.files import Parser, check_folder, lock, number
from unet_resnet.training.resume import newest

Settings = dict[str, Any]

ENCODERS = {"resnet50": [3, 4, 6, 3], "resnet101": [3, 4, 23, 3], "resnet152": [3, 8, 36, 3]}
DEFAULTS: Settings = {
    "data": None, "weights": "imagenet", "blocks": ENCODERS["resnet101"],
    "widths": [256, 128, 64, 32, 16], "epochs": 50, "batch_size": 8, "micro_batch": None,
    "recompute": False, "freeze_bn": "none", "compile": False, "crop": 448, "min_crops": 1,
    "augment": 1.0, "lr": 5e-4, "encoder_lr": None, "threshold": None, "precision": "auto",
    "device": "auto", "workers": min(2, os.cpu_count() or 1), "seed": 0, "split": None,
    "save_every": 10.0, "masks_unturned": False}  # min_crops and threshold are no flags
# Without --data: the synthetic set is small and easy, so a small network learns it from random
# weights in minutes on a CPU.
SYNTHETIC: Settings = {
    "weights": "none", "blocks": [1, 1, 1, 1], "widths": [64, 48, 32, 24, 16], "epochs": 6,
    "batch_size": 4, "crop": 160, "lr": 2e-3}
# With --weights of a whole network: small steps, so that it keeps what it knows, milder
# augmentation, and fixed BatchNorm statistics, which a few photos of one camera would distort. A
# small set is repeated to 80 crops an epoch.
FINE_TUNED: Settings = {
    "epochs": 20, "crop": 256, "min_crops": 80, "augment": 0.5, "lr": 1e-4, "freeze_bn": "all"}
# What --resume must not change.
FIXED = ("weights", "blocks", "widths", "batch_size", "crop", "seed", "split", "masks_unturned")
WHOLE, COUNT, REAL = number(0, 1e9, int), number(1, 1e9, int), number(0, 1e9)


def from_flags(description: str, is_main: bool) -> tuple[
        argparse.Namespace, Path | None, Checkpoint | None, Checkpoint | None]:
    """The settings, the run's folder if it is known, the last.pt of a resumed run, and the
    checkpoint with the pretrained weights of a new one.

    The main process locks the folder of a resumed run. One that is finished ends the program.
    Raises ValueError or OSError for settings that make no sense, or a run that is being trained.
    """
    given = vars(make_parser(description).parse_args())
    folder, run, encoder = (given.pop(name, None) for name in ("output", "resume", "encoder"))
    if encoder:
        given["blocks"] = ENCODERS[encoder]
    resumed = pretrained = None
    if run:
        folder = newest() if run == "newest" else Path(run)
        if not (folder / "last.pt").is_file():
            raise FileNotFoundError(f"{folder / 'last.pt'}: no such file; expected the folder of a "
                                    "run after --resume")
        if is_main:  # before it is read: another process may be about to save
            lock(folder)
        resumed = checkpoint.read(folder / "last.pt")
        settings = DEFAULTS | resumed.settings
        print(f"continuing {folder} after epoch {len(resumed.history)}")
        print_changes(given, settings, folder)
        settings |= given
        if (done := len(resumed.history)) >= settings["epochs"]:
            print(f"{folder} is finished (epochs: {done}); resume with a higher --epochs for more: "
                  "the learning rate then rises again")
            sys.exit()
    else:
        if folder and folder.is_dir() and any(folder.iterdir()):
            raise FileExistsError(f"{folder} is not empty; choose another --output, or --resume it")
        settings, pretrained = new_run_settings(given)
    if settings["compile"] and settings["recompute"]:
        raise ValueError("--compile and --recompute do not go together; omit one")
    check_folder(folder or Path("runs"))
    return argparse.Namespace(**settings), folder, resumed, pretrained


def flag_of(setting: str) -> str:
    return "--encoder or --blocks" if setting == "blocks" else "--" + setting.replace("_", "-")


def default_text(name: str) -> str:
    """How the help of a flag ends."""
    values = []
    for table, when in ((DEFAULTS, ""), (SYNTHETIC, " without --data"),
                        (FINE_TUNED, " to fine-tune")):
        value = table.get(name)
        if value is not None and value is not False:
            values.append(f"{value}{when}")
    return f" (default: {'; '.join(values)})" if values else ""


def make_parser(description: str) -> Parser:
    """A parser that returns only the flags that were given."""
    parser = Parser(description=description, allow_abbrev=False,
                    argument_default=argparse.SUPPRESS)
    depth, folder = (parser.add_mutually_exclusive_group() for _ in range(2))

    def add(flag: str, text: str, to: Any = parser, **options: Any) -> None:
        name = flag.removeprefix("--").replace("-", "_")
        to.add_argument(flag, help=text + default_text(name), **options)

    add("--data", "data sets, each with images/ and masks/, or with train/, val/ and test/ that "
        "contain these; or a folder of photos and one of masks (default: a synthetic set)",
        nargs="+", type=os.path.abspath, metavar="FOLDER")
    add("--output", "the run's folder (default: the next free runs/NAME-N)", folder, type=Path)
    add("--resume", "continue a run, by default the newest, with its settings", folder, nargs="?",
        const="newest", metavar="RUN")
    add("--weights", "initial weights; of the encoder: imagenet, none, or a file with a ResNet's "
        "state dict; of the whole network: cracks (bundled), a run's folder or a checkpoint")
    add("--encoder", "depth of the encoder", depth, choices=ENCODERS)
    add("--blocks", "bottlenecks in the encoder's stages", depth, type=COUNT, nargs=4, metavar="N")
    add("--widths", "channels of the decoder's five levels", type=COUNT, nargs=5, metavar="N")
    add("--epochs", "passes over the training photos, rounded up to whole batches", type=COUNT)
    add("--batch-size", "crops per update", type=COUNT)
    add("--micro-batch", "crops per forward pass: less memory, same gradients up to BatchNorm "
        "(default: the batch size; halved when memory runs out)", type=COUNT)
    add("--recompute", "less memory, more time: compute activations twice", action="store_true")
    add("--freeze-bn", "keep BatchNorm's statistics fixed: in the encoder, e.g. for micro-batches "
        "of 1 or 2, or in the whole network", nargs="?", const="encoder",
        choices=("none", "encoder", "all"))
    add("--compile", "use torch.compile: a slow start, then faster updates", action="store_true")
    add("--crop", "side of a training crop in pixels, from 64", type=number(64, 1e9, int))
    add("--augment", "strength of changes to crops; 0: turns and flips only", type=number(0, 3))
    add("--lr", "Adam's highest learning rate", type=REAL)
    add("--encoder-lr", "the encoder's learning rate as a factor of --lr (default: 0.2 for "
        "trained weights, 1 for random ones)", type=REAL, metavar="FACTOR")
    add("--precision", "number format of the forward pass", choices=("auto", *PRECISIONS))
    add("--device", "cpu, cuda, cuda:1 or mps; auto is the fastest available")
    add("--workers", "processes that read and augment", type=WHOLE)
    add("--seed", "seed of weights, crops and split", type=WHOLE)
    add("--split", "a split.json, or your own file {\"train\": [names], \"validation\": [names]}; "
        "or groups, to split by photograph even if there is a test/",
        type=lambda name: name if name == "groups" else os.path.abspath(name))
    add("--masks-unturned", "masks fit photos before EXIF turns them", action="store_true")
    add("--save-every", "minutes between saves within an epoch", type=REAL, metavar="MINUTES")
    return parser


def new_run_settings(given: Settings) -> tuple[Settings, Checkpoint | None]:
    """The settings of a new run from the flags `given`, and the checkpoint that --weights means.

    A checkpoint sets the network's size. Raises ValueError if another was given, and what
    `checkpoint.read` raises.
    """
    settings, pretrained = DEFAULTS | ({} if "data" in given else SYNTHETIC) | given, None
    if path := find_checkpoint(settings["weights"]):
        pretrained = checkpoint.read(path)
        settings |= FINE_TUNED | given
        for name in ("blocks", "widths"):
            settings[name] = found = getattr(pretrained, name)
            if given.get(name, found) != found:
                raise ValueError(f"{path}: a network of {name} {found}, not {given[name]}; leave "
                                 f"out {flag_of(name)}")
    if settings["micro_batch"] is None:
        settings["micro_batch"] = settings["batch_size"]
    if settings["encoder_lr"] is None:
        settings["encoder_lr"] = 1.0 if settings["weights"] == "none" else 0.2
    return settings, pretrained


def find_checkpoint(weights: str) -> Path | None:
    """The checkpoint, not yet read, that --weights means; None for weights of an encoder alone.

    Raises FileNotFoundError if there is no such file.
    """
    if weights in ("imagenet", "none"):
        return None
    path = checkpoint.resolve(Path(weights))
    if not path.is_file():
        raise FileNotFoundError(f"--weights {weights}: no such file; expected imagenet, none, "
                                "cracks, a file, or a run's folder with a best.pt")
    with open(path, "rb") as file:  # which is read only once; a checkpoint begins with its kind
        ours = path != Path(weights) or checkpoint.KIND.encode() in file.read(2**24)
    return path if ours else None


def print_changes(given: Settings, settings: Settings, run: Path) -> None:
    """Print what changes in the settings of a run; ValueError for what must not."""
    for name, new in given.items():
        old, flag = settings[name], flag_of(name)
        if new != old and name in FIXED:
            raise ValueError(
                f"--resume {run}: {flag} was {old}, now {new}; omit it, or start a new run")
        if new != old:
            print(f"{flag} was {old}, now {new}")

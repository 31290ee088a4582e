"""What must be known to repeat a training? run.json and split.json in its folder say it.

    {"settings": {...}, "starts": [{one per start or resumption}, ...]}
"""

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from unet_resnet.checkpoint import located
from unet_resnet.files import fingerprint, written_whole

PACKAGES = ("unet_resnet", "torch", "torchvision", "numpy", "pillow")
NAME = "run.json"


def note_start(folder: Path, settings: Mapping[str, Any], split: Mapping[str, Any],
               device: torch.device, precision: torch.dtype, processes: int) -> None:
    """Add this start to the record of the run in run.json, and write its split to split.json.

    Raises ValueError if run.json cannot be read: it is not overwritten.
    """
    path, starts = folder / NAME, []
    if path.exists():
        try:
            starts = [*json.loads(path.read_text("utf-8"))["starts"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{path}: not the record of a run ({type(error).__name__}); move it "
                             "away") from error
    weights = located(Path(settings["weights"]))
    start = {"date": datetime.now().astimezone().isoformat(timespec="seconds"),
             "command": command(), "folder": os.getcwd(), "code": code_version(),
             "python": platform.python_version(), "system": platform.platform(),
             **{package: package_version(package) for package in PACKAGES},
             "threads": torch.get_num_threads(), "processes": processes, "device": str(device),
             "device_name": device_name(device),
             "precision": str(precision).removeprefix("torch."),
             "weights_hash": fingerprint(weights) or None}
    for name, content in (("split.json", split),
                          (NAME, {"settings": dict(settings), "starts": [*starts, start]})):
        with written_whole(folder / name) as file:
            file.write((json.dumps(content, indent=1) + "\n").encode())


def command() -> str:
    return shlex.join(["python", *sys.argv])


def package_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a copy that is not installed
        return "not installed"


def code_version() -> str:
    """The git commit of this code, with "-dirty" if files were changed since; "" if unknown."""
    here = Path(__file__)

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "--no-optional-locks", "-C", here.parent, *arguments],
                              capture_output=True, text=True, timeout=20, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # not a checkout of something else around it
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.SubprocessError):  # no git, no checkout
        return ""


def device_name(device: torch.device) -> str:
    """The model of the GPU, or of the processor as far as the system knows it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    table = Path("/proc/cpuinfo")  # Linux
    lines = table.read_text().splitlines() if table.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())

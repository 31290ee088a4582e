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
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from unet_resnet.checkpoint import resolve
from unet_resnet.files import atomic_write, fingerprint

PACKAGES = ("torch", "torchvision", "numpy", "pillow")
ROOT = Path(__file__).parents[2]  # of a clone


def launcher(processes: int) -> str:
    """What a command begins with that starts so many processes."""
    return f"torchrun --nproc-per-node {processes}" if processes > 1 else "python"


def record_start(folder: Path, settings: Mapping[str, Any], split: Mapping[str, Any],
                 device: torch.device, precision: torch.dtype, processes: int) -> None:
    """Add this start to the record of the run in run.json, and write its split to split.json.

    Raises ValueError if run.json is damaged.
    """
    path = folder / "run.json"
    try:
        starts = [*json.loads(path.read_text("utf-8"))["starts"]] if path.exists() else []
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged ({error!r}); move it away, last.pt has all that is "
                         "needed") from error
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    start = {"date": datetime.now().astimezone().isoformat(timespec="seconds"),
             "command": f"{launcher(processes)} {shlex.join(sys.argv)}",
             "folder": os.getcwd(), "code": code_version(),
             "python": platform.python_version(), "system": platform.platform(),
             **{package: version(package) for package in PACKAGES},
             "threads": torch.get_num_threads(), "processes": processes, "device": str(device),
             "device_name": gpu or platform.processor() or platform.machine(),
             "precision": str(precision).removeprefix("torch."),
             "weights_hash": fingerprint(resolve(Path(settings["weights"]))) or None}
    for name, content in (("split.json", split),
                          ("run.json", {"settings": dict(settings), "starts": [*starts, start]})):
        with atomic_write(folder / name) as file:
            file.write((json.dumps(content, indent=1) + "\n").encode())


def code_version() -> str:
    """The git commit of this clone, with "-dirty" if files were changed since; "" if unknown."""
    clone = [f"--git-dir={ROOT / '.git'}", f"--work-tree={ROOT}"]  # never one that surrounds it
    try:
        return subprocess.run(["git", *clone, "describe", "--always", "--dirty", "--abbrev=40",
                               "--exclude=*"], capture_output=True, text=True).stdout.strip()
    except OSError:  # no git
        return ""

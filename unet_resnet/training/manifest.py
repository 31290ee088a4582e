"""What must be known to run a training again? run.json in its folder says it.

    {"settings": {...}, "starts": [{one for each start or resumption}, ...]}
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

from unet_resnet.files import written_whole

PACKAGES = ("unet_resnet", "torch", "torchvision", "numpy", "pillow")
NAME = "run.json"


def note_start(folder: Path, settings: Mapping[str, Any], **about: Any) -> None:
    """Add this start, with what is known of it besides, to the run's record.

    Raises ValueError where the record is there and cannot be read: it is not written over.
    """
    path, starts = folder / NAME, []
    if path.exists():
        try:
            starts = [*json.loads(path.read_text("utf-8"))["starts"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{path}: not the record of a run ({type(error).__name__}); move it "
                             "away") from error
    content = {"settings": dict(settings), "starts": [*starts, describe_start() | about]}
    with written_whole(path) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())


def describe_start() -> dict[str, Any]:
    """When, where and by what this process was started."""
    return {"date": datetime.now().astimezone().isoformat(timespec="seconds"),
            "command": command(), "folder": os.getcwd(), "code": code_version(),
            "python": platform.python_version(), "system": platform.platform(),
            **{package: package_version(package) for package in PACKAGES},
            "threads": torch.get_num_threads()}


def command() -> str:
    return shlex.join(["python", *sys.argv])


def package_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a copy that is not installed
        return "not installed"


def code_version() -> str:
    """The git commit of this code, ended by "-dirty" where files were changed since; or "" """
    here = Path(__file__)

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "--no-optional-locks", "-C", here.parent, *arguments],
                              capture_output=True, text=True, timeout=20, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # not a checkout that merely lies around it
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.SubprocessError):  # no git, no checkout
        return ""


def device_name(device: torch.device) -> str:
    """The model of a GPU; of the processor, where the system tells it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    table = Path("/proc/cpuinfo")  # Linux
    lines = table.read_text().splitlines() if table.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())

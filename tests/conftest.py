"""The scripts run as a user runs them, a small data set, and one run trained on it."""

import contextlib
import io
import os
import runpy
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

# Before torch is imported, which heeds it then: the processes of a test run share the cores.
if processes := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))

import pytest  # noqa: E402
from PIL import Image  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import _utils  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the scripts are no package, yet some tests import them
sys.path.insert(1, str(ROOT / "benchmarks"))  # as Python does for a script there

from unet_resnet.inference import predictor  # noqa: E402
from unet_resnet.synthetic import pavement  # noqa: E402

# Seconds that a process waits for workers after an error; otherwise five.
_utils.MP_STATUS_CHECK_INTERVAL = 0.2
# Three windows of two crops an epoch, a crop at a time: accumulation everywhere.
TINY = ("--blocks 1 1 1 1 --widths 8 8 8 8 8 --crop 64 --epochs 2 --batch-size 2 --micro-batch 1 "
        "--workers 0 --weights none --device cpu --precision fp32").split()


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


def run_script(cwd: Path, name: str, *arguments: object) -> Outcome:
    """`python NAME ARGUMENTS` in this process, which saves the seconds that importing torch takes.

    Signal handlers are put back afterwards.
    """
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with (pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out),
          contextlib.redirect_stderr(err)):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", [name, *map(str, arguments)])
        try:
            runpy.run_path(str(ROOT / name), run_name="__main__")
            status = 0
        except SystemExit as stop:  # as the interpreter does: a text goes to stderr, status 1
            if isinstance(stop.code, str):
                print(stop.code, file=err)
            status = 1 if isinstance(stop.code, str) else stop.code or 0
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return Outcome(status, out.getvalue(), err.getvalue())


def refused(outcome: Outcome, script: str, *named: str) -> None:
    """Assert a non-zero status and one line of complaint, the last, with these words in it.

    Lines above it may be progress bars, or what the script found so far.
    """
    lines = outcome.err.splitlines()
    assert outcome.status and "Traceback" not in outcome.err
    assert [i for i, line in enumerate(lines) if line.startswith(f"{script}: ")] == [len(lines) - 1]
    assert not [word for word in named if word not in lines[-1]], lines[-1]


def write_pairs(folder: Path, first: int, count: int, size: int = 64) -> Path:
    """Synthetic photos images/wall_3.png ... and their masks, from picture `first` on."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for index in range(first, first + count):
        photo, mask = pavement.render(index, size=size)
        Image.fromarray(photo.permute(1, 2, 0).numpy()).save(folder / f"images/wall_{index}.png")
        Image.fromarray(255 * mask[0].numpy()).save(folder / f"masks/wall_{index}.png")
    return folder


def stir(network: nn.Module) -> nn.Module:
    """Give every BatchNorm numbers of its own: fresh ones are 0 and 1, and hide a mix-up."""
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.weight.data, norm.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (norm.bias.data, norm.running_mean):
                tensor.normal_(0, 0.1)
    return network


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Callable[..., Outcome]]:
    """script("train.py", "--epochs", 1 ...) in tmp_path; large files are removed afterwards."""
    yield lambda *arguments: run_script(tmp_path, *arguments)
    for file in tmp_path.rglob("*.pt"):  # pytest keeps three sessions of tmp_path
        file.unlink()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a data set `walls` of six pairs and runs/walls-1, trained on five of them."""
    folder = tmp_path_factory.mktemp("trained")
    write_pairs(folder / "walls", 0, 6)
    outcome = run_script(folder, "train.py", "--data", "walls", *TINY)
    assert outcome.status == 0, outcome.err
    yield folder
    for file in folder.rglob("*.pt"):
        file.unlink()


@pytest.fixture
def infer_with(script: Callable[..., Outcome], trained: Path) -> Callable[..., Outcome]:
    """A threshold that finds something with a network trained for seconds."""
    best = trained / "runs/walls-1/best.pt"
    return lambda *arguments: script("infer.py", "--checkpoint", best, "--device", "cpu",
                                     "--precision", "fp32", "--min-area", 0, *arguments)


@pytest.fixture
def cracked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that sees a crack where a photo is red: results are known to the pixel."""
    def red(self, photo, tile, overlap, scales, tta, batch, dtype, min_area):
        return (255 * (photo[:1] > 200) * (photo[1:2] < 50)).to(dtype)
    monkeypatch.setattr(predictor.Predictor, "__call__", red)

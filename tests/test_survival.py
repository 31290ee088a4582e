"""Is nothing lost: to kill -9, to a full disk, to a loss that is no number?"""

import io
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from conftest import ROOT, TINY, refused, run_script, write_pairs
from test_train import at_call, history, same, strip, update
from torch import Generator, Tensor, nn
from torch.optim import Adam, Optimizer

from unet_resnet import UNetResNet, checkpoint, losses
from unet_resnet.augment import Augment
from unet_resnet.data import Crops
from unet_resnet.encoder import ResNetEncoder
from unet_resnet.files import atomic_write
from unet_resnet.losses import crack_loss
from unet_resnet.training.resume import next_free
from unet_resnet.training.signals import Stop
from unet_resnet.training.windows import check_skipped

START = ("--data", "walls", *TINY, "--save-every", "0")  # two epochs of three updates
RESUME = ("--resume", "run", "--epochs", "3")
KILLS = 20


def make_thin(patch: pytest.MonkeyPatch) -> None:
    """An encoder with an eighth of the channels: runs of a second, files of 2 MB instead of 97."""
    stage = ResNetEncoder._stage
    patch.setattr(ResNetEncoder, "channels", (64, 32, 64, 128, 256))
    patch.setattr(ResNetEncoder, "_stage", staticmethod(
        lambda inputs, width, count, stride: stage(
            inputs if inputs == 64 else inputs // 8, width // 8, count, stride)))


@pytest.fixture
def thin(monkeypatch: pytest.MonkeyPatch) -> None:
    make_thin(monkeypatch)


def train_thin(folder: Path, *arguments: str) -> Path:
    """The folder, with a data set `walls` of six pairs and a run of a thin network on it."""
    write_pairs(folder / "walls", 0, 6)
    with pytest.MonkeyPatch.context() as patch:
        make_thin(patch)
        outcome = run_script(folder, "train.py", *arguments)
    assert outcome.status == 0, outcome.err
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set and the run `whole`, which nothing disturbed."""
    return train_thin(tmp_path_factory.mktemp("whole"), *START, "--output", "whole")


@pytest.fixture
def walls(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "walls").symlink_to(whole / "walls")


def assert_same_end(run: Path, expected: Path) -> None:
    """Model, optimizer, history, best.pt: bit by bit. And nothing half written lies about."""
    for name in ("last.pt", "best.pt"):
        found, goal = (strip(vars(checkpoint.read(folder / name))) for folder in (run, expected))
        assert found["history"] == goal["history"]
        assert same(found, goal), name
    assert strip(history(run)) == strip(history(expected))
    assert {path.name for path in run.iterdir()} == {path.name for path in expected.iterdir()}


# Killed

def in_a_child(seconds: float | None, *arguments: object) -> int:
    """The exit status of train.py in a copy of this process; -9 if it was killed after `seconds`.

    So importing torch is paid for once.
    """
    child = os.fork()
    if not child:
        status = 99
        try:
            outcome = run_script(Path(), "train.py", *arguments)
            status = outcome.status
            sys.stderr.write(outcome.err if status else "")
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_and_resume() -> None:
    """In this folder: runs, killed at random moments and resumed until they end as `whole` did."""
    make_thin(pytest.MonkeyPatch())
    began = time.monotonic()
    assert in_a_child(None, *START, "--output", "whole") == 0
    takes = time.monotonic() - began
    generator, reached, leftovers, run = Generator().manual_seed(0), [], 0, Path("run")
    while len(reached) < KILLS or run.exists():
        last = run / "last.pt"
        if run.exists() and not last.exists():  # killed before there was anything to lose
            shutil.rmtree(run)
        moment = takes * torch.rand((), generator=generator).item()
        status = in_a_child(moment if len(reached) < KILLS else None,
                            *(("--resume", run) if last.exists() else (*START, "--output", run)))
        if status == 0:
            assert_same_end(run, Path("whole"))
            shutil.rmtree(run)
            continue
        assert status == -signal.SIGKILL, status
        leftovers += bool(list(run.glob(".*.*")))
        content = vars(checkpoint.read(last)) if last.exists() else {"history": [], "losses": []}
        reached.append((len(content["history"]), len(content["losses"])))
    print(f"{takes:.2f} s a run; {leftovers} killed while writing; epochs and updates: {reached}")
    assert len(set(reached)) >= 4, "the kills fell into few phases only"
    assert any(updates for _, updates in reached), "none fell into the middle of an epoch"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_killed_at_twenty_random_moments_a_run_ends_in_the_same_bits(whole, tmp_path, walls):
    code = "import test_survival; test_survival.kill_and_resume()"
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, text=True,
                          capture_output=True, timeout=600,
                          env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths})
    assert done.returncode == 0, done.stdout + done.stderr


class Killed(BaseException):
    """Nothing catches it, and so nothing is saved after it."""


@pytest.mark.usefixtures("thin", "walls")
@pytest.mark.parametrize("write, number", (
    ("best.pt", 1), ("history.csv", 1), ("preview.png", 2), ("last.pt", 11)))
def test_killed_between_two_writes(script, tmp_path, whole, monkeypatch, write, number):
    """At an epoch's end, the first or the last, before a file takes its name for that time."""
    replace, written = os.replace, []

    def killed(source: Path, target: Path) -> None:
        written.append(Path(target).name)
        if written.count(write) == number:
            raise Killed
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os, "replace", killed)
        script("train.py", *START, "--output", "run")
    assert len(checkpoint.read(tmp_path / "run/last.pt").losses) == 3
    assert script("train.py", "--resume", "run").status == 0
    assert_same_end(tmp_path / "run", whole / "whole")


@pytest.mark.usefixtures("thin", "walls")
def test_a_resumed_run_tidies_up_after_a_killed_one(script, tmp_path, whole):
    shutil.copytree(whole / "whole", tmp_path / "run")
    for name in (".last.pt.1.part", ".best.pt.22.part", ".history.csv.3.part", ".notes.4"):
        (tmp_path / "run" / name).touch()
    assert script("train.py", "--resume", "run", "--epochs", 3).status == 0
    assert [path.name for path in (tmp_path / "run").glob(".*.*")] == [".notes.4"]


@pytest.mark.usefixtures("thin", "walls")
def test_workers_do_not_matter_to_a_run_stopped_in_mid_epoch(script, tmp_path, whole, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", at_call(2, before=False)(torch.optim.Adam.step))
        stopped = script("train.py", *START, "--workers", 1, "--output", "run")
    assert stopped.status == 1 and len(checkpoint.read(tmp_path / "run/last.pt").losses) == 2
    assert script("train.py", "--resume", "run", "--workers", 0).status == 0
    assert_same_end(tmp_path / "run", whole / "whole")


@pytest.mark.usefixtures("thin", "walls")
def test_of_two_processes_in_one_folder_the_second_is_refused(script, tmp_path, whole):
    """Till the first one ends, even by kill -9."""
    shutil.copytree(whole / "whole", tmp_path / "run")
    pytest.importorskip("fcntl")
    code = ("from unet_resnet.files import lock; from pathlib import Path; "
            "lock(Path('run')); print('locked', flush=True); input()")
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}
                          ) as first:
        assert first.stdout.readline() == b"locked\n"
        (tmp_path / "run/.last.pt.1.part").touch()  # which it may be writing
        before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkpoint, "read", None)  # not before the first process has saved
            refused(script("train.py", *RESUME), "train.py", "run: another process is at work")
        assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
        first.kill()
    assert script("train.py", *RESUME).status == 0


def test_two_runs_begun_at_once_have_a_folder_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [next_free("walls") for _ in range(2)] == [
        Path("runs/walls-1"), Path("runs/walls-2")]


def test_memory_that_ends_in_the_first_update(script, tmp_path, whole, thin):
    """While Adam allocates its averages: last.pt stays as it was, and can be resumed."""
    def half(optimizer: Optimizer) -> None:
        for parameter in optimizer.param_groups[0]["params"][:3]:
            optimizer.state[parameter] = {"step": torch.zeros(())}
        raise torch.OutOfMemoryError("CUDA out of memory")

    (tmp_path / "walls").symlink_to(whole / "walls")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Adam, "step", half)
        refused(script("train.py", *START, "--output", "run"), "train.py", "out of memory; use a")
    assert script("train.py", "--resume", "run").status == 0
    assert same(checkpoint.read(tmp_path / "run/last.pt").model,
                checkpoint.read(whole / "whole/last.pt").model)


# A full disk

def test_what_could_not_be_written_is_named(tmp_path):
    with pytest.raises(OSError, match="No space left on device: .*report.html"):
        with atomic_write(tmp_path / "report.html"):
            raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


@pytest.fixture(params=("small disk", "short files"))
def disk(request: pytest.FixtureRequest, tmp_path: Path, whole: Path) -> Iterator[
        tuple[Callable[[], None], Callable[[], None]]]:
    """Functions that fill the folder `disk`, until a checkpoint fits of a model but none that has
    its optimizer as well, and make room again."""
    folder, model = tmp_path / "disk", (whole / "whole/best.pt").stat().st_size
    folder.mkdir()
    if request.param == "short files":
        resource = pytest.importorskip("resource")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        yield (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2 * model, hard)),
               lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard)))
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        return
    command = ["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    filler = folder / "filler"

    def fill() -> None:
        if not filler.exists():
            filler.write_bytes(bytes(shutil.disk_usage(folder).free - 2 * model))

    yield fill, filler.unlink
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # its .lock is open


@pytest.mark.usefixtures("thin", "walls")
def test_a_full_disk_costs_time_and_nothing_else(script, tmp_path, whole, disk, monkeypatch):
    """Something else fills it during the first update."""
    run, (fill, make_room), step = tmp_path / "disk/run", disk, torch.optim.Adam.step
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", lambda *arguments: [fill(), step(*arguments)][1])
        outcome = script("train.py", *START, "--output", run)
    refused(outcome, "train.py", str(run / "last.pt"))
    assert re.search("No space left|File too large", outcome.err.splitlines()[-1])
    assert outcome.out.count("training goes on") == 3, "after each update, and then the epoch ends"
    last = checkpoint.read(run / "last.pt")
    assert last.history == last.losses == [], "as it was at the start"
    assert not list(run.glob(".*.*")), "no half file is left"
    make_room()
    assert script("train.py", "--resume", run).status == 0
    assert_same_end(run, whole / "whole")


# Told to stop

@pytest.mark.usefixtures("thin", "walls")
def test_told_twice_to_stop_while_it_saves(script, tmp_path, whole, monkeypatch):
    """The save that is under way counts for nothing, and the run goes on from the one before."""
    class Impatient(io.FileIO):
        def write(self, content: bytes) -> int:
            if self.tell() > 10**5:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)
            return super().write(content)

    @contextmanager
    def impatient(path: Path) -> Iterator[BinaryIO]:
        with atomic_write(path) as file:
            yield Impatient(file.fileno(), "wb", closefd=False)

    with monkeypatch.context() as patch:
        step = torch.optim.Adam.step
        patch.setattr(torch.optim.Adam, "step", lambda *arguments: [
            patch.setattr(checkpoint, "atomic_write", impatient), step(*arguments)][1])
        stopped = script("train.py", *START, "--output", "run")
    assert stopped.status == 1 and stopped.err.splitlines()[-1].startswith("stopped at once")
    assert checkpoint.read(tmp_path / "run/last.pt").losses == []
    assert not list((tmp_path / "run").glob(".*.*"))
    assert script("train.py", "--resume", "run").status == 0
    assert_same_end(tmp_path / "run", whole / "whole")


@pytest.mark.usefixtures("thin", "walls")
@pytest.mark.parametrize("place", ("forward", "backward"))
def test_stopped_within_an_update_a_run_ends_in_the_same_bits(script, tmp_path, whole, monkeypatch,
                                                              place):
    """In the first of two micro-batches of the second update, which is then taken again."""
    owner, calls = (torch.Tensor, 3) if place == "backward" else (nn.MaxPool2d, 5)
    with monkeypatch.context() as patch:
        patch.setattr(owner, place, at_call(calls)(getattr(owner, place)))
        stopped = script("train.py", *START, "--output", "run")
    assert stopped.status == 1 and "go on with: python train.py --resume run" in stopped.err
    assert len(checkpoint.read(tmp_path / "run/last.pt").losses) == 1
    assert script("train.py", "--resume", "run").status == 0
    assert_same_end(tmp_path / "run", whole / "whole")


def test_halving_the_micro_batch_leaves_batchnorm_as_if_it_had_been_so_from_the_start(monkeypatch):
    torch.manual_seed(0)
    model, images = UNetResNet((1, 1, 1, 1), (8,) * 5).train(), torch.rand(4, 3, 64, 64)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    masks, found = images[:, :1].round(), []
    for micro_batch, holds in ((4, 2), (2, 4)):
        def small_device(batch: Tensor) -> Tensor:
            logits = UNetResNet.forward(model, batch)  # its statistics have seen the batch
            if len(batch) > holds:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return logits

        model.load_state_dict(start)
        monkeypatch.setattr(model, "forward", small_device)
        _, fits = update(model, torch.optim.Adam(model.parameters()),
                         (images, masks, torch.full((4,), 1 / 4)), micro_batch)
        assert fits == 2
        found.append({name: value.clone() for name, value in model.state_dict().items()})
    assert same(*found)


# No finite number

def spoil_photo(model: nn.Module, images: Tensor) -> None:
    images[1, 0, 5, 5] = math.nan


def spoil_gradient(model: nn.Module, images: Tensor) -> None:
    model.head.bias.register_hook(lambda gradient: gradient * math.inf)


def spoil_statistics(model: nn.Module, images: Tensor) -> None:
    """The variance overflows, the maps become 0, and the loss knows nothing of it."""
    model.encoder.conv1.weight.data.mul_(1e30)


SPOILERS = (spoil_photo, spoil_gradient, spoil_statistics)


@pytest.mark.parametrize("spoil", SPOILERS)
def test_an_update_that_is_no_number_changes_nothing(spoil):
    torch.manual_seed(0)
    model, images = UNetResNet((1, 1, 1, 1), (8,) * 5).train(), torch.rand(2, 3, 64, 64)
    window = images, images[:, :1].round(), torch.full((2,), 1 / 2)
    optimizer = torch.optim.Adam(model.parameters())
    assert math.isfinite(update(model, optimizer, window, micro_batch=1)[0])
    spoil(model, images)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    averages = [value["exp_avg"].clone() for value in optimizer.state.values()]
    assert update(model, optimizer, window, micro_batch=1) == (None, 1)
    assert same(model.state_dict(), before)
    assert same([value["exp_avg"] for value in optimizer.state.values()], averages)
    assert all(value.grad is None for value in model.parameters())


def test_overflowing_gradients_of_fp16_are_the_scalers_business_first():
    """Scaled by 4, 2 and 1: then they overflow by themselves."""
    torch.manual_seed(0)
    model, images = UNetResNet((1, 1, 1, 1), (8,) * 5).train(), torch.rand(2, 3, 64, 64)
    window = images, images[:, :1].round(), torch.full((2,), 1 / 2)
    optimizer = torch.optim.Adam(model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    spoil_gradient(model, images)
    before = {name: value.clone() for name, value in model.named_parameters()}
    losses = [update(model, optimizer, window, 2, scaler)[0] for _ in range(4)]
    assert [loss is None for loss in losses] == [False, False, True, True]
    assert scaler.get_scale() == 1 and same(dict(model.named_parameters()), before)


@pytest.mark.parametrize("losses, windows, stops", [
    ([None] * 4, 9, False), ([None] * 5, 9, True), ([1.0] + [None] * 5, 9, True),
    ([None] * 4 + [1.0], 9, False), ([None] * 4 + [1.0] + [None] * 4, 9, False),
    ([None] * 2, 3, False), ([None] * 3, 3, True), ([1.0, None, None], 3, False),
    ([None], 1, True)])
def test_training_stops_after_five_such_updates_or_an_epoch_of_them(losses, windows, stops):
    try:
        check_skipped(losses, 0, windows)
        assert not stops
    except FloatingPointError as error:
        assert stops and "--lr" in str(error) and "--precision fp32" in str(error)


def poison(*calls: int) -> Callable[..., Callable[..., Tensor]]:
    """The loss of these forward passes in training, counted from 1, is no number."""
    def wrap(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        seen = 0

        def poisoned(logits: Tensor, masks: Tensor, **options: Tensor) -> Tensor:
            nonlocal seen
            seen += bool(options)  # the estimate of memory passes no weights
            return function(logits, masks, **options) * (math.nan if seen in calls else 1)
        return poisoned
    return wrap


@pytest.mark.usefixtures("thin", "walls")
def test_a_bad_update_is_left_out_and_a_run_stopped_after_it_ends_in_the_same_bits(
        script, tmp_path, monkeypatch):
    """The third forward pass is the first micro-batch of the second update."""
    for run in ("through", "stopped"):
        with monkeypatch.context() as patch:
            patch.setattr(losses, "crack_loss", poison(3)(crack_loss))
            if run == "stopped":
                patch.setattr(Crops, "__getitem__", at_call(5)(Crops.__getitem__))
            outcome = script("train.py", *START, "--output", run)
        assert outcome.out.count("epoch 1, update 2: skipped") == 1
    assert outcome.status == 1
    first, left_out = checkpoint.read(tmp_path / "stopped/last.pt").losses
    assert math.isfinite(first) and left_out is None
    assert script("train.py", "--resume", "stopped").status == 0
    assert_same_end(tmp_path / "stopped", tmp_path / "through")
    assert all(math.isfinite(value) for row in history(tmp_path / "through")
               for value in row.values())


@pytest.mark.usefixtures("thin", "walls")
def test_running_out_of_memory_is_one_line_and_the_run_kept(script, tmp_path, whole, monkeypatch):
    def starve(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Augment, "__call__", starve)
        refused(script("train.py", *START, "--output", "run"), "train.py", "out of memory")
    assert script("train.py", "--resume", "run").status == 0
    assert_same_end(tmp_path / "run", whole / "whole")


@pytest.mark.usefixtures("thin", "walls")
def test_bad_updates_in_a_row_stop_training_and_leave_the_last_good_state(script, tmp_path, whole,
                                                                          monkeypatch):
    """The second epoch has no other: last.pt stays that of the first."""
    with monkeypatch.context() as patch:
        patch.setattr(losses, "crack_loss", poison(*range(7, 99))(crack_loss))
        outcome = script("train.py", *START, "--output", "run")
    refused(outcome, "train.py", "not finite in 3 updates in a row", "--lr", "--precision fp32")
    last = checkpoint.read(tmp_path / "run/last.pt")
    assert len(last.history) == 1 and last.losses == []
    assert script("train.py", "--resume", "run").status == 0
    assert_same_end(tmp_path / "run", whole / "whole")


@pytest.mark.usefixtures("thin", "walls")
def test_what_bad_updates_come_from_is_not_saved_every_few_minutes(script, tmp_path, monkeypatch):
    """Two good updates of five are saved, then come three bad ones and the plug is pulled."""
    def pull_the_plug(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(losses, "crack_loss", poison(3, 4, 5)(crack_loss))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(torch.nn.utils, "get_total_norm", at_call(5)(torch.nn.utils.get_total_norm))
        patch.setattr(Stop, "receive", pull_the_plug)
        script("train.py", *START, "--batch-size", 1, "--output", "run")
    assert len(checkpoint.read(tmp_path / "run/last.pt").losses) == 2

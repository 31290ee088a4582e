"""Can a run be repeated from what it leaves, and is what would stop it reported at its start?"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from conftest import ROOT, TINY, refused
from test_train import same, strip
from torch.utils.data import get_worker_info

from unet_resnet import checkpoint, data, imagenet
from unet_resnet.audit import split
from unet_resnet.inference import predictor
from unet_resnet.training import manifest


def state(run: Path) -> dict:
    """All that a run has reached, apart from its settings."""
    content = vars(checkpoint.read(run / "last.pt"))
    return strip({name: content[name] for name in content if name != "settings"})


# The record

def test_the_record_says_what_was_run(trained):
    run = trained / "runs/walls-1"
    content = json.loads((run / "run.json").read_text())
    assert content["settings"] == checkpoint.read(run / "last.pt").settings
    start, = content["starts"]
    python, program, *arguments = shlex.split(start["command"])
    assert (python, Path(program).name, arguments) == (
        "python", "train.py", ["--data", "walls", *TINY])
    assert start["folder"] == str(trained)
    for package in ("torch", "torchvision", "numpy", "pillow"):
        assert start[package] == version(package)
    assert start["python"] == sys.version.split()[0] and start["threads"] > 0
    assert (start["device"], start["precision"], start["processes"]) == ("cpu", "float32", 1)
    assert start["device_name"] and start["date"].startswith("20")


def test_the_recorded_command_gives_the_same_bits(trained, script, tmp_path):
    (tmp_path / "walls").symlink_to(trained / "walls")
    start = json.loads((trained / "runs/walls-1/run.json").read_text())["starts"][0]
    command = shlex.split(start["command"])[1:]
    assert script(*command).status == 0
    expected = state(trained / "runs/walls-1")
    assert same(state(tmp_path / "runs/walls-1"), expected)
    assert script(*command, "--output", "crowd", "--workers", 2).status == 0
    assert same(state(tmp_path / "crowd"), expected), "workers make a difference"
    assert script(*command, "--output", "other", "--seed", 1).status == 0
    assert not same(state(tmp_path / "other")["model"], expected["model"])


def test_each_start_is_noted(trained, script, tmp_path):
    shutil.copytree(trained / "runs/walls-1", tmp_path / "run")
    assert script("train.py", "--resume", "run", "--epochs", 3).status == 0
    content = json.loads((tmp_path / "run/run.json").read_text())
    assert [shlex.split(start["command"])[2] for start in content["starts"]] == [
        "--data", "--resume"]
    assert content["settings"]["epochs"] == 3


def test_the_commit_and_whether_files_were_changed(tmp_path, monkeypatch):
    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", tmp_path, *arguments], check=True, text=True,
                              capture_output=True).stdout.strip()

    code = tmp_path / "train.py"
    code.write_text("one")
    monkeypatch.setattr(manifest, "ROOT", tmp_path)
    assert manifest.code_version() == "", "no clone"
    git("init", "-q")
    git("config", "user.name", "x"), git("config", "user.email", "x@example.org")
    git("add", "train.py"), git("commit", "-qm", "code"), git("tag", "v1")
    assert manifest.code_version() == git("rev-parse", "HEAD")
    code.write_text("two")
    assert manifest.code_version() == git("rev-parse", "HEAD") + "-dirty"
    (tmp_path / "below").mkdir()
    monkeypatch.setattr(manifest, "ROOT", tmp_path / "below")
    assert manifest.code_version() == "", "a clone of something else around it"
    monkeypatch.setattr(manifest, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert manifest.code_version() == "", "no git"


# Before any long work

@pytest.fixture
def no_work(monkeypatch):
    """Nothing that takes time may be reached."""
    for module, name in ((imagenet, "load_encoder"), (split, "load_pairs"), (predictor, "load")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("work has begun"))


@pytest.fixture
def scripts(trained, script):
    """train.py and infer.py with their usual arguments and more of them."""
    arguments = {"train.py": ("--data", trained / "walls", *TINY),
                 "infer.py": (trained / "walls/images", "--checkpoint",
                              trained / "runs/walls-1/best.pt", "--device", "cpu")}
    return {name: lambda *more, name=name: script(name, *arguments[name], *more)
            for name in arguments}


@pytest.mark.parametrize("name", ("train.py", "infer.py"))
def test_a_folder_that_cannot_be_written_in(scripts, tmp_path, monkeypatch, no_work, name):
    (tmp_path / "notes.txt").write_text("mine")
    refused(scripts[name]("--output", "notes.txt/run"), name,
            "notes.txt: no file can be written here")
    monkeypatch.setattr(os, "access", lambda *_: False)
    refused(scripts[name]("--output", "a/b"), name, str(tmp_path), "no file can be", "--output")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_masks_are_checked_before_weights_are_loaded(trained, script, tmp_path, monkeypatch):
    shutil.copytree(trained / "walls", tmp_path / "walls")
    (tmp_path / "walls/masks/wall_3.png").write_text("no picture")
    monkeypatch.setattr(imagenet, "load_encoder", lambda *_: pytest.fail("work has begun"))
    refused(script("train.py", "--data", "walls", *TINY), "train.py", "wall_3.png")
    assert not (tmp_path / "runs").exists()


def test_a_checkpoint_to_start_from_is_read_once(trained, script, monkeypatch):
    seen, real = [], checkpoint.read

    def read(path: Path) -> checkpoint.Checkpoint:
        seen.append(path)
        return real(path)

    monkeypatch.setattr(checkpoint, "read", read)
    run = trained / "runs/walls-1"
    assert script("train.py", "--data", trained / "walls", *TINY, "--epochs", 1, "--weights",
                  run).status == 0
    assert seen == [run / "best.pt"]


@pytest.mark.parametrize("package, extra, more", [
    ("skimage", "measure", "--measure"), ("av", "video", "film.mp4")])
def test_a_missing_extra_is_reported_first(trained, script, tmp_path, monkeypatch, no_work, package,
                                           extra, more):
    (tmp_path / "film.mp4").touch()
    monkeypatch.setitem(sys.modules, package, None)
    for name in [name for name in sys.modules if name.startswith("unet_resnet.measure")]:
        monkeypatch.delitem(sys.modules, name)  # imported by another test
    refused(script("infer.py", trained / "walls/images", more), "infer.py", package,
            f".[{extra}]")
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_a_damaged_record_is_named(trained, script, tmp_path):
    shutil.copytree(trained / "runs/walls-1", tmp_path / "run")
    (tmp_path / "walls").symlink_to(trained / "walls")
    for content in ("", "{}", "[]", '{"starts": null}'):
        (tmp_path / "run/run.json").write_text(content)
        refused(script("train.py", "--resume", "run", "--epochs", 3), "train.py",
                "run/run.json: damaged", "move it away")


# Workers that die

def test_an_error_beside_a_living_worker_is_one_line(trained, tmp_path):
    """In a process of its own, where the interpreter ends as a user's does."""
    (tmp_path / "walls").symlink_to(trained / "walls")
    code = """
import runpy, sys
from torch.utils.data import get_worker_info
from unet_resnet import data
real = data.read_pair
def failing(pair):
    if (info := get_worker_info()) and info.id:
        raise ValueError("wall.png: it is gone")
    return real(pair)
data.read_pair = failing
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv[:1] = []\n"
    done = subprocess.run([sys.executable, "-c", start + code, str(ROOT / "train.py"), "--data",
                           "walls", "--output", "run", *TINY, "--workers", "2"], cwd=tmp_path,
                          capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == "train.py: wall.png: it is gone"


@pytest.mark.parametrize("side", ("train", "validation"))
def test_a_worker_that_is_killed_is_one_line(trained, script, tmp_path, monkeypatch, side):
    """And the run goes on from there as if it had not been, where it is resumed."""
    (tmp_path / "walls").symlink_to(trained / "walls")
    victim = list(json.loads((trained / "runs/walls-1/split.json").read_text())[side])[-1]
    real = data.read_pair

    def deadly(pair: data.Pair):
        if get_worker_info() and pair.image.name == victim:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(pair)

    with monkeypatch.context() as patch:
        patch.setattr(data, "read_pair", deadly)
        outcome = script("train.py", "--data", "walls", "--output", "run", *TINY, "--workers", 1)
    refused(outcome, "train.py", "DataLoader worker (pid")
    assert script("train.py", "--resume", "run", "--workers", 0).status == 0
    assert same(state(tmp_path / "run"), state(trained / "runs/walls-1"))

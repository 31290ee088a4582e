"""Does train.py use what its flags say, and go on where it was stopped or from other weights?"""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import TINY, Outcome, write_pairs
from test_survival import make_thin, train_thin
from test_train import at_call, history, same, strip
from torch.optim import Adam

import train
from unet_resnet import augment, checkpoint, data, losses, tiling
from unet_resnet.export.small import shrink
from unet_resnet.synthetic import confusers, photometric
from unet_resnet.training import recompute

Script = Callable[..., Outcome]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As conftest's, but of a thin network: files of 2 MB."""
    return train_thin(tmp_path_factory.mktemp("thin"), "--data", "walls", *TINY)


@pytest.fixture(autouse=True)
def thin(monkeypatch: pytest.MonkeyPatch) -> None:
    make_thin(monkeypatch)


@pytest.fixture
def train_on(script: Script, tmp_path: Path) -> Script:
    write_pairs(tmp_path / "walls", 0, 6)

    def run(*arguments: object) -> Outcome:
        outcome = script("train.py", "--data", "walls", *TINY, "--output", "run", *arguments)
        assert outcome.status == 0, outcome.err
        return outcome
    return run


def test_rates_follow_the_schedule_and_are_lower_in_the_encoder(train_on, tmp_path, monkeypatch):
    step, used = Adam.step, []

    def recorded(optimizer: Adam, *arguments: object) -> object:
        used.append([(group["lr"], len(group["params"])) for group in optimizer.param_groups])
        return step(optimizer, *arguments)

    monkeypatch.setattr(Adam, "step", recorded)
    train_on("--lr", 0.01, "--encoder-lr", 0.3)
    sizes = [0, 0]
    model, _ = checkpoint.load(tmp_path / "run/last.pt")
    for name, _ in model.named_parameters():
        sizes[name.startswith("encoder.")] += 1
    expected = [0.01 * train.schedule(update, 6) for update in range(6)]
    assert used == [[(rate, sizes[0]), (rate * 0.3, sizes[1])] for rate in expected]


def test_crops_are_balanced_and_augmented_as_told(train_on, monkeypatch):
    made, given, shown = [], [], []

    class Augment(augment.Augment):
        def __init__(self, *arguments: object) -> None:
            made.append(arguments)
            super().__init__(*arguments)

    class Crops(data.Crops):
        def __init__(self, pairs: list[data.Pair], *arguments: object) -> None:
            shown.extend(pairs)
            super().__init__(pairs, *arguments)

    def balance(pairs: list[data.Pair], minimum: int) -> list[data.Pair]:
        given.append((len(pairs), minimum))
        return [*pairs, pairs[0]]

    for module, name, recorder in ((augment, "Augment", Augment), (data, "Crops", Crops),
                                   (data, "balance", balance)):
        monkeypatch.setattr(module, name, recorder)
    train_on("--epochs", 1, "--augment", 0.3)
    assert made == [(64, confusers.confuse, photometric.photometric, 0.3)]
    assert given == [(5, 1)] and len(shown) == 6 and shown[0] == shown[5]


@pytest.mark.parametrize("flags, recomputes, logits", [
    ((), 0, torch.float32), (("--recompute",), 1, torch.float32),
    (("--precision", "bf16"), 0, torch.bfloat16)])
def test_activations_and_precision_are_as_told(train_on, monkeypatch, flags, recomputes, logits):
    called, types = [], set()
    monkeypatch.setattr(recompute, "recompute_activations", called.append)
    loss = losses.crack_loss

    def recorded(outputs: torch.Tensor, truth: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        types.add(outputs.dtype)
        return loss(outputs, truth, weights)

    monkeypatch.setattr(losses, "crack_loss", recorded)
    train_on("--epochs", 1, *flags)
    assert len(called) == recomputes and types == {logits}


@pytest.mark.parametrize("count", [9, 10])
def test_a_fine_tuned_threshold_needs_ten_validation_photos(train_on, script, tmp_path, count):
    train_on("--epochs", 1)
    before = checkpoint.read(tmp_path / "run/best.pt").threshold
    names = [path.name for path in write_pairs(tmp_path / "mine", 10, 12).glob("images/*")]
    (tmp_path / "split.json").write_text(json.dumps(
        {"train": names[count:], "validation": names[:count]}))
    outcome = script("train.py", "--data", "mine", "--weights", "run", "--epochs", 1, "--crop", 64,
                     "--workers", 0, "--device", "cpu", "--split", "split.json", "--output", "new")
    assert outcome.status == 0, outcome.err
    few = count < 10
    assert ("too few validation photos" in outcome.out) == few
    assert checkpoint.read(tmp_path / "new/last.pt").settings["threshold"] == (
        before if few else None)


# Stopped, or fine-tuned

# Five photos in windows of two crops: three updates and six forward passes an epoch.
PLACES = {
    "before anything": (data.Crops, "__getitem__", at_call(1)),
    "between updates": (data.Crops, "__getitem__", at_call(3)),
    "after a forward pass": (losses, "crack_loss", at_call(4)),
    "after an update": (Adam, "step", at_call(2, before=False)),
    "in validation": (tiling, "predict", at_call(1)),
    "before validation": (checkpoint, "save", at_call(2)),
    "before best.pt of the first epoch": (checkpoint, "save", at_call(3)),
    "between best.pt and last.pt": (checkpoint, "save", at_call(4)),
    "in the second epoch": (data.Crops, "__getitem__", at_call(8)),
}


@pytest.mark.parametrize("place", PLACES)
def test_an_interrupted_run_goes_on_as_if_nothing_had_been(trained, script, tmp_path, monkeypatch,
                                                           place):
    """Two runs, of which one is stopped by Ctrl-C and resumed, end in the same bits."""
    (tmp_path / "walls").symlink_to(trained / "walls")
    owner, name, wrap = PLACES[place]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, wrap(getattr(owner, name)))
        stopped = script("train.py", "--data", "walls", "--output", "a b", *TINY)
    assert stopped.status == 1 and "Traceback" not in stopped.err
    command = re.search(r"python (train\.py .*)", stopped.err).group(1)  # as it says, quotes too
    assert script(*shlex.split(command)).status == 0
    for file in ("last.pt", "best.pt"):
        expected, found = (strip(vars(checkpoint.read(run / file)))
                           for run in (trained / "runs" / "walls-1", tmp_path / "a b"))
        assert expected["history"] == found["history"]
        assert same(expected, found)
    assert strip(history(tmp_path / "a b")) == strip(history(trained / "runs" / "walls-1"))


@pytest.mark.parametrize("start", ["folder", "file", "small"])
def test_fine_tuning_starts_from_a_checkpoint(trained, script, tmp_path, start):
    """With a rate of 0 it stays what it was, BatchNorm's statistics included, and so does its
    threshold with few validation photos; photos that it has learned from are reported."""
    run = trained / "runs/walls-1"
    shrink(run / "best.pt", tmp_path / "small.pt")
    path = {"folder": run, "file": run / "best.pt", "small": tmp_path / "small.pt"}[start]
    outcome = script("train.py", "--data", trained / "walls", *TINY, "--weights", path, "--lr", 0,
                     "--epochs", 1, "--output", "on", "--seed", 1)
    assert outcome.status == 0, outcome.err
    before, after = (checkpoint.read(file) for file in (
        tmp_path / "small.pt" if start == "small" else run / "best.pt", tmp_path / "on/last.pt"))
    assert all(torch.equal(before.model[name], after.model[name]) for name in before.model)
    assert after.threshold == after.history[0]["threshold"] == before.threshold
    note = f"too few validation photos to choose a threshold: it stays {before.threshold:g}"
    assert note in outcome.out
    held_out = after.split["validation"].keys()
    known = len(before.split["train"].keys() & held_out)
    told = f"{known} of the {len(held_out)} validation photos"
    assert known and told in outcome.out
    assert after.split["before"] == before.split["train"]
    again = script("train.py", "--resume", "on", "--epochs", 2)
    assert again.status == 0 and told in again.out, again.err
    assert len(checkpoint.read(tmp_path / "on/best.pt").history) == 2
    assert checkpoint.read(tmp_path / "on/last.pt").split == after.split


@pytest.mark.parametrize("which, kept", [
    ("none", ()), ("encoder", ("encoder",)), ("all", ("encoder", "decoder"))])
def test_frozen_batchnorm_keeps_its_statistics(trained, script, tmp_path, which, kept):
    outcome = script("train.py", "--data", trained / "walls", *TINY, "--weights",
                     trained / "runs/walls-1", "--epochs", 1, "--freeze-bn", which, "--output",
                     "frozen")
    assert outcome.status == 0, outcome.err
    before, after = (checkpoint.read(file).model for file in (
        trained / "runs/walls-1/best.pt", tmp_path / "frozen/last.pt"))
    changed = {name.partition(".")[0] for name in before if "running" in name
               and not torch.equal(before[name], after[name])}
    assert changed == {"encoder", "decoder"} - set(kept)

"""Does train.py use what its flags say: rates, crops, precision, threshold?"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import TINY, Outcome, write_pairs
from test_survival import make_thin
from torch.optim import Adam

import train
from unet_resnet import augment, checkpoint, data, losses
from unet_resnet.synthetic import confusers, photometric
from unet_resnet.training import recompute

Script = Callable[..., Outcome]


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

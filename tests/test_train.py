"""Does training keep its promises: exact windows, exact resumption, nonsense refused at once?"""

import copy
import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from conftest import ROOT, TINY, Outcome, refused, run_script, write_pairs
from PIL import Image
from torch.amp import GradScaler
from torch.optim import SGD, Adam, Optimizer
from torchvision import models

import train
from unet_resnet import UNetResNet, checkpoint, tiling
from unet_resnet.synthetic import pavement
from unet_resnet.audit.split import Split, describe_split, load_pairs
from unet_resnet.data import read_pair
from unet_resnet.device import probability_function
from unet_resnet.audit.folders import find
from unet_resnet.images import read_photo
from unet_resnet.losses import crack_loss
from unet_resnet.metrics import best_threshold, counts_at, histogram
from unet_resnet.training import manifest, settings
from unet_resnet.training.processes import Group
from unet_resnet.training.resume import Progress, newest
from unet_resnet.training.windows import Window

FILES = {"last.pt", "best.pt", "history.csv", "preview.png", "run.json", "split.json", ".lock"}
NO_PHOTOS: Split = {"train": {}, "validation": {}}


def history(run: Path) -> list[dict[str, float]]:
    with open(run / "history.csv", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


# What a run leaves

def test_the_files_of_a_run(trained):
    run = trained / "runs" / "walls-1"
    assert {path.name for path in run.iterdir()} == FILES
    last, best = checkpoint.read(run / "last.pt"), checkpoint.read(run / "best.pt")
    rows = history(run)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows == last.history and rows[:len(best.history)] == best.history
    assert best.history[-1] == max(rows, key=lambda row: row["mean_dice"])
    assert best.threshold == best.history[-1]["threshold"]

    train_pairs, validation, *_ = load_pairs([trained / "walls"])
    split = describe_split(train_pairs, validation)
    assert json.loads((run / "split.json").read_text()) == split == best.split == last.split
    settings = json.loads((run / "run.json").read_text())["settings"]
    assert settings == best.settings == last.settings
    assert (settings["crop"], settings["widths"], settings["data"]) == (
        64, [8] * 5, [str(trained / "walls")])
    columns = read_photo(run / "preview.png").split(324, dim=2)  # 320 pixels and a gap
    assert len(columns) == 4, "photo, truth, probability, overlay"
    grey = [bool((column[0] == column[1]).all()) for column in columns]
    assert grey == [False, True, True, False]


def test_beside_val_the_photos_of_test_are_scored_at_the_end(script, tmp_path):
    for first, part in enumerate(("train", "val", "test")):
        write_pairs(tmp_path / "set" / part, 10 * first, 3)
    (tmp_path / "set/extra").mkdir()
    (tmp_path / "set/train/images/a.heic").write_bytes(b"\0\0\0\x10ftypheic\0\0\0\0")
    outcome = script("train.py", "--data", "set", *TINY)
    assert outcome.status == 0, outcome.err
    for line in ("not used: extra/", "pictures not read: 1 .heic; save them as .jpg or .png first"):
        assert line in outcome.out.splitlines()
    assert "3 photos to train on, 3 to validate on, 3 to test on" in outcome.out
    run = tmp_path / "runs/set-1"
    assert set(json.loads((run / "split.json").read_text())["validation"]) == {
        f"wall_{i}.png" for i in (10, 11, 12)}
    model, best = checkpoint.load(run / "best.pt")
    probability = probability_function(model, torch.device("cpu"), torch.float32)
    photos = [read_pair(pair) for pair in find([tmp_path / "set"])["test"].pairs]
    scores = counts_at(sum(histogram(tiling.predict(probability, photo), mask.bool())
                           for photo, mask in photos), best.threshold)
    said = [line for line in outcome.out.splitlines() if line.startswith("best.pt on test/")]
    assert said == [f"best.pt on test/ (photos: 3), at its threshold:  iou {scores.iou:.3f}  "
                    f"dice {scores.dice:.3f}  precision {scores.precision:.3f}  "
                    f"recall {scores.recall:.3f}"]


def test_the_scores_of_best_are_those_of_its_model(trained):
    model, content = checkpoint.load(trained / "runs" / "walls-1" / "best.pt")
    probability = probability_function(model, torch.device("cpu"), torch.float32)
    validation = load_pairs([trained / "walls"])[1]
    photos = [read_pair(pair) for pair in validation]
    counts = sum(histogram(tiling.predict(probability, photo), mask.bool())
                 for photo, mask in photos)
    threshold, dice = best_threshold([counts])
    row = content.history[-1]
    assert threshold == row["threshold"] and dice == pytest.approx(row["dice"], abs=1e-3)
    assert row["mean_dice"] == pytest.approx(row["dice"]), "there is one source"
    assert counts_at(counts, threshold).iou == pytest.approx(row["iou"], abs=1e-3)


def test_each_source_counts_the_same_in_the_choice_of_epoch_and_threshold(script, tmp_path):
    """A large easy photo and a small hard one; a third source has no cracks."""
    for source, size, index in (("easy", 256, 1), ("hard", 64, 0), ("free", 64, 5)):
        for part in ("images", "masks"):
            (tmp_path / "walls" / part).mkdir(parents=True, exist_ok=True)
        for number in range(4):
            photo, mask = pavement.render(index + 10 * number, size=size, cracks=source != "free")
            name = f"{source}_{number}.png"
            Image.fromarray(photo.permute(1, 2, 0).numpy()).save(tmp_path / "walls/images" / name)
            Image.fromarray(255 * mask[0].numpy()).save(tmp_path / "walls/masks" / name)
    outcome = script("train.py", "--data", "walls", *TINY, "--output", "run")
    assert outcome.status == 0, outcome.err
    model, best = checkpoint.load(tmp_path / "run/best.pt")
    probability = probability_function(model, torch.device("cpu"), torch.float32)
    histograms = {}
    for pair in load_pairs([tmp_path / "walls"])[1]:
        photo, mask = read_pair(pair)
        histograms[pair.source] = histogram(tiling.predict(probability, photo), mask.bool())
    assert sorted(histograms) == ["easy", "free", "hard"]
    dice = {source: counts_at(one, best.threshold).dice for source, one in histograms.items()}
    row, pooled = best.history[-1], counts_at(sum(histograms.values()), best.threshold)
    assert row["mean_dice"] == pytest.approx((dice["easy"] + dice["hard"]) / 2, abs=1e-3)
    assert row["dice"] == pytest.approx(pooled.dice, abs=1e-3)
    assert best.history[-1] == max(history(tmp_path / "run"), key=lambda row: row["mean_dice"])
    said = [line for line in outcome.out.splitlines() if line.startswith("dice by source")]
    assert said[row["epoch"] - 1] == (
        f"dice by source  easy {dice['easy']:.3f}  hard {dice['hard']:.3f}")


# Windows and schedule

class Watched(SGD):
    """Keeps the gradients of the last step."""

    def step(self, closure=None) -> None:
        self.seen = torch.cat([value.grad.flatten() for group in self.param_groups
                               for value in group["params"]])
        super().step(closure)


def update(model: UNetResNet, optimizer: Optimizer, window: Window, micro_batch: int,
           scaler: GradScaler | None = None) -> tuple[float | None, int]:
    """`train.train_window` in a single process that no signal disturbs."""
    return train.train_window(model, optimizer, scaler or GradScaler("cpu", enabled=False), window,
                              micro_batch, torch.float32, Group(), Namespace(check=lambda: None))


@pytest.fixture(scope="module")
def whole() -> tuple[UNetResNet, Window]:
    """A network whose BatchNorm does not look at the batch, and five crops, one without cracks."""
    torch.manual_seed(0)
    model, images = UNetResNet((1, 1, 1, 1), (8,) * 5).eval(), torch.rand(5, 3, 32, 32)
    masks = (torch.rand(5, 1, 32, 32) < torch.tensor([0, .02, .1, .3, .8]).view(5, 1, 1, 1)).float()
    return model, (images, masks, torch.full((5,), 1 / 5))


@pytest.mark.parametrize("micro_batch", (1, 2, 3, 4, 5))
def test_micro_batches_add_up_to_the_gradient_of_the_window(whole, micro_batch):
    """Five crops: the last micro-batch is short with 2, 3 and 4."""
    model, window = whole
    images, masks, _ = window
    model.zero_grad()
    loss = crack_loss(model(images), masks)
    loss.backward()
    expected = torch.cat([value.grad.flatten() for value in model.parameters()])
    model.zero_grad()
    optimizer = Watched(model.parameters(), lr=0.0)  # 0, so that the model stays as it is
    for _ in range(2):  # a gradient left over from the first window would show in the second
        mean, fits = update(model, optimizer, window, micro_batch)
        assert mean == pytest.approx(loss.item(), rel=1e-5) and fits == micro_batch
        assert (optimizer.seen - expected).norm() < 1e-4 * expected.norm()


def test_running_out_of_memory_halves_the_micro_batch_and_loses_nothing(whole, monkeypatch):
    """A device that holds at most two crops: 5 are tried, then 3, then 2."""
    model, window = whole
    optimizer = Watched(model.parameters(), lr=0.0)
    loss, tried = crack_loss(model(window[0]), window[1]).item(), []

    def small_device(batch):
        tried.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return type(model).forward(model, batch)

    monkeypatch.setattr(model, "forward", small_device)
    mean, fits = update(model, optimizer, window, micro_batch=5)
    assert mean == pytest.approx(loss, rel=1e-5)
    assert tried == [5, 3, 2, 2, 1] and fits == 2
    assert optimizer.seen.isfinite().all() and optimizer.seen.norm() > 0
    monkeypatch.setattr(model, "forward", lambda batch: small_device(batch.repeat(3, 1, 1, 1)))
    with pytest.raises(torch.OutOfMemoryError):  # not even one crop fits
        update(model, optimizer, window, micro_batch=2)


def test_compiled_gradients_are_the_same():
    """With the last, smaller micro-batch of a window as well. The graphs are those of --compile;
    they run without the generated code, whose compilation takes minutes on a CPU."""
    torch.manual_seed(0)
    plain = UNetResNet((1, 1, 1, 1), (8,) * 5).train()
    fused = copy.deepcopy(plain)
    compiled = torch.compile(fused, backend="aot_eager")
    for crops in (2, 1):
        images, masks = torch.rand(crops, 3, 64, 64), torch.rand(crops, 1, 64, 64).round()
        expected, found = (crack_loss(network(images), masks) for network in (plain, compiled))
        torch.testing.assert_close(found, expected)
        expected.backward(), found.backward()
    for (name, expected), found in zip(plain.named_parameters(), fused.parameters()):
        assert (found.grad - expected.grad).norm() <= 1e-3 * expected.grad.norm(), name
    for expected, found in zip(plain.buffers(), fused.buffers()):
        torch.testing.assert_close(found, expected)


def test_what_compile_cannot_do_is_refused(trained, script):
    start = ("train.py", "--data", trained / "walls", *TINY, "--compile")
    refused(script(*start, "--recompute"), "train.py", "--compile", "--recompute")


@pytest.mark.parametrize("updates", (1, 2, 3, 20, 101, 1000))
def test_schedule(updates):
    factors = [train.schedule(update, updates) for update in range(updates)]
    peak = factors.index(max(factors))
    assert factors[peak] == 1 and min(factors) > 0
    assert factors[:peak] == sorted(factors[:peak]) and peak <= 0.1 * updates
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    if updates >= 20:
        assert factors[-1] < 0.01 and factors[0] <= 1.1 / (0.05 * updates)


@pytest.mark.usefixtures("script")  # it removes the large files
def test_best_stays_when_later_epochs_are_worse(whole, tmp_path):
    """Three epochs whose predictions lie 10, 2 and 5 rows beside the truth."""
    model, (images, *_) = whole
    progress = Progress(model, Adam(model.parameters()), GradScaler("cpu", enabled=False), Group(),
                        {}, NO_PHOTOS, NO_PHOTOS, tmp_path)
    truth = (torch.arange(32) < 16).float()[:, None].expand(1, 32, 32)
    for rows in (10, 2, 5):
        prediction = truth.roll(rows, dims=1)
        counts = histogram(prediction, truth.bool())
        threshold, dice = best_threshold([counts])
        row = {"epoch": len(progress.history) + 1, "threshold": threshold, "mean_dice": dice} | {
            name: getattr(counts_at(counts, threshold), name) for name in train.LOGGED} | {
            "loss": 1.0}
        train.show(row, 3, {"walls": counts}, [[(images[0] * 255).byte(), truth, prediction]],
                   progress)
        progress.end_epoch(row)
    assert [row["iou"] for row in history(tmp_path)] == [
        (16 - rows) / (16 + rows) for rows in (10, 2, 5)]
    assert checkpoint.read(tmp_path / "best.pt").history == progress.history[:2]


# Resumption

def strip(content):
    """A checkpoint without what a clock, or the way to the same folder, decides."""
    if isinstance(content, dict):
        return {key: strip(value) for key, value in content.items()
                if key not in ("seconds", "data")}
    return [strip(value) for value in content] if isinstance(content, list) else content


def same(one, other) -> bool:
    """Bit-equal, tensors in dicts and lists included."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def at_call(number: int, before: bool = True):
    """Ctrl-C at the given call of a function, before or after it has done its work."""
    def wrap(function):
        calls = 0

        def wrapped(*arguments, **options):
            nonlocal calls
            calls += 1
            if before and calls == number:
                signal.raise_signal(signal.SIGINT)
            result = function(*arguments, **options)
            if not before and calls == number:
                signal.raise_signal(signal.SIGINT)
            return result
        return wrapped
    return wrap


def test_photos_learned_from_before_are_left_out_of_scores(trained, script, tmp_path):
    """By the network of a run that trained on other photos, from a checkpoint that knew these."""
    best = trained / "runs/walls-1/best.pt"
    model, content = checkpoint.load(best)
    split = {"train": {}, "validation": {}, "before": content.split["train"]}
    checkpoint.save(tmp_path / "on.pt", model, split=split)
    outcome = script("infer.py", trained / "walls/images", "--masks", trained / "walls/masks",
                     "--checkpoint", "on.pt", "--device", "cpu")
    assert outcome.status == 0, outcome.err
    assert f"{len(split['before'])} of {len(list((trained / 'walls/images').iterdir()))} photos " \
           "left out" in outcome.out


def test_the_word_cracks_is_the_shipped_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = checkpoint.SHIPPED
    assert settings.find_checkpoint("cracks") == shipped == checkpoint.resolve(Path("cracks"))
    assert settings.find_checkpoint("none") is settings.find_checkpoint("imagenet") is None
    (tmp_path / "cracks").mkdir()  # a data set, say
    assert settings.find_checkpoint("cracks") == shipped
    (tmp_path / "cracks" / "best.pt").touch()
    assert settings.find_checkpoint("cracks") == Path("cracks/best.pt")


def test_misspelt_weights_are_reported_before_the_data_are_read(script):
    refused(script("train.py", "--data", "nowhere", "--weights", "crakcs"), "train.py",
            "--weights crakcs: no such file", "imagenet, none, cracks")
    refused(script("train.py", "--resume", "nowhere"), "train.py", "nowhere/last.pt: no such file")
    refused(script("train.py", "--weights", "cracks", "--encoder", "resnet50"), "train.py",
            "leave out --encoder or --blocks")


def test_a_run_in_its_first_epoch_has_no_network_yet(tmp_path):
    (tmp_path / "last.pt").touch()
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}: .*best.pt.*first epoch"):
        checkpoint.load(tmp_path)


def test_a_checkpoint_of_another_network_is_refused(trained, script):
    outcome = script("train.py", "--data", trained / "walls", *TINY, "--widths", *"88889",
                     "--weights", trained / "runs/walls-1")
    refused(outcome, "train.py", "widths [8, 8, 8, 8, 8]", "leave out --widths")


def test_the_newest_run_is_the_one_saved_last(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, saved in (("b-1", 1), ("a-1", 3), ("c-1", 2)):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "last.pt").touch()
        os.utime(tmp_path / "runs" / name / "last.pt", (saved, saved))
    assert newest() == Path("runs/a-1")


@pytest.mark.usefixtures("script")  # it removes the large files
def test_a_run_is_saved_every_so_many_minutes(whole, tmp_path, monkeypatch):
    now, model = [0.0], whole[0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = Progress(model, Adam(model.parameters()), GradScaler("cpu", enabled=False), Group(),
                        {"save_every": 10.0}, NO_PHOTOS, NO_PHOTOS, tmp_path, losses=[0.5])
    for now[0], saved in ((599.0, False), (600.0, True)):
        progress.save_when_due()
        assert (tmp_path / "last.pt").exists() == saved


@pytest.mark.usefixtures("script")
def test_the_scale_of_float16_is_resumed(whole, tmp_path):
    model = whole[0]
    first, second = (Progress(model, Adam(model.parameters()), GradScaler("cpu", scale), Group(),
                              {"data": ["x"], "weights": "none"}, NO_PHOTOS, NO_PHOTOS, tmp_path)
                     for scale in (4.0, 64.0))
    first.save()
    second.begin(tmp_path, checkpoint.read(tmp_path / "last.pt"), torch.float16)
    assert second.scaler.get_scale() == 4.0


def test_a_finished_run_stays(trained):
    run = trained / "runs" / "walls-1"
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    outcome = run_script(trained, "train.py", "--resume")
    assert outcome.status == 0 and "walls-1" in outcome.out
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.parametrize("change, named", [
    ("--seed 1", "--seed"), ("--crop 96", "--crop"),
    ("--blocks 1 1 2 1", "--blocks"), ("--widths 8 8 8 8 9", "--widths"),
    ("--batch-size 4", "--batch-size"), ("--split groups", "--split")])
def test_resuming_another_run_than_the_old_is_refused(trained, change, named):
    outcome = run_script(trained, "train.py", "--resume", "runs/walls-1", *change.split())
    refused(outcome, "train.py", named, change.split()[-1])


@pytest.mark.parametrize("change, named", {
    "another photo": (lambda walls: shutil.copy(walls / "images/wall_1.png",
                                                walls / "images/wall_2.png"), "has changed"),
    "another mask": (lambda walls: shutil.copy(walls / "masks/wall_1.png",
                                               walls / "masks/wall_2.png"), "mask has changed"),
    "a photo less": (lambda walls: [(walls / part / "wall_2.png").unlink()
                                    for part in ("images", "masks")], "not in the data set"),
    "a photo more": (lambda walls: [shutil.copy(walls / part / "wall_1.png",
                                                walls / part / "wall_2b.png")
                                    for part in ("images", "masks")], "is new"),
}.values())
def test_resuming_on_changed_data_is_refused(trained, script, tmp_path, change, named):
    shutil.copytree(trained / "walls", tmp_path / "walls")
    change(tmp_path / "walls")
    refused(script("train.py", "--resume", trained / "runs" / "walls-1", "--data", "walls",
                   "--epochs", 3), "train.py", "wall_2", named)


def test_a_split_that_leaves_photos_out_can_be_resumed(script, tmp_path):
    write_pairs(tmp_path / "walls", 0, 5)
    names = [f"wall_{i}.png" for i in range(4)]  # not the fifth
    (tmp_path / "mine.json").write_text(json.dumps(
        {"train": names[:3], "validation": names[3:]}))
    start = script("train.py", "--data", "walls", *TINY, "--split", "mine.json", "--epochs", 1,
                   "--output", "run")
    assert start.status == 0, start.err
    again = script("train.py", "--resume", "run", "--epochs", 2)
    assert again.status == 0, again.err
    assert "3 photos to train on, 1 to validate on" in again.out


def test_a_resumed_run_says_which_settings_change_and_keeps_the_others(trained, script, tmp_path):
    shutil.copytree(trained / "runs" / "walls-1", tmp_path / "run")
    outcome = script("train.py", "--resume", "run", "--epochs", 3, "--lr", 0.001, "--seed", 0)
    assert outcome.status == 0, outcome.err
    said = [line for line in outcome.out.splitlines() if ", now " in line]
    assert said == ["--epochs was 2, now 3", "--lr was 0.0005, now 0.001"]
    before, after = (checkpoint.read(run / "last.pt").settings
                     for run in (trained / "runs" / "walls-1", tmp_path / "run"))
    assert after == before | {"epochs": 3, "lr": 0.001}


def test_a_resumed_run_keeps_the_micro_batch_that_fitted(trained, script, tmp_path, monkeypatch):
    """A device that holds one crop, also in the run's second epoch."""
    forward = UNetResNet.forward

    def small_device(model, batch):
        if len(batch) > 1 and model.training and batch.any():  # blank crops count memory
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(model, batch)

    monkeypatch.setattr(UNetResNet, "forward", small_device)
    said = "out of memory: going on with --micro-batch 1"
    outcome = script("train.py", "--data", trained / "walls", *TINY, "--micro-batch", 2, "--epochs",
                     1, "--output", "run")
    assert outcome.status == 0 and outcome.out.count(said) == 1, outcome.err
    outcome = script("train.py", "--resume", "run", "--epochs", 2)
    assert outcome.status == 0 and said not in outcome.out, outcome.err
    assert checkpoint.read(tmp_path / "run/last.pt").settings["micro_batch"] == 1


def test_resuming_on_data_that_moved_goes_on(trained, script, tmp_path):
    shutil.copytree(trained / "walls", tmp_path / "moved")
    shutil.copytree(trained / "runs" / "walls-1", tmp_path / "run")
    outcome = script("train.py", "--resume", "run", "--data", "moved/", "--epochs", 3)
    assert outcome.status == 0 and len(history(tmp_path / "run")) == 3


# Refusals

@pytest.mark.parametrize("arguments, named", [
    ("--epochs -1", "--epochs"), ("--epoch 1", "--epoch"), ("--encoder resnet50", "--blocks"),
    ("--output new --resume", "--output"), ("--epochs 2.5", "--epochs"),
    ("--batch-size 0", "--batch-size"),
    ("--crop 10", "--crop"),
    ("--blocks 1 1 1", "--blocks"), ("--widths 8 8 8 8 0", "--widths"), ("--workers -1", "-1"),
    ("--lr nan", "nan"), ("--lr abc", "abc"), ("--lr -1", "-1"), ("--encoder-lr -1", "-1"),
    ("--save-every -1", "-1"), ("--save-every nan", "nan"), ("--save-every inf", "inf"),
    ("--seed -1", "--seed"), ("--seed 99999999999999999999999", "--seed"),
    ("--device cuda:9", "cuda:9"), ("--device toaster", "toaster"),
    ("--precision fp16", "fp16"), ("--precision half", "half"),
    ("--data nowhere", "nowhere"), ("--data walls walls", "two data sets"),
    ("--data walls/images walls/images", "walls/images"),
    ("--output full", "full"), ("--output notes.txt", "notes.txt"),
    ("--weights nowhere.pth", "nowhere.pth"), ("--weights notes.txt", "notes.txt"),
    ("--weights full", "full"), ("--weights imagenet", "(1, 1, 1, 1)"),
    ("--split nowhere.json", "nowhere.json"), ("--split notes.txt", "notes.txt"),
    ("--resume", "runs"), ("--resume full", "last.pt"), ("--resume nowhere", "nowhere"),
])
def test_nonsense_is_refused_and_leaves_nothing(trained, script, tmp_path, arguments, named):
    (tmp_path / "walls").symlink_to(trained / "walls")
    (tmp_path / "full").mkdir()
    for notes in (tmp_path / "notes.txt", tmp_path / "full" / "notes.txt"):
        notes.write_text("years of work")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    refused(script("train.py", "--data", "walls", *TINY, *arguments.split()), "train.py", named)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_bad_device_is_refused_before_the_sample_set_is_drawn(script, monkeypatch):
    monkeypatch.setattr(pavement, "write", lambda *_: pytest.fail("drawing takes half a minute"))
    refused(script("train.py", "--device", "toaster"), "train.py", "toaster")


def test_without_a_network_imagenet_is_refused_with_the_choices(trained, script, tmp_path,
                                                                monkeypatch):
    """No --weights: ImageNet is what --data starts from. ResNet-50, because it is built faster."""
    def offline(*_, **__):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("torch.hub.urlopen", offline)
    outcome = script("train.py", "--data", trained / "walls", "--blocks", 3, 4, 6, 3)
    refused(outcome, "train.py", models.ResNet50_Weights.IMAGENET1K_V1.url, "--weights FILE",
            "--weights none")
    assert not (tmp_path / "runs").exists()


# Flags

def test_defaults_with_data(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--data", "cracks"])
    args, folder, resumed, pretrained = settings.from_flags("", True)
    assert folder is resumed is pretrained is None
    assert (args.weights, args.blocks, args.epochs) == ("imagenet", [3, 4, 23, 3], 50)
    assert (args.batch_size, args.micro_batch, args.crop) == (8, 8, 448)
    assert (args.precision, args.device) == ("auto", "auto")
    assert 0 < args.encoder_lr < 1, "a trained encoder learns at a lower rate"


def test_the_synthetic_set_has_defaults_of_its_own(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--crop", "96"])
    args, *_ = settings.from_flags("", True)
    assert (args.weights, args.blocks, args.epochs) == ("none", [1, 1, 1, 1], 6)
    assert (args.crop, args.batch_size, args.micro_batch, args.encoder_lr) == (96, 4, 4, 1.0)


def test_a_whole_network_is_fine_tuned_in_small_steps(trained, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--data", "mine", "--weights",
                                      str(trained / "runs/walls-1"), "--epochs", "3"])
    args, _, _, pretrained = settings.from_flags("", True)
    assert pretrained and args.blocks == pretrained.blocks == [1, 1, 1, 1]
    assert args.lr < settings.DEFAULTS["lr"] and args.freeze_bn == "all"
    assert (args.epochs, args.crop, args.min_crops, args.augment) == (3, 256, 80, 0.5)


def test_an_encoder_by_name(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--data", "cracks", "--encoder", "resnet50"])
    args, *_ = settings.from_flags("", True)
    assert args.blocks == [3, 4, 6, 3] and "encoder" not in vars(args)


@pytest.mark.parametrize("flag, defaults", {
    "--output": ["runs/"], "--weights": ["imagenet", "none"],
    "--blocks": ["[3, 4, 23, 3]", "[1, 1, 1, 1]"],
    "--widths": ["[256, 128, 64, 32, 16]"], "--epochs": ["50"], "--batch-size": ["8"],
    "--micro-batch": ["batch size"], "--crop": ["448"], "--lr": ["0.0005"], "--encoder-lr": ["0.2"],
    "--precision": ["auto"], "--device": ["auto"], "--workers": [], "--seed": ["0"],
    "--save-every": ["10"]}.items())
def test_help_shows_the_default(script, monkeypatch, flag, defaults):
    monkeypatch.setenv("COLUMNS", "300")
    text = script("train.py", "--help").out
    entries = {entry.split()[0]: " ".join(entry.split()) for entry in text.split("\n  --")[1:]}
    assert len(entries) <= 24, "more than a screen holds; is one of them a decision for users?"
    entry = entries[flag.removeprefix("--")]
    default = entry[entry.index("(default: "):]
    assert all(value in default for value in defaults)


# As a user, in processes of their own

def command(*arguments: str, cwd: Path) -> Outcome:
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True)
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM), ids=("ctrl-c", "cluster"))
def test_signals_to_the_whole_job(trained, script, tmp_path, number):
    """A real signal, also to the worker that reads the photos."""
    arguments = [str(ROOT / "train.py"), "--data", str(trained / "walls"), *TINY, "--epochs", "999",
                 "--workers", "1", "--output", "run"]
    with subprocess.Popen([sys.executable, "-u", *arguments], cwd=tmp_path, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          start_new_session=True) as process:
        for line in process.stdout:
            if line.startswith("epoch 1/999"):
                os.killpg(process.pid, number)
                break
        err = process.communicate()[1]
    assert process.returncode == 1 and "Traceback" not in err
    assert err.splitlines()[-1].endswith("python train.py --resume run")
    assert checkpoint.read(tmp_path / "run" / "last.pt").history == history(tmp_path / "run")


def test_a_photo_that_breaks_in_a_worker_is_named_and_the_run_kept(trained, script, tmp_path,
                                                                   monkeypatch):
    """Cut short after all photos were checked; once it is mended, the run can go on."""
    shutil.copytree(trained / "walls", tmp_path / "walls")
    split = json.loads((trained / "runs/walls-1/split.json").read_text())
    photo = tmp_path / "walls/images" / next(iter(split["train"]))
    record_start = manifest.record_start

    def cut(*arguments) -> None:
        photo.write_bytes(photo.read_bytes()[:-200])
        record_start(*arguments)

    monkeypatch.setattr(manifest, "record_start", cut)
    outcome = script("train.py", "--data", "walls", "--output", "run", *TINY, "--workers", 1)
    refused(outcome, "train.py", photo.name)
    assert checkpoint.read(tmp_path / "run" / "last.pt").history == []


def test_a_worker_that_is_still_reading_does_not_hold_up_the_end():
    """multiprocessing would wait for it for ever, as it ignores SIGTERM."""
    code = ("from unet_resnet.training.signals import Stop, ignore_signals; "
            "from unet_resnet.training.processes import Group; Stop(Group()); "
            "from torch.utils.data import DataLoader; photos = iter(DataLoader("
            "range(99), num_workers=1, worker_init_fn=ignore_signals)); next(photos)")
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120, check=True)


def test_the_readmes_first_commands(tmp_path, script):
    """No arguments at all but for a shorter training; then the command that is printed last."""
    outcome = command(str(ROOT / "train.py"), "--epochs", "1", "--crop", "64", cwd=tmp_path)
    assert outcome.status == 0, outcome.err
    assert {path.name for path in (tmp_path / "runs" / "sample-1").iterdir()} == FILES
    advice = re.search(r"python infer\.py (.+)$", outcome.out).group(1)
    outcome = command(str(ROOT / "infer.py"), *shlex.split(advice), cwd=tmp_path)
    assert outcome.status == 0 and "sample-1" in outcome.out, outcome.err
    results = {path.name for path in (tmp_path / "predictions").glob("*.png")}
    assert results == {f"{Path(shlex.split(advice)[0]).stem}_{kind}.png"
                       for kind in ("probability", "mask", "overlay")}

"""Do training, scoring and the audit read the same masks alike, and refuse the same ones?"""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, Outcome, refused, write_pairs
from PIL import Image

AUDIT = "unet_resnet/audit/__main__.py"
LINE = np.zeros((64, 64), bool)
LINE[10:13] = True
Change = Callable[[np.ndarray], np.ndarray]  # of a mask of 0 and 255


def classes(mask: np.ndarray) -> np.ndarray:
    return np.where(mask > 0, 2, LINE).astype(np.uint8)


def red(mask: np.ndarray) -> np.ndarray:
    return np.stack([mask, 0 * mask, 0 * mask], -1)


def data_set(folder: Path, change: Change | None = None) -> Path:
    write_pairs(folder, 40, 4)
    for path in (folder / "masks").iterdir() if change else ():
        Image.fromarray(change(np.array(Image.open(path)))).save(path)
    return folder


@pytest.fixture
def run(script, trained) -> Callable[..., Outcome]:
    """run("train" | "score" | "audit", name of a data set, options)."""
    best = trained / "runs/walls-1/best.pt"
    commands = {
        "train": lambda folder: ("train.py", "--data", folder, *TINY),
        "score": lambda folder: ("infer.py", f"{folder}/images", "--masks", f"{folder}/masks",
                                 "--checkpoint", best, "--device", "cpu", "--precision", "fp32"),
        "audit": lambda folder: (AUDIT, folder)}
    return lambda job, folder, *options: script(*commands[job](folder), *options)


@pytest.mark.parametrize("change, said", [
    (classes, "has 0, 1, 2;"), (lambda mask: 255 - mask, "mask is more than half white"),
    (lambda mask: np.stack([mask, np.where(LINE, 255, mask), mask], -1).astype(np.uint8),
     "has 0, (0, 255, 0), 255;"),
    (lambda mask: np.random.default_rng(0).integers(0, 256, mask.shape, np.uint8),
     "looks like a photo")], ids=["classes", "inverted", "colours", "photos"])
def test_what_training_refuses_scoring_refuses_before_it_predicts(run, tmp_path, change, said):
    data_set(tmp_path / "set", change)
    trained, scored, audited = (run(job, "set") for job in ("train", "score", "audit"))
    refused(trained, "train.py", said, "set/masks/wall_4")
    refused(scored, "infer.py", said, "set/masks/wall_4")
    assert audited.status == 1 and said in audited.out
    sentence = scored.err.splitlines()[-1].removeprefix("infer.py: ").split("; ")[-1]
    assert sentence in trained.err and sentence in audited.out
    assert not (tmp_path / "predictions").exists() and not (tmp_path / "runs").exists()


def losses(tmp_path: Path, run_name: str) -> list[tuple[str, str]]:
    with open(tmp_path / "runs" / run_name / "history.csv", newline="") as file:
        return [(row["loss"], row["iou"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("change, said", [(red, "(255, 0, 0) is read as crack"),
                                          (lambda mask: mask // 255, "1 is read as crack")])
def test_one_reading_of_masks_trains_and_scores_as_another(run, tmp_path, change, said):
    """To the same bits as 0 and 255, also where a worker reads them."""
    results = []
    for name, how in (("plain", None), ("other", change)):
        data_set(tmp_path / name, how)
        jobs = [run("train", name, "--workers", int(name == "other")),
                run("score", name, "--output", f"{name}_out"), run("audit", name)]
        assert [job.status for job in jobs] == [0, 0, 0], [job.err for job in jobs]
        printed = [job.out.replace(f"{tmp_path}/", "").splitlines() for job in jobs]
        notes = [[line for line in lines if line.startswith("note: masks are not")]
                 for lines in printed]
        assert notes[0] == notes[1] == notes[2] and bool(notes[0]) == bool(how)
        assert not how or said in notes[0][0] and "other/masks" in notes[0][0]
        scores = json.loads((tmp_path / f"{name}_out/scores.json").read_text())
        results.append((losses(tmp_path, f"{name}-1"), scores["total"]))
    assert results[0] == results[1]


def turn(folder: Path, orientation: int) -> None:
    """Photos as a camera stores them that was held in another way; masks stay as they are."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    for path in (folder / "images").iterdir():
        Image.open(path).save(path, exif=exif)


def test_masks_on_the_stored_pixels(run, tmp_path):
    """Half a turn, of which sizes tell nothing."""
    stored = data_set(tmp_path / "stored")
    turn(stored, 3)
    turn(data_set(tmp_path / "upright"), 3)
    for path in (tmp_path / "upright/masks").iterdir():
        Image.open(path).rotate(180).save(path)
    for job in ("train", "score", "audit"):
        outcome = run(job, "stored")
        line, = [line for line in outcome.out.splitlines() if "turned by EXIF" in line]
        assert outcome.status == 0 and line.startswith("warning: ") and "4, e.g." in line
        outcome = run(job, "stored", "--masks-unturned", *["--output", "flag"] * (job != "audit"))
        assert outcome.status == 0 and "turned by EXIF" not in outcome.out, outcome.err
    (tmp_path / "flag").rename(tmp_path / "scored")
    run("score", "upright", "--output", "wanted")
    found, wanted, wrong = (json.loads((tmp_path / name / "scores.json").read_text())["total"]
                            for name in ("scored", "wanted", "predictions"))
    assert found == wanted != wrong


def test_a_quarter_turn_is_explained_and_the_flag_helps(run, tmp_path):
    folder = data_set(tmp_path / "set")
    for path in folder.rglob("*.png"):
        Image.open(path).crop((0, 0, 64, 48)).save(path)
    turn(folder, 6)
    refused(run("train", "set"), "train.py", "64x48", "48x64", "EXIF", "--masks-unturned")
    scored = run("score", "set")
    assert scored.status == 1 and scored.err.count("--masks-unturned") == 4
    for job in ("train", "score", "audit"):
        assert run(job, "set", "--masks-unturned").status == 0


def test_a_run_keeps_how_its_masks_are_read(run, script, tmp_path):
    data_set(tmp_path / "set")
    assert run("train", "set", "--epochs", 1).status == 0
    refused(script("train.py", "--resume", "runs/set-1", "--epochs", 2, "--masks-unturned"),
            "train.py", "--masks-unturned was False, now True")
    assert script("train.py", "--resume", "runs/set-1", "--epochs", 2).status == 0


def test_sub_folders_are_one_folder(run, tmp_path):
    """A mask of 1 beside masks of 255 is as odd in a folder of its own."""
    folder = data_set(tmp_path / "set")
    for part in ("images", "masks"):
        (folder / part / "day1").mkdir()
        (folder / part / "wall_40.png").rename(folder / part / "day1/wall_40.png")
    path = folder / "masks/day1/wall_40.png"
    Image.fromarray(np.array(Image.open(path)) // 255).save(path)
    for job, script in (("train", "train.py"), ("score", "infer.py")):
        refused(run(job, "set"), script, "day1/wall_40.png: has 0, 1;")
    for path in (folder / "masks").rglob("*.png"):
        Image.fromarray((np.array(Image.open(path)) > 0).astype(np.uint8)).save(path)
    for job in ("train", "score", "audit"):
        outcome = run(job, "set")
        line, = [line for line in outcome.out.splitlines() if "is read as crack" in line]
        assert outcome.status == 0 and "set/masks: drawn in values 0 and 1" in line

"""Does every photo get its own results, is nobody's file lost, and are the scores those claimed?"""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import refused, write_pairs
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unet_resnet import checkpoint, tiling
from unet_resnet.data import Pair, read_pair
from unet_resnet.evaluation.sheet import ScoreSheet
from unet_resnet.images import read_photo
from unet_resnet.inference import overlay
from unet_resnet.inference.inputs import find_photos
from unet_resnet.inference.outputs import files_of, name_results
from unet_resnet.inference.predictor import load

KINDS = ("probability", "mask", "overlay")


@pytest.fixture(scope="session")
def best(trained) -> Path:
    return trained / "runs" / "walls-1" / "best.pt"


@pytest.fixture(scope="session")
def probability(best):
    """Photo -> probability, as infer.py should compute it: the oracle."""
    return load(best, "cpu", "fp32")


@pytest.fixture
def infer_with(script, best):
    return lambda *arguments: script("infer.py", "--checkpoint", best, "--device", "cpu",
                                     "--precision", "fp32", "--min-area", 0, *arguments)


def results_of(*names: str) -> list[str]:
    return sorted(f"{name}_{kind}.png" for name in names for kind in KINDS)


def names_in(folder: Path) -> list[str]:
    """What a run left in a folder, but for its index and its lock."""
    return sorted(path.name for path in folder.iterdir()
                  if path.name not in ("index.json", ".lock"))


def noise(path: Path, height: int, width: int, channels: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(height * 1000 + width)
    Image.fromarray(draw.integers(0, 256, (height, width, channels), dtype=np.uint8)).save(path)
    return path


# Which photos

def test_find_photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/x.jpg", "a/b/c/y.PNG", "a/b/.y.png", "a/notes.txt", "z.tif", "[1].png",
                 "1.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    for names, wanted in (
            (["z.tif"], ["z.tif"]),
            (["a"], ["a/b/c/y.PNG", "a/x.jpg"]),
            (["a/*.jpg", "*.tif"], ["a/x.jpg", "z.tif"]),
            (["a/**/*.PNG"], ["a/b/c/y.PNG"]),
            (["[1].png"], ["[1].png"]),  # a file of that name comes before the pattern
            (["z.tif", "a", "./z.tif", "a/x.jpg", "*.tif"], ["z.tif", "a/b/c/y.PNG", "a/x.jpg"]),
            (["nowhere.jpg", "no*.png"], ["nowhere.jpg", "no*.png"])):
        assert find_photos(names)[0] == list(map(Path, wanted))


def test_a_pattern_means_the_same_quoted_or_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("set/x.jpg", "set/old/y.jpg"):
        noise(Path(name), 4, 4)
    expanded = ["set/old", "set/x.jpg"]  # what a shell makes of set/*
    assert find_photos(["set/*"]) == find_photos(expanded)


@pytest.mark.parametrize("given, root", [
    (["a"], "a"), (["a/b"], "a/b"), (["a/x.jpg"], "a"), (["a/x.jpg", "a/b/y.png"], "a"),
    (["a", "c"], "."), (["a/b", "a/x.jpg"], "a"), (["a/*"], "a"), (["./c/../a/b", "a"], "a"),
    (["nowhere.jpg"], "."), (["a/b/no*.jpg", "c/z.jpg"], ".")])
def test_results_mirror_what_all_arguments_have_in_common(tmp_path, monkeypatch, given, root):
    monkeypatch.chdir(tmp_path)
    for name in ("a/x.jpg", "a/b/y.png", "c/z.jpg"):
        noise(Path(name), 4, 4)
    assert find_photos(given)[1] == tmp_path.joinpath(root)


@pytest.mark.parametrize("photos, wanted", [
    (["x.jpg", "y.jpg"], ["x", "y"]),
    (["a/x.jpg", "b/y.jpg"], ["a/x", "b/y"]),
    (["x.jpg", "x.png"], ["x.jpg", "x.png"]),
    (["a/x.jpg", "b/x.jpg"], ["a/x", "b/x"]),
    (["x.jpg", "X.png", "y.png"], ["x.jpg", "X.png", "y"]),
])
def test_names_are_short_where_they_can_be(tmp_path, photos, wanted):
    assert name_results([tmp_path / photo for photo in photos], tmp_path) == wanted


@pytest.mark.parametrize("photos", [
    ["a/x.jpg", "A/X.jpg", "b/a/x.jpg"],
    ["a/x.jpg", "b/x.jpg", "a_x.jpg.png", "A_x.jpg"],
    ["1/a/x.png", "2/a/x.png", "x.png_1.jpg", "x.png_1.png", "3/a/x.png"],
    ["x.jpg", "x.JPG", "X.JPG", "x.jpg.jpg", "x.jpg.png"],
    ["x.mp4", "x_every5.png", "X_EVERY5_.png", "x.mov"],
])
def test_names_never_collide(tmp_path, photos):
    """Nor on a disk that does not know letter case."""
    for every in (None, 5):
        names = name_results([tmp_path / photo for photo in photos], tmp_path, every)
        assert len({name.casefold() for name in names}) == len(photos)


NAMES = st.text("aAb.", min_size=1, max_size=3).filter(lambda name: name.strip("."))


@given(st.lists(st.tuples(st.lists(NAMES, max_size=2).map(tuple), NAMES, st.sampled_from(
    (".jpg", ".JPG", ".png", ".mp4"))), max_size=8, unique=True), st.sampled_from((None, 2)))
@settings(max_examples=300, derandomize=True, deadline=None, database=None)
def test_no_two_photos_have_files_in_common(places, every):
    """Whatever they are called, and wherever they lie."""
    photos = [Path("/photos", *folders, name + suffix) for folders, name, suffix in places]
    names = name_results(photos, Path("/photos"), every)
    files = [file for name, photo in zip(names, photos)
             for file in files_of(name, photo, every, measured=True)]
    assert len({file.casefold() for file in files}) == len(files)
    assert not any(part in ("", "..") for name in names for part in name.split("/"))


# Predictions

SIZES = [(1, 1), (1, 7), (33, 2), (70, 45)]


def test_any_size_and_any_depth_of_folder(infer_with, tmp_path):
    for i, (height, width) in enumerate(SIZES):
        folder = tmp_path.joinpath("photos", *["deeper"] * i)
        noise(folder / f"{height}x{width}.png", height, width, 3 + i % 2)
    outcome = infer_with("photos")
    assert outcome.status == 0 and not outcome.err.count("infer.py")
    found = [path for path in (tmp_path / "predictions").rglob("*.png")]
    assert sorted(path.name for path in found) == results_of(*(f"{h}x{w}" for h, w in SIZES))
    for i, (height, width) in enumerate(SIZES):
        folder = tmp_path.joinpath("predictions", *["deeper"] * i)
        for kind in KINDS:
            result = read_photo(folder / f"{height}x{width}_{kind}.png")
            assert result.shape == (3, height, width)
        assert len(re.findall(rf"/{height}x{width}.png.*\d%", outcome.out)) == 1


def test_default_tiles(infer_with, tmp_path, monkeypatch):
    """As docs/speed.md measures them."""
    predict, used = tiling.predict, []

    def recorded(probability, photo, tile, overlap, *others, **options):
        used.append((tile, overlap))
        return predict(probability, photo, tile, overlap, *others, **options)

    monkeypatch.setattr(tiling, "predict", recorded)
    assert infer_with(noise(tmp_path / "x.png", 50, 60)).status == 0
    assert used == [(1600, 1 / 12)]


@pytest.mark.parametrize("arguments, tile, overlap, threshold", [
    ("", 1600, 1 / 12, None), ("--tile 64 --overlap 0.25", 64, 0.25, None),
    ("--threshold 0.52", 1600, 1 / 12, 133 / 256), ("--threshold 0", 1600, 1 / 12, 0)])
def test_results_are_those_of_the_model(infer_with, best, probability, tmp_path, arguments, tile,
                                        overlap, threshold):
    photo = noise(tmp_path / "x.png", 100, 150)
    outcome = infer_with(photo, "--output", "out", *arguments.split())
    assert outcome.status == 0, outcome.err
    if threshold is None:
        threshold = checkpoint.read(best).threshold
    wanted = probability(read_photo(photo), tile, overlap)
    crack = wanted >= threshold
    found = [read_photo(tmp_path / "out" / f"x_{kind}.png") for kind in KINDS]
    assert torch.equal(found[0][:1], tiling.to_bytes(wanted))
    assert torch.equal(found[1][:1], crack.to(torch.uint8) * 255)
    assert torch.equal(found[2], overlay.overlay(read_photo(photo), crack))
    share = re.search(r"x\.png: ([\d.]+)%", outcome.out).group(1)
    assert float(share) == pytest.approx(100 * crack.float().mean().item(), abs=0.01)


def test_a_runs_folder_is_a_checkpoint(script, best, tmp_path):
    noise(tmp_path / "x.png", 40, 40)
    outcomes = [script("infer.py", "x.png", "--checkpoint", path, "--output", name, "--device",
                       "cpu") for path, name in ((best, "file"), (best.parent, "folder"))]
    assert all(outcome.status == 0 for outcome in outcomes)
    assert str(best.parent) in outcomes[1].out
    for name in results_of("x"):
        assert (tmp_path / "file" / name).read_bytes() == (tmp_path / "folder" / name).read_bytes()


# Faults

def test_bad_photos_are_named_and_the_others_go_on(infer_with, tmp_path):
    noise(tmp_path / "good.png", 9, 9)
    noise(tmp_path / "last.png", 9, 9)
    (tmp_path / "bad.jpg").write_text("no picture")
    outcome = infer_with("bad.jpg", "good.png", "nowhere.jpg", "no*.tif", "last.png")
    assert outcome.status == 1 and "Traceback" not in outcome.err
    for name in ("bad.jpg", "nowhere.jpg", "no*.tif"):
        assert sum(line.startswith("infer.py: ") and name in line
                   for line in outcome.err.splitlines()) == 1
    assert names_in(tmp_path / "predictions") == results_of("good", "last")


def test_a_second_run_replaces_its_own_results_only(infer_with, tmp_path):
    """Results beside the photos, the worst place for them."""
    for name in ("x.png", "y.png"):
        noise(tmp_path / name, 9, 9)
    theirs = noise(tmp_path / "y_mask.png", 9, 9)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    refused(infer_with("x.png", "y.png", "--output", "."), "infer.py", theirs.name, "left alone")
    assert names_in(tmp_path) == ["x.png", "y.png", "y_mask.png"], "nothing was done"
    for threshold in (0, 0.9999):
        outcome = infer_with("x.png", "--output", ".", "--threshold", threshold)
        assert outcome.status == 0, outcome.err
        assert read_photo(tmp_path / "x_mask.png").unique().tolist() == [0 if threshold else 255]
    assert before == {name: (tmp_path / name).read_bytes() for name in before}
    outcome = infer_with("*.png", "--output", ".")  # the pattern finds results, too
    refused(outcome, "infer.py", "x_probability.png", "holds a photo or mask of this run")


def test_results_are_no_photos_for_the_next_run(infer_with, tmp_path):
    """`python infer.py .` twice: predictions/ lies in the folder of the photos."""
    noise(tmp_path / "x.png", 9, 9)
    for _ in range(2):
        assert infer_with(".").status == 0
    assert names_in(tmp_path / "predictions") == results_of("x")


@pytest.mark.parametrize("arguments, named", [
    ("--tile 0", "--tile"), ("--tile -64", "--tile"), ("--tile abc", "abc"),
    ("--overlap 1", "--overlap"), ("--overlap -0.1", "--overlap"), ("--overlap nan", "nan"),
    ("--threshold 2", "--threshold"), ("--threshold -1", "--threshold"),
    ("--threshold abc", "abc"), ("--threshold nan", "nan"),
    ("--device toaster", "toaster"), ("--device cuda:9", "cuda:9"), ("--precision fp16", "fp16"),
    ("--checkpoint nowhere.pt", "nowhere.pt"), ("--checkpoint notes.txt", "notes.txt"),
    ("--checkpoint .", "best.pt"),
    ("--masks nowhere", "nowhere"), ("--masks notes.txt", "notes.txt"),
    ("--output notes.txt", "notes.txt"),
])
def test_nonsense_is_refused_and_leaves_nothing(infer_with, tmp_path, arguments, named):
    noise(tmp_path / "x.png", 9, 9)
    (tmp_path / "notes.txt").write_text("years of work")
    refused(infer_with("x.png", *arguments.split()), "infer.py", named)
    assert names_in(tmp_path) == ["notes.txt", "x.png"]
    assert (tmp_path / "notes.txt").read_text() == "years of work"


def test_an_empty_folder_is_a_mistake(infer_with, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(infer_with("empty"), "infer.py", "empty")


# Scores

@pytest.fixture
def new_pairs(tmp_path) -> Path:
    """Six pairs that nothing was trained on; the last mask is black."""
    folder = write_pairs(tmp_path / "unseen", 20, 6)
    Image.new("L", (64, 64)).save(folder / "masks" / "wall_25.png")
    return folder


def test_the_score_sheet(infer_with, best, probability, new_pairs, tmp_path):
    outcome = infer_with("unseen/images", "--masks", "unseen/masks", "--output", "out")
    assert outcome.status == 0, outcome.err
    sheet = ScoreSheet(checkpoint.read(best).threshold)
    for photo in sorted((new_pairs / "images").iterdir()):
        image, truth = read_pair(Pair(photo, new_pairs / "masks" / photo.name, ""))
        sheet.add(photo.stem, "wall", (tiling.to_bytes(probability(image)) + 0.5) / 256, truth)
        crack = probability(image) >= sheet.threshold
        assert torch.equal(read_photo(tmp_path / "out" / f"{photo.stem}_overlay.png"),
                           overlay.overlay(image, crack, truth))
    found = json.loads((tmp_path / "out" / "scores.json").read_text())
    wanted = json.loads(json.dumps(sheet.summary()))
    assert {key: found[key] for key in wanted} == wanted and str(best) in found["checkpoint"]
    assert sheet.table() in outcome.out
    with open(tmp_path / "out" / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{key: "" if value is None else str(value) for key, value in row.items()}
                    for row in sheet.rows]
    assert read_photo(tmp_path / "out" / "worst.png").float().std() > 1


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)


def test_pictures_that_cannot_be_read_are_counted(infer_with, trained, tmp_path):
    """Wherever they lie; one that is named as a photo fails by its name."""
    shutil.copytree(trained / "walls" / "images", tmp_path / "walls/below")
    for name in ("IMG_1.HEIC", "IMG_2.heic", "b.nef", "below/a.gif", ".hidden.heic", "photo.jpg"):
        (tmp_path / "walls" / name).write_bytes(HEIC)
    outcome = infer_with("walls")
    assert outcome.status == 1
    assert "walls: pictures not read: 2 .heic, 1 .nef, 1 .gif; save them as" in outcome.out
    line, = [line for line in outcome.err.splitlines() if line.startswith("infer.py: ")]
    assert line.startswith("infer.py: walls/photo.jpg: not a picture in a format that can be read")
    assert "such as HEIC" in line
    assert "6 photos predicted, 1 failed" in outcome.out


@pytest.mark.parametrize("masks", ["masks", "images"])
def test_masks_may_say_so_in_their_names_and_lie_in_sub_folders(infer_with, new_pairs, tmp_path,
                                                                masks):
    """Also beside their photos."""
    for place in ("day1", "day2"):  # the same names in both
        shutil.copytree(new_pairs / "images", tmp_path / "set/images" / place)
        for mask in (new_pairs / "masks").iterdir():
            named = tmp_path / "set" / masks / place / f"{mask.stem}_mask.png"
            named.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(mask, named)
    shutil.copy(new_pairs / "images/wall_20.png", tmp_path / "set/images")
    shutil.copy(new_pairs / "masks/wall_20.png", tmp_path / "set" / masks / "wall_20_gt.png")
    outcome = infer_with("set/images", "--masks", tmp_path / "set" / masks)
    assert outcome.status == 0, outcome.err
    assert len((tmp_path / "predictions/scores.csv").read_text().splitlines()) == 1 + 2 * 6 + 1
    assert "masks that belong to none" not in outcome.out and "without a mask" not in outcome.out


def test_masks_below_the_photos_are_no_photos(infer_with, trained, tmp_path):
    """`infer.py walls --masks walls/masks`: no mask may be scored against itself."""
    shutil.copytree(trained / "walls", tmp_path / "walls")
    outcome = infer_with("walls", "--masks", "walls/masks")
    assert outcome.status == 0, outcome.err
    assert not any("masks" in line for line in outcome.out.splitlines() if "crack" in line)
    refused(infer_with("walls/masks", "--masks", "walls/masks"), "infer.py", "walls/masks",
            "no mask of these photos in it")


def test_two_photos_of_one_name_cannot_share_a_mask(infer_with, trained, tmp_path):
    for folder in ("a", "b"):
        shutil.copytree(trained / "walls", tmp_path / folder)
    outcome = infer_with("a/images", "b/images", "--masks", "a/masks")
    refused(outcome, "infer.py", "b/images", "second photo")


def test_trained_photos_are_left_out_and_counted(infer_with, trained, best, tmp_path):
    """Also copies under other names; and a mask that belongs to no photo at all is counted."""
    shutil.copytree(trained / "walls", tmp_path / "walls")
    split = checkpoint.read(best).split
    held_out = [Path(name).stem for name in split["validation"]]
    known = Path(next(iter(split["train"]))).stem
    for part in ("images", "masks"):
        shutil.copy(tmp_path / "walls" / part / f"{known}.png",
                    tmp_path / "walls" / part / "copy.png")
    (tmp_path / "walls" / "masks" / "stray.png").write_bytes(b"never read")
    outcome = infer_with("walls/images", "--masks", "walls/masks")
    assert outcome.status == 0, outcome.err
    found = json.loads((tmp_path / "predictions" / "scores.json").read_text())
    assert found["total"]["pooled"]["images"] == found["validation_photos"] == len(held_out)
    assert f"chosen on {len(held_out)} of these photos" in outcome.out
    with open(tmp_path / "predictions" / "scores.csv", newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == held_out
    assert re.search(rf"\b{len(split['train']) + 1} of 7 photos", outcome.out)
    assert "masks that belong to none of these photos: 1\n" in outcome.out


def test_a_mask_of_another_size_is_reported_and_the_others_scored(infer_with, new_pairs, tmp_path):
    Image.new("L", (64, 63)).save(new_pairs / "masks" / "wall_22.png")
    outcome = infer_with("unseen/images", "--masks", "unseen/masks", "--output", "out")
    assert outcome.status == 1
    assert [line for line in outcome.err.splitlines()
            if line.startswith("infer.py: ") and "masks/wall_22.png" in line]
    found = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert found["total"]["pooled"]["images"] == 5


@pytest.mark.parametrize("name", ["scores.json", "scores.csv", "worst.png"])
def test_a_users_score_file_is_left_alone(infer_with, new_pairs, tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("years of work")
    refused(infer_with("unseen/images/wall_20.png", "--masks", "unseen/masks", "--output", "out"),
            "infer.py", name)
    assert (tmp_path / "out" / name).read_text() == "years of work"

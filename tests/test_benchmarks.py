"""Do the scripts behind the numbers and pictures run, and is the stress sheet right?"""

import json
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import stress
import torch
import widths
from conftest import refused, run_script
from torch import Generator
from torch.nn import functional as F

from unet_resnet import UNetResNet, checkpoint
from unet_resnet.files import fingerprint
from unet_resnet.images import read_photo, write_png
from unet_resnet.synthetic import pavement


def write_set(folder: Path, *names: str) -> None:
    """Photos of noise, and masks with a line in it; none in those of scenes."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for name in names:
        noise = Generator().manual_seed(zlib.crc32(name.encode()))  # no two are copies
        mask = torch.zeros(1, 48, 64, dtype=torch.uint8)
        photo = torch.randint(256, (3, 48, 64), generator=noise).byte()
        mask[:, 20:23] = 255 * ("scene" not in name)
        write_png(folder / "images" / f"{name}.png", photo)
        write_png(folder / "masks" / f"{name}.png", mask)


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    write_set(folder / "crackmix", *(f"{source}_{i:03d}" for i in range(10)
                                     for source in ("CFD", "DeepCrack")))
    write_set(folder / "confusers", *(f"{wall}_{i}{end}" for i in range(10)
                                      for wall, end in (("masonry_a", "_1"), ("scene", ""))))
    return folder


@pytest.fixture(scope="module")
def tiny(sets, tmp_path_factory) -> Iterator[Path]:
    """A network that has learned from the CFD photos 000 to 004."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.pt"
    photos = sorted((sets / "crackmix/images").glob("CFD_*"))[:5]
    torch.manual_seed(0)  # one that finds cracks everywhere would be measured for minutes
    checkpoint.save(path, UNetResNet((1, 1, 1, 1), (8, 8, 8, 8, 8)), threshold=0.9, split={
        "train": {photo.name: fingerprint(photo) for photo in photos}, "validation": {}})
    yield path
    path.unlink()


def study(sets: Path, start: Path, *arguments: object) -> tuple[object, ...]:
    return ("benchmarks/recipe.py", "--sets", sets / "crackmix", sets / "confusers", "--start",
            start, "--steps", 2, "--batch", 2, "--crop", 64, "--device", "cpu", *arguments)


def test_a_run_of_the_study_and_its_table(sets, tiny, tmp_path):
    for arguments in (("--balance", "--without", "DeepCrack", "scene"), ("--seed", 1)):
        outcome = run_script(tmp_path, *study(sets, tiny, *arguments))
        assert outcome.status == 0, outcome.err
    rows = [json.loads(line) for line in (tmp_path / "recipe.jsonl").read_text().splitlines()]
    assert rows[0]["unseen"].keys() == {"DeepCrack", "scene"}
    assert rows[0]["unseen"]["DeepCrack"]["images"] == 10, "all of a source left out is scored"
    assert rows[0]["seen"].keys().isdisjoint(rows[0]["unseen"])
    assert {"DeepCrack", "masonry", "scene"} <= rows[1]["seen"].keys() and not rows[1]["unseen"]
    assert rows[1]["crack_free"]["images"] == rows[1]["seen"]["scene"]["images"] > 0
    for row in rows:
        scored = [each["dice"] for each in row["seen"].values() if each["dice"] is not None]
        assert row["macro_dice"] == pytest.approx(sum(scored) / len(scored))
        assert row["recall_by_width"]["share_below_5px"] == 1  # every crack is 3 pixels wide
        assert row["enlarged"]["x1"] == pytest.approx(row["macro_dice"])  # few, so all of them
    table = run_script(tmp_path, "benchmarks/recipe_table.py", "recipe.jsonl").out.splitlines()
    assert len(table) == 4 and len({line.count("|") for line in table}) == 1
    assert table[2].startswith("| without ['DeepCrack', 'scene'], balance True | 0 |")
    assert table[3].startswith("| without [], balance False | 1 |")


@pytest.mark.parametrize("source", ["deepcrack", "CFD"])
def test_a_source_that_is_not_there_or_known_already_is_not_left_out(sets, tiny, tmp_path, source):
    refused(run_script(tmp_path, *study(sets, tiny, "--without", source)), "recipe.py",
            f"{source}: expected", "DeepCrack, masonry, scene")


def test_what_the_weights_have_learned_from_is_not_scored(sets, tiny, tmp_path):
    model, _ = checkpoint.load(tiny)
    photos = sorted((sets / "crackmix/images").glob("CFD_*"))
    checkpoint.save(tmp_path / "start.pt", model, split={
        "train": {photo.name: fingerprint(photo) for photo in photos}, "validation": {}})
    outcome = run_script(tmp_path, *study(sets, tmp_path / "start.pt"))
    assert outcome.status == 0, outcome.err
    row = json.loads((tmp_path / "recipe.jsonl").read_text())
    assert row["seen"].keys() == {"DeepCrack", "masonry", "scene"}


def test_the_stress_sheet_of_a_checkpoint(sets, tiny, tmp_path):
    """All conditions; without photos that the checkpoint has learned from."""
    for path in sets.glob("crackmix/*/CFD_00[3-6].png"):
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / path.parent.name / path.name)
    arguments = ("--masks", tmp_path / "masks", "--checkpoint", tiny)
    outcome = run_script(tmp_path, "benchmarks/stress.py", tmp_path / "images", *arguments)
    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].startswith("2 of 4 photos left out: ") and lines[1].startswith("2 photos, ")
    rows = [line for line in lines if line.endswith("%")]
    assert [row[:13].strip() for row in rows] == NAMES
    refused(run_script(tmp_path, "benchmarks/stress.py", tmp_path / "none", *arguments),
            "stress.py", "none: no such folder")
    for path in (tmp_path / "images").glob("CFD_00[56].png"):
        path.unlink()
    refused(run_script(tmp_path, "benchmarks/stress.py", tmp_path / "images", *arguments),
            "stress.py", "no photo")


def test_widths_of_predictions_and_masks(sets, tiny, tmp_path):
    """Of the validation photos with cracks, by source and width; the mask is 3 pixels wide."""
    model, _ = checkpoint.load(tiny)
    names = [f"{source}_{i:03d}.png" for source in ("CFD", "DeepCrack") for i in (7, 8)]
    photos = [path for path in sets.glob("*/images/*") if path.name in [*names, "scene_1.png"]]
    checkpoint.save(tmp_path / "run.pt", model, 1 / 256, split={
        "train": {}, "validation": {path.name: fingerprint(path) for path in photos}})
    arguments = ("--data", sets / "crackmix", sets / "confusers", "--checkpoint")
    outcome = run_script(tmp_path, "benchmarks/widths.py", *arguments, tmp_path / "run.pt",
                         "--device", "cpu", "--calibrate")
    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    assert [row[:14].strip() for row in lines[2:6]] == [
        "CFD", "DeepCrack", "2: 3 to 6 px", "all"]
    assert lines[5].split()[1] == "4" and lines[-1].startswith("calibration: ")
    refused(run_script(tmp_path, "benchmarks/widths.py", *arguments, tiny), "widths.py",
            "no photo that", "validated on")


def test_ratios_of_widths():
    """Found a quarter too wide and as long as they are, one missed; a factor of 0.8 mends that."""
    photos = [widths.Photo("a", float(w), 1.25 * w, 10.0 * w, 10.0 * w) for w in range(2, 10)]
    name, count, missed, width, spread, length, *_ = widths.line("a", [
        *photos, widths.Photo("a", 5.0, 0.0, 30.0, 0.0)])
    assert (count, missed, width, spread) == ("9", "1", "1.25", "1.25 to 1.25")
    assert length == "1.00"
    assert widths.line("b", [widths.Photo("b", 5.0, 0.0, 30.0, 0.0)])[1:4] == ("1", "1", "-")
    assert [widths.width_class(photo) for photo in (photos[0], photos[1], photos[-1])] == [
        "1: 0 to 3 px", "2: 3 to 6 px", "3: 6 to 12 px"]
    said = widths.calibration(photos)
    assert "times 0.800, from 4 photos" in said
    assert said.endswith("1.25 to 1.25, median error 25.0%, become 1.00 to 1.00, median error 0.0%")
    assert "too few" in widths.calibration(photos[:1])


def test_a_copy_with_thinner_masks(sets, tmp_path):
    """A line of three rows becomes one; those of other sources stay; nothing is overwritten."""
    arguments = "benchmarks/thin_masks.py", sets / "crackmix", tmp_path / "thin", "--sources", "CFD"
    outcome = run_script(tmp_path, *arguments)
    assert outcome.status == 0, outcome.err
    for name, rows in (("CFD_000", [21]), ("DeepCrack_000", [20, 21, 22])):
        mask = read_photo(tmp_path / f"thin/train/masks/{name}.png")[0]
        assert [*mask.any(1).nonzero()[:, 0]] == rows and (mask[rows] == 255).all()
        assert fingerprint(tmp_path / f"thin/train/images/{name}.png") == fingerprint(
            sets / f"crackmix/images/{name}.png")
    refused(run_script(tmp_path, *arguments), "thin_masks.py", "thin")


def test_pictures_for_the_docs(tiny, tmp_path):
    for name, *arguments in (("augmentations",),
                             ("failures", "--checkpoint", tiny),
                             ("showcase", "--checkpoint", tiny)):
        outcome = run_script(tmp_path, f"benchmarks/{name}.py", *arguments)
        assert outcome.status == 0, outcome.err
        picture, = tmp_path.glob(f"{name}.*")
        assert read_photo(picture).shape[2] > 900


# The stress sheet

NAMES = ["as it is", *stress.STRESS, *stress.SCALES]


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    return pavement.render(0, size=64)[0]


@pytest.mark.parametrize("name", stress.STRESS)
def test_stress_is_repeatable_and_degrades_a_copy(photo, name):
    before = photo.clone()
    degraded = stress.degrade(photo, name)
    assert degraded.dtype == torch.uint8 and degraded.shape == photo.shape
    assert torch.equal(photo, before) and torch.equal(degraded, stress.degrade(photo, name))
    assert not torch.equal(degraded, photo)


@pytest.mark.parametrize("factor", [2, 4])
def test_an_enlarged_mask_stays_on_its_photo(factor):
    """Each pixel becomes a square, whose middle has the photo's own value."""
    photo = torch.randint(256, (3, 7, 9), generator=Generator().manual_seed(0)).byte()
    truth = photo[:1] > 128
    image, mask = stress.rescale(photo, truth, factor)
    square = torch.ones(factor, factor, dtype=torch.bool)
    assert torch.equal(mask[0], torch.kron(truth[0].byte(), square.byte()).bool())
    centres = F.avg_pool2d(image.float(), factor)[:, 1:-1, 1:-1]
    assert F.cosine_similarity((centres - centres.mean()).flatten(), (
        photo[:, 1:-1, 1:-1] - photo.float().mean()).flatten(), 0) > 0.9
    same = stress.rescale(photo, truth, 1.0)
    assert torch.equal(same[0], photo) and torch.equal(same[1], truth)


def test_a_reduced_pixel_is_crack_where_half_of_it_is():
    truth = torch.tensor([[1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 1]])[None].bool()
    photo = 200 * truth.expand(3, -1, -1).byte()
    image, mask = stress.rescale(photo, truth, 0.5)
    assert image.shape == (3, 1, 3) and mask.tolist() == [[[True, False, False]]]
    assert image[0, 0, 0] > image[0, 0, 1] > 0


def test_a_detector_of_dark_pixels(photo):
    """It loses all in a picture without light, and nothing where the light stays."""
    def dark_pixels(image: torch.Tensor) -> torch.Tensor:
        return image.float().mean(0, keepdim=True) < 100

    truth, sheet = dark_pixels(photo), stress.StressSheet()
    for _ in range(2):
        sheet.add(photo, truth, dark_pixels)
    scores = sheet.summary()
    assert list(scores) == NAMES
    assert scores["as it is"] == dict.fromkeys(
        ("iou", "dice", "precision", "recall", "survives"), 1.0)
    share = truth.float().mean().item()
    assert scores["dark"]["recall"] == 1 and scores["dark"]["precision"] == pytest.approx(
        share, abs=0.02)  # everything is dark now
    assert scores["JPEG"]["survives"] > scores["dark"]["survives"]
    for name in stress.SCALES:  # dark pixels are dark at any size, but for the edges
        assert scores["dark"]["survives"] < scores[name]["survives"] < 1
    pixels = [sheet.counts[name].pixels / sheet.counts["as it is"].pixels for name in stress.SCALES]
    assert pixels == [4, 16, 0.25]
    table = sheet.table()
    assert "painted lines" in table and f"{scores['dark']['survives']:.0%}" in table


def test_each_photo_has_its_own_noise_and_lines():
    """Which do not depend on what came before it."""
    def degraded(*greys: int) -> list[torch.Tensor]:
        truth = torch.ones(1, 40, 50, dtype=torch.bool)
        photos = [torch.full((3, 40, 50), grey, dtype=torch.uint8) for grey in greys]
        return [image - grey for grey, photo in zip(greys, photos)
                for _, image, _ in stress.conditions(photo, truth)]

    first, second = degraded(100, 101), degraded(101, 100)
    for i in (NAMES.index("noise"), NAMES.index("painted lines")):
        assert not torch.equal(first[i], first[len(NAMES) + i])
        assert torch.equal(first[i], second[len(NAMES) + i])


def test_a_detector_that_finds_nothing():
    photo, truth = torch.zeros(3, 8, 8, dtype=torch.uint8), torch.ones(1, 8, 8, dtype=torch.bool)
    sheet = stress.StressSheet()
    sheet.add(photo, truth, lambda image: torch.zeros_like(image[:1]).bool())
    assert sheet.summary()["dark"]["survives"] == 0 and "0%" in sheet.table()

"""Every known fault is found, counted and shown; a clean data set has none."""

import io
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from unet_resnet import images
from unet_resnet.audit import findings, split
from unet_resnet.audit.findings import KINDS, audit
from unet_resnet.files import fingerprint
from unet_resnet.audit.folders import find
from unet_resnet.audit.mask_rules import is_frayed
from unet_resnet.images import MaskRule
from unet_resnet.synthetic import pavement

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def texture(seed: int, side: int = 96) -> Image.Image:
    """A photograph with shapes of its own, so that no two look alike to a hash."""
    knots = np.random.default_rng(seed).uniform(0, 255, (8, 8, 3)).astype(np.uint8)
    return Image.fromarray(knots).resize((side, side), Image.Resampling.BICUBIC)


def line(value: int = 255, side: int = 96, width: int = 5) -> np.ndarray:
    mask = np.zeros((side, side), np.uint8)
    mask[40:40 + width, 8:-8] = value
    return mask


def jpeg(array: np.ndarray, quality: int = 40) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A clean data set of five pairs."""
    names = ("CFD_001", "CFD_002", "DeepCrack_11111", "DeepCrack_22222", "own_1")
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for seed, name in enumerate(names):
        texture(seed).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(line()).save(tmp_path / "masks" / f"{name}.png")
    return tmp_path


def write_mask(array: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: Image.fromarray(array).save(folder / "masks" / "CFD_001.png")


def speckled() -> np.ndarray:
    """A mask as the 11k set has them: saved as JPEG, then cut at a value within the noise."""
    slanted = np.array(Image.fromarray(line()).rotate(30))
    return np.where(jpeg(slanted) > 2, 255, 0).astype(np.uint8)


def black_everywhere(folder: Path) -> None:
    for path in (folder / "masks").iterdir():
        Image.new("L", (96, 96)).save(path)


def one_everywhere(folder: Path) -> None:
    for path in (folder / "masks").iterdir():
        Image.fromarray(np.array(Image.open(path)) // 255).save(path)


def turned_by_exif(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(folder / "images/CFD_001.png").save(folder / "images/CFD_001.png", exif=exif)


def soft(mask: np.ndarray) -> np.ndarray:
    """With edges of many values, as after blurring."""
    return np.array(Image.fromarray(mask).filter(ImageFilter.GaussianBlur(2)))


FAULTS = {
    "photo cannot be read": lambda folder: (folder / "images/CFD_001.png").write_bytes(b"no"),
    "mask cannot be read": lambda folder: (folder / "masks/CFD_001.png").write_bytes(b""),
    "photo without mask": lambda folder: (folder / "masks/CFD_001.png").unlink(),
    "mask without photo": lambda folder: (folder / "images/CFD_001.png").unlink(),
    "photo and mask differ in size": write_mask(line(side=95)),
    "mask is more than half white": write_mask(255 - line()),
    "mask is drawn, but too dark to count": write_mask(soft(line(100))),
    "masks are ambiguous": write_mask(line(100)),
    "no mask has any crack": black_everywhere,
    "mask is frayed: JPEG noise became crack": write_mask(speckled()),
    "masks are not 0 and 255": one_everywhere,
    "photo is turned by EXIF, its mask is not": turned_by_exif,
    "mask is black": write_mask(line(0)),
}
# Two parts, or many photos: tests of their own.
ELSEWHERE = {"photos shared by train, val or test", "frames of a video"}


def kinds(folder: Path) -> dict[str, int]:
    return {finding.kind: len(finding.files) for finding in audit(find([folder]))[1]}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "unet_resnet.audit", str(folder), *arguments],
                          capture_output=True, text=True)


def test_a_clean_set_has_no_findings(folder):
    assert kinds(folder) == {}


def test_every_kind_has_a_case():
    assert FAULTS.keys() | ELSEWHERE == KINDS.keys()


@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_is_found_and_no_other_invented(folder, kind):
    FAULTS[kind](folder)
    expected = {kind: 1} | ({"mask is black": 5} if kind == "no mask has any crack" else {})
    assert kinds(folder) == expected


@pytest.mark.parametrize("count, found", [(9, {}), (10, {"frames of a video": 10})])
def test_frames_of_a_video_are_noticed_unless_a_split_is_given(tmp_path, count, found):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    names = [f"{'flight2_' * (i % 2)}frame_{i:04d}{'_x0_y0' * (i % 3 == 0)}.png"
             for i in range(count)]
    for seed, name in enumerate(names):
        texture(seed).save(tmp_path / "images" / name)
        Image.fromarray(line()).save(tmp_path / "masks" / name)
    assert kinds(tmp_path) == found
    given = {"train": dict.fromkeys(names[::2]), "validation": dict.fromkeys(names[1::2])}
    for own, noted in ((None, bool(found)), ("groups", bool(found)), (given, False)):
        *_, notes = split.load_pairs([tmp_path], split=own)
        assert any("whole recordings" in note for note in notes) == noted


def test_masks_that_cannot_be_read_are_not_said_to_be_black(folder):
    black_everywhere(folder)
    FAULTS["mask cannot be read"](folder)
    assert "no mask has any crack" not in kinds(folder)


def test_what_is_no_error():
    assert {kind for kind, (severity, _) in KINDS.items() if severity != "error"} == {
        findings.SHARED, findings.FRAMES, findings.FRAYED, findings.UNSURE, findings.SPECIAL,
        findings.BLACK}


@pytest.mark.parametrize("kind", [kind for kind in FAULTS if KINDS[kind][0] == "error"])
def test_training_stops_on_what_would_spoil_it(folder, kind):
    FAULTS[kind](folder)
    with pytest.raises(ValueError, match=kind) as caught:
        split.load_pairs([folder])
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("split_by", [None, "groups"])
def test_each_file_is_opened_and_hashed_once(folder, monkeypatch, split_by):
    """From finding the pairs to writing down the split."""
    opened, hashed = Counter(), Counter()

    def counted(function: Callable, counts: Counter[str]) -> Callable:
        def call(path: Path) -> object:
            counts[f"{path.parent.name}/{path.name}"] += 1
            return function(path)
        return call

    for module in (findings, images):
        monkeypatch.setattr(module, "open_image", counted(images.open_image, opened))
    monkeypatch.setattr(findings, "fingerprint", counted(fingerprint, hashed))
    sides = split.load_pairs([folder], split=split_by)[:2]
    described = [split.describe_split(*sides, part) for part in ("image", "mask")]
    pairs = [pair for side in sides for pair in side]
    photos = [f"images/{pair.image.name}" for pair in pairs]
    masks = [f"masks/{pair.mask.name}" for pair in pairs]
    assert hashed == dict.fromkeys(photos + masks, 1)
    assert {photo: opened[photo] for photo in photos} == dict.fromkeys(photos, 1)
    monkeypatch.undo()
    assert described == [{name: {pair.image.name: fingerprint(getattr(pair, part)) for pair in side}
                          for name, side in zip(("train", "validation"), sides)}
                         for part in ("image", "mask")]


def test_leaks_between_train_and_test_are_found_by_name_and_by_content(tmp_path):
    content = {"train": {"CRACK500_20160222_081102_1_1": 1, "forest_007": 2, "wall": 3, "road": 4},
               "test": {"CRACK500_20160222_081102_641_1": 5, "CFD_007": 6, "other": 3, "own": 7}}
    for part, photos in content.items():
        for folder in ("images", "masks"):
            (tmp_path / part / folder).mkdir(parents=True)
        for name, seed in photos.items():
            texture(seed).save(tmp_path / part / "images" / f"{name}.jpg", quality=70)
            Image.fromarray(line()).save(tmp_path / part / "masks" / f"{name}.png")
    leak = "photos shared by train, val or test"
    assert kinds(tmp_path) == {leak: 3}


def test_command_reports_and_its_exit_status_tells(folder, tmp_path):
    Image.new("L", (96, 96)).save(folder / "masks/own_1.png")
    clean = run(folder, "--json", str(tmp_path / "clean.json"))
    assert clean.returncode == 0 and "no errors found" in clean.stdout
    report = json.loads((tmp_path / "clean.json").read_text())
    assert report["pairs"] == {"train": 5}
    (black,) = report["findings"]
    assert black["kind"] == "mask is black" and black["count"] == len(black["files"]) == 1
    assert report["sources"]["CFD"]["crack_share"] == pytest.approx(80 * 5 / 96 ** 2)
    assert report["sources"]["own"]["without_cracks"] == 1

    FAULTS["mask is more than half white"](folder)
    faulty = run(folder)
    assert faulty.returncode == 1 and "CFD_001.png" in faulty.stdout

    again = run(folder, "--json", str(tmp_path / "clean.json"))
    assert again.returncode == 1 and "clean.json" in again.stderr  # not written over
    assert not again.stdout, "refused before the data set is read"
    assert json.loads((tmp_path / "clean.json").read_text()) == report
    assert "Traceback" not in again.stderr + run(folder / "nowhere").stderr


def test_a_mask_that_cannot_be_read_is_not_one_without_cracks(folder, tmp_path):
    FAULTS["mask cannot be read"](folder)
    run(folder, "--json", str(tmp_path / "found.json"))
    sources = json.loads((tmp_path / "found.json").read_text())["sources"]
    assert [source["without_cracks"] for source in sources.values()] == [0, 0, 0]


def test_command_names_what_is_not_used(folder, tmp_path):
    (folder / "old_masks").mkdir()
    (folder / "images/b.avif").write_bytes(b"GIF89a")
    result = run(folder, "--json", str(tmp_path / "found.json"))
    assert result.returncode == 0, result.stdout
    lines = ["not used: old_masks/",
             "pictures not read: 1 .avif; save them as .jpg or .png first"]
    assert [line for line in result.stdout.splitlines() if line in lines] == lines
    assert json.loads((tmp_path / "found.json").read_text())["not_used"] == lines


def test_command_names_masks_without_photos(folder):
    for mask in list((folder / "masks").iterdir()):
        mask.rename(mask.with_stem(f"{mask.stem}_crack"))
    result = run(folder)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "photo without mask: 5" in result.stdout and "_crack" in result.stdout


@pytest.mark.parametrize("index", [11, 15, 30, 34, 211, 378, 399])
def test_drawn_cracks_are_not_frayed(index):
    """Those of the first 400 that come nearest to it: ragged, thin and branching."""
    crack = pavement.render(index)[1][0].numpy() > 0
    assert crack.any() and not is_frayed(crack)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the khanhha sample beside the repository")
def test_frayed_masks_of_the_11k_set_are_told_from_its_thin_ones():
    frayed = {"Rissbilder": True, "Volker": True, "Eugen": True,
              "cracktree200": False, "CFD": False, "forest": False, "DeepCrack": False}
    masks = sorted((SHARED / "khanhha_sample/train/masks").iterdir())
    for mask in masks:
        source = mask.name.split("_")[0]
        if source in frayed:
            crack = MaskRule().read(mask, mask)[0].numpy() > 0
            assert is_frayed(crack) == frayed[source], mask.name

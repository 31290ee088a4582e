"""Is every bad file named in one line, is the rest still done, and is nothing of the user's lost?

Pictures, masks, folders and names; what is wrong with checkpoints is another table.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import runpy
import shutil
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from conftest import ROOT, TINY, Outcome, refused, run_script, write_pairs
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from unet_resnet import UNetResNet, checkpoint
from unet_resnet.files import one_line
from unet_resnet.images import LIMIT, MaskRule, read_photo
from unet_resnet.inference.inputs import find_photos
from unet_resnet.audit.mask_rules import read_values

# The filter that images.py sets when it is imported is not in force under pytest's own.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

Make = Callable[[Path], object]


def read_mask(path: Path) -> torch.Tensor:
    return MaskRule().read(path, path)


INFER = ("--device", "cpu", "--precision", "fp32", "--checkpoint")
RANDOM = np.random.default_rng(0)


def picture(height: int = 64, width: int = 64) -> Image.Image:
    return Image.fromarray(RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    (image or picture()).save(file, kind, **options)
    return file.getvalue()


def holds(content: bytes | str) -> Make:
    return lambda path: path.write_bytes(content.encode() if isinstance(content, str) else content)


def half(kind: str) -> bytes:
    content = encoded(kind)
    return content[:len(content) // 2]


def png_bomb(side: int = 60_000) -> bytes:
    """A PNG of a few kilobytes that claims side * side pixels, its checksum right."""
    content = bytearray(encoded("PNG"))
    content[16:24] = struct.pack(">II", side, side)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def bmp_bomb() -> bytes:
    content = bytearray(encoded("BMP"))
    content[18:26] = struct.pack("<ii", 60_000, 60_000)
    return bytes(content)


def floats(value: float) -> bytes:
    array = np.zeros((64, 64), np.float32)
    array[3, 3] = value
    return encoded("TIFF", Image.fromarray(array))


NONE = "not a picture in a format that can be read"
LONG = "l" * 251 + ".jpg"  # the longest name that most disks take

# Name: how to make it, and what its line must say.
BAD: dict[str, tuple[Make, str]] = {
    "html.jpg": (holds("<html><h1>404 Not Found</h1></html>"), NONE),
    "text.png": (holds("no picture"), NONE),
    "zip.tif": (holds(b"PK\3\4" + bytes(60)), NONE),
    "zeros.bmp": (holds(bytes(5000)), NONE),
    "postscript.jpg": (holds("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), NONE),
    "animation.jpg": (holds(encoded("GIF", save_all=True, append_images=[picture()])), NONE),
    "empty.jpg": (Path.touch, NONE),
    "cut_jpeg.jpg": (holds(half("JPEG")), "truncated"),
    "cut_png.png": (holds(half("PNG")), "truncated"),
    "cut_tiff.tif": (holds(half("TIFF")), ""),
    "cut_webp.webp": (holds(half("WEBP")), ""),
    "cut_bmp.bmp": (holds(half("BMP")), "truncated"),
    "header_only.jpg": (holds(encoded("JPEG")[:30]), ""),
    "broken_png.png": (holds(encoded("PNG").replace(b"IDAT", b"IDAB", 1)), ""),
    "bomb.png": (holds(png_bomb()), LIMIT),
    "bomb.bmp": (holds(bmp_bomb()), LIMIT),
    "nan.tif": (holds(floats(np.nan)), "no known range"),
    "infinite.tif": (holds(floats(np.inf)), "no known range"),
    "loop.jpg": (lambda path: path.symlink_to(path.name), "no such file"),
    "dangling.jpg": (lambda path: path.symlink_to("nowhere.jpg"), "no such file"),
    "pipe.jpg": (os.mkfifo, "not a file"),
    "two\nlines.jpg": (holds("no picture"), NONE),
    "red\x1b[31m.jpg": (holds("no picture"), NONE),
    "bytes\udcff\udcfe.jpg": (holds("no picture"), NONE),
    "写真 ひび.jpg": (holds("no picture"), NONE),
    "-dash.jpg": (holds("no picture"), NONE),
    " a space .jpg": (holds("no picture"), NONE),
    LONG: (holds("no picture"), NONE),
}

# What is odd, but a picture: name, how to make it, size (height, width), what else is said.
ODD: dict[str, tuple[Make, tuple[int, int], str]] = {
    "one_pixel.png": (holds(encoded("PNG", picture(1, 1))), (1, 1), ""),
    "line.png": (holds(encoded("PNG", picture(1, 10_000))), (1, 10_000), ""),
    "png_named.jpg": (holds(encoded("PNG")), (64, 64), ""),
    "deep.png": (holds(encoded("PNG", Image.fromarray(
        RANDOM.integers(0, 65536, (9, 9), dtype=np.uint16)))), (9, 9), ""),
    "cmyk.jpg": (holds(encoded("JPEG", picture().convert("CMYK"))), (64, 64), ""),
    "palette.png": (holds(encoded("PNG", picture().quantize(9), transparency=bytes(range(9)))),
                    (64, 64), ""),
    "pages.tif": (holds(encoded("TIFF", save_all=True, append_images=[picture()])), (64, 64),
                  "only the first"),
    "frames.webp": (holds(encoded("WEBP", save_all=True, append_images=[picture()])), (64, 64),
                    "only the first"),
    "frames.png": (holds(encoded("PNG", save_all=True, append_images=[picture()])), (64, 64),
                   "only the first"),
    "exif.jpg": (holds(encoded("JPEG", exif=b"Exif\0\0garbage" + bytes(range(200)))), (64, 64), ""),
    "exif_cut.webp": (holds(encoded("WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")), (64, 64),
                      ""),
    "good two\nlines.png": (holds(encoded("PNG")), (64, 64), ""),
    "good bytes\udcff.png": (holds(encoded("PNG")), (64, 64), ""),
    "割れ.png": (holds(encoded("PNG")), (64, 64), ""),
    "-good.png": (holds(encoded("PNG")), (64, 64), ""),
}


def make(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (BAD | ODD)[name][0](folder / name)
    return folder / name


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder, with what is in it or where it leads."""
    found = {}
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            if path.is_symlink():
                found[str(path)] = f"-> {os.readlink(path)}"
            elif path.is_file():
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                found[str(path)] = "special"
    return found


def lines_about(text: str, name: str) -> list[str]:
    return [line for line in text.replace("\r", "\n").split("\n") if one_line(name) in line]


# infer.py: one run over all of them

class Run(NamedTuple):
    outcome: Outcome
    folder: Path  # with photos/ and out/


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("weights") / "best.pt"
    torch.manual_seed(0)
    checkpoint.save(path, UNetResNet((1, 1, 1, 1), (8, 8, 8, 8, 8)).eval(), 0.375)
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def inferred(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Bad files, odd ones, and a good one at each end of the order they are read in."""
    folder = tmp_path_factory.mktemp("hostile")
    for name in (*BAD, *ODD):
        make(folder / "photos", name)
    for name in ("!first.png", "zz_last.jpg"):
        picture().save(folder / "photos" / name)
    (folder / "photos/folder.jpg").mkdir()
    (folder / "photos/folder.jpg/up").symlink_to("..")  # a circle of links
    before = contents(folder)
    outcome = run_script(folder, "infer.py", "photos", "--output", "out", *INFER, weights)
    after = contents(folder)
    assert before == {path: after.get(path) for path in before}, "an input was changed"
    return Run(outcome, folder)


def test_all_in_all(inferred):
    status, out, err = inferred.outcome
    assert status == 1 and "Traceback" not in out + err
    assert len([line for line in err.splitlines() if line.startswith("infer.py: ")]) == len(BAD)
    assert f"{len(ODD) + 2} photos predicted, {len(BAD)} failed" in out
    assert len(out.splitlines()) == len(ODD) + 4  # with the checkpoint's and the last one


@pytest.mark.parametrize("name", ["!first.png", "zz_last.jpg"])
def test_good_photos_beside_bad_ones_are_predicted(inferred, name):
    assert len(lines_about(inferred.outcome.out, name)) == 1
    assert read_photo(inferred.folder / f"out/{Path(name).stem}_overlay.png").shape == (3, 64, 64)


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_infer_names_a_bad_photo_in_one_line(inferred, name):
    line, = lines_about(inferred.outcome.err, f"/{name}: ")
    assert line.startswith("infer.py: photos/") and BAD[name][1] in line
    assert not lines_about(inferred.outcome.out, name)
    assert not list((inferred.folder / "out").glob(f"{Path(name).stem}_*"))


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_infer_predicts_an_odd_photo(inferred, name):
    line, = lines_about(inferred.outcome.out, f"/{name}: ")
    _, size, said = ODD[name]
    assert said in line and ("only" in line) == bool(said)
    told = re.search(r"results in (.+)_\*\.png", line)
    results = told[1] if told else Path(name).stem
    assert read_photo(inferred.folder / "out" / f"{results}_mask.png").shape[1:] == size


def test_a_folder_that_may_not_be_read_is_named(weights, tmp_path, monkeypatch):
    """Root may read everything: the refusal is played."""
    picture().save(make(tmp_path / "photos", "one_pixel.png").with_name("x.png"))
    (tmp_path / "photos/secret").mkdir()

    def barred(function):
        def look(path="."):
            if str(path).endswith("secret"):
                raise PermissionError(13, "Permission denied", str(path))
            return function(path)
        return look

    monkeypatch.setattr(os, "scandir", barred(os.scandir))
    monkeypatch.setattr(os, "listdir", barred(os.listdir))
    outcome = run_script(tmp_path, "infer.py", "photos", *INFER, weights)
    line, = lines_about(outcome.err, "secret")
    assert outcome.status == 1 and line == "infer.py: photos/secret: not a file"
    assert "2 photos predicted, 1 failed" in outcome.out


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_named(tmp_path):
    picture().save(tmp_path / "x.png")
    (tmp_path / "x.png").chmod(0)
    for read in (read_photo, read_mask, read_values):
        with pytest.raises(ValueError, match="x.png: Permission denied"):
            read(tmp_path / "x.png")


def test_names_that_a_terminal_lacks(weights, tmp_path, monkeypatch):
    odd = ["good two\nlines.png", "good bytes\udcff.png", "割れ.png", "-good.png"]
    for name in (*odd, "bytes\udcff\udcfe.jpg"):
        make(tmp_path, name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["infer.py", *INFER, str(weights), "--",
                                      *sorted(os.listdir(tmp_path))])
    terminal = io.TextIOWrapper(io.BytesIO(), "ascii")
    with contextlib.redirect_stdout(terminal), pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / "infer.py"), run_name="__main__")
    terminal.flush()
    lines = terminal.buffer.getvalue().decode("ascii").splitlines()
    assert len(lines) == 2 + len(odd) and f"{len(odd)} photos predicted" in lines[-1]
    for name in (r"good two\nlines.png: ", r"good bytes\udcff.png: ", r"\u5272\u308c.png: "):
        assert len([line for line in lines if line.startswith(name)]) == 1


def test_pillow_does_not_chatter(tmp_path):
    """Of damaged EXIF data it warns. A module loaded anew sets its filter in front of pytest's."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Image.open(make(tmp_path, "exif_cut.webp")).getexif()
        assert caught, "nothing to be silent about"
        caught.clear()
        module = runpy.run_path(str(ROOT / "unet_resnet/images.py"))
        module["read_photo"](tmp_path / "exif_cut.webp")
    assert not caught


@pytest.mark.parametrize("pattern, found", [
    ("photos/**/*.png", ["photos/a.png", "photos/below/b.png"]),
    ("photos/*/*.png", ["photos/below/b.png"]),
    ("photos/[", ["photos/["]), ("x" * 5000, ["x" * 5000])])
def test_patterns_leave_hidden_files_out(tmp_path, monkeypatch, pattern, found):
    monkeypatch.chdir(tmp_path)
    for name in ("photos/a.png", "photos/below/b.png", "photos/.hidden/c.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        picture().save(name)
    assert [*map(str, find_photos([pattern])[0])] == found


# Limits

@pytest.mark.parametrize("limit, refused_names", [
    ("0.001", ["x.png", "y.png"]), ("0.005", ["y.png"]), ("1", []), ("inf", []),
    ("nan", ["x.png", "y.png"])])
def test_the_limit_is_adjustable(weights, tmp_path, monkeypatch, limit, refused_names):
    picture(64, 64).save(tmp_path / "x.png")
    picture(64, 128).save(tmp_path / "y.png")
    monkeypatch.setenv(LIMIT, limit)
    outcome = run_script(tmp_path, "infer.py", "x.png", "y.png", *INFER, weights)
    assert outcome.status == int(bool(refused_names))
    lines = [line for line in outcome.err.splitlines() if line.startswith("infer.py")]
    assert [line.split(": ")[1] for line in lines] == refused_names
    assert all(LIMIT in line for line in lines)


def test_a_scale_beyond_the_limit_is_refused(weights, tmp_path):
    picture(64, 64).save(tmp_path / "x.png")
    picture(1, 1).save(tmp_path / "y.png")
    outcome = run_script(tmp_path, "infer.py", "x.png", "y.png", "--scale", 1, 500, *INFER, weights)
    line, = lines_about(outcome.err, "infer.py: ")
    assert outcome.status == 1 and "x.png" in line and LIMIT in line
    assert "1 photo predicted, 1 failed" in outcome.out


# Data sets

# Name of the mask's file: how to make it, the kind of its finding.
CRACK = np.zeros((64, 64), np.uint8)
CRACK[30:35, 5:60] = 255
MASKS: dict[str, tuple[Make, str]] = {
    "inverted.png": (holds(encoded("PNG", Image.fromarray(255 - CRACK))),
                     "mask is more than half white"),
    "faint.png": (holds(encoded("PNG", Image.fromarray(CRACK // 3))),
                  "masks are ambiguous"),
    "coloured.png": (holds(encoded("PNG", Image.fromarray(
        np.stack([CRACK, CRACK, CRACK // 2], -1)))), "masks are ambiguous"),
    "zero_one.png": (holds(encoded("PNG", Image.fromarray(CRACK // 255))),
                     "masks are ambiguous"),
    "soft_and_faint.png": (holds(encoded("PNG", Image.fromarray(CRACK // 2).filter(
        ImageFilter.GaussianBlur(2)))), "mask is drawn, but too dark to count"),
    "small.png": (holds(encoded("PNG", Image.fromarray(CRACK[:, :63]))),
                  "photo and mask differ in size"),
    "html_mask.png": (holds("<html>"), "mask cannot be read"),
    "empty_mask.png": (Path.touch, "mask cannot be read"),
    "cut_mask.jpg": (holds(half("JPEG")), "mask cannot be read"),
    "nan_mask.tif": (holds(floats(np.nan)), "mask cannot be read"),
    "bomb_mask.png": (holds(png_bomb()), "mask cannot be read"),
    "folder_mask.png": (Path.mkdir, "photo without mask"),
    "pipe_mask.png": (os.mkfifo, "mask cannot be read"),
    "dangling_mask.png": (lambda path: path.symlink_to("nowhere.png"), "mask cannot be read"),
    "two\nlines_mask.png": (holds("no picture"), "mask cannot be read"),
}


def add_photo(folder: Path, name: str) -> None:
    BAD[name][0](folder / "images" / name)
    Image.fromarray(CRACK).save(folder / "masks" / f"{Path(name).stem}.png")


def add_mask(folder: Path, name: str) -> None:
    MASKS[name][0](folder / "masks" / name)
    picture().save(folder / "images" / f"{Path(name).stem}.png")


@pytest.fixture(scope="module")
def walls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("walls") / "walls", 0, 4)


@pytest.fixture(scope="module")
def reported(walls: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, dict]:
    """One report on a data set with all these faults: what was printed, and the JSON file."""
    folder = tmp_path_factory.mktemp("reported")
    shutil.copytree(walls, folder / "walls")
    for name in BAD:
        if not (folder / "walls/masks" / f"{Path(name).stem}.png").exists():  # bomb.png, bomb.bmp
            add_photo(folder / "walls", name)
    for name in MASKS:
        add_mask(folder / "walls", name)
    before = contents(folder)
    outcome = run_script(folder, "unet_resnet/audit/__main__.py", "walls", "--json", "all.json")
    found = json.loads((folder / "all.json").read_text())
    (folder / "all.json").unlink()
    assert contents(folder) == before
    return outcome, {(finding["kind"], Path(file["file"]).name): file["detail"]
                     for finding in found["findings"] for file in finding["files"]}


def test_the_report_goes_through_all_of_it(reported):
    outcome, found = reported
    assert outcome.status == 1 and "Traceback" not in outcome.err
    kinds = [line.split(": ")[1] for line in outcome.out.splitlines()
             if line.startswith(("error: ", "warning: ", "note: "))]
    assert len(kinds) == len(set(kinds)) == len({kind for kind, _ in found})


@pytest.mark.parametrize("name", [name for name in BAD if name != "bomb.bmp"], ids=ascii)
def test_the_report_names_a_bad_photo(reported, name):
    detail = reported[1]["photo cannot be read", name]
    assert BAD[name][1] in detail and "\n" not in detail and one_line(name) in detail


@pytest.mark.parametrize("name", MASKS, ids=ascii)
def test_the_report_names_a_bad_mask(reported, name):
    kind = MASKS[name][1]
    path = f"{Path(name).stem}.png" if kind.startswith("photo ") else name
    assert (kind, path) in reported[1]


@pytest.mark.parametrize("name", [*list(BAD)[::6], *list(MASKS)[::6]], ids=ascii)
def test_training_refuses_a_bad_file_at_once(walls, tmp_path, name):
    shutil.copytree(walls, tmp_path / "walls")
    (add_photo if name in BAD else add_mask)(tmp_path / "walls", name)
    before = contents(tmp_path)
    outcome = run_script(tmp_path, "train.py", "--data", "walls", *TINY)
    refused(outcome, "train.py", one_line(Path(name).stem))
    assert outcome.status == 1 and contents(tmp_path) == before
    assert not (tmp_path / "runs").exists()


def test_training_takes_any_name(walls, tmp_path):
    shutil.copytree(walls, tmp_path / "walls")
    for part in ("images", "masks"):
        for i, name in enumerate(("wa\udcff\nll_0", "-割れ 1")):
            folder = tmp_path / "walls" / part
            (folder / f"wall_{i}.png").rename(folder / f"{name}.png")
    outcome = run_script(tmp_path, "train.py", "--data", "walls", *TINY, "--epochs", 1)
    assert outcome.status == 0, outcome.err
    path, = tmp_path.glob("runs/*/last.pt")
    split = checkpoint.read(path).split
    assert {"wa\udcff\nll_0.png", "-割れ 1.png"} <= {*split["train"], *split["validation"]}
    for file in path.parent.glob("*.pt"):
        file.unlink()


# Outputs

def link_out(folder: Path) -> None:
    """The folder of results is the folder of photos by another name."""
    (folder / "out").symlink_to("photos")
    picture().save(folder / "photos/x_mask.png")


def result(action: Callable[[Path, Path], None]) -> Callable[[Path], None]:
    def set_up(folder: Path) -> None:
        (folder / "out").mkdir()
        action(folder / "out/x_mask.png", folder / "photos/x.png")
    return set_up


TRAPS = {
    "output is the folder of photos": link_out,
    "result is a link to a photo": result(lambda mask, photo: (
        picture().save(photo.with_name("mine.png")), mask.symlink_to(photo.with_name("mine.png")))),
    "result is the photo by a second name": result(lambda mask, photo: os.link(photo, mask)),
    "result is a link to nothing": result(lambda mask, photo: mask.symlink_to("my_disk")),
    "result is a folder": result(lambda mask, photo: mask.mkdir()),
    "result is a pipe": result(lambda mask, photo: os.mkfifo(mask)),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_nothing_of_the_users_is_written_over(weights, tmp_path, trap):
    picture().save(make(tmp_path / "photos", "png_named.jpg").with_name("x.png"))
    TRAPS[trap](tmp_path)
    before = contents(tmp_path)
    outcome = run_script(tmp_path, "infer.py", "photos/x.png", "photos/png_named.jpg",
                         "--output", "out", *INFER, weights)
    after = contents(tmp_path)
    assert before == {path: after.get(path) for path in before}
    refused(outcome, "infer.py", "out/x_mask.png", "left alone")
    assert not (tmp_path / "out/png_named_overlay.png").exists(), "work before the refusal"


def test_no_input_is_written_over(weights, tmp_path):
    """Neither where it was put by the user, nor where an earlier run wrote it."""
    picture().save(tmp_path / "x.png")
    picture().save(tmp_path / "x_mask.png")
    before = contents(tmp_path)
    photos = ("x.png", "x_mask.png", "--output", ".")
    refused(run_script(tmp_path, "infer.py", *photos, *INFER, weights), "infer.py", "x_mask.png")
    assert before == {path: contents(tmp_path)[path] for path in before}
    (tmp_path / "x_mask.png").unlink()
    sparse = ("--threshold", 0.99)  # a mask that is more than half white is refused as such
    assert run_script(tmp_path, "infer.py", "x.png", "--output", ".", *sparse, *INFER,
                      weights).status == 0
    before = contents(tmp_path)
    refused(run_script(tmp_path, "infer.py", *photos, *INFER, weights), "infer.py", "x_mask.png")
    (tmp_path / "true").mkdir()
    (tmp_path / "true/x.png").symlink_to("../x_mask.png")  # our mask, taken for the truth
    refused(run_script(tmp_path, "infer.py", "x.png", "--masks", "true", "--output", ".", *INFER,
                       weights), "infer.py", "x_mask.png", "left alone")
    assert before == {path: contents(tmp_path)[path] for path in before}


def test_photos_of_one_name_in_two_runs(weights, tmp_path):
    """The second does not take the first one's place; a photo that moves or changes keeps its."""
    for folder in "ab":
        (tmp_path / folder).mkdir()
        picture().save(tmp_path / folder / "x.png")

    def run(photo: str, *options: str) -> list[str]:
        """The names of the masks that were written."""
        out = tmp_path / "predictions"
        before = {path: path.stat().st_ino for path in out.glob("*")}
        outcome = run_script(tmp_path, "infer.py", photo, *options, *INFER, weights)
        written = [path.name for path in out.glob("*_mask.png")
                   if before.get(path) != path.stat().st_ino]
        if outcome.status:
            refused(outcome, "infer.py", "x_probability.png", "/a/x.png", "left alone")
            assert not written
        return written

    assert run("a/x.png") == ["x_mask.png"]
    assert run("b/x.png") == run("b/x.png", "--skip-existing") == []
    assert run("a/x.png", "--skip-existing") == []
    picture().save(tmp_path / "a/x.png")
    assert run("b/x.png") == []
    assert run("a/x.png", "--skip-existing") == ["x_mask.png"], "changed, but where it was"
    (tmp_path / "a").rename(tmp_path / "c")
    assert run("c/x.png", "--skip-existing") == [], "moved, but the same"
    assert run("c/x.png") == ["x_mask.png"]


def test_two_processes_do_not_share_an_output(weights, tmp_path):
    pytest.importorskip("fcntl")
    picture().save(tmp_path / "x.png")
    (tmp_path / "predictions").mkdir()
    code = ("import sys, time; from pathlib import Path; from unet_resnet.files import lock; "
            "lock(Path('predictions')); print(flush=True); time.sleep(60)")
    other = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE,
                             env=os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        other.stdout.readline()
        refused(run_script(tmp_path, "infer.py", "x.png", *INFER, weights), "infer.py",
                "predictions", "another process")
    finally:
        other.kill()
        other.communicate()
    assert run_script(tmp_path, "infer.py", "x.png", *INFER, weights).status == 0


def test_hidden_folders_and_other_spellings_of_a_photo_are_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos/x.png", "photos/.Trash-1000/files/y.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        picture().save(name)
    names = ["photos", tmp_path / "photos", "photos/../photos/x.png", "photos/*.png"]
    assert find_photos(names)[0] == [Path("photos/x.png")]


def test_a_circle_of_links_beside_masks_is_reported(weights, tmp_path):
    for folder in ("photos", "masks"):
        (tmp_path / folder).mkdir()
    picture().save(tmp_path / "photos/x.png")
    Image.fromarray(CRACK).save(tmp_path / "masks/x.png")
    (tmp_path / "photos/loop.png").symlink_to("loop.png")
    outcome = run_script(tmp_path, "infer.py", "photos", "--masks", "masks", *INFER, weights)
    assert outcome.status == 1 and "loop.png" in outcome.err and "Traceback" not in outcome.err
    assert (tmp_path / "predictions/x_mask.png").exists()


def test_videos_of_one_name_in_two_runs(weights, tmp_path):
    av = pytest.importorskip("av")
    for folder, frames in (("a", 2), ("b", 5)):
        (tmp_path / folder).mkdir()
        with av.open(str(tmp_path / folder / "x.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            for _ in range(frames):
                container.mux(stream.encode(av.VideoFrame.from_image(picture())))
            container.mux(stream.encode(None))
    out = tmp_path / "predictions"
    for options in ([], ["--every", "2"], ["--every", "3"]):
        outcome = run_script(tmp_path, "infer.py", "a/x.mp4", *options, *INFER, weights)
        assert outcome.status == 0 and "1 video predicted" in outcome.out, outcome.err
    before = contents(out)
    for options in ([], ["--every", "2"]):
        refused(run_script(tmp_path, "infer.py", "b/x.mp4", *options, *INFER, weights), "infer.py",
                "/a/x.mp4", "left alone")
    assert contents(out) == before
    assert {path.name for path in out.glob("[!.]*")} == {
        "index.json", "x_cracks.mp4", "x_cracks.csv", "x_every2", "x_every2_cracks.csv",
        "x_every3", "x_every3_cracks.csv"}
    outcome = run_script(tmp_path, "infer.py", "a", "b", "--every", "3", *INFER, weights)
    assert outcome.status == 0 and {path.name for path in (out / "b/x_every3").glob("*_mask.png")
                                    } == {"000000_mask.png", "000003_mask.png"}


@pytest.mark.parametrize("set_up", [
    lambda path: path.write_text("years of work"),
    lambda path: path.symlink_to("best.pt"),
    lambda path: os.link(path.with_name("best.pt"), path),
    lambda path: path.symlink_to("nowhere"),
    lambda path: path.symlink_to(path.name),
    Path.mkdir,
    os.mkfifo,
    Path.touch,
], ids=["text", "link to the checkpoint", "the checkpoint", "link to nothing", "link to itself",
        "folder", "pipe", "empty"])
def test_export_leaves_what_stands_there(weights, tmp_path, set_up):
    pytest.importorskip("onnxscript")
    shutil.copy(weights, tmp_path / "best.pt")
    set_up(tmp_path / "my\nfile.onnx")
    before = contents(tmp_path)
    outcome = run_script(tmp_path, "unet_resnet/export/__main__.py", "best.pt", "my\nfile.onnx")
    refused(outcome, "unet_resnet.export", r"my\nfile.onnx exists", "choose another name")
    assert outcome.status == 1 and contents(tmp_path) == before
    (tmp_path / "best.pt").unlink()


# Readers, at random

TURNED = b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"  # orientation 6
SEEDS = {
    "jpg": encoded("JPEG", picture(20, 24), exif=TURNED),
    "png": encoded("PNG", picture(20, 24)),
    "palette.png": encoded("PNG", picture(20, 24).quantize(9), transparency=bytes(range(9))),
    "deep.png": encoded("PNG", Image.fromarray(np.full((20, 24), 9999, np.uint16))),
    "tif": encoded("TIFF", picture(20, 24)),
    "lzw.tif": encoded("TIFF", picture(20, 24), compression="tiff_lzw"),
    "float.tif": encoded("TIFF", Image.fromarray(np.full((20, 24), 0.5, np.float32))),
    "webp": encoded("WEBP", picture(20, 24)),
    "bmp": encoded("BMP", picture(20, 24)),
}
FUZZ = settings(max_examples=250, derandomize=True, deadline=None, database=None)


def read_all(path: Path) -> None:
    """Each reader gives a tensor of its kind, or says in one line what is wrong with the file."""
    shapes = set()
    for read in (read_photo, read_mask, read_values):
        try:
            found = read(path)
        except (OSError, ValueError) as error:
            assert str(path) in str(error) and "\n" not in str(error)
            continue
        if read is read_values:
            assert found.values.sum() == found.size[0] * found.size[1]
            found = found.size
        if isinstance(found, torch.Tensor):
            assert found.dtype == torch.uint8 and 0 < found.numel() <= 3e5
            assert found.shape[0] == (3 if read is read_photo else 1)
            assert read is read_photo or found.max() <= 1
        shapes.add(tuple(found if read is read_values else found.shape[1:]))
    assert len(shapes) <= 1


def fuzz(strategy: st.SearchStrategy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
         capfd: pytest.CaptureFixture) -> None:
    """A header may claim any size: with the limit at 0.1 megapixels, none costs memory."""
    monkeypatch.setenv(LIMIT, "0.1")

    @FUZZ
    @given(strategy)
    def check(case: tuple[str, bytes]) -> None:
        path = tmp_path / f"x.{case[0]}"
        path.write_bytes(case[1])
        read_all(path)

    check()
    err = capfd.readouterr().err  # libtiff prints past Python, Python must not
    assert not [word for word in ("Warning", "Error", "PIL", "Traceback") if word in err], err


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """A real picture with bits flipped, most of them in its header, and perhaps cut off."""
    name = draw(st.sampled_from(sorted(SEEDS)))
    content = bytearray(SEEDS[name])
    tail = name.endswith("tif")  # Pillow's directories stand where it likes
    places = st.integers(0, min(len(content), 300) - 1)
    places = st.one_of(places, places.map(lambda at: len(content) - 1 - at)) if tail else places
    for at, bit in draw(st.lists(st.tuples(places, st.integers(0, 7)), max_size=6)):
        content[at] ^= 1 << bit
    if draw(st.booleans()):
        del content[draw(st.integers(0, len(content))):]
    return name, bytes(content)


def test_damaged_pictures(tmp_path, monkeypatch, capfd):
    fuzz(damaged(), tmp_path, monkeypatch, capfd)


def test_random_bytes(tmp_path, monkeypatch, capfd):
    starts = st.sampled_from([b"", *(content[:20] for content in SEEDS.values())])
    fuzz(st.tuples(st.sampled_from(sorted(SEEDS)),
                   st.builds(bytes.__add__, starts, st.binary(max_size=200))),
         tmp_path, monkeypatch, capfd)

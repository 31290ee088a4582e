"""Does index.json know which files are ours, and is anything else ever written over?"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, refused, write_pairs
from hypothesis import given, settings
from hypothesis import strategies as st

from unet_resnet.inference import index
from unet_resnet.inference.index import Index, file_state

PHOTOS, FILES = ("a", "b", "c"), ("1.png", "2.png", "all.csv")
few = settings(max_examples=150, derandomize=True, deadline=None, database=None)


@pytest.fixture
def infer_with(script, trained):
    best = trained / "runs/walls-1/best.pt"
    return lambda *arguments: script("infer.py", "--checkpoint", best, "--device", "cpu",
                                     "--precision", "fp32", *arguments)


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock"}


@few
@given(st.lists(st.one_of(
    st.tuples(st.just("user"), st.sampled_from(FILES)),
    st.tuples(st.just("run"), st.dictionaries(st.sampled_from(PHOTOS), st.sets(
        st.sampled_from(FILES), min_size=1), min_size=1))), max_size=6))
def test_laws_of_the_index(tmp_path_factory, story):
    """Against a model of whose each file is, over runs and what a user does in between."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)  # which takes most of the time
        tell(story, tmp_path_factory.mktemp("story"))


def tell(story: list[tuple], folder: Path) -> None:
    for name in PHOTOS:
        (folder / name).write_text(name)
    (folder / "out").mkdir()
    whose: dict[str, set[str]] = {}  # photos by file; of a user's file none
    for who, what in story:
        if who == "user":
            if what not in whose:
                (folder / "out" / what).write_text("years of work")
                whose[what] = set()
            continue
        ours = Index(folder / "out", "hash")
        expected = {file for files in what.values() for file in files}
        allowed = all(whose[file] and whose[file] <= {*what} for file in expected & {*whose})
        before = files_in(folder)
        claim = ({name: folder / name for name in what},
                 {name: sorted(files) for name, files in what.items()}, [])
        if not allowed:
            with pytest.raises(FileExistsError, match="left alone"):
                ours.claim(*claim)
            assert files_in(folder) == before
            continue
        ours.claim(*claim)
        with ours:
            for name, files in what.items():
                for file in files:
                    (folder / "out" / file).write_text(name)
                ours.finish(name, file_state(folder / name))
        for name, files in what.items():
            for file in files:
                whose[file] = whose.get(file, set()) | {name}
        again = Index(folder / "out", "hash")
        assert all(again.is_done(name, folder / name, files) for name, files in what.items())
        assert {file for entry in again.entries.values() for file in entry.files} == {
            file for file, photos in whose.items() if photos}
    for file, photos in whose.items():
        assert photos or (folder / "out" / file).read_text() == "years of work"


@pytest.mark.parametrize("change, done", [
    (lambda photo: None, True),
    (lambda photo: os.utime(photo, (1, 1)), True),  # copied, but the same
    (lambda photo: photo.write_text("another"), False),
    (lambda photo: photo.unlink(), False),
    (lambda photo: (photo.parent / "out/a_mask.png").unlink(), False),
    (lambda photo: (photo.parent / "out/a_table.csv").unlink(), True),  # not asked for
], ids=["nothing", "time", "content", "photo gone", "result gone", "other file gone"])
def test_what_is_done(tmp_path, change, done):
    photo = tmp_path / "a.png"
    photo.write_text("photo")
    (tmp_path / "out").mkdir()
    files = ["a_mask.png", "a_table.csv"]
    ours = Index(tmp_path / "out", "hash")
    ours.claim({"a": photo}, {"a": files}, [])
    with ours:
        for file in files:
            (tmp_path / "out" / file).write_text("result")
        assert not Index(tmp_path / "out", "hash").is_done("a", photo, files[:1]), "not finished"
        ours.finish("a", file_state(photo))
    change(photo)
    ours = Index(tmp_path / "out", "hash")
    assert ours.is_done("a", photo, files[:1]) == done
    assert not ours.is_done("a", photo, ["a_widths.png"]) and not ours.is_done("b", photo, files)


@pytest.mark.parametrize("content, words", [
    (b"", "not written by infer.py"), (b"{}", "not written by infer.py"),
    (b'{"software": "theirs"}', "not written by infer.py"), (index.HEAD, "damaged"),
    (index.HEAD + b'"photos": {"a": 1}}', "damaged"), (index.HEAD + b'"photos": []}', "damaged"),
    (index.HEAD + b'"photos": {"a": {"files": []}}}', "damaged"), (index.HEAD + b"\xff", "damaged"),
    (index.HEAD + b'"photos": ' + b"[" * 100_000, "damaged")])
def test_a_foreign_or_damaged_index_is_one_clear_error(infer_with, tmp_path, content, words):
    write_pairs(tmp_path / "walls", 0, 1)
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions/index.json").write_bytes(content)
    before = files_in(tmp_path)
    refused(infer_with("walls/images"), "infer.py", "predictions/index.json", words)
    assert files_in(tmp_path) == before


def test_another_photo_in_the_place_of_one_is_named(infer_with, tmp_path):
    walls = write_pairs(tmp_path / "walls", 0, 2) / "images"
    assert "note: " not in infer_with("walls/images").out + infer_with("walls/images").out
    (walls / "wall_0.png").touch()  # the same photo
    (walls / "wall_1.png").write_bytes((walls / "wall_0.png").read_bytes())
    note = "note: results of another file are replaced for 1 photo: walls/images/wall_1.png"
    assert note in infer_with("walls/images").out.splitlines()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")],
                         ids=["folder", "pipe", "dead link"])
def test_what_is_no_file_is_no_index(infer_with, tmp_path, make):
    write_pairs(tmp_path / "walls", 0, 1)
    (tmp_path / "predictions").mkdir()
    make(tmp_path / "predictions/index.json")
    refused(infer_with("walls/images"), "infer.py", "predictions/index.json", "not written by")


def test_a_table_is_replaced_only_with_all_its_photos(infer_with, tmp_path):
    walls = write_pairs(tmp_path / "walls", 0, 3) / "images"
    assert infer_with("walls/images", "--measure").status == 0
    before = files_in(tmp_path)
    refused(infer_with("walls/images/wall_0.png", "--measure"), "infer.py",
            "predictions/cracks.csv", "wall_2.png", "left alone")
    assert files_in(tmp_path) == before
    assert infer_with("walls/images/wall_0.png", "--report").status == 0, "a table of its own"
    (walls / "wall_2.png").rename(walls / "wall_3.png")  # the photos have changed
    refused(infer_with("walls/images", "--measure"), "infer.py", "wall_2.png", "left alone")
    (walls / "wall_3.png").rename(walls / "wall_2.png")
    write_pairs(tmp_path / "more", 3, 1)
    (tmp_path / "more/images/wall_3.png").rename(walls / "wall_3.png")
    assert infer_with("walls/images", "--measure", "--report").status == 0, "one more"


def test_results_of_earlier_runs_are_no_photos(infer_with, tmp_path):
    """Wherever their folder lies; those of other programs are."""
    write_pairs(tmp_path / "walls", 0, 2)
    assert infer_with("walls/images", "--output", "walls/old/run").status == 0
    (tmp_path / "walls/images/index.json").write_text('{"files": ["wall_0.png"]}')
    outcome = infer_with("walls", "--output", "new")
    assert outcome.status == 0 and "4 photos predicted, 0 failed" in outcome.out, "images and masks"


def test_kept_results_of_another_checkpoint_are_counted(infer_with, script, trained, tmp_path):
    write_pairs(tmp_path / "walls", 0, 2)
    assert infer_with("walls/images").status == 0
    assert "checkpoint" not in infer_with("walls/images", "--skip-existing").out.split("\n", 1)[1]
    outcome = script("infer.py", "walls/images", "--checkpoint", trained / "runs/walls-1/last.pt",
                     "--device", "cpu", "--skip-existing")
    assert "note: 2 of them were made with another checkpoint" in outcome.out.splitlines()


@pytest.mark.parametrize("interval, saved", [(-1, True), (999, False)])
def test_the_index_is_saved_during_a_long_run(tmp_path, monkeypatch, interval, saved):
    monkeypatch.setattr(index, "SAVE_INTERVAL", interval)
    (tmp_path / "a.jpg").write_text("photo")
    with Index(tmp_path, "") as ours:
        ours.claim({"a": tmp_path / "a.jpg"}, {"a": ["a_mask.png"]}, [])
        ours.save()
        ours.finish("a", file_state(tmp_path / "a.jpg"))
        assert index.read(tmp_path / "index.json")["a"].done == saved


def test_a_run_that_is_killed_can_be_repeated(trained, tmp_path):
    """At a random moment, and again; then every photo has its results and nothing is refused."""
    write_pairs(tmp_path / "walls", 0, 12)
    command = [sys.executable, str(ROOT / "infer.py"), "walls/images", "--device", "cpu",
               "--checkpoint", str(trained / "runs/walls-1/best.pt"), "--skip-existing"]
    draw, out, killed = random.Random(0), tmp_path / "predictions", 0
    for _ in range(2):
        run = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        try:
            while run.poll() is None and not list(out.glob("*_mask.png"))[killed:]:
                time.sleep(0.005)
            time.sleep(draw.random() * 0.05)
        finally:
            run.kill()
        assert "left alone" not in run.communicate()[1]
        killed += run.returncode == -signal.SIGKILL
    assert killed, "always done before the kill: the test shows nothing"
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    entries = json.loads((out / "index.json").read_text())["photos"].values()
    assert len(entries) == 12 and all(entry["done"] for entry in entries)
    assert {file for entry in entries for file in entry["files"]} == {
        path.name for path in out.glob("*.png")} and len(list(out.glob("*.png"))) == 36

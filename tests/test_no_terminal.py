"""Does work go on where nothing can be printed, as under pythonw and in services?"""

import contextlib
import runpy
import signal
import sys
from pathlib import Path

import pytest
from conftest import ROOT, TINY, write_pairs

from unet_resnet.inference.inputs import part_of


@pytest.fixture
def unseen(tmp_path, monkeypatch):
    """unseen("train.py", ...) without stdout and stderr; returns the exit status."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(name: str, *arguments: object) -> object:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
            try:
                runpy.run_path(str(ROOT / name), run_name="__main__")
            except SystemExit as stop:
                return stop.code or 0
            finally:
                for stream in (sys.stdout, sys.stderr):
                    if stream:
                        stream.close()
        return 0

    monkeypatch.chdir(tmp_path)
    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)
    for file in tmp_path.rglob("*.pt"):
        file.unlink()


def test_training_goes_on(unseen, tmp_path):
    write_pairs(tmp_path / "walls", 0, 6)
    assert unseen("train.py", "--data", "walls", *TINY) == 0
    assert len(Path("runs/walls-1/history.csv").read_text().splitlines()) == 3


def test_prediction_goes_on_past_a_bad_photo(unseen, trained, tmp_path):
    write_pairs(tmp_path / "walls", 0, 2)
    (tmp_path / "walls/images/bad.jpg").write_text("no picture")
    assert unseen("infer.py", "walls/images", "--checkpoint", trained / "runs/walls-1",
                  "--device", "cpu", "--precision", "fp32") == 1
    assert len(list(Path("predictions").glob("*_mask.png"))) == 2


def test_parts_are_of_a_whole():
    photos, films = [Path("a.jpg"), Path("b.jpg")], [Path(f"{i}.mp4") for i in range(21)]
    assert part_of(1, photos) == "1 of 2 photos"
    assert part_of(23, photos + films) == "23 of 23 photos and videos"
    assert part_of(0, films) == "0 of 21 videos"

"""Videos, measurements, the report, and runs that go on: infer.py as its users call it."""

import csv
import html.parser
import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import refused
from PIL import Image
from scipy import ndimage
from tqdm import tqdm
from torch.utils._python_dispatch import TorchDispatchMode

from unet_resnet import checkpoint, tiling
from unet_resnet.inference import outputs, predictor
from unet_resnet.images import read_photo
from unet_resnet.synthetic import pavement

try:
    import av
except ImportError:
    av = None
needs_av = pytest.mark.skipif(av is None, reason="videos need PyAV, the extra video")


def painted(path: Path, width: int = 6, height: int = 80) -> Path:
    """A grey wall 120 pixels wide, with a level red band 100 long across it."""
    wall = np.full((height, 120, 3), 128, np.uint8)
    wall[40:40 + width, 10:110] = 255, 0, 0
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(wall).save(path)
    return path


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def film(path: Path, frames: int = 6, height: int = 48, width: int = 64) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(frames):
            photo, _ = pavement.render(i, size=64)
            array = photo[:, :height, :width].permute(1, 2, 0).contiguous().numpy()
            container.mux(stream.encode(av.VideoFrame.from_ndarray(array, "rgb24")))
        container.mux(stream.encode(None))
    return path


# Scales, views and batches reach the network

def test_flags_reach_the_network(infer_with, trained, tmp_path):
    painted(tmp_path / "x.png")
    outcome = infer_with("x.png", "--tta", "--scale", 0.5, 1, "--tile", 64, "--overlap", 0.25,
                         "--batch", 3)
    assert outcome.status == 0, outcome.err
    network = predictor.load(trained / "runs/walls-1/best.pt", "cpu", "fp32")
    wanted = network(read_photo(tmp_path / "x.png"), 64, 0.25, [0.5, 1], True, 3, torch.uint8)
    assert torch.equal(read_photo(tmp_path / "predictions/x_probability.png")[:1], wanted)


@pytest.mark.parametrize("more", [(), ("--min-area", 9)])
def test_small_areas_are_put_below_the_threshold(infer_with, script, trained, tmp_path, more):
    """By scipy's labels; 50 pixels without the flag."""
    painted(tmp_path / "x.png")
    best, options = trained / "runs/walls-1/best.pt", ("--device", "cpu", "--precision", "fp32")
    assert infer_with("x.png", "--output", "all").status == 0
    assert script("infer.py", "x.png", "--checkpoint", best, *options, *more).status == 0
    before, after = (read_photo(tmp_path / folder / "x_probability.png")[0].numpy()
                     for folder in ("all", "predictions"))
    level = round(checkpoint.read(best).threshold * 256)
    labels, _ = ndimage.label(before >= level, np.ones((3, 3)))
    small = (labels > 0) & (np.bincount(labels.flat)[labels] < (more[-1] if more else 50))
    assert small.any() and not small.all()
    assert np.array_equal(after, np.where(small, level - 1, before))


@pytest.mark.parametrize("arguments, named", [
    ("--min-area -1", "--min-area"),
    ("--scale 0", "0"), ("--scale inf", "inf"), ("--scale", "--scale"), ("--batch 0", "--batch"),
    ("--every 0", "--every"), ("--mm-per-pixel 0", "0"), ("--mm-per-pixel nan", "nan"),
    ("--scale-bar 100", "--scale-bar"), ("--scale-bar 0 5", "0"),
    ("--mm-per-pixel 1 --scale-bar 1 1", "not allowed"), ("--width-classes 0.1", "--mm-per-pixel"),
    ("--mm-per-pixel 1 --width-classes 2 1", "width 2 1"), ("--skip-existing --report", "report"),
    ("--skip-existing --measure", "measurements")])
def test_nonsense_is_refused(infer_with, tmp_path, arguments, named):
    painted(tmp_path / "x.png")
    refused(infer_with("x.png", *arguments.split()), "infer.py", named)
    assert not list(tmp_path.glob("predictions/*"))


# Runs that go on

def test_skip_existing_predicts_what_is_missing(infer_with, tmp_path):
    for name in "abc":
        painted(tmp_path / f"photos/{name}.png")
    assert infer_with("photos").status == 0
    out = tmp_path / "predictions"
    (out / "b_overlay.png").unlink()  # written last: interrupted before it, the photo is not done
    (out / "a_mask.png").write_bytes(kept := (out / "a_mask.png").read_bytes() + b" ")
    outcome = infer_with("photos", "--skip-existing")
    assert outcome.status == 0 and "2 photos left out" in outcome.out
    assert (out / "b_overlay.png").exists() and (out / "a_mask.png").read_bytes() == kept
    assert [line for line in outcome.out.splitlines() if "% crack" in line] == [
        line for line in outcome.out.splitlines() if line.startswith("photos/b.png")]
    outcome = infer_with("photos", "--skip-existing")
    assert outcome.status == 0 and "3 photos left out" in outcome.out
    painted(tmp_path / "photos/c.png", width=8)  # another photo in its place
    assert "2 photos left out" in infer_with("photos", "--skip-existing").out


# Measurements

@pytest.mark.usefixtures("cracked")
@pytest.mark.parametrize("scale, mm", [((), None), (("--mm-per-pixel", 0.5), 0.5),
                                       (("--scale-bar", 40, 10), 0.25)])
def test_measurements(infer_with, tmp_path, scale, mm):
    painted(tmp_path / "x.png")
    painted(tmp_path / "blank.png", width=0)
    outcome = infer_with("x.png", "blank.png", "--measure", *scale)
    assert outcome.status == 0, outcome.err
    out = tmp_path / "predictions"
    crack, = table(out / "cracks.csv")
    assert float(crack["length_px"]) == pytest.approx(100, rel=0.02)
    assert float(crack["width_mean_px"]) == pytest.approx(6, abs=0.5)
    if mm:
        assert float(crack["length_mm"]) == pytest.approx(100 * mm, rel=0.02)
    assert ("length_mm" in crack) == bool(mm)
    photos = table(out / "photos.csv")
    assert [(row["photo"], row["cracks"]) for row in photos] == [("x", "1"), ("blank", "0")]
    everything = json.loads((out / "measurements.json").read_text())
    assert everything["mm_per_pixel"] == mm
    assert [len(photo["cracks_found"]) for photo in everything["photos"]] == [1, 0]
    _, height, width = read_photo(out / "x_widths.png").shape
    assert height >= 80 and width >= 120
    again = infer_with("x.png", "blank.png")  # without measuring
    assert "note: of an earlier run, and not renewed: blank_widths.png, cracks.csv, " in again.out
    assert "earlier run" not in infer_with("x.png", "blank.png", "--measure", *scale).out
    refused(infer_with(""), "infer.py", "an empty name of a photo")
    line = next(line for line in outcome.out.splitlines() if line.startswith("x.png"))
    assert "cracks 1" in line and f"length ({'mm' if mm else 'px'})" in line


@pytest.mark.usefixtures("cracked")
def test_classes_of_width(infer_with, tmp_path):
    painted(tmp_path / "x.png")
    outcome = infer_with("x.png", "--mm-per-pixel", 0.1, "--width-classes", 0.3, 1)
    assert outcome.status == 0, outcome.err
    crack, = table(tmp_path / "predictions/cracks.csv")
    assert float(crack["length_mm_0.3_to_1"]) == pytest.approx(10, rel=0.02)
    assert float(crack["length_mm_below_0.3"]) == float(crack["length_mm_from_1"]) == 0


# Report

class Text(html.parser.HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.words = ""
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.mark.usefixtures("cracked")
def test_the_report_of_a_run(infer_with, tmp_path):
    painted(tmp_path / "photos/x.png")
    painted(tmp_path / "photos/blank.png", width=0)
    (tmp_path / "photos/bad.jpg").write_text("no picture")
    mask = np.zeros((80, 120), np.uint8)
    mask[40:43, 10:110] = 255  # half of what will be predicted
    (tmp_path / "masks").mkdir()
    Image.fromarray(mask).save(tmp_path / "masks/x.png")
    outcome = infer_with("photos", "--masks", "masks", "--measure", "--report")
    assert outcome.status == 1 and "bad.jpg" in outcome.err
    words = Text((tmp_path / "predictions/report.html").read_text()).words
    for wanted in ("2 photos", "bad.jpg", "--measure", "best.pt", "pooled", "3 photos",
                   "mean over the images with cracks",
                   "Crack widths", "found (px)", "false (px)", "missed (px)", "Failed"):
        assert wanted in words
    again = infer_with("photos", "--masks", "masks", "--report")
    assert again.status == 1 and "report.html" not in again.err


@pytest.mark.usefixtures("cracked")
def test_a_photo_that_fails_is_in_no_table(infer_with, tmp_path, monkeypatch):
    """The disk is full when the last picture of the first photo is written."""
    (tmp_path / "masks").mkdir()
    for name, width in (("a", 3), ("b", 6)):  # of b all is found, of a twice as much
        painted(tmp_path / f"photos/{name}.png")
        mask = np.zeros((80, 120), np.uint8)
        mask[40:40 + width, 10:110] = 255
        Image.fromarray(mask).save(tmp_path / f"masks/{name}.png")
    write = outputs.write_png

    def full(path: Path, pixels: torch.Tensor) -> None:
        if path.name == "a_widths.png":
            raise OSError(28, "No space left on device", str(path))
        write(path, pixels)

    monkeypatch.setattr(outputs, "write_png", full)
    outcome = infer_with("photos", "--masks", "masks", "--measure", "--report")
    assert outcome.status == 1 and "a_widths.png" in outcome.err and "1 failed" in outcome.out
    assert [row["photo"] for row in table(tmp_path / "predictions/photos.csv")] == ["b"]
    scores = json.loads((tmp_path / "predictions/scores.json").read_text())
    assert scores["total"]["pooled"]["images"] == scores["total"]["pooled"]["dice"] == 1
    photos = json.loads((tmp_path / "predictions/index.json").read_text())["photos"]
    assert [photo["done"] for photo in photos.values()] == [False, True]
    assert "Crack report, 1 photo" in Text(
        (tmp_path / "predictions/report.html").read_text()).words


def test_a_users_page_is_left_alone(infer_with, tmp_path):
    painted(tmp_path / "x.png")
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions/report.html").write_text("years of work")
    refused(infer_with("x.png", "--report"), "infer.py", "report.html")
    assert (tmp_path / "predictions/report.html").read_text() == "years of work"


# Videos

def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@needs_av
def test_a_video_becomes_a_video_and_a_table(infer_with, tmp_path):
    film(tmp_path / "drone.mp4")
    painted(tmp_path / "x.png")
    outcome = infer_with("drone.mp4", "x.png", "--threshold", 0)
    assert outcome.status == 0, outcome.err
    out = tmp_path / "predictions"
    assert {path.name for path in out.glob("[!.]*")} - {"index.json"} == {
        "drone_cracks.mp4", "drone_cracks.csv", "x_mask.png", "x_overlay.png", "x_probability.png"}
    given, found = frames_of(tmp_path / "drone.mp4"), frames_of(out / "drone_cracks.mp4")
    assert len(found) == len(given) == 6 and found[0].shape == (48, 64, 3)
    purple = np.array([204, 121, 167])  # all is crack at a threshold of 0
    wanted = given[2] * 0.35 + purple * 0.65
    assert np.abs(found[2].mean((0, 1)) - wanted.mean((0, 1))).max() < 5
    rows = table(out / "drone_cracks.csv")
    assert [row["frame"] for row in rows] == list("012345")
    assert [float(row["seconds"]) for row in rows] == pytest.approx([i / 10 for i in range(6)])
    assert {row["crack_share"] for row in rows} == {"1.0"}
    again = infer_with(".", "--threshold", 0, "--output", "again")  # own results are no input
    assert again.status == 0 and {path.stem for path in (tmp_path / "again").glob("[!.]*")} == {
        "drone_cracks", "index", "x_mask", "x_overlay", "x_probability"}


@needs_av
def test_stills_of_a_video(infer_with, tmp_path):
    """In a folder; and again only what is missing."""
    film(tmp_path / "drone.mp4")
    outcome = infer_with("drone.mp4", "--every", 4, "--measure", "--report")
    assert outcome.status == 0, outcome.err
    out = tmp_path / "predictions"
    stills = {f"00000{i}_{kind}.png" for i in (0, 4)
              for kind in ("mask", "overlay", "probability", "widths")}
    assert {path.name for path in (out / "drone_every4").iterdir()} == stills
    assert [row["photo"] for row in table(out / "photos.csv")] == [
        "drone_every4/000000", "drone_every4/000004"]
    rows = table(out / "drone_every4_cracks.csv")
    assert [row["frame"] for row in rows] == ["0", "4"] and "cracks" in rows[0]
    for every, left_out in ((["--every", 4], 1), ([], 0), ([], 1), (["--every", 4], 1)):
        outcome = infer_with("drone.mp4", "--skip-existing", *every)
        assert outcome.status == 0 and ("1 video left out" in outcome.out) == left_out
    assert infer_with("drone.mp4", "--every", 3).status == 0
    (out / "drone_every3_cracks.csv").unlink()  # as if it had been stopped
    for every, left_out in ((3, 0), (3, 1), (2, 0)):
        outcome = infer_with("drone.mp4", "--skip-existing", "--every", every)
        assert outcome.status == 0 and ("1 video left out" in outcome.out) == left_out
    film(tmp_path / "drone.mp4", frames=2)  # a shorter one of that name
    assert infer_with("drone.mp4", "--every", 3).status == 0
    stills = out / "drone_every3"
    assert {path.name[:6] for path in stills.iterdir()} == {"000000"}
    (stills / "000000_mask_corrected.png").touch()  # by the user
    (tmp_path / "drone.mp4").write_bytes(b"no video any more")
    assert infer_with("drone.mp4", "--every", 3).status == 1
    assert {path.name for path in stills.iterdir()} == {f"000000_{kind}.png" for kind in (
        "mask", "mask_corrected", "overlay", "probability")}, "nothing is deleted for no video"
    film(tmp_path / "drone.mp4", frames=2)
    assert infer_with("drone.mp4", "--every", 3).status == 0
    assert (stills / "000000_mask_corrected.png").exists()


@needs_av
def test_photos_and_videos_are_measured_in_turn(infer_with, tmp_path):
    for name in ("a", "b"):
        painted(tmp_path / f"{name}.png")
    film(tmp_path / "c.mp4", frames=3)
    outcome = infer_with("a.png", "c.mp4", "b.png", "--measure")
    assert outcome.status == 0, outcome.err
    assert [row["photo"] for row in table(tmp_path / "predictions/photos.csv")] == [
        "a", "c/000000", "c/000001", "c/000002", "b"]


@needs_av
def test_scores_and_report_say_that_they_are_of_photos(infer_with, tmp_path):
    film(tmp_path / "c.mp4", frames=2)
    painted(tmp_path / "a.png")
    (tmp_path / "masks").mkdir()
    Image.new("1", (120, 80)).save(tmp_path / "masks/a.png")
    outcome = infer_with("a.png", "c.mp4", "--masks", "masks")
    assert outcome.status == 0 and "1 video left out: --masks scores photos" in outcome.out
    refused(infer_with("c.mp4", "--masks", "masks"), "infer.py", "masks", "found only videos")
    outcome = infer_with("c.mp4", "--report", "--output", "out")
    assert outcome.status == 0 and "only the stills of --every" in outcome.out
    assert "--report shows" not in infer_with("c.mp4", "--report", "--every", 2).out


@needs_av
def test_a_truncated_video_gives_what_can_be_read(infer_with, tmp_path):
    whole = film(tmp_path / "whole.avi", frames=40).read_bytes()
    (tmp_path / "whole.avi").unlink()
    (tmp_path / "cut.avi").write_bytes(whole[:len(whole) * 2 // 3])
    painted(tmp_path / "x.png")
    outcome = infer_with("cut.avi", "x.png")
    assert outcome.status == 1 and "cut.avi" in outcome.err and "Traceback" not in outcome.err
    found = len(frames_of(tmp_path / "predictions/cut_cracks.mp4"))
    assert 5 < found < 40 and len(table(tmp_path / "predictions/cut_cracks.csv")) == found
    assert (tmp_path / "predictions/x_overlay.png").exists()


@needs_av
@pytest.mark.parametrize("name", ("drone_cracks.mp4", "drone_cracks.csv"))
def test_a_users_video_or_table_is_left_alone(infer_with, tmp_path, name):
    film(tmp_path / "drone.mp4")
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / name).write_text("years of work")
    refused(infer_with("drone.mp4"), "infer.py", name, "left alone")
    assert (tmp_path / "predictions" / name).read_text() == "years of work"
    assert [path.name for path in (tmp_path / "predictions").glob("[!.]*")] == [name]


# Large photos

def test_a_large_photo_takes_memory_for_one_row_of_tiles():
    """Besides the photo and the result in bytes: the largest float tensor is a row of 500 x 100."""
    class Largest(TorchDispatchMode):
        floats = 0

        def __torch_dispatch__(self, function, types, arguments=(), options=None):
            result = function(*arguments, **(options or {}))
            if isinstance(result, torch.Tensor) and result.is_floating_point():
                self.floats = max(self.floats, result.untyped_storage().nbytes() // 4)
            return result

    photo = torch.zeros(3, 3000, 500, dtype=torch.uint8)
    with Largest() as largest:
        result = tiling.predict(lambda tiles: tiles[:, :1] / 255, photo, 100, 0.1,
                                dtype=torch.uint8)
    assert result.nbytes == 3000 * 500 and largest.floats <= 500 * 100


# Stopped

@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM))
def test_tables_keep_what_was_measured_before_a_signal(infer_with, cracked, tmp_path, monkeypatch,
                                                       number):
    for name in "abc":
        painted(tmp_path / f"photos/{name}.png")
    predict, calls = predictor.Predictor.__call__, []

    def stopped_at_the_third(*arguments, **options) -> torch.Tensor:
        calls.append(arguments)
        if len(calls) == 3:
            signal.raise_signal(number)
        return predict(*arguments, **options)

    monkeypatch.setattr(predictor.Predictor, "__call__", stopped_at_the_third)
    outcome = infer_with("photos", "--measure")
    assert outcome.status == 1 and outcome.err.splitlines()[-1] == "infer.py: stopped"
    assert [row["photo"] for row in table(tmp_path / "predictions/photos.csv")] == ["a", "b"]
    assert [path.name for path in (tmp_path / "predictions").glob(".*")] == [".lock"]
    photos = json.loads((tmp_path / "predictions/index.json").read_text())["photos"]
    assert [photo["done"] for photo in photos.values()] == [True, True, False]


def test_what_is_printed_is_read_no_more(infer_with, cracked, tmp_path, monkeypatch):
    """As by `infer.py photos | head -1`: one line, and not one for each photo."""
    for name in "abcd":
        painted(tmp_path / f"photos/{name}.png")

    def write(text: str, file=None) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(tqdm, "write", write)
    refused(infer_with("photos"), "infer.py", "Broken pipe")

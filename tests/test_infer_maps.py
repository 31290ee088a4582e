"""Maps of cracks as users of infer.py get them: their places, and the same numbers everywhere."""

import json

import ezdxf
import numpy as np
import pytest
from conftest import refused
from PIL import Image, TiffImagePlugin
from test_infer_more import Text, film, needs_av, painted, table

from unet_resnet.measure import drawing

pytestmark = pytest.mark.usefixtures("cracked")


def features_in(folder):
    return json.loads((folder / "cracks.geojson").read_text())["features"]


def drawing_in(folder):
    drawn = ezdxf.readfile(folder / "cracks.dxf")
    assert not drawn.audit().errors
    return drawn


def texts(drawn, layer):
    return [text.dxf.text for text in drawn.modelspace().query(f'TEXT[layer=="{layer}"]')]


def geotiff(path, pixel=0.002, epsg=25832):
    """The painted wall as a GeoTIFF with square pixels, in metres, its corner at (500, 900)."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    keys = (1, 1, 0, 3, 1024, 0, 1, 1, 3072, 0, 1, epsg, 3076, 0, 1, 9001)
    for tag, kind, values in ((33550, 12, (pixel, pixel, 0)), (34735, 3, keys),
                              (33922, 12, (0, 0, 0, 500, 900, 0))):
        tags.tagtype[tag], tags[tag] = kind, values
    wall = Image.open(painted(path.with_suffix(".png")))
    wall.save(path, tiffinfo=tags)
    path.with_suffix(".png").unlink()


def test_the_numbers_are_the_same_everywhere(infer_with, tmp_path, monkeypatch):
    labels, draw_labels = [], drawing.draw_labels
    monkeypatch.setattr(drawing, "draw_labels", lambda canvas, found, *rest: (
        labels.extend(label for *_, label in found), draw_labels(canvas, found, *rest)))
    for name, width in (("a", 6), ("b", 3)):
        painted(tmp_path / f"photos/{name}.png", width)
    outcome = infer_with("photos", "--mm-per-pixel", 0.1, "--width-classes", "en1992", "--report")
    assert outcome.status == 0, outcome.err
    out = tmp_path / "predictions"
    rows = table(out / "cracks.csv")
    everything = json.loads((out / "measurements.json").read_text())
    inside = [row for photo in everything["photos"] for row in photo["cracks_found"]]
    numbers = texts(drawing_in(out), "NUMBERS")
    page = Text((out / "report.html").read_text()).words
    assert len(rows) == len(inside) == len(numbers) == len(labels) == 2
    for row, also, feature, number, label in zip(rows, inside, features_in(out), numbers, labels):
        assert row == {key: str(value) for key, value in also.items()}
        assert feature["properties"].items() >= also.items()
        length, width = (f"{also[name]:.3g}" for name in ("length_mm", "width_max_mm"))
        assert number == f"1: {length} mm long, {width} mm wide"
        assert label == f"1: widest, {width} mm" and {length, width} <= {*page.split()}
        assert f"length (mm) {also['length_mm']:.4g}" in outcome.out


def test_a_scale_from_positions(infer_with, tmp_path):
    """Of 2 mm per pixel; a scale that is given counts more."""
    geotiff(tmp_path / "x.tif")
    outcome = infer_with("x.tif", "--measure", "--width-classes", 5)
    assert outcome.status == 0 and "a pixel is 2 mm" in outcome.out, outcome.err
    out = tmp_path / "predictions"
    crack, = table(out / "cracks.csv")
    assert float(crack["length_mm"]) == pytest.approx(200, rel=0.02)
    assert float(crack["length_mm_from_5"]) == float(crack["length_mm"])
    assert drawing_in(out).header["$INSUNITS"] == 6
    feature, = features_in(out)
    assert np.mean(feature["geometry"]["coordinates"][0], 0) == pytest.approx(
        [500.12, 899.914], abs=0.003)
    outcome = infer_with("x.tif", "--mm-per-pixel", 1)
    assert outcome.status == 0 and "note: a pixel is 1 mm" in outcome.out
    crack, = table(out / "cracks.csv")
    assert float(crack["length_mm"]) == pytest.approx(100, rel=0.02)


def test_masks_among_the_photos_are_on_no_map(infer_with, tmp_path):
    """And spoil no scale: they have no position."""
    geotiff(tmp_path / "set/images/x.tif")
    (tmp_path / "set/masks").mkdir()
    size = Image.open(tmp_path / "set/images/x.tif").size
    Image.new("1", size).save(tmp_path / "set/masks/x.png")
    outcome = infer_with("set", "--masks", "set/masks", "--width-classes", 5)
    assert outcome.status == 0 and "a pixel is 2 mm" in outcome.out, outcome.err
    assert "no position" not in outcome.out


def test_without_a_common_scale_classes_are_refused(infer_with, tmp_path):
    geotiff(tmp_path / "photos/x.tif")
    geotiff(tmp_path / "photos/y.tif", pixel=0.003)
    outcome = infer_with("photos", "--measure")
    assert outcome.status == 0 and "no common scale" in outcome.out
    refused(infer_with("photos", "--width-classes", 5), "infer.py", "--mm-per-pixel")


def test_a_photo_without_a_position_among_others(infer_with, tmp_path):
    """Is named, measured, and has no place; so is one with a broken world file."""
    for name in "abc":
        painted(tmp_path / f"photos/{name}.png")
    (tmp_path / "photos/a.wld").write_text("1\n0\n0\n-1\n10\n20\n")
    (tmp_path / "photos/b.pgw").write_text("1\n0\n")
    outcome = infer_with("photos", "--measure")
    assert outcome.status == 0, outcome.err
    said = [line for line in outcome.out.splitlines() if line.startswith("note: ")]
    assert len(said) == 3 and "b.pgw: damaged position" in said[0] and "2 of 3 photos" in said[1]
    out = tmp_path / "predictions"
    assert [row["photo"] for row in table(out / "cracks.csv")] == ["a", "b", "c"]
    assert [feature["geometry"] is None for feature in features_in(out)] == [False, True, True]
    assert texts(drawing_in(out), "PHOTOS") == ["a"]


@pytest.mark.parametrize("name", ["cracks.geojson", "cracks.dxf"])
def test_a_users_map_is_left_alone(infer_with, tmp_path, name):
    painted(tmp_path / "x.png")
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / name).write_text("years of work")
    refused(infer_with("x.png", "--measure"), "infer.py", name, "left alone")
    assert (tmp_path / "predictions" / name).read_text() == "years of work"


@pytest.mark.parametrize("name, columns", [
    ("en1992", ["below_0.3", "0.3_to_0.4", "from_0.4"]),
    ("aci224", ["below_0.1", "0.1_to_0.15", "0.15_to_0.18", "0.18_to_0.3", "0.3_to_0.41",
                "from_0.41"])])
def test_classes_of_a_standard(infer_with, tmp_path, name, columns):
    painted(tmp_path / "x.png")
    assert infer_with("x.png", "--mm-per-pixel", 0.1, "--width-classes", name).status == 0
    crack, = table(tmp_path / "predictions/cracks.csv")
    assert [key for key in crack if key.startswith("length_mm_")] == [
        f"length_mm_{column}" for column in columns]
    layers = [layer.dxf.name for layer in drawing_in(tmp_path / "predictions").layers]
    assert len([layer for layer in layers if layer.startswith("CRACKS_")]) == len(columns)


@pytest.mark.parametrize("words", ["en1993", "en1992 aci224", "0.2 wide"])
def test_other_classes_are_refused(infer_with, tmp_path, words):
    painted(tmp_path / "x.png")
    refused(infer_with("x.png", "--mm-per-pixel", 0.1, "--width-classes", *words.split()),
            "infer.py", words.split()[0])


@needs_av
def test_frames_are_on_no_map_but_stills_are(infer_with, tmp_path):
    film(tmp_path / "c.mp4", frames=3)
    painted(tmp_path / "x.png")
    assert infer_with("c.mp4", "x.png", "--measure").status == 0
    assert texts(drawing_in(tmp_path / "predictions"), "PHOTOS") == ["x"]
    assert infer_with("c.mp4", "--every", 2, "--measure", "--output", "out").status == 0
    assert len(texts(drawing_in(tmp_path / "out"), "PHOTOS")) == 2

"""Do pixels get to the place in the world that tags and world files give them?"""

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from unet_resnet.images import ORIENTATION
from unet_resnet.measure.georeference import (
    KEYS, MATRIX, SCALE, TIE_POINTS, Position, common_scale, position_of, positions_of)

NORTH_UP = "0.5\n0\n0\n-0.5\n1000.25\n1999.75\n"  # half a unit per pixel, corner at (1000, 2000)
PLANE = (1024, 0, 1, 1), (3072, 0, 1, 25832), (3076, 0, 1, 9001)  # UTM 32 N in metres


def photo_at(path, **options):
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (8, 6)).save(path, **options)
    return path


def geotiff(path, numbers, keys=PLANE):
    """A TIFF with these GeoTIFF tags."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, values in numbers.items():
        tags.tagtype[tag], tags[tag] = 12, values
    if keys:
        tags.tagtype[KEYS], tags[KEYS] = 3, sum(keys, (1, 1, 0, len(keys)))
    return photo_at(path, tiffinfo=tags)


def world(position: Position, x, y):
    return (position.matrix @ (x, y, 1)).tolist()


@pytest.mark.parametrize("photo, beside", [
    ("a.jpg", "a.jgw"), ("a.jpg", "a.JGW"), ("a.jpg", "a.jpgw"), ("a.jpg", "a.wld"),
    ("a.jpeg", "a.jgw"), ("a.png", "a.pgw"), ("a.PNG", "a.pgw"), ("a.tif", "a.tfw"),
    ("a.tif", "a.tifw"), ("a.tiff", "a.TFW"), ("a.tiff", "a.tiffw"), ("a.b.tif", "a.b.WLD")])
def test_a_world_file_gives_the_centre_of_the_first_pixel(tmp_path, photo, beside):
    path = photo_at(tmp_path / photo)
    assert position_of(path) is None
    (tmp_path / beside).write_text(NORTH_UP)
    position = position_of(path)
    assert world(position, 0, 0) == [1000.25, 1999.75] and world(position, 7, 5) == [
        1003.75, 1997.25]
    assert (position.epsg, position.metres) == (None, False), "a world file does not say its unit"


def test_a_turned_world_file(tmp_path):
    path = photo_at(tmp_path / "a.jpg")
    (tmp_path / "a.jgw").write_text("0.3\r\n0.4\r\n0.4\r\n-0.3\r\n10\r\n20\r\n")
    assert world(position_of(path), 2, 1) == pytest.approx([11.0, 20.5])


def test_tags_of_a_geotiff(tmp_path):
    """The tie point is the corner of pixel (2, 1); of pixels that are points, its centre."""
    numbers = {SCALE: (0.5, 0.25, 0), TIE_POINTS: (2, 1, 0, 500000, 5600000, 0)}
    area = position_of(geotiff(tmp_path / "a.tif", numbers))
    assert world(area, 2, 1) == [500000.25, 5599999.875] and (area.epsg, area.metres) == (
        25832, True)
    point = position_of(geotiff(tmp_path / "b.tif", numbers, (*PLANE, (1025, 0, 1, 2))))
    assert world(point, 2, 1) == [500000, 5600000] and world(point, 3, 2) == [500000.5, 5599999.75]
    turned = {MATRIX: (0.3, 0.4, 0, 10, 0.4, -0.3, 0, 20, 0, 0, 0, 0, 0, 0, 0, 1)}
    assert world(position_of(geotiff(tmp_path / "c.tif", turned)), 1.5, 0.5) == [11.0, 20.5]


@pytest.mark.parametrize("keys, epsg, metres", [
    (PLANE[:2], 25832, False), (((1024, 0, 1, 1), (3072, 0, 1, 32767), PLANE[2]), None, False),
    (((1024, 0, 1, 1), (3072, 0, 1, 3857), PLANE[2]), 3857, False),
    (((1024, 0, 1, 2), (2048, 0, 1, 4326)), 4326, False), ((), None, False)])
def test_what_the_keys_say(tmp_path, keys, epsg, metres):
    """Feet, degrees, user-defined systems, and Mercator's metres, which are not on the ground."""
    numbers = {SCALE: (0.5, 0.5, 0), TIE_POINTS: (0, 0, 0, 8, 50, 0)}
    position = position_of(geotiff(tmp_path / "a.tif", numbers, keys))
    assert (position.epsg, position.metres) == (epsg, metres)


def test_tags_count_before_a_world_file_and_complete_it(tmp_path):
    numbers = {SCALE: (2, 2, 0), TIE_POINTS: (0, 0, 0, 0, 0, 0)}
    for name in ("tags", "keys"):
        geotiff(tmp_path / f"{name}.tif", numbers if name == "tags" else {})
        (tmp_path / f"{name}.tfw").write_text(NORTH_UP)
    assert world(position_of(tmp_path / "tags.tif"), 0, 0) == [1, -1]
    beside = position_of(tmp_path / "keys.tif")
    assert world(beside, 0, 0) == [1000.25, 1999.75] and beside.epsg == 25832


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_a_photo_that_exif_turns_has_no_position(tmp_path, suffix):
    """A world file speaks of the pixels as stored, the cracks of the photo upright."""
    for orientation in (1, 6):
        exif, path = Image.Exif(), tmp_path / f"{orientation}.{suffix}"
        exif[ORIENTATION] = orientation
        photo_at(path, exif=exif)
        path.with_suffix(".wld").write_text(NORTH_UP)
    found, notes = positions_of([tmp_path / f"{orientation}.{suffix}" for orientation in (1, 6)])
    assert [*found] == [tmp_path / f"1.{suffix}"]
    assert f"6.{suffix}: its position is not used because EXIF turns" in notes[0]


@pytest.mark.parametrize("content", [
    b"", b"0.5\n0\n0\n-0.5\n1000\n", b"0.5\n0\n0\n-0.5\nnorth\n2000\n", bytes(range(256)) * 99,
    b"0\n0\n0\n0\n1000\n2000\n", b"0.5\n0\n0\nnan\n1\n2\n", b"1\n1\n1\n1\n1\n2\n",
    b"1\n0\n0\n-1\ninf\n2\n", b"1e300\n0\n0\n-1e300\n1\n2\n"])
def test_a_broken_world_file_is_named_in_one_line(tmp_path, content):
    path = photo_at(tmp_path / "a.jpg")
    (tmp_path / "a.jgw").write_bytes(content)
    found, (note,) = positions_of([path])
    assert not found and str(tmp_path / "a.jgw") in note and "\n" not in note
    assert "expected GeoTIFF tags, or a world file" in note


def test_a_world_file_with_decimal_commas_is_read(tmp_path):
    for name, content in (("a", "0.5 0 0 -0.5 10.5 20"), ("b", "\ufeff0,5 0 0 -0,5 10,5 20")):
        photo_at(tmp_path / f"{name}.jpg")
        (tmp_path / f"{name}.jgw").write_text(content.replace(" ", "\n"), "utf-8")
    found, notes = positions_of([tmp_path / "a.jpg", tmp_path / "b.jpg"])
    first, second = found.values()
    assert first.matrix.tolist() == second.matrix.tolist()


@pytest.mark.parametrize("numbers, keys", [
    ({SCALE: (1.0,), TIE_POINTS: (0, 0, 0, 1, 2, 0)}, PLANE),
    ({SCALE: (1, 1, 0), TIE_POINTS: (0, 0, 0)}, PLANE), ({MATRIX: (1.0, 2.0)}, PLANE),
    ({SCALE: (1, 1, 0), TIE_POINTS: (0, 0, 0, 1, 2, 0)}, ((1, 2, 3),))])
def test_broken_tags_are_named_in_one_line(tmp_path, numbers, keys):
    found, (note,) = positions_of([geotiff(tmp_path / "a.tif", numbers, keys)])
    assert not found and "a.tif: damaged position" in note


def test_a_photo_without_a_position_is_named_where_others_have_one(tmp_path):
    photos = a, b, c = [photo_at(tmp_path / f"{name}.jpg") for name in "abc"]
    assert positions_of(photos) == ({}, [])
    (tmp_path / "b.jgw").write_text(NORTH_UP)
    found, (note,) = positions_of(photos)
    assert [*found] == [b] and f"2 of 3 photos have no position, e.g. {a}:" in note
    assert f"e.g. {c}:" in positions_of([b, c])[1][0]


def test_a_photo_in_another_system_or_unreadable_has_no_position(tmp_path):
    """What cannot be read is reported when the photo is predicted, once."""
    numbers = {SCALE: (1, 1, 0), TIE_POINTS: (0, 0, 0, 1, 2, 0)}
    first = geotiff(tmp_path / "a.tif", numbers)
    other = geotiff(tmp_path / "b.tif", numbers, (PLANE[0], (3072, 0, 1, 25833), PLANE[2]))
    unknown = photo_at(tmp_path / "d.tif")  # taken to be in the system of the first
    (tmp_path / "d.tfw").write_text(NORTH_UP)
    found, notes = positions_of([first, other, tmp_path / "missing.tif", unknown])
    assert [*found] == [first, unknown] and len(notes) == 2
    assert "b.tif: in EPSG:25833" in notes[0] and "2 of 4 photos have no position" in notes[1]


def flat(across=(0.002, 0), down=(0, -0.002), metres=True):
    return Position(np.array([[across[0], down[0], 5], [across[1], down[1], 6]]), 25832, metres)


@pytest.mark.parametrize("positions, scale", [
    ([flat()], 2), ([flat(), flat()], 2), ([flat((0, 0.002), (0.002, 0))], 2),
    ([flat((0.00201, 0)), flat()], 2.0025), ([], None), ([flat(metres=False)], None),
    ([flat(), flat(metres=False)], None), ([flat((0.0021, 0))], None),
    ([flat(), flat((0.003, 0), (0, -0.003))], None), ([flat((0.002, 0.0001))], None)])
def test_a_scale_is_that_of_square_pixels_in_metres(positions, scale):
    """The same in all photos; not where pixels are oblong, slanted, or of another unit."""
    assert common_scale(positions) == (scale if scale is None else pytest.approx(scale))

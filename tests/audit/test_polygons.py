"""Shapes from labelling programs become the masks that were drawn, and nothing is overwritten."""

import base64
import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import refused
from PIL import Image

from unet_resnet.audit import __main__ as command
from unet_resnet.audit.annotations import read
from unet_resnet.audit.polygons import Shape, box, draw, fill, select_labels, stroke, write

COMMAND = "unet_resnet/audit/__main__.py"
SQUARE = [(0, 0), (10, 0), (10, 10), (0, 10)]
HEIGHT, WIDTH = 40, 60
# Two cracks, one of which leaves the photo's corner; each as rectangles left, top, right, bottom.
CRACKS = [(5, 8, 45, 11), (50, 0, 60, 6)]


def truth() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for left, top, right, bottom in CRACKS:
        mask[top:bottom, left:right] = True
    return mask


def filled(*outlines: Any, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    mask = np.zeros(size, bool)
    for outline in outlines:
        fill(mask, np.array(outline, float))
    return mask


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    """Clockwise about the centre."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return (points - points.mean(0)) @ np.array([(cos, sin), (-sin, cos)]) + points.mean(0)


def corners(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def save(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def photo(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT), turn: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if turn:
        exif[0x0112] = turn
    Image.new("RGB", size, "grey").save(path, exif=exif)
    return path


def labelme(*shapes: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {"version": "5.5.0", "flags": {}, "shapes": list(shapes), "imagePath": "a.jpg",
            "imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH} | changed


def labelled(kind: str, points: Any, label: str = "crack", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind} | more


def coco(*segmentations: Any, **changed: Any) -> dict[str, Any]:
    return {"images": [{"id": 7, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}],
            "categories": [{"id": 1, "name": "crack"}, {"id": 2, "name": "joint"}],
            "annotations": [{"id": number, "image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1],
                             "segmentation": outline, "iscrowd": 0}
                            for number, outline in enumerate(segmentations)]} | changed


def cvat(*shapes: str, name: str = "a.jpg",
         size: str = f'width="{WIDTH}" height="{HEIGHT}"') -> str:
    return ('<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version>'
            f'<meta><task/></meta><image id="0" name="{name}" {size}>{"".join(shapes)}</image>'
            "</annotations>")


def masks(tmp_path: Path, source: Path, photos: Path | None = None, labels: list[str] = [],
          line_width: float = 3) -> dict[str, np.ndarray]:
    """What the command writes, as bool."""
    drawings, folder = read(source, photos), tmp_path / "masks"
    select_labels(drawings, labels)
    write(drawings, folder, line_width)
    written = {path.name: np.array(Image.open(path)) for path in folder.iterdir()}
    assert all(set(np.unique(mask)) <= {0, 255} for mask in written.values())
    return {name: mask > 0 for name, mask in written.items()}


# Which pixels a shape has

def test_a_square_on_pixel_corners_has_its_pixels_exactly():
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[:10, :10] = True
    for start in range(4):  # from any corner, both ways round
        outline = SQUARE[start:] + SQUARE[:start]
        assert (filled(outline) == expected).all()
        assert (filled(outline[::-1]) == expected).all()


@pytest.mark.parametrize("shift", [0, 0.25, 0.49, 0.5, 0.75, 1])
def test_a_shifted_square_keeps_its_width(shift):
    mask = filled(np.array(SQUARE) + 5 + shift)
    assert mask.sum() == 100 and mask.any(0).sum() == mask.any(1).sum() == 10
    assert mask[15, 15] == (shift > 0.5) or shift == 0.5


def test_a_pixel_is_crack_where_its_centre_is_inside():
    """The definition, pixel by pixel, against a polygon of random points that crosses itself."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        outline = rng.uniform(-10, 70, (7, 2))
        expected = np.zeros((HEIGHT, WIDTH), bool)
        for row in range(HEIGHT):
            for column in range(WIDTH):
                crossings, x, y = 0, column + 0.5, row + 0.5
                for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, 0)):
                    if (y0 <= y) != (y1 <= y):
                        crossings += x0 + (y - y0) / (y1 - y0) * (x1 - x0) <= x
                expected[row, column] = crossings % 2
        assert (filled(outline) == expected).all() and expected.any()


def test_cracks_in_any_direction_keep_their_area():
    """Mean over directions; Pillow's own polygons are 20 % too large at this width."""
    areas = []
    for degrees in np.arange(0.7, 180, 3):
        crack = turned(box(30, 98.5, 170, 101.5) + 0.3, degrees)
        areas.append(filled(crack, size=(200, 200)).sum() / (140 * 3))
    assert np.mean(areas) == pytest.approx(1, abs=0.005)


def test_touching_shapes_share_no_pixel_and_leave_none():
    left, right = filled([(3, 3), (20.3, 3), (9.7, 30), (3, 30)]), filled(
        [(20.3, 3), (40, 3), (40, 30), (9.7, 30)])
    assert not (left & right).any()
    assert ((left | right) == filled(corners(3, 3, 40, 30))).all()


def test_outside_the_photo_is_nothing():
    assert not filled(np.array(SQUARE) + 1000).any() and not filled(np.array(SQUARE) - 1000).any()
    assert filled(np.array([(-1e6, -1e6), (1e6, -1e6), (1e6, 1e6), (-1e6, 1e6)])).all()


@pytest.mark.parametrize("width", [1, 2, 3, 7])
def test_a_line_is_as_wide_as_asked(width):
    across, down = np.array([(10, 20), (50, 20)]), np.array([(30, 5), (30, 20), (30, 35)])
    middle = filled(*stroke(across, width))[:, 20:40]
    assert (middle.sum(0) == width).all()
    assert (filled(*stroke(down, width))[10:30].sum(1) == width).all()


def test_a_line_is_round_at_its_bends_and_ends():
    mask = filled(*stroke(np.array([(20, 10), (40, 10), (40, 30)]), 6))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    along = np.hypot(columns - columns.clip(20, 40), rows - 10)
    down = np.hypot(columns - 40, rows - rows.clip(10, 30))
    assert (mask == (np.minimum(along, down) < 3)).mean() > 0.998
    assert filled(*stroke(np.array([(5, 5), (5, 5)]), 2)).sum() == 4  # a click twice at one place


# Each program's file

POLYGONS = {
    "labelme.json": labelme(*(labelled("polygon", corners(*crack)) for crack in CRACKS)),
    "coco.json": coco(*([sum(corners(*crack), [])] for crack in CRACKS)),
    "cvat.xml": cvat(*('<polygon label="crack" occluded="0" points="'
                       + ";".join(f"{x:.2f},{y:.2f}" for x, y in corners(*crack))
                       + '" z_order="0"></polygon>' for crack in CRACKS)),
    "labels/a.txt": "".join("0 " + " ".join(f"{x / WIDTH:.6f} {y / HEIGHT:.6f}"
                                            for x, y in corners(*crack)) + "\n"
                            for crack in CRACKS)}


@pytest.mark.parametrize("name", POLYGONS)
def test_a_known_mask_comes_back(tmp_path, name):
    photo(tmp_path / "images" / "a.jpg")
    written = masks(tmp_path, save(tmp_path / name, POLYGONS[name]))
    assert list(written) == ["a.png"] and (written["a.png"] == truth()).all()


@pytest.mark.parametrize("name", POLYGONS)
def test_a_round_trip_through_traced_outlines(tmp_path, name):
    """Polygons traced at half height around a drawn mask, by scikit-image, give it back."""
    measure = pytest.importorskip("skimage.measure")
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    known = abs(rows - 20 - 8 * np.sin(columns / 9)) < 2.6
    known[:, :4] = known[:, -4:] = False
    (traced,) = measure.find_contours(np.float32(known), 0.5)
    outline = (traced[:-1, ::-1] + 0.5).tolist()  # its coordinates are of pixel centres
    photo(tmp_path / "images" / "a.jpg")
    content = {
        "labelme.json": labelme(labelled("polygon", outline)),
        "coco.json": coco([sum(outline, [])]),
        "cvat.xml": cvat('<polygon label="crack" points="'
                         + ";".join(f"{x:.2f},{y:.2f}" for x, y in outline) + '"/>'),
        "labels/a.txt": "0 " + " ".join(f"{x / WIDTH} {y / HEIGHT}" for x, y in outline)}[name]
    mask = masks(tmp_path, save(tmp_path / name, content))["a.png"]
    assert mask.sum() == pytest.approx(known.sum(), rel=0.01)
    assert (mask & known).sum() / (mask | known).sum() > 0.99


def test_all_shapes_of_labelme(tmp_path):
    patch = np.zeros((3, 4), bool)
    patch[0, 1:] = patch[2, 0] = True
    file = io.BytesIO()
    Image.fromarray(patch).save(file, "PNG")
    png = base64.b64encode(file.getvalue()).decode()
    source = save(tmp_path / "a.json", labelme(
        labelled("rectangle", [[10, 9], [4, 6]]),  # drawn from its lower right corner
        labelled("line", [[0, 20.5], [20, 20.5]]),
        labelled("linestrip", [[40, 5], [40, 15], [50, 15]]),
        labelled("mask", [[50, 30], [53, 32]], mask=png),
        {"label": "crack", "points": [[20, 0], [22, 0], [22, 2]]}))  # of old versions, a polygon
    mask = masks(tmp_path, source)["a.png"]
    assert mask[6:9, 4:10].all() and mask[6:9, :12].sum() == 18
    assert (mask[18:24, 10].nonzero()[0] + 18).tolist() == [19, 20, 21]
    assert mask[10, 38:43].sum() == 3 and mask[15, 50]
    assert (mask[30:33, 50:54] == patch).all()
    assert mask[:2, 20:22].sum() >= 2


def test_a_labelme_file_names_its_photo_with_a_path(tmp_path):
    """On Windows; an editor there may have added a byte order mark, too."""
    content = labelme(imagePath="..\\photos\\wall 1.final.jpg")
    source = save(tmp_path / "x.json", "\ufeff" + json.dumps(content))
    assert list(masks(tmp_path, source)) == ["wall 1.final.png"]


def test_the_masks_of_coco(tmp_path):
    mask = truth()
    edges = np.flatnonzero(np.diff(mask.T.ravel(), prepend=False))
    counts = np.diff([0, *edges, mask.size]).tolist()
    source = save(tmp_path / "coco.json", coco({"size": [HEIGHT, WIDTH], "counts": counts}))
    assert (masks(tmp_path, source)["a.png"] == mask).all()


def test_photos_without_shapes_get_black_masks(tmp_path):
    content = coco(**{"images": [{"id": i, "file_name": f"images/{i}.jpg", "height": 3, "width": 4}
                                 for i in range(2)]})
    save(tmp_path / "x" / "coco.json", content)
    save(tmp_path / "x" / "l.json", labelme(imagePath="l.jpg"))
    save(tmp_path / "x" / "c.xml", cvat(name="sub/c.jpg"))
    photo(tmp_path / "x" / "y.png")
    save(tmp_path / "x" / "y.txt", "")
    written = masks(tmp_path, tmp_path / "x")
    assert sorted(written) == ["0.png", "1.png", "c.png", "l.png", "y.png"]
    assert not any(mask.any() for mask in written.values()) and written["1.png"].shape == (3, 4)


def test_all_shapes_of_cvat(tmp_path):
    source = save(tmp_path / "annotations.xml", cvat(
        '<box label="crack" xtl="4.00" ytl="6.00" xbr="10.00" ybr="9.00" rotation="0.0"/>',
        '<polyline label="crack" points="45,5;45,15"/>',
        # From the left upper corner of its box, row by row, beginning with a run of background.
        '<mask label="crack" rle="1, 3, 4, 1, 3" left="50" top="30" width="4" height="3"/>',
        '<tag label="checked" source="manual"></tag>'))
    mask = masks(tmp_path, source)["a.png"]
    assert mask[6:9, 4:10].all() and mask[4:11, 2:12].sum() == 18
    assert mask[10, 40:50].sum() == 3
    assert (mask[30:33, 50:54] == [[0, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]]).all()


@pytest.mark.parametrize("labels, images", [
    ("x", "x"), ("labels", "images"), ("labels/train", "images/train"),
    ("train/labels", "train/images")])
def test_yolo_finds_its_photos(tmp_path, labels, images):
    """One file per photo; a list of names is no such file."""
    photo(tmp_path / images / "a.jpg")
    save(tmp_path / labels / "a.txt", "3 0 0 0.5 0 0.5 0.5 0 0.5\n\n3 1.01 1 1 0.9 0.9 1\n")
    save(tmp_path / "classes.txt", "crack\n")
    save(tmp_path / "train.txt", "images/train/a.jpg\n")
    mask = masks(tmp_path, tmp_path)["a.png"]
    assert mask[:20, :30].all() and mask[-1, -1] and not mask[:20, 30:].any()
    (tmp_path / labels / "a.txt").write_text("0 0 0 0.5 0 0.5 0.5 0 0.5\n", "utf-8-sig")
    assert len(read(tmp_path)) == 1  # as Windows writes it
    (tmp_path / labels / "a.txt").write_text("0.0 0 0 0.5 0 0.5 0.5 0 0.5\n")
    with pytest.raises(ValueError, match="a.txt: line 1: begins with '0.0'"):
        read(tmp_path)


def test_yolo_asks_for_the_folder_of_the_photos(tmp_path):
    source = save(tmp_path / "labels" / "a.txt", "0 0 0 1 0 1 1 0 1")
    with pytest.raises(ValueError, match="no photo named a directly in .*--photos"):
        read(source)
    photo(tmp_path / "elsewhere" / "a.jpg", turn=6)
    (drawing,) = read(source, tmp_path / "elsewhere")
    assert drawing.size == (WIDTH, HEIGHT)  # upright, as the camera held it


def test_photos_are_compared(tmp_path):
    """A photo resized or turned after it was drawn on is noticed."""
    source = save(tmp_path / "a.json", labelme())
    photo(tmp_path / "same" / "a.png")
    photo(tmp_path / "small" / "a.png", (WIDTH // 2, HEIGHT // 2))
    photo(tmp_path / "turned" / "a.jpg", turn=6)
    read(source, tmp_path / "same")
    for folder in ("small", "turned"):
        with pytest.raises(ValueError, match="a was drawn at 60x40, its photo has"):
            read(source, tmp_path / folder)


# Labels

def test_labels(tmp_path, capsys):
    square = np.array(SQUARE)
    source = save(tmp_path / "a.json", labelme(
        labelled("polygon", SQUARE), labelled("polygon", (square + 20).tolist(), "joint"),
        labelled("polygon", (square + 22).tolist(), "joint"),
        labelled("polygon", corners(0, 0, 60, 40), "_background_"),
        labelled("point", [[1, 1]], "seen")))
    with pytest.raises(ValueError, match="a shape 'point' labelled 'seen' on a; .*--label"):
        select_labels(read(source))
    drawings = read(source)
    rows = select_labels(drawings, ["crack", "joint"]).splitlines()
    assert [row.split() for row in rows[1:]] == [
        ["_background_", "1", "not", "crack"], ["crack", "1", "crack"], ["joint", "2", "crack"],
        ["seen", "1", "not", "crack"]]
    assert masks(tmp_path, source, labels=["joint"])["a.png"].sum() == 200 - 64
    with pytest.raises(ValueError, match="no shape has the label 'cracks'; found: .*crack, joint"):
        select_labels(read(source), ["cracks"])


@pytest.mark.parametrize("outline, kind", [
    ([], "box without an outline"),
    ({"size": [HEIGHT, WIDTH], "counts": "72;2K"}, "compressed mask")])
def test_what_coco_cannot_draw_matters_only_if_it_is_crack(tmp_path, outline, kind):
    content = coco([[10, 10, 30, 10, 30, 20, 10, 20]], outline)
    content["annotations"][1]["category_id"] = 2
    source = save(tmp_path / "a.json", content)
    assert masks(tmp_path, source, labels=["crack"])["a.png"].sum() == 200
    with pytest.raises(ValueError, match=f"a shape '{kind}' labelled 'joint' on a; draw"):
        select_labels(read(source))


def test_the_background_is_not_crack_unless_chosen(tmp_path):
    source = save(tmp_path / "a.json", labelme(
        labelled("polygon", SQUARE), labelled("polygon", corners(0, 0, 60, 40), "background"),
        labelled("polygon", corners(0, 0, 60, 40), "Background")))
    drawings = read(source)
    select_labels(drawings)
    assert [shape.label for shape in drawings[0].shapes] == ["crack"]
    drawings = read(source)
    select_labels(drawings, ["background"])
    assert [shape.label for shape in drawings[0].shapes] == ["background"]


def test_what_is_uncertain_is_said(tmp_path):
    save(tmp_path / "a.json", labelme(
        labelled("line", [[5, 5], [20, 5]]), labelled("rectangle", [[30, 5], [40, 15]]),
        labelled("polygon", [[1, 20.6], [40, 20.6], [40, 21.4], [1, 21.4]]),
        labelled("polygon", (np.array(SQUARE) + 500).tolist())))
    save(tmp_path / "b.json", labelme(imagePath="b.jpg"))
    drawings = read(tmp_path)
    select_labels(drawings)
    assert write(drawings, tmp_path / "masks", 5).splitlines() == [
        f"masks written to {tmp_path / 'masks'}: 2", "black masks: 1",
        "lines, drawn 5 pixels wide (--line-width): 1",
        "boxes, filled (right only where the box is the crack): 1",
        "shapes without a pixel (too thin, or outside the photo): 2"]
    assert not draw(np.zeros((9, 9), bool), Shape("crack", "polygon", box(1, 1, 8, 1.4)), 3)


# The command, and what it refuses

def test_the_command(tmp_path, script):
    save(tmp_path / "json" / "a.json", labelme(labelled("polygon", SQUARE)))
    outcome = script(COMMAND, "--from", "json", "--to", "new/masks")
    assert outcome.status == 0, outcome.err
    assert [line.split() for line in outcome.out.splitlines()] == [
        ["label", "shapes"], ["crack", "1", "crack"], ["masks", "written", "to", "new/masks:", "1"]]
    before = (tmp_path / "new" / "masks" / "a.png").read_bytes()
    assert (np.array(Image.open(io.BytesIO(before))) > 0).sum() == 100
    again = script(COMMAND, "--from", "json", "--to", "new/masks")
    refused(again, "unet_resnet.audit", "new/masks/a.png exists; choose another name")
    assert again.out == "" and (tmp_path / "new" / "masks" / "a.png").read_bytes() == before


def test_one_existing_mask_stops_all(tmp_path):
    for name in "abc":
        save(tmp_path / f"{name}.json", labelme(imagePath=f"{name}.jpg"))
    save(tmp_path / "masks" / "c.png", "mine")
    with pytest.raises(FileExistsError, match="c.png exists"):
        write(read(tmp_path), tmp_path / "masks", 3)
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["c.png"]
    assert (tmp_path / "masks" / "c.png").read_text() == "mine"


@pytest.mark.parametrize("arguments", [
    [], ["--from", "x"], ["--to", "x"], ["--from", "x", "--to", "y", "z"],
    ["--from", "x", "--to", "y", "--json", "z"], ["--from", "x", "--to", "y", "--line-width", "0"],
    ["--from", "x", "--to", "y", "--line-width", "nan"]])
def test_flags_that_do_not_go_together(monkeypatch, capsys, arguments):
    monkeypatch.setattr(sys, "argv", ["audit", *arguments])
    with pytest.raises(SystemExit) as stop:
        command.main()
    assert stop.value.code == 2 and capsys.readouterr().err.count("\n") == 1


POLYGON = '<polygon label="crack" points="{}"/>'
BAD = {
    "broken JSON": ("a.json", '{"shapes": [', "a.json: "),
    "not text": ("a.json", "\0\udcff", "a.json: "),
    "another JSON": ("a.json", '[{"data": 1}]', "neither labelme's JSON nor COCO's"),
    "broken XML": ("a.xml", "<annotations><image>", "a.xml: "),
    "another XML": ("a.xml", "<annotation><object/></annotation>", "CVAT for images 1.1"),
    "XML of a video": ("a.xml", "<annotations><track/></annotations>", "CVAT for images 1.1"),
    "another ending": ("a.zip", "PK", "unpack an archive first"),
    "labelme, 2 points": ("a.json", labelme(labelled("polygon", SQUARE[:2])),
                          "shape 1: a shape of 2 points, expected 3 or more"),
    "labelme, half a box": ("a.json", labelme(labelled("rectangle", SQUARE[:1])),
                            "a shape of 1 points, expected 2 or more"),
    "labelme, no points": ("a.json", labelme({"label": "crack"}), "shape 1: 'points' is missing"),
    "labelme, far off": ("a.json", labelme(labelled("polygon", [[0, 0], [1e300, 1], [2, 9]])),
                         "not in a photo"),
    "labelme, NaN": ("a.json", labelme(labelled("polygon", [[0, 0], [math.nan, 1], [2, 9]])),
                     "not in a photo"),
    "labelme, no size": ("a.json", labelme(imageHeight=0), "size of the photo is 60x0"),
    "labelme, a huge size": ("a.json", labelme(imageHeight=10**9), "megapixels"),
    "labelme, no mask": ("a.json", labelme(labelled("mask", SQUARE[:2], mask="bm9uZQ==")),
                         "shape 1: "),
    "labelme, no list": ("a.json", labelme(shapes=3), "object is not iterable"),
    "labelme, a folder": ("b.json", labelme(imagePath="photos/.."), "a photo named 'photos/..'"),
    "COCO, 2 points": ("a.json", coco([[1, 2, 3, 4]]), "annotation 0: a shape of 2 points"),
    "COCO, odd": ("a.json", coco([[1, 2, 3, 4, 5, 6, 7]]), "annotation 0: "),
    "COCO, a box": ("a.json", coco([]), "'box without an outline' labelled 'crack'"),
    "COCO, no size": ("a.json", coco(images=[{"id": 7, "file_name": "a.jpg"}]),
                      "image a.jpg: 'height' is missing"),
    "COCO, no image": ("a.json", coco([[1, 2, 3, 4, 5, 6]], images=[]),
                       "annotation 0: 7 is missing"),
    "COCO, two images of one id": ("a.json", coco(images=[
        {"id": 7, "file_name": f"{name}.jpg", "height": 9, "width": 9} for name in "ab"]),
                                   "two images have the same id"),
    "COCO, runs that overflow": ("a.json", coco({"size": [HEIGHT, WIDTH], "counts": [
        2**62, 2**62, 2**62, 2**62, HEIGHT * WIDTH]}), "do not fill"),
    "COCO, short runs": ("a.json", coco({"size": [HEIGHT, WIDTH], "counts": [5, 5]}),
                         "do not fill"),
    "COCO, negative runs": ("a.json", coco({"size": [HEIGHT, WIDTH], "counts": [-5, 2405]}),
                            "do not fill"),
    "COCO, another size": ("a.json", coco({"size": [WIDTH, HEIGHT], "counts": [2400]}),
                           "not of its photo's size"),
    "COCO, compressed runs": ("a.json", coco({"size": [HEIGHT, WIDTH], "counts": "72;2K"}),
                              "'compressed mask' labelled 'crack' on a; draw"),
    "CVAT, 2 points": ("a.xml", cvat(POLYGON.format("1,2;3,4")), "image a.jpg: a shape of 2"),
    "CVAT, no number": ("a.xml", cvat(POLYGON.format("1,2;3,x;5,6")), "image a.jpg: "),
    "CVAT, no size": ("a.xml", cvat(size=""), "image a.jpg: 'height' is missing"),
    "CVAT, a huge mask": ("a.xml", cvat('<mask label="crack" rle="1000000000000" left="0" top="0" '
                                        'width="1000000" height="1000000"/>'), "megapixels"),
    "CVAT, no name": ("a.xml", cvat(name="/"), "expected a file name"),
    "CVAT, a line in a name": ("a.xml", cvat(name="a&#10;b.jpg"), "expected a file name"),
    "YOLO, a box": ("a.txt", "0 0.1 0.1 0.2 0.2", "line 1: numbers after the class: 4, as"),
    "YOLO, odd": ("a.txt", "0 0 0 1 0 1 1 0", "line 1: "),
    "YOLO, pixels": ("a.txt", "\n0 0 0 40 0 40 30", "line 2: coordinates above 1"),
    "YOLO, with a confidence": ("a.txt", "0 0 0 1 0 1 1 0 1 0.93", "line 1: 9 numbers of a shape"),
    "YOLO, a name": ("a.txt", "crack 0 0 1 0 1 1", "line 1: begins with 'crack'"),
    "labelme, triples": ("a.json", labelme(labelled("polygon", [[*one, 1] for one in SQUARE])),
                         "pairs of x and y"),
    "YOLO, no number": ("a.txt", "0 0 0 1 0 1 x", "line 1: "),
}


@pytest.mark.parametrize("name, content, message", BAD.values(), ids=BAD.keys())
def test_bad_files(tmp_path, monkeypatch, name, content, message):
    """One line that names the file and the place; nothing is written."""
    photo(tmp_path / "a.jpg")
    source = tmp_path / name
    text = content if isinstance(content, str) else json.dumps(content)
    source.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises((OSError, ValueError)) as caught:
        masks(tmp_path, source)
    reason = str(caught.value)
    assert reason.startswith(f"{source}: ") and message in reason
    assert len(reason.splitlines()) == 1 and not (tmp_path / "masks").exists()


def test_nothing_to_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="none: no such file or folder"):
        read(tmp_path / "none")
    save(tmp_path / "classes.txt", "crack")
    photo(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="no annotations in it"):
        read(tmp_path)


def test_labelmes_photo_is_the_one_beside_it_of_the_same_name(tmp_path):
    """Photos are renamed together with their files, in which the old name stays."""
    photo(tmp_path / "cam2_a.jpg")
    save(tmp_path / "cam2_a.json", labelme(imagePath="a.jpg"))
    save(tmp_path / "other.json", labelme(imagePath="b.jpg"))
    assert {drawing.stem for drawing in read(tmp_path)} == {"cam2_a", "b"}


@pytest.mark.parametrize("name", ["../../evil.jpg", "/etc/evil.jpg", "C:\\x\\evil.jpg",
                                  "..\\..\\label-studio\\media\\upload\\4\\evil.jpg"])
def test_masks_stay_in_their_folder(tmp_path, name):
    """Label Studio writes such paths; only the last part names the mask."""
    content = coco([sum(map(list, SQUARE), [])])
    content["images"][0]["file_name"] = name
    source = save(tmp_path / "in" / "coco.json", content)
    assert list(masks(tmp_path, source)) == ["evil.png"]
    assert not list(tmp_path.rglob("evil.jpg"))


def test_two_photos_of_one_name(tmp_path):
    """In different folders, or differing in case, which some file systems do not."""
    save(tmp_path / "1.json", labelme(imagePath="left/a.jpg"))
    save(tmp_path / "2.json", labelme(imagePath="right/A.png"))
    with pytest.raises(ValueError, match="2.json: a second photo named A, after .*1.json"):
        read(tmp_path)

"""Do the lines of the map and the drawing lie on the cracks, with the numbers of the tables?"""

import json
import math
from pathlib import Path

import ezdxf
import numpy as np
import pytest
import torch
from ezdxf import recover
from scipy.spatial import cKDTree
from test_measure import ray, star, stroke, two_bands

from unet_resnet.measure.georeference import Position
from unet_resnet.measure.maps import Maps
from unet_resnet.measure.tables import rows
from unet_resnet.measure.widths import measure

UTM = Position(np.array([[0.0003, 0.0004, 562345], [0.0004, -0.0003, 5600123]]), 25832, True)


def draw_maps(folder, masks, mm_per_pixel=None, limits=(), positions=None):
    """The features of the GeoJSON, all of it, the drawing, in which ezdxf finds no fault, and what
    was measured."""
    found = {name: measure(mask, mm_per_pixel, limits) for name, mask in masks.items()}
    positions = {Path(name): position for name, position in (positions or {}).items()}
    with open(folder / "cracks.geojson", "wb") as geojson, open(folder / "cracks.dxf", "wb") as dxf:
        maps = Maps(geojson, dxf, limits, mm_per_pixel, positions)
        for name in masks:
            maps.add(name, Path(name), found[name], rows(name, found[name])[1])
        maps.end()
    drawing = ezdxf.readfile(folder / "cracks.dxf")
    _, auditor = recover.readfile(folder / "cracks.dxf")
    audit = drawing.audit()
    assert not [*audit.errors, *audit.fixes, *auditor.errors, *auditor.fixes]
    whole = json.loads((folder / "cracks.geojson").read_text())
    return whole["features"], whole, drawing, found


def lines_of(drawing, layer):
    return [np.array(line.get_points("xy"))
            for line in drawing.modelspace().query(f'LWPOLYLINE[layer=="{layer}"]')]


def texts_of(drawing, layer):
    return [text.dxf.text for text in drawing.modelspace().query(f'TEXT[layer=="{layer}"]')]


def dense(line):
    """A line (n, 2) in points at most a twentieth of a pixel, or of its unit, apart."""
    at = np.insert(np.hypot(*np.diff(line, axis=0).T).cumsum(), 0, 0)
    fine = np.linspace(0, at[-1], 20 * 300)
    return np.column_stack([np.interp(fine, at, column) for column in line.T])


def apart(line, other):
    """The distance from any place on either to the nearest on the other."""
    a, b = (np.concatenate([dense(np.asarray(part)) for part in parts]) for parts in (line, other))
    return max(cKDTree(a).query(b)[0].max(), cKDTree(b).query(a)[0].max())


def synthetic(shape, width):
    """A mask, and the true centre lines, each from tip to tip."""
    middle = torch.tensor([120.3, 119.6])
    if shape == "ring":
        turn = np.linspace(0, 2 * np.pi, 500)
        y, x = torch.meshgrid(*2 * [torch.arange(240.0)], indexing="ij")
        away = torch.hypot(x - middle[0], y - middle[1])
        circle = middle.numpy() + 80 * np.column_stack([np.cos(turn), np.sin(turn)])
        return ((away - 80).abs() < width / 2)[None], [circle]
    if shape == "curve":
        x = np.linspace(-80, 80, 161)
        core = middle.numpy() + np.column_stack([x, 12 * np.sin(x * np.pi / 40)])
        ends = [core[0] - (core[1] - core[0]), core[-1] + (core[-1] - core[-2])]
        tips = [core[i] + (end - core[i]) * width / 2 / math.dist(end, core[i])
                for i, end in zip((0, -1), ends)]
        return ((stroke(240, torch.tensor(core).float()) < width / 2)[None],
                [np.concatenate([tips[:1], core, tips[1:]])])
    arms = [(0.3, 0.3 + math.pi)] if shape == "line" else [(0.2,), (2.2,), (4.4,)]
    gaps, truth = [], []
    for angles in arms:
        ends = [ray(angle, 90) for angle in angles]
        ends = ends if len(ends) == 2 else [torch.zeros(2), *ends]
        gaps.append(stroke(240, middle + torch.stack(ends)))
        tips = [end * (1 + width / 2 / 90) for end in ends]
        truth.append((middle + torch.stack(tips)).numpy())
    return (torch.stack(gaps).amin(0) < width / 2)[None], truth


@pytest.mark.parametrize("width", [1.5, 3.0, 6.0])
@pytest.mark.parametrize("shape", ["line", "curve", "fork", "ring"])
def test_lines_lie_within_a_pixel_of_the_crack(tmp_path, shape, width):
    """All along, in pixels, in mm and in the world; and the vertices have the crack's width."""
    mask, truth = synthetic(shape, width)
    (crack,), _, drawing, found = draw_maps(tmp_path, {"a": mask})
    lines = [np.array(line) for line in crack["geometry"]["coordinates"]]
    assert len(lines) == len(truth) and apart(lines, truth) < 1
    assert max(abs(value - width) for line in crack["properties"]["widths_px"]
               for value in line) < 1
    length = sum(np.hypot(*np.diff(line, axis=0).T).sum() for line in lines)
    assert length == pytest.approx(crack["properties"]["length_px"], rel=0.01)
    assert apart(lines_of(drawing, "CRACKS"), [(0.5, 239.5) + line * (1, -1) for line in truth]) < 1

    *_, drawing, _ = draw_maps(tmp_path, {"a": mask}, 0.05)
    in_mm = [0.05 * ((0.5, 239.5) + line * (1, -1)) for line in truth]
    assert apart(lines_of(drawing, "CRACKS"), in_mm) < 0.05

    (crack,), _, drawing, _ = draw_maps(tmp_path, {"a": mask}, 0.5, positions={"a": UTM})
    in_world = [line @ UTM.matrix[:, :2].T + UTM.matrix[:, 2] for line in truth]
    for lines in (crack["geometry"]["coordinates"], lines_of(drawing, "CRACKS")):
        assert apart(lines, in_world) < 0.0005  # 0.5 mm per pixel


def test_features_have_the_rows_of_the_table(tmp_path):
    """The same numbers, and at each vertex of each branch a width, in pixels and mm."""
    mask = torch.cat([star((0, 120, 240), 60, 5, 0.1, torch.zeros(2)),
                      star((10, 190), 60, 3, 0, torch.zeros(2))], 2)
    features, whole, drawing, found = draw_maps(tmp_path, {"wall/x": mask}, 0.05, (0.2,))
    _, table = rows("wall/x", found["wall/x"])
    assert len(features) == 2 and "crs" not in whole and "pixels" in whole["note"]
    for feature, row, crack in zip(features, table, found["wall/x"].cracks):
        properties, lines = feature["properties"], feature["geometry"]["coordinates"]
        assert properties.items() >= row.items()
        assert len(lines) == crack.branches
        for line, px, mm in zip(lines, properties["widths_px"], properties["widths_mm"]):
            assert len(line) == len(px) == len(mm)
            assert mm == pytest.approx([0.05 * width for width in px], abs=1e-4)
    labels = texts_of(drawing, "NUMBERS")
    for label, row in zip(labels, table):
        number, length, _, _, width, _, _ = label.replace(":", "").split()
        assert int(number) == row["crack"] and f"{row['width_max_mm']:.3g}" == width
        assert float(length) == pytest.approx(row["length_mm"], rel=0.005)


def test_branches_lie_on_the_layer_of_their_class(tmp_path):
    """Bands of 3 and 12 pixels, 0.15 and 0.6 mm."""
    _, _, drawing, _ = draw_maps(tmp_path, {"a": two_bands()}, 0.05, (0.1, 0.25, 0.7))
    names = [layer.dxf.name for layer in drawing.layers if layer.dxf.name.startswith("CRACKS")]
    assert names == ["CRACKS_BELOW_0_1_MM", "CRACKS_0_1_TO_0_25_MM", "CRACKS_0_25_TO_0_7_MM",
                     "CRACKS_FROM_0_7_MM"]
    assert [len(lines_of(drawing, name)) for name in names] == [0, 1, 1, 0]
    assert [line[:, 1].mean() for name in names[1:3] for line in lines_of(drawing, name)] == (
        pytest.approx([0.05 * (300 - 61.5), 0.05 * (300 - 206)], abs=0.05))
    assert len({layer.dxf.color for layer in drawing.layers} - {7, 8}) >= 4


def test_what_is_too_wide_has_a_layer_of_its_own(tmp_path):
    mask = torch.zeros(1, 300, 400)
    mask[:, 20:24, 50:350] = mask[:, 100:140, 50:250] = 1
    features, _, drawing, _ = draw_maps(tmp_path, {"a": mask})
    assert [feature["properties"]["wide"] for feature in features] == [0, 1]
    assert [len(lines_of(drawing, name)) for name in ("CRACKS", "WIDE")] == [1, 1]
    assert [words.endswith(", not counted") for words in texts_of(drawing, "NUMBERS")] == [0, 1]


def test_photos_stand_in_a_row_framed_and_named(tmp_path):
    masks = {"ä, north": two_bands(), "blank": torch.zeros(1, 50, 900), "wall/😀\n": two_bands()}
    features, _, drawing, _ = draw_maps(tmp_path, masks)
    frames = lines_of(drawing, "PHOTOS")
    assert [np.ptp(frame, 0).tolist() for frame in frames] == [[400, 300], [900, 50], [400, 300]]
    for frame, after in zip(frames, frames[1:]):
        assert frame[:, 0].max() < after[:, 0].min() and frame[:, 1].min() == 0
    lines = lines_of(drawing, "CRACKS")
    assert len(lines) == len(features) == 4
    for line, frame in zip(lines, (frames[0], frames[0], frames[2], frames[2])):
        assert (line > frame.min(0)).all() and (line < frame.max(0)).all()
    assert texts_of(drawing, "PHOTOS") == ["ä, north", "blank", "wall/😀\\n"]
    assert {feature["properties"]["photo"] for feature in features} == {*masks} - {"blank"}


@pytest.mark.parametrize("scale, position, unit", [
    (None, None, 0), (0.05, None, 4), (0.05, UTM, 6), (None, UTM._replace(metres=False), 0)])
def test_the_unit_of_the_drawing(tmp_path, scale, position, unit):
    *_, drawing, _ = draw_maps(tmp_path, {"a": two_bands()}, scale,
                               positions={"a": position} if position else None)
    assert drawing.header["$INSUNITS"] == unit


def test_photos_without_a_position_keep_their_rows(tmp_path):
    """Where others have one, their cracks have no geometry, and no place in the drawing."""
    masks = {"a": two_bands(), "b": two_bands()}
    features, whole, drawing, _ = draw_maps(tmp_path, masks, positions={"b": UTM})
    assert whole["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::25832"
    assert [feature["properties"]["photo"] for feature in features] == ["a", "a", "b", "b"]
    assert [feature["geometry"] is None for feature in features] == [True, True, False, False]
    assert texts_of(drawing, "PHOTOS") == ["b"] and len(lines_of(drawing, "CRACKS")) == 2
    unknown = Position(UTM.matrix, None, False)
    _, whole, _, _ = draw_maps(tmp_path, masks, positions={"b": unknown})
    assert "crs" not in whole and "system of the photos" in whole["note"]


def test_maps_without_cracks(tmp_path):
    features, _, drawing, _ = draw_maps(tmp_path, {})
    assert features == [] and len(drawing.modelspace()) == 0


def test_a_photo_of_crackle_stays_small(tmp_path):
    """Hundreds of short cracks: at most 1.2 kB each in either file, of which 0.6 are numbers."""
    mask = torch.zeros(1, 300, 400)
    for y in range(4, 290, 12):
        for x in range(4, 370, 40):
            mask[:, y:y + 3, x:x + 30] = 1
    features, _, drawing, _ = draw_maps(tmp_path, {"a": mask}, 0.1, (0.2, 0.4))
    assert len(features) == 240 == len(texts_of(drawing, "NUMBERS"))
    for name in ("cracks.geojson", "cracks.dxf"):
        assert (tmp_path / name).stat().st_size < 1200 * 240

"""How do cracks get onto a map or a plan? As lines in cracks.geojson (QGIS) and cracks.dxf (CAD).

cracks.geojson has a feature per crack: its row of cracks.csv, a line per branch, the width at each
vertex. If photos have positions (`georeference`), coordinates are those of the world, and cracks of
photos without one have no geometry. Otherwise they are pixels of the photo as in the tables, y
down.

cracks.dxf is an ASCII drawing of release 12, which every CAD program opens. Its layers: one per
class of width, for the branches with that greatest width; NUMBERS, with number, length and greatest
width of each crack; PHOTOS, with frame and name of each photo. y is up. Photos without a position
are placed in a row, in mm or, without a scale, in pixels.
"""

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from unet_resnet.files import one_line
from unet_resnet.measure.drawing import figures
from unet_resnet.measure.georeference import Position
from unet_resnet.measure.widths import Measurement, class_names, class_of

STEP = 3  # pixels between vertices; lines and widths are smoothed over about as many
GAP = 0.1  # between photos in a row, in widths of a photo
COLOURS = (5, 4, 3, 2, 30, 1)  # as CAD numbers them: blue, cyan, green, yellow, orange, red
UNITS = {"mm": 4, "metre": 6}  # $INSUNITS; 0 is no unit
WIDE = "WIDE"  # a layer
ENCODING = "cp1252"  # $DWGCODEPAGE ANSI_1252


def vertices(line: np.ndarray) -> np.ndarray:
    """Every STEP-th point of a line (n, 3) of x, y and width, and the last."""
    return np.concatenate([line[:-1:STEP], line[-1:]])


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Pixels (n, 2 or more) of x, y -> (n, 2) in the world, rounded to a hundredth of a pixel."""
    pixel = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    world = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    return world.round(2 - math.floor(math.log10(pixel)))


def feature(row: Mapping[str, object], lines: Sequence[np.ndarray], matrix: np.ndarray | None,
            mm_per_pixel: float | None) -> str:
    """A crack in GeoJSON; without a matrix (2, 3) from its pixels to the world, no geometry."""
    lines = [vertices(line) for line in lines]
    widths = {"widths_px": [line[:, 2].round(3).tolist() for line in lines]}
    if mm_per_pixel:
        widths["widths_mm"] = [(line[:, 2] * mm_per_pixel).round(4).tolist() for line in lines]
    geometry = None if matrix is None else {
        "type": "MultiLineString",
        "coordinates": [transform(line, matrix).tolist() for line in lines]}
    return json.dumps({"type": "Feature", "properties": {**row, **widths}, "geometry": geometry})


def groups(*values: object) -> str:
    """DXF: group codes and their values in turn, a line each."""
    return "".join(f"{value}\n" for value in values)


def polyline(layer: str, points: np.ndarray, closed: bool = False) -> str:
    """DXF: a line through points (n, 2)."""
    inside = [groups(0, "VERTEX", 8, layer, 10, x, 20, y, 30, 0) for x, y in points.tolist()]
    return groups(0, "POLYLINE", 8, layer, 66, 1, 10, 0, 20, 0, 30, 0, 70, int(closed)) + (
        "".join(inside) + groups(0, "SEQEND", 8, layer))


def text(layer: str, point: np.ndarray, height: float, words: str) -> str:
    """DXF: words at a point (2,); characters that the encoding lacks are escaped as in CAD."""
    words = "".join(char if char.encode(ENCODING, "ignore") else f"\\U+{ord(char):04X}"
                    for char in words)
    x, y = point.tolist()
    return groups(0, "TEXT", 8, layer, 10, x, 20, y, 30, 0, 40, height, 1, words[:250])


def entities(photo: str, found: Measurement, lines: Sequence[Sequence[np.ndarray]],
             layers: Sequence[str], matrix: np.ndarray) -> Iterator[str]:
    """DXF: the frame of a photo, its name and its cracks."""
    unit, factor = ("mm", found.mm_per_pixel) if found.mm_per_pixel else ("px", 1.0)
    limits = np.divide(found.width_classes, factor)
    right, bottom = found.width - 0.5, found.height - 0.5
    corners = np.array([(-0.5, -0.5), (right, -0.5), (right, bottom), (-0.5, bottom)])
    frame = transform(corners, matrix)
    height = math.dist(frame[0], frame[2]) / 100
    yield polyline("PHOTOS", frame, closed=True)
    yield text("PHOTOS", frame[0], 2 * height, one_line(photo))
    for number, (crack, inside) in enumerate(zip(found.cracks, lines), start=1):
        for line in inside:
            layer = WIDE if crack.wide else layers[class_of(line[:, 2].max(), limits)]
            yield polyline(layer, transform(vertices(line), matrix))
        widest = transform(np.array([[crack.max_x, crack.max_y]]), matrix)[0]
        label = (f"{number}: {figures(crack.length * factor)} {unit} long, "
                 f"{figures(crack.width_max * factor)} {unit} wide")
        yield text("NUMBERS", widest, height, label + (", not counted" if crack.wide else ""))


def header(unit: str, layers: Mapping[str, int]) -> str:
    """DXF: what comes before the entities. layers: their names and colours."""
    table = itertools.chain.from_iterable(
        (0, "LAYER", 2, name, 70, 0, 62, colour, 6, "CONTINUOUS")
        for name, colour in layers.items())
    return groups(
        999, f"unet_resnet: the unit is {unit}", 0, "SECTION", 2, "HEADER", 9, "$ACADVER", 1,
        "AC1009", 9, "$DWGCODEPAGE", 3, "ANSI_1252", 9, "$INSUNITS", 70, UNITS.get(unit, 0),
        9, "$MEASUREMENT", 70, 1, 0, "ENDSEC", 0, "SECTION", 2, "TABLES",
        0, "TABLE", 2, "LTYPE", 70, 1, 0, "LTYPE", 2, "CONTINUOUS", 70, 0, 3, "Solid line", 72, 65,
        73, 0, 40, 0, 0, "ENDTAB", 0, "TABLE", 2, "LAYER", 70, len(layers), *table, 0, "ENDTAB",
        0, "ENDSEC", 0, "SECTION", 2, "ENTITIES")


def about(positions: Mapping[Path, Position], mm_per_pixel: float | None) -> tuple[str, dict]:
    """The unit of the drawing, and the members of the GeoJSON before its features."""
    members = {"type": "FeatureCollection", "name": "cracks"}
    if not positions:
        return "mm" if mm_per_pixel else "pixel", members | {
            "note": "x and y are pixels of the photo named in each feature, from its left and top, "
            "starting at 0; there is no coordinate reference system"}
    epsg = next((position.epsg for position in positions.values() if position.epsg), None)
    if epsg:  # as in GeoJSON 2008, which QGIS reads; RFC 7946 allows degrees only
        members["crs"] = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{epsg}"}}
    metres = all(position.metres for position in positions.values())
    return "metre" if metres else "that of the world coordinates", members | {
        "note": f"world coordinates, {f'EPSG:{epsg}' if epsg else 'as in the world files'}"}


class Maps:
    """The two files, to which photos are added; each is written at once."""

    def __init__(self, geojson: BinaryIO, dxf: BinaryIO, limits: Sequence[float],
                 mm_per_pixel: float | None, positions: Mapping[Path, Position]) -> None:
        """limits: of the classes of width. positions: of the photos that have one."""
        self.geojson, self.dxf = geojson, dxf
        self.mm_per_pixel, self.positions = mm_per_pixel, positions
        self.layers = [re.sub(r"[^\w-]", "_", f"CRACKS_{name}_MM".upper())
                       for name in class_names(limits)] or ["CRACKS"]
        self.comma, self.right = "", 0.0
        unit, members = about(positions, mm_per_pixel)
        geojson.write(json.dumps(members).removesuffix("}").encode() + b', "features": [')
        colours = {name: COLOURS[min(i, len(COLOURS) - 1)] for i, name in enumerate(self.layers)}
        colours |= {WIDE: 8, "NUMBERS": 7, "PHOTOS": 8}  # white, grey
        dxf.write(header(unit, colours).encode())

    def add(self, name: str, path: Path, found: Measurement, rows: Sequence[Mapping[str, object]]
            ) -> None:
        """A photo, by the name of its results; rows: those of its cracks in the table."""
        lines = [[np.concatenate([line[0], line[0][:1]])]  # a ring ends where it begins
                 if (len(line), crack.ends) == (1, 0) else line
                 for crack, line in zip(found.cracks, found.lines)]
        if not self.positions:  # in GeoJSON pixels; in the drawing a row of photos, y up
            to_map, to_drawing = np.eye(2, 3), (self.mm_per_pixel or 1.0) * np.array(
                [[1, 0, 0.5 + self.right], [0, -1, found.height - 0.5]])
            self.right += (1 + GAP) * found.width
        else:
            to_map = to_drawing = self.positions[path].matrix if path in self.positions else None
        for row, branches in zip(rows, lines):
            crack = feature(row, branches, to_map, self.mm_per_pixel)
            self.geojson.write(f"{self.comma}\n{crack}".encode())
            self.comma = ","
        if to_drawing is not None:
            for entity in entities(name, found, lines, self.layers, to_drawing):
                self.dxf.write(entity.encode(ENCODING))

    def end(self) -> None:
        self.geojson.write(b"\n]}\n")
        self.dxf.write(groups(0, "ENDSEC", 0, "EOF").encode())

"""How do cracks get onto a map or a plan? As lines in cracks.geojson (QGIS) and cracks.dxf (CAD).

cracks.geojson has a feature per crack: its row of cracks.csv, a line per branch, the width at each
vertex. If photos have positions (`georeference`), coordinates are those of the world, and cracks of
photos without one have no geometry. Otherwise they are pixels of the photo as in the tables, y
down.

cracks.dxf is a drawing in the format of AutoCAD 2010. Its layers: one per class of width, for the
branches with that greatest width; WIDE, for areas too wide for a crack; NUMBERS, with number,
length and greatest width of each crack; PHOTOS, with frame and name of each photo. y is up. Photos
without a position are placed in a row, in mm or, without a scale, in pixels.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import BinaryIO

import ezdxf
import numpy as np
from ezdxf.layouts import Modelspace

from unet_resnet.files import one_line
from unet_resnet.measure.drawing import figures
from unet_resnet.measure.georeference import Position
from unet_resnet.measure.widths import Measurement, class_names, class_of

STEP = 3  # pixels between vertices; lines and widths are smoothed over about as many
GAP = 0.1  # between photos in a row, in widths of a photo
COLOURS = (5, 4, 3, 2, 30, 1)  # as CAD numbers them: blue, cyan, green, yellow, orange, red
GREY, WHITE = 8, 7
NO_UNIT, MM, METRE = 0, 4, 6  # $INSUNITS
WIDE = "WIDE"  # a layer


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


def draw(space: Modelspace, photo: str, found: Measurement,
         lines: Sequence[Sequence[np.ndarray]], layers: Sequence[str], matrix: np.ndarray) -> None:
    """Add to a drawing the frame of a photo, its name and its cracks."""
    unit, factor = ("mm", found.mm_per_pixel) if found.mm_per_pixel else ("px", 1.0)
    limits = np.divide(found.width_classes, factor)
    right, bottom = found.width - 0.5, found.height - 0.5
    corners = np.array([(-0.5, -0.5), (right, -0.5), (right, bottom), (-0.5, bottom)])
    frame = transform(corners, matrix)
    height = math.dist(frame[0], frame[2]) / 100
    space.add_lwpolyline(frame, close=True, dxfattribs={"layer": "PHOTOS"})
    space.add_text(one_line(photo), height=2 * height,
                   dxfattribs={"layer": "PHOTOS", "insert": frame[0]})
    for number, (crack, inside) in enumerate(zip(found.cracks, lines), start=1):
        for line in inside:
            layer = WIDE if crack.wide else layers[class_of(line[:, 2].max(), limits)]
            space.add_lwpolyline(transform(vertices(line), matrix), dxfattribs={"layer": layer})
        widest, = transform(np.array([[crack.max_x, crack.max_y]]), matrix)
        label = (f"{number}: {figures(crack.length * factor)} {unit} long, "
                 f"{figures(crack.width_max * factor)} {unit} wide")
        space.add_text(label + ", not counted" * crack.wide, height=height,
                       dxfattribs={"layer": "NUMBERS", "insert": widest})


def unit_of(positions: Mapping[Path, Position], mm_per_pixel: float | None) -> int:
    """The unit of the drawing, as CAD numbers them."""
    if positions:
        return METRE if all(position.metres for position in positions.values()) else NO_UNIT
    return MM if mm_per_pixel else NO_UNIT


def about(positions: Mapping[Path, Position]) -> dict:
    """The members of the GeoJSON before its features."""
    members = {"type": "FeatureCollection", "name": "cracks"}
    if not positions:
        return members | {
            "note": "x and y are pixels of the photo named in each feature, from its left and top, "
            "starting at 0; there is no coordinate reference system"}
    epsg = next((position.epsg for position in positions.values() if position.epsg), None)
    if epsg:  # as in GeoJSON 2008, which QGIS reads; RFC 7946 allows degrees only
        members["crs"] = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{epsg}"}}
    return members | {
        "note": f"world coordinates, {f'EPSG:{epsg}' if epsg else 'in the system of the photos'}"}


class Maps:
    """The two files, to which photos are added; the drawing is in memory until the end."""

    def __init__(self, geojson: BinaryIO, dxf: BinaryIO, limits: Sequence[float],
                 mm_per_pixel: float | None, positions: Mapping[Path, Position]) -> None:
        """limits: of the classes of width. positions: of the photos that have one."""
        self.geojson, self.dxf = geojson, dxf
        self.mm_per_pixel, self.positions = mm_per_pixel, positions
        self.layers = [re.sub(r"[^\w-]", "_", f"CRACKS_{name}_MM".upper())
                       for name in class_names(limits)] or ["CRACKS"]
        self.comma, self.right = "", 0.0
        geojson.write(json.dumps(about(positions)).removesuffix("}").encode() + b', "features": [')
        self.drawing = ezdxf.new("R2010", units=unit_of(positions, mm_per_pixel))
        colours = {name: COLOURS[min(i, len(COLOURS) - 1)] for i, name in enumerate(self.layers)}
        for layer, colour in {**colours, WIDE: GREY, "NUMBERS": WHITE, "PHOTOS": GREY}.items():
            self.drawing.layers.add(layer, color=colour)

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
            draw(self.drawing.modelspace(), name, found, lines, self.layers, to_drawing)

    def end(self) -> None:
        self.geojson.write(b"\n]}\n")
        text = StringIO()
        self.drawing.write(text)
        self.dxf.write(self.drawing.encode(text.getvalue()))

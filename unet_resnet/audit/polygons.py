"""How does a shape that a person drew become pixels of a mask?

Coordinates count from the photo's upper left corner, not from the centre of its first pixel. A
pixel is crack if its centre is inside a shape: the square from (0, 0) to (10, 10) has 10 x 10.
Pillow's polygons include their outline: of cracks 3 pixels wide they make 3.6, and still 3.1 if
drawn 8 times larger (mean over all directions).
"""

import base64
import io
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from unet_resnet.files import align, check_absent, check_folder, one_line
from unet_resnet.images import check_megapixels, write_png

BACKGROUND = {"background", "_background_", "__ignore__"}  # not crack unless chosen
LEAST_POINTS = {"polygon": 3, "box": 3, "ellipse": 3, "line": 2}
FARTHEST = 1e7  # pixels


@dataclass
class Runs:
    """A mask in the box left, top, width, height: the lengths of runs without crack, with crack,
    without and so on, row by row or column by column.

    Raises ValueError where the runs do not fill the box.
    """

    counts: np.ndarray
    box: tuple[int, int, int, int]
    by_columns: bool = False

    def __post_init__(self) -> None:
        _, _, width, height = self.box
        check_megapixels(height, width)
        if (self.counts.ndim != 1 or self.counts.dtype.kind not in "iu" or min(self.box) < 0
                or self.counts.min(initial=0) < 0
                or self.counts.max(initial=0) > width * height
                or self.counts.sum() != width * height):
            raise ValueError(f"the runs of its mask do not fill {width}x{height} pixels; "
                             "export it again")

    def pixels(self) -> np.ndarray:
        """(height, width) bool."""
        flat = np.repeat(np.arange(len(self.counts)) % 2 == 1, self.counts)
        _, _, width, height = self.box
        return flat.reshape(width, height).T if self.by_columns else flat.reshape(height, width)


def runs_of_png(text: str, corner: Sequence[float]) -> Runs:
    """labelme's mask: a PNG in base64, to be laid with its first pixel at the corner."""
    with Image.open(io.BytesIO(base64.b64decode(text)), formats=["PNG"]) as picture:
        check_megapixels(picture.height, picture.width)
        crack = np.array(picture.convert("L")) > 0
    changes = np.flatnonzero(np.diff(crack.ravel(), prepend=False))
    counts = np.diff([0, *changes, crack.size])
    return Runs(counts, (round(corner[0]), round(corner[1]), crack.shape[1], crack.shape[0]))


def unpacked(text: str) -> list[int]:
    """Run lengths from COCO's compressed string (rleToString in maskApi.c of its API).

    Five bits per character, the lowest first; a sixth bit says that more follow. From the fourth
    number on, each is the difference from the number two before it.
    """
    counts: list[int] = []
    value = shift = 0
    for code in (character - 48 for character in text.encode()):
        if not 0 <= code < 64 or shift > 40:
            raise ValueError("its compressed mask is damaged; export it again")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= (code & 16) << shift - 4  # the sign
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts


@dataclass
class Shape:
    """Outlines (the union of which is crack; of a line, its course) or runs.

    Raises ValueError for an outline with too few points or with one that is far from any photo.
    """

    label: str
    kind: str  # polygon, box, ellipse, line, mask; others are not drawn
    outlines: list[np.ndarray] = field(default_factory=list)  # (n, 2) each: x, y in pixels
    runs: Runs | None = None

    def __post_init__(self) -> None:
        for points in self.outlines:
            least = LEAST_POINTS[self.kind]
            if len(points) < least:
                raise ValueError(f"a {self.kind} needs {least} points or more, this one has "
                                 f"{len(points)}; complete it, or delete it")
            if not (abs(points) < FARTHEST).all():
                raise ValueError(f"{self.kind} with a point that is not in a photo; delete it")


@dataclass
class Drawing:
    """The shapes on one photo."""

    stem: str
    size: tuple[int, int]  # height, width
    shapes: list[Shape]
    file: Path  # that they come from


def vertices(numbers: Sequence[Any]) -> np.ndarray:
    """(n, 2) from pairs of x and y, or from x0, y0, x1, y1 ..."""
    flat = np.array(numbers, dtype=float).ravel()
    if flat.size % 2:
        raise ValueError(f"coordinates: {flat.size}; wanted pairs of x and y")
    return flat.reshape(-1, 2)


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def ellipse(x: float, y: float, across: float, down: float) -> np.ndarray:
    """The outline of an ellipse with these radii, to a twentieth of a pixel."""
    count = max(16, math.ceil(10 * math.sqrt(min(max(across, down), FARTHEST))))
    angles = np.linspace(0, 2 * math.pi, count, endpoint=False)
    return np.stack([x + across * np.cos(angles), y + down * np.sin(angles)], 1)


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    """A box or an ellipse turned clockwise about its centre."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    centre = points.mean(0)
    return (points - centre) @ np.array([(cos, sin), (-sin, cos)]) + centre


def stroke(points: np.ndarray, width: float) -> list[np.ndarray]:
    """The outlines of a line of this width with round joints and ends."""
    parts = [ellipse(x, y, width / 2, width / 2) for x, y in points]
    for start, end in zip(points, points[1:]):
        if length := math.dist(start, end):
            aside = (end - start)[::-1] * (-1, 1) * (width / 2 / length)
            parts.append(np.array([start + aside, end + aside, end - aside, start - aside]))
    return parts


def fill(mask: np.ndarray, outline: np.ndarray) -> bool:
    """Set the pixels of mask (h, w) bool whose centres are inside; False if there are none.

    Inside is where a ray to the left crosses the outline an odd number of times.
    """
    height, width = mask.shape
    left, top = np.maximum(np.floor(outline.min(0)), 0).astype(int)
    right, bottom = np.minimum(np.ceil(outline.max(0)), (width, height)).astype(int)
    if left >= right or top >= bottom:
        return False
    crossed = np.zeros((bottom - top, right - left + 1), bool)
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, 0)):
        rows = np.arange(max(math.ceil(min(y0, y1) - 0.5), top),
                         min(math.ceil(max(y0, y1) - 0.5), bottom))
        if rows.size:
            x = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
            columns = np.clip(np.ceil(x - 0.5), left, right).astype(int)
            crossed[rows - top, columns - left] ^= True  # an edge crosses a row once
    inside = np.logical_xor.accumulate(crossed, axis=1)[:, :-1]
    mask[top:bottom, left:right] |= inside
    return bool(inside.any())


def draw(mask: np.ndarray, shape: Shape, line_width: float) -> bool:
    """Set the pixels of a shape in mask (h, w) bool; False if it has none there."""
    if shape.runs:
        left, top = shape.runs.box[:2]
        under = mask[top:, left:]
        pixels = shape.runs.pixels()[:under.shape[0], :under.shape[1]]
        under[:pixels.shape[0], :pixels.shape[1]] |= pixels
        return bool(pixels.any())
    outlines = shape.outlines
    if shape.kind == "line":
        outlines = [part for points in outlines for part in stroke(points, line_width)]
    return any([fill(mask, outline) for outline in outlines])


def choose(drawings: Sequence[Drawing], labels: Collection[str] = ()) -> str:
    """Keep the shapes with these labels, or all but the background's; returns what to tell.

    Raises ValueError for a label that no shape has, and for a shape to be drawn that has no area.
    """
    shapes = [(drawing, shape) for drawing in drawings for shape in drawing.shapes]
    found = {shape.label for _, shape in shapes}
    if missing := set(labels) - found:
        raise ValueError(f"no shape has the label {min(missing)!r}; "
                         f"found: {', '.join(sorted(found)) or 'no shapes'}")
    crack = set(labels) or found - BACKGROUND
    for drawing, shape in shapes:
        if shape.label in crack and not (shape.outlines or shape.runs):
            raise ValueError(f"{drawing.file}: a shape {shape.kind!r} labelled {shape.label!r} on "
                             f"{drawing.stem}; draw a polygon, or choose other labels with --label")
    rows = [("label", "shapes", "")]
    for label in sorted(found):
        count = sum(shape.label == label for _, shape in shapes)
        rows.append((one_line(label), str(count), "crack" if label in crack else "not crack"))
    for drawing in drawings:
        drawing.shapes = [shape for shape in drawing.shapes if shape.label in crack]
    return align(rows)


def write(drawings: Sequence[Drawing], folder: Path, line_width: float) -> str:
    """Write a mask of 0 and 255 for each photo as STEM.png in `folder`; returns what to tell.

    Raises FileExistsError, before anything is written, if one of them exists.
    """
    check_folder(folder, "choose another --to")
    paths = [folder / f"{drawing.stem}.png" for drawing in drawings]
    for path in paths:
        check_absent(path)
    folder.mkdir(parents=True, exist_ok=True)
    kinds, invisible, blank = dict.fromkeys(LEAST_POINTS, 0), 0, 0
    for path, drawing in zip(tqdm(paths, "drawing", unit="mask", leave=False), drawings):
        mask = np.zeros(drawing.size, bool)
        for shape in drawing.shapes:
            kinds[shape.kind] = kinds.get(shape.kind, 0) + 1
            invisible += not draw(mask, shape, line_width)
        blank += not mask.any()
        write_png(path, torch.from_numpy(mask)[None].to(torch.uint8) * 255)
    notes = {f"masks written to {one_line(folder)}": len(paths),
             "black masks": blank,
             f"lines, drawn {line_width:g} pixels wide (--line-width)": kinds["line"],
             "boxes, filled (right only where the box is the crack)": kinds["box"],
             "shapes without a pixel (too thin, or outside the photo)": invisible}
    return "\n".join(f"{note}: {count}" for note, count in notes.items() if count)

"""How does a shape that a person drew become pixels of a mask?

Coordinates count from the photo's upper left corner, not from the centre of its first pixel. A
pixel is crack if its centre is inside a shape: the square from (0, 0) to (10, 10) has 10 x 10.
Pillow's polygons include their outline: of cracks 3 pixels wide they make 3.6, and still 3.1 if
drawn 8 times larger (mean over all directions).
"""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from unet_resnet.files import align, check_new, one_line
from unet_resnet.images import check_megapixels, write_png

BACKGROUND = {"background", "_background_", "__ignore__"}  # not crack unless chosen
FARTHEST = 1e7  # pixels from a photo


@dataclass
class Shape:
    """An outline, the course of a line, or a mask; a shape that cannot be drawn has neither."""

    label: str
    kind: str  # polygon, box, line, mask; others cannot be drawn
    points: np.ndarray | None = None  # (n, 2): x, y in pixels
    bits: np.ndarray | None = None  # of a mask (h, w), 8 pixels in a byte
    place: tuple[int, int, int] = (0, 0, 0)  # of the mask: left, top, width


def mask_shape(label: str, left: int, top: int, crack: np.ndarray) -> Shape:
    if min(left, top) < 0:
        raise ValueError("a mask that begins outside the photo; export it again")
    return Shape(label, "mask", None, np.packbits(crack, 1), (left, top, crack.shape[1]))


def decode_runs(runs: Sequence[Any], height: int, width: int) -> np.ndarray:
    """(height, width) bool from the lengths of runs without crack, with crack, without and so on.

    Raises ValueError where they do not fill it.
    """
    check_megapixels(height, width)
    runs = [int(run) for run in runs]
    if min(runs) < 0 or sum(runs) != height * width:
        raise ValueError("the runs of a mask do not fill it; export it again")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)


@dataclass
class Drawing:
    """The shapes on one photo."""

    stem: str
    size: tuple[int, int]  # height, width
    shapes: list[Shape]
    file: Path  # that they come from


def parse_points(numbers: Sequence[Any], minimum: int) -> np.ndarray:
    """(n, 2) from pairs of x and y, or from x0, y0, x1, y1 ...

    Raises ValueError for fewer points than `minimum`, and for one that is far from any photo.
    """
    points = np.array(numbers, dtype=float)
    if points.ndim == 1 and len(points) % 2 or points.ndim == 2 and points.shape[1] != 2:
        raise ValueError(f"{points.size} numbers of a shape, expected pairs of x and y; export it "
                         "without confidences")
    points = points.reshape(-1, 2)
    if len(points) < minimum:
        raise ValueError(f"a shape of {len(points)} points, expected {minimum} or more; complete "
                         "it, or delete it")
    if not (abs(points) < FARTHEST).all():
        raise ValueError("a shape with a point that is not in a photo; delete it")
    return points


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def stroke(points: np.ndarray, width: float) -> list[np.ndarray]:
    """The outlines of a line of this width: circles at its points, joined by rectangles."""
    angles = np.linspace(0, 2 * math.pi, max(16, math.ceil(10 * math.sqrt(width))), endpoint=False)
    parts = [point + width / 2 * np.stack([np.cos(angles), np.sin(angles)], 1) for point in points]
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
    if shape.bits is not None:
        left, top, width = shape.place
        under = mask[top:, left:left + width]
        crack = np.unpackbits(shape.bits, 1, width)[:under.shape[0], :under.shape[1]] > 0
        under[:crack.shape[0]] |= crack
        return bool(crack.any())
    parts = stroke(shape.points, line_width) if shape.kind == "line" else [shape.points]
    return any([fill(mask, outline) for outline in parts])


def select_labels(drawings: Sequence[Drawing], labels: Collection[str] = ()) -> str:
    """Keep the shapes with these labels, or all but the background's; returns what to print.

    Raises ValueError for a label that no shape has, and for a shape to be drawn that has no area.
    """
    found = Counter(shape.label for drawing in drawings for shape in drawing.shapes)
    if missing := set(labels) - found.keys():
        raise ValueError(f"no shape has the label {min(missing)!r}; "
                         f"found: {', '.join(sorted(found)) or 'no shapes'}")
    crack = set(labels) or {label for label in found if label.casefold() not in BACKGROUND}
    for drawing in drawings:
        drawing.shapes = [shape for shape in drawing.shapes if shape.label in crack]
        for shape in drawing.shapes:
            if shape.points is None and shape.bits is None:
                raise ValueError(f"{drawing.file}: a shape {shape.kind!r} labelled {shape.label!r} "
                                 f"on {drawing.stem}; draw a polygon (COCO: or a mask as a list "
                                 "of run lengths), or choose other labels with --label")
    return align([("label", "shapes", "")] + [
        (one_line(label), str(count), "crack" if label in crack else "not crack")
        for label, count in sorted(found.items())])


def write(drawings: Sequence[Drawing], folder: Path, line_width: float) -> str:
    """Write a mask of 0 and 255 for each photo as STEM.png in `folder`; returns what to print.

    Raises FileExistsError, before anything is written, if one of them exists.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{drawing.stem}.png" for drawing in drawings]
    for path in paths:
        check_new(path)
    kinds, invisible, blank = Counter(), 0, 0
    for path, drawing in zip(tqdm(paths, "drawing", unit="mask", leave=False), drawings):
        mask = np.zeros(drawing.size, bool)
        invisible += sum(not draw(mask, shape, line_width) for shape in drawing.shapes)
        kinds.update(shape.kind for shape in drawing.shapes)
        blank += not mask.any()
        write_png(path, torch.from_numpy(mask)[None].to(torch.uint8) * 255)
    notes = {f"masks written to {one_line(folder)}": len(paths),
             "black masks": blank,
             f"lines, drawn {line_width:g} pixels wide (--line-width)": kinds["line"],
             "boxes, filled (right only where the box is the crack)": kinds["box"],
             "shapes without a pixel (too thin, or outside the photo)": invisible}
    return "\n".join(f"{note}: {count}" for note, count in notes.items() if count)

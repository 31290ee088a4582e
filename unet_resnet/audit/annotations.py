"""Which shapes are in the file of a labelling program?

| file | read |
|---|---|
| labelme .json, one per photo | polygons, rectangles, circles, lines, masks |
| COCO .json | polygons, and masks as run lengths, compressed or not |
| YOLO segmentation .txt, one per photo | polygons; the size is the photo's |
| "CVAT for images 1.1" .xml | polygons, boxes, ellipses, polylines, masks |

Whatever else is in such a file is a ValueError of one line that names the file and the place in it.
"""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import numpy as np
from tqdm import tqdm

from unet_resnet.audit.polygons import (
    Drawing, Runs, Shape, box, ellipse, runs_of_png, turned, unpacked, vertices)
from unet_resnet.files import one_line
from unet_resnet.images import check_megapixels, is_picture, size_of

SUFFIXES = (".json", ".txt", ".xml")


@contextmanager
def naming(place: object) -> Iterator[None]:
    """Whatever foreign data may raise becomes a ValueError of one line that names the place."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, OSError, RecursionError, SyntaxError,
            TypeError, ValueError) as error:
        reason = (f"{error} is missing" if isinstance(error, KeyError)
                  else error if isinstance(error, (OSError, SyntaxError, ValueError))
                  else f"not as labelling programs write it ({error}); export it again")
        raise ValueError(f"{place}: {one_line(reason)}") from error


def read(source: Path, photos: Path | None = None) -> list[Drawing]:
    """The drawings in a file, or in all files in and below a folder.

    photos: a folder; the photos in it must have the sizes of the drawings. Raises OSError, or
    ValueError naming the file.
    """
    files = [source]
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file or folder")
    if source.is_dir():
        files = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES
                       and not path.name.startswith(".") and not lists_names(path))
    drawings, taken = [], {}
    for path in tqdm(files, "reading", unit="file", leave=False):
        with naming(path):
            drawings += read_file(path, photos)
    for drawing in drawings:
        other = taken.setdefault(drawing.stem.casefold(), drawing)
        if other is not drawing:
            raise ValueError(f"{drawing.file}: a second photo named {drawing.stem}, after the one "
                             f"of {other.file}; give each photo a name of its own")
        height, width = drawing.size
        if photos and drawing.size != (size := size_of(photo_of(drawing.stem, [photos]))):
            raise ValueError(f"{drawing.file}: {drawing.stem} was drawn at {width}x{height}, "
                             f"its photo has {size[1]}x{size[0]} pixels; draw on the photo itself")
    if not drawings:
        raise ValueError(f"{source}: no annotations in it ({' '.join(SUFFIXES)})")
    return drawings


def lists_names(path: Path) -> bool:
    """Whether it is a text file without numbers, such as classes.txt, and thus not YOLO's."""
    text = path.read_bytes()[:1000].strip() if path.suffix.lower() == ".txt" else b""
    words = text.partition(b"\n")[0].split()
    return bool(words) and not any(word.replace(b".", b"", 1).isdigit() for word in words)


def read_file(path: Path, photos: Path | None) -> list[Drawing]:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"not {', '.join(SUFFIXES)}; unpack an archive first")
    text = path.read_text("utf-8-sig")
    if suffix == ".txt":
        return [read_yolo(path, text, photos)]
    if suffix == ".xml":
        return read_cvat(path, text)
    content = json.loads(text)
    if isinstance(content, dict) and "shapes" in content:
        return [read_labelme(path, content)]
    if isinstance(content, dict) and {"images", "annotations"} <= content.keys():
        return read_coco(path, content)
    raise ValueError("neither labelme's JSON nor COCO's; export it as one of these")


def read_labelme(path: Path, content: dict[str, Any]) -> Drawing:
    shapes = []
    for number, item in enumerate(content["shapes"], 1):
        with naming(f"shape {number}"):
            shapes.append(labelme_shape(item.get("shape_type") or "polygon", item))
    return Drawing(stem_of(content.get("imagePath") or path.name),
                   size_from(content.get("imageHeight"), content.get("imageWidth")), shapes, path)


def labelme_shape(kind: str, item: dict[str, Any]) -> Shape:
    label, points = str(item["label"]), vertices(item["points"])
    if kind in ("rectangle", "circle", "mask") and len(points) < 2:
        raise ValueError(f"a {kind} needs 2 points, this one has {len(points)}; draw it again")
    if kind in ("polygon", "oriented_rectangle"):
        return Shape(label, "polygon", [points])
    if kind == "rectangle":  # two corners in any order, or all four
        return Shape(label, "box", [box(*points.min(0), *points.max(0))])
    if kind == "circle":  # its centre and a point of its edge
        radius = math.dist(points[0], points[1])
        return Shape(label, "ellipse", [ellipse(*points[0], radius, radius)])
    if kind in ("line", "linestrip"):
        return Shape(label, "line", [points])
    if kind == "mask":
        return Shape(label, kind, runs=runs_of_png(item["mask"], points[0]))
    return Shape(label, kind)


def read_coco(path: Path, content: dict[str, Any]) -> list[Drawing]:
    names = {category["id"]: category["name"] for category in content.get("categories") or []}
    drawings = {}
    for image in content["images"]:
        with naming(f"image {image['file_name']}"):
            drawings[image["id"]] = Drawing(
                stem_of(image["file_name"]), size_from(image.get("height"), image.get("width")),
                [], path)
    if len(drawings) < len(content["images"]):
        raise ValueError("two images have the same id; export it again")
    for number, item in enumerate(content["annotations"], 1):
        with naming(f"annotation {item.get('id', number)}"):
            drawing, outline = drawings[item["image_id"]], item.get("segmentation")
            label = str(names.get(item["category_id"], item["category_id"]))
            if not outline:
                raise ValueError("a box without an outline; wanted polygons or a mask")
            if isinstance(outline, list):
                drawing.shapes.append(Shape(label, "polygon", [*map(vertices, outline)]))
                continue
            counts, (height, width) = outline["counts"], drawing.size
            if outline["size"] != [height, width]:
                raise ValueError(f"a mask of height and width {outline['size']}, its photo has "
                                 f"{[height, width]}; export it again")
            counts = unpacked(counts) if isinstance(counts, str) else counts
            drawing.shapes.append(Shape(label, "mask", runs=Runs(
                np.array(counts), (0, 0, width, height), by_columns=True)))
    return list(drawings.values())


def read_cvat(path: Path, text: str) -> list[Drawing]:
    if "<!DOCTYPE" in text:  # it could define entities that expand without end
        raise ValueError("an XML file with a DOCTYPE, which CVAT does not write; not read")
    root = ElementTree.XML(text)
    if root.tag != "annotations" or root.find("track") is not None:
        raise ValueError('not "CVAT for images 1.1"; export it as that')
    drawings = []
    for image in root.iter("image"):
        with naming(f"image {image.get('name')}"):
            shapes = [cvat_shape(item.tag, item.attrib) for item in image if item.tag != "tag"]
            drawings.append(Drawing(stem_of(image.attrib["name"]),
                                    size_from(image.get("height"), image.get("width")),
                                    shapes, path))
    return drawings


def cvat_shape(kind: str, item: dict[str, str]) -> Shape:
    def numbers(*names: str) -> list[float]:
        return [float(item[name]) for name in names]

    label, degrees = item["label"], float(item.get("rotation", 0))
    if kind == "box":
        return Shape(label, kind, [turned(box(*numbers("xtl", "ytl", "xbr", "ybr")), degrees)])
    if kind == "ellipse":
        return Shape(label, kind, [turned(ellipse(*numbers("cx", "cy", "rx", "ry")), degrees)])
    if kind in ("polygon", "polyline"):
        points = vertices([pair.split(",") for pair in item["points"].split(";")])
        return Shape(label, kind.replace("polyline", "line"), [points])
    if kind == "mask":
        counts = np.array([int(count) for count in item["rle"].split(",")])
        left, top, width, height = (int(item[name]) for name in ("left", "top", "width", "height"))
        return Shape(label, kind, runs=Runs(counts, (left, top, width, height)))
    return Shape(label, kind)


def read_yolo(path: Path, text: str, photos: Path | None) -> Drawing:
    """The label is the number of the class; the photo is beside the text file, or in ../images, or
    where the path has images for labels."""
    twin = Path(*("images" if part == "labels" else part for part in path.parent.parts))
    beside = [path.parent, path.parent.parent / "images", twin]
    photo = photo_of(path.stem, [photos] if photos else beside)
    height, width = size_of(photo)
    shapes = []
    for number, line in enumerate(text.splitlines(), 1):
        if words := line.split():
            with naming(f"line {number}"):
                points = vertices(words[1:])
                if len(points) < 3:
                    raise ValueError(f"numbers after the class: {len(words) - 1}, as of a box; "
                                     "wanted 6 or more: export it for segmentation")
                if abs(points).max() > 2:  # a shape may leave the photo a little
                    raise ValueError("coordinates above 1; wanted fractions of width and height")
                shapes.append(Shape(words[0], "polygon", [points * (width, height)]))
    return Drawing(path.stem, (height, width), shapes, path)


def photo_of(stem: str, folders: Sequence[Path]) -> Path:
    for folder in folders:
        if photo := stems_in(folder).get(stem):
            return photo
    raise ValueError(f"no photo named {stem} in {folders[0]}; "
                     "say where the photos are with --photos")


@lru_cache
def stems_in(folder: Path) -> dict[str, Path]:
    files = sorted(folder.iterdir(), reverse=True) if folder.is_dir() else []
    return {path.stem: path for path in files if is_picture(path) and path.name[0] != "."}


def size_from(height: Any, width: Any) -> tuple[int, int]:
    if not height or not width or int(height) < 1 or int(width) < 1:
        raise ValueError(f"the size of the photo is {width}x{height}; wanted pixels")
    check_megapixels(int(height), int(width))
    return int(height), int(width)


def stem_of(name: str) -> str:
    """The photo's name alone: programs write paths of their own (Label Studio, labelme)."""
    stem = PurePosixPath(name.replace("\\", "/")).stem
    if stem in ("", "..") or not stem.isprintable():
        raise ValueError(f"a photo named {name!r}; wanted a file name")
    return stem

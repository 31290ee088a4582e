"""Which shapes are in the file of a labelling program?

labelme and YOLO write a file per photo, COCO and "CVAT for images 1.1" one for all. Anything else
is a ValueError of one line that names the file and the place in it.
"""

import base64
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image
from tqdm import tqdm

from unet_resnet.audit.polygons import Drawing, Shape, box, decode_runs, mask_shape, parse_points
from unet_resnet.files import one_line
from unet_resnet.images import check_megapixels, is_picture, open_image, upright_size

SUFFIXES = (".json", ".txt", ".xml")


@contextmanager
def error_context(place: object) -> Iterator[None]:
    """Whatever foreign data may raise becomes a ValueError of one line that names the place."""
    try:
        yield
    except Exception as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"{place}: {one_line(reason)}") from error


def read(source: Path, photos: Path | None = None) -> list[Drawing]:
    """The drawings in a file, or in all files in and below a folder.

    photos: a folder; the photos in it must have the sizes of the drawings. Raises OSError, or
    ValueError naming the file.
    """
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file or folder")
    files = [source]
    if source.is_dir():
        files = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES
                       and path.name[0] != "." and not is_name_list(path, photos))
    drawings, taken = [], {}
    for path in tqdm(files, "reading", unit="file", leave=False):
        with error_context(path):
            drawings += read_file(path, photos)
    for drawing in drawings:
        other = taken.setdefault(drawing.stem.casefold(), drawing)
        if other is not drawing:
            raise ValueError(f"{drawing.file}: a second photo named {drawing.stem}, after the one "
                             f"of {other.file}; give each photo a name of its own")
        height, width = drawing.size
        if photos and drawing.size != (size := size_of(find_photo(drawing.stem, [photos]))):
            raise ValueError(f"{drawing.file}: {drawing.stem} was drawn at {width}x{height}, "
                             f"its photo has {size[1]}x{size[0]} pixels; draw on the photo itself")
    if not drawings:
        raise ValueError(f"{source}: no annotations in it ({' '.join(SUFFIXES)})")
    return drawings


def size_of(photo: Path) -> tuple[int, int]:
    """Its height and width, upright."""
    with open_image(photo) as image:
        return upright_size(image)


def is_name_list(path: Path, photos: Path | None) -> bool:
    """Whether it is a text file such as classes.txt: not of a photo, and those of YOLO begin with a
    number, or are empty."""
    start = path.read_bytes()[:1000].split()[:1] if path.suffix.lower() == ".txt" else []
    return bool(start) and not start[0].isdigit() and not any(
        path.stem in photos_by_stem(folder) for folder in yolo_folders(path, photos))


def read_file(path: Path, photos: Path | None) -> list[Drawing]:
    if (suffix := path.suffix.lower()) not in SUFFIXES:
        raise ValueError(f"expected a folder or {' '.join(SUFFIXES)}; unpack an archive first")
    text = path.read_text("utf-8-sig")
    if suffix == ".txt":
        return [read_yolo(path, text, photos)]
    if suffix == ".xml":
        return read_cvat(path, text)
    content = json.loads(text)
    if "shapes" in content:
        return [read_labelme(path, content)]
    if "annotations" in content:
        return read_coco(path, content)
    raise ValueError("neither labelme's JSON nor COCO's; export it as one of these")


def read_labelme(path: Path, content: dict[str, Any]) -> Drawing:
    own = path.stem in photos_by_stem(path.parent)  # if both were renamed
    name = path.name if own else content.get("imagePath") or path.name
    drawing = Drawing(parse_stem(name),
                      parse_size(content["imageHeight"], content["imageWidth"]), [], path)
    for number, item in enumerate(content["shapes"], 1):
        with error_context(f"shape {number}"):
            drawing.shapes.append(labelme_shape(item.get("shape_type") or "polygon", item))
    return drawing


def labelme_shape(kind: str, item: dict[str, Any]) -> Shape:
    label, points = str(item["label"]), item["points"]
    if kind in ("polygon", "oriented_rectangle"):
        return Shape(label, "polygon", parse_points(points, 3))
    if kind == "rectangle":  # two corners in any order, or all four
        points = parse_points(points, 2)
        return Shape(label, "box", box(*points.min(0), *points.max(0)))
    if kind in ("line", "linestrip"):
        return Shape(label, "line", parse_points(points, 2))
    if kind == "mask":  # a PNG, to be laid with its first pixel at the first point
        with Image.open(io.BytesIO(base64.b64decode(item["mask"])), formats=["PNG"]) as picture:
            check_megapixels(picture.height, picture.width)
            crack = np.array(picture.convert("L")) > 0
        return mask_shape(label, *(round(number) for number in points[0]), crack)
    return Shape(label, kind)


def read_coco(path: Path, content: dict[str, Any]) -> list[Drawing]:
    names = {category["id"]: category["name"] for category in content.get("categories") or []}
    drawings = {}
    for image in content["images"]:
        with error_context(f"image {image['file_name']}"):
            drawings[image["id"]] = Drawing(parse_stem(image["file_name"]),
                                            parse_size(image["height"], image["width"]), [], path)
    if len(drawings) < len(content["images"]):
        raise ValueError("two images have the same id; export it again")
    for number, item in enumerate(content["annotations"], 1):
        with error_context(f"annotation {item.get('id', number)}"):
            drawing = drawings[item["image_id"]]
            label = str(names.get(item["category_id"], item["category_id"]))
            drawing.shapes += coco_shapes(label, item.get("segmentation"), drawing.size)
    return list(drawings.values())


def coco_shapes(label: str, outline: Any, size: tuple[int, int]) -> list[Shape]:
    if not outline:
        return [Shape(label, "box without an outline")]
    if isinstance(outline, list):
        return [Shape(label, "polygon", parse_points(part, 3)) for part in outline]
    counts, (height, width) = outline["counts"], size
    if isinstance(counts, str):
        return [Shape(label, "compressed mask")]
    if outline["size"] != [height, width]:
        raise ValueError("a mask that is not of its photo's size; export it again")
    return [mask_shape(label, 0, 0, decode_runs(counts, width, height).T)]  # column by column


def read_cvat(path: Path, text: str) -> list[Drawing]:
    root = ElementTree.XML(text)
    if root.tag != "annotations" or root.find("track") is not None:
        raise ValueError('not "CVAT for images 1.1"; export it as that')
    drawings = []
    for image in root.iter("image"):
        with error_context(f"image {image.get('name')}"):
            about = image.attrib
            shapes = [cvat_shape(item.tag, item.attrib) for item in image if item.tag != "tag"]
            drawings.append(Drawing(parse_stem(about["name"]),
                                    parse_size(about["height"], about["width"]), shapes, path))
    return drawings


def cvat_shape(kind: str, item: dict[str, str]) -> Shape:
    label = item["label"]
    if kind == "box" and not float(item.get("rotation", 0)):
        corners = (float(item[name]) for name in ("xtl", "ytl", "xbr", "ybr"))
        return Shape(label, kind, parse_points(box(*corners), 4))
    if kind == "mask":
        crack = decode_runs(item["rle"].split(","), int(item["height"]), int(item["width"]))
        return mask_shape(label, int(item["left"]), int(item["top"]), crack)
    numbers = item.get("points", "").replace(";", ",").split(",")
    if kind == "polygon":
        return Shape(label, kind, parse_points(numbers, 3))
    if kind == "polyline":
        return Shape(label, "line", parse_points(numbers, 2))
    return Shape(label, f"turned {kind}" if kind == "box" else kind)


def read_yolo(path: Path, text: str, photos: Path | None) -> Drawing:
    """The label is the number of the class."""
    height, width = size_of(find_photo(path.stem, yolo_folders(path, photos)))
    drawing = Drawing(path.stem, (height, width), [], path)
    for number, line in enumerate(text.splitlines(), 1):
        if words := line.split():
            with error_context(f"line {number}"):
                if not words[0].isdigit():
                    raise ValueError(f"begins with {words[0]!r}; expected the number of a class")
                if len(words) < 7:
                    raise ValueError(f"numbers after the class: {len(words) - 1}, as of a box; "
                                     "expected 6 or more: export it for segmentation")
                points = parse_points(words[1:], 3)
                if abs(points).max() > 2:  # a shape may leave the photo a little
                    raise ValueError("coordinates above 1; expected fractions of width and height")
                drawing.shapes.append(Shape(words[0], "polygon", points * (width, height)))
    return drawing


def yolo_folders(path: Path, photos: Path | None) -> list[Path]:
    """Where the photo of a text file may be: beside it, or with images/ instead of labels/."""
    images = Path(*("images" if part == "labels" else part for part in path.parent.parts))
    return [photos] if photos else [path.parent, images]


def find_photo(stem: str, folders: Sequence[Path]) -> Path:
    for folder in folders:
        if photo := photos_by_stem(folder).get(stem):
            return photo
    raise ValueError(f"no photo named {stem} directly in {folders[0]}; "
                     "say in which folder it is with --photos")


@lru_cache
def photos_by_stem(folder: Path) -> dict[str, Path]:
    files = sorted(folder.iterdir(), reverse=True) if folder.is_dir() else []
    return {path.stem: path for path in files if is_picture(path) and path.name[0] != "."}


def parse_size(height: Any, width: Any) -> tuple[int, int]:
    height, width = int(height), int(width)
    if min(height, width) < 1:
        raise ValueError(f"the size of the photo is {width}x{height}; expected pixels")
    check_megapixels(height, width)
    return height, width


def parse_stem(name: str) -> str:
    """The photo's name alone: programs write paths of their own (Label Studio, labelme)."""
    stem = PurePosixPath(name.replace("\\", "/")).stem
    if stem in ("", "..") or not stem.isprintable():
        raise ValueError(f"a photo named {name!r}; expected a file name")
    return stem

"""Where in the world is a photo? From the GeoTIFF tags in it, or the world file beside it.

A world file (a.jgw, a.jpgw, a.wld ... beside a.jpg) is six lines of numbers; the tags are those of
OGC 19-008r4, GeoTIFF 1.1. As in GDAL, tags take precedence. Not read: tie points without a pixel
scale; the position of a photo that EXIF turns, which is that of its pixels as stored; and the GPS
position in EXIF data, which is that of the camera, not of the wall.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unet_resnet.files import one_line
from unet_resnet.images import exif_turn, open_image, tags_of

SCALE, TIE_POINTS, MATRIX, KEYS = 33550, 33922, 34264, 34735  # GeoTIFF tags
MODEL, RASTER, GEOGRAPHIC, PROJECTED, UNIT = 1024, 1025, 2048, 3072, 3076  # keys in KEYS
PLANE, POINT, METRE = 1, 2, 9001  # values of MODEL, RASTER and UNIT
STRETCHED = (3857, 3395)  # Mercator: away from the equator, its metres are not those of the ground
TOLERANCE = 0.01  # of the pixel size, within which pixels are square and photos have one scale


class Position(NamedTuple):
    """From the pixels of an upright photo to the world."""

    matrix: np.ndarray  # (2, 3): times (x, y, 1) of a pixel, the first centre at (0, 0)
    epsg: int | None  # of the coordinate reference system, where it is known
    metres: bool  # whether the coordinates are known to be metres on the ground


def world_file(photo: Path) -> Path | None:
    """a.tfw, a.tifw or a.wld beside a.tif, in small or capital letters."""
    ending = photo.suffix[1:]
    for name in (f"{ending[:1]}{ending[-1:]}w", f"{ending}w", "wld"):
        for found in (photo.with_suffix(f".{name.lower()}"), photo.with_suffix(f".{name.upper()}")):
            if found.is_file():
                return found
    return None


def from_tags(tags: Mapping[int, Sequence[float]], keys: Mapping[int, int]) -> np.ndarray | None:
    """The matrix (2, 3) in GeoTIFF tags, None without one. Raises ValueError for too few numbers.
    """
    if MATRIX in tags:
        matrix = np.reshape(tags[MATRIX], (4, 4))[:2, [0, 1, 3]].astype(float)
    elif SCALE in tags and TIE_POINTS in tags:
        across, down = tags[SCALE][:2]
        column, row, _, x, y, _ = tags[TIE_POINTS][:6]
        matrix = np.array([[across, 0, x - across * column], [0, -down, y + down * row]], float)
    else:
        return None
    if keys.get(RASTER) != POINT:  # (0, 0) is the corner of the first pixel, not its centre
        matrix[:, 2] += matrix[:, :2].sum(1) / 2
    return matrix


def position_of(photo: Path) -> Position | None:
    """The position of a photo, None if nothing gives it one, or if it cannot be read.

    Raises ValueError, naming the file, for broken tags or a broken world file, and for a photo that
    EXIF turns.
    """
    beside = world_file(photo)
    try:
        with open_image(photo) as image:
            stored = tags_of(image)
            tags = {tag: stored[tag] for tag in (SCALE, TIE_POINTS, MATRIX, KEYS) if tag in stored}
            turn = exif_turn(image) if tags or beside else None
    except (OSError, ValueError):  # reported when the photo is predicted
        return None
    source = photo
    try:
        directory = np.reshape(tags.get(KEYS, ()), (-1, 4))[1:].tolist()
        keys = {key: value for key, place, _, value in directory if place == 0}
        matrix = from_tags(tags, keys)
        if matrix is None and beside:
            source = beside  # which the message names
            numbers = beside.read_text("utf-8-sig").replace(",", ".").split()[:6]
            matrix = np.array(numbers, float).reshape(3, 2).T
        if matrix is None:
            return None
        if not (np.abs(matrix).max() < 1e12 and abs(np.linalg.det(matrix[:, :2])) > 1e-24):
            raise ValueError("pixels without a size or a place")
    except (OSError, ValueError, TypeError):
        raise ValueError(f"{source}: damaged position; expected GeoTIFF tags, or a world file of "
                         "six lines of numbers") from None
    if turn is not None:
        raise ValueError(f"{photo}: its position is not used because EXIF turns the photo; save it "
                         "upright, with a position to match")
    plane = keys.get(MODEL) == PLANE
    code = int(keys.get(PROJECTED if plane else GEOGRAPHIC, 0))
    epsg = code if 0 < code < 32767 else None  # 32767: defined by the user, maybe as a Mercator
    return Position(matrix, epsg, bool(
        epsg and plane and keys.get(UNIT) == METRE and code not in STRETCHED))


def positions_of(photos: Sequence[Path]) -> tuple[dict[Path, Position], list[str]]:
    """The positions of those photos that have one, and notes about the others.

    A map has one coordinate reference system: that of the first photo that names one.
    """
    found, notes, epsg = {}, [], None
    for photo in photos:
        try:
            position = position_of(photo)
        except ValueError as error:
            notes.append(one_line(error))
            continue
        epsg = epsg or (position and position.epsg)
        if position and position.epsg not in (None, epsg):
            notes.append(one_line(f"{photo}: in EPSG:{position.epsg}; the map is in EPSG:{epsg}"))
        elif position:
            found[photo] = position
    missing = [photo for photo in photos if photo not in found]
    if found and missing:
        notes.append(one_line(f"{len(missing)} of {len(photos)} photos have no position, e.g. "
                              f"{missing[0]}: their cracks are measured, but are not on the map"))
    return found, notes


def common_scale(positions: Collection[Position]) -> float | None:
    """The mm per pixel of photos with positions in metres; None unless all have square pixels of
    one size."""
    axes = np.array([position.matrix[:, :2] for position in positions if position.metres])
    if not len(axes) or len(axes) < len(positions):
        return None
    sizes = np.hypot(axes[:, 0], axes[:, 1])  # (n, 2): a step to the right, a step down
    slant = np.abs((axes[:, :, 0] * axes[:, :, 1]).sum(1)) / sizes.prod(1)
    if sizes.max() > (1 + TOLERANCE) * sizes.min() or slant.max() > TOLERANCE:
        return None
    return 1000 * float(sizes.mean())

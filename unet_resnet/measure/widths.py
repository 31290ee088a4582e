"""How long and how wide is each crack? From a mask to numbers, in pixels and in millimetres.

A crack is a connected region of the mask, diagonals included. Small holes are filled.

- Length: of the centre lines of all its branches, from tip to tip.
- Width: the number of pixels nearest to a piece of the centre line, divided by the length of that
  piece, in a Gaussian mean along the line (standard deviation 3 pixels, or 0.225 widths if that is
  more). This is right on average at every angle; twice the distance transform is not, for even
  widths. Near junctions and tips, where width is not well defined, it continues from the branch
  beside them; a branch that is all junction has the width of its inscribed circles.
- Mean, median and 95th percentile of the width weight each piece of the line by its length.
- Wide: a crack with a mean width above WIDE pixels and above WIDE_SHARE of its length is taken for
  a shadow, a stain or a hole: it is in no sum. One that the border cuts off may be longer, so it is
  never called wide.

A mask holds whole pixels only: a crack along the pixel rows, 1.9 wide, may cover one row.
"""

import itertools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import (
    binary_erosion, distance_transform_edt, find_objects, gaussian_filter1d, label)
from scipy.spatial import cKDTree
from skimage.morphology import skeletonize
from torch import Tensor

from unet_resnet.measure.centreline import Line, centre_lines

MIN_LENGTH = 10.0  # pixels; a shorter crack is a speck, only counted
# Limits in mm, without a verdict: EN 1992-1-1 table 7.1N, ACI 224R-01 table 4.1.
STANDARDS = {"en1992": (0.3, 0.4), "aci224": (0.10, 0.15, 0.18, 0.30, 0.41)}
# Chosen so that less than 2 % of the true length of any data set is wide: docs/measuring.md.
WIDE, WIDE_SHARE = 10, 0.1
NEIGHBOURS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
WINDOW = 1.5  # sigma of the mean over widths, in sigmas of the line's smoothing


@dataclass(frozen=True)
class Crack:
    """One crack, or all cracks of a photo combined; the defaults are those of no crack.

    Lengths in pixels. Pixel (x, y) is the x-th from the left and the y-th from the top, from 0.
    """

    length: float = 0.0
    width_mean: float | None = None
    width_median: float | None = None
    width_p95: float | None = None
    width_max: float | None = None
    max_x: float | None = None  # where it is widest
    max_y: float | None = None
    area: int = 0  # pixels, small holes included
    orientation: float | None = None  # degrees in (-90, 90]: 0 level, 45 rising to the right
    left: int | None = None  # the bounding box: its first column and row, and its size
    top: int | None = None
    box_width: int | None = None
    box_height: int | None = None
    branches: int = 0  # between ends and junctions
    ends: int = 0  # free ends; a ring has none
    cut_off: bool = False  # it reaches the border of the photo and may continue beyond
    class_lengths: tuple[float, ...] = ()  # of the line in each class of width, the narrowest first
    wide: bool = False  # and so not in the sums


@dataclass(frozen=True)
class Measurement:
    """All that was measured in one photo."""

    cracks: tuple[Crack, ...]  # from top to bottom
    total: Crack  # of those that are not wide
    wide: int  # how many are
    specks: int  # left out because they are shorter than MIN_LENGTH
    height: int  # of the photo, in pixels
    width: int
    mm_per_pixel: float | None
    width_classes: tuple[float, ...]  # limits in mm, each the first width of the next class
    lines: tuple[list[np.ndarray], ...]  # of each crack: x, y, width (n, 3) along a line, in pixels

    def lines_of(self, wide: bool) -> list[np.ndarray]:
        """Those of all cracks that are wide, or of all others."""
        return [line for crack, lines in zip(self.cracks, self.lines) if crack.wide == wide
                for line in lines]


def small_holes(crack: np.ndarray) -> np.ndarray:
    """The holes of one crack, bool (h, w), at most half as wide as the crack beside them, and no
    longer than that is wide: noise or rubble, around which there is no second branch."""
    solid = np.pad(crack, 1)  # what is outside is one piece
    pieces, small = label(~solid)[0], np.zeros_like(solid)
    for number, box in enumerate(find_objects(pieces), start=1):
        hole = np.pad(pieces[box] == number, 1)
        beside = max(2 * distance_transform_edt(hole).max(), max(hole.shape) / 2 - 1)  # at least
        if number == pieces[0, 0] or math.pi * beside ** 2 > crack.sum():
            continue
        reach = math.ceil(2 * beside) + 1  # a circle beside it lies within that
        near = tuple(slice(max(0, side.start - reach), side.stop + reach) for side in box)
        depth, nearest = distance_transform_edt(solid[near], return_indices=True)
        own = pieces[near] == number
        if depth[own[tuple(nearest)]].max() >= beside:
            small[near] |= own
    return small[1:-1, 1:-1]


def widths(lines: list[Line], pixels: np.ndarray) -> list[np.ndarray]:
    """The width (n,) at each point of each line of a crack with these pixels (k, 2)."""
    nearest = cKDTree(np.concatenate([line.points for line in lines])).query(pixels)[1]
    ends = np.cumsum([len(line.points) for line in lines])
    found = []
    for line, area in zip(lines, np.split(np.bincount(nearest, minlength=ends[-1]), ends[:-1])):
        sigma = WINDOW * line.sigma
        width = gaussian_filter1d(area.astype(float), sigma) / gaussian_filter1d(line.steps, sigma)
        at = line.steps.cumsum()
        found.append(np.interp(at, at[line.trusted], width[line.trusted]) if line.trusted.any()
                     else np.full(len(at), line.width))
    return found


def class_of(width: np.ndarray, limits: Sequence[float]) -> np.ndarray:
    """The class of each width (n,) between the limits, both in pixels. Rounded, so that a width
    that equals a limit up to rounding errors is in the class that begins there."""
    return np.digitize(width.round(6), np.round(limits, 6))


def class_names(limits: Sequence[float]) -> list[str]:
    """Names of the classes of width between limits in mm: below_0.1, 0.1_to_0.2, from_0.2."""
    if not limits:
        return []
    inner = [f"{low:g}_to_{high:g}" for low, high in itertools.pairwise(limits)]
    return [f"below_{limits[0]:g}", *inner, f"from_{limits[-1]:g}"]


def axis_angle(x: float, y: float) -> float:
    """Degrees in (-90, 90] of an axis, from the direction (x, y) at its doubled angle."""
    degrees = math.degrees(math.atan2(y, x)) / 2
    return degrees + 180 if degrees <= -90 else degrees


def describe(track: np.ndarray, pixels: np.ndarray, shape: tuple[int, int],
             limits: Sequence[float], orientation: float, branches: int, ends: int) -> Crack:
    """The crack with these pixels (k, 2) in a photo of this shape.

    track (n, 5): x, y, width, length, and whether the width was measured there, of each point of
    its lines. limits: of the classes of width, in pixels.
    """
    _, _, width, length, measured = track.T
    order = np.lexsort((measured, width))
    share = length[order].cumsum() / length.sum()
    median, p95 = (float(width[order[np.searchsorted(share, q)]]) for q in (0.5, 0.95))
    x, y, widest, *_ = track[order[-1]].tolist()
    classes = np.bincount(class_of(width, limits), length, len(limits) + 1).tolist()
    (top, left), (bottom, right) = pixels.min(0).tolist(), pixels.max(0).tolist()
    return Crack(
        float(length.sum()), float(width @ length / length.sum()), median, p95, widest, x, y,
        len(pixels), orientation, left, top, right - left + 1, bottom - top + 1, branches, ends,
        cut_off=min(left, top) == 0 or bottom == shape[0] - 1 or right == shape[1] - 1,
        class_lengths=tuple(classes) if limits else ())


def crack_of(pixels: np.ndarray, skeleton: np.ndarray, outline: np.ndarray,
             shape: tuple[int, int], limits: Sequence[float]) -> tuple[Crack, list[np.ndarray]]:
    """The crack with these pixels (k, 2), and its tracks, one per line; see `describe`.

    skeleton (m, 2) is what thinning leaves of the crack, outline (n, 2) its outermost pixels.
    """
    radii = cKDTree(outline).query(skeleton)[0] + 0.5
    lines = centre_lines(skeleton, radii, pixels)
    # A line that leaves the middle of a blob gets the area far beside it: nowhere is a crack wider
    # than the largest circle in it, up to a pixel of rounding.
    widest = 2 * radii.max() + 1
    tracks = [np.column_stack([line.points[:, ::-1], width.clip(max=widest), line.steps,
                               line.trusted])
              for line, width in zip(lines, widths(lines, pixels))]
    (yy, xy), (_, xx) = np.cov(pixels.T, bias=True)
    return describe(np.concatenate(tracks), pixels, shape, limits, axis_angle(xx - yy, -2 * xy),
                    len(lines), sum(line.free_ends for line in lines)), tracks


def combine(found: Sequence[tuple], shape: tuple[int, int], limits: Sequence[float]) -> Crack:
    """Cracks of a photo, with their pixels and tracks, as one. Its orientation is the mean of
    theirs, weighted by length."""
    if not found:
        return Crack(class_lengths=(0.0,) * (len(limits) + bool(limits)))
    cracks, pixels, tracks = zip(*found)
    x, y = (sum(crack.length * part(2 * math.radians(crack.orientation)) for crack in cracks)
            for part in (math.cos, math.sin))
    return describe(np.concatenate([*itertools.chain(*tracks)]), np.concatenate(pixels), shape,
                    limits, axis_angle(x, y), sum(crack.branches for crack in cracks),
                    sum(crack.ends for crack in cracks))


def width_limits(words: Sequence[float | str]) -> tuple[float, ...]:
    """The limits in mm, given as numbers or as the name of a standard. Raises ValueError."""
    if len(words) == 1 and words[0] in STANDARDS:
        return STANDARDS[words[0]]
    try:
        limits = tuple(map(float, words))
        if not all(map(operator.lt, (0, *limits), (*limits, math.inf))):
            raise ValueError
    except ValueError:
        raise ValueError(f"classes of width {' '.join(map(str, words))}; expected limits in mm, "
                         f"above 0 and rising, or one of {', '.join(STANDARDS)}") from None
    return limits


def measure(mask: Tensor, mm_per_pixel: float | None = None,
            width_classes: Sequence[float | str] = (), include_wide: bool = False) -> Measurement:
    """The cracks of a mask (1, h, w) on the CPU, where anything non-zero is crack.

    width_classes: as of `width_limits`. A crack shorter than MIN_LENGTH is a speck, only counted.
    include_wide: no crack is called wide, all are in the sums.
    Time and memory grow with the number of crack pixels, plus a few bytes per pixel of the mask.
    Raises ValueError for invalid classes of width, or for any without a scale.
    """
    in_mm = width_limits(width_classes)
    if in_mm and not mm_per_pixel:
        raise ValueError("classes of width are in mm and need a scale: --mm-per-pixel, "
                         "--scale-bar, or positions in metres of all photos")
    limits = [limit / mm_per_pixel for limit in in_mm]
    whole = mask[0].numpy() != 0
    whole |= binary_erosion(whole, NEIGHBOURS)  # holes of one pixel, even in hairlines
    numbers, count = label(whole, np.ones((3, 3)))
    for number, box in enumerate(find_objects(numbers), start=1):
        whole[box] |= small_holes(numbers[box] == number)
    numbers, count = label(whole, np.ones((3, 3)))
    # The border of the photo is no edge of a crack, unless there is no other.
    edge = whole & ~binary_erosion(whole, NEIGHBOURS, border_value=not whole.all())
    found = []
    for number, box in enumerate(find_objects(numbers), start=1):
        region = numbers[box] == number
        if np.count_nonzero(region) * math.sqrt(2) < MIN_LENGTH:  # saves a millisecond each
            continue
        # Lee et al. (1994): Zhang and Suen's thinning can eat a whole arm along a diagonal.
        layers = region, skeletonize(region, method="lee") > 0, region & edge[box]
        corner = [side.start for side in box]
        pixels, skeleton, outline = (np.argwhere(layer) + corner for layer in layers)
        crack, tracks = crack_of(pixels, skeleton, outline, whole.shape, limits)
        if crack.length >= MIN_LENGTH:
            wide = not crack.cut_off and crack.width_mean > max(WIDE, WIDE_SHARE * crack.length)
            found.append((replace(crack, wide=wide and not include_wide), pixels, tracks))
    summed = [one for one in found if not one[0].wide]
    return Measurement(
        tuple(crack for crack, *_ in found), combine(summed, whole.shape, limits),
        len(found) - len(summed), count - len(found), *whole.shape, mm_per_pixel, in_mm,
        tuple([track[:, :3] for track in tracks] for *_, tracks in found))

"""Where is the middle of a crack? From the branches of its skeleton to smooth lines, tip to tip.

Steps of pixels are longer than the slope they stand for, and thinning stops half a width before
the ends, if it does not turn into a corner there: lines are smoothed, cut back at free ends and led
straight on to the tip. Rows and columns in pixels throughout, pixel centres at whole numbers.
"""

import math
from collections import Counter
from typing import NamedTuple

import numpy as np

from unet_resnet.measure.branches import Branch, Pixel, degrees, join_forks, prune

try:
    from scipy.ndimage import gaussian_filter1d
    from scipy.spatial import cKDTree
except ImportError as error:
    raise ImportError("measuring needs scipy: pip install 'unet_resnet[measure]'") from error

# Set by a sweep over drawn lines, curves and forks; the tests tell what error is left.
STAIRS, BENDS = 2.0, 0.15  # standard deviation of the smoothing: in pixels, in widths; the larger
CUT = 0.75  # widths of the skeleton that are not believed at a free end


class Line(NamedTuple):
    """A smooth centre line from tip to tip, in points about one pixel apart."""
    points: np.ndarray  # (n, 2)
    steps: np.ndarray  # (n,) the length that each point stands for; their sum is the line's
    trusted: np.ndarray  # (n,) bool: away from junctions and tips, where a width has a meaning
    width: float  # roughly, in pixels: of the inscribed circles
    sigma: float  # of the smoothing, in pixels
    ends: int  # of the two, how many are free


def smooth(points: np.ndarray, sigma: float, ring: bool) -> np.ndarray:
    """Points (n, 2) in Gaussian means along the line; the ends of a line stay in place."""
    if ring:
        return gaussian_filter1d(points, sigma, axis=0, mode="wrap")
    reach = math.ceil(4 * sigma)
    padded = np.pad(points, ((reach, reach), (0, 0)), "reflect", reflect_type="odd")
    return gaussian_filter1d(padded, sigma, axis=0)[reach:-reach]


def along(points: np.ndarray) -> np.ndarray:
    """(n, 2) -> (n,): the length of the line up to each of its points."""
    return np.insert(np.hypot(*np.diff(points, axis=0).T).cumsum(), 0, 0)


def to_the_tip(points: np.ndarray, direction: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Points (m, 2) about a pixel apart, straight on from the last point (n, 2) of a line.

    pixels: those of the crack that are nearer to it than to any other. The crack ends half way from
    the centre of the farthest to the next row, column or, on a slope, what lies between.
    """
    ahead = ((pixels - points[-1]) @ direction).max(initial=0) + np.abs(direction).max() / 2
    count = math.ceil(ahead)
    return points[-1] + np.arange(1, count + 1)[:, None] * (ahead / count * direction)


class Node(NamedTuple):
    place: np.ndarray  # (2,) the middle of its pixels
    reach: float  # in pixels; arms part about as far out as the crack is wide there


class Draft(NamedTuple):
    """A line on its way: smooth, not yet led on to the tips."""
    points: np.ndarray  # (n, 2)
    free: tuple[bool, bool]  # start and end
    reach: tuple[float, float]  # of the junctions there, in pixels
    ring: bool
    width: float
    sigma: float


def draft(branch: Branch, degree: Counter[Pixel], nodes: dict[Pixel, Node],
          radius: dict[Pixel, float]) -> Draft:
    """The branch, smooth, between the middles of its junctions; bent skeleton at its ends cut."""
    start, end = nodes[branch.start], nodes[branch.end]
    ring = branch.start == branch.end and degree[branch.start] == 2 and len(branch.pixels) > 1
    points = np.array(branch.pixels, float)
    if ring:
        points = points[:-1]
    else:
        points[0], points[-1] = start.place, end.place
    width = 2 * float(np.median([radius[pixel] for pixel in branch.pixels]))
    sigma = max(STAIRS, BENDS * width)
    points = smooth(points, sigma, ring)
    free = degree[branch.start] == 1, degree[branch.end] == 1
    at = along(points)
    cut = min(CUT * width, at[-1] / 4)
    kept = (at >= cut * free[0]) & (at <= at[-1] - cut * free[1])
    reach = tuple(node.reach + sigma if degree[name] > 2 else 0.0
                  for node, name in ((start, branch.start), (end, branch.end)))
    return Draft(points[kept] if kept.any() else points, free, reach, ring, width, sigma)


def finish(draft: Draft, first: int, pixels: np.ndarray, nearest: np.ndarray) -> Line:
    """The line from tip to tip.

    pixels (n, 2) of the crack, in the order of the point to which they are nearest (n,), a number
    that counts the points of all lines; first is that of this line's first.
    """
    points, tips = draft.points, [np.empty((0, 2))] * 2
    back = min(len(points) - 1, max(4, round(draft.width / 2)))
    for side, line, last in ((0, points[::-1], 0), (1, points, len(points) - 1)):
        if draft.free[side]:
            direction = line[-1] - line[-1 - back]
            if not direction.any():  # a blob, one point: both ways along its axis
                direction = (2 * side - 1) * np.linalg.eigh(np.cov(pixels.T, bias=True))[1][:, 1]
            direction = direction / np.hypot(*direction)
            start, stop = np.searchsorted(nearest, (first + last, first + last + 1))
            tips[side] = to_the_tip(line, direction, pixels[start:stop])
    whole = np.concatenate([tips[0][::-1], points, tips[1]])
    gaps = np.hypot(*np.diff(whole, axis=0, append=whole[:1]).T)
    gaps[-1] *= draft.ring
    at = along(points)
    depth = np.minimum(at - draft.reach[0], at[-1] - at - draft.reach[1])
    trusted = np.pad(depth >= 0, [len(tip) for tip in tips])
    return Line(whole, (gaps + np.roll(gaps, 1)) / 2, trusted, draft.width, draft.sigma,
                sum(draft.free))


def centre_lines(skeleton: np.ndarray, radii: np.ndarray, pixels: np.ndarray) -> list[Line]:
    """The lines of one crack.

    pixels: (n, 2) all of it; skeleton: (k, 2) what thinning leaves; radii: (k,) from there to the
    edge of the crack. A crack not twice as long as wide is one straight line through its middle.
    """
    radius = dict(zip(map(tuple, skeleton.tolist()), radii.tolist()))
    pruned = prune(radius)
    degree = degrees(pruned)
    branches, members = join_forks(pruned, radius)
    nodes = {}
    for group in {id(group): group for group in members.values()}.values():
        place = np.mean(group, 0)
        reach = max(2 * radius[pixel] + math.dist(pixel, place) for pixel in group)
        nodes |= dict.fromkeys(group, Node(place, reach))
    drafts = [draft(branch, degree, nodes, radius) for branch in branches]
    if len(branches) == 1 and not drafts[0].ring and branches[0].length <= 2 * radii.max():
        drafts = [drafts[0]._replace(points=pixels.mean(0)[None], free=(True, True))]
    nearest = cKDTree(np.concatenate([draft.points for draft in drafts])).query(pixels)[1]
    order = np.argsort(nearest)
    pixels, nearest = pixels[order], nearest[order]
    firsts = np.cumsum([0] + [len(one.points) for one in drafts])
    return [finish(one, first, pixels, nearest) for one, first in zip(drafts, firsts)]

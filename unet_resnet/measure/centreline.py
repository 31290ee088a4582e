"""Where is the middle of a crack? From the branches of its skeleton to smooth lines, tip to tip.

A path along pixels is longer than the line it follows, and thinning stops half a width before a tip
or bends into a corner there. So lines are smoothed, cut back at free ends and extended straight to
the tip. All in (row, column) pixels, with pixel centres at whole numbers.
"""

import math
from collections import Counter
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from unet_resnet.measure.branches import Branch, Pixel, join_forks, node_degrees, prune

# Set by a sweep over synthetic lines, curves and forks; the tests state the remaining error.
SIGMA_PIXELS, SIGMA_WIDTHS = 2.0, 0.15  # of the smoothing: the larger of the two
CUT_WIDTHS = 0.75  # how far the skeleton is not trusted at a free end


class Line(NamedTuple):
    """A smooth centre line from tip to tip, in points about one pixel apart."""
    points: np.ndarray  # (n, 2)
    steps: np.ndarray  # (n,) the length that each point represents; their sum is the line's
    trusted: np.ndarray  # (n,) bool: away from junctions and tips, where width is well defined
    width: float  # roughly, in pixels: the diameter of inscribed circles
    sigma: float  # of the smoothing, in pixels
    free_ends: int


class Draft(NamedTuple):
    """A smooth line that does not yet reach its tips."""
    points: np.ndarray  # (n, 2)
    free: tuple[bool, bool]  # start and end
    reach: tuple[float, float]  # of the junctions there, in pixels
    ring: bool
    width: float
    sigma: float


def smooth(points: np.ndarray, sigma: float, ring: bool) -> np.ndarray:
    """Gaussian means of points (n, 2) along the line; the ends of a line stay in place."""
    if ring:
        return gaussian_filter1d(points, sigma, axis=0, mode="wrap")
    reach = math.ceil(4 * sigma)
    padded = np.pad(points, ((reach, reach), (0, 0)), "reflect", reflect_type="odd")
    return gaussian_filter1d(padded, sigma, axis=0)[reach:-reach]


def arc_length(points: np.ndarray) -> np.ndarray:
    """(n, 2) -> (n,): the length of the line up to each of its points."""
    return np.insert(np.hypot(*np.diff(points, axis=0).T).cumsum(), 0, 0)


def draft(branch: Branch, degree: Counter[Pixel], nodes: dict[Pixel, tuple[np.ndarray, float]],
          radius: dict[Pixel, float]) -> Draft:
    """The branch, smoothed, between the centres of its junctions, cut back at free ends.

    nodes: the centre (2,) of each junction, and its reach in pixels.
    """
    ring = branch.start == branch.end and degree[branch.start] == 2 and len(branch.pixels) > 1
    points = np.array(branch.pixels, float)
    if ring:
        points = points[:-1]
    else:
        points[0], points[-1] = nodes[branch.start][0], nodes[branch.end][0]
    width = 2 * float(np.median([radius[pixel] for pixel in branch.pixels]))
    sigma = max(SIGMA_PIXELS, SIGMA_WIDTHS * width)
    points = smooth(points, sigma, ring)
    free = degree[branch.start] == 1, degree[branch.end] == 1
    at = arc_length(points)
    cut = min(CUT_WIDTHS * width, at[-1] / 4)
    kept = (at >= cut * free[0]) & (at <= at[-1] - cut * free[1])
    reach = tuple(nodes[node][1] + sigma if degree[node] > 2 else 0.0
                  for node in (branch.start, branch.end))
    return Draft(points[kept] if kept.any() else points, free, reach, ring, width, sigma)


def extension(line: np.ndarray, back: int, pixels: np.ndarray, sign: int) -> np.ndarray:
    """Points (m, 2) about a pixel apart, from the end of a line (n, 2) straight on to the tip, in
    the direction of its last `back` steps.

    pixels: those of the crack that are nearest to the end. The tip is half a row of pixels beyond
    the centre of the farthest, or half a diagonal one: 0.5 or 0.35. sign: for a line of one point,
    which way along the axis of the pixels.
    """
    direction = line[-1] - line[-1 - back]
    if not direction.any():
        direction = sign * np.linalg.eigh(np.cov(pixels.T, bias=True))[1][:, 1]
    direction = direction / np.hypot(*direction)
    ahead = ((pixels - line[-1]) @ direction).max(initial=0) + np.abs(direction).max() / 2
    count = math.ceil(ahead)
    return line[-1] + np.arange(1, count + 1)[:, None] * (ahead / count * direction)


def finish(draft: Draft, at_start: np.ndarray, at_end: np.ndarray) -> Line:
    """The line from tip to tip, given the crack's pixels (n, 2) nearest to either of its ends."""
    points = draft.points
    back = min(len(points) - 1, max(4, round(draft.width / 2)))
    nothing = np.empty((0, 2))
    before = extension(points[::-1], back, at_start, -1)[::-1] if draft.free[0] else nothing
    after = extension(points, back, at_end, 1) if draft.free[1] else nothing
    whole = np.concatenate([before, points, after])
    gaps = np.hypot(*np.diff(whole, axis=0, append=whole[:1]).T)
    gaps[-1] *= draft.ring
    at = arc_length(points)
    depth = np.minimum(at - draft.reach[0], at[-1] - at - draft.reach[1])
    trusted = np.pad(depth >= 0, (len(before), len(after)))
    return Line(whole, (gaps + np.roll(gaps, 1)) / 2, trusted, draft.width, draft.sigma,
                sum(draft.free))


def centre_lines(skeleton: np.ndarray, radii: np.ndarray, pixels: np.ndarray) -> list[Line]:
    """The lines of one crack.

    pixels: (n, 2) all of it; skeleton: (k, 2) what thinning leaves; radii: (k,) from there to the
    edge of the crack. A crack less than twice as long as wide is one straight line.
    """
    radius = dict(zip(map(tuple, skeleton.tolist()), radii.tolist()))
    pruned = prune(radius)
    degree = node_degrees(pruned)
    branches, members = join_forks(pruned, radius)
    nodes = {}
    for node, group in members.items():
        centre = np.mean(group, 0)
        # Arms separate about as far out as the crack is wide where they meet.
        reach = max(2 * radius[pixel] + math.dist(pixel, centre) for pixel in group)
        nodes[node] = centre, reach
    drafts = [draft(branch, degree, nodes, radius) for branch in branches]
    if len(branches) == 1 and not drafts[0].ring and branches[0].length <= 2 * radii.max():
        drafts = [drafts[0]._replace(points=pixels.mean(0)[None], free=(True, True))]
    nearest = cKDTree(np.concatenate([draft.points for draft in drafts])).query(pixels)[1]
    lines, first = [], 0
    for one in drafts:  # their points are numbered in turn
        last = first + len(one.points) - 1
        lines.append(finish(one, pixels[nearest == first], pixels[nearest == last]))
        first = last + 1
    return lines

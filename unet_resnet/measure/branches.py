"""Which branches does a crack have? From the pixels of its skeleton to paths between nodes.

A skeleton is not yet what a person would draw: noise on the edge adds spurs, a crossing becomes two
forks, a hole of one pixel becomes a ring. A pixel is a (row, column) here.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

SLACK = 2.0  # pixels that noise may add to a spur or to the path between two forks

Pixel = tuple[int, int]


class Branch(NamedTuple):
    """Skeleton between two nodes. A node is a free end or a junction, named by its pixel."""
    start: Pixel
    end: Pixel
    pixels: list[Pixel]  # from node to node, both included

    @property
    def length(self) -> float:
        return sum(map(math.dist, self.pixels, self.pixels[1:]))


def trace(skeleton: Iterable[Pixel]) -> list[Branch]:
    """The branches of a connected skeleton. A ring starts anywhere, a lone pixel is a branch."""
    pixels, links = set(skeleton), {}
    for y, x in skeleton:
        links[y, x] = [p for p in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)) if p in pixels]
        # A diagonal counts where no pixel fills the corner: a fork is then one pixel, not three.
        links[y, x] += [(v, u) for v in (y - 1, y + 1) for u in (x - 1, x + 1) if (v, u) in pixels
                        and (v, x) not in pixels and (y, u) not in pixels]
    branches, seen = [], set()
    for start in [pixel for pixel in links if len(links[pixel]) != 2] or list(links)[:1]:
        if not links[start]:
            branches.append(Branch(start, start, [start]))
        for step in links[start]:
            if (start, step) in seen:
                continue
            path = [start, step]
            while len(links[path[-1]]) == 2 and path[-1] != start:
                one, other = links[path[-1]]
                path.append(other if one == path[-2] else one)
            seen |= {(start, step), (path[-1], path[-2])}
            branches.append(Branch(start, path[-1], path))
    return branches


def node_degrees(branches: list[Branch]) -> Counter[Pixel]:
    """How many branches meet at each node: 1 at a free end, 3 or more at a junction."""
    return Counter(node for branch in branches for node in (branch.start, branch.end))


def spurious(branches: list[Branch], radius: dict[Pixel, float]) -> list[Branch]:
    """The branches that noise explains: spurs, and one side of each ring around a small hole.

    A spur is a free branch no longer than the crack is wide where it starts; if all branches of a
    junction are spurs, the two longest stay. A ring is small if it is no longer than the circle
    inscribed there; its longer side goes.
    """
    degree, gone = node_degrees(branches), []
    spurs, sides = defaultdict(list), defaultdict(list)
    for branch in sorted(branches, key=lambda branch: branch.length):
        first, last = sorted((branch.start, branch.end), key=degree.__getitem__)
        if degree[first] == 1 and degree[last] > 2 and branch.length <= 2 * radius[last] + SLACK:
            spurs[last].append(branch)
        elif degree[first] > 2:
            sides[frozenset((first, last))].append(branch)
    for junction, found in spurs.items():
        gone += found if len(found) < degree[junction] else found[:-2]
    for nodes, found in sides.items():
        circle = 2 * math.pi * (SLACK + max(radius[node] for node in nodes))
        other = found[0].length if len(nodes) == 2 else 0
        gone += [side for side in found[len(nodes) - 1:] if side.length + other <= circle]
    return gone


def prune(radius: dict[Pixel, float]) -> list[Branch]:
    """The branches of a connected skeleton without its spurious ones.

    radius: from each pixel of the skeleton to the edge of the crack.
    """
    skeleton = list(radius)
    while True:
        branches = trace(skeleton)
        gone = {pixel for branch in spurious(branches, radius) for pixel in branch.pixels}
        if not gone:
            return branches
        gone -= {node for node, degree in node_degrees(branches).items() if degree > 2}
        skeleton = [pixel for pixel in skeleton if pixel not in gone]


def join_forks(branches: list[Branch], radius: dict[Pixel, float]
               ) -> tuple[list[Branch], dict[Pixel, list[Pixel]]]:
    """Merge junctions near each other: a crossing thins to two forks with touching circles.

    Where more branches meet, one junction must lie in the inscribed circle of the other: a mesh has
    crossing after crossing. Returns the branches except those inside a group, and the pixels of
    each node. The middle of a group lies in the circles of all its members, so that no branch is
    bent far to reach it.
    """
    degree = node_degrees(branches)
    members = {node: [node] for node in degree}  # what has become one node shares one list

    def near(branch: Branch) -> bool:
        arms, reach = ([counts[branch.start], counts[branch.end]] for counts in (degree, radius))
        reach = sum(reach) if arms == [3, 3] else max(reach)
        return min(arms) > 2 and branch.length <= reach + SLACK

    for branch in sorted(filter(near, branches), key=lambda branch: branch.length):
        start, end = members[branch.start], members[branch.end]
        middle = np.mean(start + end, 0)
        if start is not end and max(math.dist(pixel, middle) - radius[pixel]
                                    for pixel in start + end) <= SLACK:
            start += end
            members |= dict.fromkeys(end, start)
    return [branch for branch in branches if not near(branch)
            or members[branch.start] is not members[branch.end]], members

"""What does a first training learn from, without photos? Cracks on pavement, rendered here.

Cracks and stones are strokes: points (row, column, radius) on a bent line, then a signed distance.
What only looks like a crack, such as joints, cables and shadows, comes from confusers.py.
"""

import math
import tempfile
from pathlib import Path

import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional as F
from tqdm import tqdm

from unet_resnet.augment import happens
from unet_resnet.synthetic.confusers import (
    cable, joints, lane_marking, leaves, line, shadow_edge, stain)

SOURCES = ("asphalt", "concrete")  # in turn; the word before the first "_" of a file name
VERSION = 2  # raise it when the same seed gives other pictures
CHANCE = 0.25  # of each of these to be in a picture
BELOW_CRACKS = (lane_marking, line, joints, stain)  # before the cracks, which run through it
ABOVE_CRACKS = (cable, leaves, shadow_edge)  # after the cracks, which run under it


def rand(g: Generator, low: float, high: float, *shape: int) -> Tensor:
    """Random numbers between low and high; without a shape, one number."""
    return low + (high - low) * torch.rand(shape, generator=g)


def texture(g: Generator, size: int, *grain: float) -> Tensor:
    """Smooth noise (size, size), mean 0, variance 1; `grain` in pixels, down and across."""
    down, across = (F.normalize(torch.exp(
        -(torch.arange(size)[:, None] / cell - torch.arange(-2, size / cell + 2)).square()))
        for cell in (grain[0], grain[-1]))
    return down @ torch.randn(down.shape[1], across.shape[1], generator=g) @ across.T


def move(points: Tensor, angle: Tensor, length: Tensor) -> Tensor:
    """Points (k, 3) moved by a length in pixels; their radius stays."""
    step = torch.stack((angle.sin(), angle.cos(), torch.zeros_like(angle)), -1)
    return points + length[:, None] * step


def curve(g: Generator, ends: Tensor, bend: float, smooth: float, uneven: float) -> Tensor:
    """Strokes between ends (k, 2, 3) as segments (s, 2, 3), stroke by stroke.

    Sines of amplitude 1 / mode ** smooth bend them: near 1 a stroke is a Brownian bridge and looks
    broken, from 2 on it looks curved.
    """
    length = (ends[:, 1, :2] - ends[:, 0, :2]).norm(dim=-1)
    t = torch.linspace(0, 1, 5 + int(length.max() / ends[..., 2].max().clamp(min=3)))
    modes = torch.arange(1, len(t) // 2 + 1)
    waves = torch.sin(math.pi * modes[:, None] * t) / modes[:, None] ** smooth
    wander = (torch.randn(len(ends), 3, len(modes), generator=g) @ waves).mT
    points = torch.lerp(ends[:, :1], ends[:, 1:], t[:, None])
    points[..., :2] += bend * length[:, None, None] * wander[..., :2]
    points[..., 2] *= 1 + uneven * wander[..., 2]
    points[..., 2].clamp_(min=0.5)  # below 0.5, the distance no longer gives the coverage
    return torch.stack((points[:, :-1], points[:, 1:]), 2).flatten(0, 1)


def distance(segments: Tensor, size: int, reach: float) -> Tensor:
    """Signed distance (size, size) in pixels to the edge of the nearest stroke, negative inside.

    Each of the segments (s, 2, 3) is measured in a window around it: the cost grows with the length
    of the strokes, not with the picture. Beyond `reach`, distances are too large or infinite.
    """
    start, end = segments.permute(1, 2, 0).contiguous()  # (3, s) each
    way, middle = end - start, ((start + end)[:2] / 2).round()
    half = math.ceil(way[:2].norm(dim=0).max() / 2 + segments[..., 2].max() + reach)
    near = ((middle >= -half) & (middle < size + half)).all(0)
    start, way, middle = (x[:, near, None] for x in (start, way, middle))
    window = torch.cartesian_prod(*2 * [torch.arange(-half, half + 1.0)]).T.contiguous()
    offset = middle - start[:2] + window[:, None]  # (2, segments, pixels of the window)
    along = ((offset * way[:2]).sum(0) / way[:2].square().sum(0).clamp(min=1e-6)).clamp(0, 1)
    gap = torch.hypot(*(offset - along * way[:2])) - torch.addcmul(start[2], along, way[2])
    margin = 2 * half  # holds every window, so none has to be cut
    side = size + 2 * margin
    row, column = middle.long() + margin
    index = row * side + column + (window[0] * side + window[1]).long()
    field = torch.full((side * side,), math.inf)
    field.scatter_reduce_(0, index.flatten(), gap.flatten(), "amin")
    return field.view(side, side)[margin:-margin, margin:-margin]


def ground(g: Generator, size: int, source: str) -> Tensor:
    """Bare pavement, RGB (3, size, size), roughly in 0..1."""
    relief = 0.05 * torch.randn(size, size, generator=g)
    for grain in (2, 6, 20, 60, 150):
        relief += rand(g, 0.01, 0.06) * texture(g, size, grain)
    if source == "asphalt":  # stones (short, thick strokes) in a darker binder
        level, grain = rand(g, 0.3, 0.5), float(rand(g, 3.5, 9))
        count = int((size / grain) ** 2)
        ends = rand(g, 0, size, count, 1, 2) + rand(g, -0.3, 0.3, count, 2, 2) * grain
        radius = rand(g, 0.15, 0.4, count, 1, 1).expand(-1, 2, -1) * grain
        gap = distance(torch.cat((ends, radius), -1), size, reach=1)
        stone = (0.5 - gap - 0.1 * grain * texture(g, size, 0.3 * grain)).clamp(0, 1)
        grey = rand(g, 0.1, 0.3) + rand(g, 0.05, 0.25) * texture(g, size, grain / 2)
        relief += grey * stone - 0.2
    else:  # marks of a broom or of formwork boards, and pores
        level, broom = rand(g, 0.5, 0.75), (3, 90) if rand(g, 0, 1) < 0.5 else (90, 3)
        relief += rand(g, 0, 0.06) * texture(g, size, *broom)
        relief -= rand(g, 0, 0.8) * (texture(g, size, 3) - 2.2).clamp(0, 0.6)
    cast = rand(g, -0.04, 0.04) * torch.tensor([1.0, 0.2, -1.0])  # warm or cold
    return level * (1 + relief) * (1 + cast[:, None, None])


def branching(g: Generator, size: int) -> Tensor:
    """A crack that enters the picture, its branches, and theirs: segments (s, 2, 3)."""
    angle, length = rand(g, 0, 2 * math.pi, 1), rand(g, 0.7, 1.8, 1) * size
    target = torch.cat((rand(g, 0.25, 0.75, 1, 2) * size, rand(g, 0.5, 4, 1, 1)), -1)
    start = move(target, angle, torch.tensor([-0.75 * size]))
    rough, tree = float(rand(g, 1.0, 1.4)), []
    for branches in (3, 5, 0):
        end = move(start, angle, length) * torch.tensor([1, 1, 0.3])
        tree.append(curve(g, torch.stack((start, end), 1), 0.06, rough, uneven=0.2))
        pick = torch.randint(len(tree[-1]), (branches,), generator=g)
        parent = pick // (len(tree[-1]) // len(start))
        start = tree[-1][pick, 0] * torch.tensor([1, 1, 0.6])
        turn = rand(g, 0.4, 1.2, branches) * torch.randn(branches, generator=g).sign()
        angle, length = angle[parent] + turn, length[parent] * rand(g, 0.1, 0.6, branches)
    return torch.cat(tree)


def crazing(g: Generator, size: int) -> Tensor:
    """Map (alligator) cracking, a patch of a jittered honeycomb: segments (s, 2, 3)."""
    cell = rand(g, 22, 45) * torch.tensor([1.3, 0.8])
    lines = [torch.arange(-1, int(size / c) + 2) for c in cell]
    nodes = torch.stack((*torch.meshgrid(*lines, indexing="ij"), torch.ones(*map(len, lines))), -1)
    odd = nodes[..., :2].sum(-1) % 2
    nodes += rand(g, -0.3, 0.3, *nodes.shape)  # the radius too
    nodes[..., 0] += 0.33 * odd
    nodes *= torch.cat((cell, rand(g, 0.8, 2, 1)))
    across = torch.stack((nodes[:, :-1], nodes[:, 1:]), 2).flatten(0, 1)
    ends = torch.cat((across, torch.stack((nodes[:-1], nodes[1:]), 2)[odd[:-1] == 1]))
    away = (ends[:, 0, :2] - rand(g, 0.2, 0.8, 2) * size).norm(dim=-1)
    patch = rand(g, 0.35, 0.9) * size * rand(g, 0.6, 1, len(ends))
    ends = ends[away <= patch.clamp(min=away.min())]  # at least one, even in a tiny picture
    return curve(g, ends, 0.08, smooth=1.2, uneven=0.3)


def render(index: int, seed: int = 0, size: int = 256, cracks: bool = True
           ) -> tuple[Tensor, Tensor]:
    """One picture: image (3, size, size) uint8 RGB, mask (1, size, size) uint8, 1 where crack.

    A pixel is crack if at least half of it is crack that nothing hides; one picture in six has
    none. Without `cracks`: the same pavement before it broke. Seed and index decide everything.
    """
    g = Generator().manual_seed((seed * 1_000_003 + index) % 2**32)  # torch uses 32 bits
    image, kind = ground(g, size, SOURCES[index % len(SOURCES)]), rand(g, 0, 1)
    for confuser in BELOW_CRACKS:
        if happens(CHANCE, g):
            image, _ = confuser(image, torch.zeros(1, size, size), g)
    gap = distance((crazing if kind > 0.8 else branching)(g, size), size, reach=2)
    cover = (0.5 - gap - 0.4 * texture(g, size, 2)).clamp(0, 1) * (cracks and kind > 1 / 6)
    depth = rand(g, 0.35, 0.85) * (1 + 0.2 * texture(g, size, 30))
    image, mask = image * (1 - depth.clamp(0.3, 0.95) * cover), (cover >= 0.5).float()[None]
    for confuser in ABOVE_CRACKS:
        if happens(CHANCE, g):
            image, mask = confuser(image, mask, g)
    image = image * rand(g, 0.75, 1.2) * (1 + rand(g, 0, 0.2) * texture(g, size, size / 2))
    if rand(g, 0, 1) < 0.4:  # slightly out of focus
        image = torch.lerp(image, F.avg_pool2d(image, 3, 1, 1, count_include_pad=False), 0.6)
    image = image + rand(g, 0.005, 0.02) * torch.randn(image.shape, generator=g)
    return (image.clamp(0, 1) * 255).round().byte(), mask.byte()


def write(folder: Path, count: int = 200, seed: int = 0, size: int = 256) -> None:
    """Write images/asphalt_0000.png ... and masks/ of the same names (0 or 255), all or nothing.

    The same set is not rendered again; raises FileExistsError if `folder` is anything else.
    """
    content = f"unet_resnet sample, version {VERSION}: count {count}, seed {seed}, size {size}"
    note = folder / "sample.txt"
    if note.is_file() and note.read_text() == content:
        return
    if folder.exists():
        raise FileExistsError(f"{folder} exists and is not this: {content}; "
                              "delete or rename it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        new = Path(scratch, "new")
        for part in ("images", "masks"):
            (new / part).mkdir(parents=True)
        for index in tqdm(range(count), "rendering", unit="picture", leave=False):
            image, mask = render(index, seed, size)
            name = f"{SOURCES[index % len(SOURCES)]}_{index:04d}.png"
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(new / "images" / name)
            Image.fromarray(255 * mask[0].numpy()).save(new / "masks" / name)
        (new / "sample.txt").write_text(content)
        new.rename(folder)

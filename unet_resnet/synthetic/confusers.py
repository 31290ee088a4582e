"""What looks like a crack but is not one? It is rendered into training crops, as background.

A network trained on cracks alone finds them in joints, lane markings, cables and the edges of
shadows, leaves and skies, because every dark line in its photos was a crack. Each confuser is a
function (image, mask, generator) -> (image, mask) on (3, h, w) float in 0..1 and (1, h, w) float
0/1. Paint on the surface leaves a crack visible; a leaf in front of it hides it, in the mask too.
"""

import math
import string

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Generator, Tensor
from torch.nn import functional as F

from unet_resnet.augment import happens, uniform

Sample = tuple[Tensor, Tensor]  # image and mask


def axes(image: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Pixel coordinates (h, w) along and across a random direction, from a random point."""
    height, width = image.shape[1:]
    angle = uniform(-math.pi, math.pi, generator)
    down = torch.arange(height) - uniform(0, height, generator)
    across = torch.arange(width) - uniform(0, width, generator)
    down, cos, sin = down[:, None], math.cos(angle), math.sin(angle)
    return across * cos + down * sin, down * cos - across * sin


def bend(along: Tensor, generator: Generator) -> Tensor:
    """How far a line sags or waves from the straight one, in pixels: shape as `along`."""
    length = max(along.shape)
    wave = uniform(length / 2, 3 * length, generator)
    return uniform(0, 0.03, generator) * wave * torch.sin(
        along * (2 * math.pi / wave) + uniform(0, 2 * math.pi, generator))


def coverage(distance: Tensor, reach: float, softness: float = 1.0) -> Tensor:
    """Share of each pixel within `reach` of a line with an edge of `softness` pixels."""
    return ((reach - distance.abs()) / softness + 0.5).clamp(0, 1)


def patches(image: Tensor, cells: int, generator: Generator) -> Tensor:
    """Smooth noise of deviation about 1 in patches of 1/cells of the picture: (h, w)."""
    coarse = torch.randn(1, 1, cells + 1, cells + 1, generator=generator)
    return F.interpolate(coarse, image.shape[1:], mode="bicubic", align_corners=True)[0, 0]


def random_grey(generator: Generator, low: float = 0.0, high: float = 1.0) -> Tensor:
    """A nearly grey colour, (3, 1, 1)."""
    value = uniform(low, high, generator)
    return value + 0.1 * (torch.rand(3, 1, 1, generator=generator) - 0.5)


# On the surface: a crack stays visible.

def lane_marking(image: Tensor, mask: Tensor, generator: Generator) -> Sample:
    """A band of white or yellow paint with straight edges, worn in places."""
    _, across = axes(image, generator)
    share = coverage(across, uniform(4, 35, generator), uniform(1, 3, generator))
    share = share * (patches(image, 24, generator) + uniform(0.3, 3, generator)).clamp(0, 1)
    colour = torch.tensor([1.0, 1.0, 1.0 if happens(0.7, generator) else 0.4]).view(3, 1, 1)
    return torch.lerp(image, colour * uniform(0.7, 1, generator), share * (1 - mask)), mask


def line(image: Tensor, mask: Tensor, generator: Generator) -> Sample:
    """Saw cuts, scratches, pencil and chalk: one to three straight lines, dark or bright."""
    for _ in range(1 + int(torch.randint(3, (), generator=generator))):
        along, across = axes(image, generator)
        share = coverage(across, uniform(0.5, 3, generator), uniform(1, 2, generator))
        if happens(0.5, generator):
            share = share * (along > 0)  # it ends inside the picture
        dark = happens(0.7, generator)
        colour = random_grey(generator, 0, 0.3) if dark else random_grey(generator, 0.7, 1)
        image = torch.lerp(image, colour, share * uniform(0.4, 1, generator) * (1 - mask))
    return image, mask


def joints(image: Tensor, mask: Tensor, generator: Generator) -> Sample:
    """The joints of tiles, slabs, bricks (half of them in bond) or formwork: a grid of lines."""
    along, across = axes(image, generator)
    height = uniform(24, 160, generator)
    length = height * uniform(1, 4, generator)
    row = across / height
    if happens(0.5, generator):
        along = along + row.floor() % 2 * (length / 2)
    column = along / length
    # In pixels, to the nearest whole row or column.
    distance = torch.minimum((row - row.round()).abs() * height,
                             (column - column.round()).abs() * length)
    share = coverage(distance, uniform(0.5, 4, generator), uniform(1, 2.5, generator))
    low, high = (0, 0.4) if happens(0.7, generator) else (0.6, 1)
    colour = random_grey(generator, low, high)
    return torch.lerp(image, colour, share * uniform(0.4, 1, generator) * (1 - mask)), mask


def shadow_edge(image: Tensor, mask: Tensor, generator: Generator) -> Sample:
    """The shadow of a pole, a cable or a roof: a band or a half-plane with a sharp edge."""
    along, across = axes(image, generator)
    across = across + bend(along, generator)
    if happens(0.4, generator):
        across = across.clamp(min=0)  # a half-plane
    share = coverage(across, uniform(1, 30, generator), uniform(1, 6, generator))
    return image * (1 - uniform(0.25, 0.7, generator) * share), mask


def stain(image: Tensor, mask: Tensor, generator: Generator) -> Sample:
    """Water, oil, rust, lime: darker or brighter patches with a sharp or a soft rim."""
    cells = 2 + int(torch.randint(10, (), generator=generator))
    share = torch.sigmoid((patches(image, cells, generator) - uniform(0.1, 1, generator))
                          / uniform(0.02, 0.4, generator))
    return image * (1 + uniform(-0.6, 0.4, generator) * share), mask


def streak(image: Tensor, mask: Tensor, generator: Generator) -> Sample:
    """Run-off: a ragged, soft band of damp, soot or moss through which the surface shows."""
    along, across = axes(image, generator)
    across = across + bend(along, generator)
    ragged = uniform(0, 0.5, generator) * patches(image, 16, generator)
    reach = uniform(5, 60, generator) * (1 + ragged).clamp(min=0.2)
    share = torch.sigmoid((reach - across.abs()) / uniform(1, 12, generator))
    share = share * (1 + uniform(0, 0.4, generator) * patches(image, 32, generator)).clamp(0, 1.3)
    # The share of each colour's light that is lost: least of green, as in moss.
    tint = torch.tensor([uniform(0.8, 1.1, generator), uniform(0.6, 1, generator), 1])
    return image * (1 - uniform(0.3, 0.85, generator) * share * tint.view(3, 1, 1)), mask


def lettering(image: Tensor, mask: Tensor, generator: Generator) -> Sample:
    """A watermark, a sign or a note: a few letters, bright or dark, often half transparent."""
    height, width = image.shape[1:]
    choice = string.ascii_letters + string.digits
    length = 3 + int(torch.randint(8, (), generator=generator))
    letters = torch.randint(len(choice), (length,), generator=generator).tolist()
    font = ImageFont.load_default(uniform(12, 70, generator))
    corner = uniform(-0.2, 0.8, generator) * width, uniform(0, 0.9, generator) * height
    sheet = Image.new("L", (width, height))
    ImageDraw.Draw(sheet).text(corner, "".join(choice[i] for i in letters), 255, font)
    share = torch.from_numpy(np.array(sheet)) / 255 * uniform(0.3, 1, generator)
    colour = torch.tensor(float(happens(0.6, generator)))
    return torch.lerp(image, colour, share * (1 - mask)), mask


# In front of the surface: what is behind cannot be seen.

def cable(image: Tensor, mask: Tensor, generator: Generator) -> Sample:
    """A cable, twig, rod or railing, rounded by light, in half of the cases with its shadow."""
    along, across = axes(image, generator)
    across, reach = across + bend(along, generator), uniform(1, 7, generator)
    if happens(0.5, generator):
        image = image * (1 - 0.5 * coverage(across - uniform(2, 20, generator), reach, 3.0))
    share = coverage(across, reach)
    rounded = 1 - 0.6 * (across / reach).clamp(-1, 1) ** 2
    colour = random_grey(generator, 0.05, 0.9) * rounded
    return torch.lerp(image, colour, share), mask * (share < 0.5)


def leaves(image: Tensor, mask: Tensor, generator: Generator) -> Sample:
    """One to six leaves, green to brown, pointed, with a midrib."""
    for _ in range(1 + int(torch.randint(6, (), generator=generator))):
        along, across = axes(image, generator)
        length = uniform(10, 60, generator)
        place = (along / length).clamp(-1, 1)
        reach = length * uniform(0.25, 0.6, generator) * (1 - place ** 2)
        colour = torch.tensor([uniform(0.2, 0.8, generator), uniform(0.25, 0.7, generator),
                               uniform(0.05, 0.3, generator)]).view(3, 1, 1)
        share, rib = (coverage(across, half) * (along.abs() < length) for half in (reach, 0.7))
        image = torch.lerp(image, colour * (1 - 0.2 * place), share)
        image = torch.lerp(image, colour * uniform(0.4, 1.6, generator), rib)
        mask = mask * (torch.maximum(share, rib) < 0.5)
    return image, mask


def edge(image: Tensor, mask: Tensor, generator: Generator) -> Sample:
    """Sky, a wall, a window or a dark corner: one side of the picture is something else, smooth,
    often behind a dark or bright line."""
    along, across = axes(image, generator)
    hidden = beyond = (across + 0.5).clamp(0, 1)
    colour = random_grey(generator) * (1 + uniform(-0.3, 0.3, generator) * along / max(along.shape))
    image = torch.lerp(image, colour, beyond)
    if happens(0.6, generator):
        border = coverage(across, uniform(0.5, 4, generator))
        image = torch.lerp(image, random_grey(generator), border)
        hidden = torch.maximum(beyond, border)
    return image, mask * (hidden < 0.5)


CONFUSERS = (lane_marking, line, joints, shadow_edge, stain, streak, cable, leaves, edge, lettering)


def confuse(image: Tensor, mask: Tensor, generator: Generator) -> Sample:
    """One or two confusers, all equally likely; the image is clamped to 0..1."""
    for _ in range(1 + int(torch.randint(2, (), generator=generator))):
        confuser = CONFUSERS[int(torch.randint(len(CONFUSERS), (), generator=generator))]
        image, mask = confuser(image, mask, generator)
    return image.clamp(0, 1), mask

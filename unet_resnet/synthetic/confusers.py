"""What looks like a crack and is none? Painted into training crops, as background.

Networks trained on cracks alone find them in joints, lane markings, cables, railings and the edges
of shadows, leaves and skies, for in their photographs each dark line was a crack. Each confuser is
a function (image, mask, generator) -> (image, mask) on (3, h, w) float in 0..1 and (1, h, w) float
0/1. What lies on the surface, such as paint, leaves a crack visible; what lies before it, such as a
leaf, hides it from the mask as well.
"""

import math
import string

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Generator, Tensor
from torch.nn import functional as F

from unet_resnet.augment import happens, uniform

Pair = tuple[Tensor, Tensor]


def frame(image: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Coordinates (h, w) in pixels along and across a random direction, through a random point."""
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


def covered(distance: Tensor, reach: float, softness: float = 1.0) -> Tensor:
    """What share of each pixel lies within `reach` of a line, whose edge is `softness` wide."""
    return ((reach - distance.abs()) / softness + 0.5).clamp(0, 1)


def blend(image: Tensor, colour: Tensor | float, share: Tensor) -> Tensor:
    return image + (colour - image) * share


def patches(image: Tensor, cells: int, generator: Generator) -> Tensor:
    """Smooth noise of deviation about 1 in patches of 1/cells of the picture: (h, w)."""
    coarse = torch.randn(1, 1, cells + 1, cells + 1, generator=generator)
    return F.interpolate(coarse, image.shape[1:], mode="bicubic", align_corners=True)[0, 0]


def grey(generator: Generator, low: float = 0.0, high: float = 1.0) -> Tensor:
    """A nearly grey colour, (3, 1, 1)."""
    value = uniform(low, high, generator)
    return value + 0.1 * (torch.rand(3, 1, 1, generator=generator) - 0.5)


# On the surface: a crack stays visible.

def lane_marking(image: Tensor, mask: Tensor, generator: Generator) -> Pair:
    """A band of white or yellow paint with straight edges, worn here and there."""
    _, across = frame(image, generator)
    share = covered(across, uniform(4, 35, generator), uniform(1, 3, generator))
    share = share * (patches(image, 24, generator) + uniform(0.3, 3, generator)).clamp(0, 1)
    colour = torch.tensor([1.0, 1.0, 1.0 if happens(0.7, generator) else 0.4]).view(3, 1, 1)
    return blend(image, colour * uniform(0.7, 1, generator), share * (1 - mask)), mask


def line(image: Tensor, mask: Tensor, generator: Generator) -> Pair:
    """Saw cuts, scratches, pencil and chalk: one to three straight lines, dark or bright."""
    for _ in range(1 + int(torch.randint(3, (), generator=generator))):
        along, across = frame(image, generator)
        share = covered(across, uniform(0.5, 3, generator), uniform(1, 2, generator))
        if happens(0.5, generator):  # it ends somewhere
            share = share * (along > 0)
        colour = grey(generator, 0.0, 0.3) if happens(0.7, generator) else grey(generator, 0.7, 1)
        share = share * uniform(0.4, 1, generator) * (1 - mask)
        image = blend(image, colour, share)
    return image, mask


def joints(image: Tensor, mask: Tensor, generator: Generator) -> Pair:
    """The joints of tiles, slabs, bricks or formwork: a grid of lines of one width, its rows
    perhaps in bond."""
    along, across = frame(image, generator)
    height = uniform(24, 160, generator)
    length = height * uniform(1, 4, generator)
    row = across / height
    if happens(0.5, generator):
        along = along + row.floor() % 2 * (length / 2)
    column = along / length
    # Of each the distance to the next whole number, in pixels.
    distance = torch.minimum((row - row.round()).abs() * height,
                             (column - column.round()).abs() * length)
    share = covered(distance, uniform(0.5, 4, generator), uniform(1, 2.5, generator))
    colour = grey(generator, 0.0, 0.4) if happens(0.7, generator) else grey(generator, 0.6, 1)
    return blend(image, colour, share * uniform(0.4, 1, generator) * (1 - mask)), mask


def shadow_edge(image: Tensor, mask: Tensor, generator: Generator) -> Pair:
    """The shadow of a pole, a cable or a roof: a band or a half-plane with a sharp edge."""
    along, across = frame(image, generator)
    across = across + bend(along, generator)
    if happens(0.4, generator):
        across = across.clamp(min=0)  # all on that side
    share = covered(across, uniform(1, 30, generator), uniform(1, 6, generator))
    return image * (1 - uniform(0.25, 0.7, generator) * share), mask


def stain(image: Tensor, mask: Tensor, generator: Generator) -> Pair:
    """Water, oil, rust, lime: patches that are darker or brighter, with a sharp or a soft rim."""
    cells = 2 + int(torch.randint(10, (), generator=generator))
    share = torch.sigmoid((patches(image, cells, generator) - uniform(0.1, 1, generator))
                          / uniform(0.02, 0.4, generator))
    return image * (1 + uniform(-0.6, 0.4, generator) * share), mask


def lettering(image: Tensor, mask: Tensor, generator: Generator) -> Pair:
    """A watermark, a sign or a note: a few letters, bright or dark, often half transparent."""
    height, width = image.shape[1:]
    choice = string.ascii_letters + string.digits
    length = 3 + int(torch.randint(8, (), generator=generator))
    text = "".join(choice[int(i)] for i in torch.randint(len(choice), (length,),
                                                         generator=generator))
    size = uniform(12, 70, generator)
    sheet = Image.new("L", (width, height))
    corner = uniform(-0.2, 0.8, generator) * width, uniform(0, 0.9, generator) * height
    ImageDraw.Draw(sheet).text(corner, text, 255, ImageFont.load_default(size))
    share = torch.from_numpy(np.array(sheet)) / 255 * uniform(0.3, 1, generator)
    colour = 1.0 if happens(0.6, generator) else 0.0
    return blend(image, colour, share * (1 - mask)), mask


# Before the surface: what is behind cannot be seen.

def cable(image: Tensor, mask: Tensor, generator: Generator) -> Pair:
    """A cable, twig, rod or railing, rounded by light, perhaps with its shadow beside it."""
    along, across = frame(image, generator)
    across, reach = across + bend(along, generator), uniform(1, 7, generator)
    if happens(0.5, generator):
        beside = covered(across - uniform(2, 20, generator), reach, 3.0)
        image = image * (1 - 0.5 * beside)
    share = covered(across, reach)
    rounded = 1 - 0.6 * (across / reach).clamp(-1, 1) ** 2
    return blend(image, grey(generator, 0.05, 0.9) * rounded, share), mask * (share < 0.5)


def leaves(image: Tensor, mask: Tensor, generator: Generator) -> Pair:
    """One to six leaves, green to brown, pointed, with a midrib."""
    for _ in range(1 + int(torch.randint(6, (), generator=generator))):
        along, across = frame(image, generator)
        length = uniform(10, 60, generator)
        place = (along / length).clamp(-1, 1)
        reach = length * uniform(0.25, 0.6, generator) * (1 - place ** 2)
        share = covered(across, reach) * (along.abs() < length)
        colour = torch.stack([torch.tensor(uniform(low, high, generator)) for low, high in
                              ((0.2, 0.8), (0.25, 0.7), (0.05, 0.3))]).view(3, 1, 1)
        rib = covered(across, 0.7) * (along.abs() < length)
        image = blend(image, colour * (1 - 0.2 * place), share)
        image = blend(image, colour * uniform(0.4, 1.6, generator), rib)
        mask = mask * (torch.maximum(share, rib) < 0.5)
    return image, mask


def edge(image: Tensor, mask: Tensor, generator: Generator) -> Pair:
    """Sky, a wall, a window or a dark corner: one side of the picture is something else, smooth,
    often behind a dark or bright line."""
    along, across = frame(image, generator)
    hidden = beyond = (across + 0.5).clamp(0, 1)
    colour = grey(generator) * (1 + uniform(-0.3, 0.3, generator) * along / max(along.shape))
    image = blend(image, colour, beyond)
    if happens(0.6, generator):
        border = covered(across, uniform(0.5, 4, generator))
        image, hidden = blend(image, grey(generator), border), torch.maximum(beyond, border)
    return image, mask * (hidden < 0.5)


CONFUSERS = (lane_marking, line, joints, shadow_edge, stain, cable, leaves, edge, lettering)


def confuse(image: Tensor, mask: Tensor, generator: Generator) -> Pair:
    """One or two confusers, each as likely as the others; the image clamped to 0..1."""
    for _ in range(1 + int(torch.randint(2, (), generator=generator))):
        confuser = CONFUSERS[int(torch.randint(len(CONFUSERS), (), generator=generator))]
        image, mask = confuser(image, mask, generator)
    return image.clamp(0, 1), mask

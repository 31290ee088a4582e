"""What do light, weather, lens, sensor and file format do to a photo?

Each transform is a function (image, strength, generator) -> image on (3, h, w) float in 0..1; its
result may leave 0..1. To add one, write the function, its line in `PHOTOMETRIC`, and its law in
tests/synthetic/test_photometric.py.
"""

import io
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional as F

from unet_resnet.augment import happens, uniform


def shadow(image: Tensor, depth: float, generator: Generator) -> Tensor:
    """A half-plane in the shade of a wall or a car, with a soft edge."""
    angle = uniform(-math.pi, math.pi, generator)
    down, across = (torch.linspace(-1, 1, length) for length in image.shape[1:])
    distance = across * math.cos(angle) + down[:, None] * math.sin(angle)
    softness = uniform(0.02, 0.3, generator)
    shade = torch.sigmoid((distance - uniform(-0.7, 0.7, generator)) / softness)
    return image * (1 - depth * shade)


def haze(image: Tensor, share: float, generator: Generator) -> Tensor:
    """Mist, dust or a dirty lens: a veil of bright grey, from `share` of the light at one side of
    the picture to half as much at the other."""
    veil = share * torch.linspace(0.5, 1, image.shape[1])[:, None]
    if happens(0.5, generator):
        veil = veil.flip(0)
    return image * (1 - veil) + veil * uniform(0.7, 1.0, generator)


def dark(image: Tensor, light: float, generator: Generator) -> Tensor:
    """Dusk, a cellar, the underside of a bridge: little light, visible grain."""
    return noise(image * light, 0.03, generator)


def brightness(image: Tensor, offset: float, generator: Generator) -> Tensor:
    return image + offset


def contrast(image: Tensor, factor: float, generator: Generator) -> Tensor:
    return torch.lerp(image.mean(), image, factor)


def gamma(image: Tensor, logarithm: float, generator: Generator) -> Tensor:
    """Under- or overexposure: midtones darken or brighten."""
    return image ** math.exp(logarithm)


def colour_cast(image: Tensor, reach: float, generator: Generator) -> Tensor:
    """White balance of another camera or hour: a gain of 1 - reach to 1 + reach per channel."""
    return image * (1 - reach + 2 * reach * torch.rand(3, 1, 1, generator=generator))


def saturation(image: Tensor, factor: float, generator: Generator) -> Tensor:
    """From grey (0) to vivid (1.5)."""
    return torch.lerp(image.mean(0, keepdim=True), image, factor)


def blur(image: Tensor, sigma: float, generator: Generator) -> Tensor:
    """Defocus: a Gaussian of `sigma` pixels, down and then across."""
    radius = math.ceil(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    weights = (kernel / kernel.sum()).tolist()
    padded = F.pad(image, [radius] * 4, mode="replicate")
    # Sums of shifted pictures: five times faster than a convolution of one channel.
    for dim in (1, 2):
        length = padded.shape[dim] - 2 * radius
        blurred = padded.narrow(dim, 0, length) * weights[0]
        for shift, weight in enumerate(weights[1:], start=1):
            blurred.add_(padded.narrow(dim, shift, length), alpha=weight)
        padded = blurred
    return padded


def motion_blur(image: Tensor, length: float, generator: Generator) -> Tensor:
    """A moving car, drone or hand: the mean along a line of `length` pixels at any angle."""
    steps, angle = max(2, round(length)), uniform(0, math.pi, generator)
    radius = math.ceil(length / 2)
    padded = F.pad(image, [radius] * 4, mode="replicate")
    total, (height, width) = torch.zeros_like(image), image.shape[1:]
    for place in torch.linspace(-length / 2, length / 2, steps).tolist():
        down, across = (radius + round(place * part) for part in (math.sin(angle), math.cos(angle)))
        total += padded[:, down:down + height, across:across + width]
    return total / steps


def low_resolution(image: Tensor, factor: float, generator: Generator) -> Tensor:
    """A photo from further away, enlarged: the mask stays, details are lost."""
    size = image.shape[1:]
    small = F.interpolate(image[None], [max(1, round(side / factor)) for side in size],
                          mode="bilinear", antialias=True)
    return F.interpolate(small, size, mode="bilinear")[0]


def noise(image: Tensor, deviation: float, generator: Generator) -> Tensor:
    """Sensor grain, grey or coloured."""
    channels = 1 if happens(0.5, generator) else 3
    return image + deviation * torch.randn(channels, *image.shape[1:], generator=generator)


def jpeg(image: Tensor, quality: float, generator: Generator) -> Tensor:
    """Blocks and ringing of strong compression; quality as in Pillow, 1 to 95."""
    pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=round(quality))
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255


class Chance(NamedTuple):
    transform: Callable[[Tensor, float, Generator], Tensor]
    probability: float
    low: float  # strength
    high: float


PHOTOMETRIC = (
    Chance(shadow, 0.15, 0.2, 0.6), Chance(haze, 0.1, 0.1, 0.6), Chance(dark, 0.1, 0.2, 0.6),
    Chance(brightness, 0.4, -0.2, 0.2), Chance(contrast, 0.4, 0.6, 1.4),
    Chance(gamma, 0.3, -0.4, 0.4), Chance(colour_cast, 0.3, 0.1, 0.25),
    Chance(saturation, 0.3, 0.0, 1.5), Chance(blur, 0.15, 0.4, 2.0),
    Chance(motion_blur, 0.1, 3, 9), Chance(low_resolution, 0.15, 1.3, 3.0),
    Chance(noise, 0.25, 0.0, 0.08), Chance(jpeg, 0.15, 10, 60))


def photometric(image: Tensor, generator: Generator,
                chances: tuple[Chance, ...] = PHOTOMETRIC) -> Tensor:
    """A random selection of transforms, in order: (3, h, w) float in 0..1 to the same."""
    for transform, probability, low, high in chances:
        if happens(probability, generator):
            image = transform(image, uniform(low, high, generator), generator).clamp_(0, 1)
    return image

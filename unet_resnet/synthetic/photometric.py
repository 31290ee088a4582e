"""What do light, weather, lens, sensor and file do to a photograph?

Each transform is a function (image, strength, generator) -> image on (3, h, w) float in 0..1, which
need not stay in 0..1. `PHOTOMETRIC` says how often each happens and between which strengths it is
drawn. To add one, write the function and a line in `PHOTOMETRIC`.
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
    """Mist, dust or a dirty lens: a veil of bright grey, `share` of the light on one side of the
    picture and half as much on the other."""
    veil = share * torch.linspace(0.5, 1, image.shape[1])[:, None]
    if happens(0.5, generator):
        veil = veil.flip(0)
    return image * (1 - veil) + veil * uniform(0.7, 1.0, generator)


def dark(image: Tensor, light: float, generator: Generator) -> Tensor:
    """Dusk, a cellar, the underside of a bridge: little light, and grain, for the camera amplifies.
    """
    return noise(image * light, 0.03, generator)


def brightness(image: Tensor, offset: float, generator: Generator) -> Tensor:
    return image + offset


def contrast(image: Tensor, factor: float, generator: Generator) -> Tensor:
    mean = image.mean()
    return mean + (image - mean) * factor


def gamma(image: Tensor, logarithm: float, generator: Generator) -> Tensor:
    """Under- and overexposure: shadows and highlights move apart."""
    return image ** math.exp(logarithm)


def colour_cast(image: Tensor, reach: float, generator: Generator) -> Tensor:
    """White balance of another camera or hour: a gain of 1 - reach to 1 + reach for each channel.
    """
    return image * (1 - reach + 2 * reach * torch.rand(3, 1, 1, generator=generator))


def saturation(image: Tensor, factor: float, generator: Generator) -> Tensor:
    """From grey (0) to vivid (1.5)."""
    grey = image.mean(0, keepdim=True)
    return grey + (image - grey) * factor


def blur(image: Tensor, sigma: float, generator: Generator) -> Tensor:
    """Defocus: a Gaussian, down and then across.

    As sums of shifted pictures, five times faster here than a convolution of one channel.
    """
    radius = math.ceil(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    weights = (kernel / kernel.sum()).tolist()
    padded = F.pad(image, [radius] * 4, mode="replicate")
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
    """A photograph from further away, enlarged: the mask stays, details are lost."""
    size = image.shape[1:]
    small = F.interpolate(image[None], [max(1, round(side / factor)) for side in size],
                          mode="bilinear", antialias=True)
    return F.interpolate(small, size, mode="bilinear")[0]


def noise(image: Tensor, deviation: float, generator: Generator) -> Tensor:
    """Grain of the sensor, the same in all channels or one for each."""
    channels = 1 if happens(0.5, generator) else 3
    grain = torch.randn(channels, *image.shape[1:], generator=generator)
    return image + deviation * grain


def jpeg(image: Tensor, quality: float, generator: Generator) -> Tensor:
    """Blocks and ringing of a file that was made small; quality as in Pillow, 1 to 95."""
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
    """A random choice of transforms, in order: (3, h, w) float in 0..1 to the same."""
    for transform, probability, low, high in chances:
        if happens(probability, generator):
            strength = uniform(low, high, generator)
            image = transform(image, strength, generator).clamp_(0, 1)
    return image

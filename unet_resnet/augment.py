"""How does one photograph become many, image and mask kept in step?

Every transform draws its numbers from the torch.Generator it is given, once, and nothing else: the
same generator state gives the same crop. Geometry works on image and mask together, light on the
image alone. To add a transform of light, write a function (image, generator) -> image and put it
in `LIGHT` with its probability.
"""

import math

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F


def uniform(low: float, high: float, generator: Generator) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()


def happens(probability: float, generator: Generator) -> bool:
    return torch.rand((), generator=generator).item() < probability


class Augment:
    """One random crop of a photograph and of its mask.

    Called with an image (3, h, w) uint8, a mask (1, h, w) uint8 0/1, both of any size, and a
    torch.Generator. Returns (3, crop, crop) float32 in 0..1 and (1, crop, crop) float32 0/1.

    Half of the crops keep the photograph's own pixels, flipped or turned by quarter turns; the
    rest are rotated by any angle and scaled by 0.7 to 1.4, which interpolates. A photograph
    smaller than the crop is continued by reflection.
    """

    def __init__(self, crop: int, warp_probability: float = 0.5) -> None:
        self.crop = crop
        self.warp_probability = warp_probability

    def __call__(self, image: Tensor, mask: Tensor,
                 generator: Generator) -> tuple[Tensor, Tensor]:
        angle, scale = 0.0, 1.0
        if happens(self.warp_probability, generator):
            angle = uniform(-math.pi, math.pi, generator)
            scale = math.exp(uniform(math.log(0.7), math.log(1.4), generator))
        both = torch.cat((image, mask))
        both = random_window(both, window_size(self.crop, angle, scale), generator)
        both = flip_and_turn(both, generator).float()
        image, mask = both[:3] / 255, both[3:]
        if (angle, scale) != (0.0, 1.0):
            image = warp(image, self.crop, angle, scale, "bilinear")
            mask = warp(mask, self.crop, angle, scale, "nearest")
        return light(image, generator), mask


# Geometry: on (c, h, w), image and mask stacked.

def flip_and_turn(both: Tensor, generator: Generator) -> Tensor:
    """One of the eight symmetries of the square, exact to the pixel."""
    if happens(0.5, generator):
        both = both.flip(-1)
    turns = int(torch.randint(4, (), generator=generator))
    return both.rot90(turns, (-2, -1))


def window_size(crop: int, angle: float, scale: float) -> int:
    """Side of the square of source pixels that a rotated, scaled crop can touch."""
    if (angle, scale) == (0.0, 1.0):
        return crop
    reach = crop / scale * (abs(math.sin(angle)) + abs(math.cos(angle)))
    return math.ceil(reach) + 2  # bilinear reads one pixel further on each side


def random_window(both: Tensor, size: int, generator: Generator) -> Tensor:
    """A square of `size` pixels, (c, size, size), from anywhere in the picture; one that is too
    small lies anywhere in the square, mirrored beyond its borders."""
    beyond = [(0, 0)]
    for dim, length in enumerate(both.shape[1:], start=1):
        low, high = sorted((0, length - size))
        start = int(torch.randint(low, high + 1, (), generator=generator))
        both = both.narrow(dim, max(start, 0), min(size, length))
        beyond.append((max(-start, 0), max(start + size - length, 0)))
    if beyond == [(0, 0)] * 3:
        return both
    return torch.from_numpy(np.pad(both.numpy(), beyond, "symmetric"))  # torch's needs a larger one


def warp(window: Tensor, crop: int, angle: float, scale: float, mode: str) -> Tensor:
    """The middle of a float window (c, s, s), turned by `angle` radians and magnified by `scale`.

    Returns (c, crop, crop). Coordinates are of pixel centres (align_corners=False): the usual
    alternative moves mask against image by half a pixel, and a shift of one pixel costs a
    quarter of the IoU on thin cracks.
    """
    # grid_sample's window spans -1..1, so the crop's pixel centres span a part of that.
    reach = (crop - 1) / (window.shape[-1] * scale)
    centres = torch.linspace(-reach, reach, crop)
    along, across = centres * math.cos(angle), centres * math.sin(angle)
    # Sums of a row and a column: five times faster than affine_grid's product of matrices.
    grid = torch.stack((along - across[:, None], across + along[:, None]), dim=-1)
    return F.grid_sample(window[None], grid[None], mode, "border", align_corners=False)[0]


# Light: on the image alone, (3, h, w) float in 0..1; `light` clamps what they return.

def brightness(image: Tensor, generator: Generator) -> Tensor:
    return image + uniform(-0.2, 0.2, generator)


def contrast(image: Tensor, generator: Generator) -> Tensor:
    mean = image.mean()
    return mean + (image - mean) * uniform(0.6, 1.4, generator)


def gamma(image: Tensor, generator: Generator) -> Tensor:
    """Under- and overexposure: shadows and highlights move apart."""
    return image ** math.exp(uniform(-0.4, 0.4, generator))


def colour_cast(image: Tensor, generator: Generator) -> Tensor:
    """White balance of another camera or hour: a gain for each channel."""
    return image * (0.9 + 0.2 * torch.rand(3, 1, 1, generator=generator))


def saturation(image: Tensor, generator: Generator) -> Tensor:
    """From grey (0) to vivid (1.5)."""
    grey = image.mean(0, keepdim=True)
    return grey + (image - grey) * uniform(0.0, 1.5, generator)


def shadow(image: Tensor, generator: Generator) -> Tensor:
    """A half-plane in the shade of a wall or a car, with a soft edge."""
    angle = uniform(-math.pi, math.pi, generator)
    down, across = (torch.linspace(-1, 1, length) for length in image.shape[1:])
    distance = across * math.cos(angle) + down[:, None] * math.sin(angle)
    softness = uniform(0.02, 0.3, generator)
    shade = torch.sigmoid((distance - uniform(-0.7, 0.7, generator)) / softness)
    return image * (1 - uniform(0.2, 0.6, generator) * shade)


def blur(image: Tensor, generator: Generator) -> Tensor:
    """Defocus: a Gaussian of 0.4 to 1.6 pixels, down and then across.

    As sums of shifted pictures, five times faster here than a convolution of one channel.
    """
    sigma = uniform(0.4, 1.6, generator)
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


def noise(image: Tensor, generator: Generator) -> Tensor:
    """Sensor noise of up to 0.06, the same in all channels or one for each."""
    channels = 1 if happens(0.5, generator) else 3
    grain = torch.randn(channels, *image.shape[1:], generator=generator)
    return image + uniform(0.0, 0.06, generator) * grain


LIGHT = ((shadow, 0.15), (brightness, 0.4), (contrast, 0.4), (gamma, 0.3), (colour_cast, 0.3),
         (saturation, 0.3), (blur, 0.15), (noise, 0.25))  # in the order of a camera


def light(image: Tensor, generator: Generator) -> Tensor:
    for transform, probability in LIGHT:
        if happens(probability, generator):
            image = transform(image, generator).clamp_(0, 1)
    return image

"""Does each transform of light do what its name says?"""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Generator, Tensor

from unet_resnet.synthetic.photometric import PHOTOMETRIC, Chance, photometric

CHANCES = {chance.transform.__name__: chance for chance in PHOTOMETRIC}


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def strengths(chance: Chance) -> list[float]:
    return torch.linspace(chance.low, chance.high, 20).tolist()


def correlation(a: Tensor, b: Tensor) -> float:
    return torch.corrcoef(torch.stack((a.flatten(), b.flatten())))[0, 1].item()


def roughness(image: Tensor) -> Tensor:
    return image.diff(dim=1).abs().mean() + image.diff(dim=2).abs().mean()


def near(value: Tensor, expected: Tensor | float, **tolerance: float) -> bool:
    return float(value) == pytest.approx(float(expected), **tolerance)


LAWS = {  # what holds between an image and the same image in another light
    "brightness": lambda a, b, s: (b - a - s).abs().max() < 1e-6,
    "contrast": lambda a, b, s: (b.mean() - a.mean()).abs() < 1e-5
    and near(b.std(), a.std() * s, rel=1e-4),
    "gamma": lambda a, b, s: torch.equal(a.flatten().argsort(), b.flatten().argsort()),
    "colour_cast": lambda a, b, s: (b / a).std((1, 2)).max() < 1e-5
    and (b / a - 1).abs().max() < s + 1e-5,
    "saturation": lambda a, b, s: (b.mean(0) - a.mean(0)).abs().max() < 1e-5
    and near(b.std(0).mean(), a.std(0).mean() * s, abs=1e-5),
    "shadow": lambda a, b, s: (b <= a).all() and (b >= (1 - s) * a - 1e-6).all(),
    "haze": lambda a, b, s: b.std() < a.std()
    and (b.mean(0) >= a.mean(0).clamp(max=0.7) - 1e-6).all(),
    "dark": lambda a, b, s: near(b.mean(), s * a.mean(), abs=0.01),
    "blur": lambda a, b, s: b.std() < a.std() and a.min() <= b.min() and b.max() <= a.max(),
    "motion_blur": lambda a, b, s: roughness(b) < roughness(a)
    and a.min() - 1e-6 <= b.min() and b.max() <= a.max() + 1e-6,
    "low_resolution": lambda a, b, s: roughness(b) < roughness(a) / s
    and near(b.mean(), a.mean(), abs=0.02),
    "noise": lambda a, b, s: (b - a).mean().abs() < s / 5 + 1e-6
    and near((b - a).std(), s, rel=0.15),
    "jpeg": lambda a, b, s: (b - a).mean().abs() < 0.02 and correlation(a.mean(0), b.mean(0)) > 0.3,
}


@pytest.mark.parametrize("name", CHANCES)
def test_light_keeps_its_law(name):
    """Deterministic, never in place, and true to its law at all of its strengths."""
    transform = CHANCES[name].transform
    image = 0.01 + 0.98 * torch.rand(3, 24, 24, generator=seeded(0))
    before, state = image.clone(), torch.get_rng_state()
    changes = []
    for seed, strength in enumerate(strengths(CHANCES[name])):
        result = transform(image, strength, seeded(seed))
        assert torch.equal(image, before) and result.shape == image.shape
        assert result.isfinite().all() and LAWS[name](image, result, strength), strength
        assert torch.equal(result, transform(image, strength, seeded(seed)))
        changes.append((result - image).abs().max().item())
    assert torch.equal(torch.get_rng_state(), state)
    assert max(changes) > 0.05


@pytest.mark.parametrize("name", CHANCES)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 5), (9, 16)], ids=str)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_light_on_black_white_and_odd_sizes(name, size, value):
    chance = CHANCES[name]
    for seed, strength in enumerate((chance.low, chance.high)):
        result = chance.transform(torch.full((3, *size), value), strength, seeded(seed))
        assert result.shape == (3, *size) and result.isfinite().all()


def test_blur_equals_scipy():
    image = torch.rand(3, 20, 31, generator=seeded(0))
    for sigma in (0.4, 0.9, 1.6, 2.0):
        expected = gaussian_filter(image.numpy(), sigma, mode="nearest", axes=(1, 2),
                                   radius=math.ceil(3 * sigma))
        np.testing.assert_allclose(CHANCES["blur"].transform(image, sigma, seeded(0)), expected,
                                   atol=1e-5)


def test_motion_blurs_along_one_direction():
    """A dot becomes a line of the expected length, its light spread, its middle in place."""
    image = torch.zeros(3, 31, 31)
    image[:, 15, 15] = 1
    for seed in range(10):
        streak = CHANCES["motion_blur"].transform(image, 9, seeded(seed))[0]
        places = streak.nonzero().float()
        assert streak.sum() == pytest.approx(1, abs=1e-5)
        assert (places.mean(0) - 15).abs().max() < 0.6
        spans = places.amax(0) - places.amin(0)
        assert 7.5 <= spans.norm() <= 10.5
        assert torch.linalg.svdvals(places - places.mean(0))[1] < 2.5  # thin across


def test_noise_is_grey_or_coloured():
    image = torch.full((3, 16, 16), 0.5)
    grey = [torch.equal(*CHANCES["noise"].transform(image, 0.05, seeded(seed))[:2])
            for seed in range(40)]
    assert 10 < sum(grey) < 30


def test_light_draws_each_transform_with_its_probability_and_clamps():
    seen = []

    def glare(image: Tensor, strength: float, generator: Generator) -> Tensor:
        assert 2 <= strength <= 3
        return image + strength

    def night(image: Tensor, strength: float, generator: Generator) -> Tensor:
        seen.append(image.max().item())
        return image - strength

    chances = Chance(glare, 0.25, 2, 3), Chance(night, 0.5, 2, 2)
    images = [photometric(torch.full((3, 2, 2), 0.5), seeded(seed), chances).unique()
              for seed in range(800)]
    shares = {value: np.mean([image.tolist() == [value] for image in images])
              for value in (0, 0.5, 1)}
    assert shares == pytest.approx({0: 0.5, 0.5: 0.375, 1: 0.125}, abs=0.05)
    assert set(seen) == {0.5, 1}  # clamped before the next, in the order of the list


def test_light_stays_within_0_and_1():
    image = torch.rand(3, 24, 24, generator=seeded(0))
    results = [photometric(image, seeded(seed)) for seed in range(200)]
    assert all(0 <= result.min() and result.max() <= 1 for result in results)
    untouched = math.prod(1 - chance.probability for chance in PHOTOMETRIC)
    share = np.mean([torch.equal(result, image) for result in results])
    assert share == pytest.approx(untouched, abs=0.05)

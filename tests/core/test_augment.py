"""Do image and mask move together, to the half pixel, and does the same seed draw the same?"""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from unet_resnet.augment import Augment, flip_and_turn, random_window, warp, window_size
from unet_resnet.synthetic.confusers import confuse
from unet_resnet.synthetic.photometric import Chance, photometric

SIZES = [(1, 1), (1, 70), (3, 200), (31, 57), (32, 32), (33, 100), (100, 90)]


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def drawn(height: int, width: int) -> tuple[Tensor, Tensor]:
    """A photograph that knows its place, and a mask of noise.

    The first channel counts the columns and the second the rows (both up to 255), so that every
    pixel of a crop tells between which pixels of the photograph it was read.
    """
    image = torch.stack((torch.arange(width).expand(height, -1),
                         torch.arange(height)[:, None].expand(-1, width),
                         torch.full((height, width), 77))).to(torch.uint8)
    return image, torch.randint(2, (1, height, width), dtype=torch.uint8, generator=seeded(0))


def geometry(crop: int, **options: float) -> Augment:
    """Neither light nor confusers."""
    return Augment(crop, **options)


def disagreement(image: Tensor, crop: Tensor, mask: Tensor) -> float:
    """Share of pixels whose mask is not that of the photograph's nearest pixel."""
    column, row = (image[:2] * 255).double()
    near = (column - column.round()).abs().maximum((row - row.round()).abs())
    expected = mask[0, row.round().long(), column.round().long()]
    return (expected != crop[0])[near < 0.49].float().mean().item()  # a tie may go either way


# Geometry

@pytest.mark.parametrize("height, width", SIZES)
def test_image_and_mask_move_together(height, width):
    image, mask = drawn(height, width)
    for seed in range(40):
        assert disagreement(*geometry(32)(image, mask, seeded(seed)), mask) == 0


def test_a_mask_off_by_one_pixel_is_noticed():
    image, mask = drawn(100, 90)
    for seed in range(20):
        for shifted in (mask.roll(1, -1), mask.roll(1, -2)):
            assert disagreement(*geometry(32)(image, shifted, seeded(seed)), mask) > 0.3


@pytest.mark.parametrize("angle, scale", [
    (0, 1), (math.pi / 2, 1), *((angle, scale) for angle in (-3, -2.2, -0.9, 0.2, 0.6, 1.9, 2.5)
                                for scale in (0.5, 1, 3))])
@pytest.mark.parametrize("place", [-0.35, 0.2, 0.4], ids="at {}".format)
def test_a_line_of_one_pixel_lands_where_geometry_says(angle, scale, place):
    """In the image and in the mask, within a quarter of a pixel; off by one it does not."""
    crop = 160
    size = window_size(crop, angle, scale)
    row = round((size - 1) / 2 + place * crop / scale)
    window = torch.zeros(1, size, size)
    window[0, row] = 1
    expected = (row - (size - 1) / 2) * scale

    def distance(mode: str, window: Tensor) -> float:
        """Mean place of the line along its normal, from the middle of the crop."""
        line = warp(window, crop, angle, scale, mode)[0]
        y, x = torch.meshgrid(*[torch.arange(crop) - (crop - 1) / 2] * 2, indexing="ij")
        normal = x * math.sin(angle) + y * math.cos(angle)
        return ((normal * line).sum() / line.sum()).item()

    for mode in ("bilinear", "nearest"):
        assert distance(mode, window) == pytest.approx(expected, abs=0.25)
        assert distance(mode, window.roll(1, -2)) != pytest.approx(expected, abs=0.25)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("side", [16, 17])
def test_quarter_turns_are_exact(mode, side):
    """Counter-clockwise, as rot90; no turn at all is the identity."""
    window = torch.rand(4, side, side, generator=seeded(0))
    for turns in range(-2, 3):
        torch.testing.assert_close(warp(window, side, turns * math.pi / 2, 1.0, mode),
                                   window.rot90(turns, (-2, -1)), rtol=0, atol=1e-4)
    middle = window[:, 3:-3, 3:-3]
    torch.testing.assert_close(warp(window, side - 6, 0.0, 1.0, mode), middle, rtol=0, atol=1e-5)


@pytest.mark.parametrize("angle", np.linspace(-3, 3, 9))
@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_the_window_holds_every_pixel_that_is_read(angle, scale):
    crop = 20
    size = window_size(crop, angle, scale)
    wide = torch.rand(1, size + 10, size + 10, generator=seeded(0))
    torch.testing.assert_close(warp(wide[:, 5:-5, 5:-5], crop, angle, scale, "bilinear"),
                               warp(wide, crop, angle, scale, "bilinear"), rtol=0, atol=1e-4)
    assert size <= math.ceil(crop / scale * math.sqrt(2)) + 2  # nor much more


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_a_mask_keeps_the_area_of_a_thin_crack(width, scale):
    """On average over angles, even where a crack of 1 pixel becomes dashes of half a pixel."""
    y, x = torch.meshgrid(*[torch.arange(100) - 49.5] * 2, indexing="ij")
    areas, gaps = [], 0
    for angle in np.linspace(-3, 3, 60):
        size = window_size(100, angle, scale)
        window = torch.zeros(1, size, size)
        window[0, size // 2:size // 2 + width] = 1
        crack = (warp(window, 100, angle, scale, "nearest")[0] == 1) & (torch.hypot(x, y) < 40)
        areas.append(crack.sum() / (80 * width * scale))
        along = (x * math.cos(angle) - y * math.sin(angle))[crack]
        gaps += (torch.histc(along, 70, -35, 35) == 0).sum().item()
    assert np.mean(areas) == pytest.approx(1, rel=0.1)
    assert width * scale < 1.5 or gaps == 0


def test_flips_and_turns_are_the_eight_symmetries():
    both = torch.arange(24).view(2, 3, 4)
    found = {str(flip_and_turn(both, seeded(seed)).tolist()) for seed in range(100)}
    assert found == {str(some.rot90(turns, (-2, -1)).tolist())
                     for some in (both, both.flip(-1)) for turns in range(4)}


@pytest.mark.parametrize("length, size", [
    (1, 1), (1, 7), (2, 9), (5, 5), (5, 6), (5, 40), (9, 4), (20, 1)])
def test_windows_are_cut_from_the_mirrored_picture(length, size):
    """All of them inside, where the window fits; else with the whole picture in it."""
    row = torch.arange(length).expand(1, 3, length)
    found = {tuple(random_window(row, size, seeded(seed))[0, 0].tolist()) for seed in range(300)}
    mirrored = np.pad(np.arange(length), size, "symmetric")
    low, high = sorted((0, length - size))
    possible = {tuple(mirrored[size + start:][:size].tolist()) for start in range(low, high + 1)}
    assert found == possible if size <= length else found <= possible
    assert len(found) > 1 or len(possible) == 1


def test_windows_of_two_sides_are_drawn_apart():
    image, _ = drawn(60, 80)
    corners = {tuple(random_window(image, 20, seeded(seed))[:2, 0, 0].tolist())
               for seed in range(200)}
    x, y = zip(*corners)
    assert max(x) > 55 and max(y) > 35 and len(corners) > 150
    window = random_window(image, 20, seeded(0))
    assert torch.equal(window[0], window[0, :1].expand(20, -1))  # columns stay columns


def test_half_of_the_crops_are_turned_and_scaled():
    """By any angle and, log-uniformly, by 0.5 to 3, measured between neighbouring pixels."""
    image, mask = drawn(256, 256)
    generator = seeded(0)
    scales, angles = [], []
    for _ in range(400):
        place = geometry(16)(image, mask, generator)[0][:2].double() * 255
        x, y = (place[:, 8, 9] - place[:, 8, 8]).tolist()
        if min(abs(x), abs(y)) > 1e-3:  # neither a flip nor a quarter turn
            scales.append(1 / math.hypot(x, y))
            angles.append(math.atan2(y, x))
    assert 160 < len(scales) < 240
    assert 0.499 < min(scales) < 0.52 and 2.9 < max(scales) < 3.002
    assert np.histogram(np.log(scales), 4, (math.log(0.499), math.log(3.002)))[0].min() > 30
    assert np.histogram(angles, 8, (-math.pi, math.pi))[0].min() > 10


def test_without_warp_the_pixels_are_the_photographs_own():
    image, mask = drawn(100, 90)
    for seed in range(20):
        places = geometry(32, warp_probability=0)(image, mask, seeded(seed))[0][:2] * 255
        torch.testing.assert_close(places, places.round(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("strength", [0, 0.5])
def test_strength_narrows_scales_and_makes_changes_rarer(strength):
    """A confuser shows as a hole in the mask, a photometric change as a black image."""
    augment = Augment(32, lambda image, mask, generator: (image, mask * 0),
                      lambda image, generator: image * 0, strength)
    assert augment.scales == [0.5 ** strength, 3 ** strength]
    crops = [augment(*drawn(100, 90), seeded(seed)) for seed in range(400)]
    changed, confused = (sum(not part.any() for part in parts) / 400 for parts in zip(*crops))
    assert changed == pytest.approx(strength, abs=0.08)
    assert confused == pytest.approx(0.4 * strength, abs=0.08)


# The whole

@pytest.mark.parametrize("height, width", SIZES)
@pytest.mark.parametrize("crop", [1, 32, 45])
def test_shapes_types_and_ranges(height, width, crop):
    image, mask = drawn(height, width)
    before = image.clone(), mask.clone()
    for seed in range(10):
        crops = Augment(crop, confuse, photometric)(image, mask, seeded(seed))
        assert [x.shape for x in crops] == [(3, crop, crop), (1, crop, crop)]
        assert all(x.dtype == torch.float32 for x in crops)
        assert 0 <= crops[0].min() and crops[0].max() <= 1
        assert crops[1].unique().tolist() in ([0], [1], [0, 1])
    assert torch.equal(image, before[0]) and torch.equal(mask, before[1])


def test_the_generator_alone_decides():
    image, mask = drawn(100, 90)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    crops = [Augment(32, confuse, photometric)(image, mask, seeded(seed))[0] for seed in range(20)]
    assert torch.equal(torch.get_rng_state(), state), "the global generator was used"
    torch.manual_seed(2)
    again = [Augment(32, confuse, photometric)(image, mask, seeded(seed))[0] for seed in range(20)]
    assert all(map(torch.equal, crops, again))
    assert not any(map(torch.equal, crops, crops[1:]))
    generator = seeded(0)
    augment = Augment(32, confuse, photometric)
    assert not torch.equal(*(augment(image, mask, generator)[0] for _ in range(2)))


def test_light_falls_on_the_image_alone():
    image, mask = drawn(100, 90)
    glare = Chance(lambda image, strength, generator: 0 * image + strength, 1, 0.25, 0.25)
    for seed in range(10):
        expected = geometry(32)(image, mask, seeded(seed))[1]
        crop, labels = Augment(32, photometric=partial(photometric, chances=(glare,)))(
            image, mask, seeded(seed))
        assert (crop == 0.25).all() and torch.equal(labels, expected)


def test_confusers_are_painted_into_their_share_of_the_crops():
    image, mask = drawn(100, 90)
    for share in (0.0, 0.3, 1.0):
        augment = Augment(32, confuse, confuse_probability=share)
        changed = [not torch.equal(augment(image, mask, seeded(seed))[0],
                                   geometry(32)(image, mask, seeded(seed))[0])
                   for seed in range(300)]
        assert sum(changed) / 300 == pytest.approx(0.92 * share, abs=0.08)  # some paint beside it

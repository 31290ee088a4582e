"""Is what confusers add background, and is a crack on the same surface still one?"""

import pytest
import torch
from torch import Generator, Tensor

from unet_resnet.synthetic.confusers import CONFUSERS, axes, bend, confuse, coverage, streak

SURFACE = {"lane_marking", "line", "joints", "shadow_edge", "stain", "streak", "lettering"}
NAMES = {confuser.__name__: confuser for confuser in CONFUSERS}


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def crop() -> tuple[Tensor, Tensor]:
    """Grey pavement with a dark crack 5 pixels wide down the middle."""
    image = 0.5 + 0.1 * torch.rand(3, 96, 96, generator=seeded(0))
    mask = torch.zeros(1, 96, 96)
    mask[:, :, 46:51] = 1
    return image * (1 - 0.8 * mask), mask


@pytest.mark.parametrize("name", NAMES)
def test_a_confuser_changes_the_picture_and_adds_no_crack(crop, name):
    image, mask = crop
    before, state, changed = (image.clone(), mask.clone()), torch.get_rng_state(), 0
    for seed in range(40):
        result, labels = NAMES[name](image, mask, seeded(seed))
        assert result.shape == image.shape and labels.shape == mask.shape
        assert result.isfinite().all() and labels.unique().tolist() in ([0], [0, 1])
        assert ((labels == 1) <= (mask == 1)).all()
        again = NAMES[name](image, mask, seeded(seed))
        assert torch.equal(result, again[0]) and torch.equal(labels, again[1])
        changed += (result - image).abs().max() > 0.05
    assert changed > 25
    assert torch.equal(image, before[0]) and torch.equal(mask, before[1])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", sorted(SURFACE))
def test_on_a_surface_the_crack_stays_a_crack_and_dark(crop, name):
    image, mask = crop
    crack = mask[0] == 1
    for seed in range(40):
        result, labels = NAMES[name](image, mask, seeded(seed))
        assert torch.equal(labels, mask)
        if name not in ("shadow_edge", "stain", "streak"):  # these change the light on a crack too
            assert torch.equal(result[:, crack], image[:, crack])


def test_a_streak_takes_light_away_and_least_of_green(crop):
    image, mask = crop
    for seed in range(40):
        lost = 1 - streak(image, mask, seeded(seed))[0] / image
        assert lost.min() > -1e-6
        assert (lost[1] <= lost[2] + 1e-6).all()


@pytest.mark.parametrize("name", sorted(NAMES.keys() - SURFACE))
def test_what_hides_a_crack_hides_it_from_the_mask(crop, name):
    """Where the crack is still labelled, it shines through by half at least."""
    image, mask = crop
    hidden = 0
    for seed in range(60):
        result, labels = NAMES[name](image, mask, seeded(seed))
        gone = (mask - labels)[0] == 1
        hidden += bool(gone.any())
        if name != "cable":  # whose shadow may fall on a crack
            assert ((result - image)[:, labels[0] == 1].abs() < 0.5).all()
    assert 10 < hidden


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (33, 7)], ids=str)
def test_any_size(name, size):
    for seed in range(5):
        image, mask = NAMES[name](torch.rand(3, *size, generator=seeded(seed)),
                                  torch.zeros(1, *size), seeded(seed))
        assert image.shape == (3, *size) and image.isfinite().all() and not mask.any()


def test_a_line_covers_what_its_width_says():
    """In any direction a straight line covers its length times its width."""
    whole = 0
    for seed in range(20):
        along, across = axes(torch.zeros(3, 200, 200), seeded(seed))
        share = coverage(across, 2.5) * (along.abs() < 30)
        if share[[0, -1]].max() == 0 and share[:, [0, -1]].max() == 0:  # within the picture
            assert share.sum() == pytest.approx(60 * 5, rel=0.05)
            whole += 1
    assert whole > 8


def test_bends_are_gentle():
    along = torch.arange(300.0)[None]
    for seed in range(20):
        assert bend(along, seeded(seed)).diff().abs().max() < 0.2  # a slope of 11 degrees


def test_confuse_draws_one_or_two_of_all():
    image, mask = torch.full((3, 64, 64), 0.5), torch.zeros(1, 64, 64)
    pictures = [confuse(image, mask, seeded(seed))[0] for seed in range(60)]
    assert all(0 <= picture.min() and picture.max() <= 1 for picture in pictures)
    assert len({round(picture.mean().item(), 6) for picture in pictures}) > 50

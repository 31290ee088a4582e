"""Does the stress sheet tell how much of a score survives?"""

import pytest
import torch

from unet_resnet import sample
from unet_resnet.stress import STRESS, StressSheet, spoil


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    return sample.draw(0, size=64)[0]


@pytest.mark.parametrize("name", STRESS)
def test_stress_is_repeatable_and_spoils_a_copy(photo, name):
    before = photo.clone()
    spoiled = spoil(photo, name)
    assert spoiled.dtype == torch.uint8 and spoiled.shape == photo.shape
    assert torch.equal(photo, before) and torch.equal(spoiled, spoil(photo, name))
    assert not torch.equal(spoiled, photo)


def test_a_detector_of_dark_pixels(photo):
    """It loses all in a picture without light, and nothing where the light stays."""
    truth = photo.float().mean(0, keepdim=True) < 100
    sheet = StressSheet(lambda image: image.float().mean(0, keepdim=True) < 100)
    for _ in range(2):
        sheet.add(photo, truth, truth)
    scores = sheet.summary()
    assert list(scores) == ["as it is", *STRESS]
    assert scores["as it is"] == dict.fromkeys(
        ("iou", "dice", "precision", "recall", "survives"), 1.0)
    share = truth.float().mean().item()
    assert scores["dark"]["recall"] == 1 and scores["dark"]["precision"] == pytest.approx(
        share, abs=0.02)  # everything is dark now
    assert scores["JPEG"]["survives"] > scores["dark"]["survives"]
    table = sheet.table()
    assert "painted lines" in table and f"{scores['dark']['survives']:.0%}" in table


def test_a_detector_that_finds_nothing():
    photo, truth = torch.zeros(3, 8, 8, dtype=torch.uint8), torch.ones(1, 8, 8, dtype=torch.bool)
    sheet = StressSheet(lambda image: torch.zeros(1, 8, 8, dtype=torch.bool))
    sheet.add(photo, ~truth, truth)
    assert sheet.summary()["dark"]["survives"] == 0 and "0%" in sheet.table()

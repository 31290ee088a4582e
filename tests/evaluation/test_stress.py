"""Does the stress sheet tell how much of a score survives?"""

import json

import pytest
import torch
from conftest import run_script

from unet_resnet.synthetic import pavement
from unet_resnet.evaluation.stress import STRESS, StressSheet, spoil, stressed


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    return pavement.draw(0, size=64)[0]


@pytest.mark.parametrize("name", STRESS)
def test_stress_is_repeatable_and_spoils_a_copy(photo, name):
    before = photo.clone()
    spoiled = spoil(photo, name)
    assert spoiled.dtype == torch.uint8 and spoiled.shape == photo.shape
    assert torch.equal(photo, before) and torch.equal(spoiled, spoil(photo, name))
    assert not torch.equal(spoiled, photo)


def test_a_detector_of_dark_pixels(photo):
    """It loses all in a picture without light, and nothing where the light stays."""
    def dark_pixels(image: torch.Tensor) -> torch.Tensor:
        return image.float().mean(0, keepdim=True) < 100

    truth, sheet = dark_pixels(photo), StressSheet()
    for _ in range(2):
        sheet.add(stressed(photo, truth, truth, dark_pixels))
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


def test_each_photo_has_its_own_noise_and_lines():
    """Which do not depend on what came before it."""
    def spoilt(*greys: int) -> list[torch.Tensor]:
        truth, seen = torch.ones(1, 40, 50, dtype=torch.bool), []
        for grey in greys:
            photo = torch.full((3, 40, 50), grey, dtype=torch.uint8)
            stressed(photo, truth, truth, lambda image: seen.append(image - grey) or truth)
        return seen

    first, second = spoilt(100, 101), spoilt(101, 100)
    names, count = list(STRESS), len(STRESS)
    for i in (names.index("noise"), names.index("painted lines")):
        assert not torch.equal(first[i], first[count + i])
        assert torch.equal(first[i], second[count + i])


def test_a_detector_that_finds_nothing():
    photo, truth = torch.zeros(3, 8, 8, dtype=torch.uint8), torch.ones(1, 8, 8, dtype=torch.bool)
    sheet = StressSheet()
    sheet.add(stressed(photo, ~truth, truth, lambda image: ~truth))
    assert sheet.summary()["dark"]["survives"] == 0 and "0%" in sheet.table()


def test_infer_prints_and_keeps_it(trained, tmp_path):
    arguments = (trained / "walls/images", "--masks", trained / "walls/masks", "--checkpoint",
                 trained / "runs/walls-1/best.pt")
    outcome = run_script(tmp_path, "infer.py", *arguments, "--stress")
    assert outcome.status == 0, outcome.err
    found = json.loads((tmp_path / "predictions/scores.json").read_text())
    assert list(found["stress"]) == ["as it is", *STRESS]
    assert found["stress"]["as it is"]["dice"] == found["total"]["pooled"]["dice"]
    for name, scores in found["stress"].items():
        row = next(line for line in outcome.out.splitlines() if line.startswith(f"{name}  "))
        assert row.split()[-1] == f"{scores['survives']:.0%}"
    outcome = run_script(tmp_path, "infer.py", trained / "walls/images", "--stress")
    assert outcome.status == 2 and "--masks" in outcome.err

"""Do the weights that come with the project work, right after the install?"""

import json
import subprocess
import sys
from configparser import ConfigParser

import numpy as np
import pytest
import torch
from conftest import ROOT
from skimage import data

from unet_resnet import UNetResNet, checkpoint, load, predict
from unet_resnet.synthetic import pavement
from unet_resnet.data import read_pair
from unet_resnet.images import read_photo, write_png
from unet_resnet.evaluation.matching import match_within
from unet_resnet.metrics import Counts, count
from unet_resnet.audit.folders import find

SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="module")
def network():
    return load(device="cpu")


def test_they_are_those_of_the_default_network():
    content = checkpoint.read(checkpoint.SHIPPED)
    model = UNetResNet()
    assert (content.blocks, content.widths) == (list(model.blocks), list(model.widths))
    model.load_state_dict(content.model)
    assert checkpoint.SHIPPED.stat().st_size < 60e6
    assert not any(str(value).startswith("/") for value in content.settings.values())


def test_setup_puts_them_into_the_wheel():
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    names = config["options.package_data"]["unet_resnet"].replace(",", " ").split()
    assert checkpoint.SHIPPED.name in names
    assert all((ROOT / "unet_resnet" / name).is_file() for name in names)


def test_the_model_card_tells_threshold_and_photos(network):
    """And the split lies beside it, from which the training can be repeated."""
    card = (ROOT / "MODEL_CARD.md").read_text()
    assert f"threshold of {network.threshold:.3f}" in card
    assert json.loads((ROOT / "docs" / "split.json").read_text()) == network.split
    for names in network.split.values():
        assert f"{len(names):,} photos" in card


@pytest.mark.parametrize("seed", [3, 12, 16])
def test_synthetic_cracks_are_found(network, seed):
    """The network was trained on photographs only."""
    photo, truth = pavement.render(seed, size=448)
    found = torch.from_numpy(predict(network, photo)) >= network.threshold
    assert truth.any() and match_within(found, truth[0].bool(), 2).dice > 0.5


@pytest.mark.parametrize("name", ["brick", "gravel", "grass", "camera", "coffee", "chelsea"])
def test_photographs_without_cracks_have_none(network, name):
    """Of scikit-image; bricks with joints among them."""
    assert (predict(network, getattr(data, name)()) >= network.threshold).sum() < 50


@pytest.mark.parametrize("grey", [0, 90, 255])
def test_an_empty_picture_has_no_crack(network, grey):
    assert not (predict(network, np.full((300, 400, 3), grey, np.uint8)) >= network.threshold).any()


def test_infer_works_right_after_the_install(tmp_path):
    """As its own process, with a photo and nothing else."""
    photo, _ = pavement.render(12, size=300)
    write_png(tmp_path / "photo.png", photo)
    done = subprocess.run([sys.executable, str(ROOT / "infer.py"), "photo.png", "--device", "cpu"],
                          cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"checkpoint {checkpoint.SHIPPED}, threshold" in done.stdout
    assert read_photo(tmp_path / "predictions" / "photo_mask.png").any()
    assert {path.name for path in tmp_path.iterdir()} == {"photo.png", "predictions"}


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs photographs beside the repository")
def test_photographs_that_it_has_not_learned_from(network):
    """Every fifth of the validation photos of DeepCrack."""
    held_out = [pair for part in find([SHARED / "crackmix"]).values() for pair in part.pairs
                if pair.source == "DeepCrack" and pair.image.name in network.split["validation"]]
    assert len(held_out) > 20
    total = Counts(0, 0, 0, 0)
    for pair in held_out[::5]:
        photo, truth = read_pair(pair)
        total += count(network(photo) >= network.threshold, truth.bool())
    assert total.dice > 0.75

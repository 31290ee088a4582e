"""From Python: whatever a picture is, the same probabilities come out."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from test_readme import blocks
from torch.nn import functional as F

import unet_resnet
from unet_resnet import UNetResNet, checkpoint, tiling
from unet_resnet.device import probability_function
from unet_resnet.inference.predictor import (
    Predictor, load, predict, suppress_small_areas, to_photo, with_tta)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network(trained) -> Predictor:
    return load(trained / "runs/walls-1/best.pt", "cpu", "fp32")


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    return torch.randint(256, (3, 70, 45), dtype=torch.uint8,
                         generator=torch.Generator().manual_seed(0))


def brightness(tiles: torch.Tensor) -> torch.Tensor:
    return tiles.float().mean(1, keepdim=True) / 255


def test_the_package_offers_both_by_name():
    assert unet_resnet.load is load and unet_resnet.predict is predict


def test_equals_the_unfused_model(network, trained, photo):
    model, content = checkpoint.load(trained / "runs/walls-1/best.pt")
    expected = probability_function(model, CPU, torch.float32)(photo[None])[0]
    torch.testing.assert_close(network(photo), expected, rtol=0, atol=1e-5)
    assert network.threshold == content.threshold and network.split == content.split


@pytest.mark.parametrize("threshold, given, found", [
    (76.4 / 256, None, 76), (1.0, None, 255), (0.5, 0.3, 77), (0.5, 1.0, 255)])
def test_a_threshold_is_rounded_to_256ths(tmp_path, threshold, given, found):
    """So that masks from bytes and scores agree on each pixel."""
    checkpoint.save(tmp_path / "x.pt", UNetResNet((1, 1, 1, 1), (8,) * 5), threshold)
    assert load(tmp_path / "x.pt", threshold=given).threshold == found / 256
    for wrong in (40, -0.2, float("nan")):
        with pytest.raises(ValueError, match="expected a probability from 0 to 1"):
            load(tmp_path / "x.pt", threshold=wrong)


def test_every_kind_of_picture(network, photo, tmp_path):
    array = photo.permute(1, 2, 0).numpy()
    Image.fromarray(array).save(tmp_path / "x.png")
    expected = predict(network, photo)
    assert expected.shape == (70, 45) and expected.dtype == np.float32
    for picture in (str(tmp_path / "x.png"), tmp_path / "x.png", Image.fromarray(array), array,
                    np.float32(array) / 255, photo / 255):
        np.testing.assert_array_equal(predict(network, picture), expected)
    grey = array[..., 0].copy()
    np.testing.assert_array_equal(predict(network, grey),
                                  predict(network, np.stack([grey] * 3, -1)))
    np.testing.assert_array_equal(predict(network, Image.fromarray(grey)), predict(network, grey))


def test_several_pictures_give_a_list(network, photo, tmp_path):
    """Of any sizes; an array or a tensor of four dimensions is several of one size."""
    array = photo.permute(1, 2, 0).numpy()
    small = photo[:, :40, :30]
    expected = [predict(network, photo, min_area=9), predict(network, small, min_area=9)]
    for pictures in ([photo, small], (array, Image.fromarray(array[:40, :30]))):
        for found, result in zip(predict(network, pictures, min_area=9), expected, strict=True):
            np.testing.assert_array_equal(found, result)
    for batch in (torch.stack([photo, photo]), np.stack([array, array])):
        found = predict(network, batch, min_area=9)
        np.testing.assert_array_equal(found, expected[:1] * 2)
        assert isinstance(found, list)
    assert predict(network, []) == []
    with pytest.raises(FileNotFoundError, match="none.jpg"):
        predict(network, [photo, tmp_path / "none.jpg"])


def test_the_readmes_lines_run(trained, network, photo, tmp_path, monkeypatch):
    Image.fromarray(photo.permute(1, 2, 0).numpy()).save(tmp_path / "bridge.png")
    monkeypatch.chdir(tmp_path)
    block, = (block for block in blocks("py") if "import load, predict" in block)
    for given, ours in (("load() ", f"load({str(trained / 'runs/walls-1')!r}) "),
                        ("bridge.jpg", "bridge.png")):
        assert given in block
        block = block.replace(given, ours)
    exec(compile(block, "README.md", "exec"), names := {})
    expected = predict(network, photo)  # but for small areas, which are put below the threshold
    kept = np.isclose(names["probability"], expected, atol=0.02)
    assert kept.mean() > 0.8 and (expected >= network.threshold)[~kept].all()
    assert not names["crack"][~kept].any()
    assert np.array_equal(names["crack"], names["probability"] >= network.threshold)


def test_pictures_are_read_as_their_files_are(network, tmp_path):
    """Turned by EXIF, of 16 bits, mirrored in memory, read-only."""
    grey = np.arange(40 * 60, dtype=np.uint16).reshape(40, 60) * 27
    Image.fromarray(grey).save(tmp_path / "deep.png")
    turned, exif = Image.fromarray((grey // 256).astype(np.uint8)), Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    for name in ("deep.png", "turned.jpg"):
        with Image.open(tmp_path / name) as image:
            assert torch.equal(to_photo(image), to_photo(tmp_path / name)), name
    colours = np.dstack([grey // 256] * 3).astype(np.uint8)
    colours.flags.writeable = False
    assert torch.equal(to_photo(colours[..., ::-1]), to_photo(colours))


def test_the_default_type_of_the_program_around_us_does_not_matter(trained, photo):
    expected = predict(load(trained / "runs/walls-1/best.pt", "cpu", "fp32"), photo, tile=32)
    torch.set_default_dtype(torch.float64)
    try:
        network = load(trained / "runs/walls-1/best.pt", "cpu", "fp32")
        found = predict(network, photo, tile=32)
        turned = predict(network, photo, tile=32, tta=True, scales=[1, 0.5], min_area=5)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == turned.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("option, value", [
    ("scales", []), ("scales", [0]), ("scales", [1, -1]), ("scales", [math.nan]), ("batch", 0),
    ("batch", -1), ("tile", 0), ("overlap", 1), ("overlap", -0.1)])
def test_options_without_sense_are_refused(network, option, value):
    """Instead of an empty answer."""
    with pytest.raises(ValueError, match=option.removesuffix("s")):
        network(torch.zeros(3, 40, 50, dtype=torch.uint8), **{option: value})


@pytest.mark.parametrize("picture, complaint", [
    (np.zeros((5, 5, 4), np.uint8), "5, 5, 4"), (torch.zeros(1, 5, 5), "1, 5, 5"),
    (torch.zeros(3, 0, 5), "3, 0, 5"), (np.full((5, 5), 200.0), "floats in 0..1"),
    (torch.full((3, 5, 5), float("nan")), "floats in 0..1"), (torch.zeros(3, 5, 5).int(), "int32"),
    (np.zeros((5, 5), np.int32), "int32"), (np.zeros((5, 5), bool), "bool"),
    (np.full((5, 5), "x"), "array"),
    (np.zeros((1, 5, 5, 3), np.uint8), "1, 5, 5, 3"), (np.zeros(7), r"\(7,\);"),
    (np.zeros((0, 9)), r"\(0, 9\);"), (torch.zeros(4, 6, 5), r"4, 6, 5"),
    (None, "NoneType"), ([[0, 1]], "list")])
def test_what_is_no_picture_is_refused(picture, complaint):
    with pytest.raises(ValueError, match=complaint):
        to_photo(picture)


def test_bytes_are_the_256ths_of_the_floats(network, photo):
    floats = network(photo, 64, 0.5)
    bytes_ = network(photo, 64, 0.5, dtype=torch.uint8)
    assert torch.equal(bytes_, (floats * 256).floor().clamp(max=255).to(torch.uint8))
    for k in (1, 100, 128, 255):
        assert torch.equal(bytes_ >= k, floats >= k / 256)


def test_tta_of_a_symmetric_network_changes_nothing():
    tiles = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
    torch.testing.assert_close(with_tta(brightness)(tiles), brightness(tiles))


def test_tta_makes_any_network_symmetric(network):
    """The mean over all views of a photo turns and flips with it."""
    draw = torch.Generator().manual_seed(1)
    photo = torch.randint(256, (3, 64, 96), dtype=torch.uint8, generator=draw)
    plain, expected = network(photo), network(photo, tta=True)
    for view in (lambda x: x.flip(-1), lambda x: x.rot90(1, (-2, -1)), lambda x: x.flip(-2)):
        found = network(view(photo), tta=True)
        torch.testing.assert_close(found, view(expected), rtol=0, atol=1e-5)
    assert not torch.allclose(network(photo.flip(-1)), plain.flip(-1), atol=1e-4)


@pytest.mark.parametrize("dtype", (torch.float32, torch.uint8))
def test_scales_are_predicted_apart_and_averaged(photo, dtype):
    """With a network that gives back brightness, what is left is the resizing."""
    network = Predictor(brightness, 0.5, {}, CPU)

    def at(height, width):
        small = F.interpolate(photo[None], (height, width), mode="bilinear", antialias=True)
        result = tiling.predict(brightness, small[0], dtype=dtype)[None]
        return F.interpolate(result, (70, 45), mode="bilinear", antialias=True)[0].float()

    assert torch.equal(network(photo, scales=[0.5], dtype=dtype).float(), at(35, 22))
    both = network(photo, scales=[1, 2], dtype=dtype)
    assert both.dtype == dtype and both.shape == (1, 70, 45)
    expected = (tiling.predict(brightness, photo, dtype=dtype).float() + at(140, 90)) / 2
    torch.testing.assert_close(both.float(), expected, rtol=0, atol=0.5 * (dtype == torch.uint8))
    assert network(photo[:, :1, :1], scales=[0.1]).shape == (1, 1, 1)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_lowered_specks_are_just_below_the_threshold(dtype):
    probability = torch.zeros(1, 6, 9, dtype=dtype)
    high = 200 if dtype == torch.uint8 else 0.9
    probability[0, 0, :4], probability[0, 3, 5], probability[0, 4, 6] = high, high, high
    lowered = suppress_small_areas(probability.clone(), 0.5, 3)
    assert torch.equal(lowered[0, 0], probability[0, 0])
    below = 127 if dtype == torch.uint8 else 127 / 256
    assert lowered[0, 3, 5] == lowered[0, 4, 6] == below
    assert torch.equal(suppress_small_areas(probability.clone(), 0.5, 2), probability)
    everywhere = suppress_small_areas(probability.clone(), 0.0, 100)  # where every pixel is crack
    assert torch.equal(everywhere, probability)

"""A network in 8 bits finds what it found before, in a quarter of the bytes."""

import json
from collections import Counter

import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from conftest import stir
from unet_resnet import UNetResNet, checkpoint
from unet_resnet.decoder import UpConv
from unet_resnet.export import int8, onnx as exporter
from unet_resnet.export.int8 import ShuffledUpConv, center_crop
from unet_resnet.synthetic import pavement

SPLIT = {"train": {"a.jpg": "0123456789abcdef"}, "validation": {"b.jpg": None}}


def network():
    torch.manual_seed(0)
    return stir(UNetResNet((1, 1, 1, 1), (32, 32, 16, 16, 16))).eval()


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 3), (7, 7)])
@pytest.mark.parametrize("bias", [False, True])
def test_a_shuffled_upconv_computes_the_same(size, bias):
    torch.manual_seed(0)
    up = UpConv(3, 5).double()
    up.bias = torch.nn.Parameter(torch.randn(5).double() if bias else torch.zeros(5).double())
    x = torch.randn(2, 3, *size, dtype=torch.double)
    torch.testing.assert_close(ShuffledUpConv(up).double()(x), up(x), rtol=0, atol=1e-12)


def test_a_large_photo_is_cropped_to_its_middle():
    photo = torch.arange(3 * 7 * 10).view(3, 7, 10)
    assert torch.equal(center_crop(photo, 4), photo[:, 1:5, 3:7])
    assert torch.equal(center_crop(photo, 8), photo[:, :, 1:9])
    assert torch.equal(center_crop(photo, 20), photo)


@pytest.fixture(scope="module", params=["synthetic", "photos"])
def files(request, tmp_path_factory):
    """A network as ONNX, and again in 8 bits, calibrated with synthetic pavement or with photos."""
    folder = tmp_path_factory.mktemp("int8")
    checkpoint.save(folder / "best.pt", network(), 0.375, SPLIT)
    photos = []
    for number, size in enumerate((64, 90, 700)) if request.param == "photos" else ():
        photos.append(folder / f"{number}.png")
        picture, _ = pavement.render(50 + number, size=size)
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(photos[-1])
    exporter.export(folder / "best.pt", folder / "exact.onnx")
    said = exporter.export(folder / "best.pt", folder / "small.onnx", photos)
    assert said.startswith(f"{folder / 'small.onnx'}: ") and "\n" not in said
    return folder


def test_int8_predicts_nearly_the_same_at_any_size(files):
    exact, small = (onnxruntime.InferenceSession(files / name)
                    for name in ("exact.onnx", "small.onnx"))
    for size in ((64, 64), (97, 127), (1, 33)):
        image = (pavement.render(9, size=128)[0][None, :, :size[0], :size[1]] / 255).numpy()
        (a,), (b,) = (session.run(None, {"image": image}) for session in (exact, small))
        assert b.shape == (1, 1, *size) and abs(a - b).mean() < 0.02
    assert a.std() > 0.005  # a constant would prove nothing


def test_int8_is_small_and_computes_in_bytes(files):
    exact, small = ((files / name).stat().st_size for name in ("exact.onnx", "small.onnx"))
    assert small < 0.4 * exact
    graph = onnx.load(files / "small.onnx").graph
    weights = {tensor.name: tensor.data_type for tensor in graph.initializer}
    wide = [node.name for node in graph.node if node.op_type in ("Conv", "ConvTranspose")
            and weights.get(node.input[1]) == onnx.TensorProto.FLOAT]
    assert not wide
    options = onnxruntime.SessionOptions()  # what onnxruntime makes of it
    options.optimized_model_filepath = str(files / "optimized.onnx")
    onnxruntime.InferenceSession(files / "small.onnx", options, ["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(files / "optimized.onnx").graph.node)
    assert kinds["Conv"] == 0 < kinds["QLinearConv"] and kinds["QLinearAdd"] >= 8


def test_int8_keeps_threshold_and_split(files):
    notes = onnxruntime.InferenceSession(files / "small.onnx").get_modelmeta().custom_metadata_map
    assert float(notes["threshold"]) == 0.375 and json.loads(notes["split"]) == SPLIT


def test_int8_that_differs_is_refused(tmp_path, monkeypatch):
    checkpoint.save(tmp_path / "best.pt", network())
    monkeypatch.setattr(exporter, "INT8_TOLERANCE", 0.0)
    monkeypatch.setattr(int8, "SYNTHETIC", 1)
    with pytest.raises(ValueError, match="on average; nothing is written.*other photos"):
        exporter.export(tmp_path / "best.pt", tmp_path / "new.onnx", [])
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]

"""An exported network predicts as it did in torch, at any size, and says how to be used."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from conftest import ROOT, refused, run_script, stir
from unet_resnet import UNetResNet, checkpoint
from unet_resnet.export import onnx as exporter
from unet_resnet.synthetic import pavement

THRESHOLD = 0.375


def network() -> UNetResNet:
    torch.manual_seed(0)
    return stir(UNetResNet((1, 1, 1, 1), (8, 8, 8, 8, 8))).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with best.pt, with cracks.onnx as the command exports it, and with what it says."""
    folder = tmp_path_factory.mktemp("export")
    checkpoint.save(folder / "best.pt", network(), THRESHOLD)
    done = subprocess.run([sys.executable, "-m", "unet_resnet.export", str(folder / "best.pt"),
                           str(folder / "cracks.onnx")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and len(done.stdout.splitlines()) == 1
    (folder / "said").write_text(done.stdout)
    yield folder
    for name in ("best.pt", "cracks.onnx"):  # pytest keeps three sessions of tmp_path
        (folder / name).unlink()


@pytest.fixture(scope="module")
def session(folder):
    return onnxruntime.InferenceSession(folder / "cracks.onnx",
                                        providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("size", [(1, 3, 1, 1), (1, 3, 1, 100), (1, 3, 32, 1), (1, 3, 31, 33),
                                  (2, 3, 64, 64), (3, 3, 45, 70), (1, 3, 447, 449)])
def test_same_probabilities_at_any_size(session, size):
    image = torch.rand(size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network()(image).sigmoid()
    found, = session.run(None, {"image": image.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=1e-5)
    assert expected.numel() == 1 or expected.std() > 1e-3  # a constant would prove nothing


def test_the_file_describes_itself(session, folder):
    about = session.get_modelmeta()
    notes = about.custom_metadata_map
    assert float(notes["threshold"]) == THRESHOLD
    for (end,), name, channels in ((session.get_inputs(), "image", 3),
                                   (session.get_outputs(), "probability", 1)):
        assert (end.name, end.type) == (name, "tensor(float)")
        assert end.shape == ["batch", channels, "height", "width"]
    content = (folder / "cracks.onnx").read_bytes()
    assert b"onnx.py" not in content and b"stack_trace" not in content  # nothing of the author


def test_a_file_for_deepness_is_read_by_its_rules(folder, tmp_path, monkeypatch):
    """The plugin of QGIS parses each value as JSON, crops square tiles of the size of the input,
    and takes a single channel of 0..1 (its model_base.py and segmentor.py)."""
    monkeypatch.setattr(exporter, "DEEPNESS_TILE", 96)
    exporter.export(folder / "best.pt", tmp_path / "qgis.onnx", resolution=0.25)
    session = onnxruntime.InferenceSession(tmp_path / "qgis.onnx")
    given, made = session.get_inputs(), session.get_outputs()
    assert [end.shape for end in given + made] == [[1, 3, 96, 96], [1, 1, 96, 96]]
    notes = session.get_modelmeta().custom_metadata_map
    parsed = {key: json.loads(notes[key]) for key in (
        "model_type", "class_names", "resolution", "tile_size", "tiles_overlap", "seg_thresh",
        "seg_small_segment")}
    assert parsed == {"model_type": "Segmentor", "class_names": {"0": "crack"}, "resolution": 0.25,
                      "tile_size": 96, "tiles_overlap": 10, "seg_thresh": THRESHOLD,
                      "seg_small_segment": 0}
    image = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network()(image).sigmoid()
    found, = session.run(None, {given[0].name: image.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=0, atol=1e-5)


def test_the_command_says_what_it_wrote(folder):
    """In one file, about as large as the checkpoint: no weight lies elsewhere."""
    assert {path.name for path in folder.iterdir()} == {"best.pt", "cracks.onnx", "said"}
    size = (folder / "cracks.onnx").stat().st_size
    assert size == pytest.approx((folder / "best.pt").stat().st_size, rel=0.05)
    said = (folder / "said").read_text()
    assert f"cracks.onnx: {size / 1e6:.0f} MB, threshold 0.375, differs from torch by " in said


def test_the_documented_lines_run(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("cracks.onnx").symlink_to(folder / "cracks.onnx")
    photo, _ = pavement.render(0, size=90)
    Image.fromarray(photo[:, :75].permute(1, 2, 0).numpy()).save("bridge.png")
    names = {}
    block, = re.findall(r"^```py\n(.*?)^```$", (ROOT / "docs/export.md").read_text(), re.M | re.S)
    exec(compile(block.replace("bridge.jpg", "bridge.png"), "export.md", "exec"), names)
    with torch.no_grad():
        expected = network()(photo[None, :, :75] / 255).sigmoid()[0, 0].numpy()
    assert names["crack"].shape == (75, 90) and names["crack"].dtype == bool
    assert np.allclose(names["probability"], expected, atol=1e-5)
    assert np.array_equal(names["crack"], names["probability"] >= THRESHOLD)


# Refusals

@pytest.mark.parametrize("bias, reason", [
    (1.0, "differ .* nothing is written"), (float("nan"), "NaN or infinity in head.bias")])
def test_other_probabilities_are_refused(folder, tmp_path, monkeypatch, bias, reason):
    content = (folder / "cracks.onnx").read_bytes()
    monkeypatch.setattr(exporter, "to_onnx", lambda model, about, size: content)
    exporter.export(folder / "best.pt", tmp_path / "same.onnx")
    assert (tmp_path / "same.onnx").read_bytes() == content
    model = network()
    model.head.bias.data.fill_(bias)
    checkpoint.save(tmp_path / "other.pt", model)
    with pytest.raises(ValueError, match=rf"other\.pt: .*{reason}"):
        exporter.export(tmp_path / "other.pt", tmp_path / "new.onnx")
    assert {path.name for path in tmp_path.iterdir()} == {"same.onnx", "other.pt"}
    for path in tmp_path.iterdir():
        path.unlink()


@pytest.mark.parametrize("name", ["new.onnx", "new.pt"])
def test_nothing_is_replaced(folder, tmp_path, name):
    """Not even a link that leads nowhere; and the network is not read first."""
    target = tmp_path / name
    target.write_bytes(b"mine")
    (tmp_path / f"link-{name}").symlink_to("nowhere")
    for path in (target, tmp_path / f"link-{name}"):
        outcome = run_script(folder, "unet_resnet/export/__main__.py", "none.pt", path)
        refused(outcome, "unet_resnet.export", path.name, "exists", "another name")
        assert outcome.status == 1
    assert target.read_bytes() == b"mine"


@pytest.mark.parametrize("arguments, words", [
    ("none.pt new.onnx", ["none.pt", "no such file"]),
    ("said new.onnx", ["said", "not a file of PyTorch tensors"]),
    ("best.pt nowhere/new.onnx", ["nowhere", "no such folder"]),
    ("best.pt nowhere/new.pt", ["nowhere", "no such folder"]),
    ("best.pt said", ["said", "expected NAME.onnx, or NAME.pt"]),
    ("best.pt new.pth", ["new.pth", "expected NAME.onnx, or NAME.pt"]),
    ("best.pt new.pt --int8", ["new.pt", "without --int8"]),
    ("best.pt new.pt --deepness 1", ["new.pt", "--deepness"]),
    ("best.pt new.onnx --int8 none.jpg", ["none.jpg", "o such file"]),
])
def test_one_line_for_a_wrong_name(folder, arguments, words):
    outcome = run_script(folder, "unet_resnet/export/__main__.py", *arguments.split())
    refused(outcome, "unet_resnet.export", *words)
    assert outcome.status == 1 and not (folder / "new.onnx").exists()


@pytest.mark.parametrize("resolution", ["0", "nan", "-1"])
def test_a_resolution_is_above_zero(folder, resolution):
    outcome = run_script(folder, "unet_resnet/export/__main__.py", "best.pt", "new.onnx",
                         f"--deepness={resolution}")
    refused(outcome, "python -m unet_resnet.export", "--deepness", resolution)
    assert not (folder / "new.onnx").exists()


@pytest.mark.parametrize("package", exporter.PACKAGES)
def test_a_missing_package_is_named_with_its_remedy(folder, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    outcome = run_script(folder, "unet_resnet/export/__main__.py", "best.pt", "new.onnx")
    refused(outcome, "unet_resnet.export", f"needs {package}:", 'pip install -e ".[onnx]"')
    assert outcome.status == 1

"""An exported network predicts in infer.py as the checkpoint it was exported from."""

import onnx
import pytest
import torch

from conftest import refused, run_script, stir, write_pairs
from unet_resnet import UNetResNet, checkpoint, load
from unet_resnet.export import onnx as exporter
from unet_resnet.files import fingerprint
from unet_resnet.images import read_photo


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """cracks.pt, the same as cracks.onnx and for Deepness as qgis.onnx, and drawn photos with
    masks in walls/, the first of which was trained on."""
    folder = tmp_path_factory.mktemp("runtime")
    walls = write_pairs(folder / "walls", first=0, count=3)
    trained = sorted((walls / "images").iterdir())[0]
    torch.manual_seed(0)
    network = stir(UNetResNet((1, 1, 1, 1), (8, 8, 8, 8, 8)))
    split = {"train": {trained.name: fingerprint(trained)}, "validation": {}}
    checkpoint.save(folder / "cracks.pt", network, 0.5, split)
    exporter.export(folder / "cracks.pt", folder / "cracks.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter, "DEEPNESS_TILE", 64)
        exporter.export(folder / "cracks.pt", folder / "qgis.onnx", resolution=0.1)
    return folder


def test_the_same_probabilities_as_from_the_checkpoint(folder):
    ours, exported = load(folder / "cracks.pt", "cpu", "fp32"), load(folder / "cracks.onnx", "cpu")
    assert (exported.threshold, exported.split, exported.device) == (
        ours.threshold, ours.split, torch.device("cpu"))
    assert load(folder / "cracks.onnx", threshold=0.25).threshold == 0.25
    draw = torch.Generator().manual_seed(0)
    photo = torch.randint(256, (3, 90, 140), dtype=torch.uint8, generator=draw)
    for options in ({}, {"tile": 64, "batch": 3}, {"tta": True}, {"scales": [0.5, 1]}):
        expected = ours(photo, **options)
        assert expected.std() > 1e-3  # a constant would prove nothing
        torch.testing.assert_close(exported(photo, **options), expected, rtol=0, atol=1e-5)


def test_infer_writes_and_scores_the_same(folder):
    """Photos that the network was trained on are known from the file, and not scored."""
    def outputs(name):
        done = run_script(folder, "infer.py", "walls/images", "--masks", "walls/masks", "--device",
                          "cpu", "--checkpoint", name, "--output", f"of-{name}")
        assert done.status == 0 and "1 of 3 photos left out" in done.out
        return [path for path in sorted((folder / f"of-{name}").rglob("*_probability.png"))]

    ours, exported = outputs("cracks.pt"), outputs("cracks.onnx")
    assert len(ours) == 2 and [path.name for path in ours] == [path.name for path in exported]
    for pair in zip(ours, exported):
        one, other = (read_photo(path).int() for path in pair)
        assert (one - other).abs().max() <= 3  # the checkpoint may have been computed in bfloat16


@pytest.mark.parametrize("arguments, words", [
    ("--checkpoint none.onnx", ["none.onnx", "no such file"]),
    ("--checkpoint text.onnx", ["text.onnx", "not an ONNX file", "export it again"]),
    ("--checkpoint other.onnx", ["other.onnx", "not an ONNX file of unet_resnet.export"]),
    ("--checkpoint qgis.onnx", ["qgis.onnx", "one size", "without --deepness"]),
    ("--checkpoint cracks.onnx --device mps", ["--device mps", "on the CPU", "use cpu"]),
    ("--checkpoint cracks.onnx --precision bf16", ["--precision bf16", "omit it"]),
])
def test_one_line_for_what_cannot_predict(folder, arguments, words):
    (folder / "text.onnx").write_text("not a network")
    other = onnx.load(folder / "cracks.onnx")
    del other.metadata_props[:]
    onnx.save(other, folder / "other.onnx")
    refused(run_script(folder, "infer.py", "walls", "--output", "new", *arguments.split()),
            "infer.py", *words)
    assert not (folder / "new").exists()


def test_a_missing_onnxruntime_is_named_with_its_remedy(folder, monkeypatch):
    monkeypatch.setattr("unet_resnet.files.find_spec", lambda name: None)
    refused(run_script(folder, "infer.py", "walls", "--checkpoint", "cracks.onnx"), "infer.py",
            "needs onnxruntime:", 'pip install -e ".[onnx]"')

"""Do weights come back as they went, and is everything else refused in one line?"""

import os
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision import models
from torchvision.models.resnet import BasicBlock, Bottleneck

from conftest import stir
from unet_resnet import UNetResNet, checkpoint, imagenet
from unet_resnet.encoder import ResNetEncoder
from unet_resnet.files import explain

BLOCKS, WIDTHS = (2, 2, 3, 2), (8, 8, 8, 8, 4)
RESNET50, RESNET101 = (3, 4, 6, 3), (3, 4, 23, 3)


def resnet(blocks=BLOCKS, block=Bottleneck, **settings) -> dict[str, Tensor]:
    """The state dict of torchvision's ResNet, random."""
    torch.manual_seed(0)
    return stir(models.ResNet(block, list(blocks), **settings)).state_dict()


@pytest.fixture(scope="module")
def model() -> UNetResNet:
    torch.manual_seed(0)
    return stir(UNetResNet((1, 1, 2, 1), WIDTHS)).eval()


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "best.pt"


def saved(path: Path, content) -> str:
    torch.save(content, path)
    return str(path)


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def refusal(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert "\n" not in message and len(message) < 500
    return message


# Checkpoints

def test_round_trip(model, file):
    content = {"threshold": 0.375, "history": [{"epoch": 1, "dice": 0.5}], "settings": {"lr": 0.1},
               "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}}}
    checkpoint.save(file, model, **content)
    loaded, found = checkpoint.load(file)
    assert (loaded.blocks, loaded.widths) == (model.blocks, model.widths)
    assert not loaded.training and equal(loaded.state_dict(), model.state_dict())
    image = torch.rand(2, 3, 40, 50)
    assert torch.equal(loaded(image), model(image))
    assert {name: getattr(found, name) for name in content} == content


def half_written(content, stream) -> None:
    stream.write(b"half")
    raise OSError("No space left on device")


def interrupted(*_) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("name, failure, error", [
    ("torch.save", half_written, OSError), ("torch.save", interrupted, KeyboardInterrupt),
    ("os.fsync", interrupted, KeyboardInterrupt), ("os.replace", interrupted, KeyboardInterrupt)])
def test_a_failing_save_leaves_the_old_file_and_nothing_else(
        model, file, monkeypatch, name, failure, error):
    checkpoint.save(file, model, epoch=1)
    before = file.read_bytes()
    monkeypatch.setattr(name, failure)
    with pytest.raises(error):
        checkpoint.save(file, model, epoch=2)
    assert file.read_bytes() == before and list(file.parent.iterdir()) == [file]


def test_data_reaches_the_disk_before_the_name(model, file, monkeypatch):
    """Renamed first, a power cut could leave an empty best.pt in place of the old one."""
    steps = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, f=real: (steps.append(n), f(*a)))
    checkpoint.save(file, model)
    assert steps == ["fsync", "replace"]


class Payload:
    """A pickle that creates a file when it is read."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple:
        return open, (str(self.victim), "w")


# The encoder's weights

def test_none_keeps_the_weights():
    encoder = ResNetEncoder(BLOCKS)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    assert "random" in imagenet.load_encoder(encoder, "none")
    assert equal(encoder.state_dict(), before)


@pytest.mark.parametrize("blocks, halved", [
    (BLOCKS, False), (BLOCKS, True), (RESNET101, False)])
def test_a_torchvision_file_is_loaded_value_by_value(file, blocks, halved):
    """Its classifier, of however many classes, is left out."""
    state = {name: tensor.half() if halved and tensor.is_floating_point() else tensor
             for name, tensor in resnet(blocks, num_classes=7).items()}
    encoder = ResNetEncoder(blocks)
    line = imagenet.load_encoder(encoder, saved(file, state))
    assert line == f"encoder: {file}, blocks {blocks}"
    found = encoder.state_dict()
    assert found.keys() == {name for name in state if not name.startswith("fc.")}
    for name, tensor in found.items():
        assert torch.equal(tensor, state[name].to(tensor.dtype)), name
        assert tensor.dtype == (torch.int64 if name.endswith("tracked") else torch.float32)


def lacking(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in state.items() if key != name}


WRONG_ENCODERS = {
    "resnet18": (lambda: resnet(block=BasicBlock), "bottleneck ResNet"),
    "list": (lambda: [1, 2], "bottleneck ResNet"),
    "in a wrapper": (lambda: {"state_dict": resnet()}, "bottleneck ResNet"),
    "missing key": (lambda: lacking(resnet(), "layer2.1.conv2.weight"), r"layer2\.1\.conv2"),
    "missing buffer": (lambda: lacking(resnet(), "bn1.running_var"), r"bn1\.running_var"),
    "foreign key": (lambda: resnet() | {"layer2.0.extra": torch.zeros(1)}, r"layer2\.0\.extra"),
    "ResNeXt": (lambda: resnet(groups=32, width_per_group=4),
                r"size mismatch for layer1\.0\.conv1\.weight"),
    "deeper": (lambda: resnet((2, 2, 4, 2)), r"\(2, 2, 4, 2\) cannot be grown to \(2, 2, 3, 2\)"),
    "deeper and shallower": (lambda: resnet((3, 2, 2, 2)), r"\(3, 2, 2, 2\) cannot be grown"),
    "a single block to grow": (lambda: resnet((2, 1, 3, 2)), "single block"),
}


@pytest.mark.parametrize("make, reason", WRONG_ENCODERS.values(), ids=WRONG_ENCODERS)
def test_other_weights_are_refused(file, make, reason):
    with pytest.raises(ValueError, match=reason) as error:
        imagenet.load_encoder(ResNetEncoder(BLOCKS), saved(file, make()))
    assert str(file) in refusal(error)


def test_a_checkpoint_is_not_a_file_of_encoder_weights(model, file):
    checkpoint.save(file, model)
    with pytest.raises(ValueError, match="bottleneck ResNet") as error:
        imagenet.load_encoder(ResNetEncoder(BLOCKS), str(file))
    assert str(file) in refusal(error)


# Growing

@pytest.mark.parametrize("small, large", [
    ((2, 2, 2, 2), (2, 3, 5, 2)), (RESNET50, RESNET101)], ids=str)
def test_growing_keeps_the_function(file, small, large):
    path = saved(file, resnet(small))
    before, after = ResNetEncoder(small), ResNetEncoder(large)
    imagenet.load_encoder(before, path)
    line = imagenet.load_encoder(after, path)
    assert f"{small}, grown to {large}" in line and "\n" not in line
    image = torch.randn(2, 3, 64, 64)
    for training in (False, True):
        with torch.no_grad():
            maps = zip(before.train(training)(image), after.train(training)(image))
            assert all(torch.equal(one, other) and one.std() > 0 for one, other in maps)


def test_grown_blocks_learn(file):
    """At once the silent scale and shift, after a step of these every parameter."""
    torch.manual_seed(0)
    encoder = ResNetEncoder((2, 2, 4, 2))
    imagenet.load_encoder(encoder, saved(file, resnet((2, 2, 2, 2))))
    grown = {name: parameter for name, parameter in encoder.named_parameters()
             if name.startswith(("layer3.2.", "layer3.3."))}
    optimizer = torch.optim.SGD(encoder.parameters(), lr=1e-3)
    learning = []
    for _ in range(2):
        optimizer.zero_grad()
        sum(x.square().mean() for x in encoder(torch.randn(2, 3, 64, 64))).backward()
        optimizer.step()
        learning.append({name for name, parameter in grown.items() if parameter.grad.any()})
    assert learning[0] == {name for name in grown if "bn3" in name}
    assert learning[1] == grown.keys()


# ImageNet

@pytest.mark.parametrize("blocks", imagenet.IMAGENET, ids=str)
def test_imagenet_files_are_of_the_encoders_depth(blocks):
    """By torchvision's own count of parameters, of which its classifier has 2,049,000."""
    with torch.device("meta"):
        encoder = ResNetEncoder(blocks)
    count = sum(parameter.numel() for parameter in encoder.parameters())
    assert imagenet.IMAGENET[blocks].meta["num_params"] == count + 2_049_000


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of torchvision's."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "hub" / "checkpoints"


def test_imagenet_comes_from_torchvisions_cache(cache, monkeypatch):
    monkeypatch.setattr("torch.hub.urlopen", lambda *_, **__: pytest.fail("went to the network"))
    cache.mkdir(parents=True)
    state = resnet(RESNET50)
    saved(cache / Path(imagenet.IMAGENET[RESNET50].url).name, state)
    encoder = ResNetEncoder(RESNET50)
    assert imagenet.load_encoder(encoder, "imagenet") == f"encoder: imagenet, blocks {RESNET50}"
    assert equal(encoder.state_dict(), {k: v for k, v in state.items() if k[:3] != "fc."})


def test_a_file_in_the_cache_cannot_run_code(cache):
    cache.mkdir(parents=True)
    torch.save(Payload(cache / "victim"), cache / Path(imagenet.IMAGENET[RESNET101].url).name)
    with torch.device("meta"):
        encoder = ResNetEncoder()
    with pytest.raises(ConnectionError, match="could not be downloaded or read"):
        imagenet.load_encoder(encoder, "imagenet")
    assert not (cache / "victim").exists()


def offline(*_, **__) -> None:
    raise urllib.error.URLError("Temporary failure in name resolution")


def swapped(*_, **__):
    """Another file than the one that was asked for."""
    return urllib.request.urlopen(Path(__file__).as_uri())


@pytest.mark.parametrize("network, reason", [(offline, "name resolution"),
                                             (swapped, "invalid hash")])
def test_without_a_good_download_the_choices_are_named(cache, monkeypatch, network, reason):
    monkeypatch.setattr("torch.hub.urlopen", network)
    with torch.device("meta"):
        encoder = ResNetEncoder()
    with pytest.raises(ConnectionError, match=reason) as error:
        imagenet.load_encoder(encoder, "imagenet")
    for part in (imagenet.IMAGENET[RESNET101].url, "--weights FILE", "ResNet-50",
                 "--weights none"):
        assert part in refusal(error)
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_depths_without_imagenet_weights():
    with pytest.raises(ValueError, match=r"\(2, 2, 3, 2\).*--weights none") as error:
        imagenet.load_encoder(ResNetEncoder(BLOCKS), "imagenet")
    refusal(error)


@pytest.mark.parametrize("function", ["load", "isfinite"])
def test_memory_that_is_full_is_no_damage(tmp_path, monkeypatch, function):
    checkpoint.save(tmp_path / "best.pt", UNetResNet((1, 1, 1, 1), (8, 8, 8, 8, 8)))

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 GB")

    monkeypatch.setattr(torch if function == "load" else Tensor, function, fail)
    with pytest.raises(RuntimeError, match="can't allocate memory") as caught:
        checkpoint.load(tmp_path / "best.pt")
    assert explain(caught.value).startswith("out of memory; ")

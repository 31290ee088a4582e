"""Is it torchvision's ResNet, bit for bit?"""

import math

import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.resnet import Bottleneck

from conftest import stir
from unet_resnet.encoder import ResNetEncoder

NETWORKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3), "resnet152": (3, 8, 36, 3)}


def without_classifier(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in network.state_dict().items()
            if not name.startswith("fc.")}


def maps_of(network: models.ResNet, image: Tensor) -> list[Tensor]:
    """The five maps, in the order in which torchvision's own forward makes them."""
    maps = []
    for name in ("relu", "layer1", "layer2", "layer3", "layer4"):
        network.get_submodule(name).register_forward_hook(lambda *call: maps.append(call[-1]))
    network(image)
    return maps


@pytest.mark.parametrize("blocks", [
    (1, 2, 1, 3), NETWORKS["resnet50"], NETWORKS["resnet101"]], ids=str)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_maps_and_statistics_equal_torchvision(blocks, training):
    torch.manual_seed(0)
    theirs, ours = models.ResNet(Bottleneck, blocks), ResNetEncoder(blocks)
    stir(theirs)
    ours.load_state_dict(without_classifier(theirs))
    image = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = maps_of(theirs.train(training), image)
        found = ours.train(training)(image)
    assert len(found) == len(expected) == 5
    for stride, one, other in zip((2, 4, 8, 16, 32), found, expected):
        assert torch.equal(one, other), f"stride {stride}"
        assert one.std() > 0 and one.isfinite().all(), "equal, but says nothing"
    statistics = without_classifier(theirs)  # in train mode the images have moved them
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, statistics[name]), name


@pytest.mark.parametrize("name", NETWORKS)
def test_names_and_shapes_are_torchvisions(name):
    with torch.device("meta"):  # shapes without memory
        theirs = without_classifier(getattr(models, name)())
        ours = ResNetEncoder(NETWORKS[name]).state_dict()
    assert [(key, value.shape) for key, value in ours.items()] == [
        (key, value.shape) for key, value in theirs.items()]


def test_default_is_resnet101():
    with torch.device("meta"):
        encoder = ResNetEncoder()
    assert encoder.blocks == NETWORKS["resnet101"]
    assert sum(tensor.numel() for tensor in encoder.parameters()) == 44_549_160 - 2_049_000  # fc


def test_channels_and_strides_are_as_promised():
    encoder = ResNetEncoder((1, 1, 1, 1)).eval()
    maps = encoder(torch.zeros(1, 3, 64, 32))
    assert [tuple(x.shape[1:]) for x in maps] == [
        (channels, 64 // stride, 32 // stride)
        for channels, stride in zip(encoder.channels, (2, 4, 8, 16, 32))]
    assert encoder.stride == 32


def test_fresh_weights_keep_the_signal():
    """He et al. (2015b): a variance of 2 over the fan-out."""
    torch.manual_seed(0)
    for name, module in ResNetEncoder((2, 1, 1, 1)).named_modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * math.prod(module.kernel_size)
            assert module.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.05)
            assert module.bias is None, name

"""A fused network predicts the same."""

import copy

import torch
from torch import nn

from conftest import stir
from unet_resnet import UNetResNet
from unet_resnet.inference.fuse import fuse_batchnorm


def test_same_logits_without_a_batchnorm():
    torch.manual_seed(0)
    model = stir(UNetResNet((1, 2, 1, 1), (16, 12, 8, 8, 4))).double().eval()
    image = torch.rand(2, 3, 70, 45, dtype=torch.float64)
    with torch.no_grad():
        expected = model(image)
        fused = fuse_batchnorm(copy.deepcopy(model))
        torch.testing.assert_close(fused(image), expected)
        assert torch.equal(model(image), expected) and expected.std() > 0
    assert not [module for module in fused.modules() if isinstance(module, nn.BatchNorm2d)]

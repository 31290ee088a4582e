"""Recomputation saves memory and changes nothing else."""

import copy

import pytest
import torch

from unet_resnet import UNetResNet
from unet_resnet.losses import crack_loss
from unet_resnet.training.memory import activation_bytes
from unet_resnet.training.recompute import recompute_activations


@pytest.mark.parametrize("frozen", (False, True))
def test_same_gradients_and_statistics(frozen):
    torch.manual_seed(0)
    plain = UNetResNet((2, 2, 3, 2), (32, 16, 16, 8, 8)).train()
    if frozen:
        plain.encoder.eval()
    frugal = copy.deepcopy(plain)
    recompute_activations(frugal)
    image, truth = torch.rand(2, 3, 96, 70), (torch.rand(2, 1, 96, 70) > 0.9).float()
    for _ in range(2):  # the second pass sees what the first left behind
        for model in (plain, frugal):
            crack_loss(model(image), truth).backward()
    for (name, expected), found in zip(plain.named_parameters(), frugal.parameters()):
        assert torch.equal(expected.grad, found.grad), name
    before, after = plain.state_dict(), frugal.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_it_takes_a_fraction_of_the_memory():
    plain, frugal = (UNetResNet((2, 2, 3, 2), (32, 16, 16, 8, 8)) for _ in range(2))
    recompute_activations(frugal)
    kept, less = (activation_bytes(model, 96, torch.float32) for model in (plain, frugal))
    assert less < 0.4 * kept


def test_nothing_is_recomputed_without_gradients():
    model = UNetResNet((1, 1, 1, 1), (8, 8, 8, 8, 8)).eval()
    image = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        expected = model(image)
        recompute_activations(model)
        assert torch.equal(model(image), expected)

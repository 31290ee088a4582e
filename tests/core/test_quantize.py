"""Do quantized weights come back, off by half a step at the most?"""

import pytest
import torch
from conftest import stir

from unet_resnet import UNetResNet
from unet_resnet.quantize import LEAST, quantize, dequantize


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return stir(UNetResNet((1, 1, 1, 1))).state_dict()


def test_names_shapes_and_values_come_back(state):
    back = dequantize(quantize(state))
    assert back.keys() == state.keys()
    for name, tensor in state.items():
        assert back[name].shape == tensor.shape and back[name].dtype == tensor.dtype
        if tensor.dim() < 2 or tensor.numel() < LEAST:
            assert torch.equal(back[name], tensor)
        else:
            steps = tensor.flatten(1).abs().amax(1) / 127
            error = (back[name] - tensor).flatten(1).abs().amax(1)
            assert (error <= 0.5001 * steps).all() and error.max() > 0


def test_a_quarter_of_the_space(state):
    def size(tensors: dict[str, torch.Tensor]) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    assert size(quantize(state)) < 0.26 * size(state)


def test_a_state_that_is_not_quantized_stays(state):
    assert all(torch.equal(tensor, state[name]) for name, tensor in dequantize(state).items())


def test_a_channel_of_zeros_and_extremes():
    weights = torch.zeros(3, 4096, 1, 1)
    weights[1, 0], weights[1, 1], weights[2] = 5.0, -5.0, 1e-30
    back = dequantize(quantize({"w": weights}))["w"]
    assert torch.equal(back[:2], weights[:2]) and back.isfinite().all()

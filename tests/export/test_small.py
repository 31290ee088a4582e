"""Does a checkpoint in 8 bits predict nearly the same, its weights off by half a step at most?"""

import pytest
import torch
from conftest import stir

from unet_resnet import UNetResNet, checkpoint
from unet_resnet.checkpoint import dequantize
from unet_resnet.export.small import MIN_SIZE, quantize, shrink


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return stir(UNetResNet((1, 1, 1, 1))).state_dict()


def test_names_shapes_and_values_come_back(state):
    back = dequantize(quantize(state))
    assert back.keys() == state.keys()
    for name, tensor in state.items():
        assert back[name].shape == tensor.shape and back[name].dtype == tensor.dtype
        if tensor.dim() < 2 or tensor.numel() < MIN_SIZE:
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


@pytest.fixture
def file(tmp_path):
    return tmp_path / "best.pt"


def test_a_small_one_predicts_nearly_the_same(file, tmp_path):
    """And keeps split, threshold and history, but neither optimizer nor names of folders."""
    torch.manual_seed(0)
    model = stir(UNetResNet((1, 1, 1, 1))).eval()
    split = {"train": {"a.png": "0" * 16}, "validation": {"b.png": None}}
    checkpoint.save(file, model, 0.25, split, history=[{"iou": 0.5}], losses=[0.5],
                    optimizer={"state": {}}, settings={
        "lr": 0.1, "data": ["/home/me/x"], "weights": "/home/me/y", "split": "/home/me/z"})
    small = tmp_path / "small.pt"
    assert str(small) in shrink(file, small)
    assert small.stat().st_size < 0.27 * file.stat().st_size
    loaded, content = checkpoint.load(small)
    assert (content.threshold, content.split, content.history, content.settings) == (
        0.25, split, [{"iou": 0.5}], {"lr": 0.1})
    assert content.optimizer is None and not content.losses
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert (loaded(image).sigmoid() - model(image).sigmoid()).abs().max() < 0.05
    with pytest.raises(FileExistsError, match="small.pt"):
        shrink(file, small)


SCALES = "encoder.conv1.weight:scale"
DAMAGED = {
    "scales of other weights": (lambda state: state | {"head.weight:scale": torch.ones(1, 1, 1, 1)},
                                "head.weight:scale"),
    "no scales": (lambda state: {key: state[key] for key in state if key != SCALES},
                  SCALES),
    "scales of NaN": (lambda state: state | {SCALES: state[SCALES] * float("nan")},
                      "NaN or infinity in encoder.conv1.weight"),
    "weights in float": (lambda state: state | {"encoder.conv1.weight": torch.zeros(64, 3, 7, 7)},
                         SCALES),
    # Broadcast, they would fill the memory with 40 GB.
    "scales to multiply": (lambda state: state | {
        "encoder.conv1.weight": torch.ones(1, 10**5, dtype=torch.int8),
        SCALES: torch.ones(10**5, 1)}, "is invalid for input of size 100000"),
    "one number for all": (lambda state: state | {
        "encoder.conv1.weight": torch.ones(1, dtype=torch.int8).expand(10**10, 1),
        SCALES: torch.ones(1).expand(10**10, 1)}, "more than it has bytes"),
    "no channels": (lambda state: state | {
        "encoder.conv1.weight": torch.ones(0, dtype=torch.int8)},
                    "is invalid for input of size 64"),
    "no dimensions": (lambda state: state | {
        "encoder.conv1.weight": torch.ones((), dtype=torch.int8)}, "0-d tensor"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_small_one_is_checked_like_any(file, name):
    change, words = DAMAGED[name]
    network = UNetResNet((1, 1, 1, 1), (8, 8, 8, 8, 8))
    state = change(quantize(network.state_dict()))
    checkpoint.save(file, network, model=state)
    with pytest.raises(ValueError, match=words) as error:
        checkpoint.load(file)
    assert str(file) in str(error.value) and "\n" not in str(error.value)

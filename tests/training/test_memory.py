"""Counted bytes are exact, and a device that is too small is noticed."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from unet_resnet import UNetResNet
from unet_resnet.files import is_out_of_memory
from unet_resnet.training import memory
from unet_resnet.losses import crack_loss
from unet_resnet.training.recompute import recompute_activations

CPU = torch.device("cpu")


def test_hand_counted():
    """A ReLU keeps its output, a product both factors, one of them twice; a layer its weights."""
    x = torch.rand(10, 10, requires_grad=True)
    model = nn.Linear(10, 10)
    assert memory.saved_bytes(lambda: x.relu()) == 400
    assert memory.saved_bytes(lambda: x * x) == 400
    assert memory.saved_bytes(lambda: x[:5] * x[5:]) == 400, "one storage"
    assert memory.saved_bytes(lambda: x * x.exp()) == 800
    assert memory.saved_bytes(lambda: model(x)) == 800
    assert memory.saved_bytes(lambda: x + x) == 0


@pytest.mark.parametrize("precision", (torch.float32, torch.bfloat16))
@pytest.mark.parametrize("recomputed", (False, True))
def test_small_crops_tell_what_large_ones_keep(precision, recomputed):
    torch.manual_seed(0)
    model = UNetResNet((1, 1, 2, 1), (16, 16, 8, 8, 8)).train()
    if recomputed:
        recompute_activations(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    told = memory.activation_bytes(model, 150, precision)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.train()

    def forward(count):
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            logits = model(torch.rand(count, 3, 150, 150))
        return crack_loss(logits, torch.zeros(count, 1, 150, 150))

    kept = [memory.saved_bytes(lambda: forward(count)) for count in (2, 3)]
    assert told == pytest.approx(kept[1] - kept[0], rel=0.03)  # the loss sees 150, the maps 160


def test_state_is_what_adam_holds():
    model = UNetResNet((1, 1, 1, 1), (8,) * 5)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.rand(2, 3, 64, 64)).mean().backward()
    optimizer.step()
    tensors = [value for values in optimizer.state.values() for value in values.values()
               if value.dim()]
    tensors += [parameter.grad for parameter in model.parameters()]
    held = sum(tensor.nbytes for tensor in tensors)
    assert memory.state_bytes(model, torch.float32) == held
    assert memory.state_bytes(model, torch.bfloat16) == held * 14 / 12


@pytest.mark.parametrize("free, advice", [(64e9, False), (1e6, True), (0, False)])
def test_the_estimate_advises_where_memory_is_short(monkeypatch, free, advice):
    monkeypatch.setattr(memory, "free_bytes", lambda device: free)
    line = memory.estimate(UNetResNet((1, 1, 1, 1), (8,) * 5), 64, 4, torch.float32)
    assert "\n" not in line and "4 x 0.0" in line and ("free" in line) == (free > 0)
    assert all((flag in line) == advice for flag in ("--micro-batch", "--recompute", "--crop"))


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="Linux says there what is free")
def test_free_memory_is_in_bytes():
    kilobytes = re.search(r"MemTotal: *(\d+)", Path("/proc/meminfo").read_text())[1]
    assert 1e8 < memory.free_bytes(CPU) < 1024 * int(kilobytes)


def test_the_complaint_of_a_full_memory_is_recognised():
    """As torch words it for a CPU: a petabyte is more than any machine has."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))

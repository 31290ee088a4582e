"""Which device and precision are taken, on machines that this one is not?"""

import pytest
import torch

from unet_resnet import device
from unet_resnet.device import memory_format, pick_device, pick_precision, why_not_cuda

WHEEL = ["sm_75", "sm_80", "sm_86", "sm_90a", "compute_120"]


@pytest.fixture
def machine(monkeypatch):
    """Makes torch believe in one GPU."""
    def become(capability: tuple[int, int], name: str = "", built: list[str] = WHEEL,
               driver: bool = True) -> None:
        for function, answer in {
                "is_available": driver, "device_count": 1, "get_arch_list": built,
                "get_device_capability": capability, "get_device_name": name}.items():
            monkeypatch.setattr(torch.cuda, function, lambda *_, answer=answer: answer)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    return become


@pytest.mark.parametrize("capability, works", [
    ((6, 1), False), ((7, 5), True), ((8, 9), True), ((8, 0), True), ((9, 0), True),
    ((10, 0), False), ((12, 0), True), ((12, 1), True)])
def test_a_card_that_torch_was_not_built_for_is_not_taken(machine, capability, works):
    machine(capability, "the card")
    assert pick_device() == torch.device("cuda:0" if works else "cpu")
    if works:
        assert pick_device("cuda") == torch.device("cuda:0")
    else:
        with pytest.raises(ValueError, match="--device cuda:0: .* no kernels for a the card"):
            pick_device("cuda")


def test_builds_for_other_makers_are_believed(machine):
    machine((9, 4), "MI300", built=["gfx90a", "gfx942"])
    assert pick_device() == torch.device("cuda:0")


def test_a_card_whose_driver_is_too_old_is_not_taken(machine):
    machine((8, 9), driver=False)
    assert pick_device() == torch.device("cpu")
    with pytest.raises(ValueError, match="cuda:0: not on this machine, which has cpu"):
        pick_device("cuda")


@pytest.mark.parametrize("capability, name, precision", [
    ((8, 9), "", torch.bfloat16), ((7, 5), "", torch.float16),
    ((7, 5), "NVIDIA GeForce GTX 1660 SUPER", torch.float32)])
def test_the_precision_that_a_card_is_good_at(machine, capability, name, precision):
    machine(capability, name)
    cuda = torch.device("cuda:0")
    assert pick_precision("auto", cuda) == precision
    assert pick_precision("fp16", cuda) == torch.float16, "the user's word counts"


def test_float16_is_for_cuda_only():
    for name in ("cpu", "mps"):
        with pytest.raises(ValueError, match="fp16 needs a CUDA device"):
            pick_precision("fp16", torch.device(name))
    assert pick_precision("auto", torch.device("mps")) == torch.float32


def test_channels_come_last_but_on_mps():
    formats = {name: memory_format(torch.device(name)) for name in ("cpu", "cuda:1", "mps")}
    assert formats == {"cpu": torch.channels_last, "cuda:1": torch.channels_last,
                       "mps": torch.contiguous_format}


# Why not on the card

CPU = torch.device("cpu")


@pytest.fixture
def nvidia(machine, monkeypatch, tmp_path):
    """Makes torch believe in one GPU, or in none with a driver all the same."""
    def become(cuda: str | None = "13.0", **of: object) -> None:
        machine(**{"capability": (6, 1), "name": "GTX 1080"} | of)
        monkeypatch.setattr(torch.version, "cuda", cuda)
        (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return become


@pytest.mark.parametrize("of, words", [
    ({}, ("no kernels for compute capability 6.1 (GTX 1080)", "whl/cu126")),
    ({"capability": (12, 0), "name": "RTX 5090", "built": ["sm_80", "sm_90"], "cuda": "12.6"},
     ("no kernels for compute capability 12.0 (RTX 5090)", "whl/cu130")),
    ({"cuda": None, "driver": False}, ("built without CUDA", "whl/cu126")),
    ({"driver": False}, ("CUDA 13.0", "update the driver", "whl/cu126")),
])
def test_a_card_that_is_not_used_is_said_with_what_to_install(nvidia, of, words):
    nvidia(**of)
    assert pick_device() == CPU
    line = why_not_cuda(CPU)
    assert line.count("\n") == 1 and line.endswith("\n")
    assert not [word for word in (*words, "pip install") if word not in line], line


def test_nothing_is_said_where_there_is_nothing_to_say(nvidia, monkeypatch):
    nvidia()
    assert why_not_cuda(CPU)
    assert why_not_cuda(torch.device("cuda:0")) == ""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # the user's wish
    assert why_not_cuda(CPU) == ""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(device, "DRIVER", device.DRIVER + ".not")
    assert why_not_cuda(CPU) == "", "no driver"

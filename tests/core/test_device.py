"""Which device and precision are taken, on machines that this one is not?"""

import pytest
import torch

from unet_resnet import device
from unet_resnet.device import memory_format, pick_device, pick_precision, why_not_cuda

CPU = torch.device("cpu")


@pytest.fixture
def machine(monkeypatch):
    """Makes torch believe in one GPU, usable or not."""
    def become(capability: tuple[int, int] = (8, 9), name: str = "", works: bool = True) -> None:
        for function, answer in {"is_available": True, "get_device_capability": capability,
                                 "get_device_name": name}.items():
            monkeypatch.setattr(torch.cuda, function, lambda *_, answer=answer: answer)
        monkeypatch.setattr(device, "is_usable", lambda name: name == "cpu" or (
            works and name == "cuda:0"))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    return become


def test_a_card_that_computes_is_taken(machine):
    machine()
    assert pick_device() == pick_device("cuda") == torch.device("cuda:0")
    assert pick_device("cpu") == CPU


def test_a_card_that_torch_was_not_built_for_is_not_taken(machine):
    machine(works=False)
    assert pick_device() == CPU
    with pytest.raises(ValueError, match="--device cuda:0: not on this machine, or not for this"):
        pick_device("cuda")


@pytest.mark.parametrize("local_rank", (0, 1, 2))
def test_each_process_takes_the_gpu_of_its_number(monkeypatch, local_rank):
    """With its number also where there is one: torch.cuda.set_device asks for it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device, "is_usable", lambda name: name in ("cpu", "cuda:0", "cuda:1"))
    for name in ("auto", "cuda"):
        if local_rank < 2:
            assert pick_device(name, local_rank) == torch.device(f"cuda:{local_rank}")
        else:
            with pytest.raises(ValueError, match="cuda:2: not on this machine"):
                pick_device(name, local_rank)


@pytest.mark.parametrize("name, found", [
    ("cpu", True), ("cuda:99", False), ("toaster", False), ("meta", False)])
def test_a_device_that_is_not_there_does_not_compute(name, found):
    assert device.is_usable(name) == found


def test_a_full_card_is_still_a_card(monkeypatch):
    """A training on the CPU instead would be a surprise; "out of memory" is the better message."""
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB")

    monkeypatch.setattr(torch, "ones", full)
    assert device.is_usable("cuda:0")


@pytest.mark.parametrize("capability, name, precision", [
    ((8, 9), "", torch.bfloat16), ((7, 5), "", torch.float16),
    ((7, 5), "NVIDIA GeForce GTX 1660 SUPER", torch.float32)])
def test_the_precision_that_a_card_is_good_at(machine, capability, name, precision):
    machine(capability, name)
    cuda = torch.device("cuda:0")
    assert pick_precision("auto", cuda) == precision
    assert pick_precision("fp16", cuda) == torch.float16, "the user's word counts"


@pytest.mark.parametrize("avx512, amx, precision", [
    (False, False, torch.float32), (True, False, torch.bfloat16), (False, True, torch.bfloat16)])
def test_the_precision_that_a_cpu_is_good_at(monkeypatch, avx512, amx, precision):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert pick_precision("auto", CPU) == precision


def test_float16_is_for_cuda_only():
    for name in ("cpu", "mps"):
        with pytest.raises(ValueError, match="on a CUDA device, fp16"):
            pick_precision("fp16", torch.device(name))
    assert pick_precision("auto", torch.device("mps")) == torch.float32


def test_channels_come_last_but_on_mps():
    formats = {name: memory_format(torch.device(name)) for name in ("cpu", "cuda:1", "mps")}
    assert formats == {"cpu": torch.channels_last, "cuda:1": torch.channels_last,
                       "mps": torch.contiguous_format}


# Why not on the card

@pytest.mark.parametrize("cuda, words", [("13.0", "for CUDA 13.0"), (None, "without CUDA")])
def test_a_card_that_is_not_used_is_said_with_what_to_install(monkeypatch, tmp_path, cuda, words):
    monkeypatch.setattr(torch.version, "cuda", cuda)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    line = why_not_cuda("auto", CPU)
    assert words in line and "pytorch.org" in line and line.count("\n") == 1
    assert why_not_cuda("auto", torch.device("cuda:0")) == ""
    assert why_not_cuda("cpu", CPU) == "", "the user asked for it"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # the user's wish
    assert why_not_cuda("auto", CPU) == ""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", "")
    assert why_not_cuda("auto", CPU) == "", "no driver"

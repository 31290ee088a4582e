"""Which device computes, and with how many bits?"""

import os
import shutil
from collections.abc import Callable

import torch
from torch import Tensor, nn

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def pick_device(name: str = "auto", local_rank: int = 0) -> torch.device:
    """The device named ("cpu", "cuda", "cuda:1", "mps"); auto is cuda, else mps, else cpu.

    Of several processes on one machine each takes the GPU with its number, `local_rank`. Raises
    ValueError for a device that this machine lacks or that this torch cannot use.
    """
    gpu = f"cuda:{local_rank}"
    if name == "auto":
        # One of several processes does not fall back to the CPU alone.
        cuda = torch.cuda.is_available() and (local_rank > 0 or is_usable(gpu))
        name = gpu if cuda else "mps" if torch.backends.mps.is_available() else "cpu"
    elif name == "cuda":
        name = gpu
    if not is_usable(name):
        raise ValueError(f"--device {name}: not on this machine, or not for this build of torch; "
                         "use auto or cpu")
    return torch.device(name)


def is_usable(device: str) -> bool:
    """Whether this machine has the device, even one full of others' data, and this torch was built
    for it."""
    try:
        return torch.ones(1, device=device).sum().item() == 1
    except (RuntimeError, AssertionError) as error:  # the latter: torch is built without CUDA
        return "out of memory" in str(error)


def why_not_cuda(name: str, device: torch.device) -> str:
    """Why "auto" did not take this machine's NVIDIA card, and what helps, as a line; "" for another
    name, or if there is no card, or it was taken or is hidden."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if name != "auto" or device.type != "cpu" or hidden or not shutil.which("nvidia-smi"):
        return ""
    built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    return (f"note: computing on the CPU: torch {torch.__version__}, built {built}, cannot use the "
            "NVIDIA card or driver here; pytorch.org/get-started/locally has other builds\n")


def memory_format(device: torch.device) -> torch.memory_format:
    """Channels last, in which convolutions are faster; but channels first on MPS, where the
    gradients of BatchNorm were wrong in it (issue 175189 of pytorch)."""
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """The type of the forward pass; auto is 16 bits where the hardware computes in them.

    bfloat16 has the range of float32; float16 needs a gradient scaler. A CPU that emulates bfloat16
    takes 15 times as long as with float32 (measured with ResNet-101 on AVX2).

    Raises ValueError for float16 outside CUDA, and for an unknown name.
    """
    if name not in ("auto", *PRECISIONS) or name == "fp16" and device.type != "cuda":
        raise ValueError(f"--precision {name}: expected auto, fp32, bf16 or, on a CUDA device, "
                         "fp16")
    if name != "auto":
        return PRECISIONS[name]
    if device.type == "cuda":
        if torch.version.hip or torch.cuda.get_device_capability(device) >= (8, 0):
            return torch.bfloat16
        # Convolutions of these cards in float16 give NaN (issue 58123 of pytorch).
        broken = "GTX 16" in torch.cuda.get_device_name(device)
        return torch.float32 if broken else torch.float16
    if device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported()
                                 or torch.cpu._is_amx_tile_supported()):
        return torch.bfloat16
    return torch.float32


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    return torch.autocast(device.type, precision, enabled=precision != torch.float32)


def probability_function(model: nn.Module, device: torch.device,
                         precision: torch.dtype) -> Callable[[Tensor], Tensor]:
    """A function from tiles (N, 3, h, w) uint8 to their probabilities (N, 1, h, w) float32."""
    def probability(tiles: Tensor) -> Tensor:
        # Sent as bytes: a quarter of the traffic of floats.
        image = tiles.to(device, memory_format=memory_format(device)).float() / 255
        with torch.inference_mode(), autocast(device, precision):
            return model(image).float().sigmoid()
    return probability

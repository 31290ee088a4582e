"""Which device computes, and with how many bits?"""

import os
import re
import shutil
from collections.abc import Callable

import torch
from torch import Tensor, nn

# Messages of a full memory that is not torch.OutOfMemoryError; the last is cuDNN's.
COMPLAINTS = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED",
              "unable to find an engine")
# Builds of torch for cards of compute capability 5.0 to 9.0 and drivers from 2023 on, and for those
# of 7.5 to 12.0 (release matrix in RELEASE.md of pytorch; the first has no successor after 2.14).
WHEEL_OF_OLD_CARDS, WHEEL_OF_NEW_CARDS = "cu126", "cu130"
DRIVER = "/proc/driver/nvidia/version"  # on Linux, while NVIDIA's driver is loaded
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def pick_device(name: str = "auto", local_rank: int = 0) -> torch.device:
    """The device named ("cpu", "cuda", "cuda:1", "mps"); auto is cuda, else mps, else cpu.

    Of several processes on one machine each takes the GPU with its number, `local_rank`.

    Raises ValueError for a device that this machine lacks or that this torch cannot use.
    """
    # Cards are counted even if the driver is too old for this torch.
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if gpus and _has_kernels(0) else "mps" if mps else "cpu"
    if name == "cuda":
        name = f"cuda:{local_rank}"
    present = ["cpu", *["mps"] * mps, *(f"cuda:{i}" for i in range(gpus))]
    if name not in present:
        raise ValueError(f"--device {name}: not on this machine, which has {', '.join(present)}")
    device = torch.device(name)
    if device.type == "cuda" and not _has_kernels(device.index):
        raise ValueError(f"--device {name}: this build of torch has no kernels for a "
                         f"{torch.cuda.get_device_name(device)}; install another, or use cpu")
    return device


def _has_kernels(gpu: int) -> bool:
    """Whether torch was built for this GPU; otherwise its first operation would fail."""
    major, minor = torch.cuda.get_device_capability(gpu)
    for name in torch.cuda.get_arch_list():  # such as sm_86, sm_90a, compute_120; on ROCm gfx90a
        kind, _, number = name.partition("_")
        built = divmod(int(re.sub(r"\D", "", number) or 0), 10)
        # Machine code runs within its generation, PTX ("compute") on all later ones.
        if kind not in ("sm", "compute") or built <= (major, minor) and (
                built[0] == major or kind == "compute"):
            return True
    return False


def why_not_cuda(device: torch.device) -> str:
    """A line on why "auto" took no NVIDIA card of this machine, and what helps; "" if there is
    none, or it was taken or is hidden."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    driver = shutil.which("nvidia-smi") or os.path.exists(DRIVER)
    if device.type != "cpu" or hidden or not driver:
        return ""
    wheel = WHEEL_OF_OLD_CARDS
    if not torch.version.cuda:
        why = "this machine has an NVIDIA driver, but this torch is built without CUDA"
    elif not torch.cuda.is_available():
        why = (f"this torch, of CUDA {torch.version.cuda}, finds no card that the NVIDIA driver "
               "lets it use; update the driver, or take an older CUDA")
    else:
        capability = torch.cuda.get_device_capability(0)
        wheel = wheel if capability < (7, 5) else WHEEL_OF_NEW_CARDS
        why = (f"this torch has no kernels for compute capability {capability[0]}.{capability[1]} "
               f"({torch.cuda.get_device_name(0)})")
    return (f"note: computing on the CPU, because {why}: pip install --force-reinstall torch "
            f"torchvision --index-url https://download.pytorch.org/whl/{wheel}\n")


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
    if name not in ("auto", *PRECISIONS):
        raise ValueError(f"precision {name!r}; wanted auto, {', '.join(PRECISIONS)}")
    if name == "fp16" and device.type != "cuda":
        raise ValueError(f"--precision fp16 needs a CUDA device, this is {device}; "
                         "use bf16, fp32 or auto")
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


def is_out_of_memory(error: BaseException) -> bool:
    return (isinstance(error, (torch.OutOfMemoryError, MemoryError))
            or any(words in str(error) for words in COMPLAINTS))

"""How does an exported network predict? onnxruntime computes what is in the ONNX file."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from unet_resnet.checkpoint import Split
from unet_resnet.files import check_extra

# By device, the faster first; onnxruntime-openvino and onnxruntime-gpu have the others.
PROVIDERS = {"cpu": ("OpenVINOExecutionProvider", "CPUExecutionProvider"),
             "cuda": ("CUDAExecutionProvider",)}


def load(path: Path, device: str) -> tuple[Callable[[Tensor], Tensor], float, Split, torch.device]:
    """A function from tiles (N, 3, h, w) uint8 to probabilities (N, 1, h, w) float32, the
    threshold, the split of the training and the device of a file of unet_resnet.export.

    device: cpu, cuda or auto, which is cuda if this onnxruntime can use it. Raises
    FileNotFoundError, ModuleNotFoundError without onnxruntime, and ValueError for other files and
    devices.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    check_extra("onnx", "a network in ONNX", "onnxruntime")
    import onnxruntime
    present = onnxruntime.get_available_providers()
    if device == "auto":
        device = "cuda" if "CUDAExecutionProvider" in present else "cpu"
    providers = [name for name in PROVIDERS.get(device, ()) if name in present]
    if not providers:
        raise ValueError(f"--device {device}: not for this ONNX file, since onnxruntime has "
                         f"{', '.join(present)}; use cpu")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Threads that spin while they wait would starve on a busy machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(path, options, providers)
        notes = session.get_modelmeta().custom_metadata_map
        threshold, split = float(notes["threshold"]), json.loads(notes["split"])
    except Exception as error:  # onnxruntime's own have no common class
        raise ValueError(f"{path}: not an ONNX file of unet_resnet.export, or damaged "
                         f"({type(error).__name__}); export it again") from error
    if session.get_inputs()[0].shape[2:] != ["height", "width"]:
        raise ValueError(f"{path}: takes tiles of one size only; export it without --deepness")

    def probability(tiles: Tensor) -> Tensor:
        image = (tiles.float() / 255).numpy()
        return torch.from_numpy(session.run(None, {"image": image})[0])
    return probability, threshold, split, torch.device(device)

"""How does an exported network predict? onnxruntime computes what is in the ONNX file."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from unet_resnet.checkpoint import Split
from unet_resnet.files import check_extra

# On the CPU, which is what the file is for; the faster first, which onnxruntime-openvino has.
PROVIDERS = ("OpenVINOExecutionProvider", "CPUExecutionProvider")


def load(path: Path, device: str) -> tuple[Callable[[Tensor], Tensor], float, Split]:
    """A function from tiles (N, 3, h, w) uint8 to probabilities (N, 1, h, w) float32, and the
    threshold and the split of the training in a file of unet_resnet.export.

    device: cpu or auto. Raises FileNotFoundError, ModuleNotFoundError without onnxruntime, and
    ValueError for other files and devices.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    check_extra("onnx", "a network in ONNX", "onnxruntime")
    import onnxruntime
    if device not in ("auto", "cpu"):
        raise ValueError(f"--device {device}: ONNX files are computed on the CPU; use cpu, or the "
                         "checkpoint that this file was exported from")
    present = onnxruntime.get_available_providers()
    providers = [name for name in PROVIDERS if name in present]
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
    return probability, threshold, split

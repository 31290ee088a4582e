"""How does a trained network leave Python? As one ONNX file, which many runtimes can read.

Normalisation, padding and sigmoid are in the graph: it takes RGB in 0..1 of any size and returns
probabilities. The threshold is in its metadata. Its results are compared with torch's before the
file is written.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from unet_resnet import checkpoint
from unet_resnet.files import check_extra, check_new, written_whole
from unet_resnet.inference.fuse import fuse_batchnorm
from unet_resnet.model import UNetResNet
from unet_resnet.synthetic import pavement

PACKAGES = ("onnx", "onnxruntime", "onnxscript")  # torch's exporter imports the first and the last
OPSET = 18  # torch 2.14 would use 20, which older runtimes cannot read
TOLERANCE = 1e-4  # the largest accepted difference between a probability and torch's
AXES = ("batch", None, "height", "width")  # None: the number of channels is fixed


class ExportedGraph(nn.Module):
    """The network as one graph for images of any size.

    Input: (N, 3, H, W) float32 RGB in 0..1, any H and W from 1 up.
    Output: (N, 1, H, W) probability of crack.
    """

    def __init__(self, model: UNetResNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        rows, columns = (self._padded(size) for size in (height, width))
        image = image.index_select(-2, rows).index_select(-1, columns)
        return self.model(image)[..., :height, :width].sigmoid()

    def _padded(self, size: int) -> Tensor:
        """For each row (or column) of the padded image, the one it copies: the last is repeated.

        The model pads in the same way, but in a branch, which a graph would fix for one size.
        """
        stride = self.model.encoder.stride
        # Not -(-size // stride): ONNX rounds integer quotients towards zero.
        return torch.arange((size + stride - 1) // stride * stride).clamp(max=size - 1)


def export(checkpoint_path: Path, onnx_path: Path) -> str:
    """Write the network of a checkpoint as one ONNX file; returns one line that says so.

    Raises ModuleNotFoundError if a package is missing, FileExistsError if `onnx_path` exists, and
    OSError or ValueError if the checkpoint cannot be read, the file cannot be written, or
    onnxruntime's probabilities differ from torch's.
    """
    check_extra("onnx", "exporting", *PACKAGES)
    check_new(onnx_path)
    model, content = checkpoint.load(checkpoint_path)
    photo = pavement.draw(0, size=128)[0][None, :, 1:, 31:] / 255  # odd sizes, to be padded
    with torch.no_grad():
        expected = model(photo).sigmoid()
    graph = to_onnx(model, content.threshold)
    difference = (run(graph, photo) - expected).abs().max().item()
    if not difference <= TOLERANCE:  # also true of NaN
        raise ValueError(f"{checkpoint_path}: onnxruntime's probabilities differ from torch's by "
                         f"{difference:.1e}, more than {TOLERANCE}; nothing is written. Try "
                         f"other versions of {', '.join(PACKAGES)}")
    with written_whole(onnx_path) as file:
        file.write(graph)
    return (f"{onnx_path}: {len(graph) / 1e6:.0f} MB, threshold {content.threshold:g}, "
            f"differs from torch by {difference:.1e} at most")


def to_onnx(model: UNetResNet, threshold: float) -> bytes:
    """The content of an ONNX file with this model. Changes the model: its BatchNorm is fused."""
    image = torch.zeros(2, 3, 70, 45)  # any sizes but 0 and 1, which the exporter treats as fixed
    sizes = {axis: Dim.DYNAMIC for axis, name in enumerate(AXES) if name}
    proto = torch.onnx.export(
        ExportedGraph(fuse_batchnorm(model)).eval(), (image,), dynamo=True, verbose=False,
        input_names=["image"], output_names=["probability"], opset_version=OPSET,
        dynamic_shapes={"image": sizes}).model_proto
    tidy(proto.graph)
    about = {"threshold": threshold, "blocks": json.dumps(model.blocks),
             "widths": json.dumps(model.widths),
             "input": "image: (batch, 3, height, width) float32, RGB in 0..1, any size",
             "output": "probability: (batch, 1, height, width) float32; crack: >= threshold"}
    del proto.metadata_props[:]
    for key, value in about.items():
        proto.metadata_props.add(key=key, value=str(value))
    return proto.SerializeToString()


def tidy(graph: Any) -> None:
    """Name the dynamic sizes of an onnx.GraphProto, and remove the exporter's notes from it: source
    lines, paths on this machine."""
    del graph.value_info[:]  # inner shapes, which a runtime infers by itself
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
    for value in (*graph.input, *graph.output):
        for dim, name in zip(value.type.tensor_type.shape.dim, AXES):
            if name:  # the exporter's is s35 or Min(s35, 32 * ((s35 + 31) // 32))
                dim.dim_param = name


def run(graph: bytes, image: Tensor) -> Tensor:
    """onnxruntime's result for an image (N, 3, H, W), on the CPU."""
    import onnxruntime
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"image": image.numpy()})[0])

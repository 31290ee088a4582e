"""How does a trained network leave Python? As one ONNX file, which many runtimes can read.

Normalisation, padding and sigmoid are in the graph: it takes RGB in 0..1 of any size and returns
probabilities. Threshold and split are in its metadata. Its results are compared with torch's before
the file is written.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from unet_resnet import checkpoint
from unet_resnet.checkpoint import Checkpoint
from unet_resnet.export import int8
from unet_resnet.files import atomic_write, check_extra, check_new
from unet_resnet.images import read_photo
from unet_resnet.inference.fuse import fuse_batchnorm
from unet_resnet.model import UNetResNet
from unet_resnet.synthetic import pavement

PACKAGES = ("onnx", "onnxruntime", "onnxscript")  # torch's exporter imports the first and the last
OPSET = 18  # older runtimes cannot read 20, the default of torch 2.14
TOLERANCE = 1e-4  # the largest accepted difference between a probability and torch's
INT8_TOLERANCE = 0.02  # in 8 bits: the largest accepted mean difference
AXES = ("batch", None, "height", "width")  # None: the number of channels is fixed
# For Deepness, a plugin of QGIS: side of a tile in pixels, overlap in per cent.
DEEPNESS_TILE, DEEPNESS_OVERLAP = 1024, 10


class ExportedGraph(nn.Module):
    """The network as one graph for images of any size.

    (N, 3, h, w) float32 RGB in 0..1 -> (N, 1, h, w) probability of crack.
    """

    def __init__(self, model: UNetResNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        image = image.index_select(-2, self._padded(height)).index_select(-1, self._padded(width))
        return self.model(image)[..., :height, :width].sigmoid()

    def _padded(self, size: int) -> Tensor:
        """For each row (or column) of the padded image, the one it copies: the last is repeated.

        The model pads in the same way, but in a branch, which a graph would fix for one size.
        """
        stride = self.model.encoder.stride
        # Not -(-size // stride): ONNX rounds integer quotients towards zero.
        return torch.arange((size + stride - 1) // stride * stride).clamp(max=size - 1)


def export(checkpoint_path: Path, onnx_path: Path, photos: Sequence[Path] | None = None,
           resolution: float | None = None) -> str:
    """Write the network of a checkpoint as one ONNX file; returns one line that says so.

    photos: if given, the network computes in 8 bits (export/int8.py), calibrated with them or, if
    there are none, with synthetic pavement. resolution: if given, the file is for the QGIS plugin
    Deepness, which scales maps to that many centimetres per pixel and cuts them into tiles.

    Raises ModuleNotFoundError if a package is missing, FileExistsError if `onnx_path` exists, and
    OSError or ValueError if checkpoint or photos cannot be read, the file cannot be written, or
    onnxruntime's probabilities differ from torch's.
    """
    check_extra("onnx", "exporting", *PACKAGES)
    check_new(onnx_path)
    model, content = checkpoint.load(checkpoint_path)
    size = (DEEPNESS_TILE, DEEPNESS_TILE) if resolution else None
    height, width = size or (127, 97)  # odd sizes, to be padded
    image = pavement.render(0, size=max(height, width))[0][None, :, :height, :width] / 255
    with torch.no_grad():
        expected = model(image).sigmoid()
    model, about = fuse_batchnorm(model), describe(content, resolution)
    if photos is None:
        graph = to_onnx(model, about, size)
    else:
        calibration = [int8.center_crop(read_photo(path)) for path in photos] or [
            pavement.render(number)[0] for number in range(1, 1 + int8.SYNTHETIC)]
        graph = int8.to_int8(to_onnx(int8.replace_upconvs(model), about, size), calibration, size)
    difference = (run(graph, image) - expected).abs()
    most, mean = difference.max().item(), difference.mean().item()
    if not (most <= TOLERANCE if photos is None else mean <= INT8_TOLERANCE):  # also true of NaN
        raise ValueError(f"{checkpoint_path}: onnxruntime's probabilities differ from torch's by "
                         f"{most:.1e} at most, {mean:.1e} on average; nothing is written. Try "
                         f"other versions of {', '.join(PACKAGES)}, or other photos after --int8")
    with atomic_write(onnx_path) as file:
        file.write(graph)
    return (f"{onnx_path}: {len(graph) / 1e6:.0f} MB, threshold {content.threshold:g}, differs "
            f"from torch by {most:.1e} at most, {mean:.1e} on average")


def describe(content: Checkpoint, resolution: float | None) -> dict[str, str]:
    """The metadata of the file, keys and values."""
    about = {"threshold": str(content.threshold), "split": json.dumps(content.split),
             "input": "image: (batch, 3, height, width) float32, RGB in 0..1",
             "output": "probability: (batch, 1, height, width) float32; crack: >= threshold"}
    deepness = {
        "model_type": "Segmentor", "class_names": {"0": "crack"}, "resolution": resolution,
        "tile_size": DEEPNESS_TILE, "tiles_overlap": DEEPNESS_OVERLAP,
        "seg_thresh": content.threshold,
        "seg_small_segment": 0}  # a median filter, which would erase thin cracks
    if resolution:  # the plugin reads JSON
        about |= {key: json.dumps(value) for key, value in deepness.items()}
    return about


def to_onnx(model: UNetResNet, about: dict[str, str], size: tuple[int, int] | None) -> bytes:
    """The content of an ONNX file with this model, whose BatchNorm is fused, for images of any
    number and size, or for one image of the given height and width."""
    if size:
        image, dynamic = torch.zeros(1, 3, *size), None
    else:  # any sizes but 0 and 1, which the exporter treats as fixed
        image = torch.zeros(2, 3, 70, 45)
        dynamic = {"image": {axis: Dim.DYNAMIC for axis, name in enumerate(AXES) if name}}
    proto = torch.onnx.export(
        ExportedGraph(model).eval(), (image,), dynamo=True, verbose=False, input_names=["image"],
        output_names=["probability"], opset_version=OPSET, dynamic_shapes=dynamic).model_proto
    tidy(proto.graph)
    del proto.metadata_props[:]
    for key, value in about.items():
        proto.metadata_props.add(key=key, value=value)
    return proto.SerializeToString()


def tidy(graph: Any) -> None:
    """Name the dynamic sizes of an onnx.GraphProto, and remove the exporter's notes from it, which
    have source lines and paths of this machine."""
    del graph.value_info[:]  # inner shapes, which a runtime infers
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
    for value in (*graph.input, *graph.output):
        for dim, name in zip(value.type.tensor_type.shape.dim, AXES):
            if name and dim.dim_param:  # until now s35 or Min(s35, 32 * ((s35 + 31) // 32))
                dim.dim_param = name


def run(graph: bytes, image: Tensor) -> Tensor:
    """onnxruntime's result for an image (N, 3, H, W), on the CPU."""
    import onnxruntime  # an extra
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"image": image.numpy()})[0])

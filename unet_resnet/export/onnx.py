"""How does a trained network leave Python? As one ONNX file, which many runtimes can read.

    python -m unet_resnet.export best.pt cracks.onnx     # pip install "unet_resnet[onnx]"
    python -m unet_resnet.export best.pt cracks.pt       # for this package, a quarter of the size

Normalisation, padding and sigmoid are in the graph, which takes RGB in 0..1 as everything outside
the model does; the threshold is in its metadata. The file is compared with torch before it gets
its name.
"""

import argparse
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from unet_resnet import checkpoint
from unet_resnet.synthetic import pavement
from unet_resnet.files import check_ours, print_any_name, written_whole
from unet_resnet.inference.fuse import fold_batchnorm
from unet_resnet.model import UNetResNet
from unet_resnet.files import check_extra, check_place

PACKAGES = ("onnx", "onnxruntime", "onnxscript")  # torch's exporter imports the first and the last
PRODUCER = "unet_resnet.export"  # stands in every file written here, so that a rerun knows its own
MARK = b"\x12" + bytes([len(PRODUCER)]) + PRODUCER.encode()  # as field 2, producer_name, in it
KIND, VERSION = "unet_resnet onnx", 1
OPSET = 18  # torch 2.14 would take 20, which older runtimes cannot read
TOLERANCE = 1e-4  # largest difference of a probability to torch's
AXES = ("batch", None, "height", "width")  # None: as many as there are channels


class Predictor(nn.Module):
    """The network as a graph that serves any size.

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
        """The row (or column) that each one of the padded image copies: the last is repeated.

        The model pads in the same way, but in a branch that a graph could take for one size only.
        """
        stride = self.model.encoder.stride
        # Not -(-size // stride): ONNX rounds quotients of whole numbers towards zero.
        return torch.arange((size + stride - 1) // stride * stride).clamp(max=size - 1)


def export(checkpoint_path: Path, onnx_path: Path) -> str:
    """Write the network of a checkpoint as one ONNX file; returns in one line what was written.

    Raises ModuleNotFoundError where a package is missing; OSError or ValueError where the
    checkpoint cannot be read, where `onnx_path` cannot be written or is a file not written here,
    and where onnxruntime's probabilities differ from torch's. `onnx_path` is then as it was.
    """
    check_extra("onnx", "exporting", *PACKAGES)
    check_place(onnx_path)
    check_ours(onnx_path, MARK, "choose another name")
    model, content = checkpoint.load(checkpoint_path)
    photos = drawings()
    with torch.no_grad():
        expected = [model(photo).sigmoid() for photo in photos]
    graph = to_onnx(model, content.threshold)
    difference = torch.stack([(found - wanted).abs().max() for found, wanted
                              in zip(run(graph, photos), expected)]).max().item()
    if not difference <= TOLERANCE:  # so put, it is true of NaN
        raise ValueError(f"{checkpoint_path}: onnxruntime's probabilities differ from torch's by "
                         f"{difference:.1e}, more than {TOLERANCE}; nothing is written. Try "
                         f"other versions of {', '.join(PACKAGES)}")
    with written_whole(onnx_path) as file:
        file.write(graph)
    return (f"{onnx_path}: {len(graph) / 1e6:.0f} MB, threshold {content.threshold:g}, "
            f"differs from torch by {difference:.1e} at most")


def drawings() -> list[Tensor]:
    """Two photos of odd sizes, (1, 3, h, w) RGB in 0..1, with cracks in them."""
    photo, _ = pavement.draw(0, size=128)
    return [photo[None, :, -height:, -width:] / 255 for height, width in ((127, 97), (45, 71))]


def to_onnx(model: UNetResNet, threshold: float) -> bytes:
    """The content of an ONNX file with this model, which is changed: its BatchNorm is folded."""
    image = torch.zeros(2, 3, 70, 45)  # its sizes mean nothing, only 0 and 1 would be special
    sizes = {axis: Dim.DYNAMIC for axis, name in enumerate(AXES) if name}
    with silence():
        proto = torch.onnx.export(
            Predictor(fold_batchnorm(model)).eval(), (image,), dynamo=True, verbose=False,
            input_names=["image"], output_names=["probability"], opset_version=OPSET,
            dynamic_shapes={"image": sizes}).model_proto
    tidy(proto.graph)
    about = {"kind": KIND, "version": VERSION, "threshold": threshold,
             "blocks": json.dumps(model.blocks), "widths": json.dumps(model.widths),
             "input": "image: (batch, 3, height, width) float32, RGB in 0..1, any size",
             "output": "probability: (batch, 1, height, width) float32; crack: >= threshold"}
    del proto.metadata_props[:]
    for key, value in about.items():
        proto.metadata_props.add(key=key, value=str(value))
    proto.producer_name, proto.producer_version = PRODUCER, str(VERSION)
    return proto.SerializeToString()


def tidy(graph: Any) -> None:
    """Name the dynamic sizes of an onnx.GraphProto, and drop the exporter's notes from it: lines
    of source, paths on this machine."""
    del graph.value_info[:]  # shapes within the graph, which a runtime infers by itself
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
    for value in (*graph.input, *graph.output):
        for dim, name in zip(value.type.tensor_type.shape.dim, AXES):
            if name:  # the exporter's is s35 or Min(s35, 32 * ((s35 + 31) // 32))
                dim.dim_param = name


@contextmanager
def silence() -> Iterator[None]:
    """No warnings in the block: torch's exporter warns of its own inner workings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def run(graph: bytes, images: Sequence[Tensor]) -> list[Tensor]:
    """What onnxruntime makes of each image on the CPU."""
    import onnxruntime
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return [torch.from_numpy(session.run(None, {"image": image.numpy()})[0]) for image in images]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m unet_resnet.export",
                                     description="Write a trained network for others.")
    parser.add_argument("checkpoint", type=Path, help="a run's folder (its best.pt) or a "
                        "file of train.py; cracks: the network that comes with the project")
    parser.add_argument("output", type=Path, help="the file to write: NAME.onnx, about 185 MB for "
                        "ResNet-101, or NAME.pt, a checkpoint with weights in 8 bits, 47 MB")
    args = parser.parse_args()
    print_any_name()
    ways = {".pt": checkpoint.shrink, ".onnx": export}
    if args.output.suffix not in ways:
        raise ValueError(f"{args.output}: no file to write; its name should end in .onnx or .pt")
    print(ways[args.output.suffix](args.checkpoint, args.output))

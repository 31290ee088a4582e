"""How does a network compute in whole numbers of 8 bits? As an ONNX file, quantized statically.

Weights and feature maps become bytes with a scale (Jacob et al., 2018). The scales of maps must be
known beforehand: photos are sent through the network, and the extremes of each map are noted.
"""

import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unet_resnet.decoder import UpConv
from unet_resnet.model import UNetResNet

SYNTHETIC = 16  # images for calibration, if no photos are given
SIDE = 640  # pixels; a larger photo is cropped


class ShuffledUpConv(nn.Module):
    """`UpConv` as a 2x2 convolution and a pixel shuffle: runtimes have convolutions in 8 bits, but
    no transposed ones.

    A pixel of the small map becomes four, each of which sees it and one neighbour in each
    direction. So four pixels of the large map lie between four of the small one: a 2x2 convolution
    with four times the outputs computes them. The outermost lie beyond the border and are cropped.
    """

    def __init__(self, up: UpConv) -> None:
        super().__init__()
        kernel = up.weight.detach()
        for dim, block in ((2, 1), (4, 2)):  # rows, then columns: (outputs, 2, 2, inputs, 2, 2)
            first, second, third = kernel.unbind(dim)
            kernel = torch.stack((torch.stack((first + second, third), dim),
                                  torch.stack((first, second + third), dim)), block)
        outputs, inputs = up.weight.shape[:2]
        self.conv = nn.Conv2d(inputs, 4 * outputs, 2, padding=1)
        self.conv.weight.data = kernel.flatten(0, 2)
        self.conv.bias.data = up.bias.detach().repeat_interleave(4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pixel_shuffle(self.conv(x), 2)
        return x[..., 1:-1, 1:-1].clone()  # the exporter cannot add to a view in place


def replace_upconvs(model: UNetResNet) -> UNetResNet:
    """The same network, without transposed convolutions; its BatchNorm must be fused. In place."""
    for level in model.decoder.children():
        if hasattr(level, "up"):
            level.up = ShuffledUpConv(level.up)
    return model


def center_crop(photo: Tensor, side: int = SIDE) -> Tensor:
    """(3, h, w) -> its middle, at most `side` pixels high and wide."""
    top, left = (max(0, (length - side) // 2) for length in photo.shape[1:])
    return photo[:, top:top + side, left:left + side]


def to_int8(graph: bytes, photos: Sequence[Tensor], size: tuple[int, int] | None) -> bytes:
    """An ONNX file of a network with weights and maps in 8 bits.

    graph: from `to_onnx`, of a network without transposed convolutions; photos: (3, h, w) uint8,
    for calibration; size: height and width, if the graph takes no others.
    """
    from onnxruntime.quantization import QuantType, quantize_static

    def inputs() -> Iterator[dict[str, np.ndarray]]:
        for photo in photos:
            image = photo[None] / 255
            if size:
                image = F.interpolate(image, size, mode="bilinear", antialias=True)
            yield {"image": image.numpy()}

    reader = SimpleNamespace(get_next=partial(next, inputs(), None))  # a CalibrationDataReader
    with tempfile.TemporaryDirectory() as folder:
        exact, small = Path(folder, "exact.onnx"), Path(folder, "small.onnx")
        exact.write_bytes(graph)
        # With signed maps, onnxruntime 1.32 adds those of the encoder in float: half as fast.
        quantize_static(exact, small, reader, per_channel=True, activation_type=QuantType.QUInt8)
        return small.read_bytes()

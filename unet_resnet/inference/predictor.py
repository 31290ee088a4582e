"""How does a trained network become a function from photographs to probabilities?

    from unet_resnet import load, predict

    predictor = load()                              # or load("runs/my_cracks-1")
    probability = predict(predictor, "bridge.jpg")  # or a PIL image, an array, a tensor
    crack = probability >= predictor.threshold
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from unet_resnet import checkpoint, tiling
from unet_resnet.checkpoint import Split
from unet_resnet.device import memory_format, pick_device, pick_precision, probability_function
from unet_resnet.images import check_megapixels, read_photo, to_rgb
from unet_resnet.inference import runtime
from unet_resnet.inference.components import remove_small_areas
from unet_resnet.inference.fuse import fuse_batchnorm
from unet_resnet.model import UNetResNet

MIN_AREA = 50  # pixels, infer.py's default
Picture = str | Path | Image.Image | np.ndarray | Tensor


@dataclass
class Predictor:
    """A trained network on its device, ready to predict; `load` makes it."""

    probability: Callable[[Tensor], Tensor]  # of tiles (N, 3, h, w) uint8: (N, 1, h, w) in 0..1
    threshold: float  # probability from which a pixel is crack, k/256
    split: Split  # the photos it was trained and validated on
    device: torch.device

    def __call__(self, photo: Tensor, tile: int = tiling.TILE,
                 overlap: float = tiling.OVERLAP, scales: Sequence[float] = (1.0,),
                 tta: bool = False, batch: int = 1,
                 dtype: torch.dtype = torch.float32, min_area: int = 0) -> Tensor:
        """Probability of crack for each pixel of a photo of any size.

        photo: (3, h, w) uint8 RGB. Returns (1, h, w) on the CPU, float32 in 0..1 or, with dtype
        uint8, in 256ths (`tiling.to_bytes`). `scales`: the photo is enlarged or reduced by each of
        them, and the predictions are averaged. `tta` averages the eight flips and turns of each
        tile. `batch` tiles go through the network at once. Areas of fewer than `min_area` pixels
        that reach the threshold are put just below it: pores, chips and noise.

        Raises ValueError for scales that are not above 0 or that enlarge the photo beyond the
        limit of megapixels, and what `tiling.predict` raises.
        """
        if not scales or not all(0 < scale < math.inf for scale in scales):
            raise ValueError(f"scales {list(scales)}; expected one or more above 0, e.g. [1.0]")
        probability = with_tta(self.probability) if tta else self.probability
        results = []
        for scale in scales:
            height, width = (max(1, side * scale) for side in photo.shape[1:])
            if scale > 1:
                check_megapixels(height, width)
            scaled = resize(photo, (round(height), round(width)))
            found = tiling.predict(probability, scaled, tile, overlap, batch, dtype)
            results.append(resize(found, photo.shape[1:]))
        mean = results[0]
        if len(results) > 1:  # for uint8, the mean is rounded down
            mean = torch.stack(results).mean(0, dtype=torch.float32).to(dtype)
        return suppress_small_areas(mean, self.threshold, min_area)


def with_tta(probability: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The mean over the eight flips and quarter turns of each tile, at eight times the cost."""
    def mean(tiles: Tensor) -> Tensor:
        total = 0
        for turns in range(4):
            for flip in ([], [-1]):
                turned = tiles.rot90(turns, (-2, -1)).flip(flip)
                total = total + probability(turned).flip(flip).rot90(-turns, (-2, -1)).cpu()
        return total / 8
    return mean


def resize(picture: Tensor, size: Sequence[int]) -> Tensor:
    """(c, h, w) of bytes or floats at another size; the same tensor if it has that already."""
    if tuple(picture.shape[1:]) == tuple(size):
        return picture
    return F.interpolate(picture[None], tuple(size), mode="bilinear", antialias=True)[0]


def suppress_small_areas(probability: Tensor, threshold: float, min_area: int) -> Tensor:
    """Put small areas that reach the threshold 1/256 below it, in place; (1, h, w), of floats in
    0..1 or of uint8 in 256ths."""
    if min_area > 1 and threshold > 0:
        unit = 256 if probability.dtype == torch.uint8 else 1
        crack = probability >= threshold * unit
        specks = crack & ~remove_small_areas(crack[0], min_area)
        probability[specks] = threshold * unit - unit / 256
    return probability


def load(path: str | Path = checkpoint.SHIPPED, device: str = "auto", precision: str = "auto",
         threshold: float | None = None) -> Predictor:
    """The network in a checkpoint of train.py: a file, a run's folder with best.pt, or by default
    the weights that are part of the package; or in an ONNX file of unet_resnet.export.

    device: "cpu", "cuda", ..., auto for the fastest present (with ONNX, the CPU); precision:
    "fp32", "bf16", "fp16", auto for what the hardware is fast at; threshold: instead of the file's,
    rounded to a 256th.

    Raises FileNotFoundError, ValueError for a file that is not such a checkpoint, and for ONNX
    ModuleNotFoundError without onnxruntime.
    """
    if Path(path).suffix == ".onnx":
        if precision != "auto":
            raise ValueError(f"--precision {precision}: an ONNX file has its own; omit it")
        probability, own, split = runtime.load(Path(path), device)
        where = torch.device("cpu")
    else:
        where = pick_device(device)
        dtype = pick_precision(precision, where)
        model, content = checkpoint.load(Path(path))
        own, split = content.threshold, content.split
        probability = optimized_function(model, where, dtype)
    own = own if threshold is None else threshold
    if not 0 <= own <= 1:
        raise ValueError(f"threshold {own}; expected a probability from 0 to 1")
    return Predictor(probability, min(round(own * 256), 255) / 256, split, where)


def optimized_function(model: UNetResNet, device: torch.device,
                       precision: torch.dtype) -> Callable[[Tensor], Tensor]:
    """`probability_function` of the model as it predicts fastest, changed in place: it can be
    neither trained nor saved afterwards."""
    # In float32, whatever type the program around us prefers.
    model = fuse_batchnorm(model.float()).to(device, memory_format=memory_format(device))
    for part in model.children():  # normalisation, in the model itself, stays in float32
        part.to(precision)  # once; autocast would convert all weights for each batch of tiles
    return probability_function(model, device, precision)


def predict(predictor: Predictor, picture: Picture | Sequence[Picture], **options: Any
            ) -> np.ndarray | list[np.ndarray]:
    """Probability of crack for each pixel of a picture, (h, w) float32 in 0..1.

    picture: the path of a photo, a PIL image, an array (h, w, 3) or (h, w) or a tensor (3, h, w),
    of bytes or of floats in 0..1. Several in a list or tuple, or as an array (n, h, w, 3) or a
    tensor (n, 3, h, w), give a list of results. options: those of calling the predictor.

    Raises FileNotFoundError, or ValueError for anything else.
    """
    if isinstance(picture, (list, tuple)) or getattr(picture, "ndim", None) == 4:
        return [predict(predictor, each, **options) for each in picture]
    return predictor(to_photo(picture), **options)[0].numpy()


def to_photo(picture: Picture) -> Tensor:
    """(3, h, w) uint8 RGB from whatever `predict` takes."""
    if isinstance(picture, (str, Path)):
        return read_photo(Path(picture))
    if isinstance(picture, Image.Image):
        return to_rgb(picture)
    photo, shape = picture, getattr(picture, "shape", type(picture).__name__)
    if isinstance(picture, np.ndarray) and picture.dtype.kind in "biuf":
        photo = torch.from_numpy(picture.copy())  # torch wants it writable and in order
        photo = photo.expand(3, -1, -1) if photo.dim() == 2 else photo.movedim(-1, 0)
    if not isinstance(photo, Tensor) or photo.dim() != 3 or len(photo) != 3 or not photo.numel():
        raise ValueError(f"a picture of {shape}; expected a path, a PIL image, an array (h, w, 3) "
                         "or (h, w), or a tensor (3, h, w)")
    if photo.is_floating_point() and ((photo >= 0) & (photo <= 1)).all():
        return (photo * 255).round().to(torch.uint8)
    if photo.dtype != torch.uint8:
        raise ValueError(f"a picture of {photo.dtype}; expected bytes, or floats in 0..1")
    return photo

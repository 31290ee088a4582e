"""How are predictions shown? As overlays, comparisons and contact sheets, all (3, h, w) uint8."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

# Okabe and Ito (2008): distinguishable with every common form of colour blindness.
ORANGE, SKY, GREEN, PURPLE = (230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167)
FOUND, FALSE, MISSED, PREDICTED = GREEN, ORANGE, SKY, PURPLE
OPACITY = 0.65
GAP, HEADING_HEIGHT = 4, 18  # pixels between the pictures of a sheet, and of a line above them
HEADINGS = ("photo", "truth", "probability", "green: found, orange: false, blue: missed")


def overlay(photo: Tensor, prediction: Tensor, truth: Tensor | None = None) -> Tensor:
    """The photo with the predicted cracks in purple; if the truth is known, with true cracks that
    were found in green, false ones in orange and missed ones in blue.

    Photo (3, h, w) uint8; masks (1, h, w), anything non-zero is crack.
    """
    prediction = prediction.bool()
    layers = [(PREDICTED, prediction)]
    if truth is not None:
        truth = truth.bool()
        layers = [(FOUND, prediction & truth), (FALSE, prediction & ~truth),
                  (MISSED, truth & ~prediction)]
    result = photo.clone()
    for colour, mask in layers:
        ink, where = torch.tensor(colour).view(3, 1), mask[0]
        result[:, where] = (photo[:, where] * (1 - OPACITY) + ink * OPACITY).to(torch.uint8)
    return result


def grey(mask: Tensor) -> Tensor:
    """A mask or probability (1, h, w) in 0..1 as a grey picture (3, h, w)."""
    return (mask * 255).round().to(torch.uint8).expand(3, -1, -1)


def fit(picture: Tensor, side: int) -> Tensor:
    """The picture (3, h, w) scaled to fit into a square, on a dark ground."""
    height, width = picture.shape[-2:]
    scale = side / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    picture = F.interpolate(picture[None].float(), size, mode="bilinear", antialias=True)[0]
    square = torch.full((3, side, side), 32, dtype=torch.uint8)
    top, left = (side - size[0]) // 2, (side - size[1]) // 2
    square[:, top:top + size[0], left:left + size[1]] = picture.round().to(torch.uint8)
    return square


def comparison(photo: Tensor, truth: Tensor, probability: Tensor, threshold: float) -> list[Tensor]:
    """A row under `HEADINGS`: of a photo (3, h, w) uint8, its truth and probability (1, h, w)."""
    return [photo, grey(truth), grey(probability), overlay(photo, probability >= threshold, truth)]


def contact_sheet(rows: Sequence[Sequence[Tensor]], side: int = 320,
                  headings: Sequence[str] = ()) -> Tensor:
    """Rows of pictures of any size as one picture, each in a square of `side` pixels; above them
    the headings of the columns."""
    columns, top = max(len(row) for row in rows), HEADING_HEIGHT if headings else 0
    step = side + GAP
    page = torch.full((3, top + len(rows) * step - GAP, columns * step - GAP), 255,
                      dtype=torch.uint8)
    for x, text in enumerate(headings):
        band = page[:, :top, x * step:x * step + side]
        band[:] = caption(torch.zeros_like(band), text)
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            place = page[:, top + y * step:, x * step:]
            place[:, :side, :side] = fit(picture, side)
    return page


def caption(picture: Tensor, text: str) -> Tensor:
    """The picture with a line of text in its upper left corner."""
    image = Image.fromarray(picture.permute(1, 2, 0).numpy())
    draw = ImageDraw.Draw(image)
    draw.rectangle(draw.textbbox((4, 2), text), fill=(0, 0, 0))
    draw.text((4, 2), text, fill=(255, 255, 255))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)

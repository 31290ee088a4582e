"""How wide are the areas of a mask, and where is their middle?

Masks are bytes of 0 and 1: comparing neighbouring bytes is four to ten times faster than pooling
floats.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

EROSIONS = 32  # areas more than 64 pixels wide have no line along their middle


def width_classes(mask: Tensor, limits: Sequence[int]) -> Tensor:
    """How many of the limits the local width of a crack reaches, at each of its pixels.

    mask: (..., h, w) uint8 of 0 and 1; limits: whole pixels. Returns the mask's shape and type,
    0 outside the cracks.

    The width at a pixel is the side of the largest square of crack pixels that contains it: a
    morphological opening at each limit. A diagonal crack thus counts as narrower than it is, by
    a factor of at most the root of 2. Beyond the edge of the mask, no crack is assumed.
    """
    classes = torch.zeros_like(mask)
    for side in limits:
        eroded = min_filter(pad(mask, [side - 1] * 4), side)
        classes += 1 - min_filter(1 - eroded, side)
    return classes


def min_filter(image: Tensor, side: int) -> Tensor:
    """(..., h, w) -> (..., h - side + 1, w - side + 1): the minimum of each square."""
    reached = 1
    while reached < side:
        step = min(reached, side - reached)  # squares that overlap or touch make a larger one
        image = torch.minimum(image[..., step:, :], image[..., :-step, :])
        image = torch.minimum(image[..., step:], image[..., :-step])
        reached += step
    return image


def skeletons(masks: Tensor) -> Tensor:
    """The centre lines of masks (..., h, w) uint8 of 0 and 1; the same shape and type.

    Lantuejoul's skeleton (Serra, 1982): what an opening by a 3x3 square removes from the mask and
    from each of its erosions. It follows the middle of a crack, with gaps that a tube bridges; it
    also marks corners, and bumps of one pixel on an edge. Cracks are assumed to continue beyond the
    edge of the mask.
    """
    lines = torch.zeros_like(masks)
    for erosion in range(EROSIONS):
        if erosion % 8 == 0 and not masks.any():  # rarely: a GPU must wait for the answer
            break
        eroded = erode(masks, 1)
        lines |= masks - dilate(eroded, 1)
        masks = eroded
    return lines


def erode(masks: Tensor, reach: int) -> Tensor:
    """Masks (..., h, w) uint8 of 0 and 1, eroded by a square of 2 * reach + 1 pixels; beyond the
    edge, the mask is assumed to continue."""
    return min_filter(pad(masks, [reach] * 4, value=1), 2 * reach + 1)


def dilate(masks: Tensor, reach: int) -> Tensor:
    """The same, dilated; beyond the edge there is nothing."""
    return 1 - erode(1 - masks, reach)

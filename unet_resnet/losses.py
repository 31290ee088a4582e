"""What is minimised, and what happens on an image without cracks?"""

import torch
from torch import Tensor
from torch.nn import functional as F

SKELETON = 0.5  # weight of the skeleton recall beside cross-entropy and Dice
TUBE = 2  # pixels on each side of a centre line that belong to it
EROSIONS = 32  # areas more than 64 pixels wide have no centre line: they are left to Dice


def crack_loss(logits: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """What train.py minimises, a scalar: `bce_dice_loss` plus a share of `skeleton_recall_loss`."""
    return (bce_dice_loss(logits, truth, weights=weights)
            + SKELETON * skeleton_recall_loss(logits, truth, weights=weights))


def dice_loss(logits: Tensor, truth: Tensor, smooth: float = 1.0,
              weights: Tensor | None = None) -> Tensor:
    """One minus the soft Dice coefficient of each image, averaged over the images.

    Logits (N, 1, H, W) of any float type; truth (N, 1, H, W) in 0..1; weights (N,) as in
    `bce_dice_loss`. Source: V-Net (Milletari et al., 2016), but the denominator has plain sums
    instead of squares.

    The mean is over images, not over the pixels of the batch, so that a batch in two halves has
    the same gradient as the batch whole. `smooth`, in pixels, keeps the quotient defined on an
    image without cracks: there the loss is S / (S + smooth) for S false pixels, and it pulls
    hardest when only a few of them are left.
    """
    probability, truth = logits.float().sigmoid().flatten(1), truth.float().flatten(1)
    overlap = (probability * truth).sum(1)
    area = probability.sum(1) + truth.sum(1)
    return _average(1 - (2 * overlap + smooth) / (area + smooth), weights)


def bce_dice_loss(logits: Tensor, truth: Tensor, bce: float = 1.0, dice: float = 1.0,
                  weights: Tensor | None = None) -> Tensor:
    """`bce` times the binary cross-entropy plus `dice` times the Dice loss, a scalar.

    Logits (N, 1, H, W) of any float type; truth (N, 1, H, W) in 0..1. Computed in float32, also
    inside autocast: sums over 200,000 pixels do not fit 16 bits. On an image without cracks the
    Dice part is nearly flat while many pixels are false; the cross-entropy clears those.

    weights: (N,), what each image counts instead of 1 / N, if the batch is part of a larger one.
    """
    entropy = F.binary_cross_entropy_with_logits(logits.float(), truth.float(), reduction="none")
    return (bce * _average(entropy.flatten(1).mean(1), weights)
            + dice * dice_loss(logits, truth, weights=weights))


def skeleton_recall_loss(logits: Tensor, truth: Tensor, smooth: float = 1.0,
                         weights: Tensor | None = None) -> Tensor:
    """One minus the share of each image's centre lines that is found, averaged over the images.

    Arguments as in `dice_loss`, truth 0 or 1. The lines are made 5 pixels wide, but no wider than
    the crack, so cracks count by their length: a crack of any width counts at most five times as
    much as a hairline. An image without cracks has the loss 0. Source: skeleton recall
    (Kirchhoff et al., 2024), but with a skeleton that is faster to compute than thinning.
    """
    truth = truth.float()
    tubes = F.max_pool2d(centre_lines(truth), 2 * TUBE + 1, stride=1, padding=TUBE) * truth
    found = (logits.float().sigmoid() * tubes).flatten(1).sum(1)
    return _average(1 - (found + smooth) / (tubes.flatten(1).sum(1) + smooth), weights)


def centre_lines(masks: Tensor) -> Tensor:
    """The skeletons of float masks of 0 and 1, (N, 1, H, W) to the same.

    Lantuejoul's skeleton (Serra, 1982): what an opening by a 3x3 square removes from the mask and
    from each of its erosions. It follows the middle of a crack, with gaps that a tube bridges.
    """
    lines = torch.zeros_like(masks)
    for erosion in range(EROSIONS):
        if erosion % 8 == 0 and not masks.any():  # rarely: a GPU must wait for the answer
            break
        eroded = -F.max_pool2d(-masks, 3, stride=1, padding=1)
        opened = F.max_pool2d(eroded, 3, stride=1, padding=1)
        lines = torch.maximum(lines, masks - opened)
        masks = eroded
    return lines


def _average(losses: Tensor, weights: Tensor | None) -> Tensor:
    return losses.mean() if weights is None else (losses * weights).sum()

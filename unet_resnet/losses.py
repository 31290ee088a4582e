"""What is minimised, and what happens on an image without cracks?"""

from torch import Tensor
from torch.nn import functional as F


def dice_loss(logits: Tensor, truth: Tensor, smooth: float = 1.0,
              weights: Tensor | None = None) -> Tensor:
    """One minus the soft Dice coefficient of each image, averaged over the images.

    Logits (N, 1, H, W) of any float type; truth (N, 1, H, W) in 0..1; weights (N,) as in
    `bce_dice_loss`. Source: V-Net (Milletari et al., 2016), with plain sums in the denominator in
    place of squares.

    The mean is over images, not over the pixels of the batch, so that a batch in two halves has
    the same gradient as the batch whole. `smooth`, in pixels, keeps the quotient defined on an
    image without cracks: there the loss is S / (S + smooth) for a predicted crack area of S
    pixels, which pulls hardest when only a few false pixels are left.
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

    weights: (N,), what each image counts in place of 1 / N, for a batch that is part of a larger.
    """
    entropy = F.binary_cross_entropy_with_logits(logits.float(), truth.float(), reduction="none")
    return (bce * _average(entropy.flatten(1).mean(1), weights)
            + dice * dice_loss(logits, truth, weights=weights))


def _average(losses: Tensor, weights: Tensor | None) -> Tensor:
    return losses.mean() if weights is None else (losses * weights).sum()

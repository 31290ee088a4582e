"""What is minimised, and what happens on an image without cracks?

All losses take logits (N, 1, H, W) of any float type and truth (N, 1, H, W) in 0..1, and compute in
float32 also inside autocast (sums over 200,000 pixels overflow float16 and are too coarse in
bfloat16). The parts return the loss of each image, (N,).
"""

from torch import Tensor
from torch.nn import functional as F

from unet_resnet.morphology import dilate, skeletons

SKELETON = 0.5  # weight of skeleton recall; cross-entropy and Dice have weight 1
SMOOTH = 1.0  # pixels added to numerator and denominator: defines the ratio without cracks
TUBE = 2  # pixels on each side of a centre line that belong to it


def crack_loss(logits: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """What train.py minimises: the mean over the images, a scalar.

    Two half batches thus give the same gradient as the whole batch. `weights` (N,) replaces the
    1 / N of each image if the batch is part of a larger one: with 2 of 8 images it is 1/8 for each.
    """
    losses = (bce_loss(logits, truth) + dice_loss(logits, truth)
              + SKELETON * skeleton_recall_loss(logits, truth))
    return losses.mean() if weights is None else (losses * weights).sum()


def bce_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """The binary cross-entropy, averaged over the pixels of each image.

    On an image without cracks the Dice loss is nearly flat while many pixels are false; there,
    the cross-entropy provides the gradient.
    """
    entropy = F.binary_cross_entropy_with_logits(logits.float(), truth.float(), reduction="none")
    return entropy.flatten(1).mean(1)


def dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """One minus the soft Dice coefficient of each image.

    Source: V-Net (Milletari et al., 2016), but the denominator has plain sums instead of squares.
    On an image without cracks it is S / (S + SMOOTH) for S false pixels. Its gradient is largest
    when only a few of them are left.
    """
    probability, truth = logits.float().sigmoid().flatten(1), truth.float().flatten(1)
    overlap = (probability * truth).sum(1)
    area = probability.sum(1) + truth.sum(1)
    return 1 - (2 * overlap + SMOOTH) / (area + SMOOTH)


def skeleton_recall_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """One minus the share of each image's skeletons that is found; truth must be 0 or 1.

    The skeletons are made 5 pixels wide, but no wider than the crack, so cracks count by their
    length: a crack of any width counts at most five times as much as a hairline. An image without
    cracks has the loss 0; the middle of areas more than 64 pixels wide (`morphology.EROSIONS`) is
    left to the other losses.
    Source: skeleton recall (Kirchhoff et al., 2024), but with a skeleton that is faster to compute
    than thinning.
    """
    cracks = truth.byte()
    tubes = dilate(skeletons(cracks), TUBE) * cracks
    found = (logits.float().sigmoid() * tubes).flatten(1).sum(1)
    return 1 - (found + SMOOTH) / (tubes.flatten(1).sum(1) + SMOOTH)

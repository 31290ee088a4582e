"""How does a trained network predict with fewer passes over its feature maps?

After training, a BatchNorm scales and shifts each channel by constants, which the convolution
before it can do itself (Jacob et al., 2018, section 3.2).
"""

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from unet_resnet.decoder import Level
from unet_resnet.model import UNetResNet


def fuse_batchnorm(model: UNetResNet) -> UNetResNet:
    """Fuse each BatchNorm with the convolution before it, in place; returns the model.

    Outputs stay the same up to rounding. For prediction only: the model must be in eval mode, or
    torch raises AssertionError, and can be neither trained nor saved afterwards.
    """
    for level in model.modules():
        if isinstance(level, Level) and level.side is not None:
            scale = level.bn1.weight / (level.bn1.running_var + level.bn1.eps).sqrt()
            with torch.no_grad():  # bn1 follows a sum: both parts take its scale, `up` its shift
                level.side.weight *= scale.view(-1, 1, 1, 1)
    for parent in list(model.modules()):
        children = list(parent.named_children())
        for (before, conv), (name, norm) in zip(children, children[1:]):
            if isinstance(norm, nn.BatchNorm2d):  # registered behind its convolution everywhere
                setattr(parent, before, fuse_conv_bn_eval(conv, norm))
                setattr(parent, name, nn.Identity())
    return model

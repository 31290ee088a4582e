"""How does a photo become one crack logit per pixel?"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unet_resnet.decoder import UNetDecoder
from unet_resnet.encoder import ResNetEncoder

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class UNetResNet(nn.Module):
    """U-Net (Ronneberger et al., 2015) on a ResNet encoder (He et al., 2015).

    `blocks` sets the encoder's depth (ResNet-101 by default), `widths` the channels of the five
    decoder levels. The weights are random; checkpoint.py loads trained ones.

    Input: (N, 3, H, W) RGB in 0..1 (not checked), any H and W from 1 up.
    Output: (N, 1, H, W) logits; their sigmoid is the probability of crack.
    """

    def __init__(self, blocks: Sequence[int] = (3, 4, 23, 3),
                 widths: Sequence[int] = (256, 128, 64, 32, 16)) -> None:
        super().__init__()
        self.blocks, self.widths = tuple(blocks), tuple(widths)
        self.encoder = ResNetEncoder(blocks)
        self.decoder = UNetDecoder(self.encoder.channels, widths)
        self.head = nn.Conv2d(widths[-1], 1, 3, padding=1)
        # Inside the model, so that training and inference cannot normalise differently.
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        x = (image - self.mean) / self.std
        right, below = -width % self.encoder.stride, -height % self.encoder.stride  # to a multiple
        if right or below:
            x = F.pad(x, (0, right, 0, below), mode="replicate")
        logits = self.head(self.decoder(*self.encoder(x)))
        return logits[..., :height, :width]

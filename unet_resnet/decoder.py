"""How does a U-Net climb back to full resolution?

U-Net (Ronneberger et al., 2015) doubles the resolution level by level and joins each encoder map
of that resolution. Departures from the paper: nearest upsampling in place of transposed
convolutions, which leave a checkerboard; padded convolutions, so that nothing is cropped;
BatchNorm after each.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Level(nn.Module):
    """Doubles the resolution, joins the skip (if there is one), and mixes with two 3x3 convs."""

    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs + skip, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        if skip is not None:
            x = torch.cat((x, skip), dim=1)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)))


class UNetDecoder(nn.Module):
    """Five levels, from stride 32 back to stride 1.

    Input: the encoder's five maps, (N, channels[i], H / 2^(i+1), W / 2^(i+1)).
    Output: (N, widths[-1], H, W).
    """

    def __init__(self, channels: Sequence[int] = (64, 256, 512, 1024, 2048),
                 widths: Sequence[int] = (256, 128, 64, 32, 16)) -> None:
        super().__init__()
        self.up16 = Level(channels[4], channels[3], widths[0])
        self.up8 = Level(widths[0], channels[2], widths[1])
        self.up4 = Level(widths[1], channels[1], widths[2])
        self.up2 = Level(widths[2], channels[0], widths[3])
        self.up1 = Level(widths[3], 0, widths[4])  # the encoder has no map at full resolution

    def forward(self, stride2: Tensor, stride4: Tensor, stride8: Tensor, stride16: Tensor,
                stride32: Tensor) -> Tensor:
        x = self.up16(stride32, stride16)
        x = self.up8(x, stride8)
        x = self.up4(x, stride4)
        x = self.up2(x, stride2)
        return self.up1(x)

"""How does a U-Net climb back to full resolution?

U-Net (Ronneberger et al., 2015) doubles the resolution level by level and joins each encoder map
of that resolution. Departures from the paper: nearest upsampling in place of free transposed
convolutions, which leave a checkerboard; padded convolutions, so that nothing is cropped;
BatchNorm after each.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Level(nn.Module):
    """Doubles the resolution, joins the skip (if there is one), and mixes with two 3x3 convs.

    The first is a convolution of the upsampled map and the skip, side by side. Neither the
    upsampled map nor the pair is ever built: a convolution is linear, so each part is convolved by
    its half of the weights and the results are added; and see `double`.
    """

    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.conv1 = nn.Conv2d(inputs + skip, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        weight = self.conv1.weight
        x = F.conv_transpose2d(x, double(weight[:, :self.inputs]), self.conv1.bias, stride=2,
                               padding=1)
        if skip is not None:
            x += F.conv2d(skip, weight[:, self.inputs:], padding=1)
        x = self.relu(self.bn1(x))
        return self.relu(self.bn2(self.conv2(x)))


def double(weight: Tensor) -> Tensor:
    """The kernel, (inputs, outputs, 4, 4), whose transposed convolution with stride 2 and padding 1
    is nearest upsampling by 2 followed by a 3x3 convolution with `weight` (outputs, inputs, 3, 3).

    Of nine taps on an upsampled map, each falls on one of only four pixels of the small one. Their
    weights can be added beforehand: 4/9 of the multiplications, and no large map to keep for the
    backward pass. As the weights are tied, no checkerboard can be learned.
    """
    for dim in (2, 3):
        first, second, third = weight.unbind(dim)
        weight = torch.stack((third, second + third, first + second, first), dim)
    return weight.transpose(0, 1)


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

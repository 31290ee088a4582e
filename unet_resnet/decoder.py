"""How does a U-Net climb back to full resolution?

U-Net (Ronneberger et al., 2015) doubles the resolution level by level and joins each encoder map
of that resolution. Departures from the paper: nearest upsampling instead of untied transposed
convolutions, which can leave a checkerboard (Odena et al., 2016); padded convolutions, so that
nothing is cropped; BatchNorm before each ReLU; encoder maps that a 1x1 convolution, without either,
reduces to the channels of their level.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class UpConv(nn.Conv2d):
    """Nearest upsampling by 2 and a 3x3 convolution in one step: (N, C, h, w) to (N, C', 2h, 2w).

    The nine taps on the upsampled map fall on only four pixels of the small one. In one dimension,
    with the taps a, b, c: y[2i] = a x[i-1] + (b + c) x[i], and y[2i+1] = (a + b) x[i] + c x[i+1].
    So taps that fall on the same pixel are summed first, and one transposed 4x4 convolution gives
    the same result: 4/9 of the multiplications, and no upsampled map kept for the backward pass.
    The sums tie its weights to those of the 3x3, so no checkerboard can be learned.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, bias=False)  # holds the weights; `forward` transposes

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight  # its bias is None until inference/fuse.py adds one
        for dim in (2, 3):
            first, second, third = kernel.unbind(dim)
            kernel = torch.stack((third, second + third, first + second, first), dim)
        return F.conv_transpose2d(x, kernel.transpose(0, 1), self.bias, stride=2, padding=1)


class Level(nn.Module):
    """Doubles the resolution, joins the skip (if there is one), and mixes with a 3x3 convolution.

    In the paper, a 3x3 convolution reads the upsampled map and the skip, concatenated. That is the
    sum of two convolutions: `up` of the map and `side` of the skip. A 1x1 convolution without an
    activation first brings the skip to the level's width: without it, `side` would take more than
    half of the decoder's multiplications.
    """

    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.reduce = self.side = None
        if skip:
            self.reduce = nn.Conv2d(skip, outputs, 1, bias=False)
            self.side = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.up = UpConv(inputs, outputs)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        x = self.up(x)
        if skip is not None:
            x += self.side(self.reduce(skip))
        x = self.relu(self.bn1(x))
        return self.relu(self.bn2(self.conv2(x)))


class UNetDecoder(nn.Module):
    """Five levels, from stride 32 back to stride 1.

    Input: the encoder's five maps, (N, channels[i], H / 2^(i+1), W / 2^(i+1)).
    Output: (N, widths[-1], H, W).
    """

    def __init__(self, channels: Sequence[int] = (64, 256, 512, 1024, 2048),
                 widths: Sequence[int] = (256, 128, 64, 32, 16)) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels[4], widths[0], 1, bias=False)
        self.up16 = Level(widths[0], channels[3], widths[0])
        self.up8 = Level(widths[0], channels[2], widths[1])
        self.up4 = Level(widths[1], channels[1], widths[2])
        self.up2 = Level(widths[2], channels[0], widths[3])
        self.up1 = Level(widths[3], skip=0, outputs=widths[4])  # no encoder map has that resolution
        for module in self.modules():  # He et al., 2015, Delving Deep into Rectifiers
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, stride2: Tensor, stride4: Tensor, stride8: Tensor, stride16: Tensor,
                stride32: Tensor) -> Tensor:
        x = self.up16(self.reduce(stride32), stride16)
        x = self.up8(x, stride8)
        x = self.up4(x, stride4)
        x = self.up2(x, stride2)
        return self.up1(x)

"""What is a ResNet-101, and which five feature maps does it give?

Deep Residual Learning for Image Recognition (He et al., 2015), with torchvision's parameter names,
so that torchvision's ImageNet weights load strictly. As in torchvision ("ResNet V1.5"), a stage
strides in its first 3x3 convolution; in the paper, it does so in the 1x1 before that.
"""

from collections.abc import Sequence

from torch import Tensor, nn


class Bottleneck(nn.Module):
    """1x1 to `width` channels, 3x3, 1x1 to four times as many, added to the input."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int = 1) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None  # the shortcut's projection, where the shape changes
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        x += shortcut
        return self.relu(x)


class ResNetEncoder(nn.Module):
    """A bottleneck ResNet without its classifier.

    `blocks` counts the bottlenecks of the four stages: (3, 4, 6, 3) is ResNet-50, (3, 4, 23, 3)
    ResNet-101, (3, 8, 36, 3) ResNet-152.

    Input: (N, 3, H, W), normalised RGB, H and W multiples of 32.
    Output: five maps with `channels` (64, 256, 512, 1024, 2048) at stride 2, 4, 8, 16, 32.
    """

    channels = (64, 256, 512, 1024, 2048)
    stride = 32

    def __init__(self, blocks: Sequence[int] = (3, 4, 23, 3)) -> None:
        super().__init__()
        self.blocks = tuple(blocks)
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = self._stage(64, 64, blocks[0], stride=1)
        self.layer2 = self._stage(256, 128, blocks[1], stride=2)
        self.layer3 = self._stage(512, 256, blocks[2], stride=2)
        self.layer4 = self._stage(1024, 512, blocks[3], stride=2)
        for module in self.modules():  # He et al., 2015, Delving Deep into Rectifiers
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @staticmethod
    def _stage(inputs: int, width: int, count: int, stride: int) -> nn.Sequential:
        first = Bottleneck(inputs, width, stride)
        rest = (Bottleneck(width * Bottleneck.expansion, width) for _ in range(count - 1))
        return nn.Sequential(first, *rest)

    def stem(self, x: Tensor) -> Tensor:  # a method, so that recomputation can replace it
        return self.relu(self.bn1(self.conv1(x)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        stride2 = self.stem(x)
        stride4 = self.layer1(self.maxpool(stride2))
        stride8 = self.layer2(stride4)
        stride16 = self.layer3(stride8)
        stride32 = self.layer4(stride16)
        return stride2, stride4, stride8, stride16, stride32

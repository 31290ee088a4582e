"""A hand-written U-Net with a ResNet-101 encoder that finds cracks in photographs."""

from unet_resnet.inference.predictor import load, predict
from unet_resnet.model import UNetResNet

__all__ = ["UNetResNet", "load", "predict"]

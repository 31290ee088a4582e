"""A hand-written U-Net with a ResNet-101 encoder that finds cracks in photographs."""

from typing import Any

from unet_resnet.model import UNetResNet

__all__ = ["UNetResNet", "load", "predict"]


def __getattr__(name: str) -> Any:
    """Import `load` and `predict` on demand: unlike the network, they take seconds to import."""
    if name in ("load", "predict"):
        from unet_resnet.inference import predictor
        return getattr(predictor, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

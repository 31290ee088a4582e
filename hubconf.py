"""For PyTorch Hub: `predictor = torch.hub.load("path/of/clone", "cracks", source="local")`."""

from unet_resnet import load as cracks  # noqa: F401

dependencies = ["torch", "numpy", "PIL", "tqdm"]

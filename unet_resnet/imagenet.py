"""How does the encoder start from the ImageNet weights of a ResNet, even of a shallower one?"""

from pathlib import Path

import torch
from torchvision import models

from unet_resnet.checkpoint import State, check_finite, damaged_error, has_type, read_tensors
from unet_resnet.encoder import ResNetEncoder

# The first training recipe, as peers use it. The newer "V2" classifies better; whether it is a
# better start here was not tried.
IMAGENET = {(3, 4, 6, 3): models.ResNet50_Weights.IMAGENET1K_V1,
            (3, 4, 23, 3): models.ResNet101_Weights.IMAGENET1K_V1,
            (3, 8, 36, 3): models.ResNet152_Weights.IMAGENET1K_V1}


def load_encoder(encoder: ResNetEncoder, weights: str) -> str:
    """Fill the encoder with trained weights and say in one line what was done.

    `weights`: "none" keeps the random ones; "imagenet" takes torchvision's file of the encoder's
    depth, from torch's cache or the network; anything else is the path of a ResNet state dict with
    torchvision's names. From a shallower ResNet the encoder is grown. Raises FileNotFoundError for
    a missing file, ConnectionError for a failed download, ValueError for weights that do not fit.
    """
    if weights == "none":
        return "encoder: random weights"
    state = _download(encoder.blocks) if weights == "imagenet" else read_tensors(Path(weights))
    if not (has_type(state, State) and "layer4.0.conv3.weight" in state):
        raise ValueError(f"{weights}: not the state dict of a bottleneck ResNet with torchvision's "
                         "names (50, 101 or 152 layers)")
    have, want = blocks_of(state), encoder.blocks
    if any(old > new or old == 1 < new for old, new in zip(have, want)):
        raise ValueError(f"{weights}: blocks {have} cannot be grown to {want}: no stage can be "
                         "cut, and one of a single block cannot be grown")
    state = {name: state[name] for name in state if not name.startswith("fc.")}  # the classifier
    shallow = ResNetEncoder(have)
    try:
        shallow.load_state_dict(state)  # strict: all names and shapes
        check_finite(shallow.state_dict())
        encoder.load_state_dict(grow(shallow.state_dict(), want))
    except Exception as error:  # sparse tensors, say
        raise damaged_error(weights, error) from error
    return f"encoder: {weights}, blocks {have}" + (
        f", grown to {want} with identities" if have != want else "")


def _download(blocks: tuple[int, ...]) -> State:
    """torchvision's weights, from torch's cache or the network."""
    if blocks not in IMAGENET:
        raise ValueError(f"no ImageNet weights exist for blocks {blocks}; use one of "
                         f"{list(IMAGENET)} or --weights none")
    url = IMAGENET[blocks].url
    try:
        return torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True,
                                                  weights_only=True)
    except Exception as error:  # no network, no space, a wrong hash, a damaged file
        raise ConnectionError(
            f"{url} could not be downloaded or read ({str(error)!r:.100}): fetch it elsewhere "
            "and pass --weights FILE, or a ResNet-50 file of the same kind, or --weights none"
        ) from error


def blocks_of(state: State) -> tuple[int, ...]:
    """The number of blocks in each of the four stages of a ResNet state dict."""
    return tuple(len({name.split(".")[1] for name in state if name.startswith(f"layer{stage}.")})
                 for stage in (1, 2, 3, 4))


def grow(state: State, blocks: tuple[int, ...]) -> State:
    """A state dict with `blocks` in its stages that computes the same maps.

    A missing block becomes a copy of the stage's last one, except that its final BatchNorm has
    scale and shift 0, so that it adds nothing to its input (Net2Net, Chen et al., 2016). The scale
    has a gradient, through which the new block learns.
    """
    grown = dict(state)
    for stage, (have, want) in enumerate(zip(blocks_of(state), blocks), start=1):
        last = f"layer{stage}.{have - 1}."
        for name in [name for name in state if name.startswith(last)]:
            part = name.removeprefix(last)
            copy = torch.zeros_like if part in ("bn3.weight", "bn3.bias") else torch.clone
            for new in range(have, want):
                grown[f"layer{stage}.{new}.{part}"] = copy(state[name])
    return grown

"""How do the weights of a network fit a quarter of the space?"""

import torch
from torch import Tensor

LEAST = 4096  # numbers, below which a tensor stays as it is
LEVELS = 127  # of int8 on each side of 0
SCALE = ":scale"  # ends the name of the scales

State = dict[str, Tensor]


def quantize(state: State) -> State:
    """A state dict with its large tensors in 8 bits and a float32 scale per output channel.

    The weights of an output channel are its scale times a whole number from -127 to 127 (Jacob et
    al., 2018, without zero points), off by half a scale at the most.
    """
    small = {}
    for name, tensor in state.items():
        if tensor.dim() < 2 or tensor.numel() < LEAST:
            small[name] = tensor
            continue
        scale = tensor.float().flatten(1).abs().amax(1).clamp(min=1e-12) / LEVELS
        scale = scale.view(-1, *[1] * (tensor.dim() - 1))
        small[name] = (tensor / scale).round().to(torch.int8)
        small[name + SCALE] = scale
    return small


def is_quantized(state: State) -> bool:
    return any(name.endswith(SCALE) for name in state)


def dequantize(state: State) -> State:
    """The float32 state dict that was given to `quantize`; any other stays as it is."""
    return {name: tensor * state[name + SCALE] if name + SCALE in state else tensor
            for name, tensor in state.items() if not name.endswith(SCALE)}

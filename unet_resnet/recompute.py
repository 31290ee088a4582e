"""How is a network trained in less memory than its activations need?

Training Deep Nets with Sublinear Memory Cost (Chen et al., 2016): forget, and compute again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unet_resnet.model import UNetResNet


def recompute_activations(model: UNetResNet) -> None:
    """From now on, keep only what enters each encoder block and each decoder level, and compute
    the rest once more in the backward pass.

    Gradients and BatchNorm's running statistics come out the same.
    """
    encoder, decoder = model.encoder, model.decoder
    stages = (encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4)
    for module in (*(block for stage in stages for block in stage), *decoder.children()):
        module.forward = _forward_twice(module)


def _forward_twice(module: nn.Module) -> Callable[..., Tensor]:
    forward = module.forward
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]

    @contextmanager
    def second_time() -> Iterator[None]:
        """The statistics have seen this batch. Momentum 0 leaves them as they are; to switch them
        off would change what autograd saves, which checkpoint() does not allow."""
        before = [(norm, norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
        for norm in norms:
            norm.momentum = 0.0
        try:
            yield
        finally:
            for norm, momentum, batches in before:
                norm.momentum = momentum
                norm.num_batches_tracked.copy_(batches)

    def forward_twice(*inputs: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return forward(*inputs)
        return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False,
                          context_fn=lambda: (nullcontext(), second_time()))

    return forward_twice

"""How is a network trained in less memory than its activations need?

Training Deep Nets with Sublinear Memory Cost (Chen et al., 2016): forget, and compute again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from unet_resnet.model import UNetResNet


def recompute_activations(model: UNetResNet) -> None:
    """Change the model to keep only the input of each segment, and to compute the rest again in the
    backward pass, a segment at a time.

    A segment is the stem, a part of the decoder, or 1, 2, 4, 8 blocks of the encoder's four stages:
    from stage to stage a block needs half the memory, so all segments need about the same. Max
    pooling is a segment, too: it keeps an index of 8 bytes for each of its results.

    Gradients and BatchNorm's running statistics stay the same. Do not copy the model afterwards: a
    copy would compute with the parameters of the original.
    """
    encoder = model.encoder
    encoder.stem = _checkpointed(encoder.stem, encoder.bn1)
    for module in (encoder.maxpool, *model.decoder.children()):
        module.forward = _checkpointed(module.forward, module)
    for i, stage in enumerate((encoder.layer1, encoder.layer2, encoder.layer3, encoder.layer4)):
        segments = [stage[first:first + 2**i] for first in range(0, len(stage), 2**i)]
        for segment in segments:
            segment.forward = _checkpointed(segment.forward, segment)
        stage.forward = nn.Sequential(*segments).forward


def _checkpointed(forward: Callable[..., Tensor], owner: nn.Module) -> Callable[..., Tensor]:
    """`forward`, computed again in the backward pass, with the BatchNorms of `owner`."""
    norms = [module for module in owner.modules() if isinstance(module, _BatchNorm)]

    @contextmanager
    def second_time() -> Iterator[None]:
        """The statistics have seen this batch, and momentum 0 keeps them as they are. Switching
        them off would change what autograd saves, which checkpoint() does not allow."""
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

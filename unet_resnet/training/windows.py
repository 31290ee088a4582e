"""When does a window of crops count, and how is one undone?"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

LEFT_OUT = 5  # windows in a row, after which training does not help itself any more


def buffers_of(model: nn.Module) -> Callable[[], None]:
    """A function that gives the buffers, BatchNorm's running statistics, their present values."""
    before = [buffer.clone() for buffer in model.buffers()]

    def put_back() -> None:
        with torch.no_grad():
            for buffer, value in zip(model.buffers(), before):
                buffer.copy_(value)

    return put_back


@contextmanager
def undone_on_failure(model: nn.Module) -> Iterator[None]:
    """A window counts whole or not at all: where the block raises, gradients are dropped and
    BatchNorm's running statistics are what they were before it."""
    put_back = buffers_of(model)
    try:
        yield
    except BaseException:
        model.zero_grad(set_to_none=True)
        put_back()
        raise


def extent(model: nn.Module) -> Tensor:
    """The norm of all gradients and BatchNorm statistics, (); not finite where one of them is not.

    While it is finite so are the weights after a step of Adam, whose averages of gradients and of
    their squares are no larger, and whose step is bounded (Kingma and Ba, 2015).
    """
    gradients = [value.grad for value in model.parameters() if value.grad is not None]
    statistics = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    return nn.utils.get_total_norm(gradients + statistics)


def check_streak(losses: Sequence[float | None], windows: int) -> None:
    """Raise FloatingPointError where the last ones of an epoch's `windows` were all left out."""
    most = min(LEFT_OUT, windows)
    if len(losses) >= most and set(losses[-most:]) == {None}:
        raise FloatingPointError(
            f"loss or gradients were not finite in {most} updates in a row; last.pt is from before "
            "them: resume it with a lower --lr or with --precision fp32, or look at the data with "
            "python -m unet_resnet.audit")

"""Hand-computed values, a brute-force Dice, and laws of the gradient."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unet_resnet.losses import bce_loss, crack_loss, dice_loss, skeleton_recall_loss


each = pytest.mark.parametrize("loss", [bce_loss, dice_loss, skeleton_recall_loss])
dense = pytest.mark.parametrize("loss", [bce_loss, dice_loss])  # every pixel has a gradient


def drawn(seed: int, *shape: int) -> tuple[Tensor, Tensor]:
    """Logits, and a truth whose images hold very different shares of crack, the last one none."""
    draw = torch.Generator().manual_seed(seed)
    shares = torch.linspace(0.6, 0, shape[0]).view(-1, 1, 1, 1)
    return (3 * torch.randn(shape, generator=draw),
            (torch.rand(shape, generator=draw) < shares).float())


def gradient(loss: Callable[..., Tensor], logits: Tensor, truth: Tensor) -> Tensor:
    logits = logits.clone().requires_grad_()
    return torch.autograd.grad(loss(logits, truth).mean(), logits)[0]


def test_hand_computed():
    """Four pixels at 1/2, one of them crack: overlap 1/2, areas 2 and 1, smoothed by 1."""
    logits, truth = torch.zeros(1, 1, 2, 2), torch.tensor([[[[1.0, 0], [0, 0]]]])
    assert dice_loss(logits, truth).item() == pytest.approx(1 - (1 + 1) / (3 + 1))
    assert bce_loss(logits, truth).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 1, 5, 7), (4, 1, 16, 9)], ids=str)
def test_equals_brute_force(shape):
    logits, truth = drawn(0, *shape)
    p, t = 1 / (1 + np.exp(-logits.double().numpy())), truth.double().numpy()
    dice = np.mean([1 - (2 * (q * u).sum() + 1) / (q.sum() + u.sum() + 1) for q, u in zip(p, t)])
    entropy = -np.mean(t * np.log(p) + (1 - t) * np.log(1 - p))
    assert dice_loss(logits, truth).mean().item() == pytest.approx(dice, rel=1e-4)
    assert bce_loss(logits, truth).mean().item() == pytest.approx(entropy, rel=1e-4)


@pytest.mark.parametrize("logit", [-8.0, -1.0, 3.0])
def test_dice_of_a_picture_without_cracks(logit):
    area = 64 * torch.tensor(logit).sigmoid().item()
    loss = dice_loss(torch.full((1, 1, 8, 8), logit), torch.zeros(1, 1, 8, 8))
    assert loss.item() == pytest.approx(area / (area + 1), rel=1e-4)


@dense
@pytest.mark.parametrize("logit", [-5.0, 0.0, 5.0])
def test_without_cracks_every_pixel_is_pushed_down(loss, logit):
    logits, blank = torch.full((2, 1, 8, 8), logit), torch.zeros(2, 1, 8, 8)
    assert (gradient(loss, logits, blank) > 0).all()


@pytest.mark.parametrize("halves", [(3, 1), (1, 3), (2, 2)], ids=str)
def test_micro_batches_have_the_gradient_of_the_batch(halves):
    """Weighted by their sizes, although the last image has no crack and the first has many."""
    logits, truth = drawn(1, 4, 1, 12, 12)
    micro = [len(some) / 4 * gradient(crack_loss, some, part)
             for some, part in zip(logits.split(halves), truth.split(halves))]
    torch.testing.assert_close(torch.cat(micro), gradient(crack_loss, logits, truth))


@each
def test_an_image_has_the_loss_it_has_alone(loss):
    logits, truth = drawn(1, 3, 1, 12, 12)
    alone = torch.cat([loss(*pair) for pair in zip(logits.split(1), truth.split(1))])
    assert alone.shape == (3,)
    torch.testing.assert_close(loss(logits, truth), alone)


@each
def test_perfect_and_opposite_predictions(loss):
    truth = drawn(2, 3, 1, 16, 16)[1]
    sure = 40 * (truth - 0.5)
    cracked = truth.flatten(1).any(1)
    assert (loss(sure, truth) < 1e-5).all()
    assert (loss(-sure, truth)[cracked] > 0.9).all()


@pytest.mark.parametrize("loss, most", [(bce_loss, 1e4), (dice_loss, 16 / 17)])
@pytest.mark.parametrize("truth", [0.0, 1.0])
def test_extreme_logits_stay_finite(loss, most, truth):
    for logit in (-1e4, 1e4):
        logits, target = torch.full((1, 1, 4, 4), logit), torch.full((1, 1, 4, 4), truth)
        assert gradient(loss, logits, target).isfinite().all()
        wrong = (logit > 0) != bool(truth)
        assert loss(logits, target).item() == pytest.approx(wrong * most)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_float32_inside_autocast(dtype):
    """Sums over 65,536 pixels: bfloat16 would stop counting at 256, float16 at infinity."""
    logits, truth = drawn(3, 2, 1, 256, 256)
    logits = logits.to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = crack_loss(logits, truth.to(dtype))
    loss.backward()
    assert loss.dtype == torch.float32 and logits.grad.dtype == dtype
    assert loss == crack_loss(logits.float(), truth)
    assert F.cosine_similarity(logits.grad.float().flatten(),
                               gradient(crack_loss, logits.float(), truth).flatten(), 0) > 0.999


# Centre lines

def test_skeleton_recall_counts_tubes():
    """To miss a bar costs five times what a hairline does, not nine; to paint beside, nothing."""
    truth = torch.zeros(1, 1, 40, 100)
    truth[..., 5, :], truth[..., 20:29, :] = 1, 1
    sure = 40 * (truth - 0.5)
    assert skeleton_recall_loss(sure, truth) < 1e-5
    assert skeleton_recall_loss(torch.full_like(truth, 20.0), truth) < 1e-5
    for missed, share in ((slice(0, 10), 1 / 6), (slice(20, 29), 5 / 6)):
        logits = sure.clone()
        logits[..., missed, :] = -20
        # The bar's tube is five pixels wide, the hairline itself is all of its own.
        assert skeleton_recall_loss(logits, truth).item() == pytest.approx(share, abs=0.002)


def test_crack_loss_is_the_weighted_sum_of_its_parts():
    logits, truth = drawn(4, 3, 1, 20, 20)
    apart = (bce_loss(logits, truth) + dice_loss(logits, truth)
             + 0.5 * skeleton_recall_loss(logits, truth))
    weights = torch.tensor([0.2, 0.0, 0.5])
    torch.testing.assert_close(crack_loss(logits, truth, weights), apart @ weights)
    torch.testing.assert_close(crack_loss(logits, truth), apart.mean())
    assert skeleton_recall_loss(logits[2:], torch.zeros(1, 1, 20, 20)) == 0

"""From a photograph of any size to logits of the same size."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import ResNet101_Weights

from unet_resnet import UNetResNet
from unet_resnet.decoder import Level, UNetDecoder, UpConv

SMALL = dict(blocks=(1, 1, 2, 1), widths=(24, 16, 12, 8, 6))


@pytest.fixture(scope="module")
def model() -> UNetResNet:
    """A small network in eval mode, its BatchNorm statistics those of some noise."""
    torch.manual_seed(0)
    model = UNetResNet(**SMALL)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # an average of all batches
    with torch.no_grad():
        for _ in range(4):
            model(photo(4, 64, 64))
    return model.eval().requires_grad_(False)


def photo(count: int, height: int, width: int) -> Tensor:
    return torch.rand(count, 3, height, width)


def entering_encoder(model: UNetResNet, image: Tensor) -> Tensor:
    seen = []
    hook = model.encoder.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs))
    model(image)
    hook.remove()
    return seen[0]


# Decoder

def test_level_doubles_pixels_and_adds_the_skip():
    """Convolutions that hand each channel on show what a level does around them."""
    level = Level(5, 5, 5).eval()
    for conv in (level.up, level.reduce, level.side, level.conv2):
        nn.init.dirac_(conv.weight)
    x, skip = torch.rand(1, 5, 3, 4), torch.rand(1, 5, 6, 8)
    doubled = x.repeat_interleave(2, -2).repeat_interleave(2, -1)
    with torch.no_grad():
        torch.testing.assert_close(level(x, skip), doubled + skip,
                                   rtol=2e-5, atol=0)  # BatchNorm's epsilon of 1e-5, twice
        level.conv2.weight.neg_()
        assert not level(-x, -skip).any(), "no ReLU after the first convolution"
        assert not level(x, skip).any(), "no ReLU after the second"


def test_upconv_is_nearest_upsampling_and_a_convolution():
    """Gradients too, for the weights are used rearranged."""
    torch.manual_seed(0)
    up = UpConv(5, 4).double()
    x = torch.randn(2, 5, 6, 7, dtype=torch.float64, requires_grad=True)
    expected = nn.functional.conv2d(nn.functional.interpolate(x, scale_factor=2, mode="nearest"),
                                    up.weight, padding=1)
    found = up(x)
    torch.testing.assert_close(found, expected)
    pull = torch.randn_like(found)
    for ours, theirs in zip(torch.autograd.grad(found, (x, up.weight), pull),
                            torch.autograd.grad(expected, (x, up.weight), pull)):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("stride, reach", [(2, 6), (4, 14), (8, 30), (16, 62), (32, 62)])
def test_each_map_acts_where_it_lies_and_nowhere_else(stride, reach):
    """A level's two 3x3 convolutions reach two of its pixels further on each side.

    From the skip at stride 16 on that makes 2 * (16 + 8 + 4 + 2 + 1) = 62 pixels; the map at
    stride 32 enters at the same level, and nearest upsampling adds no reach of its own.
    """
    torch.manual_seed(0)
    channels, place = (2, 3, 4, 5, 6), 128
    decoder = UNetDecoder(channels, (6, 6, 6, 6, 6)).eval()
    maps = {2 ** i: torch.rand(1, n, 256 >> i, 256 >> i) for i, n in enumerate(channels, 1)}
    with torch.no_grad():
        before = decoder(*maps.values())
        maps[stride][..., place // stride, place // stride] += 5
        changed = (decoder(*maps.values()) != before).any(1)[0]
    for side in (0, 1):
        touched = changed.any(side).nonzero()
        assert (touched.min(), touched.max()) == (place - reach, place + stride - 1 + reach)


# Model

def test_default_is_resnet101_with_the_promised_decoder():
    """By its parameters, and by the shapes of its maps at 448 pixels.

    A decoder level has 9 * (inputs + outputs) * outputs weights, (skip + 9 * outputs) * outputs for
    its skip, and 4 * outputs in BatchNorm.
    """
    with torch.device("meta"):  # shapes without memory
        model, image = UNetResNet(), torch.zeros(1, 3, 448, 448)
    levels = ((256, 1024, 256), (256, 512, 128), (128, 256, 64), (64, 64, 32), (32, 0, 16))
    expected = 2048 * 256 + 16 * 9 + 1 + sum(
        (9 * (a + b) + (skip + 9 * b) * bool(skip) + 4) * b for a, skip, b in levels)
    assert sum(p.numel() for p in UNetDecoder().parameters()) + 16 * 9 + 1 == expected
    assert sum(p.numel() for p in model.parameters()) == 42_500_160 + expected == 45_923_217

    shapes = []
    for level in list(model.decoder.children())[1:]:
        level.register_forward_hook(lambda *call: shapes.append(tuple(call[-1].shape[1:])))
    assert model(image).shape == (1, 1, 448, 448)
    assert shapes == [(256, 28, 28), (128, 56, 56), (64, 112, 112), (32, 224, 224), (16, 448, 448)]
    assert [tuple(x.shape[1:]) for x in model.encoder(image)] == [
        (64, 224, 224), (256, 112, 112), (512, 56, 56), (1024, 28, 28), (2048, 14, 14)]


def test_default_runs():
    logits = UNetResNet().eval()(photo(1, 64, 50))
    assert logits.shape == (1, 1, 64, 50) and logits.isfinite().all()


def test_blocks_and_widths_are_kept():
    model = UNetResNet([1, 2, 1, 1], [8, 8, 8, 8, 4])
    assert model.blocks == model.encoder.blocks == (1, 2, 1, 1)
    assert model.widths == (8, 8, 8, 8, 4) and model.head.in_channels == 4
    assert [len(getattr(model.encoder, f"layer{i}")) for i in (1, 2, 3, 4)] == [1, 2, 1, 1]


@pytest.mark.parametrize("height, width", [
    (1, 1), (1, 33), (33, 1), (31, 32), (32, 31), (32, 64), (45, 70), (65, 127)])
def test_any_size_is_continued_below_and_to_the_right_and_cut_again(model, height, width):
    image = photo(2, height, width)
    rows = torch.arange(-(-height // 32) * 32).clamp(max=height - 1)
    columns = torch.arange(-(-width // 32) * 32).clamp(max=width - 1)
    continued = (image - model.mean) / model.std
    continued = continued[:, :, rows][:, :, :, columns]  # its last row and column repeated
    logits = model(image)
    assert logits.shape == (2, 1, height, width) and logits.isfinite().all()
    assert torch.equal(logits, model.head(model.decoder(*model.encoder(continued)))[
        ..., :height, :width])


@pytest.mark.parametrize("height, width", [(64, 32), (40, 33)])
def test_normalisation_is_inside(model, height, width):
    """A photo in the mean colour of ImageNet becomes zeros, one a deviation brighter ones."""
    theirs = ResNet101_Weights.IMAGENET1K_V1.transforms()
    for deviations in (0, 1, -2):
        colour = torch.tensor(theirs.mean) + deviations * torch.tensor(theirs.std)
        seen = entering_encoder(model, colour.view(1, 3, 1, 1).expand(1, 3, height, width))
        torch.testing.assert_close(seen, torch.full((1, 3, 64, seen.shape[-1]), deviations * 1.0),
                                   rtol=0, atol=1e-6)


def test_normalisation_is_no_weight(model):
    assert not {"mean", "std"} & model.state_dict().keys()
    assert {"mean", "std"} <= dict(model.named_buffers()).keys()  # so that .to(device) moves them


def test_channels_last_changes_nothing_but_speed(model):
    image = photo(2, 45, 70)
    expected = model(image)
    model.to(memory_format=torch.channels_last)
    found = model(image.to(memory_format=torch.channels_last))
    model.to(memory_format=torch.contiguous_format)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_bfloat16_autocast_stays_close(model):
    image = photo(2, 45, 70)
    expected = model(image)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(image)
    assert found.dtype == torch.bfloat16
    # 0.06 with random weights on noise; 0.04 with trained ones on photographs.
    assert (found - expected).std() < 0.1 * expected.std()


def test_images_of_a_batch_do_not_see_each_other(model):
    image = photo(3, 33, 50)
    apart = torch.cat([model(one[None]) for one in image])
    torch.testing.assert_close(model(image), apart, rtol=1e-4, atol=1e-4)
    image[1] = 0
    torch.testing.assert_close(model(image)[[0, 2]], apart[[0, 2]], rtol=1e-4, atol=1e-4)


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    model = UNetResNet(**SMALL)
    model(photo(2, 64, 50)).square().mean().backward()
    assert [name for name, parameter in model.named_parameters()
            if parameter.grad is None or not parameter.grad.any()] == []

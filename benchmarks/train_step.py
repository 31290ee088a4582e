"""What does a training step cost, compared with segmentation_models_pytorch on ResNet-101?

    pip install -e ".[bench]" && python benchmarks/train_step.py

Four sides take the same step (our loss, Adam) on the same crops, in turn: the peer as its users run
it (float32, contiguous, plain Adam), the peer treated as ours (the precision that the hardware is
fast at, channels_last, fused Adam), ours, and ours with --recompute. A step of the encoder alone,
which both networks share, shows the lower limit. Bytes kept for the backward pass are counted, not
measured: they are the same on any machine.
"""

import argparse
import math
from collections.abc import Callable

import segmentation_models_pytorch as smp
import torch
from timing import interleave, machine, table
from torch import nn
from torch.optim import Adam
from torch.profiler import ProfilerActivity, profile

from unet_resnet import UNetResNet
from unet_resnet.device import autocast, pick_device, pick_precision
from unet_resnet.losses import crack_loss
from unet_resnet.training import memory
from unet_resnet.training.recompute import recompute_activations

AS_USED, TREATED = "smp, as used", "smp, treated"
SIDES = (AS_USED, TREATED, "ours", "ours, recomputed")
ENCODER = "the encoder alone"
CARDS = (4, 6, 8, 12)  # GB
OVERHEAD = 1  # GB of the CUDA context and of libraries, in addition to torch's tensors


def make(side: str, device: torch.device) -> nn.Module:
    torch.manual_seed(0)
    if side.startswith("smp"):
        model = smp.Unet("resnet101", encoder_weights=None)
    else:
        model = UNetResNet()
        if "recomputed" in side:
            recompute_activations(model)
        if side == ENCODER:
            model = model.encoder
    layout = torch.contiguous_format if side == AS_USED else torch.channels_last
    return model.train().to(device, memory_format=layout)


def make_step(model: nn.Module, side: str, crops: int, size: int,
              precision: torch.dtype) -> Callable[[], None]:
    device = next(model.parameters()).device
    optimizer = Adam(model.parameters(), lr=1e-4, fused=None if side == AS_USED else True)
    image = torch.rand(crops, 3, size, size, device=device)
    truth = (torch.rand(crops, 1, size, size, device=device) > 0.95).float()
    if side != AS_USED:
        image = image.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with autocast(device, torch.float32 if side == AS_USED else precision):
            result = model(image)
        if side == ENCODER:
            sum(scale.mean() for scale in result).backward()
        else:
            crack_loss(result, truth).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return step


def peak_bytes(side: str, crops: int, size: int, device: torch.device,
               precision: torch.dtype) -> int:
    """The most that torch allocates at one time in a step, including weights and Adam."""
    model = make(side, device)
    step = make_step(model, side, crops, size, precision)
    step()  # makes Adam's averages
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        step()
    now, most = 0, 0
    for event in sorted((event for event in record.profiler.kineto_results.events()
                         if event.name() == "[memory]"), key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most + 12 * sum(parameter.numel() for parameter in model.parameters())


def memory_of_cards(size: int, device: torch.device, precision: torch.dtype) -> None:
    """Peaks with 2 and with 8 crops, and how many crops therefore fit on a card."""
    for side in SIDES:
        two, eight = (peak_bytes(side, crops, size, device, precision) / memory.GB
                      for crops in (2, 8))
        each = (eight - two) / 6
        fits = (f"{gigabytes} GB: {math.floor((gigabytes - OVERHEAD - two) / each + 2)}"
                for gigabytes in CARDS)
        print(f"{side}: peak {two:.2f} GB with 2 crops, {eight:.2f} GB with 8; crops that fit, "
              f"{OVERHEAD} GB set aside: {', '.join(fits)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--micro-batch", type=int, default=2)
    parser.add_argument("--crop", type=int, default=448)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    device = pick_device(args.device)
    precision = pick_precision("auto", device)
    print(f"{machine()}, {precision}; {args.micro_batch} crops of {args.crop}")
    kept = {side: memory.activation_bytes(
        make(side, device), args.crop,
        torch.float32 if side == AS_USED else precision) / 1e6 for side in SIDES}
    print(table("kept for the backward pass, per crop", "MB", kept, (AS_USED, TREATED)))
    steps = {side: make_step(make(side, device), side, args.micro_batch, args.crop, precision)
             for side in (*SIDES, ENCODER)}
    print(table("one step", "seconds", interleave(steps, args.rounds), (AS_USED, TREATED)))
    del steps
    memory_of_cards(args.crop, device, precision)


if __name__ == "__main__":
    main()

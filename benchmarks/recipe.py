"""Which recipe works outside its training set? One run of the study, added as a line of JSON.

    python benchmarks/recipe.py --sets crackmix confusers morecams --without SUT --start cracks \
        --scales 0.5 3 --crop 256 --steps 600 --seed 0

Trains on all sources except those left out and scores photos that the network has not seen:
validation photos at one threshold for all sources, some of them enlarged, and the sources left out.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean

import torch
from stress import rescale
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from torch.utils.data import DataLoader
from tqdm import tqdm

from unet_resnet import UNetResNet, checkpoint, imagenet, tiling
from unet_resnet.audit.groups import source_of
from unet_resnet.audit.scoring import exclude_trained, trained_on
from unet_resnet.audit.split import Split, load_pairs
from unet_resnet.augment import Augment
from unet_resnet.data import Crops, Pair, balance, read_pair
from unet_resnet.device import (
    autocast, memory_format, pick_device, pick_precision, probability_function)
from unet_resnet.evaluation.sheet import ScoreSheet
from unet_resnet.files import run
from unet_resnet.losses import crack_loss
from unet_resnet.metrics import BINS, best_threshold, counts_at
from unet_resnet.synthetic.confusers import confuse
from unet_resnet.synthetic.photometric import photometric
from unet_resnet.training.settings import find_checkpoint

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from train import schedule  # noqa: E402

ENLARGED, FEW = 4.0, 24  # factor; photos that are enlarged, at most
UNSEEN = 60  # photos scored of each source left out, at most

Photo = tuple[Pair, Tensor, Tensor]  # probability (1, h, w) uint8 in 256ths, truth (1, h, w) bool


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--sets", type=Path, nargs="+", required=True, metavar="FOLDER", help="data sets")
    add("--without", nargs="+", default=[], metavar="SOURCE", help="sources left out of training")
    add("--start", default="imagenet", help="a checkpoint, cracks, or ImageNet weights")
    add("--blocks", type=int, nargs=4, default=[3, 4, 6, 3], help="unless --start is a checkpoint")
    add("--peer", action="store_true", help="segmentation_models_pytorch's decoder, from ImageNet")
    add("--augment", type=float, default=1.0, metavar="STRENGTH")
    add("--scales", type=float, nargs=2, default=[0.5, 3.0], metavar=("LO", "HI"))
    add("--balance", action="store_true", help="repeat photos with rare widths")
    add("--crop", type=int, default=256)
    add("--batch", type=int, default=8)
    add("--steps", type=int, default=600)
    add("--lr", type=float, default=2e-4)
    add("--encoder-lr", type=float, default=0.2, metavar="FACTOR", help="of --lr")
    add("--seed", type=int, default=0)
    add("--workers", type=int, default=0)
    add("--device", default="auto")
    add("--output", type=Path, default=Path("recipe.jsonl"), help="a line is added to it")
    return parser.parse_args()


class Peer(nn.Module):
    """segmentation_models_pytorch's U-Net with the encoder of ours, fed RGB in 0..1."""

    def __init__(self, ours: UNetResNet) -> None:
        import segmentation_models_pytorch as smp  # of the extra `bench`
        super().__init__()
        self.unet = smp.Unet(f"resnet{3 * sum(ours.blocks) + 2}", encoder_weights=None)
        self.encoder, self.mean, self.std = self.unet.encoder, ours.mean, ours.std
        weights = ours.encoder.state_dict() | {"fc.weight": None, "fc.bias": None}
        self.encoder.load_state_dict(weights)  # drops the classifier's two, which must be there

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        x = F.pad((image - self.mean) / self.std, (0, -width % 32, 0, -height % 32),
                  mode="replicate")
        return self.unet(x)[..., :height, :width]


def make_model(args: argparse.Namespace) -> tuple[nn.Module, Split]:
    """The network to train, and the split of the checkpoint that it starts from, if any."""
    torch.manual_seed(args.seed)
    if start := find_checkpoint(args.start):
        model, content = checkpoint.load(start)
        return model, content.split
    model = UNetResNet(args.blocks)
    imagenet.load_encoder(model.encoder, args.start)
    return Peer(model) if args.peer else model, {"train": {}, "validation": {}}


def divide(args: argparse.Namespace, split: Split) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """The pairs to train on, the seen sources' validation pairs, and those of sources left out."""
    pairs, held_out, *_ = load_pairs(args.sets)  # one split for all runs
    learned = {source_of(Path(name).stem) for name in trained_on(split)}
    sources = {pair.source for pair in pairs} - learned
    if wrong := set(args.without) - sources:
        raise ValueError(f"--without {min(wrong)}: expected a source that --start was not "
                         f"trained on: {', '.join(sorted(sources)) or 'there is none'}")
    left_out = [pair for source in args.without for pair in evenly(
        [pair for pair in pairs + held_out if pair.source == source], UNSEEN)]
    trained, seen = ([pair for pair in side if pair.source not in args.without]
                     for side in (pairs, held_out))
    kept = {*exclude_trained([pair.image for pair in seen], split)}
    return trained, [pair for pair in seen if pair.image in kept], left_out


def evenly(items: Sequence, count: int) -> Sequence:
    """At most `count` of them, the same number apart."""
    return items[::-(-len(items) // count) or 1]


def train(model: nn.Module, pairs: Sequence[Pair], args: argparse.Namespace,
          device: torch.device, precision: torch.dtype) -> None:
    model.to(device, memory_format=memory_format(device)).train()
    inner = set(model.encoder.parameters())
    new = [parameter for parameter in model.parameters() if parameter not in inner]
    slow = {"params": model.encoder.parameters(), "factor": args.encoder_lr}
    optimizer = Adam([{"params": new, "factor": 1.0}, slow], fused=True)
    augment = Augment(args.crop, confuse, photometric, args.augment, args.scales)
    crops = Crops(balance(pairs) if args.balance else pairs, augment, args.seed)
    loader = DataLoader(crops, args.batch, sampler=range(args.steps * args.batch),
                        num_workers=args.workers)
    bar = tqdm(loader, "training", unit="update", mininterval=10)
    for step, (images, masks) in enumerate(bar):
        for group in optimizer.param_groups:
            group["lr"] = args.lr * group["factor"] * schedule(step, args.steps)
        with autocast(device, precision):
            logits = model(images.to(device, memory_format=memory_format(device)))
        loss = crack_loss(logits, masks.to(device))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        bar.set_postfix(loss=f"{loss.item():.3f}")


def predict(probability: Callable[[Tensor], Tensor], pairs: Sequence[Pair],
            scale: float = 1.0) -> list[Photo]:
    photos = []
    for pair in tqdm(pairs, f"photos at scale {scale:g}", mininterval=10):
        photo, truth = rescale(*read_pair(pair), scale)
        photos.append((pair, tiling.predict(probability, photo, dtype=torch.uint8), truth))
    return photos


def score(photos: Sequence[Photo], threshold: float) -> ScoreSheet:
    sheet = ScoreSheet(threshold)
    for pair, probability, truth in photos:
        sheet.add(pair.image.name, pair.source, (probability + 0.5) / BINS, truth)
    return sheet


def macro_dice(sheet: ScoreSheet, threshold: float) -> float:
    """The mean over the sources with cracks: each counts the same."""
    return mean(counts_at(histogram, threshold).dice for histogram in sheet.histograms.values()
                if histogram[1].any())


def pooled(sheet: ScoreSheet) -> dict:
    """The scores of each source: at the sheet's threshold, and (ods_oracle) at its own best one."""
    return {source: each["pooled"] for source, each in sheet.summary()["sources"].items()}


def evaluate(probability: Callable[[Tensor], Tensor], seen: Sequence[Pair],
             left_out: Sequence[Pair]) -> dict:
    photos = predict(probability, seen)
    sheet = score(photos, 0.5)
    threshold, _ = best_threshold([*sheet.histograms.values()])
    sheet = score(photos, threshold)
    cracked = [photo for photo in photos if photo[2].any()]
    few = evenly(cracked, FEW)
    enlarged = score(predict(probability, [pair for pair, *_ in few], ENLARGED), threshold)
    unseen = pooled(score(predict(probability, left_out), threshold)) if left_out else {}
    total = sheet.summary()["total"]
    return {"threshold": threshold, "macro_dice": macro_dice(sheet, threshold),
            "seen": pooled(sheet), "unseen": unseen, "recall_by_width": total["recall_by_width"],
            "enlarged": {"x1": macro_dice(score(few, threshold), threshold),
                         "x4": macro_dice(enlarged, threshold)},
            "crack_free": total["crack_free"]}


def main() -> None:
    args, began = parse_arguments(), time.time()
    device = pick_device(args.device)
    precision = pick_precision("bf16" if device.type == "cuda" else "auto", device)  # no scaler
    model, split = make_model(args)
    pairs, seen, left_out = divide(args, split)
    train(model, pairs, args, device, precision)
    scores = evaluate(probability_function(model.eval(), device, precision), seen, left_out)
    row = {"settings": vars(args), "seconds": round(time.time() - began)} | scores
    with open(args.output, "a") as file:
        print(json.dumps(row, default=str), file=file)
    print(json.dumps(row, indent=1, default=str))


if __name__ == "__main__":
    run(main, "recipe.py")

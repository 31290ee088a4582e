"""Which recipe holds up outside its training set? One run for each row of recipe.md.

    python benchmarks/recipe.py --data crackmix --confusers confusers --others khanhha_sample \
        --weights resnet50.pth --change weather --seed 0

Trains a ResNet-50 for a few hundred updates on all sources but one, with one change against the
baseline, and scores it on photographs it has not seen: of the same sources, of the source left out,
of other cameras, of the source left out spoiled by weather, and without any crack.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from train import schedule  # noqa: E402
from unet_resnet import UNetResNet, imagenet  # noqa: E402
from unet_resnet.augment import Augment  # noqa: E402
from unet_resnet.audit.split import load_pairs  # noqa: E402
from unet_resnet.data import Crops, read_pair  # noqa: E402
from unet_resnet.decoder import Level  # noqa: E402
from unet_resnet.device import autocast, pick_precision, predictor  # noqa: E402
from unet_resnet.losses import bce_dice_loss, dice_loss, skeleton_recall_loss  # noqa: E402
from unet_resnet.synthetic.confusers import confuse  # noqa: E402
from unet_resnet.synthetic.photometric import (  # noqa: E402
    PHOTOMETRIC, Chance, blur, brightness, colour_cast, contrast, gamma, happens, noise,
    photometric, saturation, shadow)
from unet_resnet.metrics import best_threshold, counts_at, histogram  # noqa: E402
from unet_resnet.data import Pair, find  # noqa: E402
from unet_resnet.evaluation.stress import STRESS, spoil  # noqa: E402

BLOCKS, PIXELS = (3, 4, 6, 3), 8 * 224 * 224  # of the crops of one update, unless told
CLEAN = 50  # pixels of false alarm, up to which a crack-free photo counts as clean
CPU = torch.device("cpu")
# Light without weather: what train.py did before this study.
MILD = (Chance(shadow, 0.15, 0.2, 0.6), Chance(brightness, 0.4, -0.2, 0.2),
        Chance(contrast, 0.4, 0.6, 1.4), Chance(gamma, 0.3, -0.4, 0.4),
        Chance(colour_cast, 0.3, 0.1, 0.1), Chance(saturation, 0.3, 0.0, 1.5),
        Chance(blur, 0.15, 0.4, 1.6), Chance(noise, 0.25, 0.0, 0.06))


@dataclass(frozen=True)
class Recipe:
    photos: bool = False  # real pictures without cracks, and walls with joints, in training
    painted: float = 0.0  # share of crops with painted confusers
    weather: bool = False
    crop: int = 224
    batch: int = 0  # crops of an update; 0: as many as have PIXELS
    encoder_lr: float = 0.2
    freeze_bn: bool = False
    average: float = 0.0  # decay of the moving average of weights
    batch_dice: bool = False
    skeleton: float = 0.0  # weight of the skeleton recall loss
    full_skip: bool = False
    warp: float = 0.5
    far: float = 0.0  # share of crops from twice as far away
    peer: bool = False  # the network of segmentation_models_pytorch in place of ours


BASE = Recipe()
TAKEN = Recipe(photos=True, painted=0.4, weather=True, skeleton=0.5)  # what train.py does
CHANGES = {
    "baseline": BASE, "photos": replace(BASE, photos=True), "painted": replace(BASE, painted=0.4),
    "weather": replace(BASE, weather=True), "average": replace(BASE, average=0.98),
    "batch_dice": replace(BASE, batch_dice=True), "skeleton": replace(BASE, skeleton=0.5),
    "full_skip": replace(BASE, full_skip=True), "freeze_bn": replace(BASE, freeze_bn=True),
    "encoder_lr_1": replace(BASE, encoder_lr=1.0),
    "encoder_lr_0.05": replace(BASE, encoder_lr=0.05), "crop_320": replace(BASE, crop=320),
    "crop_448": replace(BASE, crop=448),
    "photos_8x448": replace(BASE, photos=True, crop=448, batch=8),
    "warp_all": replace(BASE, warp=1.0),
    "peer": replace(BASE, peer=True), "all": replace(BASE, photos=True, painted=0.4, weather=True),
    "taken": TAKEN, "taken_far": replace(TAKEN, far=0.3),
    "taken_frozen": replace(TAKEN, freeze_bn=True),
    "peer_photos": replace(BASE, photos=True, peer=True),
}


class FullSkip(UNetResNet):
    """With a convolution of the photograph itself as the skip at full resolution."""

    def __init__(self, blocks: Sequence[int]) -> None:
        super().__init__(blocks)
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16),
                                  nn.ReLU())
        self.decoder.up1 = Level(self.widths[3], 16, self.widths[4])

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        x = (image - self.mean) / self.std
        x = F.pad(x, (0, -width % 32, 0, -height % 32), mode="replicate")
        maps = self.encoder(x)
        decoder = self.decoder
        y = decoder.up16(decoder.reduce(maps[4]), maps[3])
        y = decoder.up2(decoder.up4(decoder.up8(y, maps[2]), maps[1]), maps[0])
        return self.head(decoder.up1(y, self.stem(x)))[..., :height, :width]


class Afar:
    """A share of the crops is seen from twice as far away: means of 2x2 pixels, of which half must
    be crack."""

    def __init__(self, augment: Augment, share: float) -> None:
        self.augment, self.share = augment, share

    def __call__(self, image: Tensor, mask: Tensor,
                 generator: Generator) -> tuple[Tensor, Tensor]:
        if happens(self.share, generator):
            image = F.avg_pool2d(image.float(), 2).round().byte()
            mask = (F.avg_pool2d(mask.float(), 2) >= 0.5).byte()
        return self.augment(image, mask, generator)


class Peer(nn.Module):
    """segmentation_models_pytorch's U-Net with the same encoder, fed RGB in 0..1."""

    def __init__(self, weights: str) -> None:
        import segmentation_models_pytorch as smp  # of the extra `bench`
        super().__init__()
        ours = UNetResNet(BLOCKS)
        imagenet.load_encoder(ours.encoder, weights)
        self.unet = smp.Unet("resnet50", encoder_weights=None)
        self.encoder = self.unet.encoder
        # Strict; it takes away the classifier's two entries, which must be there.
        self.encoder.load_state_dict(
            ours.encoder.state_dict() | {"fc.weight": None, "fc.bias": None})
        self.mean, self.std = ours.mean, ours.std

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        x = F.pad((image - self.mean) / self.std, (0, -width % 32, 0, -height % 32),
                  mode="replicate")
        return self.unet(x)[..., :height, :width]


def loss_of(recipe: Recipe, logits: Tensor, masks: Tensor) -> Tensor:
    if recipe.batch_dice:  # all images of the batch as one
        loss = F.binary_cross_entropy_with_logits(logits.float(), masks) + dice_loss(
            logits.reshape(1, 1, 1, -1), masks.reshape(1, 1, 1, -1))
    else:
        loss = bce_dice_loss(logits, masks)
    if recipe.skeleton:
        loss = loss + recipe.skeleton * skeleton_recall_loss(logits, masks)
    return loss


def train(recipe: Recipe, pairs: Sequence[Pair], weights: str, steps: int, lr: float, seed: int,
          precision: torch.dtype) -> nn.Module:
    torch.manual_seed(seed)
    if recipe.peer:
        model = Peer(weights)
    else:
        model = FullSkip(BLOCKS) if recipe.full_skip else UNetResNet(BLOCKS)
        imagenet.load_encoder(model.encoder, weights)
    model.to(memory_format=torch.channels_last).train()
    if recipe.freeze_bn:
        for module in model.encoder.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    inner = {id(parameter) for parameter in model.encoder.parameters()}
    optimizer = Adam([
        {"params": [p for p in model.parameters() if id(p) not in inner], "factor": 1.0},
        {"params": model.encoder.parameters(), "factor": recipe.encoder_lr}], fused=True)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.average),
                            use_buffers=True) if recipe.average else None
    augment = Augment(recipe.crop, confuse, partial(
        photometric, chances=PHOTOMETRIC if recipe.weather else MILD),
        warp_probability=recipe.warp, confuse_probability=recipe.painted)
    crops = Crops(pairs, Afar(augment, recipe.far) if recipe.far else augment, seed)
    batch = recipe.batch or round(PIXELS / recipe.crop ** 2)
    bar = tqdm(range(steps), "training", unit="update", mininterval=30)
    for step in bar:
        window = [crops[step * batch + i] for i in range(batch)]
        images, masks = (torch.stack(tensors) for tensors in zip(*window))
        for group in optimizer.param_groups:
            group["lr"] = lr * group["factor"] * schedule(step, steps)
        with autocast(CPU, precision):
            logits = model(images.contiguous(memory_format=torch.channels_last))
        loss = loss_of(recipe, logits, masks)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if average:
            average.update_parameters(model)
        bar.set_postfix(loss=f"{loss.item():.3f}")
    return (average.module if average else model).eval()


def score(model: nn.Module, pairs: Sequence[Pair], precision: torch.dtype,
          stress: str | None = None) -> list[Tensor]:
    """The histogram (`metrics.histogram`) of each photo, predicted whole."""
    probability, found = predictor(model, CPU, precision), []
    for i, pair in enumerate(pairs):
        photo, truth = read_pair(pair.image, pair.mask)
        if stress:
            photo = spoil(photo, stress, seed=i)
        found.append(histogram(probability(photo[None])[0], truth.bool()))
    return found


def all_pairs(folder: Path) -> list[Pair]:
    return [pair for part in find([folder]).values() for pair in part.pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="the crackmix set")
    add("--confusers", type=Path, required=True)
    add("--others", type=Path, required=True, help="a sample of the 11k set")
    add("--weights", required=True, help="a ResNet-50's ImageNet weights")
    add("--without", default="DeepCrack", help="source left out of training")
    add("--change", choices=CHANGES, default="baseline")
    add("--steps", type=int, default=250)
    add("--lr", type=float, default=5e-4)
    add("--seed", type=int, default=0)
    add("--output", type=Path, default=Path("recipe.jsonl"), help="a line is added to it")
    args = parser.parse_args()
    recipe, began = CHANGES[args.change], time.time()
    precision = pick_precision("auto", CPU)
    pairs, held_out, _ = load_pairs([args.data])  # one split for all runs
    if args.without not in (sources := {pair.source for pair in pairs}):
        parser.error(f"--without {args.without}: the sources are {', '.join(sorted(sources))}")
    walls, held_walls, _ = load_pairs([args.confusers])
    trained = [pair for pair in pairs if pair.source != args.without]
    model = train(recipe, trained + walls * recipe.photos, args.weights, args.steps, args.lr,
                  args.seed, precision)
    seconds = time.time() - began

    def total(pairs: Sequence[Pair], stress: str | None = None) -> Tensor:
        return sum(score(model, pairs, precision, stress))

    seen = total([pair for pair in held_out if pair.source != args.without])
    threshold, f1 = best_threshold(seen)
    unseen = [pair for pair in pairs + held_out if pair.source == args.without][::4]
    new = total(unseen)
    strangers = [pair for pair in all_pairs(args.others) if pair.source in
                 ("Rissbilder", "Volker", "GAPS384", "cracktree200", "Eugen_Muller")]
    masonry = total([pair for pair in held_walls if pair.source == "masonry"])
    clear = [counts_at(each, threshold) for each in score(
        model, [pair for pair in held_walls if pair.source != "masonry"], precision)]
    row = {"change": args.change, "seed": args.seed, "without": args.without, "steps": args.steps,
           "recipe": asdict(recipe), "seconds": round(seconds), "threshold": threshold,
           "seen": f1, "unseen": counts_at(new, threshold).dice,
           "unseen_oracle": best_threshold(new)[1],
           "others": counts_at(total(strangers), threshold).dice,
           "masonry": counts_at(masonry, threshold).dice,
           "clean_scenes": sum(count.fp <= CLEAN for count in clear) / len(clear),
           "false_per_megapixel": 1e6 * sum(c.fp for c in clear) / sum(c.fp + c.tn for c in clear),
           "stress": {name: counts_at(total(unseen[::3], name), threshold).dice
                      for name in STRESS}}
    print(json.dumps(row, indent=1))
    with open(args.output, "a") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()

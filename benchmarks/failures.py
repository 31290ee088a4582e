"""What a network takes for cracks where there are none, and what it misses, as a picture.

    python benchmarks/failures.py [--checkpoint RUN] --output failures.png

It shows public-domain photos from scikit-image (`pip install -e ".[measure]"`) and synthetic
pavement, all without cracks; then synthetic pavement with cracks, as it is, under each confuser and
in each condition of stress.py that keeps its size. Beside each picture is its overlay: found in
green, false in orange, missed in blue.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from skimage import data
from stress import STRESS, degrade
from torch import Generator, Tensor

from unet_resnet import load
from unet_resnet.checkpoint import SHIPPED
from unet_resnet.images import write_png
from unet_resnet.inference import overlay
from unet_resnet.inference.predictor import MIN_AREA, to_photo
from unet_resnet.metrics import count
from unet_resnet.synthetic import pavement
from unet_resnet.synthetic.confusers import CONFUSERS

PHOTOS = ("brick", "gravel", "grass", "camera", "coffee", "chelsea", "text")
BARE = (1, 19)  # synthetic pavement without cracks
SIDE, COLUMNS = 200, 4


def examples(seed: int) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, photo (3, h, w) uint8 and mask (1, h, w) uint8."""
    for name in PHOTOS:
        photo = to_photo(getattr(data, name)())
        yield name, photo, torch.zeros_like(photo[:1])
    for number in BARE:
        yield "synthetic, no crack", *pavement.render(number, size=448)
    photo, mask = pavement.render(seed, size=448)
    yield "synthetic", photo, mask
    for confuser in CONFUSERS:
        image, truth = confuser(photo / 255, mask.float(), Generator().manual_seed(seed))
        yield confuser.__name__.replace("_", " "), to_photo(image.clamp(0, 1)), truth.byte()
    for kind in STRESS:
        yield kind, degrade(photo, kind, seed), mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED)
    parser.add_argument("--output", type=Path, default=Path("failures.png"))
    parser.add_argument("--seed", type=int, default=12, help="of the pavement with cracks")
    args = parser.parse_args()
    predictor, cells = load(args.checkpoint), []
    for name, photo, truth in examples(args.seed):
        found = predictor(photo, min_area=MIN_AREA) >= predictor.threshold
        scores = count(found, truth.bool())
        result = (f"Dice {scores.dice:.2f}" if truth.any()
                  else f"{1e6 * scores.fp / truth.numel():,.0f} false px/Mpx")
        print(f"{name}: {result}")
        cells += [overlay.caption(overlay.fit(photo, SIDE), name),
                  overlay.caption(overlay.fit(overlay.overlay(photo, found, truth), SIDE), result)]
    write_png(args.output, overlay.contact_sheet(
        [cells[i:i + 2 * COLUMNS] for i in range(0, len(cells), 2 * COLUMNS)], SIDE))


if __name__ == "__main__":
    main()

"""A copy of a data set in which some sources' masks are a pixel thinner on each side.

    python benchmarks/thin_masks.py morecams morecams_thin --sources UAVCrackX CrackTile

For masks that are drawn too wide (recipe.md). Centre lines are kept, so no crack is lost.
"""

import argparse
import shutil
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from unet_resnet.audit.folders import find
from unet_resnet.audit.scoring import resolve_masks
from unet_resnet.files import check_new, run
from unet_resnet.images import write_png
from unet_resnet.morphology import erode, skeletons


def thinner(mask: Tensor) -> Tensor:
    """(1, h, w) uint8 0/1, eroded by a 3x3 square, with its skeleton."""
    return erode(mask, 1) | skeletons(mask)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("copy", type=Path)
    parser.add_argument("--sources", nargs="+", required=True)
    args = parser.parse_args()
    check_new(args.copy)
    for name, part in find([args.folder]).items():
        for pair in tqdm(resolve_masks(part.pairs), name, unit="pair"):
            mask = pair.rule.read(pair.mask, pair.image)
            mask = thinner(mask) if pair.source in args.sources else mask
            images, masks = (args.copy / name / kind / pair.folder for kind in ("images", "masks"))
            for folder in (images, masks):
                folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(pair.image, images)
            write_png(masks / f"{pair.image.stem}.png", 255 * mask)


if __name__ == "__main__":
    run(main, "thin_masks.py")

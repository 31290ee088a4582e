"""A synthetic photo under each confuser and each photometric transform, as a picture.

    python benchmarks/augmentations.py --output augmentations.png
"""

import argparse
from pathlib import Path

from torch import Generator

from unet_resnet.images import write_png
from unet_resnet.inference import overlay
from unet_resnet.inference.predictor import to_photo
from unet_resnet.synthetic import pavement
from unet_resnet.synthetic.confusers import CONFUSERS
from unet_resnet.synthetic.photometric import PHOTOMETRIC

SIDE, COLUMNS = 180, 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("augmentations.png"))
    parser.add_argument("--seed", type=int, default=4)
    args = parser.parse_args()
    photo, mask = pavement.render(args.seed, size=SIDE)
    image, truth = photo.float() / 255, mask.float()
    cells = [("photo", photo), ("mask", overlay.grey(truth))]
    for confuser in CONFUSERS:
        painted, _ = confuser(image, truth, Generator().manual_seed(args.seed))
        cells.append((confuser.__name__.replace("_", " "), to_photo(painted.clamp(0, 1))))
    for transform, _, low, high in PHOTOMETRIC:
        strength = high if abs(high) >= abs(low) else low
        if transform.__name__ in ("dark", "jpeg"):
            strength = low  # the smaller number is the stronger effect
        lit = transform(image, strength, Generator().manual_seed(args.seed))
        cells.append((transform.__name__.replace("_", " "), to_photo(lit.clamp(0, 1))))
    captioned = [overlay.caption(overlay.fit(picture, SIDE), name) for name, picture in cells]
    write_png(args.output, overlay.contact_sheet(
        [captioned[i:i + COLUMNS] for i in range(0, len(captioned), COLUMNS)], SIDE))


if __name__ == "__main__":
    main()

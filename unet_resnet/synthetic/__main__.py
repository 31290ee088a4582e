"""Draws a data set of pavement:  python -m unet_resnet.synthetic FOLDER"""

import argparse
from pathlib import Path

from unet_resnet.files import run
from unet_resnet.synthetic.pavement import write


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m unet_resnet.synthetic",
                                     description="Draw pavement with and without cracks.",
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("folder", type=Path, help="images/ and masks/ are written here")
    parser.add_argument("--count", type=int, default=200, help="pictures")
    parser.add_argument("--size", type=int, default=256, help="side of a picture in pixels")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws another set")
    write(**vars(parser.parse_args()))


if __name__ == "__main__":
    run(main, "unet_resnet.synthetic")

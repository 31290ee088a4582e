"""Writes a trained network for others:

    python -m unet_resnet.export runs/my_cracks-1 cracks.onnx     # for other runtimes
    python -m unet_resnet.export runs/my_cracks-1 cracks.pt       # for this package, in 8 bits
"""

import argparse
from pathlib import Path

from unet_resnet.export.onnx import export
from unet_resnet.export.small import shrink
from unet_resnet.files import run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m unet_resnet.export",
                                     description="Write a trained network for others.")
    parser.add_argument("checkpoint", type=Path, help="a run's folder (its best.pt) or a file of "
                        "train.py; cracks: the network that comes with the project")
    parser.add_argument("output", type=Path, help="the file to write: NAME.onnx, about 185 MB for "
                        "ResNet-101, or NAME.pt, a checkpoint with weights in 8 bits, 47 MB")
    args = parser.parse_args()
    if args.output.suffix not in (".onnx", ".pt"):
        raise ValueError(f"{args.output}: its name must end in .onnx or .pt")
    write = export if args.output.suffix == ".onnx" else shrink
    print(write(args.checkpoint, args.output))


if __name__ == "__main__":
    run(main, "unet_resnet.export")

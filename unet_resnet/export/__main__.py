"""Writes a trained network for others:

    python -m unet_resnet.export runs/my_cracks-1 cracks.onnx        # for other runtimes
    python -m unet_resnet.export runs/my_cracks-1 cracks.onnx --int8 # small, and fast on CPUs
    python -m unet_resnet.export runs/my_cracks-1 qgis.onnx --deepness 0.1   # 0.1 cm per pixel
    python -m unet_resnet.export runs/my_cracks-1 cracks.pt          # for this package, small
"""

from pathlib import Path

from unet_resnet.export.onnx import export
from unet_resnet.export.small import shrink
from unet_resnet.files import Parser, number, run


def main() -> None:
    parser = Parser(prog="python -m unet_resnet.export", allow_abbrev=False,
                    description="Write a trained network for others.")
    parser.add_argument("checkpoint", type=Path, help="a run's folder (its best.pt) or a file of "
                        "train.py; cracks: the network that comes with the project")
    parser.add_argument("output", type=Path, help="the file to write: NAME.onnx, about 185 MB for "
                        "ResNet-101, or NAME.pt, a checkpoint with weights in 8 bits, 47 MB")
    parser.add_argument("--int8", nargs="*", type=Path, metavar="PHOTO", help="compute in 8 bits, "
                        "too: NAME.onnx has 48 MB and is faster on a CPU. About 20 of your photos "
                        "calibrate it; without any, drawn pavement does")
    parser.add_argument("--deepness", type=number(1e-6, 1e6), metavar="CM_PER_PIXEL",
                        help="write the .onnx for Deepness, a plugin of QGIS, which scales maps to "
                        "this resolution: that of photos like those the network was trained on")
    args = parser.parse_args()
    if args.output.suffix == ".onnx":
        print(export(args.checkpoint, args.output, args.int8, args.deepness))
    elif args.output.suffix == ".pt" and args.int8 is None and args.deepness is None:
        print(shrink(args.checkpoint, args.output))
    else:
        raise ValueError(f"{args.output}: wanted a name that ends in .onnx, or in .pt without "
                         "--int8 and --deepness")


if __name__ == "__main__":
    run(main, "unet_resnet.export")

"""Writes a trained network for use elsewhere:

    python -m unet_resnet.export runs/my_cracks-1 cracks.onnx         # for other runtimes
    python -m unet_resnet.export runs/my_cracks-1 cracks.onnx --int8  # small, and fast on CPUs
    python -m unet_resnet.export runs/my_cracks-1 qgis.onnx --deepness 0.1  # 0.1 cm per pixel
    python -m unet_resnet.export runs/my_cracks-1 cracks.pt           # for this package, small
"""

import logging
from pathlib import Path

from unet_resnet.export.onnx import export
from unet_resnet.export.small import shrink
from unet_resnet.files import Parser, number, run


def main() -> None:
    parser = Parser(prog="python -m unet_resnet.export", allow_abbrev=False,
                    description="Write a trained network for use elsewhere.")
    parser.add_argument("checkpoint", type=Path, help="the folder of a run (for its best.pt), a "
                        "checkpoint, or cracks, the bundled weights")
    parser.add_argument("output", type=Path, help="the file to write: NAME.onnx, about 185 MB for "
                        "ResNet-101, or NAME.pt, a checkpoint with 8-bit weights, 47 MB")
    parser.add_argument("--int8", nargs="*", type=Path, metavar="PHOTO", help="let NAME.onnx also "
                        "compute in 8 bits: 48 MB, faster on a CPU. Give about 20 of your photos "
                        "for calibration; without any, synthetic pavement is used")
    parser.add_argument("--deepness", type=number(1e-6, 1e6), metavar="CM_PER_PIXEL",
                        help="write NAME.onnx for Deepness, a QGIS plugin, which scales maps to "
                        "this resolution; choose about that of the training photos")
    args = parser.parse_args()
    logging.disable(logging.WARNING)  # onnxruntime's advice to fuse layers, which is done already
    if args.output.suffix == ".onnx":
        print(export(args.checkpoint, args.output, args.int8, args.deepness))
    elif args.output.suffix == ".pt" and args.int8 is None and args.deepness is None:
        print(shrink(args.checkpoint, args.output))
    else:
        raise ValueError(f"{args.output}: expected NAME.onnx, or NAME.pt without --int8 and "
                         "--deepness")


if __name__ == "__main__":
    run(main, "unet_resnet.export")

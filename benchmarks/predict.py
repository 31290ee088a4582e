"""What does a prediction cost, compared with segmentation_models_pytorch's U-Net on ResNet-101?

    pip install -e ".[bench]" && python benchmarks/predict.py

End to end: a JPEG is read and predicted, and its mask is written as PNG. A crop of 448x448 goes
through in one piece; a 12-megapixel photo in tiles. The peer runs in a plain loop over tiles of 640
that overlap by half, as its users run it (float32, contiguous) and treated as ours (the precision
that the hardware is fast at, channels_last). Weights are random; they cost the same. For comparison
there is the forward pass alone: the photo's pixels through our network, without reading, tiling and
writing; with --int8 also our network in 8 bits, exported in half a minute.

--memory measures peak resident memory instead, each side in a separate process: the peer's loop,
and all of infer.py, which writes three pictures, also for 100 megapixels. --rate measures how many
files infer.py finishes per second in a long run: the difference between a small and a larger
folder.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
from PIL import Image
from timing import interleave, machine, table

from unet_resnet import UNetResNet, checkpoint, load, tiling
from unet_resnet.device import autocast, pick_device, pick_precision
from unet_resnet.export.onnx import export
from unet_resnet.images import read_photo, write_png
from unet_resnet.inference.predictor import Predictor, optimized_function
from unet_resnet.synthetic import pavement

ROOT = Path(__file__).resolve().parents[1]
AS_USED, TREATED, OURS, ALONE = "smp, as used", "smp, treated", "ours", "forward pass alone"
INT8 = "ours, in 8 bits"
SIZES = {"crop": (448, 448), "photo": (3000, 4000), "huge": (8660, 11547)}
TILE, OVERLAP = 640, 0.5


def write_photo(path: Path, height: int, width: int) -> Path:
    """A JPEG of synthetic pavement, tiled to the size."""
    pattern, _ = pavement.render(0, size=448)
    rows, columns = (torch.arange(side) % 448 for side in (height, width))
    picture = pattern[:, rows][:, :, columns].permute(1, 2, 0).numpy()
    Image.fromarray(picture).save(path, quality=90)
    return path


def make_ours(device: torch.device, precision: torch.dtype) -> Callable[[Path], None]:
    probability = optimized_function(UNetResNet().eval(), device, precision)
    return end_to_end(Predictor(probability, 0.5, {}, device))


def make_int8(folder: Path) -> Callable[[Path], None]:
    # Not random weights, which do not survive 8 bits.
    export(checkpoint.SHIPPED, folder / "cracks.onnx", photos=[])
    return end_to_end(load(folder / "cracks.onnx", "cpu"))


def end_to_end(predictor: Predictor) -> Callable[[Path], None]:
    def predict(path: Path) -> None:
        probability = predictor(read_photo(path), dtype=torch.uint8)
        write_png(path.with_name("ours.png"), (probability >= 128).to(torch.uint8) * 255)
    return predict


def make_forward(device: torch.device, precision: torch.dtype,
                 size: tuple[int, int]) -> Callable[[Path], None]:
    """As many pixels as a photo of that size has, in pieces of at most 1000x1000."""
    probability = optimized_function(UNetResNet().eval(), device, precision)
    height, width = size
    pieces = -(-height // 1000) * -(-width // 1000)
    tile = torch.zeros(1, 3, -(-height // -(-height // 1000)), -(-width // -(-width // 1000)),
                       dtype=torch.uint8)
    return lambda path: [probability(tile).cpu() for _ in range(pieces)]


def make_peer(device: torch.device, precision: torch.dtype,
              layout: torch.memory_format) -> Callable[[Path], None]:
    model = smp.Unet("resnet101", encoder_weights=None).eval().to(device, memory_format=layout)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)

    @torch.no_grad()
    def predict(path: Path) -> None:
        photo = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
        photo = (photo.float() / 255 - mean) / std
        sums, counts = torch.zeros(2, *photo.shape[1:])
        for top in tiling.starts(photo.shape[1], TILE, OVERLAP):
            for left in tiling.starts(photo.shape[2], TILE, OVERLAP):
                tile = photo[None, :, top:top + TILE, left:left + TILE]
                with autocast(device, precision):
                    logits = model(tile.to(device).contiguous(memory_format=layout))
                here = slice(top, top + TILE), slice(left, left + TILE)
                sums[here] += logits[0, 0].float().sigmoid().cpu()
                counts[here] += 1
        Image.fromarray(((sums / counts >= 0.5) * 255).byte().numpy()).save(
            path.with_name("peer.png"))
    return predict


def measure_memory(folder: Path, device: str) -> None:
    """Peak resident memory of processes, as the system reports it."""
    checkpoint.save(folder / "random.pt", UNetResNet())
    for side, size in ((OURS, "crop"), (OURS, "photo"), (TREATED, "photo"), (AS_USED, "photo"),
                       (OURS, "huge")):
        photo = write_photo(folder / f"{size}.jpg", *SIZES[size])
        command = ([ROOT / "infer.py", photo, "--checkpoint", folder / "random.pt", "--output",
                    folder / size] if side == OURS else [__file__, "--only", side, photo])
        with subprocess.Popen([sys.executable, *command, "--device", device],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        result = "failed" if process.returncode else f"peak {usage.ru_maxrss / 1024**2:.2f} GiB"
        print(f"{side}, {' x '.join(map(str, SIZES[size]))}: {result}", flush=True)


def measure_rate(folder: Path, device: str) -> None:
    """Seconds of infer.py, start included, for a small and a larger folder of equal photos."""
    for size, small, large in (("crop", 10, 110), ("photo", 1, 5)):
        seconds = []
        for count in (small, large):
            photos = folder / f"{size}-{count}"
            photos.mkdir()
            first = write_photo(photos / "0.jpg", *SIZES[size])
            for number in range(1, count):
                shutil.copy(first, photos / f"{number}.jpg")
            began = time.perf_counter()
            subprocess.run([sys.executable, ROOT / "infer.py", photos, "--device", device,
                            "--output", folder / f"of-{photos.name}"], check=True,
                           capture_output=True)
            seconds.append(time.perf_counter() - began)
        each = (seconds[1] - seconds[0]) / (large - small)
        print(f"infer.py, {' x '.join(map(str, SIZES[size]))}: {1 / each:.2f} files per second",
              flush=True)


def make(side: str, device: torch.device) -> Callable[[Path], None]:
    precision = pick_precision("auto", device)
    if side == OURS:
        return make_ours(device, precision)
    if side == TREATED:
        return make_peer(device, precision, torch.channels_last)
    return make_peer(device, torch.float32, torch.contiguous_format)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="of the crop; the photo runs once")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--memory", action="store_true", help="measure memory, not time")
    parser.add_argument("--rate", action="store_true", help="measure files per second")
    parser.add_argument("--int8", action="store_true", help="also a network in 8 bits, on the CPU")
    parser.add_argument("--only", nargs=2, metavar=("SIDE", "PHOTO"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    device = pick_device(args.device)
    with tempfile.TemporaryDirectory() as folder:
        if args.only:
            make(args.only[0], device)(Path(args.only[1]))
            return
        print(f"{machine()}, {pick_precision('auto', device)}")
        if args.memory:
            measure_memory(Path(folder), args.device)
            return
        if args.rate:
            measure_rate(Path(folder), args.device)
            return
        sides = {side: make(side, device) for side in (AS_USED, TREATED, OURS)}
        if args.int8:
            sides[INT8] = make_int8(Path(folder))
        for size, rounds, warmup in (("crop", args.rounds, 2), ("photo", 1, 0)):
            path = write_photo(Path(folder) / f"{size}.jpg", *SIZES[size])
            sides[ALONE] = make_forward(device, pick_precision("auto", device), SIZES[size])
            seconds = interleave({side: lambda predict=predict: predict(path)
                                  for side, predict in sides.items()}, rounds, warmup)
            print(table(f"{SIZES[size][0]}x{SIZES[size][1]}, end to end", "seconds", seconds,
                        (AS_USED, TREATED, ALONE)))


if __name__ == "__main__":
    main()

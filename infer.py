"""Find cracks in photographs and videos: `python infer.py photo.jpg`, or folders, or patterns."""

import argparse
import os
import shlex
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

# Before torch is imported: its threads spin while they wait, which is slow on a busy machine.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import torch
from torch import Tensor
from tqdm import tqdm

from unet_resnet import checkpoint, files, tiling
from unet_resnet.audit.scoring import pairs_to_score
from unet_resnet.device import PRECISIONS, why_not_cuda
from unet_resnet.evaluation.sheet import ScoreSheet, write_scores
from unet_resnet.inference import index, inputs, outputs, overlay, predictor
from unet_resnet.report.page import Report

SHARE, COUNT, POSITIVE = files.number(0, 1), files.number(1, 1e9, int), files.number(1e-9, 1e9)


def parse_arguments() -> argparse.Namespace:
    parser = files.Parser(description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("photos", nargs="+", help="files, folders (with everything below them) or patterns")
    add("--output", type=Path, default=Path("predictions"), help="folder for the results "
        "(default: %(default)s); only earlier results of these photos are replaced in it")
    add("--skip-existing", action="store_true", help="skip unchanged photos with results")
    add("--checkpoint", type=Path, default=checkpoint.SHIPPED, help="a run's folder, a "
        "checkpoint, or an .onnx file of unet_resnet.export (default: the bundled weights)")
    add("--threshold", type=SHARE, help="minimum probability of crack (default: the checkpoint's)")
    add("--min-area", type=files.number(0, 1e9, int), default=predictor.MIN_AREA,
        metavar="PIXELS", help="remove smaller areas, e.g. pores; 0: none (default: %(default)s)")
    add("--tile", type=files.number(32, 1e6, int), default=tiling.TILE, help="side in pixels of a "
        "large photo's tiles; larger is faster and takes more memory (default: %(default)s)")
    add("--overlap", type=SHARE, default=tiling.OVERLAP, help="share of a tile (default: 1/12)")
    add("--batch", type=COUNT, default=1, help="tiles per forward pass (default: %(default)s)")
    add("--scale", type=files.number(1e-3, 1e3), nargs="+", default=[1.0], metavar="FACTOR",
        help="resize photos first, e.g. 0.5 for wide cracks; results of several are averaged")
    add("--tta", action="store_true", help="average over flips and quarter turns: 8 times slower")
    add("--device", default="auto", help="cpu, cuda, cuda:1, mps (default: the fastest; ONNX: cpu)")
    add("--precision", choices=("auto", *PRECISIONS), default="auto",
        help="number format; auto is 16 bits on hardware that supports them (default: %(default)s)")
    add("--every", type=COUNT, metavar="N", help="treat every N-th frame of a video as a photo")
    add("--masks", type=Path, metavar="FOLDER", help="true masks, to score the results")
    add("--masks-unturned", action="store_true", help="masks fit the photos before EXIF turns them")
    add("--measure", action="store_true", help="measure length and width of each crack")
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument("--mm-per-pixel", type=POSITIVE, metavar="MM", help="size of a pixel, "
                       "to measure in mm")
    scale.add_argument("--scale-bar", type=POSITIVE, nargs=2, metavar=("PIXELS", "MM"),
                       help="the same, from a known length in the photos")
    add("--width-classes", nargs="+", default=[], metavar="MM", help="sum lengths "
        "by class of width: limits in mm, e.g. 0.1 0.2 0.3, or en1992, or aci224")
    add("--include-wide", action="store_true", help="also count areas too wide to be cracks")
    add("--report", action="store_true", help="write report.html, a page to look through")
    args = parser.parse_args()
    if args.scale_bar:
        args.mm_per_pixel = args.scale_bar[1] / args.scale_bar[0]
    args.measure |= bool(args.mm_per_pixel or args.width_classes or args.include_wide)
    if args.skip_existing and (args.masks or args.measure or args.report):
        parser.error("--skip-existing: scores, measurements and report would lack what is skipped")
    return args


@dataclass
class Run:
    """What is done with each photo, and where its results go."""
    args: argparse.Namespace
    predict: partial[Tensor]  # from a photo (3, h, w) to its probability (1, h, w) in 256ths
    folder: outputs.Folder
    sheet: ScoreSheet
    tables: Any  # of measurements: measure.tables.Tables, or None
    report: Report | None


def results(run: Run, read: inputs.Reading, probability: Tensor, legend: bool = True) -> tuple:
    """Threshold, paint and measure a photo or frame; returns pictures, numbers and cracks."""
    crack = probability >= run.sheet.threshold * 256
    pictures = {"probability": probability, "mask": crack.to(torch.uint8) * 255,
                "overlay": overlay.overlay(read.photo, crack, read.truth)}
    numbers = {"crack_share": round(int(crack.count_nonzero()) / crack.numel(), 6)}
    if not run.tables:
        return pictures, numbers, None
    from unet_resnet.measure import drawing, tables  # an extra
    found = run.tables.measure(crack)
    pictures["widths"] = drawing.draw(overlay.overlay(read.photo, crack), found, legend)
    return pictures, numbers | tables.main_numbers(found), found


def save(run: Run, name: str, path: Path, read: inputs.Reading, probability: Tensor) -> dict:
    """Write, tabulate, score and report the results of a photo or still; returns its numbers."""
    pictures, numbers, measured = results(run, read, probability)
    saved = run.folder.write(name, pictures)
    if measured:  # only now: no table lists what could not be written
        run.tables.add(name, measured, path)
    if read.truth is not None:
        run.sheet.add(name, read.source, (probability + 0.5) / 256, read.truth)
    if run.report:
        run.report.add(name, read.photo, pictures["mask"], read.truth, [path, *saved[2:]], numbers)
    return numbers


def save_photo(run: Run, name: str, path: Path, read: inputs.Reading, probability: Tensor) -> None:
    with run.folder.report_errors(path):
        run.folder.finish(name, path, read, save(run, name, path, read, probability))


def predict_video(run: Run, name: str, path: Path) -> None:
    """Mark the cracks in a video, or treat every N-th frame as a photo; tabulate the frames."""
    from unet_resnet.video import frames  # an extra
    state = index.file_state(path)
    with frames.open_results(path, run.args.output / name, run.args.every) as video:
        for frame in video:
            still, read = f"{name}/{frame.index:06d}", inputs.Reading(frame.pixels)
            probability = run.predict(read.photo)
            if run.args.every:
                video.add(frame, save(run, still, path, read, probability))
            else:
                pictures, numbers, measured = results(run, read, probability, legend=False)
                if measured:
                    run.tables.add(still, measured)
                video.add(frame, numbers, pictures["widths" if measured else "overlay"])
    run.folder.index.finish(name, state)
    tqdm.write(files.one_line(f"{path}: {video.count} frames, results in {name}*"))


def predict_all(run: Run, photos: dict[str, Path], pairs: inputs.Pairs) -> None:
    """Photo by photo; meanwhile, the next one is read and the previous one is saved."""
    with ThreadPoolExecutor(1) as saver:
        last = saver.submit(int)  # nothing to save yet
        for name, path, reading in tqdm(inputs.read_ahead(photos, pairs), total=len(photos),
                                        unit="photo", leave=False):
            with run.folder.report_errors(path):
                if inputs.is_video(path):
                    last.result()
                    predict_video(run, name, path)
                else:
                    read = reading.result()
                    probability = run.predict(read.photo)
                    last.result()  # at most one photo waits
                    last = saver.submit(save_photo, run, name, path, read, probability)
        last.result()


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: results are kept
    args, began = parse_arguments(), time.perf_counter()
    found, root = inputs.find_photos(args.photos)
    files.check_folder(args.output)
    if args.measure:
        from unet_resnet.measure.tables import FILES, Tables  # an extra
    if any(map(inputs.is_video, found)) and not args.masks:  # videos have none
        files.check_extra("video", "a video", "av")
    network = predictor.load(args.checkpoint, args.device, args.precision, args.threshold)
    print(f"checkpoint {args.checkpoint}, threshold {network.threshold:g}, {network.device}")
    print(why_not_cuda(args.device, network.device) * (args.checkpoint.suffix != ".onnx"), end="")
    pairs: inputs.Pairs = {}
    if args.masks:
        found, pairs = pairs_to_score(args.masks, inputs.exclude_videos(found), root,
                                      network.split, args.masks_unturned)
    tables = Tables(args.output, args.mm_per_pixel, args.width_classes, found, args.scale,
                    args.include_wide) if args.measure else None
    for note in tables.notes if tables else ():
        print(f"note: {note}")
    folder = outputs.Folder(args.output, files.fingerprint(checkpoint.resolve(args.checkpoint)))
    photos = folder.claim(found, root, [pair.mask for pair in pairs.values()], args.every,
                          FILES if tables else (), args.report, args.skip_existing)
    predict = partial(network, tile=args.tile, overlap=args.overlap, scales=args.scale,
                      tta=args.tta, batch=args.batch, dtype=torch.uint8, min_area=args.min_area)
    report = Report(args.output / "report.html") if args.report else None
    with folder.index, tables or nullcontext():
        run = Run(args, predict, folder, ScoreSheet(network.threshold), tables, report)
        predict_all(run, photos, pairs)
        about = {"command": shlex.join(["python", *sys.argv]), "date": time.ctime(),
                 "seconds": round(time.perf_counter() - began), "device": str(network.device),
                 "photos": inputs.describe([*photos.values()]), "checkpoint": str(args.checkpoint),
                 "threshold": network.threshold}
        if report:
            widths, sums = (tables.histogram(), tables.folders.rows()) if tables else (None, ())
            report.write(about, run.sheet.main_scores(), widths, folder.failed.items(), sums)
        if run.sheet.rows:
            write_scores(run.sheet, photos, args.output, about,
                         network.split["validation"].values())
    return folder.print_summary([*photos.values()])


if __name__ == "__main__":
    files.run(main, "infer.py")

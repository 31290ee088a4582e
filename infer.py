"""Find cracks in photographs and videos: `python infer.py photo.jpg`, or folders, or patterns."""

import argparse
import math
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from unet_resnet import checkpoint, tiling
from unet_resnet.audit.split import unseen
from unet_resnet.data import source_of
from unet_resnet.evaluation.sheet import ScoreSheet, write_scores
from unet_resnet.files import (
    check_extra, check_folder, fingerprint, hash_of, one_line, print_any_name)
from unet_resnet.images import SUFFIXES
from unet_resnet.inference import inputs, outputs
from unet_resnet.inference.index import Index, facts_of
from unet_resnet.inference.overlay import overlay
from unet_resnet.inference.predictor import Predictor, load
from unet_resnet.report.page import WIDTHS, Report, lengths_by_width, width_histogram
from unet_resnet.training.manifest import command, package_version
from unet_resnet.video import frames

TABLES = ("cracks.csv", "photos.csv", "measurements.json")
SCORES = ("scores.json", "scores.csv", "worst.png")
RANGES = {"tile": (32, math.inf), "batch": (1, math.inf), "every": (1, math.inf),
          "min_area": (0, math.inf), "threshold": (0, 1), "overlap": (0, 1), "scale": (1e-3, 1e3),
          "mm_per_pixel": (1e-9, 1e9), "scale_bar": (1e-9, 1e9), "width_classes": (1e-9, 1e9)}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("photos", nargs="+", help="files, folders (with everything below them) or patterns")
    add("--output", type=Path, default=Path("predictions"), help="folder for the results, whose "
        "index.json lists them. Those of an earlier run are replaced only if all their photos are "
        "predicted again; anything else in the way ends the run before it begins")
    add("--skip-existing", action="store_true", help="leave out photos that have not changed since "
        "their results were finished, with any checkpoint")
    add("--checkpoint", type=Path, default=checkpoint.SHIPPED, help="a run's folder, or a file")
    add("--threshold", type=float, help="probability from which a pixel is crack, rounded to a "
        "256th (default: the checkpoint's)")
    add("--min-area", type=int, default=50, metavar="PIXELS", help="smaller areas are not cracks "
        "but pores, chips and noise: put below the threshold; 0 keeps all")
    add("--tile", type=int, default=tiling.TILE, help="side in pixels of the tiles that a large "
        "photo is predicted in; larger is faster and takes more memory")
    add("--overlap", type=float, default=0.5, help="of neighbouring tiles, as a share")
    add("--batch", type=int, help="tiles at once (default: 4 on a GPU, 1 on a CPU)")
    add("--scale", type=float, nargs="+", default=[1.0], metavar="FACTOR", help="enlarge or reduce "
        "the photo: 0.5 for thick cracks in close-ups, 2 for thin ones in large views; predictions "
        "at several factors are averaged")
    add("--tta", action="store_true", help="average over flips and quarter turns: 8 times the work")
    add("--device", default="auto", help="cpu, cuda, cuda:1, mps; auto: the fastest present")
    add("--precision", choices=("auto", "fp32", "fp16", "bf16"), default="auto",
        help="auto: what the hardware is fast at")
    add("--every", type=int, metavar="N", help="of a video, take every N-th frame as a photo "
        "instead of painting the video")
    add("--masks", type=Path, metavar="FOLDER", help="true masks, with the photos' names, to score")
    add("--measure", action="store_true", help="length and width of each crack: cracks.csv, "
        "photos.csv, measurements.json and NAME_widths.png")
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument("--mm-per-pixel", type=float, metavar="MM", help="measure in mm, too")
    scale.add_argument("--scale-bar", type=float, nargs=2, metavar=("PIXELS", "MM"),
                       help="the same, from a length seen in the photos")
    add("--width-classes", type=float, nargs="+", default=[], metavar="MM", help="limits, such as "
        "0.1 0.2 0.3, of the classes of width for which lengths are summed")
    add("--report", action="store_true", help="write report.html, a page to look through")
    return checked(parser, parser.parse_args())


def checked(parser: argparse.ArgumentParser, args: argparse.Namespace) -> argparse.Namespace:
    for name, (low, high) in RANGES.items():
        values = getattr(args, name)
        for value in values if isinstance(values, list) else [values]:
            if value is not None and not low <= value < high:
                parser.error(f"--{name.replace('_', '-')} {value:g}; wanted {low:g} or more, and "
                             f"less than {high:g}")
    if args.scale_bar:
        args.mm_per_pixel = args.scale_bar[1] / args.scale_bar[0]
    args.measure = args.measure or bool(args.mm_per_pixel)
    if args.width_classes and not args.mm_per_pixel:
        parser.error("--width-classes are in mm: give --mm-per-pixel or --scale-bar as well")
    if args.skip_existing and (args.masks or args.measure or args.report):
        parser.error("--skip-existing leaves photos out, but scores, measurements and the report "
                     "are of all photos: use it without these")
    return args


class Collected(NamedTuple):
    """What grows photo by photo."""

    index: Index
    sheet: ScoreSheet
    report: Report | None
    add_to_tables: Callable | None  # of measurements
    widths: np.ndarray  # length of centre line by width, for the report
    failed: dict[Path, str]


def save(args: argparse.Namespace, into: Collected, name: str, path: Path, photo: Tensor,
         probability: Tensor, truth: Tensor | None = None, film: bool = False
         ) -> tuple[dict[str, float | None], Tensor]:
    """Threshold, measure, save, score and report a photo; returns numbers and a picture to show.

    A frame of a painted film has no files of its own and is not in the report.
    """
    crack, numbers = probability >= into.sheet.threshold * 256, {}
    pictures = {"probability": probability, "mask": crack.to(torch.uint8) * 255,
                "overlay": overlay(photo, crack, truth)}
    if args.measure:
        from unet_resnet.measure import drawing, tables, widths  # an extra
        found = widths.measure(crack, args.mm_per_pixel, args.width_classes)
        numbers = tables.main_numbers(found)
        pictures["widths"] = drawing.draw(overlay(photo, crack), found, legend=not film)
    files = [] if film else outputs.write_pictures(args.output / name, pictures)
    if args.measure:  # only now: what cannot be written is in no table
        into.add_to_tables(name, found)
        into.widths[:] += lengths_by_width(found.lines)
    if truth is not None:
        into.sheet.add(name, one_line(source_of(path.stem)), (probability + 0.5) / 256, truth)
    if into.report and not film:
        into.report.add(name, photo, crack, truth, [path, *files[2:]], numbers)
    share = round(int(crack.count_nonzero()) / crack.numel(), 6)
    return {"crack_share": share} | numbers, [*pictures.values()][-1]


def finish(args: argparse.Namespace, into: Collected, name: str, path: Path, read: inputs.Reading,
           probability: Tensor) -> None:
    """What is left to do with a photo while the next one is predicted."""
    with outputs.reported(path, into.failed):
        numbers, _ = save(args, into, name, path, read.photo, probability, read.truth)
        into.index.finish(name, read.facts)
        tqdm.write(outputs.line(path, name, numbers, read.has_pages))


def predict_all(args: argparse.Namespace, into: Collected, photos: dict[str, Path],
                masks: dict[str, Path], predictor: Predictor) -> None:
    """Photo by photo; meanwhile, the next one is read and the last one is written."""
    def predict(photo: Tensor) -> Tensor:
        return predictor(photo, args.tile, args.overlap, args.scale, args.tta, args.batch,
                         torch.uint8, args.min_area)

    with ThreadPoolExecutor(1) as writer, tqdm(total=len(photos), unit="photo", leave=False) as bar:
        last = writer.submit(bool)  # nothing to write yet
        for name, (path, reading) in zip(photos, inputs.read_ahead([*photos.values()], masks)):
            with outputs.reported(path, into.failed):
                if inputs.is_video(path):
                    last.result()
                    predict_video(args, into, name, path, predict)
                else:
                    read = reading.result()
                    probability = predict(read.photo)
                    last.result()  # at most one photo waits
                    last = writer.submit(finish, args, into, name, path, read, probability)
            bar.update()
        last.result()


def predict_video(args: argparse.Namespace, into: Collected, name: str, path: Path,
                  predict: Callable[[Tensor], Tensor]) -> None:
    """Paint a video, or take every N-th frame as a photo; and write a table of the frames."""
    facts = facts_of(path)
    with frames.film(path, args.output / name, args.every) as film:
        for frame in film:
            film.add(frame, *save(args, into, f"{name}/{frame.index:06d}", path, frame.pixels,
                                  predict(frame.pixels), film=not args.every))
    into.index.finish(name, facts)
    pictures = f"{name}/" if args.every else f"{name}_cracks.mp4"
    tqdm.write(one_line(f"{path}: {film.count} frames, {name}_cracks.csv and {pictures}"))


def check(args: argparse.Namespace, photos: list[Path]) -> None:
    """Raise early what would otherwise end long work."""
    films = [photo for photo in photos if inputs.is_video(photo)]
    if not photos:
        raise ValueError(f"{args.photos[0]}: no photos in it ({' '.join(SUFFIXES)})")
    check_folder(args.output)
    if args.measure:
        from unet_resnet.measure.widths import check_scale
        check_scale(args.mm_per_pixel, args.width_classes)
    if films and not args.masks:
        check_extra("video", f"{films[0]}: a video", "av")
    if args.every and not films:
        print("--every is for videos, and there is none: it changes nothing")
    if args.report and not args.every and films:
        print("--report shows photos; of a video only the stills of --every")


def conclude(args: argparse.Namespace, into: Collected, photos: dict[str, Path],
             predictor: Predictor, given: str, seconds: float) -> None:
    """The report and the scores."""
    about = {"command": command(), "checkpoint": str(args.checkpoint)}
    if into.report:
        for path, reason in into.failed.items():
            into.report.fail(one_line(path), reason)
        more = {"given": given, "threshold": f"{predictor.threshold:g}",
                "device": str(predictor.device), "seconds": round(seconds, 1),
                "date": datetime.now().strftime("%Y-%m-%d %H:%M"),
                "version": package_version("unet_resnet")}
        unit, factor = ("mm", args.mm_per_pixel) if args.mm_per_pixel else ("px", 1)
        into.report.write(about | more, into.sheet.main_scores(),
                          width_histogram(into.widths, unit, factor))
    if into.sheet.rows:
        validated = set(predictor.split["validation"].values())
        about["validation_photos"] = chose = len(validated & set(map(hash_of, photos.values())))
        if chose:
            print(f"{chose} of these photos chose the checkpoint's epoch and threshold: their "
                  "scores are slightly flattered")
        write_scores(into.sheet, photos, args.output, about)


def main() -> int:
    print_any_name()
    # SIGTERM, with which a cluster stops a job, ends like Ctrl-C: what is done is kept.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    args, began, masks = parse_arguments(), time.perf_counter(), {}
    found, root = inputs.find_photos(args.photos)
    check(args, found)
    given = inputs.counted(found)
    predictor = load(args.checkpoint, args.device, args.precision)
    if args.threshold is not None:
        predictor.threshold = min(round(args.threshold * 256), 255) / 256
    print(f"checkpoint {args.checkpoint}, threshold {predictor.threshold:g}, {predictor.device}")
    if args.masks:
        found, masks = inputs.find_masks(args.masks, found)
        found = unseen(found, predictor.split)
    args.output.mkdir(parents=True, exist_ok=True)
    index = Index(args.output, fingerprint(checkpoint.located(args.checkpoint)))
    tables = [*TABLES * args.measure, *SCORES * bool(masks), *["report.html"] * args.report]
    photos = outputs.claim(index, found, root, masks.values(), args.every, args.measure, tables,
                           args.skip_existing)
    with index, ExitStack() as stack:
        sheet, report, add_to_tables = ScoreSheet(predictor.threshold), None, None
        if args.report:
            report = stack.enter_context(Report(args.output / "report.html"))
        if args.measure:
            from unet_resnet.measure.tables import tables
            add_to_tables = stack.enter_context(
                tables(args.output, args.mm_per_pixel, args.width_classes))
        into = Collected(index, sheet, report, add_to_tables, np.zeros(WIDTHS), {})
        predict_all(args, into, photos, masks, predictor)
        conclude(args, into, photos, predictor, given, time.perf_counter() - began)
    done = len(photos) - len(into.failed)
    print(f"{done} of {inputs.counted([*photos.values()])} predicted"
          + f", results in {args.output}" * bool(done)
          + f"; {len(into.failed)} failed" * bool(into.failed))
    return int(bool(into.failed))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("infer.py: stopped")
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"infer.py: {one_line(error)}")

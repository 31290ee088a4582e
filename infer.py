"""Find cracks in photographs and videos: `python infer.py photo.jpg`, or folders, or patterns."""

import argparse
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before torch starts its threads: spinning while they wait, they would starve on a busy machine.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from unet_resnet import checkpoint, tiling
from unet_resnet.audit.groups import source_of
from unet_resnet.audit.scoring import pairs_to_score
from unet_resnet.data import Pair
from unet_resnet.deep import ASSUMED
from unet_resnet.device import why_not_cuda
from unet_resnet.evaluation.sheet import ScoreSheet, write_scores
from unet_resnet.files import check_extra, check_folder, hash_of, one_line, run
from unet_resnet.inference import inputs, outputs
from unet_resnet.inference.index import Index, facts_of
from unet_resnet.inference.overlay import overlay
from unet_resnet.inference.predictor import Predictor, load
from unet_resnet.report.page import WIDTHS, Report, lengths_by_width, width_histogram
from unet_resnet.training.manifest import command, package_version
from unet_resnet.video import frames

RANGES = {"tile": (32, 1e6), "batch": (1, 1e6), "every": (1, 1e9), "min_area": (0, 1e9),
          "threshold": (0, 1), "overlap": (0, 1), "scale": (1e-3, 1e3), "mm_per_pixel": (1e-9, 1e9),
          "scale_bar": (1e-9, 1e9), "width_classes": (1e-9, 1e9)}  # from, to below


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("photos", nargs="+", help="files, folders (with everything below them) or patterns")
    add("--output", type=Path, default=Path("predictions"), help="folder for the results "
        "(default: %(default)s). Those of an earlier run, listed in its index.json, are replaced "
        "only if all their photos are predicted again; any other file in the way ends the run "
        "before it begins")
    add("--skip-existing", action="store_true", help="leave out photos that have not changed since "
        "their results were finished, with any checkpoint")
    add("--checkpoint", type=Path, default=checkpoint.SHIPPED, help="a run's folder "
        "or a file of train.py (default: the bundled weights)")
    add("--threshold", type=float, help="probability from which a pixel is crack, rounded to a "
        "256th (default: the checkpoint's)")
    add("--min-area", type=int, default=50, metavar="PIXELS", help="smaller areas are not cracks "
        "but pores, chips and noise: put below the threshold; 0 keeps all (default: %(default)s)")
    add("--tile", type=int, default=tiling.TILE, help="side in pixels of the tiles that a large "
        "photo is predicted in; larger is faster and takes more memory (default: %(default)s)")
    add("--overlap", type=float, default=tiling.OVERLAP, help="share of a tile (default: 1/12)")
    add("--batch", type=int, default=1, help="tiles at once (default: %(default)s)")
    add("--scale", type=float, nargs="+", default=[1.0], metavar="FACTOR", help="enlarge or reduce "
        "the photo: 0.5 for thick cracks, 2 for thin ones; several factors are averaged")
    add("--tta", action="store_true", help="average over flips and quarter turns: 8 times the work")
    add("--device", default="auto", help="cpu, cuda, cuda:1, mps (default: the fastest present)")
    add("--precision", choices=("auto", "fp32", "fp16", "bf16"), default="auto",
        help="default: what the hardware is fast at")
    add("--every", type=int, metavar="N", help="of a video, take every N-th frame as a photo "
        "instead of painting the video")
    add("--masks", type=Path, metavar="FOLDER", help="true masks to score, named as their "
        "photos, or NAME_mask")
    add("--masks-unturned", action="store_true", help="masks are drawn on the photos as stored, "
        "before EXIF turns them")
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
        parser.error("--skip-existing: scores, measurements and report would lack what is skipped")
    return args


@dataclass
class Collected:
    """What grows photo by photo."""

    index: Index
    sheet: ScoreSheet
    report: Report | None
    add_to_tables: Callable[[str, Any], None] | None  # of measurements
    widths: np.ndarray  # length of centre line by width, for the report
    failed: dict[Path, str]
    assumed: Counter[str]  # of grey values, `deep.ASSUMED`


def save(args: argparse.Namespace, into: Collected, name: str, path: Path, photo: Tensor,
         probability: Tensor, truth: Tensor | None = None, film: bool = False
         ) -> tuple[dict[str, float | None], Tensor]:
    """Threshold, measure, save, score and report a photo; of a frame of a painted `film`, only
    measure. Returns numbers and a picture to show."""
    crack, numbers = probability >= into.sheet.threshold * 256, {}
    pictures = {"probability": probability, "mask": crack.to(torch.uint8) * 255,
                "overlay": overlay(photo, crack, truth)}
    if into.add_to_tables:
        from unet_resnet.measure import drawing, tables, widths  # an extra
        found = widths.measure(crack, args.mm_per_pixel, args.width_classes)
        numbers = tables.main_numbers(found)
        pictures["widths"] = drawing.draw(overlay(photo, crack), found, legend=not film)
    files = [] if film else outputs.write_pictures(args.output / name, pictures)
    if into.add_to_tables:  # only now: what cannot be written is in no table
        into.add_to_tables(name, found)
        into.widths += lengths_by_width(found.lines)
    if truth is not None:
        into.sheet.add(name, one_line(source_of(path.stem)), (probability + 0.5) / 256, truth)
    if into.report and not film:
        into.report.add(name, photo, crack, truth, [path, *files[2:]], numbers)
    share = round(int(crack.count_nonzero()) / crack.numel(), 6)
    return {"crack_share": share} | numbers, [*pictures.values()][-1]


def finish(args: argparse.Namespace, into: Collected, name: str, path: Path, read: inputs.Reading,
           probability: Tensor) -> None:
    with outputs.reported(path, into.failed):
        numbers, _ = save(args, into, name, path, read.photo, probability, read.truth)
        into.index.finish(name, read.facts)
        into.assumed.update(read.assumed)
        tqdm.write(outputs.line(path, name, numbers, read.has_pages))


def predict_all(args: argparse.Namespace, into: Collected, photos: dict[str, Path],
                pairs: dict[Path, Pair], predictor: Predictor) -> None:
    """Photo by photo; meanwhile, the next one is read and the last one is written."""
    def predict(photo: Tensor) -> Tensor:
        return predictor(photo, args.tile, args.overlap, args.scale, args.tta, args.batch,
                         torch.uint8, args.min_area)

    with ThreadPoolExecutor(1) as writer, tqdm(total=len(photos), unit="photo", leave=False) as bar:
        last = writer.submit(print, end="")  # nothing to write yet
        for name, (path, reading) in zip(photos, inputs.read_ahead([*photos.values()], pairs)):
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
    tqdm.write(one_line(f"{path}: {film.count} frames, results in {name}*"))


def check(args: argparse.Namespace, photos: list[Path]) -> None:
    """Raise early what would otherwise end long work."""
    films = [photo for photo in photos if inputs.is_video(photo)]
    check_folder(args.output)
    if args.measure:
        check_extra("measure", "--measure", "scipy", "skimage")
        from unet_resnet.measure.widths import check_scale, unresolved
        check_scale(args.mm_per_pixel, args.width_classes)
        print(unresolved(args.mm_per_pixel, args.width_classes), end="")
    if films and not args.masks:
        check_extra("video", "a video", "av")
    if args.every and not films:
        print("--every is for videos, and there is none: it changes nothing")
    if args.report and not args.every and films:
        print("--report shows photos; of a video only the stills of --every")


def conclude(args: argparse.Namespace, into: Collected, photos: dict[str, Path],
             predictor: Predictor, seconds: float) -> None:
    about: dict[str, Any] = {
        "command": command(), "photos": inputs.counted([*photos.values()]), "date": time.ctime(),
        "seconds": round(seconds), "version": package_version("unet_resnet"), "device": str(
            predictor.device), "checkpoint": str(args.checkpoint), "threshold": predictor.threshold}
    if into.report:
        for path, reason in into.failed.items():
            into.report.fail(one_line(path), reason)
        scale = ("mm", args.mm_per_pixel) if args.mm_per_pixel else ("px", 1.0)
        into.report.write(about, into.sheet.main_scores(), width_histogram(into.widths, *scale))
    if into.sheet.rows:
        validated = set(predictor.split["validation"].values())
        about["validation_photos"] = chose = len(validated & set(map(hash_of, photos.values())))
        if chose:
            print(f"{chose} of these photos chose epoch and threshold: slightly flattered scores")
        write_scores(into.sheet, photos, args.output, about)


def main() -> int:
    # SIGTERM, with which a cluster stops a job, ends like Ctrl-C: what is done is kept.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    args, began = parse_arguments(), time.perf_counter()
    found, root = inputs.find_photos(args.photos)
    check(args, found)
    predictor = load(args.checkpoint, args.device, args.precision)
    if args.threshold is not None:
        predictor.threshold = min(round(args.threshold * 256), 255) / 256
    print(f"checkpoint {args.checkpoint}, threshold {predictor.threshold:g}, {predictor.device}")
    if args.device == "auto":
        print(why_not_cuda(predictor.device), end="")
    pairs: dict[Path, Pair] = {}
    if args.masks:
        found, pairs = pairs_to_score(args.masks, inputs.without_videos(found), root,
                                      predictor.split, args.masks_unturned)
    args.output.mkdir(parents=True, exist_ok=True)
    index = Index(args.output, hash_of(checkpoint.located(args.checkpoint)))
    photos = outputs.claim(index, found, root, [pair.mask for pair in pairs.values()], args.every,
                           args.measure, args.report, args.skip_existing)
    with index, ExitStack() as stack:
        page = Report(args.output / "report.html") if args.report else nullcontext()
        into = Collected(index, ScoreSheet(predictor.threshold), stack.enter_context(page), None,
                         np.zeros(WIDTHS), {}, Counter())
        if args.measure:
            from unet_resnet.measure.tables import tables
            into.add_to_tables = stack.enter_context(
                tables(args.output, args.mm_per_pixel, args.width_classes))
        predict_all(args, into, photos, pairs, predictor)
        conclude(args, into, photos, predictor, time.perf_counter() - began)
    for kind, count in into.assumed.items():
        print(f"note: {kind}: {count}; {ASSUMED[kind]}")
    done = inputs.part_of(len(photos) - len(into.failed), [*photos.values()])
    print(f"{done} predicted, {len(into.failed)} failed; results are in {args.output}")
    return int(bool(into.failed))


if __name__ == "__main__":
    run(main, "infer.py")

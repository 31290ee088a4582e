"""Find cracks in photographs and videos: `python infer.py photo.jpg`, or folders, or patterns."""

import argparse
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from datetime import datetime
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from unet_resnet import tiling
from unet_resnet.training.arguments import below
from unet_resnet.checkpoint import SHIPPED
from unet_resnet.audit.split import learned_from
from unet_resnet.data import read_pair
from unet_resnet.files import one_line, print_any_name
from unet_resnet.video.frames import is_done, predict_video
from unet_resnet.images import SUFFIXES, check_megapixels, is_ours, read_photo, remark
from unet_resnet.inference.inputs import (
    content_of, find_masks, find_photos, is_of, is_video, leave_out_trained, mark_of, name_results)
from unet_resnet.inference.predictor import Network, load
from unet_resnet.files import check_extra, check_folder
from unet_resnet.training.manifest import command, package_version
from unet_resnet.inference.outputs import Results
from unet_resnet.evaluation.scores import check_output, write_scores
from unet_resnet.inference.stream import WriteBehind, read_ahead
from unet_resnet.evaluation.stress import stressed

MIN_AREA = 50  # pixels; MODEL_CARD.md has the scores with and without
RESOLVED = 2  # pixels, below which a width in a mask says little


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("photos", nargs="+", help="files, folders (with all below them) or patterns")
    add("--masks", type=Path, metavar="FOLDER", help="the true masks, by the photos' names: "
        "scores the predictions")
    add("--stress", action="store_true", help="with --masks: predict each photo six times more, "
        "darkened, blurred, at half its size, with noise, JPEG blocks or painted lines, and tell "
        "how much of the score survives")
    add("--checkpoint", type=Path, default=SHIPPED, help="a run's folder (its best.pt) or a file "
        "of train.py")
    add("--output", type=Path, default=Path("predictions"), help="folder for the results")
    add("--threshold", type=below(1), help="probability from which a pixel is crack, rounded to a "
        "256th; without, the checkpoint's")
    add("--min-area", type=int, default=MIN_AREA, metavar="PIXELS", help="smaller areas are no "
        "cracks but pores, chips and noise: they are put below the threshold; 0 keeps all")
    add("--tile", type=int, default=tiling.TILE, help="side in pixels of the pieces that a large "
        "photo is predicted in; more is faster and takes more memory")
    add("--overlap", type=below(1), default=0.5, help="share of a tile that its neighbour covers "
        "too")
    add("--batch", type=int, help="tiles that go through the network at once; without, 4 on a GPU, "
        "1 on a CPU")
    add("--scale", type=positive, nargs="+", default=[1.0], metavar="FACTOR", help="predict the "
        "photo enlarged or reduced: 0.5 for thick cracks in close-ups, 2 for thin ones in large "
        "views; results of several factors are averaged")
    add("--tta", action="store_true", help="average the predictions of all flips and quarter "
        "turns: eight times the work")
    add("--measure", action="store_true", help="length and width of each crack: cracks.csv, "
        "photos.csv, measurements.json and NAME_widths.png")
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument("--mm-per-pixel", type=positive, metavar="MM", help="measure in mm, too")
    scale.add_argument("--scale-bar", type=positive, nargs=2, metavar=("PIXELS", "MM"),
                       help="the same, from a length seen in the photos")
    add("--width-classes", type=positive, nargs="+", default=[], metavar="MM", help="limits of "
        "classes of width, of which the lengths are given, such as 0.1 0.2 0.3")
    add("--report", action="store_true", help="write report.html, a page to look through")
    add("--every", type=int, metavar="N", help="of a video, every N-th frame as a photo in place "
        "of a video")
    add("--skip-existing", action="store_true", help="leave out photos that have results in "
        "--output, of whatever checkpoint")
    add("--device", default="auto", help="cpu, cuda, cuda:1, mps; auto: the fastest present")
    add("--precision", choices=("auto", "fp32", "fp16", "bf16"), default="auto",
        help="auto: what the hardware is fast at")
    args = parser.parse_args()
    for name, least in (("tile", 32), ("batch", 1), ("every", 1), ("min_area", 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            parser.error(f"--{name.replace('_', '-')} {value}: at least {least}")
    if args.scale_bar:
        args.mm_per_pixel = args.scale_bar[1] / args.scale_bar[0]
    if args.width_classes and not args.mm_per_pixel:
        parser.error("--width-classes are in mm: give --mm-per-pixel or --scale-bar as well")
    args.measure = args.measure or bool(args.mm_per_pixel)
    if args.stress and not args.masks:
        parser.error("--stress tells how much of a score survives: give --masks as well")
    if args.skip_existing and (args.masks or args.measure or args.report):
        parser.error("--skip-existing leaves photos out, but scores, measurements and the report "
                     "are of all photos: use it without these")
    return args


def positive(text: str) -> float:
    """An argparse type."""
    with suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")


def predict(path: Path, network: Network, args: argparse.Namespace, photo: Tensor) -> Tensor:
    _, height, width = photo.shape
    for scale in args.scale:
        try:
            check_megapixels(height * scale, width * scale)
        except ValueError as error:
            raise ValueError(f"{path}: with --scale {scale:g}, {error}") from None
    return network(photo, args.tile, args.overlap, args.scale, args.tta, args.batch, torch.uint8,
                   args.min_area)


def predict_all(photos: Sequence[Path], names: Sequence[str], masks: dict[str, Path],
                network: Network, args: argparse.Namespace, results: Results) -> None:
    """Photo by photo: while one is predicted, the next is read and the last one written."""
    def read(path: Path) -> tuple[Tensor, Tensor | None, str] | None:
        if is_video(path):
            return None
        mask = masks.get(path.stem)
        return *(read_pair(path, mask) if mask else (read_photo(path), None)), mark_of(path)

    def settle(path: Path, written: Future) -> None:
        try:
            line, _ = written.result()
        except (OSError, ValueError, RuntimeError, MemoryError) as error:
            results.fail(path, error)
        else:
            with suppress(OSError, ValueError):  # of a photo that has been moved meanwhile
                if left_out := remark(path):
                    line += f" ({left_out})"
            tqdm.write(one_line(line))

    began, pixels = time.perf_counter(), 0
    with (WriteBehind(settle) as writer,
          tqdm(total=len(photos), unit="photo", leave=False) as bar):
        for name, (path, reading) in zip(names, read_ahead(read, photos)):
            try:
                if is_video(path):
                    writer.wait()  # Results are not for two threads
                    of_frame = partial(predict, path, network, args)
                    tqdm.write(one_line(predict_video(path, name, of_frame, args, results)))
                else:
                    photo, truth, mark = reading.result()
                    probability = predict(path, network, args, photo)
                    counts = {}
                    if results.stress and truth is not None:
                        counts = stressed(photo, probability >= results.level, truth.bool(),
                                          lambda spoilt: predict(path, network, args, spoilt)
                                          >= results.level)
                    writer.submit(path, results.finish, path, name, photo, probability, truth, mark,
                                  counts)
                    pixels += probability.numel()
            except (OSError, ValueError, RuntimeError, MemoryError) as error:
                results.fail(path, error)
            photo = reading = None  # not kept while the next one is waited for
            bar.update()
            bar.set_postfix_str(f"{pixels / 1e6 / (time.perf_counter() - began):.1f} megapixels/s")


def has_results(photo: Path, name: str, args: argparse.Namespace) -> bool:
    """Whether a photo or video, as it is now, has its results in the folder."""
    if is_video(photo):
        return is_done(photo, name, args.output, args.every)
    last = args.output / f"{name}_overlay.png"  # that is written
    return is_ours(last) and is_of(last, photo)


def counted(photos: Sequence[Path]) -> str:
    videos = sum(map(is_video, photos))
    parts = {"photo": len(photos) - videos, "video": videos}
    return " and ".join(f"{number} {what}{'s' * (number != 1)}" for what, number in parts.items()
                        if number) or "0 photos"


def describe(args: argparse.Namespace, network: Network, given: str, seconds: float) -> dict:
    return {"command": command(), "given": given, "checkpoint": str(args.checkpoint),
            "threshold": f"{network.threshold:g}", "device": str(network.device),
            "seconds": round(seconds, 1), "date": datetime.now().strftime("%Y-%m-%d %H:%M"),
            "version": package_version("unet_resnet")}


def look_ahead(args: argparse.Namespace, photos: Sequence[Path]) -> None:
    """Raise what would otherwise be told only after long work."""
    if not photos:
        raise ValueError(f"{args.photos[0]}: no photos in it ({' '.join(SUFFIXES)})")
    check_folder(args.output)
    if args.measure:
        check_extra("measure", "--measure", "scipy", "skimage")
    if args.masks:
        check_output(args.output)
    film = next(filter(is_video, photos), None)
    if film and not args.masks:
        check_extra("video", f"{film}: a video", "av")


def choose(args: argparse.Namespace, photos: Sequence[Path],
           network: Network) -> tuple[list[Path], list[str], dict[str, Path]]:
    """The photos that are to be predicted, the names of their results, and the masks by stem."""
    masks = {}
    if args.masks:
        folder = os.path.join(os.path.realpath(args.masks), "")
        photos = [photo for photo in photos if not os.path.realpath(photo).startswith(folder)]
        if films := list(filter(is_video, photos)):
            print(f"{counted(films)} left out: --masks scores photos")
            photos = [photo for photo in photos if not is_video(photo)]
        masks = find_masks(args.masks, photos)
        photos = leave_out_trained(photos, learned_from(network.split))
    names = name_results(photos, args.output, masks.values())
    if args.every and not any(map(is_video, photos)):
        print("--every is of videos, and there is none: it changes nothing")
    if args.report and not args.every and any(map(is_video, photos)):
        print("--report shows photos, of a video only the stills of --every")
    if args.skip_existing:
        left = [(photo, name) for photo, name in zip(photos, names)
                if not has_results(photo, name, args)]
        print(f"{len(photos) - len(left)} of {counted(photos)} left out: their results are in "
              f"{args.output}")
        photos, names = [photo for photo, _ in left], [name for _, name in left]
    return photos, names, masks


def main() -> int:
    print_any_name()
    # SIGTERM, by which a cluster stops a job, ends like Ctrl-C: tables keep what was measured.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    args, began = parse_arguments(), time.perf_counter()
    photos = find_photos(args.photos)
    look_ahead(args, photos)
    given = counted(photos)
    network = load(args.checkpoint, args.device, args.precision)
    if args.threshold is not None:
        network.threshold = min(round(args.threshold * 256), 255) / 256
    print(f"checkpoint {args.checkpoint}, threshold {network.threshold:g}, {network.device}")
    if args.width_classes and min(args.width_classes) < RESOLVED * args.mm_per_pixel:
        print(f"the narrowest class ends at {min(args.width_classes):g} mm, which is "
              f"{min(args.width_classes) / args.mm_per_pixel:.1f} pixels: widths below about "
              f"{RESOLVED} pixels cannot be told apart in these photos")
    photos, names, masks = choose(args, photos, network)
    args.output.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        results = Results(args, network.threshold, stack)
        predict_all(photos, names, masks, network, args, results)
        if args.report:
            results.write_report(describe(args, network, given, time.perf_counter() - began))
    sheet = results.sheet
    done = len(photos) - results.failed
    print(f"{done} of {counted(photos)} predicted" + f", results in {args.output}" * bool(done)
          + f"; {results.failed} failed" * bool(results.failed))
    if sheet.rows:
        chose = len(set(map(content_of, photos)) & set(network.split["validation"].values()))
        if chose:
            print(f"{chose} of these photos chose the checkpoint's epoch and threshold: their "
                  "scores are slightly flattered")
        about = {"command": sys.argv, "checkpoint": str(args.checkpoint),
                 "validation_photos": chose}
        if results.stress:
            about["stress"] = results.stress.summary()
        write_scores(sheet, dict(zip(names, photos)), args.output, about)
        if results.stress:
            print(f"\n{results.stress.table()}")
    return int(results.failed > 0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("infer.py: stopped")
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"infer.py: {one_line(error)}")

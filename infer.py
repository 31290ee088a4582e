"""Find cracks in photographs and videos: `python infer.py photo.jpg`, or folders, or patterns."""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from unet_resnet import pictures, tiling, video
from unet_resnet.data import read_pair
from unet_resnet.files import (
    check_ours, csv_lines, ends_of, one_line, print_any_name, written_whole)
from unet_resnet.images import SUFFIXES, check_megapixels, is_ours, read_photo, remark
from unet_resnet.photos import (
    content_of, find_masks, find_photos, is_video, leave_out_trained, mark_of, name_results)
from unet_resnet.prediction import Network, load
from unet_resnet.preflight import check_extra, check_folder
from unet_resnet.record import command, package_version
from unet_resnet.results import Results, share_of
from unet_resnet.scores import check_output, write_scores
from unet_resnet.stream import WriteBehind, read_ahead

RESOLVED = 2  # pixels, below which a width in a mask says little
FRAME_COLUMNS = ("frame", "seconds", "crack_share")  # of a video's table; more when measured
TABLE = ",".join(FRAME_COLUMNS).encode()  # how it begins


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("photos", nargs="+", help="files, folders (with all below them) or patterns")
    add("--masks", type=Path, metavar="FOLDER", help="the true masks, by the photos' names: "
        "scores the predictions")
    add("--checkpoint", type=Path, help="of train.py; without, the newest runs/*/best.pt")
    add("--output", type=Path, default=Path("predictions"), help="folder for the results")
    add("--threshold", type=share, help="probability from which a pixel is crack, rounded to a "
        "256th; without, the checkpoint's")
    add("--tile", type=int, default=tiling.TILE, help="side in pixels of the pieces that a large "
        "photo is predicted in; more is faster and takes more memory")
    add("--overlap", type=share, default=0.5, help="share of a tile that its neighbour covers too")
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
    for name, least in (("tile", 32), ("batch", 1), ("every", 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            parser.error(f"--{name} {value}: at least {least}")
    if args.scale_bar:
        args.mm_per_pixel = args.scale_bar[1] / args.scale_bar[0]
    if args.width_classes and not args.mm_per_pixel:
        parser.error("--width-classes are in mm: give --mm-per-pixel or --scale-bar as well")
    args.measure = args.measure or bool(args.mm_per_pixel)
    if args.skip_existing and (args.masks or args.measure or args.report):
        parser.error("--skip-existing leaves photos out, but scores, measurements and the report "
                     "are of all photos: use it without these")
    return args


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number such as 0.2") from None


def share(text: str) -> float:
    value = number(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not in 0..1 (1 excluded)")
    return value


def positive(text: str) -> float:
    value = number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def newest_checkpoint() -> Path:
    found = sorted(Path("runs").glob("*/best.pt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError("no runs/*/best.pt here: train one (python train.py), or name one "
                                "with --checkpoint")
    return found[-1]


def predict(path: Path, network: Network, args: argparse.Namespace, photo: Tensor) -> Tensor:
    _, height, width = photo.shape
    for scale in args.scale:
        try:
            check_megapixels(height * scale, width * scale)
        except ValueError as error:
            raise ValueError(f"{path}: with --scale {scale:g}, {error}") from None
    return network(photo, args.tile, args.overlap, args.scale, args.tta, args.batch, torch.uint8)


def predict_video(path: Path, name: str, network: Network, args: argparse.Namespace,
                  results: Results) -> str:
    """The video with its cracks painted, and a table of its frames; or, with --every, stills in a
    folder of their own. Returns the line to print."""
    film, sheet = (args.output / f"{name}_cracks{suffix}" for suffix in (".mp4", ".csv"))
    check_ours(sheet, TABLE)
    if args.every:
        (args.output / name).mkdir(exist_ok=True)
    every, count = args.every or 1, 0
    with video.opened(path) as source, ExitStack() as stack:
        mark = mark_of(path)
        table = stack.enter_context(written_whole(sheet))
        writer = None if args.every else stack.enter_context(video.written(film, source, mark))
        bar = tqdm(source.frames(every), one_line(path.name), -(-source.count // every) or None,
                   unit="frame", leave=False)
        for count, frame in enumerate(bar, start=1):
            label = f"{name}/{frame.index:06d}"
            probability = predict(path, network, args, frame.pixels)
            crack, numbers = probability >= results.level, {}
            if args.every:
                _, numbers = results.finish(path, label, frame.pixels, probability, None, mark)
            else:
                picture = pictures.overlay(frame.pixels, crack)
                if args.measure:
                    picture, numbers = results.measured(label, picture, crack)
                writer.write(frame, picture)
            if count == 1:
                table.write(csv_lines([*FRAME_COLUMNS, *numbers]))
            table.write(csv_lines([frame.index, round(frame.seconds, 4),
                                   round(share_of(crack), 6), *numbers.values()]))
        if writer and writer.note:
            tqdm.write(writer.note)
    if source.damage:
        raise ValueError(source.damage)
    if args.every:
        remove_stills(args.output / name, range(0, every * count, every))
    return f"{path}: {count} frames, {sheet.name} and {name if args.every else film.name}"


def remove_stills(folder: Path, kept: range) -> None:
    """The pictures of an earlier --every, which would pass for this one's."""
    old = [file for file in sorted(folder.glob("[0-9]*_*.png"))
           if (index := file.name.split("_")[0]).isdecimal() and int(index) not in kept
           and is_ours(file)]
    for file in old:
        file.unlink()
    if old:
        tqdm.write(one_line(f"{folder}: {len(old)} pictures of an earlier --every removed"))


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
            if left_out := remark(path):
                line += f" ({left_out})"
        except (OSError, ValueError, RuntimeError) as error:
            results.fail(path, error)
        else:
            tqdm.write(one_line(line))

    began, pixels = time.perf_counter(), 0
    with (WriteBehind(settle) as writer,
          tqdm(total=len(photos), unit="photo", leave=False) as bar):
        for name, (path, reading) in zip(names, read_ahead(read, photos)):
            try:
                if is_video(path):
                    writer.wait()  # Results are not for two threads
                    tqdm.write(one_line(predict_video(path, name, network, args, results)))
                else:
                    photo, truth, mark = reading.result()
                    probability = predict(path, network, args, photo)
                    writer.submit(path, results.finish, path, name, photo, probability, truth, mark)
                    pixels += probability.numel()
            except (OSError, ValueError, RuntimeError) as error:
                results.fail(path, error)
            photo = reading = None  # not kept while the next one is waited for
            bar.update()
            bar.set_postfix_str(f"{pixels / 1e6 / (time.perf_counter() - began):.1f} megapixels/s")


def has_results(photo: Path, name: str, args: argparse.Namespace) -> bool:
    """Whether a photo or video has its results in the folder, by that which is written last."""
    if not is_video(photo):
        return is_ours(args.output / f"{name}_overlay.png")
    table, kind = args.output / f"{name}_cracks.csv", name if args.every else f"{name}_cracks.mp4"
    return TABLE in ends_of(table) and (args.output / kind).exists()


def counted(photos: Sequence[Path]) -> str:
    videos = sum(map(is_video, photos))
    parts = {"photo": len(photos) - videos, "video": videos}
    return " and ".join(f"{number} {what}{'s' * (number != 1)}" for what, number in parts.items()
                        if number) or "0 photos"


def describe(args: argparse.Namespace, path: Path, network: Network, seconds: float) -> dict:
    return {"command": command(), "checkpoint": str(path),
            "threshold": f"{network.threshold:g}", "device": str(network.device),
            "seconds": round(seconds, 1), "date": datetime.now().strftime("%Y-%m-%d %H:%M"),
            "version": package_version("unet_resnet")}


def main() -> int:
    print_any_name()
    args, began = parse_arguments(), time.perf_counter()
    check_folder(args.output)
    if args.measure:
        check_extra("measure", "--measure", "scipy", "skimage")
    photos, masks = find_photos(args.photos), {}
    if not photos:
        raise ValueError(f"{args.photos[0]}: no photos in it ({' '.join(SUFFIXES)})")
    film = next(filter(is_video, photos), None)
    if film and not args.masks:
        check_extra("video", f"{film}: a video", "av")
    path = args.checkpoint or newest_checkpoint()
    network = load(path, args.device, args.precision)
    if args.threshold is not None:
        network.threshold = min(round(args.threshold * 256), 255) / 256
    print(f"checkpoint {path}, threshold {network.threshold:g}, {network.device}")
    if args.width_classes and min(args.width_classes) < RESOLVED * args.mm_per_pixel:
        print(f"the narrowest class ends at {min(args.width_classes):g} mm, which is "
              f"{min(args.width_classes) / args.mm_per_pixel:.1f} pixels: widths below about "
              f"{RESOLVED} pixels cannot be told apart in these photos")
    if args.masks:
        photos = [photo for photo in photos if not is_video(photo)  # of which no one has masks
                  and args.masks.resolve() not in photo.resolve().parents]
        masks = find_masks(args.masks, photos)
        photos = leave_out_trained(photos, network.split["train"])
        check_output(args.output)
    args.output.mkdir(parents=True, exist_ok=True)
    names = name_results(photos, args.output, masks.values())
    if args.every and not any(map(is_video, photos)):
        print("--every is of videos, and there is none: it changes nothing")
    if args.skip_existing:
        left = [(photo, name) for photo, name in zip(photos, names)
                if not has_results(photo, name, args)]
        print(f"{len(photos) - len(left)} of {counted(photos)} left out: their results are in "
              f"{args.output}")
        photos, names = [photo for photo, _ in left], [name for _, name in left]
    with ExitStack() as stack:
        results = Results(args, network.threshold, stack)
        predict_all(photos, names, masks, network, args, results)
        if args.report:
            results.write_report(describe(args, path, network, time.perf_counter() - began))
    sheet = results.sheet
    print(f"{len(photos) - results.failed} of {counted(photos)} predicted, results in {args.output}"
          + f"; {results.failed} failed" * bool(results.failed))
    if sheet.rows:
        chose = len(set(map(content_of, photos)) & set(network.split["validation"].values()))
        if chose:
            print(f"{chose} of these photos chose the checkpoint's epoch and threshold: their "
                  "scores are slightly flattered")
        write_scores(sheet, dict(zip(names, photos)), args.output,
                     {"command": sys.argv, "checkpoint": str(path), "validation_photos": chose})
    return int(results.failed > 0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("infer.py: stopped")
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"infer.py: {one_line(error)}")

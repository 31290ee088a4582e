"""What does infer.py make of a video, frame by frame?"""

import argparse
import csv
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from unet_resnet.inference import overlay
from unet_resnet.video import codec
from unet_resnet.files import check_ours, csv_lines, ends_of, one_line, written_whole
from unet_resnet.images import is_ours
from unet_resnet.inference.inputs import is_of, mark_of
from unet_resnet.inference.outputs import Results, share_of

FRAME_COLUMNS = ("frame", "seconds", "crack_share")  # of a video's table; more when measured
TABLE = ",".join(FRAME_COLUMNS).encode()  # how it begins


def predict_video(path: Path, name: str, predict: Callable[[Tensor], Tensor],
                  args: argparse.Namespace, results: Results) -> str:
    """The video with its cracks painted, and a table of its frames; or, with --every, stills in a
    folder of their own. Returns the line to print.

    `predict` makes probabilities (1, h, w) in 256ths of a frame (3, h, w), both uint8. `args` are
    those of infer.py. Raises OSError or ValueError; of a truncated video when its frames are done.
    """
    film, sheet = (args.output / f"{name}_cracks{suffix}" for suffix in (".mp4", ".csv"))
    check_ours(sheet, TABLE)
    if args.every:
        (args.output / name).mkdir(exist_ok=True)
    every, count = args.every or 1, 0
    with codec.opened(path) as source, ExitStack() as stack:
        mark = mark_of(path)
        table = stack.enter_context(written_whole(sheet))
        writer = None if args.every else stack.enter_context(codec.written(film, source, mark))
        bar = tqdm(source.frames(every), one_line(path.name), -(-source.count // every) or None,
                   unit="frame", leave=False)
        for count, frame in enumerate(bar, start=1):
            label = f"{name}/{frame.index:06d}"
            probability = predict(frame.pixels)
            crack, numbers = probability >= results.level, {}
            if args.every:
                _, numbers = results.finish(path, label, frame.pixels, probability, None, mark,
                                            counts={})
            else:
                picture = overlay.overlay(frame.pixels, crack)
                if args.measure:
                    picture, numbers, found = results.measured(picture, crack)
                writer.write(frame, picture)
                if args.measure:
                    results.note(label, found)
            if count == 1:
                table.write(csv_lines([*FRAME_COLUMNS, *numbers]))
            table.write(csv_lines([frame.index, round(frame.seconds, 4),
                                   round(share_of(crack), 6), *numbers.values()]))
    if source.damage:
        raise ValueError(source.damage)
    if args.every:
        remove_stills(args.output / name, range(0, every * count, every))
    return f"{path}: {count} frames, {sheet.name} and {name if args.every else film.name}"


def is_done(path: Path, name: str, output: Path, every: int | None) -> bool:
    """Whether all that `predict_video` makes of this video, as it is now, is in the folder."""
    film, sheet = (output / f"{name}_cracks{suffix}" for suffix in (".mp4", ".csv"))
    if TABLE not in ends_of(sheet):
        return False
    with open(sheet, encoding="utf-8", newline="") as file:
        frames = [row["frame"] for row in csv.DictReader(file)]
    files = [output / name / f"{frame:0>6}_overlay.png" for frame in frames] if every else [film]
    wanted = [str(i * (every or 1)) for i in range(len(frames))]  # else it is of another --every
    return (bool(frames) and frames == wanted and all(file.exists() for file in files)
            and is_of(files[0], path))


def remove_stills(folder: Path, kept: range) -> None:
    """The pictures of an earlier --every, which would pass for this one's."""
    old = [file for file in sorted(folder.glob("[0-9]*_*.png"))
           if (index := file.name.split("_")[0]).isdecimal() and int(index) not in kept
           and is_ours(file)]
    for file in old:
        file.unlink()
    if old:
        tqdm.write(one_line(f"{folder}: {len(old)} pictures of an earlier --every removed"))

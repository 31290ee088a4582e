"""What does a run of infer.py leave in its folder, photo by photo?"""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from unet_resnet.inference import overlay
from unet_resnet.files import one_line
from unet_resnet.data import source_of
from unet_resnet.images import write_png
from unet_resnet.device import is_out_of_memory
from unet_resnet.evaluation.sheet import ScoreSheet
from unet_resnet.metrics import Counts
from unet_resnet.report.html import Histogram
from unet_resnet.report.page import Report
from unet_resnet.evaluation.stress import StressSheet

if TYPE_CHECKING:  # it needs an extra
    from unet_resnet.measure.widths import Measurement

WIDTHS, WIDTH = 4096, 0.5  # classes of the histogram of widths, each so many pixels
MOST_BARS = 24  # of it in the report

Numbers = dict[str, float | None]


class Results:
    """Pictures, measurements, scores and the report; of a photo only numbers stay in memory.

    `args` are those of infer.py. Not for two threads at a time.
    """

    def __init__(self, args: argparse.Namespace, threshold: float, stack: ExitStack) -> None:
        self.args, self.level, self.failed = args, round(threshold * 256), 0
        self.sheet, self.lengths = ScoreSheet(threshold), np.zeros(WIDTHS)
        self.unit, self.factor = ("mm", args.mm_per_pixel) if args.mm_per_pixel else ("px", 1.0)
        self.stress = StressSheet() if args.stress else None
        self.report = None
        if args.measure:  # imported here, for it needs an extra
            from unet_resnet.measure import drawing, widths, tables
            self._measure, self._draw = widths.measure, drawing.draw
            self._add_rows = stack.enter_context(
                tables.tables(args.output, args.mm_per_pixel, args.width_classes))
        if args.report:
            self.report = stack.enter_context(Report(args.output / "report.html"))

    def finish(self, path: Path, name: str, photo: Tensor, probability: Tensor,
               truth: Tensor | None, mark: str, counts: dict[str, Counts]) -> tuple[str, Numbers]:
        """Write a photo's pictures and note its numbers; returns the line to print, and them.

        photo (3, h, w) uint8, probability (1, h, w) uint8 in 256ths. `mark` (`inputs.mark_of`)
        is kept in the pictures; `counts` are those of `stressed`, where they are wanted.
        """
        crack = probability >= self.level
        stem = self.args.output / name
        write_png(stem.with_name(f"{stem.name}_probability.png"), probability, mark)
        write_png(stem.with_name(f"{stem.name}_mask.png"), crack.to(torch.uint8) * 255, mark)
        picture = overlay.overlay(photo, crack, truth)
        numbers = {}
        if self.args.measure:
            widths, numbers, found = self.measured(overlay.overlay(photo, crack), crack)
            write_png(stem.with_name(f"{stem.name}_widths.png"), widths, mark)
        files = path, stem.with_name(f"{stem.name}_overlay.png")
        write_png(files[1], picture, mark)  # the last: it says that a photo is done
        # Only now, so that a photo of which something cannot be written is in no table.
        if self.args.measure:
            self.note(name, found)
        if self.stress:
            self.stress.add(counts)
        if truth is not None:
            self.sheet.add(name, one_line(source_of(path.stem)), (probability + 0.5) / 256, truth)
        if self.report:
            self.report.add(name, photo, crack, truth, files, numbers)
        told = "".join(f", {label} {value:.4g}" for label, value in numbers.items()
                       if value is not None)
        told += f", results in {name}_*.png" * (name != path.stem)
        return f"{path}: {share_of(crack):.2%} crack{told}", numbers

    def measured(self, picture: Tensor, crack: Tensor) -> tuple[Tensor, Numbers, "Measurement"]:
        """Measure a mask; returns the picture with the widths drawn, the numbers to show, and what
        to `note`."""
        found = self._measure(crack, self.args.mm_per_pixel, self.args.width_classes)
        lengths = {"length": found.total.length, "mean width": found.total.width_mean,
                   "greatest width": found.total.width_max}
        return self._draw(picture, found), {"cracks": len(found.cracks)} | {
            f"{label} ({self.unit})": None if value is None else round(value * self.factor, 3)
            for label, value in lengths.items()}, found

    def note(self, name: str, found: "Measurement") -> None:
        """Add what was measured to the tables and to the histogram of widths."""
        self._add_rows(name, found)
        for line in found.lines:
            steps = np.hypot(*np.diff(line[:, :2], axis=0).T)
            classes = np.minimum((line[1:, 2] / WIDTH).round(6), WIDTHS - 1).astype(int)
            self.lengths += np.bincount(classes, steps, WIDTHS)

    def fail(self, path: Path, error: Exception) -> None:
        """Say what went wrong with a photo; the others go on."""
        if isinstance(error, BrokenPipeError):  # of what is printed: no one reads it any more
            raise error
        if isinstance(error, (RuntimeError, MemoryError)):
            if not is_out_of_memory(error):
                raise error
            error = f"{path}: out of memory; use a smaller --tile, --batch or --scale"
        tqdm.write(f"infer.py: {one_line(error)}", file=sys.stderr)
        self.failed += 1
        if self.report:
            self.report.fail(one_line(path), one_line(error))

    def write_report(self, about: dict[str, str | float]) -> None:
        scores = self.sheet.summary()["total"] if self.sheet.rows else {}
        shown = ("iou", "dice", "precision", "recall", "cldice")
        names = {"pooled": "pooled", "mean over the images with cracks": "mean_over_images"}
        lines = {title: {key: scores[name][key] for key in shown}
                 for title, name in names.items() if scores}
        self.report.write(about, lines, bars(self.lengths, self.unit, self.factor))


def share_of(crack: Tensor) -> float:
    return int(crack.count_nonzero()) / crack.numel()


def bars(lengths: np.ndarray, unit: str, factor: float) -> Histogram | None:
    """Lengths of centre line, in pixels and by classes of width, as a histogram of at most 24 bars
    in a unit of which a pixel has `factor`."""
    if not lengths.any():
        return None
    used = int(lengths.nonzero()[0][-1]) + 1
    together = -(-used // MOST_BARS)
    amounts = np.add.reduceat(lengths[:used], range(0, used, together))
    edges = np.arange(len(amounts) + 1) * together * WIDTH
    return Histogram((edges * factor).tolist(), (amounts * factor).tolist(),
                     f"crack width ({unit})", f"centre line length ({unit})")

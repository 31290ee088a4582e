"""How do measurements reach a spreadsheet or another program? As CSV tables and a JSON file.

    cracks.csv         a row per crack
    photos.csv         a row per photo or frame of a video, even without cracks
    folders.csv        a row per folder of photos, with the sums of all photos below it
    measurements.json  {"software": ..., "mm_per_pixel": ..., "width_classes_mm": [...],
                        "notes": [...],
                        "photos": [{row of a photo, "cracks_found": [{row of a crack}, ...]}, ...]}

docs/measuring.md says what the columns mean. Pixels and degrees are rounded to 0.001, mm to 0.0001.
What has no value without cracks is empty in the tables and null in JSON.
"""

import json
import math
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unet_resnet.files import atomic_write, csv_lines
from unet_resnet.measure.folders import Folders
from unet_resnet.measure.georeference import common_scale, positions_of
from unet_resnet.measure.maps import Maps
from unet_resnet.measure.widths import Crack, Measurement, class_names, measure

FILES = ("cracks.csv", "photos.csv", "folders.csv", "measurements.json", "cracks.geojson",
         "cracks.dxf")
LENGTHS = ("length", "width_mean", "width_median", "width_p95", "width_max")
RESOLVED = 6  # pixels; narrower cracks are found wider than they are: docs/measuring.md
BINS, BIN = 4096, 0.5  # of the histogram of widths, and the pixels in each
MOST_BARS = 24

Row = dict[str, str | int | float | None]


def crack_row(crack: Crack, mm_per_pixel: float | None, limits: Sequence[float]) -> Row:
    """The columns that cracks and photos share."""
    def rounded(value: float | None, scale: float = 1.0, digits: int = 3) -> float | None:
        return None if value is None else round(value * scale, digits)

    row: Row = {f"{name}_px": rounded(getattr(crack, name)) for name in LENGTHS}
    row |= {"max_x_px": rounded(crack.max_x), "max_y_px": rounded(crack.max_y),
            "area_px": crack.area, "orientation_deg": rounded(crack.orientation),
            "left_px": crack.left, "top_px": crack.top, "box_width_px": crack.box_width,
            "box_height_px": crack.box_height, "branches": crack.branches, "ends": crack.ends,
            "cut_off": int(crack.cut_off)}
    if mm_per_pixel:
        row |= {f"{name}_mm": rounded(getattr(crack, name), mm_per_pixel, 4) for name in LENGTHS}
        row["area_mm2"] = rounded(crack.area, mm_per_pixel ** 2, 4)
    for name, length in zip(class_names(limits), crack.class_lengths):
        row[f"length_mm_{name}"] = rounded(length, mm_per_pixel, 4)
    return row


def rows(photo: str, found: Measurement) -> tuple[Row, list[Row]]:
    """The row of a photo, and those of its cracks."""
    total, *cracks = (crack_row(crack, found.mm_per_pixel, found.width_classes)
                      for crack in (found.total, *found.cracks))
    size: Row = {"height_px": found.height, "width_px": found.width,
                 "cracks": len(found.cracks) - found.wide, "wide": found.wide,
                 "specks": found.specks}
    return ({"photo": photo} | size | total,
            [{"photo": photo, "crack": i, "wide": int(crack.wide)} | row
             for i, (crack, row) in enumerate(zip(found.cracks, cracks), start=1)])


def main_numbers(found: Measurement) -> dict[str, float | None]:
    """The few numbers of a photo that are printed and put into the report, by label."""
    unit, factor = ("mm", found.mm_per_pixel) if found.mm_per_pixel else ("px", 1)
    lengths = {"length": found.total.length, "mean width": found.total.width_mean,
               "greatest width": found.total.width_max}
    return {"cracks": len(found.cracks) - found.wide, "wide (not counted)": found.wide or None} | {
        f"{label} ({unit})": None if value is None else round(value * factor, 3)
        for label, value in lengths.items()}


class Histogram(NamedTuple):
    """Lengths of centre line, by ranges of width."""
    labels: list[str]  # such as "1 to 1.5"
    amounts: list[float]
    unit: str


class Tables:
    """The four files and the maps of the cracks, to which photos are added within a `with` block.

    They appear in the folder when the block ends, also by an error or Ctrl-C, with the photos added
    until then. Rows are written at once, so memory does not grow with the number of photos.
    Raises what `measure` raises.
    """

    def __init__(self, folder: Path, mm_per_pixel: float | None = None,
                 width_classes: Sequence[float | str] = (), photos: Sequence[Path] = (),
                 scales: Sequence[float] = (1.0,), include_wide: bool = False) -> None:
        """width_classes: limits in mm, or the name of a standard. photos: all that will be added;
        their positions give the maps their coordinates and, if they agree, a missing scale.
        scales: by which photos are resized for prediction."""
        self.positions, self.notes = positions_of(photos)
        if mm_per_pixel:
            self.notes.append(f"a pixel is {mm_per_pixel:.4g} mm")
        elif self.positions:
            all_have = len(self.positions) == len(photos)
            mm_per_pixel = common_scale(self.positions.values()) if all_have else None
            why = "give no common scale" if all_have else "are not known for all of them"
            self.notes.append(
                f"by the photos' positions, a pixel is {mm_per_pixel:.4g} mm" if mm_per_pixel else
                f"the photos' positions {why}; for mm, add --mm-per-pixel")
        if [*scales] != [1]:
            factors = " ".join(f"{scale:g}" for scale in scales)
            self.notes.append(f"photos are resized by --scale {factors} to predict; widths depend "
                              "on it, and were checked at 1 only")
        self.blank = measure(torch.zeros(1, 1, 1), mm_per_pixel, width_classes)
        self.limits = self.blank.width_classes
        if self.limits and (pixels := self.limits[0] / mm_per_pixel) < RESOLVED:
            self.notes.append(f"the narrowest class ends at {self.limits[0]:g} mm, which is "
                              f"{pixels:.1f} pixels: cracks narrower than about {RESOLVED} pixels "
                              "are found wider than they are (docs/measuring.md)")
        self.folder, self.mm_per_pixel, self.include_wide = folder, mm_per_pixel, include_wide
        self.lengths = np.zeros(BINS)  # pixels of centre line in each bin of width
        self.classes = np.array(self.blank.total.class_lengths)  # and in each class
        self.comma = ""

    def __enter__(self) -> "Tables":
        self.files = ExitStack()
        self.cracks, self.photos, self.sums, self.json, geojson, dxf = (
            self.files.enter_context(atomic_write(self.folder / name)) for name in FILES)
        columns = crack_row(self.blank.total, self.mm_per_pixel, self.limits)
        self.cracks.write(csv_lines(["photo", "crack", "wide", *columns]))
        row, _ = rows("", self.blank)
        self.photos.write(csv_lines(row))
        self.folders = Folders(row)
        about = {"software": "unet_resnet", "mm_per_pixel": self.mm_per_pixel,
                 "width_classes_mm": self.limits, "notes": self.notes, "photos": []}
        self.json.write(json.dumps(about).removesuffix("]}").encode())
        self.maps = Maps(geojson, dxf, self.limits, self.mm_per_pixel, self.positions)
        return self

    def __exit__(self, *_: object) -> None:
        with self.files:
            sums = self.folders.rows()
            self.sums.write(csv_lines(sums[0], *(row.values() for row in sums)))
            self.json.write(b"\n]}\n")
            self.maps.end()

    def measure(self, crack: Tensor) -> Measurement:
        """The cracks of a mask (1, h, w), with the scale and the classes of the tables."""
        return measure(crack, self.mm_per_pixel, self.limits, include_wide=self.include_wide)

    def add(self, name: str, found: Measurement, photo: Path | None = None) -> None:
        """photo: its file; None for a frame of a video, which is on no map and in no sum."""
        row, inside = rows(name, found)
        self.cracks.write(csv_lines(*(crack.values() for crack in inside)))
        self.photos.write(csv_lines(row.values()))
        self.json.write(f"{self.comma}\n{json.dumps(row | {'cracks_found': inside})}".encode())
        self.comma = ","
        if not photo:
            return
        self.classes += found.total.class_lengths
        for line in found.lines_of(wide=False):
            steps = np.hypot(*np.diff(line[:, :2], axis=0).T)
            bins = np.minimum((line[1:, 2] / BIN).round(6), BINS - 1).astype(int)
            self.lengths += np.bincount(bins, steps, BINS)
        self.folders.add(row)
        self.maps.add(name, photo, found, inside)

    def histogram(self) -> Histogram | None:
        """The length of all cracks by their width, in at most MOST_BARS bars, or in the classes of
        width; None without any."""
        if not self.lengths.any():
            return None
        if self.limits:
            return Histogram([name.replace("_", " ") for name in class_names(self.limits)],
                             (self.classes * self.mm_per_pixel).tolist(), "mm")
        used = int(self.lengths.nonzero()[0][-1]) + 1
        together = math.ceil(used / MOST_BARS)
        amounts = np.add.reduceat(self.lengths[:used], range(0, used, together))
        unit, factor = ("mm", self.mm_per_pixel) if self.mm_per_pixel else ("px", 1.0)
        edges = np.arange(len(amounts) + 1) * together * BIN * factor
        return Histogram([f"{low:.3g} to {high:.3g}" for low, high in pairwise(edges)],
                         (amounts * factor).tolist(), unit)

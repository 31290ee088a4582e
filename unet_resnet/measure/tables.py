"""How do measurements reach a spreadsheet or another program? As two CSV tables and one JSON file.

    cracks.csv         a row per crack
    photos.csv         a row per photo, even without cracks
    measurements.json  {"software": ..., "mm_per_pixel": ..., "width_classes_mm": [...],
                        "photos": [{row of a photo, "cracks_found": [{row of a crack}, ...]}, ...]}

Lengths are along the centre lines of all branches, and widths are weighted by length; max_x and
max_y are where a crack is widest, from the left and from the top, from 0; orientation_deg is 0
for level, 90 for upright, 45 for rising to the right; branches are lines between nodes, ends are
free ones; cut_off is 1 if a crack reaches the border of the photo and may continue beyond it;
specks are too short to be measured. Columns in mm appear with a scale, length_mm_below_0.1,
length_mm_0.1_to_0.2 and so on with classes of width. Pixels and degrees are rounded to 0.001, mm to
0.0001. Without cracks, what has no value is empty in the tables and null in JSON.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from unet_resnet.files import csv_lines, written_whole
from unet_resnet.measure.widths import Crack, Measurement, measure

LENGTHS = ("length", "width_mean", "width_median", "width_p95", "width_max")

Row = dict[str, str | int | float | None]


def class_names(limits: Sequence[float]) -> list[str]:
    """Names of the classes of width between limits in mm: below_0.1, 0.1_to_0.2, from_0.2."""
    if not limits:
        return []
    inner = [f"{low:g}_to_{high:g}" for low, high in itertools.pairwise(limits)]
    return [f"below_{limits[0]:g}", *inner, f"from_{limits[-1]:g}"]


def crack_row(crack: Crack, mm_per_pixel: float | None, limits: Sequence[float]) -> Row:
    """The columns that cracks and photos share."""
    def rounded(value: float | None, scale: float = 1.0, digits: int = 3) -> float | None:
        return None if value is None else round(value * scale, digits)

    row = {f"{name}_px": rounded(getattr(crack, name)) for name in LENGTHS}
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
    size = {"height_px": found.height, "width_px": found.width, "cracks": len(found.cracks),
            "specks": found.specks}
    return ({"photo": photo} | size | total,
            [{"photo": photo, "crack": i} | row for i, row in enumerate(cracks, start=1)])


def main_numbers(found: Measurement) -> dict[str, float | None]:
    """The few numbers of a photo that are printed and stand in the report, by their labels."""
    unit, factor = ("mm", found.mm_per_pixel) if found.mm_per_pixel else ("px", 1)
    lengths = {"length": found.total.length, "mean width": found.total.width_mean,
               "greatest width": found.total.width_max}
    return {"cracks": len(found.cracks)} | {
        f"{label} ({unit})": None if value is None else round(value * factor, 3)
        for label, value in lengths.items()}


@contextmanager
def tables(folder: Path, mm_per_pixel: float | None = None, width_classes: Sequence[float] = ()
           ) -> Iterator[Callable[[str, Measurement], None]]:
    """Gives a function that adds a photo, by its name, to the three files.

    The files appear in the folder when the block ends, even by an error or by Ctrl-C: the photos
    added until then are kept. Rows go to the disk at once, so memory does not grow with the photos.
    Raises ValueError for an impossible scale or impossible classes.
    """
    blank = measure(torch.zeros(1, 1, 1), mm_per_pixel, width_classes)
    photo_row, _ = rows("", blank)
    about = {"software": "unet_resnet", "mm_per_pixel": mm_per_pixel,
             "width_classes_mm": [*width_classes], "photos": []}
    stopped, comma = None, ""
    with ExitStack() as files:
        cracks, photos, both = (
            files.enter_context(written_whole(folder / name))
            for name in ("cracks.csv", "photos.csv", "measurements.json"))
        cracks.write(csv_lines(["photo", "crack", *crack_row(blank.total, mm_per_pixel,
                                                             width_classes)]))
        photos.write(csv_lines(photo_row))
        both.write(json.dumps(about).removesuffix("]}").encode())

        def add(name: str, found: Measurement) -> None:
            nonlocal comma
            photo, inside = rows(name, found)
            cracks.write(csv_lines(*(row.values() for row in inside)))
            photos.write(csv_lines(photo.values()))
            both.write(f"{comma}\n{json.dumps(photo | {'cracks_found': inside})}".encode())
            comma = ","

        try:
            yield add
        except BaseException as error:
            stopped = error  # raised below, once the files are in place
        both.write(b"\n]}\n")
    if stopped:
        raise stopped

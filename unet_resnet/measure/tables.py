"""How do measurements reach a spreadsheet or another program? As two CSV tables and one JSON file.

    cracks.csv         a row per crack
    photos.csv         a row per photo, also where it has no cracks
    measurements.json  {"software": ..., "mm_per_pixel": ..., "width_classes_mm": [...],
                        "photos": [{row of a photo, "cracks_found": [{row of a crack}, ...]}, ...]}

| column | in | meaning |
|---|---|---|
| photo | both | name of the photo |
| crack | cracks | number of the crack in its photo, from 1 |
| height_px, width_px | photos | size of the photo |
| cracks, specks | photos | how many were measured, and how many left out for being short |
| length_px | both | of the centre lines of all branches |
| width_mean_px, _median_, _p95_, _max_ | both | width along the line, weighed by length |
| max_x_px, max_y_px | both | where it is widest: from the left, from the top, from 0 |
| area_px | both | number of pixels |
| orientation_deg | both | -90..90: 0 level, 90 upright, 45 rising to the right |
| left_px, top_px, box_width_px, box_height_px | both | bounding box |
| branches, ends | both | lines between nodes, and free ends |
| cut_off | both | 1 if it reaches the border of the photo, and may go on beyond |
| length_mm, width_..._mm, area_mm2 | both | the same in millimetres; with a scale only |
| length_mm_below_0.1, _0.1_to_0.2, ..., _from_0.3 | both | length by width; with classes only |

Pixels and degrees are rounded to 0.001, mm to 0.0001. What has no meaning where a photo has no
cracks is empty, in JSON null.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from unet_resnet.files import check_ours, csv_lines, written_whole
from unet_resnet.images import SOFTWARE
from unet_resnet.measure.widths import Crack, Measurement, measure

Row = dict[str, str | int | float | None]

CRACKS, PHOTOS, ALL = "cracks.csv", "photos.csv", "measurements.json"
HEAD = f'{{"software": "{SOFTWARE}", '  # of the JSON file


def class_names(limits: Sequence[float]) -> list[str]:
    """Names of the classes of width between limits in mm: below_0.1, 0.1_to_0.2, from_0.2."""
    if not limits:
        return []
    inner = [f"{low:g}_to_{high:g}" for low, high in zip(limits, limits[1:])]
    return [f"below_{limits[0]:g}", *inner, f"from_{limits[-1]:g}"]


def crack_row(crack: Crack, mm_per_pixel: float | None, limits: Sequence[float]) -> Row:
    """The columns that cracks and photos share."""
    def rounded(value: float | None, scale: float = 1.0, digits: int = 3) -> float | None:
        return None if value is None else round(value * scale, digits)

    lengths = {"length": crack.length, "width_mean": crack.width_mean,
               "width_median": crack.width_median, "width_p95": crack.width_p95,
               "width_max": crack.width_max}
    row = {f"{name}_px": rounded(value) for name, value in lengths.items()}
    row |= {"max_x_px": rounded(crack.max_x), "max_y_px": rounded(crack.max_y),
            "area_px": crack.area, "orientation_deg": rounded(crack.orientation),
            "left_px": crack.left, "top_px": crack.top, "box_width_px": crack.box_width,
            "box_height_px": crack.box_height, "branches": crack.branches, "ends": crack.ends,
            "cut_off": int(crack.cut_off)}
    if mm_per_pixel:
        row |= {f"{name}_mm": rounded(value, mm_per_pixel, 4) for name, value in lengths.items()}
        row["area_mm2"] = rounded(crack.area, mm_per_pixel ** 2, 4)
    for name, length in zip(class_names(limits), crack.class_lengths):
        row[f"length_mm_{name}"] = rounded(length, mm_per_pixel, 4)
    return row


def rows(photo: str, found: Measurement) -> tuple[Row, list[Row]]:
    """The row of a photo, and those of its cracks."""
    shared = [crack_row(crack, found.mm_per_pixel, found.width_classes)
              for crack in (found.total, *found.cracks)]
    size = {"height_px": found.height, "width_px": found.width, "cracks": len(found.cracks),
            "specks": found.specks}
    return ({"photo": photo} | size | shared[0],
            [{"photo": photo, "crack": i} | row for i, row in enumerate(shared[1:], start=1)])


def check_tables(folder: Path) -> None:
    """Raise FileExistsError where a table would take the place of a user's file."""
    for name, mark in ((CRACKS, "width_p95_px"), (PHOTOS, "width_p95_px"), (ALL, HEAD)):
        check_ours(folder / name, mark.encode())


@contextmanager
def tables(folder: Path, mm_per_pixel: float | None = None, width_classes: Sequence[float] = ()
           ) -> Iterator[Callable[[str, Measurement], None]]:
    """Gives a function that adds a photo, by its name, to the three files.

    The files take their place in the folder when the block ends, also when it ends by an error or
    by Ctrl-C: the photos up to there are kept. Rows go to the disk as they come, so memory does not
    grow with the photos. Raises ValueError for a scale or classes that make no sense, and
    FileExistsError where a file is not ours.
    """
    check_tables(folder)
    blank = measure(torch.zeros(1, 1, 1), mm_per_pixel, width_classes)
    photo_row, crack_rows = rows("", replace(blank, cracks=(blank.total,)))
    about = {"mm_per_pixel": mm_per_pixel, "width_classes_mm": [*width_classes], "photos": []}
    start, stopped, comma = HEAD + json.dumps(about)[1:-2], None, ""
    with ExitStack() as files:
        cracks, photos, both = (files.enter_context(written_whole(folder / name))
                                for name in (CRACKS, PHOTOS, ALL))
        cracks.write(csv_lines(crack_rows[0]))
        photos.write(csv_lines(photo_row))
        both.write(start.encode())

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
            stopped = error
        both.write(b"\n]}\n")
    if stopped:
        raise stopped

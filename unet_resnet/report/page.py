"""What does a user open after a run? One HTML page: the sums, then the photos, the worst first.

The page is a single file that needs no network and runs no script but its own: numbers, thumbnails
(inside it, as data) and links to the full pictures beside it. Its looks are in report.html.
"""

import base64
import hashlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import torch
from jinja2 import Environment, StrictUndefined
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from unet_resnet.files import atomic_write, one_line
from unet_resnet.inference import overlay
from unet_resnet.metrics import count

PAGE = Path(__file__).with_name("report.html").read_text("utf-8")
SIDE, QUALITY = 320, 70  # of thumbnails: about 19 kB each
SHARE = "crack (%)"  # the column that every photo has
WIDE = "wide (not counted)"  # one of those that only measured photos have
HASHES = {kind: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for kind, text
          in re.findall(r"<(style|script)>(.*?)</", PAGE, re.DOTALL)}  # for the page's policy

Number = float | int | None  # None: not defined; shown as a dash, sorted last


class Report:
    """The page at `path`, collected photo by photo and written by `write`. A photo takes about
    60 kB, in memory as in the page."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []

    def add(self, name: str, photo: Tensor, crack: Tensor, truth: Tensor | None,
            files: Sequence[Path], numbers: Mapping[str, Number]) -> None:
        """A row: photo (3, h, w) uint8; predicted and, if known, true cracks (1, h, w).

        files: the photo, its overlay and, if measured, the picture of its widths, to be linked.
        numbers: more columns, by label; photos need not have the same ones. The page starts with
        the sum of "length (mm)" and is sorted by "greatest width (mm)", or by those in (px).
        """
        crack, truth = (None if mask is None else mask.bool().cpu() for mask in (crack, truth))
        numbers = {SHARE: 100 * int(crack.count_nonzero()) / crack.numel(), **numbers}
        numbers.pop("crack_share", None)  # the same, rounded
        if truth is not None:
            counts = count(crack, truth)
            dice = counts.dice if truth.any() else None
            numbers |= {"Dice": dice, "found (px)": counts.tp, "false (px)": counts.fp,
                        "missed (px)": counts.fn}
        small = thumbnails(photo, crack, truth, files[2:])
        pictures = [(link(file, self.path.parent), data_url(picture), picture.size)
                    for file, picture in zip(files, small, strict=True)]
        self.rows.append({"name": name, "folder": str(files[0].parent), "size": photo.shape[:0:-1],
                          "cracked": numbers.get("cracks", numbers[SHARE]) > 0,
                          "pictures": pictures, "numbers": numbers})

    def write(self, about: Mapping[str, object], scores: Mapping[str, Mapping[str, Number]],
              widths: Any = None, failed: Iterable[tuple[Path, str]] = (),
              folders: Sequence[Mapping[str, Any]] = ()) -> None:
        """Write the page, whole or not at all.

        about: facts of the run (command, checkpoint, threshold, date ...), in order. scores: rows
        of a table, all with the columns of the first; may be empty. widths: length by width of all
        cracks, a `measure.tables.Histogram`. failed: photos without results, and the reasons.
        folders: the sums of each, from `measure.folders.Folders.rows`; shown if there are several.
        """
        numbers = [row["numbers"] for row in self.rows]
        labels = dict.fromkeys([SHARE, *(label for row in numbers for label in row)])
        unit = next((unit for unit in ("mm", "px") if f"length ({unit})" in labels), None)
        length, wide = (sum(row.get(label) or 0 for row in numbers)
                        for label in (f"length ({unit})", WIDE))
        if not wide:
            labels.pop(WIDE, None)
        rows = sorted(self.rows, reverse=True, key=lambda row: (
            row["numbers"].get(f"greatest width ({unit})") or 0, row["numbers"][SHARE]))
        environment = Environment(autoescape=True, trim_blocks=True, undefined=StrictUndefined)
        environment.filters["figures"] = figures
        page = environment.from_string(PAGE).stream(
            hashes=HASHES, colours=overlay, photos=len(rows), length=length, wide=wide, unit=unit,
            cracked=sum(row["cracked"] for row in rows), labels=[*labels], rows=rows,
            widths=widths, scores=scores, about=about,
            failed=[(one_line(path), reason.removeprefix(f"{one_line(path)}: "))
                    for path, reason in failed],
            folders=folders if len({row["photos"] for row in folders}) > 1 else ())
        with atomic_write(self.path) as file:
            page.dump(file, "utf-8", "replace")  # a file name need not be UTF-8


def figures(value: Number | str) -> str:
    """Text as it is, a number with about three significant digits."""
    if value is None or isinstance(value, str):
        return value or "–"
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 100 else f"{value:.3g}"


def link(file: Path, folder: Path) -> str:
    """The URL of the file, relative to a page in the folder."""
    try:
        return quote(os.fsencode(Path(os.path.relpath(file, folder)).as_posix()))
    except ValueError:  # another drive of Windows
        return file.absolute().as_uri()


def thumbnails(photo: Tensor, crack: Tensor, truth: Tensor | None, files: Sequence[Path]
               ) -> Iterator[Image.Image]:
    """Photo, overlay and the pictures in the files, at most SIDE pixels wide and high.

    A pixel is crack where any of the photo's pixels in it is: averaged, thin cracks would fade.
    """
    image = Image.fromarray(photo.permute(1, 2, 0).numpy())
    image.thumbnail((SIDE, SIDE), reducing_gap=2)
    yield image
    small = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    masks = (None if mask is None else F.adaptive_max_pool2d(mask.float(), small.shape[1:])
             for mask in (crack, truth))
    yield Image.fromarray(overlay.overlay(small, *masks).permute(1, 2, 0).numpy())
    for file in files:
        with Image.open(file) as image:
            image.thumbnail((SIDE, SIDE), reducing_gap=2)
            yield image.convert("RGB")


def data_url(picture: Image.Image) -> str:
    """The picture as JPEG, in the text of a URL."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY, subsampling=0)  # otherwise thin cracks blur
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()

"""What does a person open after a run? One HTML page: what was found, photo by photo.

The page is a single file that needs no network and runs no script but its own: numbers, thumbnails
(inside it, as data) and links to the full pictures beside it. Its frame is report.html.
"""

import base64
import hashlib
import heapq
import io
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template
from urllib.parse import quote

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unet_resnet.inference import overlay
from unet_resnet.report import html as page
from unet_resnet.files import check_ours, written_whole
from unet_resnet.metrics import count
from unet_resnet.report.html import Histogram, Number, Row

FRAME = Path(__file__).with_name("report.html")
MARK = b'<meta name="generator" content="unet_resnet">'  # tells our pages from a user's
SIDE, QUALITY = 320, 70  # of thumbnails: 37 MB per 1000 photos of the crackmix set
WORST = 12  # photos in "False alarms and misses"
SHARE, DICE = "crack (%)", "Dice"  # columns of the list
FOUND, FALSE, MISSED = "found (px)", "false (px)", "missed (px)"
PREDICTED = {"predicted": "predicted crack"}
COMPARED = {"found": "found: crack in the mask and in the prediction",
            "false": "false alarm: only in the prediction", "missed": "missed: only in the mask"}
COLOURS = {"predicted": overlay.PREDICTED, "found": overlay.FOUND, "false": overlay.FALSE,
           "missed": overlay.MISSED}


class Report:
    """The page at `path`, gathered photo by photo; nothing is there until `write`.

    Used in a `with` block. Rows and thumbnails wait in a nameless file in the page's folder, so
    memory does not grow with them and an interrupted run leaves nothing behind. Raises
    FileExistsError where `path` is not a page of ours, other OSErrors where it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        check_ours(path, MARK)
        self.path = path
        self._rows = tempfile.TemporaryFile("w+", encoding="utf-8", dir=path.parent)
        self._labels: dict[str, None] = {}  # of the columns, in the order they came up
        self._failed: list[tuple[str, str]] = []
        self._photos = self._clear = self._scored = self._pixels = self._crack = 0

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.close()

    def add(self, name: str, photo: Tensor, crack: Tensor, truth: Tensor | None,
            files: tuple[Path, Path], numbers: Mapping[str, Number]) -> None:
        """A row: photo (3, h, w) uint8; predicted and, if known, true cracks (1, h, w).

        files: the full-size photo and overlay, to be linked. numbers: more columns, by their
        label; photos need not have the same.
        """
        crack, truth = (None if mask is None else mask.bool().cpu() for mask in (crack, truth))
        pixels = int(crack.count_nonzero())
        numbers = {SHARE: 100 * pixels / crack.numel(), **numbers}
        if truth is not None:
            counts = count(crack, truth)
            numbers |= {DICE: counts.dice, FOUND: counts.tp, FALSE: counts.fp, MISSED: counts.fn}
        links = [link(file, self.path.parent) for file in files]
        row = Row(name, photo.shape[2], photo.shape[1], numbers,
                  [*zip(links, thumbnails(photo, crack, truth), strict=True)])
        self._rows.write(json.dumps(row) + "\n")
        self._labels |= dict.fromkeys(numbers)
        self._photos += 1
        self._clear += pixels == 0
        self._scored += truth is not None
        self._pixels += crack.numel()
        self._crack += pixels

    def fail(self, name: str, message: str) -> None:
        """A photo without a result, and why."""
        self._failed.append((name, message.removeprefix(f"{name}: ")))

    def write(self, about: Mapping[str, Number | str], scores: Mapping[str, Mapping[str, Number]],
              widths: Histogram | None) -> None:
        """Write the page, whole or not at all.

        about: what is to be known of the run (command, checkpoint, threshold, date ...), in order.
        scores: the lines of a table, each with its numbers by column; may be empty. widths: those
        of all cracks together.
        """
        check_ours(self.path, MARK)
        frame = FRAME.read_text("utf-8")
        fields = {"photos": f"{self._photos:,} photos", "tiles": self._tiles(),
                  "sections": "\n".join(self._sections(about, scores, widths)),
                  "legend": page.legend(self._colours()), "heads": page.heads(self._labels),
                  "style": "".join(f".{name} {{ --swatch: rgb{colour}; }}\n"
                                   for name, colour in COLOURS.items())}
        fields["policy"] = policy(Template(frame).safe_substitute(fields))
        before, after = (Template(part).substitute(fields) for part in frame.split("$rows"))
        with written_whole(self.path) as file:
            file.write(encoded(before))
            for row in self._read():
                clear = row.numbers[SHARE] == 0
                file.write(encoded(page.list_row(row, self._labels, clear)))
            file.write(encoded(after))

    def _read(self) -> Iterator[Row]:
        self._rows.seek(0)
        for line in self._rows:
            yield Row(*json.loads(line))

    def _tiles(self) -> str:
        return page.tiles({
            "photos": f"{self._photos:,}",
            "without cracks": f"{self._clear / max(1, self._photos):.0%}",
            "crack pixels": f"{self._crack / max(1, self._pixels):.2%}",
            "megapixels": f"{self._pixels / 1e6:,.1f}",
            "failed": f"{len(self._failed):,}"}, alarm="failed" if self._failed else "")

    def _sections(self, about: Mapping[str, Number | str],
                  scores: Mapping[str, Mapping[str, Number]],
                  widths: Histogram | None) -> Iterator[str]:
        yield page.section("This run", page.table(about.items()))
        if scores:
            columns = dict.fromkeys(label for numbers in scores.values() for label in numbers)
            lines = ((name, *map(numbers.get, columns)) for name, numbers in scores.items())
            yield page.section("Scores", page.table(lines, ("", *columns)))
        if widths and any(widths.amounts):
            yield page.section("Crack widths", page.chart(widths))
        if self._failed:
            yield page.section("Failed", page.table(self._failed))
        if self._scored:
            yield self._worst()

    def _worst(self) -> str:
        """The photos of lowest Dice, the most wrong pixels first among equals."""
        wrong = (row for row in self._read()
                 if row.numbers.get(FALSE, 0) + row.numbers.get(MISSED, 0))
        worst = heapq.nsmallest(WORST, wrong, key=lambda row: (
            row.numbers[DICE], -row.numbers[FALSE] - row.numbers[MISSED]))
        if not worst:
            return page.section("False alarms and misses", "<p>No pixel is false or missed.</p>")
        note = (f'<p class="note">Of the {self._scored:,} photos with a mask, the {len(worst)} of '
                "lowest Dice, the worst first.</p>")
        captions = ((row, "Dice {}: {} found, {} false, {} missed pixels".format(
            *(page.show(row.numbers[label]) for label in (DICE, FOUND, FALSE, MISSED))))
            for row in worst)
        return page.section("False alarms and misses", note, page.legend(COMPARED),
                            page.figures(captions))

    def _colours(self) -> dict[str, str]:
        if not self._scored:
            return PREDICTED
        without = {"predicted": "predicted crack, no mask given"}
        return COMPARED | (without if self._scored < self._photos else {})


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")  # a file name need not be UTF-8


def policy(html: str) -> str:
    """Nothing but the page's own style and script, known by their hashes, and pictures."""
    style, script = (
        "'sha256-" + base64.b64encode(hashlib.sha256(encoded(text)).digest()).decode() + "'"
        for text in re.findall(r"<(?:style|script)>(.*?)</", html, re.DOTALL))
    return (f"default-src 'none'; img-src data: file: 'self'; style-src {style}; "
            f"script-src {script}; base-uri 'none'; form-action 'none'")


def link(file: Path, folder: Path) -> str:
    """The URL that leads from a page in the folder to the file."""
    try:
        return quote(os.fsencode(Path(os.path.relpath(file, folder)).as_posix()))
    except ValueError:  # another drive of Windows
        return file.absolute().as_uri()


def thumbnails(photo: Tensor, crack: Tensor, truth: Tensor | None) -> tuple[str, str]:
    """Photo and overlay as data: URLs, at most SIDE pixels wide and high.

    A pixel is crack where any of the photo's pixels in it is: averaged, thin cracks would fade.
    """
    image = Image.fromarray(photo.permute(1, 2, 0).numpy())
    image.thumbnail((SIDE, SIDE), reducing_gap=2)
    small = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    masks = (None if mask is None else shrink(mask, image.height, image.width)
             for mask in (crack, truth))
    return data_url(small), data_url(overlay.overlay(small, *masks))


def shrink(mask: Tensor, height: int, width: int) -> Tensor:
    """(1, h, w) to (1, height, width) bool, True where any pixel of the larger mask is."""
    small = torch.zeros(1, height, width, dtype=torch.bool)
    y, x = mask[0].nonzero().T
    small[0, y * height // mask.shape[1], x * width // mask.shape[2]] = True
    return small


def data_url(picture: Tensor) -> str:
    """The picture (3, h, w) uint8 as JPEG, in the text of a URL."""
    file = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(
        file, "JPEG", quality=QUALITY, subsampling=0)  # halved colours would blur thin cracks
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()

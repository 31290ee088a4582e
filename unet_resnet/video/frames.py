"""Where do the results of a video's frames go? Into a table and a video with the cracks marked."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from torch import Tensor
from tqdm import tqdm

from unet_resnet.files import atomic_write, csv_lines, one_line
from unet_resnet.video import codec

STILL = re.compile(r"\d{6,}_(probability|mask|overlay|widths)\.png")  # as infer.py names them


@dataclass
class VideoResults:
    """The frames of a video, one at a time, and what was found in them; see `open_results`."""

    source: codec.Source
    table: BinaryIO
    write: Callable[[codec.Frame, Tensor], None] | None
    every: int
    count: int = 0  # frames added

    def __iter__(self) -> Iterator[codec.Frame]:
        total = math.ceil(self.source.stream.frames / self.every) or None  # 0 if not known
        yield from tqdm(self.source.frames(self.every), one_line(self.source.path.name), total,
                        unit="frame", leave=False)

    def add(self, frame: codec.Frame, numbers: Mapping[str, float | None],
            picture: Tensor | None = None) -> None:
        """The numbers become a row of the table, the picture (3, h, w) uint8 a frame."""
        row = {"frame": frame.index, "seconds": round(frame.seconds, 4), **numbers}
        if not self.count:
            self.table.write(csv_lines(row))
        self.table.write(csv_lines(row.values()))
        self.count += 1
        if self.write:
            self.write(frame, picture)


@contextmanager
def open_results(path: Path, stem: Path, every: int | None = None) -> Iterator[VideoResults]:
    """The frames of the video at `path`, with STEM_cracks.csv and STEM_cracks.mp4 for what is found
    in them, which appear when the block ends; or every N-th frame and the table alone, and the
    stills that an earlier run left in the folder STEM are deleted.

    Raises OSError or ValueError; the latter also when the block ends, for a damaged video.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        source = stack.enter_context(codec.open_video(path))
        for still in stem.glob("*.png") if every else ():
            if STILL.fullmatch(still.name):  # perhaps of other frames
                still.unlink()
        table = stack.enter_context(atomic_write(stem.with_name(f"{stem.name}_cracks.csv")))
        write = None if every else stack.enter_context(
            codec.write_video(stem.with_name(f"{stem.name}_cracks.mp4"), source))
        yield VideoResults(source, table, write, every or 1)
    if source.damage:
        raise ValueError(source.damage)

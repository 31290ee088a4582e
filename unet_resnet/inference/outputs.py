"""What is written for a photo, and under which name? Results lie below --output as the photos lie;
docs/files.md lists them.
"""

import os
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath

from torch import Tensor
from tqdm import tqdm

from unet_resnet.files import is_out_of_memory, one_line
from unet_resnet.images import write_png
from unet_resnet.inference.index import Index
from unet_resnet.inference.inputs import Reading, describe, is_video

# Of all photos together.
REPORTED = ("report.html",)
SCORED = ("scores.json", "scores.csv", "worst.png")


def name_results(photos: Sequence[Path], root: Path, every: int | None = None) -> list[str]:
    """A name for the results of each photo: wall/x for root/wall/x.jpg, "/" on every system.

    No two are equal, whatever the letter case. Photos of one stem in one folder keep their
    suffixes. The name of a video says how often a frame is taken from it: drone_every10.
    """
    places = [os.path.relpath(os.path.abspath(photo), root) for photo in photos]
    stems = [os.path.splitext(place)[0] for place in places]
    uses = Counter(stem.casefold() for stem in stems)
    names: dict[str, str] = {}  # by their casefolded form
    for photo, place, stem in zip(photos, places, stems):
        name = stem if uses[stem.casefold()] == 1 else place
        if every and is_video(photo):
            name += f"_every{every}"
        while name.casefold() in names:
            name += "_"
        names[name.casefold()] = PurePath(name).as_posix()
    return list(names.values())


def files_of(name: str, photo: Path, every: int | None, measured: bool) -> list[str]:
    """The files, or the folder of stills, in which the results of a photo or video will lie."""
    if is_video(photo):
        return [f"{name}/" if every else f"{name}_cracks.mp4", f"{name}_cracks.csv"]
    kinds = ["probability", "mask", "overlay", *["widths"] * measured]
    return [f"{name}_{kind}.png" for kind in kinds]


class Folder:
    """The folder of a run's results: what may be written, what is, and what became of each photo.

    Raises what `Index` raises.
    """

    def __init__(self, path: Path, checkpoint: str) -> None:
        self.path, self.index = path, Index(path, checkpoint)
        self.failed: dict[Path, str] = {}  # reasons

    def claim(self, found: Sequence[Path], root: Path, masks: Collection[Path] = (),
              every: int | None = None, measured: Sequence[str] = (), reported: bool = False,
              skip_existing: bool = False) -> dict[str, Path]:
        """The photos to predict, by the names of their results, which the index notes before any
        work. measured: the tables that will be written, if any.

        With `skip_existing`, photos that have finished results are left out. Raises FileExistsError
        where a file is in the way (`Index.claim`).
        """
        if reported and not every and any(map(is_video, found)):
            print("--report shows photos; of a video only the stills of --every")
        photos = dict(zip(name_results(found, root, every), found))
        files = {name: files_of(name, photo, every, bool(measured))
                 for name, photo in photos.items()}
        if skip_existing:
            done = {name: photo for name, photo in photos.items()
                    if self.index.is_done(name, photo, files[name])}
            if done:
                print(f"{describe([*done.values()])} left out: their results are in {self.path}")
                other = self.index.by_other_checkpoint(done)
                print(f"note: {other} of them were made with another checkpoint\n" * (other > 0),
                      end="")
            photos = {name: photo for name, photo in photos.items() if name not in done}
        tables = [*measured, *SCORED * bool(masks), *REPORTED * reported]
        written = {name: files[name] + tables for name in photos}
        before = {file for name in photos.keys() & self.index.entries
                  for file in self.index.entries[name].files}
        if stale := sorted(file for file in before.difference(*written.values())
                           if (self.path / file).exists()):
            print(f"note: of an earlier run, and not renewed: {', '.join(stale[:3])}"
                  + ", ..." * (len(stale) > 3))
        changed = [photo for name, photo in photos.items() if self.index.has_changed(name, photo)]
        self.index.claim(photos, written, [*found, *masks])
        if changed:
            print(f"note: results of another file are replaced for {describe(changed)}: "
                  f"{one_line(changed[0])}" + ", ..." * (len(changed) > 1))
        return photos

    def write(self, name: str, pictures: Mapping[str, Tensor]) -> list[Path]:
        """Write pictures (3, h, w) or (1, h, w) uint8, by kind, as NAME_KIND.png; returns paths."""
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        files = [self.path / f"{name}_{kind}.png" for kind in pictures]
        for file, picture in zip(files, pictures.values()):
            write_png(file, picture)
        return files

    @contextmanager
    def report_errors(self, path: Path) -> Iterator[None]:
        """Print in one line what is wrong with a photo; the others go on."""
        try:
            yield
        except (OSError, ValueError, RuntimeError, MemoryError, FloatingPointError) as error:
            reason = one_line(error)
            if is_out_of_memory(error):
                reason = "out of memory; use a smaller --tile, --batch or --scale"
            elif isinstance(error, (RuntimeError, BrokenPipeError)):  # not the photo's fault
                raise
            name = one_line(path)
            self.failed[path] = reason if name in reason else f"{name}: {reason}"
            tqdm.write(f"infer.py: {self.failed[path]}", file=sys.stderr)

    def finish(self, name: str, path: Path, read: Reading, numbers: Mapping[str, float | None]
               ) -> None:
        """All results of a photo are written: note that, and print it."""
        self.index.finish(name, read.state)
        parts = [f"{path}: {numbers['crack_share']:.2%} crack", *(
            f"{label} {value:.4g}" for label, value in numbers.items()
            if label != "crack_share" and value is not None)]
        if PurePath(name).name != path.stem:
            parts.append(f"results in {name}_*.png")
        pages = " (only the first of its pages or frames is read)" * read.has_pages
        tqdm.write(one_line(", ".join(parts) + pages))

    def print_summary(self, photos: Sequence[Path]) -> int:
        """Print the sums; returns the exit status, 1 if photos have failed."""
        done = [photo for photo in photos if photo not in self.failed]
        place = f"; results are in {self.path}" * bool(done)
        print(f"{describe(done)} predicted, {len(self.failed)} failed{place}")
        return int(bool(self.failed))

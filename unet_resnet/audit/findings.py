"""What is wrong with a data set, said before it spoils a training?"""

import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from unet_resnet.files import align, one_line
from unet_resnet.audit.groups import UNIQUE, group_of, near_duplicates, perceptual_hash
from unet_resnet.images import (
    MASK_THRESHOLD, is_zero_one, read_grey, read_photo, remark, size_of)
from unet_resnet.evaluation.morphology import thin
from unet_resnet.data import Pair, Part

# Pillow decodes outside Python's lock; each thread holds a whole photo, hence not all cores.
THREADS = min(8, os.cpu_count() or 1)

# Severity and advice. An error spoils training, a warning spoils what the scores mean.
KINDS = {
    "photo cannot be read": ("error", "save it again from the original, or move it away with its "
                                      "mask"),
    "mask cannot be read": ("error", "save it again from the original, or move it away with its "
                                     "photo"),
    "photo without mask": ("error", "add its mask (all black if there are no cracks), or move it "
                                    "away"),
    "mask without photo": ("error", "add its photo, or move it away"),
    "second file of the same name": ("error", "keep one of them"),
    "photo and mask differ in size": ("error", "export the mask at the photo's size"),
    "mask is more than half white": ("error", "it is inverted: cracks must be white, the rest "
                                              "black"),
    "mask is drawn, but too dark to count": ("error", "draw cracks in white (255): only grey "
                                             f"values above {MASK_THRESHOLD} count"),
    "no mask has any crack": ("error", "check that the masks belong to these photos"),
    "photos shared by train and test": ("warning", "scores on test/ will be too good: train with "
                                                   "--split groups"),
    "named noncrack, but its mask has cracks": ("warning", "correct the mask or the name"),
    "mask is frayed: JPEG noise became crack": ("warning", "its borders are specks, so widths and "
                                                           "scores suffer; draw it anew, or smooth "
                                                           "it"),
    "mask has colours": ("warning", "it is read by its grey value; save it as black and white"),
    "photo of several pages": ("note", "only the first of its pages or frames is read"),
    "mask of several pages": ("note", "only the first of its pages or frames is read"),
    "same photo under names of two photos": ("note", "a split that is drawn keeps them on one "
                                                     "side"),
    "mask of 0 and 1 in place of 0 and 255": ("note", "read as such"),
    "mask with values between black and white": ("note", f"read right, with > {MASK_THRESHOLD}; "
                                                         "other programs may read > 0"),
    "mask is black": ("note", "as it should be if the photo shows no crack"),
}


@dataclass
class Record:
    """What the examination of one pair found; findings are (kind, detail)."""

    pair: Pair
    size: tuple[int, int] | None = None  # height, width
    values: str = ""  # the mask's format and grey values
    crack_pixels: int = 0
    drawn_pixels: int = 0  # what "> 0" would take for crack
    width: float | None = None  # of the cracks, in pixels
    hash: Tensor | None = None
    findings: list[tuple[str, str]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {"image": str(self.pair.image), "mask": str(self.pair.mask),
                "source": self.pair.source, "photograph": group_of(self.pair.image.stem),
                "size": self.size,
                "values": self.values, "crack_pixels": self.crack_pixels, "crack_width": self.width}


def hash_photo(path: Path) -> Tensor:
    return perceptual_hash(read_photo(path).float().mean(0) / 255)


def examine(pair: Pair, thorough: bool = True) -> Record:
    """Read a pair and note all that is odd; without `thorough`, the mask and the photo's header."""
    record = Record(pair)
    try:
        record.size = size_of(pair.image)
        if remark(pair.image):
            record.findings.append(("photo of several pages", ""))
        if thorough:
            record.hash = hash_photo(pair.image)
    except (OSError, ValueError) as error:
        record.findings.append(("photo cannot be read", str(error)))
    try:
        _examine_mask(record, read_grey(pair.mask), thorough)
        if remark(pair.mask):
            record.findings.append(("mask of several pages", ""))
    except (OSError, ValueError) as error:
        record.findings.append(("mask cannot be read", str(error)))
    return record


def _examine_mask(record: Record, grey: Tensor, thorough: bool) -> None:
    path, found = record.pair.mask, record.findings
    zero_one = is_zero_one(path, grey)
    crack = grey[0] > (0 if zero_one else MASK_THRESHOLD)
    low, high = grey.min().item(), grey.max().item()
    between = ((grey > low) & (grey < high)).any().item()
    record.crack_pixels, record.drawn_pixels = int(crack.sum()), int(grey.count_nonzero())
    values = f"{low}" if low == high else f"{low} {'to' if between else 'and'} {high}"
    record.values = f"{path.suffix.lower()[1:]} {values}"
    height, width = crack.shape
    if record.size and record.size != (height, width):
        found.append(("photo and mask differ in size",
                      f"{record.size[1]}x{record.size[0]} and {width}x{height} pixels"))
    if 2 * record.crack_pixels > crack.numel():
        found.append(("mask is more than half white", f"{crack.float().mean():.0%} white"))
    if zero_one:
        found.append(("mask of 0 and 1 in place of 0 and 255", record.values))
    elif high > 32 and not record.crack_pixels:
        found.append(("mask is drawn, but too dark to count", f"brightest value {high}"))
    elif between:
        found.append(("mask with values between black and white", record.values))
    named_empty = record.pair.source.lower() == "noncrack"
    if named_empty and record.crack_pixels:
        found.append(("named noncrack, but its mask has cracks", f"{record.crack_pixels} pixels"))
    if high <= 32 and not record.crack_pixels and not named_empty:
        found.append(("mask is black", record.values))
    if thorough:
        colours = read_photo(path)
        if (colours.amax(0) - colours.amin(0)).max() > 32:
            found.append(("mask has colours", record.values))
        if is_frayed(crack):
            found.append(("mask is frayed: JPEG noise became crack", record.values))
        elif record.crack_pixels:
            record.width = record.crack_pixels / int(thin(crack).sum())


def is_frayed(crack: Tensor) -> bool:
    """Whether JPEG noise around the cracks was taken for crack when the mask was made.

    Crack pixels with at most one crack neighbour above 2 % of the crack's area, and background
    pixels with five or more above 5 %. In the 11k set so are all of Rissbilder, Volker and
    Eugen_Muller (from 2.7 and 5.5 %); no clean mask of 980 is, thin lines among them, and none of
    400 of pavement.py (with at least 2 % of the former, at most 4.6 % of the latter).
    """
    area = crack.sum()
    around = (F.avg_pool2d(crack[None, None].float(), 3, stride=1, padding=1) * 9).round()[0, 0]
    specks, holes = (crack & (around <= 2)).sum(), (~crack & (around >= 5)).sum()
    return bool((specks > 0.02 * area) & (holes > 0.05 * area))


def in_threads(function: Callable[[Pair], Any], pairs: Sequence[Pair], title: str) -> list[Any]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(tqdm(pool.map(function, pairs), title, len(pairs), unit="pair", leave=False))


@dataclass
class Finding:
    kind: str
    files: list[tuple[Path, str]]  # each with a detail

    @property
    def severity(self) -> str:
        return KINDS[self.kind][0]

    def line(self) -> str:
        path, detail = self.files[0]
        return one_line(f"{self.severity}: {self.kind}: {len(self.files)}, as {path}"
                        f"{f' ({detail})' if detail else ''}; {KINDS[self.kind][1]}")

    def as_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "severity": self.severity, "count": len(self.files),
                "advice": KINDS[self.kind][1],
                "files": [{"file": str(path), "detail": detail} for path, detail in self.files]}


def audit(parts: dict[str, Part], thorough: bool = True) -> tuple[list[Record], list[Finding]]:
    """Examine a data set ("train" and perhaps "test"); findings in the order of KINDS."""
    pairs = [pair for part in parts.values() for pair in part.pairs]
    records = in_threads(lambda pair: examine(pair, thorough), pairs, "examining")
    files: dict[str, list[tuple[Path, str]]] = defaultdict(list)
    for part in parts.values():
        files["photo without mask"] += [(path, "") for path in part.without_mask]
        files["mask without photo"] += [(path, "") for path in part.without_image]
        files["second file of the same name"] += [(path, "") for path in part.doubled]
    for record in records:
        for kind, detail in record.findings:
            on_photo = kind.startswith("photo ")
            files[kind].append((record.pair.image if on_photo else record.pair.mask, detail))
    if records and not any(record.crack_pixels for record in records):
        files["no mask has any crack"].append((records[0].pair.mask, "the first"))
    groups = [group_of(record.pair.image.stem) for record in records]
    hashed = [i for i, record in enumerate(records) if record.hash is not None]
    twins = [(hashed[i], hashed[j])
             for i, j in near_duplicates([records[i].hash for i in hashed])] if hashed else []
    for i, j in twins:
        if groups[i] != groups[j]:
            files["same photo under names of two photos"].append(
                (records[i].pair.image, f"and {records[j].pair.image}"))
    border = len(parts["train"].pairs)  # records of train/ come first
    partners = {j: i for i, j in reversed(twins) if i < border <= j}
    partners |= related([record.pair.image for record in records], border)
    files["photos shared by train and test"] = [
        (records[j].pair.image, f"and {records[i].pair.image}")
        for j, i in sorted(partners.items())]
    return records, [Finding(kind, files[kind]) for kind in KINDS if files[kind]]


def related(photos: Sequence[Path], border: int) -> dict[int, int]:
    """For photos from index `border` on, one before it that shows the same photograph by name."""
    earlier: dict[str, dict[str, int]] = defaultdict(dict)  # photograph -> names of its crops
    for i, photo in enumerate(photos[:border]):
        earlier[group_of(photo.stem)].setdefault(photo.stem, i)
    found = {}
    for j, photo in enumerate(photos[border:], start=border):
        group = group_of(photo.stem)
        crops = earlier.get(group, {})
        # Cameras count from 1 again: the mere name IMG_0001, on both sides, proves nothing.
        if crops and (UNIQUE.match(group) or crops.keys() | {photo.stem} != {group}):
            found[j] = next(iter(crops.values()))
    return found


def summarise(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """Numbers of each source, ready for JSON."""
    sources: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        sources[record.pair.source].append(record)
    summary = {}
    for source, some in sorted(sources.items()):
        sizes = Counter(f"{record.size[1]}x{record.size[0]}" for record in some if record.size)
        pixels = sum(record.size[0] * record.size[1] for record in some if record.size)
        cracks = sum(record.crack_pixels for record in some)
        widths = [record.width for record in some if record.width]
        summary[source] = {
            "pairs": len(some),
            "photographs": len({group_of(record.pair.image.stem) for record in some}),
            "sizes": dict(sizes.most_common()),
            "masks": dict(Counter(record.values for record in some).most_common()),
            "without_cracks": sum(not record.crack_pixels for record in some),
            "crack_share": cracks / pixels if pixels else None,
            "median_crack_width": statistics.median(widths) if widths else None,
            "crack_area_if_read_above_0":
                sum(record.drawn_pixels for record in some) / cracks if cracks else None}
    return summary


def screen(parts: dict[str, Part], records: Sequence[Record], findings: Sequence[Finding]) -> str:
    """The report as text for a terminal."""
    head = ("source", "pairs", "photographs", "no cracks", "crack %", "width px", "> 0 gives",
            "commonest size", "commonest mask")
    rows = [head]
    for source, numbers in summarise(records).items():
        rows.append((one_line(source),
                     *(str(numbers[key]) for key in ("pairs", "photographs", "without_cracks")),
                     *("-" if value is None else form.format(value) for value, form in (
                         (numbers["crack_share"] and 100 * numbers["crack_share"], "{:.2f}"),
                         (numbers["median_crack_width"], "{:.1f}"),
                         (numbers["crack_area_if_read_above_0"], "x {:.2f}"))),
                     *(_commonest(numbers[key]) for key in ("sizes", "masks"))))
    counts = ", ".join(f"{len(part.pairs)} pairs in {name}" for name, part in parts.items())
    lines = [align(rows), "", counts, *(finding.line() for finding in findings)]
    errors = sum(finding.severity == "error" for finding in findings)
    lines.append(f"kinds of error: {errors}; training would be spoiled" if errors
                 else "nothing here would spoil training")
    return "\n".join(lines)


def _commonest(counts: dict[str, int]) -> str:
    if not counts:
        return "-"
    return next(iter(counts)) + (f" +{len(counts) - 1}" if len(counts) > 1 else "")

"""What is wrong with a data set that would spoil a training, or the meaning of its scores?"""

import math
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor
from torch.nn import functional as F

from unet_resnet.audit.groups import BLANK, group_of, near_duplicates, perceptual_hash, related
from unet_resnet.data import Pair, Part, in_threads
from unet_resnet.files import fingerprint, one_line
from unet_resnet.images import (
    MASK_THRESHOLD, has_pages, is_zero_one, opened, read_grey, read_photo, remark, to_rgb, upright,
    upright_size)

PAGES = "only the first of its pages or frames is read"
# Severity and advice. An error spoils training, a warning spoils what the scores mean.
KINDS = {
    "photo cannot be read": ("error", "save it again, or move it away with its mask"),
    "mask cannot be read": ("error", "save it again, or move it away with its photo"),
    "photo without mask": ("error", "add a mask (all black if there is no crack), or move it away"),
    "mask without photo": ("error", "add its photo, or move it away"),
    "second file of the same name": ("error", "keep one of them"),
    "photo and mask differ in size": ("error", "export the mask at the photo's size"),
    "mask is more than half white": ("error", "invert it: cracks must be white, the rest black"),
    "mask is drawn, but too dark to count": (
        "error", f"draw cracks in white (255): only grey values above {MASK_THRESHOLD} count"),
    "no mask has any crack": ("error", "check that the masks belong to these photos"),
    "photos shared by train and test": (
        "warning", "scores on test/ will be too good: train with --split groups"),
    "named noncrack, but its mask has cracks": ("warning", "correct the mask or the name"),
    "mask is frayed: JPEG noise became crack": (
        "warning", "its specks spoil widths and scores; draw it anew, or smooth it"),
    "mask has colours": ("warning", "it is read by its grey value; save it as black and white"),
    "photo of several pages": ("note", PAGES),
    "mask of several pages": ("note", PAGES),
    "same photo under names of two photos": ("note", "a drawn split keeps them on one side"),
    "mask of 0 and 1 instead of 0 and 255": ("note", "read as such"),
    "mask with values between black and white": (
        "note", f"read correctly, with > {MASK_THRESHOLD}; other programs may read > 0"),
    "mask is black": ("note", "correct if the photo shows no crack"),
}


@dataclass
class Record:
    """What the examination of one pair found."""

    pair: Pair
    size: tuple[int, int] | None = None  # height and width in pixels
    values: str = ""  # the mask's format and grey values
    crack_pixels: int = 0
    drawn_pixels: int = 0  # what "> 0" would take for crack
    width: float | None = None  # of the cracks, in pixels
    hash: Tensor = BLANK  # `perceptual_hash` of the photo
    findings: list[tuple[str, str]] = field(default_factory=list)  # kind, detail


@dataclass
class Finding:
    kind: str
    files: list[tuple[Path, str]]  # each with a detail

    @property
    def severity(self) -> str:
        return KINDS[self.kind][0]

    def line(self) -> str:
        path, detail = self.files[0]
        return one_line(f"{self.severity}: {self.kind}: {len(self.files)}, e.g. {path}"
                        f"{f' ({detail})' if detail else ''}; {KINDS[self.kind][1]}")

    def as_dict(self) -> dict[str, object]:
        return {"kind": self.kind, "severity": self.severity, "count": len(self.files),
                "advice": KINDS[self.kind][1],
                "files": [{"file": str(path), "detail": detail} for path, detail in self.files]}


def audit(parts: dict[str, Part], thorough: bool = True, copies: bool = True
          ) -> tuple[list[Record], list[Finding], list[tuple[int, int]]]:
    """Examine a data set: "train" and perhaps "test".

    thorough: also measure cracks and look for frayed and coloured masks. copies: decode each photo
    and compare it with all others; without, only its header is read.

    Returns a record of each pair, the findings in the order of KINDS, and the pairs of indices of
    records that are copies of one photo.
    """
    pairs = [pair for part in parts.values() for pair in part.pairs]
    records = in_threads(lambda pair: examine(pair, thorough, copies), pairs, "examining")
    twins = near_duplicates([record.hash for record in records]) if copies else []
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
    photos = [pair.image for pair in pairs]
    files["same photo under names of two photos"] = [
        (photos[i], f"and {photos[j]}") for i, j in twins
        if group_of(photos[i].stem) != group_of(photos[j].stem)]
    border = len(parts["train"].pairs)  # records of train/ come first
    partners = {j: i for i, j in reversed(twins) if i < border <= j} | related(photos, border)
    files["photos shared by train and test"] = [
        (photos[j], f"and {photos[i]}") for j, i in sorted(partners.items())]
    return records, [Finding(kind, files[kind]) for kind in KINDS if files[kind]], twins


def examine(pair: Pair, thorough: bool = True, copies: bool = True) -> Record:
    """Read a pair once, and note all that is odd (`audit` on the flags)."""
    record, hashes = Record(pair), {}
    try:
        _examine_photo(record, decode=copies)
        hashes["image"] = fingerprint(pair.image)
    except (OSError, ValueError) as error:
        record.findings.append(("photo cannot be read", str(error)))
    try:
        _examine_mask(record, thorough)
        hashes["mask"] = fingerprint(pair.mask)
    except (OSError, ValueError) as error:
        record.findings.append(("mask cannot be read", str(error)))
    record.pair = replace(pair, fingerprints=hashes)
    return record


def _examine_photo(record: Record, decode: bool) -> None:
    with opened(record.pair.image) as image:
        if has_pages(image):
            record.findings.append(("photo of several pages", ""))
        if not decode:
            record.size = upright_size(image)
            return
        photo = to_rgb(upright(image))
    record.size = (photo.shape[1], photo.shape[2])
    record.hash = perceptual_hash(photo.float().mean(0) / 255)


def _examine_mask(record: Record, thorough: bool) -> None:
    path = record.pair.mask
    grey = read_grey(path)
    crack = grey[0] > (0 if is_zero_one(path, grey) else MASK_THRESHOLD)
    low, high = int(grey.min()), int(grey.max())
    between = bool(((grey > low) & (grey < high)).any())
    values = str(low) if low == high else f"{low} {'to' if between else 'and'} {high}"
    record.values = f"{path.suffix.lower()[1:]} {values}"
    record.drawn_pixels = int(grey.count_nonzero())
    record.crack_pixels = cracked = int(crack.sum())
    size, (height, width) = record.size or crack.shape, crack.shape
    too_dark = high > 32 and not cracked
    noncrack = record.pair.source.lower() == "noncrack"
    frayed = thorough and is_frayed(crack)
    if thorough and not frayed:
        record.width = crack_width(crack)
    record.findings += [(kind, detail) for kind, detail, found in (
        ("photo and mask differ in size", f"{size[1]}x{size[0]} and {width}x{height} pixels",
         size != (height, width)),
        ("mask is more than half white", f"{crack.float().mean():.0%} white",
         2 * cracked > crack.numel()),
        ("mask of 0 and 1 instead of 0 and 255", record.values, is_zero_one(path, grey)),
        ("mask is drawn, but too dark to count", f"brightest value {high}", too_dark),
        ("mask with values between black and white", record.values, between and not too_dark),
        ("named noncrack, but its mask has cracks", f"{cracked} pixels", noncrack and cracked),
        ("mask is black", record.values, not (cracked or too_dark or noncrack)),
        ("mask has colours", record.values, thorough and has_colours(read_photo(path))),
        ("mask is frayed: JPEG noise became crack", record.values, frayed),
        ("mask of several pages", "", remark(path))) if found]


def has_colours(picture: Tensor) -> bool:
    """Whether the channels of a picture (3, h, w) uint8 differ by more than JPEG's noise."""
    return bool((picture.amax(0) - picture.amin(0)).max() > 32)


def is_frayed(crack: Tensor) -> bool:
    """Whether a threshold took JPEG noise around the cracks for crack; crack: (h, w) bool.

    The signs are crack pixels with at most one crack neighbour, above 2 % of the crack's area, and
    background pixels with five or more, above 5 %. All masks of Rissbilder, Volker and Eugen_Muller
    in the 11k set have both (from 2.7 and 5.5 %), none of 980 clean masks has.
    """
    area = crack.sum()
    around = (F.avg_pool2d(crack[None, None].float(), 3, stride=1, padding=1) * 9).round()[0, 0]
    specks, holes = (crack & (around <= 2)).sum(), (~crack & (around >= 5)).sum()
    return bool((specks > 0.02 * area) & (holes > 0.05 * area))


def crack_width(crack: Tensor) -> float | None:
    """The approximate mean width of the cracks in pixels: their area over half their outline.

    crack: (h, w) bool. None if there is no outline. Its length follows from the crossings along
    rows, columns and diagonals (Crofton's formula), within 6 % in any direction.
    """
    straight = (crack[1:] != crack[:-1]).sum() + (crack[:, 1:] != crack[:, :-1]).sum()
    slanted = (crack[1:, 1:] != crack[:-1, :-1]).sum() + (crack[1:, :-1] != crack[:-1, 1:]).sum()
    outline = math.pi / 8 * (straight + slanted / math.sqrt(2))
    return float(2 * crack.sum() / outline) if outline else None

"""What is wrong with a data set that would spoil a training, or the meaning of its scores?"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path

from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from unet_resnet.audit.folders import Part
from unet_resnet.audit.groups import BLANK, group_of, near_duplicates, perceptual_hash, related
from unet_resnet.audit.mask_rules import (
    FAULTS, MaskValues, UnclearMasks, fault_of, may_be_unturned, rule_of, survey)
from unet_resnet.data import Pair, in_threads
from unet_resnet.files import fingerprint, one_line
from unet_resnet.images import (
    QUARTER_TURNS, has_pages, is_deep, opened, to_rgb, turn_of, upright_size)
from unet_resnet.masks import UNTURNED, misfit

AMBIGUOUS, SPECIAL = "masks are not understood", "masks are not 0 and 255"
UNSURE = "photo is turned by EXIF, its mask is not"
PAGES = "only the first of its pages or frames is read"
# Severity and advice. An error spoils training, a warning spoils what the scores mean.
KINDS = {
    "photo cannot be read": ("error", "save it again, or move it away with its mask"),
    "mask cannot be read": ("error", "save it again, or move it away with its photo"),
    "photo without mask": ("error", "add a mask (all black if there is no crack), or move it away"),
    "mask without photo": ("error", "add its photo, or move it away"),
    "second file of the same name": ("error", "keep one of them"),
    "photo and mask differ in size": ("error", ""),
    AMBIGUOUS: ("error", ""),
} | {kind: ("error", advice) for kind, advice in FAULTS.items()} | {
    "no mask has any crack": ("error", "check that the masks belong to these photos"),
    "photos shared by train, val or test": (
        "warning", "scores will be too good: train with --split groups"),
    "named noncrack, but its mask has cracks": ("warning", "correct the mask or the name"),
    "mask is frayed: JPEG noise became crack": (
        "warning", "its specks spoil widths and scores; draw it anew, or smooth it"),
    UNSURE: ("warning", UNTURNED),
    "photo of several pages": ("note", PAGES),
    "mask of several pages": ("note", PAGES),
    "same photo under names of two photos": ("note", "a drawn split keeps them on one side"),
    SPECIAL: ("note", ""),
    "mask with values between black and white": (
        "note", "read correctly, from half white; other programs may read > 0"),
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
    turn: Image.Transpose | None = None  # by which EXIF turns the photo
    mask: MaskValues | None = None
    unclear: bool = False  # what the masks of its folder mean
    findings: list[tuple[str, str]] = field(default_factory=list)  # kind, detail


@dataclass
class Finding:
    kind: str
    severity: str
    advice: str  # of the kind; where it has none, each file's detail is one
    files: list[tuple[Path, str]]  # each with a detail

    def line(self) -> str:
        path, found = self.files[0]
        if self.advice:
            found = f"{path}{f' ({found})' if found else ''}; {self.advice}"
        count = f"{len(self.files)}, e.g. " if self.advice or len(self.files) > 1 else ""
        return one_line(f"{self.severity}: {self.kind}: {count}{found}")


def audit(parts: dict[str, Part], thorough: bool = True, copies: bool = True,
          unturned: bool = False) -> tuple[list[Record], list[Finding], list[tuple[int, int]]]:
    """Examine a data set: "train" and perhaps "validation" and "test".

    thorough: also measure cracks and look for frayed masks. copies: decode each photo and compare
    it with all others; without, only headers are read, except of photos of more than 8 bits.
    unturned: masks are drawn on the photos as stored, before EXIF turns them.

    Returns a record of each pair, the findings in the order of KINDS, and the pairs of indices of
    records that are copies of one photo.
    """
    pairs = [pair for part in parts.values() for pair in part.pairs]
    records = in_threads(lambda pair: examine(pair, copies), pairs, "examining")
    twins = near_duplicates([record.hash for record in records]) if copies else []
    files: dict[str, list[tuple[Path, str]]] = defaultdict(list)
    judge_masks(records, unturned, files)
    for record in records:
        judge_mask(record)
    if thorough:
        in_threads(measure_crack, records, "measuring")
    for part in parts.values():
        files["photo without mask"] += [(path, "") for path in part.without_mask]
        files["mask without photo"] += [(path, "") for path in part.without_image]
        files["second file of the same name"] += [(path, "") for path in part.doubled]
    for record in records:
        for kind, detail in record.findings:
            on_photo = kind.startswith("photo ")
            files[kind].append((record.pair.image if on_photo else record.pair.mask, detail))
    if records and not (files[AMBIGUOUS] or any(record.crack_pixels for record in records)):
        files["no mask has any crack"].append((records[0].pair.mask, "the first"))
    photos = [pair.image for pair in pairs]
    files["same photo under names of two photos"] = [
        (photos[i], f"and {photos[j]}") for i, j in twins
        if group_of(photos[i].stem) != group_of(photos[j].stem)]
    partners: dict[int, int] = {}
    for border in accumulate(len(part.pairs) for part in parts.values()):
        partners |= {j: i for i, j in reversed(twins) if i < border <= j} | related(photos, border)
    files["photos shared by train, val or test"] = [
        (photos[j], f"and {photos[i]}") for j, i in sorted(partners.items())]
    found = [Finding(kind, *KINDS[kind], files[kind]) for kind in KINDS if files[kind]]
    return records, found, twins


def examine(pair: Pair, copies: bool = True) -> Record:
    """Read a pair once (`audit` on copies)."""
    record, hashes = Record(pair), {}
    try:
        _examine_photo(record, decode=copies)
        hashes["image"] = fingerprint(pair.image)
    except (OSError, ValueError) as error:
        record.findings.append(("photo cannot be read", str(error)))
    try:
        record.mask = survey(pair.mask)
        hashes["mask"] = fingerprint(pair.mask)
    except (OSError, ValueError) as error:
        record.findings.append(("mask cannot be read", str(error)))
    record.pair = replace(pair, fingerprints=hashes)
    return record


def _examine_photo(record: Record, decode: bool) -> None:
    with opened(record.pair.image) as image:
        record.turn = turn_of(image)
        if has_pages(image):
            record.findings.append(("photo of several pages", ""))
        if not decode and not is_deep(image):
            record.size = upright_size(image)
            return
        photo = to_rgb(image)
    record.size = (photo.shape[1], photo.shape[2])
    if decode:
        record.hash = perceptual_hash(photo.float().mean(0) / 255)


def judge_masks(records: Sequence[Record], unturned: bool,
                files: dict[str, list[tuple[Path, str]]]) -> None:
    """Decide how the masks of each folder, with its sub-folders, are read; add what is odd to
    `files`."""
    folders = defaultdict(list)
    for record in records:
        if record.mask:
            depth = len(Path(record.pair.folder).parts)
            folders[record.pair.mask.parents[depth]].append(record)
    for folder, inside in folders.items():
        try:
            rule, note = rule_of([record.mask for record in inside])
        except UnclearMasks as error:
            files[AMBIGUOUS] += [(path, str(error)) for path in error.paths]
            for record in inside:
                record.unclear = True
                if record.pair.mask in error.paths:
                    record.mask = None
            continue
        if note:
            files[SPECIAL].append((folder, f"{folder}: {note}"))
        for record in inside:
            record.pair = replace(record.pair, rule=replace(rule, unturned=unturned))


def judge_mask(record: Record) -> None:
    """Note what is odd about a mask, now that it is known how it is read."""
    mask, path, rule = record.mask, record.pair.mask, record.pair.rule
    if not mask:
        return
    pixels = mask.counting(rule)
    present = pixels.nonzero()[0]
    low, high, between = present[0], present[-1], len(present) > 2
    values = str(low) if low == high else f"{low} {'to' if between else 'and'} {high}"
    record.values = f"{path.suffix.lower()[1:]} {values}"
    record.drawn_pixels = int(pixels[1:].sum())
    record.crack_pixels = cracked = mask.crack_pixels(rule)
    noncrack, fault = record.pair.source.lower() == "noncrack", fault_of(mask, rule)
    clear = not fault and not record.unclear
    turned = rule.unturned and not mask.turned and record.turn in QUARTER_TURNS
    size = mask.size[::-1] if turned else mask.size
    unsure = not rule.unturned and record.size and may_be_unturned(mask, record.size, record.turn)
    fits = size == (record.size or size)
    record.findings += [(kind, detail) for kind, detail, found in (
        ("photo and mask differ in size", "" if fits else f"{path}: " + misfit(
            size, record.size, record.turn), not fits),
        (fault, f"{cracked / pixels.sum():.0%} crack, highest value {high}", fault),
        (UNSURE, "", unsure),
        ("mask with values between black and white", record.values, between and not fault),
        ("named noncrack, but its mask has cracks", f"{cracked} pixels",
         noncrack and cracked and clear),
        ("mask is black", record.values, clear and not (cracked or noncrack)),
        ("mask of several pages", "", mask.pages)) if found]


def measure_crack(record: Record) -> None:
    """The crack's width, unless it is frayed."""
    if record.mask:
        crack = record.pair.rule.read(record.pair.mask, record.pair.image)[0].bool()
        if is_frayed(crack):
            record.findings.append(("mask is frayed: JPEG noise became crack", record.values))
        else:
            record.width = crack_width(crack)


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

"""What is wrong with a data set that would spoil a training, or the meaning of its scores?"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path

from PIL import Image
from torch import Tensor

from unet_resnet.audit.folders import Part
from unet_resnet.audit.groups import (
    BLANK, SUFFIX, near_duplicates, perceptual_hash, same_photograph)
from unet_resnet.audit.mask_rules import FAULTS, MaskValues, fault_of, infer_rule, read_values
from unet_resnet.data import Pair, map_in_threads
from unet_resnet.files import fingerprint, one_line
from unet_resnet.images import (
    QUARTER_TURNS, UNTURNED, exif_turn, open_image, size_mismatch, to_rgb, upright_size)

AMBIGUOUS, SPECIAL = "masks are ambiguous", "masks are not 0 and 255"
SHARED, BLACK = "photos shared by train, val or test", "mask is black"
FRAMES = "frames of a video"
FRAME, MANY = re.compile(r"(?:^|[_-])frames?[_-]?\d+$", re.IGNORECASE), 10  # a name; how many
UNSURE = "photo is turned by EXIF, its mask is not"
FRAYED = "mask is frayed: JPEG noise became crack"
# Severity and advice. An error spoils training, a warning spoils what the scores mean.
KINDS = {
    "photo cannot be read": ("error", "save it again, or move it away with its mask"),
    "mask cannot be read": ("error", "save it again, or move it away with its photo"),
    "photo without mask": ("error", "add a mask (all black if there is no crack), or move it away"),
    "mask without photo": ("error", "add its photo, or move it away"),
    "photo and mask differ in size": ("error", ""),
    AMBIGUOUS: ("error", ""),
    **{kind: ("error", advice) for kind, advice in FAULTS.items()},
    "no mask has any crack": ("error", "check that the masks belong to these photos"),
    SHARED: ("warning", "scores will be too good: train with --split groups"),
    FRAMES: ("warning", "if they overlap, a random split makes scores too good: pass --split, with "
             "whole recordings on one side"),
    FRAYED: ("warning", "its specks spoil widths and scores; draw it anew, or smooth it"),
    UNSURE: ("warning", UNTURNED),
    SPECIAL: ("note", ""),
    BLACK: ("note", "correct if the photo shows no crack"),
}

Files = dict[str, list[tuple[Path, str]]]  # of each kind, each with a detail


@dataclass
class Record:
    """What the examination of one pair found."""

    pair: Pair
    size: tuple[int, int] | None = None  # height and width in pixels
    turn: Image.Transpose | None = None  # by which EXIF turns the photo
    hash: Tensor = BLANK  # `perceptual_hash` of the photo
    mask: MaskValues | None = None
    crack_pixels: int = 0
    findings: list[tuple[str, str]] = field(default_factory=list)  # kind, detail


@dataclass
class Finding:
    kind: str
    severity: str
    advice: str  # what to do; "" if the detail of each file says it
    files: list[tuple[Path, str]]  # each with a detail

    def line(self) -> str:
        path, found = self.files[0]
        if self.advice:
            found = f"{path}{f' ({found})' if found else ''}; {self.advice}"
        count = f"{len(self.files)}, e.g. " if self.advice or len(self.files) > 1 else ""
        return one_line(f"{self.severity}: {self.kind}: {count}{found}")


def audit(parts: Mapping[str, Part], unturned: bool = False
          ) -> tuple[list[Record], list[Finding], list[tuple[int, int]]]:
    """A record of each pair, the findings, and the indices of records that are copies of one photo.

    unturned: masks are drawn on the photos as stored, before EXIF turns them.
    """
    pairs = [pair for part in parts.values() for pair in part.pairs]
    records = map_in_threads(examine, pairs, "examining")
    twins = near_duplicates([record.hash for record in records])
    files = judge(records, unturned)
    for part in parts.values():
        files["photo without mask"] += [(path, "") for path in part.without_mask]
        files["mask without photo"] += [(path, "") for path in part.without_image]
    all_read = all(record.mask for record in records) and not files[AMBIGUOUS]
    if records and all_read and not any(record.crack_pixels for record in records):
        files["no mask has any crack"].append((records[0].pair.mask, "the first"))
    photos = [pair.image for pair in pairs]
    partners: dict[int, int] = {}
    for border in accumulate(len(part.pairs) for part in parts.values()):
        partners |= {j: i for i, j in reversed(twins) if i < border <= j}
        partners |= same_photograph(photos, border)
    frames = [photo for photo in photos if FRAME.search(SUFFIX.sub("", photo.stem))]
    if len(parts) == 1 and len(frames) >= MANY:
        files[FRAMES] = [(photo, "") for photo in frames]
    files[SHARED] = [(photos[j], f"and {photos[i]}") for j, i in sorted(partners.items())]
    return records, findings_in(files), twins


def findings_in(files: Files) -> list[Finding]:
    return [Finding(kind, *KINDS[kind], files[kind]) for kind in KINDS if files[kind]]


def examine(pair: Pair, decode: bool = True) -> Record:
    """What is in a pair; without `decode`, only the header of the photo is read."""
    record, hashes = Record(pair), {}
    try:
        with open_image(pair.image) as image:
            record.turn = exif_turn(image)
            if decode:
                record.hash = perceptual_hash(to_rgb(image).float().mean(0) / 255)
            record.size = upright_size(image)
        hashes["image"] = fingerprint(pair.image)
    except (OSError, ValueError) as error:
        record.findings.append(("photo cannot be read", str(error)))
    try:
        record.mask = read_values(pair.mask)
        hashes["mask"] = fingerprint(pair.mask)
    except (OSError, ValueError) as error:
        record.findings.append(("mask cannot be read", str(error)))
    record.pair = replace(pair, fingerprints=hashes)
    return record


def judge(records: Sequence[Record], unturned: bool) -> Files:
    """Decide how the masks of each folder, with its subfolders, are read; returns the findings on
    photos and masks."""
    files, folders = defaultdict(list), defaultdict(list)
    for record in records:
        if record.mask:
            depth = len(Path(record.pair.folder).parts)
            folders[record.pair.mask.parents[depth]].append((record, record.mask))
    for folder, inside in folders.items():
        rule, note, unclear = infer_rule([mask for _, mask in inside])
        if unclear:
            files[AMBIGUOUS] += [(path, f"{unclear[0]}: {note}") for path in unclear]
        elif note:
            files[SPECIAL].append((folder, f"{folder}: {note}"))
        for record, mask in inside:
            record.pair = replace(record.pair, rule=replace(rule, unturned=unturned))
            if mask.path not in unclear:
                judge_mask(record, mask)
    for record in records:
        for kind, detail in record.findings:
            on_photo = kind.startswith("photo ")
            files[kind].append((record.pair.image if on_photo else record.pair.mask, detail))
    return files


def judge_mask(record: Record, mask: MaskValues) -> None:
    """Note findings on a mask, now that its rule is known."""
    rule, photo = record.pair.rule, record.size
    record.crack_pixels = mask.crack_pixels(rule)
    quarter = record.turn in QUARTER_TURNS
    size = mask.size[::-1] if quarter and rule.unturned and not mask.turned else mask.size
    if fault := fault_of(mask, rule):
        share = record.crack_pixels / mask.values.sum()
        record.findings.append((fault, f"{share:.0%} of it is white"))
    elif mask.frayed:
        record.findings.append((FRAYED, ""))
    elif not (record.crack_pixels or mask.labels):
        record.findings.append((BLACK, ""))
    if photo and size != photo:
        record.findings.append(("photo and mask differ in size", f"{record.pair.mask}: "
                                + size_mismatch(size, photo)))
    elif record.turn is not None and not (rule.unturned or mask.turned) and (
            photo and photo[0] == photo[1] or not quarter):  # the size does not tell
        record.findings.append((UNSURE, ""))

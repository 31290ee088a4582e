"""Which photos can be scored, which true masks are theirs, and how are these read?"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from unet_resnet.audit.findings import AMBIGUOUS, FAULTS, SPECIAL, UNSURE, audit
from unet_resnet.audit.folders import (
    Part, by_name, holds_both, match, name_below, photo_named_by, pictures_below)
from unet_resnet.audit.groups import related
from unet_resnet.checkpoint import Split
from unet_resnet.data import Pair
from unet_resnet.files import fingerprint, one_line
from unet_resnet.images import passed_over

Side = dict[str, str | None]  # of a Split: file name -> fingerprint


def pairs_to_score(folder: Path, photos: Sequence[Path], root: Path, split: Split,
                   unturned: bool = False) -> tuple[list[Path], dict[Path, Pair]]:
    """The photos that are neither in the folder of masks nor trained on by that split, and the
    pairs of those that have a mask there; prints what is left out, and how the masks are read.

    root: the photos' names are compared with their folders below it if the masks lie in
    sub-folders. unturned: masks are drawn on the photos as stored, before EXIF turns them. Of a
    `folder` that holds photos and their NAME_mask, both are found. Raises FileNotFoundError, or
    ValueError where no mask fits, one fits two photos, or the masks are not understood.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder}: no such folder")
    photos = beside(folder, photos)
    if not photos:
        raise ValueError(f"{folder}: no photos except those in this folder; wanted photos and "
                         "their masks in two folders")
    pairs = {pair.image: pair for pair in find_masks(folder, photos, root)}
    photos = unseen(photos, split)
    kept = understood([pairs[photo] for photo in photos if photo in pairs], unturned)
    return photos, {pair.image: pair for pair in kept}


def beside(folder: Path, photos: Sequence[Path]) -> list[Path]:
    """The photos that are not in the folder of their masks; or those in it, if it holds both."""
    inside = os.path.join(os.path.realpath(folder), "")
    outside = [photo for photo in photos if not os.path.realpath(photo).startswith(inside)]
    if outside or not holds_both(folder):
        return outside
    names = {photo.with_suffix("") for photo in photos}
    return [photo for photo in photos if (name := photo_named_by(photo.stem)) == photo.stem
            or photo.with_name(name) not in names]


def find_masks(folder: Path, photos: Sequence[Path], root: Path) -> list[Pair]:
    """The photos and their masks; prints how many photos and masks have no partner."""
    given = {os.path.realpath(photo) for photo in photos}
    pictures, others = pictures_below(folder)
    if unread := passed_over(others):
        print(one_line(f"{folder}: {unread}"))
    masks, second = by_name(folder, [path for path in pictures
                                     if os.path.realpath(path) not in given])
    if second:
        raise ValueError(f"{second[0]}: a second mask of that name; keep one of them")
    nested = any("/" in name for name in masks)
    names = [name_below(root if nested else photo.parent, photo) for photo in photos]
    photo_of = dict(zip(reversed(names), reversed(photos)))  # the first of each name
    part = Part()
    paired = match(part, photo_of, masks)
    for name, photo in zip(names, photos):
        if photo_of[name] is not photo and photo_of[name] in paired:
            raise ValueError(f"{photo}: a second photo of that name, and one mask; score the "
                             "folders one by one")
    if not part.pairs:
        found = f"only {min(masks)} and so on" if masks else "no picture"
        raise ValueError(f"{folder}: {found}; wanted masks with the photos' names, such as "
                         f"{min(names)}.png")
    for what, number in (
            ("photos without a mask, not scored", len(photo_of) - len(part.pairs)),
            ("masks that belong to none of these photos", len(part.without_image))):
        if number:
            print(f"{what}: {number}")
    return part.pairs


def understood(pairs: Sequence[Pair], unturned: bool = False) -> list[Pair]:
    """The pairs with the rule by which their masks are read; prints what is odd about it.

    Files that cannot be read stay: reading them says why. Raises ValueError, naming a mask, if the
    masks are not understood, inverted or too dark.
    """
    records, findings, _ = audit({"": Part([*pairs])}, thorough=False, copies=False,
                                 unturned=unturned)
    for finding in findings:
        if finding.kind in (AMBIGUOUS, *FAULTS):
            raise ValueError(finding.line())
        if finding.kind in (SPECIAL, UNSURE):
            print(finding.line())
    return [record.pair for record in records]


def learned_from(split: Split) -> Side:
    """The photos that a network was trained on, in the run of that split and before."""
    return split["train"] | split.get("before", {})


def recognised(photos: Sequence[Path], learned: Side,
               mark: Callable[[Path], str | None]) -> list[bool]:
    """Which photos are among those trained on, or other crops of them.

    A crop is recognised by a name that gives its photograph, a copy by its fingerprint. `mark`
    returns that of a photo, and is called only if the name is not enough.
    """
    names, marks = [Path(name) for name in learned], set(learned.values())
    crops = related([*names, *photos], border=len(names))
    return [i in crops or mark(photo) in marks for i, photo in enumerate(photos, len(names))]


def unseen(photos: Sequence[Path], split: Split) -> list[Path]:
    """The photos on which a network trained by that split can be scored; prints how many are not.

    Raises ValueError if none is left.
    """
    known = recognised(photos, learned_from(split), fingerprint)
    kept = [photo for photo, trained in zip(photos, known) if not trained]
    if len(kept) < len(photos):
        print(f"{len(photos) - len(kept)} of {len(photos)} photos left out: they or other crops of "
              "them were trained on, so a score on them would mean nothing")
    if not kept:
        raise ValueError("no photo is left to score")
    return kept


def known_photos(split: Split) -> int:
    """How many validation photos the weights that a run started from were trained on."""
    held_out = {Path(name): mark for name, mark in split["validation"].items()}
    return sum(recognised(list(held_out), split.get("before", {}), held_out.get))

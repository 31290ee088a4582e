"""Which photos can be scored, which true masks are theirs, and how are these read?"""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from unet_resnet.audit.findings import (
    AMBIGUOUS, FAULTS, SPECIAL, UNSURE, examine, findings_in, judge)
from unet_resnet.audit.folders import (
    Part, masks_among, match, name_below, pictures_below, predicted_among)
from unet_resnet.audit.groups import same_photograph
from unet_resnet.checkpoint import Split
from unet_resnet.data import Pair, map_in_threads
from unet_resnet.files import fingerprint, one_line
from unet_resnet.images import unread_note

Side = dict[str, str | None]  # of a Split: file name -> fingerprint


def pairs_to_score(folder: Path, photos: Sequence[Path], root: Path, split: Split,
                   unturned: bool = False) -> tuple[list[Path], dict[Path, Pair]]:
    """The photos to predict, and those of them with a mask in the folder, as pairs to score.

    Left out are photos in the folder of masks and those that the network was trained on by that
    split; prints how many, and how the masks are read. root: if the masks lie in subfolders, the
    photos' names are compared with their folders below it. Raises OSError, or ValueError if no
    photo is left to score, a mask fits two photos, or the masks are ambiguous.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}: no such folder; expected the folder of the true masks")
    photos = outside_of(folder, photos)
    pairs = {pair.image: pair for pair in find_masks(folder, photos, root)}
    photos = exclude_trained(photos, split)
    kept = [pairs[photo] for photo in photos if photo in pairs]
    if not kept:
        raise ValueError("no photo with a mask is left to score")
    return photos, {pair.image: pair for pair in resolve_masks(kept, unturned)}


def outside_of(folder: Path, photos: Sequence[Path]) -> list[Path]:
    """The photos that are not in the folder of masks; if all are, those not named as masks."""
    inside = os.path.join(os.path.realpath(folder), "")
    outside = [photo for photo in photos if not os.path.realpath(photo).startswith(inside)]
    masks = masks_among({str(photo.with_suffix("")) for photo in photos})
    return outside or [photo for photo in photos if str(photo.with_suffix("")) not in masks]


def find_masks(folder: Path, photos: Sequence[Path], root: Path) -> list[Pair]:
    """The photos and their masks; prints how many photos and masks have no partner."""
    pictures, others = pictures_below(folder)
    if unread := unread_note(others):
        print(one_line(f"{folder}: {unread}"))
    given = {os.path.realpath(photo) for photo in photos}
    if ours := predicted_among(pictures.keys()):
        print(f"masks that infer.py predicted, no truth: {len(ours)}")
    masks = {name: path for name, path in pictures.items()
             if name not in ours and os.path.realpath(path) not in given}
    nested = any("/" in name for name in masks)
    by_name: dict[str, Path] = {}
    seconds: dict[Path, Path] = {}  # of photos, another with the same name
    for photo in photos:
        name = name_below(root if nested else photo.parent, photo)
        if (first := by_name.setdefault(name, photo)) is not photo:
            seconds[first] = photo
    part = Part()
    match(part, by_name, masks)
    if doubled := [seconds[pair.image] for pair in part.pairs if pair.image in seconds]:
        raise ValueError(f"{doubled[0]}: a second photo of that name; score the folders one by one")
    if not part.pairs:
        raise ValueError(f"{folder}: no mask of these photos in it; expected names such as "
                         f"{min(by_name)}.png")
    if unmasked := len(photos) - len(part.pairs):
        print(f"photos without a mask, not scored: {unmasked}")
    if part.without_image:
        print(f"masks that belong to none of these photos: {len(part.without_image)}")
    return part.pairs


def resolve_masks(pairs: Sequence[Pair], unturned: bool = False) -> list[Pair]:
    """The pairs with the rule by which their masks are read; prints notes on it.

    Files that cannot be read stay: reading them says why. Raises ValueError, naming a mask, if the
    masks are ambiguous, inverted or too dark.
    """
    records = map_in_threads(partial(examine, decode=False), pairs, "examining masks")
    for finding in findings_in(judge(records, unturned)):
        if finding.kind in (AMBIGUOUS, *FAULTS):
            raise ValueError(finding.line())
        if finding.kind in (SPECIAL, UNSURE):
            print(finding.line())
    return [record.pair for record in records]


def trained_on(split: Split) -> Side:
    """The photos that a network was trained on, in the run of that split and before.

    Of two photos with one name, the earlier gets its hash as a folder, so that none is forgotten.
    """
    train = split["train"]
    return train | {name if train.get(name, hash) == hash else f"{hash}/{name}": hash
                    for name, hash in split.get("before", {}).items()}


def seen_in_training(photos: Mapping[Path, str], trained: Side) -> list[Path]:
    """Which photos, with their fingerprints, are among those trained on, or other crops of them.

    A crop is recognised by a name that gives its photograph, a copy by its fingerprint.
    """
    names, hashes = [Path(name) for name in trained], set(trained.values())
    crops = same_photograph([*names, *photos], border=len(names))
    return [photo for i, photo in enumerate(photos, len(names))
            if i in crops or photos[photo] in hashes]


def exclude_trained(photos: Sequence[Path], split: Split) -> list[Path]:
    """The photos on which a network trained by that split can be scored; prints how many are not.

    Raises ValueError if none is left.
    """
    seen = {*seen_in_training({photo: fingerprint(photo) for photo in photos}, trained_on(split))}
    kept = [photo for photo in photos if photo not in seen]
    if seen:
        print(f"{len(photos) - len(kept)} of {len(photos)} photos left out: they or other crops of "
              "them were trained on, so a score on them would mean nothing")
    if not kept:
        raise ValueError("no photo is left to score")
    return kept

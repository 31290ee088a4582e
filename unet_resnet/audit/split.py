"""Who trains, who validates, and which photos has a network already learned from?"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from unet_resnet.audit.findings import audit, hash_photo, in_threads, related
from unet_resnet.audit.groups import group_of, join, near_duplicates, split_groups
from unet_resnet.data import Pair, find
from unet_resnet.files import fingerprint
from unet_resnet.images import SUFFIXES

VALIDATION_SHARE = 0.15

Side = dict[str, str | None]  # file name -> fingerprint
Split = dict[str, Side]  # "train", "validation"


def load_pairs(paths: Sequence[Path], seed: int = 0, split: Split | str | None = None,
               strict: bool = False) -> tuple[list[Pair], list[Pair], list[str]]:
    """The pairs to train on, those to validate on, and what there is to say about them.

    `paths`: data sets, or the two folders of one (`data.layout`).

    By `split` where one is given; else validation is the part test/ where a data set has one;
    else, and with "groups", about 15 % of the photographs of each source, drawn by `seed`, so that
    all crops and copies of a photograph fall on one side. With `strict` a split must name every
    photo; without, the others are left out.

    Raises ValueError or FileNotFoundError, naming the file, for a data set that would spoil
    training.
    """
    parts = find(paths)
    records, findings = audit(parts, thorough=False)
    errors = [finding.line() for finding in findings if finding.severity == "error"]
    if errors:
        more = f" (other errors: {len(errors) - 1}; python -m unet_resnet.audit lists them)"
        raise ValueError(errors[0] + more * (len(errors) > 1))
    notes = [finding.line() for finding in findings]
    pairs = [pair for part in parts.values() for pair in part.pairs]
    if not parts["train"].pairs:
        raise ValueError(f"{paths[0]}: no pictures in it ({' '.join(SUFFIXES)})")
    if isinstance(split, dict):
        train, validation = apply_split(pairs, split, strict)
        if others := len(pairs) - len(train) - len(validation):
            notes.append(f"note: {others} photos are on neither side of the split: left out")
    elif "test" in parts and split is None:
        train, validation = parts["train"].pairs, parts["test"].pairs
    else:
        held_out = split_groups(photographs(pairs), [pair.source for pair in pairs],
                                VALIDATION_SHARE, seed)
        train = [pair for pair, held in zip(pairs, held_out) if not held]
        validation = [pair for pair, held in zip(pairs, held_out) if held]
    if not train or not validation:
        raise ValueError("the split leaves no photo to train on, or none to validate on")
    cracked = {record.pair for record in records if record.crack_pixels}
    if cracked.isdisjoint(train):
        raise ValueError(f"none of the {len(train)} photos to train on has a crack: there is "
                         "nothing to learn; choose others")
    if cracked.isdisjoint(validation):
        raise ValueError(f"none of the {len(validation)} photos to validate on has a crack: no "
                         "score would mean anything; choose others")
    shared = set.intersection(
        *({group_of(pair.image.stem) for pair in side} for side in (train, validation)))
    if shared and isinstance(split, dict):
        notes.append(f"warning: the split divides {len(shared)} photographs, as {min(shared)}, "
                     "between training and validation: scores will be too good")
    return train, validation, notes


def photographs(pairs: Sequence[Pair]) -> list[str]:
    """The group of each pair, with those joined whose pictures are copies under other names."""
    hashes = in_threads(lambda pair: hash_photo(pair.image), pairs, "looking for copies")
    return join([group_of(pair.image.stem) for pair in pairs], near_duplicates(hashes))


def read_split(path: Path) -> Split:
    """A split.json, or a user's own: {"train": [file names], "validation": [file names]}.

    Raises FileNotFoundError, or ValueError for anything else.
    """
    wanted = f'{path}: wanted {{"train": [names], "validation": [names]}} in JSON'
    try:
        content = json.loads(path.read_text("utf-8-sig"))
        sides = {side: content[side] for side in ("train", "validation")}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{wanted}, found none ({type(error).__name__}: {error})") from error
    for side, names in sides.items():
        if not isinstance(names, (list, dict)) or not all(isinstance(each, str) for each in names):
            raise ValueError(f"{wanted}, found something else under {side!r}")
    return {side: names if isinstance(names, dict) else dict.fromkeys(names)
            for side, names in sides.items()}


def describe_split(train: Sequence[Pair], validation: Sequence[Pair],
                   part: str = "image") -> Split:
    """What split.json and every checkpoint hold: the photos of each side with their hashes, or,
    with `part` "mask", with the hashes of their masks.

    Raises ValueError where two photos of one side have the same file name.
    """
    for pairs in (train, validation):
        names = Counter(pair.image.name for pair in pairs)
        if twice := [name for name in names if names[name] > 1]:
            raise ValueError(f"{twice[0]}: two photos have that name, in train/ and test/ or in "
                             "two data sets, and both are on one side of the split; rename one "
                             "and its mask")
    return {name: {pair.image.name: fingerprint(getattr(pair, part)) for pair in pairs}
            for name, pairs in (("train", train), ("validation", validation))}


def learned_from(split: Split) -> Side:
    """The photos that a network has learned from, in the run of that split and before."""
    return split["train"] | split.get("before", {})


def recognised(photos: Sequence[Path], learned: Side,
               mark: Callable[[Path], str | None]) -> list[bool]:
    """Which photos are among those learned from, or other crops of them.

    A crop is known by a name that tells its photograph, a copy by its fingerprint, which is `mark`
    of a photo; it is asked for only where the name tells nothing.
    """
    names, marks = [Path(name) for name in learned], set(learned.values())
    crops = related([*names, *photos], border=len(names))
    return [i in crops or mark(photo) in marks for i, photo in enumerate(photos, len(names))]


def check_masks(masks: Split, before: Split) -> None:
    """Raise ValueError for a mask that is another than before (both `describe_split` of masks)."""
    for side, hashes in masks.items():
        for name, found in hashes.items():
            if before[side].get(name) != found:
                raise ValueError(f"{name}: its mask has changed since the run began; put back what "
                                 "was there, or start a new run")


def apply_split(pairs: Sequence[Pair], split: Split,
                strict: bool = False) -> tuple[list[Pair], list[Pair]]:
    """The pairs of each side, found by file name, and by fingerprint where the split has one.

    Raises ValueError for a photo of the split that is missing, changed or on both sides, and with
    `strict` for one that is not in the split.
    """
    chosen: dict[str, list[Pair]] = {"train": [], "validation": []}
    for pair in pairs:
        sides = [side for side in chosen if pair.image.name in split[side]
                 and split[side][pair.image.name] in (None, fingerprint(pair.image))]
        if len(sides) == 2:
            raise ValueError(f"{pair.image}: on both sides of the split")
        if strict and not sides:
            known = any(pair.image.name in split[side] for side in chosen)
            raise ValueError(f"{pair.image}: {'has changed' if known else 'is new'} since the run "
                             "began; put back what was there, or start a new run")
        for side in sides:
            chosen[side].append(pair)
    for side, found in chosen.items():
        if missing := split[side].keys() - {pair.image.name for pair in found}:
            raise ValueError(f"{min(missing)}: in the split, but not in the data set or changed "
                             f"since (one of {len(missing)})")
    return chosen["train"], chosen["validation"]

"""Who trains, who validates, and which photos has a network already been trained on?"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from unet_resnet.audit.findings import FRAMES, SHARED, audit
from unet_resnet.audit.folders import find, notes as notes_on_folders
from unet_resnet.audit.groups import merge_groups, photographs, same_photograph, split_groups
from unet_resnet.audit.scoring import seen_in_training, trained_on
from unet_resnet.checkpoint import Checkpoint, Split
from unet_resnet.data import Pair

VALIDATION_SHARE = 0.15


def load_pairs(paths: Sequence[Path], seed: int = 0, split: Split | str | None = None,
               strict: bool = False, unturned: bool = False
               ) -> tuple[list[Pair], list[Pair], list[Pair], list[str]]:
    """The pairs to train on, to validate on, and to score at the end; and notes for the user.

    split: a Split, followed by file names; "groups" to draw one of all parts; None to validate on
    the part val/, else on test/, and to draw one if there is neither. A drawn split holds out about
    15 % of the photographs of each source, chosen by `seed`, with all crops and copies of a
    photograph on one side. Pairs of test/ that are on neither side are scored at the end.
    strict: a given split must name every photo; otherwise photos that it lacks are left out.

    Raises ValueError or OSError, naming a file, if the data would spoil training.
    """
    parts = find(paths)
    drawn = split == "groups" or (split is None and len(parts) == 1)
    records, findings, copies = audit(parts, unturned)
    notes = notes_on_folders(parts)
    if errors := [finding.line() for finding in findings if finding.severity == "error"]:
        more = "python -m unet_resnet.audit lists all faults"
        raise ValueError("; ".join([errors[0], *notes, more]))
    settled = (SHARED if split else None, None if drawn else FRAMES)
    notes += [finding.line() for finding in findings if finding.kind not in settled]
    pairs, border, test = [record.pair for record in records], len(parts["train"].pairs), []
    twins = [(pairs[i], pairs[j]) for i, j in copies]
    if {"validation", "test"} <= parts.keys() and not drawn:
        test = kept_for_test(pairs, len(pairs) - len(parts["test"].pairs), split)
        unseen = {*test}
        pairs = [pair for pair in pairs if pair not in unseen]
    if isinstance(split, dict):
        train, validation = apply_split(pairs, split, strict)
        if others := len(pairs) - len(train) - len(validation):
            notes.append(f"note: photos on neither side of the split, left out: {others}")
        if shared := shared_photos(train, [*validation, *test], twins):
            notes.append("warning: photos to validate or test on that show photographs to train "
                         f"on: {len(shared)}, e.g. {shared[0].image}; scores will be too good")
    elif drawn:
        train, validation = draw_split(pairs, copies, seed)
    else:
        train, validation = pairs[:border], pairs[border:]
    cracked = {record.pair for record in records if record.crack_pixels}
    for side, purpose in ((train, "train on"), (validation, "validate on")):
        if cracked.isdisjoint(side):
            remedy = "try another --seed" if drawn and cracked else "choose others"
            raise ValueError(f"no crack in the {len(side)} photos to {purpose}; {remedy}")
    return train, validation, test, notes


def kept_for_test(pairs: Sequence[Pair], first: int, split: Split | None) -> list[Pair]:
    """The pairs of test/, from index `first` on, that are on no side of the split; a photo that
    another part has under the same name is on a side there."""
    known = {(pair.name, pair.fingerprints["image"]) for pair in pairs[:first]}
    return [pair for pair in pairs[first:] if not (split and sides_of(pair, split))
            or (pair.name, pair.fingerprints["image"]) in known]


def draw_split(pairs: Sequence[Pair], copies: Sequence[tuple[int, int]], seed: int
               ) -> tuple[list[Pair], list[Pair]]:
    """All crops and copies of a photograph on one side; copies: pairs of indices."""
    groups = merge_groups(photographs(pairs), copies)
    held_out = split_groups(groups, [pair.source for pair in pairs], VALIDATION_SHARE, seed)
    return ([pair for pair, held in zip(pairs, held_out) if not held],
            [pair for pair, held in zip(pairs, held_out) if held])


def shared_photos(train: Sequence[Pair], others: Sequence[Pair],
                  twins: Sequence[tuple[Pair, Pair]]) -> list[Pair]:
    """The other pairs that show a photograph to train on: by their names crops of it, or copies."""
    pairs, learned = [*train, *others], {*train}
    groups = photographs(pairs)
    known = {*groups[:len(train)]}
    crops = same_photograph([pair.image for pair in pairs], border=len(train))
    shared = {pairs[i] for i in crops if groups[i] in known}
    shared |= {a for a, b in twins if b in learned} | {b for a, b in twins if a in learned}
    return [pair for pair in others if pair in shared]


def split_for_run(paths: Sequence[Path], seed: int, split: str | None, last: Checkpoint | None,
                  start: Checkpoint | None, unturned: bool = False
                  ) -> tuple[list[Pair], list[Pair], list[Pair], Split, Split]:
    """The pairs a run trains on, validates on and is scored on at the end, and the hashes of the
    photos and masks of the first two; prints the notes on them.

    split: a file, "groups" or None. A resumed run keeps the split and the masks of its `last`
    checkpoint, and data that have changed are a ValueError; a new one counts the photos of its
    `start` as trained on before.
    """
    is_file = split not in (None, "groups")  # the user's own, which may leave photos out
    given = last.split if last else read_split(Path(split)) if is_file else split
    train, validation, test, notes = load_pairs(paths, seed, given,
                                                last is not None and not is_file, unturned)
    described, masks = (describe_split(train, validation, part) for part in ("image", "mask"))
    if both := described["train"].items() & described["validation"].items():
        raise ValueError(f"{min(both)[0]}: the same photo to train and to validate on; delete one "
                         "of the two, with its mask")
    for side, hashes in (last and last.masks or masks).items():
        if changed := dict(masks[side].items() - hashes.items()):
            raise ValueError(f"{min(changed)}: its mask has changed since the run began; put the "
                             "old one back, or start a new run")
    before = last.split.get("before") if last else start and trained_on(start.split)
    if before:
        described["before"] = before
        photos = {pair.image: pair.fingerprints["image"] for pair in validation}
        if seen := seen_in_training(photos, before):
            notes.append(f"warning: --weights was trained on {len(seen)} of the {len(photos)} "
                         "validation photos, or on other crops of them: scores will be too good")
    for note in notes:
        print(note)
    return train, validation, test, described, masks


def read_split(path: Path) -> Split:
    """A split.json, or a user's own: {"train": [file names], "validation": [file names]}."""
    try:
        content = json.loads(path.read_text("utf-8-sig"))
        sides = {side: content[side] for side in ("train", "validation")}
        if not all(isinstance(names, (list, dict)) for names in sides.values()):
            raise TypeError("a side that is no list")
        return {side: names if isinstance(names, dict) else dict.fromkeys(names)
                for side, names in sides.items()}
    except OSError as error:
        raise OSError(f"--split {path}: {error.strerror}; expected a file, or groups") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f'{path}: expected {{"train": [names], "validation": [names]}} in '
                         f"JSON ({type(error).__name__}: {error})") from error


def describe_split(train: Sequence[Pair], validation: Sequence[Pair],
                   part: str = "image") -> Split:
    """What split.json and every checkpoint hold: the names of each side's photos, with the hashes
    of the photos, or with `part` "mask" of their masks.

    Raises ValueError if two photos of one side have the same file name.
    """
    for pairs in (train, validation):
        names = Counter(pair.name for pair in pairs)
        if twice := [name for name in names if names[name] > 1]:
            raise ValueError(f"{twice[0]}: two photos on one side of the split have that name (one "
                             f"of {len(twice)} such names), in train/ and test/ or in two data "
                             "sets; rename one and its mask, or make one set with subfolders")
    return {side: {pair.name: pair.fingerprints[part] for pair in pairs}
            for side, pairs in (("train", train), ("validation", validation))}


def sides_of(pair: Pair, split: Split) -> list[str]:
    """The sides of a split that name the photo, with its fingerprint or without any."""
    return [side for side in ("train", "validation")
            if split[side].get(pair.name, "") in (None, pair.fingerprints["image"])]


def apply_split(pairs: Sequence[Pair], split: Split,
                strict: bool = False) -> tuple[list[Pair], list[Pair]]:
    """The pairs of each side, by file name, and by fingerprint if the split has one.

    Raises ValueError for a photo of the split that is missing, changed or on both sides, and with
    `strict` for one that is not in the split.
    """
    chosen: dict[str, list[Pair]] = {"train": [], "validation": []}
    for pair in pairs:
        sides = sides_of(pair, split)
        if len(sides) == 2:
            raise ValueError(f"{pair.image}: on both sides of the split")
        if strict and not sides:
            named = any(pair.name in split[side] for side in chosen)
            raise ValueError(f"{pair.image}: {'has changed' if named else 'is new'} since the run "
                             "began; restore the data set, or start a new run")
        for side in sides:
            chosen[side].append(pair)
    for side, found in chosen.items():
        if missing := split[side].keys() - {pair.name for pair in found}:
            raise ValueError(f"{min(missing)}: in the split, but not in the data set or changed "
                             f"since (one of {len(missing)})")
    return chosen["train"], chosen["validation"]

"""From folders to (image, mask) tensors; and who may sit in which split?

`python -m unet_resnet.data FOLDER` reports on a data set.
"""

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset

from unet_resnet.audit import audit, hash_photo, in_threads, related, screen, summarise
from unet_resnet.files import one_line, print_any_name, written_whole
from unet_resnet.groups import join, near_duplicates, split_groups
from unet_resnet.images import SUFFIXES, read_mask, read_photo
from unet_resnet.pairs import Pair, find
from unet_resnet.preflight import check_absent, check_place

VALIDATION_SHARE = 0.15

Transform = Callable[[Tensor, Tensor, Generator], tuple[Tensor, Tensor]]
Side = dict[str, str | None]  # file name -> fingerprint
Split = dict[str, Side]  # "train", "validation"


def load_pairs(paths: Sequence[Path], seed: int = 0, split: Split | str | None = None,
               strict: bool = False) -> tuple[list[Pair], list[Pair], list[str]]:
    """The pairs to train on, those to validate on, and what there is to say about them.

    `paths`: data sets, or the two folders of one (`pairs.layout`).

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
        more = f" (other errors: {len(errors) - 1}; python -m unet_resnet.data lists them)"
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
    shared = {pair.group for pair in train} & {pair.group for pair in validation}
    if shared and isinstance(split, dict):
        notes.append(f"warning: the split divides {len(shared)} photographs, as {min(shared)}, "
                     "between training and validation: scores will be too good")
    return train, validation, notes


def photographs(pairs: Sequence[Pair]) -> list[str]:
    """The group of each pair, with those joined whose pictures are copies under other names."""
    hashes = in_threads(lambda pair: hash_photo(pair.image), pairs, "looking for copies")
    return join([pair.group for pair in pairs], near_duplicates(hashes))


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


def fingerprint(path: Path) -> str:
    """SHA-256 of a file, shortened to 16 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()[:16]


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


def read_pair(photo: Path, mask: Path) -> tuple[Tensor, Tensor]:
    """Photo (3, h, w) uint8 RGB and mask (1, h, w) uint8 0/1.

    Raises ValueError, naming the file, where one is unreadable or the sizes differ.
    """
    image, truth = read_photo(photo), read_mask(mask)
    if image.shape[1:] != truth.shape[1:]:
        raise ValueError(f"{mask}: {truth.shape[2]}x{truth.shape[1]} pixels, but its photo has "
                         f"{image.shape[2]}x{image.shape[1]}; export the mask at the photo's size")
    return image, truth


def seed_of(*purpose: str | int) -> int:
    """A seed of its own for each purpose; of 32 bits, for torch's CPU generator heeds no more."""
    return int.from_bytes(hashlib.sha256(repr(purpose).encode()).digest()[:4], "big")


def spread(sources: Sequence[str], generator: Generator) -> list[int]:
    """A random order of 0 .. len(sources) - 1 in which each source is spread evenly.

    The i-th of n of a source, in random order, stands at a random place in the i-th of n equal
    parts of the whole.
    """
    indices, places = torch.randperm(len(sources), generator=generator).tolist(), {}
    chance = torch.rand(len(sources), generator=generator).tolist()
    counts, seen = Counter(sources), Counter()
    for index in indices:
        source = sources[index]
        places[index] = (seen[source] + chance[index]) / counts[source]
        seen[source] += 1
    return sorted(indices, key=places.__getitem__)


class Crops(Dataset):
    """An endless stream of augmented training crops, addressed by position.

    Position p is picture p % n of epoch p // n in that epoch's own order, cropped with random
    numbers seeded by p. The order is shuffled, yet the pictures of each source are spread evenly
    over the epoch: each batch has some without cracks, where these are a source of their own.

    So a crop depends on its position alone: not on the number of workers, nor on what was read
    before it, and a run can go on from any position.
    """

    def __init__(self, pairs: Sequence[Pair], augment: Transform, seed: int) -> None:
        self.pairs, self.augment, self.seed = pairs, augment, seed
        self.epoch, self.order = -1, []  # of the crop read last

    def __len__(self) -> int:
        return len(self.pairs)

    def pair_at(self, position: int) -> Pair:
        epoch, place = divmod(position, len(self.pairs))
        if epoch != self.epoch:
            shuffle = Generator().manual_seed(seed_of("shuffle", self.seed, epoch))
            self.epoch = epoch
            self.order = spread([pair.source for pair in self.pairs], shuffle)
        return self.pairs[self.order[place]]

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:
        pair = self.pair_at(position)
        crop = Generator().manual_seed(seed_of("crop", self.seed, position))
        return self.augment(*read_pair(pair.image, pair.mask), crop)


class WholePictures(Dataset):
    """The pairs as they are: photo (3, h, w) uint8 and mask (1, h, w) uint8 0/1."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def pair_at(self, index: int) -> Pair:
        return self.pairs[index]

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return read_pair(self.pairs[index].image, self.pairs[index].mask)


def main() -> int:
    """The report's command: prints it; exit status 1 if something would spoil training."""
    parser = argparse.ArgumentParser(prog="python -m unet_resnet.data",
                                     description="Report on a data set and its faults.")
    parser.add_argument("folder", type=Path, nargs="+",
                        help="data sets (images/ and masks/, or train/ and test/ with these in "
                        "them), or the two folders of one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it to a new file")
    args = parser.parse_args()
    print_any_name()
    if args.json:
        check_place(args.json)
        check_absent(args.json)
    parts = find(args.folder)
    if not any(any(vars(part).values()) for part in parts.values()):
        raise ValueError(f"{args.folder[0]}: no pictures in it ({' '.join(SUFFIXES)})")
    records, findings = audit(parts)
    print(screen(parts, records, findings))
    if args.json:
        content = {"pairs": {name: len(part.pairs) for name, part in parts.items()},
                   "sources": summarise(records),
                   "findings": [finding.as_dict() for finding in findings],
                   "records": [record.as_dict() for record in records]}
        check_absent(args.json)  # reading a large set takes minutes
        with written_whole(args.json) as file:
            file.write((json.dumps(content, indent=1) + "\n").encode())
    return int(any(finding.severity == "error" for finding in findings))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("unet_resnet.data: stopped")
    except (OSError, ValueError) as error:
        sys.exit(f"unet_resnet.data: {one_line(error)}")

"""Which pictures are meant, which masks are theirs, and under what names do results go?"""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain, count
from pathlib import Path

from unet_resnet.audit.split import recognised
from unet_resnet.files import fingerprint
from unet_resnet.files import one_line
from unet_resnet.images import SUFFIXES, is_ours, signed
from unet_resnet.data import by_stem, pictures_in
from unet_resnet.video.codec import VIDEO_SUFFIXES
from unet_resnet.video.codec import is_ours as is_our_video

# Ends of the files that stand beside each other for a photo or a video.
ENDS = ("_probability.png", "_mask.png", "_overlay.png", "_widths.png", "_cracks.mp4")
# Pictures that are not read: in a folder, they are told of.
FOREIGN = {".heic", ".heif", ".avif", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf"}
LONGEST = 200  # bytes of a name without these; most disks take 255 with all


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def find_photos(names: Sequence[str | Path]) -> list[Path]:
    """The photos and videos meant by files, folders and patterns, in order, each once.

    What is not there stays in the list: reading it will say so, after the others are done. Of a
    folder, what is hidden and the results of earlier runs are left out, and pictures of other
    kinds, whose number is printed.
    """
    photos = []
    for name in names:
        path = Path(name)
        if os.path.isdir(path):
            photos += _below(path)
        elif not os.path.lexists(path) and (found := _expanded(path)):
            photos += find_photos(found)  # a pattern the shell has not expanded
        else:
            photos.append(path)
    places: dict[str, Path] = {}
    for photo in photos:
        places.setdefault(os.path.abspath(photo), photo)
    return list(places.values())


def _below(folder: Path) -> list[Path]:
    """The photos and videos in a folder and those in it, and the folders that cannot be read.

    Links to folders are not followed: they can lead in circles.
    """
    found: list[Path] = []
    foreign: Counter[str] = Counter()
    for parent, folders, names in os.walk(folder, onerror=lambda e: found.append(Path(e.filename))):
        folders[:] = [name for name in folders if name[0] != "."]  # a trash can, previews
        files = [Path(parent, name) for name in names if name[0] != "."]
        foreign.update(file.suffix for file in files if file.suffix.lower() in FOREIGN)
        found += [file for file in files if file.suffix.lower() in (*SUFFIXES, *VIDEO_SUFFIXES)
                  and not (is_our_video if is_video(file) else is_ours)(file)]
    if foreign:
        kinds = " ".join(sorted(foreign))
        print(f"{one_line(folder)}: pictures that are not read: {foreign.total()} ({kinds}); "
              "save them as JPEG or PNG first")
    return sorted(found)


def _expanded(pattern: Path) -> list[Path]:
    """What a shell would make of it; not by the module glob, which runs in circles of links."""
    try:
        found = sorted(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))
    except (ValueError, OSError):  # no pattern that pathlib knows, or no name that a disk takes
        return []
    given = set(pattern.parts)
    return [path for path in found
            if not any(part[0] == "." for part in path.parts if part not in given)]


def find_masks(folder: Path, photos: Sequence[Path]) -> dict[str, Path]:
    """The masks by the stem of their photo; says how many photos and masks have no partner."""
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder}: no such folder")
    masks, doubled = by_stem(pictures_in(folder))
    if doubled:
        raise ValueError(f"{doubled[0]}: a second mask of that name; keep one of them")
    _, doubled = by_stem(photos)
    if doubled := [photo for photo in doubled if photo.stem in masks]:
        raise ValueError(f"{doubled[0]}: a second photo of that name, and one mask; score the "
                         "folders one by one")
    if not photos:
        raise ValueError(f"{folder}: no photos but those in this folder; wanted photos and their "
                         "masks in two folders")
    stems = {photo.stem for photo in photos}
    if not stems & masks.keys():
        found = f"only {sorted(masks)[0]} and so on" if masks else "no picture"
        raise ValueError(f"{folder}: {found}; wanted masks of the photos' names, such as "
                         f"{sorted(stems)[0]}.png")
    for number, what in ((len(stems - masks.keys()), "photos have no mask and are not scored"),
                         (len(masks.keys() - stems), "masks belong to none of these photos")):
        if number:
            print(f"{number} {what}")
    return masks


def name_results(photos: Sequence[Path], output: Path, masks: Iterable[Path] = ()) -> list[str]:
    """A name for each photo's results in the folder `output` that no other has, whatever the
    letter case, and that takes the place of no photo, no mask, no results of another photo.

    The stem where it is free, else with the suffix, the folder, or a number as well.
    """
    inputs = {os.path.realpath(path) for path in (*photos, *masks)}
    forms = [lambda path: path.stem, lambda path: path.name,
             lambda path: f"{path.absolute().parent.name}_{path.name}"]
    uses = [Counter(form(path).casefold() for path in photos) for form in forms]
    names, taken, numbers = [], set(), defaultdict(partial(count, 1))
    for path in photos:
        choice = [form(path) for form, used in zip(forms, uses) if used[form(path).casefold()] == 1]
        numbered = (f"{path.name}_{i}" for i in numbers[path.name.casefold()])
        name = next(name for name in map(_shortened, chain(choice, [path.name], numbered))
                    if name.casefold() not in taken and _is_free(output / name, path, inputs))
        taken.add(name.casefold())
        names.append(name)
    return names


def _shortened(name: str) -> str:
    raw = os.fsencode(name)
    if len(raw) <= LONGEST:
        return name
    return raw[:LONGEST - 9].decode(errors="ignore") + "~" + hashlib.sha256(raw).hexdigest()[:8]


def _is_free(stem: Path, photo: Path, inputs: set[str]) -> bool:
    files = [stem.with_name(stem.name + end) for end in ENDS]
    if is_video(photo):
        files += sorted(stem.glob("*_overlay.png"))[:1]  # stills, in a folder
    for file in filter(os.path.lexists, files):
        if os.path.realpath(file) in inputs:
            return False
        known = signed(file)
        if known and _place(photo) not in known and content_of(photo) not in known:
            return False
    return True


def mark_of(photo: Path) -> str:
    """By what a photo's results are known as its own: its place and its content, 16 hexadecimal
    digits each. Either is enough: photos are moved, and saved again where they were."""
    return f"{_place(photo)} {fingerprint(photo)}"


def _place(photo: Path) -> str:
    return hashlib.sha256(os.fsencode(os.path.realpath(photo))).hexdigest()[:16]


def content_of(photo: Path) -> str:
    """The fingerprint, or "" of what cannot be read: that is said when it is to be predicted."""
    try:
        return fingerprint(photo) if photo.is_file() else ""
    except OSError:
        return ""


def is_of(results: Path, photo: Path) -> bool:
    """Whether a file of results is of this photo as it is now, not of one that it has replaced."""
    known = signed(results)
    return not known or content_of(photo) in known


def leave_out_trained(photos: Sequence[Path], trained: dict[str, str]) -> list[Path]:
    """The photos that the checkpoint was not trained on, nor on other crops of them."""
    known = recognised(photos, trained, content_of)
    kept = [photo for photo, left_out in zip(photos, known) if not left_out]
    if len(kept) < len(photos):
        print(f"{len(photos) - len(kept)} of {len(photos)} photos left out: they or other crops of"
              " them were trained on, so a score on them would mean nothing")
    if not kept:
        raise ValueError("no photo is left to score")
    return kept

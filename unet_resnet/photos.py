"""Which pictures are meant, which masks are theirs, and under what names do results go?"""

import glob
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from unet_resnet.audit import related
from unet_resnet.data import fingerprint
from unet_resnet.images import SUFFIXES, is_ours
from unet_resnet.pairs import by_stem, pictures_in
from unet_resnet.video import VIDEO_SUFFIXES
from unet_resnet.video import is_ours as is_our_video


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def find_photos(names: Sequence[str]) -> list[Path]:
    """The photos and videos meant by files, folders and patterns, in order, each once.

    What is not there stays in the list: reading it will say so, after the others are done. Of a
    folder, the results of earlier runs are left out.
    """
    photos = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            photos += sorted(file for file in path.rglob("*") if file.is_file()
                             and file.suffix.lower() in (*SUFFIXES, *VIDEO_SUFFIXES)
                             and file.name[0] != "."
                             and not (is_our_video if is_video(file) else is_ours)(file))
        elif not path.exists() and (found := sorted(glob.glob(name, recursive=True))):
            photos += find_photos(found)  # a pattern the shell has not expanded
        else:
            photos.append(path)
    return list(dict.fromkeys(photos))


def find_masks(folder: Path, photos: Sequence[Path]) -> dict[str, Path]:
    """The masks by the stem of their photo; says how many photos and masks have no partner."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    masks, doubled = by_stem(pictures_in(folder))
    if doubled:
        raise ValueError(f"{doubled[0]}: a second mask of that name; keep one of them")
    _, doubled = by_stem(photos)
    if doubled := [photo for photo in doubled if photo.stem in masks]:
        raise ValueError(f"{doubled[0]}: a second photo of that name, and one mask; score the "
                         "folders one by one")
    stems = {photo.stem for photo in photos}
    if not stems & masks.keys():
        raise ValueError(f"{folder}: no mask in it has the name of one of the photos")
    for count, what in ((len(stems - masks.keys()), "photos have no mask and are not scored"),
                        (len(masks.keys() - stems), "masks belong to none of these photos")):
        if count:
            print(f"{count} {what}")
    return masks


def name_results(photos: Sequence[Path]) -> list[str]:
    """A name for each photo's results that no other has, whatever the letter case.

    The stem where it is unique, else with the suffix, the folder, or a number as well.
    """
    forms = [lambda path: path.stem, lambda path: path.name,
             lambda path: f"{path.absolute().parent.name}_{path.name}"]
    uses = [Counter(form(path).casefold() for path in photos) for form in forms]
    names, taken = [], set()
    for path in photos:
        name = next((form(path) for form, used in zip(forms, uses)
                     if used[form(path).casefold()] == 1), None) or path.name
        base, i = name, 1
        while name.casefold() in taken:
            name, i = f"{base}_{i}", i + 1
        taken.add(name.casefold())
        names.append(name)
    return names


def leave_out_trained(photos: Sequence[Path], trained: dict[str, str]) -> list[Path]:
    """The photos that the checkpoint was not trained on, nor on other crops of them.

    A crop is known by a name that tells its photograph, a copy by its content.
    """
    names = [Path(name) for name in trained]
    crops = related([*names, *photos], border=len(names))
    marks = set(trained.values())
    kept = [photo for i, photo in enumerate(photos, start=len(names))
            if i not in crops and not (photo.is_file() and fingerprint(photo) in marks)]
    if len(kept) < len(photos):
        print(f"{len(photos) - len(kept)} of {len(photos)} photos left out: they or other crops of"
              " them were trained on, so a score on them would mean nothing")
    if not kept:
        raise ValueError("no photo is left to score")
    return kept

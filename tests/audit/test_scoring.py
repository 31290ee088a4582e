"""Is a photo scored against its own mask, and never one that the network was trained on?"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unet_resnet.audit.scoring import (
    exclude_trained, pairs_to_score, seen_in_training, trained_on)
from unet_resnet.files import fingerprint

NOTHING_KNOWN = {"train": {}, "validation": {}}


def noise(path: Path, height: int, width: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def line(path: Path) -> Path:
    """A mask with one crack."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((9, 9), np.uint8)
    pixels[4] = 255
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("place, mask, found", [
    ("", "a.png", True), ("", "a_mask.png", True), ("", "b.png", False),
    ("day1", "day1/a.png", True), ("day1", "a.png", True), ("day1", "day2/a.png", False)])
def test_masks_are_found_by_name_and_place(tmp_path, place, mask, found):
    photo = noise(tmp_path / "photos" / place / "a.png", 9, 9)
    other = noise(tmp_path / "photos" / "other.png", 7, 7)
    path = line(tmp_path / "masks" / mask)
    folders = tmp_path / "masks", [photo, other], tmp_path / "photos"
    if found:
        photos, pairs = pairs_to_score(*folders, NOTHING_KNOWN)
        assert photos == [photo, other] and list(pairs) == [photo]
        assert (pairs[photo].image, pairs[photo].mask) == (photo, path)
    else:
        with pytest.raises(ValueError, match="no mask of these photos in it; expected names"):
            pairs_to_score(*folders, NOTHING_KNOWN)


def test_a_prediction_is_no_truth(tmp_path, capsys):
    """Results beside the photos, where the true mask has another ending; or results alone."""
    photo = noise(tmp_path / "a.png", 9, 9)
    for kind in ("mask", "probability", "overlay"):
        line(tmp_path / f"a_{kind}.png")
    with pytest.raises(ValueError, match="no mask of these photos"):
        pairs_to_score(tmp_path, [photo], tmp_path, NOTHING_KNOWN)
    truth = line(tmp_path / "a_seg.png")
    _, pairs = pairs_to_score(tmp_path, [photo], tmp_path, NOTHING_KNOWN)
    assert pairs[photo].mask == truth
    assert "masks that infer.py predicted, no truth: 1" in capsys.readouterr().out


def test_what_fits_two_is_refused(tmp_path, capsys):
    photos = [noise(tmp_path / f"photos/{place}/a.png", 9, 9) for place in ("day1", "day2")]
    line(tmp_path / "masks/a.png")
    with pytest.raises(ValueError, match="day2/a.png: a second photo of that name"):
        pairs_to_score(tmp_path / "masks", photos, tmp_path / "photos", NOTHING_KNOWN)
    others = [noise(tmp_path / f"photos/{place}/b.png", 9, 9) for place in ("day1", "day2")]
    pairs_to_score(tmp_path / "masks", [photos[0], *others], tmp_path / "photos", NOTHING_KNOWN)
    assert "photos without a mask, not scored: 2" in capsys.readouterr().out
    line(tmp_path / "masks/a.bmp")
    with pytest.raises(ValueError, match="masks/a.png: a second picture of that name"):
        pairs_to_score(tmp_path / "masks", photos[:1], tmp_path / "photos", NOTHING_KNOWN)


def test_a_trained_photo_is_left_out_with_its_mask(tmp_path, capsys):
    photos = [noise(tmp_path / "photos" / name, 9, 9) for name in ("a.png", "b.png")]
    noise(photos[1], 7, 9)
    for photo in photos:
        line(tmp_path / "masks" / photo.name)
    line(tmp_path / "masks/stray.png")
    known = {"train": {"mine.png": fingerprint(photos[0])}, "validation": {}}
    kept, pairs = pairs_to_score(tmp_path / "masks", photos, tmp_path / "photos", known)
    assert kept == list(pairs) == photos[1:]
    printed = capsys.readouterr().out
    assert "1 of 2 photos left out" in printed and "none of these photos: 1" in printed


def test_a_mask_of_a_trained_photo_alone_is_nothing_to_score(tmp_path):
    photos = [noise(tmp_path / "photos" / f"{name}.png", 9, side)
              for name, side in (("a", 8), ("b", 7))]
    mask = line(tmp_path / "masks/a.png")
    split = {"train": {"a.png": fingerprint(photos[0])}, "validation": {}}
    with pytest.raises(ValueError, match="no photo with a mask is left to score"):
        pairs_to_score(mask.parent, photos, photos[0].parent, split)


def test_photos_are_not_decoded_to_find_their_masks(tmp_path):
    """All but the header of a photo may be missing."""
    photo, mask = noise(tmp_path / "photos/a.jpg", 9, 9), line(tmp_path / "masks/a.png")
    photo.write_bytes(photo.read_bytes()[:-20])
    _, pairs = pairs_to_score(mask.parent, [photo], photo.parent, NOTHING_KNOWN)
    assert pairs[photo].fingerprints == {"image": fingerprint(photo), "mask": fingerprint(mask)}


@pytest.mark.parametrize("trained_on, photo, left_out", [
    ("wall_1", "wall_2", False),
    ("wall_1", "wall_1", False),  # another picture that happens to have the name
    ("IMG_0001", "IMG_0001", False),
    ("masonry_1", "masonry_1", False),
    ("CFD_014", "CFD_014", True),  # the same in other bytes, as the 11k set has it
    ("DeepCrack_11114", "DeepCrack_11114", True),
    ("masonry_a_101_4", "masonry_a_101_4", True),
    ("IMG_20240101_120000", "IMG_20240101_120000", True),
    ("DSC01648_211_212", "DSC01648_900_212", True),  # two crops of a photograph
    ("DSC01648_211_212", "DSC01648", True),  # the photograph of a crop
    ("DSC01648", "DSC01648_211_212", True),
    ("DSC01648_211_212", "DSC01649_211_212", False),
    ("CFD_014", "forest_014", True),  # equal photographs of two sources
    ("forest_014", "CFD_014", True),
    ("forest_014", "CFD_015", False),
])
def test_crops_of_trained_photographs_are_left_out(tmp_path, trained_on, photo, left_out):
    path, other = noise(tmp_path / f"{photo}.png", 9, 9), noise(tmp_path / "other.png", 7, 7)
    kept = exclude_trained([other, path], {
        "train": {f"{trained_on}.jpg": "0" * 16}, "validation": {}})
    assert kept == [other] + [path] * (not left_out)


def test_of_two_trained_photos_with_one_name_both_are_known(tmp_path, capsys):
    """One was learned by this run, the other by the run that its weights are from."""
    photos = [tmp_path / name for name in ("first", "second", "third")]
    for number, photo in enumerate(photos):
        photo.write_bytes(b"%d" % number)
    first, second, _ = map(fingerprint, photos)
    split = {"train": {"1.png": first}, "validation": {}, "before": {"1.png": second}}
    assert exclude_trained(photos, split) == photos[2:]
    later = {"train": {"1.png": "f" * 16}, "validation": {}, "before": trained_on(split)}
    assert exclude_trained(photos, later) == photos[2:]


def test_a_copy_is_known_by_its_content(tmp_path):
    path, other = noise(tmp_path / "renamed.png", 9, 9), noise(tmp_path / "other.png", 7, 7)
    split = {"train": {}, "validation": {}, "before": {"wall_1.png": fingerprint(path)}}
    assert exclude_trained([path, other], split) == [other]
    with pytest.raises(ValueError, match="no photo"):
        exclude_trained([path], split)


def test_a_crop_of_a_photograph_trained_on_before_is_left_out_though_it_validated(tmp_path):
    crop = noise(tmp_path / "CRACK500_20160222_080850_1_361.png", 9, 9)
    split = {"train": {}, "validation": {crop.name: fingerprint(crop)},
             "before": {"CRACK500_20160222_080850_641_361.jpg": "0" * 16}}
    with pytest.raises(ValueError, match="no photo"):
        exclude_trained([crop], split)


def test_photos_known_from_other_crops():
    """By names that tell a photograph, or by content."""
    photos = {Path("CRACK500_20160222_080850_1_361.jpg"): "aa", Path("mine.jpg"): "bb",
              Path("other.jpg"): "cc"}
    before = {"CRACK500_20160222_080850_641_361.jpg": "dd", "yours.jpg": "bb"}
    assert seen_in_training(photos, before) == [*photos][:2]
    assert seen_in_training(photos, {}) == []

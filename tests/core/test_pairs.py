"""Does every photograph meet its mask, and is every one that does not named?"""

from pathlib import Path

import pytest

from unet_resnet.images import SUFFIXES
from unet_resnet.audit.groups import group_of
from unet_resnet.data import Pair, find, layout, match


def fill(folder: Path, *names: str) -> Path:
    """A folder with files of these names; pairs are made from names alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


FLAT, SPLIT, TEST = [("images", "masks"), ("train/images", "train/masks"),
                     ("test/images", "test/masks")]


@pytest.mark.parametrize("present, given, wanted", [
    (FLAT, ["."], {"train": FLAT}),
    (SPLIT, ["."], {"train": SPLIT}),
    (SPLIT + TEST, ["."], {"train": SPLIT, "test": TEST}),
    (FLAT + TEST, ["."], {"train": FLAT, "test": TEST}),
    (SPLIT + ("test/images",), ["."], {"train": SPLIT}),
    (("photos", "labels"), ["photos", "labels"], {"train": ("photos", "labels")}),
    (FLAT + ("mine",), ["images", "mine"], {"train": ("images", "mine")}),
])
def test_layouts(tmp_path, present, given, wanted):
    for folder in present:
        fill(tmp_path / folder)
    found = layout([tmp_path / folder for folder in given])
    assert found == {part: [tuple(tmp_path / folder for folder in folders)]
                     for part, folders in wanted.items()}


def test_several_data_sets_are_one(tmp_path):
    for folder in ("a/images", "a/masks", "b/train/images", "b/train/masks", "b/test/images",
                   "b/test/masks"):
        name = folder[0] + folder.split("/")[-2][:2]
        fill(tmp_path / folder, f"{name}_1.png", f"{name}_2.png")
    fill(tmp_path / "b/test/images", "alone.png")
    for sets in (["a", "b"], ["b", "a"]):
        found = find([tmp_path / name for name in sets])
        stems = {part: [pair.image.stem for pair in found[part].pairs] for part in found}
        both = {"a": ["aa_1", "aa_2"], "b": ["btr_1", "btr_2"]}
        assert stems == {"train": both[sets[0]] + both[sets[1]], "test": ["bte_1", "bte_2"]}
        assert [path.name for path in found["test"].without_mask] == ["alone.png"]
    fill(tmp_path / "c")
    with pytest.raises(FileNotFoundError, match="/c: neither images/"):
        find([tmp_path / "a", tmp_path / "c"])


@pytest.mark.parametrize("present, given, named", [
    ((), ["nowhere"], "nowhere"),
    (("images",), ["images", "nowhere"], "nowhere"),
    ((), ["."], "images/ and masks/"),
    (("images",), ["."], "images/ and masks/"),
    (TEST, ["."], "train/images/"),
])
def test_no_layout(tmp_path, present, given, named):
    for folder in present:
        fill(tmp_path / folder)
    with pytest.raises(FileNotFoundError, match=named) as caught:
        layout([tmp_path / folder for folder in given])
    assert str(tmp_path) in str(caught.value)


def test_a_file_is_no_data_set(tmp_path):
    fill(tmp_path, "set.zip")
    with pytest.raises(FileNotFoundError, match="set.zip"):
        layout([tmp_path / "set.zip"])


def test_pairs_are_found_by_stem_whatever_the_suffix(tmp_path):
    suffixes = [*SUFFIXES, *map(str.upper, SUFFIXES), ".Jpg"]
    stems = [f"wall_{i:02d}" for i in range(len(suffixes))]
    photos = [stem + suffix for stem, suffix in zip(stems, suffixes)]
    masks = [stem + suffix for stem, suffix in zip(stems, reversed(suffixes))]
    part = match(fill(tmp_path / "images", *photos), fill(tmp_path / "masks", *masks))
    assert part.pairs == [
        Pair(tmp_path / "images" / photo, tmp_path / "masks" / mask, "wall")
        for photo, mask, stem in zip(photos, masks, stems)]


def test_only_visible_pictures_count(tmp_path):
    names = ("a.png", ".a.jpg", "._a.png", ".DS_Store", "Thumbs.db", "readme.txt", "b.json", "png")
    part = match(fill(tmp_path / "images", *names), fill(tmp_path / "masks", *names))
    assert [pair.image.name for pair in part.pairs] == ["a.png"]


def test_source_and_group_come_from_the_name(tmp_path):
    """The 11k set holds names that end in .jpg.jpg."""
    names = ("noncrack_noncrack_concrete_wall_12_9.jpg.jpg", "CRACK500_20160222_081102_1_721.jpg")
    part = match(fill(tmp_path / "images", *names), fill(tmp_path / "masks", *names))
    assert [(pair.image.name, pair.source, group_of(pair.image.stem)) for pair in part.pairs] == [
        (names[1], "CRACK500", "CRACK500_20160222_081102"),
        (names[0], "noncrack", "noncrack_noncrack_concrete_wall_12")]


@pytest.mark.parametrize("photos, masks, without_mask, without_image, doubled", [
    (["a.jpg", "b.jpg"], ["a.png"], ["b.jpg"], [], []),
    (["a.jpg"], ["a.png", "b.png"], [], ["b.png"], []),
    (["a.jpg", "a.png"], ["a.png"], [], [], ["a.png"]),
    (["a.jpg"], ["a.bmp", "a.png", "a.tif"], [], [], ["a.png", "a.tif"]),
    (["a.jpg", "b.jpg.jpg"], ["a.jpg", "b.png"], ["b.jpg.jpg"], ["b.png"], []),
    (["a.jpg", "b.jpg"], ["a.jpg", "b_mask.png"], ["b.jpg"], ["b_mask.png"], []),
])
def test_what_has_no_partner_is_kept_apart(tmp_path, photos, masks, without_mask, without_image,
                                           doubled):
    part = match(fill(tmp_path / "images", *photos), fill(tmp_path / "masks", *masks))
    assert [(pair.image.name, pair.mask.name) for pair in part.pairs] == [(photos[0], masks[0])]
    assert [[path.name for path in files] for files in
            (part.without_mask, part.without_image, part.doubled)] == [
                without_mask, without_image, doubled]

"""Does every photo meet its mask, whatever the folders, and is nothing passed over in silence?"""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from unet_resnet.audit.folders import Part, find, layout, notes
from unet_resnet.data import Pair


def fill(folder: Path, *names: str) -> Path:
    """A folder with files of these names; pairs are made from names alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def pairs_of(root: Path, photos: Sequence[str], masks: Sequence[str]) -> Part:
    return find([fill(root / "images", *photos), fill(root / "masks", *masks)])["train"]


FLAT, SPLIT, TEST = [("images", "masks"), ("train/images", "train/masks"),
                     ("test/images", "test/masks")]


@pytest.mark.parametrize("present, given, expected", [
    (FLAT, ["."], {"train": FLAT}),
    (SPLIT, ["."], {"train": SPLIT}),
    (SPLIT + TEST, ["."], {"train": SPLIT, "test": TEST}),
    (FLAT + TEST, ["."], {"train": FLAT, "test": TEST}),
    (SPLIT + ("test/images",), ["."], {"train": SPLIT}),
    (("photos", "labels"), ["photos", "labels"], {"train": ("photos", "labels")}),
    (FLAT + ("mine",), ["images", "mine"], {"train": ("images", "mine")}),
])
def test_layouts(tmp_path, present, given, expected):
    for folder in present:
        fill(tmp_path / folder)
    found = layout([tmp_path / folder for folder in given])
    assert found == {part: [tuple(tmp_path / folder for folder in folders)]
                     for part, folders in expected.items()}


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
    lower = ".jpg .jpeg .jfif .jpe .png .bmp .tif .tiff .webp".split()  # as docs/data.md says
    suffixes = [*lower, *map(str.upper, lower), ".Jpg"]
    stems = [f"wall_{i:02d}" for i in range(len(suffixes))]
    photos = [stem + suffix for stem, suffix in zip(stems, suffixes)]
    masks = [stem + suffix for stem, suffix in zip(stems, reversed(suffixes))]
    part = pairs_of(tmp_path, photos, masks)
    assert part.pairs == [
        Pair(tmp_path / "images" / photo, tmp_path / "masks" / mask, "wall")
        for photo, mask, stem in zip(photos, masks, stems)]


def test_only_visible_pictures_count(tmp_path):
    names = ("a.png", ".a.jpg", "._a.png", ".DS_Store", "Thumbs.db", "readme.txt", "b.json", "png")
    part = pairs_of(tmp_path, names, names)
    assert [pair.image.name for pair in part.pairs] == ["a.png"]


def test_the_source_comes_from_the_name(tmp_path):
    """The 11k set holds names that end in .jpg.jpg."""
    names = ("noncrack_noncrack_concrete_wall_12_9.jpg.jpg", "CRACK500_20160222_081102_1_721.jpg")
    part = pairs_of(tmp_path, names, names)
    assert [(pair.image.name, pair.source) for pair in part.pairs] == [
        (names[1], "CRACK500"), (names[0], "noncrack")]


@pytest.mark.parametrize("photos, masks, without_mask, without_image", [
    (["a.jpg", "b.jpg"], ["a.png"], ["b.jpg"], []),
    (["a.jpg"], ["a.png", "b.png"], [], ["b.png"]),
    (["a.jpg", "b.jpg.jpg"], ["a.jpg", "b.png"], ["b.jpg.jpg"], ["b.png"]),
    (["a.jpg", "b.jpg"], ["a.jpg", "b_crack.png"], ["b.jpg"], ["b_crack.png"]),
])
def test_what_has_no_partner_is_kept_apart(tmp_path, photos, masks, without_mask, without_image):
    part = pairs_of(tmp_path, photos, masks)
    assert [(pair.image.name, pair.mask.name) for pair in part.pairs] == [(photos[0], masks[0])]
    assert [path.name for path in part.without_mask] == without_mask
    assert [path.name for path in part.without_image] == without_image


@pytest.mark.parametrize("photos, masks", [
    (["a.jpg", "a.png"], ["a.png"]), (["a.jpg"], ["a.bmp", "a.png", "a.tif"])])
def test_two_pictures_of_one_name_are_refused(tmp_path, photos, masks):
    with pytest.raises(ValueError, match="/a.png: a second picture of that name"):
        pairs_of(tmp_path, photos, masks)


# Parts

def test_sub_folders_are_read_and_paired_by_their_place(tmp_path):
    """Cameras count from 1 in each folder."""
    for part in ("images", "masks"):
        for place in ("day1", "day2/north", ".trash"):
            fill(tmp_path / part / place, "IMG_0001.jpg", "IMG_0002.jpg")
        fill(tmp_path / part, "IMG_0001.jpg")
    (tmp_path / "masks/day1/IMG_0002.jpg").unlink()
    part = find([tmp_path])["train"]
    names = ["IMG_0001.jpg", "day1/IMG_0001.jpg", "day2/north/IMG_0001.jpg",
             "day2/north/IMG_0002.jpg"]
    assert [pair.name for pair in part.pairs] == names
    for pair in part.pairs:
        assert (pair.image, pair.mask) == (tmp_path / "images" / pair.name,
                                           tmp_path / "masks" / pair.name)
    assert part.without_mask == [tmp_path / "images/day1/IMG_0002.jpg"]
    assert notes({"train": part}) == []


def test_links_do_not_run_in_circles(tmp_path):
    for part in ("images", "masks"):
        fill(tmp_path / part, "a.png")
        (tmp_path / part / "again").symlink_to(tmp_path / part)
    assert len(find([tmp_path])["train"].pairs) == 1


def test_a_sub_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    """Root may read everything: the refusal is played."""
    for part in ("images", "masks"):
        fill(tmp_path / part / "secret", "a.png")
    look = os.scandir

    def barred(path):
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", str(path))
        return look(path)

    monkeypatch.setattr(os, "scandir", barred)
    with pytest.raises(PermissionError, match="images/secret"):
        find([tmp_path])


@pytest.mark.parametrize("form", ["{0}/{1}", "{1}/{0}"])
@pytest.mark.parametrize("present, expected", [
    (("train", "val"), {"train": "train", "validation": "val"}),
    (("train", "valid"), {"train": "train", "validation": "valid"}),
    (("train", "test"), {"train": "train", "test": "test"}),
    (("train", "validation", "test"), {"train": "train", "validation": "validation",
                                       "test": "test"}),
])
def test_parts_by_their_names(tmp_path, form, present, expected):
    for part in present:
        for what in ("images", "masks"):
            fill(tmp_path / form.format(part, what), f"{part}.png")
    parts = find([tmp_path])
    assert {part: [pair.image.stem for pair in parts[part].pairs] for part in parts} == {
        part: [name] for part, name in expected.items()}
    assert notes(parts) == []


def test_a_part_inside_images_does_not_train(tmp_path):
    for part in ("images", "masks"):
        fill(tmp_path / part, "a.png")
        fill(tmp_path / part / "val", "b.png")
    parts = find([tmp_path])
    assert [[pair.name for pair in part.pairs] for part in parts.values()] == [["a.png"], ["b.png"]]


def test_what_is_not_used_is_named(tmp_path):
    for what in ("images", "masks"):
        fill(tmp_path / "train" / what, "a.png")
    fill(tmp_path / "extra", "b.png")
    fill(tmp_path / "train/old_masks", "a.png")
    fill(tmp_path / "test/images", "c.png")
    fill(tmp_path / ".git", "d.png")
    fill(tmp_path, "README")
    assert notes(find([tmp_path])) == ["not used: extra/, test/, train/old_masks/"]


# Names of masks

@pytest.mark.parametrize("end", ["_mask", "_masks", "-mask", "_label", "_labels", "_gt", "_GT",
                                 "_seg", "_Mask"])
def test_masks_may_say_that_they_are_masks(tmp_path, end):
    part = pairs_of(tmp_path, ["a.jpg", "b.jpg", "c_1.jpg"], [
        f"a{end}.png", "b.png", f"c_1{end}.tif"])
    assert [pair.mask.stem for pair in part.pairs] == [f"a{end}", "b", f"c_1{end}"]
    assert not part.without_mask and not part.without_image


@pytest.mark.parametrize("photos, masks, expected, alone", [
    (["a.jpg"], ["a.png", "a_mask.png"], {"a.jpg": "a.png"}, ["a_mask.png"]),
    (["a.jpg"], ["a_label.png", "a_mask.png"], {"a.jpg": "a_label.png"}, ["a_mask.png"]),
    (["a.jpg", "a_mask.jpg"], ["a.png", "a_mask.png"],
     {"a.jpg": "a.png", "a_mask.jpg": "a_mask.png"}, []),
])
def test_the_photos_own_name_comes_first(tmp_path, photos, masks, expected, alone):
    fill(tmp_path / "images", *photos), fill(tmp_path / "masks", *masks)
    part = find([tmp_path])["train"]
    assert {pair.image.name: pair.mask.name for pair in part.pairs} == expected
    assert [path.name for path in part.without_image] == alone and not part.without_mask


@pytest.mark.parametrize("folder", ["", "train"])
def test_masks_beside_their_photos(tmp_path, folder):
    fill(tmp_path / folder, "a.jpg", "a-mask.png", "b.jpg", "b_mask.png", "c.jpg")
    part = find([tmp_path])["train"]
    assert {pair.image.name: pair.mask.name for pair in part.pairs} == {
        "a.jpg": "a-mask.png", "b.jpg": "b_mask.png"}
    assert [path.name for path in part.without_mask] == ["c.jpg"]


def test_results_of_infer_among_the_photos_are_never_trained_on(tmp_path):
    """They are reported as photos without masks, an error that stops training; alone, they are no
    masks of the photos beside them."""
    results = [f"a_{kind}.png" for kind in ("mask", "overlay", "probability")]
    fill(tmp_path / "photos", "a.jpg", *results), fill(tmp_path / "truth", "a.png")
    part = find([tmp_path / "photos", tmp_path / "truth"])["train"]
    assert {"a_overlay.png", "a_probability.png"} <= {path.name for path in part.without_mask}
    with pytest.raises(FileNotFoundError):
        find([tmp_path / "photos"])


# Other kinds

def test_pictures_of_another_kind_are_counted(tmp_path):
    pairs_of(tmp_path, ["b.jpg", "notes.txt", "b.heic", "c.HEIC"], ["b.png"])
    part = find([tmp_path])["train"]
    assert [(pair.image.name, pair.mask.name) for pair in part.pairs] == [("b.jpg", "b.png")]
    assert not (part.without_mask or part.without_image)
    assert notes({"train": part}) == [
        "pictures not read: 2 .heic; save them as .jpg or .png first"]

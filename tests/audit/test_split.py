"""Who sits on which side of a split, and is what would spoil a training refused?"""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unet_resnet.audit.groups import group_of
from unet_resnet.audit.split import (
    VALIDATION_SHARE, describe_split, load_pairs, read_split, split_for_run)

NAMES = sorted(f"{source}_{photo}_crop{crop}" for source in ("road", "wall")
               for photo in range(12) for crop in range(3))


def make_pair(root: Path, name: str, seed: int) -> None:
    """A photo of noise, so that no two seeds look alike, and a mask with one crack."""
    noise = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    crack = np.zeros((24, 24), np.uint8)
    crack[:2] = 255
    for part, picture in (("images", noise), ("masks", crack)):
        (root / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(root / part / f"{name}.png")


def make_set(root: Path, names: list[str]) -> Path:
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for name in names:
        make_pair(root, name, NAMES.index(name))
    return root


def names_of(sides: Sequence) -> list[list[str]]:
    """The names on the two sides, without the notes."""
    return [[pair.image.stem for pair in pairs] for pairs in sides[:2]]


@pytest.mark.parametrize("seed", range(3))
def test_laws_of_a_split(tmp_path, seed):
    root = make_set(tmp_path, NAMES)
    train, validation, *_ = sides = load_pairs([root], seed)
    assert sorted(pair.image.stem for pair in train + validation) == NAMES  # each once
    assert {group_of(pair.image.stem) for pair in train}.isdisjoint(
        group_of(pair.image.stem) for pair in validation)
    for source in ("road", "wall"):
        held_out = sum(pair.source == source for pair in validation)
        assert held_out == pytest.approx(VALIDATION_SHARE * len(NAMES) / 2, abs=3)  # one photo
    assert names_of(load_pairs([root], seed)) == names_of(sides)
    assert names_of(load_pairs([root / "images", root / "masks"], seed)) == names_of(sides)
    assert names_of(load_pairs([root], seed + 1)) != names_of(sides)


def test_copies_under_other_names_stay_on_one_side(tmp_path):
    root = make_set(tmp_path, NAMES)
    for photo in range(12):
        make_pair(root, f"copy_{photo}", NAMES.index(f"road_{photo}_crop0"))
    train, validation, *_ = load_pairs([root])
    held_out = {pair.image.stem for pair in validation}
    assert held_out & {f"copy_{photo}" for photo in range(12)}
    assert all((f"copy_{photo}" in held_out) == (f"road_{photo}_crop0" in held_out)
               for photo in range(12))


def test_the_part_test_is_the_validation_part(tmp_path):
    make_set(tmp_path / "train", NAMES[:9])
    make_set(tmp_path / "test", NAMES[9:12])
    for seed in range(2):
        assert names_of(load_pairs([tmp_path], seed)) == [NAMES[:9], NAMES[9:12]]
    assert names_of(load_pairs([tmp_path], 0, "groups")) != [NAMES[:9], NAMES[9:12]]


@pytest.mark.parametrize("val", ["val", "valid"])
def test_beside_val_the_part_test_is_kept_apart(tmp_path, val):
    make_set(tmp_path / "train", NAMES[:9])
    make_set(tmp_path / val, NAMES[9:12])
    make_set(tmp_path / "test", NAMES[12:15])
    make_set(tmp_path / "old", NAMES[15:18])
    train, validation, test, notes = sides = load_pairs([tmp_path])
    assert names_of(sides) == [NAMES[:9], NAMES[9:12]]
    assert [pair.image.stem for pair in test] == NAMES[12:15]
    assert notes == ["not used: old/"]
    split = describe_split(train, validation)
    assert load_pairs([tmp_path], 0, split, strict=True)[:3] == (train, validation, test)
    # Drawn of all parts, as where photographs are in several.
    *sides, test, _ = load_pairs([tmp_path], 0, "groups")
    assert sorted(sum(names_of(sides), [])) == sorted(NAMES[:15]) and not test


def test_a_split_may_name_photos_of_test(tmp_path):
    """That of a run before there was a val/, or a user's own."""
    for part, names in (("train", NAMES[:9]), ("test", NAMES[9:12])):
        make_set(tmp_path / part, names)
    split = describe_split(*load_pairs([tmp_path])[:2])
    make_set(tmp_path / "val", NAMES[12:15])
    train, validation, test, _ = sides = load_pairs([tmp_path], split=split)
    assert names_of(sides) == [NAMES[:9], NAMES[9:12]] and not test


def test_photographs_in_two_parts_are_named(tmp_path):
    for part, names in (("train", NAMES[:9]), ("val", NAMES[9:12]), ("test", NAMES[10:14])):
        make_set(tmp_path / part, names)
    notes = load_pairs([tmp_path])[3]
    assert any("photos shared by train, val or test: 2" in note for note in notes), notes


def test_parts_may_have_photos_of_the_same_names(tmp_path):
    """Each part counts from 0: no photo is taken for another, with a run's split or without."""
    for seed, part in enumerate(("train", "val", "test")):
        for number in range(3):
            make_pair(tmp_path / part, f"{number}", 10 * seed + number)
    train, validation, test, notes = load_pairs([tmp_path])
    split = describe_split(train, validation)
    for strict in (False, True):
        assert load_pairs([tmp_path], 0, split, strict) == (train, validation, test, [])
    assert [len(side) for side in (train, validation, test, notes)] == [3, 3, 3, 0]


def test_a_leak_is_named_by_the_split_in_use(tmp_path):
    """Not by that of the folders: --split groups puts a copy with its original."""
    for part, names in (("train", NAMES[:9]), ("val", NAMES[9:15])):
        make_set(tmp_path / part, names)
    make_pair(tmp_path / "val", "copy", NAMES.index(NAMES[0]))
    assert any("shared by train, val or test" in note for note in load_pairs([tmp_path])[3])
    train, validation, _, notes = load_pairs([tmp_path], 0, "groups")
    assert notes == []
    drawn = describe_split(train, validation)
    assert load_pairs([tmp_path], 0, drawn)[3] == []
    mine = {"train": {f"{name}.png": None for name in (*NAMES[:9], NAMES[12])},
            "validation": {f"{name}.png": None for name in ("copy", *NAMES[9:12], NAMES[13])}}
    note, left_out = sorted(load_pairs([tmp_path], 0, mine)[3], reverse=True)
    assert "show photographs to train on: 2, e.g. " in note and "left out: 1" in left_out


@pytest.mark.parametrize("copy, named", [("copy", True), (f"{NAMES[1]}_rot15", True),
                                         ("another", False)])
def test_a_leak_into_test_is_named_when_a_run_is_resumed(tmp_path, copy, named):
    for part, names in (("train", NAMES[:9]), ("val", NAMES[9:12]), ("test", NAMES[12:15])):
        make_set(tmp_path / part, names)
    make_pair(tmp_path / "test", copy, 99 if copy != "copy" else NAMES.index(NAMES[0]))
    train, validation, test, notes = load_pairs([tmp_path])
    again = load_pairs([tmp_path], 0, describe_split(train, validation), strict=True)
    assert again[:3] == (train, validation, test)
    assert [len(notes), len(again[3])] == [named, named] and all("too good" in note for note in [
        *notes, *again[3]])


def test_one_photo_of_one_name_in_two_parts(tmp_path):
    """In train/ and val/ it is refused at once, for the run could not be resumed; in test/ kept."""
    for part, names in (("train", NAMES[:9]), ("val", NAMES[9:12]), ("test", NAMES[12:15])):
        make_set(tmp_path / part, names)
    make_pair(tmp_path / "test", NAMES[0], 0)
    train, validation, test, *_ = split_for_run([tmp_path], 0, None, None, None)
    split = describe_split(train, validation)
    assert load_pairs([tmp_path], 0, split, strict=True)[:3] == (train, validation, test)
    assert len(test) == 4
    make_pair(tmp_path / "val", NAMES[0], 0)
    with pytest.raises(ValueError, match=f"{NAMES[0]}.png: the same photo to train and to"):
        split_for_run([tmp_path], 0, None, None, None)


@pytest.mark.parametrize("name", ["wall{}_rot15", "IMG_{}_x1_y0"])
def test_crops_in_other_sub_folders_stay_with_their_photograph(tmp_path, name):
    for number in range(12):
        for seed, (place, stem) in enumerate((("a", name.split("_rot")[0].replace("x1", "x0")),
                                              ("b", name))):
            make_pair(tmp_path / "made", stem.format(number), 100 * seed + number)
            for part in ("images", "masks"):
                (tmp_path / part / place).mkdir(parents=True, exist_ok=True)
                file = f"{stem.format(number)}.png"
                (tmp_path / "made" / part / file).rename(tmp_path / part / place / file)
    shutil.rmtree(tmp_path / "made")
    train, validation, *_ = load_pairs([tmp_path])
    sides = [{group_of(pair.image.stem) for pair in side} for side in (train, validation)]
    assert len(sides[1]) == len(validation) / 2 > 0 and sides[0].isdisjoint(sides[1])


def test_a_nested_set_has_no_leak_when_a_run_is_resumed(tmp_path):
    for day in range(6):
        for part in range(2):
            make_pair(tmp_path, f"wall_x{part}_y0", 10 * day + part)
        for part in ("images", "masks"):
            (tmp_path / part / f"day{day}").mkdir()
            for path in list((tmp_path / part).glob("*.png")):
                path.rename(tmp_path / part / f"day{day}" / path.name)
    train, validation, _, notes = load_pairs([tmp_path])
    assert notes == [] and len(validation) % 2 == 0
    split = describe_split(train, validation)
    assert load_pairs([tmp_path], 0, split, strict=True) == (train, validation, [], [])


def test_photos_of_one_name_show_one_photograph_only_in_one_folder(tmp_path):
    for number in range(6):
        make_pair(tmp_path, "photo", number)
        for part in ("images", "masks"):
            (tmp_path / part / f"wall{number}").mkdir()
            (tmp_path / part / "photo.png").rename(tmp_path / part / f"wall{number}/photo.png")
    train, validation, *_ = load_pairs([tmp_path])
    assert len(train) + len(validation) == 6 and validation


def test_photos_of_one_name_in_several_sub_folders(tmp_path):
    """Each has its own place in a split."""
    for seed, place in enumerate(("day1", "day2", "day3")):
        for number in range(4):
            make_pair(tmp_path, f"{number}", 10 * seed + number)
        for part in ("images", "masks"):
            (tmp_path / part / place).mkdir()
            for path in list((tmp_path / part).glob("*.png")):
                path.rename(tmp_path / part / place / path.name)
    make_pair(tmp_path, "alone", 99)
    train, validation, *_ = load_pairs([tmp_path])
    split = json.loads(json.dumps(describe_split(train, validation)))
    assert len(split["train"]) + len(split["validation"]) == 13
    assert {"alone.png", "day1/0.png"} <= split["train"].keys() | split["validation"].keys()
    assert load_pairs([tmp_path], 7, split, strict=True)[:2] == (train, validation)
    mine = {"train": {"day1/0.png": None}, "validation": {"alone.png": None, "day2/0.png": None}}
    train, validation, *_ = load_pairs([tmp_path], split=mine)
    assert [pair.name for pair in train + validation] == ["day1/0.png", "alone.png", "day2/0.png"]


def test_what_is_no_picture_for_us_is_named_where_nothing_else_is_there(tmp_path):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "a.gif").write_bytes(b"GIF89a")
        (tmp_path / part / "b.gif").write_bytes(b"GIF89a")
    (tmp_path / "masks/a.gif").unlink()
    (tmp_path / "masks/b.gif").unlink()
    with pytest.raises(ValueError, match="no pictures in it .*; pictures not read: 2 .gif"):
        load_pairs([tmp_path])


@pytest.mark.parametrize("name, expected", [
    ("images/road_0_crop1.jpg", "photo cannot be read: .*HEIC or GIF, save it as JPEG or PNG"),
    ("images/road_0_crop1.heic", "mask without photo: .*not read: 1 .heic"),
    ("masks/road_0_crop1.gif", "photo without mask: .*not read: 1 .gif")])
def test_a_photo_or_mask_of_another_kind_is_refused_with_advice(tmp_path, name, expected):
    make_set(tmp_path, NAMES[:9])
    (tmp_path / name).with_suffix(".png").unlink()
    (tmp_path / name).write_bytes(b"GIF89a" if "gif" in name else b"\0\0\0\x10ftypheic\0\0\0\0")
    with pytest.raises(ValueError, match=expected):
        load_pairs([tmp_path])


@pytest.mark.parametrize("part, doing", [("train", "train on"), ("test", "validate on")])
def test_a_side_without_cracks_is_refused(tmp_path, part, doing):
    make_set(tmp_path / "train", NAMES[:9])
    make_set(tmp_path / "test", NAMES[9:12])
    for mask in (tmp_path / part / "masks").iterdir():
        Image.fromarray(np.zeros_like(np.array(Image.open(mask)))).save(mask)
    with pytest.raises(ValueError, match=f"no crack in the . photos to {doing}"):
        load_pairs([tmp_path])


def test_folders_without_pictures_are_named(tmp_path):
    make_set(tmp_path, [])
    with pytest.raises(ValueError, match=re.escape(str(tmp_path)) + ".*jpg"):
        load_pairs([tmp_path])


def remove(root: Path, name: str) -> None:
    for part in ("images", "masks"):
        (root / part / f"{name}.png").unlink()


def edit(root: Path, name: str) -> None:
    make_pair(root, name, seed=999)


def rename(root: Path, name: str) -> None:
    for part in ("images", "masks"):
        (root / part / f"{name}.png").rename(root / part / f"{name}_new.png")


@pytest.mark.parametrize("fault", [
    lambda root: (root / "masks" / "road_0_crop1.png").unlink(),
    lambda root: (root / "images" / "road_0_crop1.png").unlink(),
    lambda root: (root / "images" / "road_0_crop1.jpg").touch(),
    lambda root: (root / "images" / "road_0_crop1.png").write_text("no picture"),
    lambda root: (root / "masks" / "road_0_crop1.png").write_bytes(b""),
    lambda root: Image.new("L", (9, 9), 255).save(root / "masks" / "road_0_crop1.png"),
], ids=["no mask", "no photo", "second photo", "photo unreadable", "mask unreadable", "size"])
def test_a_fault_in_the_data_set_is_named_before_training(tmp_path, fault):
    fault(make_set(tmp_path, NAMES[:9]))
    with pytest.raises(ValueError, match="road_0_crop1"):
        load_pairs([tmp_path])


def test_a_split_is_found_again_where_the_data_have_moved(tmp_path):
    root = make_set(tmp_path / "set", NAMES)
    sides = load_pairs([root], seed=1)
    split = json.loads(json.dumps(describe_split(*sides[:2])))
    root = root.rename(tmp_path / "elsewhere")
    # Another seed: the split alone must decide.
    assert names_of(load_pairs([root], 2, split)) == names_of(sides)


def test_a_users_own_split_needs_names_only(tmp_path):
    root = make_set(tmp_path, NAMES)
    sides = [[f"{name}.png" for name in names] for names in (NAMES[4:], NAMES[:4])]
    text = json.dumps(dict(zip(("train", "validation"), sides)))
    (tmp_path / "mine.json").write_text(text, "utf-8-sig")  # as some editors on Windows save it
    train, validation, _, notes = load_pairs([root], split=read_split(tmp_path / "mine.json"))
    assert names_of((train, validation)) == [NAMES[4:], NAMES[:4]]
    # One crop of this photograph validates, the others train: allowed, but said.
    assert any("road_10" in note for note in notes)


@pytest.mark.parametrize("text", ["", "[]", "{}", "7", '{"train": ["a.png"]}', "\xff",
                                  '{"train": 1, "validation": 2}', "[" * 10**5,
                                  '{"train": "a.png", "validation": "b.png"}',
                                  '{"train": [' + "1" * 5000 + "]}"])
def test_what_is_no_split_is_named(tmp_path, text):
    (tmp_path / "mine.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match="mine.json"):
        read_split(tmp_path / "mine.json")
    with pytest.raises(OSError, match="--split .*: Is a directory; expected a file, or groups"):
        read_split(tmp_path)


@pytest.mark.parametrize("change", [edit, remove, rename])
def test_another_data_set_than_the_splits_is_refused(tmp_path, change):
    root = make_set(tmp_path, NAMES)
    split = describe_split(*load_pairs([root])[:2])
    change(root, NAMES[7])
    with pytest.raises(ValueError, match=NAMES[7]):
        load_pairs([root], split=split)


def test_a_photo_on_both_sides_of_a_split_is_refused(tmp_path):
    root = make_set(tmp_path, NAMES)
    split = describe_split(*load_pairs([root])[:2])
    name = next(iter(split["validation"]))
    split["train"][name] = split["validation"][name]
    with pytest.raises(ValueError, match=name):
        load_pairs([root], split=split)


def test_photos_on_neither_side_of_a_users_split_are_left_out_but_not_of_a_runs(tmp_path):
    root = make_set(tmp_path, NAMES)
    split = describe_split(*load_pairs([root])[:2])
    name = next(iter(split["train"]))
    del split["train"][name]
    train, *_, notes = load_pairs([root], split=split)
    assert name not in [pair.image.name for pair in train]
    assert "note: photos on neither side of the split, left out: 1" in notes
    with pytest.raises(ValueError, match=name):
        load_pairs([root], split=split, strict=True)


def test_two_data_sets_are_trained_on_together(tmp_path):
    for root, seeds in (("a", range(6)), ("b", range(6, 12))):
        for seed in seeds:
            make_pair(tmp_path / root, f"{root}_{seed}", seed)
    train, validation, *_ = load_pairs([tmp_path / "a", tmp_path / "b"])
    for side in (train, validation):
        assert {pair.source for pair in side} == {"a", "b"}
    assert len(train) + len(validation) == 12
    split = describe_split(train, validation)
    assert load_pairs([tmp_path / "b", tmp_path / "a"], split=split, strict=True)[:2] != ([], [])
    make_pair(tmp_path / "b", "a_0", 20)
    with pytest.raises(ValueError, match="a_0.png"):
        describe_split(*load_pairs([tmp_path / "a", tmp_path / "b"])[:2])

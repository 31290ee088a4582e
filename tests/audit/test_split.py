"""Who sits on which side of a split, and is what would spoil a training refused?"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unet_resnet.audit.groups import group_of
from unet_resnet.audit.split import VALIDATION_SHARE, describe_split, load_pairs, read_split

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


@pytest.mark.parametrize("part, doing", [("train", "train on"), ("test", "validate on")])
def test_a_side_without_cracks_is_refused(tmp_path, part, doing):
    make_set(tmp_path / "train", NAMES[:9])
    make_set(tmp_path / "test", NAMES[9:12])
    for mask in (tmp_path / part / "masks").iterdir():
        Image.fromarray(np.zeros_like(np.array(Image.open(mask)))).save(mask)
    with pytest.raises(ValueError, match=f"none of the . photos to {doing} has a crack"):
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
    # Another seed: the split alone shall decide.
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
                                  '{"train": "ab", "validation": []}',
                                  '{"train": [1, 2], "validation": []}',
                                  '{"train": [' + "1" * 5000 + "]}"])
def test_what_is_no_split_is_named(tmp_path, text):
    (tmp_path / "mine.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match="mine.json"):
        read_split(tmp_path / "mine.json")


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

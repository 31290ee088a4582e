"""Does the name, or else the picture, tell which images show the same photograph?"""

import io
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from PIL import Image

from unet_resnet.audit.groups import (
    group_of, merge_groups, near_duplicates, perceptual_hash, same_photograph, source_of,
    split_groups)

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

NAMES = [  # stem, source, group; the first part are real names of the 11k set and of shared/data
    ("CRACK500_20160222_081102_1921_721", "CRACK500", "20160222_081102"),
    ("CRACK500_IMG_2931_1945_485", "CRACK500", "CRACK500_IMG_2931"),
    ("Rissbilder_for_Florian_9S6A2785_493_901_3299_3768", "Rissbilder",
     "Rissbilder_for_Florian_9S6A2785"),
    ("Volker_DSC01648_211_212_1177_955", "Volker", "Volker_DSC01648"),
    ("DeepCrack_11125-1", "DeepCrack", "DeepCrack_11125"),
    ("DeepCrack_11113", "DeepCrack", "DeepCrack_11113"),
    ("DeepCrack_7Q3A9060-3", "DeepCrack", "DeepCrack_7Q3A9060"),
    ("DeepCrack_IMG_6472-1", "DeepCrack", "DeepCrack_IMG_6472"),
    ("DeepCrack_IMG36-2", "DeepCrack", "DeepCrack_IMG36"),
    ("GAPS384_train_0649_1_641", "GAPS384", "GAPS384_train_0649"),
    ("noncrack_noncrack_concrete_wall_12_9.jpg", "noncrack", "noncrack_noncrack_concrete_wall_12"),
    ("noncrack_METU-02321", "noncrack", "noncrack_METU-02321"),
    ("noncrack_scene-n02109961-Eskimo-dog", "noncrack", "noncrack_scene-n02109961-Eskimo-dog"),
    ("Eugen_Muller_9360_329_209_632_479", "Eugen_Muller", "Eugen_Muller_9360"),
    ("Eugen_Muller_8980a_123_420_527_438", "Eugen_Muller", "Eugen_Muller_8980"),
    ("cracktree200_6258", "cracktree200", "cracktree200_6258"),
    ("CFD_014", "CFD", "CFD_014"),
    ("forest_118", "forest", "CFD_118"),
    ("Sylvie_Chambon_069", "Sylvie_Chambon", "CFD_069"),
    ("Sylvie_Chambon_119", "Sylvie_Chambon", "Sylvie_Chambon_119"),
    ("Sylvie_Chambon_306", "Sylvie_Chambon", "Sylvie_Chambon_306"),
    ("Sylvie_Chambon_Im_noGT_ESAR_33a", "Sylvie_Chambon", "Sylvie_Chambon_Im_noGT_ESAR_33"),
    ("masonry_a_0_10", "masonry", "masonry_a_0"),
    ("UAVCrackX_x4-0031_12", "UAVCrackX", "UAVCrackX_x4"),  # the photographs of a flight overlap
    ("UAVCrackX_x16-0004_5", "UAVCrackX", "UAVCrackX_x16"),
    ("GAPS384_train-0556_541-1", "GAPS384", "GAPS384_train_0556"),
    ("GAPS384_train_0556_541_641", "GAPS384", "GAPS384_train_0556"),  # as the 11k set spells it
    ("GAPS384_test-0005_1-1", "GAPS384", "GAPS384_test_0005"),
    ("ConcreteWall_c1_5-7", "ConcreteWall", "ConcreteWall_c1"),
    ("MTCrack_obj15_exp4-342190", "MTCrack", "MTCrack_obj15"),
    ("MTFree_exp6-num-304811", "MTFree", "MTFree_exp6-num-304811"),  # names no object
    ("ShadowCrack_train-99", "ShadowCrack", "ShadowCrack_train-99"),
    ("SUT_130", "SUT", "SUT_130"),
    ("CrackTile_099", "CrackTile", "CrackTile_099"),
    ("HRCDS_10748", "HRCDS", "HRCDS_10748"),
    ("CFDFree_202", "CFDFree", "CFDFree_202"),

    ("IMG_2931", "photos", "IMG_2931"),
    ("DSC01648", "photos", "DSC01648"),
    ("DSC01648_211_212", "photos", "DSC01648"),
    ("DJI_0012_x0_y448", "photos", "DJI_0012"),
    ("IMG_20160222_081102", "photos", "IMG_20160222_081102"),
    ("IMG-20200101-WA0012", "photos", "IMG-20200101-WA0012"),
    ("20160222_081102_1_721", "photos", "20160222_081102"),
    ("11125-1", "photos", "11125"),
    ("wall", "photos", "wall"),
    ("wall-2", "photos", "wall-2"),
    ("bridge_north_2020-01", "bridge", "bridge_north_2020-01"),
    ("bridge_7_crop3_rot90", "bridge", "bridge_7"),
    ("bridge_7_tile_0_1", "bridge", "bridge_7"),
    ("bridge_7_jpg.rf.0a1b2c", "bridge", "bridge_7"),
    ("CFD_014_hflip", "CFD", "CFD_014"),
    ("pavement_rotterdam", "pavement", "pavement_rotterdam"),
    ("_crop3", "photos", "_crop3"),
    ("wall12_x0_y512", "photos", "wall12"),
    ("crack12_jpg.rf.0a1b2c3d", "photos", "crack12"),
    ("af2a91bc-IMG_0001", "photos", "af2a91bc-IMG_0001"),  # Label Studio's
    ("af2a91bc-bridge_7", "bridge", "af2a91bc-bridge_7"),
    ("P1_0001", "P1", "P1_0001"),  # a pier, not a camera's counter
    ("P1010001", "photos", "P1010001"),
    ("P_20180101_120000_1_361", "photos", "P_20180101_120000"),  # ASUS
    ("3f2a91bc-wall_x0_y0", "photos", "wall"),  # crops, uploaded to Label Studio
    ("7be10c44-wall_x0_y512", "photos", "wall"),
    ("pier_zoom_7", "pier", "pier_zoom_7"),
    ("bridge_7_rotated_15deg", "bridge", "bridge_7"),
    ("bridge_7_augmented_2", "bridge", "bridge_7"),
]


@pytest.mark.parametrize("stem, source, group", NAMES, ids=[name[0] for name in NAMES])
def test_names(stem: str, source: str, group: str) -> None:
    assert (source_of(stem), group_of(stem)) == (source, group)
    assert group_of(group) == group


@pytest.mark.parametrize("earlier, later, same", [
    ("UAVCrackX_x4-0001_2", "UAVCrackX_x4-0250_1", True),
    ("UAVCrackX_x4-0001_2", "UAVCrackX_x8-0001_2", False),
    ("GAPS384_train-0556_1-1", "GAPS384_train_0556_541_1", True),
    ("ConcreteWall_c1_0-2", "ConcreteWall_c1_5-7", True),
    ("SUT_002", "SUT_002", True),
    ("IMG_0001", "IMG_0001", False),  # cameras count from 1 again
    ("IMG_0001_crop1", "IMG_0001_crop2", True),
    ("MTFree_exp3-num-110136", "MTFree_exp3-num-260521", False),
])
def test_names_that_prove_the_same_photograph(earlier, later, same):
    photos = [Path("a/other.jpg"), Path(f"a/{earlier}.jpg"), Path(f"b/{later}.png")]
    assert same_photograph(photos, border=2) == ({2: 1} if same else {})


def texture(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Grain on soft spots, as concrete has; seeds share the statistics and nothing else."""
    draw = np.random.default_rng(seed)
    grey = sum(np.asarray(Image.fromarray(draw.normal(size=(n, n)).astype(np.float32))
                          .resize(size, Image.BICUBIC)) for n in (5, 20, 80))
    return Image.fromarray((128 + 20 * grey).clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def hashed(image: Image.Image) -> torch.Tensor:
    return perceptual_hash(torch.from_numpy(np.array(image.convert("L"))) / 255)


ALTERED = {
    "jpeg 40": lambda image: jpeg(image, 40),
    "half": lambda image: image.resize((160, 120)),
    "double": lambda image: image.resize((640, 480)),
    "squeezed": lambda image: jpeg(image.resize((448, 448)), 75),
    "faint": lambda image: jpeg(image.point(lambda value: 0.1 * value + 100), 40),
    "darker": lambda image: image.point(lambda value: 0.6 * value + 10),
    **{turn.name: lambda image, turn=turn: jpeg(image.transpose(turn), 75)
       for turn in Image.Transpose},
}


@pytest.mark.parametrize("alter", ALTERED.values(), ids=ALTERED)
def test_an_altered_copy_is_found_among_strangers(alter) -> None:
    originals = [texture(seed) for seed in range(12)]
    hashes = [hashed(image) for image in originals + [alter(image) for image in originals]]
    assert near_duplicates(hashes, block=7) == [(i, i + 12) for i in range(12)]


def test_an_image_without_content_resembles_nothing() -> None:
    ramp = torch.linspace(0, 1, 1500).expand(1000, 1500)
    blank = torch.full((1000, 1500), 0.7)
    hashes = [perceptual_hash(image) for image in (blank, blank, ramp, ramp)]
    assert near_duplicates(hashes) == []
    assert near_duplicates([]) == []


def test_hash_accepts_a_channel_and_counts_signs() -> None:
    gray = torch.rand(50, 70, generator=torch.Generator().manual_seed(0))
    signs = perceptual_hash(gray)
    assert signs.shape == (576,) and signs.dtype == torch.int8
    assert signs.abs().sum() == 384
    assert signs[0] == 0, "brightness is no mark of a photograph"
    assert torch.equal(signs, perceptual_hash(gray[None]))


def test_join_by_hand() -> None:
    groups = ["d", "a", "c", "b", "d", "e"]
    assert merge_groups(groups, []) == groups
    assert merge_groups(groups, [(0, 2), (2, 3)]) == ["b", "a", "b", "b", "b", "e"]


laws = settings(derandomize=True, deadline=None, database=None)
names = st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=30)


@laws
@given(names, st.data())
def test_join_laws(groups: list[str], data: st.DataObject) -> None:
    index = st.integers(0, len(groups) - 1)
    pairs = data.draw(st.lists(st.tuples(index, index), max_size=20))
    joined = merge_groups(groups, pairs)
    assert joined == merge_groups(groups, data.draw(st.permutations(pairs)))
    assert joined == merge_groups(joined, pairs)
    assert all(joined[i] == joined[j] for i, j in pairs)
    assert all(new <= old for new, old in zip(joined, groups))
    assert len(set(joined)) >= len(set(groups)) - len(pairs)
    assert all(joined[groups.index(group)] == new for group, new in zip(groups, joined))


images = st.lists(st.tuples(st.sampled_from("abcdefghij"), st.sampled_from(["CFD", "own", "x"])),
                  min_size=2, max_size=60).filter(lambda rows: len({row[0] for row in rows}) > 1)


@laws
@given(images, st.floats(0.01, 0.99), st.integers(0, 9), st.randoms(use_true_random=False))
def test_split_laws(rows: list[tuple[str, str]], share: float, seed: int,
                    shuffler: random.Random) -> None:
    groups, sources = zip(*rows)
    held = split_groups(groups, sources, share, seed)
    inside = {group for group, out in zip(groups, held) if out}
    assert len(held) == len(rows) and any(held) and not all(held)
    assert inside.isdisjoint(group for group, out in zip(groups, held) if not out)
    for source in set(sources):
        members = {group for group, other in rows if other == source}
        assert len(members) == 1 or sources.count(source) <= 3 or members & inside

    order = shuffler.sample(range(len(rows)), len(rows))
    again = split_groups(*zip(*(rows[i] for i in order)), share, seed)
    assert again == [held[i] for i in order]


@laws
@given(st.dictionaries(st.sampled_from(["CFD", "own", "x"]),
                       st.lists(st.integers(1, 12), min_size=2, max_size=20), min_size=1),
       st.floats(0.05, 0.5))
def test_every_source_gives_its_share(sizes: dict[str, list[int]], share: float) -> None:
    rows = [(f"{source}{number}", source) for source, counts in sizes.items()
            for number, count in enumerate(counts) for _ in range(count)]
    groups, sources = zip(*rows)
    held = split_groups(groups, sources, share)
    for source, counts in sizes.items():
        given_out = sum(out for out, other in zip(held, sources) if other == source)
        assert abs(given_out - share * sum(counts)) <= max(counts)


def test_sources_of_one_group_are_pooled() -> None:
    """Names such as bridge7_crop3 make every photograph a source of its own."""
    groups = [f"bridge{i // 4}" for i in range(400)]
    assert sum(split_groups(groups, groups, share=0.2)) == 80


def test_small_sources_are_pooled() -> None:
    """House by house, half of two photos each would be held out."""
    groups = [f"house{i}_{j}" for i in range(100) for j in range(2)]
    assert sum(split_groups(groups, [group[:-2] for group in groups], share=0.15)) == 30


def test_a_source_of_copies_takes_nothing_more() -> None:
    groups = [f"CFD_{i}" for i in range(100)] * 2
    assert sum(split_groups(groups, ["CFD"] * 100 + ["forest"] * 100, share=0.2)) == 40


def test_a_large_group_is_not_taken_for_a_small_share() -> None:
    groups = ["long_walk"] * 90 + [str(i) for i in range(10)]
    for seed in range(10):
        assert sum(split_groups(groups, ["own"] * 100, 0.1, seed)) in (9, 10)


def test_the_seed_changes_the_split() -> None:
    groups = [str(i) for i in range(100)]
    assert len({tuple(split_groups(groups, ["own"] * 100, 0.2, seed)) for seed in range(5)}) == 5


@pytest.mark.parametrize("groups", [["a", "a"], []])
def test_an_impossible_split_says_what_to_do(groups: list[str]) -> None:
    with pytest.raises(ValueError, match="two photographs or more"):
        split_groups(groups, ["own"] * len(groups), 0.2)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is absent")
def test_real_photographs() -> None:
    """Names and pictures agree, but for one photograph of CRACK500 stored twice, upside down."""
    crackmix = sorted((DATA / "crackmix" / "images").glob("*.jpg"))
    kept = [path for number, path in enumerate(crackmix)
            if number % 6 == 0 or source_of(path.stem) == "CFD" or "20160328_15082" in path.stem]
    paths = [*kept, *sorted((DATA / "confusers" / "images").glob("*.jpg"))[::6],
             *sorted((DATA / "khanhha_sample").glob("*/images/*.jpg"))]
    groups = [group_of(path.stem) for path in paths]
    pairs = near_duplicates([hashed(Image.open(path)) for path in paths])

    twin = {"20160328_150820", "20160328_150821"}
    strangers = [{groups[i], groups[j]} for i, j in pairs if groups[i] != groups[j]]
    assert strangers and all(pair == twin for pair in strangers)

    found = {path for pair in pairs for path in (paths[i] for i in pair)}
    aliases = [path for path, group in zip(paths, groups)
               if group.startswith("CFD_") and "khanhha_sample" in path.parts]
    assert len(aliases) == 19 and found.issuperset(aliases)

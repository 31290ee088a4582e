"""Does every photo meet its mask, is each width shown often enough, are crops reproducible?"""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Generator
from torch.utils.data import DataLoader

from unet_resnet import data
from unet_resnet.augment import Augment
from unet_resnet.data import Crops, Pair, balance, read_pair, repeats, spread
from unet_resnet.synthetic.confusers import confuse
from unet_resnet.synthetic.photometric import photometric


# Widths

@pytest.fixture
def masks(tmp_path: Path) -> dict[int, Path]:
    """Masks by the width of their one crack: of each class, and of no crack."""
    files = {width: tmp_path / f"{width}.png" for width in (0, 3, 5, 12, 20, 60)}
    for width, path in files.items():
        crack = np.zeros((64, 64), np.uint8)
        crack[:width] = 255
        Image.fromarray(crack).save(path)
    return files


@pytest.mark.parametrize("counts", [
    {"CFD": {3: 20}}, {"CFD": {3: 30, 12: 1}}, {"CFD": {3: 18, 5: 3, 20: 4, 60: 1, 0: 24}},
    {"CFD": {3: 1, 60: 1}, "noncrack": {0: 40}}, {"CFD": {3: 20, 5: 3}, "SUT": {3: 3, 5: 20}}],
    ids=str)
def test_laws_of_balanced(masks, counts):
    pairs = [Pair(Path(f"{source}_{width}_{i}.jpg"), masks[width], source)
             for source, widths in counts.items()
             for width, count in widths.items() for i in range(count)]
    found = balance(pairs)
    assert found == balance(pairs) and found[:len(pairs)] == pairs
    free = sum(widths.get(0, 0) for widths in counts.values())
    cracked = sum(pair.mask != masks[0] for pair in found)
    assert len(found) - cracked == max(free, min(cracked // 2, 6 * free))
    for source, widths in counts.items():
        for width, count in widths.items():
            times = Counter(pair for pair in found
                            if pair.source == source and pair.mask == masks[width])
            fifth = sum(widths.values()) // 5
            assert len(times) == count
            if width:
                assert times.total() == max(count, min(fifth, 6 * count))
            assert max(times.values()) - min(times.values()) <= 1


def test_the_widest_place_of_a_mask_gives_its_class(masks, tmp_path):
    both = np.array(Image.open(masks[20]))
    both[40:43] = 255  # a narrow crack beside the wide one
    Image.fromarray(both).save(tmp_path / "both.png")
    narrow = [Pair(Path(f"{i}.jpg"), masks[3], "CFD") for i in range(28)]
    wide = [Pair(Path("a.jpg"), masks[20], "CFD"),
            Pair(Path("b.jpg"), tmp_path / "both.png", "CFD")]
    assert Counter(balance(narrow + wide)[30:]) == dict.fromkeys(wide, 2)


@pytest.mark.parametrize("target, extra", [
    (19, []), (25, [0, 4, 8, 12, 16]), (50, [*range(0, 20, 2), *range(1, 20, 2), *range(0, 20, 2)]),
    (999, 5 * [*range(20)])])
def test_repeats_come_from_all_over_the_list(target, extra):
    assert sorted(repeats([*range(20)], target)) == sorted(extra)


@pytest.mark.parametrize("least, times", [(1, 1), (3, 1), (4, 2), (80, 27)])
def test_a_small_set_is_repeated_as_a_whole(masks, least, times):
    pairs = [Pair(Path(f"{i}.jpg"), masks[3], "CFD") for i in range(3)]
    assert balance(pairs, least) == pairs * times


# Crops

@pytest.fixture
def pairs(tmp_path) -> list[Pair]:
    """Five photos of one grey value each (0, 50, ... 200), all crack, of 40 by 30 pixels."""
    found = []
    for index in range(5):
        photo, mask = (tmp_path / f"{part}_{index}.png" for part in ("photo", "mask"))
        Image.new("RGB", (40, 30), (50 * index,) * 3).save(photo)
        Image.new("L", (40, 30), 255).save(mask)
        found.append(Pair(photo, mask, "wall"))
    return found


def test_a_mask_of_another_size_is_named(pairs):
    Image.new("L", (30, 40)).save(pairs[2].mask)  # as after a quarter turn
    with pytest.raises(ValueError, match=f"{re.escape(str(pairs[2].mask))}.*30x40.*40x30"):
        read_pair(pairs[2])


def test_a_pair_is_read_as_it_is_on_the_disk(pairs):
    for index, (photo, mask) in enumerate(map(read_pair, pairs)):
        assert photo.shape == (3, 30, 40) and mask.shape == (1, 30, 40)
        assert photo.dtype == mask.dtype == torch.uint8
        assert (photo == 50 * index).all() and (mask == 1).all()


def look(photo, mask, generator):
    """In place of an augmentation: which picture it is, and the first random number it gets."""
    return photo[0, 0, 0] // 50, torch.rand((), generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("counts", [(1,), (7,), (1, 30), (240, 100, 20), (3, 3, 3, 3)], ids=str)
def test_sources_are_spread_evenly(counts):
    """In any stretch of an epoch a source has its share, but for one picture at each end."""
    sources = [str(i) for i, count in enumerate(counts) for _ in range(count)]
    orders = [spread(sources, Generator().manual_seed(seed)) for seed in range(20)]
    for order in orders:
        assert sorted(order) == list(range(len(sources)))
        for source, count in enumerate(counts):
            seen = 0
            for place, index in enumerate(order, start=1):
                seen += sources[index] == str(source)
                assert abs(seen - place * count / len(sources)) < 2 + len(counts) / 2
    assert len(sources) == 1 or len(set(map(tuple, orders))) > 15


def test_each_epoch_shows_each_picture_once_in_an_order_of_its_own(pairs):
    crops = Crops(pairs, look, seed=3)
    orders = [tuple(int(crops[position][0]) for position in range(start, start + len(crops)))
              for start in range(0, 40, 5)]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
    assert len(set(orders)) > 4


def test_each_source_is_spread_over_an_epoch():
    """Of three photos of a rare source, one is in each third, in an order that changes."""
    order = Crops([Pair(*2 * (f"{source}{i}",), source) for source, count in (("a", 30), ("b", 3))
                   for i in range(count)], lambda photo, mask, generator: (photo, mask), 0)
    seen = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "read_pair", lambda pair: (pair.source, pair.image))
        for epoch in range(10):
            shown = [order[33 * epoch + place] for place in range(33)]
            assert [sum(source == "b" for source, _ in shown[third:third + 11])
                    for third in (0, 11, 22)] == [1, 1, 1]
            seen.add(tuple(shown))
    assert len(seen) == 10


def test_random_numbers_differ_between_positions_and_seeds(pairs):
    numbers = {float(Crops(pairs, look, seed)[position][1])
               for seed in range(20) for position in range(20)}
    assert len(numbers) == 400


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker")  # on a single core
def test_position_alone_decides(pairs):
    """Neither the order of access, nor the number of workers, nor the global generator."""
    crops = Crops(pairs, Augment(32, confuse, photometric), seed=3)
    wanted = [crops[position] for position in range(3, 13)]
    state = torch.get_rng_state()
    for position in (9, 3, 12):
        torch.manual_seed(position)
        crop = Crops(pairs, Augment(32, confuse, photometric), seed=3)[position]
        assert all(map(torch.equal, crop, wanted[position - 3]))
    torch.set_rng_state(state)
    for workers in (0, 2):
        loader = DataLoader(crops, 4, sampler=range(3, 13), num_workers=workers)
        photos, masks = map(torch.cat, zip(*loader))
        assert torch.equal(photos, torch.stack([photo for photo, _ in wanted]))
        assert torch.equal(masks, torch.stack([mask for _, mask in wanted]))
    others = Crops(pairs, Augment(32, confuse, photometric), seed=4)
    assert not np.array_equal(wanted[0][0], others[3][0])

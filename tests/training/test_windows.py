"""Which crops are in an update?"""

from collections import Counter

import pytest
import torch

from unet_resnet.data import Crops, Pair
from unet_resnet.training import windows
from unet_resnet.training.processes import Group


class Numbered(Crops):
    """Crops that hold their position."""

    def __getitem__(self, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        return 2 * (torch.full((1, 1, 1), float(position)),)


def positions(epochs: int, crops: Crops, size: int, group: Group = Group()) -> list[list[int]]:
    updates = -(-len(crops) // size)
    read = windows.read(range(epochs * updates), crops, size, 0, group, torch.device("cpu"))
    return [[int(image) for image, weight in zip(images, weights) if weight]
            for images, _, weights in read]


def test_all_windows_are_full_and_all_photos_shown_alike():
    """Five photos in windows of two: an epoch has three, the last of which takes from the next."""
    crops = Numbered([Pair(*2 * (name,), "") for name in "abcde"], None, 0)
    found = positions(5, crops, 2)
    assert found == [[i, i + 1] for i in range(0, 30, 2)]
    assert {*Counter(position % 5 for window in found for position in window).values()} == {6}


def test_processes_share_each_window():
    crops = Numbered([Pair(*2 * (name,), "") for name in "abcde"], None, 0)
    shares = [positions(1, crops, 5, Group(rank, 2)) for rank in (0, 1)]
    assert shares == [[[0, 1, 2]], [[3, 4]]]


def test_one_of_several_processes_does_not_repeat_an_update():
    """The others would wait for it."""
    full = torch.OutOfMemoryError("CUDA out of memory")
    assert windows.halve_micro_batch(5, full, Group()) == 3
    with pytest.raises(torch.OutOfMemoryError):
        windows.halve_micro_batch(5, full, Group(0, 2))

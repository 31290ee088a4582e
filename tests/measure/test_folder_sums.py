"""Are the sums of each folder those of the photos below it?"""

import csv
from pathlib import Path

import pytest
import torch

from unet_resnet.measure.folders import Folders
from unet_resnet.measure.tables import Tables

BLANK = {"photo": "", "cracks": 0, "wide": 0, "length_px": 0.0, "width_max_px": None,
         "length_mm": 0.0, "width_max_mm": None, "length_mm_below_0.3": 0.0,
         "length_mm_from_0.3": 0.0}


def photo(name: str, cracks: int, length: float, widest: float | None) -> dict:
    widest_mm = None if widest is None else widest / 10
    return dict(zip(BLANK, (name, cracks, 1, length, widest, length / 10, widest_mm, 0.0,
                            length / 10), strict=True))


def test_a_folder_contains_those_in_it():
    folders = Folders(BLANK)
    for row in (photo("north/pier 2/a", 2, 50.1, 4.0), photo("north/pier 10/b", 1, 20.2, 9.0),
                photo("north/c", 0, 0.0, None), photo("south/d", 3, 0.3, 9.0),
                photo("e", 0, 0.0, None)):
        folders.add(row)
    rows = folders.rows()
    assert [(row["folder"], row["photos"], row["photos_with_cracks"], row["cracks"])
            for row in rows] == [(".", 5, 3, 6), ("north", 3, 2, 3), ("north/pier 10", 1, 1, 1),
                                 ("north/pier 2", 1, 1, 2), ("south", 1, 1, 3)]
    assert [row["wide"] for row in rows] == [5, 3, 1, 1, 1]
    assert [row["length_px"] for row in rows] == [70.6, 70.3, 20.2, 50.1, 0.3]
    assert [row["length_mm_from_0.3"] for row in rows] == [7.06, 7.03, 2.02, 5.01, 0.03]
    assert [(row["width_max_mm"], row["widest_photo"]) for row in rows] == [
        (0.9, "north/pier 10/b"), (0.9, "north/pier 10/b"), (0.9, "north/pier 10/b"),
        (0.4, "north/pier 2/a"), (0.9, "south/d")]


def test_a_folder_without_cracks_has_no_width():
    folders = Folders(BLANK)
    folders.add(photo("a/x", 0, 0.0, None))
    assert [(row["width_max_px"], row["widest_photo"]) for row in folders.rows()] == [
        (None, None)] * 2


@pytest.mark.parametrize("folder, names", [
    ("wall", [".", "wall"]), ("a/b/c", [".", "a", "a/b", "a/b/c"])])
def test_the_table(tmp_path, folder, names):
    """Equal to the sums of photos.csv; frames of a video, in which a crack returns, are left out.
    """
    with Tables(tmp_path, 0.1, [0.5]) as tables:
        for i in range(3):
            mask = torch.zeros(1, 40, 200)
            mask[:, 10:13 + 3 * i, 20:180] = 1
            tables.add(f"{folder}/{i}", tables.measure(mask), Path(f"{folder}/{i}.png"))
        tables.add("film/000001", tables.measure(mask))
    with open(tmp_path / "folders.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    with open(tmp_path / "photos.csv", newline="") as file:
        photos = [row for row in csv.DictReader(file) if row["photo"].startswith(folder)]
    assert [row["folder"] for row in rows] == names
    for row in rows:
        assert row["photos"] == row["cracks"] == "3" and row["widest_photo"] == f"{folder}/2"
        for column in ("length_px", "length_mm", "length_mm_below_0.5", "length_mm_from_0.5"):
            assert float(row[column]) == pytest.approx(sum(float(each[column]) for each in photos))
        assert row["width_max_mm"] == photos[2]["width_max_mm"]

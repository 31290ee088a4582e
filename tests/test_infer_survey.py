"""A survey of several folders as users of infer.py get it: sums by folder, and what counts."""

import json

import pytest
from conftest import refused
from test_infer_more import Text, painted, table

pytestmark = pytest.mark.usefixtures("cracked")


def test_sums_by_folder(infer_with, tmp_path):
    for name, width in (("bridge/pier 1/a", 6), ("bridge/pier 1/b", 3), ("bridge/pier 2/a", 4),
                        ("tunnel/a", 5)):
        painted(tmp_path / f"survey/{name}.png", width)
    outcome = infer_with("survey", "--mm-per-pixel", 0.1, "--width-classes", 0.35, "--report")
    assert outcome.status == 0, outcome.err
    rows = table(tmp_path / "predictions/folders.csv")
    assert [(row["folder"], row["photos"], row["cracks"], row["widest_photo"]) for row in rows] == [
        (".", "4", "4", "bridge/pier 1/a"), ("bridge", "3", "3", "bridge/pier 1/a"),
        ("bridge/pier 1", "2", "2", "bridge/pier 1/a"), ("bridge/pier 2", "1", "1",
                                                         "bridge/pier 2/a"),
        ("tunnel", "1", "1", "tunnel/a")]
    photos = table(tmp_path / "predictions/photos.csv")
    assert float(rows[0]["length_mm"]) == pytest.approx(
        sum(float(row["length_mm"]) for row in photos))
    assert float(rows[2]["length_mm_below_0.35"]) == pytest.approx(10, rel=0.02)
    words = Text((tmp_path / "predictions/report.html").read_text()).words
    assert "Folders, each including its subfolders" in words and "bridge/pier 2" in words
    again = infer_with("survey", "--measure")  # the file is known as ours
    assert again.status == 0, again.err
    refused(infer_with("survey/tunnel", "--measure"), "infer.py", "holds results of")


def test_one_folder_has_no_section(infer_with, tmp_path):
    painted(tmp_path / "survey/a.png")
    painted(tmp_path / "survey/b.png")
    assert infer_with("survey", "--measure", "--report").status == 0
    assert [row["folder"] for row in table(tmp_path / "predictions/folders.csv")] == ["."]
    assert "Folders" not in Text((tmp_path / "predictions/report.html").read_text()).words


def test_what_is_too_wide_is_not_counted_unless_asked(infer_with, tmp_path):
    painted(tmp_path / "shadow.png", width=30)  # 100 long
    painted(tmp_path / "thin.png", width=4)
    outcome = infer_with("shadow.png", "thin.png", "--measure", "--report")
    assert outcome.status == 0, outcome.err
    shadow, thin = (line for line in outcome.out.splitlines() if ".png: " in line)
    assert "cracks 0, wide (not counted) 1, length (px) 0" in shadow and "wide" not in thin
    page = (tmp_path / "predictions/report.html").read_text()
    assert "1 too wide for a crack" in Text(page).words
    total, = table(tmp_path / "predictions/folders.csv")
    assert (total["cracks"], total["wide"]) == ("1", "1") and float(total["width_max_px"]) < 5
    outcome = infer_with("shadow.png", "thin.png", "--include-wide", "--report")
    assert outcome.status == 0 and "wide (not" not in outcome.out
    page = (tmp_path / "predictions/report.html").read_text()
    assert "too wide" not in page and "wide (not counted)" not in page
    total, = table(tmp_path / "predictions/folders.csv")
    assert (total["cracks"], total["wide"]) == ("2", "0") and float(total["width_max_px"]) > 25


@pytest.mark.parametrize("scales", ["1", "0.5", "0.5 1"])
def test_a_scale_is_named_beside_widths(infer_with, tmp_path, scales):
    painted(tmp_path / "x.png")
    outcome = infer_with("x.png", "--measure", "--scale", *scales.split())
    assert outcome.status == 0, outcome.err
    said = [line.removeprefix("note: ") for line in outcome.out.splitlines() if "note: " in line]
    notes = json.loads((tmp_path / "predictions/measurements.json").read_text())["notes"]
    assert notes == said and len(said) == (scales != "1")
    assert all(f"--scale {scales} to predict" in note for note in notes)


def test_a_users_table_of_folders_is_left_alone(infer_with, tmp_path):
    painted(tmp_path / "x.png")
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions/folders.csv").write_text("mine")
    refused(infer_with("x.png", "--measure"), "infer.py", "folders.csv", "left alone")

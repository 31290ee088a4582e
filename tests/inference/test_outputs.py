"""Is a fault of one photo a line, and everything else an error?"""

from pathlib import Path

import pytest
import torch
from PIL import Image

from unet_resnet.inference.inputs import Reading, describe, read
from unet_resnet.inference.outputs import Folder


@pytest.mark.parametrize("error, words", [
    (ValueError("a.png: no picture"), "infer.py: a.png: no picture"),
    (ValueError("two\nlines"), r"infer.py: a.png: two\nlines"),  # named if it is not yet
    (PermissionError(13, "Permission denied", "a.png"), "infer.py: [Errno 13]"),
    (MemoryError(), "infer.py: a.png: out of memory; use a smaller --tile"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried"), "a.png: out of memory; use a smaller"),
    (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), "use a smaller --tile")])
def test_a_photo_that_fails_is_one_line(tmp_path, capsys, error, words):
    folder = Folder(tmp_path, "hash")
    with folder.report_errors(Path("a.png")):
        raise error
    printed = capsys.readouterr().err
    assert words in printed and printed.count("\n") == 1
    assert folder.failed == {Path("a.png"): printed.strip().removeprefix("infer.py: ")}
    assert folder.print_summary([Path("a.png"), Path("b.png")]) == 1
    assert capsys.readouterr().out == f"1 photo predicted, 1 failed; results are in {tmp_path}\n"
    assert folder.print_summary([Path("a.png")]) == 1
    assert capsys.readouterr().out == "0 photos predicted, 1 failed\n"


@pytest.mark.parametrize("error", [
    RuntimeError("size of tensors"), BrokenPipeError(32, "Broken pipe"), KeyboardInterrupt(),
    TypeError("a mistake of ours")], ids=repr)
def test_other_faults_end_the_run(tmp_path, error):
    folder = Folder(tmp_path, "hash")
    with pytest.raises(type(error)), folder.report_errors(Path("a.png")):
        raise error
    assert not folder.failed and folder.print_summary([]) == 0


@pytest.mark.parametrize("path, name, numbers, has_pages, printed", [
    ("wall/x.png", "wall/x", {"crack_share": 0.0123, "cracks": 3, "length (mm)": 1234.5,
                              "mean width (mm)": None}, False,
     "wall/x.png: 1.23% crack, cracks 3, length (mm) 1234\n"),
    ("x\n.png", "x~", {"crack_share": 0.0}, True, r"x\n.png: 0.00% crack, results in x~_*.png "
     "(only the first of its pages or frames is read)\n")])
def test_what_is_printed_of_a_photo(tmp_path, capsys, path, name, numbers, has_pages, printed):
    folder = Folder(tmp_path, "hash")
    folder.claim([tmp_path / path], tmp_path)
    folder.index.entries[name] = next(iter(folder.index.entries.values()))
    folder.finish(name, Path(path), Reading(torch.zeros(3, 1, 1), has_pages=has_pages,
                                            state=(1, 2, "3")), numbers)
    assert capsys.readouterr().out == printed


def test_photos_and_videos_are_counted_apart():
    photos, videos = [Path("a.jpg"), Path("b.jpg")], [Path("c.mp4")]
    assert describe(photos + videos) == "2 photos and 1 video"
    assert describe(videos) == "1 video" and describe([]) == "0 photos"


@pytest.mark.parametrize("kind, has_pages", [("TIFF", True), ("WEBP", True), ("MPO", False)])
def test_pages_but_not_a_phones_previews_are_noticed(tmp_path, kind, has_pages):
    first, second = (Image.new("RGB", (9, 9), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "x", kind, save_all=True, append_images=[second])
    assert read(tmp_path / "x", None).has_pages == has_pages

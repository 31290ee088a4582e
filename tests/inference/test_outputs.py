"""Is a fault of one photo a line, and everything else an error?"""

from pathlib import Path

import pytest
import torch

from unet_resnet.inference.inputs import Reading, part_of
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
    with folder.reporting(Path("a.png")):
        raise error
    printed = capsys.readouterr().err
    assert words in printed and printed.count("\n") == 1
    assert folder.failed == {Path("a.png"): printed.strip().removeprefix("infer.py: ")}
    assert folder.conclude([Path("a.png"), Path("b.png")]) == 1
    assert capsys.readouterr().out.startswith("1 of 2 photos predicted, 1 failed")


@pytest.mark.parametrize("error", [
    RuntimeError("size of tensors"), BrokenPipeError(32, "Broken pipe"), KeyboardInterrupt(),
    TypeError("a mistake of ours")], ids=repr)
def test_other_faults_end_the_run(tmp_path, error):
    folder = Folder(tmp_path, "hash")
    with pytest.raises(type(error)), folder.reporting(Path("a.png")):
        raise error
    assert not folder.failed and folder.conclude([]) == 0


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
                                            facts=(1, 2, "3")), numbers)
    assert capsys.readouterr().out == printed


def test_parts_are_of_a_whole():
    photos, films = [Path("a.jpg"), Path("b.jpg")], [Path(f"{i}.mp4") for i in range(21)]
    assert part_of(1, photos) == "1 of 2 photos"
    assert part_of(23, photos + films) == "23 of 23 photos and videos"
    assert part_of(0, films) == "0 of 21 videos"

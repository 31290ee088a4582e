"""Is a fault of one photo a line, and everything else an error?"""

from pathlib import Path

import pytest
import torch

from unet_resnet.inference.outputs import line, reported


@pytest.mark.parametrize("error, words", [
    (ValueError("a.png: no picture"), "infer.py: a.png: no picture"),
    (ValueError("two\nlines"), r"infer.py: a.png: two\nlines"),  # named if it is not yet
    (PermissionError(13, "Permission denied", "a.png"), "infer.py: [Errno 13]"),
    (MemoryError(), "infer.py: a.png: out of memory; use a smaller --tile"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried"), "a.png: out of memory; use a smaller"),
    (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), "use a smaller --tile")])
def test_a_photo_that_fails_is_one_line(capsys, error, words):
    failed = {}
    with reported(Path("a.png"), failed):
        raise error
    printed = capsys.readouterr().err
    assert words in printed and printed.count("\n") == 1
    assert failed == {Path("a.png"): printed.strip().removeprefix("infer.py: ")}


@pytest.mark.parametrize("error", [
    RuntimeError("size of tensors"), BrokenPipeError(32, "Broken pipe"), KeyboardInterrupt(),
    TypeError("a mistake of ours")], ids=repr)
def test_other_faults_end_the_run(error):
    failed = {}
    with pytest.raises(type(error)), reported(Path("a.png"), failed):
        raise error
    assert not failed


def test_what_is_printed_of_a_photo():
    numbers = {"crack_share": 0.0123, "cracks": 3, "length (mm)": 1234.5, "mean width (mm)": None}
    assert line(Path("wall/x.png"), "wall/x", numbers, False) == (
        "wall/x.png: 1.23% crack, cracks 3, length (mm) 1234")
    assert line(Path("x\n.png"), "x~", {"crack_share": 0.0}, True) == (
        r"x\n.png: 0.00% crack, results in x~_*.png (only the first of its pages or frames is read)"
    )

"""Does a script end in one line where its user can mend what is wrong, and only there?"""

import pytest
from conftest import run_script
from torch import OutOfMemoryError

from unet_resnet.files import csv_lines, run


def raising(error: BaseException):
    def main() -> None:
        raise error
    return main


@pytest.mark.parametrize("error, text", [
    (KeyboardInterrupt(), "x.py: stopped"), (OSError("no\nfile"), r"x.py: no\nfile"),
    (ValueError("a"), "x.py: a"), (ModuleNotFoundError("b"), "x.py: b"),
    (OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"),
     "x.py: out of memory; end other programs that use the device, or use --device cpu")])
def test_errors_of_users_are_one_line(error, text):
    with pytest.raises(SystemExit) as stop:
        run(raising(error), "x.py")
    assert stop.value.code == text


def test_other_errors_keep_their_traceback():
    with pytest.raises(RuntimeError, match="ours"):
        run(raising(RuntimeError("ours")), "x.py")


def test_names_that_are_no_text_are_in_tables():
    assert csv_lines(["a,b", "bad\udcff", None]) == b'"a,b",bad?,\r\n'


@pytest.mark.parametrize("status", [None, 0, 1])
def test_the_status_is_that_of_the_script(status):
    with pytest.raises(SystemExit) as stop:
        run(lambda: status, "x.py")
    assert stop.value.code == status


@pytest.mark.parametrize("script, program", [
    ("train.py", "train.py"), ("infer.py", "infer.py"),
    ("unet_resnet/audit/__main__.py", "python -m unet_resnet.audit"),
    ("unet_resnet/export/__main__.py", "python -m unet_resnet.export")])
def test_a_misspelt_flag_is_one_line(tmp_path, script, program):
    outcome = run_script(tmp_path, script, "x", "y", "--mispelt")
    assert outcome.status == 2 and not outcome.out
    assert outcome.err == f"{program}: unrecognized arguments: " + (
        "x y " * (script == "train.py")) + "--mispelt (see --help)\n"

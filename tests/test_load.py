"""Do memory and open files stay flat over thousands of photos, and over epochs with workers?

Each program runs in a process of its own, which notes now and then what it holds. Linux only.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, TINY, write_pairs

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="Linux tells in /proc what a process holds")

PHOTOS, KINDS, SIDE = 5_000, 10, 32
SLACK = 4.0  # MB: 2 of hashes; photos kept whole would make 14, the crops of two epochs 9

PROGRAM = """
import ctypes, json, multiprocessing, os, runpy, sys
sys.path.insert(0, {root!r})
notes = []

def note():
    if hasattr(ctypes.CDLL(None), "malloc_trim"):  # glibc keeps what is free, more or less of it
        ctypes.CDLL(None).malloc_trim(0)
    pages = int(open("/proc/self/statm").read().split()[1])
    notes.append((pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir("/proc/self/fd")),
                  len(multiprocessing.active_children())))
{watch}
sys.argv = {arguments!r}
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    json.dump(notes, open("notes.json", "w"))
"""
# The network is as good as none: it keeps nothing from photo to photo; and no picture is forced
# to the disk. Both would take minutes.
INFER = """
from unet_resnet import model
from unet_resnet.inference import index
os.fsync = lambda file: None
model.UNetResNet.forward = lambda self, image: image.mean(1, keepdim=True)
finish, count = index.Index.finish, 0

def counted(*arguments):
    global count
    count += 1
    if count % 500 == 0:
        note()
    return finish(*arguments)

index.Index.finish = counted
"""
TRAIN = """
sys.path.append("{tests}")
import pytest, test_survival
test_survival.make_thin(pytest.MonkeyPatch())
from unet_resnet import checkpoint
save = checkpoint.save

def noted(path, *arguments, **content):
    save(path, *arguments, **content)
    if path.name == "last.pt" and content["history"] and not content["losses"]:
        note()

checkpoint.save = noted
""".replace("{tests}", str(ROOT / "tests"))


def run_noted(folder: Path, watch: str, name: str, *arguments: object) -> tuple[list, str]:
    """[MB, open files, child processes] of each note, and the line that was printed last."""
    command = [str(ROOT / name), *map(str, arguments)]
    code = PROGRAM.format(root=str(ROOT), watch=watch, arguments=command)
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True,
                          text=True, env=os.environ | {"TQDM_DISABLE": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((folder / "notes.json").read_text()), done.stdout.splitlines()[-1]


def assert_flat(notes: list) -> None:
    megabytes, files, children = zip(*notes)
    half = len(notes) // 2
    assert megabytes[-1] - megabytes[0] < SLACK and not children[-1], notes
    assert min(files[half:]) <= max(files[:half]), notes  # a photo may just be being read


def test_five_thousand_photos(trained, tmp_path):
    kinds = sorted((write_pairs(tmp_path / "few", 0, KINDS, size=SIDE) / "images").iterdir())
    (tmp_path / "photos").mkdir()
    for i in range(PHOTOS):  # links cost no space, and infer.py cannot tell
        (tmp_path / f"photos/{i}.png").hardlink_to(kinds[i % KINDS])
    notes, last = run_noted(tmp_path, INFER, "infer.py", "photos", "--device", "cpu",
                            "--checkpoint", trained / "runs/walls-1/best.pt")
    written = len(list((tmp_path / "predictions").glob("*.png")))
    for folder in ("predictions", "photos"):  # pytest keeps three sessions of tmp_path
        shutil.rmtree(tmp_path / folder)
    assert last.startswith(f"{PHOTOS} photos predicted, 0 failed") and written == 3 * PHOTOS
    assert len(notes) == PHOTOS // 500
    assert_flat(notes)


def test_three_epochs_with_workers(tmp_path):
    """Noted at the end of each epoch, when last.pt is written."""
    write_pairs(tmp_path / "walls", 0, 80)
    notes, _ = run_noted(tmp_path, TRAIN, "train.py", "--data", "walls", *TINY, "--epochs", 3,
                         "--workers", 2, "--output", "run")
    shutil.rmtree(tmp_path / "run")
    assert len(notes) == 3
    assert_flat(notes)

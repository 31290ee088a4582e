"""Whatever stands in a file of weights: is it refused in one line, and does nothing else happen?"""

import io
import pickle
import shutil
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from conftest import TINY, refused, run_script
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from unet_resnet import checkpoint
from unet_resnet.checkpoint import Checkpoint

FUZZ = settings(derandomize=True, database=None, deadline=None, max_examples=100)
RESUME = ("train.py", "--epochs", 9, "--resume")
SHORT = "encoder.conv1.weight"  # a tensor to spoil, (64, 3, 7, 7)


def commands(trained: Path, file: Path) -> dict[str, tuple]:
    """What a user can type with such a file, by the name of the program."""
    photo = trained / "walls/images/wall_0.png"
    return {"infer": ("infer.py", photo, "--device", "cpu", "--checkpoint", file),
            "resume": (*RESUME, file.parent),
            "weights": ("train.py", "--data", trained / "walls", *TINY, "--weights", file),
            "export": ("unet_resnet/export/__main__.py", file, "out.onnx")}


def tree(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")
            if path.name != ".lock"}  # of a run that is to be resumed


def refuse(trained: Path, file: Path, names: str, *words: str) -> None:
    before = tree(file.parent), tree(trained)
    for name in names.split():
        outcome = run_script(file.parent, *commands(trained, file)[name])
        program = {"infer": "infer.py", "export": "unet_resnet.export"}.get(name, "train.py")
        refused(outcome, program, str(file), *words)
        assert len(outcome.err.splitlines()[-1]) < 600
        assert (tree(file.parent), tree(trained)) == before


@pytest.fixture
def file(tmp_path):
    """Named last.pt, so that its folder can be resumed; removed afterwards, because it is large."""
    yield tmp_path / "last.pt"
    if (tmp_path / "last.pt").is_file():
        (tmp_path / "last.pt").unlink()


@pytest.fixture(scope="module")
def small() -> bytes:
    """What torch.save makes of a small dict."""
    stream = io.BytesIO()
    torch.save({"weight": torch.arange(64.), "bias": torch.ones(3), "name": "small"}, stream)
    return stream.getvalue()


# Files that are not what torch.save wrote

class Bait:
    """A pickle that creates the file `victim` when it is read."""

    def __reduce__(self) -> tuple:
        return open, ("victim", "w")


def written(save: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    save(stream)
    return stream.getvalue()


def zipped(data: bytes, change: Callable[[str, bytes], bytes] = lambda name, content: content,
           **options: int) -> bytes:
    """The records of a zip file in a new one."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w", **options) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return stream.getvalue()


def script_module() -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its age
        return torch.jit.script(nn.Linear(2, 2)).save_to_buffer()


def without_directory(data: bytes) -> bytes:
    return data.replace(b"PK\5\6", b"PK\0\0")


SAFETENSORS = b'\x3a\0\0\0\0\0\0\0{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}  \0\0\0\0'
NO_TENSORS = "not a file of PyTorch tensors, or damaged"
FOREIGN = {
    "empty": lambda small: b"",
    "web page": lambda small: b"<!DOCTYPE html><title>404</title>",
    "Git LFS pointer": lambda small: b"version https://git-lfs.github.com/spec/v1\noid sha256:1",
    "safetensors": lambda small: SAFETENSORS,
    "text": lambda small: b"threshold: 0.5\n",
    "zeros": lambda small: bytes(4096),
    "half": lambda small: small[:len(small) // 2],
    "cut at the end": lambda small: small[:-20],
    "start missing": lambda small: small[100:],
    "no directory": without_directory,
    "a bit of the weights": lambda small: small.replace(b"\0\0\x80\x3f", b"\0\0\x81\x3f", 1),
    "record cut short": lambda small: zipped(small, lambda name, data: data[:40]),
    "another zip file": lambda small: written(lambda stream: zipfile.ZipFile(
        stream, "w").writestr("best.pt", b"")),
    "code": lambda small: written(lambda stream: torch.save({"model": Bait()}, stream)),
    "code in an old file": lambda small: written(lambda stream: torch.save(
        Bait(), stream, _use_new_zipfile_serialization=False)),
    "code in a pickle": lambda small: pickle.dumps(Bait(), protocol=2),
    "code in a new pickle": lambda small: pickle.dumps(Bait()),
    "whole module": lambda small: written(lambda stream: torch.save(nn.Linear(2, 2), stream)),
    "TorchScript": lambda small: script_module(),
    "photo": lambda small: b"\x89PNG\r\n\x1a\n" + bytes(99),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_other_files(trained, file, small, name):
    file.write_bytes(FOREIGN[name](small))
    refuse(trained, file, "infer resume weights export", NO_TENSORS, repr(file.read_bytes()[:20]))
    assert not (file.parent / "victim").exists()


def test_the_bait_above_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Bait()))
    assert (tmp_path / "victim").exists()


def test_no_file_at_all(trained, file):
    refuse(trained, file, "infer resume weights export", "no such file")
    file.symlink_to(file)
    refused(run_script(file.parent, *commands(trained, file)["infer"]), "infer.py", str(file))
    file.unlink()
    file.mkdir()
    refuse(trained, file, "infer resume weights export", "no such file")
    file.rmdir()


def test_without_permission(trained, file, small, monkeypatch):
    """As another user would see it: root may read everything."""
    file.write_bytes(small)

    def denied(path, *arguments, **options):
        if path == file:
            raise PermissionError(13, "Permission denied", str(path))
        return io.open(path, *arguments, **options)

    monkeypatch.setattr(checkpoint, "open", denied, raising=False)
    refuse(trained, file, "infer resume weights export", "Permission denied")


# Files of torch.save with other content than it should be

@pytest.fixture(scope="module")
def content(trained) -> dict:
    """Of a last.pt before the first update, which saves writing Adam's averages again and again."""
    content = torch.load(trained / "runs/walls-1/last.pt")
    content["optimizer"]["state"] = {}
    return content


def put(**parts: object) -> Callable[[dict], dict]:
    return lambda content: content | parts


def swap(change: Callable[[torch.Tensor], object]) -> Callable[[dict], dict]:
    """With one tensor of the model changed."""
    return lambda content: content | {
        "model": content["model"] | {SHORT: change(content["model"][SHORT].clone())}}


def spoilt(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda tensor: tensor.index_fill(0, torch.tensor(5), value)


def renamed(content: dict) -> dict:
    """As segmentation libraries name a ResNet."""
    return {f"backbone.{name}": tensor for name, tensor in content["model"].items()}


def endless() -> list:
    rows = []
    rows.append(rows)
    return rows


NOT_OURS = "damaged or incompatible: "
UNFIT = {
    "a tensor": (lambda content: torch.ones(3), "best.pt or last.pt"),
    "a list": (lambda content: [1, 2], "best.pt or last.pt"),
    "another network": (renamed, "best.pt or last.pt"),
    "other kind": (put(kind=torch.ones(2)), "best.pt or last.pt"),
    "newer": (put(version=checkpoint.VERSION + 1, threshold="new"), "newer", "update unet_resnet"),
    "older": (put(version=1, split=None), "older", "train again"),
    "version in words": (put(version="2"), "format '2', expected 2"),
    "version in a tensor": (put(version=torch.ones(99, 99)), NOT_OURS),
    "no threshold": (lambda content: without("threshold")(content), NOT_OURS, "threshold"),
    "threshold of NaN": (put(threshold=float("nan")), NOT_OURS, "threshold"),
    "threshold of 2": (put(threshold=2), NOT_OURS, "threshold"),
    "threshold in a tensor": (put(threshold=torch.tensor(0.5)), NOT_OURS + "its threshold"),
    "split in words": (put(split={"train": "all", "validation": {}}), NOT_OURS + "its split"),
    "split of numbers": (put(split={"train": {1: "a"}, "validation": {}}), NOT_OURS + "its split"),
    "split without a side": (put(split={"train": {}}), NOT_OURS, "split"),
    "history that holds itself": (put(history=endless()), NOT_OURS + "its history"),
    "three stages": (put(blocks=[1, 1, 1]), NOT_OURS),
    "a million blocks": (put(blocks=[1, 1, 10**6, 1]), NOT_OURS, "1000000"),
    "half a block": (put(blocks=[1, 1, 1.5, 1]), NOT_OURS + "its blocks"),
    "a billion channels": (put(widths=[10**9] * 5), NOT_OURS, "1000000000"),
    "wider than its tensors": (put(widths=[60000] * 5), NOT_OURS, "60000"),
    "a little wider": (put(widths=[8, 8, 8, 8, 9]), NOT_OURS, "[8, 8, 3, 3]", "[9, 8, 3, 3]"),
    "no channels": (put(widths=[8, 8, 8, 8, 0]), NOT_OURS),
    "no tensors": (put(model={}), NOT_OURS),
    "model in a list": (put(model=[1]), NOT_OURS + "its model"),
    "a tensor less": (lambda content: content | {"model": {
        name: tensor for name, tensor in content["model"].items() if name != SHORT}},
        NOT_OURS, "Missing key", SHORT),
    "a tensor more": (lambda content: content | {"model": content["model"] | {
        "\n" * 999: torch.ones(1)}}, NOT_OURS, "Unexpected key"),
    "a number in place of a tensor": (swap(lambda tensor: 1.0), NOT_OURS + "its model"),
    "other shape": (swap(lambda tensor: tensor[1:]), NOT_OURS, SHORT, "[63, 3, 7, 7]"),
    "sparse": (swap(lambda tensor: tensor.to_sparse()), NOT_OURS),
    "without values": (swap(lambda tensor: tensor.to("meta")), NOT_OURS),
    "quantised": (swap(lambda tensor: torch.quantize_per_tensor(tensor, 1., 0, torch.qint8)),
                  NOT_OURS),
    "NaN": (swap(spoilt(float("nan"))), "NaN or infinity", SHORT),
    "infinity": (swap(spoilt(-float("inf"))), "NaN or infinity", SHORT),
    "above float32": (swap(lambda tensor: spoilt(1e300)(tensor.double())), "infinity", SHORT),
    "one number for all": (lambda content: content | {"model": {
        name: tensor.flatten()[:1].clone().expand(tensor.numel()).view(tensor.shape)
        for name, tensor in content["model"].items()}}, NOT_OURS, "more than it has bytes"),
    "endless": (swap(lambda tensor: torch.ones(1).expand(10**12)), NOT_OURS, "more than"),
}


NOT_OURS_AT_ALL = {"a tensor", "a list", "another network", "other kind"}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # of old kinds
@pytest.mark.parametrize("name", UNFIT)
def test_other_content(trained, file, content, name):
    change, *words = UNFIT[name]
    torch.save(change(content), file)
    refuse(trained, file, "infer resume export", *words)
    if name not in NOT_OURS_AT_ALL:  # which --weights takes for a ResNet's
        refuse(trained, file, "weights", *words)


def without(name: str) -> Callable[[dict], dict]:
    return lambda content: {key: value for key, value in content.items() if key != name}


def set_to(**settings: object) -> Callable[[dict], dict]:
    return lambda content: content | {"settings": content["settings"] | settings}


def averages(change: Callable[[dict], object]) -> Callable[[dict], dict]:
    """With Adam's averages of two parameters, changed, and of no more."""
    tensor = torch.zeros(())
    return put(optimizer={"state": change({0: {"step": tensor, "exp_avg": tensor,
                                               "exp_avg_sq": tensor}}), "param_groups": []})


UNFIT_TO_RESUME = {
    "a best.pt": (without("optimizer"), NOT_OURS),
    "losses in words": (put(losses=["low"]), NOT_OURS + "its losses"),
    "settings in a list": (put(settings=[]), NOT_OURS + "its settings"),
    "tensor among the settings": (set_to(lr=torch.ones(1)), NOT_OURS + "its settings"),
    "averages in a list": (put(optimizer=[1]), NOT_OURS + "its optimizer"),
    "averages of fewer": (averages(lambda state: state), NOT_OURS),
    "averages of another": (averages(lambda state: {5: state[0]}), NOT_OURS),
    "averages in words": (averages(lambda state: {0: "none"}), NOT_OURS),
    "averages in numbers": (averages(lambda state: {0: {"exp_avg": 1.0}}), NOT_OURS, "attribute"),
    "averages under words": (averages(lambda state: {"0": state[0]}), NOT_OURS),
    "averages under no name": (put(optimizer={}), NOT_OURS),
}


@pytest.mark.parametrize("name", UNFIT_TO_RESUME)
def test_what_cannot_be_resumed(trained, file, content, name):
    change, *words = UNFIT_TO_RESUME[name]
    torch.save(change(content), file)
    refuse(trained, file, "resume", *words)


def test_averages_that_are_not_finite(trained, file):
    content = torch.load(trained / "runs/walls-1/last.pt")
    content["optimizer"]["state"][7]["exp_avg_sq"].fill_(float("nan"))
    torch.save(content, file)
    refuse(trained, file, "resume", "NaN or infinity in exp_avg_sq")


def test_a_file_in_place_of_a_run(trained, file):
    shutil.copy(trained / "runs/walls-1/best.pt", file)
    refused(run_script(file.parent, *RESUME, file), "train.py", str(file))


def test_what_is_not_spoilt_is_accepted(trained, file, content):
    """Else the tables above would pass with any content. Weights in 16 bits will do."""
    torch.save(swap(lambda tensor: tensor.half())(content), file)
    assert checkpoint.read(file).model[SHORT].dtype == torch.float32
    outcome = run_script(file.parent, *commands(trained, file)["infer"])
    assert outcome.status == 0, outcome.err


# The encoder's weights

def encoder_of(content: dict) -> dict:
    return {name.removeprefix("encoder."): tensor for name, tensor in content["model"].items()
            if name.startswith("encoder.")}


def spoil_encoder(change: Callable[[torch.Tensor], object]) -> Callable[[dict], dict]:
    return lambda content: encoder_of(content) | {
        "conv1.weight": change(content["model"][SHORT].clone())}


UNFIT_ENCODERS = {
    "names of another library": (renamed, "bottleneck ResNet"),
    "in a wrapper": (lambda content: {"state_dict": encoder_of(content)}, "bottleneck ResNet"),
    "deeper": (lambda content: encoder_of(content) | {
        f"layer3.{i}.conv1.weight": torch.ones(1) for i in range(99)}, "99"),
    "other shape": (spoil_encoder(lambda tensor: tensor[1:]), NOT_OURS, "conv1.weight"),
    "sparse": (spoil_encoder(lambda tensor: tensor.to_sparse()), NOT_OURS),
    "endless": (spoil_encoder(lambda tensor: torch.ones(1).expand(10**12)), "conv1.weight"),
    "no first stage": (lambda content: {
        name: tensor for name, tensor in encoder_of(content).items() if "layer1" not in name},
        NOT_OURS, "Missing key", "layer1.0.conv1.weight"),
    "NaN": (spoil_encoder(spoilt(float("nan"))), "NaN or infinity in conv1.weight"),
    "words": (spoil_encoder(lambda tensor: "random"), "bottleneck ResNet"),
}


@pytest.mark.parametrize("name", UNFIT_ENCODERS)
def test_other_encoders(trained, file, content, name):
    change, *words = UNFIT_ENCODERS[name]
    torch.save(change(content), file)
    refuse(trained, file, "weights", *words)


# By chance

def read(path: Path, data: bytes) -> object:
    """What read_tensors makes of the bytes; None where it refuses them as it promises."""
    path.write_bytes(data)
    try:
        return checkpoint.read_tensors(path)
    except (ValueError, OSError) as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return None


@FUZZ
@given(data=st.binary(max_size=300), start=st.sampled_from(
    [b"", b"PK\3\4", b"\x80\x02", b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n"]))
def test_random_bytes(tmp_path_factory, data, start):
    read(tmp_path_factory.getbasetemp() / "random.pt", start + data)


@FUZZ
@given(position=st.integers(0, 10**6), bit=st.integers(0, 7), end=st.integers(0, 10**6))
@example(position=0, bit=0, end=0)
def test_a_flipped_bit_is_noticed_or_changes_nothing(tmp_path_factory, small, position, bit, end):
    path, flipped = tmp_path_factory.getbasetemp() / "flipped.pt", bytearray(small)
    flipped[position % len(small)] ^= 1 << bit
    found = read(path, bytes(flipped))
    if found is not None:
        wanted = torch.load(io.BytesIO(small))
        assert found.keys() == wanted.keys() and found["name"] == wanted["name"]
        assert torch.equal(found["weight"], wanted["weight"])
    assert read(path, small[:end % len(small)]) is None


@FUZZ
@given(name=st.sampled_from(["version", "kind", *(one.name for one in fields(Checkpoint))]),
       value=st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                          lambda inner: st.lists(inner, max_size=5) | st.dictionaries(
                              st.text() | st.sampled_from(("train", "validation", "state")), inner,
                              max_size=3), max_leaves=9))
def test_any_value_anywhere(trained, content, name, value):
    path, real = trained / "runs/walls-1/last.pt", checkpoint.read_tensors
    checkpoint.read_tensors = lambda _: content | {name: value}
    try:
        checkpoint.read(path)
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    finally:
        checkpoint.read_tensors = real

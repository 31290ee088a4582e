"""Two processes train as one: same gradients, same scores, one end."""

import copy
import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from conftest import ROOT, TINY
from test_train import same
from torch.amp import GradScaler
from torch.optim import SGD

import train
from unet_resnet import UNetResNet, checkpoint, tiling
from unet_resnet.audit.split import load_pairs
from unet_resnet.data import read_pair
from unet_resnet.training.processes import Group
from unet_resnet.device import probability_function
from unet_resnet.losses import crack_loss
from unet_resnet.metrics import counts_at, histogram
from unet_resnet.training.windows import Window

CPU = torch.device("cpu")


def torchrun(*arguments: object, cwd: Path) -> subprocess.Popen:
    command = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", *arguments]
    return subprocess.Popen([sys.executable, *map(str, command)], cwd=cwd, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
                            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)})


@pytest.mark.parametrize("size", (1, 2, 3, 4))
@pytest.mark.parametrize("crops", (1, 2, 5, 8))
def test_shares_make_up_the_window(size, crops):
    """Each crop once, equal lengths, and weights with which a mean of means is the mean."""
    window = range(100, 100 + crops)
    groups = [Group(rank, size) for rank in range(size)]
    shares = [group.shard(window) for group in groups]
    weights = [group.shard_weights(crops) for group in groups]
    assert len({len(share) for share in shares}) == 1
    assert [len(share) for share in shares] == [len(weight) for weight in weights]
    counted = [crop for share, weight in zip(shares, weights)
               for crop, counts in zip(share, weight) if counts]
    assert counted == list(window)
    torch.testing.assert_close(sum(weight.sum() for weight in weights) / size, torch.tensor(1.0))
    assert len({float(counts) for weight in weights for counts in weight if counts}) == 1


def test_a_port_in_use_is_named(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for name, value in (("MASTER_ADDR", "127.0.0.1"), ("RANK", 0), ("WORLD_SIZE", 2),
                            ("MASTER_PORT", taken.getsockname()[1])):
            monkeypatch.setenv(name, str(value))
        with pytest.raises(ConnectionError, match="the processes cannot meet: .*port"):
            Group.from_environment().join(CPU)


def test_alone_nothing_is_exchanged():
    """Without a process group torch.distributed would raise."""
    group, model, values = Group(), UNetResNet((1, 1, 1, 1), (8,) * 5), torch.tensor([1.0, 2.0])
    group.join(CPU)
    with group.main_process_first():
        group.broadcast_buffers(model)
    assert group.is_main and group.wrap(model, CPU) is model
    assert group.any(True, CPU) and not group.any(False, CPU)
    assert torch.equal(group.sum(values.clone()), values)
    group.leave()


def test_batchnorm_averages_over_all_gpus_if_each_sees_few_crops():
    def shared(group: Group, crops: int, device: str) -> bool:
        model = UNetResNet((1, 1, 1, 1), (8,) * 5)
        before = copy.deepcopy(model.state_dict())
        group.sync_batchnorm(model, crops, torch.device(device))
        assert same(model.state_dict(), before)
        return any(isinstance(module, torch.nn.SyncBatchNorm) for module in model.modules())

    assert shared(Group(0, 2), 7, "cuda")
    assert not shared(Group(0, 2), 8, "cuda") and not shared(Group(0, 2), 7, "cpu")
    assert not shared(Group(), 1, "cuda")


def test_torchrun_tells_each_process_its_number(monkeypatch):
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert Group.from_environment() == Group(5, 8, 1)


def one_window() -> tuple[UNetResNet, torch.Tensor, torch.Tensor]:
    """A network whose BatchNorm does not look at the batch, and five crops, one without cracks."""
    torch.manual_seed(0)
    model, images = UNetResNet((1, 1, 1, 1), (8,) * 5).eval(), torch.rand(5, 3, 64, 64)
    masks = (torch.rand(5, 1, 64, 64) < torch.tensor([0, .02, .1, .3, .8]).view(5, 1, 1, 1)).float()
    return model, images, masks


def step_in_a_group() -> None:
    """What each of two processes does; the first leaves its weights and the loss behind."""
    group = Group.from_environment()
    group.join(CPU)
    model, images, masks = one_window()
    network, mine = group.wrap(model, CPU), group.shard(range(5))
    optimizer = SGD(model.parameters(), lr=64.0)

    def update() -> float | None:
        # 0 1 2, and 3 4 0 with the last one counting for nothing
        window: Window = images[mine], masks[mine], group.shard_weights(5)
        loss, fits = train.train_window(network, optimizer, GradScaler("cpu", enabled=False),
                                        window, 2, torch.float32, group,
                                        Namespace(check=lambda: None))
        assert fits == 2
        return loss

    loss, counts = update(), group.sum(torch.tensor([group.rank + 1, 10]))
    known = group.any(group.rank == 1, CPU)
    after = {name: value.clone() for name, value in model.state_dict().items()}
    images[3] = torch.nan  # in the second process alone
    skipped = update() is None
    unchanged = all(torch.equal(value, after[name])
                    for name, value in model.state_dict().items())
    if group.is_main:
        torch.save({"model": after, "loss": loss, "counts": counts, "known": known,
                    "skipped by both": skipped and unchanged}, "step.pt")
    group.leave()


def test_two_processes_step_as_one(tmp_path):
    """Of five crops in micro-batches of two, which no sharing divides evenly."""
    (tmp_path / "step.py").write_text(
        f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r})\n"
        "import test_processes; test_processes.step_in_a_group()\n")
    process = torchrun("step.py", cwd=tmp_path)
    err = process.communicate(timeout=300)[1]
    assert process.returncode == 0, err
    found = torch.load(tmp_path / "step.pt", weights_only=True)
    assert found["counts"].tolist() == [3, 20]
    assert found["skipped by both"] and found["known"], "what one knows, all do"

    model, images, masks = one_window()
    loss = crack_loss(model(images), masks)
    assert found["loss"] == pytest.approx(loss.item(), rel=1e-5)
    loss.backward()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    SGD(model.parameters(), lr=64.0).step()
    for name, parameter in model.named_parameters():
        step, expected = found["model"][name] - before[name], parameter.detach() - before[name]
        assert (step - expected).norm() < 1e-4 * expected.norm(), name
    (tmp_path / "step.pt").unlink()


def test_torchrun_trains_and_scores_as_one_process_would(trained, tmp_path):
    """The scores in history.csv are those of best.pt over all photos, each counted once."""
    (tmp_path / "walls").symlink_to(trained / "walls")
    names = [path.name for path in sorted((trained / "walls/images").iterdir())]
    (tmp_path / "split.json").write_text(json.dumps(
        {"train": names[:3], "validation": names[3:]}))
    process = torchrun(ROOT / "train.py", "--data", "walls", *TINY,
                       "--split", "split.json", "--batch-size", 3,
                       "--epochs", 1, "--output", "run", cwd=tmp_path)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out.count("epoch 1/1") == 1, "one process speaks"
    process = torchrun(ROOT / "train.py", "--resume", "run", "--epochs", 2, cwd=tmp_path)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out.count("epoch 2/2") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"walls", "split.json", "run"}
    with open(tmp_path / "run/history.csv", newline="") as file:
        row = max(csv.DictReader(file), key=lambda row: float(row["mean_dice"]))
    model, content = checkpoint.load(tmp_path / "run/best.pt")
    probability = probability_function(model, CPU, torch.float32)
    pairs = load_pairs([trained / "walls"], split=content.split)[1]
    assert len(pairs) == 3
    photos = [read_pair(pair) for pair in pairs]
    counts = counts_at(sum(histogram(tiling.predict(probability, photo), mask.bool())
                           for photo, mask in photos), content.threshold)
    assert float(row["iou"]) == pytest.approx(counts.iou, abs=1e-3)
    assert float(row["accuracy"]) == pytest.approx(counts.accuracy, abs=1e-3)
    for file in tmp_path.rglob("*.pt"):
        file.unlink()


def workers_of(process: subprocess.Popen) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return sorted(map(int, children))


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
@pytest.mark.parametrize("ending", ("one is killed", "all are asked to stop"))
def test_the_end_of_one_is_the_end_of_all(trained, tmp_path, ending):
    process = torchrun(ROOT / "train.py", "--data", trained / "walls", *TINY, "--epochs", 9999,
                       "--output", tmp_path / "run", cwd=tmp_path)
    for line in process.stdout:
        if line.startswith("epoch 1/9999"):
            break
    workers = workers_of(process)
    assert len(workers) == 2
    if ending == "one is killed":
        os.kill(workers[1], signal.SIGKILL)
    else:
        process.send_signal(signal.SIGTERM)
    err = process.communicate(timeout=120)[1]
    assert process.returncode != 0
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline, "a process was left behind"
        time.sleep(0.1)
    if ending == "all are asked to stop":
        assert err.count(f"torchrun --nproc-per-node 2 train.py --resume {tmp_path / 'run'}") == 1
        assert err.count("--resume") == 1, "one process speaks"
        command = json.loads((tmp_path / "run/run.json").read_text())["starts"][0]["command"]
        assert command.startswith("torchrun --nproc-per-node 2 ")
    else:
        assert "train.py: another process of this training has ended" in err
    assert 'train.py", line' not in err  # torchrun's own traceback stands there
    assert checkpoint.read(tmp_path / "run/last.pt").history
    for file in tmp_path.rglob("*.pt"):
        file.unlink()

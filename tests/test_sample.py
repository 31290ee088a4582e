"""Does the drawn data set keep its promises: the same each time, truly labelled, not trivial?"""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from unet_resnet.sample import SOURCES, curve, distance, draw, write


@pytest.fixture(scope="module")
def pictures() -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [draw(index) for index in range(48)]


def same(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other))


def test_seed_and_index_alone_decide(pictures):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert all(same(draw(index), pictures[index]) for index in (7, 3, 0))
    assert torch.equal(torch.get_rng_state(), state), "the global generator was used"
    assert not same(draw(0, seed=1), pictures[0]) and not same(pictures[0], pictures[2])


@pytest.mark.parametrize("size", (32, 100, 256))
def test_shapes_and_ranges(size):
    image, mask = draw(1, size=size)
    assert image.shape == (3, size, size) and image.dtype == torch.uint8
    assert mask.shape == (1, size, size) and mask.dtype == torch.uint8 and mask.max() <= 1
    assert image.float().std() > 3


def test_labels_are_where_the_cracks_darken(pictures):
    """Against the same picture drawn without cracks, where everything else is equal."""
    for index, (image, mask) in enumerate(pictures[:16]):
        bare, nothing = draw(index, cracks=False)
        assert not nothing.any(), "a joint, cable or shadow was labelled"
        darker = bare.int().sum(0) - image.int().sum(0)
        assert (darker >= 0).all()
        crack = mask[0].bool()
        if crack.any():
            assert (darker[crack] > 0).float().mean() > 0.99
            shares = darker[crack] / bare.int().sum(0)[crack].clamp(min=1)
            assert shares.median() > 0.15
            assert (darker[~crack] > 0).float().mean() < 0.1  # only the edges of cracks
        else:
            assert index and not darker.any() or (darker > 0).float().mean() < 0.01


def test_cracks_are_darker_than_what_surrounds_them(pictures):
    steps = []
    for image, mask in pictures:
        grey, crack = image.float().mean(0), mask.float()
        wide = torch.nn.functional.max_pool2d(crack[None], 15, 1, 7)[0]
        if crack.any():
            steps.append(grey[(wide > crack)[0]].mean() - grey[crack[0] > 0].mean())
    assert min(steps) > 0 and sum(steps) / len(steps) > 15


def test_shares_of_cracks():
    masks = torch.stack([draw(index, seed=2, size=64)[1] for index in range(200)]).float()
    empty = (masks.flatten(1).sum(1) == 0).float().mean()
    assert 0.1 < empty < 0.35  # at 64 pixels some cracks pass the picture by


def test_a_sensible_share_of_pixels_is_crack(pictures):
    shares = torch.stack([mask.float().mean() for _, mask in pictures])
    assert 0.005 < shares.mean() < 0.05 and shares.max() < 0.25
    assert 0.08 < (shares == 0).float().mean() < 0.3


def test_no_grey_threshold_finds_the_cracks(pictures):
    grey = torch.stack([image.float().mean(0) for image, _ in pictures])
    crack = torch.stack([mask[0] for _, mask in pictures]).bool()
    best = max(float(((grey < t) & crack).sum() / ((grey < t) | crack).sum())
               for t in range(5, 250, 5))
    assert 0.02 < best < 0.25


def test_distance_against_brute_force():
    g = torch.Generator().manual_seed(0)
    ends = torch.tensor([[[5., 8., 1.], [60., 40., 3.]], [[-20., 50., 2.], [30., 70., 2.]]])
    segments = curve(g, ends, bend=0.1, smooth=1.2, uneven=0.2)
    found = distance(segments, 64, reach=4)
    t = torch.linspace(0, 1, 400)[:, None, None]
    dots = torch.lerp(segments[:, 0], segments[:, 1], t).flatten(0, 1)
    grid = torch.cartesian_prod(torch.arange(64.), torch.arange(64.))
    # A tapered segment is measured from the nearest point of its axis, so its radius is read there.
    wanted = torch.full((64 * 64,), torch.inf)
    for one in torch.lerp(segments[:, 0], segments[:, 1], t).unbind(1):
        gap, nearest = torch.cdist(grid, one[:, :2]).min(1)
        wanted = torch.minimum(wanted, gap - one[nearest, 2])
    wanted = wanted.view(64, 64)
    close = wanted < 4
    assert len(dots) and close.sum() > 500
    assert torch.allclose(found[close], wanted[close], atol=0.02)
    assert (found[~close] >= 3.98).all()


def test_write_round_trip(tmp_path):
    folder = tmp_path / "deep" / "set"
    write(folder, count=3, seed=5, size=64)
    names = [f"{SOURCES[i % 2]}_{i:04d}.png" for i in range(3)]
    for index, name in enumerate(names):
        image, mask = draw(index, seed=5, size=64)
        with Image.open(folder / "images" / name) as picture, \
                Image.open(folder / "masks" / name) as label:
            assert picture.mode == "RGB" and label.mode == "L"
            assert np.array_equal(np.asarray(picture), image.permute(1, 2, 0).numpy())
            assert np.array_equal(np.asarray(label), 255 * mask[0].numpy())
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    write(folder, count=3, seed=5, size=64)
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert [path.name for path in folder.parent.iterdir()] == ["set"], "scratch was left behind"


def test_write_never_replaces_anything(tmp_path):
    write(tmp_path / "set", count=2, size=64)
    with pytest.raises(FileExistsError, match="count 2, seed 0.*count 3, seed 0"):
        write(tmp_path / "set", count=3, size=64)
    (tmp_path / "set" / "masks" / "asphalt_0000.png").unlink()
    with pytest.raises(FileExistsError):
        write(tmp_path / "set", count=2, size=64)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="something else"):
        write(mine, count=2, size=64)
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt
    monkeypatch.setattr("unet_resnet.sample.draw", stop)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "set", count=2, size=64)
    assert not list(tmp_path.iterdir())


def test_command_line(tmp_path):
    command = [sys.executable, "-m", "unet_resnet.sample", str(tmp_path / "set"), "--size", "64"]
    subprocess.run([*command, "--count", "2"], check=True)
    assert len(list((tmp_path / "set" / "images").glob("*_*.png"))) == 2
    again = subprocess.run([*command, "--count", "4"], capture_output=True, text=True)
    assert again.returncode == 1 and again.stderr.count("\n") == 1 and "wanted" in again.stderr

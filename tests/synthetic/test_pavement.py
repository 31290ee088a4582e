"""Is the synthetic data set the same each time, truly labelled, and not trivial?"""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from unet_resnet.synthetic.pavement import SOURCES, curve, distance, render, write


@pytest.fixture(scope="module")
def pictures() -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [render(index) for index in range(48)]


def same(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other))


def test_seed_and_index_alone_decide(pictures):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert all(same(render(index), pictures[index]) for index in (7, 3, 0))
    assert torch.equal(torch.get_rng_state(), state), "the global generator was used"
    assert not same(render(0, seed=1), pictures[0]) and not same(pictures[0], pictures[2])


@pytest.mark.parametrize("size", (32, 100, 256))
def test_shapes_and_ranges(size):
    image, mask = render(1, size=size)
    assert image.shape == (3, size, size) and image.dtype == torch.uint8
    assert mask.shape == (1, size, size) and mask.dtype == torch.uint8 and mask.max() <= 1
    assert image.float().std() > 3


def test_labels_are_where_the_cracks_darken(pictures):
    """Against the same picture rendered without cracks, where everything else is equal."""
    for index, (image, mask) in enumerate(pictures[:16]):
        bare, nothing = render(index, cracks=False)
        assert not nothing.any(), "a joint, cable or shadow was labelled"
        darker = bare.int().sum(0) - image.int().sum(0)
        assert (darker >= 0).all()
        crack = mask[0].bool()
        if crack.any():
            assert (darker[crack] > 0).float().mean() > 0.99
            shares = darker[crack] / bare.int().sum(0)[crack].clamp(min=1)
            assert shares.median() > 0.15
        far = F.max_pool2d(mask.float(), 9, 1, 4)[0] == 0
        assert (far & (darker > 0)).float().mean() < 0.005, "cracks that nobody labelled"


def test_cracks_are_darker_than_what_surrounds_them(pictures):
    steps = []
    for image, mask in pictures:
        grey, crack = image.float().mean(0), mask.float()
        wide = F.max_pool2d(crack, 15, 1, 7)
        if crack.any():
            steps.append(grey[(wide > crack)[0]].mean() - grey[crack[0] > 0].mean())
    assert min(steps) > 0 and sum(steps) / len(steps) > 15


def test_a_sensible_share_of_pixels_is_crack(pictures):
    shares = torch.stack([mask.float().mean() for _, mask in pictures])
    assert 0.005 < shares.mean() < 0.05 and shares.max() < 0.25
    assert 0.08 < (shares == 0).float().mean() < 0.3


def test_no_grey_threshold_finds_the_cracks(pictures):
    grey = torch.stack([image.float().mean(0) for image, _ in pictures])
    crack = torch.stack([mask[0] for _, mask in pictures]).bool()
    best = max(float(((grey < t) & crack).sum() / ((grey < t) | crack).sum())
               for t in range(5, 250, 5))
    assert 0.02 < best < 0.3


def test_distance_against_brute_force():
    """Points along the axis stand for it; the radius is read at the nearest of them."""
    g = torch.Generator().manual_seed(0)
    ends = torch.tensor([[[5., 8., 1.], [60., 40., 3.]], [[-20., 50., 2.], [30., 70., 2.]]])
    segments = curve(g, ends, bend=0.1, smooth=1.2, uneven=0.2)
    grid = torch.cartesian_prod(torch.arange(64.), torch.arange(64.))
    expected = torch.full((len(grid),), torch.inf)
    for start, end in segments:
        axis = torch.lerp(start, end, torch.linspace(0, 1, 200)[:, None])
        gap, nearest = (grid[:, None] - axis[:, :2]).norm(dim=-1).min(1)
        expected = torch.minimum(expected, gap - axis[nearest, 2])
    found, close = distance(segments, 64, reach=4).flatten(), expected < 4
    assert close.sum() > 500 and (expected < 0).sum() > 100
    assert torch.allclose(found[close], expected[close], atol=0.02)
    assert (found[~close] >= 3.98).all()


def test_write_round_trip(tmp_path):
    folder = tmp_path / "deep" / "set"
    write(folder, count=3, seed=5, size=64)
    names = [f"{SOURCES[i % 2]}_{i:04d}.png" for i in range(3)]
    for index, name in enumerate(names):
        image, mask = render(index, seed=5, size=64)
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
    with pytest.raises(FileExistsError, match="exists and is not this.*count 3, seed 0"):
        write(tmp_path / "set", count=3, size=64)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="mine exists"):
        write(mine, count=2, size=64)
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt
    monkeypatch.setattr("unet_resnet.synthetic.pavement.render", stop)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "set", count=2, size=64)
    assert not list(tmp_path.iterdir())

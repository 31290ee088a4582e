"""Are the colours, sizes and places those that a person is told?"""

import pytest
import torch
from torch import Tensor

from unet_resnet.inference.overlay import (
    FALSE, FOUND, HEADINGS, MISSED, PREDICTED, caption, comparison, contact_sheet, fit, grey,
    overlay)

DARK, WHITE = 32, 255


def flat(height: int, width: int, value: int = 100) -> Tensor:
    return torch.full((3, height, width), value, dtype=torch.uint8)


def photo(height: int, width: int) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(256, (3, height, width), dtype=torch.uint8, generator=draw)


def test_overlay_mixes_inside_the_mask_and_nowhere_else():
    picture, mask = flat(2, 3), torch.tensor([[[0, 1, 0], [0, 0, 1]]])
    painted = overlay(picture, mask)
    inside = mask[0].bool()
    assert painted.dtype == torch.uint8 and (painted[:, ~inside] == 100).all()
    assert painted[:, inside].T.tolist() == [[int(35 + 0.65 * part) for part in PREDICTED]] * 2
    assert (picture == 100).all(), "the caller's photo was painted"


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
def test_overlay_colours(dtype):
    """Of true, false, missed and background, masks being anything but 0; 1 & 2 would be 0."""
    prediction = torch.tensor([[[1, 1, 0, 0]]]).to(dtype)
    truth = torch.tensor([[[2, 0, 2, 0]]]).to(dtype)
    black = flat(1, 4, 0)
    found = overlay(black, prediction, truth)[:, 0].T.tolist()
    for pixel, colour in zip(found, (FOUND, FALSE, MISSED, (0, 0, 0))):
        assert pixel == pytest.approx([0.65 * part for part in colour], abs=1)
    named = {"green": (FOUND, 1), "orange": (FALSE, 0), "blue": (MISSED, 2)}
    assert all(max(range(3), key=colour.__getitem__) == strongest
               for colour, strongest in named.values()), "as README and captions call them"
    alone = overlay(black, prediction)[:, 0].T.tolist()
    for pixel, colour in zip(alone, (PREDICTED, PREDICTED, (0, 0, 0), (0, 0, 0))):
        assert pixel == pytest.approx([0.65 * part for part in colour], abs=1)


def test_overlay_without_any_crack_is_the_photo():
    picture, blank = photo(5, 7), torch.zeros(1, 5, 7)
    assert torch.equal(overlay(picture, blank), picture)
    assert torch.equal(overlay(picture, blank, blank), picture)


def test_grey():
    found = grey(torch.tensor([[[0, 0.5, 1]]]))
    assert found.dtype == torch.uint8 and found.tolist() == [[[0, 128, 255]]] * 3


@pytest.mark.parametrize("height, width, rows, columns", [
    (64, 64, 64, 64), (128, 64, 64, 32), (64, 200, 20, 64), (10, 5, 64, 32), (1, 1, 64, 64),
    (1, 1000, 1, 64), (999, 2, 64, 1)])
def test_fit_keeps_the_shape_in_the_middle_of_a_square(height, width, rows, columns):
    square = fit(flat(height, width), 64)
    assert square.shape == (3, 64, 64) and square.dtype == torch.uint8
    inside = square[0] == 100
    assert inside.sum() == rows * columns and ((square == 100) | (square == DARK)).all()
    y, x = inside.nonzero().float().mean(0).tolist()
    assert abs(y - 31.5) <= 0.5 and abs(x - 31.5) <= 0.5


def test_fit_leaves_a_picture_of_the_right_size_alone():
    picture = photo(32, 32)
    assert torch.equal(fit(picture, 32), picture)


def test_sheet_places_every_picture():
    """Three columns of 16 pixels with gaps of 4, the first row with a single picture."""
    pictures = [[flat(1, 1, 40)], [flat(16, 16, 10), flat(5, 5, 20), flat(50, 50, 30)]]
    page = contact_sheet(pictures, side=16)
    assert page.shape == (3, 16 + 4 + 16, 16 + 4 + 16 + 4 + 16) and page.dtype == torch.uint8
    expected = torch.full_like(page, WHITE)
    for row, column, value in ((0, 0, 40), (1, 0, 10), (1, 1, 20), (1, 2, 30)):
        expected[:, row * 20:row * 20 + 16, column * 20:column * 20 + 16] = value
    assert torch.equal(page, expected)
    assert contact_sheet(pictures[:1], side=7).shape == (3, 7, 7)


def test_headings_stand_above_their_columns():
    pictures = [[torch.full((3, 9, 9), grey, dtype=torch.uint8) for grey in (60, 200)]] * 2
    plain = contact_sheet(pictures, side=64)
    page = contact_sheet(pictures, side=64, headings=("one", "two"))
    band = page.shape[1] - plain.shape[1]
    assert torch.equal(page[:, band:], plain)
    for left in (0, 68):  # white on black
        text = page[:, :band, left:left + 64]
        assert text.min() == 0 and text.max() > 200
    assert (page[:, :band, 64:68] == 255).all()


def test_a_row_of_comparison_has_its_headings():
    photo = torch.full((3, 4, 4), 100, dtype=torch.uint8)
    truth, probability = torch.eye(4)[None], torch.full((1, 4, 4), 0.5)
    row = comparison(photo, truth, probability, 0.5)
    assert len(row) == len(HEADINGS) and all(picture.shape == (3, 4, 4) for picture in row)
    assert torch.equal(row[3], overlay(photo, torch.ones(1, 4, 4), truth))
    assert torch.equal(comparison(photo, truth, probability, 0.6)[3],
                       overlay(photo, torch.zeros(1, 4, 4), truth))


@pytest.mark.parametrize("height, width", [(1, 1), (3, 200), (60, 90)])
def test_caption_keeps_size_and_the_rest_of_the_picture(height, width):
    picture = flat(height, width)
    titled, other = caption(picture, "iou 0.5"), caption(picture, "iou 0.6")
    assert titled.shape == picture.shape and titled.dtype == torch.uint8
    assert (picture == 100).all(), "the caller's picture was written on"
    assert (titled[:, 20:] == 100).all() and (titled[:, :, 80:] == 100).all()
    if min(height, width) > 20:
        assert titled[:, :20].unique().numel() > 2 and not torch.equal(titled, other)

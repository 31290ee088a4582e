"""Is a picture the same tensor whatever it was saved as, and is every bad file named?"""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unet_resnet import images
from unet_resnet.images import (
    MaskRule, is_picture, open_image, read_photo, unread_note, upright_size, write_png)
from unet_resnet.audit.mask_rules import read_values


# The filter that images.py sets when it is imported is not in force under pytest's own.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")


def read_mask(path: Path) -> torch.Tensor:
    return MaskRule().read(path, path)


RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY, ALPHA = RGB[..., 0], RANDOM.integers(0, 256, (5, 7), dtype=np.uint8)
DEEP = RANDOM.integers(0, 65536, (5, 7), dtype=np.uint16)
PALETTE = RANDOM.integers(0, 256, (8, 3), dtype=np.uint8)
CMYK = np.kron(RANDOM.integers(0, 256, (2, 3, 4), dtype=np.uint8), np.ones((16, 16, 1), np.uint8))
INDEX = GREY % 8
EXACT_JPEG = {"quality": 100, "subsampling": 0}


def of(array: np.ndarray) -> Image.Image:
    return Image.fromarray(array)


def palette(transparency: int | bytes | None = None) -> Image.Image:
    image = Image.frombytes("P", (7, 5), INDEX.tobytes())
    image.putpalette(PALETTE.tobytes())
    if transparency is not None:
        image.info["transparency"] = transparency
    return image


def pixels(tensor: torch.Tensor) -> np.ndarray:
    return tensor.permute(1, 2, 0).numpy().astype(int)


# File name: picture, options of save, the values wanted. Transparency is dropped, not blended.
GREYS = {
    "grey.png": (of(GREY), {}, GREY),
    "grey.bmp": (of(GREY), {}, GREY),
    "grey.jpg": (of(GREY), EXACT_JPEG, GREY),
    "grey_alpha.png": (Image.merge("LA", (of(GREY), of(ALPHA))), {}, GREY),
    "bits.png": (of(GREY > 99), {}, (GREY > 99) * 255),
    "bits.tif": (of(GREY > 99), {}, (GREY > 99) * 255),
    "deep.png": (of(DEEP), {}, np.rint(DEEP / 257)),
    "deep.tif": (of(DEEP), {}, np.rint(DEEP / 257)),
    "share.tif": (of(np.float32(GREY / 255)), {}, GREY),
    "float.tif": (of(np.float32(GREY)), {}, GREY),
}
COLOURS = {
    "rgb.png": (of(RGB), {}, RGB),
    "rgb.bmp": (of(RGB), {}, RGB),
    "rgb.tiff": (of(RGB), {}, RGB),
    "rgb.webp": (of(RGB), {"lossless": True}, RGB),
    "rgb.jpeg": (of(RGB), EXACT_JPEG, RGB),
    "rgba.png": (of(np.dstack((RGB, ALPHA))), {}, RGB),
    "rgba.webp": (of(np.dstack((RGB, ALPHA))), {"lossless": True, "exact": True}, RGB),
    "palette.png": (palette(), {}, PALETTE[INDEX]),
    "palette_one_clear.png": (palette(3), {}, PALETTE[INDEX]),
    "palette_half_clear.png": (palette(bytes(range(0, 256, 32))), {}, PALETTE[INDEX]),
    "cmyk.jpg": (Image.frombytes("CMYK", (48, 32), CMYK.tobytes()), {"quality": 100},
                 (255.0 - CMYK[..., :3]) * (255.0 - CMYK[..., 3:]) / 255),
}


@pytest.mark.parametrize("name", [*GREYS, *COLOURS])
def test_every_kind_of_picture(tmp_path, name):
    image, options, wanted = (GREYS | COLOURS)[name]
    image.save(tmp_path / name, **options)
    photo = read_photo(tmp_path / name)
    assert photo.dtype == torch.uint8 and photo.shape == (3, *wanted.shape[:2])
    wanted = wanted if wanted.ndim == 3 else wanted[..., None]
    difference = np.abs(pixels(photo) - wanted)
    assert difference.max() <= (5 if name.endswith(("jpg", "jpeg")) else 0)


# What to do with the stored rows and columns for each EXIF orientation: JEITA CP-3451, 4.6.4.
UPRIGHT = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1],
           4: lambda a: a[::-1], 5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, -1),
           7: lambda a: a[::-1, ::-1].swapaxes(0, 1), 8: np.rot90}


@pytest.mark.parametrize("suffix, options, tolerance", [
    ("jpg", EXACT_JPEG, 5), ("png", {}, 0), ("tif", {}, 0), ("webp", {"lossless": True}, 0)])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation(tmp_path, orientation, suffix, options, tolerance):
    path, exif = tmp_path / f"turned.{suffix}", Image.Exif()
    exif[0x0112] = orientation
    of(GREY).save(path, exif=exif, **options)
    assert np.abs(pixels(read_photo(path))[..., 0] - UPRIGHT[orientation](GREY)).max() <= tolerance
    of(RGB).save(path, exif=exif, **options)
    wanted = UPRIGHT[orientation](RGB)
    photo = read_photo(path)
    with open_image(path) as image:
        assert upright_size(image) == photo.shape[1:] == wanted.shape[:2]
    assert np.abs(pixels(photo) - wanted).max() <= tolerance


def test_a_turned_16_bit_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    of(DEEP).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_photo(tmp_path / "turned.png")[0], np.rot90(np.rint(DEEP / 257), -1))


# Bad files

def cut_short(path: Path) -> None:
    of(np.kron(RGB, np.ones((9, 9, 1), np.uint8))).save(path)
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])


BAD = {"text.jpg": lambda path: path.write_text("no picture"),
       "cut.jpg": cut_short, "cut.png": cut_short, "cut.tif": cut_short, "cut.webp": cut_short,
       "empty.png": Path.touch,
       "nan.tif": lambda path: of(np.float32([[0, np.nan]])).save(path),
       "infinite.tif": lambda path: of(np.float32([[0, np.inf]])).save(path)}


@pytest.mark.parametrize("read", [read_photo, read_mask, read_values])
@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_named(tmp_path, name, read):
    BAD[name](tmp_path / name)
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / name))):
        read(tmp_path / name)


@pytest.mark.parametrize("read", [read_photo, read_mask, read_values])
def test_a_missing_file_is_missing_and_a_folder_is_none(tmp_path, read):
    (tmp_path / "folder.png").mkdir()
    for name, reason in (("nowhere.png", "no such file"), ("folder.png", "not a file")):
        with pytest.raises(FileNotFoundError, match=f"{name}: {reason}"):
            read(tmp_path / name)


@pytest.mark.parametrize("content", [b"\0\0\0\x18ftypheic", b"GIF89a", b"P6 4 4 255 "])
def test_other_pictures_are_refused_with_advice(tmp_path, content):
    (tmp_path / "photo.jpg").write_bytes(content + bytes(99))
    with pytest.raises(ValueError, match="photo.jpg: not a picture .*save it as JPEG or PNG"):
        read_photo(tmp_path / "photo.jpg")


def test_other_pictures_are_counted_in_one_line():
    files = [Path(name) for name in ("1.HEIC", "2.heic", "a.gif", "b", "c.txt", "d.jpg", "e.nef")]
    assert unread_note(files) == ("pictures not read: 2 .heic, 1 .gif, 1 .nef; save them as .jpg "
                                  "or .png first")
    assert unread_note(files[3:6]) == ""


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "JFIF"])
def test_jpeg_has_more_endings(tmp_path, suffix):
    of(RGB).save(tmp_path / f"x.{suffix}", "JPEG")
    assert is_picture(tmp_path / f"x.{suffix}")
    assert read_photo(tmp_path / f"x.{suffix}").shape == (3, 5, 7)


@pytest.mark.parametrize("read", [read_photo, read_mask, read_values])
def test_too_many_pixels(tmp_path, monkeypatch, read):
    of(GREY).save(tmp_path / "large.png")
    monkeypatch.setattr(images, "MAX_MEGAPIXELS", 36e-6)
    read(tmp_path / "large.png")  # 35 pixels
    monkeypatch.setattr(images, "MAX_MEGAPIXELS", 34e-6)
    with pytest.raises(ValueError, match="large.png.*megapixels"):
        read(tmp_path / "large.png")


# Writing

COLOUR = torch.from_numpy(RGB).permute(2, 0, 1)


def test_write_png_round_trip(tmp_path):
    write_png(tmp_path / "colour.png", COLOUR)
    assert torch.equal(read_photo(tmp_path / "colour.png"), COLOUR)
    write_png(tmp_path / "grey.png", COLOUR[:1])
    assert torch.equal(read_photo(tmp_path / "grey.png"), COLOUR[:1].expand(3, -1, -1))
    with Image.open(tmp_path / "colour.png") as colour, Image.open(tmp_path / "grey.png") as grey:
        assert (colour.format, colour.mode, grey.mode) == ("PNG", "RGB", "L")


def test_write_png_replaces_the_file_whole(tmp_path):
    for picture in (COLOUR, COLOUR.flip(1)):
        write_png(tmp_path / "x.png", picture)
    assert torch.equal(read_photo(tmp_path / "x.png"), COLOUR.flip(1))
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    write_png(path, COLOUR)

    def full_disk(image, file, *_, **__):
        file.write(b"half a picture")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_png(path, COLOUR.flip(1))
    assert list(tmp_path.iterdir()) == [path] and torch.equal(read_photo(path), COLOUR)

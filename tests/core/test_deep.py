"""Is a picture of more than 8 bits the one of 8 bits that it was made from, or refused?"""

import runpy
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from unet_resnet import deep, images
from unet_resnet.images import interpreted, opened, read_photo, upright

SHADES = np.random.default_rng(0).integers(0, 256, (48, 64)).astype(np.uint8)
SHADES[20:23] = 0  # a crack
PLACES = np.zeros(SHADES.shape, bool)
PLACES[5:9, 7:20] = True
KINDS = {"u": 1, "i": 2, "f": 3}


def tiff(array: np.ndarray, order: str = "<", planar: bool = False,
         photometric: int | None = None, extra: dict[int, int | float | str] | None = None
         ) -> bytes:
    """An uncompressed TIFF of (h, w) or (h, w, 3) in one strip, or a strip for each channel."""
    array = array[..., None] if array.ndim == 2 else array
    height, width, channels = array.shape
    pixels = (array.transpose(2, 0, 1) if planar else array).astype(
        array.dtype.newbyteorder(order)).tobytes()
    strips = channels if planar else 1
    tags = {256: width, 257: height, 258: (array.itemsize * 8,) * channels, 259: 1,
            262: (2 if channels == 3 else 1) if photometric is None else photometric,
            273: tuple(8 + i * len(pixels) // strips for i in range(strips)), 277: channels,
            278: height, 279: (len(pixels) // strips,) * strips, 284: 2 if planar else 1,
            339: (KINDS[array.dtype.kind],) * channels, **(extra or {})}
    place = 8 + len(pixels)
    entries, values = b"", b""
    for number, value in sorted(tags.items()):
        if isinstance(value, str):
            kind, count, data = 2, len(value) + 1, value.encode() + b"\0"
        elif isinstance(value, float):
            kind, count, data = 11, 1, struct.pack(order + "f", value)
        else:
            some = value if isinstance(value, tuple) else (value,)
            kind, count, data = 4, len(some), struct.pack(f"{order}{len(some)}I", *some)
        if len(data) > 4:
            where = place + 2 + 12 * len(tags) + 4 + len(values)
            values, data = values + data, struct.pack(order + "I", where)
        entries += struct.pack(order + "HHI", number, kind, count) + data.ljust(4, b"\0")
    return b"".join(((b"II" if order == "<" else b"MM"), struct.pack(order + "HI", 42, place),
                     pixels, struct.pack(order + "H", len(tags)), entries, bytes(4), values))


def of_bits(bits: int, dtype: type = np.uint16) -> np.ndarray:
    return np.rint(SHADES * ((2**bits - 1) / 255)).astype(dtype)


def put(array: np.ndarray, value: float, places: object = PLACES) -> np.ndarray:
    array = array.copy()
    array[places] = value
    return array


SHARE = np.float32(SHADES / 255)
FEW = np.s_[0, :3]
# Name: the file, whether PLACES hold no data, what is assumed. (FEW may hold anything.)
READ = {
    "8 in 16": (tiff(np.uint16(SHADES)), False, ()),
    "8 in 32": (tiff(np.uint32(SHADES)), False, ()),
    "16": (tiff(of_bits(16)), False, ()),
    "16, motorola": (tiff(of_bits(16), ">"), False, ()),
    "16, white is zero": (tiff(65535 - of_bits(16), photometric=0), False, ()),
    "12, white is zero": (tiff(4095 - of_bits(12), photometric=0), False, (deep.BITS,)),
    "floats, white is zero": (tiff(1 - SHARE, photometric=0), False, ()),
    "32 unsigned": (tiff(np.uint32(SHADES) * 16843009), False, (deep.STRETCHED,)),
    "signed 16": (tiff(np.int16(SHADES * 257.0 - 32768)), False, (deep.STRETCHED,)),
    "0 to 1": (tiff(SHARE), False, ()),
    "0 to 255": (tiff(np.float32(SHADES)), False, ()),
    "0 to 1.004": (tiff(put(SHARE, 1.004, FEW)), False, ()),
    "an outlier": (tiff(put(SHARE, 1000, FEW)), False, ()),
    "an outlier below": (tiff(put(SHARE, -50, FEW)), False, ()),
    "an outlier of 16 bits": (tiff(put(of_bits(12), 40000, FEW)), False, (deep.BITS,)),
    "0 to 3.7": (tiff(SHARE * 3.7), False, (deep.STRETCHED,)),
    "kelvin": (tiff(SHARE * 4 + 281), False, (deep.STRETCHED,)),
    "0 to 300": (tiff(np.uint16(np.rint(SHARE * 300))), False, (deep.STRETCHED,)),
    "a narrow part of 16 bits": (tiff(np.uint16(SHADES) + np.uint16(40_000)), False,
                                 (deep.STRETCHED,)),
    "-9999": (tiff(put(SHARE, -9999)), True, (deep.NO_DATA,)),
    "-32768": (tiff(put(of_bits(12, np.int16), -32768)), True, (deep.NO_DATA, deep.BITS)),
    "3.4e38": (tiff(put(SHARE, 3.4e38)), True, (deep.NO_DATA,)),
    "-3.4e38 and 3.4e38": (tiff(put(put(SHARE, -3.4028235e38), 3.4e38, FEW)), True,
                           (deep.NO_DATA,)),
    "65535": (tiff(put(of_bits(12), 65535)), True, (deep.NO_DATA, deep.BITS)),
    "-1, by the tag": (tiff(put(SHARE, -1), extra={42113: "-1"}), True, ()),
    "nan, by the tag": (tiff(put(SHARE, np.nan), extra={42113: "nan"}), True, ()),
    "0 to 4095, by the tag": (tiff(of_bits(12), extra={281: 4095}), False, ()),
    "0 to 6.5, by the tag": (tiff(SHARE * 6.5, extra={340: 0.0, 341: 6.5}), False, ()),
    "a tag that says nothing": (tiff(of_bits(12), extra={281: 65535}), False, (deep.BITS,)),
    "a tag that is wrong": (tiff(of_bits(12), extra={281: 255}), False, (deep.BITS,)),
} | {f"{bits} in 16": (tiff(of_bits(bits)), False, (deep.BITS,)) for bits in (10, 12, 14)}


@pytest.mark.parametrize("name", READ)
def test_the_picture_of_8_bits_comes_back(tmp_path, name):
    content, hole, assumed = READ[name]
    (tmp_path / "x.tif").write_bytes(content)
    with opened(tmp_path / "x.tif") as image:
        photo, found = interpreted(upright(image))
    assert found == assumed
    assert (photo == photo[0]).all()
    grey = photo[0].numpy().astype(int)
    compared = put(~PLACES if hole else ~PLACES | PLACES, False, FEW)
    tolerance = 3 if deep.STRETCHED in assumed else 1  # half a per cent at each end is cut off
    assert np.abs(grey - SHADES)[compared].max() <= tolerance
    if hole:
        assert np.ptp(grey[PLACES]) == 0 and 96 <= grey[6, 8] <= 160


@pytest.mark.parametrize("value, wanted", [
    (0, 0), (200, 200), (65535, 255), (4095, 255), (np.float32(0.5), 128)])
def test_one_value_stays_one(tmp_path, value, wanted):
    dtype = value.dtype if isinstance(value, np.float32) else np.uint16
    (tmp_path / "x.tif").write_bytes(tiff(np.full((9, 9), value, dtype)))
    assert (read_photo(tmp_path / "x.tif") == wanted).all()


def test_few_pixels_on_one_value_are_no_outliers(tmp_path):
    (tmp_path / "x.tif").write_bytes(tiff(put(np.full((48, 64), 30000, np.uint16), 10000, FEW)))
    assert read_photo(tmp_path / "x.tif").unique().tolist() == [0, 255]


COLOUR = np.stack([of_bits(16), of_bits(16)[::-1], of_bits(16)[:, ::-1]], 2)
BAD = {
    "planes": (tiff(COLOUR, planar=True), "one after the other"),
    "planes, motorola": (tiff(COLOUR, ">", planar=True), "one after the other"),
    "signed bytes": (tiff(np.int8(SHADES // 2)), "signed"),
    "colours of 14 bits": (tiff(COLOUR // 4), "25.0% of their range"),
    "colours of 12 bits": (tiff(COLOUR // 16), "6.2% of their range"),
    "colours of 10 bits, motorola": (tiff(COLOUR // 64, ">"), "1.6% of their range"),
    "no data but one value": (tiff(put(np.full((48, 64), 0.5, np.float32), 3.4e38)), "one grey"),
    "no data": (tiff(SHARE * 0 - 1, extra={42113: "-1"}), "no data"),
    "nan": (tiff(put(SHARE, np.nan)), "finite"),
    "infinite beside no data": (tiff(put(put(SHARE, -9999), np.inf, FEW)), "finite"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_would_be_wrong_is_refused(tmp_path, name):
    content, reason = BAD[name]
    (tmp_path / "x.tif").write_bytes(content)
    with pytest.raises(ValueError, match=f"x.tif: .*{reason}.*save it as 8 bits|x.tif: .*no data"):
        read_photo(tmp_path / "x.tif")


def test_colours_of_16_bits(tmp_path):
    for order in "<>":
        (tmp_path / "x.tif").write_bytes(tiff(COLOUR, order))
        assert np.array_equal(read_photo(tmp_path / "x.tif").permute(1, 2, 0), COLOUR >> 8)
    (tmp_path / "x.tif").write_bytes(tiff((COLOUR >> 8).astype(np.uint8), planar=True))
    assert np.array_equal(read_photo(tmp_path / "x.tif").permute(1, 2, 0), COLOUR >> 8)


def test_the_limit_of_pillow_is_the_programs_own(tmp_path, monkeypatch):
    """Also while several threads read; a TIFF is checked again when it is decoded."""
    (tmp_path / "x.tif").write_bytes(READ["16"][0])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9)
    with ThreadPoolExecutor(4) as pool:
        photos = list(pool.map(read_photo, [tmp_path / "x.tif"] * 50))
    assert len(photos) == 50 and Image.MAX_IMAGE_PIXELS == 9
    with pytest.raises(ValueError, match="nothing of a picture"), opened(tmp_path / "x.tif"):
        raise ValueError("nothing of a picture")
    assert Image.MAX_IMAGE_PIXELS == 9


def test_an_import_leaves_pillows_limit(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9)
    runpy.run_path(images.__file__)
    assert Image.MAX_IMAGE_PIXELS == 9


@pytest.mark.parametrize("extra", [{254: 1}, {50706: 1}], ids=["preview first", "DNG"])
def test_a_raw_file_is_not_read_as_its_preview(tmp_path, extra):
    (tmp_path / "photo.tif").write_bytes(tiff(SHADES, extra=extra))
    with pytest.raises(ValueError, match="raw file") as caught:
        read_photo(tmp_path / "photo.tif")
    assert str(tmp_path / "photo.tif") in str(caught.value)

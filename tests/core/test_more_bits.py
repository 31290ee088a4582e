"""Is a picture of more than 8 bits the one of 8 bits that it was made from, or refused?"""

import struct

import numpy as np
import pytest

from unet_resnet.images import read_photo

SHADES = np.random.default_rng(0).integers(0, 256, (48, 64)).astype(np.uint8)
SHADES[20:23] = 0  # a crack
KINDS = {"u": 1, "i": 2, "f": 3}


def tiff(array: np.ndarray, order: str = "<", planar: bool = False,
         photometric: int | None = None, no_data: int | None = None) -> bytes:
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
            339: (KINDS[array.dtype.kind],) * channels}
    tags |= {} if no_data is None else {42113: no_data}
    place = 8 + len(pixels)
    entries, values = b"", b""
    for number, value in sorted(tags.items()):
        some = value if isinstance(value, tuple) else (value,)
        data = struct.pack(f"{order}{len(some)}I", *some)
        if len(data) > 4:
            where = place + 2 + 12 * len(tags) + 4 + len(values)
            values, data = values + data, struct.pack(order + "I", where)
        entries += struct.pack(order + "HHI", number, 4, len(some)) + data.ljust(4, b"\0")
    return b"".join(((b"II" if order == "<" else b"MM"), struct.pack(order + "HI", 42, place),
                     pixels, struct.pack(order + "H", len(tags)), entries, bytes(4), values))


def of_bits(bits: int, dtype: type = np.uint16) -> np.ndarray:
    return np.rint(SHADES * ((2**bits - 1) / 255)).astype(dtype)


def put(array: np.ndarray, value: float) -> np.ndarray:
    """With three pixels of that value."""
    array = array.copy()
    array[FEW] = value
    return array


SHARE = np.float32(SHADES / 255)
FEW = np.s_[0, :3]
READ = {
    "8 in 16": tiff(np.uint16(SHADES)),
    "8 in 32": tiff(np.uint32(SHADES)),
    "16": tiff(of_bits(16)),
    "16, motorola": tiff(of_bits(16), ">"),
    "0 to 1": tiff(SHARE),
    "0 to 255": tiff(np.float32(SHADES)),
    "0 to 1.004": tiff(put(SHARE, 1.004)),
    "an outlier": tiff(put(SHARE, 1000)),
    "an outlier below": tiff(put(SHARE, -50)),
    "an outlier of 16 bits": tiff(put(of_bits(12), 40000)),
} | {f"{bits} in 16": tiff(of_bits(bits)) for bits in (10, 12, 14)}


@pytest.mark.parametrize("name", READ)
def test_the_picture_of_8_bits_comes_back(tmp_path, name):
    (tmp_path / "x.tif").write_bytes(READ[name])
    photo = read_photo(tmp_path / "x.tif")
    assert (photo == photo[0]).all()
    difference = photo[0].numpy().astype(int) - SHADES
    difference[FEW] = 0
    assert np.abs(difference).max() <= 1


COLOUR = np.stack([of_bits(16), of_bits(16)[::-1], of_bits(16)[:, ::-1]], 2)
BAD = {
    "planes": (tiff(COLOUR, planar=True), "separate planes"),
    "planes, motorola": (tiff(COLOUR, ">", planar=True), "separate planes"),
    "colours of 14 bits": (tiff(COLOUR // 4), "too dark"),
    "colours of 12 bits": (tiff(COLOUR // 16), "too dark"),
    "colours of 10 bits, motorola": (tiff(COLOUR // 64, ">"), "too dark"),
    "white is zero": (tiff(65535 - of_bits(16), photometric=0), "no known range"),
    "32 bits": (tiff(np.uint32(SHADES) * 16843009), "no known range"),
    "signed": (tiff(np.int16(SHADES * 257.0 - 32768)), "no known range"),
    "kelvin": (tiff(SHARE * 4 + 281), "no known range"),
    "a narrow part of 16 bits": (tiff(np.uint16(SHADES) + np.uint16(40_000)), "no known range"),
    "0 to 3.7": (tiff(SHARE * 3.7), "no known range"),
    "-9999": (tiff(np.where(np.arange(64) < 9, np.float32(-9999), SHARE)), "no known range"),
    "a value for no data": (tiff(SHARE, no_data=9), "no known range"),
    "one value": (tiff(np.full((9, 9), 999, np.uint16)), "no known range"),
    "nan": (tiff(put(SHARE, np.nan)), "no known range"),
    "infinite": (tiff(np.where(SHADES > 99, np.float32(np.inf), SHARE)), "no known range"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_would_be_wrong_is_refused(tmp_path, name):
    content, reason = BAD[name]
    (tmp_path / "x.tif").write_bytes(content)
    with pytest.raises(ValueError, match=f"x.tif: .*{reason}.*save it as 8 bits"):
        read_photo(tmp_path / "x.tif")


def test_colours_of_16_bits(tmp_path):
    for order in "<>":
        (tmp_path / "x.tif").write_bytes(tiff(COLOUR, order))
        assert np.array_equal(read_photo(tmp_path / "x.tif").permute(1, 2, 0), COLOUR >> 8)
    (tmp_path / "x.tif").write_bytes(tiff((COLOUR >> 8).astype(np.uint8), planar=True))
    assert np.array_equal(read_photo(tmp_path / "x.tif").permute(1, 2, 0), COLOUR >> 8)


@pytest.mark.parametrize("suffix", ["dng", "NEF"])
def test_a_raw_file_is_not_read_as_its_preview(tmp_path, suffix):
    path = tmp_path / f"photo.{suffix}"
    path.write_bytes(tiff(SHADES))
    with pytest.raises(ValueError, match=f"photo.{suffix}: not a picture .*save it as JPEG"):
        read_photo(path)

"""Is a picture recognised by its content, and is what cannot be read called by its name?"""

import os
import struct
from pathlib import Path

import pytest
from PIL import Image

from unet_resnet.formats import kind_of, passed_over
from unet_resnet.images import read_photo


def box(*brands: bytes) -> bytes:
    """The first box of an ISO media file: its main brand, a version and compatible brands."""
    content = b"ftyp" + brands[0] + bytes(4) + b"".join(brands)
    return struct.pack(">I", len(content) + 4) + content + b"\0\0\x01\0meta" + bytes(256)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF"])
def test_what_pillow_writes_is_recognised(tmp_path, kind):
    Image.new("RGB", (40, 30), "red").save(tmp_path / "x.dat", kind)
    assert kind_of(tmp_path / "x.dat") == kind


UNREAD = {
    "HEIC": [box(b"heic", b"mif1"), box(b"mif1", b"heix"), box(b"heic", b"MiHB", b"miaf")],
    "AVIF": [box(b"avif", b"mif1", b"miaf"), box(b"mif1", b"avif")],
    "JPEG XL": [b"\xff\x0a\xfa\x1f", b"\0\0\0\x0cJXL \r\n\x87\n"],
    "JPEG 2000": [b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51\0\x2f"],
    "camera raw": [b"FUJIFILMCCD-RAW 0201", box(b"crx ", b"isom"), b"IIU\0\x18\0"],
    "PNM": [b"P6 4 4 255 " + bytes(48), b"P5\n# by hand\n"]}


@pytest.mark.parametrize("kind, start", [
    (kind, start) for kind, starts in UNREAD.items() for start in starts])
@pytest.mark.parametrize("name", ["photo.jpg", "photo"])
def test_pictures_of_other_kinds_are_called_by_their_name(tmp_path, kind, start, name):
    (tmp_path / name).write_bytes(start)
    assert kind_of(tmp_path / name) == kind
    with pytest.raises(ValueError) as caught:
        read_photo(tmp_path / name)
    assert str(caught.value) == (
        f"{tmp_path / name}: this is {kind}: save it as JPEG or PNG first")


@pytest.mark.parametrize("content", [
    b"", b"B", b"BM", b"BMW, a make of car", b"P1, the first pier", b"P5 report of May", b"{}",
    b"hello", b"\xff", b"\xff\xfeh\0i\0", b"MM of rain", b"II. Findings", b"GIF is a format",
    b"RIFF0000WAVEfmt ", box(b"isom", b"mp42"), box(b"qt  "), b"%PDF-1.7", b"PK\3\4", bytes(64),
    struct.pack(">I", 16) + b"ftypisom" + bytes(4) + b"heic"])  # beyond the box
def test_other_files_are_no_pictures(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    assert kind_of(tmp_path / "x") == ""


def test_what_is_no_file_is_no_picture(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "nowhere"):
        assert kind_of(path) == ""


def test_kinds_are_counted_in_one_line(tmp_path):
    files: dict[str, bytes] = {f"{i}.HEIC": box(b"heic") for i in range(3)} | {
        "a.gif": b"GIF89a", "b": b"GIF87a", "c.heif": box(b"mif1")}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    line = passed_over(sorted(tmp_path.iterdir()))
    assert line == ("pictures not read: 4 HEIC (.HEIC .heif), 2 GIF (.gif no ending); save them as "
                    ".jpg or .png first")
    assert passed_over([]) == ""


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "JFIF"])
def test_jpeg_has_more_endings(tmp_path, suffix):
    path = Path(tmp_path, f"x.{suffix}")
    Image.new("RGB", (40, 30), "red").save(path, "JPEG")
    assert read_photo(path).shape == (3, 30, 40)

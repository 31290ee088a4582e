"""Are frames upright, in their colours and at their times, and is a video written whole or not?"""

import importlib
import struct
import sys
import weakref
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from unet_resnet.inference.inputs import VIDEO_SUFFIXES
from unet_resnet.video import codec as video

COUNT = 12
CORNERS = ((220, 60, 60), (60, 200, 60), (70, 70, 220), (120, 120, 120))  # from the upper left on


def picture(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Quarters of four colours, and in the middle a grey that stands for the frame's number."""
    image = np.empty((height, width, 3), np.uint8)
    y, x = height // 2, width // 2
    for colour, (rows, columns) in zip(CORNERS, ((slice(y), slice(x)), (slice(y), slice(x, None)),
                                                 (slice(y, None), slice(x)),
                                                 (slice(y, None), slice(x, None)))):
        image[rows, columns] = colour
    image[y - 8:y + 8, x - 8:x + 8] = grey_of(index)
    return image


def grey_of(index: int) -> int:
    return 30 + 16 * index


def index_of(pixels: Tensor) -> int:
    """The frame's number, from the grey in the middle."""
    y, x = pixels.shape[1] // 2, pixels.shape[2] // 2
    grey = pixels[:, y - 4:y + 4, x - 4:x + 4].float().mean().item()
    assert abs((grey - 30 + 8) % 16 - 8) < 4, "a grey that no frame has"
    return round((grey - 30) / 16)


def film(path: Path, frames: Sequence[np.ndarray | av.VideoFrame] = (), times: Sequence[int] = (),
         time_base: Fraction = Fraction(1, 25), rate: Fraction = Fraction(25),
         codec: str = "libx264", pix_fmt: str = "yuv420p", sound: str = "", movflags: str = "",
         **tags: object) -> Path:
    """A video of these frames, by default 12 of 64 x 48 pixels at 25 per second.

    `sound` is the codec of a tone of half a second; `tags` are attributes of the video's encoder.
    """
    frames = frames or [picture(index) for index in range(COUNT)]
    options = {"movflags": movflags} if movflags else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate, pix_fmt=pix_fmt,
                                      options={"g": "6", "threads": "1"})
        stream.codec_context.time_base = time_base
        height, width = (frames[0].shape[:2] if isinstance(frames[0], np.ndarray)
                         else (frames[0].height, frames[0].width))
        for name, value in (tags | {"height": height, "width": width}).items():
            setattr(stream.codec_context, name, value)
        tone = container.add_stream(sound, rate=48000, layout="mono") if sound else None
        for frame, time in zip(frames, times or range(len(frames))):
            if isinstance(frame, np.ndarray):
                frame = av.VideoFrame.from_ndarray(frame, "rgb24")
            frame.pts, frame.time_base = time, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        for start in range(0, 24000 if tone else 0, 960):
            wave = 8000 * np.sin(np.arange(start, start + 960) / 20)
            piece = av.AudioFrame.from_ndarray(wave.astype(np.int16)[None], "s16", "mono")
            piece.sample_rate, piece.time_base = 48000, Fraction(1, 48000)
            piece.pts = start
            container.mux(tone.encode(piece))
        if tone:
            container.mux(tone.encode(None))
    return path


def convert(path: Path, destination: Path) -> tuple[list[video.Frame], video.Source]:
    """Write the frames of a video as a new video."""
    frames = []
    with video.open_video(path) as source, video.write_video(destination, source) as write:
        for frame in source.frames():
            frames.append(frame)
            write(frame, frame.pixels)
    return frames, source


def read(path: Path, every: int = 1) -> list[video.Frame]:
    with video.open_video(path) as source:
        frames = list(source.frames(every))
        assert source.damage == ""
    return frames


def colours_of(pixels: Tensor) -> list[list[int]]:
    """The colours near the four corners, row by row."""
    rows, columns = (slice(2, 6), slice(-6, -2)), (slice(2, 6), slice(-6, -2))
    return [pixels[:, y, x].float().mean((1, 2)).round().int().tolist()
            for y in rows for x in columns]


def assert_close(found: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]],
                 tolerance: float) -> None:
    assert np.abs(np.subtract(found, wanted)).max() <= tolerance, (found, wanted)


# There and back

@pytest.mark.parametrize("name, codec", [
    ("a.mp4", "libx264"), ("a.mov", "libx264"), ("a.mkv", "libx265"), ("a.mts", "libx264"),
    ("a.webm", "libvpx"), ("a.avi", "mpeg4"), ("a.mpg", "mpeg2video"), ("a.wmv", "wmv2"),
    ("a.3gp", "libx264")])
def test_every_frame_comes_back_at_its_time(tmp_path, name, codec):
    path, destination = tmp_path / name, tmp_path / "again.mp4"
    film(path, codec=codec, bit_rate=0 if "26" in codec else 3_000_000)
    assert path.suffix in VIDEO_SUFFIXES
    frames, source = convert(path, destination)
    again = read(destination)
    for some in (frames, again):
        assert [frame.index for frame in some] == list(range(COUNT))
        assert [index_of(frame.pixels) for frame in some] == list(range(COUNT))
        assert [frame.seconds for frame in some] == pytest.approx([i / 25 for i in range(COUNT)])
        for frame in some:
            assert frame.pixels.dtype == torch.uint8 and frame.pixels.shape == (3, 48, 64)
            assert_close(colours_of(frame.pixels), CORNERS, 8)
    assert source.damage == ""
    with av.open(str(destination)) as container:
        assert container.streams.video[0].average_rate == 25
        assert container.duration == pytest.approx(COUNT / 25 * 1e6, abs=1e3)


def test_a_name_that_ffmpeg_would_take_for_an_address(tmp_path, monkeypatch):
    film(tmp_path / "a.mp4").rename(tmp_path / "12:30.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(convert(Path("12:30.mp4"), Path("12:31.mp4"))[0]) == COUNT


def test_painted_frames_are_what_is_written(tmp_path):
    path, destination = film(tmp_path / "a.mp4"), tmp_path / "again.mp4"
    with video.open_video(path) as source, video.write_video(destination, source) as write:
        for frame in source.frames():
            write(frame, 255 - frame.pixels)
    inverted = [[255 - value for value in colour] for colour in CORNERS]
    assert_close(colours_of(read(destination)[7].pixels), inverted, 6)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_uneven_times(tmp_path, name):
    """In milliseconds, as phones write them; the last but one frame is shown for half a second."""
    times = [0, 33, 67, 100, 101, 350, 351, 400, 1400, 1433, 1466, 2000]
    path = film(tmp_path / name, times=times, time_base=Fraction(1, 1000))
    frames, _ = convert(path, tmp_path / "again.mp4")
    for some in (frames, read(tmp_path / "again.mp4")):
        assert [frame.seconds for frame in some] == pytest.approx([t / 1000 for t in times])
        assert [index_of(frame.pixels) for frame in some] == list(range(COUNT))
    with av.open(str(tmp_path / "again.mp4")) as container:
        assert container.duration > 2.01 * av.time_base  # players stop there


def test_joined_files_of_two_sizes_that_both_start_at_zero(tmp_path):
    """Recordings in parts are often joined byte by byte."""
    first = film(tmp_path / "a.mts", sound="aac").read_bytes()
    large = [picture(i).repeat(2, axis=0).repeat(2, axis=1) for i in range(COUNT)]
    second = film(tmp_path / "b.mts", large, sound="aac").read_bytes()
    (tmp_path / "c.mts").write_bytes(first + second)
    frames, _ = convert(tmp_path / "c.mts", tmp_path / "again.mp4")
    again = read(tmp_path / "again.mp4")
    assert [frame.seconds for frame in again] == pytest.approx(
        [frame.seconds for frame in frames], abs=1e-3)
    assert len(frames) >= 2 * COUNT - 1  # the one at the seam may count as broken
    gaps = np.diff([frame.seconds for frame in frames])
    assert gaps.min() > 0.039 and gaps.max() < 0.09
    assert {frame.pixels.shape for frame in frames} == {(3, 48, 64)}
    assert [index_of(frame.pixels) for frame in frames[-3:]] == [COUNT - 3, COUNT - 2, COUNT - 1]


@pytest.mark.parametrize("name", ["a.mov", "a.mts"])
def test_a_rate_that_is_no_whole_number(tmp_path, name):
    rate = Fraction(30000, 1001)
    path = film(tmp_path / name, rate=rate, time_base=1 / rate)
    convert(path, tmp_path / "again.mp4")
    with av.open(str(tmp_path / "again.mp4")) as container:
        assert container.streams.video[0].average_rate == rate


def test_times_are_counted_from_the_first_frame(tmp_path):
    """Recordings cut from a broadcast or a long recording start late."""
    path = film(tmp_path / "a.mts", times=range(250, 250 + COUNT))
    frames, _ = convert(path, tmp_path / "again.mp4")
    for some in (frames, read(tmp_path / "again.mp4")):
        assert [frame.seconds for frame in some] == pytest.approx([i / 25 for i in range(COUNT)])


@pytest.mark.parametrize("height, width", [(47, 63), (48, 63), (47, 64), (31, 35)])
def test_odd_sizes_grow_by_a_repeated_line(tmp_path, height, width):
    path = film(tmp_path / "a.mkv", [picture(3, height, width)] * 3, pix_fmt="yuv444p")
    frames, _ = convert(path, tmp_path / "again.mp4")
    assert frames[0].pixels.shape == (3, height, width)
    again = read(tmp_path / "again.mp4")[0].pixels.int()
    assert again.shape == (3, height + height % 2, width + width % 2)
    assert_close(colours_of(again[:, :height, :width]), CORNERS, 8)
    assert (again[:, height - 1:] - again[:, height - 1:height]).abs().max() <= 8
    assert (again[:, :, width - 1:] - again[:, :, width - 1:width]).abs().max() <= 8


@pytest.mark.parametrize("matrix, aspect", [
    ((1, 0, 0, 1), Fraction(4, 3)), ((0, 1, -1, 0), Fraction(3, 4))])
def test_pixels_that_are_not_square(tmp_path, matrix, aspect):
    path = film(tmp_path / "a.mp4", sample_aspect_ratio=Fraction(4, 3))
    turn(path, *matrix)
    convert(path, tmp_path / "again.mp4")
    with av.open(str(tmp_path / "again.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == aspect


# Every N-th frame

@pytest.mark.parametrize("every", [1, 5, 11, 12, 99])
def test_stills_are_the_frames_of_the_video(tmp_path, every):
    path = film(tmp_path / "a.mp4")
    stills, frames = read(path, every), read(path)[::every]
    assert [still[:2] for still in stills] == [frame[:2] for frame in frames]
    assert all(torch.equal(one.pixels, other.pixels) for one, other in zip(stills, frames))


# Turned videos

MATRICES = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)]  # turns by quarters


def turn(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Write a display matrix into the header of the first track of an MP4."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 44  # ISO/IEC 14496-12, 8.3.2, version 0
    assert struct.unpack_from(">5i", content, start) == (1 << 16, 0, 0, 0, 1 << 16)
    struct.pack_into(">5i", content, start, a << 16, b << 16, 0, c << 16, d << 16)
    path.write_bytes(content)


def shown(image: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """Pixel by pixel as the standard says: (x, y) goes to (a x + c y, b x + d y), moved to 0."""
    height, width = image.shape[:2]
    places = {(a * x + c * y, b * x + d * y): (y, x) for y in range(height) for x in range(width)}
    left, top = min(x for x, _ in places), min(y for _, y in places)
    size = (width, height) if a == 0 else (height, width)
    result = np.empty((*size, 3), np.uint8)
    for (x, y), place in places.items():
        result[y - top, x - left] = image[place]
    return result


@pytest.mark.parametrize("matrix", MATRICES)
def test_turned_videos_are_read_and_written_upright(tmp_path, matrix):
    path = film(tmp_path / "a.mp4")
    plain = read(path)[2].pixels.permute(1, 2, 0).numpy()
    turn(path, *matrix)
    frames, _ = convert(path, tmp_path / "again.mp4")
    wanted = shown(plain, *matrix)
    assert np.array_equal(frames[2].pixels.permute(1, 2, 0).numpy(), wanted)
    again = read(tmp_path / "again.mp4")[2].pixels
    assert again.shape[1:] == wanted.shape[:2]
    assert_close(colours_of(again), colours_of(frames[2].pixels), 4)


# Colours

ORANGE = (200, 120, 60)
WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}


def yuv(colour: Sequence[int], matrix: int, full: bool, bits: int = 8) -> list[int]:
    """Luma and the two chromas by the definition (ITU-R BT.601, BT.709, BT.2020)."""
    red, green, blue = (value / 255 for value in colour)
    of_red, of_blue = WEIGHTS[matrix]
    luma = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
    chromas = (blue - luma) / (1 - of_blue) / 2, (red - luma) / (1 - of_red) / 2
    scale, low, range_luma, range_chroma = (
        (2 ** bits - 1, 0, 1, 1) if full else (2 ** (bits - 8), 16, 219, 224))
    return [round(scale * (low + range_luma * luma)),
            *(round(scale * range_chroma * chroma) + 2 ** (bits - 1) for chroma in chromas)]


def plain(colour: Sequence[int], height: int, matrix: int, full: bool, kind: str) -> av.VideoFrame:
    frame = av.VideoFrame(64, height, kind)
    deep = kind.endswith("10le")
    for plane, value in zip(frame.planes, yuv(colour, matrix, full, 10 if deep else 8)):
        array = np.frombuffer(plane, np.uint16 if deep else np.uint8)
        array[:] = value
    return frame


@pytest.mark.parametrize("codec, kind, matrix, full, height, tags", [
    ("libx264", "yuv420p", 1, False, 48, {"colorspace": 1, "color_range": 1}),
    ("libx264", "yuv420p", 6, False, 48, {"colorspace": 6}),
    ("libx264", "yuv420p", 9, False, 48, {"colorspace": 9}),
    ("libx264", "yuv420p", 1, True, 48, {"colorspace": 1, "color_range": 2}),
    ("libx264", "yuv420p", 5, False, 48, {}),
    ("libx264", "yuv422p", 5, False, 48, {}),
    ("mjpeg", "yuvj420p", 5, True, 48, {}),
    ("libx265", "yuv420p10le", 1, False, 48, {"colorspace": 1}),
    ("libx264", "yuv420p10le", 1, False, 48, {"colorspace": 1})])
def test_a_plain_colour_by_the_standard(tmp_path, codec, kind, matrix, full, height, tags):
    frames = [plain(ORANGE, height, matrix, full, kind) for _ in range(3)]
    path = film(tmp_path / "a.mkv", frames, codec=codec, pix_fmt=kind, **tags)
    frames, _ = convert(path, tmp_path / "again.mp4")
    again = read(tmp_path / "again.mp4")
    for frame in (*frames, *again):
        assert_close(colours_of(frame.pixels), [ORANGE] * 4, 3)
    with av.open(str(tmp_path / "again.mp4")) as container:  # as a player would take it
        frame = next(container.decode(video=0))
        assert frame.color_range == 1
        planes = [np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:4, :4].mean()
                  for plane in frame.planes]
        assert planes == pytest.approx(yuv(ORANGE, frame.colorspace, full=False), abs=2)


def test_no_colour_is_shifted_on_the_way(tmp_path):
    """Over many colours; fast conversions darken by more than one level."""
    colours = np.random.default_rng(0).integers(20, 236, (12, 16, 3), dtype=np.uint8)
    image = np.kron(colours, np.ones((16, 16, 1), np.uint8))
    frames, _ = convert(film(tmp_path / "a.avi", [image] * 2, codec="ffv1", pix_fmt="bgr0"),
                        tmp_path / "again.mp4")
    shift = read(tmp_path / "again.mp4")[0].pixels.float() - frames[0].pixels.float()
    assert shift.mean((1, 2)).abs().max() < 0.5


def test_primaries_and_transfer_are_passed_on(tmp_path):
    path = film(tmp_path / "a.mp4", colorspace=9, color_primaries=9, color_trc=18)  # BT.2020, HLG
    convert(path, tmp_path / "again.mp4")
    with av.open(str(tmp_path / "again.mp4")) as container:
        coder = container.streams.video[0].codec_context
        assert (coder.colorspace, coder.color_primaries, coder.color_trc) == (1, 9, 18)


@pytest.mark.parametrize("codec", ["ffv1", "libx264"])
def test_grey_videos(tmp_path, codec):
    frames = [np.full((48, 64, 3), grey_of(i), np.uint8) for i in range(3)]
    path = film(tmp_path / "a.mkv", frames, codec=codec, pix_fmt="gray", color_range=2)
    frames, _ = convert(path, tmp_path / "again.mp4")
    for some in (frames, read(tmp_path / "again.mp4")):
        for i, frame in enumerate(some):
            assert_close(colours_of(frame.pixels), [[grey_of(i)] * 3] * 4, 3)


@pytest.mark.parametrize("codec, kind", [("ffv1", "bgr0"), ("png", "rgb24"), ("ffv1", "gbrp10le")])
def test_videos_that_are_rgb(tmp_path, codec, kind):
    frames, _ = convert(film(tmp_path / "a.avi", codec=codec, pix_fmt=kind),
                        tmp_path / "again.mp4")
    assert_close(colours_of(frames[0].pixels), CORNERS, 1)
    assert_close(colours_of(read(tmp_path / "again.mp4")[0].pixels), CORNERS, 6)


# Damage

def noise(count: int) -> list[np.ndarray]:
    """Frames that do not compress, so that a cut falls into their data; the grey is as above."""
    draw = np.random.default_rng(0)
    frames = [draw.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(count)]
    for index, frame in enumerate(frames):
        frame[16:32, 24:40] = grey_of(index)
    return frames


@pytest.mark.parametrize("share", [0.3, 0.55, 0.8])
@pytest.mark.parametrize("name, codec, movflags", [
    ("a.mkv", "libx264", ""), ("a.mts", "libx264", ""), ("a.mp4", "libx264", "faststart"),
    ("a.avi", "ffv1", ""), ("a.webm", "libvpx", "")])
def test_frames_before_a_cut_are_read(tmp_path, name, codec, movflags, share):
    path = film(tmp_path / name, noise(COUNT), codec=codec, movflags=movflags)
    whole = read(path)
    content = path.read_bytes()
    path.write_bytes(content[:int(share * len(content)) // 188 * 188 + 100])
    frames, source = convert(path, tmp_path / "again.mp4")
    if name in ("a.mp4", "a.avi"):  # FFmpeg reads the others as shorter ones
        assert source.damage.startswith(f"{path}: damaged") and "\n" not in source.damage
    assert COUNT * share - 4 < len(frames) < COUNT
    # The last may be half a frame: a transport stream does not say so.
    assert all(torch.equal(one.pixels, other.pixels) for one, other in zip(frames[:-1], whole))
    assert len(read(tmp_path / "again.mp4")) == len(frames)


def test_frames_after_a_damaged_place_are_read(tmp_path):
    path = film(tmp_path / "a.mts", noise(COUNT))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle:middle + 3500] = bytes(3500)  # 18 packets; 16 would fool their counter
    path.write_bytes(content)
    frames, source = convert(path, tmp_path / "again.mp4")
    assert source.damage.startswith(f"{path}: damaged")
    assert COUNT - 5 <= len(frames) and index_of(frames[-1].pixels) == COUNT - 1


# What cannot be read

def refusal(path: Path) -> str:
    """The one line of the ValueError."""
    with pytest.raises(ValueError) as caught, video.open_video(path) as source:
        list(source.frames())
    line = str(caught.value)
    assert line.startswith(f"{path}: ") and "\n" not in line
    return line


@pytest.mark.parametrize("content", [b"", b"no video\n" * 100, bytes(5000)])
def test_a_file_that_is_not_a_video(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    assert "not a video" in refusal(tmp_path / "a.mp4")


def test_unknown_codecs(tmp_path):
    path = film(tmp_path / "a.mkv", sound="aac")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"A_AAC", b"A_ABC"))
    assert len(read(path)) == COUNT
    path.write_bytes(content.replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/ABC"))
    assert "PyAV can decode" in refusal(path)


def test_an_mp4_without_its_end_where_the_index_is(tmp_path):
    path = film(tmp_path / "a.mp4", noise(COUNT))
    path.write_bytes(path.read_bytes()[:-2000])
    assert "lacks its end" in refusal(path)


def test_what_is_left_of_a_recording_is_read_or_refused(tmp_path):
    """FFmpeg has more than one error for what is cut off."""
    content = film(tmp_path / "a.mts", sound="aac").read_bytes()
    refused = 0
    for length in range(200, 6000, 150):
        (tmp_path / "b.mts").write_bytes(content[:length])
        try:
            convert(tmp_path / "b.mts", tmp_path / "again.mp4")
        except ValueError as error:
            assert "b.mts: " in str(error) and "\n" not in str(error)
            refused += 1
    assert 3 < refused < 39


def test_a_file_with_sound_only(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        tone = container.add_stream("aac", rate=48000, layout="mono")
        piece = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), "s16", "mono")
        piece.sample_rate = 48000
        container.mux(tone.encode(piece))
        container.mux(tone.encode(None))
    assert "no video in it" in refusal(tmp_path / "a.mp4")


def test_a_video_without_a_frame_left(tmp_path):
    path = film(tmp_path / "a.mp4", noise(COUNT), movflags="faststart")
    content = path.read_bytes()
    path.write_bytes(content[:content.index(b"mdat") + 4])
    assert "no frame in it can be decoded" in refusal(path)


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "a.mp4", tmp_path):
        with pytest.raises(OSError, match=str(path)) as caught, video.open_video(path):
            pass
        assert "\n" not in str(caught.value)


def test_without_pyav_the_line_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("unet_resnet.video")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ModuleNotFoundError, match=r'av: pip install -e "\.\[video\]"'):
        importlib.import_module("unet_resnet.video.codec")


# Whole or not at all

@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError("x"), OSError(28, "disk full")])
def test_a_failure_leaves_nothing_new(tmp_path, error):
    path, destination = film(tmp_path / "a.mp4", sound="aac"), tmp_path / "again.mp4"
    for before in (None, True):
        if before:
            convert(path, destination)
            before = destination.read_bytes()
        with pytest.raises(error if isinstance(error, type) else type(error)):
            with video.open_video(path) as source, video.write_video(destination, source) as write:
                for frame in source.frames():
                    write(frame, frame.pixels)
                    if frame.index == 9:
                        raise error
        assert destination.exists() == bool(before)
        assert not before or destination.read_bytes() == before
        assert len(list(tmp_path.iterdir())) == 1 + bool(before)


def test_a_full_disk_is_named(tmp_path):
    """A limit on file sizes stands in for it."""
    resource = pytest.importorskip("resource")
    path = film(tmp_path / "a.mkv", noise(COUNT))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large.*again.mp4"):
            convert(path, tmp_path / "again.mp4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == [path]


def test_frames_are_not_kept(tmp_path):
    """However long the video, only a few frames wait in the encoder, and no tensor does."""
    path, alive = film(tmp_path / "a.mkv", [picture(i % COUNT) for i in range(120)]), []
    with (video.open_video(path) as source,
          video.write_video(tmp_path / "again.mp4", source) as write):
        for frame in source.frames():
            alive.append(weakref.ref(frame.pixels))
            write(frame, frame.pixels)
            assert sum(ref() is not None for ref in alive) <= 2
    assert len(alive) == 120

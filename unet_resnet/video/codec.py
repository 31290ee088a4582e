"""How does a video become frames, one at a time, and painted frames a video again?

    with video.opened(path) as source:
        with video.written(destination, source) as writer:
            for frame in source.frames():
                writer.write(frame, paint(frame.pixels))
        if source.damage: ...  # complete once the frames are through

Only a few frames are in memory at a time. What is written is MP4 with H.264 in 4:2:0, which every
common player shows, without sound. That needs even sides: an odd one grows by a repeated row or
column at the bottom or right. Frames keep their times, also uneven ones; none is added or left out.
High dynamic range is cut to 8 bits and not mapped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from unet_resnet.files import check_ours, ends_of, one_line, written_whole
from unet_resnet.images import SOFTWARE, signature

try:
    import av
except ImportError:  # the extra `video` is not installed
    av = None

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mts", ".m2ts", ".mpg", ".mpeg",
                  ".wmv", ".3gp")  # no .ts, which is TypeScript too
# Without B-frames (bf), as an MP4 with them and uneven times ends before its last frames do.
ENCODER, QUALITY = "libx264", {"crf": "18", "preset": "veryfast", "bf": "0"}
# The comment in an MP4's last box: the start of a text atom (ISO/IEC 14496-12, QuickTime's ilst).
MARK = b"data\0\0\0\1\0\0\0\0" + SOFTWARE.encode()
BT709, LIMITED = 1, 1  # colours as in HD video, by FFmpeg's numbers
# SWS_BILINEAR, FULL_CHR_H_INT, FULL_CHR_H_INP, ACCURATE_RND: without the last three, RGB to YUV and
# back darkens by 1.4 grey levels.
EXACT = 0x2 | 0x2000 | 0x4000 | 0x40000


class Frame(NamedTuple):
    """One picture of a video, upright."""

    index: int  # among all frames of the video, from 0
    seconds: float  # when a player shows it, after the first frame
    ticks: int  # the same, exact, in units of the source's time base
    pixels: Tensor  # (3, h, w) uint8 RGB


class Source:
    """A video being read; `opened` makes it.

    `height` and `width` are those of the upright frames. `count` is the number of frames to
    expect, 0 if unknown; most files state it, for some it is an estimate. `damage` is "" or, once
    the frames are through, one line that names the file and says what is wrong with it. A cut-off
    MKV, WebM or transport stream reads as a shorter one, without damage.
    """

    def __init__(self, path: Path, container: av.container.InputContainer) -> None:
        stream = container.streams.best("video")
        if stream is None or stream.disposition & av.stream.Disposition.attached_pic:  # a cover
            raise ValueError(f"{path}: there is no video in it")
        if stream.codec_context is None:
            raise ValueError(f"{path}: PyAV knows no decoder for it; convert it to MP4")
        stream.thread_type = "AUTO"  # on all cores
        self.path, self.stream = path, stream
        self._container, self._fault = container, ""
        self.rate = stream.average_rate or Fraction(25)
        length = Fraction(container.duration or 0, av.time_base)
        self.count = stream.frames or round(length * self.rate)
        decoded = self._decode()
        first = next(decoded, None)
        if first is None:
            raise ValueError(f"{path}: not one frame of it can be read, {self._fault or 'empty'}")
        self._decoded, self._size = chain([first], decoded), (first.width, first.height)
        self.turns = round(first.rotation / 90)  # quarters, counterclockwise
        self.width, self.height = self._size
        if self.turns % 2:
            self.width, self.height = self.height, self.width

    @property
    def damage(self) -> str:
        return self._fault and (f"{self.path}: damaged, only what can be read is used: "
                                + self._fault)

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """The first frame and each `every`-th after it; can be gone through once.

        Those between are decoded, for later ones are built on them, but not turned into RGB. A
        frame of another size than the first is scaled to that.
        """
        base = self.stream.time_base
        start, step = self.stream.start_time or 0, max(1, round(1 / self.rate / base))
        ticks = -step
        for index, frame in enumerate(self._decoded):
            told = -math.inf if frame.pts is None else frame.pts - start
            ticks = told if told > ticks else ticks + step  # joined files may start again at 0
            if index % every == 0:
                yield Frame(index, float(ticks * base), ticks, self._pixels(frame))

    def _decode(self) -> Iterator[av.VideoFrame]:
        count = 0
        for packet in self._packets():
            try:
                for frame in self.stream.decode(packet):
                    count += 1
                    yield frame
            except av.FFmpegError as error:  # later packets may be whole
                self._note(f"{error.strerror} after frame {count}")

    def _packets(self) -> Iterator[av.Packet | None]:
        """The whole packets, then an empty one or None, for which a decoder gives its last frames.
        """
        try:
            for packet in self._container.demux(self.stream):
                if packet.is_corrupt:  # decoders on many threads lose whole frames over it
                    self._note("a broken packet")
                else:
                    yield packet
        except av.FFmpegError as error:
            self._note(error.strerror)
            yield None

    def _note(self, fault: str) -> None:
        self._fault = self._fault or fault  # the first tells most

    def _pixels(self, frame: av.VideoFrame) -> Tensor:
        width, height = self._size
        array = frame.to_ndarray(format="rgb24", width=width, height=height,
                                 interpolation=EXACT)
        return torch.from_numpy(array).permute(2, 0, 1).rot90(self.turns, (1, 2))


class Writer:
    """A video being written; `written` makes it."""

    def __init__(self, container: av.container.OutputContainer, source: Source) -> None:
        self._container = container
        self._film = container.add_stream(ENCODER, rate=source.rate, options=QUALITY)
        coder, given = self._film.codec_context, source.stream.codec_context
        coder.height = source.height + source.height % 2
        coder.width = source.width + source.width % 2
        coder.time_base = source.stream.time_base
        coder.colorspace, coder.color_range = BT709, LIMITED
        coder.color_primaries, coder.color_trc = given.color_primaries, given.color_trc
        coder.sample_aspect_ratio = source.stream.sample_aspect_ratio or 1

    def write(self, frame: Frame, pixels: Tensor) -> None:
        """Append (3, h, w) uint8 RGB, shown at the time of `frame`; all of one size."""
        array = _even(pixels).permute(1, 2, 0).contiguous().numpy()
        picture = av.VideoFrame.from_ndarray(array, "rgb24").reformat(
            format="yuv420p", dst_colorspace=BT709, dst_color_range=LIMITED,
            interpolation=EXACT)
        picture.pts, picture.time_base = frame.ticks, self._film.codec_context.time_base
        self._container.mux(self._film.encode(picture))

    def finish(self) -> None:
        self._container.mux(self._film.encode(None))


def _even(pixels: Tensor) -> Tensor:
    """With the last row and column repeated where needed for even sides."""
    for axis in (1, 2):
        if pixels.shape[axis] % 2:
            pixels = torch.cat((pixels, pixels.narrow(axis, -1, 1)), axis)
    return pixels


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """The video at `path`.

    Raises FileNotFoundError, and ValueError where not one frame can be read or PyAV is missing.
    """
    with _open(path) as container:
        yield Source(path, container)


@contextmanager
def written(path: Path, source: Source, photo: str = "") -> Iterator[Writer]:
    """A writer of the painted frames of `source` to an MP4 at `path`, whole or not at all.

    `photo` tells of which video it is, as in `images.write_png`.

    Raises FileExistsError where `path` is a file that was not written by this function.
    """
    check_ours(path, MARK)
    with written_whole(path) as file:
        try:
            # By its name: through a Python file, PyAV hides why a write failed, as on a full disk.
            with av.open(f"file:{file.name}", "w", format="mp4") as container:
                container.metadata["comment"] = signature(photo)
                writer = Writer(container, source)
                yield writer
                writer.finish()
        except av.FFmpegError as error:
            raise ValueError(f"{path}: cannot be written, {error.strerror}") from error


def is_ours(path: Path) -> bool:
    """Whether this is a video that `written` wrote."""
    return MARK in ends_of(path)


def _open(path: Path) -> av.container.InputContainer:
    if av is None:
        raise ValueError(f"{path}: videos need PyAV: pip install -e \".[video]\"")
    name = one_line(path)
    if not path.is_file():  # a named pipe would keep us waiting
        raise FileNotFoundError(f"{name}: {'not a regular' if path.exists() else 'no such'} file")
    try:  # "file:" because FFmpeg takes the start of 12:30.mp4 for a protocol
        return av.open(f"file:{path}", metadata_errors="ignore")
    except UnicodeEncodeError:
        raise ValueError(f"{name}: PyAV opens no file whose name is not UTF-8; rename it") from None
    except av.FFmpegError as error:
        raise ValueError(f"{name}: not a video that can be read, {error.strerror}; an MP4 "
                         "that was cut off may lack its index, which stands at its end") from error

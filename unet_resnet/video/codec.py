"""How does a video become frames, and how do marked frames become a video again?

    with codec.open_video(path) as source, codec.write_video(destination, source) as write:
        for frame in source.frames():
            write(frame, paint(frame.pixels))
    if source.damage: ...  # known after the last frame

Frames are decoded one at a time, and each keeps its time. The result is H.264 with 4:2:0 chroma in
an MP4, which every common player shows; it has no sound.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import torch
from torch import Tensor

from unet_resnet.files import atomic_write, one_line

# No B-frames (bf): with them and uneven times, an MP4 ends before its last frames do.
QUALITY = {"crf": "18", "preset": "veryfast", "bf": "0"}
BT709, LIMITED = 1, 1  # FFmpeg's numbers of the usual luma weights and luma range
# SWS_BILINEAR, FULL_CHR_H_INT, FULL_CHR_H_INP, ACCURATE_RND: without the last three, RGB to YUV and
# back darkens by 1.4 grey levels.
EXACT = 0x2 | 0x2000 | 0x4000 | 0x40000


class Frame(NamedTuple):
    index: int  # among all frames of the video, from 0
    seconds: float  # after the start of the stream, where its first frame usually is
    pixels: Tensor  # (3, h, w) uint8 RGB, upright


class Source:
    """A video being read, as `open_video` returns it.

    `damage` is "" or, after the last frame, one line about what could not be read. A truncated MKV,
    WebM or transport stream reads as a shorter one, without damage.
    """

    def __init__(self, path: Path, container: av.container.InputContainer) -> None:
        stream = container.streams.best("video")
        if stream is None or stream.codec_context is None:
            raise ValueError(f"{one_line(path)}: no video in it that PyAV can decode")
        stream.thread_type = "AUTO"  # on all cores
        self.path, self.container, self.stream, self.damage = path, container, stream, ""
        self.rate = stream.average_rate or Fraction(25)
        self.turns = 0  # quarters, counterclockwise, of the frame that was read last

    def frames(self, every: int = 1) -> Iterator[Frame]:
        """The first frame and each `every`-th after it, all scaled to the size of the first.

        Can be used once. Raises ValueError if no frame can be decoded.
        """
        base, start = self.stream.time_base, self.stream.start_time or 0
        step = max(1, round(1 / self.rate / base))
        size = {"width": self.stream.width, "height": self.stream.height}
        index, ticks = -1, -step
        for index, frame in enumerate(self._decoded()):
            later = frame.pts is not None and frame.pts - start > ticks
            # Without a time, or after the seam of two joined files, at the usual distance.
            ticks = frame.pts - start if later else ticks + step
            if index % every == 0:
                array = frame.to_ndarray(format="rgb24", interpolation=EXACT, **size)
                self.turns = round(frame.rotation / 90)
                pixels = torch.from_numpy(array).permute(2, 0, 1).rot90(self.turns, (1, 2))
                yield Frame(index, float(ticks * base), pixels)
        if index < 0:
            raise ValueError(f"{one_line(self.path)}: no frame in it can be decoded")

    def _decoded(self) -> Iterator[av.VideoFrame]:
        packets = self.container.demux(self.stream)
        while True:
            try:
                for packet in packets:
                    if packet.is_corrupt:  # on many threads, decoding it loses whole frames
                        raise av.InvalidDataError(0, "a packet is broken")
                    yield from self.stream.decode(packet)
                return
            except av.FFmpegError as error:  # later packets may be whole
                self.damage = self.damage or (f"{one_line(self.path)}: damaged, only what can be "
                                              f"read is used ({error.strerror})")


@contextmanager
def open_video(path: Path) -> Iterator[Source]:
    """The video at `path`; FFmpeg's errors within the block are OSErrors or ValueErrors."""
    try:  # "file:", or FFmpeg takes the start of 12:30.mp4 for a protocol
        with av.open(f"file:{path}", metadata_errors="ignore") as container:
            yield Source(path, container)
    except (av.InvalidDataError, av.EOFError) as error:
        raise ValueError(f"{one_line(path)}: not a video, or one that lacks its end") from error
    except av.FFmpegError as error:
        if isinstance(error, (OSError, MemoryError)):
            raise
        raise ValueError(f"{one_line(path)}: {one_line(error)}") from error


@contextmanager
def write_video(path: Path, source: Source) -> Iterator[Callable[[Frame, Tensor], None]]:
    """A function that appends a picture (3, h, w) uint8 RGB, all of one size, at the time of a
    frame to an MP4 at `path`, which is there once it is complete. Raises OSError."""
    # By its name: through a Python file, PyAV hides that a disk is full.
    with (atomic_write(path) as file,
          av.open(f"file:{file.name}", "w", format="mp4") as container):
        stream = container.add_stream("libx264", rate=source.rate, options=QUALITY)
        coder, given = stream.codec_context, source.stream.codec_context
        coder.time_base = source.stream.time_base
        coder.colorspace, coder.color_range = BT709, LIMITED
        # Otherwise high dynamic range looks washed out.
        coder.color_primaries, coder.color_trc = given.color_primaries, given.color_trc

        def write(frame: Frame, picture: Tensor) -> None:
            # 4:2:0 needs even sides: an odd one grows by a repeated row or column.
            odd = [(0, side % 2) for side in picture.shape[1:]]
            array = np.pad(picture.permute(1, 2, 0), (*odd, (0, 0)), "edge")
            if not coder.is_open:
                coder.height, coder.width, _ = array.shape
                aspect = source.stream.sample_aspect_ratio or Fraction(1)  # of a stored pixel
                coder.sample_aspect_ratio = 1 / aspect if source.turns % 2 else aspect
            image = av.VideoFrame.from_ndarray(array, "rgb24").reformat(
                format="yuv420p", dst_colorspace=BT709, dst_color_range=LIMITED,
                interpolation=EXACT)
            image.time_base, image.pts = coder.time_base, round(frame.seconds / coder.time_base)
            container.mux(stream.encode(image))
        yield write
        container.mux(stream.encode(None))

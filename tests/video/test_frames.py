"""Does a video's table have a row per frame, and what is left of a damaged or failed video?"""

import csv
from pathlib import Path

import av
import numpy as np
import pytest

from unet_resnet.video import codec, frames


def avi(path: Path, count: int = 12) -> Path:
    """Frames of noise, which do not compress, 10 per second."""
    draw = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10, width=64, height=48, pix_fmt="bgr0")
        for _ in range(count):
            noise = draw.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, "rgb24")))
        container.mux(stream.encode(None))
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def pass_through(path: Path, stem: Path, every: int | None = None) -> None:
    with frames.open_results(path, stem, every) as video:
        for frame in video:
            video.add(frame, {"share": frame.index / 8}, frame.pixels)


@pytest.mark.parametrize("every, indices", [(None, range(12)), (5, (0, 5, 10))])
def test_the_table_has_a_row_per_frame(tmp_path, every, indices):
    pass_through(avi(tmp_path / "a.avi"), tmp_path / "out" / "a", every)
    assert rows(tmp_path / "out/a_cracks.csv") == [
        {"frame": str(i), "seconds": str(i / 10), "share": str(i / 8)} for i in indices]
    assert (tmp_path / "out/a_cracks.mp4").exists() == (every is None)


def test_a_damaged_video_ends_in_an_error_once_its_frames_are_there(tmp_path):
    path = avi(tmp_path / "a.avi")
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    with pytest.raises(ValueError, match="a.avi: damaged"):
        pass_through(path, tmp_path / "a")
    with codec.open_video(tmp_path / "a_cracks.mp4") as source:
        count = len(list(source.frames()))
    assert 3 < count == len(rows(tmp_path / "a_cracks.csv")) < 12


def test_a_failure_leaves_neither_table_nor_video(tmp_path):
    path = avi(tmp_path / "a.avi")
    with pytest.raises(OSError), frames.open_results(path, tmp_path / "a") as video:
        for frame in video:
            video.add(frame, {}, frame.pixels)
            if frame.index == 3:
                raise OSError("disk full")
    assert list(tmp_path.iterdir()) == [path]

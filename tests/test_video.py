"""Videos as a source of images."""

import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pytest

from hpr.errors import UserError
from hpr.images import Image, open_images
from hpr.poses import Frame
from hpr.skeleton import POSETRACK15
from hpr.video import Video

NUM_FRAMES = 30


def numbered(number: int | None, name: str = "") -> Frame:
    return Frame(name, POSETRACK15, np.empty((0, 15, 2)), number=number)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video whose frames have eight times their number as their shade, with a red edge on the left."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for number in range(NUM_FRAMES):
        pixels = np.full((48, 64, 3), number * 8, np.uint8)
        pixels[:, :16] = (0, 0, 255)
        writer.write(pixels)
    writer.release()
    return path


def number_of(image: Image) -> int:
    """Returns the number of the frame that an image shows."""
    return round(float(image[:, 32:].mean()) / 8)


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param([], id="none"),
        pytest.param(list(range(NUM_FRAMES)), id="all"),
        pytest.param([2, 3, 11, 29], id="some"),
        pytest.param([5, 5, 5, 6, 6], id="again"),
        pytest.param([20, 3, 4, 0, 29, 28], id="backwards"),
    ],
)
def test_frames(numbers: list[int], clip: Path) -> None:
    video = Video(clip)
    assert [number_of(video.read(numbered(number))) for number in numbers] == numbers


def test_forward_reading_opens_the_file_once(clip: Path) -> None:
    with (
        mock.patch.object(cv2, "VideoCapture", wraps=cv2.VideoCapture) as opened,
        mock.patch.object(cv2, "cvtColor", wraps=cv2.cvtColor) as converted,
    ):
        video = Video(clip)
        for number in (0, 4, 4, 17, 29):
            video.read(numbered(number))
        assert (opened.call_count, converted.call_count) == (1, 5)  # frames in between are not converted
        video.read(numbered(5))
        assert opened.call_count == 2


def test_reading_from_several_threads(clip: Path) -> None:
    video, numbers = Video(clip), [*range(0, NUM_FRAMES, 3)] * 3
    with ThreadPoolExecutor(8) as pool:
        assert [number_of(image) for image in pool.map(lambda n: video.read(numbered(n)), numbers)] == numbers


def test_what_the_header_says(clip: Path) -> None:
    video = open_images(clip)
    assert isinstance(video, Video)
    assert video.in_order
    assert video.size(numbered(3)) == (64, 48)
    assert [video.has(numbered(number)) for number in (-1, 0, 29)] == [False, True, True]
    assert video.expected(numbered(3)) == "frame 3"


def turn(clip: Path, turned: Path) -> None:
    """Copies a video with the mark in its header that it is to be turned by 90 degrees, as telephones write it."""
    content = bytearray(clip.read_bytes())
    matrix = content.index(b"tkhd") + 44
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    turned.write_bytes(content)


@pytest.mark.parametrize(
    ("setting", "size", "is_turned"),
    [
        *(("auto", None, True), ("auto", (64, 48), False), ("auto", (48, 64), True), ("auto", (9, 9), True)),
        *(("exif", (64, 48), True), ("stored", (48, 64), False)),
    ],
)
def test_turned_video(setting: Any, size: Any, is_turned: bool, clip: Path, tmp_path: Path) -> None:
    turn(clip, tmp_path / "a.mp4")
    video, frame = open_images(tmp_path / "a.mp4", orientation=setting), replace(numbered(3), size=size)
    for number in (3, 5, 1):
        image = video.read(replace(frame, number=number))
        red, other = (image[:12], image[20:]) if is_turned else (image[:, :12], image[:, 20:])
        assert red[..., 0].min() > 200 > other[..., 0].max()
        assert image.shape[1::-1] == video.size(frame) == ((48, 64) if is_turned else (64, 48))


def test_colon_in_a_relative_path(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a:b.mp4").write_bytes(clip.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert number_of(Video("a:b.mp4").read(numbered(2))) == 2


def test_frames_beyond_the_ends(clip: Path) -> None:
    video = Video(clip)
    for number in (57, 10**30, 30):
        assert not video.has(numbered(number))
        with pytest.raises(UserError) as error:
            video.read(numbered(number))
        assert str(error.value) == f"{clip}: has 30 frames, numbered from 0; frame {number} was asked for"
    with pytest.raises(UserError, match="frames are numbered from 0; frame -1 was asked for"):
        video.read(numbered(-1))
    assert [number_of(video.read(numbered(number))) for number in (29, 2)] == [29, 2]


def test_poses_that_do_not_say_which_frame(clip: Path) -> None:
    video, frame = Video(clip), numbered(None, "000003.jpg")
    assert not video.has(frame)
    for read in (video.read, video.size, video.expected):
        with pytest.raises(UserError) as error:
            read(frame)
        problem = "the poses do not say which frame of the video they are of (as for '000003.jpg')"
        assert str(error.value) == f"{clip}: {problem}"


def test_unreadable_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"a.mp4: no such video"):
        Video(tmp_path / "a.mp4")
    for content in (b"", b"hello" * 100):
        (tmp_path / "a.mp4").write_bytes(content)
        with pytest.raises(UserError, match=r"a.mp4: not a video that OpenCV can decode"):
            Video(tmp_path / "a.mp4")
    assert capfd.readouterr().err == ""


def test_half_a_video(clip: Path, tmp_path: Path) -> None:
    """Readable frames are read, or the file is refused."""
    (tmp_path / "a.mp4").write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(UserError, match=r"a.mp4: (not a video|has \d+ frames|frame 29 cannot)"):
        Video(tmp_path / "a.mp4").read(numbered(29))

"""Pictures and clips of whole sequences."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import frames_of

from hpr.images import ImageFolder, read_image
from hpr.poses import Frame
from hpr.report.clip import write_clip
from hpr.report.drawing import GAP
from hpr.report.pictures import SequencePair, draw_clip, draw_pictures, safe_names
from hpr.skeleton import COCO17
from hpr.video import Video

SIZE = (96, 128)


def frame(image: str = "", people: int = 1, **fields: Any) -> Frame:
    poses = np.full((people, 17, 2), np.nan)
    poses[:, COCO17.indices("left_eye", "left_ear")] = [[30, 50], [90, 50]]
    return Frame(image, COCO17, poses, **fields)


def image_at(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*size, 3), 128, np.uint8))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def is_blue(picture: np.ndarray, x: int, y: int) -> bool:
    red, _, blue = picture[y, x].astype(int)
    return bool(blue > red + 60)


class TestPictures:
    """Of a folder of images."""

    def test_no_frames(self, tmp_path: Path) -> None:
        drawn = draw_pictures(SequencePair("a", []), ImageFolder(tmp_path), tmp_path / "out")
        assert (drawn.frames, drawn.problems) == (0, [])
        assert names_in(tmp_path / "out") == []

    @pytest.mark.parametrize(
        ("every", "expected"),
        [(1, {"1.jpg": False, "2.jpg": True, "1_2.jpg": True}), (2, {"1.jpg": False, "1_2.jpg": True})],
    )
    def test_each_frame_also_without_people(self, every: int, expected: dict[str, bool], tmp_path: Path) -> None:
        """Names are the same for every second frame."""
        names, done = ["x/1.png", "x/2.png", "y/1.png"], list[int]()
        for name in names:
            image_at(tmp_path / name)
        pair = SequencePair("a", [frame(names[0], 0), frame(names[1]), frame(names[2])])
        drawn = draw_pictures(pair, ImageFolder(tmp_path), tmp_path / "out", every=every, progress=done.append)
        assert (drawn.frames, drawn.problems, sum(done)) == (len(expected), [], len(expected))
        pictures = {name: read_image(tmp_path / "out" / name) for name in names_in(tmp_path / "out")}
        assert {picture.shape for picture in pictures.values()} == {(*SIZE, 3)}
        assert {name: is_blue(picture, 60, 50) for name, picture in pictures.items()} == expected

    def test_images_that_are_missing_or_broken(self, tmp_path: Path) -> None:
        image_at(tmp_path / "1.png")
        (tmp_path / "2.png").write_bytes(b"not a picture")
        pair = SequencePair("a", [frame("1.png"), frame("2.png"), frame("3.png")])
        drawn = draw_pictures(pair, ImageFolder(tmp_path), tmp_path / "out")
        assert drawn.frames == 1
        assert [problem.rpartition("/")[2].partition(":")[0] for problem in drawn.problems] == ["2.png", "3.png"]

    def test_large_images_are_shrunk(self, tmp_path: Path) -> None:
        """To what browsers display; 8K side by side is not larger."""
        image_at(tmp_path / "1.png", (16, 12_000))
        own = frame("1.png")
        draw_pictures(SequencePair("a", [own], [own]), ImageFolder(tmp_path), tmp_path / "out")
        assert read_image(tmp_path / "out" / "1.jpg").shape == (11, 2 * 8192 + GAP, 3)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Five grey frames at ten a second."""
    write_clip([np.full((*SIZE, 3), 128, np.uint8)] * 5, 10, tmp_path / "video.webm")
    return tmp_path / "video.webm"


class TestClips:
    """Of a video."""

    @pytest.mark.parametrize("refined", [None, []], ids=["input alone", "refined"])
    def test_no_poses(self, refined: list[Frame] | None, video: Path, tmp_path: Path) -> None:
        drawn = draw_clip(SequencePair("a", [], refined), Video(video), tmp_path / "a.webm")
        assert (drawn.frames, drawn.problems) == (5, [])
        widths = [picture.shape[1] for picture in frames_of(tmp_path / "a.webm")]
        assert widths == [SIZE[1] if refined is None else 2 * SIZE[1] + GAP] * 5

    @pytest.mark.parametrize(
        ("every", "expected"), [(1, [False, False, True, False, False]), (2, [False, True, False])]
    )
    def test_it_is_as_long_as_the_video(self, every: int, expected: list[bool], video: Path, tmp_path: Path) -> None:
        """With refined people beside the input, who are nobody here."""
        pair = SequencePair("a", [frame(number=2), frame(people=0, number=1)], [frame(people=0, number=2)] * 2)
        done: list[int] = []
        drawn = draw_clip(pair, Video(video), tmp_path / "a.webm", every=every, progress=done.append)
        assert (drawn.frames, drawn.problems, sum(done)) == (len(expected), [], len(expected))
        clip = frames_of(tmp_path / "a.webm")
        assert {picture.shape for picture in clip} == {(SIZE[0], 2 * SIZE[1] + GAP, 3)}
        assert [is_blue(picture, 60, 50) for picture in clip] == expected
        assert not any(is_blue(picture, SIZE[1] + GAP + 60, 50) for picture in clip)
        assert Video(tmp_path / "a.webm").frame_rate == pytest.approx(10 / every)

    def test_frames_beyond_the_end(self, video: Path, tmp_path: Path) -> None:
        pair = SequencePair("a", [frame(number=0), frame(number=5), frame(number=700)])
        drawn = draw_clip(pair, Video(video), tmp_path / "a.webm")
        assert drawn.frames == 5
        assert [problem.rpartition(" ")[2] for problem in drawn.problems] == ["5", "700"]
        assert "has 5 frames, numbered from 0" in drawn.problems[0]

    def test_header_that_promises_more(self, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        own = Video(video)
        header = property(lambda self: 9 if self._end is None else self._end)
        monkeypatch.setattr(Video, "frame_count", header)
        drawn = draw_clip(SequencePair("a", [frame(number=0)]), own, tmp_path / "a.webm")
        assert (drawn.frames, drawn.problems) == (5, [])

    def test_large_videos_are_shrunk(self, tmp_path: Path) -> None:
        write_clip([np.full((1200, 1600, 3), 128, np.uint8)], 10, tmp_path / "video.webm")
        own = replace(frame(number=0), keypoints=frame().keypoints * 10)
        draw_clip(SequencePair("a", [own], [own]), Video(tmp_path / "video.webm"), tmp_path / "a.webm")
        (picture,) = frames_of(tmp_path / "a.webm")
        assert picture.shape == (718, 1920, 3)
        assert is_blue(picture, 359, 299)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([], []),
        (["a", "A", "a", "a_2"], ["a", "A_2", "a_3", "a_2_2"]),
        (["", "..", ".", " "], ["unnamed", "unnamed_2", "unnamed_3", "unnamed_4"]),
        (["../x/y", "/etc"], ["_x_y", "_etc"]),
        ([".hidden", "a.b", "ü 1"], ["hidden", "a.b", "ü 1"]),
    ],
)
def test_names(wanted: list[str], expected: list[str]) -> None:
    assert safe_names(wanted) == expected

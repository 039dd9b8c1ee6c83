"""Ultralytics' results as JSON, and its labels."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN
from documents import read, read_document, refusal, with_frame

from hpr.errors import UserError
from hpr.formats.ultralytics import Ultralytics
from hpr.formats.ultralytics_labels import UltralyticsLabels
from hpr.poses import NO_RECORD, Frame, PoseSequence
from hpr.skeleton import COCO17

LABELS = GOLDEN / "formats" / "ultralytics_labels"
IMAGES = str(GOLDEN / "images")
NOSE = COCO17.index("nose")


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def moved(frame: Frame, person: int, place: float) -> Frame:
    """Returns a frame in which all keypoints of a person are at one place."""
    keypoints, flags = frame.keypoints.copy(), frame.flags.copy()
    keypoints[person], flags[person] = place, 1
    return replace(frame, keypoints=keypoints, flags=flags)


def person(**fields: Any) -> dict[str, Any]:
    keypoints = {"x": [10.5] * 17, "y": [20.0] * 17, "visible": [0.75] * 17, "odd": 2}
    box = {"x1": 1.0, "y1": 2.0, "x2": 30.5, "y2": 40.0}
    return {"name": "person", "class": 0, "confidence": 0.5, "box": box, "keypoints": keypoints, "odd": [1], **fields}


class TestResults:
    def test_normalised(self, tmp_path: Path) -> None:
        file_format, path = Ultralytics(IMAGES), GOLDEN / "formats" / "ultralytics" / "normalised"
        sequence = read(file_format, path)
        file_format.write([with_frame(sequence, 0, moved(sequence.frames[0], 0, 240.0))], tmp_path / "out")
        (record,) = json.loads((tmp_path / "out" / "a_640x480.json").read_text())
        assert (set(record["keypoints"]["x"]), set(record["keypoints"]["y"])) == ({0.375}, {0.5})

    def test_what_is_absent(self, tmp_path: Path) -> None:
        pose = {"x": [5.0] * 17, "y": [6.0] * 17}
        people = [{"keypoints": pose}, {"name": "ball"}, person(keypoints=None, track_id=None)]
        (frame,) = read_document(Ultralytics(), tmp_path, people).frames
        assert frame.posed.tolist() == [True, False, False]
        assert np.isnan(frame.scores).all()
        assert np.isnan(frame.boxes[:2]).all()
        np.testing.assert_array_equal(frame.keypoints[:, 0], [(5, 6), (np.nan, np.nan), (np.nan, np.nan)])
        assert frame.track_ids == (None, None, None)
        np.testing.assert_array_equal(frame.person_scores, [np.nan, np.nan, 0.5])


def label(dims: int = 3, nose: tuple[Any, ...] = (0.5, 0.25, 2), end: str = "") -> str:
    """A line whose other keypoints are missing."""
    words = ["0", "0.5", "0.5", "0.25", "0.5", *map(str, nose[:dims]), *["0"] * (16 * dims), *end.split()]
    return " ".join(words) + "\n"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of pictures of 640 x 480 with the names a, b and s_1 to s_3."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a", "b", "s_0", "s_1", "s_3"):
        (folder / f"{name}.png").write_bytes((GOLDEN / "images" / "a_640x480.png").read_bytes())
    return folder


class TestLabels:
    def frames(self, images: Path, **texts: str) -> list[Frame]:
        folder = images.parent / "labels"
        folder.mkdir()
        for name, text in texts.items():
            (folder / f"{name}.txt").write_bytes(text.encode())
        return read(UltralyticsLabels(str(images)), folder).frames

    def test_a_video(self, images: Path) -> None:
        (images / "clip_9.png").write_bytes((images / "a.png").read_bytes())
        (images / "clip_10.png").write_bytes((images / "a.png").read_bytes())
        frames = read(UltralyticsLabels(str(images)), LABELS / "clip").frames
        assert [(frame.image, frame.number, frame.track_ids) for frame in frames] == [
            ("clip_9", 8, (3,)),  # files count from 1
            ("clip_10", 9, (3, 12)),
        ]
        assert frames[1].person_scores.tolist() == [0.875, 0.5]

    @pytest.mark.parametrize(
        ("names", "numbers"),
        [(("s_1", "s_3"), [0, 2]), (("s_0", "s_1", "s_3"), [0, 1, 3]), (("a", "s_1"), [None, None])],
        ids=str,
    )
    def test_numbers(self, names: tuple[str, ...], numbers: list[int | None], images: Path) -> None:
        frames = self.frames(images, **dict.fromkeys(names, ""))
        assert [frame.number for frame in frames] == numbers

    @pytest.mark.parametrize("name", ["data_set", "predictions", "blank_lines"])
    def test_unchanged_to_the_byte(self, name: str, tmp_path: Path) -> None:
        folder = LABELS / name
        if name == "blank_lines":
            folder = tmp_path / name
            folder.mkdir()
            (folder / "a_640x480.txt").write_bytes(f"\r\n{label()}\n \n{label().strip()}".encode())
        file_format = UltralyticsLabels(IMAGES)
        file_format.write(file_format.read(folder), tmp_path / "out")
        assert contents(tmp_path / "out") == contents(folder)

    def test_an_image_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="no such image"):
            UltralyticsLabels(str(tmp_path)).read(LABELS / "data_set")

    @pytest.mark.parametrize(
        ("dims", "nose", "place", "flag", "score"),
        [
            pytest.param(3, (0, 0, 0), None, 0, None, id="missing"),
            pytest.param(3, (0, 0, 1), (0, 0), 1, None, id="in the corner"),
            pytest.param(3, (0.5, 0.25, 0), (320, 120), 0, None, id="not labelled, but somewhere"),
            pytest.param(3, (0.5, 0.25, 2), (320, 120), 2, None, id="visible"),
            pytest.param(3, (0.5, 0.25, 0.75), (320, 120), 1, 0.75, id="with a confidence"),
            pytest.param(3, (0, 0, 0.75), None, 0, 0.75, id="missing with a confidence"),
            pytest.param(3, ("nan", 0.25, 2), (np.inf, np.inf), 2, None, id="NaN"),
            pytest.param(3, (-0.5, 1.5, 1), (-320, 720), 1, None, id="outside"),
            pytest.param(2, (0, 0), None, 0, None, id="missing, two numbers"),
            pytest.param(2, (0.5, 0.25), (320, 120), 1, None, id="two numbers"),
        ],
    )
    def test_a_keypoint(self, dims: int, nose: Any, place: Any, flag: float, score: float | None, images: Path) -> None:
        (frame,) = self.frames(images, a=label(dims, nose))
        np.testing.assert_array_equal(frame.keypoints[0, NOSE], (np.nan, np.nan) if place is None else place)
        assert frame.flags[0, NOSE] == flag
        np.testing.assert_array_equal(frame.scores[0, NOSE], np.nan if score is None else score)
        assert np.isnan(frame.keypoints[0, 1:]).all()

    @pytest.mark.parametrize(
        ("ends", "confidences", "ids"),
        [
            (("", ""), [np.nan, np.nan], [None, None]),
            (("3", "12"), [np.nan, np.nan], [3, 12]),
            (("0.5", "1"), [0.5, 1], [None, None]),
            (("0.5 3", "1 12"), [0.5, 1], [3, 12]),
            (("", "3"), [np.nan, np.nan], [None, 3]),
        ],
        ids=str,
    )
    def test_what_stands_at_the_end(self, ends: tuple[str, str], confidences: Any, ids: Any, images: Path) -> None:
        (frame,) = self.frames(images, a="".join(label(end=end) for end in ends))
        np.testing.assert_array_equal(frame.person_scores, confidences)
        assert list(frame.track_ids) == ids

    @pytest.mark.parametrize("name", ["data_set", "predictions"])
    def test_a_changed_pose(self, name: str, tmp_path: Path) -> None:
        file_format = UltralyticsLabels(IMAGES)
        sequence = read(file_format, LABELS / name)
        file_format.write([with_frame(sequence, 0, moved(sequence.frames[0], 1, 240.0))], tmp_path / "out")

        found, before = contents(tmp_path / "out"), contents(LABELS / name)
        kept, line = found.pop("a_640x480.txt").splitlines(keepends=True)
        former = before.pop("a_640x480.txt").splitlines(keepends=True)
        assert found == before
        assert kept == former[0]
        words, was = line.split(), former[1].split()
        assert (words[:5], words[56:]) == (was[:5], was[56:])
        assert {tuple(words[i : i + 2]) for i in range(5, 56, 3)} == {(b"0.375", b"0.5")}
        assert words[7] == (b"1" if name == "data_set" else b"0.9")

    def test_people_who_are_dropped_and_new(self, images: Path) -> None:
        path, lines = images.parent / "a.txt", [label(end="0.5"), "\n", label(end="0.75").strip()]
        path.write_text("".join(lines))
        file_format = UltralyticsLabels(str(images))
        sequence = read(file_format, path)
        new = replace(sequence.frames[0], records=np.array([NO_RECORD, 1]), track_ids=(7, None))
        file_format.write([with_frame(sequence, 0, new)], path)
        assert path.read_text() == f"{lines[2]}\n{label(end='0.5 7')}"

    def test_a_box_is_made_where_there_is_none(self, images: Path) -> None:
        keypoints = np.full((2, 17, 2), np.nan)
        keypoints[0, :2] = [[64, 48], [128, 144]]
        frame = Frame("x/a.jpg", COCO17, keypoints, size=(640, 480))
        UltralyticsLabels().write([PoseSequence("s", [frame])], images.parent / "out")
        first, second = (images.parent / "out" / "a.txt").read_text().splitlines()
        assert first.split()[:11] == ["0", "0.15", "0.2", "0.1", "0.2", "0.1", "0.1", "1", "0.2", "0.3", "1"]
        assert second == " ".join(["0"] * 56)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("0 0.5 0.5 0.2 0.2\n", "line 1: expected class, box and 17 keypoints of 2 or 3 numbers, then at most"),
            ("\n" + label() + "person\n", "line 3: expected class, box and 17 keypoints"),
            (label(nose=("x", 0, 0)), "line 1: expected numbers, found 'x'"),
            (label(end="0.5 1.5"), "line 1: expected a whole number as track id at its end, found '1.5'"),
            (label(end=f"0.5 {'9' * 30}"), "line 1: expected a whole number as track id at its end, found '999"),
            ("\xff", ": not a text; repair or remove the file"),
        ],
        ids=lambda value: value[-40:],
    )
    def test_broken_files(self, text: str, message: str, images: Path) -> None:
        path = images.parent / "a.txt"
        path.write_bytes(text.encode("latin1"))
        assert message in refusal(UltralyticsLabels(str(images)), path)

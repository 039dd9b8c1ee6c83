"""Ultralytics' results as JSON, and its labels."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN
from documents import read, refusal, with_frame, with_keypoints, written

from hpr.errors import UserError
from hpr.formats.ultralytics import Ultralytics, UltralyticsLabels
from hpr.poses import NO_RECORD, Frame, PoseSequence
from hpr.skeleton import COCO17

RESULTS = GOLDEN / "formats" / "ultralytics"
LABELS = GOLDEN / "formats" / "ultralytics_labels"
IMAGES = str(GOLDEN / "images")
NOSE, LEFT_EAR, LEFT_ANKLE = COCO17.indices("nose", "left_ear", "left_ankle")
FIRST: dict[str, tuple[float, float]] = {"nose": (320, 114), "right_ankle": (296, 381), "left_shoulder": (350, 144)}
"""Of the first person of most golden files."""


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def documents_in(path: Path) -> dict[str, Any]:
    return {name: json.loads(content) for name, content in contents(path).items()}


def assert_first(frame: Frame, places: dict[str, tuple[float, float]], tolerance: float) -> None:
    for name, place in places.items():
        np.testing.assert_allclose(frame.keypoints[0, COCO17.index(name)], place, rtol=0, atol=tolerance)


def moved(frame: Frame, person: int, place: float) -> Frame:
    """Returns a frame in which all keypoints of a person are at one place."""
    keypoints, flags = frame.keypoints.copy(), frame.flags.copy()
    keypoints[person], flags[person] = place, 1
    return replace(frame, keypoints=keypoints, flags=flags)


def person(**fields: Any) -> dict[str, Any]:
    keypoints = {"x": [10.5] * 17, "y": [20.0] * 17, "visible": [0.75] * 17, "odd": 2}
    box = {"x1": 1.0, "y1": 2.0, "x2": 30.5, "y2": 40.0}
    return {"name": "person", "class": 0, "confidence": 0.5, "box": box, "keypoints": keypoints, "odd": [1], **fields}


def frame_of(path: Path, *people: Any) -> Frame:
    """Reads a file of some people."""
    (frame,) = read(Ultralytics(), written(path / "a.json", list(people))).frames
    return frame


class TestResults:
    def test_golden(self) -> None:
        sequence = read(Ultralytics(), RESULTS / "results")
        first, second = sequence.frames
        assert sequence.name == "results"
        assert [(frame.image, len(frame), frame.number) for frame in (first, second)] == [
            ("a_640x480", 2, None),
            ("b_333x501", 0, None),
        ]
        assert_first(first, FIRST, 0)
        assert np.isnan(first.keypoints[0, [LEFT_EAR, LEFT_ANKLE]]).all()
        assert np.flatnonzero(first.flags[0] == 0).tolist() == [LEFT_EAR, LEFT_ANKLE]
        assert first.scores[0, [NOSE, LEFT_EAR]].tolist() == [0.9, 0.21875]
        assert first.boxes[0].tolist() == [270.25, 90.5, 372, 391]
        assert first.track_ids == (3, 12)
        assert first.person_scores.tolist() == [0.91234, 0.5]

    def test_normalised(self, tmp_path: Path) -> None:
        file_format = Ultralytics(IMAGES)
        sequence = read(file_format, RESULTS / "normalised")
        first, second = sequence.frames
        assert (first.size, second.size) == ((640, 480), (333, 501))
        assert_first(first, FIRST, 0.005)
        np.testing.assert_allclose(first.boxes[0], [270.25, 90.5, 372, 391], rtol=0, atol=0.005)

        file_format.write([replace(sequence, frames=[moved(first, 0, 240.0), second])], tmp_path / "out")
        found, before = documents_in(tmp_path / "out"), documents_in(RESULTS / "normalised")
        pose = found["a_640x480.json"][0].pop("keypoints")
        assert (set(pose["x"]), set(pose["y"])) == ({0.375}, {0.5})
        before["a_640x480.json"][0].pop("keypoints")
        assert found == before

    def test_normalised_without_images(self) -> None:
        path = RESULTS / "normalised"
        with pytest.raises(UserError, match=f"^{path}: the coordinates are relative to the images' sizes, as to_"):
            Ultralytics().read(path)

    def test_what_is_absent(self, tmp_path: Path) -> None:
        pose = {"x": [5.0] * 17, "y": [6.0] * 17}
        frame = frame_of(tmp_path, {"keypoints": pose}, {"name": "ball"}, person(keypoints=None, track_id=None))
        assert frame.posed.tolist() == [True, False, False]
        assert np.isnan(frame.scores).all()
        assert np.isnan(frame.boxes[:2]).all()
        assert (frame.keypoints[0] == [5, 6]).all()
        assert np.isnan(frame.keypoints[1:]).all()
        assert frame.track_ids == (None, None, None)
        np.testing.assert_array_equal(frame.person_scores, [np.nan, np.nan, 0.5])

    def test_a_changed_pose(self, tmp_path: Path) -> None:
        people = [person(), person(track_id=5)]
        path = written(tmp_path / "a.json", people)
        sequence = read(Ultralytics(), path)
        frame = with_keypoints(sequence.frames[0], 1, nose=(1.25, 2), left_ear=(np.nan, np.nan))
        scores = frame.scores.copy()
        scores[1, LEFT_ANKLE] = np.nan
        Ultralytics().write([with_frame(sequence, 0, replace(frame, scores=scores))], path)

        expected = copy.deepcopy(people)
        pose = expected[1]["keypoints"]
        pose["x"][NOSE], pose["y"][NOSE] = 1.25, 2
        pose["x"][LEFT_EAR] = pose["y"][LEFT_EAR] = 0
        pose["visible"][LEFT_ANKLE] = 1
        assert json.loads(path.read_text()) == expected

    @pytest.mark.parametrize(
        ("people", "message"),
        [
            ({}, ": expected a list, found an object"),
            ([[]], ": [0]: expected an object, found a list of 0"),
            ([person(keypoints={"x": []})], "[0].keypoints.x: expected 17 numbers, found a list of 0"),
            ([person(keypoints={"x": [5] * 17})], "[0].keypoints: expected the field 'y', found x"),
            ([person(keypoints={"x": [5] * 17, "y": ["u"] * 17})], "[0].keypoints.y: expected 17 numbers, found 'u'"),
            ([person(track_id=1.5)], "[0].track_id: expected a whole number or a text, found 1.5"),
            ([person(confidence="high")], "[0].confidence: expected a number, found 'high'"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_broken_files(self, people: Any, message: str, tmp_path: Path) -> None:
        path = written(tmp_path / "a.json", people)
        assert message in refusal(Ultralytics(), path)


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

    def test_a_data_set(self) -> None:
        first, second, third = read(UltralyticsLabels(IMAGES), LABELS / "data_set").frames
        assert [(frame.image, frame.size, len(frame), frame.number) for frame in (first, second, third)] == [
            ("a_640x480", (640, 480), 2, None),
            ("b_333x501", (333, 501), 1, None),
            ("d_97x61", (97, 61), 0, None),
        ]
        assert_first(first, FIRST, 0.001)
        np.testing.assert_allclose(first.boxes[0], [270.25, 90.5, 372, 391], atol=0.001)
        assert np.isnan(first.keypoints[0, [LEFT_EAR, LEFT_ANKLE]]).all()
        assert first.flags[0].tolist() == [1, 2, 2, 0, 2, 2, 1, 2, 2, 1, 2, 2, 1, 2, 2, 0, 2]
        assert np.isnan(first.scores).all()
        assert np.isnan(first.person_scores).all()
        assert first.track_ids == (None, None)

    def test_predictions(self) -> None:
        first, second = read(UltralyticsLabels(IMAGES), LABELS / "predictions").frames
        assert_first(first, FIRST, 0.001)
        assert first.scores[0, [NOSE, LEFT_EAR]].tolist() == [0.9, 0.21875]
        assert np.flatnonzero(first.flags[0] == 0).tolist() == [LEFT_EAR, LEFT_ANKLE]
        assert first.person_scores.tolist() == [0.91234, 0.5]
        assert first.track_ids == (None, None)
        np.testing.assert_allclose(second.boxes[0], [80, 60, 230, 450], atol=0.001)

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

    def test_without_images(self) -> None:
        message = "the coordinates are relative to the images' sizes; set dataset.images"
        with pytest.raises(UserError, match=f"^{LABELS / 'data_set'}: {message}$"):
            UltralyticsLabels().read(LABELS / "data_set")

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
        frames = [moved(sequence.frames[0], 1, 240.0), *sequence.frames[1:]]
        file_format.write([replace(sequence, frames=frames)], tmp_path / "out")

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

    def test_from_scratch_without_sizes(self, tmp_path: Path) -> None:
        message = r"^a.jpg: the coordinates are relative to the images' sizes; set dataset\.images$"
        with pytest.raises(UserError, match=message):
            UltralyticsLabels().write([PoseSequence("s", [Frame.empty("a.jpg", COCO17)])], tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("0 0.5 0.5 0.2 0.2\n", "line 1: expected 39 to 41 or 56 to 58 numbers (class, box and 17 keypoints"),
            ("\n" + label() + "person\n", "line 3: expected 39 to 41 or 56 to 58 numbers"),
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

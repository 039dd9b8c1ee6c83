"""OpenPose's folders of files, and what all formats share that have a file for each image."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN
from documents import read, refusal, some_keypoints, with_another, with_frame, with_keypoints, written

from hpr.errors import UserError
from hpr.formats.frame_files import video_numbers
from hpr.formats.openpose import OpenPose
from hpr.poses import Frame, PoseSequence
from hpr.skeleton import BODY25, COCO17, OPENPOSE18

OWN = GOLDEN / "formats" / "openpose"
IMAGES = str(GOLDEN / "images")
NOSE, RIGHT_ANKLE, LEFT_ANKLE = BODY25.indices("nose", "right_ankle", "left_ankle")
FOLDERS = ["clip", "coco", "scale_3", "scale_4"]


def pose(count: int = 25, **triples: tuple[Any, Any, Any]) -> list[Any]:
    """The numbers of a pose that has some keypoints."""
    numbers: list[Any] = [0] * (3 * count)
    for name, triple in triples.items():
        place = 3 * (BODY25 if count == 25 else OPENPOSE18).index(name)
        numbers[place : place + 3] = triple
    return numbers


def person(numbers: Any = None, **fields: Any) -> dict[str, Any]:
    default = pose(nose=(11.5, 12.5, 0.75), left_ankle=(21.5, 22.5, 0.5))
    return {"person_id": [-1], "pose_keypoints_2d": default if numbers is None else numbers, "odd": [1], **fields}


def document(*people: Any, **fields: Any) -> dict[str, Any]:
    return {"version": 1.3, "people": list(people), **fields}


def folder(path: Path, **documents: Any) -> Path:
    """Writes a folder of files."""
    path.mkdir()
    for name, content in documents.items():
        written(path / f"{name}_keypoints.json", content)
    return path


def documents_in(path: Path) -> dict[str, Any]:
    return {file.name: json.loads(file.read_text()) for file in path.iterdir()}


def frame_of(path: Path, *people: Any) -> Frame:
    """Reads a folder of one file."""
    (frame,) = read(OpenPose(), folder(path / "in", a=document(*people))).frames
    return frame


class TestGolden:
    def test_frames(self) -> None:
        sequence = read(OpenPose(), OWN / "clip")
        assert sequence.name == "clip"
        assert [(frame.image, frame.number, len(frame)) for frame in sequence.frames] == [
            ("clip_000000000000", 0, 2),
            ("clip_000000000001", 1, 0),
            ("clip_000000000010", 10, 1),
        ]
        assert all(frame.skeleton is BODY25 and frame.size is None for frame in sequence.frames)

    def test_a_person(self) -> None:
        frame = read(OpenPose(), OWN / "clip").frames[0]
        assert frame.keypoints[0, NOSE].tolist() == [320, 114]
        assert frame.keypoints[0, RIGHT_ANKLE].tolist() == [296, 381]
        assert np.isnan(frame.keypoints[0, LEFT_ANKLE]).all()
        missing = BODY25.indices("left_ankle", "left_big_toe", "left_small_toe", "left_heel", "right_ear")
        assert np.flatnonzero(frame.flags[0] == 0).tolist() == sorted(missing)
        assert frame.scores[0, [NOSE, RIGHT_ANKLE]].tolist() == [0.9, 0.757]
        assert np.isnan(frame.scores[0, missing]).all()
        assert frame.track_ids == (None, None)

    def test_coco_in_natural_order(self) -> None:
        frames = read(OpenPose(), OWN / "coco").frames
        assert [(frame.image, frame.number, frame.track_ids) for frame in frames] == [
            ("9", None, (7,)),
            ("10", None, (7, 0)),
        ]
        assert frames[0].skeleton is OPENPOSE18

    @pytest.mark.parametrize("name", ["scale_3", "scale_4"])
    def test_relative_coordinates(self, name: str, tmp_path: Path) -> None:
        file_format = OpenPose(IMAGES)
        sequence = read(file_format, OWN / name)
        first, second = sequence.frames
        assert (first.size, second.size) == ((640, 480), (333, 501))
        np.testing.assert_allclose(first.keypoints[0, NOSE], [320, 114], atol=1e-3)
        np.testing.assert_allclose(second.keypoints[0, RIGHT_ANKLE], [118, 438], atol=1e-3)

        # One person moves to the image's last pixel, and is written so; the other one stays as it was.
        last = np.tile([639.0, 479.0], (1, 25, 1))
        moved = replace(sequence, frames=[replace(first, keypoints=last, flags=np.ones((1, 25))), second])
        file_format.write([moved], tmp_path / "out")
        found = documents_in(tmp_path / "out")
        triples = np.reshape(found["a_640x480_keypoints.json"]["people"][0]["pose_keypoints_2d"], (25, 3))
        assert (triples[:, :2] == 1).all()
        assert found["b_333x501_keypoints.json"] == documents_in(OWN / name)["b_333x501_keypoints.json"]

    @pytest.mark.parametrize("name", ["scale_3", "scale_4"])
    def test_relative_coordinates_without_images(self, name: str) -> None:
        with pytest.raises(UserError) as error:
            OpenPose().read(OWN / name)
        assert str(error.value).startswith(f"{OWN / name}: the coordinates are relative to the images' sizes, as --key")
        assert str(error.value).endswith("set dataset.images")


class TestSources:
    def test_nothing(self, tmp_path: Path) -> None:
        assert read(OpenPose(), tmp_path).frames == []
        with pytest.raises(UserError, match=r"expected \.json files in it, found none"):
            OpenPose().sources(tmp_path)
        with pytest.raises(UserError, match="no such file or folder"):
            OpenPose().read(tmp_path / "a")

    def test_folders(self) -> None:
        assert OpenPose().sources(OWN / "clip") == [OWN / "clip"]
        assert OpenPose().sources(OWN) == [OWN / name for name in FOLDERS]

    def test_a_single_file(self, tmp_path: Path) -> None:
        path = OWN / "clip" / "clip_000000000010_keypoints.json"
        assert OpenPose().sources(path) == [path]
        sequence = read(OpenPose(), path)
        assert [(frame.image, frame.number) for frame in sequence.frames] == [("clip_000000000010", 10)]
        OpenPose().write([sequence], tmp_path / "a.json")
        assert json.loads((tmp_path / "a.json").read_text()) == json.loads(path.read_text())

    @pytest.mark.parametrize(
        ("names", "numbers"),
        [
            ([], None),
            (["a_000000000003"], [3]),
            (["a_000000000003", "a_000000000001"], [3, 1]),
            (["a_000000000003", "b_000000000003"], None),
            (["a_000000000003", "a"], None),
            (["a_0003"], None),
            (["a_b_000000000003"], [3]),
        ],
        ids=str,
    )
    def test_numbers_of_a_video(self, names: list[str], numbers: list[int] | None) -> None:
        pattern = re.compile(r"(?P<video>.*)_(?P<number>\d{12})")
        assert video_numbers(names, pattern) == numbers


class TestPeople:
    def test_nobody(self, tmp_path: Path) -> None:
        frame = frame_of(tmp_path)
        assert (frame.image, len(frame), frame.skeleton) == ("a", 0, BODY25)

    @pytest.mark.parametrize(
        ("field", "track_id"),
        [({}, None), ([], None), ([-1], None), (-1, None), (None, None), ([0], 0), ([7], 7), (7, 7), (["a"], "a")],
        ids=str,
    )
    def test_who_it_is(self, field: Any, track_id: Any, tmp_path: Path) -> None:
        fields = {} if field == {} else {"person_id": field}
        entry = {key: value for key, value in person().items() if key != "person_id"}
        assert frame_of(tmp_path, {**entry, **fields}).track_ids == (track_id,)

    def test_a_person_without_body(self, tmp_path: Path) -> None:
        frame = frame_of(tmp_path, person([], face_keypoints_2d=[1, 2, 3]), person())
        assert frame.posed.tolist() == [False, True]
        assert np.isnan(frame.keypoints[0]).all()


class TestWriting:
    def sequence(self, tmp_path: Path) -> PoseSequence:
        first = document(person(person_id=[4]), person(face_keypoints_2d=[1, 2, 3]), odd={"b": 1})
        return read(OpenPose(), folder(tmp_path / "in", a=first, b=document(person())))

    def write(self, sequence: PoseSequence, path: Path) -> dict[str, Any]:
        OpenPose().write([sequence], path)
        return documents_in(path)

    def test_a_changed_pose(self, tmp_path: Path) -> None:
        sequence = self.sequence(tmp_path)
        expected = documents_in(tmp_path / "in")
        places = {"nose": (1.25, 2), "right_ankle": (3, 4), "left_ankle": (np.nan, np.nan)}
        numbers = pose(nose=(1.25, 2, 0.75), right_ankle=(3, 4, 1))  # the score of a missing keypoint is 0
        expected["a_keypoints.json"]["people"][1]["pose_keypoints_2d"] = numbers
        assert (
            self.write(with_frame(sequence, 0, with_keypoints(sequence.frames[0], 1, **places)), tmp_path / "out")
            == expected
        )

    def test_somebody_new(self, tmp_path: Path) -> None:
        sequence = self.sequence(tmp_path)
        keypoints, scores = some_keypoints(BODY25, nose=(5, 6)), np.full((1, 25), 0.5)
        first = with_another(sequence.frames[0], keypoints, scores=scores, track_ids=(9,))
        found = self.write(with_frame(sequence, 0, first), tmp_path / "out")
        new = found["a_keypoints.json"]["people"][-1]
        assert (new["person_id"], new["pose_keypoints_2d"]) == ([9], pose(nose=(5, 6, 0.5)))

    def test_from_another_skeleton(self, tmp_path: Path) -> None:
        keypoints = np.arange(34.0).reshape(1, 17, 2)
        frame = Frame("x/a.b.jpg", COCO17, keypoints, track_ids=(3,))
        found = self.write(PoseSequence("s", [frame, Frame.empty("c.png", COCO17)]), tmp_path / "out")
        assert sorted(found) == ["a.b_keypoints.json", "c_keypoints.json"]
        first, second = read(OpenPose(), tmp_path / "out").frames
        assert (first.image, second.image, len(second)) == ("a.b", "c", 0)
        np.testing.assert_array_equal(first.in_skeleton(COCO17).keypoints, keypoints)
        assert np.isnan(first.keypoints[0, BODY25.index("pelvis")]).all()
        assert np.nanmin(first.scores) == 1  # OpenPose takes 0 for a missing keypoint
        assert first.track_ids == (3,)

    @pytest.mark.parametrize(
        ("images", "message"),
        [
            (["a/1.jpg", "b/1.png"], "s: expected images of different names for a file each, found two for 1_keyp"),
            (["a\0"], r"s: no file can have the name 'a\\x00_keypoints.json'"),
            (["\ud800"], "s: no file can have the name"),
            (["a" * 300], "cannot be written"),
        ],
        ids=repr,
    )
    def test_names_that_no_file_can_have(self, images: list[str], message: str, tmp_path: Path) -> None:
        frames = [Frame.empty(image, BODY25) for image in images]
        with pytest.raises(UserError, match=re.escape(message).replace(r"\\\\", r"\\")):
            OpenPose().write([PoseSequence("s", frames)], tmp_path / "out")
        assert list(tmp_path.iterdir()) == []


PLACE = "a_keypoints.json: people[0]"
BROKEN = [
    ({}, "a_keypoints.json: expected the field 'people', found no field at all"),
    (document({"a": 1}), f"{PLACE}: expected the field 'pose_keypoints_2d', found a"),
    (
        document(person([1] * 45)),
        f"{PLACE}.pose_keypoints_2d: expected 75 (body25), 54 (openpose18) numbers, found",
    ),
    (document(person(pose(nose=("x", 1, 1)))), f"{PLACE}.pose_keypoints_2d: expected 75 numbers, found 'x'"),
    (document(person(pose(nose=([], 1, 1)))), f"{PLACE}.pose_keypoints_2d: expected 75 numbers, found a list of 0"),
    (document(person(person_id=[{}])), f"{PLACE}.person_id: expected a whole number or a text, found an object"),
    (
        document(person([]), person(), person(pose(18))),
        "people[2].pose_keypoints_2d: expected 75 numbers as in the first record, found 54; keep the poses",
    ),
]


@pytest.mark.parametrize(("content", "message"), BROKEN, ids=str)
def test_broken_files(content: Any, message: str, tmp_path: Path) -> None:
    path = folder(tmp_path / "in", a=content)
    assert message in refusal(OpenPose(), path)


def test_models_are_not_mixed_in_a_folder(tmp_path: Path) -> None:
    path = folder(tmp_path / "in", a=document(person()), b=document(person(pose(18))))
    with pytest.raises(UserError, match=r"b_keypoints.json: people\[0\].*expected 75 numbers as in the first record"):
        OpenPose().read(path)

"""OpenPose's folders of files, and what all formats share that have a file for each image."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN
from documents import read, refusal, some_keypoints, with_another, with_frame, written

from hpr.errors import UserError
from hpr.formats.frame_files import video_numbers
from hpr.formats.openpose import OpenPose
from hpr.poses import Frame, PoseSequence
from hpr.skeleton import BODY25, COCO17

OWN = GOLDEN / "formats" / "openpose"
FORMAT = OpenPose()


def pose(**triples: tuple[float, float, float]) -> list[float]:
    """The numbers of a pose that has some keypoints."""
    numbers = np.zeros((25, 3))
    numbers[BODY25.indices(*triples)] = list(triples.values())
    return numbers.ravel().tolist()


def person(**fields: Any) -> dict[str, Any]:
    numbers = pose(nose=(11.5, 12.5, 0.75), left_ankle=(21.5, 22.5, 0.5))
    return {"person_id": [-1], "pose_keypoints_2d": numbers, "odd": [1], **fields}


def folder(path: Path, **files: list[Any]) -> Path:
    """Writes a folder of files with people."""
    path.mkdir()
    for name, people in files.items():
        written(path / f"{name}_keypoints.json", {"version": 1.3, "people": people, "odd": {"b": 1}})
    return path


def documents_in(path: Path) -> dict[str, Any]:
    return {file.name: json.loads(file.read_text()) for file in path.iterdir()}


@pytest.mark.parametrize("name", ["scale_3", "scale_4"])
def test_relative_coordinates(name: str, tmp_path: Path) -> None:
    """One person moves to the image's last pixel, and is written so; the other one stays as it was."""
    file_format = OpenPose(str(GOLDEN / "images"))
    sequence = read(file_format, OWN / name)
    first = replace(sequence.frames[0], keypoints=np.tile([639.0, 479.0], (1, 25, 1)), flags=np.ones((1, 25)))
    file_format.write([with_frame(sequence, 0, first)], tmp_path / "out")
    found = documents_in(tmp_path / "out")
    triples = np.reshape(found["a_640x480_keypoints.json"]["people"][0]["pose_keypoints_2d"], (25, 3))
    assert (triples[:, :2] == 1).all()
    assert found["b_333x501_keypoints.json"] == documents_in(OWN / name)["b_333x501_keypoints.json"]


class TestSources:
    def test_nothing(self, tmp_path: Path) -> None:
        assert read(FORMAT, tmp_path).frames == []
        assert "no such file or folder" in refusal(FORMAT, tmp_path / "a")

    def test_a_single_file(self, tmp_path: Path) -> None:
        path = OWN / "clip" / "clip_000000000010_keypoints.json"
        assert FORMAT.sources(path) == [path]
        FORMAT.write(FORMAT.read(path), tmp_path / "a.json")
        assert json.loads((tmp_path / "a.json").read_text()) == json.loads(path.read_text())

    @pytest.mark.parametrize(
        ("names", "numbers"),
        [
            *(([], None), (["a_000000000003"], [3]), (["a_000000000003", "a_000000000001"], [3, 1])),
            *((["a_000000000003", "b_000000000003"], None), (["a_000000000003", "a"], None)),
            *((["a_0003"], None), (["a_b_000000000003"], [3])),
        ],
        ids=str,
    )
    def test_numbers_of_a_video(self, names: list[str], numbers: list[int] | None) -> None:
        pattern = re.compile(r"(?P<video>.*)_(?P<number>\d{12})")
        assert video_numbers(names, pattern) == numbers

    def test_models_are_not_mixed_in_a_folder(self, tmp_path: Path) -> None:
        path = folder(tmp_path / "in", a=[person()], b=[person(pose_keypoints_2d=[1] * 54)])
        message = "/b_keypoints.json: people[0].pose_keypoints_2d: expected 75 numbers as in the first record"
        assert refusal(FORMAT, path).startswith(message)

    @pytest.mark.parametrize("frames", [[], [{"people": []}], [{"people": []}] * 2], ids=len)
    def test_a_list_of_frames_beside_other_files_is_broken(self, frames: list[Any], tmp_path: Path) -> None:
        path = folder(tmp_path / "in", a=[person()])
        written(path / "b.json", frames)
        broken: list[str] = []
        (sequence,) = FORMAT.read_whole_parts(path, broken)
        assert [frame.image for frame in sequence.frames] == ["a"]
        assert broken == [f"{path / 'b.json'}: expected an object, found a list of {len(frames)}"]


class TestWriting:
    def sequence(self, tmp_path: Path) -> PoseSequence:
        people = [person(person_id=[4]), person(face_keypoints_2d=[1, 2, 3])]
        return read(FORMAT, folder(tmp_path / "in", a=people, b=[person()]))

    def test_somebody_new(self, tmp_path: Path) -> None:
        sequence = self.sequence(tmp_path)
        keypoints, scores = some_keypoints(BODY25, nose=(5, 6)), np.full((1, 25), 0.5)
        first = with_another(sequence.frames[0], keypoints, scores=scores, track_ids=(9,))
        FORMAT.write([with_frame(sequence, 0, first)], tmp_path / "out")
        new = documents_in(tmp_path / "out")["a_keypoints.json"]["people"][-1]
        assert (new["person_id"], new["pose_keypoints_2d"]) == ([9], pose(nose=(5, 6, 0.5)))

    def test_from_another_skeleton(self, tmp_path: Path) -> None:
        keypoints = np.arange(34.0).reshape(1, 17, 2)
        frame = Frame("x/a.b.jpg", COCO17, keypoints, track_ids=(3,))
        FORMAT.write([PoseSequence("s", [frame, Frame.empty("c.png", COCO17)])], tmp_path / "out")
        assert sorted(documents_in(tmp_path / "out")) == ["a.b_keypoints.json", "c_keypoints.json"]
        first, second = read(FORMAT, tmp_path / "out").frames
        assert (first.image, second.image, len(second)) == ("a.b", "c", 0)
        np.testing.assert_array_equal(first.in_skeleton(COCO17).keypoints, keypoints)
        assert np.isnan(first.keypoints[0, BODY25.index("pelvis")]).all()
        assert np.nanmin(first.scores) == 1  # OpenPose takes 0 for a missing keypoint

    @pytest.mark.parametrize(
        ("images", "message"),
        [
            (["a/1.jpg", "b/1.png"], "s: expected images of different names for a file each, found two for 1_keyp"),
            (["a\0"], r"s: no file can have the name 'a\x00_keypoints.json'"),
            (["\ud800"], "s: no file can have the name"),
            (["a" * 300], "cannot be written"),
        ],
        ids=repr,
    )
    def test_names_that_no_file_can_have(self, images: list[str], message: str, tmp_path: Path) -> None:
        frames = [Frame.empty(image, BODY25) for image in images]
        with pytest.raises(UserError, match=re.escape(message)):
            FORMAT.write([PoseSequence("s", frames)], tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

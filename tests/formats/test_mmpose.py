"""MMPose's predictions of images and videos."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN
from documents import read, read_document, refusal, rewritten, with_frame, with_keypoints, written

from hpr.errors import UserError
from hpr.formats.mmpose import MMPose
from hpr.poses import Frame, PoseSequence
from hpr.skeleton import COCO17, CROWDPOSE14, HALPE26, MPII16, POSETRACK15, Skeleton

OWN = GOLDEN / "formats" / "mmpose"
NOSE = COCO17.index("nose")


def person(count: int = 17, **fields: Any) -> dict[str, Any]:
    keypoints = [[10.5, 20.0] for _ in range(count)]
    box = [[1.0, 2.0, 30.5, 40.0]]
    default = {"keypoints": keypoints, "keypoint_scores": [0.75] * count, "bbox": box, "bbox_score": 0.5, "odd": [1]}
    return {**default, **fields}


def video(*instances: list[Any], first: int = 0) -> list[dict[str, Any]]:
    return [{"frame_id": first + i, "instances": people, "odd": i} for i, people in enumerate(instances)]


def demo(entries: list[Any], names: list[Any] | None = None) -> dict[str, Any]:
    """What the demo scripts write."""
    named = {} if names is None else {"keypoint_id2name": {str(i): name for i, name in enumerate(names)}}
    return {"meta_info": {"dataset_name": "some", **named}, "instance_info": entries, "odd": 1}


def frame_of(path: Path, *people: Any) -> Frame:
    (frame,) = read(MMPose(), written(path / "a.json", list(people))).frames
    return frame


class TestGolden:
    def test_images(self) -> None:
        sequence = read(MMPose(), OWN / "predictions")
        first, second = sequence.frames
        assert [(frame.image, frame.number, len(frame)) for frame in (first, second)] == [
            ("a_640x480", None, 2),
            ("b_333x501", None, 0),
        ]
        assert first.skeleton is COCO17
        assert first.keypoints[0, NOSE].tolist() == [320, 114]
        assert first.keypoints[0, COCO17.index("right_ankle")].tolist() == [296, 381]
        assert np.flatnonzero(first.flags[0] == 0).tolist() == COCO17.indices("left_ear", "left_ankle")
        assert first.scores[0, NOSE] == 0.9
        assert first.boxes[0].tolist() == [270.25, 90.5, 372, 391]
        assert first.person_scores.tolist() == [0.91, 0.5]

    def test_a_video(self) -> None:
        sequence = read(MMPose(), OWN / "clip.json")
        assert sequence.name == "clip"
        assert [(frame.image, frame.number, len(frame)) for frame in sequence.frames] == [
            ("clip_000000000000", 0, 1),
            ("clip_000000000001", 1, 0),
            ("clip_000000000002", 2, 1),
        ]
        assert all(frame.skeleton is HALPE26 for frame in sequence.frames)
        assert sequence.frames[0].keypoints[0, HALPE26.index("pelvis")].tolist() == [320, 240]

    def test_a_video_of_the_demo(self) -> None:
        frames = read(MMPose(), OWN / "results_clip.json").frames
        assert [(frame.image, frame.number, len(frame)) for frame in frames] == [
            ("clip_000000000000", 0, 1),
            ("clip_000000000001", 1, 0),
        ]

    def test_an_image_of_the_demo(self) -> None:
        frames = read(MMPose(), OWN / "results_a_640x480.json").frames
        assert [(frame.image, frame.number, len(frame)) for frame in frames] == [("a_640x480", None, 1)]


class TestSources:
    def test_a_folder_of_images_is_one(self) -> None:
        assert MMPose().sources(OWN / "predictions") == [OWN / "predictions"]

    def test_each_video_is_one(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            written(tmp_path / f"{name}.json", video([person()]))
        assert MMPose().sources(tmp_path) == [tmp_path / "a.json", tmp_path / "b.json"]
        assert MMPose().sources(tmp_path / "a.json") == [tmp_path / "a.json"]

    def test_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"expected \.json files in it, found none"):
            MMPose().sources(tmp_path)
        assert read(MMPose(), tmp_path).frames == []

    def test_videos_among_images(self, tmp_path: Path) -> None:
        written(tmp_path / "a.json", [person()])
        path = written(tmp_path / "b.json", video([person()]))
        with pytest.raises(UserError, match=f"^{path}: expected the people of an image, found the frames of a video"):
            MMPose().read(tmp_path)


class TestFrames:
    @pytest.mark.parametrize(
        ("document", "numbers"),
        [
            pytest.param(video([]), [0], id="from 0"),
            pytest.param(video([], [], first=5), [5, 6], id="a part of a video"),
            pytest.param(demo(video([], [], first=1)), [0, 1], id="the demo's, from 1"),
            pytest.param(demo(video([], [], first=0)), [0, 1], id="the demo's, from 0"),
        ],
    )
    def test_numbers(self, document: Any, numbers: list[int], tmp_path: Path) -> None:
        frames = read(MMPose(), written(tmp_path / "results_v.json", document)).frames
        assert [frame.number for frame in frames] == numbers
        video_name = "v" if isinstance(document, dict) else "results_v"
        assert [frame.image for frame in frames] == [f"{video_name}_{number:012d}" for number in numbers]

    @pytest.mark.parametrize("document", [[], demo([])], ids=str)
    def test_nobody_is_an_image(self, document: Any, tmp_path: Path) -> None:
        (frame,) = read_document(MMPose(), tmp_path, document).frames
        assert (frame.image, frame.skeleton, frame.number, len(frame)) == ("a", COCO17, None, 0)

    @pytest.mark.parametrize("skeleton", MMPose.skeletons, ids=lambda skeleton: skeleton.name)
    def test_skeletons_by_count(self, skeleton: Skeleton, tmp_path: Path) -> None:
        frames = read(MMPose(), written(tmp_path / "a.json", video([], [person(len(skeleton))]))).frames
        assert all(frame.skeleton is skeleton for frame in frames)

    @pytest.mark.parametrize(
        ("names", "skeleton"),
        [
            (COCO17.names, COCO17),
            ([*COCO17.names, "head", "neck", "hip", *HALPE26.names[20:]], HALPE26),
            ([*MPII16.names[:8], "upper_neck", *MPII16.names[9:]], MPII16),
            ([*CROWDPOSE14.names[:12], "top_head", "neck"], CROWDPOSE14),
        ],
        ids=["coco", "halpe26", "mpii", "crowdpose"],
    )
    def test_skeletons_by_name(self, names: list[str], skeleton: Skeleton, tmp_path: Path) -> None:
        people = [person(len(names))]
        frames = read(MMPose(), written(tmp_path / "a.json", demo(video(people, []), list(names)))).frames
        assert all(frame.skeleton is skeleton for frame in frames)

    def test_names_of_another_skeleton(self, tmp_path: Path) -> None:
        path = written(tmp_path / "a.json", demo([person()], ["root", *COCO17.names[1:]]))
        expected = "meta_info.keypoint_id2name: expected the keypoints of coco17, halpe26, mpii16, crowdpose14"
        with pytest.raises(UserError, match=f"{expected}, found those of 'some'"):
            MMPose().read(path)


class TestPeople:
    @pytest.mark.parametrize(
        ("fields", "box", "score"),
        [
            ({}, [1, 2, 30.5, 40], 0.5),
            ({"bbox": [1, 2, 3, 4], "bbox_score": [0.25]}, [1, 2, 3, 4], 0.25),
            ({"bbox": None, "bbox_score": None}, [np.nan] * 4, np.nan),
            ({"bbox": [], "bbox_score": 1}, [np.nan] * 4, 1),
        ],
        ids=str,
    )
    def test_boxes(self, fields: Any, box: Any, score: float, tmp_path: Path) -> None:
        frame = frame_of(tmp_path, person(**fields))
        np.testing.assert_array_equal(frame.boxes[0], box)
        np.testing.assert_array_equal(frame.person_scores, [score])

    def test_without_scores(self, tmp_path: Path) -> None:
        frame = frame_of(tmp_path, {"keypoints": [[1, 2]] * 17}, person())
        assert np.isnan(frame.scores[0]).all()
        assert frame.scores[1].tolist() == [0.75] * 17


def test_a_changed_pose(tmp_path: Path) -> None:
    """A missing keypoint gets score 0, one without a score 1."""
    sequence = read_document(MMPose(), tmp_path, [person(), person()])
    frame = with_keypoints(sequence.frames[0], 1, nose=(1.25, 2), left_eye=(np.nan, np.nan))
    scores = frame.scores.copy()
    scores[1, 2] = np.nan
    found = rewritten(MMPose(), with_frame(sequence, 0, replace(frame, scores=scores)), tmp_path / "out.json")
    expected = [person(), person()]
    expected[1]["keypoints"][:2] = [[1.25, 2], [0, 0]]
    expected[1]["keypoint_scores"][1:3] = [0, 1]
    assert found == expected


class TestFromScratch:
    def test_one_image(self, tmp_path: Path) -> None:
        frame = Frame("x.jpg", COCO17, np.full((1, 17, 2), 5.0))
        expected = [{"keypoints": [[5, 5]] * 17, "keypoint_scores": [1] * 17}]
        assert rewritten(MMPose(), PoseSequence("s", [frame]), tmp_path / "a.json") == expected

    def test_frames(self, tmp_path: Path) -> None:
        frames = [Frame.empty(f"{i}.jpg", POSETRACK15) for i in range(2)]
        expected = [{"frame_id": 0, "instances": []}, {"frame_id": 1, "instances": []}]
        assert rewritten(MMPose(), PoseSequence("s", frames), tmp_path / "a.json") == expected

    @pytest.mark.parametrize(
        ("numbers", "ids"), [([4], [4]), ([4, 7], [4, 7]), ([4, 4], [0, 1]), ([None, 4], [0, 1])], ids=str
    )
    def test_numbers(self, numbers: list[int | None], ids: list[int], tmp_path: Path) -> None:
        frames = [replace(Frame.empty("a", COCO17), number=number) for number in numbers]
        found = rewritten(MMPose(), PoseSequence("s", frames), tmp_path / "a.json")
        assert [entry["frame_id"] for entry in found] == ids


BROKEN: list[tuple[Any, str]] = [
    ({}, ": expected the field 'instance_info', found no field at all"),
    ([{}], ": [0]: expected the field 'keypoints', found no field at all"),
    (
        [person(133)],
        "[0].keypoints: expected 17 (coco17), 26 (halpe26), 16 (mpii16), 14",
    ),
    ([person(), person(16)], ": [1].keypoints: expected 17 keypoints, found a list of 16"),
    ([person(keypoints=[[1, 2]] * 16 + [[1]])], ": [0].keypoints[16]: expected 2 numbers, found a list of 1"),
    ([person(keypoints=[["x", 2]] * 17)], ": [0].keypoints[0]: expected 2 numbers, found 'x'"),
    ([person(keypoint_scores=[1])], ": [0].keypoint_scores: expected 17 numbers, found a list of 1"),
    ([person(bbox_score="x")], ": [0].bbox_score: expected a number, found 'x'"),
    ([*video([]), {"frame_id": 1}], ": [1]: expected the field 'instances', found frame_id"),
    ([{"instances": []}], ": [0].frame_id: expected a whole number from 0, found None"),
    (video([], first=-1), ": [0].frame_id: expected a whole number from 0, found -1"),
    (video([], [{}]), ": [1].instances[0]: expected the field 'keypoints', found no field at all"),
    (demo(video([3])), ": instance_info[0].instances[0]: expected an object, found 3"),
]


@pytest.mark.parametrize(("content", "message"), BROKEN, ids=lambda value: value if isinstance(value, str) else "")
def test_broken_files(content: Any, message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", content)
    assert message in refusal(MMPose(), path)

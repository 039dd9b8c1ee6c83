"""MMPose's predictions of images and videos."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from documents import read, read_document, refusal, rewritten, written

from hpr.formats.mmpose import MMPose
from hpr.poses import Frame, PoseSequence
from hpr.skeleton import COCO17, CROWDPOSE14, HALPE26, MPII16, Skeleton


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


def test_sources(tmp_path: Path) -> None:
    """Each video is one; all images of a folder are one."""
    assert read(MMPose(), tmp_path).frames == []
    paths = [written(tmp_path / f"{name}.json", video([person()])) for name in "ab"]
    assert MMPose().sources(tmp_path) == paths
    assert MMPose().sources(paths[0]) == paths[:1]
    written(paths[0], [person()])
    assert MMPose().sources(tmp_path) == [tmp_path]
    assert refusal(MMPose(), tmp_path).startswith("/b.json: expected the people of an image, found the frames of a vi")


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
        document = demo(video([person(len(names))], []), list(names))
        frames = read_document(MMPose(), tmp_path, document).frames
        assert all(frame.skeleton is skeleton for frame in frames)
        document["meta_info"]["keypoint_id2name"]["0"] = "tail"
        (frame, _) = read_document(MMPose(), tmp_path, document).frames
        assert "tail" in frame.skeleton  # others are read by name as well


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
def test_boxes_and_scores(fields: Any, box: Any, score: float, tmp_path: Path) -> None:
    people = [person(**fields), {"keypoints": [[1, 2]] * 17}]
    (frame,) = read_document(MMPose(), tmp_path, people).frames
    np.testing.assert_array_equal(frame.boxes, [box, [np.nan] * 4])
    np.testing.assert_array_equal(frame.person_scores, [score, np.nan])
    np.testing.assert_array_equal(frame.scores, [[0.75] * 17, [np.nan] * 17])


@pytest.mark.parametrize(
    ("numbers", "ids"),
    [([None], None), ([None] * 2, [0, 1]), ([4], [4]), ([4, 7], [4, 7]), ([4, 4], [0, 1]), ([None, 4], [0, 1])],
    ids=str,
)
def test_frames_from_scratch(numbers: list[int | None], ids: list[int] | None, tmp_path: Path) -> None:
    frames = [Frame("a", COCO17, np.full((1, 17, 2), 5.0), number=number) for number in numbers]
    people = [{"keypoints": [[5, 5]] * 17, "keypoint_scores": [1] * 17}]
    expected = people if ids is None else [{"frame_id": frame_id, "instances": people} for frame_id in ids]
    assert rewritten(MMPose(), PoseSequence("s", frames), tmp_path / "a.json") == expected

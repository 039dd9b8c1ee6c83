"""PoseTrack 2018, 2021 and 2017: what is read from a file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN, POSETRACK
from documents import document17, document18, point, read, read_document, some_keypoints

from hpr.formats import PoseTrack17, PoseTrack18
from hpr.poses import Frame
from hpr.skeleton import POSETRACK15, POSETRACK18

NOSE = POSETRACK15.index("nose")


@pytest.mark.parametrize("clip", ["seq_a", "seq_b"])
def test_both_formats_read_the_same_poses(clip: str) -> None:
    first, second = (read(POSETRACK[name], GOLDEN / name / "predictions" / f"{clip}.json") for name in POSETRACK)
    assert first.people > 0
    for frames in zip(first.frames, second.frames, strict=True):
        one, other = (frame.select(frame.is_posed).in_skeleton(POSETRACK15) for frame in frames)
        np.testing.assert_array_equal(one.poses, other.poses)


class TestWhatPoseTrack18Says:
    def frame(self, folder: Path, image: dict[str, Any] | None = None, **annotation: Any) -> Frame:
        document = document18(**annotation)
        document["images"][0] |= image or {}
        (frame,) = read_document(PoseTrack18(), folder, document).frames
        return frame

    def test_a_person(self, tmp_path: Path) -> None:
        frame = self.frame(tmp_path, bbox_head=[10, 20, 30, 40.5])
        assert frame.skeleton is POSETRACK18
        expected = some_keypoints(POSETRACK18, nose=(11.5, 12.5), right_ankle=(21.5, 22.5))
        np.testing.assert_array_equal(frame.keypoints, [expected])
        np.testing.assert_array_equal(frame.flags, [np.isfinite(expected[:, 0])])
        assert frame.scores[0].tolist() == [0.25, 0, 0.5, *[0.0] * 13, 0.75]
        np.testing.assert_array_equal(frame.boxes, [[1, 2, 4, 6]])
        np.testing.assert_array_equal(frame.head_boxes, [[10, 20, 40, 60.5]])
        assert frame.track_ids == (3,)
        assert frame.posed.tolist() == [True]
        assert np.isnan(frame.confidences).all()
        assert (frame.ignore_regions, frame.size) == ((), None)

    @pytest.mark.parametrize(
        ("image", "size"),
        [({}, None), ({"width": 640}, None), ({"width": 640, "height": 480}, (640, 480)), ({"width": "w"}, None)],
        ids=str,
    )
    def test_size_of_the_image(self, image: dict[str, Any], size: tuple[int, int] | None, tmp_path: Path) -> None:
        assert self.frame(tmp_path, image).size == size

    def test_ignore_regions(self, tmp_path: Path) -> None:
        image = {"ignore_regions_x": [[], [0, 90, 90.5]], "ignore_regions_y": [[], [0, 1, 60]]}
        none, triangle = self.frame(tmp_path, image).ignore_regions
        assert none.shape == (0, 2)
        assert triangle.tolist() == [[0, 0], [90, 1], [90.5, 60]]

    def test_an_image_twice(self, tmp_path: Path) -> None:
        """The first counts, and everyone is in it."""
        document = document18()
        document["images"] += [{"id": 8, "file_name": "b.jpg"}, {"id": 7, "file_name": "c.jpg"}]
        frames = read_document(PoseTrack18(), tmp_path, document).frames
        assert [(frame.image, len(frame)) for frame in frames] == [("images/val/clip/000.jpg", 1), ("b.jpg", 0)]

    def test_people_come_in_the_order_of_the_file(self, tmp_path: Path) -> None:
        document = document18()
        document["images"].append({"id": "b", "file_name": "b.jpg"})
        ids = ["b", 7, "b", 7, 7]
        document["annotations"] = [{"image_id": image_id, "track_id": i} for i, image_id in enumerate(ids)]
        frames = read_document(PoseTrack18(), tmp_path, document).frames
        assert [frame.track_ids for frame in frames] == [(1, 3, 4), (0, 2)]
        assert [frame.records.tolist() for frame in frames] == [[1, 3, 4], [0, 2]]


class TestWhatPoseTrack17Says:
    def frame(self, folder: Path, document: Any) -> Frame:
        (frame,) = read_document(PoseTrack17(), folder, document).frames
        return frame

    @pytest.mark.parametrize("people", [{}, {"annorect": None}, {"annorect": []}], ids=str)
    def test_nobody(self, people: dict[str, Any], tmp_path: Path) -> None:
        frame = self.frame(tmp_path, {"annolist": [{"image": "a.jpg", **people}]})
        assert frame.image == "a.jpg"
        assert len(frame) == 0

    def test_a_person(self, tmp_path: Path) -> None:
        document = document17([point(0, 1, 2.5, score=[0.75]), point(NOSE, 3, 4)])
        document["annolist"][0]["annorect"][0] |= {"x1": [10], "y1": [20], "x2": 40, "y2": [60.5]}
        frame = self.frame(tmp_path, document)
        assert frame.skeleton is POSETRACK15
        expected = some_keypoints(POSETRACK15, right_ankle=(1, 2.5), nose=(3, 4))
        np.testing.assert_array_equal(frame.keypoints, expected[None])
        np.testing.assert_array_equal(frame.flags[0], np.isfinite(expected[:, 0]).astype(float))
        np.testing.assert_array_equal(frame.scores[0], [0.75, *[np.nan] * 14])
        assert np.isnan(frame.boxes).all()
        np.testing.assert_array_equal(frame.head_boxes, [[10, 20, 40, 60.5]])
        assert frame.track_ids == (3,)
        assert frame.posed.tolist() == [True]
        assert (frame.ignore_regions, frame.size) == ((), None)

    def test_of_two_points_with_one_id_the_first_counts(self, tmp_path: Path) -> None:
        points = [point(4, 1, 2, score=[0.25]), point(5, 7, 8), point(4, 3, 4, score=[0.5])]
        frame = self.frame(tmp_path, document17(points))
        assert frame.keypoints[0, 4].tolist() == [1, 2]
        assert frame.scores[0, 4] == 0.25
        assert frame.keypoints[0, 5].tolist() == [7, 8]

    @pytest.mark.parametrize("odd", [15, -1, 99, "nose", None, 1.5], ids=str)
    def test_points_with_other_ids_are_passed_over(self, odd: Any, tmp_path: Path) -> None:
        frame = self.frame(tmp_path, document17([{"id": [odd], "x": [9], "y": [9]}, point(0, 1, 2)]))
        np.testing.assert_array_equal(frame.keypoints[0], some_keypoints(POSETRACK15, right_ankle=(1, 2)))

    @pytest.mark.parametrize(
        ("record", "posed"),
        [
            *(({}, False), ({"annopoints": None}, False), ({"annopoints": []}, False), ({"annopoints": [None]}, False)),
            *(({"annopoints": {}}, False), ({"annopoints": [{}]}, False), ({"annopoints": [{"point": None}]}, False)),
            *(({"annopoints": [{"point": []}]}, True), ({"annopoints": {"point": []}}, True)),
        ],
        ids=str,
    )
    def test_people_without_keypoints(self, record: dict[str, Any], posed: bool, tmp_path: Path) -> None:
        """Only someone with a list of points, be it an empty one, has a pose that is scored."""
        document = document17([point(0, 1, 2)])
        document["annolist"][0]["annorect"].insert(0, record)
        frame = self.frame(tmp_path, document)
        assert frame.posed.tolist() == [posed, True]
        assert frame.is_posed.tolist() == [False, True]
        assert np.isnan(frame.keypoints[0]).all()

    @pytest.mark.parametrize("corners", [{}, {"x1": [1], "y1": [2], "x2": [3]}, {"x1": 1, "y1": 2, "x2": 3, "y2": []}])
    def test_no_head_box(self, corners: dict[str, Any], tmp_path: Path) -> None:
        document = document17([point(0, 1, 2)])
        document["annolist"][0]["annorect"][0] |= corners
        assert np.isnan(self.frame(tmp_path, document).head_boxes).all()

    def test_ignore_regions(self, tmp_path: Path) -> None:
        document = document17([point(0, 1, 2)])
        corners = [{"x": [0], "y": [0]}, {"x": 90, "y": [1]}, {"x": [90.5], "y": [60]}]
        document["annolist"][0]["ignore_regions"] = [{"point": []}, {"point": corners}]
        none, triangle = self.frame(tmp_path, document).ignore_regions
        assert none.shape == (0, 2)
        assert triangle.tolist() == [[0, 0], [90, 1], [90.5, 60]]

    @pytest.mark.parametrize(
        "image", ["x/y/clip/000.jpg", [{"name": "x/y/clip/000.jpg"}], [{"name": "y/clip/000.jpg"}]], ids=str
    )
    def test_image_is_the_last_three_parts(self, image: Any, tmp_path: Path) -> None:
        assert self.frame(tmp_path, document17([point(0, 1, 2)], image)).image == "y/clip/000.jpg"

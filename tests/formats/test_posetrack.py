"""Both PoseTrack formats: what is read from a file, and how it is written back onto it."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN, POSETRACK
from documents import changed, document17, document18, moved, point, put_something_wild, read, rewritten, written
from hypothesis import given, settings
from hypothesis import strategies as st

from hpr.errors import UserError
from hpr.formats import PoseTrack17, PoseTrack18
from hpr.poses import Frame
from hpr.skeleton import COCO17, POSETRACK15, POSETRACK18

NOSE, RIGHT_ANKLE = POSETRACK15.indices("nose", "right_ankle")
NOSE18, RIGHT_ANKLE18, LEFT_EAR18 = POSETRACK18.indices("nose", "right_ankle", "left_ear")
SKELETONS = {"posetrack18": POSETRACK18, "posetrack17": POSETRACK15}
CLIPS = [(name, clip) for name in POSETRACK for clip in ("seq_a", "seq_b")]


def pose(**places: tuple[float, float]) -> Any:
    """Returns a pose (15, 2) with some keypoints."""
    keypoints = np.full((15, 2), np.nan)
    for name, place in places.items():
        keypoints[POSETRACK15.index(name)] = place
    return keypoints


def only_posed(frame: Frame) -> Frame:
    return frame.select(frame.is_posed)


@pytest.mark.parametrize(("name", "clip"), CLIPS)
def test_unchanged_poses_are_carried_over(name: str, clip: str, tmp_path: Path) -> None:
    path = GOLDEN / name / "predictions" / f"{clip}.json"
    original = json.loads(path.read_text())
    assert rewritten(POSETRACK[name], read(POSETRACK[name], path), tmp_path / path.name) == original


@pytest.mark.parametrize("clip", ["seq_a", "seq_b"])
def test_posetrack17_without_those_whom_the_published_code_removes(clip: str, tmp_path: Path) -> None:
    path = GOLDEN / "posetrack17" / "predictions" / f"{clip}.json"
    original = json.loads(path.read_text())
    for entry in original["annolist"]:
        entry["annorect"] = [r for r in entry["annorect"] if r["annopoints"][0]["point"][0]["x"][0] > -500]
    sequence = changed(read(PoseTrack17(), path), only_posed)
    assert rewritten(PoseTrack17(), sequence, tmp_path / path.name) == original


def test_who_removes_people_without_a_keypoint() -> None:
    assert {name: file_format.removes_unposed for name, file_format in POSETRACK.items()} == {
        "posetrack18": False,
        "posetrack17": True,
    }


def test_both_formats_read_the_same_poses() -> None:
    for clip in ("seq_a", "seq_b"):
        first, second = (
            [
                only_posed(frame).in_skeleton(POSETRACK15)
                for frame in read(file_format, GOLDEN / name / "predictions" / f"{clip}.json").frames
            ]
            for name, file_format in POSETRACK.items()
        )
        assert sum(len(frame) for frame in first) > 0
        for one, other in zip(first, second, strict=True):
            np.testing.assert_array_equal(one.poses, other.poses)


def test_posetrack18_empty(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", {"images": [], "annotations": []})
    sequence = read(PoseTrack18(), path)
    assert (sequence.name, sequence.frames) == ("a", [])
    assert rewritten(PoseTrack18(), sequence, tmp_path / "b.json") == {"images": [], "annotations": []}


def test_posetrack17_empty(tmp_path: Path) -> None:
    sequence = read(PoseTrack17(), written(tmp_path / "a.json", {"annolist": []}))
    assert (sequence.name, sequence.frames) == ("a", [])
    assert rewritten(PoseTrack17(), sequence, tmp_path / "b.json") == {"annolist": []}


class TestWhatPoseTrack18Says:
    def frame(self, folder: Path, image: dict[str, Any] | None = None, **annotation: Any) -> Frame:
        document = document18(**annotation)
        document["images"][0] |= image or {}
        (frame,) = read(PoseTrack18(), written(folder / "a.json", document)).frames
        return frame

    def test_nobody(self, tmp_path: Path) -> None:
        document = {**document18(), "annotations": []}
        (frame,) = read(PoseTrack18(), written(tmp_path / "a.json", document)).frames
        assert frame.image == "images/val/clip/000.jpg"
        assert len(frame) == 0

    def test_a_person(self, tmp_path: Path) -> None:
        frame = self.frame(tmp_path, bbox_head=[10, 20, 30, 40.5])
        assert frame.skeleton is POSETRACK18
        expected = np.full((1, 17, 2), np.nan)
        expected[0, [NOSE18, RIGHT_ANKLE18]] = [[11.5, 12.5], [21.5, 22.5]]
        np.testing.assert_array_equal(frame.keypoints, expected)
        np.testing.assert_array_equal(frame.flags, np.isfinite(expected[..., 0]).astype(float))
        assert frame.scores[0].tolist() == [0.25, 0, 0.5, *[0.0] * 13, 0.75]
        np.testing.assert_array_equal(frame.boxes, [[1, 2, 4, 6]])
        np.testing.assert_array_equal(frame.head_boxes, [[10, 20, 40, 60.5]])
        assert frame.track_ids == (3,)
        assert frame.posed.tolist() == [True]
        assert np.isnan(frame.confidences).all()
        assert (frame.ignore_regions, frame.size) == ((), None)

    @pytest.mark.parametrize(
        ("triple", "place", "flag", "present"),
        [
            pytest.param([0, 0, 0], None, 0, False, id="zeros: no such keypoint"),
            pytest.param([10, 12.5, 1], (10, 12.5), 1, True, id="flag 1"),
            pytest.param([10, 12.5, 0], (10, 12.5), 0, False, id="flag 0"),
            pytest.param([10, 12.5, 0.3], (10, 12.5), 0.3, True, id="a score in place of the flag"),
            pytest.param([10, 12.5, -1], (10, 12.5), -1, False, id="negative flag"),
            pytest.param([0, 0, 1], (0, 0), 1, True, id="in the corner"),
            pytest.param([0, 3, 0], (0, 3), 0, False, id="at the border with flag 0"),
            pytest.param([-499.9, 12.5, 1], (-499.9, 12.5), 1, True, id="outside the image"),
            pytest.param([-500, 12.5, 1], (-500, 12.5), 1, False, id="at the cutoff"),
            pytest.param([10, -600, 1], (10, -600), 1, False, id="below the cutoff"),
            pytest.param([float("nan"), 12.5, 1], (np.inf, np.inf), 1, False, id="NaN"),
            pytest.param([float("inf"), 12.5, 1], (np.inf, np.inf), 1, False, id="infinite"),
            pytest.param([None, 12.5, 1], (np.inf, np.inf), 1, False, id="null"),
            pytest.param([12.5, None, 0], (np.inf, np.inf), 0, False, id="null with flag 0"),
            pytest.param([10, 12.5, None], (10, 12.5), 0, False, id="flag null"),
            pytest.param([None, None, None], (np.inf, np.inf), 0, False, id="all null"),
        ],
    )
    def test_a_keypoint(
        self,
        triple: list[float | None],
        place: tuple[float, float] | None,
        flag: float,
        present: bool,
        tmp_path: Path,
    ) -> None:
        """NaN is no keypoint; a place, be it infinite, is one for PoseTrack's scores; the refiner has its own rule."""
        frame = self.frame(tmp_path, keypoints=[*triple, *document18()["annotations"][0]["keypoints"][3:]])
        np.testing.assert_array_equal(frame.keypoints[0, NOSE18], place or (np.nan, np.nan))
        assert frame.flags[0, NOSE18] == flag
        assert frame.present[0, NOSE18] == present
        assert frame.present[0, RIGHT_ANKLE18]
        assert frame.present.sum() == 1 + present

    @pytest.mark.parametrize("keypoints", [{"keypoints": []}, {"keypoints": None}], ids=str)
    def test_a_person_without_keypoints(self, keypoints: dict[str, Any], tmp_path: Path) -> None:
        frame = self.frame(tmp_path, **keypoints)
        assert len(frame) == 1
        assert np.isnan(frame.keypoints).all()
        assert frame.is_posed.tolist() == [False]

    @pytest.mark.parametrize("box", [None, [], [1, 2, 3], ["x", 2, 3, 4], {}, 7, "wide"], ids=str)
    def test_a_broken_box_counts_as_none(self, box: Any, tmp_path: Path) -> None:
        assert np.isnan(self.frame(tmp_path, bbox=box).boxes).all()

    @pytest.mark.parametrize("box", [None, []], ids=str)
    def test_no_head_box(self, box: Any, tmp_path: Path) -> None:
        assert np.isnan(self.frame(tmp_path, bbox_head=box).head_boxes).all()

    @pytest.mark.parametrize("track_id", [None, 0, 12, "mother"])
    def test_track_ids(self, track_id: Any, tmp_path: Path) -> None:
        assert self.frame(tmp_path, track_id=track_id).track_ids == (track_id,)

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
        frames = read(PoseTrack18(), written(tmp_path / "a.json", document)).frames
        assert [(frame.image, len(frame)) for frame in frames] == [("images/val/clip/000.jpg", 1), ("b.jpg", 0)]

    def test_people_come_in_the_order_of_the_file(self, tmp_path: Path) -> None:
        document = document18()
        document["images"].append({"id": "b", "file_name": "b.jpg"})
        document["annotations"] = [
            {"image_id": image_id, "track_id": place} for place, image_id in enumerate(["b", 7, "b", 7, 7])
        ]
        frames = read(PoseTrack18(), written(tmp_path / "a.json", document)).frames
        assert [frame.track_ids for frame in frames] == [(1, 3, 4), (0, 2)]
        assert [frame.records.tolist() for frame in frames] == [[1, 3, 4], [0, 2]]


class TestWhatPoseTrack17Says:
    def frame(self, folder: Path, document: Any) -> Frame:
        (frame,) = read(PoseTrack17(), written(folder / "a.json", document)).frames
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
        expected = pose(right_ankle=(1, 2.5), nose=(3, 4))
        np.testing.assert_array_equal(frame.keypoints, expected[None])
        np.testing.assert_array_equal(frame.flags[0], np.isfinite(expected[:, 0]).astype(float))
        np.testing.assert_array_equal(frame.scores[0], [0.75, *[np.nan] * 14])
        assert np.isnan(frame.boxes).all()
        np.testing.assert_array_equal(frame.head_boxes, [[10, 20, 40, 60.5]])
        assert frame.track_ids == (3,)
        assert frame.posed.tolist() == [True]
        assert (frame.ignore_regions, frame.size) == ((), None)

    @pytest.mark.parametrize(
        ("x", "y", "place", "present"),
        [
            pytest.param([1], [2], (1, 2), True, id="wrapped into lists"),
            pytest.param(1, 2, (1, 2), True, id="plain"),
            pytest.param(0, 0, (0, 0), True, id="in the corner"),
            pytest.param(-499.9, 2, (-499.9, 2), True, id="outside the image"),
            pytest.param(-500, 2, (-500, 2), False, id="at the cutoff"),
            pytest.param(1, -600, (1, -600), False, id="below the cutoff"),
            pytest.param(None, 2, (np.inf, np.inf), False, id="null"),
            pytest.param([], 2, (np.inf, np.inf), False, id="an empty list"),
            pytest.param(float("nan"), 2, (np.inf, np.inf), False, id="NaN"),
            pytest.param(1, float("inf"), (np.inf, np.inf), False, id="infinite"),
        ],
    )
    def test_a_keypoint(self, x: Any, y: Any, place: tuple[float, float], present: bool, tmp_path: Path) -> None:
        """Every point in the file is a keypoint for PoseTrack's scores; the refiner has its own rule."""
        frame = self.frame(tmp_path, document17([{"id": NOSE, "x": x, "y": y}]))
        np.testing.assert_array_equal(frame.keypoints[0, NOSE], place)
        assert frame.flags[0].sum() == frame.flags[0, NOSE] == 1
        assert frame.present[0].sum() == frame.present[0, NOSE] == present
        assert frame.is_posed.tolist() == [present]

    def test_of_two_points_with_one_id_the_first_counts(self, tmp_path: Path) -> None:
        points = [point(4, 1, 2, score=[0.25]), point(5, 7, 8), point(4, 3, 4, score=[0.5])]
        frame = self.frame(tmp_path, document17(points))
        assert frame.keypoints[0, 4].tolist() == [1, 2]
        assert frame.scores[0, 4] == 0.25
        assert frame.keypoints[0, 5].tolist() == [7, 8]

    @pytest.mark.parametrize("odd", [15, -1, 99, "nose", None, 1.5], ids=str)
    def test_points_with_other_ids_are_passed_over(self, odd: Any, tmp_path: Path) -> None:
        frame = self.frame(tmp_path, document17([{"id": [odd], "x": [9], "y": [9]}, point(0, 1, 2)]))
        np.testing.assert_array_equal(frame.keypoints[0], pose(right_ankle=(1, 2)))

    @pytest.mark.parametrize(
        ("record", "posed"),
        [
            ({}, False),
            ({"annopoints": None}, False),
            ({"annopoints": []}, False),
            ({"annopoints": [None]}, False),
            ({"annopoints": {}}, False),
            ({"annopoints": [{}]}, False),
            ({"annopoints": [{"point": None}]}, False),
            ({"annopoints": [{"point": []}]}, True),
            ({"annopoints": {"point": []}}, True),
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


def test_posetrack18_rewrites_a_changed_pose(tmp_path: Path) -> None:
    document = document18()
    document["annotations"][0]["keypoints"][9:12] = [1, 1, 1]  # an ear
    sequence = read(PoseTrack18(), written(tmp_path / "a.json", document))
    new = pose(nose=(1.25, 2.5), head_top=(3.5, 4.5))
    expected = copy.deepcopy(document)
    expected["annotations"][0]["keypoints"] = [1.25, 2.5, 1, 0, 0, 0, 3.5, 4.5, 1] + [0] * 42
    expected["annotations"][0]["scores"] = [0.25, 0, 0.5] + [0] * 14
    assert rewritten(PoseTrack18(), moved(sequence, new), tmp_path / "b.json") == expected


def test_posetrack18_leaves_the_ears_of_a_changed_pose_empty(tmp_path: Path) -> None:
    """Also those that the frame still has, since the network does not know them."""
    document = document18()
    document["annotations"][0]["keypoints"][9:12] = [1, 1, 1]
    sequence = read(PoseTrack18(), written(tmp_path / "a.json", document))
    keypoints = sequence.frames[0].keypoints.copy()
    assert keypoints[0, LEFT_EAR18].tolist() == [1, 1]
    keypoints[0, NOSE18] = 1.25, 2.5
    new = changed(sequence, lambda frame: replace(frame, keypoints=keypoints))
    found = rewritten(PoseTrack18(), new, tmp_path / "b.json")["annotations"][0]["keypoints"]
    assert found == [1.25, 2.5, 1, *[0] * 45, 21.5, 22.5, 1]


@pytest.mark.parametrize("scores", [{"scores": []}, {"scores": None}])
def test_posetrack18_without_scores_gets_none(scores: dict[str, Any], tmp_path: Path) -> None:
    sequence = read(PoseTrack18(), written(tmp_path / "a.json", document18(**scores)))
    assert np.isnan(sequence.frames[0].scores).all()
    document = rewritten(PoseTrack18(), moved(sequence, np.ones((15, 2))), tmp_path / "b.json")
    assert document["annotations"][0]["scores"] == scores["scores"]


class TestOwnOrder:
    """A PoseTrack 2018 file whose category lists the keypoints in an order of its own, and without ears."""

    names = ("extra", *POSETRACK15.names)

    def document(self) -> dict[str, Any]:
        keypoints = [9.0, 9.0, 1.0]
        for place in range(15):
            keypoints += [place + 0.5, place + 100, 1] if place % 2 else [0, 0, 0]
        scores = [0.9, *(place / 10 for place in range(15))]
        document = document18(keypoints=keypoints, scores=scores)
        document["categories"] = ["odd", {"keypoints": None}, {"id": 1, "keypoints": list(self.names)}]
        return document

    def test_is_read(self, tmp_path: Path) -> None:
        (frame,) = read(PoseTrack18(), written(tmp_path / "a.json", self.document())).frames
        own = frame.in_skeleton(POSETRACK15)
        for place in range(15):
            np.testing.assert_array_equal(
                own.keypoints[0, place], [place + 0.5, place + 100] if place % 2 else [np.nan, np.nan]
            )
        np.testing.assert_array_equal(own.scores[0], np.arange(15) / 10)
        ears = POSETRACK18.indices("left_ear", "right_ear")
        assert np.isnan(frame.keypoints[0, ears]).all()
        assert np.isnan(frame.scores[0, ears]).all()

    def test_is_kept(self, tmp_path: Path) -> None:
        document = self.document()
        sequence = read(PoseTrack18(), written(tmp_path / "a.json", document))
        assert rewritten(PoseTrack18(), sequence, tmp_path / "b.json") == document
        new = pose(right_ankle=(1.25, 2.5), head_top=(3.5, 4.5))
        changed_document = rewritten(PoseTrack18(), moved(sequence, new), tmp_path / "c.json")
        expected = self.document()
        expected["annotations"][0]["keypoints"] = [0] * 3 + [1.25, 2.5, 1] + [0] * 39 + [3.5, 4.5, 1]
        expected["annotations"][0]["scores"] = [0, 0, *[0] * 13, 1.4]
        assert changed_document == expected


def test_posetrack17_rewrites_a_changed_pose(tmp_path: Path) -> None:
    points = [point(0, 1, 2, score=[0.5]), point(13, -600, 2, score=[0.25]), point(99, 1, 1)]
    document = document17(points)
    sequence = read(PoseTrack17(), written(tmp_path / "a.json", document))
    new = pose(right_ankle=(5.5, 6), right_knee=(7, 8), nose=(9, 10))
    document["annolist"][0]["annorect"][0]["annopoints"][0]["point"] = [
        point(0, 5.5, 6, score=[0.5]),
        point(1, 7, 8, score=[0]),
        point(13, 9, 10, score=[0.25]),
    ]
    assert rewritten(PoseTrack17(), moved(sequence, new), tmp_path / "b.json") == document


@pytest.mark.parametrize("record", [{}, {"annopoints": []}, {"annopoints": [{"point": []}]}], ids=str)
def test_posetrack17_people_without_keypoints_can_be_removed(record: dict[str, Any], tmp_path: Path) -> None:
    document = document17([point(0, 1, 2, score=[0.5])])
    expected = copy.deepcopy(document)
    document["annolist"][0]["annorect"].insert(0, record)
    sequence = read(PoseTrack17(), written(tmp_path / "a.json", document))
    assert len(sequence.frames[0]) == 2
    assert rewritten(PoseTrack17(), sequence, tmp_path / "b.json") == document
    assert rewritten(PoseTrack17(), changed(sequence, only_posed), tmp_path / "c.json") == expected


@pytest.mark.parametrize("name", POSETRACK)
def test_a_pose_of_another_skeleton_is_written_by_name(name: str, tmp_path: Path) -> None:
    document = document18() if name == "posetrack18" else document17([point(0, 1, 2), point(14, 3, 4)])
    sequence = read(POSETRACK[name], written(tmp_path / "a.json", document))
    new = pose(nose=(1.25, 2.5), left_wrist=(3.5, 4.5))
    coco = changed(moved(sequence, new), lambda frame: frame.in_skeleton(COCO17))
    POSETRACK[name].write([coco], tmp_path / "b.json")
    (frame,) = read(POSETRACK[name], tmp_path / "b.json").frames
    assert frame.skeleton is SKELETONS[name]
    np.testing.assert_array_equal(frame.in_skeleton(POSETRACK15).keypoints[0], new)


@pytest.mark.parametrize("name", POSETRACK)
def test_files_are_indented_by_four_as_the_published_code_does(name: str, tmp_path: Path) -> None:
    path = GOLDEN / name / "predictions" / "seq_a.json"
    POSETRACK[name].write(POSETRACK[name].read(path), tmp_path / "a.json")
    assert (tmp_path / "a.json").read_text() == json.dumps(json.loads(path.read_text()), indent=4)


BROKEN: list[tuple[str, str, str]] = [
    ("posetrack18", '{"images": [{"id": ' + "1" * 4301 + ', "file_name": "a"}], "annotations": []}', "not a JSON text"),
    ("posetrack18", json.dumps(document18(scores=[10**400] * 17)), "scores: expected 17 numbers"),
    ("posetrack18", "", "not valid JSON at line 1, column 1"),
    ("posetrack18", '{"images": [', "not valid JSON at line 1, column 13"),
    ("posetrack18", "\xff", "not a JSON text"),
    ("posetrack18", "[]", "expected an object, found a list of 0"),
    ("posetrack18", "{}", "expected the field 'images', found no field at all"),
    ("posetrack18", '{"images": {}, "annotations": []}', "images: expected a list, found an object"),
    (
        "posetrack18",
        '{"images": [{"id": 1}], "annotations": []}',
        "images[0]: expected the field 'file_name', found id",
    ),
    ("posetrack18", '{"images": [], "annotations": [{"image_id": 1}]}', "annotations[0]: image_id 1 is not among"),
    ("posetrack18", json.dumps(document18(keypoints=[1, 2])), "keypoints: expected 51 numbers, found a list of 2"),
    ("posetrack18", json.dumps(document18(keypoints=["x"] * 51)), "keypoints: expected 51 numbers"),
    ("posetrack18", json.dumps(document18(scores=[1])), "scores: expected 17 numbers, found a list of 1"),
    (
        "posetrack18",
        json.dumps({**document18(), "categories": [{"keypoints": ["nose", "left_eye"]}]}),
        "expected PoseTrack's keypoints, found COCO's",
    ),
    ("posetrack18", '{"images": []}', "expected the field 'annotations', found images"),
    ("posetrack18", '{"images": [], "annotations": [5]}', "annotations[0]: expected an object, found 5"),
    (
        "posetrack18",
        json.dumps(document18(track_id={})),
        "track_id: expected a whole number or a text, found an object",
    ),
    ("posetrack18", json.dumps(document18(bbox_head=[1, 2])), "bbox_head: expected 4 numbers, found a list of 2"),
    (
        "posetrack18",
        '{"images": [{"id": 1, "file_name": "a", "ignore_regions_x": [[1]]}], "annotations": []}',
        "images[0]: expected as many ignore_regions_x as _y, found 1 and 0",
    ),
    (
        "posetrack18",
        '{"images": [{"id": 1, "file_name": "a", "ignore_regions_x": [[1]], "ignore_regions_y": [[1, 2]]}], '
        '"annotations": []}',
        "images[0].ignore_regions: expected 1 numbers, found a list of 2",
    ),
    ("posetrack17", "{}", "expected the field 'annolist', found no field at all"),
    ("posetrack17", '{"annolist": [{}]}', "annolist[0].image: expected a name or a list with a name, found None"),
    ("posetrack17", json.dumps(document17(5)), "annorect[0].annopoints[0].point: expected a list, found 5"),
    ("posetrack17", json.dumps(document17([5])), "annolist[0].annorect[0]: point: expected an object, found 5"),
    (
        "posetrack17",
        json.dumps(document17([point(0, "x", 1)])),
        "x, y and score of the points: expected 3 numbers, found",
    ),
    ("posetrack17", '{"annolist": [5]}', "annolist[0]: expected an object, found 5"),
    ("posetrack17", '{"annolist": [{"image": "a", "annorect": [5]}]}', "annorect[0]: expected an object, found 5"),
    (
        "posetrack17",
        '{"annolist": [{"image": "a", "ignore_regions": [{}]}]}',
        "ignore_regions: expected the field 'point', found no field at all",
    ),
    (
        "posetrack17",
        '{"annolist": [{"image": "a", "annorect": [{"x1": "l", "y1": 1, "x2": 1, "y2": 1}]}]}',
        "annorect[0]: head box: expected 4 numbers, found 'l'",
    ),
]


@pytest.mark.parametrize(("name", "text", "message"), BROKEN)
def test_broken_files(name: str, text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin1"))
    with pytest.raises(UserError) as error:
        POSETRACK[name].read(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", POSETRACK)
def test_absent_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a.json: no such file"):
        POSETRACK[name].read(tmp_path / "a.json")


@pytest.mark.parametrize("name", POSETRACK)
@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_wild_files_are_read_or_refused(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    document = document18() if name == "posetrack18" else document17([point(0, 1, 2)], [{"name": "a/b/c"}])
    put_something_wild(document, data)
    path = tmp_path_factory.mktemp("wild") / "a.json"
    path.write_text(json.dumps(document))
    try:
        sequence = read(POSETRACK[name], path)
    except UserError:
        return
    POSETRACK[name].write([sequence], path.with_name("b.json"))
    POSETRACK[name].write([moved(sequence, np.ones((15, 2)))], path.with_name("c.json"))

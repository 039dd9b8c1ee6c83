"""A person's keypoints, box and track id, and the image they are in: what each format makes of odd ones."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from documents import one_person, pose_fields, read_document, rewritten, with_frame, with_keypoints

from hpr.formats import get_format
from hpr.formats.coco import Coco
from hpr.poses import Frame

NAN, INF = (np.nan, np.nan), (np.inf, np.inf)
SCORES = ("alphapose", "openpose", "mmpose", "ultralytics")
"""Formats with a score for each keypoint."""

FLAGS = ("posetrack18", "coco", "mpii")
"""Formats with a flag for each keypoint."""

NOTHING: list[Any] = []
BROKEN_BOXES: list[Any] = [None, [], [1, 2, 3], ["x", 2, 3, 4], {}, 7, "wide"]
NO_TRACK_IDS: dict[str, list[Any]] = {
    "alphapose": [..., None, [], [[]], [None], float("nan")],
    "openpose": [..., [], [-1], -1, None],
    "ultralytics": [..., None],
}
"""What stands for no track id; `...` is no such field."""


def frame_of(name: str, folder: Path, fields: dict[str, Any]) -> Frame:
    (frame,) = read_document(get_format(name), folder, one_person(name, **fields)).frames
    return frame


def first_keypoint(name: str, x: Any, y: Any, third: Any) -> dict[str, Any]:
    """The fields of a person whose first keypoint is given and whose others are all the same."""
    if name == "posetrack17":
        points = [{"id": 0, "x": x, "y": y}, *({"id": [i], "x": [7], "y": [8]} for i in range(1, 15))]
        return {"annopoints": [{"point": points}]}
    return pose_fields(name, [(x, y, third), *[(7, 8, 1)] * {"openpose": 24, "mpii": 15}.get(name, 16)])


@pytest.mark.parametrize("name", [*SCORES, *FLAGS, "posetrack17"])
@pytest.mark.parametrize(
    ("x", "y", "third", "place", "missing_in"),
    [
        pytest.param(0, 0, 0, (0, 0), (*SCORES, *FLAGS), id="zeros"),
        pytest.param(0, 0, 1, (0, 0), ("ultralytics",), id="in the corner"),
        pytest.param(0, 3, 0, (0, 3), (), id="at the border"),
        pytest.param(10, 12.5, 0, (10, 12.5), (), id="score or flag 0"),
        pytest.param(10, 12.5, 1, (10, 12.5), (), id="a keypoint"),
        pytest.param(-3.5, 4, 1, (-3.5, 4), (), id="outside of the image"),
        pytest.param(10, -600, 1, (10, -600), (), id="far outside"),
        pytest.param(None, 4, 1, INF, (), id="null"),
        pytest.param(float("nan"), 4, 1, INF, (), id="NaN"),
        pytest.param(4, float("inf"), 1, INF, (), id="infinite"),
        pytest.param(None, None, 0, INF, ("mpii",), id="null with score or flag 0"),
        pytest.param(10, 12.5, None, (10, 12.5), (), id="score or flag null"),
    ],
)
def test_a_keypoint(name: str, x: Any, y: Any, third: Any, place: Any, missing_in: Any, tmp_path: Path) -> None:
    """NaN is no keypoint; a place, be it infinite, is one for scores. What has no flag is there."""
    frame = frame_of(name, tmp_path, first_keypoint(name, x, y, third))
    is_missing = name in missing_in
    expected = NAN if is_missing else np.subtract(place, 1) if name == "mpii" else place  # MPII's pixels count from 1
    np.testing.assert_array_equal(frame.keypoints[0, 0], expected)
    assert np.isfinite(frame.keypoints[0, 1]).all()
    assert frame.flags[0, 0] == ((third or 0) if name in FLAGS else not is_missing)
    if name in SCORES:
        has_score = third is not None and not (is_missing and name in ("alphapose", "openpose"))
        np.testing.assert_array_equal(frame.scores[0, 0], third if has_score else np.nan)


@pytest.mark.parametrize("name", [*SCORES, "posetrack18"])
def test_a_score_beyond_1_or_in_the_place_of_a_flag(name: str, tmp_path: Path) -> None:
    frame = frame_of(name, tmp_path, first_keypoint(name, 10, 12.5, 5.5))
    assert (frame.flags if name == "posetrack18" else frame.scores)[0, 0] == 5.5
    assert frame.present[0, 0]


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        *((name, {"keypoints": value}) for name in ("alphapose", "posetrack18") for value in (..., NOTHING, None)),
        *(("ultralytics", {"keypoints": keypoints}) for keypoints in (..., None)),
        ("openpose", {"pose_keypoints_2d": [], "face_keypoints_2d": [1, 2, 3]}),
    ],
    ids=str,
)
def test_a_person_without_keypoints(name: str, fields: dict[str, Any], tmp_path: Path) -> None:
    document = one_person(name, **fields)
    sequence = read_document(get_format(name), tmp_path, document)
    assert sequence.frames[0].is_posed.tolist() == [False]
    assert np.isnan(sequence.frames[0].keypoints).all()
    assert rewritten(get_format(name), sequence, tmp_path / "b.json") == document


@pytest.mark.parametrize(("name", "missing"), [("openpose", 0), ("mmpose", 0), ("ultralytics", 0.75)])
def test_scores_of_a_changed_pose(name: str, missing: float, tmp_path: Path) -> None:
    """That of a missing keypoint is 0, or stays; a keypoint without one gets 1."""
    own, triples = get_format(name), [[10.5, 20, 0.75] for _ in range(25 if name == "openpose" else 17)]
    sequence = read_document(own, tmp_path, one_person(name, **pose_fields(name, triples)))
    frame = with_keypoints(sequence.frames[0], 0, nose=(1.25, 2), left_hip=(np.nan, np.nan))
    nose, left_hip, right_hip = frame.skeleton.indices("nose", "left_hip", "right_hip")
    scores = frame.scores.copy()
    scores[0, right_hip] = np.nan

    triples[nose], triples[left_hip], triples[right_hip] = [1.25, 2, 0.75], [0, 0, missing], [10.5, 20, 1]
    found = rewritten(own, with_frame(sequence, 0, replace(frame, scores=scores)), tmp_path / "b.json")
    assert found == one_person(name, **pose_fields(name, triples))


@pytest.mark.parametrize("name", ["alphapose", "posetrack18", "coco"])
@pytest.mark.parametrize("boxes", [[None], [[1, 2, 3, 4], *BROKEN_BOXES, [5, 6, 7, 8]]], ids=len)
def test_broken_boxes_count_as_none(name: str, boxes: list[Any], tmp_path: Path) -> None:
    document = one_person(name)
    people = document if isinstance(document, list) else document["annotations"]
    people[:] = [{**people[0], "box" if name == "alphapose" else "bbox": box} for box in boxes]
    (frame,) = read_document(get_format(name), tmp_path, document).frames
    known = {0: [1, 2, 4, 6], len(BROKEN_BOXES) + 1: [5, 6, 12, 14]} if len(boxes) > 1 else {}
    np.testing.assert_array_equal(frame.boxes, [known.get(row, [np.nan] * 4) for row in range(len(boxes))])


@pytest.mark.parametrize(
    ("name", "value", "track_id"),
    [
        *((name, value, None) for name, values in NO_TRACK_IDS.items() for value in values),
        *(("alphapose", value, track_id) for value, track_id in ((0, 0), (3.0, 3), ([4], 4), ("a", "a"))),
        *(("alphapose", value, track_id) for value, track_id in (([[5.0]], 5), ([[6.0], [9.0]], 6))),
        *(("openpose", value, track_id) for value, track_id in (([0], 0), ([7], 7), (7, 7), (["a"], "a"))),
        *(("posetrack18", value, value) for value in (None, 0, 12, "mother")),
        ("ultralytics", 3, 3),
    ],
    ids=str,
)
def test_track_ids(name: str, value: Any, track_id: Any, tmp_path: Path) -> None:
    field = {"alphapose": "idx", "openpose": "person_id"}.get(name, "track_id")
    assert frame_of(name, tmp_path, {field: value}).track_ids == (track_id,)


@pytest.mark.parametrize("name", ["coco", "posetrack18"])
@pytest.mark.parametrize(("of_image", "of_person"), [(7, 7), (7, "7"), ("7", 7), ("7", "007"), (7, 7.0), ("a", "a")])
def test_ids_of_one_number_are_one(name: str, of_image: Any, of_person: Any, tmp_path: Path) -> None:
    """Whoever scores the file asks for no id; the file keeps its own."""
    document = one_person(name, image_id=of_person)
    document["images"] = [{"id": 8, "file_name": "b.jpg"}, {"id": of_image, "file_name": "a.jpg"}]
    own = get_format(name)
    sequence = read_document(own, tmp_path, document)
    assert [len(frame) for frame in sequence.frames] == [0, 1]
    assert rewritten(own, sequence, tmp_path / "b.json") == document
    if isinstance(own, Coco):
        truth = own.ground_truth(tmp_path / "a.json")
        assert (truth.image_indices.tolist(), truth.is_posed.tolist()) == ([1], [True])
        assert [image.id for image in truth.images] == [8, of_image]

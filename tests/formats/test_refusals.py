"""Documents of all formats that cannot be read, and the line that says why."""

import json
from pathlib import Path
from typing import Any

import pytest
from documents import one_person, point, refusal, written
from test_every_format import EXAMPLES

from hpr.formats import get_format

RESULT: dict[str, Any] = {"image_id": 7, "category_id": 1, "keypoints": [1] * 51, "score": 0.5}
"""One of COCO's results."""


def broken18(**image: Any) -> dict[str, Any]:
    return {"images": [{"id": 1, "file_name": "a", **image}], "annotations": []}


DOCUMENTS: list[tuple[str, Any, str]] = [
    ("alphapose", {"images": []}, ": expected AlphaPose's list of people, found an object"),
    ("alphapose", {"version": "0.3", "bodies": []}, ": the people of one image, without its name"),
    ("alphapose", [*one_person("alphapose"), {"keypoints": []}], ": [1]: expected the field 'image_id', found keypoin"),
    ("alphapose", [{"image_id": "a", "keypoints": [1] * count} for count in (51, 78)], ": [1].keypoints: expected 51"),
    (
        "alphapose",
        {"a": {"bodies": [{"joints": [1, 2]}], "version": 1}},
        ": 'a'.bodies[0].joints: expected x, y and score",
    ),
    ("alphapose", {"a": {"people": [], "version": 1}, "b": {}}, ": 'b': expected the field 'people', found no field"),
    ("coco", 5, ": expected an object, found 5"),
    ("coco", {}, ": expected the field 'annotations', found no field at all"),
    ("coco", {"annotations": []}, ": expected the field 'images', found annotations"),
    ("coco", {"annotations": [], "images": [{"id": 1}]}, ": images[0]: expected the field 'file_name', found id"),
    ("coco", broken18(id=[]), ": images[0].id: expected a whole number or a text"),
    ("coco", {**broken18(), "categories": 5}, ": categories: expected a list, found 5"),
    (
        "coco",
        {**broken18(), "categories": [{"keypoints": ["tail", "fin"]}]},
        ": categories: expected names of people's keypoints, found tail, fin, ...; if they are peo",
    ),
    ("coco", [RESULT, {**RESULT, "keypoints": [1]}], ": [1].keypoints: expected 51 numbers, found a list of 1"),
    ("coco", [{"keypoints": [1] * 51}], ": [0].image_id: expected a number, found None; set the file of annotations"),
    ("coco", [{**RESULT, "image_id": "a"}], ": [0].image_id: expected a number, found 'a'; set the file of"),
    ("coco", [{**RESULT, "score": [1, 2]}], ": [0].score: expected a number, found a list of 2"),
    (
        "coco",
        [RESULT, {**RESULT, "score": None}, {**RESULT, "score": {}}],
        ": [2].score: expected a number, found an o",
    ),
    ("coco", [RESULT, {**RESULT, "score": [1]}], ": [1].score: expected a number, found a list of 1"),
    ("coco", [{**RESULT, "score": []}], ": [0].score: expected a number, found a list of 0"),
    ("mmpose", {}, ": expected the field 'instance_info', found no field at all"),
    ("mmpose", [{}], ": [0]: expected the field 'keypoints', found no field at all"),
    ("mmpose", [{"keypoints": [[1, 2]] * count} for count in (17, 16)], ": [1].keypoints: expected 17 keypoints, foun"),
    ("mmpose", [{"frame_id": 0, "instances": []}, {"frame_id": 1}], ": [1]: expected the field 'instances', found fr"),
    ("mmpose", [{"instances": []}], ": [0].frame_id: expected a whole number from 0, found None"),
    ("mmpose", [{"frame_id": -1, "instances": []}], ": [0].frame_id: expected a whole number from 0, found -1"),
    ("mmpose", [{"frame_id": 0, "instances": [{}]}], ": [0].instances[0]: expected the field 'keypoints', found no"),
    ("mmpose", {"instance_info": [{"frame_id": 0, "instances": [3]}]}, ": instance_info[0].instances[0]: expected an"),
    ("openpose", {}, ": expected the field 'people', found no field at all"),
    (
        "openpose",
        {"people": [{"pose_keypoints_2d": [1] * count} for count in (0, 75, 54)]},
        ": people[2].pose_keypoints_2d: expected 75 numbers as in the first record, found 54; keep the poses",
    ),
    ("posetrack18", {}, ": expected the field 'images', found no field at all"),
    ("posetrack18", {"images": {}, "annotations": []}, ".images: expected a list, found an object"),
    ("posetrack18", {"images": []}, ": expected the field 'annotations', found images"),
    ("posetrack18", {"images": [{"id": 1}], "annotations": []}, ": images[0]: expected the field 'file_name', found"),
    (
        "posetrack18",
        {**broken18(), "categories": [{"keypoints": ["left_eye"]}]},
        ": expected PoseTrack's keypoints",
    ),
    ("posetrack18", broken18(ignore_regions_x=[[1]]), ": images[0]: expected as many ignore_regions_x as _y, found 1"),
    ("posetrack18", broken18(ignore_regions_x=[[1]], ignore_regions_y=[[]]), ": images[0].ignore_regions: expected 1"),
    ("posetrack17", {}, ": expected the field 'annolist', found no field at all"),
    ("posetrack17", {"annolist": [{}]}, ": annolist[0].image: expected a name or a list with a name, found None"),
    ("posetrack17", {"annolist": [{"image": "a", "ignore_regions": [{}]}]}, ": annolist[0].ignore_regions: expected"),
    ("ultralytics", {}, ": expected a list, found an object"),
    ("ultralytics", [[]], ": [0]: expected an object, found a list of 0"),
    ("mpii", {}, ": expected a list, found an object"),
]


@pytest.mark.parametrize("name", ["openpose scale_3", "openpose scale_4", "ultralytics normalised", "labels data_set"])
def test_relative_coordinates_without_images(name: str) -> None:
    format_name, path = EXAMPLES[name]
    message = refusal(get_format(format_name), path)
    assert message.startswith(": the coordinates are relative to the images' sizes")
    assert message.endswith("set images")


def refuse(name: str, document: Any, folder: Path) -> str:
    return refusal(get_format(name), written(folder / "a.json", document))


@pytest.mark.parametrize(("name", "document", "message"), DOCUMENTS, ids=lambda value: json.dumps(value)[:40])
def test_documents(name: str, document: Any, message: str, tmp_path: Path) -> None:
    found = refuse(name, document, tmp_path)
    assert found.startswith(message), found


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("alphapose", {"image_id": 3.5}, "image_id: expected a whole number or a text, found 3.5"),
        ("alphapose", {"keypoints": [1] * 5}, "keypoints: expected x, y and score of each keypoint, found 5 numbers"),
        ("alphapose", {"keypoints": [1] * 36}, "keypoints: expected 17 (coco17), 26 (halpe26), 68"),
        ("alphapose", {"keypoints": [1] * 42}, "keypoints: found 14 keypoints, which may be crowdpose14 or aic14; set"),
        ("alphapose", {"keypoints": "all"}, "keypoints: expected a list, found 'all'"),
        ("alphapose", {"keypoints": ["x", *[1] * 50]}, "keypoints: expected 51 numbers, found 'x'"),
        ("alphapose", {"idx": {}}, "idx: expected a whole number or a text, found an object"),
        ("coco", {"keypoints": [1, 2]}, "keypoints: expected 51 numbers, found a list of 2"),
        ("coco", {"keypoints": ["x"] * 51}, "keypoints: expected 51 numbers, found 'x'"),
        ("coco", {"keypoints": [[1]] * 51}, "keypoints: expected 51 numbers, found a list of 1"),
        ("coco", {"image_id": 8}, "image_id 8 is not among the file's images"),
        ("coco", {"score": "high"}, "score: expected a number, found 'high'"),
        ("mmpose", {"keypoints": [[1, 2]] * 12}, "keypoints: expected 17 (coco17), 26 (halpe26), 16 (mpii16), 133"),
        (
            "mmpose",
            {"keypoints": [[1, 2]] * 14},
            "keypoints: found 14 keypoints, which may be crowdpose14 or aic14; set",
        ),
        ("mmpose", {"keypoints": [[1, 2]] * 16 + [[1]]}, "keypoints[16]: expected 2 numbers, found a list of 1"),
        ("mmpose", {"keypoints": [["x", 2]] * 17}, "keypoints[0]: expected 2 numbers, found 'x'"),
        ("mmpose", {"keypoint_scores": [1]}, "keypoint_scores: expected 17 numbers, found a list of 1"),
        ("mmpose", {"bbox_score": "x"}, "bbox_score: expected a number, found 'x'"),
        ("openpose", {"pose_keypoints_2d": ..., "a": 1}, "expected the field 'pose_keypoints_2d', found a"),
        ("openpose", {"pose_keypoints_2d": [1] * 36}, "pose_keypoints_2d: expected 25 (body25), 18 (openpose18)"),
        ("openpose", {"pose_keypoints_2d": ["x"] * 75}, "pose_keypoints_2d: expected 75 numbers, found 'x'"),
        ("openpose", {"pose_keypoints_2d": [[]] * 75}, "pose_keypoints_2d: expected 75 numbers, found a list of 0"),
        ("openpose", {"person_id": [{}]}, "person_id: expected a whole number or a text, found an object"),
        ("posetrack18", {"image_id": 1}, "image_id 1 is not among"),
        ("posetrack18", {"keypoints": [1, 2]}, "keypoints: expected 51 numbers, found a list of 2"),
        ("posetrack18", {"keypoints": ["x"] * 51}, "keypoints: expected 51 numbers, found 'x'"),
        ("posetrack18", {"scores": [1]}, "scores: expected 17 numbers, found a list of 1"),
        ("posetrack18", {"track_id": {}}, "track_id: expected a whole number or a text, found an object"),
        ("posetrack18", {"bbox_head": [1, 2]}, "bbox_head: expected 4 numbers, found a list of 2"),
        ("posetrack17", {"annopoints": [{"point": [5]}]}, "point: expected an object, found 5"),
        ("posetrack17", {"annopoints": [{"point": [point(0, "x", 1)]}]}, "x, y and score of the points: expected 3 nu"),
        ("posetrack17", {"x1": "l", "y1": 1, "x2": 1, "y2": 1}, "head box: expected 4 numbers, found 'l'"),
        (
            "ultralytics",
            {"keypoints": {"x": []}},
            "keypoints.x: expected 17 (coco17) keypoints, found 0 keypoints; set",
        ),
        ("ultralytics", {"keypoints": {"x": [5] * 17}}, "keypoints: expected the field 'y', found x"),
        ("ultralytics", {"keypoints": {"x": [5] * 17, "y": ["u"] * 17}}, "keypoints.y: expected 17 numbers, found 'u'"),
        ("ultralytics", {"track_id": 1.5}, "track_id: expected a whole number or a text, found 1.5"),
        ("ultralytics", {"confidence": "high"}, "confidence: expected a number, found 'high'"),
        ("mpii", {"image": 5}, "image: expected a text, found 5"),
        ("mpii", {"image": ...}, "expected the field 'image', found joints"),
        ("mpii", {"joints": [[1, 2]] * 17}, "joints: expected 16 keypoints, found a list of 17"),
        ("mpii", {"joints": [[1, 2, 3]] * 16}, "joints[0]: expected 2 numbers, found a list of 3"),
        ("mpii", {"joints_vis": [1]}, "joints_vis: expected 16 numbers"),
    ],
    ids=str,
)
def test_fields_of_a_person(name: str, fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    """The line says whose record it is."""
    record = {"coco": "annotations[0]", "posetrack18": "annotations[0]", "openpose": "people[0]"}.get(name, "[0]")
    record = "annolist[0].annorect[0]" if name == "posetrack17" else record
    found = refuse(name, one_person(name, **fields), tmp_path)
    assert found.startswith((f": {record}.{message}", f": {record}: {message}")), found

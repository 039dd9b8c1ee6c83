"""Both PoseTrack formats; what they have in common is tested on both."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN
from hypothesis import given, settings
from hypothesis import strategies as st

from hpr.errors import UserError
from hpr.formats import Format, PoseTrack17, PoseTrack18
from hpr.poses import FloatArray, Sequence
from hpr.skeleton import JOINTS

FORMATS: dict[str, Format] = {"posetrack17": PoseTrack17(), "posetrack18": PoseTrack18()}
NOSE, RIGHT_ANKLE = JOINTS.index("nose"), JOINTS.index("right_ankle")


def written(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


def document18(**annotation: Any) -> dict[str, Any]:
    """A PoseTrack 2018 document with one image and one annotation."""
    keypoints = [0.0] * 51
    keypoints[0:3] = [11.5, 12.5, 1]  # nose
    keypoints[48:51] = [21.5, 22.5, 1]  # right ankle
    scores = [0.0] * 17
    scores[0], scores[2], scores[16] = 0.25, 0.5, 0.75
    default = {"id": 5, "image_id": 7, "track_id": 3, "keypoints": keypoints, "scores": scores, "bbox": [1, 2, 3, 4]}
    return {
        "images": [{"id": 7, "file_name": "images/val/clip/000.jpg", "frame_id": 7}],
        "annotations": [{**default, **annotation}],
        "categories": [{"id": 1, "keypoints": ["nose"]}],
    }


def document17(points: Any, image: Any = "a/b/clip/000.jpg") -> dict[str, Any]:
    """A PoseTrack 2017 document with one image and one person."""
    person = {"score": [0.5], "track_id": [3], "annopoints": [{"point": points, "odd": 1}]}
    return {"annolist": [{"image": image, "imgnum": [1], "annorect": [person]}], "info": "kept"}


def point(joint: int, x: Any, y: float, **score: Any) -> dict[str, Any]:
    return {"id": [joint], "x": [x], "y": [y], **score}


def moved(sequence: Sequence, joints: FloatArray) -> Sequence:
    """Returns the sequence with everyone in the same new pose."""
    frames = [
        replace(frame, persons=[replace(person, joints=joints) for person in frame.persons])
        for frame in sequence.frames
    ]
    return replace(sequence, frames=frames)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("clip", ["seq_a", "seq_b"])
def test_unchanged_poses_are_carried_over(name: str, clip: str, tmp_path: Path) -> None:
    path = GOLDEN / name / "predictions" / f"{clip}.json"
    FORMATS[name].write(FORMATS[name].read(path), tmp_path / path.name)
    original, copied = json.loads(path.read_text()), json.loads((tmp_path / path.name).read_text())
    if name == "posetrack17":  # persons without a joint above the cutoff are removed, as published
        for entry in original["annolist"]:
            entry["annorect"] = [r for r in entry["annorect"] if r["annopoints"][0]["point"][0]["x"][0] > -500]
    assert copied == original


def test_both_formats_read_the_same_poses() -> None:
    for clip in ("seq_a", "seq_b"):
        sequences = [FORMATS[name].read(GOLDEN / name / "predictions" / f"{clip}.json") for name in FORMATS]
        poses = [[person.joints for person in sequence.persons() if person.present.any()] for sequence in sequences]
        np.testing.assert_array_equal(poses[0], poses[1])


def test_posetrack18_empty(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", {"images": [], "annotations": []})
    sequence = PoseTrack18().read(path)
    assert (sequence.name, sequence.frames) == ("a", [])
    PoseTrack18().write(sequence, tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text()) == {"images": [], "annotations": []}


@pytest.mark.parametrize(
    ("flag", "x", "present"),
    [
        pytest.param(1, 10, True, id="flag 1"),
        pytest.param(0, 10, False, id="flag 0"),
        pytest.param(0.3, 10, True, id="a score in place of the flag"),
        pytest.param(-1, 10, False, id="negative flag"),
        pytest.param(1, -499.9, True, id="outside the image"),
        pytest.param(1, -500, False, id="at the cutoff"),
        pytest.param(1, float("nan"), False, id="NaN"),
        pytest.param(1, float("inf"), False, id="infinite"),
        pytest.param(1, None, False, id="null"),
    ],
)
def test_posetrack18_presence(flag: float, x: float | None, present: bool, tmp_path: Path) -> None:
    document = document18()
    document["annotations"][0]["keypoints"][0:3] = [x, 12.5, flag]
    (person,) = PoseTrack18().read(written(tmp_path / "a.json", document)).persons()
    assert person.present[NOSE] == present
    assert person.present[RIGHT_ANKLE]
    assert person.present.sum() == 1 + present


def test_posetrack18_rewrites_a_changed_pose(tmp_path: Path) -> None:
    document = document18()
    document["annotations"][0]["keypoints"][9:12] = [1, 1, 1]  # an ear
    sequence = PoseTrack18().read(written(tmp_path / "a.json", document))
    joints = np.full((15, 2), np.nan)
    joints[NOSE] = 1.25, 2.5
    joints[JOINTS.index("head_top")] = 3.5, 4.5
    PoseTrack18().write(moved(sequence, joints), tmp_path / "b.json")
    expected = copy.deepcopy(document)
    expected["annotations"][0]["keypoints"] = [1.25, 2.5, 1, 0, 0, 0, 3.5, 4.5, 1] + [0] * 42
    expected["annotations"][0]["scores"] = [0.25, 0, 0.5] + [0] * 14
    assert json.loads((tmp_path / "b.json").read_text()) == expected


@pytest.mark.parametrize("scores", [{"scores": []}, {"scores": None}])
def test_posetrack18_without_scores_gets_none(scores: dict[str, Any], tmp_path: Path) -> None:
    sequence = PoseTrack18().read(written(tmp_path / "a.json", document18(**scores)))
    assert np.isnan(next(sequence.persons()).scores).all()
    PoseTrack18().write(moved(sequence, np.ones((15, 2))), tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text())["annotations"][0]["scores"] == scores["scores"]


def test_posetrack17_empty(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", {"annolist": []})
    assert PoseTrack17().read(path).frames == []


@pytest.mark.parametrize(
    "image", ["x/y/clip/000.jpg", [{"name": "x/y/clip/000.jpg"}], [{"name": "y/clip/000.jpg"}]], ids=str
)
def test_posetrack17_image_is_the_last_three_parts(image: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", document17([point(0, 1, 2)], image))
    assert PoseTrack17().read(path).frames[0].image == "y/clip/000.jpg"


def test_posetrack17_rewrites_a_changed_pose(tmp_path: Path) -> None:
    points = [point(0, 1, 2, score=[0.5]), point(13, -600, 2, score=[0.25]), point(99, 1, 1)]
    document = document17(points)
    sequence = PoseTrack17().read(written(tmp_path / "a.json", document))
    joints = np.full((15, 2), np.nan)
    joints[[0, 1, 13]] = [[5.5, 6], [7, 8], [9, 10]]
    PoseTrack17().write(moved(sequence, joints), tmp_path / "b.json")
    document["annolist"][0]["annorect"][0]["annopoints"][0]["point"] = [
        point(0, 5.5, 6, score=[0.5]),
        point(1, 7, 8, score=[0]),
        point(13, 9, 10, score=[0.25]),
    ]
    assert json.loads((tmp_path / "b.json").read_text()) == document


@pytest.mark.parametrize("record", [{}, {"annopoints": []}, {"annopoints": [{"point": []}]}], ids=str)
def test_posetrack17_removes_persons_without_joints(record: dict[str, Any], tmp_path: Path) -> None:
    document = document17([point(0, 1, 2, score=[0.5])])
    document["annolist"][0]["annorect"].insert(0, record)
    sequence = PoseTrack17().read(written(tmp_path / "a.json", document))
    assert len(sequence.frames[0].persons) == 2
    PoseTrack17().write(sequence, tmp_path / "b.json")
    assert len(json.loads((tmp_path / "b.json").read_text())["annolist"][0]["annorect"]) == 1


BROKEN: list[tuple[str, str, str]] = [
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
    ("posetrack17", "{}", "expected the field 'annolist', found no field at all"),
    ("posetrack17", '{"annolist": [{}]}', "annolist[0].image: expected a name or a list with a name, found None"),
    ("posetrack17", json.dumps(document17(5)), "annorect[0].annopoints[0].point: expected a list, found 5"),
    ("posetrack17", json.dumps(document17([5])), "annolist[0].annorect[0]: point: expected an object, found 5"),
    (
        "posetrack17",
        json.dumps(document17([point(0, "x", 1)])),
        "x, y and score of the points: expected 3 numbers, found",
    ),
]


@pytest.mark.parametrize(("name", "text", "message"), BROKEN)
def test_broken_files(name: str, text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin1"))
    with pytest.raises(UserError) as error:
        FORMATS[name].read(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a.json: no such file"):
        PoseTrack18().read(tmp_path / "a.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 20) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("images", "annotations", "annolist", "image", "annorect", "annopoints", "keypoints", "scores", "categories")


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_wild_files_are_read_or_refused(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    document = document18() if name == "posetrack18" else document17([point(0, 1, 2)], [{"name": "a/b/c"}])
    node: Any = document
    for _ in range(data.draw(st.integers(0, 5))):  # walk down some way and put something wild there
        keys = list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if not isinstance(node[key], dict | list) or data.draw(st.booleans()):
            node[key] = data.draw(JSON)
            break
        node = node[key]
    path = tmp_path_factory.mktemp("wild") / "a.json"
    path.write_text(json.dumps(document))
    try:
        sequence = FORMATS[name].read(path)
    except UserError:
        return
    FORMATS[name].write(sequence, path.with_name("b.json"))
    FORMATS[name].write(moved(sequence, np.ones((15, 2))), path.with_name("c.json"))

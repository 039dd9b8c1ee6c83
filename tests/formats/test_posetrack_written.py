"""PoseTrack 2018, 2021 and 2017: what is written, onto what was read and from scratch."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN, POSETRACK
from documents import (
    changed,
    document17,
    document18,
    moved,
    point,
    read,
    read_document,
    rewritten,
    some_keypoints,
    with_another,
    with_keypoints,
)

from hpr.formats import PoseTrack17, PoseTrack18, PoseTrack21
from hpr.poses import Frame, PoseSequence
from hpr.skeleton import COCO17, POSETRACK15, POSETRACK18

NAN = (np.nan, np.nan)


def only(frame: Frame, **places: tuple[float, float]) -> Frame:
    """Returns a frame whose people have these keypoints of PoseTrack alone."""
    return with_keypoints(frame, slice(None), **{**dict.fromkeys(frame.skeleton.names, NAN), **places})


@pytest.mark.parametrize("clip", ["seq_a", "seq_b"])
def test_posetrack17_without_those_whom_the_published_code_removes(clip: str, tmp_path: Path) -> None:
    assert [own.removes_unposed for own in (PoseTrack17(), PoseTrack18(), PoseTrack21())] == [True, False, False]
    path = GOLDEN / "posetrack17" / "predictions" / f"{clip}.json"
    original = json.loads(path.read_text())
    for entry in original["annolist"]:
        entry["annorect"] = [r for r in entry["annorect"] if r["annopoints"][0]["point"][0]["x"][0] > -500]
    sequence = changed(read(PoseTrack17(), path), lambda frame: frame.select(frame.is_posed))
    assert rewritten(PoseTrack17(), sequence, tmp_path / path.name) == original


@pytest.mark.parametrize("name", POSETRACK)
def test_files_are_indented_by_four_as_the_published_code_does(name: str, tmp_path: Path) -> None:
    path = GOLDEN / name / "predictions" / "seq_a.json"
    POSETRACK[name].write(POSETRACK[name].read(path), tmp_path / "a.json")
    assert (tmp_path / "a.json").read_text() == json.dumps(json.loads(path.read_text()), indent=4)


# Changed poses


def test_a_changed_pose_in_posetrack18(tmp_path: Path) -> None:
    """Scores stay with their slots; the ears are left empty, also where the frame still has them."""
    document = document18()
    document["annotations"][0]["keypoints"][9:12] = [1, 1, 1]  # an ear
    sequence = read_document(PoseTrack18(), tmp_path, document)
    expected = copy.deepcopy(document)
    expected["annotations"][0]["keypoints"] = [1.25, 2.5, 1, *[0] * 45, 21.5, 22.5, 1]
    expected["annotations"][0]["scores"] = [0.25, *[0] * 15, 0.75]
    assert rewritten(PoseTrack18(), moved(sequence, nose=(1.25, 2.5)), tmp_path / "b.json") == expected

    new = changed(sequence, lambda frame: only(frame, nose=(1.25, 2.5), head_top=(3.5, 4.5)))
    expected["annotations"][0]["keypoints"] = [1.25, 2.5, 1, 0, 0, 0, 3.5, 4.5, 1] + [0] * 42
    expected["annotations"][0]["scores"] = [0.25, 0, 0.5] + [0] * 14
    assert rewritten(PoseTrack18(), new, tmp_path / "c.json") == expected


@pytest.mark.parametrize("scores", [{"scores": []}, {"scores": None}], ids=str)
def test_posetrack18_without_scores_gets_none(scores: dict[str, Any], tmp_path: Path) -> None:
    sequence = read_document(PoseTrack18(), tmp_path, document18(**scores))
    assert np.isnan(sequence.frames[0].scores).all()
    document = rewritten(PoseTrack18(), moved(sequence, nose=(1, 1)), tmp_path / "b.json")
    assert document["annotations"][0]["scores"] == scores["scores"]


def test_posetrack18_in_another_order(tmp_path: Path) -> None:
    """That of the file's category, without ears, but with a keypoint that PoseTrack does not have."""
    keypoints: list[float] = [9.0, 9.0, 1.0]
    for index in range(15):
        keypoints += [index + 0.5, index + 100, 1] if index % 2 else [0, 0, 0]
    document = document18(keypoints=keypoints, scores=[0.9, *(index / 10 for index in range(15))])
    names = ["extra", *POSETRACK15.names]
    document["categories"] = ["odd", {"keypoints": None}, {"id": 1, "keypoints": names}]
    sequence = read_document(PoseTrack18(), tmp_path, document)
    own = sequence.frames[0].in_skeleton(POSETRACK15)
    np.testing.assert_array_equal(own.keypoints[0, :4], [NAN, [1.5, 101], NAN, [3.5, 103]])
    np.testing.assert_array_equal(own.scores[0], np.arange(15) / 10)
    ears = POSETRACK18.indices("left_ear", "right_ear")
    assert np.isnan(sequence.frames[0].keypoints[0, ears]).all()
    assert np.isnan(sequence.frames[0].scores[0, ears]).all()
    assert rewritten(PoseTrack18(), sequence, tmp_path / "b.json") == document

    new = changed(sequence, lambda frame: only(frame, right_ankle=(1.25, 2.5), head_top=(3.5, 4.5)))
    pose = POSETRACK15.convert(np.arange(30.0).reshape(1, 15, 2) + 0.5, POSETRACK18)[0]
    new = changed(new, lambda frame: with_another(frame, pose, scores=np.full((1, 17), 0.5)))
    first, second = rewritten(PoseTrack18(), new, tmp_path / "c.json")["annotations"]
    assert first["keypoints"] == [0] * 3 + [1.25, 2.5, 1] + [0] * 39 + [3.5, 4.5, 1]
    assert first["scores"] == [0, 0, *[0] * 13, 1.4]
    assert second["keypoints"] == [0, 0, 0, *(v for i in range(15) for v in (2 * i + 0.5, 2 * i + 1.5, 1))]
    assert second["scores"] == [0, *[0.5] * 15]


def test_a_changed_pose_in_posetrack17(tmp_path: Path) -> None:
    """Points come in the order of their ids; without a score, they get 0."""
    points = [point(0, 1, 2, score=[0.5]), point(13, -600, 2, score=[0.25]), point(99, 1, 1)]
    document = document17(points)
    sequence = read_document(PoseTrack17(), tmp_path, document)
    new = changed(sequence, lambda frame: only(frame, right_ankle=(5.5, 6), right_knee=(7, 8), nose=(9, 10)))
    points[:] = [point(0, 5.5, 6, score=[0.5]), point(1, 7, 8, score=[0]), point(13, 9, 10, score=[0.25])]
    assert rewritten(PoseTrack17(), new, tmp_path / "b.json") == document


@pytest.mark.parametrize("name", POSETRACK)
def test_a_pose_of_another_skeleton_is_written_by_name(name: str, tmp_path: Path) -> None:
    document = document18() if name == "posetrack18" else document17([point(0, 1, 2), point(14, 3, 4)])
    sequence = read_document(POSETRACK[name], tmp_path, document)
    places = {"nose": (1.25, 2.5), "left_wrist": (3.5, 4.5)}
    other = some_keypoints(COCO17, right_hip=(5, 6))
    coco = changed(sequence, lambda frame: only(frame.in_skeleton(COCO17), **places))
    coco = changed(coco, lambda frame: with_another(frame, other, track_ids=(8,)))
    POSETRACK[name].write([coco], tmp_path / "b.json")
    (frame,) = read(POSETRACK[name], tmp_path / "b.json").frames
    expected = [some_keypoints(POSETRACK15, **places), some_keypoints(POSETRACK15, right_hip=(5, 6))]
    np.testing.assert_array_equal(frame.in_skeleton(POSETRACK15).keypoints, expected)
    assert frame.track_ids == (3, 8)


# New people


@pytest.mark.parametrize(
    ("ids", "new_id"), [([], 0), ([{}], 0), ([{"id": "a"}, {"id": None}], 0), ([{"id": 7}, {"id": 5}], 8)], ids=str
)
def test_somebody_new_in_posetrack18(ids: list[dict[str, Any]], new_id: int, tmp_path: Path) -> None:
    document = {"images": [{"id": "x", "file_name": "a.jpg"}], "annotations": [{**i, "image_id": "x"} for i in ids]}
    sequence = read_document(PoseTrack18(), tmp_path, document)
    arrays = {"head_boxes": np.array([[1.0, 2, 4, 6]]), "scores": np.full((1, 17), 0.5), "track_ids": (77,)}
    pose = some_keypoints(POSETRACK18, nose=(1.5, 2), left_ear=(3, 4))
    new = changed(sequence, lambda frame: with_another(frame, pose, **arrays))
    found = rewritten(PoseTrack18(), new, tmp_path / "b.json")["annotations"]
    assert found[:-1] == document["annotations"]
    assert found[-1] == {
        **{"id": new_id, "image_id": "x", "category_id": 1, "track_id": 77, "bbox_head": [1, 2, 3, 4]},
        "keypoints": [1.5, 2, 1, *[0] * 48],
        "scores": [0 if "ear" in name else 0.5 for name in POSETRACK18.names],
    }


@pytest.mark.parametrize("entry", [{}, {"annorect": []}, {"annorect": [{"odd": 1}]}], ids=str)
def test_somebody_new_in_posetrack17(entry: dict[str, Any], tmp_path: Path) -> None:
    document = {"annolist": [{"image": "a.jpg", **entry}]}
    sequence = read_document(PoseTrack17(), tmp_path, document)
    assert rewritten(PoseTrack17(), sequence, tmp_path / "b.json") == document
    pose = some_keypoints(POSETRACK15, left_hip=(7, 8.5))
    new = changed(sequence, lambda frame: with_another(frame, pose, track_ids=(77,)))
    (found,) = rewritten(PoseTrack17(), new, tmp_path / "c.json")["annolist"]
    record = {"annopoints": [{"point": [{"id": [3], "x": [7], "y": [8.5]}]}], "track_id": [77]}
    assert found["annorect"] == [*entry.get("annorect", []), record]


# From scratch


@pytest.mark.parametrize("clip", ["seq_a", "seq_b"])
def test_golden_files_from_2018_to_2017_and_back(clip: str, tmp_path: Path) -> None:
    sequence = read(PoseTrack18(), GOLDEN / "posetrack18" / "predictions" / f"{clip}.json")
    back = sequence
    for name, file_format in (("b", PoseTrack17()), ("c", PoseTrack18())):
        file_format.write([back], tmp_path / f"{name}.json")
        back = read(file_format, tmp_path / f"{name}.json")
    assert sequence.people > 0
    for frame_after, frame_before in zip(back.frames, sequence.frames, strict=True):
        after, before = (frame.in_skeleton(POSETRACK15) for frame in (frame_after, frame_before))
        assert (after.image, after.track_ids) == (before.image, before.track_ids)
        np.testing.assert_array_equal(after.poses, before.poses)
        np.testing.assert_array_equal(after.scores[before.present], before.scores[before.present])
        np.testing.assert_array_equal(after.head_boxes, before.head_boxes)


def test_flags_from_scratch(tmp_path: Path) -> None:
    rows = np.array([[0, 0, 0], [0, 0, 1], [0, 3, 0], [-600, 5, 0.3], [*NAN, 0], [np.inf, np.inf, 1]])
    keypoints, flags = np.repeat(rows[:, None, :2], 17, axis=1), np.repeat(rows[:, 2:], 17, axis=1)
    PoseTrack18().write([PoseSequence("a", [Frame("a.jpg", POSETRACK18, keypoints, flags=flags)])], tmp_path / "a.json")
    (after,) = read(PoseTrack18(), tmp_path / "a.json").frames
    np.testing.assert_array_equal(after.keypoints[:, 0], [NAN, *rows[1:4, :2], NAN, NAN])
    np.testing.assert_array_equal(after.flags[:, 0], [0, 1, 0, 0.3, 0, 0])


def test_people_without_a_list_of_points_are_seen_again_in_2017(tmp_path: Path) -> None:
    """They count for the frame but are not scored."""
    frame = Frame("a.jpg", POSETRACK15, np.ones((2, 15, 2)), posed=np.array([False, True]), track_ids=(4, "b"))
    PoseTrack17().write([PoseSequence("a", [frame])], tmp_path / "a.json")
    (found,) = read(PoseTrack17(), tmp_path / "a.json").frames
    assert found.posed.tolist() == [False, True]
    assert found.track_ids == (4, "b")


def coco_sequence() -> PoseSequence:
    """Two images of COCO's keypoints, of which PoseTrack does not have all."""
    keypoints = np.full((2, 17, 2), np.nan)
    keypoints[0, COCO17.indices("nose", "left_eye", "left_ear", "right_ankle")] = [[1.5, 2], [3, 4], [5, 6], [7, 8]]
    scores = np.full((2, 17), np.nan)
    scores[0, COCO17.indices("nose", "left_ear")] = 0.5, 0.75
    boxes, head_boxes = np.array([[10, 20, 40, 60.5], [np.nan] * 4]), np.array([[np.nan] * 4, [1, 2, 3, 4.5]])
    regions = (np.array([[0, 1], [2, 3.5]]),)
    frame = Frame("clip/0.jpg", COCO17, keypoints, scores, None, boxes, head_boxes, (None, "b"), ignore_regions=regions)  # type: ignore[arg-type]
    return PoseSequence("clip", [Frame.empty("clip/n.jpg", COCO17), frame])


def test_a_posetrack17_document(tmp_path: Path) -> None:
    points = [{"id": [0], "x": [7.0], "y": [8.0]}, {"id": [13], "x": [1.5], "y": [2.0], "score": [0.5]}]
    head_box = {"x1": [1], "y1": [2], "x2": [3], "y2": [4.5]}
    people = [{"annopoints": [{"point": points}]}, {"annopoints": [{"point": []}], "track_id": ["b"], **head_box}]
    regions = [{"point": [{"x": [0], "y": [1]}, {"x": [2], "y": [3.5]}]}]
    assert rewritten(PoseTrack17(), coco_sequence(), tmp_path / "a.json") == {
        "annolist": [
            {"image": [{"name": "clip/n.jpg"}], "ignore_regions": [], "annorect": []},
            {"image": [{"name": "clip/0.jpg"}], "ignore_regions": regions, "annorect": people},
        ]
    }


def test_posetrack18_and_21_documents(tmp_path: Path) -> None:
    common = {"vid_id": "clip", "nframes": 2, "is_labeled": True}
    first = {"id": 0, "frame_id": 0, "file_name": "clip/n.jpg", "ignore_regions_x": [], "ignore_regions_y": []}
    second: dict[str, Any] = {"id": 1, "frame_id": 1, "file_name": "clip/0.jpg"}
    second |= {"ignore_regions_x": [[0, 2]], "ignore_regions_y": [[1, 3.5]]}
    people: list[dict[str, Any]] = [
        {"bbox": [10, 20, 30, 40.5], "keypoints": [1.5, 2, 1, *[0] * 45, 7, 8, 1], "scores": [0.5, *[0] * 16]},
        {"track_id": "b", "bbox_head": [1, 2, 2, 2.5], "keypoints": [0] * 51, "scores": []},
    ]
    expected = {
        "images": [{**first, **common}, {**second, **common}],
        "annotations": [{"id": i, "image_id": 1, "category_id": 1, **person} for i, person in enumerate(people)],
        "categories": [{"id": 1, "name": "person", "keypoints": list(POSETRACK18.names)}],
    }
    assert rewritten(PoseTrack18(), coco_sequence(), tmp_path / "a.json") == expected
    found = rewritten(PoseTrack21(), coco_sequence(), tmp_path / "b.json")
    assert [image.pop("has_labeled_person") for image in found["images"]] == [False, True]
    assert found == expected

"""AlphaPose's results: what is read from them, and how they are written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN
from documents import changed, moved, read, read_document, refusal, rewritten, some_keypoints, with_another, written

from hpr.formats.alphapose import AlphaPose
from hpr.poses import Frame, PoseSequence
from hpr.skeleton import COCO17, HALPE26, OPENPOSE18, POSETRACK18, Skeleton

FORMAT = AlphaPose()
FOLDER = GOLDEN / "formats" / "alphapose"
NOSE = COCO17.index("nose")


def person(image: Any = "a.jpg", keypoints: Any = None, **fields: Any) -> dict[str, Any]:
    """A person of a list of results, with the nose alone unless keypoints are given."""
    nose = [10.5, 20.5, 0.5, *[0] * 48]
    return {"image_id": image, "category_id": 1, "keypoints": nose if keypoints is None else keypoints, **fields}


def frame_of(folder: Path, *people: Any) -> Frame:
    (frame,) = read_document(FORMAT, folder, list(people)).frames
    return frame


@pytest.mark.parametrize("document", [[], {}], ids=str)
def test_nobody(document: Any, tmp_path: Path) -> None:
    sequence = read_document(FORMAT, tmp_path, document)
    assert (sequence.name, sequence.frames) == ("a", [])
    assert rewritten(FORMAT, sequence, tmp_path / "b.json") == document


def test_golden_results() -> None:
    first, second = read(FORMAT, FOLDER / "results.json").frames
    assert [(frame.image, frame.number) for frame in (first, second)] == [("a.jpg", None), ("b.jpg", None)]
    assert first.skeleton is second.skeleton is COCO17
    np.testing.assert_array_equal(first.keypoints[0, [NOSE, 16]], [[100.25, 50.5], [116.25, 82.5]])
    assert first.scores[0, [NOSE, 16]].tolist() == [0.9, 0.74]
    assert np.isnan(first.keypoints[1, NOSE]).all()
    assert np.isnan(first.scores[1, NOSE])
    assert np.isnan(second.keypoints[0, [3, 4, 15, 16]]).all()
    assert first.flags.sum(axis=1).tolist() == [17, 16]
    assert (first.track_ids, second.track_ids) == ((3, 7), (4,))
    assert first.person_scores.tolist() == [2.875, 0.75]
    np.testing.assert_array_equal(first.boxes, [[90.5, 40.25, 150.5, 160.75], [np.nan] * 4])
    assert [frame.records.tolist() for frame in (first, second)] == [[0, 2], [1]]


def test_golden_results_in_the_cmu_form() -> None:
    """A video's frames come by their numbers, although AlphaPose wrote the twelfth first."""
    first, second = read(FORMAT, FOLDER / "cmu.json").frames
    assert [(frame.image, frame.number) for frame in (first, second)] == [("3.jpg", 3), ("12.jpg", 12)]
    assert first.skeleton is OPENPOSE18
    expected = {"nose": (70.25, 80.5), "thorax": (75.75, 91.5), "right_shoulder": (76.25, 92.5)}
    expected |= {"left_shoulder": (75.25, 90.5), "right_ear": (74.25, 88.5), "left_ear": (73.25, 86.5)}
    for name, place in expected.items():
        np.testing.assert_array_equal(first.keypoints[0, OPENPOSE18.index(name)], place, err_msg=name)
    assert first.scores[0, 1] == pytest.approx(0.845)
    assert [frame.records.tolist() for frame in (first, second)] == [[2], [0, 1]]


@pytest.mark.parametrize(
    ("count", "skeleton"), [(17, COCO17), (26, HALPE26), (68, HALPE26), (133, COCO17), (136, HALPE26)]
)
def test_the_body_comes_first(count: int, skeleton: Skeleton, tmp_path: Path) -> None:
    """Faces and hands are kept as they are, also where the body changes."""
    keypoints = [float(value) for value in range(1, 3 * count + 1)]
    sequence = read_document(FORMAT, tmp_path, [person(keypoints=keypoints)])
    (frame,) = sequence.frames
    assert frame.skeleton is skeleton
    assert frame.keypoints[0, -1].tolist() == [3 * len(skeleton) - 2, 3 * len(skeleton) - 1]
    found = rewritten(FORMAT, moved(sequence, nose=(0.5, 0.25)), tmp_path / "b.json")
    assert found == [person(keypoints=[0.5, 0.25, 3, *keypoints[3:]])]


@pytest.mark.parametrize("keypoints", [{}, {"keypoints": []}, {"keypoints": None}], ids=str)
def test_a_person_without_keypoints(keypoints: dict[str, Any], tmp_path: Path) -> None:
    document = [{"image_id": "a.jpg", **keypoints}, person()]
    sequence = read_document(FORMAT, tmp_path, document)
    assert sequence.frames[0].is_posed.tolist() == [False, True]
    assert np.isnan(sequence.frames[0].keypoints[0]).all()
    assert rewritten(FORMAT, sequence, tmp_path / "b.json") == document


@pytest.mark.parametrize(
    ("idx", "track_id"),
    [
        *((None, None), ([], None), ([[]], None), ([None], None), (0, 0), (3, 3), (3.0, 3), ([4], 4), ([[5.0]], 5)),
        *(([[6.0], [9.0]], 6), ("a", "a"), (float("nan"), None)),
    ],
    ids=str,
)
def test_track_ids(idx: Any, track_id: Any, tmp_path: Path) -> None:
    assert frame_of(tmp_path, person(idx=idx), person()).track_ids == (track_id, None)


@pytest.mark.parametrize("box", [None, [], [1, 2, 3], ["x", 2, 3, 4], {}, 7, "wide"], ids=str)
def test_a_broken_box_counts_as_none(box: Any, tmp_path: Path) -> None:
    assert np.isnan(frame_of(tmp_path, person(box=box)).boxes).all()


@pytest.mark.parametrize(("score", "expected"), [(2.5, 2.5), (3, 3), (None, np.nan), ("x", np.nan), (10**400, np.nan)])
def test_person_scores(score: Any, expected: float, tmp_path: Path) -> None:
    np.testing.assert_array_equal(frame_of(tmp_path, person(score=score)).person_scores, [expected])


@pytest.mark.parametrize(
    ("images", "frames"),
    [
        pytest.param(["b.jpg", "a.jpg"], [("b.jpg", None), ("a.jpg", None)], id="names"),
        pytest.param(["10.jpg", "9.jpg", "10.jpg"], [("9.jpg", 9), ("10.jpg", 10)], id="a video"),
        pytest.param(["0.jpg"], [("0.jpg", 0)], id="its first frame"),
        pytest.param(["10.jpg", "a.jpg"], [("10.jpg", None), ("a.jpg", None)], id="not all are numbers"),
        pytest.param(["000785.jpg", "000139.jpg"], [("000785.jpg", None), ("000139.jpg", None)], id="COCO's images"),
        pytest.param(["7.jpg", "7.png"], [("7.jpg", None), ("7.png", None)], id="one number twice"),
        pytest.param(["9" * 5000], [("9" * 5000, None)], id="no number of a frame"),
    ],
)
def test_frames(images: list[str], frames: list[tuple[str, int | None]], tmp_path: Path) -> None:
    """Nothing is made up for the frames between those of a video that have people."""
    found = read_document(FORMAT, tmp_path, [person(image) for image in images]).frames
    assert [(frame.image, frame.number) for frame in found] == frames
    assert sum(len(frame) for frame in found) == len(images)


def test_somebody_new(tmp_path: Path) -> None:
    document = [person("2.jpg", odd=[1]), person("1.jpg", score=3.5)]
    sequence, pose = read_document(FORMAT, tmp_path, document), some_keypoints(COCO17, left_eye=(3, 4.5))
    arrays = {"scores": np.full((1, 17), 0.75), "track_ids": (9,)}
    new = changed(sequence, lambda frame: with_another(frame, pose, **arrays) if frame.number == 1 else frame)
    added = {"image_id": "1.jpg", "category_id": 1, "keypoints": [0, 0, 0, 3, 4.5, 0.75, *[0] * 45], "idx": 9}
    assert rewritten(FORMAT, new, tmp_path / "b.json") == [*document, added]


def test_the_cmu_form_keeps_images_without_people(tmp_path: Path) -> None:
    sequence = changed(read(FORMAT, FOLDER / "cmu.json"), lambda frame: frame.select(np.zeros(len(frame), bool)))
    entry: dict[str, Any] = {"version": "AlphaPose v0.3", "bodies": []}
    assert rewritten(FORMAT, sequence, tmp_path / "b.json") == {"12.jpg": entry, "3.jpg": entry}
    found = read(FORMAT, tmp_path / "b.json")
    assert [len(frame) for frame in found.frames] == [0, 0]
    new = changed(found, lambda frame: with_another(frame, np.ones((18, 2))) if frame.number == 3 else frame)
    expected = {"12.jpg": entry, "3.jpg": {**entry, "bodies": [{"joints": [1] * 54}]}}
    assert rewritten(FORMAT, new, tmp_path / "c.json") == expected


def test_from_scratch(tmp_path: Path) -> None:
    pose = some_keypoints(POSETRACK18, nose=(1.5, 2), head_top=(3, 4))
    scores = np.full((2, 17), np.nan)
    scores[0, POSETRACK18.index("nose")] = 0.25
    arrays: dict[str, Any] = {"boxes": np.array([[10, 20, 40, 60.5], [np.nan] * 4]), "track_ids": ("b", None)}
    arrays["person_scores"] = np.array([np.nan, 1.5])
    frame = Frame("x/a.jpg", POSETRACK18, np.stack([pose, pose]), scores, **arrays)
    sequence = PoseSequence("a", [Frame.empty("n.jpg", POSETRACK18), frame])
    assert rewritten(FORMAT, sequence, tmp_path / "b.json") == [
        person("x/a.jpg", [1.5, 2, 0.25, *[0] * 48], box=[10, 20, 30, 40.5], idx="b"),
        person("x/a.jpg", [1.5, 2, 1, *[0] * 48], score=1.5),
    ]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"images": []}, ": expected AlphaPose's list of people, found an object"),
        ({"version": "AlphaPose v0.3", "bodies": []}, ": the people of one image, without its name"),
        ([person(), {"image_id": 3}], ": [1].image_id: expected a text, found 3"),
        ([person(), {"keypoints": []}], ": [1]: expected the field 'image_id', found keypoints"),
        ([person(keypoints=[1] * 5)], ": [0].keypoints: expected 51 (coco17), 78 "),
        ([person(keypoints="all")], ": [0].keypoints: expected a list, found 'all'"),
        (
            [person(), person(keypoints=[1] * 78)],
            ": [1].keypoints: expected 51 numbers as in the first record, found 78",
        ),
        ([person(), person(keypoints=["x", *[1] * 50])], ": [1].keypoints: expected 51 numbers, found 'x'"),
        ([person(idx={})], ": [0].idx: expected a whole number or a text, found an object"),
        (
            {"a": {"version": 1, "bodies": [{"joints": [1, 2]}]}},
            ": 'a'.bodies[0].joints: expected 54 (openpose18) numbers",
        ),
        ({"a": {"version": 1, "people": []}, "b": {}}, ": 'b': expected the field 'people', found no field at all"),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_what_cannot_be_read_is_refused(document: Any, message: str, tmp_path: Path) -> None:
    assert refusal(FORMAT, written(tmp_path / "a.json", document)).startswith(message)

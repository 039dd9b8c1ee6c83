"""AlphaPose's results: what is read from them, and how they are written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN
from documents import changed, moved, read, read_document, rewritten, some_keypoints, with_another

from hpr.formats.alphapose import AlphaPose
from hpr.poses import Frame, PoseSequence
from hpr.skeleton import COCO17, HALPE26, HALPE68, HALPE136, POSETRACK18, WHOLEBODY133, Skeleton

FORMAT = AlphaPose()
FOLDER = GOLDEN / "formats" / "alphapose"


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


@pytest.mark.parametrize(
    ("count", "skeleton"), [(17, COCO17), (26, HALPE26), (68, HALPE68), (133, WHOLEBODY133), (136, HALPE136)]
)
def test_skeletons_by_count(count: int, skeleton: Skeleton, tmp_path: Path) -> None:
    """Faces and hands are kept as they are, also where the body changes."""
    keypoints = [float(value) for value in range(1, 3 * count + 1)]
    sequence = read_document(FORMAT, tmp_path, [person(keypoints=keypoints)])
    (frame,) = sequence.frames
    assert frame.skeleton is skeleton
    assert frame.keypoints[0, -1].tolist() == [3 * len(skeleton) - 2, 3 * len(skeleton) - 1]
    found = rewritten(FORMAT, moved(sequence, nose=(0.5, 0.25)), tmp_path / "b.json")
    assert found == [person(keypoints=[0.5, 0.25, 3, *keypoints[3:]])]


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

"""Scores of people that refining changes: written in a format's own field, and left as they are otherwise."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from documents import changed, read, rewritten, written

from hpr.formats import get_format
from hpr.formats.arrays import Arrays

XY = [[10.5 + 3 * place, 20.25 + 5 * place] for place in range(17)]
FLAT = [number for x, y in XY for number in (x, y, 0.5)]
KEYS = {"coco": "score", "alphapose": "score", "mmpose": "bbox_score", "ultralytics": "confidence"}


def record(name: str) -> dict[str, Any]:
    """A person without a score."""
    if name == "mmpose":
        return {"keypoints": XY, "keypoint_scores": [0.5] * 17}
    if name == "ultralytics":
        axes = {axis: [point[place] for point in XY] for place, axis in enumerate("xy")}
        return {"name": "person", "class": 0, "keypoints": {**axes, "visible": [0.5] * 17}}
    return {"image_id": 1 if name == "coco" else "1.jpg", "category_id": 1, "keypoints": FLAT}


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        pytest.param([np.nan, 1], [None, 1], id="none"),
        pytest.param([0.25, 1], [0.25, 1], id="a new one, and one that stays a whole number"),
        pytest.param([0.25, 0.5], [0.25, 0.5], id="both"),
    ],
)
def test_scores_of_people(name: str, scores: list[float], expected: list[float | None], tmp_path: Path) -> None:
    """Of the pose that has changed: the score that the file holds stays as it is written there."""
    people = [record(name), {**record(name), KEYS[name]: 1}]
    path = written(tmp_path / ("1.json" if name != "ultralytics" else "1_keypoints.json"), people)
    file_format = get_format(name)
    sequence = read(file_format, path)
    after = changed(
        sequence, lambda frame: replace(frame, keypoints=frame.keypoints + 1, person_scores=np.array(scores, float))
    )
    found = rewritten(file_format, after, tmp_path / "out.json")
    assert [person.get(KEYS[name]) for person in found] == expected
    assert isinstance(found[1][KEYS[name]], int if expected[1] == 1 else float)
    (frame,) = read(file_format, path).frames
    assert found[0]["keypoints"] != people[0]["keypoints"]
    np.testing.assert_array_equal(frame.person_scores, [np.nan, 1])


@pytest.mark.parametrize("score", [0.5, 0.25])
def test_arrays(score: float, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    scores = np.array([0.5, 0.75], np.float32)
    np.savez(path, frames=[0, 0], keypoints=np.ones((2, 17, 2)), skeleton="coco17", person_scores=scores)
    sequence = read(Arrays(), path)
    Arrays().write(
        [changed(sequence, lambda frame: replace(frame, person_scores=np.array([score, 0.75])))], tmp_path / "b.npz"
    )
    found = np.load(tmp_path / "b.npz")["person_scores"]
    assert found.dtype == np.float32
    assert found.tolist() == [score, 0.75]

"""Keypoints that are missing, odd or outside of the image: what each format makes of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from documents import document17, document18, read_document

from hpr.formats import get_format
from hpr.poses import Frame

NAN, INF = (np.nan, np.nan), (np.inf, np.inf)
SCORES = ("alphapose", "openpose", "mmpose", "ultralytics")
"""Formats with a score for each keypoint."""

FLAGS = ("posetrack18", "coco", "mpii")
"""Formats with a flag for each keypoint."""


def frame_of(name: str, x: Any, y: Any, third: Any, folder: Path) -> Frame:
    """Reads a person whose first keypoint is given and whose others are all the same."""
    flat = [x, y, third, *[7, 8, 1] * 16]
    coco = {"images": [{"id": 7, "file_name": "a"}], "annotations": [{"id": 5, "image_id": 7, "keypoints": flat}]}
    points = [{"id": 0, "x": x, "y": y}, *({"id": [i], "x": [7], "y": [8]} for i in range(1, 15))]
    boxed = {"x": [x, *[7] * 16], "y": [y, *[8] * 16], "visible": [third, *[1] * 16]}
    documents: dict[str, Any] = {
        "alphapose": [{"image_id": "a.jpg", "keypoints": flat}],
        "openpose": {"people": [{"pose_keypoints_2d": [*flat, *[7, 8, 1] * 8]}]},
        "mmpose": [{"keypoints": [[x, y], *[[7, 8]] * 16], "keypoint_scores": [third, *[1] * 16]}],
        "ultralytics": [{"keypoints": boxed}],
        "posetrack18": document18(keypoints=flat),
        "posetrack17": document17(points),
        "coco": coco,
        "mpii": [{"image": "a.jpg", "joints": [[x, y], *[[7, 8]] * 15], "joints_vis": [third, *[1] * 15]}],
    }
    (frame,) = read_document(get_format(name), folder, documents[name]).frames
    return frame


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
    frame = frame_of(name, x, y, third, tmp_path)
    is_missing = name in missing_in
    expected = NAN if is_missing else np.subtract(place, 1) if name == "mpii" else place  # MPII's pixels count from 1
    np.testing.assert_array_equal(frame.keypoints[0, 0], expected)
    assert np.isfinite(frame.keypoints[0, 1]).all()
    assert frame.flags[0, 0] == ((third or 0) if name in FLAGS else not is_missing)
    if name in SCORES:
        has_score = third is not None and not (is_missing and name in ("alphapose", "openpose"))
        np.testing.assert_array_equal(frame.scores[0, 0], third if has_score else np.nan)


@pytest.mark.parametrize("name", ["alphapose", "openpose", "mmpose", "ultralytics", "posetrack18"])
def test_a_score_beyond_1_or_in_the_place_of_a_flag(name: str, tmp_path: Path) -> None:
    frame = frame_of(name, 10, 12.5, 5.5, tmp_path)
    assert (frame.flags if name == "posetrack18" else frame.scores)[0, 0] == 5.5
    assert frame.present[0, 0]

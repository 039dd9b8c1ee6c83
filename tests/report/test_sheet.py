"""One picture of the people whom refining changed most."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from hpr.images import ImageFolder
from hpr.poses import Frame
from hpr.report.sheet import draw_sheet, most_changed
from hpr.skeleton import POSETRACK15, Skeleton, skeleton_of

BODY = np.array([[100 + 5 * (k % 3), 60 + 10 * k] for k in range(15)], float)
"""A pose of 140 pixels' height."""


def frame(*poses: np.ndarray, name: str = "a.png", skeleton: Skeleton = POSETRACK15, **fields: Any) -> Frame:
    return Frame(name, skeleton, np.array(poses).reshape(-1, len(skeleton), 2), **fields)


def moved(distance: float, *keypoints: int) -> np.ndarray:
    pose = BODY.copy()
    pose[list(keypoints)] += distance
    return pose


ALL = range(15)
NOWHERE = np.full_like(BODY, np.nan)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (frame(), frame()),
        (frame(BODY), frame(BODY)),
        (frame(NOWHERE), frame(BODY)),
        (frame(BODY), frame(NOWHERE)),
        (frame(BODY / 4), frame(BODY / 4 + 5)),
    ],
    ids=["nobody", "as it was", "new", "gone", "small"],
)
def test_nothing_to_see(before: Frame, after: Frame) -> None:
    assert most_changed([], 3) == []
    assert most_changed([("a", before, after)], 3) == []


def test_most_changed_first_one_of_each_frame() -> None:
    frames = [
        ("a", frame(BODY, BODY), frame(moved(10, 0), moved(20, 0))),
        ("b", frame(BODY), frame(moved(30, 5, 6))),
        ("c", frame(BODY), frame(moved(5, 9))),
    ]
    changes = most_changed(frames, 2)
    assert [(change.sequence, change.person) for change in changes] == [("b", 0), ("a", 1)]
    assert len(most_changed(frames, 9)) == 3


def test_one_keypoint_far_out_is_not_all() -> None:
    frames = [("a", frame(moved(5000, 3)), frame(BODY)), ("b", frame(BODY), frame(moved(20, *ALL)))]
    assert most_changed(frames, 1)[0].sequence == "b"


def test_poses_that_lack_much_come_last() -> None:
    half = moved(20, *ALL)
    half[:9] = np.nan
    frames = [("a", frame(BODY), frame(half)), ("b", frame(BODY), frame(moved(12, *range(9))))]
    assert most_changed(frames, 1)[0].sequence == "b"


def test_unlike_one_another() -> None:
    """Neither one person throughout a clip nor the same keypoints, where there are others."""
    frames = [
        ("a", frame(BODY, track_ids=(1,)), frame(moved(30, 0, 1), track_ids=(1,))),
        ("a", frame(BODY, track_ids=(1,)), frame(moved(29, 7, 8), track_ids=(1,))),
        ("b", frame(BODY), frame(moved(28, 0, 1))),
        ("c", frame(BODY), frame(moved(20, 7, 8))),
    ]
    assert [change.sequence for change in most_changed(frames, 3)] == ["a", "c", "b"]


def test_skeletons_of_different_files() -> None:
    own = skeleton_of(["nose", "tail"])
    pose = np.array([[100.0, 60], [100, 200]])
    frames = [
        ("a", frame(BODY), frame(moved(30, 0))),
        ("b", frame(pose, skeleton=own), frame(pose + 20, skeleton=own)),
    ]
    assert len(most_changed(frames, 2)) == 2


def coloured(part: np.ndarray) -> bool:
    return bool((np.ptp(part.astype(int), axis=2) > 60).any())


@pytest.mark.parametrize("size", [(240, 320), (2000, 1500)], ids=str)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_sheet(count: int, size: tuple[int, int], tmp_path: Path) -> None:
    """Of the width of a page, with something drawn in each picture, also of people at an edge."""
    frames = []
    for number in range(count):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((*size, 3), 128, np.uint8))
        place = [0, (number - 2) * 30]
        name = f"{number}.png"
        frames.append((name, frame(BODY + place, name=name), frame(moved(30, 3) + place, name=name)))
    frames.append(("gone", frame(BODY, name="gone.png"), frame(moved(25, 3), name="gone.png")))
    sheet = draw_sheet(most_changed(frames, count + 1), ImageFolder(tmp_path))
    assert sheet is not None
    assert 1190 <= sheet.shape[1] <= 1200
    columns = min(2 * count, 6)
    for column in range(columns):
        start = column * sheet.shape[1] // columns
        assert coloured(sheet[:, start : start + sheet.shape[1] // columns])


def test_people_outside_of_their_image(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 30, 3), 128, np.uint8))
    sheet = draw_sheet(most_changed([("a", frame(BODY), frame(moved(30, 3)))], 1), ImageFolder(tmp_path))
    assert sheet is not None
    assert sheet.shape[1] == 1200


def test_no_image_no_sheet(tmp_path: Path) -> None:
    assert draw_sheet([], ImageFolder(tmp_path)) is None
    changes = most_changed([("a", frame(BODY), frame(moved(30, 3)))], 1)
    assert draw_sheet(changes, ImageFolder(tmp_path)) is None

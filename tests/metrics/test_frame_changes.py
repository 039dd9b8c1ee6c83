"""What refining did to each annotated frame."""

from pathlib import Path

import numpy as np
import pytest
from scored_clips import Person, frame, people, sequence

from hpr.metrics.frame_changes import Found, FrameChange, FrameChanges, found_keypoints, frame_changes
from hpr.formats import PoseTrack18
from hpr.poses import Frame, PoseSequence
from hpr.skeleton import COCO17, POSETRACK15

POSE, OTHER = people(2)


def one(*poses: np.ndarray) -> Frame:
    return frame("a.jpg", [Person(pose, track) for track, pose in enumerate(poses)])


def off(pose: np.ndarray, *keypoints: int, by: float = 16.0) -> np.ndarray:
    """A pose with keypoints moved by pixels; a match is within 15."""
    moved = pose.copy()
    moved[list(keypoints)] += [by, 0]
    return moved


def without(pose: np.ndarray, *keypoints: int) -> np.ndarray:
    left = pose.copy()
    left[list(keypoints)] = np.nan
    return left


@pytest.mark.parametrize(
    ("truth", "estimate", "expected"),
    [
        (one(), one(), Found(0, 0)),
        (one(), one(POSE), Found(0, 0)),
        (one(POSE), one(), Found(0, 0)),
        (one(POSE), one(POSE), Found(15, 0)),
        (one(POSE), one(off(POSE, 1, 2, by=15)), Found(15, 0)),
        (one(POSE), one(off(POSE, 1, 2)), Found(13, 2)),
        (one(POSE), one(without(POSE, 1, 2)), Found(13, 0)),
        (one(without(POSE, 1, 2)), one(off(POSE, 2, 3)), Found(12, 1)),
        (one(POSE, OTHER), one(off(OTHER, 4), off(POSE, 0)), Found(28, 2)),
        (one(POSE), one(off(POSE, 1, 2), off(POSE, 3)), Found(14, 1)),
    ],
)
def test_keypoints_found(truth: Frame, estimate: Frame, expected: Found) -> None:
    assert found_keypoints(truth, estimate) == expected


def test_other_skeletons_meet_by_names_and_heads_are_estimated() -> None:
    keypoints = np.full((1, 17, 2), np.nan)
    keypoints[0, COCO17.indices("left_hip", "left_knee", "left_ankle", "left_eye")] = [
        [0, 0],
        [0, 122],
        [0, 242],
        [9, 9],
    ]
    truth = Frame("a.jpg", COCO17, keypoints)  # a head's diagonal of 100: right within 30 pixels
    estimate = truth.in_skeleton(POSETRACK15)
    places = estimate.keypoints.copy()
    assert found_keypoints(truth, estimate) == Found(3, 0)
    for by, expected in ((29, Found(3, 0)), (31, Found(0, 3))):
        assert found_keypoints(truth, Frame("a.jpg", POSETRACK15, places + np.array([by, 0]))) == expected


def test_the_worst_are_kept() -> None:
    changes = FrameChanges()
    for number, lost in enumerate([0, 3, -1, 5, 1, 4]):
        changes.add(FrameChange("clip", number, one(), (one(), one()), Found(10, lost), Found(10, 2 * lost)), most=3)
    assert (changes.better, changes.worse, changes.same) == (1, 4, 1)
    assert [(change.frame, change.gain) for change in changes.worst] == [(3, -5), (5, -4), (1, -3)]


def test_files(tmp_path: Path) -> None:
    def clip(*poses: np.ndarray) -> PoseSequence:
        return sequence(*([Person(pose)] for pose in poses), name="clip")

    PoseTrack18().write([clip(POSE, POSE, POSE)], tmp_path / "clip.json")
    before = {"clip.json": [clip(off(POSE, 1), POSE, POSE)], "unknown.json": [clip(POSE)]}
    after = {"clip.json": [clip(POSE, off(POSE, 3, 4), POSE)], "unknown.json": [clip(POSE)]}
    changes = frame_changes(PoseTrack18(), str(tmp_path), before, after, most=5)
    assert (changes.better, changes.worse, changes.same) == (1, 1, 1)
    (worst,) = changes.worst
    assert (worst.sequence, worst.frame, worst.before, worst.after) == ("clip", 1, Found(15, 0), Found(13, 2))
    assert worst.poses == (before["clip.json"][0].frames[1], after["clip.json"][0].frames[1])

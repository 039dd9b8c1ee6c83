"""What refining did to each annotated frame."""

import numpy as np
import pytest
from scored_clips import Person, frame, people, sequence

from hpr.metrics.frame_changes import Found, found_keypoints, frame_changes
from hpr.metrics.posetrack import PoseTrackTruth
from hpr.poses import Frame, PoseSequence
from hpr.skeleton import COCO17, POSETRACK15

POSE, OTHER = people(2)


def one(*poses: np.ndarray) -> Frame:
    return frame("a.jpg", [Person(pose, track) for track, pose in enumerate(poses)])


def off(pose: np.ndarray, *keypoints: int, by: float = 16.0) -> np.ndarray:
    """A pose with keypoints moved by pixels, or missing; a match is within 15."""
    moved = pose.copy()
    moved[list(keypoints)] += [by, 0]
    return moved


def clip(*poses: np.ndarray) -> PoseSequence:
    return sequence(*([Person(pose)] for pose in poses))


@pytest.mark.parametrize(
    ("truth", "estimate", "expected"),
    [
        (one(), one(), Found(0, 0)),
        (one(), one(POSE), Found(0, 0)),
        (one(POSE), one(), Found(0, 0)),
        (one(POSE), one(POSE), Found(15, 0)),
        (one(POSE), one(off(POSE, 1, 2, by=15)), Found(15, 0)),
        (one(POSE), one(off(POSE, 1, 2)), Found(13, 2)),
        (one(POSE), one(off(POSE, 1, 2, by=np.nan)), Found(13, 0)),
        (one(off(POSE, 1, 2, by=np.nan)), one(off(POSE, 2, 3)), Found(12, 1)),
        (one(POSE, OTHER), one(off(OTHER, 4), off(POSE, 0)), Found(28, 2)),
        (one(POSE), one(off(POSE, 1, 2), off(POSE, 3)), Found(14, 1)),
    ],
)
def test_keypoints_found(truth: Frame, estimate: Frame, expected: Found) -> None:
    assert found_keypoints(truth, estimate) == expected


@pytest.mark.parametrize(("by", "expected"), [(0, Found(3, 0)), (29, Found(3, 0)), (31, Found(0, 3))])
def test_other_skeletons_meet_by_names_and_heads_are_estimated(by: float, expected: Found) -> None:
    keypoints = np.full((1, 17, 2), np.nan)
    leg = COCO17.indices("left_hip", "left_knee", "left_ankle", "left_eye")
    keypoints[0, leg] = [[0, 0], [0, 122], [0, 242], [9, 9]]
    truth = Frame("a.jpg", COCO17, keypoints)  # the limbs of a head whose diagonal is 100: right within 30 pixels
    moved = truth.in_skeleton(POSETRACK15).keypoints + np.array([by, 0])
    assert found_keypoints(truth, Frame("a.jpg", POSETRACK15, moved)) == expected


def test_the_worst_are_kept() -> None:
    before = [off(POSE, 0), POSE, POSE, POSE, POSE, POSE]
    after = [POSE, off(POSE, 1), POSE, off(POSE, 1, 2, 3), off(POSE, 1, by=np.nan), off(POSE, 1, 2)]
    files = [{"a.json": [clip(*poses)], "unknown.json": [clip(POSE)]} for poses in (before, after)]
    changes = frame_changes(PoseTrackTruth({"a.json": [clip(*[POSE] * 6)]}), files[0], files[1], most=3)
    assert (changes.better, changes.worse, changes.same) == (1, 4, 1)
    assert {change.sequence for change in changes.worst} == {"clip"}
    assert [(change.frame, change.gain) for change in changes.worst] == [(3, -6), (5, -4), (1, -2)]
    worst = changes.worst[0]
    assert (worst.before, worst.after) == (Found(15, 0), Found(12, 3))
    assert worst.poses == tuple(file["a.json"][0].frames[3] for file in files)

"""What refining did to each person."""

from dataclasses import replace

import numpy as np
import pytest
from scored_clips import Person, frame, people, sequence

from hpr.metrics.person_changes import AnnotatedChanges, Found, PersonChange, annotated_changes, moved_most
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
    """A person without a track id in a frame for each pose, so that every frame has somebody else."""
    return sequence(*([Person(pose, None)] for pose in poses))


def compared(truth: Frame, before: Frame, after: Frame) -> AnnotatedChanges:
    """Compares one frame."""
    files = [{"a.json": [PoseSequence("clip", [own])]} for own in (before, after)]
    annotated = PoseTrackTruth({"a.json": [PoseSequence("clip", [truth])]})
    return annotated_changes(annotated, files[0], files[1].__getitem__, 9)


@pytest.mark.parametrize(
    ("truth", "before", "after", "expected"),
    [
        (one(POSE), one(), one(), []),
        (one(POSE), one(POSE), one(POSE), []),
        (one(POSE), one(off(POSE, 1, 2, by=15)), one(POSE), []),
        (one(POSE), one(off(POSE, 1, 2)), one(POSE), [(Found(13, 2), Found(15, 0))]),
        (one(POSE), one(off(POSE, 1, 2)), one(off(POSE, 1, 2, by=np.nan)), [(Found(13, 2), Found(13, 0))]),
        (one(off(POSE, 1, by=np.nan)), one(off(POSE, 1, 2)), one(POSE), [(Found(13, 1), Found(14, 0))]),
        (one(POSE), one(off(POSE, 1)), one(), [(Found(14, 1), Found(0, 0))]),
        (one(POSE, OTHER), one(OTHER, off(POSE, 4)), one(OTHER, POSE), [(Found(14, 1), Found(15, 0))]),
    ],
)
def test_what_became_right_and_wrong(
    truth: Frame, before: Frame, after: Frame, expected: list[tuple[Found, Found]]
) -> None:
    changes = compared(truth, before, after)
    assert [change.found for change in (*changes.best, *changes.worst)] == expected
    assert changes.better + changes.worse == len(expected)


def test_estimates_of_nobody_annotated_do_not_count() -> None:
    """Without any right keypoint an estimate is somebody else's, however it changed."""
    far = POSE + 5000
    changes = compared(one(POSE), one(far), one(far + 100))
    assert (changes.better, changes.worse, changes.same, changes.errors) == (0, 0, 0, {})


def test_errors_of_each_kind_of_keypoint() -> None:
    left, right, nose = POSETRACK15.indices("left_ankle", "right_ankle", "nose")
    before = off(off(POSE, left, by=12), right, by=np.nan)
    errors = compared(one(off(POSE, nose, by=np.nan)), one(before), one(off(POSE, left, by=3))).errors
    assert "nose" not in errors  # it is not annotated
    np.testing.assert_allclose(np.sort(errors["ankle"].before), [0.4, np.nan], atol=1e-9)  # a head is 30 pixels
    np.testing.assert_allclose(np.sort(errors["ankle"].after), [0.0, 0.1], atol=1e-9)


@pytest.mark.parametrize(("by", "expected"), [(29, Found(3, 0)), (31, Found(1, 2))])
def test_other_skeletons_meet_by_names_and_heads_are_estimated(by: float, expected: Found) -> None:
    keypoints = np.full((1, 17, 2), np.nan)
    leg = COCO17.indices("left_hip", "left_knee", "left_ankle", "left_eye")
    keypoints[0, leg] = [[0, 0], [0, 122], [0, 242], [9, 9]]
    truth = Frame("a.jpg", COCO17, keypoints)  # the limbs of a head whose diagonal is 100: right within 30 pixels
    before = truth.in_skeleton(POSETRACK15)
    after = replace(before, keypoints=before.keypoints.copy())
    after.keypoints[0, POSETRACK15.indices("left_knee", "left_ankle"), 0] += by
    after.keypoints[0, POSETRACK15.index("left_hip"), 0] += 1
    truth = replace(truth, head_boxes=np.array([[0.0, 0, 0, 0]]))  # a box without a size
    changes = compared(truth, before, after)
    assert [change.found for change in changes.worst] == ([] if by < 30 else [(Found(3, 0), expected)])


def test_those_who_gained_and_lost_most() -> None:
    before = [off(POSE, 0), POSE, POSE, POSE, POSE, POSE]
    after = [POSE, off(POSE, 1), POSE, off(POSE, 1, 2, 3), off(POSE, 1, by=np.nan), off(POSE, 1, 2)]
    files = [{"a.json": [clip(*poses)], "unknown.json": [clip(POSE)]} for poses in (before, after)]
    truth = PoseTrackTruth({"a.json": [sequence(*([Person(POSE, k)] for k in range(6)))]})
    changes = annotated_changes(truth, files[0], files[1].__getitem__, most=3)
    assert (changes.better, changes.worse, changes.same) == (1, 4, 1)
    assert [change.key.frame for change in changes.best] == [0]
    assert [change.key.frame for change in changes.worst] == [3, 5, 1]
    worst = changes.worst[0]
    assert (worst.file, worst.sequence, worst.found) == ("a.json", "clip", (Found(15, 0), Found(12, 3)))
    assert worst.truth is not None
    for own, pose in ((worst.before, before[3]), (worst.after, after[3]), (worst.truth, POSE)):
        np.testing.assert_array_equal(own.poses, pose[None])


class TestMoved:
    """People who moved most, with or without annotations."""

    def most(self, before: list[PoseSequence], after: list[PoseSequence]) -> list[PersonChange]:
        return moved_most({"a.json": before}, {"a.json": after}.__getitem__, 6)

    def test_one_person_of_a_crowd(self) -> None:
        crowd = people(9)
        moved = [*crowd[:5], crowd[5] + [30, 40], *crowd[6:8], off(crowd[8], 3)]
        before, after = (PoseSequence("clip", [one(*poses)]) for poses in (crowd, moved))
        first, second = self.most([before], [after])  # the others did not move
        assert (first.sequence, first.key) == ("clip", (0, 0))
        assert first.before.track_ids == first.after.track_ids == (5,)
        assert second.before.track_ids == (8,)
        assert first.moved == pytest.approx(second.moved * 50 / 16, rel=0.3)  # of the keypoints that moved

    def test_a_tracked_person_counts_once_in_a_sequence(self) -> None:
        poses = [POSE, POSE + 10, POSE + 20]
        for track, expected in ((7, [(1, 2), (0, 2)]), (None, [(0, 2), (1, 2), (0, 1), (1, 1)])):
            before, after = (sequence(*([Person(own, track)] for own in some)) for some in ([POSE] * 3, poses))
            found = self.most([before, before], [after, after])
            assert sorted(change.key for change in found) == sorted(expected)
            assert found[0].moved == max(change.moved for change in found)

    def test_who_is_gone_or_has_no_keypoints_has_not_moved(self) -> None:
        assert self.most([clip(POSE, POSE * np.nan)], [clip(POSE * np.nan, POSE)]) == []

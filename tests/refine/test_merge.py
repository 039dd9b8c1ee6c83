"""What a frame becomes: which keypoints are kept, and with what scores."""

from typing import Any

import numpy as np
import pytest

from hpr.poses import FloatArray, Frame, FrameKey
from hpr.refine.merge import apply_refined
from hpr.refine.objective import Objective, ScoreRule
from hpr.refine.results import Outcome, PersonKey, RefinedPose, RefinedPoses
from hpr.refine.tally import Tally
from hpr.skeleton import POSETRACK15, SKELETONS, Skeleton, skeleton_of

NAN = np.nan
PROPOSED = -np.arange(30.0).reshape(15, 2)
KEYPOINTS = np.arange(90.0).reshape(3, 15, 2) + 1
HALF = Objective(keep=0.5, add=0.5)


def refined_poses(num_people: int, keypoints: FloatArray, confidence: Any, skeleton: Skeleton) -> RefinedPoses:
    """Returns the same proposal for everyone but person 1, whose crop is too large."""
    sure = np.broadcast_to(confidence, len(skeleton)).astype(float)
    results = []
    for person in range(num_people):
        key = PersonKey(FrameKey(0, 0), person)
        done = RefinedPose(key, Outcome.REFINED, "", keypoints, sure, moved=0.5)
        results.append(RefinedPose(key, Outcome.CROP_SIZE) if person == 1 else done)
    return RefinedPoses.stack(results, skeleton)


def applied(frame: Frame, confidence: Any = 0.6, objective: Objective = HALF) -> Frame:
    return apply_refined(frame, refined_poses(len(frame), PROPOSED, confidence, POSETRACK15), POSETRACK15, objective)


class TestMerge:
    """Two of three people are refined."""

    def test_kept_keypoints_have_flag_1_and_nothing_else_changes(self) -> None:
        flags, scores = np.full((3, 15), 0.3), np.linspace(0, 1, 45).reshape(3, 15)
        others: dict[str, Any] = {"boxes": np.ones((3, 4)), "head_boxes": np.zeros((3, 4)), "track_ids": (1, 2, 3)}
        others |= {"posed": np.array([True, False, True]), "records": np.array([4, 5, 6])}
        others |= {"ignore_regions": (np.zeros((3, 2)),), "size": (640, 480)}
        given = Frame("a.jpg", POSETRACK15, KEYPOINTS, scores, flags, **others)
        found = applied(given)
        np.testing.assert_array_equal(found.keypoints, [PROPOSED, KEYPOINTS[1], PROPOSED])
        np.testing.assert_array_equal(found.flags, [[1] * 15, [0.3] * 15, [1] * 15])
        np.testing.assert_array_equal(found.confidences, [[0.6] * 15, [NAN] * 15, [0.6] * 15])
        np.testing.assert_array_equal(found.scores, scores)
        assert all(getattr(found, name) is getattr(given, name) for name in ("image", "skeleton", *others))

    def test_dropped_and_added_keypoints(self) -> None:
        keypoints, flags = KEYPOINTS.copy(), np.ones((3, 15))
        keypoints[:, 0], flags[:, 0] = NAN, 0
        keypoints[:, 1] = np.inf
        keypoints[:, 2] = -600  # below the cutoff
        flags[:, 3] = 0
        confidence = np.full(15, 0.6)
        confidence[[1, 5, 6]] = 0.5
        given = Frame("a.jpg", POSETRACK15, keypoints, flags=flags)
        found, tally = applied(given, confidence), Tally()
        tally.count(given, refined_poses(3, PROPOSED, confidence, POSETRACK15), found, POSETRACK15)
        # Of each of the two: nine kept, two dropped, and 0, 2 and 3 added; eleven of the third stay.
        assert (tally.kept, tally.dropped, tally.added) == (2 * 9 + 11, 2 * 2, 2 * 3)
        for person in (0, 2):
            assert np.flatnonzero(np.isnan(found.keypoints[person, :, 0])).tolist() == [1, 5, 6]
            assert np.flatnonzero(found.flags[person] == 0).tolist() == [1, 5, 6]
            np.testing.assert_array_equal(found.confidences[person], confidence)
        np.testing.assert_array_equal(found.keypoints[1], keypoints[1])
        np.testing.assert_array_equal(found.flags[1], flags[1])


class TestJoinedSkeletons:
    def test_by_hand(self) -> None:
        first = Skeleton(("nose", "neck"), (("nose", "neck"),), (0.1, 0.2), "a")
        limbs = (("neck", "nose"), ("nose", "top"))
        second = Skeleton(("top", "neck", "nose", "tail"), limbs, (0.3, 0.4, 0.5, 0.6), "b")
        limbs = (("nose", "neck"), ("nose", "top"))
        assert first.joined(second) == Skeleton(("nose", "neck", "top", "tail"), limbs, (0.1, 0.2, 0.3, 0.6), "a+b")

    @pytest.mark.parametrize("first", SKELETONS.values(), ids=list(SKELETONS))
    def test_any_two(self, first: Skeleton) -> None:
        for second in SKELETONS.values():
            joined = first.joined(second)
            assert (joined is first) == (not set(second.names) - set(first.names))
            assert joined.names[: len(first)] == first.names
            assert set(joined.names) == {*first.names, *second.names}
            limbs = [frozenset(limb) for limb in joined.limbs]
            others = second.limbs if set(second.names) - set(first.names) else ()
            assert set(limbs) == {frozenset(limb) for limb in (*first.limbs, *others)}
            assert len(set(limbs)) == len(limbs)
            assert joined.joined(second) is joined
            assert [joined.mirror[index] for index in joined.mirror] == list(range(len(joined)))


RULES: list[ScoreRule] = ["input", "network", "product"]


class TestScores:
    """The network knows three of the file's four keypoints and one more."""

    known = skeleton_of(["nose", "left_hip", "left_knee", "head_top"])
    own = skeleton_of(["nose", "left_hip", "left_knee", "left_eye"])
    confidence = (0.5, 0.8, 0.1, 0.9)
    scores = ((0.6, 0.5, 0.4, 0.2), (0.1, 0.2, 0.3, 0.4))

    def rescored(self, frame: Frame, rule: ScoreRule, keep: float = 0.3) -> Frame:
        refined = refined_poses(len(frame), np.ones((4, 2)), self.confidence, self.known)
        return apply_refined(frame, refined, self.known, Objective(keep=keep, add=keep, score=rule))

    def frame(self, scores: Any = None, person_scores: Any = None, missing: tuple[int, ...] = ()) -> Frame:
        keypoints = np.full((2, 4, 2), 10.0)
        keypoints[:, list(missing)] = NAN
        arrays = {"scores": scores, "person_scores": person_scores}
        given: dict[str, Any] = {name: np.array(array, float) for name, array in arrays.items() if array is not None}
        return Frame("a.jpg", self.own, keypoints, **given)

    @pytest.mark.parametrize("rule", RULES)
    def test_nothing_to_score(self, rule: ScoreRule) -> None:
        assert len(self.rescored(Frame.empty("a.jpg", self.own), rule)) == 0
        without = self.rescored(self.frame(), rule)
        assert np.isnan(without.scores).all()
        assert np.isnan(without.person_scores).all()

    @pytest.mark.parametrize(
        ("rule", "missing", "expected"),
        [
            pytest.param("input", (), [0.6, 0.5, 0.4, 0.2], id="input"),
            pytest.param("network", (), [0.5, 0.8, 0.4, 0.2], id="network: dropped and unknown keypoints keep theirs"),
            pytest.param("product", (), [0.3, 0.4, 0.4, 0.2], id="product"),
            pytest.param("input", (0,), [0.6, 0.5, 0.4, 0.2], id="input, added"),
            pytest.param("network", (0,), [0.5, 0.8, 0.4, 0.2], id="network, added"),
            pytest.param("product", (0,), [0.5, 0.4, 0.4, 0.2], id="product, added: a missing one's score is ignored"),
        ],
    )
    def test_keypoints(self, rule: ScoreRule, missing: tuple[int, ...], expected: list[float]) -> None:
        found = self.rescored(self.frame(self.scores, missing=missing), rule)
        np.testing.assert_allclose(found.scores[0, :4], expected)
        np.testing.assert_array_equal(found.scores[1, :4], self.scores[1])  # not refined
        head_top = [NAN if rule == "input" else 0.9, NAN]  # only the network knows it
        np.testing.assert_array_equal(found.scores[:, 4], head_top)

    @pytest.mark.parametrize(("rule", "expected"), [("input", NAN), ("network", 0.5), ("product", 0.5)])
    def test_a_keypoint_without_a_score(self, rule: ScoreRule, expected: float) -> None:
        found = self.rescored(self.frame([[NAN, 0.5, NAN, NAN], [NAN] * 4]), rule)
        np.testing.assert_array_equal(found.scores[0, [0, 2, 3]], [expected, NAN, NAN])
        assert np.isnan(found.scores[1]).all()

    @pytest.mark.parametrize(
        ("rule", "keep", "scores", "expected"),
        [
            pytest.param("input", 0.3, [2, 3], [2, 3], id="input"),
            # Nose and hip count: head_top is not in the file, the knee is dropped, and the eye is unknown.
            pytest.param("network", 0.3, [2, 3], [0.65, 3], id="network"),
            pytest.param("product", 0.3, [2, 3], [1.3, 3], id="product"),
            pytest.param("product", 0.0, [2, 3], [2 * 1.4 / 3, 3], id="product, all kept"),
            pytest.param("network", 0.85, [2, 3], [0, 3], id="network, none kept"),
            pytest.param("product", 0.85, [2, 3], [0, 3], id="product, none kept"),
            pytest.param("input", 0.3, [NAN, 3], [NAN, 3], id="input, without a score"),
            pytest.param("network", 0.3, [NAN, 3], [0.65, 3], id="network, without a score"),
            pytest.param("product", 0.3, [NAN, 3], [0.65, 3], id="product, without a score"),
            pytest.param("product", 0.3, [2, NAN], [1.3, NAN], id="product, the other without a score"),
        ],
    )
    def test_people(self, rule: ScoreRule, keep: float, scores: list[float], expected: list[float]) -> None:
        """Even if keypoints have no scores, as in many of COCO's results."""
        for keypoint_scores in (None, self.scores):
            found = self.rescored(self.frame(keypoint_scores, scores), rule, keep)
            np.testing.assert_allclose(found.person_scores, expected)


@pytest.mark.parametrize(("min_score", "ignored"), [(0.0, []), (0.2, [0]), (0.4, [0, 1])])
def test_uncertain_keypoints_stay_where_the_network_does_not_find_them(min_score: float, ignored: list[int]) -> None:
    """Each has a score; the first two are low ones. The network is sure of every second keypoint."""
    scores = np.full((3, 15), 0.8)
    scores[:, 0], scores[:, 1], scores[:, 3] = 0.1, 0.3, NAN
    frame = Frame("", POSETRACK15, KEYPOINTS, scores, person_scores=np.ones(3))
    refined = refined_poses(3, PROPOSED, np.arange(15) % 2 * 0.9, POSETRACK15)
    objective = Objective(keep=0.5, add=0.95, score="network")
    found = apply_refined(frame, refined, POSETRACK15, objective, min_score)

    np.testing.assert_array_equal(found.keypoints[1], KEYPOINTS[1])  # not refined
    for person in (0, 2):
        np.testing.assert_array_equal(found.keypoints[person, ignored], KEYPOINTS[person, ignored])
        np.testing.assert_array_equal(found.scores[person, ignored], scores[person, ignored])
        assert (found.flags[person, ignored] == 1).all()
        expected = [i for i in range(1, 15, 2) if i not in ignored]
        assert np.flatnonzero((found.keypoints[person] == PROPOSED).all(axis=-1)).tolist() == expected

    tally = Tally()
    tally.count(frame, refined, found, POSETRACK15, min_score)
    assert (tally.ignored, tally.added) == (3 * len(ignored), 0)
    assert tally.kept == 2 * len(expected) + 15 - len(ignored)
    assert tally.dropped == 2 * (15 - len(ignored) - len(expected))

    sure = refined_poses(3, PROPOSED, 0.99, POSETRACK15)
    np.testing.assert_array_equal(apply_refined(frame, sure, POSETRACK15, objective, min_score).keypoints[0], PROPOSED)

"""The scores of refined keypoints and people, by each rule."""

from typing import Any

import numpy as np
import pytest

from hpr.refine.engine import Outcome, PassedThrough, RefinedPose
from hpr.refine.objective import Objective, ScoreRule
from hpr.poses import Frame
from hpr.refine.stream import refined_frame
from hpr.refine.tally import Tally
from hpr.skeleton import Skeleton, skeleton_of

KNOWN = skeleton_of(["nose", "left_hip", "left_knee", "head_top"])
OWN = skeleton_of(["nose", "left_hip", "left_knee", "left_eye"])
CONFIDENCE = np.array([0.5, 0.8, 0.1, 0.9])
NAN = np.nan


def refined(given: Frame, rule: ScoreRule, keep: float = 0.3, skeleton: Skeleton = KNOWN) -> Frame:
    """Everyone but the second person is refined."""
    results: list[RefinedPose | PassedThrough] = []
    for person in range(len(given)):
        found = RefinedPose(person, np.ones((len(skeleton), 2)), CONFIDENCE[: len(skeleton)], 10.0)
        results.append(PassedThrough(person, Outcome.CROP_SIZE) if person == 1 else found)
    return refined_frame(given, results, skeleton, Objective(keep=keep, add=keep, score=rule), Tally())


def frame(scores: Any = None, person_scores: Any = None, missing: tuple[int, ...] = (), people: int = 2) -> Frame:
    keypoints = np.full((people, 4, 2), 10.0)
    keypoints[:, list(missing)] = np.nan
    arrays = {"scores": scores, "person_scores": person_scores}
    given: dict[str, Any] = {name: np.array(array, float) for name, array in arrays.items() if array is not None}
    return Frame("a.jpg", OWN, keypoints, **given)


SCORES = [[0.6, 0.5, 0.4, 0.2], [0.1, 0.2, 0.3, 0.4]]


@pytest.mark.parametrize("rule", ["input", "network", "product"])
def test_nobody(rule: ScoreRule) -> None:
    assert len(refined(Frame.empty("a.jpg", OWN), rule)) == 0


@pytest.mark.parametrize(
    ("rule", "missing", "expected"),
    [
        pytest.param("input", (), [0.6, 0.5, 0.4, 0.2], id="input"),
        pytest.param("network", (), [0.5, 0.8, 0.4, 0.2], id="network: a dropped and an unknown one stay"),
        pytest.param("product", (), [0.3, 0.4, 0.4, 0.2], id="product"),
        pytest.param("input", (0,), [0.6, 0.5, 0.4, 0.2], id="input, added"),
        pytest.param("network", (0,), [0.5, 0.8, 0.4, 0.2], id="network, added"),
        pytest.param("product", (0,), [0.5, 0.4, 0.4, 0.2], id="product, added: a missing one's score does not count"),
    ],
)
def test_scores_of_keypoints(rule: ScoreRule, missing: tuple[int, ...], expected: list[float]) -> None:
    found = refined(frame(SCORES, missing=missing), rule)
    np.testing.assert_allclose(found.scores[0, :4], expected)
    np.testing.assert_array_equal(found.scores[1, :4], SCORES[1])  # passed through
    head_top = [NAN if rule == "input" else 0.9, NAN]  # which only the network knows
    np.testing.assert_array_equal(found.scores[:, 4], head_top)


@pytest.mark.parametrize(("rule", "expected"), [("input", NAN), ("network", 0.5), ("product", 0.5)])
def test_a_keypoint_without_a_score(rule: ScoreRule, expected: float) -> None:
    found = refined(frame([[NAN, 0.5, NAN, NAN], [NAN] * 4]), rule)
    np.testing.assert_array_equal(found.scores[0, [0, 2, 3]], [expected, NAN, NAN])
    assert np.isnan(found.scores[1]).all()


@pytest.mark.parametrize("rule", ["input", "network", "product"])
def test_a_frame_without_scores_stays_without(rule: ScoreRule) -> None:
    found = refined(frame(), rule)
    assert np.isnan(found.scores).all()
    assert np.isnan(found.person_scores).all()


@pytest.mark.parametrize(
    ("rule", "keep", "scores", "expected"),
    [
        pytest.param("input", 0.3, [2, 3], [2, 3], id="input"),
        # Of nose and hip: the head's top is not in the file, the knee is dropped, and the eye unknown.
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
def test_scores_of_people(rule: ScoreRule, keep: float, scores: list[float], expected: list[float]) -> None:
    """Also where keypoints have no scores, as in many of COCO's results."""
    for own in (None, SCORES):
        found = refined(frame(own, scores), rule, keep)
        np.testing.assert_allclose(found.person_scores, expected)


def test_the_input_is_left_alone() -> None:
    given = frame(SCORES, [2, 3])
    refined(given, "product")
    np.testing.assert_array_equal(given.scores, SCORES)
    np.testing.assert_array_equal(given.person_scores, [2, 3])

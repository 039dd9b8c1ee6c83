"""Plausible mistakes: of the size and frequency that the configuration says, for any skeleton."""

from functools import partial

import numpy as np
import pytest
from conftest import compose, pose_errors
from hydra.utils import instantiate

from hpr.errors import UserError
from hpr.pose_errors.draw import (
    KEYPOINT_KINDS,
    SCORED,
    Mistake,
    PoseErrors,
    false_estimate,
    keypoint_kinds,
    out_of_sight,
    person_size,
)
from hpr.poses import FloatArray, IntArray
from hpr.skeleton import COCO17, HALPE26, POSETRACK15, Skeleton

TOLERANCE = {"nose": 0.052, "right_hip": 0.214, "left_wrist": 0.124}
POSE = np.random.default_rng(3).uniform(0, 300, (15, 2))
NOBODY = np.empty((0, 15, 2))
NOTHING = np.full((15, 2), np.nan)

errors = partial(pose_errors, 0.0)


def draws(
    model: PoseErrors, pose: FloatArray, neighbours: FloatArray = NOBODY, count: int = 200
) -> tuple[FloatArray, IntArray]:
    """Draws estimates (count, 15, 2) and their mistakes (count, 15)."""
    random = np.random.default_rng(0)
    drawn = [model.draw(pose, neighbours, POSETRACK15, random) for _ in range(count)]
    return np.array([estimate for estimate, _ in drawn]), np.array([mistakes for _, mistakes in drawn])


def similarity(estimate: FloatArray, aim: FloatArray, name: str) -> float:
    """Keypoint similarity as COCO defines it."""
    distance = np.linalg.norm(estimate[POSETRACK15.index(name)] - aim[POSETRACK15.index(name)])
    return float(np.exp(-(distance**2) / (2 * (person_size(POSE) * TOLERANCE[name]) ** 2)))


@pytest.mark.parametrize("chances", [{"jitter": 0.5, "absent": 0.5}, {"extra": 1.0}])
def test_no_keypoints(chances: dict[str, float]) -> None:
    random = np.random.default_rng(0)
    estimate, mistakes = errors(**chances).draw(NOTHING, NOBODY, POSETRACK15, random, hidden=POSE)
    assert np.isnan(estimate).all()
    assert (mistakes == Mistake.ABSENT).all()


@pytest.mark.parametrize(
    ("chances", "mistake", "low", "high"),
    [
        ({}, Mistake.NEAR, 0.85, 1.0),
        ({"jitter": 1.0}, Mistake.JITTER, 0.5, 0.85),
        ({"miss": 1.0}, Mistake.MISS, 0.1, 0.5),
    ],
)
def test_distances_are_in_keypoint_similarity(
    chances: dict[str, float], mistake: Mistake, low: float, high: float
) -> None:
    estimates, mistakes = draws(errors(**chances), POSE)
    assert (mistakes == mistake).all()
    for name in TOLERANCE:
        values = [similarity(estimate, POSE, name) for estimate in estimates]
        assert low - 1e-9 <= min(values) < low + 0.05
        assert high - 0.05 < max(values) <= high + 1e-9


@pytest.mark.parametrize(
    ("chances", "neighbours", "aims", "mistake"),
    [
        ({"inversion": 1.0}, NOBODY, POSE[list(POSETRACK15.mirror)], Mistake.INVERSION),
        ({"swap": 1.0}, np.stack([POSE + 1000, POSE + 100]), POSE + 100, Mistake.SWAP),  # the nearest neighbour
    ],
)
def test_what_is_mistaken_for_a_keypoint(
    chances: dict[str, float], neighbours: FloatArray, aims: FloatArray, mistake: Mistake
) -> None:
    (estimate,), (mistakes,) = draws(errors(**chances), POSE, neighbours, count=1)
    for name in ("right_hip", "left_wrist"):
        assert mistakes[POSETRACK15.index(name)] == mistake
        assert similarity(estimate, aims, name) >= 0.5
    has_no_partner = mistakes[POSETRACK15.index("nose")] == Mistake.NEAR
    assert has_no_partner == (mistake == Mistake.INVERSION)


ONE_SIDED = np.where(np.array([name.startswith("left") for name in POSETRACK15.names])[:, None], np.nan, POSE)


@pytest.mark.parametrize(
    ("chances", "pose", "neighbours"),
    [({"inversion": 1.0}, ONE_SIDED, NOBODY), ({"swap": 1.0}, POSE, NOBODY), ({"swap": 1.0}, POSE, NOTHING[None])],
)
def test_nothing_to_be_mistaken_for(chances: dict[str, float], pose: FloatArray, neighbours: FloatArray) -> None:
    (estimate,), (mistakes,) = draws(errors(**chances), pose, neighbours, count=1)
    assert (mistakes[~np.isnan(pose[:, 0])] == Mistake.NEAR).all()
    np.testing.assert_array_equal(np.isnan(estimate), np.isnan(pose))


def test_crowds_swap_more() -> None:
    model = errors(swap=0.1, crowded_swap=5.0)
    near, far = ((draws(model, POSE, POSE[None] + d)[1] == Mistake.SWAP).mean() for d in (50, 5000))
    assert far == pytest.approx(0.1, abs=0.02)
    assert near == pytest.approx(0.5, abs=0.04)


def test_few_keypoints_are_missed_more() -> None:
    model, few = errors(miss=0.2, few_keypoints_miss=2.0), np.where(np.arange(15)[:, None] < 9, POSE, np.nan)
    rates = [(draws(model, pose, count=300)[1] == Mistake.MISS)[:, :9].mean() for pose in (POSE, few)]
    assert rates == pytest.approx([0.2, 0.4], abs=0.04)


@pytest.mark.parametrize(("strength", "expected"), [(0.0, 0.0), (0.5, 0.1), (1.0, 0.2), (3.0, 0.6)])
def test_strength(strength: float, expected: float) -> None:
    _, drawn = draws(errors(miss=0.2, absent=0.2, strength=strength), POSE, count=500)
    present = drawn != Mistake.ABSENT
    assert (~present).mean() == pytest.approx(expected, abs=0.03)
    assert (drawn[present] == Mistake.MISS).mean() == pytest.approx(expected, abs=0.03)


def test_a_shift_moves_the_whole_pose() -> None:
    estimates, _ = draws(errors(shift=1.0), POSE, count=50)
    largest = np.abs(np.median(estimates - POSE, axis=1)).max()
    assert 0.1 * person_size(POSE) < largest < 0.2 * person_size(POSE) + 10


@pytest.mark.parametrize("skeleton", [POSETRACK15, COCO17])
def test_configured_probabilities(skeleton: Skeleton) -> None:
    table = compose("train").pose_errors
    model, pose = instantiate(table), np.random.default_rng(3).uniform(0, 300, (len(skeleton), 2))
    random = np.random.default_rng(0)
    drawn = np.array([model.draw(pose, pose[None] + 4000, skeleton, random)[1] for _ in range(1000)])
    on_axis = np.array(skeleton.mirror) == np.arange(len(skeleton))
    assert not (drawn[:, on_axis] == Mistake.INVERSION).any()
    for name, kind in (("left_wrist", "wrist"), ("right_hip", "hip")):
        share = {mistake: (drawn[:, skeleton.index(name)] == mistake).mean() for mistake in Mistake}
        present = 1 - table.absent[kind]
        assert share[Mistake.ABSENT] == pytest.approx(table.absent[kind], abs=0.025)
        assert share[Mistake.JITTER] == pytest.approx(table.jitter[kind] * present, abs=0.035)
        assert share[Mistake.MISS] == pytest.approx(table.miss[kind] * present, abs=0.035)


def test_scores_are_calibrated() -> None:
    table = {name: 0.3 + 0.05 * index for index, name in enumerate(SCORED)}
    model, random = errors(scores=table, score_spread=0.05), np.random.default_rng(0)
    for name, mean in table.items():
        drawn = model.draw_scores(np.full(10_000, Mistake[name.upper()]), random)
        assert (drawn.mean(), drawn.std()) == pytest.approx((mean, 0.05), abs=0.003)


def test_scores_of_other_names() -> None:
    with pytest.raises(UserError, match=r"expected a mean score for each of near, jitter, .*, extra; found far"):
        errors(scores={"far": 0.5})


class TestExtraKeypoints:
    HALF = np.where(np.arange(15)[:, None] < 8, POSE, np.nan)

    def test_as_often_as_configured(self) -> None:
        _, drawn = draws(errors(extra=0.3), self.HALF, count=1000)
        assert (drawn[:, 8:] == Mistake.EXTRA).mean() == pytest.approx(0.3, abs=0.02)
        assert (drawn[:, :8] == Mistake.NEAR).all()

    def test_about_their_true_positions_where_these_are_known(self) -> None:
        random, model, hidden = np.random.default_rng(0), errors(extra=1.0), np.where(np.isnan(self.HALF), POSE, np.nan)
        hidden[8] = np.nan
        estimates = [model.draw(self.HALF, NOBODY, POSETRACK15, random, hidden)[0] for _ in range(100)]
        assert all(similarity(estimate, POSE, "left_wrist") >= 0.1 - 1e-9 for estimate in estimates)
        assert not np.isnan(estimates).any()
        assert np.std(estimates, axis=0)[8].min() > 20  # a guess

    def test_guessed_beside_keypoints_that_are_there(self) -> None:
        pose = NOTHING.copy()
        pose[POSETRACK15.index("left_hip")], pose[POSETRACK15.index("head_top")] = (0, 0), (1000, 0)
        knees = draws(errors(extra=1.0), pose, count=300)[0][:, POSETRACK15.index("left_knee")]
        assert np.abs(np.mean(knees, axis=0)).max() < 80
        assert 50 < np.std(knees) < 400

    def test_out_of_sight(self) -> None:
        keypoints = np.array([[10.0, 10.0], [-50.0, 20.0], [500.0, 700.0]])
        pose = np.array([[10.0, 10.0], [np.nan, np.nan], [np.nan, np.nan]])
        random = np.random.default_rng(0)
        found = {out_of_sight(keypoints, pose, (100, 80), random)[1:].tobytes() for _ in range(20)}
        assert found == {keypoints[1:].tobytes(), np.array([[0.0, 20.0], [99.0, 79.0]]).tobytes()}


def test_false_estimates_are_anywhere_in_the_image() -> None:
    random, poses = np.random.default_rng(0), np.stack([POSE, POSE + 100])
    poses[1, 3] = np.nan
    middles = np.array([np.nanmean(false_estimate(poses, (640, 360), random), axis=0) for _ in range(300)])
    assert (middles >= 0).all()
    assert (middles <= [640, 360]).all()
    assert (np.ptp(middles, axis=0) > [500, 280]).all()


@pytest.mark.parametrize(
    ("name", "kind"),
    [("right_ear", "head"), ("head_top", "head"), ("thorax", "shoulder"), ("left_knee", "knee"), ("pelvis", "hip")],
)
def test_probabilities_go_by_kind(name: str, kind: str) -> None:
    assert KEYPOINT_KINDS[keypoint_kinds([name])[0]] == kind


def test_keypoints_of_no_known_kind() -> None:
    with pytest.raises(UserError, match=r"expected keypoints of head, .*, found left_big_toe; take a model\.skeleton"):
        keypoint_kinds(HALPE26.names)

"""Plausible mistakes: of the size and frequency that the configuration says, for any skeleton."""

from typing import Any

import numpy as np
import pytest
from conftest import compose
from hydra.utils import instantiate

from hpr.errors import UserError
from hpr.poses import FloatArray, IntArray
from hpr.skeleton import COCO17, MPII16, POSETRACK15, POSETRACK18, Skeleton
from hpr.pose_errors.draw import (
    KEYPOINT_KINDS,
    SCORED,
    Mistake,
    PoseErrors,
    false_estimate,
    out_of_sight,
    person_size,
)

TOLERANCE = {"nose": 0.052, "right_hip": 0.214, "left_wrist": 0.124}
POSE = np.random.default_rng(3).uniform(0, 300, (15, 2))
NOBODY = np.empty((0, 15, 2))


def errors(**chances: Any) -> PoseErrors:
    """Mistakes of the named kinds with the same chance for all keypoints."""
    tables: dict[str, Any] = {
        name: dict.fromkeys(KEYPOINT_KINDS, chances.pop(name, 0.0))
        for name in ("jitter", "miss", "inversion", "swap", "absent", "extra")
    }
    return PoseErrors(**tables, **{"shift": 0.0, "crowded_swap": 1.0, "few_keypoints_miss": 1.0, **chances})


def draw(
    model: PoseErrors, pose: FloatArray, neighbours: FloatArray, source: np.random.Generator
) -> tuple[FloatArray, IntArray]:
    return model.draw(pose, neighbours, POSETRACK15, source)


def random() -> np.random.Generator:
    return np.random.default_rng(0)


def similarity(estimate: FloatArray, aim: FloatArray, name: str) -> float:
    """Keypoint similarity as COCO defines it."""
    distance = np.linalg.norm(estimate[POSETRACK15.index(name)] - aim[POSETRACK15.index(name)])
    return float(np.exp(-(distance**2) / (2 * (person_size(POSE) * TOLERANCE[name]) ** 2)))


def test_no_keypoints() -> None:
    nothing = np.full((15, 2), np.nan)
    estimate, mistakes = draw(errors(jitter=0.5, absent=0.5), nothing, NOBODY, random())
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
    source, model = random(), errors(**chances)
    drawn = [draw(model, POSE, NOBODY, source) for _ in range(200)]
    assert all((mistakes == mistake).all() for _, mistakes in drawn)
    for name in TOLERANCE:
        values = [similarity(estimate, POSE, name) for estimate, _ in drawn]
        assert low - 1e-9 <= min(values) < low + 0.05
        assert high - 0.05 < max(values) <= high + 1e-9


def test_inversion_aims_at_the_mirror_partner() -> None:
    estimate, mistakes = draw(errors(inversion=1.0), POSE, NOBODY, random())
    for name in ("right_hip", "left_wrist"):
        assert mistakes[POSETRACK15.index(name)] == Mistake.INVERSION
        assert similarity(estimate, POSE[list(POSETRACK15.mirror)], name) >= 0.5
    assert mistakes[POSETRACK15.index("nose")] == Mistake.NEAR


def test_no_inversion_without_a_partner() -> None:
    onesided = np.where(np.array([name.startswith("left") for name in POSETRACK15.names])[:, None], np.nan, POSE)
    estimate, mistakes = draw(errors(inversion=1.0), onesided, NOBODY, random())
    assert (mistakes[~np.isnan(onesided[:, 0])] == Mistake.NEAR).all()
    np.testing.assert_array_equal(np.isnan(estimate), np.isnan(onesided))


def test_swap_aims_at_the_nearest_neighbour() -> None:
    neighbours = np.stack([POSE + 1000, POSE + 100])
    estimate, mistakes = draw(errors(swap=1.0), POSE, neighbours, random())
    assert (mistakes == Mistake.SWAP).all()
    assert all(similarity(estimate, POSE + 100, name) >= 0.5 for name in TOLERANCE)


def test_no_swap_without_a_neighbour() -> None:
    assert (draw(errors(swap=1.0), POSE, NOBODY, random())[1] == Mistake.NEAR).all()
    missing = np.full((1, 15, 2), np.nan)
    assert (draw(errors(swap=1.0), POSE, missing, random())[1] == Mistake.NEAR).all()


def test_crowds_swap_more() -> None:
    source, model = random(), errors(swap=0.1, crowded_swap=5.0)
    near, far = (
        np.mean([(draw(model, POSE, POSE[None] + d, source)[1] == Mistake.SWAP).mean() for _ in range(200)])
        for d in (50, 5000)
    )
    assert far == pytest.approx(0.1, abs=0.02)
    assert near == pytest.approx(0.5, abs=0.04)


def test_few_keypoints_are_missed_more() -> None:
    source, model = random(), errors(miss=0.2, few_keypoints_miss=2.0)
    few = np.where(np.arange(15)[:, None] < 9, POSE, np.nan)
    rates = [
        np.mean([(draw(model, pose, NOBODY, source)[1] == Mistake.MISS)[:9].mean() for _ in range(300)])
        for pose in (POSE, few)
    ]
    assert rates == pytest.approx([0.2, 0.4], abs=0.04)


@pytest.mark.parametrize(("strength", "expected"), [(0.0, 0.0), (0.5, 0.1), (1.0, 0.2), (3.0, 0.6)])
def test_strength(strength: float, expected: float) -> None:
    source, model = random(), errors(miss=0.2, absent=0.2, strength=strength)
    drawn = np.array([draw(model, POSE, NOBODY, source)[1] for _ in range(500)])
    there = drawn != Mistake.ABSENT
    assert (~there).mean() == pytest.approx(expected, abs=0.03)
    assert (drawn[there] == Mistake.MISS).mean() == pytest.approx(expected, abs=0.03)


def test_one_keypoint_always_stays() -> None:
    source, model = random(), errors(absent=0.9)
    single = np.where(np.arange(15)[:, None] == 4, POSE, np.nan)
    assert all((~np.isnan(draw(model, single, NOBODY, source)[0][:, 0])).sum() == 1 for _ in range(50))


def test_a_shift_moves_the_whole_pose() -> None:
    source = random()
    shifts = []
    for _ in range(50):
        estimate, _ = draw(errors(shift=1.0), POSE, NOBODY, source)
        shifts.append(np.median(estimate - POSE, axis=0))
    assert np.abs(shifts).max() < 0.2 * person_size(POSE) + 10
    assert np.abs(shifts).max() > 0.1 * person_size(POSE)


def test_the_same_seed_draws_the_same() -> None:
    model = instantiate(compose("train").pose_errors)
    first, second = (draw(model, POSE, POSE[None] + 40, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert not np.array_equal(first[0], draw(model, POSE, POSE[None] + 40, np.random.default_rng(8))[0])


def test_configured_probabilities() -> None:
    table = compose("train").pose_errors
    model, source = instantiate(table), random()
    drawn = np.array([draw(model, POSE, NOBODY, source)[1] for _ in range(3000)])
    for name, kind in (("left_wrist", "wrist"), ("right_hip", "hip"), ("nose", "head")):
        share = {mistake: (drawn[:, POSETRACK15.index(name)] == mistake).mean() for mistake in Mistake}
        there = 1 - table.absent[kind]
        assert share[Mistake.ABSENT] == pytest.approx(table.absent[kind], abs=0.02)
        assert share[Mistake.JITTER] == pytest.approx(table.jitter[kind] * there, abs=0.03)
        assert share[Mistake.MISS] == pytest.approx(table.miss[kind] * there, abs=0.03)


class TestScores:
    def test_surer_of_better_keypoints(self) -> None:
        source = random()
        means = [errors().scores(np.full(10_000, mistake), source).mean() for mistake in Mistake]
        assert means[Mistake.NEAR] > means[Mistake.JITTER] > means[Mistake.MISS] > means[Mistake.ABSENT] == 0

    def test_calibrated(self) -> None:
        table = {name: 0.3 + 0.05 * place for place, name in enumerate(SCORED)}
        model, source = errors(scores=table, score_spread=0.05), random()
        for name, mean in table.items():
            drawn = model.scores(np.full(10_000, Mistake[name.upper()]), source)
            assert (drawn.mean(), drawn.std()) == pytest.approx((mean, 0.05), abs=0.003)

    def test_of_other_kinds(self) -> None:
        with pytest.raises(UserError, match=r"expected a mean score for each of near, jitter, .*, extra; found far"):
            errors(scores={"far": 0.5})


class TestKeypointsThatAreNotThere:
    HALF = np.where(np.arange(15)[:, None] < 8, POSE, np.nan)

    def test_none_without_a_pose(self) -> None:
        nothing = np.full((15, 2), np.nan)
        estimate, mistakes = errors(extra=1.0).draw(nothing, NOBODY, POSETRACK15, random(), hidden=POSE)
        assert np.isnan(estimate).all()
        assert (mistakes == Mistake.ABSENT).all()

    def test_as_often_as_configured(self) -> None:
        source, model = random(), errors(extra=0.3)
        drawn = np.array([draw(model, self.HALF, NOBODY, source)[1] for _ in range(1000)])
        assert (drawn[:, 8:] == Mistake.EXTRA).mean() == pytest.approx(0.3, abs=0.02)
        assert (drawn[:, :8] == Mistake.NEAR).all()

    def test_about_their_true_places_where_these_are_known(self) -> None:
        source, model, hidden = random(), errors(extra=1.0), np.where(np.isnan(self.HALF), POSE, np.nan)
        hidden[8] = np.nan
        estimates = [model.draw(self.HALF, NOBODY, POSETRACK15, source, hidden)[0] for _ in range(100)]
        assert all(similarity(estimate, POSE, "left_wrist") >= 0.1 - 1e-9 for estimate in estimates)
        assert not np.isnan(estimates).any()
        assert np.std(estimates, axis=0)[8].min() > 20  # a guess

    def test_guessed_beside_keypoints_that_are_there(self) -> None:
        source, model = random(), errors(extra=1.0)
        pose = np.full((15, 2), np.nan)
        pose[POSETRACK15.index("left_hip")], pose[POSETRACK15.index("head_top")] = (0, 0), (1000, 0)
        knees = [draw(model, pose, NOBODY, source)[0][POSETRACK15.index("left_knee")] for _ in range(300)]
        assert np.abs(np.mean(knees, axis=0)).max() < 80
        assert 50 < np.std(knees) < 400

    @pytest.mark.parametrize("is_beyond", [False, True])
    def test_out_of_sight(self, is_beyond: bool) -> None:
        keypoints = np.array([[10.0, 10.0], [-50.0, 20.0], [500.0, 700.0]])
        pose = np.array([[10.0, 10.0], [np.nan, np.nan], [np.nan, np.nan]])
        source = random()
        places = {out_of_sight(keypoints, pose, (100, 80), source).tobytes() for _ in range(20)}
        expected = keypoints[1:] if is_beyond else np.array([[0.0, 20.0], [99.0, 79.0]])
        assert np.concatenate([[[np.nan, np.nan]], expected]).tobytes() in places
        assert len(places) == 2


def test_false_estimates_are_about_the_image() -> None:
    source, poses = random(), np.stack([POSE, POSE + 100])
    poses[1, 3] = np.nan
    middles = np.array([np.nanmean(false_estimate(poses, (640, 360), source), axis=0) for _ in range(300)])
    assert (middles >= 0).all()
    assert (middles <= [640, 360]).all()
    assert (np.ptp(middles, axis=0) > [500, 280]).all()


def test_nearly_exact_estimates() -> None:
    source, model = random(), errors(jitter=1.0)
    drawn = [model.nearly_exact(POSE, POSETRACK15, source) for _ in range(200)]
    farthest = np.sqrt(-2 * np.log(0.85)) / 2 * 2 * np.array(POSETRACK15.sigmas) * person_size(POSE)
    distances = np.linalg.norm(np.array(drawn) - POSE, axis=2)
    assert (distances <= farthest).all()
    assert (distances.max(axis=0) > 0.8 * farthest).all()


class TestOtherSkeletons:
    @pytest.mark.parametrize("skeleton", [POSETRACK15, POSETRACK18, COCO17, MPII16])
    def test_configured_mistakes(self, skeleton: Skeleton) -> None:
        model = instantiate(compose("train").pose_errors)
        pose = np.random.default_rng(3).uniform(0, 300, (len(skeleton), 2))
        source = random()
        drawn = np.array([model.draw(pose, pose[None] + 40, skeleton, source)[1] for _ in range(300)])
        assert drawn.shape == (300, len(skeleton))
        assert set(np.unique(drawn).tolist()) == {int(mistake) for mistake in Mistake} - {Mistake.EXTRA}
        on_axis = np.array(skeleton.mirror) == np.arange(len(skeleton))
        assert not (drawn[:, on_axis] == Mistake.INVERSION).any()

    @pytest.mark.parametrize(
        ("name", "kind", "skeleton"),
        [
            ("nose", "head", COCO17),
            ("left_eye", "head", COCO17),
            ("right_ear", "head", COCO17),
            ("head_bottom", "head", MPII16),
            ("head_top", "head", POSETRACK18),
            ("thorax", "shoulder", MPII16),
            ("left_shoulder", "shoulder", COCO17),
            ("pelvis", "hip", MPII16),
            ("right_ankle", "ankle", MPII16),
        ],
    )
    def test_probabilities_go_by_kind(self, name: str, kind: str, skeleton: Skeleton) -> None:
        none = dict.fromkeys(KEYPOINT_KINDS, 0.0)
        only = {**none, kind: 1.0}
        model = PoseErrors(none, only, none, none, none, shift=0.0, crowded_swap=1.0, few_keypoints_miss=1.0)
        pose = np.random.default_rng(3).uniform(0, 300, (len(skeleton), 2))
        _, mistakes = model.draw(pose, np.empty((0, len(skeleton), 2)), skeleton, random())
        assert mistakes[skeleton.index(name)] == Mistake.MISS
        others = [other for other in KEYPOINT_KINDS if other != kind]
        assert all(mistakes[skeleton.index(f"left_{other}")] == Mistake.NEAR for other in others if other != "head")

    def test_distances_are_in_the_skeletons_sigmas(self) -> None:
        skeleton = Skeleton(("nose", "left_wrist", "right_wrist"), (), (0.01, 0.1, 1.0))
        pose = np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]])
        model, source = errors(miss=1.0), random()
        nobody = np.empty((0, 3, 2))
        shifts = [np.linalg.norm(model.draw(pose, nobody, skeleton, source)[0] - pose, axis=1) for _ in range(200)]
        farthest = np.max(shifts, axis=0) / person_size(pose)
        expected = 2 * np.array(skeleton.sigmas) * np.sqrt(-2 * np.log(0.1))
        np.testing.assert_allclose(farthest, expected, rtol=0.05)

    def test_a_keypoint_of_no_known_kind(self) -> None:
        tailed = Skeleton(("nose", "tail"), (), (0.1, 0.1), "cat2")
        with pytest.raises(ValueError, match="skeleton cat2: no probabilities of mistakes are known for tail"):
            errors().draw(np.zeros((2, 2)), np.empty((0, 2, 2)), tailed, random())

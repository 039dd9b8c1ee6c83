from typing import Any

import numpy as np
import pytest
from conftest import compose
from hydra.utils import instantiate

from hpr.poses import FloatArray
from hpr.skeleton import JOINTS, MIRROR
from hpr.training.pose_errors import JOINT_KINDS, Mistake, PoseErrors, draw_scores, person_size

TOLERANCE = {"nose": 0.052, "right_hip": 0.214, "left_wrist": 0.124}
POSE = np.random.default_rng(3).uniform(0, 300, (15, 2))
NOBODY = np.empty((0, 15, 2))


def errors(**chances: Any) -> PoseErrors:
    """Mistakes of the named kinds with the same chance for all joints."""
    tables: dict[str, Any] = {
        name: dict.fromkeys(JOINT_KINDS, chances.pop(name, 0.0))
        for name in ("jitter", "miss", "inversion", "swap", "absent")
    }
    return PoseErrors(**tables, **{"shift": 0.0, "crowded_swap": 1.0, "few_joints_miss": 1.0, **chances})


def random() -> np.random.Generator:
    return np.random.default_rng(0)


def similarity(estimate: FloatArray, aim: FloatArray, joint: str) -> float:
    """Keypoint similarity as COCO defines it."""
    distance = np.linalg.norm(estimate[JOINTS.index(joint)] - aim[JOINTS.index(joint)])
    return float(np.exp(-(distance**2) / (2 * (person_size(POSE) * TOLERANCE[joint]) ** 2)))


def test_no_joints() -> None:
    nothing = np.full((15, 2), np.nan)
    estimate, mistakes = errors(jitter=0.5, absent=0.5).draw(nothing, NOBODY, random())
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
    drawn = [model.draw(POSE, NOBODY, source) for _ in range(200)]
    assert all((mistakes == mistake).all() for _, mistakes in drawn)
    for joint in TOLERANCE:
        values = [similarity(estimate, POSE, joint) for estimate, _ in drawn]
        assert low - 1e-9 <= min(values) < low + 0.05
        assert high - 0.05 < max(values) <= high + 1e-9


def test_inversion_aims_at_the_mirror_partner() -> None:
    estimate, mistakes = errors(inversion=1.0).draw(POSE, NOBODY, random())
    for joint in ("right_hip", "left_wrist"):
        assert mistakes[JOINTS.index(joint)] == Mistake.INVERSION
        assert similarity(estimate, POSE[list(MIRROR)], joint) >= 0.5
    assert mistakes[JOINTS.index("nose")] == Mistake.NEAR


def test_no_inversion_without_a_partner() -> None:
    onesided = np.where(np.array([name.startswith("left") for name in JOINTS])[:, None], np.nan, POSE)
    estimate, mistakes = errors(inversion=1.0).draw(onesided, NOBODY, random())
    assert (mistakes[~np.isnan(onesided[:, 0])] == Mistake.NEAR).all()
    np.testing.assert_array_equal(np.isnan(estimate), np.isnan(onesided))


def test_swap_aims_at_the_nearest_neighbour() -> None:
    neighbours = np.stack([POSE + 1000, POSE + 100])
    estimate, mistakes = errors(swap=1.0).draw(POSE, neighbours, random())
    assert (mistakes == Mistake.SWAP).all()
    assert all(similarity(estimate, POSE + 100, joint) >= 0.5 for joint in TOLERANCE)


def test_no_swap_without_a_neighbour() -> None:
    assert (errors(swap=1.0).draw(POSE, NOBODY, random())[1] == Mistake.NEAR).all()
    missing = np.full((1, 15, 2), np.nan)
    assert (errors(swap=1.0).draw(POSE, missing, random())[1] == Mistake.NEAR).all()


def test_crowds_swap_more() -> None:
    source, model = random(), errors(swap=0.1, crowded_swap=5.0)
    near, far = (
        np.mean([(model.draw(POSE, POSE[None] + d, source)[1] == Mistake.SWAP).mean() for _ in range(200)])
        for d in (50, 5000)
    )
    assert far == pytest.approx(0.1, abs=0.02)
    assert near == pytest.approx(0.5, abs=0.04)


def test_few_joints_are_missed_more() -> None:
    source, model = random(), errors(miss=0.2, few_joints_miss=2.0)
    few = np.where(np.arange(15)[:, None] < 9, POSE, np.nan)
    rates = [
        np.mean([(model.draw(pose, NOBODY, source)[1] == Mistake.MISS)[:9].mean() for _ in range(300)])
        for pose in (POSE, few)
    ]
    assert rates == pytest.approx([0.2, 0.4], abs=0.04)


def test_one_joint_always_stays() -> None:
    source, model = random(), errors(absent=0.9)
    single = np.where(np.arange(15)[:, None] == 4, POSE, np.nan)
    assert all((~np.isnan(model.draw(single, NOBODY, source)[0][:, 0])).sum() == 1 for _ in range(50))


def test_a_shift_moves_the_whole_pose() -> None:
    source = random()
    shifts = []
    for _ in range(50):
        estimate, _ = errors(shift=1.0).draw(POSE, NOBODY, source)
        shifts.append(np.median(estimate - POSE, axis=0))
    assert np.abs(shifts).max() < 0.2 * person_size(POSE) + 10
    assert np.abs(shifts).max() > 0.1 * person_size(POSE)


def test_the_same_seed_draws_the_same() -> None:
    model = instantiate(compose("train").pose_errors)
    first, second = (model.draw(POSE, POSE[None] + 40, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert not np.array_equal(first[0], model.draw(POSE, POSE[None] + 40, np.random.default_rng(8))[0])


def test_configured_probabilities() -> None:
    table = compose("train").pose_errors
    model, source = instantiate(table), random()
    drawn = np.array([model.draw(POSE, NOBODY, source)[1] for _ in range(3000)])
    for joint, kind in (("left_wrist", "wrist"), ("right_hip", "hip"), ("nose", "head")):
        share = {mistake: (drawn[:, JOINTS.index(joint)] == mistake).mean() for mistake in Mistake}
        there = 1 - table.absent[kind]
        assert share[Mistake.ABSENT] == pytest.approx(table.absent[kind], abs=0.02)
        assert share[Mistake.JITTER] == pytest.approx(table.jitter[kind] * there, abs=0.03)
        assert share[Mistake.MISS] == pytest.approx(table.miss[kind] * there, abs=0.03)


def test_surer_of_better_joints() -> None:
    source = random()
    means = [draw_scores(np.full(10_000, mistake), source).mean() for mistake in Mistake]
    assert means[Mistake.NEAR] > means[Mistake.JITTER] > means[Mistake.MISS] > means[Mistake.ABSENT] == 0

"""Rates of mistakes that were put in are found again."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from hydra.utils import instantiate
from omegaconf import OmegaConf

from hpr.errors import UserError
from hpr.pose_errors.draw import KEYPOINT_KINDS, SCORED, Mistake, PoseErrors, person_size
from hpr.pose_errors.measure import ErrorCounter, ErrorRates
from hpr.poses import FloatArray, Frame
from hpr.skeleton import COCO17, MPII16, POSETRACK15, POSETRACK18, Skeleton

IMAGES = 300
FAR = np.array([10_000.0, 0.0])
PLAUSIBLE: dict[str, Any] = OmegaConf.to_container(  # type: ignore[assignment]
    OmegaConf.load(ROOT / "conf" / "pose_errors" / "plausible.yaml")
)

# a standing person of 200 pixels, in the order of POSETRACK15
STANDING = np.array(
    [
        *([-16, 200], [-18, 150], [-17, 100], [17, 100], [18, 150], [16, 200], [-42, 95], [-38, 65], [-24, 35]),
        *([24, 35], [38, 65], [42, 95], [0, 22], [0, 12], [0, 0]),
    ],
    np.float64,
)


def people(random: np.random.Generator) -> FloatArray:
    """Three people (3, 15, 2), of whom two may overlap; one in three has few keypoints, the others most."""
    corners = np.array([[0, 0], [random.uniform(50, 200), 5], [900, 0]])[:, None]
    poses = corners + STANDING * random.uniform(0.8, 1.2, (3, 1, 2)) + random.normal(0, 8, (3, 15, 2))
    seen = random.random((3, 15)) < np.where(random.random((3, 1)) < 0.33, 0.45, 0.92)
    seen[:, 2] = True
    return np.where(seen[..., None], poses, np.nan)


def estimates(model: PoseErrors, poses: FloatArray, random: np.random.Generator) -> Frame:
    """Draws estimates of people, with missed, false and duplicate ones."""
    drawn = []
    for i, pose in enumerate(poses):
        others = np.delete(poses, i, axis=0)
        count = int(random.random() >= model.missed_person) + int(random.random() < model.duplicate_person)
        drawn += [model.draw(pose, others, POSETRACK15, random) for _ in range(count)]
        if random.random() < model.false_person:
            drawn.append((STANDING + FAR, np.full(15, Mistake.EXTRA)))
    scores = [model.draw_scores(mistakes, random) for _, mistakes in drawn]
    keypoints = np.array([estimate for estimate, _ in drawn]).reshape(-1, 15, 2)
    return Frame("a.jpg", POSETRACK15, keypoints, np.array(scores).reshape(-1, 15))


def measured(arguments: dict[str, Any], images: int = IMAGES) -> ErrorRates:
    model: PoseErrors = instantiate(arguments, _convert_="all")
    random, counter = np.random.default_rng(5), ErrorCounter()
    for _ in range(images):
        poses = people(random)
        counter.add(Frame("a.jpg", POSETRACK15, poses), estimates(model, poses, random))
    return counter.rates()


def compared(truth: FloatArray, estimate: FloatArray, skeleton: Skeleton = POSETRACK15, **fields: Any) -> ErrorCounter:
    """Returns a counter of one image with these people."""
    counter = ErrorCounter()
    counter.add(
        Frame("a.jpg", POSETRACK15, truth.reshape(-1, 15, 2), **fields),
        Frame("a.jpg", skeleton, estimate.reshape(-1, len(skeleton), 2)),
    )
    return counter


@pytest.mark.parametrize(
    ("counter", "message"),
    [
        (ErrorCounter(), "expected annotated people with keypoints, found none"),
        (compared(np.full((2, 15, 2), np.nan), STANDING), "expected annotated people with keypoints, found none"),
        (compared(STANDING, STANDING[:0]), "expected predictions for the 1 annotated people, found none"),
        (compared(STANDING, STANDING + FAR), "expected predictions near the 1 annotated people, found none"),
        (
            compared(STANDING, STANDING[:1], Skeleton(("tail",), (), (0.1,))),
            "expected keypoints that both sides know by the same names, found none",
        ),
    ],
)
def test_nothing_to_measure(counter: ErrorCounter, message: str) -> None:
    with pytest.raises(UserError, match=message):
        counter.rates()


HEAVY = {name: dict.fromkeys(KEYPOINT_KINDS, 0.12) for name in ("jitter", "miss", "inversion", "absent")}


@pytest.fixture(
    scope="module",
    params=[PLAUSIBLE, {**PLAUSIBLE, **HEAVY, "missed_person": 0.2, "false_person": 0.3, "crowded_swap": 2.0}],
    ids=["plausible", "heavy"],
)
def learnt(request: pytest.FixtureRequest) -> tuple[dict[str, Any], ErrorRates]:
    """Returns arguments of PoseErrors, and the rates measured in estimates drawn with them."""
    return request.param, measured(request.param)


def test_rates_are_recovered(learnt: tuple[dict[str, Any], ErrorRates]) -> None:
    """Within four standard deviations, and 0.01 for mistakes at positions that fit two kinds."""
    true, rates = learnt
    for name, table in rates.tables.items():
        for kind, rate in table.items():
            if (name, kind) == ("inversion", "head"):
                continue  # no keypoint of the head has a mirror partner here
            count = rates.counts[kind] * (0.3 if name == "extra" else 1)  # of those in the image, and of the others
            deviation = np.sqrt(true[name][kind] * (1 - true[name][kind]) / count)
            assert rate == pytest.approx(true[name][kind], abs=4 * deviation + 0.01), (name, kind)


def test_people_are_recovered(learnt: tuple[dict[str, Any], ErrorRates]) -> None:
    true, rates = learnt
    assert rates.true_people == 3 * IMAGES
    assert rates.people["shift"] == pytest.approx(true["shift"], abs=0.03)
    for name in ("missed_person", "false_person", "duplicate_person"):
        deviation = np.sqrt(true[name] * (1 - true[name]) / rates.true_people)
        assert rates.people[name] == pytest.approx(true[name], abs=4 * deviation), name
    assert rates.factors["crowded_swap"] == pytest.approx(true["crowded_swap"], rel=0.4)
    assert rates.factors["few_keypoints_miss"] == pytest.approx(true["few_keypoints_miss"], rel=0.3)


def test_scores_are_recovered_and_arguments_make_the_model_again(learnt: tuple[dict[str, Any], ErrorRates]) -> None:
    true, rates = learnt
    assert rates.has_scores
    assert rates.scores == pytest.approx(true["scores"], abs=0.05)
    assert rates.score_spread == pytest.approx(true["score_spread"], abs=0.02)
    again = measured({"_target_": PLAUSIBLE["_target_"], **rates.arguments}, images=20)
    assert again.arguments.keys() == PLAUSIBLE.keys() - {"_target_"}


def test_scores_of_another_scale_count_as_none() -> None:
    counter, truth = ErrorCounter(), Frame("a.jpg", POSETRACK15, STANDING[None])
    counter.add(truth, replace(truth, scores=np.full((1, 15), 80.0)))
    rates = counter.rates()
    assert not rates.has_scores
    assert rates.scores == PLAUSIBLE["scores"]
    assert tuple(rates.scores) == SCORED


NEIGHBOUR = STANDING + np.array([90, 0])


@pytest.mark.parametrize(
    ("name", "estimate"),
    [
        ("jitter", STANDING + person_size(STANDING) * 0.11 * np.array([1, 0])),
        ("miss", STANDING + person_size(STANDING) * 0.18 * np.array([1, 0])),
        ("inversion", STANDING[list(POSETRACK15.mirror)]),
        ("swap", NEIGHBOUR),
    ],
)
def test_one_keypoint(name: str, estimate: FloatArray) -> None:
    """A wrist: twice its sigma is 0.124 of the person's size."""
    is_wrist = np.arange(15)[:, None] == POSETRACK15.index("left_wrist")
    mixed = np.where(is_wrist, estimate, STANDING)
    tables = compared(np.stack([STANDING, NEIGHBOUR]), np.stack([mixed, NEIGHBOUR])).rates().tables
    assert max((table["wrist"], mistake) for mistake, table in tables.items())[1] == name


@pytest.mark.parametrize(
    ("second", "regions", "expected"),
    [
        (STANDING + 2, (), (0.0, 1.0)),
        (STANDING + FAR, (), (1.0, 0.0)),
        (STANDING + FAR, (np.array([[9000.0, -50], [11000, -50], [11000, 300], [9000, 300]]),), (0.0, 0.0)),
        (STANDING + FAR, (np.array([[9000.0, -50], [11000, -50]]),), (1.0, 0.0)),
    ],
    ids=["second", "false", "ignored", "no region"],
)
def test_people_too_many(second: FloatArray, regions: tuple[FloatArray, ...], expected: tuple[float, float]) -> None:
    rates = compared(STANDING, np.stack([STANDING, second]), ignore_regions=regions).rates()
    assert (rates.people["false_person"], rates.people["duplicate_person"]) == expected


@pytest.mark.parametrize("skeleton", [COCO17, MPII16, POSETRACK18], ids=lambda skeleton: skeleton.name)
def test_other_skeletons_meet_in_the_keypoints_they_share(skeleton: Skeleton) -> None:
    """Keypoints that one side never has are neither absent nor too many."""
    rates = compared(STANDING, POSETRACK15.convert(STANDING[None], skeleton), skeleton).rates()
    shared = set(skeleton.names) & set(POSETRACK15.names)
    assert sum(rates.counts.values()) == len(shared)
    assert max(rates.tables["absent"].values()) == 0
    assert max(rates.tables["extra"].values()) == 0

"""Counts of what refining did."""

import json
from typing import Any

import numpy as np
import pytest

from hpr.poses import Frame, FrameKey
from hpr.refine.merge import apply_refined
from hpr.refine.objective import Objective
from hpr.refine.results import Outcome, PersonKey, RefinedPose, RefinedPoses
from hpr.refine.tally import EXAMPLES, ExampleFrame, Tally
from hpr.skeleton import COCO17, POSETRACK15

KEYPOINTS = np.arange(90.0).reshape(3, 15, 2) + 1


def counted(
    outcomes: list[Outcome],
    moved: list[float] | None = None,
    confidence: Any = 0.6,
    frame: Frame | None = None,
    objective: Objective | None = None,
    detail: str = "",
    tally: Tally | None = None,
) -> Tally:
    """Counts a frame with one person for each outcome."""
    frame = frame or Frame("a.jpg", POSETRACK15, np.ones((len(outcomes), 15, 2)))
    objective = objective or Objective(keep=0.5, add=0.5)
    results = []
    for person, outcome in enumerate(outcomes):
        result = RefinedPose(PersonKey(FrameKey(0, 0), person), outcome, detail)
        if outcome is Outcome.REFINED:
            sure = np.broadcast_to(confidence, 15).astype(float)
            distance = moved[person] if moved else 0.5
            result = RefinedPose(result.key, outcome, "", -np.ones((15, 2)), sure, distance)
        results.append(result)

    refined = RefinedPoses.stack(results, POSETRACK15)
    tally = tally if tally is not None else Tally()
    tally.count(frame, refined, apply_refined(frame, refined, POSETRACK15, objective), POSETRACK15)
    return tally


def added(*tallies: Tally) -> Tally:
    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total


def restored(tally: Tally) -> Tally:
    return Tally.from_entry(json.loads(json.dumps(tally.as_entry())))


TWO_OF_THREE = [Outcome.REFINED, Outcome.CROP_SIZE, Outcome.REFINED]


def test_nothing() -> None:
    tally = Tally()
    assert (tally.people, tally.refined, tally.passed_through, tally.failed) == (0, 0, 0, 0)
    assert added(tally) == restored(tally) == tally
    assert tally.as_json() == {
        "frames": 0,
        "persons": {"seen": 0, "refined": 0, "passed_through": 0, "reasons": {}},
        "joints": {"kept": 0, "dropped": 0, "added": 0, "ignored": 0},
        "bad_images": [],
        "movement": {"median": None, "p95": None, "above_half_a_head": None, "poses": 0},
    }


def test_a_frame() -> None:
    tally = counted(TWO_OF_THREE, confidence=[0.0, 0.049, 0.05, 0.999, 1.0, *[0.6] * 10])
    assert tally.outcomes == {Outcome.REFINED: 2, Outcome.CROP_SIZE: 1}
    assert tally.examples == {Outcome.CROP_SIZE: [(0, "a.jpg")]}
    assert (tally.kept, tally.dropped, tally.added) == (39, 6, 0)
    assert tally.moved == {50: 2}
    assert tally.confidences == {0: 4, 1: 2, 12: 20, 19: 4}
    assert not tally.bad_images
    assert restored(tally) == tally


@pytest.mark.parametrize(
    ("moved", "median", "p95", "above"),
    [
        ([0], 0.0, 0.0, 0.0),
        ([0.5], 0.5, 0.5, 0.0),
        ([0.5001], 0.51, 0.51, 1.0),
        ([0.1, 0.2, 0.3, 7], 0.2, 7.0, 0.25),
        ([0.015] * 95 + [1e300] * 5, 0.02, 0.02, 0.05),
        ([0.015] * 94 + [np.inf] * 6, 0.02, 10.0, 0.06),
    ],
)
def test_movement(moved: list[float], median: float, p95: float, above: float) -> None:
    total = added(*(counted([Outcome.REFINED], [distance]) for distance in moved))
    expected = {"median": median, "p95": p95, "above_half_a_head": above, "poses": len(moved)}
    assert total.as_json()["movement"] == expected
    assert restored(total) == total


def test_several() -> None:
    first = counted([Outcome.REFINED, Outcome.CROP_SIZE])
    second = counted([Outcome.BAD_IMAGE, Outcome.BAD_IMAGE], detail="gone.png: no such image")
    total = added(first, second)
    assert (total.people, total.refined, total.passed_through, total.failed) == (4, 1, 3, 2)
    assert total.bad_images == {"gone.png: no such image": 2}
    reasons = {Outcome.CROP_SIZE.value: 1, Outcome.BAD_IMAGE.value: 2}
    found = total.as_json()
    assert found["persons"] == {"seen": 4, "refined": 1, "passed_through": 3, "reasons": reasons}
    assert (found["frames"], found["joints"]["kept"], found["bad_images"]) == (2, 60, list(total.bad_images))
    assert first.people == 2  # what was added is unchanged


def test_examples_are_the_first_frames() -> None:
    tally = Tally()
    for index in range(100):
        frame = Frame(f"{index}.jpg", POSETRACK15, np.ones((2, 15, 2)))
        counted([Outcome.REFINED, Outcome.NO_KEYPOINTS], frame=frame, tally=tally)
    assert tally.examples == {Outcome.NO_KEYPOINTS: [ExampleFrame(n, f"{n}.jpg") for n in range(EXAMPLES)]}


def test_confidences_of_keypoints_that_the_file_has_no_room_for_do_not_count() -> None:
    """COCO's 17 keypoints have no ends of the head."""
    confidence = np.where(np.isin(np.arange(15), POSETRACK15.indices("head_bottom", "head_top")), 0.9, 0.3)
    tally = counted([Outcome.REFINED], confidence=confidence, frame=Frame("a.jpg", COCO17, np.ones((1, 17, 2))))
    assert tally.confidences == {6: 13}


def test_a_sequence_in_parts_is_counted_as_a_whole() -> None:
    whole, parts = Tally(), [Tally() for _ in range(3)]
    for index in range(12):
        outcomes = [Outcome.REFINED, *[Outcome.TINY_IMAGE] * (index % 2)]
        for tally in (whole, parts[index // 4]):
            counted(outcomes, [0.1 * ((5 * index) % 7)], tally=tally)
    total = added(*parts)
    assert total == whole
    assert total.examples[Outcome.TINY_IMAGE][-1].frame == 9

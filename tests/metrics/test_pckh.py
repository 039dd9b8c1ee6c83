"""PCKh, by cases that can be counted by hand."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hpr.errors import UserError
from hpr.metrics.pckh import PckhTruth
from hpr.metrics.scores import Scores
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.skeleton import COCO17, MPII16

HEAD_BOX = np.array([100.0, 100.0, 130.0, 140.0])  # diagonal 50, so the head size is 30: a match is within 15 pixels
POSE = np.arange(32.0).reshape(16, 2) * 50
OTHER = POSE + 3000
NAN = (np.nan, np.nan)
COLUMNS = ("Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Mean")


def frame(image: str, *poses: FloatArray, first: int = 0) -> Frame:
    """An image with people whose records are counted from `first`."""
    keypoints = np.array(poses).reshape(-1, 16, 2)
    head_boxes = np.tile(HEAD_BOX, (len(poses), 1))
    return Frame(image, MPII16, keypoints, head_boxes=head_boxes, records=np.arange(first, first + len(poses)))


def score(truth: Frame | list[Frame], predicted: Frame | list[Frame]) -> Scores:
    true_frames, frames = ([given] if isinstance(given, Frame) else given for given in (truth, predicted))
    return PckhTruth(true_frames, "DIR").score({"a.json": [PoseSequence("a", frames)]})


def row(truth: Frame | list[Frame], predicted: Frame | list[Frame]) -> dict[str, float]:
    return score(truth, predicted).table["PCKh"]


def moved(pose: FloatArray, **keypoints: Any) -> FloatArray:
    """Returns a pose with keypoints elsewhere."""
    changed = pose.copy()
    for name, point in keypoints.items():
        changed[MPII16.index(name)] = point
    return changed


def shifted(x: float, y: float) -> FloatArray:
    """Returns POSE with its left wrist elsewhere."""
    return moved(POSE, left_wrist=POSE[MPII16.index("left_wrist")] + [x, y])


@pytest.mark.parametrize("truth", [[], [Frame.empty("a.jpg", MPII16)], [frame("a.jpg", np.full((16, 2), np.nan))]])
def test_nobody_annotated(truth: list[Frame]) -> None:
    with pytest.raises(UserError, match=r"^DIR: nobody is annotated, so that nobody can be scored$"):
        score(truth, [frame("a.jpg", POSE)] if truth else [])


def test_everything_is_found() -> None:
    found = score(frame("a.jpg", POSE), frame("a.jpg", POSE))
    assert found.columns == COLUMNS
    assert found.table == {"PCKh": dict.fromkeys(COLUMNS, 100.0)}
    assert list(found.metrics) == ["PCKh", *COLUMNS[:-1]]
    assert (found.selection, found.totals) == (100, {"PCKh": 100})
    assert found.as_json() == {"total": found.table, "people": 1, "warnings": []}


EVERYTHING = dict.fromkeys(COLUMNS, 100)


@pytest.mark.parametrize(
    ("truth", "predicted", "expected"),
    [
        (POSE, shifted(0, 15), EVERYTHING),
        (POSE, shifted(9, -12), EVERYTHING),
        (POSE, shifted(15.0001, 0), {**EVERYTHING, "Wrist": 50, "Mean": 100 * 13 / 14}),
        (POSE, moved(POSE, left_wrist=NAN), {**EVERYTHING, "Wrist": 50, "Mean": 100 * 13 / 14}),
        (POSE, moved(POSE, head_top=(0, 0)), {**EVERYTHING, "Head": 50, "Mean": 100 * 13 / 14}),
        (POSE, moved(POSE, head_top=(0, 0), head_bottom=(0, 0)), {**EVERYTHING, "Head": 0, "Mean": 100 * 12 / 14}),
        (POSE, moved(POSE, pelvis=(9000, 0), thorax=(9000, 0)), EVERYTHING),
        (moved(POSE, left_hip=NAN), moved(POSE, left_hip=(0, 0)), EVERYTHING),
        (moved(POSE, left_knee=NAN, right_knee=NAN), POSE, {**EVERYTHING, "Knee": math.nan}),
    ],
)
def test_keypoints_of_one_person(truth: FloatArray, predicted: FloatArray, expected: dict[str, float]) -> None:
    """Within half a head size, by columns of two keypoints each, those that are annotated."""
    assert row(frame("a.jpg", truth), frame("a.jpg", predicted)) == pytest.approx(expected, nan_ok=True)


def test_two_people_counted_by_hand() -> None:
    """The mean is over keypoints, not over columns; a column's two count alike, however often they are annotated."""
    truths = (POSE, moved(POSE, left_ankle=NAN, left_knee=NAN, right_knee=NAN))
    poses = (moved(POSE, left_ankle=(0, 5)), moved(POSE, right_ankle=(900, 5)))
    found = row(*([frame("a.jpg", one[0]), frame("b.jpg", one[1], first=1)] for one in (truths, poses)))
    # Right ankle: 1 of 2. Left ankle: 0 of 1. Left and right knee: 1 of 1 each.
    assert found["Ankle"] == (50 + 0) / 2
    assert found["Knee"] == 100
    assert found["Mean"] == pytest.approx(100 * (14 + 11 - 2) / (14 + 11))


def test_flags_and_names_say_what_is_annotated() -> None:
    mpii, coco = frame("a.jpg", POSE), frame("a.jpg", POSE).in_skeleton(COCO17)
    without_wrist = replace(mpii, flags=1.0 - (np.arange(16) == MPII16.index("left_wrist"))[None])
    assert row(without_wrist, frame("a.jpg", moved(POSE, left_wrist=(0, 0))))["Wrist"] == 100
    assert math.isnan(row(coco, mpii)["Head"])
    assert (row(coco, mpii)["Mean"], row(mpii, coco)["Head"]) == (100, 0)
    assert row(mpii, coco)["Mean"] == pytest.approx(100 * 12 / 14)


class TestWhoIsCompared:
    @pytest.mark.parametrize(
        ("truth", "predicted", "mean"),
        [
            ((POSE, OTHER), frame("a.jpg"), 0),
            ((POSE, OTHER), frame("a.jpg", OTHER), 50),
            ((POSE,), frame("a.jpg", OTHER, POSE), 100),  # whoever is predicted in excess does not count
            ((POSE, OTHER), frame("a.jpg", OTHER, POSE), 0),  # the same list: by index
            ((POSE, OTHER), frame("a.jpg", OTHER, POSE, first=7), 100),  # another list: the best pairs
        ],
    )
    def test_people_of_an_image(self, truth: tuple[FloatArray, ...], predicted: Frame, mean: float) -> None:
        assert row(frame("a.jpg", *truth), predicted)["Mean"] == mean

    def test_as_many_keypoints_as_possible(self) -> None:
        """Not the best for each in turn, which would be 9 for the first person and none for the second."""
        legs = MPII16.indices("right_knee", "right_hip", "left_hip", "left_knee", "left_ankle")
        both, arms = POSE.copy(), POSE.copy()
        both[legs] = OTHER[legs]  # 9 of the first person, 5 of the second
        arms[[*legs, *MPII16.indices("right_ankle", "head_top")]] = 9000  # 7 of the first person
        found = row(frame("a.jpg", POSE, OTHER), frame("a.jpg", both, arms, first=5))
        assert found["Mean"] == pytest.approx(100 * (5 + 7) / 28)


class TestHeadBoxes:
    truth = frame("a.jpg", POSE, POSE)
    without = "DIR: {} people have no head box in the ground truth, as MPII's .mat has, and are not scored"

    def test_people_without(self) -> None:
        truth = replace(self.truth, head_boxes=np.array([HEAD_BOX, [*HEAD_BOX[:3], np.nan]]))
        found = score(truth, frame("a.jpg", POSE, POSE + 1000))
        assert (found.totals["PCKh"], found.people, found.warnings) == (100, 1, [self.without.format(1)])
        with pytest.raises(UserError) as error:
            score(replace(self.truth, head_boxes=np.full((2, 4), np.nan)), self.truth)
        assert str(error.value) == self.without.format(2)

    def test_without_a_size(self) -> None:
        """Nothing is near, not even the same point: 0 / 0."""
        assert row(replace(self.truth, head_boxes=np.zeros((2, 4))), self.truth)["Mean"] == 0

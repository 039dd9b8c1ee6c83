"""PCKh, by cases that can be counted by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from hpr.errors import UserError
from hpr.metrics.pckh import PckhTruth
from hpr.metrics.scores import Scores
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.skeleton import COCO17, MPII16, Skeleton

HEAD_BOX = np.array([100.0, 100.0, 130.0, 140.0])  # diagonal 50, so the head size is 30: a match is within 15 pixels
POSE = np.arange(32.0).reshape(16, 2) * 50
OTHER = POSE + 3000
NAN = (np.nan, np.nan)
COLUMNS = ("Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Mean")


def frame(image: str, *poses: FloatArray, first: int = 0, skeleton: Skeleton = MPII16) -> Frame:
    """An image with people whose records are counted from `first`."""
    keypoints = np.array(poses).reshape(-1, len(skeleton), 2)
    head_boxes = np.tile(HEAD_BOX, (len(poses), 1))
    return Frame(image, skeleton, keypoints, head_boxes=head_boxes, records=np.arange(first, first + len(poses)))


def score(truth: Frame | list[Frame], predicted: Frame | list[Frame]) -> Scores:
    true_frames, frames = ([given] if isinstance(given, Frame) else given for given in (truth, predicted))
    return PckhTruth(true_frames, "DIR").score({"a.json": [PoseSequence("a", frames)]})


def row(truth: Frame | list[Frame], predicted: Frame | list[Frame]) -> dict[str, float]:
    return score(truth, predicted).table["PCKh"]


def moved(pose: FloatArray, **keypoints: tuple[float, float]) -> FloatArray:
    """Returns a pose with keypoints elsewhere."""
    changed = pose.copy()
    for name, point in keypoints.items():
        changed[MPII16.index(name)] = point
    return changed


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


@pytest.mark.parametrize(
    ("distance", "share"), [((0, 15), 100), ((9, -12), 100), ((15.0001, 0), 0), ((0, -15.5), 0), (NAN, 0)]
)
def test_half_a_head_size_is_the_limit(distance: tuple[float, float], share: float) -> None:
    pose = POSE.copy()
    pose[MPII16.index("left_wrist")] += distance
    found = row(frame("a.jpg", POSE), frame("a.jpg", pose))
    assert found["Wrist"] == (100 + share) / 2
    assert found["Mean"] == pytest.approx(100 * (13 + share / 100) / 14)
    assert {found[column] for column in COLUMNS[:3]} == {100}


def test_head_is_the_mean_of_neck_and_head_top() -> None:
    pose = moved(POSE, head_top=(0, 0))
    assert row(frame("a.jpg", POSE), frame("a.jpg", pose))["Head"] == 50
    pose = moved(pose, head_bottom=(0, 0))
    assert row(frame("a.jpg", POSE), frame("a.jpg", pose))["Head"] == 0


def test_pelvis_and_thorax_do_not_count() -> None:
    pose = moved(POSE, pelvis=(9000, 0), thorax=(9000, 0))
    assert row(frame("a.jpg", POSE), frame("a.jpg", pose)) == dict.fromkeys(COLUMNS, 100.0)


def test_two_people_counted_by_hand() -> None:
    """The mean is over keypoints, not over columns; a column's two count alike, however often they are annotated."""
    truths = (POSE, moved(POSE, left_ankle=NAN, left_knee=NAN, right_knee=NAN))
    poses = (moved(POSE, left_ankle=(0, 5)), moved(POSE, right_ankle=(900, 5)))
    found = row(*([frame("a.jpg", one[0]), frame("b.jpg", one[1], first=1)] for one in (truths, poses)))
    # Right ankle: 1 of 2. Left ankle: 0 of 1. Left and right knee: 1 of 1 each.
    assert found["Ankle"] == (50 + 0) / 2
    assert found["Knee"] == 100
    assert found["Mean"] == pytest.approx(100 * (14 + 11 - 2) / (14 + 11))


def test_keypoints_that_nobody_is_annotated_with_have_no_value() -> None:
    truth = moved(POSE, left_hip=NAN, left_knee=NAN, right_knee=NAN)
    found = row(frame("a.jpg", truth), frame("a.jpg", moved(POSE, left_hip=(0, 0))))
    assert math.isnan(found["Knee"])
    assert found["Hip"] == found["Mean"] == 100


def test_keypoints_with_flag_0_are_not_annotated() -> None:
    truth = frame("a.jpg", POSE)
    truth.flags[0, MPII16.index("left_wrist")] = 0
    assert row(truth, frame("a.jpg", moved(POSE, left_wrist=(0, 0))))["Wrist"] == 100


def test_other_skeletons_are_scored_by_the_names_of_their_keypoints() -> None:
    mpii, coco = frame("a.jpg", POSE), frame("a.jpg", POSE).in_skeleton(COCO17)
    assert math.isnan(row(coco, mpii)["Head"])
    assert row(coco, mpii)["Mean"] == 100
    assert row(mpii, coco)["Head"] == 0
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

    @pytest.mark.parametrize(
        ("names", "others"), [(("x/a.jpg", "x/b.jpg"), ("a.png", "b.png")), (("x/a.jpg", "y/a.jpg"),) * 2]
    )
    def test_images_pair_by_name(self, names: tuple[str, str], others: tuple[str, str]) -> None:
        truth = [frame(names[0], POSE), frame(names[1], OTHER, first=1)]
        found = score(truth, [frame(others[1], OTHER), frame(others[0], POSE, first=1)])
        assert (found.totals["PCKh"], found.warnings) == (100, [])

    def test_images_on_one_side(self) -> None:
        truth = [frame("a.jpg", POSE), frame("b.jpg", POSE, first=1), Frame.empty("c.jpg", MPII16)]
        found = score(truth, [frame("b.jpg", POSE), frame("d.jpg", POSE)])
        assert found.totals["PCKh"] == 50
        assert found.warnings == [
            "1 images are not in DIR and are left out, such as d.jpg",
            "1 of 2 images of DIR have no prediction and count as without a person, such as a.jpg",
        ]
        with pytest.raises(UserError, match=r"^DIR: expected an image named like d.jpg, found none$"):
            score(truth, frame("d.jpg", POSE))

    def test_predictions_in_several_files(self) -> None:
        truth = PckhTruth([frame("a.jpg", POSE), frame("b.jpg", POSE, first=1)])
        files = {name: [PoseSequence(name, [frame(f"{name}.jpg", POSE, first=9)])] for name in ("b", "a")}
        done: list[int] = []
        assert truth.score(files, done.append).totals["PCKh"] == 100
        assert done == [1, 1]


class TestHeadBoxes:
    without = "DIR: 1 people have no head box in the ground truth, as MPII's .mat has, and are not scored"

    def test_somebody_without(self) -> None:
        truth = frame("a.jpg", POSE, POSE)
        truth.head_boxes[1, 2] = np.nan
        found = score(truth, frame("a.jpg", POSE, POSE + 1000))
        assert (found.totals["PCKh"], found.people, found.warnings) == (100, 1, [self.without])

    def test_nobody_with(self) -> None:
        truth = replace(frame("a.jpg", POSE), head_boxes=np.full((1, 4), np.nan))
        with pytest.raises(UserError) as error:
            score(truth, frame("a.jpg", POSE))
        assert str(error.value) == self.without

    def test_without_a_size(self) -> None:
        """Nothing is near, not even the same point: 0 / 0."""
        truth = replace(frame("a.jpg", POSE), head_boxes=np.zeros((1, 4)))
        assert row(truth, frame("a.jpg", POSE))["Mean"] == 0

"""PCKh, by cases that can be counted by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from hpr.errors import UserError
from hpr.metrics.pckh import PCKH_COLUMNS, PckhComparison, PckhEvaluation, evaluate_pckh
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.skeleton import COCO17, MPII16, Skeleton

HEAD_BOX = np.array([100.0, 100.0, 130.0, 140.0])  # diagonal 50, so the head size is 30: joints match within 15 pixels
POSE = np.arange(32.0).reshape(16, 2) * 50
LEFT_WRIST, HEAD_TOP, PELVIS, THORAX, RIGHT_ANKLE = MPII16.indices(
    "left_wrist", "head_top", "pelvis", "thorax", "right_ankle"
)


def frame(image: str, *poses: FloatArray, first: int = 0, skeleton: Skeleton = MPII16) -> Frame:
    """An image with people whose records are counted from `first`."""
    keypoints = np.array(poses).reshape(-1, len(skeleton), 2)
    head_boxes = np.tile(HEAD_BOX, (len(poses), 1))
    return Frame(image, skeleton, keypoints, head_boxes=head_boxes, records=np.arange(first, first + len(poses)))


def file(*frames: Frame) -> list[PoseSequence]:
    return [PoseSequence("a", list(frames))]


def scores(truth: Frame | list[PoseSequence], predicted: Frame | list[PoseSequence]) -> dict[str, float]:
    return evaluation(truth, predicted).values["PCKh"]


def evaluation(truth: Frame | list[PoseSequence], predicted: Frame | list[PoseSequence]) -> PckhEvaluation:
    both = [file(given) if isinstance(given, Frame) else given for given in (truth, predicted)]
    return evaluate_pckh({"a.json": both[0]}, {"a.json": both[1]})


def with_joints(pose: FloatArray, places: dict[str, tuple[float, float]]) -> FloatArray:
    changed = pose.copy()
    for name, place in places.items():
        changed[MPII16.index(name)] = place
    return changed


def test_nobody() -> None:
    for truth in ([], file(), file(Frame.empty("a.jpg", MPII16)), file(frame("a.jpg", np.full((16, 2), np.nan)))):
        with pytest.raises(UserError, match=r"^the annotations: nobody is annotated, so that nobody can be scored$"):
            evaluation(truth, file(frame("a.jpg", POSE)))


def test_everything_is_found() -> None:
    found = evaluation(frame("a.jpg", POSE), frame("a.jpg", POSE))
    assert found.columns == PCKH_COLUMNS
    assert PCKH_COLUMNS == ("Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Mean")
    assert found.values == {"PCKh": dict.fromkeys(PCKH_COLUMNS, 100.0)}
    assert (found.people, found.warnings) == (1, [])


@pytest.mark.parametrize(
    ("distance", "share"), [((0, 15), 100), ((9, -12), 100), ((15.0001, 0), 0), ((0, -15.5), 0), ((np.nan, np.nan), 0)]
)
def test_half_a_head_size_is_the_limit(distance: tuple[float, float], share: float) -> None:
    pose = POSE.copy()
    pose[LEFT_WRIST] += distance
    found = scores(frame("a.jpg", POSE), frame("a.jpg", pose))
    assert found["Wrist"] == (100 + share) / 2
    assert found["Mean"] == pytest.approx(100 * (13 + share / 100) / 14)
    assert {found[column] for column in PCKH_COLUMNS[:3]} == {100}


def test_head_is_the_mean_of_neck_and_head_top() -> None:
    pose = with_joints(POSE, {"head_top": (0, 0)})
    assert scores(frame("a.jpg", POSE), frame("a.jpg", pose))["Head"] == 50
    pose = with_joints(pose, {"head_bottom": (0, 0)})
    assert scores(frame("a.jpg", POSE), frame("a.jpg", pose))["Head"] == 0


def test_pelvis_and_thorax_do_not_count() -> None:
    pose = POSE.copy()
    pose[[PELVIS, THORAX]] += 1000
    assert scores(frame("a.jpg", POSE), frame("a.jpg", pose)) == dict.fromkeys(PCKH_COLUMNS, 100.0)


def test_two_people_counted_by_hand() -> None:
    """The mean is over joints, not over columns; a column's joints count alike, however often they are annotated."""
    nan = (np.nan, np.nan)
    truths = (POSE, with_joints(POSE, {"left_ankle": nan, "left_knee": nan, "right_knee": nan}))
    poses = (with_joints(POSE, {"left_ankle": (0, 5)}), with_joints(POSE, {"right_ankle": (900, 5)}))
    frames = [file(frame("a.jpg", one[0]), frame("b.jpg", one[1], first=1)) for one in (truths, poses)]
    found = scores(*frames)
    # Right ankle: 1 of 2. Left ankle: 0 of 1. Left and right knee: 1 of 1 each.
    assert found["Ankle"] == (50 + 0) / 2
    assert found["Knee"] == 100
    assert found["Mean"] == pytest.approx(100 * (14 + 11 - 2) / (14 + 11))


def test_joints_that_nobody_is_annotated_with_have_no_value() -> None:
    nan = (np.nan, np.nan)
    truth = with_joints(POSE, {"left_hip": nan, "left_knee": nan, "right_knee": nan})
    found = scores(frame("a.jpg", truth), frame("a.jpg", with_joints(POSE, {"left_hip": (0, 0)})))
    assert math.isnan(found["Knee"])
    assert found["Hip"] == found["Mean"] == 100


def test_joints_with_flag_0_are_not_annotated() -> None:
    truth = frame("a.jpg", POSE)
    truth.flags[0, LEFT_WRIST] = 0
    assert scores(truth, frame("a.jpg", with_joints(POSE, {"left_wrist": (0, 0)})))["Wrist"] == 100


def test_other_skeletons_are_scored_by_the_names_of_their_joints() -> None:
    truth, predicted = frame("a.jpg", POSE).in_skeleton(COCO17), frame("a.jpg", POSE)
    found = scores(truth, predicted)
    assert math.isnan(found["Head"])
    assert found["Mean"] == 100
    assert scores(predicted, truth)["Head"] == 0
    assert scores(predicted, truth)["Mean"] == pytest.approx(100 * 12 / 14)


class TestWhoIsCompared:
    other = POSE + 3000

    def test_the_same_places_of_the_same_list(self) -> None:
        """Also where another pairing would find more."""
        assert scores(frame("a.jpg", POSE, self.other), frame("a.jpg", self.other, POSE))["Mean"] == 0

    def test_the_best_of_other_lists(self) -> None:
        predicted = frame("a.jpg", self.other, POSE, first=7)
        assert scores(frame("a.jpg", POSE, self.other), predicted)["Mean"] == 100

    def test_of_different_numbers(self) -> None:
        one, two = frame("a.jpg", self.other), frame("a.jpg", POSE, self.other)
        assert scores(two, one)["Mean"] == 50
        assert scores(one, two)["Mean"] == 100  # whoever is predicted in excess does not count
        assert scores(two, Frame.empty("a.jpg", MPII16))["Mean"] == 0

    def test_as_many_joints_as_possible(self) -> None:
        """Not the best for each in turn, which would be 9 for the first person and none for the second."""
        legs = MPII16.indices("right_knee", "right_hip", "left_hip", "left_knee", "left_ankle")
        both, arms = POSE.copy(), POSE.copy()
        both[legs] = self.other[legs]  # 9 of the first person, 5 of the second
        arms[[*legs, RIGHT_ANKLE, HEAD_TOP]] = 9000  # 7 of the first person
        found = scores(frame("a.jpg", POSE, self.other), frame("a.jpg", both, arms, first=5))
        assert found["Mean"] == pytest.approx(100 * (5 + 7) / 28)

    def test_images_pair_by_name(self) -> None:
        truth = file(frame("x/a.jpg", POSE), frame("x/b.jpg", self.other, first=1))
        predicted = file(frame("b.png", self.other), frame("c.png", POSE), frame("a.png", POSE))
        found = evaluation(truth, predicted)
        assert found.values["PCKh"]["Mean"] == 100
        assert found.warnings == []

    def test_by_whole_names_where_these_are_needed(self) -> None:
        truth = file(frame("x/a.jpg", POSE), frame("y/a.jpg", self.other, first=1))
        predicted = file(frame("y/a.jpg", self.other), frame("x/a.jpg", POSE, first=1))
        assert scores(truth, predicted)["Mean"] == 100

    def test_images_without_prediction(self) -> None:
        truth = file(frame("a.jpg", POSE), frame("b.jpg", POSE, first=1), Frame.empty("c.jpg", MPII16))
        found = evaluation(truth, file(frame("b.jpg", POSE)))
        assert found.values["PCKh"]["Mean"] == 50
        assert found.warnings == ["a.json: 1 annotated images have no prediction; their joints count as not found"]


class TestHeadBoxes:
    def test_somebody_without(self) -> None:
        truth = frame("a.jpg", POSE, POSE)
        truth.head_boxes[1, 2] = np.nan
        found = evaluation(truth, frame("a.jpg", POSE, POSE + 1000))
        assert found.values["PCKh"]["Mean"] == 100
        assert found.people == 1
        assert found.warnings == [
            "a.json: 1 people have no head box in the ground truth, as MPII's .mat has, and are not scored"
        ]

    def test_nobody_with(self) -> None:
        truth = replace(frame("a.jpg", POSE), head_boxes=np.full((1, 4), np.nan))
        with pytest.raises(UserError, match=r"^a.json: 1 people have no head box in the ground truth"):
            evaluation(truth, frame("a.jpg", POSE))

    def test_without_a_size(self) -> None:
        """Nothing is near, not even the same place: 0 / 0."""
        truth = replace(frame("a.jpg", POSE), head_boxes=np.zeros((1, 4)))
        assert scores(truth, frame("a.jpg", POSE))["Mean"] == 0


class TestComparison:
    truth = file(frame("a.jpg", POSE))
    worse = file(frame("a.jpg", with_joints(POSE, {"head_top": (0, 0), "right_hip": (0, 0)})))
    better = file(frame("a.jpg", with_joints(POSE, {"head_top": (0, 0)})))

    def test_before_and_after(self) -> None:
        done: list[int] = []
        comparison = PckhComparison({"a.json": self.truth}, {"a.json": self.worse}, progress=done.append)
        assert comparison.before.values["PCKh"]["Mean"] == pytest.approx(100 * 12 / 14)
        after = comparison.after({"a.json": self.better}, done.append)
        assert after.values["PCKh"]["Mean"] == pytest.approx(100 * 13 / 14)
        assert after.values["PCKh"]["Hip"] - comparison.before.values["PCKh"]["Hip"] == 50
        assert done == [1, 1]

    def test_single_files_need_no_common_name(self) -> None:
        """The official annotations are in one .mat file, predictions in a .json file."""
        comparison = PckhComparison({"mpii.mat": self.truth}, {"results.json": self.better})
        assert comparison.before.warnings == []
        assert comparison.after({"results.json": self.truth}).values["PCKh"]["Mean"] == 100

    def test_files_without_partner(self) -> None:
        truth = {"a.json": self.truth, "b.json": self.truth}
        found = PckhComparison(truth, {"b.json": self.truth, "c.json": self.truth}).before
        assert found.people == 1
        assert found.warnings == [
            "1 files have no prediction and are not scored, such as a.json",
            "1 files have no truth and are not scored, such as c.json",
        ]

    def test_no_file_in_common(self) -> None:
        truth = {"a.json": self.truth, "b.json": self.truth}
        with pytest.raises(UserError, match=r"^DIR: expected a file named like one of OTHER, such as c.json"):
            PckhComparison(truth, {"c.json": self.truth}, ("DIR", "OTHER"))

"""AP and MOTA against the public tool's numbers, and by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import GOLDEN
from scored_clips import Person, frame, people, score, sequence, total, without_track_ids

from hpr.errors import UserError
from hpr.formats import PoseTrack18
from hpr.metrics.posetrack import AP_SCORES, MOT_SCORES
from hpr.metrics.scores import Scores
from hpr.metrics.scoring import open_truth
from hpr.metrics.truth import FilesByName
from hpr.poses import PoseSequence
from hpr.skeleton import COCO17, MPII16, POSETRACK15, POSETRACK18, Skeleton

PUBLIC = json.loads((GOLDEN / "evaluation" / "poseval.json").read_text())
NAMES = {"AP": "ap", "AP_precision": "pre", "AP_recall": "rec"}
NAMES |= {"MOTA": "mota", "MOTP_poseval": "motp", "MOT_precision": "pre", "MOT_recall": "rec"}
KEYPOINTS = POSETRACK15.names
GROUPS = [(14, 12, 13), (8, 9), (7, 10), (6, 11), (2, 3), (1, 4), (0, 5), (15,)]


@pytest.fixture(scope="module")
def golden() -> Scores:
    truth = open_truth(PoseTrack18(), str(GOLDEN / "evaluation" / "gt"))
    return truth.score(FilesByName(PoseTrack18(), GOLDEN / "evaluation" / "pred"))


@pytest.mark.parametrize("metric", NAMES)
@pytest.mark.parametrize("sequence", ["total", "003418_mpii_test", "009473_mpii_test", "012834_mpii_test"])
def test_public_numbers(golden: Scores, sequence: str, metric: str) -> None:
    expected = PUBLIC[f"{sequence}_{'AP' if metric in AP_SCORES else 'MOT'}_metrics"][NAMES[metric]]
    found = (golden if sequence == "total" else golden.sequences[sequence]).by_keypoint[metric]
    np.testing.assert_allclose([found[keypoint] for keypoint in (*KEYPOINTS, "total")], expected, rtol=0, atol=1e-6)
    assert golden.warnings == []


@pytest.mark.parametrize(("metric", "values"), [("AP", "total_AP_metrics"), ("MOTA", "total_MOT_metrics")])
def test_groups_of_keypoints(golden: Scores, metric: str, values: str) -> None:
    assert golden.columns == ("Head", "Shou", "Elb", "Wri", "Hip", "Knee", "Ankl", "Total")
    public = np.array(PUBLIC[values][NAMES[metric]])
    assert list(golden.table[metric].values()) == pytest.approx([public[list(group)].mean() for group in GROUPS])


def test_nothing_predicted() -> None:
    pose = people(1)[0]
    scores = total(sequence([Person(pose)], [Person(pose)]), sequence([], []))
    assert scores["AP"] == scores["AP_precision"] == scores["AP_recall"] == 0
    assert scores["MOTA"] == -100  # of two frames one counts, as a miss and a false positive
    assert scores["MOT_precision"] == scores["MOT_recall"] == 0
    assert np.isnan(scores["MOTP"])
    assert scores["MOTP_poseval"] == 0


def test_nothing_annotated() -> None:
    pose = people(1)[0]
    scores = total(sequence([], []), sequence([Person(pose)], [Person(pose)]))
    assert scores["AP"] == 0  # frames without annotated people are left out, and the predictions with them
    assert np.isnan(scores["MOTA"])


class TestTracking:
    pose = people(1)[0]

    def test_the_last_frame_does_not_count_for_mota(self) -> None:
        wrong_at_the_end = sequence([Person(self.pose)], [Person(self.pose)], [Person(self.pose + 500)])
        scores = total(sequence(*[[Person(self.pose)]] * 3), wrong_at_the_end)
        assert scores["MOTA"] == 100
        assert scores["AP_precision"] == pytest.approx(200 / 3)

    def test_the_last_frame_is_the_last_annotated_one(self) -> None:
        truth = sequence([Person(self.pose)], [Person(self.pose)], [])
        predicted = sequence([Person(self.pose)], [Person(self.pose + 500)], [Person(self.pose)])
        assert total(truth, predicted)["MOTA"] == 100

    def test_a_frame_without_predictions_is_one_miss_and_one_false_positive(self) -> None:
        everyone = [Person(pose, track) for track, pose in enumerate(people(3))]
        scores = total(sequence(everyone, everyone, everyone), sequence(everyone, [], everyone))
        assert scores["MOTA"] == pytest.approx(100 * (1 - 2 / (3 + 1)))
        assert scores["AP_recall"] == pytest.approx(100 * 6 / 9)

    def test_a_switch_of_identities(self) -> None:
        first, second = people(2)
        switched = [Person(first, 11), Person(second, 10)]
        truth = sequence(*[[Person(first, 0), Person(second, 1)]] * 4)
        predicted = sequence([Person(first, 10), Person(second, 11)], *[switched] * 3)
        assert total(truth, predicted)["MOTA"] == pytest.approx(100 * (1 - 2 / 6))

    def test_motp_is_the_mean_distance_and_the_tools_own_is_not(self) -> None:
        predicted = sequence(*[[Person(self.pose + np.array([6.0, 0.0]))]] * 3)  # 0.2 head sizes off
        scores = total(sequence(*[[Person(self.pose)]] * 3), predicted)
        assert scores["MOTP"] == pytest.approx(80)
        assert scores["MOTP_poseval"] == pytest.approx(60)

    @pytest.mark.parametrize("which", ["annotated", "predicted"])
    def test_without_track_ids_there_is_ap(self, which: str) -> None:
        good = sequence(*[[Person(self.pose)]] * 2)
        bad = without_track_ids(good)
        scores = score((bad, good) if which == "annotated" else (good, bad), (replace(good, name="other"), good))
        assert scores.totals["AP"] == 100
        assert all(np.isnan(scores.by_keypoint[metric]["total"]) for metric in MOT_SCORES)
        assert scores.sequences["other"].totals["MOTA"] == 100
        assert scores.warnings == [f"clip: someone {which} has no track id, so that there is no MOTA"]

    def test_the_same_track_id_twice_in_a_frame(self) -> None:
        first, second = people(2)
        truth = sequence([Person(first, 0), Person(second, 1)])
        scores = score((truth, sequence([Person(first, 7), Person(second, 7)])))
        assert np.isnan(scores.totals["MOTA"])
        assert "two people predicted in one frame have the same track id" in scores.warnings[0]

    def test_one_frame(self) -> None:
        clip = sequence([Person(self.pose)])
        scores = score((clip, clip))
        assert scores.totals["AP"] == 100
        assert np.isnan(scores.totals["MOTA"])
        assert "clip: one annotated frame, and MOTA does not count a sequence's last" in scores.warnings


@pytest.mark.parametrize(("distance", "right"), [(0.0, True), (14.9999, True), (15.0001, False)])
def test_keypoints_match_within_half_a_head_size(distance: float, right: bool) -> None:
    pose = people(1)[0]
    scores = total(sequence([Person(pose)]), sequence([Person(pose + np.array([distance, 0.0]))]))
    assert scores["AP"] == (100 if right else 0)


def test_a_keypoint_that_is_not_annotated_is_a_false_positive() -> None:
    pose = people(1)[0]
    annotated = pose.copy()
    annotated[3] = np.nan
    scores = score((sequence([Person(annotated)]), sequence([Person(pose)]))).by_keypoint
    assert np.isnan(scores["AP"][KEYPOINTS[3]])
    assert scores["AP_precision"][KEYPOINTS[3]] == 0
    assert scores["AP"]["total"] == 100  # the mean is over the keypoints that have a value
    assert scores["AP_precision"]["total"] == pytest.approx(1400 / 15)


def test_each_person_takes_one_prediction() -> None:
    pose = people(1)[0]
    worse = pose.copy()
    worse[:5] += 500
    truth, predicted = sequence([Person(pose)]), sequence([Person(worse, 0), Person(pose, 1)])
    assert total(truth, predicted)["AP_precision"] == pytest.approx(50)


def test_a_prediction_keeps_its_best_person_only() -> None:
    """The second prediction is nearer to the first person, who is taken; the second person stays without."""
    first, second = people(2)
    second = np.where(np.arange(15)[:, None] < 4, first, second)  # they share four keypoints
    predicted = sequence([Person(first, 0), Person(np.where(np.arange(15)[:, None] < 4, first, np.nan), 1)])
    scores = score((sequence([Person(second, 0), Person(first, 1)]), predicted)).by_keypoint
    assert scores["AP_recall"][KEYPOINTS[0]] == 100
    assert scores["AP_recall"][KEYPOINTS[10]] == 50


def test_the_flags_of_a_file_do_not_count() -> None:
    clip = sequence([Person(people(1)[0])])
    flagged = replace(clip, frames=[replace(frame, flags=np.zeros((1, 15))) for frame in clip.frames])
    assert total(clip, flagged)["AP"] == total(flagged, clip)["AP"] == 100


def test_infinite_coordinates_are_present_and_never_right() -> None:
    infinite, clip = sequence([Person(np.full((15, 2), np.inf))]), sequence([Person(people(1)[0])])
    scores = total(infinite, infinite)
    assert scores["AP"] == scores["AP_precision"] == 0
    assert total(clip, infinite)["AP_recall"] == 0


def test_a_missing_score_ranks_last() -> None:
    pose, other = people(2)
    truth = sequence([Person(pose)])
    for own_score, expected in ((np.nan, 50), (-8000, 100)):
        predicted = sequence([Person(pose, 0, own_score), Person(other, 1, -9000)])
        assert total(truth, predicted)["AP"] == pytest.approx(expected)


class TestIgnoreRegions:
    square = np.array([[0.0, 0.0], [100.0, 0.0], [100.0, 100.0], [0.0, 100.0]])
    outside = people(1)[0] + 500

    def truth(self, *regions: np.ndarray) -> PoseSequence:
        truth = sequence([Person(self.outside, 0)])
        return replace(truth, frames=[replace(truth.frames[0], ignore_regions=regions)])

    @pytest.mark.parametrize(("x", "counts"), [(50.0, False), (100.0, True), (101.0, True)])
    def test_what_is_inside_does_not_count(self, x: float, counts: bool) -> None:
        """The boundary is outside."""
        inside = np.tile([x, 50.0], (15, 1))
        predicted = sequence([Person(self.outside, 0, 0.5), Person(inside, 1, 0.9)])
        assert total(self.truth(self.square), predicted)["AP_precision"] == (50 if counts else 100)

    def test_too_few_points_are_named(self) -> None:
        scores = score((self.truth(self.square[:2]), sequence([Person(self.outside)])))
        assert scores.totals["AP"] == 100
        assert "clip: 000000.jpg has an ignore region of less than three points" in scores.warnings[0]


class TestPeopleWithoutKeypoints:
    clip = sequence(*[[Person(pose)] for pose in people(3)])

    def unlisted(self, index: int) -> PoseSequence:
        """The clip whose people in a frame are without a list of keypoints, a track id and a head box."""
        frames, count = list(self.clip.frames), len(self.clip.frames[index])
        keypoints, boxes = np.full((count, 15, 2), np.nan), np.full((count, 4), np.nan)
        own = {"keypoints": keypoints, "head_boxes": boxes, "track_ids": (None,) * count}
        frames[index] = replace(frames[index], posed=np.zeros(count, bool), **own)
        return replace(self.clip, frames=frames)

    def test_people_without_a_list_are_not_scored(self) -> None:
        scores = score((self.clip, self.unlisted(1)))
        assert scores.warnings == []  # they need neither a track id nor a head box
        assert scores.by_keypoint["AP_precision"]["total"] == 100
        assert scores.by_keypoint["AP_recall"]["total"] == pytest.approx(200 / 3)
        assert scores.totals["MOTA"] == pytest.approx(100 * (1 - 2 / 2))  # a miss and a false positive of two

    def test_a_frame_that_lists_only_them_is_not_left_out(self) -> None:
        scores = score((self.unlisted(1), self.clip))
        assert scores.warnings == []
        assert scores.by_keypoint["AP_precision"]["total"] == pytest.approx(200 / 3)
        assert scores.totals["MOTA"] == pytest.approx(100 * (1 - 2 / 2))
        first, second, third = self.clip.frames
        emptied = replace(self.clip, frames=[first, frame(second.image, []), third])
        assert total(emptied, self.clip)["AP_precision"] == 100

    def test_people_with_an_empty_list_are_scored(self) -> None:
        nothing = np.full((15, 2), np.nan)
        predicted = sequence([Person(self.clip.frames[0].keypoints[0])], [Person(nothing)], [])
        # The second frame has a prediction, so it counts as what it is: a miss, and no false positive.
        assert total(self.clip, predicted)["MOTA"] == pytest.approx(100 * (1 - 1 / 2))


@pytest.mark.parametrize("skeleton", [COCO17, MPII16, POSETRACK18], ids=lambda skeleton: skeleton.name)
def test_keypoints_are_found_by_name(skeleton: Skeleton) -> None:
    """A prediction with another skeleton's keypoints is scored in those that PoseTrack has, too."""
    truth = sequence(*[[Person(pose)] for pose in people(3)])
    random = np.random.default_rng(0)
    poses = [random.uniform(0, 9, (len(skeleton), 2)) for _ in truth.frames]  # keypoints that PoseTrack lacks
    for pose, true_frame in zip(poses, truth.frames, strict=True):
        shared = POSETRACK15.mapping_to(skeleton)
        pose[shared >= 0] = true_frame.keypoints[0, shared[shared >= 0]]

    predicted = sequence(*[[Person(pose)] for pose in poses], skeleton=skeleton)
    scores = score((truth, predicted)).by_keypoint
    for name in KEYPOINTS:
        right = 100 if name in skeleton else 0
        assert scores["AP"][name] == scores["AP_recall"][name] == scores["MOTA"][name] == right


def test_a_sequence_without_head_boxes_is_left_out() -> None:
    headless = sequence([Person(people(1)[0], head_box=np.full(4, np.nan))], name="headless")
    clip = sequence(*[[Person(pose)] for pose in people(2)])
    scores = score((headless, headless), (clip, clip))
    assert scores.sequences.keys() == {"clip"}
    expected = "headless: someone annotated in 000000.jpg has no head box, and distances are in head sizes"
    assert scores.warnings == [f"{expected}: this sequence is left out"]
    with pytest.raises(UserError, match="has no head box"):
        score((headless, headless))

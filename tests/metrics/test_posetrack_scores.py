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
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.skeleton import COCO17, MPII16, POSETRACK15, POSETRACK18, Skeleton

PUBLIC = json.loads((GOLDEN / "evaluation" / "poseval.json").read_text())
NAMES = {"AP": "ap", "AP_precision": "pre", "AP_recall": "rec"}
NAMES |= {"MOTA": "mota", "MOTP_poseval": "motp", "MOT_precision": "pre", "MOT_recall": "rec"}
KEYPOINTS = POSETRACK15.names

POSE, OTHER, THIRD = people(3)
ONE = [Person(POSE)]
CLIP = sequence(*[[Person(pose)] for pose in (POSE, OTHER, THIRD)])


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


def moved(pose: FloatArray, by: float, keypoints: int = 15) -> FloatArray:
    """Returns a pose whose first keypoints are shifted to the right; keypoints match within 15 pixels."""
    changed = pose.copy()
    changed[:keypoints, 0] += by
    return changed


EVERYONE = [Person(pose, track) for track, pose in enumerate((POSE, OTHER, THIRD))]
INFINITE = [Person(np.full((15, 2), np.inf))]
SWITCHED = [Person(POSE, 1), Person(OTHER, 0)]
FAR, NEAR = [Person(POSE + 500)], [Person(moved(POSE, 6))]  # 0.2 head sizes
TWICE = [Person(moved(POSE, 500, keypoints=5), 0), Person(POSE, 1)]
UNSCORED, LOW = ([Person(POSE, 0, own), Person(OTHER, 1, -9000)] for own in (np.nan, -8000))
ALL_MISSED = dict.fromkeys((*AP_SCORES, "MOT_precision", "MOT_recall", "MOTP_poseval"), 0)
BY_HAND = {
    # Of two frames one counts for MOTA, as a miss and a false positive.
    "nothing predicted": ([ONE, ONE], [[], []], {**ALL_MISSED, "MOTA": -100, "MOTP": np.nan}),
    # Frames without annotated people are left out, and the predictions with them.
    "nothing annotated": ([[], []], [ONE, ONE], {"AP": 0, "MOTA": np.nan}),
    "last frame is not tracked": ([ONE] * 3, [ONE, ONE, FAR], {"MOTA": 100, "AP_precision": 200 / 3}),
    "last frame is the last annotated one": ([ONE, ONE, []], [ONE, FAR, ONE], {"MOTA": 100}),
    # A frame without predictions is one miss and one false positive, of 3 + 1 objects.
    "empty frame": ([EVERYONE] * 3, [EVERYONE, [], EVERYONE], {"MOTA": 50, "AP_recall": 100 * 6 / 9}),
    "switched identities": ([EVERYONE[:2]] * 4, [EVERYONE[:2], *[SWITCHED] * 3], {"MOTA": 100 * (1 - 2 / 6)}),
    # MOTP is the mean distance; the public tool's own is not.
    "distances": ([ONE] * 3, [NEAR] * 3, {"MOTP": 80, "MOTP_poseval": 60}),
    "half a head size": ([ONE], [[Person(moved(POSE, 14.9999))]], {"AP": 100}),
    "more than half a head size": ([ONE], [[Person(moved(POSE, 15.0001))]], {"AP": 0}),
    "each person takes one prediction": ([ONE], [TWICE], {"AP_precision": 50}),
    "infinite coordinates are present and never right": ([INFINITE], [INFINITE], {"AP": 0, "AP_precision": 0}),
    "a missing score ranks last": ([ONE], [UNSCORED], {"AP": 50}),
    "a low score does not": ([ONE], [LOW], {"AP": 100}),
}


@pytest.mark.parametrize(("truth", "predicted", "expected"), BY_HAND.values(), ids=BY_HAND)
def test_by_hand(truth: list[list[Person]], predicted: list[list[Person]], expected: dict[str, float]) -> None:
    scores = total(sequence(*truth), sequence(*predicted))
    assert {metric: scores[metric] for metric in expected} == pytest.approx(expected, nan_ok=True)


def test_a_keypoint_that_is_not_annotated_is_a_false_positive() -> None:
    annotated = POSE.copy()
    annotated[3] = np.nan
    scores = score((sequence([Person(annotated)]), sequence(ONE))).by_keypoint
    assert np.isnan(scores["AP"][KEYPOINTS[3]])
    assert scores["AP_precision"][KEYPOINTS[3]] == 0
    assert scores["AP"]["total"] == 100  # the mean is over the keypoints that have a value
    assert scores["AP_precision"]["total"] == pytest.approx(1400 / 15)


def test_a_prediction_keeps_its_best_person_only() -> None:
    """The second prediction is nearer to the first person, who is taken; the second person stays without."""
    shared = np.arange(15)[:, None] < 4
    truth = sequence([Person(np.where(shared, POSE, OTHER), 0), Person(POSE, 1)])
    predicted = sequence([Person(POSE, 0), Person(np.where(shared, POSE, np.nan), 1)])
    scores = score((truth, predicted)).by_keypoint
    assert (scores["AP_recall"][KEYPOINTS[0]], scores["AP_recall"][KEYPOINTS[10]]) == (100, 50)


def test_the_flags_of_a_file_do_not_count() -> None:
    flagged = replace(CLIP, frames=[replace(frame, flags=np.zeros((1, 15))) for frame in CLIP.frames])
    assert total(CLIP, flagged)["AP"] == total(flagged, CLIP)["AP"] == 100


UNTRACKED = without_track_ids(CLIP)


@pytest.mark.parametrize(
    ("truth", "predicted", "warning"),
    [
        (UNTRACKED, CLIP, "someone annotated has no track id, so that there is no MOTA"),
        (CLIP, UNTRACKED, "someone predicted has no track id, so that there is no MOTA"),
        (
            *(sequence(EVERYONE[:2]), sequence([Person(POSE, 7), Person(OTHER, 7)])),
            "two people predicted in one frame have the same track id, so that there is no MOTA",
        ),
        (sequence(ONE), sequence(ONE), "one annotated frame, and MOTA does not count a sequence's last"),
    ],
)
def test_without_tracks_there_is_ap(truth: PoseSequence, predicted: PoseSequence, warning: str) -> None:
    scores = score((truth, predicted), (replace(CLIP, name="other"), CLIP))
    assert scores.totals["AP"] == scores.sequences["other"].totals["MOTA"] == 100
    assert np.isnan(scores.sequences["clip"].totals["MOTA"])
    is_known = "one annotated frame" in warning  # a sequence without a count changes nothing in total
    assert all(np.isnan(scores.by_keypoint[metric]["total"]) != is_known for metric in MOT_SCORES)
    assert scores.warnings == [f"clip: {warning}"]


@pytest.mark.parametrize(("x", "corners", "precision"), [(50.0, 4, 100), (100.0, 4, 50), (101.0, 4, 50), (50.0, 2, 50)])
def test_what_is_inside_an_ignore_region_does_not_count(x: float, corners: int, precision: float) -> None:
    """The boundary is outside; regions of two points have no inside and are named."""
    region = np.array([[0.0, 0.0], [100.0, 0.0], [100.0, 100.0], [0.0, 100.0]])[:corners]
    annotated = frame("000000.jpg", [Person(POSE + 500)])
    truth = PoseSequence("clip", [replace(annotated, ignore_regions=(region,))])
    scores = score((truth, sequence([Person(POSE + 500), Person(np.tile([x, 50.0], (15, 1)), 1, 0.9)])))
    assert scores.by_keypoint["AP_precision"]["total"] == precision
    named = [warning for warning in scores.warnings if "000000.jpg has an ignore region of less than three" in warning]
    assert len(named) == (corners < 3)


def with_second(frame: Frame) -> PoseSequence:
    return replace(CLIP, frames=[CLIP.frames[0], frame, CLIP.frames[2]])


SECOND = replace(CLIP.frames[1], keypoints=np.full((1, 15, 2), np.nan))
UNLISTED = replace(SECOND, posed=np.zeros(1, bool), head_boxes=np.full((1, 4), np.nan), track_ids=(None,))


@pytest.mark.parametrize(
    ("truth", "predicted", "precision", "recall", "mota"),
    [
        (CLIP, with_second(UNLISTED), 100, 200 / 3, 0),  # the second of two counts as a miss and a false positive
        (CLIP, with_second(SECOND), 100, 200 / 3, 50),  # with an empty list: a miss, and no false positive
        (with_second(UNLISTED), CLIP, 200 / 3, 100, 0),  # a frame that lists only such people is not left out
        (with_second(Frame.empty("000001.jpg", POSETRACK15)), CLIP, 100, 100, 100),
    ],
)
def test_people_without_a_list_of_keypoints_are_not_scored(
    truth: PoseSequence, predicted: PoseSequence, precision: float, recall: float, mota: float
) -> None:
    """They need neither a track id nor a head box."""
    scores = score((truth, predicted))
    found = [scores.by_keypoint[metric]["total"] for metric in ("AP_precision", "AP_recall", "MOTA")]
    assert found == pytest.approx([precision, recall, mota])
    assert scores.warnings == []


@pytest.mark.parametrize("skeleton", [COCO17, MPII16, POSETRACK18], ids=lambda skeleton: skeleton.name)
def test_keypoints_are_found_by_name(skeleton: Skeleton) -> None:
    """A prediction with another skeleton is scored by the keypoints that it shares with PoseTrack's."""
    poses = np.random.default_rng(0).uniform(0, 9, (3, len(skeleton), 2))  # keypoints that PoseTrack lacks
    own = POSETRACK15.mapping_to(skeleton)
    for pose, true_frame in zip(poses, CLIP.frames, strict=True):
        pose[own >= 0] = true_frame.keypoints[0, own[own >= 0]]

    scores = score((CLIP, sequence(*[[Person(pose)] for pose in poses], skeleton=skeleton))).by_keypoint
    for name in KEYPOINTS:
        right = 100 if name in skeleton else 0
        assert scores["AP"][name] == scores["AP_recall"][name] == scores["MOTA"][name] == right


def test_a_sequence_without_head_boxes_is_left_out() -> None:
    headless = sequence([Person(POSE, head_box=np.full(4, np.nan))], name="headless")
    scores = score((headless, headless), (CLIP, CLIP))
    assert scores.sequences.keys() == {"clip"}
    expected = "headless: someone annotated in 000000.jpg has no head box, and distances are in head sizes"
    assert scores.warnings == [f"{expected}: this sequence is left out"]
    with pytest.raises(UserError, match="has no head box"):
        score((headless, headless))

"""AP and MOTA against the public tool's numbers, by hand and by property."""

import copy
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import GOLDEN
from hypothesis import given, settings
from hypothesis import strategies as st

from hpr.errors import UserError
from hpr.evaluation.posetrack import AP_SCORES, MOT_SCORES, Evaluation, evaluate, evaluate_files
from hpr.formats import PoseTrack18
from hpr.poses import FloatArray, Frame, Person, Sequence
from hpr.skeleton import JOINTS, POSETRACK18_SLOTS

TRUTH, PREDICTION = GOLDEN / "evaluation" / "gt", GOLDEN / "evaluation" / "pred"
PUBLIC = json.loads((GOLDEN / "evaluation" / "poseval.json").read_text())
NAMES = {"AP": "ap", "AP_precision": "pre", "AP_recall": "rec"}
NAMES |= {"MOTA": "mota", "MOTP_poseval": "motp", "MOT_precision": "pre", "MOT_recall": "rec"}

HEAD_BOX = np.array([0.0, 0.0, 30.0, 40.0])  # a diagonal of 50, so a head size of 30: joints match within 15 pixels
RANDOM_SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def golden() -> Evaluation:
    return evaluate_files(PoseTrack18(), TRUTH, PREDICTION)


@pytest.mark.parametrize("score", NAMES)
@pytest.mark.parametrize("sequence", ["total", "003418_mpii_test", "009473_mpii_test", "012834_mpii_test"])
def test_public_numbers(golden: Evaluation, sequence: str, score: str) -> None:
    expected = PUBLIC[f"{sequence}_{'AP' if score in AP_SCORES else 'MOT'}_metrics"][NAMES[score]]
    found = (golden.total if sequence == "total" else golden.sequences[sequence])[score]
    np.testing.assert_allclose([found[joint] for joint in (*JOINTS, "total")], expected, rtol=0, atol=1e-6)
    assert golden.warnings == []


def people(count: int, seed: int = 0) -> FloatArray:
    """Poses (count, 15, 2) far from each other."""
    return np.random.default_rng(seed).uniform(0, 500, (count, 15, 2)) + 1000 * np.arange(count)[:, None, None]


def person(joints: FloatArray, track: int | None = 0, scores: Any = 0.5) -> Person:
    return Person(joints, np.broadcast_to(np.asarray(scores, float), 15), 0, track, HEAD_BOX)


def sequence(*frames: list[Person], name: str = "clip") -> Sequence:
    return Sequence(name, [Frame(f"{i:06d}.jpg", persons) for i, persons in enumerate(frames)], {})


def total(truth: Sequence, predicted: Sequence) -> dict[str, float]:
    """Returns the totals over joints; they are what one joint has where all joints fare alike."""
    return {name: values["total"] for name, values in evaluate([(truth, predicted)]).total.items()}


def test_no_sequence() -> None:
    with pytest.raises(UserError, match="there is no sequence to be scored"):
        evaluate([])


def test_nothing_predicted() -> None:
    pose = people(1)[0]
    scores = total(sequence([person(pose)], [person(pose)]), sequence([], []))
    assert scores["AP"] == scores["AP_precision"] == scores["AP_recall"] == 0
    assert scores["MOTA"] == -100  # of two frames one counts, as a miss and a false positive
    assert scores["MOT_precision"] == scores["MOT_recall"] == 0
    assert np.isnan(scores["MOTP"])
    assert scores["MOTP_poseval"] == 0


def test_nothing_annotated() -> None:
    pose = people(1)[0]
    scores = total(sequence([], []), sequence([person(pose)], [person(pose)]))
    assert scores["AP"] == 0  # frames without annotated people are left out, and the predictions with them
    assert np.isnan(scores["MOTA"])


def test_the_last_frame_does_not_count_for_mota() -> None:
    pose = people(1)[0]
    truth = sequence(*[[person(pose)]] * 3)
    wrong_at_the_end = sequence([person(pose)], [person(pose)], [person(pose + 500)])
    scores = total(truth, wrong_at_the_end)
    assert scores["MOTA"] == 100
    assert scores["AP_precision"] == pytest.approx(200 / 3)


def test_the_last_frame_is_the_last_annotated_one() -> None:
    pose = people(1)[0]
    truth = sequence([person(pose)], [person(pose)], [])
    predicted = sequence([person(pose)], [person(pose + 500)], [person(pose)])
    assert total(truth, predicted)["MOTA"] == 100


def test_a_frame_without_predictions_is_one_miss_and_one_false_positive() -> None:
    poses = people(3)
    everyone = [person(pose, track) for track, pose in enumerate(poses)]
    scores = total(sequence(everyone, everyone, everyone), sequence(everyone, [], everyone))
    assert scores["MOTA"] == pytest.approx(100 * (1 - 2 / (3 + 1)))
    assert scores["AP_recall"] == pytest.approx(100 * 6 / 9)


def test_a_switch_of_identities() -> None:
    first, second = people(2)
    truth = sequence(*[[person(first, 0), person(second, 1)]] * 4)
    predicted = sequence(
        [person(first, 10), person(second, 11)],
        [person(first, 11), person(second, 10)],
        [person(first, 11), person(second, 10)],
        [person(first, 11), person(second, 10)],
    )
    assert total(truth, predicted)["MOTA"] == pytest.approx(100 * (1 - 2 / 6))


def test_motp_is_the_mean_distance_and_the_tools_own_is_not() -> None:
    pose = people(1)[0]
    truth = sequence(*[[person(pose)]] * 3)
    predicted = sequence(*[[person(pose + np.array([6.0, 0.0]))]] * 3)  # 0.2 head sizes off
    scores = total(truth, predicted)
    assert scores["MOTP"] == pytest.approx(80)
    assert scores["MOTP_poseval"] == pytest.approx(60)


@pytest.mark.parametrize(("distance", "right"), [(0.0, True), (14.9999, True), (15.0001, False)])
def test_joints_match_within_half_a_head_size(distance: float, right: bool) -> None:
    pose = people(1)[0]
    scores = total(sequence([person(pose)]), sequence([person(pose + np.array([distance, 0.0]))]))
    assert scores["AP"] == (100 if right else 0)


def test_a_joint_that_is_not_annotated_is_a_false_positive() -> None:
    pose = people(1)[0]
    annotated = pose.copy()
    annotated[3] = np.nan
    scores = evaluate([(sequence([person(annotated)]), sequence([person(pose)]))]).total
    assert np.isnan(scores["AP"][JOINTS[3]])
    assert scores["AP_precision"][JOINTS[3]] == 0
    assert scores["AP"]["total"] == 100  # the mean is over the joints that have a value
    assert scores["AP_precision"]["total"] == pytest.approx(1400 / 15)


def test_each_person_takes_one_prediction() -> None:
    pose = people(1)[0]
    worse = pose.copy()
    worse[:5] += 500
    truth, predicted = sequence([person(pose)]), sequence([person(worse, 0), person(pose, 1)])
    assert total(truth, predicted)["AP_precision"] == pytest.approx(50)


def test_a_prediction_keeps_its_best_person_only() -> None:
    """The second prediction is nearer to the first person, who is taken; the second person stays without."""
    first, second = people(2)
    second = np.where(np.arange(15)[:, None] < 4, first, second)  # they share four joints
    predicted = sequence([person(first, 0), person(np.where(np.arange(15)[:, None] < 4, first, np.nan), 1)])
    scores = evaluate([(sequence([person(second, 0), person(first, 1)]), predicted)]).total
    assert scores["AP_recall"][JOINTS[0]] == 100
    assert scores["AP_recall"][JOINTS[10]] == 50


def test_infinite_coordinates_are_present_and_never_right() -> None:
    pose = people(1)[0]
    scores = total(sequence([person(np.full((15, 2), np.inf))]), sequence([person(np.full((15, 2), np.inf))]))
    assert scores["AP"] == 0
    assert scores["AP_precision"] == 0
    assert total(sequence([person(pose)]), sequence([person(np.full((15, 2), np.inf))]))["AP_recall"] == 0


def test_a_missing_score_ranks_last() -> None:
    pose, other = people(2)
    truth = sequence([person(pose)])
    unscored = sequence([person(pose, 0, np.nan), person(other, 1, -9000)])
    scored = sequence([person(pose, 0, -8000), person(other, 1, -9000)])
    assert total(truth, unscored)["AP"] == pytest.approx(50)
    assert total(truth, scored)["AP"] == pytest.approx(100)


SQUARE = np.array([[0.0, 0.0], [100.0, 0.0], [100.0, 100.0], [0.0, 100.0]])


@pytest.mark.parametrize(
    ("x", "counts"),
    [
        pytest.param(50.0, False, id="inside"),
        pytest.param(100.0, True, id="on the boundary"),
        pytest.param(101.0, True, id="out"),
    ],
)
def test_ignore_regions(x: float, counts: bool) -> None:
    outside = people(1)[0] + 500
    inside = np.tile([x, 50.0], (15, 1))
    truth = sequence([person(outside, 0)])
    truth = replace(truth, frames=[replace(truth.frames[0], ignore_regions=(SQUARE,))])
    scores = total(truth, sequence([person(outside, 0, 0.5), person(inside, 1, 0.9)]))
    assert scores["AP_precision"] == (50 if counts else 100)


def test_ignore_regions_of_too_few_points_are_named() -> None:
    pose = people(1)[0]
    truth = sequence([person(pose)])
    truth = replace(truth, frames=[replace(truth.frames[0], ignore_regions=(SQUARE[:2],))])
    evaluation = evaluate([(truth, sequence([person(pose)]))])
    assert evaluation.total["AP"]["total"] == 100
    assert "clip: 000000.jpg has an ignore region of less than three points" in evaluation.warnings[0]


def without_track_ids(poses: Sequence) -> Sequence:
    frames = [replace(f, persons=[replace(p, track_id=None) for p in f.persons]) for f in poses.frames]
    return replace(poses, frames=frames)


@pytest.mark.parametrize("which", ["truth", "prediction"])
def test_without_track_ids_there_is_ap(which: str) -> None:
    good = sequence(*[[person(people(1)[0])]] * 2)
    bad = without_track_ids(good)
    pair = (bad, good) if which == "truth" else (good, bad)
    evaluation = evaluate([pair, (replace(good, name="other"), good)])
    assert evaluation.total["AP"]["total"] == 100
    assert all(np.isnan(evaluation.total[name]["total"]) for name in MOT_SCORES)
    assert evaluation.sequences["other"]["MOTA"]["total"] == 100
    kind = "annotated" if which == "truth" else "predicted"
    assert evaluation.warnings == [f"clip: someone {kind} has no track id, so that there is no MOTA"]
    assert evaluation.as_json()["total"]["MOTA"]["total"] is None


def test_the_same_track_id_twice_in_a_frame() -> None:
    first, second = people(2)
    truth = sequence([person(first, 0), person(second, 1)])
    evaluation = evaluate([(truth, sequence([person(first, 7), person(second, 7)]))])
    assert np.isnan(evaluation.total["MOTA"]["total"])
    assert "two people predicted in one frame have the same track id" in evaluation.warnings[0]


def test_one_frame() -> None:
    clip = sequence([person(people(1)[0])])
    evaluation = evaluate([(clip, clip)])
    assert evaluation.total["AP"]["total"] == 100
    assert np.isnan(evaluation.total["MOTA"]["total"])
    assert "clip: one annotated frame, and MOTA does not count a sequence's last" in evaluation.warnings


def test_frames_in_another_order() -> None:
    poses = people(4)
    clip = sequence(*[[person(pose)] for pose in poses])
    evaluation = evaluate([(clip, replace(clip, frames=clip.frames[::-1]))])
    assert evaluation.total["MOTA"]["total"] == 100
    assert evaluation.warnings == ["clip: its frames are in another order than the truth's; they are paired by name"]


def test_frames_missing_and_in_excess() -> None:
    clip = sequence(*[[person(pose)] for pose in people(4)])
    extra = Frame("000009.jpg", [person(people(1)[0])])
    evaluation = evaluate([(clip, replace(clip, frames=[*clip.frames[1:], extra]))])
    assert evaluation.total["AP_recall"]["total"] == 75
    assert evaluation.total["AP_precision"]["total"] == 100
    assert evaluation.warnings == [
        "clip: 1 of the truth's 4 frames are missing and count as empty; 1 frames are not in the truth and do not count"
    ]


def renamed(poses: Sequence) -> Sequence:
    return replace(poses, frames=[replace(frame, image=f"x{i}.jpg") for i, frame in enumerate(poses.frames)])


def test_frames_of_other_names_are_paired_by_position() -> None:
    clip = sequence(*[[person(pose)] for pose in people(4)])
    evaluation = evaluate([(clip, renamed(clip))])
    assert evaluation.total["AP"]["total"] == 100
    assert "its images have other names than the truth's; frames are paired by position" in evaluation.warnings[0]


def test_a_sequence_that_cannot_be_scored_is_left_out() -> None:
    clip = sequence(*[[person(pose)] for pose in people(4)])
    short = replace(renamed(clip), frames=renamed(clip).frames[1:])
    headless = sequence([replace(person(people(1)[0]), head_box=None)], name="headless")
    pairs = [(clip, short), (headless, headless), (replace(clip, name="good"), clip)]
    evaluation = evaluate(pairs)
    assert evaluation.sequences.keys() == {"good"}
    assert evaluation.total["AP"]["total"] == 100
    uneven, without_head = evaluation.warnings
    assert uneven == "clip: expected 4 frames or the truth's image names, found 3: this sequence is not scored"
    assert without_head.startswith("headless: someone annotated in 000000.jpg has no head box")
    with pytest.raises(UserError, match="expected 4 frames"):
        evaluate(pairs[:2])


def wild_clip(seed: int, frames: int = 5) -> tuple[Sequence, Sequence]:
    """Truth and prediction of people who come and go, near each other, with errors and identity switches."""
    random = np.random.default_rng(seed)
    truth, predicted = [], []
    bodies = random.uniform(0, 60, (3, 15, 2))
    for _ in range(frames):
        bodies = bodies + random.normal(0, 4, bodies.shape)
        there = [i for i in range(3) if random.random() < 0.8]
        truth.append([person(_thinned(bodies[i], random), i) for i in there])
        names = random.permutation(4)
        estimates = [
            _thinned(bodies[i] + random.normal(0, 8, (15, 2)), random) for i in range(3) if random.random() < 0.8
        ]
        predicted.append([person(pose, int(names[i]), random.random(15)) for i, pose in enumerate(estimates)])
    return sequence(*truth), sequence(*predicted)


def _thinned(pose: FloatArray, random: np.random.Generator) -> FloatArray:
    return np.where(random.random((15, 1)) < 0.8, pose, np.nan)


def same(first: Evaluation, second: Evaluation, names: Iterable[str] = AP_SCORES + MOT_SCORES) -> None:
    for name in names:
        values, others = (list(evaluation.total[name].values()) for evaluation in (first, second))
        np.testing.assert_allclose(values, others, atol=1e-9, err_msg=name)


@settings(deadline=None, max_examples=60)
@given(RANDOM_SEEDS)
def test_truth_against_itself_is_perfect(seed: int) -> None:
    truth, _ = wild_clip(seed)
    evaluation = evaluate([(truth, truth)])
    for name in AP_SCORES:
        values = np.array(list(evaluation.total[name].values()))
        assert set(np.round(values, 9)) <= {0.0, 100.0}, name  # 0 for a joint that is nowhere annotated
    # A frame without anyone annotated is left out, so that a miss can only come from frames without joints.
    for name in ("MOTA", "MOTP", "MOT_precision", "MOT_recall"):
        values = np.array(list(evaluation.total[name].values()))
        assert (np.isnan(values) | np.isclose(values, 100)).all(), name


@settings(deadline=None, max_examples=60)
@given(RANDOM_SEEDS)
def test_the_order_of_people_does_not_matter(seed: int) -> None:
    truth, predicted = wild_clip(seed)
    random = np.random.default_rng(seed)

    def shuffled(poses: Sequence) -> Sequence:
        frames = [replace(f, persons=[f.persons[i] for i in random.permutation(len(f.persons))]) for f in poses.frames]
        return replace(poses, frames=frames)

    # Ties in the share of matching joints are settled by the order; here nobody ties.
    if _has_ties(truth, predicted):
        return
    before = evaluate([(truth, predicted)])
    same(before, evaluate([(truth, shuffled(predicted))]))
    # Of two people who had the same partner at different times, the first in the truth keeps it, as in motmetrics.
    same(before, evaluate([(shuffled(truth), predicted)]), AP_SCORES)


def _has_ties(truth: Sequence, predicted: Sequence) -> bool:
    from hpr.evaluation.frames import pair

    for frame in pair(truth, predicted)[0]:
        shares = np.isfinite(frame.distances).sum(axis=2) / np.maximum(frame.annotated.sum(axis=1), 1)
        values = shares[shares > 0]
        if len(np.unique(values)) < len(values):
            return True
    return False


@settings(deadline=None, max_examples=40)
@given(RANDOM_SEEDS)
def test_the_order_of_sequences_does_not_matter(seed: int) -> None:
    pairs = [wild_clip(seed + i) for i in range(3)]
    named = [(replace(t, name=str(i)), replace(p, name=str(i))) for i, (t, p) in enumerate(pairs)]
    same(evaluate(named), evaluate(named[::-1]))


@settings(deadline=None, max_examples=60)
@given(RANDOM_SEEDS)
def test_mending_a_joint_never_lowers_its_scores(seed: int) -> None:
    """With one person a frame, so that mending one joint does not change who is assigned to whom."""
    random = np.random.default_rng(seed)
    bodies = [people(1, seed + i)[0] for i in range(4)]
    estimates = [body + np.where(random.random((15, 1)) < 0.4, 300.0, 0.0) for body in bodies]
    scores = random.random((4, 15))

    def scored(poses: list[FloatArray]) -> Evaluation:
        truth = sequence(*[[person(body)] for body in bodies])
        return evaluate([(truth, sequence(*[[person(p, 0, s)] for p, s in zip(poses, scores, strict=True)]))])

    mended = copy.deepcopy(estimates)
    frame, joint = random.integers(4), random.integers(15)
    mended[frame][joint] = bodies[frame][joint]
    before, after = scored(estimates), scored(mended)
    for name in ("AP", "AP_precision", "AP_recall", "MOTA", "MOT_precision", "MOT_recall"):
        for other in JOINTS:
            assert after.total[name][other] >= before.total[name][other] - 1e-9
            if other != JOINTS[joint] and name.startswith("MOT"):
                assert after.total[name][other] == before.total[name][other]


@settings(deadline=None, max_examples=25)
@given(RANDOM_SEEDS)
def test_counts_are_those_of_motmetrics(seed: int) -> None:
    import motmetrics

    from hpr.evaluation.frames import pair
    from hpr.evaluation.tracking import count

    frames, _ = pair(*wild_clip(seed, frames=8))
    counts = count(frames)
    for joint in range(0, 15, 5):
        accumulator = motmetrics.MOTAccumulator(auto_id=True)
        for frame in frames[:-1]:
            truth, found = np.flatnonzero(frame.annotated[:, joint]), np.flatnonzero(frame.found[:, joint])
            if not frame.truth_ids or not frame.predicted_ids:
                accumulator.update([0], [0], [[np.nan]])
                continue
            distances = frame.distances[np.ix_(found, truth)][..., joint].T
            distances[np.isinf(distances)] = np.nan
            accumulator.update([frame.truth_ids[g] for g in truth], [frame.predicted_ids[p] for p in found], distances)
        names = ["num_objects", "num_detections", "num_misses", "num_false_positives", "num_switches"]
        expected = motmetrics.metrics.create().compute(accumulator, metrics=names, return_dataframe=False)
        ours = (counts.objects, counts.detections, counts.misses, counts.false_positives, counts.switches)
        assert [value[joint] for value in ours] == [expected[name] for name in names]
        assert counts.poseval_distance[joint] == pytest.approx(accumulator.events["D"].sum())


def document(tmp_path: Path, name: str, change: Callable[[dict[str, Any]], None] = lambda content: None) -> Path:
    """Writes a PoseTrack 2018 file of two frames with one person in each."""
    keypoints = np.zeros((17, 3))
    keypoints[list(POSETRACK18_SLOTS)] = np.c_[people(1)[0], np.ones(15)]
    annotation = {
        "track_id": 0,
        "keypoints": keypoints.ravel().tolist(),
        "scores": [0.5] * 17,
        "bbox_head": [0, 0, 30, 40],
    }
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(2)],
        "annotations": [{**copy.deepcopy(annotation), "image_id": i} for i in range(2)],
    }
    change(content)
    (tmp_path / name).mkdir(exist_ok=True)
    (tmp_path / name / "clip.json").write_text(json.dumps(content))
    return tmp_path / name


def test_zero_flags_count_in_files(tmp_path: Path) -> None:
    def clear_flags(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            annotation["keypoints"][2::3] = [0] * 17

    scores = evaluate_files(PoseTrack18(), document(tmp_path, "gt"), document(tmp_path, "pred", clear_flags)).total
    assert scores["AP"]["total"] == 100


def test_nan_joints_in_files(tmp_path: Path) -> None:
    def spoil(content: dict[str, Any]) -> None:
        content["annotations"][0]["keypoints"][0] = float("nan")

    scores = evaluate_files(PoseTrack18(), document(tmp_path, "gt"), document(tmp_path, "pred", spoil)).total
    assert scores["AP_precision"]["nose"] == 50
    assert scores["AP_recall"]["nose"] == 50


def test_files_are_paired_by_name(tmp_path: Path) -> None:
    truth, prediction = document(tmp_path, "gt"), document(tmp_path, "pred")
    (truth / "unpredicted.json").write_text((truth / "clip.json").read_text())
    (prediction / "unannotated.json").write_text((truth / "clip.json").read_text())
    evaluation = evaluate_files(PoseTrack18(), truth, prediction)
    assert evaluation.sequences.keys() == {"clip"}
    assert evaluation.warnings == [
        "1 sequences have no prediction and are not scored, such as unpredicted.json",
        "1 sequences have no truth and are not scored, such as unannotated.json",
    ]
    (prediction / "clip.json").unlink()
    with pytest.raises(UserError, match=r"expected a file named like one of .*, such as unannotated.json, found none"):
        evaluate_files(PoseTrack18(), truth, prediction)

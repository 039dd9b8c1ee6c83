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
from scored_clips import Person, frame, people, sequence, wild_clip

from hpr.errors import UserError
from hpr.metrics.frames import pair
from hpr.metrics.posetrack import AP_SCORES, MOT_SCORES, Evaluation, evaluate, evaluate_files, table
from hpr.metrics.tracking import count
from hpr.formats import PoseTrack17, PoseTrack18
from hpr.poses import FloatArray, PoseSequence
from hpr.skeleton import COCO17, MPII16, POSETRACK15, POSETRACK18, Skeleton

TRUTH, PREDICTION = GOLDEN / "evaluation" / "gt", GOLDEN / "evaluation" / "pred"
PUBLIC = json.loads((GOLDEN / "evaluation" / "poseval.json").read_text())
NAMES = {"AP": "ap", "AP_precision": "pre", "AP_recall": "rec"}
NAMES |= {"MOTA": "mota", "MOTP_poseval": "motp", "MOT_precision": "pre", "MOT_recall": "rec"}

RANDOM_SEEDS = st.integers(0, 2**32 - 1)
KEYPOINTS = POSETRACK15.names


@pytest.fixture(scope="module")
def golden() -> Evaluation:
    return evaluate_files(PoseTrack18(), TRUTH, PREDICTION)


@pytest.mark.parametrize("score", NAMES)
@pytest.mark.parametrize("sequence", ["total", "003418_mpii_test", "009473_mpii_test", "012834_mpii_test"])
def test_public_numbers(golden: Evaluation, sequence: str, score: str) -> None:
    expected = PUBLIC[f"{sequence}_{'AP' if score in AP_SCORES else 'MOT'}_metrics"][NAMES[score]]
    found = (golden.total if sequence == "total" else golden.sequences[sequence])[score]
    np.testing.assert_allclose([found[keypoint] for keypoint in (*KEYPOINTS, "total")], expected, rtol=0, atol=1e-6)
    assert golden.warnings == []


def total(truth: PoseSequence, predicted: PoseSequence) -> dict[str, float]:
    """Returns the totals over keypoints; they are what one keypoint has where all fare alike."""
    return {name: values["total"] for name, values in evaluate([(truth, predicted)]).total.items()}


def test_no_sequence() -> None:
    with pytest.raises(UserError, match="there is no sequence to be scored"):
        evaluate([])


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


def test_the_last_frame_does_not_count_for_mota() -> None:
    pose = people(1)[0]
    truth = sequence(*[[Person(pose)]] * 3)
    wrong_at_the_end = sequence([Person(pose)], [Person(pose)], [Person(pose + 500)])
    scores = total(truth, wrong_at_the_end)
    assert scores["MOTA"] == 100
    assert scores["AP_precision"] == pytest.approx(200 / 3)


def test_the_last_frame_is_the_last_annotated_one() -> None:
    pose = people(1)[0]
    truth = sequence([Person(pose)], [Person(pose)], [])
    predicted = sequence([Person(pose)], [Person(pose + 500)], [Person(pose)])
    assert total(truth, predicted)["MOTA"] == 100


def test_a_frame_without_predictions_is_one_miss_and_one_false_positive() -> None:
    poses = people(3)
    everyone = [Person(pose, track) for track, pose in enumerate(poses)]
    scores = total(sequence(everyone, everyone, everyone), sequence(everyone, [], everyone))
    assert scores["MOTA"] == pytest.approx(100 * (1 - 2 / (3 + 1)))
    assert scores["AP_recall"] == pytest.approx(100 * 6 / 9)


def test_a_switch_of_identities() -> None:
    first, second = people(2)
    truth = sequence(*[[Person(first, 0), Person(second, 1)]] * 4)
    predicted = sequence(
        [Person(first, 10), Person(second, 11)],
        [Person(first, 11), Person(second, 10)],
        [Person(first, 11), Person(second, 10)],
        [Person(first, 11), Person(second, 10)],
    )
    assert total(truth, predicted)["MOTA"] == pytest.approx(100 * (1 - 2 / 6))


def test_motp_is_the_mean_distance_and_the_tools_own_is_not() -> None:
    pose = people(1)[0]
    truth = sequence(*[[Person(pose)]] * 3)
    predicted = sequence(*[[Person(pose + np.array([6.0, 0.0]))]] * 3)  # 0.2 head sizes off
    scores = total(truth, predicted)
    assert scores["MOTP"] == pytest.approx(80)
    assert scores["MOTP_poseval"] == pytest.approx(60)


@pytest.mark.parametrize(("distance", "right"), [(0.0, True), (14.9999, True), (15.0001, False)])
def test_keypoints_match_within_half_a_head_size(distance: float, right: bool) -> None:
    pose = people(1)[0]
    scores = total(sequence([Person(pose)]), sequence([Person(pose + np.array([distance, 0.0]))]))
    assert scores["AP"] == (100 if right else 0)


def test_a_keypoint_that_is_not_annotated_is_a_false_positive() -> None:
    pose = people(1)[0]
    annotated = pose.copy()
    annotated[3] = np.nan
    scores = evaluate([(sequence([Person(annotated)]), sequence([Person(pose)]))]).total
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
    scores = evaluate([(sequence([Person(second, 0), Person(first, 1)]), predicted)]).total
    assert scores["AP_recall"][KEYPOINTS[0]] == 100
    assert scores["AP_recall"][KEYPOINTS[10]] == 50


def test_infinite_coordinates_are_present_and_never_right() -> None:
    pose = people(1)[0]
    scores = total(sequence([Person(np.full((15, 2), np.inf))]), sequence([Person(np.full((15, 2), np.inf))]))
    assert scores["AP"] == 0
    assert scores["AP_precision"] == 0
    assert total(sequence([Person(pose)]), sequence([Person(np.full((15, 2), np.inf))]))["AP_recall"] == 0


def test_a_missing_score_ranks_last() -> None:
    pose, other = people(2)
    truth = sequence([Person(pose)])
    unscored = sequence([Person(pose, 0, np.nan), Person(other, 1, -9000)])
    scored = sequence([Person(pose, 0, -8000), Person(other, 1, -9000)])
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
    truth = sequence([Person(outside, 0)])
    truth = replace(truth, frames=[replace(truth.frames[0], ignore_regions=(SQUARE,))])
    scores = total(truth, sequence([Person(outside, 0, 0.5), Person(inside, 1, 0.9)]))
    assert scores["AP_precision"] == (50 if counts else 100)


def test_ignore_regions_of_too_few_points_are_named() -> None:
    pose = people(1)[0]
    truth = sequence([Person(pose)])
    truth = replace(truth, frames=[replace(truth.frames[0], ignore_regions=(SQUARE[:2],))])
    evaluation = evaluate([(truth, sequence([Person(pose)]))])
    assert evaluation.total["AP"]["total"] == 100
    assert "clip: 000000.jpg has an ignore region of less than three points" in evaluation.warnings[0]


def unlisted(poses: PoseSequence, *people_of: int) -> PoseSequence:
    """Declares the people in some frames to be without a list of keypoints, a track id and a head box."""
    frames = list(poses.frames)
    for i in people_of:
        count = len(frames[i])
        frames[i] = replace(
            frames[i],
            keypoints=np.full((count, 15, 2), np.nan),
            head_boxes=np.full((count, 4), np.nan),
            track_ids=(None,) * count,
            posed=np.zeros(count, bool),
        )
    return replace(poses, frames=frames)


def test_people_without_a_list_of_keypoints_are_not_scored() -> None:
    clip = sequence(*[[Person(pose)] for pose in people(3)])
    evaluation = evaluate([(clip, unlisted(clip, 1))])
    assert evaluation.warnings == []  # they need neither a track id nor a head box
    assert evaluation.total["AP_precision"]["total"] == 100
    assert evaluation.total["AP_recall"]["total"] == pytest.approx(200 / 3)
    assert evaluation.total["MOTA"]["total"] == pytest.approx(100 * (1 - 2 / 2))  # a miss and a false positive of two


def test_a_frame_that_lists_only_people_without_keypoints_is_not_left_out() -> None:
    clip = sequence(*[[Person(pose)] for pose in people(3)])
    evaluation = evaluate([(unlisted(clip, 1), clip)])
    assert evaluation.warnings == []
    assert evaluation.total["AP_precision"]["total"] == pytest.approx(200 / 3)
    assert evaluation.total["MOTA"]["total"] == pytest.approx(100 * (1 - 2 / 2))
    emptied = replace(clip, frames=[clip.frames[0], frame(clip.frames[1].image, []), clip.frames[2]])
    assert evaluate([(emptied, clip)]).total["AP_precision"]["total"] == 100


def test_people_with_an_empty_list_of_keypoints_are_scored() -> None:
    nothing = np.full((15, 2), np.nan)
    clip = sequence(*[[Person(pose)] for pose in people(3)])
    evaluation = evaluate([(clip, sequence([Person(clip.frames[0].keypoints[0])], [Person(nothing)], []))])
    # The second frame has a prediction, so it counts as what it is: a miss, and no false positive.
    assert evaluation.total["MOTA"]["total"] == pytest.approx(100 * (1 - 1 / 2))


@pytest.mark.parametrize("skeleton", [COCO17, MPII16, POSETRACK18], ids=lambda skeleton: skeleton.name)
def test_keypoints_are_found_by_name(skeleton: Skeleton) -> None:
    """A prediction with another skeleton's keypoints is scored in those that PoseTrack has too."""
    truth = sequence(*[[Person(pose)] for pose in people(3)])
    random = np.random.default_rng(0)
    poses = [random.uniform(0, 9, (len(skeleton), 2)) for _ in truth.frames]  # keypoints that PoseTrack lacks
    for pose, true_frame in zip(poses, truth.frames, strict=True):
        shared = POSETRACK15.mapping_to(skeleton)
        pose[shared >= 0] = true_frame.keypoints[0, shared[shared >= 0]]
    predicted = sequence(*[[Person(pose)] for pose in poses], skeleton=skeleton)
    scores = evaluate([(truth, predicted)]).total
    for name in KEYPOINTS:
        right = 100 if name in skeleton else 0
        assert scores["AP"][name] == scores["AP_recall"][name] == scores["MOTA"][name] == right


def without_track_ids(poses: PoseSequence) -> PoseSequence:
    return replace(poses, frames=[replace(f, track_ids=(None,) * len(f)) for f in poses.frames])


@pytest.mark.parametrize("which", ["truth", "prediction"])
def test_without_track_ids_there_is_ap(which: str) -> None:
    good = sequence(*[[Person(people(1)[0])]] * 2)
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
    truth = sequence([Person(first, 0), Person(second, 1)])
    evaluation = evaluate([(truth, sequence([Person(first, 7), Person(second, 7)]))])
    assert np.isnan(evaluation.total["MOTA"]["total"])
    assert "two people predicted in one frame have the same track id" in evaluation.warnings[0]


def test_one_frame() -> None:
    clip = sequence([Person(people(1)[0])])
    evaluation = evaluate([(clip, clip)])
    assert evaluation.total["AP"]["total"] == 100
    assert np.isnan(evaluation.total["MOTA"]["total"])
    assert "clip: one annotated frame, and MOTA does not count a sequence's last" in evaluation.warnings


def test_frames_in_another_order() -> None:
    poses = people(4)
    clip = sequence(*[[Person(pose)] for pose in poses])
    evaluation = evaluate([(clip, replace(clip, frames=clip.frames[::-1]))])
    assert evaluation.total["MOTA"]["total"] == 100
    assert evaluation.warnings == ["clip: its frames are in another order than the truth's; they are paired by name"]


def test_frames_missing_and_in_excess() -> None:
    clip = sequence(*[[Person(pose)] for pose in people(4)])
    extra = frame("000009.jpg", [Person(people(1)[0])])
    evaluation = evaluate([(clip, replace(clip, frames=[*clip.frames[1:], extra]))])
    assert evaluation.total["AP_recall"]["total"] == 75
    assert evaluation.total["AP_precision"]["total"] == 100
    assert evaluation.warnings == [
        "clip: 1 of the truth's 4 frames are missing and count as empty; 1 frames are not in the truth and do not count"
    ]


def renamed(poses: PoseSequence) -> PoseSequence:
    return replace(poses, frames=[replace(f, image=f"x{i}.jpg") for i, f in enumerate(poses.frames)])


def test_frames_of_other_names_are_paired_by_position() -> None:
    clip = sequence(*[[Person(pose)] for pose in people(4)])
    evaluation = evaluate([(clip, renamed(clip))])
    assert evaluation.total["AP"]["total"] == 100
    assert "its images have other names than the truth's; frames are paired by position" in evaluation.warnings[0]


def test_a_sequence_that_cannot_be_scored_is_left_out() -> None:
    clip = sequence(*[[Person(pose)] for pose in people(4)])
    short = replace(renamed(clip), frames=renamed(clip).frames[1:])
    headless = sequence([Person(people(1)[0], head_box=np.full(4, np.nan))], name="headless")
    pairs = [(clip, short), (headless, headless), (replace(clip, name="good"), clip)]
    evaluation = evaluate(pairs)
    assert evaluation.sequences.keys() == {"good"}
    assert evaluation.total["AP"]["total"] == 100
    uneven, without_head = evaluation.warnings
    assert uneven == "clip: expected 4 frames or the truth's image names, found 3: this sequence is not scored"
    assert without_head.startswith("headless: someone annotated in 000000.jpg has no head box")
    with pytest.raises(UserError, match="expected 4 frames"):
        evaluate(pairs[:2])


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
        assert set(np.round(values, 9)) <= {0.0, 100.0}, name  # 0 for a keypoint that is nowhere annotated
    # A frame without anyone annotated is left out, so that a miss can only come from frames without keypoints.
    for name in ("MOTA", "MOTP", "MOT_precision", "MOT_recall"):
        values = np.array(list(evaluation.total[name].values()))
        assert (np.isnan(values) | np.isclose(values, 100)).all(), name


@settings(deadline=None, max_examples=60)
@given(RANDOM_SEEDS)
def test_the_order_of_people_does_not_matter(seed: int) -> None:
    truth, predicted = wild_clip(seed)
    random = np.random.default_rng(seed)

    def shuffled(poses: PoseSequence) -> PoseSequence:
        return replace(poses, frames=[f.select(random.permutation(len(f))) for f in poses.frames])

    # Ties in the share of matching keypoints are settled by the order; here nobody ties.
    if _has_ties(truth, predicted):
        return
    before = evaluate([(truth, predicted)])
    same(before, evaluate([(truth, shuffled(predicted))]))
    # Of two people who had the same partner at different times, the first in the truth keeps it, as in motmetrics.
    same(before, evaluate([(shuffled(truth), predicted)]), AP_SCORES)


def _has_ties(truth: PoseSequence, predicted: PoseSequence) -> bool:
    for scored in pair(truth, predicted)[0]:
        shares = np.isfinite(scored.distances).sum(axis=2) / np.maximum(scored.annotated.sum(axis=1), 1)
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
def test_mending_a_keypoint_never_lowers_its_scores(seed: int) -> None:
    """With one person a frame, so that mending one keypoint does not change who is assigned to whom."""
    random = np.random.default_rng(seed)
    bodies = [people(1, seed + i)[0] for i in range(4)]
    estimates = [body + np.where(random.random((15, 1)) < 0.4, 300.0, 0.0) for body in bodies]
    scores = random.random((4, 15))

    def scored(poses: list[FloatArray]) -> Evaluation:
        truth = sequence(*[[Person(body)] for body in bodies])
        return evaluate([(truth, sequence(*[[Person(p, 0, s)] for p, s in zip(poses, scores, strict=True)]))])

    mended = copy.deepcopy(estimates)
    place, keypoint = random.integers(4), random.integers(15)
    mended[place][keypoint] = bodies[place][keypoint]
    before, after = scored(estimates), scored(mended)
    for name in ("AP", "AP_precision", "AP_recall", "MOTA", "MOT_precision", "MOT_recall"):
        for other in KEYPOINTS:
            assert after.total[name][other] >= before.total[name][other] - 1e-9
            if other != KEYPOINTS[keypoint] and name.startswith("MOT"):
                assert after.total[name][other] == before.total[name][other]


@settings(deadline=None, max_examples=25)
@given(RANDOM_SEEDS)
def test_counts_are_those_of_motmetrics(seed: int) -> None:
    import motmetrics

    frames, _ = pair(*wild_clip(seed, frames=8))
    counts = count(frames)
    for keypoint in range(0, 15, 5):
        accumulator = motmetrics.MOTAccumulator(auto_id=True)
        for scored in frames[:-1]:
            truth, found = np.flatnonzero(scored.annotated[:, keypoint]), np.flatnonzero(scored.predicted[:, keypoint])
            if not scored.truth_ids or not scored.predicted_ids:
                accumulator.update([0], [0], [[np.nan]])
                continue
            distances = scored.distances[np.ix_(found, truth)][..., keypoint].T
            distances[np.isinf(distances)] = np.nan
            truth_ids, found_ids = [scored.truth_ids[g] for g in truth], [scored.predicted_ids[p] for p in found]
            accumulator.update(truth_ids, found_ids, distances)
        names = ["num_objects", "num_detections", "num_misses", "num_false_positives", "num_switches"]
        expected = motmetrics.metrics.create().compute(accumulator, metrics=names, return_dataframe=False)
        ours = (counts.objects, counts.detections, counts.misses, counts.false_positives, counts.switches)
        assert [value[keypoint] for value in ours] == [expected[name] for name in names]
        assert counts.poseval_distance[keypoint] == pytest.approx(accumulator.events["D"].sum())


def document(tmp_path: Path, name: str, change: Callable[[dict[str, Any]], None] = lambda content: None) -> Path:
    """Writes a PoseTrack 2018 file of two frames with one person in each."""
    keypoints = np.zeros((17, 3))
    keypoints[POSETRACK15.mapping_to(POSETRACK18) >= 0] = 1
    keypoints[POSETRACK18.indices(*KEYPOINTS), :2] = people(1)[0]
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


def test_nan_keypoints_in_files(tmp_path: Path) -> None:
    def spoil(content: dict[str, Any]) -> None:
        content["annotations"][0]["keypoints"][0] = float("nan")

    scores = evaluate_files(PoseTrack18(), document(tmp_path, "gt"), document(tmp_path, "pred", spoil)).total
    assert scores["AP_precision"]["nose"] == 50
    assert scores["AP_recall"]["nose"] == 50


def test_people_without_points_in_files(tmp_path: Path) -> None:
    """PoseTrack 2017 files have people without a list of points, in several ways."""
    points = [{"id": [i], "x": [x], "y": [y]} for i, (x, y) in enumerate(people(1)[0].tolist())]
    someone = {"annopoints": [{"point": points}], "track_id": [0], "x1": [0], "y1": [0], "x2": [30], "y2": [40]}
    records = {"listed": someone, "absent": {}, "empty": {"annopoints": []}, "no points": {"annopoints": [{}]}}

    def write(name: str, *kinds: str) -> Path:
        entries = [{"image": [{"name": f"{i}.jpg"}], "annorect": [records[kind]]} for i, kind in enumerate(kinds)]
        (tmp_path / name).mkdir()
        (tmp_path / name / "clip.json").write_text(json.dumps({"annolist": entries}))
        return tmp_path / name

    everyone = write("everyone", *["listed"] * 4)
    some = write("some", *records)
    missed = evaluate_files(PoseTrack17(), everyone, some)
    assert missed.warnings == []
    assert missed.total["AP_precision"]["total"] == 100
    assert missed.total["AP_recall"]["total"] == 25
    imagined = evaluate_files(PoseTrack17(), some, everyone)
    assert imagined.warnings == []
    assert imagined.total["AP_precision"]["total"] == 25
    assert imagined.total["AP_recall"]["total"] == 100


def test_table(golden: Evaluation) -> None:
    lines = table(golden).split("\n")
    assert lines[0].split() == ["Head", "Shou", "Elb", "Wri", "Hip", "Knee", "Ankl", "Total"]
    ap, mota = PUBLIC["total_AP_metrics"], PUBLIC["total_MOT_metrics"]
    groups = [(14, 12, 13), (8, 9), (7, 10), (6, 11), (2, 3), (1, 4), (0, 5), (15,)]
    for line, title, values in ((lines[1], "AP", ap["ap"]), (lines[2], "MOTA", mota["mota"])):
        assert line.split() == [title, *(f"{sum(values[i] for i in group) / len(group):.1f}" for group in groups)]
    assert lines[3] == ""
    assert lines[4].split() == ["AP", "precision", f"{ap['pre'][-1]:.1f}"]
    assert lines[5].split() == ["AP", "recall", f"{ap['rec'][-1]:.1f}"]
    assert lines[7].split() == ["MOT", "precision", f"{mota['pre'][-1]:.1f}"]
    assert lines[8].split() == ["MOT", "recall", f"{mota['rec'][-1]:.1f}"]


def test_table_without_mota() -> None:
    clip = without_track_ids(sequence([Person(people(1)[0])]))
    assert table(evaluate([(clip, clip)])).split("\n")[2].split() == ["MOTA", *["–"] * 8]

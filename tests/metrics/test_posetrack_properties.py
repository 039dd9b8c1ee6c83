"""Properties of PoseTrack's scores, and motmetrics' counts of random clips."""

import copy
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scored_clips import Person, people, score, sequence, wild_clip

from hpr.metrics.frames import ScoredFrame, scored_frames
from hpr.metrics.posetrack import AP_SCORES, MOT_SCORES
from hpr.metrics.scores import Scores
from hpr.metrics.tracking import count
from hpr.metrics.truth import pair_frames
from hpr.poses import FloatArray, PoseSequence
from hpr.skeleton import POSETRACK15

RANDOM_SEEDS = st.integers(0, 2**32 - 1)
KEYPOINTS = POSETRACK15.names


def side_by_side(truth: PoseSequence, predicted: PoseSequence) -> list[ScoredFrame]:
    return scored_frames(pair_frames(truth, predicted, "a.json", 0)[0], truth.name)[0]


def same(first: Scores, second: Scores, names: Iterable[str] = AP_SCORES + MOT_SCORES) -> None:
    for name in names:
        values, others = (list(scored.by_keypoint[name].values()) for scored in (first, second))
        np.testing.assert_allclose(values, others, atol=1e-9, err_msg=name)


@settings(deadline=None, max_examples=25)
@given(RANDOM_SEEDS)
def test_truth_against_itself_is_perfect(seed: int) -> None:
    truth, _ = wild_clip(seed)
    scored = score((truth, truth))
    for name in AP_SCORES:  # 0 for a keypoint that is nowhere annotated
        assert set(np.round(list(scored.by_keypoint[name].values()), 9)) <= {0.0, 100.0}, name
    # A frame without anyone annotated is left out, so that a miss can only come from frames without keypoints.
    for name in ("MOTA", "MOTP", "MOT_precision", "MOT_recall"):
        values = np.array(list(scored.by_keypoint[name].values()))
        assert (np.isnan(values) | np.isclose(values, 100)).all(), name


@settings(deadline=None, max_examples=25)
@given(RANDOM_SEEDS)
def test_the_order_of_people_does_not_matter(seed: int) -> None:
    truth, predicted = wild_clip(seed, frames=2)
    random = np.random.default_rng(seed)

    def shuffled(poses: PoseSequence) -> PoseSequence:
        return replace(poses, frames=[f.select(random.permutation(len(f))) for f in poses.frames])

    # Ties in the share of matching keypoints are settled by the order; here nobody ties.
    for scored in side_by_side(truth, predicted):
        shares = np.isfinite(scored.distances).sum(axis=2) / np.maximum(scored.annotated.sum(axis=1), 1)
        assume(len(np.unique(shares[shares > 0])) == (shares > 0).sum())
    before = score((truth, predicted))
    same(before, score((truth, shuffled(predicted))))
    # Of two people who had the same partner at different times, the first in the truth keeps it, as in motmetrics.
    same(before, score((shuffled(truth), predicted)), AP_SCORES)


@settings(deadline=None, max_examples=25)
@given(RANDOM_SEEDS)
def test_mending_a_keypoint_never_lowers_its_scores(seed: int) -> None:
    """With one person a frame, so that mending one keypoint does not change who is assigned to whom."""
    random = np.random.default_rng(seed)
    bodies = [people(1, seed + i)[0] for i in range(4)]
    estimates = [body + np.where(random.random((15, 1)) < 0.4, 300.0, 0.0) for body in bodies]
    scores = random.random((4, 15))

    def scored(poses: list[FloatArray]) -> Scores:
        truth = sequence(*[[Person(body)] for body in bodies])
        return score((truth, sequence(*[[Person(p, 0, s)] for p, s in zip(poses, scores, strict=True)])))

    mended = copy.deepcopy(estimates)
    person, keypoint = random.integers(4), random.integers(15)
    mended[person][keypoint] = bodies[person][keypoint]
    before, after = scored(estimates), scored(mended)
    for name in ("AP", "AP_precision", "AP_recall", "MOTA", "MOT_precision", "MOT_recall"):
        for other in KEYPOINTS:
            assert after.by_keypoint[name][other] >= before.by_keypoint[name][other] - 1e-9
            if other != KEYPOINTS[keypoint] and name.startswith("MOT"):
                assert after.by_keypoint[name][other] == before.by_keypoint[name][other]


@settings(deadline=None, max_examples=10)
@given(RANDOM_SEEDS)
def test_counts_are_those_of_motmetrics(seed: int) -> None:
    import motmetrics

    frames = side_by_side(*wild_clip(seed, frames=8))
    counts = count(frames)
    for keypoint in range(0, 15, 5):
        accumulator = motmetrics.MOTAccumulator(auto_id=True)
        for scored in frames[:-1]:
            truth, found = np.flatnonzero(scored.annotated[:, keypoint]), np.flatnonzero(scored.predicted[:, keypoint])
            if not scored.truth.track_ids or not scored.estimate.track_ids:
                accumulator.update([0], [0], [[np.nan]])
                continue
            distances = scored.distances[np.ix_(found, truth)][..., keypoint].T
            distances[np.isinf(distances)] = np.nan
            truth_ids, found_ids = np.array(scored.truth.track_ids)[truth], np.array(scored.estimate.track_ids)[found]
            accumulator.update(truth_ids, found_ids, distances)

        own = {"num_detections": counts.detections, "num_misses": counts.misses}
        own |= {"num_false_positives": counts.false_positives, "num_switches": counts.switches}
        expected = motmetrics.metrics.create().compute(accumulator, metrics=list(own), return_dataframe=False)
        assert {name: values[keypoint] for name, values in own.items()} == expected
        assert counts.poseval_distance[keypoint] == pytest.approx(accumulator.events["D"].sum())

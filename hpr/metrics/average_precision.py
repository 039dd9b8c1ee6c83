"""Average precision of keypoints over frames, as PoseTrack computes it (docs/notes/scores.md, steps 5 and 6)."""

from collections.abc import Sequence

import numpy as np

from hpr.metrics.frames import NUM_KEYPOINTS, ScoredFrame
from hpr.poses import BoolArray, FloatArray, IntArray

MISSING_SCORE = -9999.0


def detections(frames: Sequence[ScoredFrame]) -> tuple[FloatArray, IntArray]:
    """Assigns predicted people to annotated ones in every frame and collects their keypoints.

    Returns:
        (N, 15, 2) of all predicted people: the score of a keypoint, NaN where the prediction has none, and 1 if it is a
        true positive, else 0. And (15,) how often the ground truth has each keypoint.
    """
    found, annotated = [np.empty((0, NUM_KEYPOINTS, 2))], np.zeros(NUM_KEYPOINTS, np.int64)
    for frame in frames:
        scores = np.where(np.isnan(frame.estimate.scores), MISSING_SCORE, frame.estimate.scores)
        scores = np.where(frame.predicted, scores, np.nan)
        found.append(np.stack([scores, _matched(frame)], axis=-1))
        annotated += frame.annotated.sum(axis=0)
    return np.concatenate(found), annotated


def average_precision(found: FloatArray, annotated: IntArray) -> dict[str, FloatArray]:
    """Returns AP and, over all predictions, precision and recall: each (15,), in percent.

    All three are 0 for a keypoint that is never predicted. AP and recall are NaN for one that is predicted but never
    annotated. The arguments are what `detections` returns.
    """
    rows = []
    for keypoint in range(NUM_KEYPOINTS):
        scores, matched = found[~np.isnan(found[:, keypoint, 0]), keypoint].T  # each (n,)
        rows.append(_curve(scores, matched > 0, int(annotated[keypoint])))

    values = 100 * np.array(rows).T  # (15, 3) -> (3, 15)
    return dict(zip(("AP", "AP_precision", "AP_recall"), values, strict=True))


def _matched(frame: ScoredFrame) -> BoolArray:
    """Returns (P, 15) which predicted keypoints match those of the person they are assigned to."""
    matches = np.isfinite(frame.distances)  # (P, G, 15)
    matched = np.zeros(frame.predicted.shape, bool)
    if matches.size == 0:
        return matched

    # Each prediction keeps its best person alone; then each person takes the best of those predictions.
    pck = matches.sum(axis=2) / np.maximum(frame.annotated.sum(axis=1), 1)  # (P, G)
    is_best = np.arange(pck.shape[1]) == pck.argmax(axis=1)[:, None]
    pck = np.where(is_best, pck, 0)

    people = np.flatnonzero(pck.max(axis=0) > 0)
    estimates = pck.argmax(axis=0)[people]
    matched[estimates] = matches[estimates, people]
    return matched


def _curve(scores: FloatArray, matched: BoolArray, annotated: int) -> tuple[float, float, float]:
    """Returns area under the precision-recall curve, precision and recall of one keypoint's n predictions."""
    if len(scores) == 0:
        return 0.0, 0.0, 0.0

    # The public tool ranks with numpy's default sort, which may leave equal scores in any order.
    ranked = np.cumsum(matched[np.argsort(scores)[::-1]])
    precision = ranked / np.arange(1, len(ranked) + 1)
    if annotated == 0:
        return np.nan, precision[-1], np.nan
    recall = ranked / annotated

    # What counts at a recall is the best precision at that recall or a higher one.
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    area = np.sum(np.diff(recall, prepend=0.0) * envelope)
    return float(area), precision[-1], recall[-1]

"""Average precision of joints over frames, as PoseTrack computes it (FORMATS.md, scoring 5 and 6)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hpr.evaluation.frames import BoolArray, ScoredFrame
from hpr.poses import FloatArray
from hpr.skeleton import NUM_JOINTS

MISSING_SCORE = -9999.0


@dataclass(frozen=True)
class Detections:
    """Every predicted joint of a number of frames, with what became of it.

    Attributes:
        scores: For each of the 15 joints, (n,) scores.
        right: For each of the 15 joints, (n,), whether it is a true positive.
        annotated: (15,) how many joints the truth has.
    """

    scores: list[FloatArray]
    right: list[BoolArray]
    annotated: NDArray[np.int64]


def detections(frames: list[ScoredFrame]) -> Detections:
    """Assigns predicted people to annotated ones in every frame and collects their joints."""
    found = np.concatenate([np.empty((0, NUM_JOINTS), bool), *(frame.found for frame in frames)])  # (N, 15)
    scores = np.concatenate([np.empty((0, NUM_JOINTS)), *(frame.scores for frame in frames)])
    scores = np.where(np.isnan(scores), MISSING_SCORE, scores)
    right = np.concatenate([np.empty((0, NUM_JOINTS), bool), *(_right(frame) for frame in frames)])
    annotated = (
        np.array([frame.annotated.sum(axis=0) for frame in frames], np.int64).reshape(-1, NUM_JOINTS).sum(axis=0)
    )
    return Detections(
        [scores[found[:, joint], joint] for joint in range(NUM_JOINTS)],
        [right[found[:, joint], joint] for joint in range(NUM_JOINTS)],
        annotated,
    )


def merged(parts: list[Detections]) -> Detections:
    """Returns the detections of several sequences as those of one."""
    return Detections(
        [np.concatenate([part.scores[joint] for part in parts]) for joint in range(NUM_JOINTS)],
        [np.concatenate([part.right[joint] for part in parts]) for joint in range(NUM_JOINTS)],
        np.sum([part.annotated for part in parts], axis=0),
    )


def average_precision(found: Detections) -> dict[str, FloatArray]:
    """Returns AP and, over all predictions, precision and recall: each (15,), in percent.

    All three are 0 for a joint that is never predicted. AP and recall are NaN for one that is
    predicted but never annotated.
    """
    rows = [_curve(*joint) for joint in zip(found.scores, found.right, found.annotated, strict=True)]
    values = 100 * np.array(rows).T  # (15, 3) -> (3, 15)
    return dict(zip(("AP", "AP_precision", "AP_recall"), values, strict=True))


def _right(frame: ScoredFrame) -> BoolArray:
    """Returns (P, 15), which predicted joints match those of the person they are assigned to."""
    matches = np.isfinite(frame.distances)  # (P, G, 15)
    right = np.zeros((len(frame.predicted), NUM_JOINTS), bool)
    if matches.size:
        # Each prediction keeps its best person alone; then each person takes the best of those predictions.
        pck = matches.sum(axis=2) / np.maximum(frame.annotated.sum(axis=1), 1)  # (P, G)
        pck = np.where(np.arange(pck.shape[1]) == pck.argmax(axis=1)[:, None], pck, 0)
        people = np.flatnonzero(pck.max(axis=0) > 0)
        takers = pck.argmax(axis=0)[people]
        right[takers] = matches[takers, people]
    return right


def _curve(scores: FloatArray, right: BoolArray, annotated: int) -> tuple[float, float, float]:
    """Returns area under the curve, precision and recall of one joint's detections, each from 0 to 1."""
    if not len(scores):
        return 0.0, 0.0, 0.0
    # The public tool ranks with numpy's default sort, which is free to order equal scores as it likes.
    ranked = np.cumsum(right[np.argsort(scores)[::-1]])
    precision = ranked / np.arange(1, len(ranked) + 1)
    if not annotated:
        return np.nan, precision[-1], np.nan
    recall = ranked / annotated
    # At each recall counts the best precision at that recall or a higher one.
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    area = np.sum(np.diff(recall, prepend=0.0) * envelope)
    return float(area), precision[-1], recall[-1]

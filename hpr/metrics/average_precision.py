"""Average precision of keypoints over frames, as PoseTrack computes it (docs/formats.md, section 4, steps 5 and 6)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpr.metrics.frames import NUM_KEYPOINTS, ScoredFrame
from hpr.poses import BoolArray, FloatArray, IntArray

MISSING_SCORE = -9999.0


@dataclass(frozen=True)
class Detections:
    """The N predicted people of some frames, with which of their keypoints are right.

    Attributes:
        scores: (N, 15) scores of the keypoints; MISSING_SCORE where the file holds none.
        predicted: (N, 15) which keypoints the prediction has.
        matched: (N, 15) which of them are true positives.
        annotated: (15,) how often the ground truth has each keypoint.
    """

    scores: FloatArray
    predicted: BoolArray
    matched: BoolArray
    annotated: IntArray

    @classmethod
    def from_frames(cls, frames: Sequence[ScoredFrame]) -> "Detections":
        """Assigns predicted people to annotated ones in every frame and collects their keypoints."""
        shape = (0, NUM_KEYPOINTS)
        nobody = cls(np.empty(shape), np.empty(shape, bool), np.empty(shape, bool), np.zeros(NUM_KEYPOINTS, np.int64))
        parts = [nobody]
        for frame in frames:
            scores = np.where(np.isnan(frame.estimate.scores), MISSING_SCORE, frame.estimate.scores)
            parts.append(cls(scores, frame.predicted, _matched(frame), frame.annotated.sum(axis=0)))
        return cls.merge(parts)

    @classmethod
    def merge(cls, parts: Sequence["Detections"]) -> "Detections":
        """Merges the detections of several sets of frames."""
        return cls(
            np.concatenate([part.scores for part in parts]),
            np.concatenate([part.predicted for part in parts]),
            np.concatenate([part.matched for part in parts]),
            np.sum([part.annotated for part in parts], axis=0),
        )


def average_precision(found: Detections) -> dict[str, FloatArray]:
    """Returns AP and, over all predictions, precision and recall: each (15,), in percent.

    All three are 0 for a keypoint that is never predicted. AP and recall are NaN for one that is predicted but never
    annotated.
    """
    rows = []
    for keypoint in range(NUM_KEYPOINTS):
        predicted = found.predicted[:, keypoint]
        scores, matched = found.scores[predicted, keypoint], found.matched[predicted, keypoint]
        rows.append(_curve(scores, matched, int(found.annotated[keypoint])))

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
    """Returns area under the precision-recall curve, precision and recall of one keypoint, each from 0 to 1.

    Args:
        scores: (n,) scores of its predictions.
        matched: (n,) which of them are true positives.
        annotated: How often the ground truth has it.
    """
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

"""CLEAR-MOT of every keypoint on its own, as PoseTrack computes it (docs/notes/scores.md, steps 7 and 8)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from functools import partial

import numpy as np
from scipy.optimize import linear_sum_assignment

from hpr.metrics.frames import NUM_KEYPOINTS, ScoredFrame
from hpr.poses import BoolArray, FloatArray, TrackId

_NONE = -1

_zeros = partial(np.zeros, NUM_KEYPOINTS)


@dataclass
class TrackingCounts:
    """Counts of one or more sequences, each (15,).

    Attributes:
        detections: Annotated keypoints with a prediction.
        misses: Annotated keypoints without one.
        false_positives: Predictions without an annotated keypoint.
        switches: Detections by another track than the last time.
        distance: Sum over the detections, in head sizes.
        poseval_distance: The sum that the public tool takes for it: motmetrics (from 1.1) repeats the distances of all
            possible pairs and of some detections in events of other kinds.
    """

    detections: FloatArray = field(default_factory=_zeros)
    misses: FloatArray = field(default_factory=_zeros)
    false_positives: FloatArray = field(default_factory=_zeros)
    switches: FloatArray = field(default_factory=_zeros)
    distance: FloatArray = field(default_factory=_zeros)
    poseval_distance: FloatArray = field(default_factory=_zeros)

    @classmethod
    def merge(cls, parts: Sequence["TrackingCounts"]) -> "TrackingCounts":
        """Adds up the counts of several sequences."""
        return cls(*(np.sum([getattr(part, item.name) for part in parts], axis=0) for item in fields(cls)))


def tracking_scores(counts: TrackingCounts) -> dict[str, FloatArray]:
    """Returns MOTA, MOTP, precision and recall, each (15,), in percent; NaN where there is nothing to divide by.

    "MOTP_poseval" is what the public tool calls MOTP: see `TrackingCounts.poseval_distance`.
    """
    objects = counts.detections + counts.misses
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = counts.misses + counts.false_positives + counts.switches
        values = {
            "MOTA": np.where(objects > 0, 1 - errors / objects, np.nan),
            "MOTP": 1 - counts.distance / counts.detections,
            "MOTP_poseval": np.where(counts.detections > 0, 1 - counts.poseval_distance / counts.detections, 0.0),
            "MOT_precision": counts.detections / (counts.detections + counts.false_positives),
            "MOT_recall": counts.detections / objects,
        }
    return {name: 100 * value for name, value in values.items()}


def count(frames: Sequence[ScoredFrame]) -> TrackingCounts:
    """Follows every keypoint through the frames of one sequence.

    The last frame is not counted, and a frame without annotated or without predicted people counts as one miss and one
    false positive of every keypoint, as in the public tool.
    """
    tracks = _Tracks(frames)
    for frame in frames[:-1]:
        tracks.update(frame)
    return tracks.counts


class _Tracks:
    """State of CLEAR-MOT (Bernardin and Stiefelhagen, 2008) for all keypoints side by side.

    People are numbered by their track ids: annotated ones 0 … T - 1, predicted ones 0 … S - 1.
    """

    def __init__(self, frames: Sequence[ScoredFrame]) -> None:
        self._truth = _numbers(track for frame in frames for track in frame.truth.track_ids)
        self._predicted = _numbers(track for frame in frames for track in frame.estimate.track_ids)
        people, estimates = len(self._truth), len(self._predicted)

        self.counts = TrackingCounts()
        self._partner = np.full((NUM_KEYPOINTS, people), _NONE)  # last prediction of each person
        self._owner = np.full((NUM_KEYPOINTS, estimates), _NONE)  # person that a prediction was last newly given to
        self._used = np.zeros((NUM_KEYPOINTS, estimates), bool)  # predictions that ever had a person

    def update(self, frame: ScoredFrame) -> None:
        """Counts one frame."""
        counts = self.counts
        if not len(frame.truth) or not len(frame.estimate):
            counts.misses += 1
            counts.false_positives += 1
            return

        distances = frame.distances.transpose(2, 1, 0)  # (P, G, 15) -> (15, G, P)
        possible = np.isfinite(distances)
        matched = self._match(frame, distances, possible)

        detections = matched.sum(axis=(1, 2))
        counts.detections += detections
        counts.misses += frame.annotated.sum(axis=0) - detections
        counts.false_positives += frame.predicted.sum(axis=0) - detections

        distance = np.where(matched, distances, 0).sum(axis=(1, 2))
        counts.distance += distance
        counts.poseval_distance += distance + np.where(possible, distances, 0).sum(axis=(1, 2))

    def _match(self, frame: ScoredFrame, distances: FloatArray, possible: BoolArray) -> BoolArray:
        """Returns (15, G, P) who is whose partner in a frame, and remembers it."""
        people = np.array([self._truth[track] for track in frame.truth.track_ids])
        estimates = np.array([self._predicted[track] for track in frame.estimate.track_ids])

        # Who can keep the partner of the last time does; the first of two who had the same one at different times.
        same = (self._partner[:, people, None] == estimates) & possible
        kept = same & (np.cumsum(same, axis=1) == 1)
        self._used[:, estimates] |= kept.any(axis=1)

        # All others may get a new one among the predictions that are left.
        free = possible & ~kept.any(axis=2, keepdims=True) & ~kept.any(axis=1, keepdims=True)
        matched = np.asarray(kept.copy())
        for keypoint in np.flatnonzero(free.any(axis=(1, 2))).tolist():
            for g, p in _assign(distances[keypoint], free[keypoint]):
                matched[keypoint, g, p] = True
                self._start(keypoint, people[g], estimates[p], distances[keypoint, g, p])
        return matched

    def _start(self, keypoint: int, person: int, estimate: int, distance: float) -> None:
        """Makes a prediction the partner of a person who did not keep one."""
        before = self._partner[keypoint, person]
        if before not in (_NONE, estimate):
            self.counts.switches[keypoint] += 1
            if not self._used[keypoint, estimate]:
                self.counts.poseval_distance[keypoint] += distance  # an event ASCEND

        if self._owner[keypoint, estimate] not in (_NONE, person):
            # An event TRANSFER, and MIGRATE if the person never had a partner.
            self.counts.poseval_distance[keypoint] += distance * (2 if before == _NONE else 1)

        self._partner[keypoint, person] = estimate
        self._owner[keypoint, estimate] = person
        self._used[keypoint, estimate] = True


def _numbers(ids: Iterable[TrackId]) -> dict[TrackId, int]:
    """Numbers ids in the order of their appearance."""
    return {track: number for number, track in enumerate(dict.fromkeys(ids))}


def _assign(distances: FloatArray, free: BoolArray) -> list[tuple[int, int]]:
    """Returns pairs of rows and columns: as many as possible, and of those the ones with the least total distance."""
    rows, columns = np.nonzero(free)
    if len(set(rows.tolist())) == len(rows) and len(set(columns.tolist())) == len(columns):
        return list(zip(rows.tolist(), columns.tolist(), strict=True))  # each has one candidate

    # One impossible pair costs more than all possible ones together.
    impossible = 1 + 2 * len(rows) * distances[rows, columns].max()
    chosen = zip(*linear_sum_assignment(np.where(free, distances, impossible)), strict=True)
    return [(row, column) for row, column in chosen if free[row, column]]

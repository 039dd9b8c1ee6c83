"""PoseTrack's AP and MOTA of whole files, to the digit of the public tool (docs/notes/scores.md)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hpr.errors import UserError, counted
from hpr.metrics.average_precision import average_precision, detections
from hpr.metrics.frames import scored_frames, track_id_problem
from hpr.metrics.scores import Scores
from hpr.metrics.tracking import TrackingCounts, count, tracking_scores
from hpr.metrics.truth import SILENT, FramePair, NamedSequences, Progress, Truth, pair_frames
from hpr.poses import FloatArray, Frame, IntArray, PoseSequence
from hpr.skeleton import POSETRACK15

AP_SCORES = ("AP", "AP_precision", "AP_recall")
MOT_SCORES = ("MOTA", "MOTP", "MOTP_poseval", "MOT_precision", "MOT_recall")

KEYPOINT_GROUPS = {
    "Head": ("head_top", "head_bottom", "nose"),
    "Shou": ("right_shoulder", "left_shoulder"),
    "Elb": ("right_elbow", "left_elbow"),
    "Wri": ("right_wrist", "left_wrist"),
    "Hip": ("right_hip", "left_hip"),
    "Knee": ("right_knee", "left_knee"),
    "Ankl": ("right_ankle", "left_ankle"),
}
"""Columns of the tables that PoseTrack results are printed in. The last column is the mean over the keypoints."""

_TOTAL = "Total"


class _ScoredClip(NamedTuple):
    """Detections of one sequence and its tracks; None where people cannot be told apart over time."""

    name: str
    found: FloatArray
    annotated: IntArray
    tracks: TrackingCounts | None = None


class PoseTrackTruth(Truth):
    """Annotated clips. Files pair by their names, the sequences of two files by theirs."""

    def __init__(self, files: NamedSequences, origin: str = "the annotations") -> None:
        """Prepares for scoring; a file is read when the first prediction for it is looked up, and kept."""
        self.origin, self._files = origin, files
        self._known: dict[str, Sequence[PoseSequence]] = {}

    def score(self, predicted: NamedSequences, progress: Progress = SILENT, mota_threshold: float = 0.0) -> Scores:
        """See `Truth`. There are no MOT scores in total if one of the sequences has none."""
        clips: list[_ScoredClip] = []
        warnings: list[str] = []
        for name, pairs in self._clips(predicted, progress, warnings):
            try:
                clip, odd = _score_clip(name, pairs, mota_threshold)
            except UserError as error:
                warnings.append(f"{error}: this sequence is left out")
            else:
                clips.append(clip)
                warnings += odd

        if not clips:
            raise UserError("; ".join(warnings) or "there is no sequence to be scored")
        sequences = {clip.name: _scores([clip]) for clip in clips}
        return replace(_scores(clips), sequences=sequences, warnings=[*warnings, *self._unpaired(predicted)])

    def pairs(self, predicted: NamedSequences, progress: Progress = SILENT) -> tuple[list[FramePair], list[str]]:
        """See `Truth`. Frames without an annotated person are left out, as in scoring."""
        warnings: list[str] = []
        found = [pair for _, pairs in self._clips(predicted, progress, warnings) for pair in pairs]
        if not found:
            raise UserError("; ".join(warnings) or f"{self.origin}: expected annotated people, found none")
        return found, [*warnings, *self._unpaired(predicted)]

    def _clips(
        self, predicted: NamedSequences, progress: Progress, warnings: list[str]
    ) -> Iterator[tuple[str, list[FramePair]]]:
        """Yields the name of each sequence and its frames; adds to the warnings."""
        names = sorted(self._files.keys() & predicted.keys())
        if predicted and not names:
            expected = f"expected a file named like one of the predictions, such as {min(predicted)}"
            raise UserError(f"{self.origin}: {expected}, found none")

        for file in names:
            if file not in self._known:
                self._known[file] = self._files[file]
            for index, truth, estimate in _paired_clips(self._known[file], predicted[file]):
                try:
                    pairs, odd = pair_frames(truth, estimate, file, index)
                except UserError as error:
                    warnings.append(f"{error}: this sequence is left out")
                else:
                    warnings += odd
                    yield truth.name, pairs
            progress(1)

    def _unpaired(self, predicted: NamedSequences) -> list[str]:
        """Returns warnings about files that are on one side only."""
        sides = {"prediction": self._files.keys() - predicted.keys(), "truth": predicted.keys() - self._files.keys()}
        return [
            f"left out: {counted(len(names), 'file')} without {kind}, such as {min(names)}"
            for kind, names in sides.items()
            if names
        ]


def _paired_clips(
    truth: Sequence[PoseSequence], predicted: Sequence[PoseSequence]
) -> list[tuple[int, PoseSequence, PoseSequence]]:
    """Pairs sequences, each predicted one after its index and its truth: by name, unless each file has only one."""
    if len(truth) == len(predicted) == 1:
        return [(0, truth[0], predicted[0])]

    true_clips = {clip.name: clip for clip in truth}
    clips = {clip.name: (index, clip) for index, clip in enumerate(predicted)}
    found = []
    for name in dict.fromkeys([*true_clips, *clips]):
        nobody = PoseSequence(name, [])
        index, clip = clips.get(name, (len(predicted), nobody))
        found.append((index, true_clips.get(name, nobody), clip))
    return found


def _score_clip(name: str, pairs: Sequence[FramePair], mota_threshold: float) -> tuple[_ScoredClip, list[str]]:
    """Scores one sequence; see `Truth.score`. A missing head box is a `UserError`."""
    frames, warnings = scored_frames(pairs, name)
    clip = _ScoredClip(name, *detections(frames))
    if problem := track_id_problem(frames):
        warnings.append(f"{name}: {problem}, so that there is no MOTA")
        return clip, warnings

    if len(frames) == 1:
        warnings.append(f"{name}: one annotated frame, and MOTA does not count a sequence's last")
    if mota_threshold > 0:
        pairs = [pair._replace(estimate=_confident(pair.estimate, mota_threshold)) for pair in pairs]
        frames, _ = scored_frames(pairs, name)
    return clip._replace(tracks=count(frames)), warnings


def _confident(frame: Frame, threshold: float) -> Frame:
    """Removes refined keypoints whose confidence is not above a threshold; others have no confidence and stay."""
    is_kept = np.isnan(frame.confidences) | (frame.confidences > threshold)  # (N, K)
    keypoints = np.where(is_kept[..., None], frame.keypoints, np.nan)
    return replace(frame, keypoints=keypoints, flags=np.where(is_kept, frame.flags, 0.0))


def _scores(clips: Sequence[_ScoredClip]) -> Scores:
    """Returns the scores over some sequences."""
    annotated = np.sum([clip.annotated for clip in clips], axis=0)
    values = average_precision(np.concatenate([clip.found for clip in clips]), annotated)
    tracks = [clip.tracks for clip in clips if clip.tracks is not None]
    if len(tracks) == len(clips):
        values |= tracking_scores(TrackingCounts.merge(tracks))

    by_keypoint = {}
    for metric in AP_SCORES + MOT_SCORES:
        own = values.get(metric, np.full(len(POSETRACK15), np.nan))
        mean = math.nan if np.isnan(own).all() else float(np.mean(own[~np.isnan(own)]))
        by_keypoint[metric] = {**dict(zip(POSETRACK15.names, own.tolist(), strict=True)), "total": mean}

    table = {}
    for metric in ("AP", "MOTA"):
        row = by_keypoint[metric]
        groups = {name: float(np.mean([row[own] for own in keypoints])) for name, keypoints in KEYPOINT_GROUPS.items()}
        table[metric] = {**groups, _TOTAL: row["total"]}

    mean_ap, mota = table["AP"][_TOTAL], table["MOTA"][_TOTAL]
    metrics = {"mAP": mean_ap, "MOTA": mota, "PCKh": by_keypoint["AP_recall"]["total"]}
    selection = mean_ap if math.isnan(mota) else (mean_ap + mota) / 2  # single images have no MOTA
    return Scores(table, _TOTAL, metrics, selection, by_keypoint)

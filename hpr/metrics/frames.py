"""Ground truth and prediction of one image side by side, as PoseTrack scores them (docs/formats.md, section 4)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath

import numpy as np
import shapely

from hpr.errors import UserError
from hpr.poses import BoolArray, FloatArray, Frame, PoseSequence, TrackId
from hpr.skeleton import POSETRACK15

NUM_KEYPOINTS = len(POSETRACK15)

MATCH_DISTANCE = 0.5
"""A keypoint matches within this many head sizes (PCKh)."""

_HEAD_SIZE_PER_DIAGONAL = 0.6


@dataclass(frozen=True)
class ScoredFrame:
    """One image with G people in the ground truth and P predicted ones, all with the keypoints of POSETRACK15.

    Attributes:
        truth_keypoints: (G, 15, 2) annotated keypoints in image pixels; NaN where not annotated, infinite where the
            coordinates are no numbers.
        predicted_keypoints: (P, 15, 2) predicted keypoints, likewise.
        scores: (P, 15) of the predicted keypoints; NaN where the file holds none.
        head_sizes: (G,) in pixels.
        truth_ids: Track ids of the G people; None where the file holds none.
        predicted_ids: Track ids of the P people; None where the file holds none.
    """

    truth_keypoints: FloatArray
    predicted_keypoints: FloatArray
    scores: FloatArray
    head_sizes: FloatArray
    truth_ids: tuple[TrackId, ...]
    predicted_ids: tuple[TrackId, ...]

    @cached_property
    def annotated(self) -> BoolArray:
        """(G, 15) which keypoints the ground truth has."""
        return ~np.isnan(self.truth_keypoints[..., 0])

    @cached_property
    def predicted(self) -> BoolArray:
        """(P, 15) which keypoints the prediction has."""
        return ~np.isnan(self.predicted_keypoints[..., 0])

    @cached_property
    def distances(self) -> FloatArray:
        """(P, G, 15) between keypoints in head sizes; infinite where one is missing or they are too far apart."""
        with np.errstate(invalid="ignore", divide="ignore"):  # infinite coordinates, heads without a size
            offsets = self.predicted_keypoints[:, None] - self.truth_keypoints[None]  # (P, G, 15, 2)
            distances = np.linalg.norm(offsets, axis=-1) / self.head_sizes[None, :, None]
        return np.where(distances <= MATCH_DISTANCE, distances, np.inf)


def pair(truth: PoseSequence, predicted: PoseSequence) -> tuple[list[ScoredFrame], list[str]]:
    """Puts the frames of ground truth and prediction side by side, without what is not scored.

    Every keypoint that a file has is present (section 4, step 2). Frames without a person in the ground truth are left
    out, and within a frame people without a list of keypoints, the keypoints in an ignore region and the people who
    then have none left (step 3).

    Args:
        truth: Of any skeleton; its keypoints are found by name.
        predicted: Of any skeleton.

    Returns:
        The frames, and what is odd about the files, in words.

    Raises:
        UserError: The frames cannot be paired, or a head box is missing.
    """
    pairs, warnings = paired_frames(truth, predicted)
    frames = []
    for true_frame, predicted_frame in pairs:
        if len(true_frame) == 0:  # one that lists only people without keypoints is not left out
            continue
        people, estimates = _scorable(true_frame), _scorable(predicted_frame)

        if true_frame.ignore_regions:
            regions = [shapely.Polygon(region) for region in true_frame.ignore_regions if len(region) > 2]
            people, estimates = _outside(people, regions), _outside(estimates, regions)
            if len(regions) < len(true_frame.ignore_regions):
                odd = "has an ignore region of less than three points, which is passed over"
                warnings.append(f"{truth.name}: {true_frame.image} {odd}")

        if np.isnan(people.head_boxes).all(axis=1).any():
            where = f"{truth.name}: someone annotated in {people.image}"
            raise UserError(f"{where} has no head box, and distances are in head sizes")
        frames.append(_side_by_side(people, estimates))
    return frames, warnings


def paired_frames(truth: PoseSequence, predicted: PoseSequence) -> tuple[list[tuple[Frame, Frame]], list[str]]:
    """Pairs frames by the names of their images; by position where the names say nothing.

    The public tool pairs by position and does not look at the names.

    Returns:
        Frames of truth and prediction, and what is odd about the files, in words.

    Raises:
        UserError: The frames cannot be paired.
    """
    names, others = ([PurePosixPath(f.image).stem for f in sequence.frames] for sequence in (truth, predicted))
    by_position = list(zip(truth.frames, predicted.frames, strict=False))
    if names == others:
        return by_position, []

    are_unique = len(set(names)) == len(names) and len(set(others)) == len(others)
    if not are_unique or not set(names) & set(others):
        if len(names) != len(others):
            expected = f"expected {len(names)} frames or the truth's image names, found {len(others)}"
            raise UserError(f"{predicted.name}: {expected}")
        odd = "its images have other names than the truth's; frames are paired by position"
        return by_position, [f"{predicted.name}: {odd}"]

    frames = dict(zip(others, predicted.frames, strict=True))
    empty = (Frame.empty(frame.image, POSETRACK15) for frame in truth.frames)
    by_name = [frames.get(name, nobody) for name, nobody in zip(names, empty, strict=True)]
    odd = _difference(names, others)
    return list(zip(truth.frames, by_name, strict=True)), [f"{predicted.name}: {odd}"]


def _difference(names: Sequence[str], others: Sequence[str]) -> str:
    """Returns how the prediction's image names differ from those of the truth, in words."""
    missing, extra = len(set(names) - set(others)), len(set(others) - set(names))
    if not missing and not extra:
        return "its frames are in another order than the truth's; they are paired by name"
    absent = f"{missing} of the truth's {len(names)} frames are missing and count as empty"
    return f"{absent}; {extra} frames are not in the truth and do not count"


def _scorable(frame: Frame) -> Frame:
    """Returns the people who have a list of keypoints, be it an empty one, with the keypoints of POSETRACK15."""
    people = frame.select(frame.posed)
    keypoints, scores = (people.skeleton.convert(values, POSETRACK15) for values in (people.keypoints, people.scores))
    return Frame(frame.image, POSETRACK15, keypoints, scores, head_boxes=people.head_boxes, track_ids=people.track_ids)


def _outside(frame: Frame, regions: Sequence[shapely.Polygon]) -> Frame:
    """Returns a frame without the keypoints inside of regions and the people who have none left.

    The boundary of a region is outside of it.
    """
    finite = np.isfinite(frame.keypoints).all(axis=-1)  # (N, 15)
    inside = np.zeros_like(finite)
    for region in regions:
        inside[finite] |= shapely.contains_xy(region, frame.keypoints[finite])
    left = np.where(inside[..., None], np.nan, frame.keypoints)
    gone = np.asarray(np.isnan(left).all(axis=(1, 2)))
    return replace(frame, keypoints=left).select(~gone)


def _side_by_side(people: Frame, estimates: Frame) -> ScoredFrame:
    """Returns the annotated and the predicted people of one image."""
    diagonals = people.head_boxes[:, 2:] - people.head_boxes[:, :2]
    return ScoredFrame(
        people.keypoints,
        estimates.keypoints,
        estimates.scores,
        _HEAD_SIZE_PER_DIAGONAL * np.linalg.norm(diagonals, axis=1),
        people.track_ids,
        estimates.track_ids,
    )


def track_id_problem(frames: Sequence[ScoredFrame]) -> str | None:
    """Returns why the people of a sequence cannot be told apart over time; None if they can."""
    for frame in frames:
        for kind, ids in (("annotated", frame.truth_ids), ("predicted", frame.predicted_ids)):
            if None in ids:
                return f"someone {kind} has no track id"
            if len(set(ids)) < len(ids):
                return f"two people {kind} in one frame have the same track id"
    return None

"""What PoseTrack scores of one image: annotated and predicted people side by side (docs/notes/scores.md)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import shapely

from hpr.errors import UserError
from hpr.metrics.truth import FramePair
from hpr.poses import BoolArray, FloatArray, Frame, head_sizes
from hpr.skeleton import POSETRACK15

NUM_KEYPOINTS = len(POSETRACK15)

MATCH_DISTANCE = 0.5
"""A keypoint is right within this many head sizes, in PoseTrack as in PCKh."""


@dataclass(frozen=True)
class ScoredFrame:
    """One image with G people in the ground truth and P predicted ones, all with the keypoints of POSETRACK15.

    Keypoints are NaN where a file has none and infinite where its coordinates are no numbers: those are present and
    never right.

    Attributes:
        truth: The annotated people that are scored.
        estimate: The predicted people that are scored.
    """

    truth: Frame
    estimate: Frame

    @cached_property
    def annotated(self) -> BoolArray:
        """(G, 15) which keypoints the ground truth has."""
        return ~np.isnan(self.truth.keypoints[..., 0])

    @cached_property
    def predicted(self) -> BoolArray:
        """(P, 15) which keypoints the prediction has."""
        return ~np.isnan(self.estimate.keypoints[..., 0])

    @cached_property
    def distances(self) -> FloatArray:
        """(P, G, 15) between keypoints in head sizes; infinite where one is missing or they are too far apart."""
        sizes = head_sizes(self.truth.head_boxes)
        distances = distances_in_heads(self.estimate.keypoints, self.truth.keypoints, sizes)
        return np.where(distances <= MATCH_DISTANCE, distances, np.inf)


def distances_in_heads(estimates: FloatArray, truth: FloatArray, sizes: FloatArray) -> FloatArray:
    """Returns (..., P, G, K) the distances between keypoints in head sizes; NaN where one is missing.

    Args:
        estimates: (..., P, K, 2) in image pixels.
        truth: (G, K, 2) in image pixels.
        sizes: (G,) head sizes of the annotated people in pixels.
    """
    with np.errstate(all="ignore"):  # infinite and huge coordinates, heads without a size
        offsets = estimates[..., None, :, :] - truth  # (..., P, G, K, 2)
        return np.asarray(np.linalg.norm(offsets, axis=-1) / sizes[:, None])


def scored_frames(pairs: Sequence[FramePair], name: str) -> tuple[list[ScoredFrame], list[str]]:
    """Removes what is not scored from the frames of a clip (section 4, steps 2 and 3).

    Every keypoint that a file has counts. Within a frame, people without a list of keypoints are left out, and then
    keypoints in an ignore region and people who have no others. Keypoints of any skeleton are found by name.

    Returns:
        The frames, and warnings, which name the clip.

    Raises:
        UserError: A head box is missing.
    """
    frames, warnings = [], []
    for pair in pairs:
        truth, estimate = (own.select(own.posed).in_skeleton(POSETRACK15) for own in (pair.truth, pair.estimate))

        if outlines := pair.truth.ignore_regions:
            regions = [shapely.Polygon(outline) for outline in outlines if len(outline) > 2]
            truth, estimate = _outside(truth, regions), _outside(estimate, regions)
            if len(regions) < len(outlines):
                odd = "has an ignore region of less than three points, which is passed over"
                warnings.append(f"{name}: {truth.image} {odd}")

        if np.isnan(truth.head_boxes).all(axis=1).any():
            where = f"{name}: someone annotated in {truth.image}"
            raise UserError(f"{where} has no head box, and distances are in head sizes")
        frames.append(ScoredFrame(truth, estimate))
    return frames, warnings


def _outside(frame: Frame, regions: Sequence[shapely.Polygon]) -> Frame:
    """Removes keypoints inside of regions, not those on a boundary, and people who have none left."""
    finite = np.isfinite(frame.keypoints).all(axis=-1)  # (N, 15)
    inside = np.zeros_like(finite)
    for region in regions:
        inside[finite] |= shapely.contains_xy(region, frame.keypoints[finite])

    left = np.where(inside[..., None], np.nan, frame.keypoints)
    is_empty = np.asarray(np.isnan(left).all(axis=(1, 2)))
    return replace(frame, keypoints=left).select(~is_empty)


def track_id_problem(frames: Sequence[ScoredFrame]) -> str | None:
    """Returns why the people of a sequence cannot be told apart over time; None if they can."""
    for frame in frames:
        for kind, people in (("annotated", frame.truth), ("predicted", frame.estimate)):
            if None in people.track_ids:
                return f"someone {kind} has no track id"
            if len(set(people.track_ids)) < len(people):
                return f"two people {kind} in one frame have the same track id"
    return None

"""Truth and prediction of one image side by side, as the PoseTrack evaluation looks at them (FORMATS.md)."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath

import numpy as np
import shapely
from numpy.typing import NDArray

from hpr.errors import UserError
from hpr.poses import FloatArray, Frame, Person, Sequence
from hpr.skeleton import NUM_JOINTS

MATCH_DISTANCE = 0.5
"""A joint is found within this many head sizes (PCKh)."""

_HEAD_SIZE_PER_DIAGONAL = 0.6

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class ScoredFrame:
    """One image with G annotated and P predicted people.

    Attributes:
        truth: (G, 15, 2) annotated joints in image pixels, NaN where not annotated.
        predicted: (P, 15, 2) predicted joints, NaN where not predicted.
        scores: (P, 15) of the predicted joints, NaN where the file holds none.
        head_sizes: (G,) in pixels.
        truth_ids: Track ids of the G people; None where the file holds none.
        predicted_ids: Track ids of the P people; None where the file holds none.
    """

    truth: FloatArray
    predicted: FloatArray
    scores: FloatArray
    head_sizes: FloatArray
    truth_ids: list[int | str | None]
    predicted_ids: list[int | str | None]

    @cached_property
    def annotated(self) -> BoolArray:
        """(G, 15), which joints the truth has."""
        return ~np.isnan(self.truth[..., 0])

    @cached_property
    def found(self) -> BoolArray:
        """(P, 15), which joints the prediction has."""
        return ~np.isnan(self.predicted[..., 0])

    @cached_property
    def distances(self) -> FloatArray:
        """(P, G, 15), between joints in head sizes; infinite where one is missing or they are too far apart."""
        with np.errstate(invalid="ignore", divide="ignore"):  # infinite coordinates, heads without a size
            offsets = self.predicted[:, None] - self.truth[None]  # (P, G, 15, 2)
            distances = np.linalg.norm(offsets, axis=-1) / self.head_sizes[None, :, None]
        return np.where(distances <= MATCH_DISTANCE, distances, np.inf)


def pair(truth: Sequence, predicted: Sequence) -> tuple[list[ScoredFrame], list[str]]:
    """Puts the frames of truth and prediction side by side, without what is not scored.

    Frames without an annotated person are left out, and within a frame the joints in an ignore region
    and the people who then have none left (FORMATS.md, scoring 3).

    Args:
        truth: Read for scoring.
        predicted: Read for scoring.

    Returns:
        The frames, and what is odd about the files, in words.

    Raises:
        UserError: The frames cannot be told to belong together, or a head box is missing.
    """
    pairs, warnings = _paired(truth, predicted)
    frames = []
    for true, estimate in pairs:
        if not true.persons and not true.unposed:
            continue
        regions = [shapely.Polygon(region) for region in true.ignore_regions if len(region) > 2]
        if len(regions) < len(true.ignore_regions):
            warnings.append(
                f"{truth.name}: {true.image} has an ignore region of less than three points, which is passed over"
            )
        people, estimates = true.persons, estimate.persons
        if true.ignore_regions:
            people, estimates = _outside(people, regions), _outside(estimates, regions)
        frames.append(_scored(people, estimates, truth.name, true.image))
    return frames, warnings


def _paired(truth: Sequence, predicted: Sequence) -> tuple[list[tuple[Frame, Frame]], list[str]]:
    """Pairs frames by the names of their images; by position where the names say nothing.

    The public tool pairs by position without a look at the names.
    """
    names, others = ([PurePosixPath(f.image).stem for f in sequence.frames] for sequence in (truth, predicted))
    by_position = list(zip(truth.frames, predicted.frames, strict=False))
    if names == others:
        return by_position, []
    tells = set(names) & set(others) and len(set(names)) == len(names) and len(set(others)) == len(others)
    if not tells and len(names) == len(others):
        return by_position, [
            f"{predicted.name}: its images have other names than the truth's; frames are paired by position"
        ]
    if not tells:
        raise UserError(
            f"{predicted.name}: expected {len(names)} frames or the truth's image names, found {len(others)}"
        )
    frames = dict(zip(others, predicted.frames, strict=True))
    pairs = [(frame, frames.get(name, Frame(frame.image, []))) for name, frame in zip(names, truth.frames, strict=True)]
    missing, extra = len(set(names) - set(others)), len(set(others) - set(names))
    if not missing and not extra:
        return pairs, [f"{predicted.name}: its frames are in another order than the truth's; they are paired by name"]
    warning = f"{predicted.name}: {missing} of the truth's {len(names)} frames are missing and count as empty"
    return pairs, [f"{warning}; {extra} frames are not in the truth and do not count"]


def _outside(persons: list[Person], regions: list[shapely.Polygon]) -> list[Person]:
    """Returns the people with the joints outside of the regions (their boundary is outside), without the jointless."""
    joints = np.array([person.joints for person in persons]).reshape(-1, NUM_JOINTS, 2)
    inside = np.zeros(joints.shape[:2], bool)
    finite = np.isfinite(joints).all(axis=-1)
    for region in regions:
        inside[finite] |= shapely.contains_xy(region, joints[finite])
    joints[inside] = np.nan
    return [
        replace(person, joints=left) for person, left in zip(persons, joints, strict=True) if not np.isnan(left).all()
    ]


def _scored(people: list[Person], estimates: list[Person], sequence: str, image: str) -> ScoredFrame:
    """Stacks the people of one image into arrays."""
    if any(person.head_box is None for person in people):
        raise UserError(f"{sequence}: someone annotated in {image} has no head box, and distances are in head sizes")
    boxes = np.array([person.head_box for person in people]).reshape(-1, 4)
    return ScoredFrame(
        np.array([person.joints for person in people]).reshape(-1, NUM_JOINTS, 2),
        np.array([person.joints for person in estimates]).reshape(-1, NUM_JOINTS, 2),
        np.array([person.scores for person in estimates]).reshape(-1, NUM_JOINTS),
        _HEAD_SIZE_PER_DIAGONAL * np.linalg.norm(boxes[:, 2:] - boxes[:, :2], axis=1),
        [person.track_id for person in people],
        [person.track_id for person in estimates],
    )


def track_id_problem(frames: list[ScoredFrame]) -> str | None:
    """Returns why the people of a sequence cannot be told apart over time; None if they can."""
    for frame in frames:
        for kind, ids in (("annotated", frame.truth_ids), ("predicted", frame.predicted_ids)):
            if None in ids:
                return f"someone {kind} has no track id"
            if len(set(ids)) < len(ids):
                return f"two people {kind} in one frame have the same track id"
    return None

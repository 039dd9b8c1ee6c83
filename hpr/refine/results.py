"""What becomes of poses: refined, or unchanged for a reason."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import numpy as np

from hpr.poses import BoolArray, FloatArray, FrameKey
from hpr.skeleton import Skeleton


class Outcome(Enum):
    """What became of a pose; the values appear in report.json."""

    REFINED = "refined"
    NO_KEYPOINTS = "no keypoint to start from"
    CROP_SIZE = "crop above 3,000,000 pixels, or empty"
    OUTSIDE = "no keypoint in or near the image"
    TINY_IMAGE = "image under 8 pixels in width or height"
    BAD_IMAGE = "image missing or unreadable"
    MEMORY = "crop too large for the device's memory"
    NOT_FINITE = "network output not finite"


FAILURES = frozenset({Outcome.BAD_IMAGE, Outcome.MEMORY, Outcome.NOT_FINITE})
"""Outcomes of poses that should have been refined but were not."""


_NO_KEYPOINTS, _NO_CONFIDENCE = np.empty((0, 2)), np.empty(0)  # shared, so that equal outcomes compare as equal


class PersonKey(NamedTuple):
    """Which person of which frame is meant, by their indices."""

    frame: FrameKey
    person: int


@dataclass(frozen=True)
class RefinedPose:
    """What became of one person's pose.

    Attributes:
        key: Which person.
        outcome: Whether the pose was refined, and why not.
        detail: More about the outcome, such as what is wrong with the image; may be empty.
        keypoints: (K, 2) as the network proposes them, in image pixels; empty unless refined.
        confidence: (K,) the network's probability of each keypoint; empty unless refined.
        moved: Mean distance of the proposed keypoints from those of the input, in head sizes; NaN unless refined.
    """

    key: PersonKey
    outcome: Outcome
    detail: str = ""
    keypoints: FloatArray = field(default_factory=lambda: _NO_KEYPOINTS)
    confidence: FloatArray = field(default_factory=lambda: _NO_CONFIDENCE)
    moved: float = float("nan")


@dataclass(frozen=True)
class RefinedPoses:
    """What became of the poses of N people in one image.

    Attributes:
        keypoints: (N, K, 2) in image pixels. NaN for keypoints that are missing, or left out for their low confidence.
        confidence: (N, K) the network's probability of each keypoint, also of those left out; NaN for people who were
            not refined.
        outcomes: N, whether each pose was refined, and why not.
        moved: (N,) mean distance of the proposed keypoints from those of the input, in head sizes; NaN for people who
            were not refined.
        details: N texts, more about each outcome; may be empty.
    """

    keypoints: FloatArray
    confidence: FloatArray
    outcomes: list[Outcome]
    moved: FloatArray
    details: list[str]

    @property
    def is_refined(self) -> BoolArray:
        """(N,) whether each pose was refined."""
        return np.array([outcome is Outcome.REFINED for outcome in self.outcomes], bool)

    @classmethod
    def stack(cls, results: Sequence[RefinedPose], skeleton: Skeleton) -> "RefinedPoses":
        """Puts the results of N people together: all that the network proposes, NaN for people who were not refined."""
        keypoints = np.full((len(results), len(skeleton), 2), np.nan)
        confidence = np.full((len(results), len(skeleton)), np.nan)
        for person, result in enumerate(results):
            if result.outcome is Outcome.REFINED:
                keypoints[person], confidence[person] = result.keypoints, result.confidence

        return cls(
            keypoints,
            confidence,
            [result.outcome for result in results],
            np.array([result.moved for result in results]),
            [result.detail for result in results],
        )

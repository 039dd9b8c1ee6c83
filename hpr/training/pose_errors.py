"""Plausible mistakes: turns a true pose into one that an estimator might have returned.

The kinds of error are those that Ronchi and Perona (ICCV 2017) found in pose estimators, with
probabilities of the size that PoseFix (Moon et al., CVPR 2019) trained its refiner with. How far a
joint is off is said in keypoint similarity, exp(-d^2 / (2 s^2 k^2)), where d is the distance, s the
square root of the person's area and k the joint's tolerance (COCO): 1 is exact, 0.85 a careful
annotator's spread, 0.5 clearly off, 0.1 on another part of the body.
"""

from collections.abc import Mapping
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from hpr.poses import FloatArray
from hpr.skeleton import JOINTS, MIRROR, NUM_JOINTS

JOINT_KINDS = ("head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
"""Joints that share their probabilities; the head's are nose, head bottom and head top."""


class Mistake(IntEnum):
    """What became of a joint."""

    NEAR = 0
    JITTER = 1
    INVERSION = 2
    SWAP = 3
    MISS = 4
    ABSENT = 5


# An estimator is the surer of a joint the better it is, if only on the whole: mean of each Mistake's score.
_MEAN_SCORES = np.array([0.75, 0.6, 0.6, 0.55, 0.4, 0.0])

_GOOD, _OFF, _GONE = 0.85, 0.5, 0.1  # bounds of keypoint similarity

# COCO's per-joint standard deviations; head bottom and head top as PoseTrack's OKS has them.
_DEVIATIONS = {
    "nose": 0.026,
    "head_bottom": 0.079,
    "head_top": 0.079,
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
}
_TOLERANCE = np.array([2 * _DEVIATIONS.get(name, _DEVIATIONS.get(name.partition("_")[2], 0.0)) for name in JOINTS])
_KIND_OF_JOINT = [
    JOINT_KINDS.index(kind) if (kind := name.partition("_")[2]) in JOINT_KINDS else JOINT_KINDS.index("head")
    for name in JOINTS
]


class PoseErrors:
    """Draws mistakes for poses."""

    def __init__(
        self,
        jitter: Mapping[str, float],
        miss: Mapping[str, float],
        inversion: Mapping[str, float],
        swap: Mapping[str, float],
        absent: Mapping[str, float],
        shift: float,
        crowded_swap: float,
        few_joints_miss: float,
    ) -> None:
        """Sets the probabilities; those of a joint that do not add up to 1 leave it near its true place.

        Args:
            jitter: For each of JOINT_KINDS, of a similarity from 0.85 down to 0.5.
            miss: Likewise, of a similarity from 0.5 down to 0.1.
            inversion: Likewise, of lying at the left joint instead of the right one or the reverse.
            swap: Likewise, of lying at a neighbour's joint.
            absent: Likewise, of not being there.
            shift: Of the whole pose being shifted by up to a fifth of the person's size.
            crowded_swap: Factor of `swap` where the neighbour's box overlaps the person's.
            few_joints_miss: Factor of `miss` where fewer than ten joints are there to be seen.
        """
        self._kinds = {
            Mistake.JITTER: self._per_joint(jitter),
            Mistake.INVERSION: self._per_joint(inversion),
            Mistake.SWAP: self._per_joint(swap),
            Mistake.MISS: self._per_joint(miss),
        }
        self._absent = self._per_joint(absent)
        self._shift = shift
        self._crowded_swap = crowded_swap
        self._few_joints_miss = few_joints_miss

    @staticmethod
    def _per_joint(table: Mapping[str, float]) -> FloatArray:
        return np.array([table[JOINT_KINDS[kind]] for kind in _KIND_OF_JOINT])

    def draw(
        self, joints: FloatArray, neighbours: FloatArray, random: np.random.Generator
    ) -> tuple[FloatArray, NDArray[np.int64]]:
        """Draws an estimate of a pose.

        Args:
            joints: (15, 2) true joints in pixels, NaN where there are none.
            neighbours: (M, 15, 2) true joints of the other people in the image.
            random: Source of chance.

        Returns:
            Joints (15, 2), NaN where absent, and the Mistake of each (15,). At least one of the true
            joints stays.
        """
        present = ~np.isnan(joints[:, 0])
        mistakes = np.where(present, self._mistakes(joints, neighbours, random), Mistake.ABSENT)
        size = person_size(joints)
        aims = joints.copy()
        inverted = mistakes == Mistake.INVERSION
        aims[inverted] = joints[list(MIRROR)][inverted]
        for joint in np.flatnonzero(mistakes == Mistake.SWAP):
            others = neighbours[~np.isnan(neighbours[:, joint, 0]), joint]
            distances = np.linalg.norm(others - joints[joint], axis=1)
            aims[joint] = others[distances.argmin()]
        missing = np.isnan(aims[:, 0])  # the mirror partner is not there
        aims[missing], mistakes[missing & present] = joints[missing], Mistake.NEAR
        estimate = aims + _offsets(mistakes, size, random)
        if random.random() < self._shift:
            estimate += random.uniform(-0.2, 0.2, 2) * size
        gone = present & (random.random(NUM_JOINTS) < self._absent)
        if gone.sum() < present.sum():
            estimate[gone], mistakes[gone] = np.nan, Mistake.ABSENT
        return estimate, mistakes

    def _mistakes(self, joints: FloatArray, neighbours: FloatArray, random: np.random.Generator) -> NDArray[np.int64]:
        """Draws the kind of mistake of each joint (15,)."""
        chances = {kind: table.copy() for kind, table in self._kinds.items()}
        if (~np.isnan(joints[:, 0])).sum() < 10:
            chances[Mistake.MISS] *= self._few_joints_miss
        if any(_overlap(joints, other) for other in neighbours):
            chances[Mistake.SWAP] *= self._crowded_swap
        chances[Mistake.SWAP][~(~np.isnan(neighbours[..., 0])).any(axis=0)] = 0
        chances[Mistake.INVERSION][np.array(MIRROR) == np.arange(NUM_JOINTS)] = 0
        bounds = np.cumsum(np.stack(list(chances.values())), axis=0)  # (4, 15)
        place = (random.random(NUM_JOINTS) >= bounds).sum(axis=0)
        return np.asarray(np.array([*chances, Mistake.NEAR])[place], np.int64)


def draw_scores(mistakes: NDArray[np.int64], random: np.random.Generator) -> FloatArray:
    """Draws the scores (15,) that an estimator might give to joints with these mistakes; 0 for absent ones."""
    scores = np.clip(random.normal(_MEAN_SCORES[mistakes], 0.15), 0.02, 0.99)
    return np.where(mistakes == Mistake.ABSENT, 0.0, scores)


def person_size(joints: FloatArray) -> float:
    """Returns the square root of a person's area in pixels, which is about half of the joints' box (as in COCO).

    A body seen on edge or with joints missing has a narrow box; its sides count for a third of the longer one at least.
    """
    if np.isnan(joints).all():
        return 1.0
    extent = np.nanmax(joints, axis=0) - np.nanmin(joints, axis=0)
    return float(np.sqrt(0.53 * np.prod(np.maximum(extent, extent.max() / 3)))) or 1.0


def _offsets(mistakes: NDArray[np.int64], size: float, random: np.random.Generator) -> FloatArray:
    """Draws how far (15, 2) the joints lie from where they were aimed at."""
    low = np.select([mistakes == Mistake.NEAR, mistakes == Mistake.MISS], [_GOOD, _GONE], _OFF)
    high = np.select([mistakes == Mistake.JITTER, mistakes == Mistake.MISS], [_GOOD, _OFF], 1.0)
    similarity = random.uniform(low, high)
    distance = size * _TOLERANCE * np.sqrt(-2 * np.log(similarity))
    angle = random.uniform(0, 2 * np.pi, NUM_JOINTS)
    return np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=1)


def _overlap(joints: FloatArray, other: FloatArray) -> bool:
    """Returns whether the boxes of two poses overlap."""
    if np.isnan(joints).all() or np.isnan(other).all():
        return False
    low = np.maximum(np.nanmin(joints, axis=0), np.nanmin(other, axis=0))
    high = np.minimum(np.nanmax(joints, axis=0), np.nanmax(other, axis=0))
    return bool((low < high).all())

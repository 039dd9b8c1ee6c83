"""Plausible mistakes: turns a true pose into one that an estimator might have returned.

The kinds of error are those that Ronchi and Perona (ICCV 2017) found in pose estimators, with probabilities of the size
that PoseFix (Moon et al., CVPR 2019) trained its refiner with (docs/published.md, section 5). How far a keypoint is off
is said in keypoint similarity, exp(-d^2 / (2 s^2 k^2)), where d is the distance, s the square root of the person's area
and k the keypoint's tolerance, which is twice its sigma (COCO): 1 is exact, 0.85 a careful annotator's spread, 0.5
clearly off, 0.1 on another part of the body.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Annotated

import numpy as np
from pydantic import Field

from hpr.checks import Probability, checked
from hpr.errors import UserError
from hpr.poses import BoolArray, FloatArray, IntArray
from hpr.skeleton import Skeleton, kind

KEYPOINT_KINDS = ("head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
"""Keypoints that share their probabilities."""

_KIND_BY_NAME = {
    **dict.fromkeys(("nose", "eye", "ear", "head_bottom", "head_top"), "head"),
    **{name: name for name in KEYPOINT_KINDS[1:]},
    "thorax": "shoulder",
    "pelvis": "hip",
}


class Mistake(IntEnum):
    """What became of a keypoint."""

    NEAR = 0
    JITTER = 1
    INVERSION = 2
    SWAP = 3
    MISS = 4
    ABSENT = 5


# An estimator is usually the surer of a keypoint the better it is: mean score of each Mistake.
_MEAN_SCORES = np.array([0.75, 0.6, 0.6, 0.55, 0.4, 0.0])

_GOOD, _OFF, _GONE = 0.85, 0.5, 0.1  # bounds of keypoint similarity

_FEW_KEYPOINTS = 10

_Factor = Annotated[float, Field(ge=0, le=100)]


class PoseErrors:
    """Draws mistakes for poses of any skeleton."""

    @checked
    def __init__(
        self,
        jitter: Mapping[str, Probability],
        miss: Mapping[str, Probability],
        inversion: Mapping[str, Probability],
        swap: Mapping[str, Probability],
        absent: Mapping[str, Probability],
        shift: Probability,
        crowded_swap: _Factor,
        few_keypoints_miss: _Factor,
    ) -> None:
        """Sets the probabilities; those of a keypoint that do not add up to 1 leave it near its true place.

        Args:
            jitter: For each of KEYPOINT_KINDS, of a similarity from 0.85 down to 0.5.
            miss: Likewise, of a similarity from 0.5 down to 0.1.
            inversion: Likewise, of lying at the left keypoint instead of the right one or the reverse.
            swap: Likewise, of lying at a neighbour's keypoint.
            absent: Likewise, of not being there.
            shift: Of the whole pose being shifted by up to a fifth of the person's size.
            crowded_swap: Factor of `swap` where the neighbour's box overlaps the person's.
            few_keypoints_miss: Factor of `miss` where the truth has fewer than ten keypoints.

        Raises:
            UserError: A table is not of KEYPOINT_KINDS.
        """
        self._chances = {
            Mistake.JITTER: _by_kind(jitter),
            Mistake.INVERSION: _by_kind(inversion),
            Mistake.SWAP: _by_kind(swap),
            Mistake.MISS: _by_kind(miss),
        }
        self._absent = _by_kind(absent)
        self._shift = shift
        self._crowded_swap = crowded_swap
        self._few_keypoints_miss = few_keypoints_miss

    def draw(
        self, pose: FloatArray, neighbours: FloatArray, skeleton: Skeleton, random: np.random.Generator
    ) -> tuple[FloatArray, IntArray]:
        """Draws an estimate of a pose.

        Args:
            pose: (K, 2) true keypoints in pixels, NaN where there are none.
            neighbours: (M, K, 2) true keypoints of the other people in the image.
            skeleton: Of the K keypoints.
            random: Source of all draws.

        Returns:
            Keypoints (K, 2), NaN where absent, and the Mistake of each (K,). At least one of the true keypoints stays.
        """
        present, size = ~np.isnan(pose[:, 0]), person_size(pose)
        mistakes = np.where(present, self._mistakes(pose, neighbours, skeleton, random), Mistake.ABSENT)

        aims = _aims(pose, neighbours, skeleton, mistakes)
        missing = np.isnan(aims[:, 0])  # the mirror partner is not there
        aims[missing], mistakes[missing & present] = pose[missing], Mistake.NEAR

        estimate = aims + _offsets(mistakes, size, skeleton, random)
        if random.random() < self._shift:
            estimate += random.uniform(-0.2, 0.2, 2) * size

        gone = present & (random.random(len(skeleton)) < self._absent[_kinds(skeleton)])
        if gone.sum() < present.sum():
            estimate[gone], mistakes[gone] = np.nan, Mistake.ABSENT
        return estimate, mistakes

    def _mistakes(
        self, pose: FloatArray, neighbours: FloatArray, skeleton: Skeleton, random: np.random.Generator
    ) -> IntArray:
        """Draws the kind of mistake of each keypoint (K,)."""
        kinds = _kinds(skeleton)
        chances = {mistake: by_kind[kinds] for mistake, by_kind in self._chances.items()}  # (K,) each
        if (~np.isnan(pose[:, 0])).sum() < _FEW_KEYPOINTS:
            chances[Mistake.MISS] *= self._few_keypoints_miss
        if any(_overlap(pose, other) for other in neighbours):
            chances[Mistake.SWAP] *= self._crowded_swap
        chances[Mistake.SWAP][~_have(neighbours)] = 0
        chances[Mistake.INVERSION][np.array(skeleton.mirror) == np.arange(len(skeleton))] = 0

        bounds = np.cumsum(np.stack(list(chances.values())), axis=0)  # (4, K)
        place = (random.random(len(skeleton)) >= bounds).sum(axis=0)
        return np.asarray(np.array([*chances, Mistake.NEAR])[place], np.int64)


def draw_scores(mistakes: IntArray, random: np.random.Generator) -> FloatArray:
    """Draws the scores (K,) that an estimator might give to keypoints with these mistakes; 0 for absent ones."""
    scores = np.clip(random.normal(_MEAN_SCORES[mistakes], 0.15), 0.02, 0.99)
    return np.where(mistakes == Mistake.ABSENT, 0.0, scores)


def person_size(pose: FloatArray) -> float:
    """Returns the square root of a person's area in pixels, which is about half of the keypoints' box (as in COCO).

    A body seen on edge or with keypoints missing has a narrow box; its sides count for a third of the longer one at
    least.
    """
    if np.isnan(pose).all():
        return 1.0
    extent = np.nanmax(pose, axis=0) - np.nanmin(pose, axis=0)
    return float(np.sqrt(0.53 * np.prod(np.maximum(extent, extent.max() / 3)))) or 1.0


def _by_kind(table: Mapping[str, float]) -> FloatArray:
    """Returns the probabilities (7,) in the order of KEYPOINT_KINDS.

    Raises:
        UserError: They are of others.
    """
    if set(table) != set(KEYPOINT_KINDS):
        found = ", ".join(table) or "none"
        raise UserError(f"pose errors: expected a probability for each of {', '.join(KEYPOINT_KINDS)}; found {found}")
    return np.array([table[name] for name in KEYPOINT_KINDS])


def _kinds(skeleton: Skeleton) -> IntArray:
    """Returns the place (K,) of each keypoint's kind in KEYPOINT_KINDS.

    Raises:
        ValueError: A keypoint is of no known kind.
    """
    unknown = [name for name in skeleton.names if kind(name) not in _KIND_BY_NAME]
    if unknown:
        raise ValueError(f"skeleton {skeleton.name}: no probabilities of mistakes are known for {', '.join(unknown)}")
    return np.array([KEYPOINT_KINDS.index(_KIND_BY_NAME[kind(name)]) for name in skeleton.names])


def _aims(pose: FloatArray, neighbours: FloatArray, skeleton: Skeleton, mistakes: IntArray) -> FloatArray:
    """Returns the places (K, 2) that the estimate lies about: the true ones, or those mistaken for them."""
    aims = pose.copy()
    inverted = mistakes == Mistake.INVERSION
    aims[inverted] = pose[list(skeleton.mirror)][inverted]
    for keypoint in np.flatnonzero(mistakes == Mistake.SWAP):
        others = neighbours[~np.isnan(neighbours[:, keypoint, 0]), keypoint]
        distances = np.linalg.norm(others - pose[keypoint], axis=1)
        aims[keypoint] = others[distances.argmin()]
    return aims


def _offsets(mistakes: IntArray, size: float, skeleton: Skeleton, random: np.random.Generator) -> FloatArray:
    """Draws how far (K, 2) the keypoints lie from where they were aimed at."""
    low = np.select([mistakes == Mistake.NEAR, mistakes == Mistake.MISS], [_GOOD, _GONE], _OFF)
    high = np.select([mistakes == Mistake.JITTER, mistakes == Mistake.MISS], [_GOOD, _OFF], 1.0)
    similarity = random.uniform(low, high)
    distance = size * (2 * np.array(skeleton.sigmas)) * np.sqrt(-2 * np.log(similarity))
    angle = random.uniform(0, 2 * np.pi, len(skeleton))
    return np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=1)


def _have(people: FloatArray) -> BoolArray:
    """Returns (K,) which keypoints at least one of the people (M, K, 2) has."""
    return np.asarray((~np.isnan(people[..., 0])).any(axis=0))


def _overlap(pose: FloatArray, other: FloatArray) -> bool:
    """Returns whether the boxes of two poses overlap."""
    if np.isnan(pose).all() or np.isnan(other).all():
        return False
    low = np.maximum(np.nanmin(pose, axis=0), np.nanmin(other, axis=0))
    high = np.minimum(np.nanmax(pose, axis=0), np.nanmax(other, axis=0))
    return bool((low < high).all())

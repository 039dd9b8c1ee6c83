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

from hpr.settings import Probability, checked
from hpr.errors import UserError
from hpr.poses import BoolArray, FloatArray, IntArray
from hpr.skeleton import Skeleton, kind

KEYPOINT_KINDS = ("head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
"""Keypoints that share their probabilities."""

KIND_BY_NAME = {
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
    EXTRA = 6


SCORED = ("near", "jitter", "inversion", "swap", "miss", "extra")
"""Kinds of keypoints that an estimator gives scores to."""

# An estimator is usually the surer of a keypoint the better it is.
PLAUSIBLE_SCORES = {"near": 0.75, "jitter": 0.6, "inversion": 0.6, "swap": 0.55, "miss": 0.4, "extra": 0.35}
PLAUSIBLE_SPREAD = 0.15

GOOD, OFF, GONE = 0.85, 0.5, 0.1  # bounds of keypoint similarity

FEW_KEYPOINTS = 10

_GUESS_DISTANCE = 0.35
"""Standard deviation of a guess at a keypoint that is not there from one beside it, in sizes of the person."""

_Factor = Annotated[float, Field(ge=0, le=100)]
_Spread = Annotated[float, Field(ge=0, le=1)]


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
        extra: Mapping[str, Probability] | None = None,
        missed_person: Probability = 0.05,
        false_person: Probability = 0.0,
        duplicate_person: Probability = 0.0,
        scores: Mapping[str, Probability] | None = None,
        score_spread: _Spread = PLAUSIBLE_SPREAD,
        strength: _Factor = 1.0,
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
            extra: For each of KEYPOINT_KINDS, of being there though it is not to be found in the image; by default
                never.
            missed_person: Of a person having no estimate at all.
            false_person: Of an estimate, for each person, where nobody is.
            duplicate_person: Of a second estimate of a person.
            scores: Mean score of each of SCORED; by default plausible ones.
            score_spread: Standard deviation of the scores about those means.
            strength: Factor of the probabilities of all mistakes in keypoints and of `shift`.

        Raises:
            UserError: A table is not of KEYPOINT_KINDS, or `scores` not of SCORED.
        """
        self.missed_person, self.false_person, self.duplicate_person = missed_person, false_person, duplicate_person
        self._chances = {
            Mistake.JITTER: strength * _by_kind(jitter),
            Mistake.INVERSION: strength * _by_kind(inversion),
            Mistake.SWAP: strength * _by_kind(swap),
            Mistake.MISS: strength * _by_kind(miss),
        }
        self._absent = strength * _by_kind(absent)
        self._extra = strength * _by_kind(dict.fromkeys(KEYPOINT_KINDS, 0.0) if extra is None else extra)
        self._scores = _mean_scores(PLAUSIBLE_SCORES if scores is None else scores)
        self._score_spread = score_spread
        self._shift = strength * shift
        self._crowded_swap = crowded_swap
        self._few_keypoints_miss = few_keypoints_miss

    def draw(
        self,
        pose: FloatArray,
        neighbours: FloatArray,
        skeleton: Skeleton,
        random: np.random.Generator,
        hidden: FloatArray | None = None,
    ) -> tuple[FloatArray, IntArray]:
        """Draws an estimate of a pose.

        Args:
            pose: (K, 2) true keypoints in pixels, NaN where there are none.
            neighbours: (M, K, 2) true keypoints of the other people in the image.
            skeleton: Of the K keypoints.
            random: Source of all draws.
            hidden: (K, 2) where keypoints are that are not to be found in the image, NaN where unknown.

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

        extra = ~present & present.any() & (random.random(len(skeleton)) < self._extra[_kinds(skeleton)])
        estimate[extra] = _guesses(pose, hidden, skeleton, random)[extra]
        mistakes[extra] = Mistake.EXTRA
        return estimate, mistakes

    def nearly_exact(self, pose: FloatArray, skeleton: Skeleton, random: np.random.Generator) -> FloatArray:
        """Draws an estimate (K, 2) of a pose that is right, or off by a part of what still counts as near."""
        near = np.full(len(skeleton), Mistake.NEAR)
        return pose + random.uniform(0, 0.5) * _offsets(near, person_size(pose), skeleton, random)

    def scores(self, mistakes: IntArray, random: np.random.Generator) -> FloatArray:
        """Draws the scores (K,) that an estimator might give to keypoints with these mistakes; 0 for absent ones."""
        scores = np.clip(random.normal(self._scores[mistakes], self._score_spread), 0.02, 0.99)
        return np.where(mistakes == Mistake.ABSENT, 0.0, scores)

    def _mistakes(
        self, pose: FloatArray, neighbours: FloatArray, skeleton: Skeleton, random: np.random.Generator
    ) -> IntArray:
        """Draws the kind of mistake of each keypoint (K,)."""
        kinds = _kinds(skeleton)
        chances = {mistake: by_kind[kinds] for mistake, by_kind in self._chances.items()}  # (K,) each
        if (~np.isnan(pose[:, 0])).sum() < FEW_KEYPOINTS:
            chances[Mistake.MISS] *= self._few_keypoints_miss
        if any(overlap(pose, other) for other in neighbours):
            chances[Mistake.SWAP] *= self._crowded_swap
        chances[Mistake.SWAP][~_have(neighbours)] = 0
        chances[Mistake.INVERSION][np.array(skeleton.mirror) == np.arange(len(skeleton))] = 0

        bounds = np.cumsum(np.stack(list(chances.values())), axis=0)  # (4, K)
        place = (random.random(len(skeleton)) >= bounds).sum(axis=0)
        return np.asarray(np.array([*chances, Mistake.NEAR])[place], np.int64)


def out_of_sight(
    keypoints: FloatArray, pose: FloatArray, image_size: tuple[int, int], random: np.random.Generator
) -> FloatArray:
    """Returns where (K, 2) estimators look for the keypoints that are not to be found, NaN for the others.

    Half of them look beyond the image's border; the others return the place at the border.

    Args:
        keypoints: (K, 2) of a person, also those that are hidden or outside of the image; NaN where unknown.
        pose: (K, 2) those to be found, NaN for the others.
        image_size: Width and height.
        random: Source of all draws.
    """
    hidden = np.where(np.isnan(pose), keypoints, np.nan)
    return hidden if random.random() < 0.5 else np.clip(hidden, 0, np.array(image_size) - 1.0)


def false_estimate(poses: FloatArray, image_size: tuple[int, int], random: np.random.Generator) -> FloatArray:
    """Draws an estimate (K, 2) where perhaps nobody is: one of the poses (N, K, 2), smaller and elsewhere.

    Args:
        poses: (N, K, 2) of at least one person, each with a keypoint.
        image_size: Width and height.
        random: Source of all draws.
    """
    pose = poses[random.integers(len(poses))] * random.uniform(0.5, 1.0)
    return np.asarray(pose + random.uniform(0, image_size) - np.nanmean(pose, axis=0))


def person_size(pose: FloatArray) -> float:
    """Returns the square root of a person's area in pixels, which is about half of the keypoints' box (as in COCO).

    A body seen on edge or with keypoints missing has a narrow box; its sides count for a third of the longer one at
    least.
    """
    if np.isnan(pose).all():
        return 1.0
    extent = np.nanmax(pose, axis=0) - np.nanmin(pose, axis=0)
    return float(np.sqrt(0.53 * np.prod(np.maximum(extent, extent.max() / 3)))) or 1.0


def overlap(pose: FloatArray, other: FloatArray) -> bool:
    """Returns whether the boxes of two poses overlap."""
    if np.isnan(pose).all() or np.isnan(other).all():
        return False
    low = np.maximum(np.nanmin(pose, axis=0), np.nanmin(other, axis=0))
    high = np.minimum(np.nanmax(pose, axis=0), np.nanmax(other, axis=0))
    return bool((low < high).all())


def _by_kind(table: Mapping[str, float]) -> FloatArray:
    """Returns the probabilities (7,) in the order of KEYPOINT_KINDS.

    Raises:
        UserError: They are of others.
    """
    if set(table) != set(KEYPOINT_KINDS):
        found = ", ".join(table) or "none"
        raise UserError(f"pose errors: expected a probability for each of {', '.join(KEYPOINT_KINDS)}; found {found}")
    return np.array([table[name] for name in KEYPOINT_KINDS])


def _mean_scores(table: Mapping[str, float]) -> FloatArray:
    """Returns the mean score of each Mistake (7,), 0 for absent keypoints.

    Raises:
        UserError: The table is not of SCORED.
    """
    if set(table) != set(SCORED):
        found = ", ".join(table) or "none"
        raise UserError(f"pose errors: expected a mean score for each of {', '.join(SCORED)}; found {found}")
    return np.array([table.get(mistake.name.lower(), 0.0) for mistake in Mistake])


def _kinds(skeleton: Skeleton) -> IntArray:
    """Returns the place (K,) of each keypoint's kind in KEYPOINT_KINDS.

    Raises:
        ValueError: A keypoint is of no known kind.
    """
    unknown = [name for name in skeleton.names if kind(name) not in KIND_BY_NAME]
    if unknown:
        raise ValueError(f"skeleton {skeleton.name}: no probabilities of mistakes are known for {', '.join(unknown)}")
    return np.array([KEYPOINT_KINDS.index(KIND_BY_NAME[kind(name)]) for name in skeleton.names])


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


def _guesses(
    pose: FloatArray, hidden: FloatArray | None, skeleton: Skeleton, random: np.random.Generator
) -> FloatArray:
    """Draws where (K, 2) an estimator might put keypoints that are not to be found.

    That is about their true places, where these are known; else somewhere about another keypoint, beside it in the
    skeleton if one of these is there.
    """
    size, present = person_size(pose), ~np.isnan(pose[:, 0])
    guesses = np.empty_like(pose)
    for keypoint in range(len(skeleton)):
        beside = [place for place in skeleton.adjacent[keypoint] if present[place]]
        anchor = random.choice(beside or np.flatnonzero(present)) if present.any() else keypoint
        guesses[keypoint] = pose[anchor] + random.normal(0, _GUESS_DISTANCE * size, 2)
    if hidden is not None:
        known = ~np.isnan(hidden[:, 0])
        spread = np.where(random.random(len(skeleton)) < 0.5, Mistake.NEAR, Mistake.MISS)
        guesses[known] = (hidden + _offsets(spread, size, skeleton, random))[known]
    return guesses


def _offsets(mistakes: IntArray, size: float, skeleton: Skeleton, random: np.random.Generator) -> FloatArray:
    """Draws how far (K, 2) the keypoints lie from where they were aimed at."""
    low = np.select([mistakes == Mistake.NEAR, mistakes == Mistake.MISS], [GOOD, GONE], OFF)
    high = np.select([mistakes == Mistake.JITTER, mistakes == Mistake.MISS], [GOOD, OFF], 1.0)
    similarity = random.uniform(low, high)
    units = np.sqrt(-2 * np.log(similarity))
    # Uniform in similarity, few keypoints would be as good as those of a good estimator.
    near = random.uniform(0, np.sqrt(-2 * np.log(GOOD)), len(skeleton))
    distance = size * (2 * np.array(skeleton.sigmas)) * np.where(mistakes == Mistake.NEAR, near, units)
    angle = random.uniform(0, 2 * np.pi, len(skeleton))
    return np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=1)


def _have(people: FloatArray) -> BoolArray:
    """Returns (K,) which keypoints at least one of the people (M, K, 2) has."""
    return np.asarray((~np.isnan(people[..., 0])).any(axis=0))

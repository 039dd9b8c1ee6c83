"""Plausible mistakes: turns a true pose into one that a pose estimator might have returned.

The kinds of mistakes are those that Ronchi and Perona (ICCV 2017) found in pose estimators; their plausible
probabilities are about those that PoseFix (Moon et al., CVPR 2019) was trained with (docs/published.md, section 5).
Displacements are measured in keypoint similarity, exp(-d^2 / (2 s^2 k^2)), where d is the distance, s the square root
of the person's area and k the keypoint's tolerance, twice its sigma (COCO): 1 is exact, 0.85 the spread of careful
annotators, 0.5 clearly off, 0.1 on another part of the body.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Annotated

import numpy as np
from pydantic import Field

from hpr.errors import UserError
from hpr.poses import FloatArray, IntArray
from hpr.settings import Probability, checked
from hpr.skeleton import Skeleton, kind

KEYPOINT_KINDS = ("head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
"""Keypoints of one kind share their probabilities."""

KIND_BY_NAME = {
    **dict.fromkeys(("nose", "eye", "ear", "head_bottom", "head_top"), "head"),
    **{name: name for name in KEYPOINT_KINDS[1:]},
    "thorax": "shoulder",
    "pelvis": "hip",
}


class Mistake(IntEnum):
    """What happened to a keypoint."""

    NEAR = 0  # within the spread of careful annotators
    JITTER = 1  # off, but at the same part of the body
    INVERSION = 2  # at the left keypoint instead of the right one or the reverse
    SWAP = 3  # at the keypoint of a neighbour
    MISS = 4  # somewhere else
    ABSENT = 5  # not estimated
    EXTRA = 6  # estimated, although it is not to be found in the image


SCORED = ("near", "jitter", "inversion", "swap", "miss", "extra")
"""Mistakes of keypoints that are estimated, and so have a score."""

# An estimator is usually surer of better keypoints.
PLAUSIBLE_SCORES = {"near": 0.75, "jitter": 0.6, "inversion": 0.6, "swap": 0.55, "miss": 0.4, "extra": 0.35}
PLAUSIBLE_SPREAD = 0.15

GOOD, OFF, GONE = 0.85, 0.5, 0.1  # bounds of keypoint similarity

FEW_KEYPOINTS = 10

_GUESS_DISTANCE = 0.35
"""Standard deviation of a guess from an adjacent keypoint, in sizes of the person."""

_Factor = Annotated[float, Field(ge=0, le=100)]
_Spread = Annotated[float, Field(ge=0, le=1)]


class PoseErrors:
    """Draws mistakes for poses of any skeleton: conf/pose_errors."""

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
        """Sets the probabilities. A keypoint without a mistake is near its true position.

        Args:
            jitter: Probability of similarity 0.85 to 0.5 by KEYPOINT_KINDS, as the next four.
            miss: Probability of similarity 0.5 to 0.1.
            inversion: Probability of lying at the left keypoint instead of the right one or the reverse.
            swap: Probability of lying at a neighbour's keypoint.
            absent: Probability of not being estimated.
            shift: Probability that the whole pose is shifted by up to a fifth of the person's size in x and y.
            crowded_swap: Factor of `swap` where a neighbour's box overlaps the person's.
            few_keypoints_miss: Factor of `miss` where the truth has fewer than ten keypoints.
            extra: Probability, by KEYPOINT_KINDS, that a keypoint that is not to be found is estimated; None for never.
            missed_person: Probability that a person has no estimate at all.
            false_person: Probability, for each person, of an estimate where nobody is.
            duplicate_person: Probability that a person has a second estimate.
            scores: Mean score of each of SCORED; None for plausible ones.
            score_spread: Standard deviation of the scores about their means.
            strength: Factor of the probabilities of all mistakes in keypoints and of `shift`.

        Raises:
            UserError: A table has other names than KEYPOINT_KINDS, or `scores` other names than SCORED.
        """
        self.missed_person, self.false_person, self.duplicate_person = missed_person, false_person, duplicate_person
        self._chances = {
            Mistake.JITTER: strength * _values(jitter),
            Mistake.INVERSION: strength * _values(inversion),
            Mistake.SWAP: strength * _values(swap),
            Mistake.MISS: strength * _values(miss),
        }  # the order is part of what a seed draws
        self._absent = strength * _values(absent)
        self._extra = strength * _values(dict.fromkeys(KEYPOINT_KINDS, 0.0) if extra is None else extra)
        self._shift = strength * shift
        self._crowded_swap, self._few_keypoints_miss = crowded_swap, few_keypoints_miss
        means = _values(PLAUSIBLE_SCORES if scores is None else scores, SCORED, "mean score")
        self._scores = np.insert(means, Mistake.ABSENT, 0.0)  # (7,)
        self._score_spread = score_spread

    def draw(
        self,
        pose: FloatArray,
        neighbours: FloatArray,
        skeleton: Skeleton,
        random: np.random.Generator,
        hidden: FloatArray | None = None,
    ) -> tuple[FloatArray, IntArray]:
        """Draws an estimate of a true pose.

        Args:
            pose: (K, 2) true keypoints in pixels, NaN where missing.
            neighbours: (M, K, 2) the other people in the image.
            skeleton: Skeleton of the K keypoints.
            random: Generator of random numbers.
            hidden: (K, 2) positions of keypoints that cannot be found in the image, NaN where unknown.

        Returns:
            Keypoints (K, 2), NaN where absent, and the Mistake of each (K,). At least one of the true keypoints stays.
        """
        present, size = ~np.isnan(pose[:, 0]), person_size(pose)
        kinds = keypoint_kinds(skeleton.names)
        mistakes = np.where(present, self._draw_mistakes(pose, neighbours, skeleton, random), Mistake.ABSENT)

        # Estimates lie about the true positions, or about those that are mistaken for them.
        aims = pose.copy()
        inverted = mistakes == Mistake.INVERSION
        aims[inverted] = pose[list(skeleton.mirror)][inverted]
        for keypoint in np.flatnonzero(mistakes == Mistake.SWAP):
            others = neighbours[~np.isnan(neighbours[:, keypoint, 0]), keypoint]
            aims[keypoint] = others[np.linalg.norm(others - pose[keypoint], axis=1).argmin()]
        missing = np.isnan(aims[:, 0])  # the mirror partner is not there
        aims[missing], mistakes[missing & present] = pose[missing], Mistake.NEAR

        estimate = aims + _draw_offsets(mistakes, size, skeleton, random)
        if random.random() < self._shift:
            estimate += random.uniform(-0.2, 0.2, 2) * size

        absent = present & (random.random(len(skeleton)) < self._absent[kinds])
        if absent.sum() < present.sum():
            estimate[absent], mistakes[absent] = np.nan, Mistake.ABSENT

        extra = ~present & present.any() & (random.random(len(skeleton)) < self._extra[kinds])
        estimate[extra] = _draw_guesses(pose, hidden, skeleton, random)[extra]
        mistakes[extra] = Mistake.EXTRA
        return estimate, mistakes

    def draw_nearly_exact(self, pose: FloatArray, skeleton: Skeleton, random: np.random.Generator) -> FloatArray:
        """Draws an estimate (K, 2) whose keypoints are at most half as far off as what counts as near."""
        near = np.full(len(skeleton), Mistake.NEAR)
        return pose + random.uniform(0, 0.5) * _draw_offsets(near, person_size(pose), skeleton, random)

    def draw_scores(self, mistakes: IntArray, random: np.random.Generator) -> FloatArray:
        """Draws an estimator's scores (K,) of keypoints with these mistakes (K,); 0 for absent ones."""
        scores = np.clip(random.normal(self._scores[mistakes], self._score_spread), 0.02, 0.99)
        return np.where(mistakes == Mistake.ABSENT, 0.0, scores)

    def _draw_mistakes(
        self, pose: FloatArray, neighbours: FloatArray, skeleton: Skeleton, random: np.random.Generator
    ) -> IntArray:
        """Draws the mistake of each keypoint (K,), as if all were present."""
        kinds = keypoint_kinds(skeleton.names)
        chances = {mistake: by_kind[kinds] for mistake, by_kind in self._chances.items()}  # (K,) each
        if (~np.isnan(pose[:, 0])).sum() < FEW_KEYPOINTS:
            chances[Mistake.MISS] *= self._few_keypoints_miss
        if any(overlap(pose, other) for other in neighbours):
            chances[Mistake.SWAP] *= self._crowded_swap
        chances[Mistake.SWAP][np.isnan(neighbours[..., 0]).all(axis=0)] = 0
        chances[Mistake.INVERSION][np.array(skeleton.mirror) == np.arange(len(skeleton))] = 0

        bounds = np.cumsum(np.stack(list(chances.values())), axis=0)  # (4, K)
        drawn = (random.random(len(skeleton)) >= bounds).sum(axis=0)
        return np.asarray(np.array([*chances, Mistake.NEAR])[drawn], np.int64)


def out_of_sight(
    keypoints: FloatArray, pose: FloatArray, image_size: tuple[int, int], random: np.random.Generator
) -> FloatArray:
    """Returns where (K, 2) an estimator looks for known `keypoints` that are not to be found, NaN for those of `pose`.

    Half of the estimators look beyond the image's border; the others return positions at the border.
    """
    hidden = np.where(np.isnan(pose), keypoints, np.nan)
    return hidden if random.random() < 0.5 else np.clip(hidden, 0, np.array(image_size) - 1.0)


def false_estimate(poses: FloatArray, image_size: tuple[int, int], random: np.random.Generator) -> FloatArray:
    """Draws an estimate (K, 2) at a random position, where usually nobody is: one of the poses (N, K, 2), smaller."""
    pose = poses[random.integers(len(poses))] * random.uniform(0.5, 1.0)
    return np.asarray(pose + random.uniform(0, image_size) - np.nanmean(pose, axis=0))


def mixed_estimate(estimates: FloatArray, size: float, random: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Draws an estimate from real ones of a person, often changed a little so that there are more than these.

    Args:
        estimates: (E, K, 3) x and y in pixels, and score from 0 to 1; NaN where missing.
        size: Size of the person in pixels, from `person_size`.
        random: Generator of random numbers.

    Returns:
        Keypoints (K, 2) in pixels, NaN where missing, and scores (K,), 0 where missing.
    """
    estimate = estimates[random.integers(len(estimates))].copy()
    if random.random() < 0.2:  # some keypoints of another estimator
        is_other = random.random(len(estimate)) < 0.3
        estimate[is_other] = estimates[random.integers(len(estimates))][is_other]
    if random.random() < 0.3:
        estimate[:, :2] += random.normal(0, 0.01 * size, (len(estimate), 2))
    if random.random() < 0.1:
        estimate[random.random(len(estimate)) < 0.2] = np.nan
    scores = np.nan_to_num(estimate[:, 2])
    if random.random() < 0.03:  # files without scores
        scores = np.where(scores > 0, 1.0, 0.0)
    return estimate[:, :2], scores


def person_size(pose: FloatArray) -> float:
    """Returns the square root of a person's area in pixels: 0.53 of the keypoints' box, as in COCO.

    A person seen from the side or with keypoints missing has a narrow box: its sides count as at least a third of the
    longer one.
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


def _values(table: Mapping[str, float], names: Sequence[str] = KEYPOINT_KINDS, what: str = "probability") -> FloatArray:
    """Returns the values of a table in the order of the names that it must have."""
    if set(table) != set(names):
        found = ", ".join(table) or "none"
        raise UserError(f"pose errors: expected a {what} for each of {', '.join(names)}; found {found}")
    return np.array([table[name] for name in names])


def keypoint_kinds(names: Sequence[str]) -> IntArray:
    """Returns the index (K,) of each keypoint's kind in KEYPOINT_KINDS.

    Raises:
        UserError: A keypoint is of no known kind.
    """
    if unknown := [name for name in names if kind(name) not in KIND_BY_NAME]:
        found = f"expected keypoints of {', '.join(KEYPOINT_KINDS)}, found {unknown[0]}"
        raise UserError(f"pose errors: {found}; take a model.skeleton without it")
    return np.array([KEYPOINT_KINDS.index(KIND_BY_NAME[kind(name)]) for name in names], np.int64)


def _draw_guesses(
    pose: FloatArray, hidden: FloatArray | None, skeleton: Skeleton, random: np.random.Generator
) -> FloatArray:
    """Draws where (K, 2) an estimator puts keypoints that are not to be found.

    A guess is about the true position if known; else about an adjacent keypoint or, without any, another one.
    """
    size, present = person_size(pose), ~np.isnan(pose[:, 0])
    guesses = np.empty_like(pose)
    for keypoint in range(len(skeleton)):
        adjacent = [other for other in skeleton.adjacent[keypoint] if present[other]]
        anchor = random.choice(adjacent or np.flatnonzero(present)) if present.any() else keypoint
        guesses[keypoint] = pose[anchor] + random.normal(0, _GUESS_DISTANCE * size, 2)

    if hidden is not None:
        known = ~np.isnan(hidden[:, 0])
        spread = np.where(random.random(len(skeleton)) < 0.5, Mistake.NEAR, Mistake.MISS)
        guesses[known] = (hidden + _draw_offsets(spread, size, skeleton, random))[known]
    return guesses


def _draw_offsets(mistakes: IntArray, size: float, skeleton: Skeleton, random: np.random.Generator) -> FloatArray:
    """Draws the offsets (K, 2) in pixels of keypoints from the positions that they are aimed at."""
    low = np.select([mistakes == Mistake.NEAR, mistakes == Mistake.MISS], [GOOD, GONE], OFF)
    high = np.select([mistakes == Mistake.JITTER, mistakes == Mistake.MISS], [GOOD, OFF], 1.0)
    similarity = random.uniform(low, high)
    far = np.sqrt(-2 * np.log(similarity))  # in tolerances
    # Uniform in similarity, few keypoints would be as good as those of a good estimator: uniform in distance.
    near = random.uniform(0, np.sqrt(-2 * np.log(GOOD)), len(skeleton))

    distance = size * (2 * np.array(skeleton.sigmas)) * np.where(mistakes == Mistake.NEAR, near, far)
    angle = random.uniform(0, 2 * np.pi, len(skeleton))
    return np.stack([distance * np.cos(angle), distance * np.sin(angle)], axis=1)

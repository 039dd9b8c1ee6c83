"""Measures how often a pose estimator makes each kind of mistake; the result parameterises `PoseErrors`.

Each estimated keypoint is compared with the true keypoints by keypoint similarity (see `pose_errors.draw`), as Ronchi
and Perona (ICCV 2017) do:

- near: at least 0.85 to its own true position;
- jitter: from 0.5 up to 0.85;
- inversion: below 0.5, but at least 0.5 to the left keypoint instead of the right one or the reverse;
- swap: below 0.5, but at least 0.5 to the same keypoint of another person;
- miss: below 0.5 to all of them.

A position that fits two kinds of mistake counts for the first in this list; of inversion and swap, the more similar
one counts. A shift of the whole pose by less than 0.08 of the person's size cannot be told from jitter; the shifts that
are found are scaled up to the share that `PoseErrors` has to draw (checked in docs/notes/pose_errors.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from hpr.errors import UserError
from hpr.pose_errors.draw import (
    FEW_KEYPOINTS,
    GONE,
    GOOD,
    KEYPOINT_KINDS,
    KIND_BY_NAME,
    OFF,
    PLAUSIBLE_SCORES,
    PLAUSIBLE_SPREAD,
    SCORED,
    Mistake,
    keypoint_kinds,
    overlap,
    person_size,
)
from hpr.poses import BoolArray, FloatArray, Frame, IntArray
from hpr.skeleton import Skeleton, kind

_MATCHING_SHARE = 0.5
"""An estimate can belong to a person if at least this share of its keypoints is roughly (similarity 0.1) at the
person's keypoints or their mirror partners."""

_LEAST_SHIFT, _LARGEST_SHIFT = 0.08, 0.2
"""In sizes of the person: the smallest common displacement that is told from jitter, and the largest in x or y that
`PoseErrors` draws."""

_SHIFT_KEYPOINTS = 5  # poses with fewer estimated keypoints are not examined for shifts

_PRIOR = 10.0
"""Rates of rare keypoints are pulled towards the mean of all kinds, as if this many keypoints had the mean rate."""

_COMPARABLE, _FEWEST = 100, 10
"""Factors are measured from this many keypoints on either side and this many mistakes; mean scores from `_FEWEST`."""

_PLAUSIBLE_FACTORS = {"crowded_swap": 5.0, "few_keypoints_miss": 1.6}

_FACTOR_RANGE = (0.2, 20.0)
"""Where swaps occur in crowds only, their ratio has no upper end."""

_DIGITS = 4

_KEYPOINT = np.dtype(
    [
        ("name", "U32"),
        ("mistake", np.int64),
        ("present", bool),  # in the truth
        ("has_partner", bool),  # the truth has the mirror partner
        ("has_neighbour", bool),  # another person has this keypoint
        ("crowded", bool),  # another person's box overlaps this person's
        ("few", bool),  # the person has fewer than FEW_KEYPOINTS
        ("score", np.float64),  # of the estimate, NaN where there is none
    ]
)
"""What is kept of each keypoint of a matched person."""


@dataclass(frozen=True)
class ErrorRates:
    """Measured rates; tables, factors, people and scores are arguments of `PoseErrors`.

    Attributes:
        tables: "jitter", "miss", "inversion", "swap", "absent" and "extra", each by KEYPOINT_KINDS.
        factors: "crowded_swap" and "few_keypoints_miss".
        people: "shift", "missed_person", "false_person" and "duplicate_person".
        scores: Mean score of each of SCORED.
        score_spread: Standard deviation of the scores about these means.
        has_scores: Whether scores were measured; otherwise they are the plausible ones.
        counts: True keypoints of matched people by KEYPOINT_KINDS.
        true_people: Number of annotated people.
        matched_people: Number of annotated people who have an estimate.
    """

    tables: Mapping[str, Mapping[str, float]]
    factors: Mapping[str, float]
    people: Mapping[str, float]
    scores: Mapping[str, float]
    score_spread: float
    has_scores: bool
    counts: Mapping[str, int]
    true_people: int
    matched_people: int

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `PoseErrors`."""
        own = {"scores": self.scores, "score_spread": self.score_spread, "strength": 1.0}
        return {**self.tables, **self.factors, **self.people, **own}


class ErrorCounter:
    """Compares estimates with the truth, image by image, and counts mistakes."""

    def __init__(self) -> None:
        """Starts from zero."""
        self._keypoints: list[NDArray[Any]] = []  # one array of _KEYPOINT for each matched person
        self._annotated = self._predicted = 0
        self._true = self._matched = self._duplicate = self._false = 0
        self._shiftable = self._shifted = 0

    def add(self, truth: Frame, predicted: Frame) -> None:
        """Adds the annotated people of an image and the estimated ones, in any skeletons.

        Keypoints are compared by name; those that `PoseErrors` cannot draw, and people without any, are left out.
        Estimates in ignore regions that belong to no annotated person do not count.
        """
        skeleton = truth.skeleton
        usable = np.array([name in predicted.skeleton and kind(name) in KIND_BY_NAME for name in skeleton.names])
        everyone = truth.poses[truth.is_posed]  # (N, K, 2)
        estimated = predicted.in_skeleton(skeleton)
        estimated = estimated.select((estimated.present & usable).any(axis=1))
        estimates = np.where(usable[:, None], estimated.poses, np.nan)  # (P, K, 2)
        self._annotated += len(everyone)
        self._predicted += int(predicted.is_posed.sum())

        counted = np.flatnonzero((~np.isnan(everyone[..., 0]) & usable).any(axis=1))  # (G,) indices of people
        likeness = _likeness(everyone[counted], estimates, skeleton)  # (G, P)
        people, matches = linear_sum_assignment(likeness, maximize=True)
        is_like = likeness[people, matches] > 0
        people, matches = people[is_like], matches[is_like]

        # An estimate is in ignore regions if more than half of its keypoints are.
        present = ~np.isnan(estimates[..., 0])
        inside = np.zeros_like(present)
        for region in truth.ignore_regions:
            if len(region) > 2:
                inside[present] |= shapely.contains_xy(shapely.Polygon(region), estimates[present])
        is_ignored = inside.sum(axis=1) > present.sum(axis=1) / 2

        left = np.setdiff1d(np.flatnonzero(~is_ignored), matches)
        duplicates = int((likeness[:, left] > 0).any(axis=0).sum())
        self._true += len(counted)
        self._matched += len(matches)
        self._duplicate += duplicates
        self._false += len(left) - duplicates

        for person, match in zip(counted[people], matches, strict=True):
            others = np.delete(everyone, person, axis=0)
            found = self._compare(everyone[person], estimates[match], estimated.scores[match], others, skeleton)
            self._keypoints.append(found[usable])

    def rates(self) -> ErrorRates:
        """Returns the rates over all images.

        Raises:
            UserError: Nobody is annotated, or no estimate belongs to an annotated person.
        """
        if not self._annotated:
            raise UserError("expected annotated people with keypoints, found none")
        if not self._predicted:
            raise UserError(f"expected predictions for the {self._annotated} annotated people, found none")
        if not self._true:
            raise UserError("expected keypoints that both sides know by the same names, found none")
        if not self._matched:
            raise UserError(f"expected predictions near the {self._true} annotated people, found none")

        seen = np.concatenate(self._keypoints)
        # A keypoint that the truth or the estimates never have says nothing about the estimator.
        known = np.intersect1d(seen["name"][seen["present"]], seen["name"][seen["mistake"] != Mistake.ABSENT])
        seen = seen[np.isin(seen["name"], known)]

        present, mistake = seen["present"], seen["mistake"]
        both = present & (mistake != Mistake.ABSENT)
        factors = {
            "crowded_swap": _factor("crowded_swap", seen, Mistake.SWAP, both & seen["has_neighbour"], seen["crowded"]),
            "few_keypoints_miss": _factor("few_keypoints_miss", seen, Mistake.MISS, both, seen["few"]),
        }
        # How many keypoints each rate is a share of; a keypoint in a crowd counts for several.
        exposures = {
            Mistake.JITTER: both.astype(float),
            Mistake.MISS: both * np.where(seen["few"], factors["few_keypoints_miss"], 1),
            Mistake.INVERSION: (both & seen["has_partner"]).astype(float),
            Mistake.SWAP: (both & seen["has_neighbour"]) * np.where(seen["crowded"], factors["crowded_swap"], 1),
            Mistake.ABSENT: present.astype(float),
            Mistake.EXTRA: (~present).astype(float),
        }
        unique, inverse = np.unique(seen["name"], return_inverse=True)
        kinds = keypoint_kinds(unique.tolist())[inverse]
        tables = {
            name.name.lower(): _rates(kinds, (mistake == name) & (exposure > 0), exposure)
            for name, exposure in exposures.items()
        }
        counts = np.bincount(kinds[present], minlength=len(KEYPOINT_KINDS)).tolist()
        by_kind = dict(zip(KEYPOINT_KINDS, counts, strict=True))

        # Shifts are drawn evenly from a square; those within a circle about its centre are not found.
        findable = 1 - np.pi * _LEAST_SHIFT**2 / (2 * _LARGEST_SHIFT) ** 2
        people = {
            "shift": self._shifted / max(self._shiftable, 1) / findable,
            "missed_person": 1 - self._matched / self._true,
            "false_person": self._false / self._true,
            "duplicate_person": self._duplicate / self._true,
        }
        people = {name: round(min(share, 1.0), _DIGITS) for name, share in people.items()}
        return ErrorRates(tables, factors, people, *_scores(seen), by_kind, self._true, self._matched)

    def _compare(
        self, pose: FloatArray, estimate: FloatArray, scores: FloatArray, others: FloatArray, skeleton: Skeleton
    ) -> NDArray[Any]:
        """Returns (K,) of _KEYPOINT for a person (K, 2) with an estimate (K, 2), beside other people (M, K, 2)."""
        size = person_size(pose)
        tolerance = size * 2 * np.array(skeleton.sigmas)  # distance in pixels at which the similarity is exp(-1/2)
        shift = _common_shift(estimate - pose, tolerance, size)
        if shift is not None:
            self._shiftable += 1
            self._shifted += bool(shift.any())
            estimate = estimate - shift

        mirror = np.array(skeleton.mirror)
        partners = np.where((mirror != np.arange(len(skeleton)))[:, None], pose[mirror], np.nan)
        own, partner = (np.nan_to_num(_similarity(estimate, aim, tolerance)) for aim in (pose, partners))
        neighbour = np.fmax.reduce(_similarity(estimate, others, tolerance), axis=0, initial=0.0)
        mistakes = np.select(
            [own >= GOOD, own >= OFF, (partner >= OFF) & (partner >= neighbour), neighbour >= OFF],
            [Mistake.NEAR, Mistake.JITTER, Mistake.INVERSION, Mistake.SWAP],
            Mistake.MISS,
        )
        present, is_estimated = ~np.isnan(pose[:, 0]), ~np.isnan(estimate[:, 0])

        found = np.empty(len(skeleton), _KEYPOINT)
        found["name"] = skeleton.names
        found["mistake"] = np.where(is_estimated, np.where(present, mistakes, Mistake.EXTRA), Mistake.ABSENT)
        found["present"] = present
        found["has_partner"] = ~np.isnan(partners[:, 0])
        found["has_neighbour"] = (~np.isnan(others[..., 0])).any(axis=0)
        found["crowded"] = any(overlap(pose, other) for other in others)
        found["few"] = present.sum() < FEW_KEYPOINTS
        found["score"] = np.where(is_estimated, scores, np.nan)
        return found


def _similarity(estimate: FloatArray, aim: FloatArray, tolerance: FloatArray) -> FloatArray:
    """Returns the keypoint similarity (..., K) of positions (..., K, 2); NaN where one is missing."""
    squares = ((estimate - aim) ** 2).sum(axis=-1)
    return np.asarray(np.exp(-squares / (2 * tolerance**2)))


def _likeness(poses: FloatArray, estimates: FloatArray, skeleton: Skeleton) -> FloatArray:
    """Returns how similar estimates (P, K, 2) are to people (G, K, 2): (G, P) from 0 to 1; 0 where they do not match.

    Similarity to a keypoint's mirror partner counts as well, so that inverted estimates still match.
    """
    sizes = np.array([person_size(pose) for pose in poses]).reshape(-1, 1, 1)
    tolerance = sizes * 2 * np.array(skeleton.sigmas)  # (G, 1, K)
    own = _similarity(estimates[None], poses[:, None], tolerance)  # (G, P, K)
    partner = _similarity(estimates[None], poses[:, None, list(skeleton.mirror)], tolerance)
    both = ~np.isnan(own)
    near = np.where(both, np.fmax(own, partner), 0.0)

    share = (near >= GONE).sum(axis=2) / np.maximum(both.sum(axis=2), 1)
    likeness = near.sum(axis=2) / np.maximum((~np.isnan(poses[..., 0])).sum(axis=1), 1)[:, None]
    return np.asarray(np.where(share >= _MATCHING_SHARE, likeness, 0.0))


def _common_shift(offsets: FloatArray, tolerance: FloatArray, size: float) -> FloatArray | None:
    """Returns the displacement (2,) of a whole pose by the offsets (K, 2) of its keypoints, in pixels.

    It is zero if there is none, and None for too few keypoints.
    """
    known = ~np.isnan(offsets[:, 0])
    if known.sum() < _SHIFT_KEYPOINTS:
        return None
    offsets, tolerance = offsets[known], tolerance[known]
    shift = np.asarray(np.median(offsets, axis=0))

    # A shift explains more keypoints than no shift does, and at least half of them.
    near, nearer = (int((_similarity(offsets, aim, tolerance) >= GOOD).sum()) for aim in (np.zeros(2), shift))
    is_shifted = np.linalg.norm(shift) >= _LEAST_SHIFT * size and nearer > near and nearer >= len(offsets) / 2
    return shift if is_shifted else np.zeros(2)


def _factor(name: str, seen: NDArray[Any], mistake: Mistake, counted: BoolArray, special: BoolArray) -> float:
    """Returns how many times as often a mistake is made where `special` holds; the plausible factor if few are seen."""
    groups = [counted & special, counted & ~special]
    found = [int((seen["mistake"][group] == mistake).sum()) for group in groups]
    if min(group.sum() for group in groups) < _COMPARABLE or sum(found) < _FEWEST:
        return _PLAUSIBLE_FACTORS[name]
    rate, usual = (count / group.sum() for count, group in zip(found, groups, strict=True))
    return round(float(np.clip(rate / max(usual, 1e-9), *_FACTOR_RANGE)), _DIGITS)


def _rates(kinds: IntArray, is_found: BoolArray, exposure: FloatArray) -> dict[str, float]:
    """Returns the rate of a mistake by KEYPOINT_KINDS; `exposure` (n,) weighs the keypoints that could have it."""
    found, total = (np.bincount(kinds, values, len(KEYPOINT_KINDS)) for values in (is_found, exposure))
    mean = found.sum() / max(total.sum(), 1e-9)
    rates = np.clip((found + _PRIOR * mean) / (total + _PRIOR), 0, 1).round(_DIGITS)
    return dict(zip(KEYPOINT_KINDS, rates.tolist(), strict=True))


def _scores(seen: NDArray[Any]) -> tuple[dict[str, float], float, bool]:
    """Returns mean scores, their spread, and whether any was measured; those beyond 1 count as none."""
    seen = seen[np.isfinite(seen["score"])]
    if not len(seen) or np.median(seen["score"]) > 1:
        return dict(PLAUSIBLE_SCORES), PLAUSIBLE_SPREAD, False

    scores, means, squares = np.clip(seen["score"], 0, 1), dict(PLAUSIBLE_SCORES), 0.0
    for name in SCORED:
        own = scores[seen["mistake"] == Mistake[name.upper()]]
        squares += float(((own - own.mean()) ** 2).sum()) if len(own) else 0.0
        if len(own) >= _FEWEST:
            means[name] = round(float(own.mean()), _DIGITS)
    return means, round(float(np.sqrt(squares / len(scores))), _DIGITS), True

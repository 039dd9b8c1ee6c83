"""How often an estimator makes each kind of mistake: what `pose_errors.PoseErrors` is set up with to draw the like.

A keypoint's place alone does not always tell what happened: beside a true place there may be the mirror partner's, or a
neighbour's. Such a keypoint counts for each kind by how likely the model puts it there at the rates measured so far,
and these are measured again until they stay (expectation maximisation). So rates that the model drew with are found
again also where hips lie close together. What is left:

- A shift of the whole pose by less than 0.08 of the person's size is not told from jitter; those found are counted up
  as if shifts were as the model draws them. None is told where fewer than half of the keypoints are right but for it,
  and poses of fewer than five estimated keypoints are not looked at for shifts.
- Keypoints that are off farther than the model draws count as missed, and are drawn nearer than they were.
- A second estimate of a person counts as the first where this is missing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from hpr.errors import UserError
from hpr.poses import BoolArray, FloatArray, Frame, IntArray
from hpr.skeleton import Skeleton, kind
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
    overlap,
    person_size,
)

DRAWN = (Mistake.NEAR, Mistake.JITTER, Mistake.INVERSION, Mistake.SWAP, Mistake.MISS)
"""What becomes of a true keypoint that has an estimate, in the order of all arrays here."""

_MATCHING_SHARE = 0.5
"""An estimate can be of a person if so much of it is on the person's keypoints or their mirror partners, roughly."""

_LEAST_SHIFT, _LARGEST_SHIFT = 0.08, 0.2
"""In sizes of the person: of a common displacement that is told from jitter; in each direction, that is drawn."""

_SHIFT_KEYPOINTS = 5

_PRIOR = 10.0
"""Keypoints with the mean rates of all that each kind of keypoint counts as if they had been seen, too."""

_COMPARABLE, _FEWEST = 100, 10
"""Keypoints of either sort, and mistakes, that it takes to compare two sorts of people; scores for a mean one."""

_PLAUSIBLE_FACTORS = {"crowded_swap": 5.0, "few_keypoints_miss": 1.6}

_FACTORS = (0.2, 20.0)
"""Smallest and largest factor; where neighbours are mistaken for a person in crowds alone, there is no end to it."""

_ROUNDS, _SETTLED = 500, 1e-5

_FAR = 1e-9
"""Density of misses where none is drawn."""

_DIGITS = 4


@dataclass(frozen=True)
class ErrorRates:
    """What was measured.

    Attributes:
        tables: "jitter", "miss", "inversion", "swap", "absent" and "extra", each by KEYPOINT_KINDS, as PoseErrors takes
            them.
        factors: "crowded_swap" and "few_keypoints_miss", likewise.
        people: "shift", "missed_person", "false_person" and "duplicate_person", likewise.
        scores: Mean score of each of SCORED.
        score_spread: Standard deviation of the scores about those means.
        counts: True keypoints of each of KEYPOINT_KINDS whose estimate was looked for.
        true_people: Number of annotated people.
        matched_people: Number of those who have an estimate.
        has_scores: Whether scores were measured; plausible ones otherwise.
    """

    tables: Mapping[str, Mapping[str, float]]
    factors: Mapping[str, float]
    people: Mapping[str, float]
    scores: Mapping[str, float]
    score_spread: float
    counts: Mapping[str, int]
    true_people: int
    matched_people: int
    has_scores: bool

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of PoseErrors."""
        return {
            **self.tables,
            **self.factors,
            **self.people,
            "scores": self.scores,
            "score_spread": self.score_spread,
            "strength": 1.0,
        }


@dataclass
class _People:
    """Numbers of people: true ones, those with an estimate, estimates of nobody, second ones, and shifted poses."""

    true: int = 0
    matched: int = 0
    false: int = 0
    duplicate: int = 0
    shiftable: int = 0
    shifted: int = 0


@dataclass(frozen=True)
class _Keypoints:
    """Keypoints of matched people, n of them.

    Attributes:
        names: (n,) what they are called.
        present: (n,) whether the truth has them.
        estimated: (n,) whether the estimate has them.
        own: (n,) similarity of the estimate to the true place; NaN where either is not there.
        partner: (n,) similarity to the mirror partner's true place, likewise.
        neighbour: (n,) similarity to the nearest place of a neighbour's keypoint of that name, likewise.
        has_partner: (n,) whether the truth has the mirror partner.
        has_neighbour: (n,) whether someone else has the keypoint.
        crowded: (n,) whether a neighbour's box overlaps the person's.
        few: (n,) whether the person has fewer than ten keypoints.
        scores: (n,) of the estimates; NaN where there is none.
    """

    names: NDArray[np.str_]
    present: BoolArray
    estimated: BoolArray
    own: FloatArray
    partner: FloatArray
    neighbour: FloatArray
    has_partner: BoolArray
    has_neighbour: BoolArray
    crowded: BoolArray
    few: BoolArray
    scores: FloatArray

    @cached_property
    def kinds(self) -> IntArray:
        """(n,) their places in KEYPOINT_KINDS."""
        names, places = np.unique(self.names, return_inverse=True)
        kinds = [KEYPOINT_KINDS.index(KIND_BY_NAME[kind(name)]) for name in names.tolist()]
        return np.array(kinds, np.int64)[places]

    @classmethod
    def together(cls, parts: list["_Keypoints"]) -> "_Keypoints":
        """Returns several as one."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def select(self, mask: BoolArray) -> "_Keypoints":
        """Returns some of them."""
        return _Keypoints(**{field.name: getattr(self, field.name)[mask] for field in fields(self)})


class ErrorCounter:
    """Compares estimates with the truth, image by image."""

    def __init__(self) -> None:
        """Starts without any."""
        self._people = _People()
        self._keypoints: list[_Keypoints] = []
        self._annotated = self._predicted = 0

    def add(self, truth: Frame, predicted: Frame) -> None:
        """Adds an image.

        Keypoints are compared by their names, those that training can draw mistakes for. Estimates in ignore regions
        that are of nobody annotated do not count.

        Args:
            truth: Annotated people; those without a keypoint are left out.
            predicted: Estimated people, likewise; of any skeleton.
        """
        usable = np.array([name in predicted.skeleton and kind(name) in KIND_BY_NAME for name in truth.skeleton.names])
        everyone = truth.poses[truth.is_posed]
        estimated = predicted.in_skeleton(truth.skeleton)
        estimated = estimated.select((estimated.present & usable).any(axis=1))
        self._annotated += len(everyone)
        self._predicted += int(predicted.is_posed.sum())
        counted = (~np.isnan(everyone[..., 0]) & usable).any(axis=1)
        poses = np.where(usable[:, None], everyone, np.nan)[counted]
        estimates = np.where(usable[:, None], estimated.poses, np.nan)

        likeness = _likeness(poses, estimates, everyone[counted], truth.skeleton)  # (G, P)
        people, matches = _assigned(likeness)
        self._count_people(likeness, matches, _inside(estimates, truth.ignore_regions))
        numbers = np.flatnonzero(counted)
        for person, estimate in zip(numbers[people], matches, strict=True):
            others = np.delete(everyone, person, axis=0)
            scores = estimated.scores[estimate]
            self._add_person(everyone[person], estimates[estimate], scores, others, truth.skeleton, usable)

    def rates(self) -> ErrorRates:
        """Returns the rates of all that was added.

        Raises:
            UserError: Nobody is annotated, or no estimate is of anyone annotated.
        """
        people = self._people
        self._check()
        seen = _comparable(_Keypoints.together(self._keypoints))
        shares, table, factors = _told_apart(seen.select(seen.present & seen.estimated))
        means, spread, has_scores = _scores(seen, shares)
        return ErrorRates(
            {
                **{mistake.name.lower(): _named(table[:, mistake]) for mistake in DRAWN[1:]},
                "absent": _named(_share(seen, seen.present, ~seen.estimated)),
                "extra": _named(_share(seen, ~seen.present, seen.estimated)),
            },
            factors,
            _people_rates(people),
            means,
            spread,
            dict(zip(KEYPOINT_KINDS, _sums(seen.kinds, seen.present).astype(int).tolist(), strict=True)),
            people.true,
            people.matched,
            has_scores,
        )

    def _check(self) -> None:
        """Refuses to make rates of nothing."""
        if not self._annotated:
            raise UserError("expected annotated people with keypoints, found none")
        if not self._predicted:
            raise UserError(f"expected predictions for the {self._annotated} annotated people, found none")
        if not self._people.true:
            raise UserError("expected keypoints that both sides know by the same names, found none")
        if not self._people.matched:
            raise UserError(f"expected predictions near the {self._people.true} annotated people, found none")

    def _count_people(self, likeness: FloatArray, matches: IntArray, ignored: BoolArray) -> None:
        """Adds the people of an image.

        Args:
            likeness: (G, P) of true people and estimates.
            matches: (M,) the estimates that are someone's.
            ignored: (P,) which estimates lie in ignore regions.
        """
        left = np.setdiff1d(np.flatnonzero(~ignored), matches)
        duplicates = int((likeness[:, left] > 0).any(axis=0).sum())
        self._people.true += len(likeness)
        self._people.matched += len(matches)
        self._people.duplicate += duplicates
        self._people.false += len(left) - duplicates

    def _add_person(
        self,
        pose: FloatArray,
        estimate: FloatArray,
        scores: FloatArray,
        others: FloatArray,
        skeleton: Skeleton,
        usable: BoolArray,
    ) -> None:
        """Adds the keypoints of a person (K, 2) with an estimate (K, 2) and its scores (K,), among others (M, K, 2)."""
        tolerance = _tolerances(pose, skeleton)
        shift = _common_shift(estimate - pose, tolerance, person_size(pose))
        if shift is not None:
            self._people.shiftable += 1
            self._people.shifted += bool(shift.any())
            estimate = estimate - shift

        mirror = list(skeleton.mirror)
        is_paired = np.array(mirror) != np.arange(len(skeleton))
        partners = np.where(is_paired[:, None], pose[mirror], np.nan)
        present, has_partner = ~np.isnan(pose[:, 0]), ~np.isnan(partners[:, 0])
        neighbour = np.fmax.reduce(_similarity(estimate, others, tolerance), axis=0, initial=np.nan)
        keypoints = _Keypoints(
            np.array(skeleton.names),
            present,
            ~np.isnan(estimate[:, 0]),
            _similarity(estimate, pose, tolerance),
            _similarity(estimate, partners, tolerance),
            neighbour,
            has_partner,
            np.asarray((~np.isnan(others[..., 0])).any(axis=0)),
            np.full(len(skeleton), any(overlap(pose, other) for other in others)),
            np.full(len(skeleton), present.sum() < FEW_KEYPOINTS),
            scores,
        )
        self._keypoints.append(keypoints.select(usable))


def _similarity(estimate: FloatArray, place: FloatArray, tolerance: FloatArray) -> FloatArray:
    """Returns the keypoint similarity (..., K) of places (..., K, 2); NaN where one is missing."""
    squares = ((estimate - place) ** 2).sum(axis=-1)
    return np.asarray(np.exp(-squares / (2 * tolerance**2)))


def _tolerances(pose: FloatArray, skeleton: Skeleton) -> FloatArray:
    """Returns how far (K,) keypoints of a person (K, 2) may be off: in pixels, where the similarity is exp(-1/2)."""
    return person_size(pose) * 2 * np.array(skeleton.sigmas)


def _likeness(poses: FloatArray, estimates: FloatArray, whole: FloatArray, skeleton: Skeleton) -> FloatArray:
    """Returns how much estimates are like people: (G, P) from 0 to 1, 0 for estimates that cannot be a person's.

    Args:
        poses: (G, K, 2) true keypoints that are compared.
        estimates: (P, K, 2).
        whole: (G, K, 2) all true keypoints, which say how large the people are.
        skeleton: Of the K keypoints.
    """
    tolerance = np.array([_tolerances(pose, skeleton) for pose in whole]).reshape(-1, 1, len(skeleton))  # (G, 1, K)
    own = _similarity(estimates[None], poses[:, None], tolerance)  # (G, P, K)
    partner = _similarity(estimates[None], poses[:, None, list(skeleton.mirror)], tolerance)
    both = ~np.isnan(own)
    near = np.where(both, np.fmax(own, partner), 0.0)
    share = (near >= GONE).sum(axis=2) / np.maximum(both.sum(axis=2), 1)
    likeness = near.sum(axis=2) / np.maximum((~np.isnan(poses[..., 0])).sum(axis=1), 1)[:, None]
    return np.asarray(np.where(share >= _MATCHING_SHARE, likeness, 0.0))


def _assigned(likeness: FloatArray) -> tuple[IntArray, IntArray]:
    """Returns the places of the people who have an estimate, and of these estimates."""
    people, estimates = linear_sum_assignment(likeness, maximize=True)
    is_like = likeness[people, estimates] > 0
    return people[is_like], estimates[is_like]


def _inside(poses: FloatArray, regions: Sequence[FloatArray]) -> BoolArray:
    """Returns (N,) which poses (N, K, 2) lie in regions with more than half of their keypoints."""
    present = ~np.isnan(poses[..., 0])
    inside = np.zeros_like(present)
    for region in regions:
        if len(region) > 2:
            inside[present] |= shapely.contains_xy(shapely.Polygon(region), poses[present])
    return np.asarray(inside.sum(axis=1) > present.sum(axis=1) / 2)


def _common_shift(offsets: FloatArray, tolerance: FloatArray, size: float) -> FloatArray | None:
    """Returns by how much (2,) a whole pose is shifted, zero where that is not to be told; None for too few keypoints.

    Args:
        offsets: (K, 2) from the true keypoints to the estimated ones, NaN where either is missing.
        tolerance: (K,) in pixels.
        size: Of the person in pixels.
    """
    known = ~np.isnan(offsets[:, 0])
    if known.sum() < _SHIFT_KEYPOINTS:
        return None
    offsets, tolerance = offsets[known], tolerance[known]
    shift = np.asarray(np.median(offsets, axis=0))
    near, nearer = (int((_similarity(offsets, place, tolerance) >= GOOD).sum()) for place in (np.zeros(2), shift))
    is_shifted = np.linalg.norm(shift) >= _LEAST_SHIFT * size and nearer > near and nearer >= len(offsets) / 2
    return shift if is_shifted else np.zeros(2)


def _comparable(seen: _Keypoints) -> _Keypoints:
    """Returns the keypoints whose name both the truth and the estimates have somewhere; of others neither knows."""
    annotated, estimated = np.unique(seen.names[seen.present]), np.unique(seen.names[seen.estimated])
    return seen.select(np.isin(seen.names, np.intersect1d(annotated, estimated)))


def _told_apart(seen: _Keypoints) -> tuple[FloatArray, FloatArray, dict[str, float]]:
    """Tells what happened to keypoints that have an estimate, and how often that happens.

    Returns:
        For each keypoint how likely each of DRAWN is (n, 5), the rates of these by kind of keypoint (7, 5), and the
        factors of PoseErrors.
    """
    densities, factors = _densities(seen), dict(_PLAUSIBLE_FACTORS)
    table = np.full((len(KEYPOINT_KINDS), len(DRAWN)), 0.05)
    for _ in range(_ROUNDS):
        exposure = _exposure(seen, factors)
        shares = _shares(table[seen.kinds] * exposure, densities)
        before = table
        table = _smoothed(_sums(seen.kinds, shares), _sums(seen.kinds, exposure))
        factors = _factors(seen, shares, table[seen.kinds])
        if np.abs(table - before).max() < _SETTLED:
            break
    return shares, np.clip(table, 0, 1), factors


def _shares(chances: FloatArray, densities: FloatArray) -> FloatArray:
    """Returns how likely each of DRAWN is (n, 5) by how likely it was and how likely it leads there, (n, 5) each."""
    chances[:, Mistake.NEAR] = np.maximum(1 - chances[:, 1:].sum(axis=1), 0.01)
    weights = chances * densities
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _densities(seen: _Keypoints) -> FloatArray:
    """Returns how densely each of DRAWN puts estimates where these are (n, 5), as PoseErrors draws them.

    That is per area in squares of the tolerance, without a common factor. A similarity s that is drawn evenly from an
    interval lies in the plane with a density of s by the interval's length. A distance r that is, with one of 1 / r.
    """
    own, partner, neighbour = seen.own, np.nan_to_num(seen.partner), np.nan_to_num(seen.neighbour)
    farthest, distance = (np.sqrt(-2 * np.log(np.clip(value, 1e-9, 1 - 1e-9))) for value in (GOOD, own))
    densities = {
        Mistake.NEAR: np.where(own >= GOOD, 1 / (distance * farthest), 0),
        Mistake.JITTER: np.where((own >= OFF) & (own < GOOD), own / (GOOD - OFF), 0),
        Mistake.INVERSION: np.where(partner >= OFF, partner / (1 - OFF), 0),
        Mistake.SWAP: np.where(neighbour >= OFF, neighbour / (1 - OFF), 0),
        # also what is farther off than is drawn, unless it is something else
        Mistake.MISS: np.where((own >= GONE) & (own < OFF), own / (OFF - GONE), np.where(own < GONE, _FAR, 0)),
    }
    return np.stack([densities[mistake] for mistake in DRAWN], axis=1)


def _exposure(seen: _Keypoints, factors: Mapping[str, float]) -> FloatArray:
    """Returns what the rates of DRAWN are multiplied by for each keypoint (n, 5)."""
    exposure = np.ones((len(seen.own), len(DRAWN)))
    exposure[:, Mistake.INVERSION] = seen.has_partner
    exposure[:, Mistake.SWAP] = seen.has_neighbour * np.where(seen.crowded, factors["crowded_swap"], 1)
    exposure[:, Mistake.MISS] = np.where(seen.few, factors["few_keypoints_miss"], 1)
    return exposure


def _factors(seen: _Keypoints, shares: FloatArray, rates: FloatArray) -> dict[str, float]:
    """Returns the factors of PoseErrors, given what happened to keypoints (n, 5) and their rates (n, 5) without them.

    They are plausible ones where there are too few of either sort of people, or too few mistakes.
    """
    factors = dict(_PLAUSIBLE_FACTORS)
    for name, mistake, counted, concerned in (
        ("crowded_swap", Mistake.SWAP, seen.has_neighbour, seen.crowded),
        ("few_keypoints_miss", Mistake.MISS, np.ones_like(seen.few), seen.few),
    ):
        sort = counted & concerned
        is_enough = min(sort.sum(), (counted & ~concerned).sum()) >= _COMPARABLE
        if is_enough and shares[counted, mistake].sum() >= _FEWEST:
            ratio = shares[sort, mistake].sum() / max(rates[sort, mistake].sum(), 1e-9)
            factors[name] = round(float(np.clip(ratio, *_FACTORS)), _DIGITS)
    return factors


def _sums(kinds: IntArray, values: FloatArray | BoolArray) -> FloatArray:
    """Returns the sums of values (n, ...) over the keypoints of each of KEYPOINT_KINDS (7, ...)."""
    sums = np.zeros((len(KEYPOINT_KINDS), *values.shape[1:]))
    np.add.at(sums, kinds, values)
    return sums


def _smoothed(found: FloatArray, exposure: FloatArray) -> FloatArray:
    """Returns rates (7, ...) of what was found among so many; few keypoints get about the mean of all kinds."""
    mean = found.sum(axis=0) / np.maximum(exposure.sum(axis=0), 1e-9)
    return np.asarray((found + _PRIOR * mean) / (exposure + _PRIOR))


def _share(seen: _Keypoints, among: BoolArray, those: BoolArray) -> FloatArray:
    """Returns the share (7,) that some keypoints are of others."""
    return _smoothed(_sums(seen.kinds, among & those), _sums(seen.kinds, among))


def _named(rates: FloatArray) -> dict[str, float]:
    return dict(zip(KEYPOINT_KINDS, rates.round(_DIGITS).tolist(), strict=True))


def _people_rates(people: _People) -> dict[str, float]:
    # Shifts are drawn evenly from a square, and those within a circle about its middle are not found.
    findable = 1 - np.pi * _LEAST_SHIFT**2 / (2 * _LARGEST_SHIFT) ** 2
    shares = {
        "shift": people.shifted / max(people.shiftable, 1) / findable,
        "missed_person": 1 - people.matched / people.true,
        "false_person": people.false / people.true,
        "duplicate_person": people.duplicate / people.true,
    }
    return {name: round(min(share, 1.0), _DIGITS) for name, share in shares.items()}


def _scores(seen: _Keypoints, shares: FloatArray) -> tuple[dict[str, float], float, bool]:
    """Returns the mean score of each of SCORED, the standard deviation about these, and whether any was measured.

    Scores of a scale that does not end at 1 count as none.

    Args:
        seen: All keypoints.
        shares: (m, 5) how likely each of DRAWN is, of those that are present and estimated.
    """
    weights = np.zeros((len(seen.own), len(SCORED)))
    weights[seen.present & seen.estimated, : len(DRAWN)] = shares
    weights[~seen.present & seen.estimated, SCORED.index("extra")] = 1
    has_score = np.isfinite(seen.scores) & seen.estimated
    if not has_score.any() or np.median(seen.scores[has_score]) > 1:
        return dict(PLAUSIBLE_SCORES), PLAUSIBLE_SPREAD, False

    scores, weights = np.clip(seen.scores[has_score], 0, 1)[:, None], weights[has_score]
    counts = weights.sum(axis=0)
    means = (weights * scores).sum(axis=0) / np.maximum(counts, 1e-9)
    spread = float(np.sqrt((weights * (scores - means) ** 2).sum() / weights.sum()))
    measured = zip(SCORED, means.tolist(), counts.tolist(), strict=True)
    named = {name: mean if count >= _FEWEST else PLAUSIBLE_SCORES[name] for name, mean, count in measured}
    return {name: round(mean, _DIGITS) for name, mean in named.items()}, round(spread, _DIGITS), True

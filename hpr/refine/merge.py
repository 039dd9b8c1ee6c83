"""Putting refined poses into frames: which keypoints are kept, and with what scores."""

from dataclasses import replace

import numpy as np

from hpr.poses import BoolArray, FloatArray, Frame
from hpr.refine.objective import Objective, ScoreRule
from hpr.refine.results import RefinedPoses
from hpr.skeleton import Skeleton


def apply_refined(
    frame: Frame, refined: RefinedPoses, skeleton: Skeleton, objective: Objective, min_score: float = 0.0
) -> Frame:
    """Returns a frame with refined poses as an objective wants them, in its own skeleton joined with the network's.

    Args:
        frame: With N people.
        refined: All that the network proposes for them, from `RefinedPoses.stack`.
        skeleton: The network's.
        objective: Which keypoints are kept and how they are scored.
        min_score: Keypoints of a lower score were missing for the network. They are as they were where it has not added
            them.
    """
    seen = frame.without_uncertain(min_score)
    kept = keep_confident(seen, refined, skeleton, objective.keep, objective.add)
    merged = merge_refined(frame, kept, skeleton)

    num_own = len(frame.skeleton)
    is_restored = np.zeros(merged.flags.shape, bool)  # (N, J)
    is_restored[:, :num_own] = frame.present & ~seen.present & np.isnan(merged.keypoints[:, :num_own, 0])
    if is_restored.any():
        original = frame.in_skeleton(merged.skeleton)
        merged = replace(
            merged,
            keypoints=np.where(is_restored[..., None], original.keypoints, merged.keypoints),
            flags=np.where(is_restored, original.flags, merged.flags),
            confidences=np.where(is_restored, np.nan, merged.confidences),
        )
    return rescore(frame, merged, objective.score)


def keep_confident(frame: Frame, refined: RefinedPoses, skeleton: Skeleton, keep: float, add: float) -> RefinedPoses:
    """Returns refined poses without keypoints of low confidence, which become NaN.

    Args:
        frame: The input, with N people.
        refined: All that the network proposes for them.
        skeleton: The network's, K keypoints.
        keep: A keypoint that the input has is kept if its confidence is above this.
        add: A keypoint that the input lacks is kept if its confidence is above this.
    """
    is_present = frame.skeleton.convert(frame.present.astype(np.float64), skeleton, missing=0.0) > 0  # (N, K)
    is_kept = refined.confidence > np.where(is_present, keep, add)  # False for people who were not refined
    return replace(refined, keypoints=np.where(is_kept[..., None], refined.keypoints, np.nan))


def merge_refined(frame: Frame, refined: RefinedPoses, skeleton: Skeleton) -> Frame:
    """Returns a frame with refined poses; keypoints unknown to the network are unchanged.

    Keypoints that only the network knows are appended. People who were not refined are unchanged. A refined keypoint
    has flag 1, or 0 where it is NaN. Scores are the frame's. `skeleton` is that of the refined poses.
    """
    merged = frame.in_skeleton(frame.skeleton.joined(skeleton))  # J keypoints
    keypoints = skeleton.convert(refined.keypoints, merged.skeleton)  # (N, J, 2)
    is_known = skeleton.mapping_to(merged.skeleton) >= 0  # (J,)
    is_replaced = refined.is_refined[:, None] & is_known  # (N, J)

    return replace(
        merged,
        keypoints=np.where(is_replaced[..., None], keypoints, merged.keypoints),
        flags=np.where(is_replaced, np.isfinite(keypoints[..., 0]), merged.flags),
        confidences=skeleton.convert(refined.confidence, merged.skeleton),
    )


def rescore(before: Frame, merged: Frame, rule: ScoreRule) -> Frame:
    """Returns a merged frame with the scores of a rule.

    Keypoints that the network does not know or that are not in the result keep their scores, and so do people who were
    not refined. A frame without any score of a keypoint, or of a person, stays without.

    Args:
        before: The frame as it was read.
        merged: Result of `merge_refined`; its first keypoints are those of `before`.
        rule: See `Objective.score`.
    """
    if rule == "input":
        return merged
    confidences, scores, person_scores = merged.confidences, merged.scores, merged.person_scores
    is_in_result = ~np.isnan(confidences) & np.isfinite(merged.keypoints).all(axis=-1)  # (N, J)
    num_own = len(before.skeleton)

    if not np.isnan(scores).all():
        had_score = np.zeros_like(is_in_result)
        had_score[:, :num_own] = before.present & ~np.isnan(before.scores)
        scores = np.where(is_in_result, _scored(scores, had_score, confidences, rule), scores)

    if not np.isnan(person_scores).all():
        is_own = is_in_result[:, :num_own]  # files have no room for other keypoints
        sums = np.where(is_own, confidences[:, :num_own], 0.0).sum(axis=1)
        means = sums / np.maximum(is_own.sum(axis=1), 1)  # (N,); 0 without any
        new_scores = _scored(person_scores, ~np.isnan(person_scores), means, rule)
        is_refined = ~np.isnan(confidences).all(axis=1)  # (N,)
        person_scores = np.where(is_refined, new_scores, person_scores)

    return replace(merged, scores=scores, person_scores=person_scores)


def _scored(scores: FloatArray, had_score: BoolArray, confidences: FloatArray, rule: ScoreRule) -> FloatArray:
    """Returns the confidences, or their products with the scores where there are any; all of one shape."""
    return confidences * np.where(had_score, scores, 1.0) if rule == "product" else confidences

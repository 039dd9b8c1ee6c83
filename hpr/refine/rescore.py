"""Scores of refined keypoints and people."""

from dataclasses import replace

import numpy as np

from hpr.refine.objective import ScoreRule
from hpr.poses import BoolArray, FloatArray, Frame


def rescored(before: Frame, after: Frame, own_count: int, rule: ScoreRule) -> Frame:
    """Returns a refined frame with the scores of a rule.

    Keypoints that the network does not know or that are not in the result keep their scores, and so do people who were
    not refined. A frame without any score of a keypoint, or of a person, stays without.

    Args:
        before: As it was, in the skeleton of the refined frame.
        after: Refined; its scores are the input's.
        own_count: How many keypoints, the first ones, the frame was read with: its file has no place for others.
        rule: See `Objective`.
    """
    if rule == "input":
        return after
    confidences, scores, person_scores = after.confidences, after.scores, after.person_scores
    in_result = ~np.isnan(confidences) & np.isfinite(after.keypoints).all(axis=-1)  # (N, K)
    if not np.isnan(scores).all():
        known = before.present & ~np.isnan(scores)
        scores = np.where(in_result, _combined(scores, known, confidences, rule), scores)

    if not np.isnan(person_scores).all():
        refined = ~np.isnan(confidences).all(axis=1)  # (N,)
        means = _means(confidences[:, :own_count], in_result[:, :own_count])
        combined = _combined(person_scores, ~np.isnan(person_scores), means, rule)
        person_scores = np.where(refined, combined, person_scores)
    return replace(after, scores=scores, person_scores=person_scores)


def _combined(scores: FloatArray, known: BoolArray, confidences: FloatArray, rule: ScoreRule) -> FloatArray:
    """Returns the confidences, or their products with the scores that are known; all of one shape."""
    return confidences * np.where(known, scores, 1.0) if rule == "product" else confidences


def _means(confidences: FloatArray, in_result: BoolArray) -> FloatArray:
    """Returns (N,) the mean confidence of the keypoints (N, K) in the result; 0 for a person who has none."""
    sums = np.where(in_result, confidences, 0.0).sum(axis=1)
    return np.asarray(sums / np.maximum(in_result.sum(axis=1), 1))

"""What refining is for: which keypoints are in the result, and with what scores."""

from dataclasses import dataclass
from typing import Literal

ScoreRule = Literal["input", "network", "product"]
"""Whose score a refined keypoint has: the input's, the network's confidence, or the product of both."""


@dataclass(frozen=True)
class Objective:
    """What becomes of the network's keypoints.

    Attributes:
        keep: A keypoint of the input stays, at its refined place, if the network's confidence is above this.
        add: A keypoint that the input does not have is added if the network's confidence is above this.
        score: Of the keypoints in the result, and likewise of the people.
    """

    keep: float
    add: float
    score: ScoreRule = "input"


MAP, MOTA = Objective(0.0, 0.0), Objective(0.7, 0.7)
"""The published objectives (docs/published.md, section 3.3)."""

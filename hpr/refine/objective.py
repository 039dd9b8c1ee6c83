"""What refining is for: which keypoints are in the result, and with what scores."""

from typing import Annotated, Literal

from pydantic import Field

from hpr.settings import Section

ScoreRule = Literal["input", "network", "product"]
"""Whose score a refined keypoint has: the input's, the network's confidence, or the product of both."""

Threshold = Annotated[float, Field(ge=0, lt=1)]
"""A probability."""

Iterations = Annotated[int, Field(ge=1, le=5)]
"""How often a pose goes through the network."""


class Objective(Section):
    """Which refined keypoints to keep and how to score them (conf/objective).

    Attributes:
        name: Names the output folder.
        keep: A keypoint that the input has is kept, at its refined position, if the network's confidence is above this.
        add: A keypoint that the input lacks is added if the network's confidence is above this.
        score: Whose score the result carries, for keypoints and for people.
        iterations: How often a pose goes through the network.
    """

    name: str = "custom"
    keep: Threshold
    add: Threshold
    score: ScoreRule = "input"
    iterations: Iterations = 1


MAP, MOTA = Objective(name="map", keep=0.0, add=0.0), Objective(name="mota", keep=0.7, add=0.7)
"""The published objectives (docs/published.md, section 3.3)."""

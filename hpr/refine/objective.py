"""What refining is for: which keypoints are kept, and how they are scored."""

from typing import Annotated, Literal

from pydantic import Field

from hpr.settings import Section

ScoreRule = Literal["input", "network", "product"]
"""The score of a refined keypoint: the input's, the network's confidence, or their product."""

Threshold = Annotated[float, Field(ge=0, lt=1)]
"""A probability."""

Iterations = Annotated[int, Field(ge=1, le=5)]
"""How often a pose goes through the network."""


class Objective(Section):
    """Which refined keypoints are kept and how they are scored (conf/objective).

    Attributes:
        name: Name of the output folder.
        keep: A keypoint that the input has is kept, at its refined position, if its confidence is above this.
        add: A keypoint that the input lacks is added if its confidence is above this.
        score: How keypoints and people are scored.
        iterations: How often a pose goes through the network.
    """

    name: str = "custom"
    keep: Threshold
    add: Threshold
    score: ScoreRule = "input"
    iterations: Iterations = 1


MAP, MOTA = Objective(name="map", keep=0.0, add=0.0), Objective(name="mota", keep=0.7, add=0.7)
"""The published objectives (docs/published.md, section 3.3)."""

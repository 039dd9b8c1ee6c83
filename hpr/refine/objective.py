"""What refining is for: which keypoints are kept, and how they are scored."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import OmegaConf
from pydantic import Field

from hpr.errors import UserError
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


def objective_of(value: Objective | str) -> Objective:
    """Returns an objective itself, or by its name in conf/objective.

    Raises:
        UserError: There is no objective of that name.
        ValueError: It is neither an objective nor a name.
    """
    if isinstance(value, Objective):
        return value
    if not isinstance(value, str):
        raise ValueError(f"objective: expected a name or an hpr.Objective, found {type(value).__name__}")

    folder = Path(str(files("hpr.conf"))) / "objective"
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if value not in names:
        raise UserError(f"unknown objective '{value}': expected one of {', '.join(names)}, or an hpr.Objective")
    settings: Any = OmegaConf.to_container(OmegaConf.load(folder / f"{value}.yaml"))
    return Objective(**settings)


MAP, MOTA = objective_of("map"), objective_of("mota")
"""The published objectives (docs/published.md, section 3.3)."""

"""The settings that several commands share: their types and ranges, said once."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from hpr.crops import ScaleRule
from hpr.design import DecoderKind, DesignChoice, InputKind
from hpr.objective import ScoreRule

Component = dict[str, Any]
"""A node with a `_target_`, whose constructor checks the rest."""

Threshold = Annotated[float, Field(ge=0, lt=1)]
"""A probability that some are above."""

Iterations = Annotated[int, Field(ge=1, le=5)]
"""How often a pose goes through the network."""

Margin = Annotated[float, Field(ge=0, le=1000)]
"""Pixels around a person's keypoints."""


class Section(BaseModel):
    """A group of settings: values are of exactly their types, and there are no others."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ModelSettings(Section):
    """A network: conf/model."""

    architecture: str
    skeleton: str
    weights: str | None
    input: InputKind | None = None
    decoder: DecoderKind | None = None

    @property
    def design(self) -> DesignChoice:
        """What is asked for of the network's design."""
        return DesignChoice(self.input, self.decoder)


class ObjectiveSettings(Section):
    """What refining is for: conf/objective."""

    name: str
    keep: Threshold
    add: Threshold
    score: ScoreRule
    iterations: Iterations


class DatasetSettings(Section):
    """Where poses, images and annotations are: conf/dataset."""

    name: str
    format: Component
    outside: bool = False
    annotations: str | None = None
    training: Component | None = None
    validation: Component | None = None


class PredictionSettings(DatasetSettings):
    """A data set with images and predictions."""

    root: str | None = None
    images: str | list[str] | None = None
    predictions: str
    scale: ScaleRule

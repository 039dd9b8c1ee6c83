"""The settings that several commands share: their types and ranges, said once."""

from typing import Annotated, Any

from pydantic import Field

from hpr.crops import ScaleRule
from hpr.settings import InputKind, Section

Component = dict[str, Any]
"""A node with a `_target_`, whose constructor checks the rest."""

Margin = Annotated[float, Field(ge=0, le=1000)]
"""Pixels around a person's keypoints."""


class ModelSettings(Section):
    """A network: conf/model."""

    architecture: str
    skeleton: str
    weights: str | None
    input: InputKind | None = None


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

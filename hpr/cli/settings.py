"""Settings that several commands share."""

from typing import Annotated

from pydantic import Field

from hpr.cli.components import Component
from hpr.crops import ScaleRule
from hpr.settings import InputKind, Section

Margin = Annotated[float, Field(ge=0, le=1000)]
"""Pixels around a person's keypoints."""


class ModelSettings(Section):
    """A network (conf/model)."""

    architecture: str
    skeleton: str
    weights: str | None
    input: InputKind | None = None


class DatasetSettings(Section):
    """Poses, images and annotations (conf/dataset)."""

    name: str
    format: Component
    outside: bool = False
    annotations: str | None = None
    training: Component | None = None
    validation: Component | None = None


class PredictionSettings(DatasetSettings):
    """A data set with predictions (conf/dataset)."""

    root: str | None = None
    images: str | list[str] | None = None
    predictions: str
    scale: ScaleRule

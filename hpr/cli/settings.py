"""Settings that several commands share."""

from typing import Annotated, Any

from pydantic import Field

from hpr.cli.components import Component
from hpr.crops import ScaleRule
from hpr.errors import UserError
from hpr.settings import CanvasSide, InputKind, Orientation, Section

CanvasSize = Annotated[list[CanvasSide], Field(min_length=2, max_length=2)]
"""Height and width of crops in pixels."""


class ModelSettings(Section):
    """A network (conf/model)."""

    architecture: str
    skeleton: str
    weights: str | None
    input: InputKind | None = None


class DatasetSettings(Section):
    """Poses, images and annotations (conf/dataset)."""

    name: str
    root: str | None = None
    images: str | list[str] | None = None
    format: Component
    outside: bool = False
    orientation: Orientation = "auto"
    annotations: str | None = None
    skeleton: str | list[str] | None = None
    scale: ScaleRule
    training: Component | None = None
    validation: Component | None = None


class PredictionSettings(DatasetSettings):
    """A data set with predictions (conf/dataset)."""

    predictions: str


class ScoringSettings(Section):
    """What is compared with annotations; the model and the objective that a data set brings are not used."""

    dataset: PredictionSettings
    model: dict[str, Any] | None = None
    objective: dict[str, Any] | None = None

    def annotations(self) -> str:
        """Returns where the annotations are.

        Raises:
            UserError: That is not set.
        """
        if self.dataset.annotations is None:
            raise UserError("annotations is not set; add annotations=FILE_OR_FOLDER to the command")
        return self.dataset.annotations

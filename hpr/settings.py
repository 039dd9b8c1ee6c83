"""Types and ranges of settings, declared where the code takes them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, validate_call

InputKind = Literal["discs", "confident_discs"]
"""How an estimated pose is drawn for the network: as published, or with discs as bright as the estimate's scores."""

Count = Annotated[int, Field(ge=1)]
"""A whole number from 1 up."""

WholeNumber = Annotated[int, Field(ge=0)]
"""A whole number from 0 up."""

Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""Of random numbers; PyTorch takes no larger ones."""

Workers = Annotated[int, Field(ge=0, le=512)]
"""Processes beside this one."""

BatchSize = Annotated[int, Field(ge=1, le=65_536)]
"""Examples in a step."""

CanvasSide = Annotated[int, Field(ge=16, le=8192)]
"""Pixels of a crop or an image."""

NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A number from 0 up."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""A number above 0."""

Probability = Annotated[float, Field(ge=0, le=1)]
"""A number from 0 to 1."""

checked = validate_call(config=ConfigDict(strict=True, arbitrary_types_allowed=True))
"""Decorates a constructor: its arguments have to be of exactly their types and within their ranges.

Raises:
    pydantic.ValidationError: One is not.
"""


class Section(BaseModel):
    """A group of settings: strictly typed, frozen, without unknown names. Code takes these models as they are."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

"""Types and ranges of settings, which the code that takes them declares."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, validate_call

InputKind = Literal["discs", "confident_discs", "gaussians"]
"""How an estimated pose is drawn for the network: as published, with discs as bright as the estimate's scores, or with
Gaussians as bright as these."""

Orientation = Literal["auto", "exif", "stored"]
"""Whether coordinates are of pictures as EXIF turns them, as OpenCV reads them, or as they are stored; auto goes by the
sizes in the file of poses, then by its format."""

Count = Annotated[int, Field(ge=1)]
WholeNumber = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # PyTorch takes no larger ones
Workers = Annotated[int, Field(ge=0, le=512)]  # processes beside this one
BatchSize = Annotated[int, Field(ge=1, le=65_536)]  # examples in an optimizer step
CanvasSide = Annotated[int, Field(ge=16, le=8192)]  # pixels of a crop or an image
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]

checked = validate_call(config=ConfigDict(strict=True, arbitrary_types_allowed=True))
"""Decorates a function: its arguments must have exactly their annotated types and be within their ranges.

Raises:
    pydantic.ValidationError: One is not.
"""


class Section(BaseModel):
    """Base class of a group of settings: strictly typed, frozen, without unknown names. Code takes them as they are."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

"""Types and ranges of arguments that come from a user's settings, said where the arguments are declared."""

from typing import Annotated

from pydantic import ConfigDict, Field, validate_call

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

"""Learning rates as pure functions of the step, so that a run can continue anywhere."""

import math
from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from hpr.errors import UserError
from hpr.settings import Count, WholeNumber, checked

Schedule = Callable[[int, int], float]
"""Maps a step, from 0, and the run's number of steps to the learning rate."""

Rate = Annotated[float, Field(ge=0, le=10)]
"""A learning rate: nothing learns at a larger one."""


class Steps:
    """Constant learning rates up to given steps, as the parent was trained (docs/published.md, section 5)."""

    @checked
    def __init__(self, rates: Annotated[list[Rate], Field(min_length=1)], until: list[Count]) -> None:
        """Sets the learning rates.

        Args:
            rates: Learning rates.
            until: The step at which each rate ends; the last rate has no end.

        Raises:
            UserError: There are not as many steps as rates, or they do not rise.
        """
        if len(until) != len(rates) or sorted(set(until)) != until:
            raise UserError(f"schedule.until={until}: expected {len(rates)} rising steps, one for each of the rates")
        self._rates, self._until = rates, until

    def __call__(self, step: int, num_steps: int) -> float:
        """Returns the learning rate of a step."""
        past = sum(step >= end for end in self._until)
        return self._rates[min(past, len(self._rates) - 1)]


class WarmUpCosine:
    """A linear warm-up, then half a cosine down to 0 at the end of the run."""

    @checked
    def __init__(self, peak_lr: Annotated[Rate, Field(gt=0)], warm_up: WholeNumber) -> None:
        """Sets the highest learning rate and the number of warm-up steps."""
        self._peak_lr, self._warm_up = peak_lr, warm_up

    def __call__(self, step: int, num_steps: int) -> float:
        """Returns the learning rate of a step."""
        if step < self._warm_up:
            return self._peak_lr * (step + 1) / self._warm_up
        share = (step - self._warm_up) / max(num_steps - self._warm_up, 1)
        return self._peak_lr * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))

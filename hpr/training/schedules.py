"""Learning rates by step: functions without a state, so that a run can be continued anywhere."""

import math
from typing import Annotated

from pydantic import Field

from hpr.settings import Count, WholeNumber, checked
from hpr.errors import UserError

Rate = Annotated[float, Field(ge=0, le=10)]
"""A learning rate: nothing learns at a larger one."""


def steps_of(epochs: float, people: int, batch_size: int) -> int:
    """Returns how many steps see each of so many people so many times, at least once."""
    return max(math.ceil(epochs * people / batch_size), 1)


class Steps:
    """The parent's schedule: constant rates up to given steps (docs/published.md, section 5)."""

    @checked
    def __init__(self, rates: Annotated[list[Rate], Field(min_length=1)], until: list[Count]) -> None:
        """Sets the rates and, for each, the step at which it ends; the last goes on without end.

        Raises:
            UserError: There are not as many steps as rates, or they do not rise.
        """
        if len(until) != len(rates) or sorted(set(until)) != until:
            raise UserError(f"schedule.until={until}: expected {len(rates)} rising steps, one for each of the rates")
        self._rates, self._until = rates, until

    def rate(self, step: int, total: int) -> float:
        """Returns the learning rate of a step, from 0, in a run of so many."""
        past = sum(step >= end for end in self._until)
        return self._rates[min(past, len(self._rates) - 1)]


class WarmUpCosine:
    """A linear rise, then half a cosine down to nothing at the end of the run."""

    @checked
    def __init__(self, peak: Annotated[Rate, Field(gt=0)], warm_up: WholeNumber) -> None:
        """Sets the highest rate and how many steps it takes to get there."""
        self._peak, self._warm_up = peak, warm_up

    def rate(self, step: int, total: int) -> float:
        """Returns the learning rate of a step, from 0, in a run of so many."""
        if step < self._warm_up:
            return self._peak * (step + 1) / self._warm_up
        share = (step - self._warm_up) / max(total - self._warm_up, 1)
        return self._peak * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))

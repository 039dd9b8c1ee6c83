"""Learning rates by step: functions without a state, so that a run can be continued anywhere."""

import math

from hpr.checks import Count, NonNegative, Positive, WholeNumber, checked


class Steps:
    """The parent's schedule: constant rates up to given steps (docs/published.md, section 5)."""

    @checked
    def __init__(self, rates: list[NonNegative], until: list[Count]) -> None:
        """Sets the rates and, for each, the step at which it ends; the last goes on without end."""
        self._rates, self._until = rates, until

    def rate(self, step: int, total: int) -> float:
        """Returns the learning rate of a step, from 0, in a run of so many."""
        past = sum(step >= end for end in self._until)
        return self._rates[min(past, len(self._rates) - 1)]


class WarmUpCosine:
    """A linear rise, then half a cosine down to nothing at the end of the run."""

    @checked
    def __init__(self, peak: Positive, warm_up: WholeNumber) -> None:
        """Sets the highest rate and how many steps it takes to get there."""
        self._peak, self._warm_up = peak, warm_up

    def rate(self, step: int, total: int) -> float:
        """Returns the learning rate of a step, from 0, in a run of so many."""
        if step < self._warm_up:
            return self._peak * (step + 1) / self._warm_up
        share = (step - self._warm_up) / max(total - self._warm_up, 1)
        return self._peak * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))

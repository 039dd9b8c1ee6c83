"""How far the commands' work has come: a bar in a terminal, plain lines in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

LINE_EVERY = 30.0
"""Seconds between the lines in a log."""


class Pace:
    """How fast work goes, in words."""

    def __init__(
        self, unit: str, total: int | None = None, done: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Starts the clock.

        Args:
            unit: What the work is counted in, in the plural.
            total: Number of units, if it is known.
            done: Number of those that were done before.
            clock: Tells the time in seconds.
        """
        self._unit, self._total, self._before, self._clock = unit, total, done, clock
        self._start = clock()

    def after(self, done: int) -> str:
        """Returns the rate and the time left when so many units are done."""
        rate = (done - self._before) / max(self._clock() - self._start, 1e-9)
        words = f"{rate:.3g} {self._unit} per second"
        if self._total is None or rate <= 0:
            return words
        return f"{words}, {tqdm.format_interval(max(self._total - done, 0) / rate)} left"


class Lines:
    """Prints a line on how far work has come, now and then."""

    def __init__(
        self,
        unit: str,
        total: int | None = None,
        doing: str = "",
        every: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts the clock.

        Args:
            unit: What the work is counted in, in the plural.
            total: Number of units, if it is known.
            doing: What the work is.
            every: Seconds between two lines; LINE_EVERY by default.
            clock: Tells the time in seconds.
        """
        self._unit, self._total, self._doing, self._clock = unit, total, doing, clock
        self._every = LINE_EVERY if every is None else every
        self._pace = Pace(unit, total, clock=clock)
        self._done, self._last = 0, clock()

    def update(self, count: int) -> None:
        """Takes the number of units done since the last call."""
        self._done += count
        if self._clock() - self._last < self._every:
            return
        self._last = self._clock()
        of_all = "" if self._total is None else f" of {self._total}"
        what = f"{self._doing}: " if self._doing else ""
        print(f"{what}{self._done}{of_all} {self._unit}, {self._pace.after(self._done)}", file=sys.stderr, flush=True)


@contextmanager
def progress_bar(
    unit: str, total: int | None = None, shown: bool = True, doing: str = ""
) -> Iterator[Callable[[int], object]]:
    """Yields what to call with the number of units done.

    In a terminal, a bar is shown, with the rate and the time left; elsewhere, a line with these is printed every
    LINE_EVERY seconds.
    """
    with tqdm(total=total, unit=f" {unit}", desc=doing or None, disable=None if shown else True, leave=False) as bar:
        yield Lines(unit, total, doing).update if shown and bar.disable else bar.update


def say(line: str) -> None:
    """Prints a line above the progress bar."""
    tqdm.write(line)

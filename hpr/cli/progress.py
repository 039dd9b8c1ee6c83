"""How far the work of a command has come: a bar in a terminal, plain lines in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

LINE_EVERY = 30.0
"""Seconds between two lines in a log."""


class Pace:
    """How fast work proceeds, in words."""

    def __init__(
        self, unit: str, total: int | None = None, done: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Starts the clock.

        Args:
            unit: What the work is counted in, in the plural.
            total: Number of units, if it is known.
            done: Number of units that were done before.
            clock: Returns the time in seconds.
        """
        self._unit, self._total, self._done_before, self._clock = unit, total, done, clock
        self._start = clock()

    def after(self, done: int) -> str:
        """Returns the rate, and the time left if the total is known, after `done` units."""
        rate = (done - self._done_before) / max(self._clock() - self._start, 1e-9)
        words = f"{rate:.3g} {self._unit} per second"
        if self._total is None or rate <= 0:
            return words
        return f"{words}, {tqdm.format_interval(max(self._total - done, 0) / rate)} left"


@contextmanager
def progress_bar(
    unit: str,
    total: int | None = None,
    shown: bool = True,
    doing: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Callable[[int], object]]:
    """Yields a function to call with the number of units that were done since the last call.

    A terminal shows a bar with the rate and the time left; elsewhere, a line with both is printed every LINE_EVERY
    seconds.

    Args:
        unit: What the work is counted in, in the plural.
        total: Number of units, if it is known.
        shown: Whether to show anything.
        doing: What the work is, such as "reading".
        clock: Returns the time in seconds.
    """
    pace, done, last_line = Pace(unit, total, clock=clock), 0, clock()

    def print_line(count: int) -> None:
        nonlocal done, last_line
        done += count
        if clock() - last_line >= LINE_EVERY:
            last_line = clock()
            what, of_all = f"{doing}: " if doing else "", "" if total is None else f" of {total}"
            print(f"{what}{done}{of_all} {unit}, {pace.after(done)}", file=sys.stderr, flush=True)

    with tqdm(total=total, unit=f" {unit}", desc=doing or None, disable=None if shown else True, leave=False) as bar:
        yield print_line if shown and bar.disable else bar.update


def say(line: str) -> None:
    """Prints a line above the progress bar."""
    tqdm.write(line)

"""How far the work of a command has come: a bar in a terminal, plain lines in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from tqdm import tqdm

LINE_EVERY = 10.0
"""Seconds between two lines in a log."""


def describe_pace(unit: str, done: int, seconds: float, left: int | None = None) -> str:
    """Returns the rate of `done` units in some seconds in words and, if it is known how many are left, their time."""
    rate = done / max(seconds, 1e-9)
    words = f"{rate:.3g} {unit} per second"
    return words if left is None or rate <= 0 else f"{words}, {tqdm.format_interval(max(left, 0) / rate)} left"


@contextmanager
def progress_bar(
    unit: str, total: int | None = None, shown: bool = True, doing: str = ""
) -> Iterator[Callable[[int], object]]:
    """Yields a function to call with the number of units that were done since the last call.

    A terminal shows a bar with the rate and the time left; elsewhere, a line with both is printed every LINE_EVERY
    seconds.

    Args:
        unit: What the work is counted in, in the plural.
        total: Number of units, if it is known.
        shown: Whether to show anything.
        doing: What the work is, such as "reading".
    """
    done, start = 0, time.monotonic()
    last_line = start

    def print_line(count: int) -> None:
        nonlocal done, last_line
        done += count
        if time.monotonic() - last_line >= LINE_EVERY:
            last_line = time.monotonic()
            what, of_all = f"{doing}: " if doing else "", "" if total is None else f" of {total}"
            pace = describe_pace(unit, done, last_line - start, None if total is None else total - done)
            print(f"{what}{done}{of_all} {unit}, {pace}", file=sys.stderr, flush=True)

    with tqdm(total=total, unit=f" {unit}", desc=doing or None, disable=None if shown else True, leave=False) as bar:
        yield print_line if shown and bar.disable else bar.update


def say(line: str) -> None:
    """Prints a line above the progress bar."""
    tqdm.write(line)


def warn(*messages: str, file: TextIO | None = None) -> None:
    """Prints each warning in one line, whatever names of files and images it holds, by default to stdout."""
    for message in messages:
        tqdm.write(f"warning: {' '.join(message.splitlines())}", file or sys.stdout)

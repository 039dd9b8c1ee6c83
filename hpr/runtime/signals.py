"""Stopping a run: Ctrl-C, and SIGTERM, by which clusters and torchrun stop programs."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_signals(finish_step: bool = False) -> Iterator[Callable[[], bool]]:
    """Makes SIGTERM raise KeyboardInterrupt, as Ctrl-C does.

    Args:
        finish_step: The first signal raises nothing, so that no training step is left half done: the program has to
            ask whether to stop. A second signal raises KeyboardInterrupt.

    Yields:
        A function that returns whether a signal has come.
    """
    num_signals = 0

    def handle(number: int, frame: Any) -> None:
        nonlocal num_signals
        num_signals += 1
        if not (finish_step and num_signals == 1):
            raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: num_signals > 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

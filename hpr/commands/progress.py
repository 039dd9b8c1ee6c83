"""Progress bars of the commands."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm


@contextmanager
def progress_bar(
    unit: str, total: int | None = None, shown: bool = True, doing: str = ""
) -> Iterator[Callable[[int], object]]:
    """Yields what to call with the number of units done; shows a bar in a terminal, with the rate and the time left."""
    with tqdm(total=total, unit=f" {unit}", desc=doing or None, disable=None if shown else True, leave=False) as bar:
        yield bar.update


def say(line: str) -> None:
    """Prints a line above the progress bar."""
    tqdm.write(line)

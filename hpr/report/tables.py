"""Tables for people to read, in one style."""

import math
from collections.abc import Sequence

NOTHING = "–"
"""A cell without a value."""


def format_table(rows: Sequence[Sequence[str]], width: int = 8) -> str:
    """Returns rows of cells in columns: the first to the left, the others to the right.

    Args:
        rows: Of cells; a row may have fewer than others.
        width: Least width of a column.
    """
    count = max((len(row) for row in rows), default=0)
    widths = [max([width, *(len(row[i]) + 2 * bool(i) for row in rows if i < len(row))]) for i in range(count)]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first = f"{row[0]:<{widths[0]}}" if row else ""
    others = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=False)]
    return "".join([first, *others]).rstrip()


def format_row(cells: Sequence[object], first: int, width: int = 9) -> str:
    """Returns a row of a table that grows while it is printed.

    Args:
        cells: Of the row.
        first: Width of the first column.
        width: Of the others.
    """
    return _line([str(cell) for cell in cells], [first, *[width] * (len(cells) - 1)])


def number(value: float, digits: int = 1, sign: bool = False) -> str:
    """Returns a number for a cell; a dash for NaN."""
    if math.isnan(value):
        return NOTHING
    return f"{value:{'+' if sign else ''}.{digits}f}"

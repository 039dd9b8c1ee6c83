"""Text tables for the terminal."""

import math
from collections.abc import Sequence

NOTHING = "–"
"""A cell without a value."""


def format_table(rows: Sequence[Sequence[str]], width: int = 8) -> str:
    """Formats rows of cells as columns, the first one left-aligned, the others right-aligned.

    Args:
        rows: Rows of cells; they may have unequal lengths.
        width: Minimum width of a column.
    """
    count = max((len(row) for row in rows), default=0)
    widths = [max([width, *(len(row[i]) + 2 * bool(i) for row in rows if i < len(row))]) for i in range(count)]
    return "\n".join(_line(row, widths) for row in rows)


def format_row(cells: Sequence[object], first: int, width: int = 9) -> str:
    """Formats one row of a table that is printed row by row.

    Args:
        cells: Cells of the row.
        first: Width of the first column.
        width: Width of the others.
    """
    return _line([str(cell) for cell in cells], [first, *[width] * (len(cells) - 1)])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first = f"{row[0]:<{widths[0]}}" if row else ""
    others = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=False)]
    return "".join([first, *others]).rstrip()


def number(value: float, digits: int = 1, sign: bool = False) -> str:
    """Formats a number for a cell; NaN is a dash."""
    if math.isnan(value):
        return NOTHING
    return f"{value:{'+' if sign else ''}.{digits}f}"

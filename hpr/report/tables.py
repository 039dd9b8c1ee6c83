"""Text tables for the terminal."""

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest

from hpr.metrics.scores import Scores

NOTHING = "–"
"""A cell without a value."""


def format_table(rows: Sequence[Sequence[str]], width: int = 8) -> str:
    """Formats rows of cells as columns of a minimum width, the first left-aligned, the others right-aligned."""
    columns = enumerate(zip_longest(*rows, fillvalue=""))
    widths = [max(width, max(map(len, column)) + (2 if index else 0)) for index, column in columns]
    return "\n".join(_line(row, widths) for row in rows)


def format_row(cells: Sequence[object], first: int, width: int = 9) -> str:
    """Formats one row of a table that is printed row by row, by the widths of the first and of the other columns."""
    return _line([str(cell) for cell in cells], [first, *[width] * (len(cells) - 1)])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first = f"{row[0]:<{widths[0]}}" if row else ""
    others = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=False)]
    return "".join([first, *others]).rstrip()


def number(value: float, sign: bool = False) -> str:
    """Formats a number with one digit for a cell; NaN is a dash."""
    return NOTHING if math.isnan(value) else f"{value:{'+' if sign else ''}.1f}"


_FURTHER_TOTALS = {
    "AP_precision": "AP precision",
    "AP_recall": "AP recall",
    "MOTP": "MOTP",
    "MOT_precision": "MOT precision",
    "MOT_recall": "MOT recall",
}
"""PoseTrack's scores of which only the total is printed."""


def score_table(scores: Scores) -> str:
    """Formats the scores with a row for each metric, followed by PoseTrack's further totals if there are any."""
    rows = [[name, *(number(value) for value in row.values())] for name, row in scores.table.items()]
    table = format_table([["", *scores.columns], *rows])
    if not scores.by_keypoint:
        return table

    totals = [[title, number(scores.by_keypoint[name]["total"])] for name, title in _FURTHER_TOTALS.items()]
    return f"{table}\n\n{format_table(totals)}"


def comparison_table(before: Scores, after: Scores) -> str:
    """Formats each metric before and after refining, and the difference."""
    rows = [["", *before.columns]]
    for name, row in before.table.items():
        first, second = list(row.values()), list(after.table[name].values())
        differences = [new - old for old, new in zip(first, second, strict=True)]
        rows.append([f"{name:<6}before", *(number(value) for value in first)])
        rows.append([f"{'':<6}after", *(number(value) for value in second)])
        rows.append([f"{'':<6}difference", *(number(value, sign=True) for value in differences)])
    return format_table(rows)


def metrics_table(named: Mapping[str, Scores]) -> str:
    """Formats what training logs, with a row for each name; all scores are by the same metrics."""
    columns = list(next(iter(named.values())).metrics)
    rows = [[name, *(number(scores.metrics[column]) for column in columns)] for name, scores in named.items()]
    return format_table([["", *columns], *rows])

"""Charts for people to look at, in one style."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpr.files import replacing

_COLOURS = ("#9aa5b1", "#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b")
"""Of the series: grey for the first, which the others are compared with."""

Panel = Mapping[str, Sequence[float]]
"""Series → a value for each group; NaN leaves a gap."""


def save_grouped_bars(
    groups: Sequence[str], panels: Mapping[str, Panel], path: Path, digits: int = 1, title: str = ""
) -> None:
    """Draws bars in groups, one of each series, with their values above them, as a PNG file.

    Args:
        groups: Their names, below the bars.
        panels: What each of the charts below one another shows: its value axis's title → its series, the same in all.
        path: Of the file.
        digits: Of the values, after the point.
        title: Above the charts.

    Raises:
        UserError: The file cannot be written.
    """
    figure = Figure(figsize=(9, 3.2 * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), squeeze=False)
    for axes, (label, series) in zip(grid[:, 0], panels.items(), strict=True):
        _draw_bars(axes, groups, series, digits)
        axes.set_ylabel(label)
    grid[0, 0].set_title(title, fontsize=10)
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=min(len(names), 6), frameon=False, fontsize=8)

    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _draw_bars(axes: Axes, groups: Sequence[str], series: Panel, digits: int) -> None:
    places, width = np.arange(len(groups)), 0.8 / len(series)
    for number, ((name, values), colour) in enumerate(zip(series.items(), cycle(_COLOURS), strict=False)):
        shift = (number - (len(series) - 1) / 2) * width
        bars = axes.bar(places + shift, values, 0.95 * width, label=name, color=colour)
        axes.bar_label(bars, fmt=f"%.{digits}f", fontsize=7, padding=2)
    axes.set_xticks(places, groups)
    axes.margins(y=0.15)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)

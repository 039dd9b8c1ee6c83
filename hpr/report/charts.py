"""Charts for people to look at, in one style: as PNG files, and as SVG for pages."""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from markupsafe import Markup
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


_WIDTH, _HEIGHT = 360, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 8, 22, 34
"""Of charts on pages, in units that are about a pixel on a telephone: the text stays legible there."""

Points = Sequence[tuple[float, float]]
"""x and y; those that are not finite are left out."""


def bars_svg(groups: Sequence[str], series: Panel, label: str, digits: int = 1) -> Markup:
    """Returns bars in groups, one of each series, as an SVG element that takes its colours from the page.

    Args:
        groups: Their names, below the bars.
        series: Name → a value for each group; NaN leaves a gap.
        label: Of the value axis.
        digits: Of the values that show while a bar is pointed at.
    """
    values = [value for own in series.values() for value in own if math.isfinite(value)]
    plot = _Plot((0, max(len(groups), 1)), (min([0, *values]), max([0, *values])), label)
    plot.axis()
    width = 0.8 / max(len(series), 1)
    for number, (name, own) in enumerate(series.items()):
        for place, value in enumerate(own):
            if math.isfinite(value):
                tip = f"{groups[place]}, {name}: {value:.{digits}f}"
                plot.bar(place + 0.1 + number * width, 0.94 * width, value, number, tip)
    for place, group in enumerate(groups):
        plot.below(place + 0.5, group)
    plot.legend(list(series) if len(series) > 1 else [])
    return plot.svg()


def histogram_svg(counts: Sequence[int], edges: Sequence[str], label: str, unit: str) -> Markup:
    """Returns a histogram as an SVG element that takes its colours from the page.

    Args:
        counts: In each bin.
        edges: What stands below the edges of the bins, one more than there are bins; empty for nothing.
        label: Of the axis of counts.
        unit: Of the other axis.
    """
    plot = _Plot((0, max(len(counts), 1)), (0, max([0, *counts])), label)
    plot.axis()
    total = sum(counts)
    for place, count in enumerate(counts):
        share = 100 * count / total if total else 0.0
        plot.bar(place + 0.05, 0.9, count, 1, f"{edges[place]} to {edges[place + 1]}: {count} ({share:.1f} %)")
    every = max(1, round(len(counts) / 5))
    for place in range(0, len(edges), every):
        plot.below(place, edges[place])
    plot.below_all(unit)
    return plot.svg()


def lines_svg(series: Mapping[str, Points], label: str, unit: str) -> Markup:
    """Returns curves as an SVG element that takes its colours from the page.

    Args:
        series: Name → points, in the order of x.
        label: Of the y axis.
        unit: Of the x axis.
    """
    finite = {name: [p for p in points if all(map(math.isfinite, p))] for name, points in series.items()}
    xs, ys = ([point[axis] for points in finite.values() for point in points] for axis in (0, 1))
    plot = _Plot((min(xs, default=0), max(xs, default=1)), (min(ys, default=0), max(ys, default=1)), label)
    plot.axis()
    for number, points in enumerate(finite.values(), 1):  # no series is the one that others are compared with
        plot.line(points, number)
    for tick in _ticks(*plot.x_range):
        if plot.x_range[0] <= tick <= plot.x_range[1]:
            plot.below(tick, _compact(tick))
    plot.below_all(unit)
    plot.legend(list(finite) if len(finite) > 1 else [], 1)
    return plot.svg()


class _Plot:
    """An SVG chart under way. What it says is escaped."""

    def __init__(self, x_range: tuple[float, float], y_range: tuple[float, float], label: str) -> None:
        """Sets what is shown from where to where, and the label of the y axis."""
        self.x_range, self._label = _widened(*x_range), label
        ticks = _ticks(*_widened(*y_range))
        self._y_range, self._ticks = (min(ticks[0], y_range[0]), max(ticks[-1], y_range[1])), ticks
        self._parts: list[Markup] = []

    def axis(self) -> None:
        """Draws the lines of the y axis's ticks, their values and its label."""
        for tick in self._ticks:
            y, strength = self._y(tick), 0.55 if tick == 0 else 0.15
            self._add('<path d="M{} {}H{}" stroke="currentColor" opacity="{}"/>', _LEFT, y, _WIDTH - _RIGHT, strength)
            self._text(_LEFT - 5, y + 4, _compact(tick), "end")
        self._text(0, 10, self._label, "start")

    def bar(self, start: float, width: float, value: float, number: int, tip: str) -> None:
        """Draws a bar of a series by its number, from zero to a value, with a text for who points at it."""
        x, right = self._x(start), self._x(start + width)
        top, bottom = sorted((self._y(value), self._y(0)))
        form = '<rect x="{}" y="{}" width="{}" height="{}" fill="{}"><title>{}</title></rect>'
        self._add(form, x, top, round(right - x, 1), round(bottom - top, 1), _page_colour(number), tip)

    def line(self, points: Points, number: int) -> None:
        """Draws a curve of a series by its number, with a dot at the last point."""
        if not points:
            return
        way = " ".join(f"{self._x(x)},{self._y(y)}" for x, y in points)
        form = '<polyline points="{}" fill="none" stroke="{}" stroke-width="2"/>'
        self._add(form, way, _page_colour(number))
        x, y = points[-1]
        self._add('<circle cx="{}" cy="{}" r="3" fill="{}"/>', self._x(x), self._y(y), _page_colour(number))

    def below(self, x: float, text: str) -> None:
        """Writes below the x axis."""
        self._text(self._x(x), _HEIGHT - _BOTTOM + 14, text, "middle")

    def below_all(self, text: str) -> None:
        """Writes what the x axis is."""
        self._text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 5, text, "middle")

    def legend(self, names: Sequence[str], first: int = 0) -> None:
        """Writes the names of the series, from the right, and the colours of their numbers from the first on."""
        x = float(_WIDTH - _RIGHT)
        for number, name in reversed(list(enumerate(names, first))):
            x -= 6.2 * len(name)
            self._text(x, 10, name, "start")
            self._add('<rect x="{}" y="2" width="8" height="8" fill="{}"/>', round(x - 12, 1), _page_colour(number))
            x -= 24

    def svg(self) -> Markup:
        """Returns the chart."""
        form = '<svg viewBox="0 0 {} {}" role="img" aria-label="{}" font-size="11" font-family="inherit">{}</svg>'
        return Markup(form).format(_WIDTH, _HEIGHT, self._label, Markup().join(self._parts))

    def _text(self, x: float, y: float, text: str, anchor: str) -> None:
        form = '<text x="{}" y="{}" text-anchor="{}" fill="currentColor">{}</text>'
        self._add(form, round(x, 1), round(y, 1), anchor, text)

    def _add(self, form: str, *values: object) -> None:
        self._parts.append(Markup(form).format(*values))

    def _x(self, x: float) -> float:
        return _placed(x, self.x_range, _LEFT, _WIDTH - _RIGHT)

    def _y(self, y: float) -> float:
        return _placed(y, self._y_range, _HEIGHT - _BOTTOM, _TOP)


def _placed(value: float, span: tuple[float, float], start: float, stop: float) -> float:
    return round(start + (value - span[0]) / (span[1] - span[0]) * (stop - start), 1)


def _widened(low: float, high: float) -> tuple[float, float]:
    """Returns a range that is not empty."""
    return (low, high) if high > low else (low, low + 1)


def _ticks(low: float, high: float) -> list[float]:
    """Returns about four round values from one that is not above `low` to one that is not below `high`."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def _compact(value: float) -> str:
    """Returns a number in few letters."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:g}{letter}"
    return f"{value:g}"


def _page_colour(number: int) -> str:
    """Returns the colour of a series: the page's, which has others in the dark."""
    place = number % len(_COLOURS)
    return f"var(--series-{place}, {_COLOURS[place]})"

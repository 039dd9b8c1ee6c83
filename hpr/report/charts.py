"""Charts for HTML pages, drawn by matplotlib's SVG backend. Their colours follow the page's light or dark scheme."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_SERIES_COLOURS = ("#9aa5b1", "#1f77b4", "#d9670a", "#2ca02c")
"""Fallbacks of the page's --series-N variables; grey is the first series, which the others are compared with."""

_TEXT_COLOUR = "#010203"
"""Replaced by currentColor, so that axes and text follow the page."""

_LETTERS_ABREAST = 40
"""Names of more letters than these together are turned, so that they do not overlap."""

_STYLE: dict[Any, Any] = {
    "font.size": 8,
    "svg.fonttype": "none",  # text stays text, in the page's font
    "text.parse_math": False,  # names may contain dollar signs
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _TEXT_COLOUR),
}


def bars_svg(groups: Sequence[str], series: Mapping[str, Sequence[float]], label: str) -> Markup:
    """Draws grouped bars with their values above them, as an SVG element.

    Args:
        groups: Names below the groups of bars.
        series: Name → one value per group; NaN leaves a gap.
        label: Label of the value axis.
    """
    groups, label = [_printable(group) for group in groups], _printable(label)
    with rc_context(_STYLE):
        figure, axes = _new_figure()
        positions, width = np.arange(len(groups)), 0.8 / max(len(series), 1)
        for index, (name, values) in enumerate(series.items()):
            shift = (index - (len(series) - 1) / 2) * width
            colour = _SERIES_COLOURS[index % len(_SERIES_COLOURS)]
            bars = axes.bar(
                positions + shift, values, 0.94 * width, label=_printable(name), color=colour, clip_on=False
            )
            texts = ["" if np.isnan(value) else f"{value:.0f}" for value in values]
            axes.bar_label(bars, texts, fontsize=6.5, padding=1)

        axes.set_xticks(positions, groups)
        if sum(map(len, groups)) > _LETTERS_ABREAST:
            axes.tick_params(axis="x", rotation=45)
        axes.set_ylabel(label)
        axes.margins(y=0.15)
        axes.axhline(0, color=_TEXT_COLOUR, linewidth=0.8, clip_on=False)
        if len(series) > 1:
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=min(len(series), 4), frameon=False)
        return _to_svg(figure, label)


def histogram_svg(counts: Sequence[int], edges: Sequence[str], label: str, unit: str) -> Markup:
    """Draws a histogram as an SVG element.

    Args:
        counts: Count of each of n bins.
        edges: n + 1 texts for the edges of the bins; about five are shown.
        label: Label of the count axis.
        unit: Label of the other axis.
    """
    with rc_context(_STYLE):
        figure, axes = _new_figure()
        axes.bar(np.arange(len(counts)) + 0.5, counts, 0.9, color=_SERIES_COLOURS[1], clip_on=False)

        shown = range(0, len(edges), max(1, round(len(counts) / 5)))
        axes.set_xticks(list(shown), [edges[index] for index in shown])
        axes.set_xlabel(unit)
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        return _to_svg(figure, label)


def _printable(text: str) -> str:
    """Returns a text as fonts and XML take it; names of files may hold anything."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _new_figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(3.6, 2.3), layout="constrained")
    return figure, figure.subplots()


def _to_svg(figure: Figure, label: str) -> Markup:
    """Returns a figure as an SVG element whose colours and font are the page's."""
    with rc_context({"svg.hashsalt": label}), io.StringIO() as file:  # ids of equal charts are equal on every run
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        text = file.getvalue()

    text = text[text.index("<svg") :]
    text = re.sub(r"<(metadata|style)\b.*?</\1>", "", text, flags=re.DOTALL)  # both would act on the whole page
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)  # the page sets the size
    text = re.sub(r"font-family: [^;\"]*", "font-family: inherit", text)
    text = text.replace("<svg", f'<svg role="img" aria-label="{Markup.escape(label)}"', 1)
    text = text.replace(_TEXT_COLOUR, "currentColor")
    for index, colour in enumerate(_SERIES_COLOURS):
        text = text.replace(colour, f"var(--series-{index}, {colour})")
    return Markup(text)

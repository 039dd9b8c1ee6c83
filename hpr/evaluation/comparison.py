"""Scores before and after refining: as a table, as numbers for a file and as a chart."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hpr.evaluation.posetrack import AP_SCORES, MOT_SCORES, Evaluation, by_group, cells
from hpr.files import replacing
from hpr.skeleton import JOINT_GROUPS

GROUPS = (*JOINT_GROUPS, "Total")
_SHOWN = ("AP", "MOTA")


def comparison_table(before: Evaluation, after: Evaluation) -> str:
    """Returns AP and MOTA of each joint group before and after, and the difference."""
    rows = ["".join(f"{title:>8}" for title in ("", "", *GROUPS))]
    for name in _SHOWN:
        first, second = (np.array(by_group(evaluation.total[name])) for evaluation in (before, after))
        rows += [f"{name:<6}before    {cells(first)}", f"{'':<6}after     {cells(second)}"]
        rows += [f"{'':<6}difference{cells(second - first, sign='+')}"]
    return "\n".join(rows)


def totals(evaluation: Evaluation) -> dict[str, Any]:
    """Returns an evaluation as it stands in report.json: the totals, and AP and MOTA of each joint."""
    values: dict[str, Any] = {name: _number(evaluation.total[name]["total"]) for name in AP_SCORES + MOT_SCORES}
    joints = {name: {joint: _number(value) for joint, value in evaluation.total[name].items()} for name in _SHOWN}
    return {"mAP": values.pop("AP"), **values, "joints": joints}


def save_chart(before: Evaluation, after: Evaluation, path: Path) -> None:
    """Draws AP and MOTA of each joint group before and after as bars.

    Raises:
        UserError: The file cannot be written.
    """
    has_mota = not math.isnan(after.total["MOTA"]["total"] + before.total["MOTA"]["total"])
    shown = _SHOWN if has_mota else _SHOWN[:1]
    figure = Figure(figsize=(9, 3.2 * len(shown)), layout="constrained")
    places = np.arange(len(GROUPS))
    for axes, name in zip(np.ravel(figure.subplots(len(shown), squeeze=False)), shown, strict=True):
        for shift, evaluation, label, colour in ((-0.2, before, "before", "#9aa5b1"), (0.2, after, "after", "#1f77b4")):
            bars = axes.bar(places + shift, by_group(evaluation.total[name]), 0.38, label=label, color=colour)
            axes.bar_label(bars, fmt="%.1f", fontsize=8, padding=2)
        axes.set_ylabel(f"{name} (%)")
        axes.set_xticks(places, GROUPS)
        axes.margins(y=0.15)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(loc="upper right", bbox_to_anchor=(1, 1.15), ncols=2, frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value

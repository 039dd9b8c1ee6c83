"""Scores of poses as one value, whatever the metric that filled it."""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

ScoreTable = dict[str, dict[str, float]]
"""Metric → column → percent; NaN where there is no value."""


@dataclass(frozen=True)
class Scores:
    """Scores of predicted poses, in percent; NaN where there is no value.

    Attributes:
        table: The table to print and to draw, the same columns for each metric.
        total_column: The column of `table` that summarises the others.
        metrics: Name → percent: what training logs.
        selection: The score used to select the best checkpoint.
        by_keypoint: All of PoseTrack's scores, with the mean over the keypoints as column "total"; empty for other
            metrics.
        sequences: Scores of each sequence by name; empty where only all images together are scored.
        people: Number of people scored; None where the metric does not count them.
        warnings: Oddities of the files, and what was left out.
    """

    table: ScoreTable
    total_column: str
    metrics: dict[str, float]
    selection: float
    by_keypoint: ScoreTable = field(default_factory=dict)
    sequences: dict[str, "Scores"] = field(default_factory=dict)
    people: int | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of `table`."""
        return tuple(next(iter(self.table.values())))

    @property
    def totals(self) -> dict[str, float]:
        """The total of each metric of `table`."""
        return {metric: row[self.total_column] for metric, row in self.table.items()}

    def summary(self) -> dict[str, Any]:
        """Returns the scores as report.json has them; null where there is no value."""
        if not self.by_keypoint:
            return _as_json(self.table)

        totals = {metric: row["total"] for metric, row in self.by_keypoint.items()}
        keypoints = {metric: self.by_keypoint[metric] for metric in self.table}
        return _as_json({"mAP": totals.pop("AP"), **totals, "joints": keypoints})

    def as_json(self) -> dict[str, Any]:
        """Returns all scores as `hpr evaluate` writes them; null where there is no value."""
        content: dict[str, Any] = {"total": _as_json(self.by_keypoint or self.table)}
        if self.by_keypoint:
            content["sequences"] = {name: _as_json(own.by_keypoint) for name, own in self.sequences.items()}
        if self.people is not None:
            content["people"] = self.people
        return {**content, "warnings": self.warnings}


def _as_json(values: dict[str, Any]) -> dict[str, Any]:
    """Returns nested dictionaries with None in place of NaN."""
    return {key: _as_json(value) if isinstance(value, dict) else or_none(value) for key, value in values.items()}


def or_none(value: float) -> float | None:
    """Returns a score for JSON: null where there is no value."""
    return None if math.isnan(value) else value


class SequenceChange(NamedTuple):
    """Scores of one sequence before and after refining.

    Attributes:
        name: Name of the sequence.
        scores: Metric → percent before and after; NaN where there is no value.
    """

    name: str
    scores: dict[str, tuple[float, float]]

    @property
    def gain(self) -> float:
        """Mean difference of the metrics that have values; 0 without any."""
        gains = [after - before for before, after in self.scores.values()]
        known = [gain for gain in gains if not math.isnan(gain)]
        return sum(known) / len(known) if known else 0.0


def sequence_changes(before: Scores, after: Scores) -> list[SequenceChange]:
    """Returns the sequences that are scored before and after refining, the highest gain first."""
    changes = []
    for name in before.sequences.keys() & after.sequences.keys():
        first, second = before.sequences[name].totals, after.sequences[name].totals
        changes.append(SequenceChange(name, {metric: (first[metric], second[metric]) for metric in first}))
    return sorted(changes, key=lambda change: (-change.gain, change.name))

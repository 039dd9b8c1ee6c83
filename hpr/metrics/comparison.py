"""Scores before and after refining: as a table, as numbers for a file and as a chart."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hpr.metrics.posetrack import Evaluation, NamedSequences, evaluate_named
from hpr.refine.objective import MOTA
from hpr.poses import Frame, PoseSequence
from hpr.report.charts import save_grouped_bars
from hpr.report.tables import format_table, number


class Scores(Protocol):
    """Scores of poses by some metrics, whatever these are."""

    warnings: list[str]

    @property
    def columns(self) -> tuple[str, ...]:
        """What there is a score for: groups of keypoints, say."""

    @property
    def values(self) -> dict[str, dict[str, float]]:
        """Metric → column → percent; NaN where there is no value."""

    def summary(self) -> dict[str, Any]:
        """Returns the scores as they stand in report.json; null where there is no value."""

    def as_json(self) -> dict[str, Any]:
        """Returns all scores, as they are written to a file; null where there is no value."""


class Compared(Protocol):
    """Scores of poses before they are refined, and after."""

    @property
    def before(self) -> Scores:
        """Of the poses that are to be refined."""

    def after(self, refined: NamedSequences) -> Scores:
        """Scores refined files of the same names."""


class TrainingScores(Protocol):
    """Scores of a validation, whatever the metrics are."""

    @property
    def metrics(self) -> dict[str, float]:
        """Percent by the name of the metric; NaN where there is no value."""

    @property
    def mean(self) -> float:
        """What the best weights have most of."""


@dataclass(frozen=True)
class MetricScores:
    """Scores by OKS or PCKh.

    Attributes:
        metrics: See `TrainingScores`.
        chief: The metric that the best weights have most of.
    """

    metrics: dict[str, float]
    chief: str

    @property
    def mean(self) -> float:
        """The chief metric."""
        return self.metrics[self.chief]


@dataclass(frozen=True)
class ObjectiveScores:
    """What refining is for, in percent.

    Attributes:
        mean_ap: mAP.
        mota: MOTA.
        pckh: Share of the annotated keypoints that are found within half a head size.
    """

    mean_ap: float
    mota: float
    pckh: float

    @property
    def metrics(self) -> dict[str, float]:
        """See `TrainingScores`."""
        return {"mAP": self.mean_ap, "MOTA": self.mota, "PCKh": self.pckh}

    @property
    def mean(self) -> float:
        """The mean of mAP and MOTA; mAP alone where MOTA has no value, as for single images."""
        return self.mean_ap if math.isnan(self.mota) else (self.mean_ap + self.mota) / 2


class Comparison:
    """Ground truth to score poses against, before and after they are refined.

    Attributes:
        before: Scores of the poses that are to be refined.
    """

    before: Evaluation

    def __init__(
        self,
        truth: NamedSequences,
        predicted: NamedSequences,
        origins: tuple[str, str] = ("the annotations", "the predictions"),
        progress: Callable[[int], Any] = lambda files: None,
    ) -> None:
        """Scores the predictions as they are. See `evaluate_named`.

        Args:
            truth: Files of ground truth; each that has a prediction is looked up once.
            predicted: Files of predictions.
            origins: What both are called in messages, such as their folders.
            progress: Called with the number of files done.

        Raises:
            UserError: No two files have the same name, or not one sequence can be scored.
        """
        # Of files without a prediction only the names are needed, for the warning.
        self._truth = {name: truth[name] if name in predicted else [] for name in truth}
        self._origins = origins
        self.before = evaluate_named(self._truth, predicted, origins, progress)

    def after(self, refined: NamedSequences, progress: Callable[[int], Any] = lambda files: None) -> Evaluation:
        """Scores refined files of the same names."""
        return evaluate_named(self._truth, refined, self._origins, progress)

    @property
    def objectives_before(self) -> ObjectiveScores:
        """What `objectives_after` is compared with."""
        return _objectives(self.before, self.before)

    def objectives_after(self, refined: NamedSequences) -> ObjectiveScores:
        """Scores files refined for mAP for both published objectives; MOTA is of the keypoints that it keeps alone."""
        sure = {name: [confident(clip, MOTA.keep) for clip in sequences] for name, sequences in refined.items()}
        return _objectives(self.after(refined), self.after(sure))


def confident(sequence: PoseSequence, threshold: float) -> PoseSequence:
    """Returns a sequence without the refined keypoints whose confidence is not above a threshold."""
    return replace(sequence, frames=[_confident(frame, threshold) for frame in sequence.frames])


def _confident(frame: Frame, threshold: float) -> Frame:
    kept = np.isnan(frame.confidences) | (frame.confidences > threshold)  # (N, K); NaN where nothing was refined
    keypoints = np.where(kept[..., None], frame.keypoints, np.nan)
    return replace(frame, keypoints=keypoints, flags=np.where(kept, frame.flags, 0.0))


def _objectives(everything: Evaluation, sure: Evaluation) -> ObjectiveScores:
    total = everything.total
    return ObjectiveScores(total["AP"]["total"], sure.total["MOTA"]["total"], total["AP_recall"]["total"])


def score_table(scores: Scores) -> str:
    """Returns each metric in a line."""
    rows = [[name, *(number(values[column]) for column in scores.columns)] for name, values in scores.values.items()]
    return format_table([["", *scores.columns], *rows])


def comparison_table(before: Scores, after: Scores) -> str:
    """Returns each metric before and after, and the difference."""
    rows = [["", *before.columns]]
    for name in before.values:
        first, second = ([scores.values[name][column] for column in before.columns] for scores in (before, after))
        differences = np.subtract(second, first).tolist()
        rows.append([f"{name:<6}before", *(number(value) for value in first)])
        rows.append([f"{'':<6}after", *(number(value) for value in second)])
        rows.append([f"{'':<6}difference", *(number(value, sign=True) for value in differences)])
    return format_table(rows)


@dataclass(frozen=True)
class SequenceChange:
    """Scores of one sequence before and after refining.

    Attributes:
        name: Of the sequence.
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
    """Returns what each sequence gained or lost, the highest gain first; nothing where sequences have no scores."""
    if not isinstance(before, Evaluation) or not isinstance(after, Evaluation):
        return []
    changes = []
    for name in before.sequences.keys() & after.sequences.keys():
        both = before.sequences[name], after.sequences[name]
        scores = {metric: (both[0][metric]["total"], both[1][metric]["total"]) for metric in before.values}
        changes.append(SequenceChange(name, scores))
    return sorted(changes, key=lambda change: (-change.gain, change.name))


def save_chart(before: Scores, after: Scores, path: Path) -> bool:
    """Draws each metric that has values, before and after, as bars.

    Returns:
        Whether there is one.

    Raises:
        UserError: The file cannot be written.
    """
    panels = {}
    for name in before.values:
        both = {title: [*scores.values[name].values()] for title, scores in (("before", before), ("after", after))}
        if not any(np.isnan(values).all() for values in both.values()):
            panels[f"{name} (%)"] = both
    if panels:
        save_grouped_bars(before.columns, panels, path)
    return bool(panels)

"""PoseTrack's AP and MOTA of whole files, to the digit of the public tool (FORMATS.md)."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from hpr.errors import UserError
from hpr.evaluation.average_precision import average_precision, detections, merged
from hpr.evaluation.frames import pair, track_id_problem
from hpr.evaluation.tracking import TrackingCounts, count, tracking_scores
from hpr.files import json_files
from hpr.formats import Format
from hpr.poses import FloatArray, Sequence
from hpr.skeleton import JOINT_GROUPS, JOINTS

AP_SCORES = ("AP", "AP_precision", "AP_recall")
MOT_SCORES = ("MOTA", "MOTP", "MOTP_poseval", "MOT_precision", "MOT_recall")

Scores = dict[str, dict[str, float]]
"""Score → joint → percent, with the mean over the joints as "total"; NaN where there is no value."""


@dataclass
class Evaluation:
    """Scores of a number of sequences.

    Attributes:
        total: Over all sequences; no MOT scores if one of them has none.
        sequences: Of each sequence, by name.
        warnings: What is odd about the files, or was left out.
    """

    total: Scores
    sequences: dict[str, Scores]
    warnings: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Returns the scores as they are written to a file; null where there is no value."""
        return {
            "total": _without_nan(self.total),
            "sequences": {name: _without_nan(scores) for name, scores in self.sequences.items()},
            "warnings": self.warnings,
        }


def evaluate(pairs: Iterable[tuple[Sequence, Sequence]]) -> Evaluation:
    """Scores predictions.

    Args:
        pairs: Truth and prediction of each sequence, both read for scoring.

    Raises:
        UserError: Not one sequence can be scored.
    """
    found, tracked, sequences, warnings = [], TrackingCounts(), {}, []
    all_tracked = True
    for truth, predicted in pairs:
        try:
            frames, odd = pair(truth, predicted)
        except UserError as error:
            warnings.append(f"{error}: this sequence is not scored")
            continue
        warnings += odd
        found.append(detections(frames))
        scores = average_precision(found[-1])
        if problem := track_id_problem(frames):
            warnings.append(f"{truth.name}: {problem}, so that there is no MOTA")
            all_tracked = False
        else:
            counts = count(frames)
            tracked.add(counts)
            scores |= tracking_scores(counts)
            if len(frames) == 1:
                warnings.append(f"{truth.name}: one annotated frame, and MOTA does not count a sequence's last")
        sequences[truth.name] = _with_totals(scores)
    if not sequences:
        raise UserError("; ".join(warnings) or "there is no sequence to be scored")
    total = average_precision(merged(found)) | (tracking_scores(tracked) if all_tracked else {})
    return Evaluation(_with_totals(total), sequences, warnings)


def evaluate_files(file_format: Format, annotations: Path, predictions: Path) -> Evaluation:
    """Scores the files of a folder against the annotations of the same names.

    Args:
        file_format: Of both.
        annotations: A folder of .json files with the truth, or one such file.
        predictions: A folder of .json files, or one such file.

    Raises:
        UserError: A folder or file is absent, broken or empty, or not one sequence can be scored.
    """
    truths = {path.name: path for path in json_files(annotations, "dataset.annotations")}
    estimates = {path.name: path for path in json_files(predictions, "dataset.predictions")}
    names = sorted(truths.keys() & estimates.keys())
    if not names:
        where = f"dataset.annotations={annotations}"
        raise UserError(
            f"{where}: expected a file named like one of {predictions}, such as {min(estimates)}, found none"
        )
    bar = tqdm(names, desc="scoring", unit=" sequences", disable=None, leave=False)
    pairs = (
        (file_format.read(truths[name], scoring=True), file_format.read(estimates[name], scoring=True)) for name in bar
    )
    evaluation = evaluate(pairs)
    for kind, missing in (
        ("prediction", truths.keys() - estimates.keys()),
        ("truth", estimates.keys() - truths.keys()),
    ):
        if missing:
            warning = f"{len(missing)} sequences have no {kind} and are not scored, such as {min(missing)}"
            evaluation.warnings.append(warning)
    return evaluation


def table(evaluation: Evaluation) -> str:
    """Returns the table that PoseTrack results are printed in."""
    rows = ["".join(f"{title:>8}" for title in ("", *JOINT_GROUPS, "Total"))]
    rows += [f"{name:<8}" + cells(by_group(evaluation.total[name])) for name in ("AP", "MOTA")]
    totals = [("AP precision", "AP_precision"), ("AP recall", "AP_recall"), ("MOTP", "MOTP")]
    totals += [("MOT precision", "MOT_precision"), ("MOT recall", "MOT_recall")]
    return "\n".join([*rows, "", *(f"{title:<16}{cells([evaluation.total[name]['total']])}" for title, name in totals)])


def by_group(score: dict[str, float]) -> list[float]:
    """Returns a score's mean over the joints of each group of the table's columns, then its total."""
    return [float(np.mean([score[joint] for joint in joints])) for joints in JOINT_GROUPS.values()] + [score["total"]]


def cells(values: Iterable[float], sign: str = "") -> str:
    """Returns numbers as the columns of a table; a dash where there is none."""
    return "".join(f"{'–' if math.isnan(value) else f'{value:{sign}.1f}':>8}" for value in values)


def _with_totals(scores: dict[str, FloatArray]) -> Scores:
    """Names the joints and adds their means, without the joints that have no value."""
    named = {}
    for name in AP_SCORES + MOT_SCORES:
        values = scores.get(name, np.full(len(JOINTS), np.nan))
        mean = float(np.mean(values[~np.isnan(values)])) if not np.isnan(values).all() else math.nan
        named[name] = {**dict(zip(JOINTS, values.tolist(), strict=True)), "total": mean}
    return named


def _without_nan(scores: Scores) -> dict[str, dict[str, float | None]]:
    return {
        name: {joint: None if math.isnan(value) else value for joint, value in values.items()}
        for name, values in scores.items()
    }

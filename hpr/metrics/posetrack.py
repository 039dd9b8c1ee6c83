"""PoseTrack's AP and MOTA of whole files, to the digit of the public tool (docs/formats.md, section 4)."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.metrics.average_precision import Detections, average_precision, detections, merged
from hpr.metrics.frames import pair, track_id_problem
from hpr.metrics.tracking import TrackingCounts, count, tracking_scores
from hpr.formats import Format
from hpr.poses import FloatArray, PoseSequence
from hpr.report.tables import format_table, number
from hpr.skeleton import POSETRACK15

AP_SCORES = ("AP", "AP_precision", "AP_recall")
MOT_SCORES = ("MOTA", "MOTP", "MOTP_poseval", "MOT_precision", "MOT_recall")

KEYPOINT_GROUPS = {
    "Head": ("head_top", "head_bottom", "nose"),
    "Shou": ("right_shoulder", "left_shoulder"),
    "Elb": ("right_elbow", "left_elbow"),
    "Wri": ("right_wrist", "left_wrist"),
    "Hip": ("right_hip", "left_hip"),
    "Knee": ("right_knee", "left_knee"),
    "Ankl": ("right_ankle", "left_ankle"),
}
"""The columns of the tables that PoseTrack results are printed in, without the last: the total."""

COLUMNS = (*KEYPOINT_GROUPS, "Total")

KeypointScores = dict[str, dict[str, float]]
"""Score → keypoint → percent, with the mean over the keypoints as "total"; NaN where there is no value."""

NamedSequences = Mapping[str, Sequence[PoseSequence]]
"""Name of a file → the sequences in it."""


@dataclass
class Evaluation:
    """Scores of a number of sequences.

    Attributes:
        total: Over all sequences; no MOT scores if one of them has none.
        sequences: Of each sequence, by name.
        warnings: What is odd about the files, or was left out.
    """

    total: KeypointScores
    sequences: dict[str, KeypointScores]
    warnings: list[str] = field(default_factory=list)

    @property
    def columns(self) -> tuple[str, ...]:
        """See `evaluation.comparison.Scores`."""
        return COLUMNS

    @property
    def values(self) -> dict[str, dict[str, float]]:
        """See `evaluation.comparison.Scores`."""
        return {name: dict(zip(COLUMNS, by_group(self.total[name]), strict=True)) for name in ("AP", "MOTA")}

    def summary(self) -> dict[str, Any]:
        """Returns the totals, and AP and MOTA of each keypoint, as they stand in report.json."""
        totals: dict[str, Any] = {name: or_none(self.total[name]["total"]) for name in AP_SCORES + MOT_SCORES}
        keypoints = _without_nan({name: self.total[name] for name in ("AP", "MOTA")})
        return {"mAP": totals.pop("AP"), **totals, "joints": keypoints}

    def as_json(self) -> dict[str, Any]:
        """Returns the scores as they are written to a file; null where there is no value."""
        return {
            "total": _without_nan(self.total),
            "sequences": {name: _without_nan(scores) for name, scores in self.sequences.items()},
            "warnings": self.warnings,
        }


@dataclass(frozen=True)
class _ScoredSequence:
    """What one sequence adds to the scores of all.

    Attributes:
        name: Of the sequence.
        found: Its predicted people.
        counts: Of its tracks; None where the file does not tell them apart.
        warnings: What is odd about its files.
    """

    name: str
    found: Detections
    counts: TrackingCounts | None
    warnings: list[str]


def evaluate(pairs: Iterable[tuple[PoseSequence, PoseSequence]]) -> Evaluation:
    """Scores predictions.

    Args:
        pairs: Ground truth and prediction of each sequence.

    Raises:
        UserError: Not one sequence can be scored.
    """
    scored: list[_ScoredSequence] = []
    warnings: list[str] = []
    for truth, predicted in pairs:
        try:
            scored.append(_score(truth, predicted))
            warnings += scored[-1].warnings
        except UserError as error:
            warnings.append(f"{error}: this sequence is not scored")
    if not scored:
        raise UserError("; ".join(warnings) or "there is no sequence to be scored")
    return Evaluation(_scores_of(scored), {sequence.name: _scores_of([sequence]) for sequence in scored}, warnings)


def evaluate_named(
    truth: NamedSequences,
    predicted: NamedSequences,
    origins: tuple[str, str] = ("the annotations", "the predictions"),
    progress: Callable[[int], Any] = lambda files: None,
) -> Evaluation:
    """Scores predictions against the ground truth in files of the same names.

    Args:
        truth: Files of ground truth. Those without a prediction are not looked into.
        predicted: Files of predictions, likewise.
        origins: What truth and predicted are called in messages, such as their folders.
        progress: Called with the number of files done.

    Raises:
        UserError: No two files have the same name, or not one sequence can be scored.
    """
    names = sorted(truth.keys() & predicted.keys())
    if predicted and not names:
        expected = f"expected a file named like one of {origins[1]}, such as {min(predicted)}"
        raise UserError(f"{origins[0]}: {expected}, found none")

    evaluation = evaluate(paired_sequences(names, truth, predicted, progress))
    unpredicted, unannotated = truth.keys() - predicted.keys(), predicted.keys() - truth.keys()
    for kind, missing in (("prediction", unpredicted), ("truth", unannotated)):
        if missing:
            odd = f"have no {kind} and are not scored, such as {min(missing)}"
            evaluation.warnings.append(f"{len(missing)} sequences {odd}")
    return evaluation


def evaluate_files(
    file_format: Format, annotations: Path, predictions: Path, progress: Callable[[int], Any] = lambda files: None
) -> Evaluation:
    """Scores the files of a folder against the annotations of the same names.

    Args:
        file_format: Of both.
        annotations: A folder of .json files with the ground truth, or one such file.
        predictions: A folder of .json files, or one such file.
        progress: Called with the number of files done.

    Raises:
        UserError: A folder or file is absent, broken or empty, or not one sequence can be scored.
    """
    truth, predicted = FilesByName(file_format, annotations), FilesByName(file_format, predictions)
    return evaluate_named(truth, predicted, (str(annotations), str(predictions)), progress)


class FilesByName(Mapping[str, Sequence[PoseSequence]]):
    """The files of a folder, each read when it is asked for, and again when it is asked for again."""

    def __init__(self, file_format: Format, location: Path) -> None:
        """Lists the files.

        Args:
            file_format: Of the files.
            location: A folder of .json files, or one such file.

        Raises:
            UserError: There is none.
        """
        self._format = file_format
        self._paths = {path.name: path for path in file_format.sources(location)}

    def __getitem__(self, name: str) -> list[PoseSequence]:
        """Reads a file.

        Raises:
            UserError: It is broken.
        """
        return self._format.read(self._paths[name])

    def __contains__(self, name: object) -> bool:
        return name in self._paths

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def table(evaluation: Evaluation) -> str:
    """Returns the table that PoseTrack results are printed in."""
    total = evaluation.total
    groups = [[name, *(number(value) for value in by_group(total[name]))] for name in ("AP", "MOTA")]
    titles = {
        "AP_precision": "AP precision",
        "AP_recall": "AP recall",
        "MOTP": "MOTP",
        "MOT_precision": "MOT precision",
        "MOT_recall": "MOT recall",
    }
    totals = [[title, number(total[name]["total"])] for name, title in titles.items()]
    return f"{format_table([['', *COLUMNS], *groups])}\n\n{format_table(totals)}"


def by_group(score: Mapping[str, float]) -> list[float]:
    """Returns a score's mean over the keypoints of each group, then its total, as in COLUMNS."""
    groups = [[score[keypoint] for keypoint in keypoints] for keypoints in KEYPOINT_GROUPS.values()]
    return [*(float(np.mean(values)) for values in groups), score["total"]]


def _score(truth: PoseSequence, predicted: PoseSequence) -> _ScoredSequence:
    """Scores one sequence.

    Raises:
        UserError: It cannot be scored.
    """
    frames, warnings = pair(truth, predicted)
    counts = None
    if problem := track_id_problem(frames):
        warnings.append(f"{truth.name}: {problem}, so that there is no MOTA")
    else:
        counts = count(frames)
        if len(frames) == 1:
            warnings.append(f"{truth.name}: one annotated frame, and MOTA does not count a sequence's last")
    return _ScoredSequence(truth.name, detections(frames), counts, warnings)


def paired_sequences(
    names: Iterable[str], truth: NamedSequences, predicted: NamedSequences, progress: Callable[[int], Any]
) -> Iterator[tuple[PoseSequence, PoseSequence]]:
    """Yields truth and prediction of each sequence in the files of these names; one without a partner has an empty one.

    Args:
        names: Of files that both have.
        truth: Files of ground truth.
        predicted: Files of predictions.
        progress: Called with the number of files done.
    """
    for name in names:
        yield from _pairs_of_file(truth[name], predicted[name])
        progress(1)


def _pairs_of_file(
    truth: Sequence[PoseSequence], predicted: Sequence[PoseSequence]
) -> list[tuple[PoseSequence, PoseSequence]]:
    """Pairs the sequences of two files: by their names, unless each file has but one.

    A sequence without a partner is paired with an empty one, which `evaluate` warns of.
    """
    if len(truth) == len(predicted) == 1:
        return [(truth[0], predicted[0])]
    true, estimated = ({sequence.name: sequence for sequence in sequences} for sequences in (truth, predicted))
    pairs = []
    for name in dict.fromkeys([*true, *estimated]):
        empty = PoseSequence(name, [])
        pairs.append((true.get(name, empty), estimated.get(name, empty)))
    return pairs


def _scores_of(sequences: Sequence[_ScoredSequence]) -> KeypointScores:
    """Returns the scores over some sequences."""
    scores = average_precision(merged([sequence.found for sequence in sequences]))
    total = TrackingCounts()
    for sequence in sequences:
        if sequence.counts is None:
            return _with_totals(scores)
        total.add(sequence.counts)
    return _with_totals(scores | tracking_scores(total))


def _with_totals(scores: Mapping[str, FloatArray]) -> KeypointScores:
    """Names the keypoints and adds their mean, without those that have no value."""
    named = {}
    for name in AP_SCORES + MOT_SCORES:
        values = scores.get(name, np.full(len(POSETRACK15), np.nan))
        mean = math.nan if np.isnan(values).all() else float(np.mean(values[~np.isnan(values)]))
        named[name] = {**dict(zip(POSETRACK15.names, values.tolist(), strict=True)), "total": mean}
    return named


def _without_nan(scores: KeypointScores) -> dict[str, dict[str, float | None]]:
    return {name: {keypoint: or_none(value) for keypoint, value in values.items()} for name, values in scores.items()}


def or_none(value: float) -> float | None:
    """Returns a score as JSON has it: null where there is no value."""
    return None if math.isnan(value) else value

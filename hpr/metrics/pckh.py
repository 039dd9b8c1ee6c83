"""PCKh at 0.5, the score of MPII Human Pose: the share of the annotated joints that are found near enough.

As MPII's evaluation toolkit computes it (evaluatePCKh.m, computePCK.m, genTablePCK.m and util_get_head_size.m):

- A joint counts as found within 0.5 head sizes of the annotated one. The head size is 0.6 times the diagonal of the
  annotated head box.
- A joint's value is the share of the people annotated with it in whom it is found. A joint that is not predicted is not
  found. Predicted joints that are not annotated, and people who are not, do not count.
- A column is the mean of the values of two joints: left and right, or neck and head top for the head. HRNet's code base
  (lib/dataset/mpii.py) takes the head top alone for its column Head; all its other columns are the same.
- Mean is the share over all joints of all people together, without pelvis and thorax.

The toolkit and HRNet's code base score one prediction for each annotated person, in the same order. Here, where the two
files are such lists, predicted and annotated people pair by their places in it; where they are not, those of an image
pair so that as many joints as possible are found (the Hungarian method).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from hpr.errors import UserError
from hpr.metrics.posetrack import NamedSequences, or_none
from hpr.poses import BoolArray, FloatArray, Frame, PoseSequence
from hpr.skeleton import MPII16

_MATCH_DISTANCE = 0.5
_HEAD_SIZE_PER_DIAGONAL = 0.6

_GROUPS = {
    "Head": ("head_bottom", "head_top"),
    "Shoulder": ("right_shoulder", "left_shoulder"),
    "Elbow": ("right_elbow", "left_elbow"),
    "Wrist": ("right_wrist", "left_wrist"),
    "Hip": ("right_hip", "left_hip"),
    "Knee": ("right_knee", "left_knee"),
    "Ankle": ("right_ankle", "left_ankle"),
}
_SCORED = MPII16.indices(*(name for names in _GROUPS.values() for name in names))

PCKH_COLUMNS = (*_GROUPS, "Mean")


@dataclass
class PckhEvaluation:
    """Scores of a number of files.

    Attributes:
        values: {"PCKh": {column: percent}}; NaN where nobody is annotated with such a joint.
        people: Number of people scored.
        warnings: What is odd about the files, or was left out.
        columns: Of the table that the results are printed in.
    """

    values: dict[str, dict[str, float]]
    people: int
    warnings: list[str] = field(default_factory=list)
    columns: tuple[str, ...] = PCKH_COLUMNS

    def summary(self) -> dict[str, Any]:
        """Returns the scores as they stand in report.json; null where there is no value."""
        return {metric: {name: or_none(value) for name, value in row.items()} for metric, row in self.values.items()}

    def as_json(self) -> dict[str, Any]:
        """Returns the scores as they are written to a file; null where there is no value."""
        return {"total": self.summary(), "people": self.people, "warnings": self.warnings}


class PckhComparison:
    """Ground truth to score poses against, before and after they are refined.

    Attributes:
        before: Scores of the poses that are to be refined.
    """

    before: PckhEvaluation

    def __init__(
        self,
        truth: NamedSequences,
        predicted: NamedSequences,
        origins: tuple[str, str] = ("the annotations", "the predictions"),
        progress: Callable[[int], Any] = lambda files: None,
    ) -> None:
        """Scores the predictions as they are. See `evaluate_pckh`.

        Args:
            truth: Files of ground truth; each that has a prediction is looked up once.
            predicted: Files of predictions.
            origins: What both are called in messages, such as their folders.
            progress: Called with the number of files done.

        Raises:
            UserError: No two files have the same name, or nobody can be scored.
        """
        names = {true for true, _ in _pairs_of_names(truth, predicted)}
        self._truth = {name: truth[name] if name in names else [] for name in truth}
        self._origins = origins
        self.before = evaluate_pckh(self._truth, predicted, origins, progress)

    def after(self, refined: NamedSequences, progress: Callable[[int], Any] = lambda files: None) -> PckhEvaluation:
        """Scores refined files of the same names."""
        return evaluate_pckh(self._truth, refined, self._origins, progress)


def evaluate_pckh(
    truth: NamedSequences,
    predicted: NamedSequences,
    origins: tuple[str, str] = ("the annotations", "the predictions"),
    progress: Callable[[int], Any] = lambda files: None,
) -> PckhEvaluation:
    """Scores predictions against the ground truth in files of the same names; two single files pair by themselves.

    Args:
        truth: Files of ground truth, of any skeleton; the joints are found by name.
        predicted: Files of predictions, likewise.
        origins: What truth and predicted are called in messages, such as their folders.
        progress: Called with the number of files done.

    Raises:
        UserError: No two files have the same name, or nobody can be scored.
    """
    pairs = _pairs_of_names(truth, predicted)
    if predicted and not pairs:
        expected = f"expected a file named like one of {origins[1]}, such as {min(predicted)}"
        raise UserError(f"{origins[0]}: {expected}, found none")

    found, annotated = np.zeros(len(MPII16)), np.zeros(len(MPII16))
    people = 0
    warnings: list[str] = []
    for true_name, name in pairs:
        scored = _score(truth[true_name], predicted[name])
        found += scored.found
        annotated += scored.annotated
        people += scored.people
        warnings += [f"{name}: {odd}" for odd in scored.odd]
        progress(1)
    if not people:
        raise UserError("; ".join(warnings) or f"{origins[0]}: nobody is annotated, so that nobody can be scored")
    warnings += _unpaired(truth, predicted, pairs)
    return PckhEvaluation({"PCKh": _percent(found, annotated)}, people, warnings)


def _pairs_of_names(truth: NamedSequences, predicted: NamedSequences) -> list[tuple[str, str]]:
    if len(truth) == len(predicted) == 1:
        return [(min(truth), min(predicted))]
    return [(name, name) for name in sorted(truth.keys() & predicted.keys())]


def _unpaired(truth: NamedSequences, predicted: NamedSequences, pairs: Sequence[tuple[str, str]]) -> list[str]:
    unpredicted = truth.keys() - {name for name, _ in pairs}
    unannotated = predicted.keys() - {name for _, name in pairs}
    warnings = []
    for kind, names in (("prediction", unpredicted), ("truth", unannotated)):
        if names:
            warnings.append(f"{len(names)} files have no {kind} and are not scored, such as {min(names)}")
    return warnings


@dataclass
class _Scored:
    """What one file adds to the scores of all.

    Attributes:
        found: (16,) number of people in whom each joint is found.
        annotated: (16,) number of people annotated with it.
        people: Number of people scored.
        odd: What is odd about the file.
    """

    found: FloatArray
    annotated: FloatArray
    people: int
    odd: list[str]


def _score(truth: Sequence[PoseSequence], predicted: Sequence[PoseSequence]) -> _Scored:
    """Scores a file."""
    pairs: Iterable[tuple[Frame, Frame | None]]
    true_frames, frames = ([frame for one in file for frame in one.frames] for file in (truth, predicted))
    in_order = _are_the_same_list(true_frames, frames)
    scored = _Scored(np.zeros(len(MPII16)), np.zeros(len(MPII16)), 0, [])
    absent = headless = 0
    pairs = zip(true_frames, frames, strict=True) if in_order else _paired(true_frames, frames)
    for true_frame, frame in pairs:
        annotated = _annotated(true_frame)  # (G, 16)
        has_head = np.isfinite(true_frame.head_boxes).all(axis=1)
        is_posed = annotated[:, _SCORED].any(axis=1)
        headless += int((is_posed & ~has_head).sum())
        absent += bool((is_posed & has_head).any() and frame is None)

        matches = _matches(true_frame, frame)  # (G, P, 16)
        is_scored = is_posed & has_head
        truths, predictions = _assigned(matches[is_scored], np.flatnonzero(is_scored), in_order)
        scored.found += matches[truths, predictions].sum(axis=0)
        scored.annotated += annotated[is_scored].sum(axis=0)
        scored.people += int(is_scored.sum())

    if headless:
        scored.odd.append(
            f"{headless} people have no head box in the ground truth, as MPII's .mat has, and are not scored"
        )
    if absent:
        scored.odd.append(f"{absent} annotated images have no prediction; their joints count as not found")
    return scored


def _are_the_same_list(truth: Sequence[Frame], predicted: Sequence[Frame]) -> bool:
    """Returns whether both files list the same number of people for the same images in the same order."""
    return len(truth) == len(predicted) and all(
        one.image == other.image and np.array_equal(one.records, other.records)
        for one, other in zip(truth, predicted, strict=True)
    )


def _paired(truth: Sequence[Frame], predicted: Sequence[Frame]) -> Iterable[tuple[Frame, Frame | None]]:
    """Pairs frames by the names of their images, without folder and ending where these are not needed."""
    keys, others = ([PurePosixPath(frame.image).stem for frame in frames] for frames in (truth, predicted))
    if len(set(keys)) < len(keys) or len(set(others)) < len(others):
        keys, others = ([frame.image for frame in frames] for frames in (truth, predicted))
    by_key = dict(zip(reversed(others), reversed(predicted), strict=True))  # the first of two counts
    return [(frame, by_key.get(key)) for key, frame in zip(keys, truth, strict=True)]


def _annotated(frame: Frame) -> BoolArray:
    """Returns (G, 16) which joints the ground truth has."""
    own = frame.in_skeleton(MPII16)
    return np.asarray(np.isfinite(own.keypoints).all(axis=-1) & (own.flags > 0))


def _matches(truth: Frame, predicted: Frame | None) -> BoolArray:
    """Returns (G, P, 16) which annotated joints are found by which prediction."""
    own = truth.in_skeleton(MPII16)
    other = Frame.empty("", MPII16) if predicted is None else predicted.in_skeleton(MPII16)
    diagonals = own.head_boxes[:, 2:] - own.head_boxes[:, :2]  # (G, 2)
    head_sizes = _HEAD_SIZE_PER_DIAGONAL * np.linalg.norm(diagonals, axis=1)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # missing joints, heads without a size
        offsets = other.keypoints[None] - own.keypoints[:, None]  # (G, P, 16, 2)
        distances = np.linalg.norm(offsets, axis=-1) / head_sizes[:, None, None]
        is_near = distances <= _MATCH_DISTANCE
    return np.asarray(is_near & _annotated(truth)[:, None])


def _assigned(matches: BoolArray, truths: Any, in_order: bool) -> tuple[Any, Any]:
    """Pairs annotated people with predictions.

    Args:
        matches: (G', P, 16) of the people who are scored.
        truths: (G',) their places in the frame.
        in_order: Whether the prediction of a person is the one in the same place.

    Returns:
        The places of the annotated people who have a prediction, and those of the predictions.
    """
    if in_order:
        return truths, truths
    counts = matches[..., _SCORED].sum(axis=-1)  # (G', P)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return truths[rows], columns


def _percent(found: FloatArray, annotated: FloatArray) -> dict[str, float]:
    """Returns the values of all columns."""
    values = {}
    for column, names in _GROUPS.items():
        shares = [_share(found[joint], annotated[joint]) for joint in MPII16.indices(*names)]
        known = [share for share in shares if not math.isnan(share)]
        values[column] = sum(known) / len(known) if known else math.nan
    values["Mean"] = _share(found[_SCORED].sum(), annotated[_SCORED].sum())
    return values


def _share(found: Any, annotated: Any) -> float:
    return 100.0 * float(found) / float(annotated) if annotated else math.nan

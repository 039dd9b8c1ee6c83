"""Refining held-out clips in the middle of a training, and scoring them before and after."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hpr.evaluation.posetrack import Evaluation, evaluate
from hpr.files import json_files
from hpr.formats import Format, PoseTrack18
from hpr.inference import PoseRefiner
from hpr.models.refiner import Refiner
from hpr.poses import Sequence
from hpr.refining import refine_sequences
from hpr.skeleton import NUM_JOINTS
from hpr.training.pose_errors import PoseErrors, draw_scores
from hpr.training.synthetic.tree import write_tree

_VALIDATION_SEED = 1

MAP_THRESHOLD, MOTA_THRESHOLD = 0.0, 0.7
"""Confidences above which a joint is kept, for each score as published (REFERENCE.md, 3.3)."""


@dataclass(frozen=True)
class Scores:
    """Of a set of clips, in percent.

    Attributes:
        mean_ap: mAP.
        mota: MOTA.
        pckh: Share of the annotated joints that are found within half a head size.
    """

    mean_ap: float
    mota: float
    pckh: float

    @property
    def mean(self) -> float:
        """What the best weights are chosen by: the mean of mAP and MOTA."""
        return (self.mean_ap + self.mota) / 2


class Validation:
    """Held-out clips with estimates to be refined."""

    def __init__(self, truth: list[Sequence], estimates: list[Sequence], root: Path) -> None:
        """Scores the estimates as they are.

        Args:
            truth: Of each clip, read for scoring.
            estimates: Of each clip.
            root: The folder that the images' names start from.

        Raises:
            UserError: Nothing can be scored.
        """
        self._truth, self._estimates, self._root = truth, estimates, root
        before = self._evaluate(estimates)
        self.before = _scores(before, before)

    def after(self, network: Refiner, device: str) -> Scores:
        """Refines the clips with a copy of a network and scores them."""
        return self.scores(self.refined(PoseRefiner(copy.deepcopy(network), device)))

    def refined(self, refiner: PoseRefiner) -> list[Sequence]:
        """Refines the estimates of each clip."""
        return [sequence for sequence, _ in refine_sequences(refiner, self._estimates, self._root, MAP_THRESHOLD)]

    def scores(self, refined: list[Sequence]) -> Scores:
        """Scores refined clips."""
        confident = [_above(sequence, MOTA_THRESHOLD) for sequence in refined]
        return _scores(self._evaluate(refined), self._evaluate(confident))

    def _evaluate(self, sequences: list[Sequence]) -> Evaluation:
        return evaluate(zip(self._truth, sequences, strict=True))


def synthetic_validation(clips: int, frames: int, folder: Path, errors: PoseErrors) -> Validation:
    """Draws clips of people in clothes that training never draws.

    Args:
        clips: Number of clips.
        frames: Of each clip.
        folder: Of the run; the clips are written to `validation` in it.
        errors: Of the estimates.
    """
    root, file_format = folder / "validation", PoseTrack18()
    write_tree(root, [(_VALIDATION_SEED, number) for number in range(clips)], frames, errors, held_out=True)
    paths = json_files(root / "predictions", "validation")
    truth = [file_format.read(root / "annotations" / path.name, scoring=True) for path in paths]
    return Validation(truth, [file_format.read(path) for path in paths], root)


def annotated_validation(
    file_format: Format, annotations: str, predictions: str | None, root: str, folder: Path, errors: PoseErrors
) -> Validation:
    """Reads annotated clips and an estimator's predictions for them, or draws mistakes in place of those.

    Args:
        file_format: Of the files.
        annotations: A folder of .json files.
        predictions: A folder of .json files of the same names, or None.
        root: The folder that the images' names start from.
        folder: Of the run.
        errors: Of the estimates that are drawn.

    Raises:
        UserError: A folder or file is absent or broken, or nothing in it can be scored.
    """
    if predictions is None:
        paths = json_files(Path(annotations), "dataset.validation.annotations")
        estimates = [_with_mistakes(file_format.read(path), number, errors) for number, path in enumerate(paths)]
    else:
        paths = json_files(Path(predictions), "dataset.validation.predictions")
        estimates = [file_format.read(path) for path in paths]
    truth = [file_format.read(Path(annotations) / path.name, scoring=True) for path in paths]
    return Validation(truth, estimates, Path(root))


def _with_mistakes(truth: Sequence, number: int, errors: PoseErrors) -> Sequence:
    """Returns estimates of everyone in a clip, drawn from the true poses."""
    random = np.random.default_rng((_VALIDATION_SEED, number))
    frames = []
    for frame in truth.frames:
        people = [person for person in frame.persons if person.present.any()]
        joints = np.array([person.joints for person in people]).reshape(-1, NUM_JOINTS, 2)
        drawn = [errors.draw(pose, np.delete(joints, i, axis=0), random) for i, pose in enumerate(joints)]
        estimates = [
            replace(person, joints=pose, scores=draw_scores(mistakes, random))
            for person, (pose, mistakes) in zip(people, drawn, strict=True)
        ]
        frames.append(replace(frame, persons=estimates))
    return replace(truth, frames=frames)


def table(before: Scores, after: Scores) -> str:
    """Returns the scores of the input and of the refined poses side by side."""
    rows = [f"{'':<10}{'mAP':>8}{'MOTA':>8}{'PCKh':>8}"]
    for name, scores in (("input", before), ("refined", after)):
        rows.append(f"{name:<10}{scores.mean_ap:8.1f}{scores.mota:8.1f}{scores.pckh:8.1f}")
    return "\n".join(rows)


def _scores(everything: Evaluation, confident: Evaluation) -> Scores:
    """Takes MOTA from the confident joints alone, as the two published objectives do."""
    return Scores(
        everything.total["AP"]["total"], confident.total["MOTA"]["total"], everything.total["AP_recall"]["total"]
    )


def _above(sequence: Sequence, threshold: float) -> Sequence:
    """Drops the refined joints whose confidence is not above the threshold."""
    frames = []
    for frame in sequence.frames:
        persons = []
        for person in frame.persons:
            if person.confidence is None:
                persons.append(person)
                continue
            keep = (person.confidence > threshold)[:, None]
            persons.append(replace(person, joints=np.where(keep, person.joints, np.nan)))
        frames.append(replace(frame, persons=persons))
    return replace(sequence, frames=frames)

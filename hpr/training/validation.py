"""Refining held-out clips in the middle of a training, and scoring them before and after."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpr.checks import Count, checked
from hpr.crops import ScaleRule
from hpr.evaluation.comparison import Comparison, ObjectiveScores
from hpr.evaluation.posetrack import NamedSequences
from hpr.formats import Format, PoseTrack18
from hpr.images import Image, ImageFolder, ImageSource
from hpr.inference.engine import PoseRefiner
from hpr.models.network import Refiner
from hpr.objective import MAP
from hpr.poses import Frame, PoseSequence
from hpr.refining.stream import refine_sequences
from hpr.report.tables import format_table, number
from hpr.skeleton import POSETRACK15
from hpr.training.pose_errors import PoseErrors
from hpr.training.seeds import Purpose, generator
from hpr.training.shown import people_picture, shown_people
from hpr.training.synthetic.tree import write_tree


@dataclass(frozen=True)
class Validated:
    """What a network makes of held-out clips.

    Attributes:
        scores: Of the refined poses.
        people: (H, W, 3) RGB picture of a few people, the same each time; None where no image can be read.
    """

    scores: ObjectiveScores
    people: Image | None


class Validation:
    """Held-out clips with estimates to be refined.

    Attributes:
        before: Scores of the estimates as they are.
    """

    before: ObjectiveScores

    def __init__(
        self, truth: NamedSequences, estimates: NamedSequences, images: ImageSource, scale: ScaleRule = "published"
    ) -> None:
        """Scores the estimates as they are.

        Args:
            truth: Files of ground truth.
            estimates: Files of the same names.
            images: Where the images are.
            scale: How a person's size is measured.

        Raises:
            UserError: Nothing can be scored.
        """
        self._estimates, self._images, self._scale = estimates, images, scale
        self._comparison = Comparison(truth, estimates)
        self._shown = shown_people(truth, estimates)
        self.before = self._comparison.objectives_before

    def after(self, network: Refiner, device: str) -> Validated:
        """Refines the clips with a network, scores them and draws a few people."""
        refined = self.refined(PoseRefiner(network, device, scale=self._scale))
        return Validated(self.scores(refined), people_picture(self._shown, refined, self._images))

    def refined(self, refiner: PoseRefiner) -> NamedSequences:
        """Refines the estimates."""
        clips = [clip for sequences in self._estimates.values() for clip in sequences]
        refined = iter(refine_sequences(refiner, clips, self._images, MAP))
        return {name: [next(refined) for _ in sequences] for name, sequences in self._estimates.items()}

    def scores(self, refined: NamedSequences) -> ObjectiveScores:
        """Scores what `refined` returned."""
        return self._comparison.objectives_after(refined)


@checked
def synthetic_validation(
    clips: Count,
    frames: Count,
    folder: Path,
    errors: PoseErrors,
    progress: Callable[[int], Any] = lambda clips: None,
    scale: ScaleRule = "published",
) -> Validation:
    """Draws clips of people in clothes that training never draws.

    Args:
        clips: Number of clips.
        frames: Of each clip.
        folder: Of the run; the clips are written to `validation` in it.
        errors: Of the estimates.
        progress: Called with the number of clips done.
        scale: How a person's size is measured.
    """
    root, file_format = folder / "validation", PoseTrack18()
    seeds = [(number,) for number in range(clips)]
    purpose = Purpose.VALIDATION_SCENE
    write_tree(root, seeds, frames, errors, held_out=True, progress=progress, purpose=purpose)

    estimates = _read(file_format, root / "predictions", lambda files: None)
    truth = {name: file_format.read(root / "annotations" / name) for name in estimates}
    return Validation(truth, estimates, ImageFolder(root), scale)


@checked
def annotated_validation(
    file_format: Format,
    annotations: str | Path,
    predictions: str | Path | None,
    images: ImageSource,
    folder: Path,
    errors: PoseErrors,
    progress: Callable[[int], Any] = lambda files: None,
    scale: ScaleRule = "published",
) -> Validation:
    """Reads annotated clips and an estimator's predictions for them, or draws mistakes in place of those.

    Args:
        file_format: Of the files.
        annotations: A folder of .json files.
        predictions: A folder of .json files of the same names, or None.
        images: Where the images are.
        folder: Of the run; nothing is written to it.
        errors: Of the estimates that are drawn.
        progress: Called with the number of files done.
        scale: How a person's size is measured.

    Raises:
        UserError: A folder or file is absent or broken, or nothing in it can be scored.
    """
    if predictions is None:
        truth = _read(file_format, Path(annotations), progress)
        estimates = {name: _drawn(clips, errors, place) for place, (name, clips) in enumerate(truth.items())}
    else:
        estimates = _read(file_format, Path(predictions), progress)
        truth = {name: file_format.read(Path(annotations) / name) for name in estimates}
    return Validation(truth, estimates, images, scale)


def _read(file_format: Format, location: Path, progress: Callable[[int], Any]) -> dict[str, list[PoseSequence]]:
    """Reads a file, or all of a folder, by name.

    Raises:
        UserError: There is none, or one is broken.
    """
    files = {}
    for path in file_format.sources(location):
        files[path.name] = file_format.read(path)
        progress(1)
    return files


def _drawn(truth: list[PoseSequence], errors: PoseErrors, place: int) -> list[PoseSequence]:
    """Draws estimates of all people in the clips of the file at that place in the folder."""
    random = generator(Purpose.VALIDATION_ESTIMATE, place)
    estimates = []
    for clip in truth:
        frames = [_estimated(frame, errors, random) for frame in clip.frames]
        estimates.append(PoseSequence(clip.name, frames))
    return estimates


def _estimated(frame: Frame, errors: PoseErrors, random: np.random.Generator) -> Frame:
    """Returns estimates of the people in a frame who have a keypoint, of the keypoints that are scored."""
    poses = frame.skeleton.convert(frame.poses, POSETRACK15)
    posed = np.asarray(~np.isnan(poses).all(axis=(1, 2)))
    people, poses = frame.select(posed), poses[posed]

    drawn = [errors.draw(pose, np.delete(poses, i, axis=0), POSETRACK15, random) for i, pose in enumerate(poses)]
    estimates = np.array([estimate for estimate, _ in drawn]).reshape(poses.shape)
    scores = np.array([errors.scores(mistakes, random) for _, mistakes in drawn]).reshape(poses.shape[:2])
    return Frame(frame.image, POSETRACK15, estimates, scores, track_ids=people.track_ids, size=frame.size)


def score_table(before: ObjectiveScores, after: ObjectiveScores) -> str:
    """Returns the scores of the input and of the refined poses side by side."""
    rows = [["", "mAP", "MOTA", "PCKh"]]
    for name, scores in (("input", before), ("refined", after)):
        rows.append([name, *(number(value) for value in (scores.mean_ap, scores.mota, scores.pckh))])
    return format_table(rows)

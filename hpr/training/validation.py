"""Refining held-out clips or images in the middle of a training, and scoring them before and after."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
from pydantic import Field

from hpr.settings import Count, checked
from hpr.crops import ScaleRule, head_diagonal
from hpr.metrics.comparison import Comparison, MetricScores, TrainingScores
from hpr.metrics.oks import METRIC, OksComparison
from hpr.metrics.pckh import PckhComparison, PckhEvaluation
from hpr.metrics.posetrack import NamedSequences
from hpr.formats import Format, PoseTrack18
from hpr.formats.coco import Coco, ids_by_name
from hpr.formats.coco import Image as NamedImage
from hpr.images import Image, ImageFolder, ImageSource
from hpr.refine.engine import PoseRefiner
from hpr.models.network import Refiner
from hpr.refine.objective import MAP
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.refine.sharing import Part, share
from hpr.refine.stream import refine_parts
from hpr.report.tables import format_table, number
from hpr.runtime.processes import ALONE, Processes
from hpr.skeleton import Skeleton
from hpr.training.dataset import Annotations, annotated_skeleton, first_present, posed_frames
from hpr.pose_errors.draw import PoseErrors
from hpr.seeds import Purpose, generator
from hpr.training.shown import people_picture, shown_people
from hpr.synthetic.tree import write_tree

Share = Annotated[float, Field(gt=0, le=1)]
"""Of the clips or images that are validated on."""


@dataclass(frozen=True)
class Validated:
    """What a network makes of held-out clips.

    Attributes:
        scores: Of the refined poses.
        people: (H, W, 3) RGB picture of a few people, the same each time; None where no image can be read.
    """

    scores: TrainingScores
    people: Image | None


class Scorer(Protocol):
    """Scores refined poses against the truth."""

    @property
    def before(self) -> TrainingScores:
        """Of the estimates as they are."""

    def after(self, refined: NamedSequences) -> TrainingScores:
        """Scores refined files of the names of the estimates."""


class Validation:
    """Held-out clips or images with estimates to be refined, by all processes of a run together."""

    def __init__(
        self,
        truth: NamedSequences,
        estimates: NamedSequences,
        images: ImageSource,
        scale: ScaleRule = "published",
        processes: Processes = ALONE,
        scorer: Callable[[], Scorer] | None = None,
    ) -> None:
        """Scores the estimates as they are, in the first process.

        Args:
            truth: Files of ground truth.
            estimates: Files of the same names.
            images: Where the images are.
            scale: How a person's size is measured.
            processes: Those that refine, each its share of the frames; all of them have the same estimates.
            scorer: Makes what scores; by default as PoseTrack does.

        Raises:
            UserError: Nothing can be scored.
        """
        self._estimates, self._images, self._scale, self._processes = estimates, images, scale, processes
        self._shown = shown_people(truth, estimates)
        self._scorer: Scorer | None = None
        if processes.is_first:
            self._scorer = scorer() if scorer else _PoseTrackScorer(truth, estimates)

    @property
    def before(self) -> TrainingScores:
        """Scores of the estimates as they are; the first process alone has them."""
        assert self._scorer is not None
        return self._scorer.before

    def after(self, network: Refiner, device: str) -> Validated | None:
        """Refines the clips with a network, scores them and draws a few people.

        All processes call it; it returns something in the first one alone.
        """
        refined = self.refined(PoseRefiner(network, device, scale=self._scale))
        if refined is None:
            return None
        return Validated(self.scores(refined), people_picture(self._shown, refined, self._images))

    def refined(self, refiner: PoseRefiner) -> dict[str, list[PoseSequence]] | None:
        """Refines the estimates, this process its share; returns them in the first process alone."""
        files = list(self._estimates.values())
        own = share(files, self._processes.count)[self._processes.rank]
        parts = [files[part.file][part.sequence].frames[part.start : part.stop] for part in own]
        done = [(own[part.number], part.frames) for part in refine_parts(refiner, parts, self._images, MAP)]
        everyone = self._processes.gathered(done)
        return self._whole(pair for pairs in everyone for pair in pairs) if self._processes.is_first else None

    def _whole(self, done: Iterable[tuple[Part, list[Frame]]]) -> dict[str, list[PoseSequence]]:
        """Returns the files, put together from refined parts."""
        files = [[list(clip.frames) for clip in clips] for clips in self._estimates.values()]
        for part, frames in done:
            files[part.file][part.sequence][part.start : part.stop] = frames
        return {
            name: [replace(clip, frames=own) for clip, own in zip(clips, frames, strict=True)]
            for (name, clips), frames in zip(self._estimates.items(), files, strict=True)
        }

    def scores(self, refined: NamedSequences) -> TrainingScores:
        """Scores what `refined` returned."""
        assert self._scorer is not None
        return self._scorer.after(refined)


class _PoseTrackScorer:
    """AP and MOTA for both published objectives."""

    def __init__(self, truth: NamedSequences, estimates: NamedSequences) -> None:
        self._comparison = Comparison(truth, estimates)
        self.before: TrainingScores = self._comparison.objectives_before

    def after(self, refined: NamedSequences) -> TrainingScores:
        return self._comparison.objectives_after(refined)


class _OksScorer:
    """AP and AR by object keypoint similarity, of the images that there are estimates for."""

    def __init__(self, annotations: Path, estimates: NamedSequences, file_format: Coco) -> None:
        self._comparison = OksComparison(annotations, estimates, file_format, whole=False)
        self.before: TrainingScores = self._metrics(self._comparison.before.values[METRIC])

    def after(self, refined: NamedSequences) -> TrainingScores:
        return self._metrics(self._comparison.after(refined).values[METRIC])

    @staticmethod
    def _metrics(row: dict[str, float]) -> MetricScores:
        return MetricScores({name: row[name] for name in ("AP", "AP50", "AP75", "AR")}, "AP")


class _PckhScorer:
    """PCKh at 0.5."""

    def __init__(self, truth: NamedSequences, estimates: NamedSequences) -> None:
        self._comparison = PckhComparison(truth, estimates)
        self.before: TrainingScores = self._metrics(self._comparison.before)

    def after(self, refined: NamedSequences) -> TrainingScores:
        return self._metrics(self._comparison.after(refined))

    @staticmethod
    def _metrics(scores: PckhEvaluation) -> MetricScores:
        row = dict(scores.values["PCKh"])
        return MetricScores({"PCKh": row.pop("Mean"), **row}, "PCKh")


@checked
def synthetic_validation(
    clips: Count,
    frames: Count,
    folder: Path,
    errors: PoseErrors,
    progress: Callable[[int], Any] = lambda clips: None,
    scale: ScaleRule = "published",
    processes: Processes = ALONE,
) -> Validation:
    """Draws clips of people in clothes that training never draws.

    Args:
        clips: Number of clips.
        frames: Of each clip.
        folder: Of the run; the first process writes the clips to `validation` in it.
        errors: Of the estimates.
        progress: Called with the number of clips done.
        scale: How a person's size is measured.
        processes: See `Validation`.
    """
    root, file_format = folder / "validation", PoseTrack18()
    if processes.is_first:
        seeds = [(number,) for number in range(clips)]
        purpose = Purpose.VALIDATION_SCENE
        write_tree(root, seeds, frames, errors, held_out=True, progress=progress, purpose=purpose)
    processes.wait()

    estimates = _read(file_format, root / "predictions", lambda files: None)
    truth = {name: file_format.read(root / "annotations" / name) for name in estimates}
    return Validation(truth, estimates, ImageFolder(root), scale, processes)


@checked
def annotated_validation(
    file_format: Format,
    annotations: Annotations,
    predictions: str | Path | None,
    images: ImageSource,
    folder: Path,
    errors: PoseErrors,
    progress: Callable[[int], Any] = lambda files: None,
    scale: ScaleRule = "published",
    processes: Processes = ALONE,
    share: Share = 1.0,
    validation_file: str | Path | None = None,
) -> Validation:
    """Reads annotated clips or images and an estimator's predictions for them, or draws mistakes in place of those.

    PoseTrack's are scored by AP and MOTA, COCO's and CrowdPose's by OKS, MPII's by PCKh.

    Args:
        file_format: Of the files.
        annotations: A folder of files, or one file; or several, see `training.people.first_present`.
        predictions: A folder of files of the same names, or one file; or None.
        images: Where the images are.
        folder: Of the run; nothing is written to it.
        errors: Of the estimates that are drawn.
        progress: Called with the number of files done.
        scale: How a person's size is measured.
        processes: See `Validation`.
        share: Of the files, where these are clips, or of the images with people, evenly spread.
        validation_file: As for `training.people.AnnotatedPeople`.

    Raises:
        UserError: A folder or file is absent or broken, or nothing in it can be scored.
    """
    location = first_present(annotations)
    if file_format.metric == "posetrack":
        truth, estimates = _clips(file_format, location, predictions, errors, progress, share)
        return Validation(truth, estimates, images, scale, processes)

    everything = posed_frames(file_format, location, False, validation_file)
    frames = [_with_head_boxes(frame) for frame in _spread(everything, share)]
    truth = {location.name: [PoseSequence(location.stem, frames)]}
    if predictions is None:
        estimates = {location.name: _drawn(truth[location.name], errors, 0, annotated_skeleton(file_format))}
    else:
        estimates = {location.name: [_of_images(file_format, Path(predictions), frames)]}
    progress(1)
    if isinstance(file_format, Coco):
        return Validation(
            truth, estimates, images, scale, processes, lambda: _OksScorer(location, estimates, file_format)
        )
    return Validation(truth, estimates, images, scale, processes, lambda: _PckhScorer(truth, estimates))


_Files = dict[str, list[PoseSequence]]


def _clips(
    file_format: Format,
    annotations: Path,
    predictions: str | Path | None,
    errors: PoseErrors,
    progress: Callable[[int], Any],
    share: float,
) -> tuple[_Files, _Files]:
    """Returns the truth and the estimates of some files of clips; see `annotated_validation`."""
    if predictions is None:
        truth = _read(file_format, annotations, progress, share)
        skeleton = annotated_skeleton(file_format)
        drawn = {name: _drawn(clips, errors, place, skeleton) for place, (name, clips) in enumerate(truth.items())}
        return truth, drawn
    estimates = _read(file_format, Path(predictions), progress, share)
    return {name: file_format.read(annotations / name) for name in estimates}, estimates


def _read(file_format: Format, location: Path, progress: Callable[[int], Any], share: float = 1.0) -> _Files:
    """Reads a file, or all of a folder or a share of them, by name.

    Raises:
        UserError: There is none, or one is broken.
    """
    files = {}
    for path in _spread(file_format.sources(location), share):
        files[path.name] = file_format.read(path)
        progress(1)
    return files


def _spread(items: Sequence[Any], share: float) -> list[Any]:
    """Returns a share of some items, evenly spread; one at least."""
    count = max(round(share * len(items)), 1)
    return [items[int((place + 0.5) * len(items) / count)] for place in range(count)]


def _with_head_boxes(frame: Frame) -> Frame:
    """Returns a frame whose people without a head box have one of the size that the head's ends say.

    MPII's lists of records have none, and PCKh needs their size.
    """
    boxes = frame.head_boxes.copy()
    for person in np.flatnonzero(~np.isfinite(boxes).all(axis=1)).tolist():
        diagonal = head_diagonal(frame.poses[person], frame.skeleton)
        boxes[person] = [0.0, 0.0, diagonal / np.sqrt(2), diagonal / np.sqrt(2)]
    return replace(frame, head_boxes=boxes)


def _of_images(file_format: Format, predictions: Path, truth: Sequence[Frame]) -> PoseSequence:
    """Returns an estimator's people in some images; nobody in those that it leaves out.

    Raises:
        UserError: The predictions are absent or broken.
    """
    clips = [clip for path in file_format.sources(predictions) for clip in file_format.read(path)]
    found = [frame for clip in clips for frame in clip.frames]
    places = ids_by_name(truth, {place: NamedImage(frame.image) for place, frame in enumerate(found)})
    nobody = Frame.empty("", truth[0].skeleton)
    own = [nobody if place is None else found[int(place)] for place in places]
    named = [replace(predicted, image=frame.image) for predicted, frame in zip(own, truth, strict=True)]
    return PoseSequence(predictions.stem, named)


def _drawn(truth: list[PoseSequence], errors: PoseErrors, place: int, skeleton: Skeleton) -> list[PoseSequence]:
    """Draws estimates of all people in the clips of the file at that place in the folder."""
    random = generator(Purpose.VALIDATION_ESTIMATE, place)
    estimates = []
    for clip in truth:
        frames = [_estimated(frame, errors, random, skeleton) for frame in clip.frames]
        estimates.append(PoseSequence(clip.name, frames))
    return estimates


def _estimated(frame: Frame, errors: PoseErrors, random: np.random.Generator, skeleton: Skeleton) -> Frame:
    """Returns estimates of the people in a frame who have a keypoint of a skeleton, in this skeleton."""
    poses: FloatArray = frame.skeleton.convert(frame.poses, skeleton)
    posed = np.asarray(~np.isnan(poses).all(axis=(1, 2)))
    people, poses = frame.select(posed), poses[posed]

    drawn = [errors.draw(pose, np.delete(poses, i, axis=0), skeleton, random) for i, pose in enumerate(poses)]
    estimates = np.array([estimate for estimate, _ in drawn]).reshape(poses.shape)
    scores = np.array([errors.scores(mistakes, random) for _, mistakes in drawn]).reshape(poses.shape[:2])
    return Frame(frame.image, skeleton, estimates, scores, track_ids=people.track_ids, size=frame.size)


def score_table(before: TrainingScores, after: TrainingScores) -> str:
    """Returns the scores of the input and of the refined poses side by side."""
    rows = [["", *before.metrics]]
    for name, scores in (("input", before), ("refined", after)):
        rows.append([name, *(number(scores.metrics[metric]) for metric in before.metrics)])
    return format_table(rows)

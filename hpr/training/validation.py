"""Validation during training: held-out people with estimates are refined, scored and drawn."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import cv2
import numpy as np
from pydantic import Field

from hpr.crops import ScaleRule, head_diagonal
from hpr.errors import UserError
from hpr.formats import Format
from hpr.formats.coco import Coco
from hpr.images import Image, ImageSource
from hpr.metrics.pckh import PckhTruth
from hpr.metrics.posetrack import PoseTrackTruth
from hpr.metrics.scores import Scores
from hpr.metrics.truth import FramePair, NamedSequences, Truth
from hpr.models.network import Refiner
from hpr.pose_errors.draw import PoseErrors
from hpr.poses import FloatArray, Frame, PoseSequence, match_frames
from hpr.refine.engine import PoseRefiner
from hpr.refine.objective import MAP, MOTA
from hpr.refine.sharing import join_parts, share
from hpr.refine.stream import refine_parts
from hpr.report.drawing import draw_poses
from hpr.runtime.processes import ALONE, Processes
from hpr.seeds import Purpose, generator
from hpr.settings import checked
from hpr.skeleton import POSETRACK15, Skeleton
from hpr.training.dataset import Annotations, first_present, posed_frames, read_sequences

Share = Annotated[float, Field(gt=0, le=1)]
"""Share of the files or images that are validated on."""

PEOPLE_DRAWN = 6

_PICTURE_SIDE = 220
"""Pixels of the picture of one person."""


class ValidationResult(NamedTuple):
    """Result of a validation.

    Attributes:
        scores: Scores of the refined poses.
        picture: (H, W, 3) RGB, a row for each of a few people, always the same: the input, the refined pose and the
            truth. None where no image can be read.
    """

    scores: Scores
    picture: Image | None


class Validation:
    """Held-out people with estimates, which all ranks refine together; rank 0 scores them.

    Attributes:
        before: Scores of the estimates; on rank 0 only.
    """

    before: Scores

    def __init__(
        self,
        truth: Truth,
        estimates: NamedSequences,
        images: ImageSource,
        scale: ScaleRule = "published",
        processes: Processes = ALONE,
    ) -> None:
        """Scores the estimates, which are the same on all ranks, on rank 0.

        Raises:
            UserError: Nothing can be scored.
        """
        self._truth, self._estimates, self._images = truth, estimates, images
        self._scale, self._processes = scale, processes
        self._drawn: list[tuple[FramePair, int]] = []  # frames and the index of a person in them
        if processes.is_first:
            self.before = truth.score(estimates, mota_threshold=MOTA.keep)
            pairs, _ = truth.pairs(estimates)
            people = [
                (pair, person)
                for pair in pairs
                if pair.file is not None
                for person in np.flatnonzero(pair.estimate.is_posed).tolist()
            ]
            indices = np.linspace(0, len(people) - 1, min(PEOPLE_DRAWN, len(people))).round().astype(int)
            self._drawn = [people[index] for index in indices]

    def after(self, network: Refiner, device: str) -> ValidationResult | None:
        """Refines the estimates with a network and scores the result. All ranks have to call it.

        Returns:
            The result on rank 0, None on other ranks.
        """
        refiner, files = PoseRefiner(network, device, scale=self._scale), list(self._estimates.values())
        own = share(files, self._processes.count)[self._processes.rank]
        gathered = self._processes.gathered(list(refine_parts(refiner, files, own, self._images, MAP)))
        if not self._processes.is_first:
            return None

        parts = [part for of_rank in gathered for part in of_rank]
        refined = {
            name: join_parts(sequences, [part for part in parts if part.part.file == index])
            for index, (name, sequences) in enumerate(self._estimates.items())
        }
        return ValidationResult(self._truth.score(refined, mota_threshold=MOTA.keep), self._draw_people(refined))

    def _draw_people(self, refined: NamedSequences) -> Image | None:
        """Returns the picture of `ValidationResult`."""
        rows = []
        for pair, person in self._drawn:
            assert pair.file is not None
            assert pair.key is not None
            after = refined[pair.file][pair.key.sequence].frames[pair.key.frame]
            try:
                image = self._images.read(pair.estimate)
            except UserError:  # the scores lack this image as well
                continue

            pose = pair.estimate.poses[person]
            low, high = np.nanmin(pose, axis=0), np.nanmax(pose, axis=0)
            side = max(1.5 * float((high - low).max()), 16.0)
            corner, scale = (low + high - side) / 2, _PICTURE_SIDE / side
            matrix = np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]]])
            part = np.asarray(cv2.warpAffine(image, matrix, (_PICTURE_SIDE, _PICTURE_SIDE)), np.uint8)
            drawn = [(pair.estimate.poses[[person]], pair.estimate), (after.poses[[person]], after)]
            drawn.append((pair.truth.poses, pair.truth))
            rows.append(np.hstack([draw_poses(part, (p - corner) * scale, f.skeleton) for p, f in drawn]))
        return np.vstack(rows) if rows else None


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
    """Prepares the validation on annotated clips or images.

    PoseTrack's are scored by AP and MOTA, COCO's and CrowdPose's by OKS, MPII's by PCKh.

    Args:
        file_format: Format of the files.
        annotations: A folder of files or one file; or several, see `training.dataset.first_present`.
        predictions: A folder of an estimator's files with the same names, or one file; None draws mistakes instead.
        images: Source of the images.
        folder: The run's folder; nothing is written to it.
        errors: Mistakes in estimates that are drawn.
        progress: Called with the number of files done.
        scale: How a person's size is measured.
        processes: The ranks.
        share: Share of the clips' files, or of the images with people, evenly spread.
        validation_file: As for `training.dataset.AnnotatedPeople`.

    Raises:
        UserError: A folder or file is absent or broken, or nothing in it can be scored.
    """
    location = first_present(annotations)
    truth: Truth
    estimates: NamedSequences
    if file_format.metric == "posetrack":
        files = {}
        for path in _spread(file_format.sources(location if predictions is None else Path(predictions)), share):
            files[path.name] = file_format.read(path)
            progress(1)
        if predictions is None:
            truth, estimates = PoseTrackTruth(files), _draw_estimates(files, errors, POSETRACK15)
        else:
            truth, estimates = PoseTrackTruth({name: file_format.read(location / name) for name in files}), files
        return Validation(truth, estimates, images, scale, processes)

    if isinstance(file_format, Coco):
        from hpr.metrics.oks import OksTruth  # pycocotools takes a while to import

        annotated = file_format.ground_truth(location)
        frames = _spread(posed_frames([annotated.sequence], location, False, validation_file), share)
        truth = OksTruth(annotated, file_format, str(location), whole=False)
    else:
        sequences = read_sequences(file_format, location)
        frames = _spread(posed_frames(sequences, location, False, validation_file), share)
        truth = PckhTruth([_with_head_boxes(frame) for frame in frames], str(location))

    if predictions is None:
        sequence = PoseSequence(location.stem, frames)
        estimates = _draw_estimates({location.name: [sequence]}, errors, frames[0].skeleton)
    else:
        estimates = {location.name: [_read_estimates(file_format, Path(predictions), frames)]}
    progress(1)
    return Validation(truth, estimates, images, scale, processes)


def _spread(items: Sequence[Any], share: float) -> list[Any]:
    """Returns a share of the items, at least one, evenly spread."""
    count = max(round(share * len(items)), 1)
    return [items[int((index + 0.5) * len(items) / count)] for index in range(count)]


def _with_head_boxes(frame: Frame) -> Frame:
    """Returns a frame with head boxes of the size given by the head's keypoints; MPII's lists of records lack them."""
    boxes = frame.head_boxes.copy()
    for person in np.flatnonzero(~np.isfinite(boxes).all(axis=1)).tolist():
        diagonal = head_diagonal(frame.poses[person], frame.skeleton)
        boxes[person] = [0.0, 0.0, diagonal / np.sqrt(2), diagonal / np.sqrt(2)]
    return replace(frame, head_boxes=boxes)


def _read_estimates(file_format: Format, predictions: Path, truth: Sequence[Frame]) -> PoseSequence:
    """Reads an estimator's people in annotated frames; nobody in frames that it has no prediction for."""
    sequences = [own for path in file_format.sources(predictions) for own in file_format.read(path)]
    found = [frame for sequence in sequences for frame in sequence.frames]
    indices = match_frames([frame.image for frame in truth], [frame.image for frame in found])
    frames = [
        Frame.empty(frame.image, frame.skeleton) if index is None else replace(found[index], image=frame.image)
        for index, frame in zip(indices, truth, strict=True)
    ]
    return PoseSequence(predictions.stem, frames)


def _draw_estimates(files: NamedSequences, errors: PoseErrors, skeleton: Skeleton) -> dict[str, list[PoseSequence]]:
    """Draws estimates of all people who have a keypoint of a skeleton, in this skeleton."""

    def estimate(frame: Frame, random: np.random.Generator) -> Frame:
        poses: FloatArray = frame.skeleton.convert(frame.poses, skeleton)
        is_posed = np.asarray(~np.isnan(poses).all(axis=(1, 2)))
        people, poses = frame.select(is_posed), poses[is_posed]
        drawn = [errors.draw(pose, np.delete(poses, i, axis=0), skeleton, random) for i, pose in enumerate(poses)]

        keypoints = np.array([own for own, _ in drawn]).reshape(poses.shape)
        scores = np.array([errors.draw_scores(mistakes, random) for _, mistakes in drawn]).reshape(poses.shape[:2])
        own = Frame(frame.image, skeleton, keypoints, scores, track_ids=people.track_ids, size=frame.size)
        return replace(own, folder=frame.folder, upright=frame.upright)

    estimates = {}
    for index, (name, clips) in enumerate(files.items()):
        random = generator(Purpose.VALIDATION_ESTIMATE, index)
        estimates[name] = [
            PoseSequence(clip.name, [estimate(frame, random) for frame in clip.frames]) for clip in clips
        ]
    return estimates

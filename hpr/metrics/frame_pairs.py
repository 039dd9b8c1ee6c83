"""Annotations and predictions side by side, paired by the rules of scoring."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.metrics.frames import paired_frames
from hpr.metrics.posetrack import FilesByName, NamedSequences, paired_sequences
from hpr.metrics.scoring import format_of_truth
from hpr.formats import Format
from hpr.formats.coco import Coco, Image, ids_by_name
from hpr.formats.fields import numbers
from hpr.poses import FloatArray, Frame


@dataclass(frozen=True)
class FramePairs:
    """Images that are annotated, with the predictions for them.

    Attributes:
        pairs: Truth and prediction of each image.
        warnings: What is odd about the files, or was left out.
    """

    pairs: list[tuple[Frame, Frame]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def frame_pairs(
    file_format: Format,
    annotations: str,
    predicted: NamedSequences,
    predictions: str,
    progress: Callable[[int], Any] = lambda files: None,
) -> FramePairs:
    """Reads annotations and pairs their images with predictions.

    As in scoring, PoseTrack's pair by the names of their files and then of their images, all others by the names of
    their images; an annotated image without a prediction is one where nobody was found.

    Args:
        file_format: Of the predictions; that of the annotations follows as in scoring.
        annotations: A file or folder.
        predicted: Files of predictions.
        predictions: What messages call these.
        progress: Called with the number of files done.

    Raises:
        UserError: A file is absent or broken, or nothing can be paired.
    """
    truth_format = format_of_truth(file_format, annotations)
    if truth_format.metric == "posetrack":
        return _by_file(FilesByName(truth_format, Path(annotations)), predicted, (annotations, predictions), progress)
    predicted_frames = []
    for sequences in predicted.values():
        predicted_frames += [frame for sequence in sequences for frame in sequence.frames]
        progress(1)
    return _by_image(_annotated(truth_format, Path(annotations)), predicted_frames, annotations)


def _by_file(
    truth: FilesByName, predicted: NamedSequences, origins: tuple[str, str], progress: Callable[[int], Any]
) -> FramePairs:
    """Pairs the files of annotations and predictions, which are called `origins` in messages."""
    names = sorted(truth.keys() & predicted.keys())
    if not names:
        expected = f"expected a file named like one of {origins[1]}, such as {min(predicted)}"
        raise UserError(f"{origins[0]}: {expected}, found none")
    found = FramePairs()
    for true_sequence, sequence in paired_sequences(names, truth, predicted, progress):
        try:
            pairs, odd = paired_frames(true_sequence, sequence)
        except UserError as error:
            found.warnings.append(f"{error}: this sequence is left out")
            continue
        found.pairs.extend((true, estimated) for true, estimated in pairs if len(true))  # others are not annotated
        found.warnings.extend(odd)
    if not found.pairs:
        raise UserError("; ".join(found.warnings) or f"{origins[0]}: expected annotated people, found none")
    for kind, left in (("prediction", truth.keys() - set(names)), ("truth", predicted.keys() - set(names))):
        if left:
            found.warnings.append(f"{len(left)} files have no {kind} and are left out, such as {min(left)}")
    return found


def _by_image(truth: Sequence[Frame], predicted: Sequence[Frame], annotations: str) -> FramePairs:
    """Pairs images by their names, without folder and ending where these differ."""
    places = ids_by_name(predicted, {place: Image(frame.image) for place, frame in enumerate(truth)})
    by_place = dict(zip(reversed(places), reversed(predicted), strict=True))  # the first of two counts
    if predicted and not set(by_place) - {None}:
        raise UserError(f"{annotations}: expected an image named like {predicted[0].image}, found none")
    pairs = [(f, by_place.get(place, Frame.empty(f.image, f.skeleton))) for place, f in enumerate(truth)]

    warnings = []
    if unknown := places.count(None):
        name = predicted[places.index(None)].image
        warnings.append(f"{unknown} images are not in {annotations} and are left out, such as {name}")
    absent = [frame.image for place, frame in enumerate(truth) if place not in by_place]
    if absent:
        many = f"{len(absent)} of {len(truth)} images of {annotations}"
        warnings.append(f"{many} have no prediction and count as without a person found, such as {absent[0]}")
    return FramePairs(pairs, warnings)


def _annotated(truth_format: Format, annotations: Path) -> list[Frame]:
    """Reads annotated images; in COCO's, crowds and people without keypoints make ignore regions."""
    if isinstance(truth_format, Coco):
        return [frame for path in truth_format.sources(annotations) for frame in _coco_frames(truth_format, path)]
    sequences = [sequence for path in truth_format.sources(annotations) for sequence in truth_format.read(path)]
    return [frame for sequence in sequences for frame in sequence.frames if len(frame)]


def _coco_frames(truth_format: Coco, path: Path) -> list[Frame]:
    """Reads the images of a file of COCO or CrowdPose."""
    everyone = truth_format.ground_truth(path)
    regions: dict[int | str, list[FloatArray]] = {image_id: [] for image_id in everyone.images}
    is_posed = np.asarray((everyone.triples[..., 2] > 0).any(axis=1)).tolist()
    for record, where, posed in zip(everyone.records, everyone.wheres, is_posed, strict=True):
        if not posed and record.get("bbox"):
            regions[record["image_id"]].append(_corners(numbers(record["bbox"], 4, f"{where}.bbox")))
    frames = truth_format.read(path)[0].frames
    return [replace(f, ignore_regions=tuple(own)) for f, own in zip(frames, regions.values(), strict=True)]


def _corners(box: FloatArray) -> FloatArray:
    """Returns the corners (4, 2) of a box (4,): x, y, width and height."""
    x, y, width, height = np.nan_to_num(box).tolist()
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])

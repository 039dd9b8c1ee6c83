"""PoseTrack 2018 and 2021 files: COCO-like, 17 keypoint triples per annotation (FORMATS.md)."""

from pathlib import Path
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.files import read_json, write_json
from hpr.formats.checks import CUTOFF, IDENTIFIER, expect, field, numbers
from hpr.poses import FloatArray, Frame, Person, Sequence
from hpr.skeleton import POSETRACK18_KEYPOINTS, POSETRACK18_SLOTS

_SLOTS = list(POSETRACK18_SLOTS)
_NUM_SLOTS = len(POSETRACK18_KEYPOINTS)


class PoseTrack18:
    """Reader and writer of PoseTrack 2018 files."""

    def read(self, path: Path) -> Sequence:
        """Reads a file of ground truth or predictions.

        Images come in the order of the file, each with its annotations in the order of the file.

        Raises:
            UserError: The file is absent, not JSON or not of this format.
        """
        document = expect(read_json(path), dict, str(path))
        _refuse_coco(document, path)
        frames: dict[Any, Frame] = {}
        for i, image in enumerate(field(document, "images", list, str(path))):
            where = f"{path}: images[{i}]"
            identifier = field(image, "id", IDENTIFIER, where)
            frames.setdefault(identifier, Frame(field(image, "file_name", str, where), []))
        for i, annotation in enumerate(field(document, "annotations", list, str(path))):
            where = f"{path}: annotations[{i}]"
            image_id = field(annotation, "image_id", IDENTIFIER, where)
            if image_id not in frames:
                raise UserError(f"{where}: image_id {image_id} is not among the file's images")
            joints, scores = _pose(annotation, where)
            frames[image_id].persons.append(Person(joints, scores, record=i))
        return Sequence(path.stem, list(frames.values()), document)

    def write(self, sequence: Sequence, path: Path) -> None:
        """Writes a sequence that `read` returned and whose poses may have changed since.

        A record whose pose has changed gets its 17 keypoint triples and scores written anew (missing
        joints and ears as zeros); every other record and field is carried over as it was.

        Raises:
            UserError: The file cannot be written.
        """
        annotations = list(sequence.document["annotations"])
        for person in sequence.persons():
            annotations[person.record] = _updated(annotations[person.record], person)
        write_json(path, {**sequence.document, "annotations": annotations})


def _refuse_coco(document: dict[str, Any], path: Path) -> None:
    """COCO's 17 keypoints have the same shape as PoseTrack's and another meaning."""
    for category in expect(document.get("categories") or [], list, f"{path}: categories"):
        names = category.get("keypoints") if isinstance(category, dict) else None
        if isinstance(names, list) and "left_eye" in names:
            raise UserError(f"{path}: expected PoseTrack's keypoints, found COCO's (left_eye in categories)")


def _pose(annotation: dict[str, Any], where: str) -> tuple[FloatArray, FloatArray]:
    """Returns joints (15, 2) and scores (15,) of an annotation, NaN where missing."""
    joints = np.full((len(_SLOTS), 2), np.nan)
    scores = np.full(len(_SLOTS), np.nan)
    if annotation.get("keypoints"):
        triples = numbers(annotation["keypoints"], 3 * _NUM_SLOTS, f"{where}.keypoints")
        triples = triples.reshape(_NUM_SLOTS, 3)[_SLOTS]  # (51,) -> (17, 3) -> (15, 3)
        # Some tools write the joint's score where the format has a flag: anything above zero counts.
        present = np.isfinite(triples).all(1) & (triples[:, 2] > 0) & (triples[:, :2] > CUTOFF).all(1)
        joints[present] = triples[present, :2]
    if annotation.get("scores"):
        scores = numbers(annotation["scores"], _NUM_SLOTS, f"{where}.scores")[_SLOTS]
    return joints, scores


def _updated(annotation: dict[str, Any], person: Person) -> dict[str, Any]:
    """Returns the annotation as it is, or with the person's pose if that differs."""
    joints, _ = _pose(annotation, "")
    if np.array_equal(joints, person.joints, equal_nan=True):
        return annotation
    keypoints: list[float] = [0] * (3 * _NUM_SLOTS)
    scores: list[float] = [0] * _NUM_SLOTS
    for joint in np.flatnonzero(person.present):
        slot = _SLOTS[joint]
        keypoints[3 * slot : 3 * slot + 3] = [*person.joints[joint].tolist(), 1]
        scores[slot] = 0 if np.isnan(person.scores[joint]) else float(person.scores[joint])
    has_scores = bool(annotation.get("scores"))
    return {**annotation, "keypoints": keypoints, **({"scores": scores} if has_scores else {})}

"""PoseTrack 2018 and 2021 files: COCO-like, 17 keypoint triples per annotation (FORMATS.md)."""

from pathlib import Path
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.files import read_json, write_json
from hpr.formats.checks import CUTOFF, IDENTIFIER, expect, field, numbers
from hpr.poses import FloatArray, Frame, Person, Sequence
from hpr.skeleton import JOINTS, POSETRACK18_KEYPOINTS


class PoseTrack18:
    """Reader and writer of PoseTrack 2018 files."""

    def read(self, path: Path, scoring: bool = False) -> Sequence:
        """Reads a file of ground truth or predictions.

        Images come in the order of the file, each with its annotations in the order of the file.

        Args:
            path: The file.
            scoring: Take for present what the PoseTrack evaluation does: every joint but one at (0, 0)
                with flag 0. A coordinate that is no number is then infinite: present, and never right.

        Raises:
            UserError: The file is absent, not JSON or not of this format.
        """
        document = expect(read_json(path), dict, str(path))
        slots = _Slots(document, path)
        frames: dict[Any, Frame] = {}
        for i, image in enumerate(field(document, "images", list, str(path))):
            where = f"{path}: images[{i}]"
            name = field(image, "file_name", str, where)
            frames.setdefault(field(image, "id", IDENTIFIER, where), Frame(name, [], _ignore_regions(image, where)))
        annotations = field(document, "annotations", list, str(path))
        joints, scores = slots.poses(annotations, f"{path}: annotations", scoring)
        for i, annotation in enumerate(annotations):
            where = f"{path}: annotations[{i}]"
            image_id = field(annotation, "image_id", IDENTIFIER, where)
            if image_id not in frames:
                raise UserError(f"{where}: image_id {image_id} is not among the file's images")
            track_id = expect(annotation.get("track_id"), (*IDENTIFIER, type(None)), f"{where}.track_id")
            person = Person(joints[i], scores[i], i, track_id, _head_box(annotation, where))
            frames[image_id].persons.append(person)
        return Sequence(path.stem, list(frames.values()), document)

    def write(self, sequence: Sequence, path: Path) -> None:
        """Writes a sequence that `read` returned and whose poses may have changed since.

        A record whose pose has changed gets all its keypoint triples and scores written anew (missing
        joints and ears as zeros); every other record and field is carried over as it was.

        Raises:
            UserError: The file cannot be written.
        """
        slots = _Slots(sequence.document, path)
        annotations = list(sequence.document["annotations"])
        for person in sequence.persons():
            annotations[person.record] = slots.updated(annotations[person.record], person)
        write_json(path, {**sequence.document, "annotations": annotations})


class _Slots:
    """Where a document keeps each joint: in PoseTrack's order, or in that which its category names."""

    def __init__(self, document: dict[str, Any], path: Path) -> None:
        names: tuple[str, ...] | list[str] = POSETRACK18_KEYPOINTS
        for category in expect(document.get("categories") or [], list, f"{path}: categories"):
            listed = category.get("keypoints") if isinstance(category, dict) else None
            if isinstance(listed, list) and "left_eye" in listed:
                raise UserError(f"{path}: expected PoseTrack's keypoints, found COCO's (left_eye in categories)")
            if isinstance(listed, list) and all(joint in listed for joint in JOINTS):
                names = listed
        self._count = len(names)
        self._slots = [names.index(joint) for joint in JOINTS]

    def poses(self, annotations: list[Any], where: str, scoring: bool = False) -> tuple[FloatArray, FloatArray]:
        """Returns joints (N, 15, 2) and scores (N, 15) of annotations, NaN where missing."""
        triples = np.zeros((len(annotations), 3 * self._count))
        scores = np.full((len(annotations), self._count), np.nan)
        for i, annotation in enumerate(annotations):
            expect(annotation, dict, f"{where}[{i}]")
            if annotation.get("keypoints"):
                triples[i] = numbers(annotation["keypoints"], 3 * self._count, f"{where}[{i}].keypoints")
            if annotation.get("scores"):
                scores[i] = numbers(annotation["scores"], self._count, f"{where}[{i}].scores")
        slots = triples.reshape(-1, self._count, 3)[:, self._slots]  # (N, 51) -> (N, 17, 3) -> (N, 15, 3)
        joints, flags = slots[..., :2], slots[..., 2]
        finite = np.isfinite(joints).all(axis=2)
        if scoring:
            present = (slots != 0).any(axis=2)
            joints[~finite] = np.inf
        else:
            # Some tools write the joint's score where the format has a flag: all above zero counts.
            present = finite & (flags > 0) & (joints > CUTOFF).all(axis=2)
        joints[~present] = np.nan
        return joints, scores[:, self._slots]

    def updated(self, annotation: dict[str, Any], person: Person) -> dict[str, Any]:
        """Returns the annotation as it is, or with the person's pose if that differs."""
        joints = self.poses([annotation], "")[0][0]
        if np.array_equal(joints, person.joints, equal_nan=True):
            return annotation
        keypoints: list[float] = [0] * (3 * self._count)
        scores: list[float] = [0] * self._count
        for joint in np.flatnonzero(person.present):
            slot = self._slots[joint]
            keypoints[3 * slot : 3 * slot + 3] = [*person.joints[joint].tolist(), 1]
            scores[slot] = 0 if np.isnan(person.scores[joint]) else float(person.scores[joint])
        has_scores = bool(annotation.get("scores"))
        return {**annotation, "keypoints": keypoints, **({"scores": scores} if has_scores else {})}


def _ignore_regions(image: dict[str, Any], where: str) -> tuple[FloatArray, ...]:
    """Returns the image's polygons, which the file keeps as a list of x and a list of y for each."""
    columns, rows = (
        expect(image.get(f"ignore_regions_{axis}") or [], list, f"{where}.ignore_regions_{axis}") for axis in "xy"
    )
    if len(columns) != len(rows):
        raise UserError(f"{where}: expected as many ignore_regions_x as _y, found {len(columns)} and {len(rows)}")
    regions = []
    for x, y in zip(columns, rows, strict=True):
        length = len(expect(x, list, f"{where}.ignore_regions_x"))
        regions.append(np.stack([numbers(values, length, f"{where}.ignore_regions") for values in (x, y)], axis=1))
    return tuple(regions)


def _head_box(annotation: dict[str, Any], where: str) -> FloatArray | None:
    """Returns the head's corners (4,), which the file keeps as x, y, width and height."""
    if annotation.get("bbox_head") is None:
        return None
    x, y, width, height = numbers(annotation["bbox_head"], 4, f"{where}.bbox_head")
    return np.array([x, y, x + width, y + height])

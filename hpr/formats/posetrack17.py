"""PoseTrack 2017 files: `annolist` of images, every scalar a list of one (FORMATS.md)."""

from pathlib import Path
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.files import read_json, write_json
from hpr.formats.checks import CUTOFF, expect, field, summary
from hpr.poses import FloatArray, Frame, Person, Sequence
from hpr.skeleton import NUM_JOINTS


class PoseTrack17:
    """Reader and writer of PoseTrack 2017 files."""

    def read(self, path: Path) -> Sequence:
        """Reads a file of ground truth or predictions.

        An image's path is the last three parts of the name in the file (REFERENCE.md, section 4).

        Raises:
            UserError: The file is absent, not JSON or not of this format.
        """
        document = expect(read_json(path), dict, str(path))
        frames = []
        for i, entry in enumerate(field(document, "annolist", list, str(path))):
            where = f"{path}: annolist[{i}]"
            name = _image_name(expect(entry, dict, where), where)
            persons = [
                Person(*_pose(record, f"{where}.annorect[{j}]"), record=j)
                for j, record in enumerate(expect(entry.get("annorect") or [], list, f"{where}.annorect"))
            ]
            frames.append(Frame("/".join(name.split("/")[-3:]), persons))
        return Sequence(path.stem, frames, document)

    def write(self, sequence: Sequence, path: Path) -> None:
        """Writes a sequence that `read` returned and whose poses may have changed since.

        A record whose pose has changed gets its points written anew, with score 0 where the file held
        no such point; a record that holds no joint in the file is removed, as in the published code;
        everything else is carried over as it was.

        Raises:
            UserError: The file cannot be written.
        """
        annolist = []
        for entry, frame in zip(sequence.document["annolist"], sequence.frames, strict=True):
            records = [_updated(entry["annorect"][person.record], person) for person in frame.persons]
            kept = [record for record in records if record is not None]
            annolist.append({**entry, "annorect": kept} if "annorect" in entry else entry)
        write_json(path, {**sequence.document, "annolist": annolist})


def _image_name(entry: dict[str, Any], where: str) -> str:
    """Returns the image's name: a text, or a list of one object with a name."""
    image = entry.get("image")
    if isinstance(image, list) and image and isinstance(image[0], dict):
        image = image[0].get("name")
    if not isinstance(image, str):
        raise UserError(f"{where}.image: expected a name or a list with a name, found {summary(entry.get('image'))}")
    return image


def _points(record: dict[str, Any]) -> list[Any]:
    """Returns the record's points; none where the record has no `annopoints`."""
    annopoints = record.get("annopoints")
    if isinstance(annopoints, list):
        annopoints = annopoints[0] if annopoints else None
    return (annopoints or {}).get("point") or []


def _scalar(point: dict[str, Any], key: str) -> float:
    """Returns a point's field, which is a list of one number; NaN where it is absent or empty."""
    value = point.get(key)
    if isinstance(value, list):
        value = value[0] if value else None
    return np.nan if value is None else float(value)


def _pose(record: Any, where: str) -> tuple[FloatArray, FloatArray]:
    """Returns joints (15, 2) and scores (15,) of a person, NaN where missing."""
    joints = np.full((NUM_JOINTS, 2), np.nan)
    scores = np.full(NUM_JOINTS, np.nan)
    try:
        for point in _points(record):
            joint, xy = _scalar(point, "id"), [_scalar(point, "x"), _scalar(point, "y")]
            if joint not in range(NUM_JOINTS):
                continue
            scores[int(joint)] = _scalar(point, "score")
            if np.isfinite(xy).all() and min(xy) > CUTOFF:
                joints[int(joint)] = xy
    except (AttributeError, TypeError, ValueError, KeyError):
        raise UserError(
            f"{where}: expected annopoints[0].point[] of id, x, y and score, each a list of one number"
        ) from None
    return joints, scores


def _updated(record: dict[str, Any], person: Person) -> dict[str, Any] | None:
    """Returns the record as it is, with the person's pose if that differs, or None if it held no joint."""
    joints, _ = _pose(record, "")
    if np.isnan(joints).all():
        return None
    if np.array_equal(joints, person.joints, equal_nan=True):
        return record
    points = [
        {
            "id": [int(joint)],
            "x": [float(person.joints[joint, 0])],
            "y": [float(person.joints[joint, 1])],
            "score": [0 if np.isnan(person.scores[joint]) else float(person.scores[joint])],
        }
        for joint in np.flatnonzero(person.present)
    ]
    annopoints = record["annopoints"]
    first = {**(annopoints[0] if isinstance(annopoints, list) else annopoints), "point": points}
    return {**record, "annopoints": [first, *annopoints[1:]] if isinstance(annopoints, list) else first}

"""PoseTrack 2017 files: `annolist` of images, every scalar a list of one (FORMATS.md)."""

from pathlib import Path
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.files import read_json, write_json
from hpr.formats.checks import CUTOFF, IDENTIFIER, expect, field, numbers, summary
from hpr.poses import FloatArray, Frame, Person, Sequence
from hpr.skeleton import NUM_JOINTS


class PoseTrack17:
    """Reader and writer of PoseTrack 2017 files."""

    def read(self, path: Path, scoring: bool = False) -> Sequence:
        """Reads a file of ground truth or predictions.

        An image's path is the last three parts of the name in the file (REFERENCE.md, section 4).

        Args:
            path: The file.
            scoring: Take for present what the PoseTrack evaluation does: every point in the file, and
                everyone who has a list of points. A coordinate that is no number is then infinite:
                present, and never right.

        Raises:
            UserError: The file is absent, not JSON or not of this format.
        """
        document = expect(read_json(path), dict, str(path))
        frames = []
        for i, entry in enumerate(field(document, "annolist", list, str(path))):
            where = f"{path}: annolist[{i}]"
            name = _image_name(expect(entry, dict, where), where)
            records = expect(entry.get("annorect") or [], list, f"{where}.annorect")
            persons = [_person(record, j, f"{where}.annorect[{j}]", scoring) for j, record in enumerate(records)]
            posed = [person for person in persons if person is not None]
            regions = _ignore_regions(entry, f"{where}.ignore_regions")
            frames.append(Frame("/".join(name.split("/")[-3:]), posed, regions, len(persons) - len(posed)))
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


def _person(record: Any, place: int, where: str, scoring: bool) -> Person | None:
    """Returns a person; None where one without a list of points is not to be scored."""
    expect(record, dict, where)
    points = _points(record, where)
    if scoring and points is None:
        return None
    joints, scores = _pose(points or [], where, scoring)
    track_id = expect(_first(record.get("track_id")), (*IDENTIFIER, type(None)), f"{where}.track_id")
    box = [_first(record.get(key)) for key in ("x1", "y1", "x2", "y2")]
    head_box = None if None in box else numbers(box, 4, f"{where}: head box")
    return Person(joints, scores, place, track_id, head_box)


def _points(record: dict[str, Any], where: str) -> list[Any] | None:
    """Returns the record's points; None where it has no list of them."""
    annopoints = _first(record.get("annopoints"))
    if annopoints is None or annopoints == {}:
        return None
    points = expect(annopoints, dict, f"{where}.annopoints").get("point")
    return None if points is None else expect(points, list, f"{where}.annopoints[0].point")


def _first(value: Any) -> Any:
    """Returns a field, which this format wraps into a list of one; None where it is absent or empty."""
    return (value[0] if value else None) if isinstance(value, list) else value


def _pose(points: list[Any], where: str, scoring: bool = False) -> tuple[FloatArray, FloatArray]:
    """Returns joints (15, 2) and scores (15,) of a person, NaN where missing."""
    joints = np.full((NUM_JOINTS, 2), np.nan)
    scores = np.full(NUM_JOINTS, np.nan)
    places, values = [], []
    for point in reversed(points) if scoring else points:  # of two with one id the evaluation takes the first
        joint = _first(expect(point, dict, f"{where}: point").get("id"))
        if joint in range(NUM_JOINTS):
            places.append(int(joint))
            values += [_first(point.get(key)) for key in ("x", "y", "score")]
    table = numbers(values, len(values), f"{where}: x, y and score of the points").reshape(-1, 3)  # (points, 3)
    finite = np.isfinite(table[:, :2]).all(axis=1)
    table[~finite, :2] = np.inf
    present = np.ones(len(table), bool) if scoring else finite & (table[:, :2] > CUTOFF).all(axis=1)
    scores[places] = table[:, 2]
    joints[np.array(places, int)[present]] = table[present, :2]
    return joints, scores


def _ignore_regions(entry: dict[str, Any], where: str) -> tuple[FloatArray, ...]:
    """Returns the image's polygons, each (n, 2)."""
    regions = []
    for region in expect(entry.get("ignore_regions") or [], list, where):
        points = field(region, "point", list, where)
        corners = [[_first(expect(point, dict, where).get(axis)) for axis in "xy"] for point in points]
        regions.append(
            numbers([value for corner in corners for value in corner], 2 * len(corners), where).reshape(-1, 2)
        )
    return tuple(regions)


def _updated(record: dict[str, Any], person: Person) -> dict[str, Any] | None:
    """Returns the record as it is, with the person's pose if that differs, or None if it held no joint."""
    joints, _ = _pose(_points(record, "") or [], "")
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

"""PoseTrack 2017 files: `annolist` of images, every scalar a list of one (docs/formats.md, section 3)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.files import read_json, write_json
from hpr.formats.base import Format
from hpr.formats.fields import IDENTIFIER, expect, field, numbers, plain, summary
from hpr.poses import NO_RECORD, FloatArray, Frame, PoseSequence
from hpr.skeleton import POSETRACK15

_KEYPOINTS = len(POSETRACK15)


@dataclass(frozen=True)
class _Original:
    """A parsed file: its document, and its frames as they were read."""

    document: dict[str, Any]
    frames: list[Frame]


class PoseTrack17(Format):
    """Reader and writer of PoseTrack 2017 files, one sequence each."""

    name = "posetrack17"
    looks_like = "JSON with annolist"
    removes_unposed = True
    skeletons = (POSETRACK15,)
    metric = "posetrack"

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        """See `Format`."""
        return isinstance(document, dict) and "annolist" in document

    def read(self, path: Path) -> list[PoseSequence]:
        """See `Format`. Images are named by the last three parts of the name in the file (docs/published.md, 4)."""
        document = expect(read_json(path), dict, str(path))
        frames = []
        for i, entry in enumerate(field(document, "annolist", list, str(path))):
            frames.append(_frame(expect(entry, dict, f"{path}: annolist[{i}]"), f"{path}: annolist[{i}]"))
        return [PoseSequence(path.stem, frames, _Original(document, frames))]

    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        """See `Format`. A pose that has changed gets its points written anew, with score 0 where it has none."""
        (sequence,) = sequences
        if isinstance(sequence.original, _Original):
            write_json(path, _onto(sequence.original, sequence), indent=4)  # indented as the published code does
        else:
            write_json(path, {"annolist": [_entry(frame) for frame in sequence.frames]})


def _frame(entry: dict[str, Any], where: str) -> Frame:
    """Returns an image and its people."""
    name = _image_name(entry, where)
    records = expect(entry.get("annorect") or [], list, f"{where}.annorect")
    wheres = [f"{where}.annorect[{i}]" for i in range(len(records))]
    points = [_points(expect(r, dict, place), place) for r, place in zip(records, wheres, strict=True)]
    poses = np.array([_pose(p or [], place) for p, place in zip(points, wheres, strict=True)])
    poses = poses.reshape(-1, _KEYPOINTS, 3)
    track_ids = [
        expect(_first(record.get("track_id")), (*IDENTIFIER, type(None)), f"{place}.track_id")
        for record, place in zip(records, wheres, strict=True)
    ]
    head_boxes = [_head_box(record, place) for record, place in zip(records, wheres, strict=True)]
    return Frame(
        "/".join(name.split("/")[-3:]),
        POSETRACK15,
        poses[..., :2],
        poses[..., 2],
        head_boxes=np.array(head_boxes).reshape(-1, 4),
        track_ids=tuple(track_ids),
        posed=np.array([person is not None for person in points], bool),
        records=np.arange(len(records)),
        ignore_regions=_ignore_regions(entry, f"{where}.ignore_regions"),
    )


def _image_name(entry: dict[str, Any], where: str) -> str:
    """Returns the image's name: a text, or a list of one object with a name."""
    image = entry.get("image")
    if isinstance(image, list) and image and isinstance(image[0], dict):
        image = image[0].get("name")
    if not isinstance(image, str):
        raise UserError(f"{where}.image: expected a name or a list with a name, found {summary(entry.get('image'))}")
    return image


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


def _pose(points: list[Any], where: str) -> FloatArray:
    """Returns x, y and score of a person's keypoints, (15, 3); of two points with one id, the first."""
    places, values = [], []
    for point in points:
        keypoint = _first(expect(point, dict, f"{where}: point").get("id"))
        if keypoint in range(_KEYPOINTS) and int(keypoint) not in places:
            places.append(int(keypoint))
            values += [_first(point.get(key)) for key in ("x", "y", "score")]
    table = numbers(values, len(values), f"{where}: x, y and score of the points").reshape(-1, 3)  # (points, 3)
    table[~np.isfinite(table[:, :2]).all(axis=1), :2] = np.inf
    pose = np.full((_KEYPOINTS, 3), np.nan)
    pose[places] = table
    return pose


def _head_box(record: dict[str, Any], where: str) -> FloatArray:
    """Returns the corners (4,) of a head; NaN if the file has none."""
    box = [_first(record.get(key)) for key in ("x1", "y1", "x2", "y2")]
    return np.full(4, np.nan) if None in box else numbers(box, 4, f"{where}: head box")


def _ignore_regions(entry: dict[str, Any], where: str) -> tuple[FloatArray, ...]:
    """Returns the image's polygons, each (n, 2)."""
    regions = []
    for region in expect(entry.get("ignore_regions") or [], list, where):
        points = field(region, "point", list, where)
        values = [_first(expect(point, dict, where).get(axis)) for point in points for axis in "xy"]
        regions.append(numbers(values, 2 * len(points), where).reshape(-1, 2))  # (2 * n,) -> (n, 2)
    return tuple(regions)


def _onto(original: _Original, sequence: PoseSequence) -> dict[str, Any]:
    """Returns the original document with the poses of the sequence."""
    annolist = []
    for entry, before, frame in zip(original.document["annolist"], original.frames, sequence.frames, strict=True):
        records = [
            _record(frame, person)
            if record == NO_RECORD
            else _updated(entry["annorect"][record], before, frame, person)
            for person, record in enumerate(frame.records.tolist())
        ]
        annolist.append({**entry, "annorect": records} if records or entry.get("annorect") else entry)
    return {**original.document, "annolist": annolist}


def _updated(record: dict[str, Any], before: Frame, frame: Frame, person: int) -> dict[str, Any]:
    """Returns a record as it is, or with the person's pose if that differs."""
    place = int(frame.records[person])
    pairs = ((before.keypoints, frame.keypoints), (before.scores, frame.scores), (before.flags, frame.flags))
    if all(np.array_equal(old[place], new[person], equal_nan=True) for old, new in pairs):
        return record
    annopoints = record.get("annopoints") or [{}]
    scored = replace(frame, scores=np.nan_to_num(frame.scores))
    first = {**(_first(annopoints) or {}), "point": _new_points(scored, person)}
    return {**record, "annopoints": [first, *annopoints[1:]] if isinstance(annopoints, list) else first}


def _new_points(frame: Frame, person: int) -> list[dict[str, Any]]:
    """Returns the points of a pose, every scalar in a list; without a score where there is none."""
    keypoints = frame.skeleton.convert(frame.keypoints[[person]], POSETRACK15)[0]
    scores = frame.skeleton.convert(frame.scores[[person]], POSETRACK15)[0]
    points = []
    for keypoint in np.flatnonzero(np.isfinite(keypoints).all(axis=-1)).tolist():
        x, y = keypoints[keypoint].tolist()
        score = {} if np.isnan(scores[keypoint]) else {"score": [float(scores[keypoint])]}
        points.append({"id": [keypoint], "x": [x], "y": [y], **score})
    return points


def _entry(frame: Frame) -> dict[str, Any]:
    """Returns the record of an image that was not read from a file of this format."""
    regions = [{"point": [{"x": [x], "y": [y]} for x, y in plain(region)]} for region in frame.ignore_regions]
    records = [_record(frame, person) for person in range(len(frame))]
    return {"image": [{"name": frame.image}], "ignore_regions": regions, "annorect": records}


def _record(frame: Frame, person: int) -> dict[str, Any]:
    """Returns the record of a person who was not read from a file of this format."""
    record: dict[str, Any] = {}
    if frame.posed[person]:
        record["annopoints"] = [{"point": _new_points(frame, person)}]
    if frame.track_ids[person] is not None:
        record["track_id"] = [frame.track_ids[person]]
    if np.isfinite(frame.head_boxes[person]).all():
        corners = zip(("x1", "y1", "x2", "y2"), plain(frame.head_boxes[person]), strict=True)
        record |= {key: [value] for key, value in corners}
    return record

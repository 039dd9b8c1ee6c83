"""PoseTrack 2017 files: `annolist` of images, every scalar a list of one (docs/notes/formats.md, 3)."""

from pathlib import Path
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.formats import fields
from hpr.formats.records import ImageEntry, Original, Record, RecordFormat, gather_records
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.skeleton import POSETRACK15


class PoseTrack17(RecordFormat):
    """Reader and writer of PoseTrack 2017 files, one sequence each.

    A pose that has changed gets its points written anew, with score 0 where it has none.
    """

    name = "posetrack17"
    looks_like = "JSON with annolist"
    removes_unposed = True
    skeletons = (POSETRACK15,)
    metric = "posetrack"
    track_key = "track_id"
    indent = 4  # as the published code does

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        return isinstance(document, dict) and "annolist" in document

    def _parse(self, document: Any, path: Path) -> Original:
        """See `RecordFormat`. Images have the last three parts of the name in the file (docs/published.md, 4)."""
        images, lists, places = [], [], []
        for i, entry in enumerate(fields.field(document, "annolist", list, str(path))):
            where = f"{path}: annolist[{i}]"
            name = _image_name(fields.expect(entry, dict, where), where)
            regions = _ignore_regions(entry, f"{where}.ignore_regions")
            images.append(ImageEntry("/".join(name.split("/")[-3:]), ignore_regions=regions))
            places.append(f"{where}.annorect")
            lists.append(fields.expect(entry.get("annorect") or [], list, places[-1]))

        records, wheres, indices = gather_records(lists, places)
        pairs = list(zip(records, wheres, strict=True))
        points = [_points(record, where) for record, where in pairs]
        poses = [_pose(own or [], where) for own, where in zip(points, wheres, strict=True)]
        triples = np.array(poses).reshape(-1, len(POSETRACK15), 3)  # also without people
        arrays = {
            "scores": triples[..., 2],
            "head_boxes": np.array([_head_box(record, where) for record, where in pairs]).reshape(-1, 4),
            "posed": np.array([own is not None for own in points], bool),
        }
        return Original(
            images, indices, records, self._people(records, wheres, POSETRACK15, triples[..., :2], **arrays)
        )

    def _updated_record(self, record: Record, people: Frame, person: int, original: Original) -> Record:
        points = _new_points(people.keypoints[person], np.nan_to_num(people.scores[person]))
        annopoints = record.get("annopoints") or [{}]
        first = {**(_first(annopoints) or {}), "point": points}
        return {**record, "annopoints": [first, *annopoints[1:]] if isinstance(annopoints, list) else first}

    def _new_record(self, people: Frame, person: int, original: Original) -> Record:
        record: Record = {}
        if people.posed[person]:
            record["annopoints"] = [{"point": _new_points(people.keypoints[person], people.scores[person])}]
        if people.track_ids[person] is not None:
            record["track_id"] = [people.track_ids[person]]
        if np.isfinite(people.head_boxes[person]).all():
            values = fields.plain(people.head_boxes[person])
            record |= {key: [value] for key, value in zip(fields.CORNERS, values, strict=True)}
        return record

    def _document(self, records: list[Record], by_frame: list[list[Record]], original: Original) -> Any:
        annolist = []
        for entry, own in zip(original.document["annolist"], by_frame, strict=True):
            annolist.append({**entry, "annorect": own} if own or entry.get("annorect") else entry)
        return {**original.document, "annolist": annolist}

    def _new_document(self, sequence: PoseSequence) -> Any:
        annolist = []
        for frame in sequence.frames:
            polygons = [fields.plain(region) for region in frame.ignore_regions]
            regions = [{"point": [{"x": [x], "y": [y]} for x, y in polygon]} for polygon in polygons]
            annolist.append({"image": [{"name": frame.image}], "ignore_regions": regions, "annorect": []})
        return {"annolist": annolist}


def _image_name(entry: dict[str, Any], where: str) -> str:
    """Returns the image's name: a text, or a list of one object with a name."""
    image = entry.get("image")
    if isinstance(image, list) and image and isinstance(image[0], dict):
        image = image[0].get("name")
    if not isinstance(image, str):
        found = fields.summary(entry.get("image"))
        raise UserError(f"{where}.image: expected a name or a list with a name, found {found}")
    return image


def _first(value: Any) -> Any:
    """Returns a field, which this format wraps into a list of one; None where it is absent or empty."""
    return (value[0] if value else None) if isinstance(value, list) else value


def _points(record: dict[str, Any], where: str) -> list[Any] | None:
    """Returns the record's points; None where it has no list of them."""
    annopoints = _first(record.get("annopoints"))
    if annopoints is None or annopoints == {}:
        return None
    points = fields.expect(annopoints, dict, f"{where}.annopoints").get("point")
    return None if points is None else fields.expect(points, list, f"{where}.annopoints[0].point")


def _pose(points: list[Any], where: str) -> FloatArray:
    """Returns x, y and score of a person's keypoints, (15, 3); of two points with one id, the first."""
    indices, values = [], []
    for point in points:
        keypoint = _first(fields.expect(point, dict, f"{where}: point").get("id"))
        if keypoint in range(len(POSETRACK15)) and int(keypoint) not in indices:
            indices.append(int(keypoint))
            values += [_first(point.get(key)) for key in ("x", "y", "score")]

    table = fields.numbers(values, len(values), f"{where}: x, y and score of the points").reshape(-1, 3)  # (points, 3)
    table[~np.isfinite(table[:, :2]).all(axis=1), :2] = np.inf
    pose = np.full((len(POSETRACK15), 3), np.nan)
    pose[indices] = table
    return pose


def _head_box(record: dict[str, Any], where: str) -> FloatArray:
    """Returns the corners (4,) of a head; NaN if the file has none."""
    box = [_first(record.get(key)) for key in fields.CORNERS]
    return np.full(4, np.nan) if None in box else fields.numbers(box, 4, f"{where}: head box")


def _ignore_regions(entry: dict[str, Any], where: str) -> tuple[FloatArray, ...]:
    """Returns the image's polygons, each (n, 2)."""
    regions = []
    for region in fields.expect(entry.get("ignore_regions") or [], list, where):
        points = fields.field(region, "point", list, where)
        values = [_first(fields.expect(point, dict, where).get(axis)) for point in points for axis in "xy"]
        regions.append(fields.numbers(values, 2 * len(points), where).reshape(-1, 2))  # (2 * n,) -> (n, 2)
    return tuple(regions)


def _new_points(keypoints: FloatArray, scores: FloatArray) -> list[dict[str, Any]]:
    """Returns the points of keypoints (15, 2), every scalar in a list; without a score where it is NaN."""
    points = []
    for keypoint in np.flatnonzero(np.isfinite(keypoints).all(axis=-1)).tolist():
        x, y = keypoints[keypoint].tolist()
        score = {} if np.isnan(scores[keypoint]) else {"score": [float(scores[keypoint])]}
        points.append({"id": [keypoint], "x": [x], "y": [y], **score})
    return points

"""Ultralytics' results as JSON, saved as one file for each image (docs/formats.md)."""

from pathlib import Path
from typing import Any

import numpy as np

from hpr.formats import fields
from hpr.formats.frame_files import FrameFiles, Scale, first_with_people, written_pose
from hpr.formats.records import ImageEntry, Original, Record, gather_records
from hpr.poses import Frame
from hpr.skeleton import COCO17

_SHAPE = (len(COCO17),)
_CORNERS = ("x1", "y1", "x2", "y2")


class Ultralytics(FrameFiles):
    """Reader and writer of what `Results.to_json()` returns."""

    name = "ultralytics"
    looks_like = "a folder of JSON lists of people with box and keypoints x, y and visible, one for each image"
    skeletons = (COCO17,)
    metric = "oks"
    relative_hint = ", as to_json(normalize=True) writes them"
    score_key = "confidence"
    track_key = "track_id"

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        """See `Format`. A list without people is recognised by the files beside it."""
        document = first_with_people(path, document)
        first = document[0] if isinstance(document, list) and document else None
        if not (isinstance(first, dict) and isinstance(first.get("box"), dict)):
            return False
        keypoints = first.get("keypoints")
        return isinstance(keypoints, dict) and {"x", "y"} <= keypoints.keys()

    def _parse_files(self, paths: list[Path], contents: list[Any]) -> Original:
        listed = [fields.expect(content, list, str(path)) for path, content in zip(paths, contents, strict=True)]
        records, wheres, indices = gather_records(listed, (f"{path}: " for path in paths))
        for record, where in zip(records, wheres, strict=True):
            fields.expect(record, dict, where)

        posed = np.array([record.get("keypoints") is not None for record in records], bool)
        no_pose = {"x": [0] * len(COCO17), "y": [0] * len(COCO17)}
        places = [f"{where}.keypoints" for where in wheres]
        poses = [fields.expect(r.get("keypoints") or no_pose, dict, p) for r, p in zip(records, places, strict=True)]
        axes = [fields.number_table(fields.column(poses, places, a, list), _SHAPE, places, a) for a in "xy"]
        coordinates = np.stack(axes, axis=-1)  # (P, 17, 2)

        boxes = [record.get("box") for record in records]
        arrays = {
            "scores": fields.optional_table(poses, places, "visible", _SHAPE),
            "posed": posed,
            "boxes": fields.boxes([b.get(key) for key in _CORNERS] if isinstance(b, dict) else None for b in boxes),
        }
        keypoints = fields.keypoints_of(coordinates, fields.is_zero(coordinates))
        images = [ImageEntry(path.name.removesuffix(self.ending)) for path in paths]
        return Original(images, indices, records, self._people(records, wheres, COCO17, keypoints, **arrays))

    def _scale(self, people: Frame) -> Scale | None:
        """See `FrameFiles`. Coordinates are relative if all are between 0 and 1, also those of the boxes."""
        coordinates = np.concatenate([people.keypoints.reshape(-1), people.boxes.reshape(-1)])
        finite = coordinates[np.isfinite(coordinates)]
        if len(finite) == 0 or finite.min() < 0 or finite.max() > 1:
            return None
        return Scale()

    def _updated_record(self, record: Record, people: Frame, person: int, original: Original, index: int) -> Record:
        return {**record, "keypoints": {**(record.get("keypoints") or {}), **_pose(people, person)}}

    def _new_record(self, people: Frame, person: int, original: Original) -> Record:
        record = {"name": "person", "class": 0, **fields.optional_fields(people, person, score="confidence")}
        if np.isfinite(people.boxes[person]).all():
            record["box"] = dict(zip(_CORNERS, fields.plain(people.boxes[person]), strict=True))
        record |= fields.optional_fields(people, person, track_id="track_id")
        return {**record, "keypoints": _pose(people, person)}

    def _with_records(self, content: Any, records: list[Record]) -> Any:
        return records


def _pose(people: Frame, person: int) -> dict[str, list[float]]:
    """Returns a person's keypoints as records have them."""
    keypoints, scores, _ = written_pose(people, person)
    pose = {"x": fields.plain(keypoints[:, 0]), "y": fields.plain(keypoints[:, 1])}
    return pose if np.isnan(people.scores[person]).all() else {**pose, "visible": fields.plain(scores)}

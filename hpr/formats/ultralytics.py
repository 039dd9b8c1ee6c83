"""Ultralytics' results as JSON, a file for each image (docs/notes/formats.md, 7.2)."""

from pathlib import Path
from typing import Any

import numpy as np

from hpr.formats import fields
from hpr.formats.frame_files import FrameFiles, Scale, first_record, written_pose
from hpr.formats.records import ImageEntry, Original, Record, gather_records
from hpr.poses import Frame
from hpr.skeleton import COCO17


class Ultralytics(FrameFiles):
    """Reader and writer of what `Results.to_json()` returns."""

    name = "ultralytics"
    looks_like = "a folder of JSON lists of people with box and keypoints x, y and visible, one for each image"
    skeletons = (COCO17,)
    takes_skeleton = True
    metric = "oks"
    relative_hint = ", as to_json(normalize=True) writes them"
    score_key = "confidence"
    track_key = "track_id"

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        """See `Format`. A list without people is recognised by the files beside it."""
        first = first_record(path, document)
        box, keypoints = first.get("box", {}), first.get("keypoints")
        return isinstance(box, dict) and isinstance(keypoints, dict) and {"x", "y"} <= keypoints.keys()

    def _parse_files(self, paths: list[Path], contents: list[Any]) -> Original:
        listed = [fields.expect(content, list, str(path)) for path, content in zip(paths, contents, strict=True)]
        records, wheres, indices = gather_records(listed, [f"{path}: " for path in paths])

        places = [f"{where}.keypoints" for where in wheres]
        given = [fields.expect(r.get("keypoints") or {}, dict, p) for r, p in zip(records, places, strict=True)]
        first = next((i for i, pose in enumerate(given) if pose), None)
        skeleton = self.skeleton or COCO17
        if first is not None:
            x = fields.field(given[first], "x", list, places[first])
            skeleton = fields.counted_skeleton(len(x), self.skeletons, self.skeleton, f"{places[first]}.x")
        count = len(skeleton)
        poses = [pose or {axis: [0] * count for axis in "xy"} for pose in given]
        axes = [fields.number_table(fields.column(poses, places, a, list), (count,), places, a) for a in "xy"]
        coordinates = np.stack(axes, axis=-1)  # (P, K, 2)

        boxes = [record.get("box") for record in records]
        arrays = {
            "scores": fields.optional_table(poses, places, "visible", (count,)),
            "posed": np.array([record.get("keypoints") is not None for record in records], bool),
            "boxes": fields.boxes(
                [b.get(key) for key in fields.CORNERS] if isinstance(b, dict) else None for b in boxes
            ),
        }
        keypoints = fields.keypoints_of(coordinates, fields.is_zero(coordinates))
        images = [ImageEntry(path.name.removesuffix(self.ending)) for path in paths]
        people = self._people(records, wheres, skeleton, keypoints, **arrays)
        return Original(images, indices, records, people, is_counted=True)

    def _scale(self, people: Frame) -> Scale | None:
        """See `FrameFiles`. Coordinates are relative if all are between 0 and 1, also those of the boxes."""
        coordinates = np.concatenate([people.keypoints.reshape(-1), people.boxes.reshape(-1)])
        finite = coordinates[np.isfinite(coordinates)]
        return Scale() if len(finite) and finite.min() >= 0 and finite.max() <= 1 else None

    def _updated_record(self, record: Record, people: Frame, person: int, original: Original) -> Record:
        return {**record, "keypoints": {**(record.get("keypoints") or {}), **_json_pose(people, person)}}

    def _new_record(self, people: Frame, person: int, original: Original) -> Record:
        record = {"name": "person", "class": 0, **fields.optional_fields(people, person, score="confidence")}
        if np.isfinite(people.boxes[person]).all():
            record["box"] = dict(zip(fields.CORNERS, fields.plain(people.boxes[person]), strict=True))
        record |= fields.optional_fields(people, person, track_id="track_id")
        return {**record, "keypoints": _json_pose(people, person)}

    def _with_records(self, content: Any, records: list[Record]) -> Any:
        return records


def _json_pose(people: Frame, person: int) -> dict[str, list[float]]:
    """Returns a person's keypoints as records have them."""
    keypoints, scores, _ = written_pose(people, person)
    pose = {"x": fields.plain(keypoints[:, 0]), "y": fields.plain(keypoints[:, 1])}
    return pose if np.isnan(people.scores[person]).all() else {**pose, "visible": fields.plain(scores)}

"""Ultralytics' results as JSON, saved as one file for each image (docs/formats.md)."""

from pathlib import Path
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.formats.fields import expect, field, keypoints_of, number_table, numbers, optional_number, plain, track_id
from hpr.formats.frame_files import FrameFiles, Scale, first_with_people, written_pose
from hpr.formats.records import ImageEntry, Original, Parsed, Record, gather_records
from hpr.poses import BoolArray, FloatArray, Frame
from hpr.skeleton import COCO17

_KEYPOINTS = len(COCO17)
_CORNERS = ("x1", "y1", "x2", "y2")


class Ultralytics(FrameFiles):
    """Reader and writer of what `Results.to_json()` returns.

    Attributes:
        images: Where the images are, whose sizes are needed for what was saved with `normalize=True`; None if the user
            does not say.
    """

    name = "ultralytics"
    looks_like = "a folder of JSON lists of people with box and keypoints x, y and visible, one for each image"
    skeletons = (COCO17,)
    metric = "oks"
    reads_beside = ("images",)
    is_folder = True
    score_key = "confidence"

    def __init__(self, images: str | None = None) -> None:
        self.images = images

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        """See `Format`. A list without people is recognised by the files beside it."""
        document = first_with_people(path, document)
        first = document[0] if isinstance(document, list) and document else None
        if not (isinstance(first, dict) and isinstance(first.get("box"), dict)):
            return False
        keypoints = first.get("keypoints")
        return isinstance(keypoints, dict) and {"x", "y"} <= keypoints.keys()

    def _parse_files(self, paths: list[Path], contents: list[Any]) -> Parsed:
        listed = [expect(content, list, str(path)) for path, content in zip(paths, contents, strict=True)]
        records, wheres, image_indices = gather_records(listed, (f"{path}: " for path in paths))
        pairs = list(zip(records, wheres, strict=True))

        posed = np.array([expect(record, dict, where).get("keypoints") is not None for record, where in pairs], bool)
        keypoints, scores = _poses(pairs, posed)
        confidences = [optional_number(record.get("confidence"), f"{where}.confidence") for record, where in pairs]
        people = Frame(
            "",
            COCO17,
            keypoints,
            scores,
            boxes=np.array([_box(record, where) for record, where in pairs]).reshape(-1, 4),
            track_ids=tuple(track_id(record.get("track_id"), f"{where}.track_id") for record, where in pairs),
            posed=posed,
            records=np.arange(len(records)),
            person_scores=np.array(confidences, np.float64),
        )
        images = [ImageEntry(path.name.removesuffix(self.ending)) for path in paths]
        return Parsed(images, image_indices, Original(self.name, contents, records, people))

    def _scale(self, people: Frame, path: Path) -> Scale | None:
        """See `FrameFiles`. Coordinates are relative if all are between 0 and 1, also those of the boxes."""
        coordinates = np.concatenate([people.keypoints.reshape(-1), people.boxes.reshape(-1)])
        finite = coordinates[np.isfinite(coordinates)]
        if len(finite) == 0 or finite.min() < 0 or finite.max() > 1:
            return None
        if self.images is None:
            raise UserError(
                f"{path}: expected pixels, found all coordinates between 0 and 1, as to_json(normalize=True) writes "
                "them; save them without normalize, or set dataset.images"
            )
        return Scale()

    def _updated_record(self, record: Record, people: Frame, person: int, original: Original, index: int) -> Record:
        return {**record, "keypoints": {**(record.get("keypoints") or {}), **_pose(people, person)}}

    def _new_record(self, people: Frame, person: int, original: Original | None) -> Record:
        record: dict[str, Any] = {"name": "person", "class": 0}
        score = float(people.person_scores[person])
        if np.isfinite(score):
            record["confidence"] = score
        if np.isfinite(people.boxes[person]).all():
            record["box"] = dict(zip(_CORNERS, plain(people.boxes[person]), strict=True))
        if people.track_ids[person] is not None:
            record["track_id"] = people.track_ids[person]
        return {**record, "keypoints": _pose(people, person)}

    def _with_records(self, content: Any, records: list[Record]) -> Any:
        return records


def _poses(pairs: list[tuple[Record, str]], posed: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Returns keypoints (P, 17, 2) and scores (P, 17) of people as in `Frame`.

    Args:
        pairs: Each person, and where it is.
        posed: (P,) whether the person has keypoints.
    """
    rows = np.flatnonzero(posed).tolist()
    poses = [field(pairs[row][0], "keypoints", dict, pairs[row][1]) for row in rows]
    wheres = [f"{pairs[row][1]}.keypoints" for row in rows]
    axes = []
    for axis in "xy":
        lists = [field(pose, axis, list, where) for pose, where in zip(poses, wheres, strict=True)]
        axes.append(number_table(lists, (_KEYPOINTS,), lambda i, axis=axis: f"{wheres[i]}.{axis}"))
    coordinates = np.stack(axes, axis=-1)  # (posed, 17, 2)
    keypoints = np.full((len(pairs), _KEYPOINTS, 2), np.nan)
    keypoints[rows] = keypoints_of(coordinates, np.asarray((coordinates == 0).all(axis=-1)))

    scored = [i for i, pose in enumerate(poses) if pose.get("visible") is not None]
    lists = [poses[i]["visible"] for i in scored]
    scores = np.full((len(pairs), _KEYPOINTS), np.nan)
    scores[[rows[i] for i in scored]] = number_table(lists, (_KEYPOINTS,), lambda i: f"{wheres[scored[i]]}.visible")
    return keypoints, scores


def _box(record: dict[str, Any], where: str) -> FloatArray:
    """Returns the corners (4,) of a person's box; NaN if there is none."""
    box = record.get("box")
    if box is None:
        return np.full(4, np.nan)
    corners = expect(box, dict, f"{where}.box")
    return numbers([corners.get(key) for key in _CORNERS], 4, f"{where}.box")


def _pose(people: Frame, person: int) -> dict[str, list[float]]:
    """Returns a person's keypoints as records have them."""
    keypoints, scores, _ = written_pose(people, person)
    pose = {"x": plain(keypoints[:, 0]), "y": plain(keypoints[:, 1])}
    return pose if np.isnan(people.scores[person]).all() else {**pose, "visible": plain(scores)}

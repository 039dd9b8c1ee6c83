"""OpenPose's files: `NAME_keypoints.json` for each image, as `--write_json` writes them (docs/formats.md)."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.formats.fields import IDENTIFIER, expect, field, plain, summary
from hpr.formats.frame_files import (
    FrameFiles,
    Record,
    Scale,
    gathered,
    number_table,
    parts,
    placed,
    video_numbers,
    written_pose,
)
from hpr.poses import FloatArray, Frame, TrackId
from hpr.skeleton import BODY25, OPENPOSE18, Skeleton

_ENDING = "_keypoints"
_VIDEO_FRAME = re.compile(r"(?P<video>.*)_(?P<number>\d{12})", re.DOTALL)
_POSE = "pose_keypoints_2d"
_UNUSED = (
    *("face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d"),
    *("pose_keypoints_3d", "face_keypoints_3d", "hand_left_keypoints_3d", "hand_right_keypoints_3d"),
)
_NOBODY = -1


class OpenPose(FrameFiles):
    """Reader and writer of folders of OpenPose's files.

    Attributes:
        images: Where the images are, whose sizes are needed for what OpenPose wrote with `--keypoint_scale` 3 or 4;
            None if the user does not say.
    """

    name = "openpose"
    looks_like = "a folder of JSON files with people of pose_keypoints_2d, one for each image"
    skeletons = (BODY25, OPENPOSE18)
    metric = "oks"
    reads_beside = ("images",)
    is_folder = True

    def __init__(self, images: str | None = None) -> None:
        self.images = images

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        """See `Format`."""
        people = document.get("people") if isinstance(document, dict) else None
        return isinstance(people, list) and all(isinstance(person, dict) and _POSE in person for person in people)

    def _frames(self, paths: list[Path], contents: list[Any]) -> list[Frame]:
        listed = [field(content, "people", list, str(path)) for path, content in zip(paths, contents, strict=True)]
        people, wheres = gathered(listed, (f"{path}: people" for path in paths))
        lists = [field(person, _POSE, list, where) for person, where in zip(people, wheres, strict=True)]
        posed = np.array([bool(values) for values in lists], bool)
        skeleton = _skeleton(lists, wheres)
        table = _table(lists, posed, skeleton, wheres)
        track_ids = [_track_id(person, where) for person, where in zip(people, wheres, strict=True)]

        names = [path.name.removesuffix(self.ending).removesuffix(_ENDING) for path in paths]
        numbers: Sequence[int | None] = video_numbers(names, _VIDEO_FRAME) or [None] * len(names)
        missing = (table == 0).all(axis=-1) | ~posed[:, None]
        keypoints = placed(table[..., :2], missing)
        scores = np.where(missing, np.nan, table[..., 2])
        return [
            Frame(
                name,
                skeleton,
                keypoints[part],
                scores[part],
                track_ids=tuple(track_ids[part]),
                posed=posed[part],
                records=np.arange(part.stop - part.start),
                number=number,
            )
            for name, number, part in zip(names, numbers, parts(map(len, listed)), strict=True)
        ]

    def _scale(self, frames: list[Frame], path: Path) -> Scale | None:
        """See `FrameFiles`. Coordinates are relative if they are all between -1 and 1."""
        lowest, highest = _range(frames)
        if lowest < -1 or highest > 1 or lowest > highest:
            return None
        if self.images is None:
            raise UserError(
                f"{path}: expected pixels, found all coordinates between -1 and 1, as --keypoint_scale 3 and 4 write "
                "them; run OpenPose without --keypoint_scale, or set dataset.images"
            )
        return Scale(low=-1.0 if lowest < 0 else 0.0, inset=1)

    def _records(self, content: Any) -> list[Record]:
        return list(content["people"])

    def _with_records(self, content: Any, records: list[Record]) -> Any:
        return {**({"version": 1.3} if content is None else content), "people": records}

    def _record(self, frame: Frame, person: int, former: Record | None) -> Record:
        keypoints, scores, there = written_pose(frame, person)
        pose = plain(np.column_stack([keypoints, scores * there]).reshape(-1))  # (K, 3) -> (3 * K,)
        if former is not None:
            return {**former, _POSE: pose}
        track_id = frame.track_ids[person]
        return {"person_id": [_NOBODY if track_id is None else track_id], _POSE: pose, **{key: [] for key in _UNUSED}}

    def _file_name(self, image: str) -> str:
        return f"{image}{_ENDING}{self.ending}"


def _skeleton(lists: list[Any], wheres: list[str]) -> Skeleton:
    """Returns the skeleton of a source, by the length of its first pose; BODY25 if there is none."""
    for values, where in zip(lists, wheres, strict=True):
        for skeleton in OpenPose.skeletons:
            if len(values) == 3 * len(skeleton):
                return skeleton
        if values:
            expected = "75 numbers (BODY_25) or 54 (COCO)"
            raise UserError(f"{where}.{_POSE}: expected {expected}, found {summary(values)}")
    return BODY25


def _table(lists: list[Any], posed: Any, skeleton: Skeleton, wheres: list[str]) -> FloatArray:
    """Returns x, y and score of all people's keypoints, (M, K, 3); 0 for people without a list of them."""
    length = 3 * len(skeleton)
    rows = np.flatnonzero(posed).tolist()
    for row in rows:
        if len(lists[row]) != length:
            others = f"{length} numbers as in the files before"
            advice = "keep the poses of each model in a folder of their own"
            raise UserError(f"{wheres[row]}.{_POSE}: expected {others}, found {summary(lists[row])}; {advice}")
    table = np.zeros((len(lists), length))
    table[rows] = number_table([lists[row] for row in rows], length, lambda i: f"{wheres[rows[i]]}.{_POSE}")
    return table.reshape(-1, len(skeleton), 3)  # (M, 3 * K) -> (M, K, 3)


def _track_id(person: dict[str, Any], where: str) -> TrackId:
    """Returns who a person is; None without tracking, where OpenPose writes -1 in a list."""
    value = person.get("person_id")
    if isinstance(value, list):
        value = value[0] if value else None
    if value is None or value == _NOBODY:
        return None
    found: TrackId = expect(value, IDENTIFIER, f"{where}.person_id")
    return found


def _range(frames: list[Frame]) -> tuple[float, float]:
    """Returns the lowest and the highest coordinate of all keypoints that are there."""
    lowest, highest = np.inf, -np.inf
    for frame in frames:
        coordinates = frame.keypoints[np.isfinite(frame.keypoints)]
        if len(coordinates):
            lowest, highest = min(lowest, coordinates.min()), max(highest, coordinates.max())
    return float(lowest), float(highest)

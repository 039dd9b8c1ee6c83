"""OpenPose's files: `NAME_keypoints.json` for each image, as `--write_json` writes them (docs/notes/formats.md)."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hpr.formats import fields
from hpr.formats.frame_files import FrameFiles, Scale, video_numbers, written_pose
from hpr.formats.records import ImageEntry, Original, Record, gather_records
from hpr.poses import Frame
from hpr.skeleton import BODY25, COCO17, HALPE26, HALPE136, MPI15, OPENPOSE18, WHOLEBODY133

_VIDEO_FRAME = re.compile(r"(?P<video>.*)_(?P<number>\d{12})", re.DOTALL)
_POSE, _OLD_POSE = "pose_keypoints_2d", "pose_keypoints"  # the latter until version 1.2
_UNUSED = (
    *("face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d"),
    *("pose_keypoints_3d", "face_keypoints_3d", "hand_left_keypoints_3d", "hand_right_keypoints_3d"),
)
_NOBODY = -1  # track id of people who are not tracked


class OpenPose(FrameFiles):
    """Reader and writer of folders of OpenPose's files."""

    name = "openpose"
    looks_like = "a folder of JSON files with people of pose_keypoints_2d, one for each image"
    skeletons = (BODY25, OPENPOSE18, MPI15, COCO17, HALPE26, WHOLEBODY133, HALPE136)
    takes_skeleton = True
    metric = "oks"
    name_ending = "_keypoints"
    relative_hint = ", as --keypoint_scale 3 and 4 write them"
    track_key = "person_id"

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        """See `Format`. Also a list of what is else in a file each, as ComfyUI's nodes write it."""
        frames = document[:1] if isinstance(document, list) else [document]
        lists = [frame.get("people") if isinstance(frame, dict) else None for frame in frames]
        is_list = bool(lists) and all(isinstance(people, list) for people in lists)
        return is_list and all(isinstance(p, dict) and (_POSE in p or _OLD_POSE in p) for p in lists[0] or [])

    def _has_frames(self, content: Any, path: Path) -> bool:
        return isinstance(content, list)

    def _parse_files(self, paths: list[Path], contents: list[Any]) -> Original:
        listed = fields.column(contents, map(str, paths), "people", list)
        records, wheres, indices = gather_records(listed, [f"{path}: people" for path in paths])
        is_old = any(_OLD_POSE in record for record in records) and not any(_POSE in record for record in records)
        key = _OLD_POSE if is_old else _POSE
        posed = np.array([bool(values) for values in fields.column(records, wheres, key, list)], bool)
        keypoints, scores, skeleton = fields.read_triples(records, wheres, key, self.skeletons, self.skeleton)
        people = self._people(records, wheres, skeleton, keypoints, scores=scores, posed=posed)
        track_ids = tuple(None if known_id == _NOBODY else known_id for known_id in people.track_ids)

        names = [path.name.removesuffix(self.ending).removesuffix(self.name_ending) for path in paths]
        numbers: Sequence[int | None] = video_numbers(names, _VIDEO_FRAME) or [None] * len(names)
        if paths and paths[0].parent.is_file():  # the frames of a list
            numbers = range(len(paths))
        sizes = [fields.image_size(content, "canvas_") for content in contents]
        images = [ImageEntry(*entry) for entry in zip(names, sizes, numbers, strict=True)]
        return Original(images, indices, records, replace(people, track_ids=track_ids), is_counted=True)

    def _scale(self, people: Frame) -> Scale | None:
        """See `FrameFiles`. Coordinates are relative if they are all between -1 and 1."""
        coordinates = people.keypoints[np.isfinite(people.keypoints)]
        if len(coordinates) == 0 or coordinates.min() < -1 or coordinates.max() > 1:
            return None
        return Scale(low=-1.0 if coordinates.min() < 0 else 0.0, inset=1)

    def _updated_record(self, record: Record, people: Frame, person: int, original: Original) -> Record:
        return {**record, _OLD_POSE if _POSE not in record else _POSE: _pose(people, person)}

    def _new_record(self, people: Frame, person: int, original: Original) -> Record:
        known_id = people.track_ids[person]
        person_id = [_NOBODY if known_id is None else known_id]
        return {"person_id": person_id, _POSE: _pose(people, person), **{key: [] for key in _UNUSED}}

    def _with_records(self, content: Any, records: list[Record]) -> Any:
        return {**({"version": 1.3} if content is None else content), "people": records}


def _pose(people: Frame, person: int) -> list[float]:
    """Returns x, y and score of a person's keypoints, as files have them."""
    keypoints, scores, is_there = written_pose(people, person)
    return fields.plain(np.column_stack([keypoints, scores * is_there]).reshape(-1))  # (K, 3) -> (3 * K,)

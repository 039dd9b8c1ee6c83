"""OpenPose's files: `NAME_keypoints.json` for each image, as `--write_json` writes them (docs/formats.md)."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.formats.fields import field, keypoints_of, number_table, plain, summary, track_id
from hpr.formats.frame_files import FrameFiles, Scale, image_entries, video_numbers, written_pose
from hpr.formats.records import Original, Parsed, Record, gather_records
from hpr.poses import BoolArray, FloatArray, Frame, TrackId
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

    def _parse_files(self, paths: list[Path], contents: list[Any]) -> Parsed:
        listed = [field(content, "people", list, str(path)) for path, content in zip(paths, contents, strict=True)]
        records, wheres, image_indices = gather_records(listed, (f"{path}: people" for path in paths))
        pairs = list(zip(records, wheres, strict=True))

        lists = [field(record, _POSE, list, where) for record, where in pairs]
        posed = np.array([bool(values) for values in lists], bool)
        skeleton = _skeleton(lists, wheres)
        table = _read_triples(lists, posed, skeleton, wheres)
        is_missing = np.asarray((table == 0).all(axis=-1)) | ~posed[:, None]
        people = Frame(
            "",
            skeleton,
            keypoints_of(table[..., :2], is_missing),
            np.where(is_missing, np.nan, table[..., 2]),
            track_ids=tuple(_track_id(record, where) for record, where in pairs),
            posed=posed,
            records=np.arange(len(records)),
        )

        names = [path.name.removesuffix(self.ending).removesuffix(_ENDING) for path in paths]
        numbers: Sequence[int | None] = video_numbers(names, _VIDEO_FRAME) or [None] * len(names)
        return Parsed(image_entries(names, numbers), image_indices, Original(self.name, contents, records, people))

    def _scale(self, people: Frame, path: Path) -> Scale | None:
        """See `FrameFiles`. Coordinates are relative if they are all between -1 and 1."""
        coordinates = people.keypoints[np.isfinite(people.keypoints)]
        if len(coordinates) == 0 or coordinates.min() < -1 or coordinates.max() > 1:
            return None
        if self.images is None:
            raise UserError(
                f"{path}: expected pixels, found all coordinates between -1 and 1, as --keypoint_scale 3 and 4 write "
                "them; run OpenPose without --keypoint_scale, or set dataset.images"
            )
        return Scale(low=-1.0 if coordinates.min() < 0 else 0.0, inset=1)

    def _updated_record(self, record: Record, people: Frame, person: int, original: Original, index: int) -> Record:
        return {**record, _POSE: _pose(people, person)}

    def _new_record(self, people: Frame, person: int, original: Original | None) -> Record:
        known_id = people.track_ids[person]
        person_id = [_NOBODY if known_id is None else known_id]
        return {"person_id": person_id, _POSE: _pose(people, person), **{key: [] for key in _UNUSED}}

    def _with_records(self, content: Any, records: list[Record]) -> Any:
        return {**({"version": 1.3} if content is None else content), "people": records}

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


def _read_triples(lists: list[Any], posed: BoolArray, skeleton: Skeleton, wheres: list[str]) -> FloatArray:
    """Returns x, y and score of all people's keypoints, (P, K, 3); 0 for people without a list of them."""
    length = 3 * len(skeleton)
    rows = np.flatnonzero(posed).tolist()
    for row in rows:
        if len(lists[row]) != length:
            others = f"{length} numbers as in the files before"
            advice = "keep the poses of each model in a folder of their own"
            raise UserError(f"{wheres[row]}.{_POSE}: expected {others}, found {summary(lists[row])}; {advice}")

    table = np.zeros((len(lists), length))
    table[rows] = number_table([lists[row] for row in rows], (length,), lambda i: f"{wheres[rows[i]]}.{_POSE}")
    return table.reshape(-1, len(skeleton), 3)  # (P, 3 * K) -> (P, K, 3)


def _track_id(record: dict[str, Any], where: str) -> TrackId:
    """Returns who a person is; None without tracking, where OpenPose writes -1 in a list."""
    value = record.get("person_id")
    if isinstance(value, list):
        value = value[0] if value else None
    return None if value == _NOBODY else track_id(value, f"{where}.person_id")


def _pose(people: Frame, person: int) -> list[float]:
    """Returns x, y and score of a person's keypoints, as files have them."""
    keypoints, scores, is_there = written_pose(people, person)
    return plain(np.column_stack([keypoints, scores * is_there]).reshape(-1))  # (K, 3) -> (3 * K,)

"""Ultralytics' results as JSON, and its labels as text; a file for each image (docs/formats.md)."""

import re
from dataclasses import dataclass
from dataclasses import field as attribute
from pathlib import Path
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.files import read_bytes
from hpr.formats.fields import IDENTIFIER, expect, field, numbers, plain, summary
from hpr.formats.frame_files import (
    FrameFiles,
    Record,
    Scale,
    first_with_people,
    gathered,
    number_table,
    optional_number,
    parts,
    placed,
    video_numbers,
    written_pose,
)
from hpr.poses import BoolArray, FloatArray, Frame, TrackId
from hpr.skeleton import COCO17

_KEYPOINTS = len(COCO17)
_CORNERS = ("x1", "y1", "x2", "y2")
_NORMALISED = Scale()


class Ultralytics(FrameFiles):
    """Reader and writer of what `Results.to_json()` returns, saved as one file for each image.

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

    def _frames(self, paths: list[Path], contents: list[Any]) -> list[Frame]:
        listed = [expect(content, list, str(path)) for path, content in zip(paths, contents, strict=True)]
        people, wheres = gathered(listed, (f"{path}: " for path in paths))
        pairs = list(zip(people, wheres, strict=True))
        posed = np.array([expect(person, dict, where).get("keypoints") is not None for person, where in pairs], bool)
        keypoints, scores = _poses(pairs, posed)
        boxes = np.array([_box(person, where) for person, where in pairs]).reshape(-1, 4)
        track_ids = [_track_id(person, where) for person, where in pairs]
        confidences = [optional_number(person.get("confidence"), f"{where}.confidence") for person, where in pairs]
        person_scores = np.array(confidences, np.float64)
        return [
            Frame(
                path.name.removesuffix(self.ending),
                COCO17,
                keypoints[part],
                scores[part],
                boxes=boxes[part],
                track_ids=tuple(track_ids[part]),
                posed=posed[part],
                records=np.arange(part.stop - part.start),
                person_scores=person_scores[part],
            )
            for path, part in zip(paths, parts(map(len, listed)), strict=True)
        ]

    def _scale(self, frames: list[Frame], path: Path) -> Scale | None:
        """See `FrameFiles`. Coordinates are relative if all are between 0 and 1, also those of the boxes."""
        arrays = [array for frame in frames for array in (frame.keypoints, frame.boxes)]
        coordinates = np.concatenate([np.ravel(array) for array in arrays]) if arrays else np.empty(0)
        finite = coordinates[np.isfinite(coordinates)]
        if len(finite) == 0 or finite.min() < 0 or finite.max() > 1:
            return None
        if self.images is None:
            raise UserError(
                f"{path}: expected pixels, found all coordinates between 0 and 1, as to_json(normalize=True) writes "
                "them; save them without normalize, or set dataset.images"
            )
        return _NORMALISED

    def _records(self, content: Any) -> list[Record]:
        return list(content)

    def _with_records(self, content: Any, records: list[Record]) -> Any:
        del content
        return records

    def _record(self, frame: Frame, person: int, former: Record | None) -> Record:
        keypoints, scores, _ = written_pose(frame, person)
        pose: dict[str, Any] = {"x": plain(keypoints[:, 0]), "y": plain(keypoints[:, 1])}
        if not np.isnan(frame.scores[person]).all():
            pose["visible"] = plain(scores)
        score = float(frame.person_scores[person])
        if former is not None:
            is_rescored = np.isfinite(score) and score != former.get("confidence")
            own = {**former, "confidence": score} if is_rescored else former
            return {**own, "keypoints": {**(former.get("keypoints") or {}), **pose}}

        record: dict[str, Any] = {"name": "person", "class": 0}
        if np.isfinite(score):
            record["confidence"] = score
        if np.isfinite(frame.boxes[person]).all():
            record["box"] = dict(zip(_CORNERS, plain(frame.boxes[person]), strict=True))
        if frame.track_ids[person] is not None:
            record["track_id"] = frame.track_ids[person]
        return {**record, "keypoints": pose}


def _poses(pairs: list[tuple[Any, str]], posed: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Returns keypoints (M, 17, 2) and scores (M, 17) of people as in `Frame`.

    Args:
        pairs: Each person, and where it is.
        posed: (M,) whether the person has keypoints.
    """
    rows = np.flatnonzero(posed).tolist()
    poses = [field(pairs[row][0], "keypoints", dict, pairs[row][1]) for row in rows]
    wheres = [f"{pairs[row][1]}.keypoints" for row in rows]
    axes = []
    for axis in "xy":
        lists = [field(pose, axis, list, where) for pose, where in zip(poses, wheres, strict=True)]
        axes.append(_table(lists, axis, wheres))
    coordinates = np.stack(axes, axis=-1)  # (posed, 17, 2)

    scored = [i for i, pose in enumerate(poses) if pose.get("visible") is not None]
    visible = _table([poses[i]["visible"] for i in scored], "visible", [wheres[i] for i in scored])
    keypoints = np.full((len(pairs), _KEYPOINTS, 2), np.nan)
    keypoints[rows] = placed(coordinates, (coordinates == 0).all(axis=-1))
    scores = np.full((len(pairs), _KEYPOINTS), np.nan)
    scores[[rows[i] for i in scored]] = visible
    return keypoints, scores


def _table(lists: list[Any], key: str, wheres: list[str]) -> FloatArray:
    """Returns a number for each keypoint of each person, (M, 17)."""
    return number_table(lists, _KEYPOINTS, lambda row: f"{wheres[row]}.{key}")


def _box(person: dict[str, Any], where: str) -> FloatArray:
    """Returns the corners (4,) of a person's box; NaN if there is none."""
    box = person.get("box")
    if box is None:
        return np.full(4, np.nan)
    corners = expect(box, dict, f"{where}.box")
    return numbers([corners.get(key) for key in _CORNERS], 4, f"{where}.box")


def _track_id(person: dict[str, Any], where: str) -> TrackId:
    """Returns who a person is; None without tracking."""
    found: TrackId = expect(person.get("track_id"), (*IDENTIFIER, type(None)), f"{where}.track_id")
    return found


_BOX_END = 5  # class, and the box's centre and size
_LENGTHS = {_BOX_END + dims * _KEYPOINTS + rest: dims for dims in (2, 3) for rest in (0, 1, 2)}
_EXPECTED = "class, box and 17 keypoints of 2 or 3 numbers, then at most a confidence and a track id"
_VIDEO_FRAME = re.compile(r"(?P<video>.*)_(?P<number>0|[1-9]\d{0,8})", re.DOTALL)


@dataclass(frozen=True)
class _Labels:
    """The lines of a file that are about a person, each with its line break, and where they are, counted from 1."""

    text: str
    lines: list[str]
    places: list[int]


@dataclass(frozen=True)
class _Table:
    """The numbers of all M people of a source.

    Attributes:
        boxes: (M, 4) centre, width and height.
        keypoints: (M, 17, 3) x, y and visibility; NaN for the visibility of keypoints of 2 numbers.
        ends: What stands after the keypoints.
    """

    boxes: FloatArray
    keypoints: FloatArray
    ends: list[list[str]] = attribute(default_factory=list)


class UltralyticsLabels(FrameFiles):
    """Reader and writer of folders of labels, of a data set or as `save_txt=True` writes them.

    Attributes:
        images: Where the images are, whose sizes are needed; None if the user does not say.
    """

    name = "ultralytics_labels"
    looks_like = "a folder of .txt files with class, box and 17 keypoints in each line, one for each image"
    skeletons = (COCO17,)
    metric = "oks"
    reads_beside = ("images",)
    is_folder = True
    ending = ".txt"
    scale_from_scratch = _NORMALISED

    def __init__(self, images: str | None = None) -> None:
        self.images = images

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        """See `Format`. A file without people is recognised by the files beside it."""
        del document
        if path.suffix != UltralyticsLabels.ending:
            return False
        for file in (path, *sorted(path.parent.glob(f"*{UltralyticsLabels.ending}"))):
            try:
                lines = _lines(file).lines
            except UserError:
                return False
            if lines:
                return len(lines[0].split()) in _LENGTHS
        return False

    def _load(self, path: Path) -> Any:
        return _lines(path)

    def _encoded(self, content: Any) -> bytes:
        return str(content.text).encode()

    def _frames(self, paths: list[Path], contents: list[Any]) -> list[Frame]:
        lines, wheres = [], []
        for path, content in zip(paths, contents, strict=True):
            lines += content.lines
            wheres += [f"{path}: line {place}" for place in content.places]
        table = _parsed(lines, wheres)
        confidences, track_ids = _confidences_and_ids(table.ends, wheres)

        keypoints, scores, flags = _meaning(table.keypoints)
        half = table.boxes[:, 2:] / 2
        boxes = np.concatenate([table.boxes[:, :2] - half, table.boxes[:, :2] + half], axis=1)

        names = [path.name.removesuffix(self.ending) for path in paths]
        places = _video_places(names)
        return [
            Frame(
                name,
                COCO17,
                keypoints[part],
                scores[part],
                flags[part],
                boxes[part],
                track_ids=tuple(track_ids[part]),
                records=np.arange(part.stop - part.start),
                person_scores=confidences[part],
                number=place,
            )
            for name, place, part in zip(names, places, parts(len(content.lines) for content in contents), strict=True)
        ]

    def _scale(self, frames: list[Frame], path: Path) -> Scale | None:
        """See `FrameFiles`. Labels are always relative."""
        del frames, path
        return _NORMALISED

    def _records(self, content: Any) -> list[Record]:
        return list(content.lines)

    def _with_records(self, content: Any, records: list[Record]) -> Any:
        if content is not None and records == content.lines:
            return content
        ended = [line if line.endswith(("\n", "\r")) else f"{line}\n" for line in records]
        return _Labels("".join(ended), ended, [])

    def _record(self, frame: Frame, person: int, former: Record | None) -> Record:
        if former is None:
            start, dims, end = _new_start(frame, person), 3, _new_end(frame, person)
        else:
            words = former.split()
            dims = _LENGTHS[len(words)]
            start, end = words[:_BOX_END], words[_BOX_END + dims * _KEYPOINTS :]
        values = _pose(frame, person)[:, :dims].reshape(-1)  # (17, 3) -> (17 * dims,)
        return " ".join([*start, *map(_word, values.tolist()), *end]) + "\n"


def _lines(path: Path) -> _Labels:
    """Returns the lines of a file."""
    try:
        text = read_bytes(path).decode()
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text; repair or remove the file") from None
    lines = text.splitlines(keepends=True)
    places = [place for place, line in enumerate(lines, 1) if line.split()]
    return _Labels(text, [lines[place - 1] for place in places], places)


def _parsed(lines: list[str], wheres: list[str]) -> _Table:
    """Returns the numbers of all lines of a source."""
    boxes, keypoints, ends = np.empty((len(lines), 4)), np.full((len(lines), _KEYPOINTS, 3), np.nan), []
    rows: dict[int, list[int]] = {2: [], 3: []}
    poses: dict[int, list[list[float]]] = {2: [], 3: []}
    for row, (line, where) in enumerate(zip(lines, wheres, strict=True)):
        words = line.split()
        dims = _LENGTHS.get(len(words))
        if dims is None:
            lengths = "39 to 41 or 56 to 58 numbers"
            raise UserError(f"{where}: expected {lengths} ({_EXPECTED}), found {len(words)}")
        end = _BOX_END + dims * _KEYPOINTS
        values = _numbers(words, where)
        boxes[row] = values[1:_BOX_END]
        rows[dims].append(row)
        poses[dims].append(values[_BOX_END:end])
        ends.append(words[end:])
    for dims, own in rows.items():
        keypoints[own, :, :dims] = np.array(poses[dims]).reshape(-1, _KEYPOINTS, dims)  # (M, 17 * dims)
    return _Table(boxes, keypoints, ends)


def _numbers(words: list[str], where: str) -> list[float]:
    """Returns the numbers of a line."""
    try:
        return [float(word) for word in words]
    except ValueError:
        raise UserError(f"{where}: expected numbers, found {summary(_odd(words))}") from None


def _odd(words: list[str]) -> str:
    """Returns the first word that is no number."""
    for word in words:
        try:
            float(word)
        except ValueError:
            return word
    return ""


def _meaning(table: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Returns keypoints (M, 17, 2), scores (M, 17) and flags (M, 17) as in `Frame`, of x, y and visibility.

    In a data set, visibility is 0, 1 or 2. Otherwise it is the network's confidence.
    """
    keypoints, visibility = table[..., :2], table[..., 2]
    is_absent = np.isnan(visibility)
    is_data_set = bool((np.isin(visibility, (0, 1, 2)) | is_absent).all())
    missing = (keypoints == 0).all(axis=-1)
    if not is_data_set:
        return placed(keypoints, missing), visibility, (~missing).astype(np.float64)
    missing &= is_absent | (visibility == 0)
    flags = np.where(is_absent, ~missing, visibility)
    return placed(keypoints, missing), np.full(visibility.shape, np.nan), flags


def _confidences_and_ids(ends: list[list[str]], wheres: list[str]) -> tuple[FloatArray, list[TrackId]]:
    """Returns the people's confidences (M,) and track ids, NaN and None where there are none.

    A single number at the end of a line is a track id if all such numbers of the source are written as whole ones, and
    a confidence otherwise.
    """
    are_ids = all(re.fullmatch(r"-?\d+", end[0]) for end in ends if len(end) == 1)
    confidences: FloatArray = np.full(len(ends), np.nan)
    track_ids: list[TrackId] = []
    for row, (end, where) in enumerate(zip(ends, wheres, strict=True)):
        has_id = len(end) == 2 or (len(end) == 1 and are_ids)
        if len(end) > has_id:
            confidences[row] = float(end[0])
        track_ids.append(_whole(end[-1], where) if has_id else None)
    return confidences, track_ids


def _whole(word: str, where: str) -> int:
    """Returns a track id."""
    if not re.fullmatch(r"-?\d{1,18}", word):
        raise UserError(f"{where}: expected a whole number as track id at its end, found {summary(word)}")
    return int(word)


def _video_places(names: list[str]) -> list[int | None]:
    """Returns the places from 0 of a video's frames.

    Names of a video's frames count from 1, those of a camera's from 0 (Ultralytics' engine/predictor.py and
    data/loaders.py).
    """
    counted = video_numbers(names, _VIDEO_FRAME)
    if counted is None:
        return [None] * len(names)
    first = 0 if 0 in counted else 1
    return [number - first for number in counted]


def _pose(frame: Frame, person: int) -> FloatArray:
    """Returns x, y and visibility of a person's keypoints, (17, 3): scores, or flags where there are no scores."""
    keypoints, scores, there = written_pose(frame, person)
    has_scores = not np.isnan(frame.scores[person]).all()
    visibility = scores if has_scores else np.where(there, frame.flags[person], 0.0)
    return np.column_stack([keypoints, visibility])


def _word(value: float) -> str:
    """Returns a number as text; a ten-millionth of an image is less than any network knows of a keypoint."""
    return f"{value:.9g}"


def _new_start(frame: Frame, person: int) -> list[str]:
    """Returns class and box of a new line; the box is that of the keypoints where the person has none."""
    box = frame.boxes[person]
    if not np.isfinite(box).all():
        there = frame.keypoints[person][np.isfinite(frame.keypoints[person]).all(axis=-1)]
        box = np.concatenate([there.min(axis=0), there.max(axis=0)]) if len(there) else np.zeros(4)
    centre_and_size = [*((box[:2] + box[2:]) / 2).tolist(), *(box[2:] - box[:2]).tolist()]
    return ["0", *map(_word, centre_and_size)]


def _new_end(frame: Frame, person: int) -> list[str]:
    """Returns the confidence and the track id of a new line, as far as it has them; an id has to be a whole number."""
    score, track_id = float(frame.person_scores[person]), frame.track_ids[person]
    confidence = [repr(score)] if np.isfinite(score) else []
    return [*confidence, *([str(track_id)] if isinstance(track_id, int) else [])]

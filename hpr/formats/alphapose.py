"""AlphaPose's results: one list of people for all images (AlphaPose's alphapose/utils/pPose_nms.py, write_json)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.files import read_json, write_json
from hpr.formats.base import Format
from hpr.formats.fields import expect, field, numbers, plain, sides, summary
from hpr.poses import NO_RECORD, FloatArray, Frame, PoseSequence, TrackId
from hpr.skeleton import COCO17, HALPE26, OPENPOSE18, Skeleton

_SKELETONS = {17: COCO17, 26: HALPE26, 68: HALPE26, 133: COCO17, 136: HALPE26}
"""Number of a person's keypoints in a list of results → the skeleton of the first ones. The others are of the face and
the hands: Halpe without a face, COCO-WholeBody (whose feet are in another order than Halpe's) and all of Halpe."""

_LISTS = {None: "keypoints", "bodies": "joints", "people": "pose_keypoints_2d"}
"""Name of an image's list of people (none where all images share one) → name of a person's list of keypoints."""

_VIDEO_NAME = re.compile(r"(0|[1-9][0-9]{0,8})(\.\w+)?", re.ASCII)
"""A number without zeros before it, as AlphaPose names the frames of a video."""


@dataclass(frozen=True)
class _Original:
    """A parsed file.

    Attributes:
        document: Its content.
        people: Name of an image's list of people; None where all images share one.
        images: Names of all images, in the order of the file.
        records: M, of all people, in the order of the file.
        owners: M, the name of the image that each of them is in.
        wheres: M, the place of each in the file, for messages.
        skeleton: Of the first K keypoints of each.
        keypoints: (M, K, 2) as in `Frame`.
        scores: (M, K), likewise.
        count: Number of keypoints of a person in the file; K or more.
    """

    document: Any
    people: str | None
    images: list[str]
    records: list[dict[str, Any]]
    owners: list[str]
    wheres: list[str]
    skeleton: Skeleton
    keypoints: FloatArray
    scores: FloatArray
    count: int


class AlphaPose(Format):
    """Reader and writer of AlphaPose's results, one sequence each."""

    name = "alphapose"
    looks_like = "JSON list of people with image_id (the name of an image), keypoints and score"
    skeletons = (COCO17, HALPE26, OPENPOSE18)
    metric = "oks"

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        """See `Format`. In COCO's results, `image_id` is a number."""
        if isinstance(document, list):
            first = document[0] if document else None
            return isinstance(first, dict) and "keypoints" in first and isinstance(first.get("image_id"), str)
        return isinstance(document, dict) and _people_key(document) is not None

    def read(self, path: Path) -> list[PoseSequence]:
        """See `Format`. Frames come in the order in which images appear, those of a video by their numbers."""
        original = _parsed(read_json(path), path)
        rows: dict[str, list[int]] = {image: [] for image in original.images}
        for row, image in enumerate(original.owners):
            rows[image].append(row)

        frame_numbers = _frame_numbers(original.images)
        ordered = sorted(rows, key=lambda image: frame_numbers[image] or 0)  # stable: all 0 where it is no video
        frames = [_frame(image, original, rows[image], frame_numbers[image]) for image in ordered]
        return [PoseSequence(path.stem, frames, original)]

    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        """See `Format`. People keep the order of the file; new ones come last."""
        (sequence,) = sequences
        if isinstance(sequence.original, _Original):
            write_json(path, _onto(sequence.original, sequence))
        else:
            write_json(path, _from_scratch(sequence))


def _people_key(document: dict[str, Any]) -> str | None:
    """Returns the name of the list of people in the first image's entry; None if there is none."""
    entry = next(iter(document.values()), None)
    if not isinstance(entry, dict) or "version" not in entry:
        return None
    return next((key for key in _LISTS if key and isinstance(entry.get(key), list)), None)


def _parsed(document: Any, path: Path) -> _Original:
    """Reads the names of the images and the keypoints and scores of all people."""
    people = _people_key(document) if isinstance(document, dict) else None
    records, owners, wheres = [], [], []
    if people is not None:
        for image, entry in document.items():
            for i, record in enumerate(field(entry, people, list, f"{path}: {image!r}")):
                wheres.append(f"{path}: {image!r}.{people}[{i}]")
                records.append(expect(record, dict, wheres[-1]))
                owners.append(image)
    else:
        _refuse_others(document, path)
        for i, record in enumerate(document):
            wheres.append(f"{path}: [{i}]")
            owners.append(field(record, "image_id", str, wheres[-1]))
            records.append(record)

    triples, skeleton = _triples(records, people, wheres)  # (M, 3 * count)
    count = triples.shape[1] // 3
    body = triples.reshape(-1, count, 3)[:, : len(skeleton)].copy()  # (M, 3 * count) -> (M, K, 3)
    keypoints, scores = body[..., :2], body[..., 2]
    is_missing = (body == 0).all(axis=-1)
    keypoints[~np.isfinite(keypoints).all(axis=-1)] = np.inf
    keypoints[is_missing], scores[is_missing] = np.nan, np.nan
    images = list(dict.fromkeys(owners if people is None else document))
    return _Original(document, people, images, records, owners, wheres, skeleton, keypoints, scores, count)


def _refuse_others(document: Any, path: Path) -> None:
    """Refuses what is no list of people.

    Raises:
        UserError: It is not.
    """
    if isinstance(document, dict) and "version" in document and "bodies" in document:
        raise UserError(f"{path}: the people of one image, without its name; expected AlphaPose's file of all images")
    if not isinstance(document, list) and document != {}:
        raise UserError(f"{path}: expected AlphaPose's list of people, found {summary(document)}")


def _triples(records: list[dict[str, Any]], people: str | None, wheres: list[str]) -> tuple[FloatArray, Skeleton]:
    """Returns (M, 3 * count) the x, y and score of all keypoints, zeros for people without, and their skeleton."""
    key = _LISTS[people]
    lists = [record.get(key) or [] for record in records]
    first = next((i for i, values in enumerate(lists) if values), None)
    length = 3 * (18 if people else 17)
    if first is not None:
        length = len(expect(lists[first], list, f"{wheres[first]}.{key}"))

    skeletons = {18: OPENPOSE18} if people else _SKELETONS
    if length % 3 or length // 3 not in skeletons:
        known = ", ".join(str(3 * count) for count in skeletons)
        raise UserError(f"{wheres[first or 0]}.{key}: expected {known} numbers, found {length}")
    filled = [values or [0] * length for values in lists]
    return _array(filled, length, [f"{where}.{key}" for where in wheres]), skeletons[length // 3]


def _array(lists: list[Any], length: int, wheres: list[str]) -> FloatArray:
    """Returns lists of numbers as an array (M, length)."""
    try:
        array = np.asarray(lists, np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.empty(0)
    if array.shape == (len(lists), length):
        return array
    rows = [numbers(values, length, where) for values, where in zip(lists, wheres, strict=True)]  # finds the odd one
    return np.array(rows).reshape(-1, length)  # (M, length), also without people


def _frame_numbers(images: list[str]) -> dict[str, int | None]:
    """Returns the place of each image in a video; None for all where one has another name than a video's frame."""
    matches = [_VIDEO_NAME.fullmatch(image) for image in images]
    found = [int(match[1]) for match in matches if match]
    if len(set(found)) < len(images):
        return dict.fromkeys(images)
    return dict(zip(images, found, strict=True))


def _frame(image: str, original: _Original, rows: list[int], number: int | None) -> Frame:
    """Returns an image with the people in some rows of the file."""
    records = [original.records[row] for row in rows]
    key = _LISTS[original.people]
    ids = [_track_id(original.records[row].get("idx"), f"{original.wheres[row]}.idx") for row in rows]
    return Frame(
        image,
        original.skeleton,
        original.keypoints[rows],
        original.scores[rows],
        boxes=np.array([_box(record.get("box")) for record in records]).reshape(-1, 4),
        track_ids=tuple(ids),
        posed=np.array([isinstance(record.get(key), list) for record in records], bool),
        records=np.array(rows, np.int64),
        person_scores=np.array([_score(record.get("score")) for record in records], np.float64),
        number=number,
    )


def _track_id(value: Any, where: str) -> TrackId:
    """Returns a track id, which some trackers put into lists, the first of those that were merged, or write as 3.0."""
    while isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, float):
        value = int(value) if value.is_integer() else None
    expected: TrackId = expect(value, (int, str, type(None)), where)
    return expected


def _box(value: Any) -> FloatArray:
    """Returns the corners (4,) of a box of x, y, width and height; nothing depends on it, so a broken one is none."""
    try:
        x, y, width, height = numbers(value, 4, "")
    except UserError:
        return np.full(4, np.nan)
    return np.array([x, y, x + width, y + height])


def _score(value: Any) -> float:
    """Returns the score of a person; NaN where there is none, or one that is no number."""
    try:
        return float(value) if isinstance(value, int | float) else np.nan
    except OverflowError:
        return np.nan


def _onto(original: _Original, sequence: PoseSequence) -> Any:
    """Returns the original document with the poses of the sequence."""
    kept: dict[int, dict[str, Any]] = {}
    new: list[tuple[str, dict[str, Any]]] = []
    for own_frame in sequence.frames:
        frame = own_frame.in_skeleton(original.skeleton)
        for person, record in enumerate(frame.records.tolist()):
            if record == NO_RECORD:
                new.append((frame.image, _new_record(frame, person, original)))
            else:
                kept[record] = _updated(original, record, frame, person)

    people = [(original.owners[row], kept[row]) for row in sorted(kept)] + new
    if original.people is None:
        return [record for _, record in people] if original.records or new else original.document
    lists: dict[str, list[dict[str, Any]]] = {image: [] for image in original.document}
    for image, record in people:
        lists[image].append(record)
    return {image: {**entry, original.people: lists[image]} for image, entry in original.document.items()}


def _updated(original: _Original, row: int, frame: Frame, person: int) -> dict[str, Any]:
    """Returns a record as it is, or with the person's pose if that differs."""
    record = original.records[row]
    pairs = ((original.keypoints, frame.keypoints), (original.scores, frame.scores))
    if all(np.array_equal(before[row], after[person], equal_nan=True) for before, after in pairs):
        return record
    key = _LISTS[original.people]
    body = _written(frame, person)
    rest = (record.get(key) or [0] * 3 * original.count)[len(body) :]  # of hands and faces
    score = float(frame.person_scores[person])
    is_rescored = np.isfinite(score) and score != _score(record.get("score"))
    return {**record, key: body + rest, **({"score": score} if is_rescored else {})}


def _written(frame: Frame, person: int) -> list[float]:
    """Returns x, y and score of a person's keypoints; the score is 1 where the person has none at all."""
    keypoints, scores = frame.keypoints[person], frame.scores[person]
    if np.isnan(scores).all():
        scores = np.ones_like(scores)
    triples = np.concatenate([keypoints, scores[:, None]], axis=1)  # (K, 3)
    triples[~np.isfinite(keypoints).all(axis=-1)] = 0
    return plain(triples.reshape(-1))  # (K, 3) -> (3 * K)


def _new_record(frame: Frame, person: int, original: _Original) -> dict[str, Any]:
    """Returns the record of a person who is added to a file."""
    body = _written(frame, person)
    padded = body + [0] * (3 * original.count - len(body))
    if original.people is not None:
        return {_LISTS[original.people]: padded}
    return {**_record(frame, person), "keypoints": padded}


def _from_scratch(sequence: PoseSequence) -> list[dict[str, Any]]:
    """Returns a list of results with COCO's keypoints; those that COCO does not have are left out."""
    document = []
    for own_frame in sequence.frames:
        frame = own_frame.in_skeleton(COCO17)
        document += [_record(frame, person) for person in range(len(frame))]
    return document


def _record(frame: Frame, person: int) -> dict[str, Any]:
    """Returns the record of a person who was not read from a file of this format."""
    record: dict[str, Any] = {"image_id": frame.image, "category_id": 1, "keypoints": _written(frame, person)}
    box, score = frame.boxes[person], frame.person_scores[person]
    if np.isfinite(score):
        record["score"] = float(score)
    if np.isfinite(box).all():
        record["box"] = plain(sides(box))
    if frame.track_ids[person] is not None:
        record["idx"] = frame.track_ids[person]
    return record

"""AlphaPose's results: one list of people for all images (AlphaPose's alphapose/utils/pPose_nms.py, write_json)."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hpr.errors import UserError
from hpr.formats.fields import (
    box_sides,
    corners,
    expect,
    field,
    keypoints_of,
    number_or_nan,
    number_table,
    plain,
    summary,
    track_id,
)
from hpr.formats.records import ImageEntry, Original, Parsed, PlacedRecord, Record, RecordFormat, group_by_name
from hpr.poses import FloatArray, Frame, IntArray, PoseSequence, TrackId
from hpr.skeleton import COCO17, HALPE26, OPENPOSE18, Skeleton

_SKELETONS = {17: COCO17, 26: HALPE26, 68: HALPE26, 133: COCO17, 136: HALPE26}
"""Number of a person's keypoints in a list of results → the skeleton of the first ones. The others are of the face and
the hands: Halpe without a face, COCO-WholeBody (whose feet are in another order than Halpe's) and all of Halpe."""

_LISTS = {None: "keypoints", "bodies": "joints", "people": "pose_keypoints_2d"}
"""Name of an image's list of people (None where all images share one) → name of a person's list of keypoints."""

_VIDEO_NAME = re.compile(r"(0|[1-9][0-9]{0,8})(\.\w+)?", re.ASCII)
"""A number without zeros before it, as AlphaPose names the frames of a video."""


class _Details(NamedTuple):
    """How a file keeps people: the name of an image's list of them (None where all images share one), the name of a
    person's list of keypoints, and the number of keypoints in it, which may be more than those of the body."""

    people: str | None
    keypoints: str
    count: int


class AlphaPose(RecordFormat):
    """Reader and writer of AlphaPose's results, one sequence each."""

    name = "alphapose"
    looks_like = "JSON list of people with image_id (the name of an image), keypoints and score"
    skeletons = (COCO17, HALPE26, OPENPOSE18)
    metric = "oks"
    compared = ("keypoints", "scores")
    score_key = "score"

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        """See `Format`. In COCO's results, `image_id` is a number."""
        if isinstance(document, list):
            first = document[0] if document else None
            return isinstance(first, dict) and "keypoints" in first and isinstance(first.get("image_id"), str)
        return isinstance(document, dict) and _people_key(document) is not None

    def _parse(self, document: Any, path: Path) -> Parsed:
        """See `RecordFormat`. Frames are in the order in which images appear, those of a video by their numbers."""
        people_key = _people_key(document) if isinstance(document, dict) else None
        records, wheres, images, image_indices = _read_records(document, people_key, path)
        key = _LISTS[people_key]
        triples, skeleton = _read_triples(records, [f"{where}.{key}" for where in wheres], key, people_key)
        body = triples[:, : len(skeleton)]
        is_missing = np.asarray((body == 0).all(axis=-1))

        track_ids = [
            _track_id(record.get("idx"), f"{where}.idx") for record, where in zip(records, wheres, strict=True)
        ]
        people = Frame(
            "",
            skeleton,
            keypoints_of(body[..., :2], is_missing),
            np.where(is_missing, np.nan, body[..., 2]),
            boxes=corners(record.get("box") for record in records),
            track_ids=tuple(track_ids),
            posed=np.array([isinstance(record.get(key), list) for record in records], bool),
            records=np.arange(len(records)),
            person_scores=np.array([number_or_nan(record.get("score")) for record in records], np.float64),
        )

        original = Original(self.name, document, records, people, _Details(people_key, key, triples.shape[1]))
        numbers = _frame_numbers(images)
        order = np.argsort([number or 0 for number in numbers], kind="stable")  # all 0 where it is no video
        entries = [ImageEntry(images[index], number=numbers[index]) for index in order.tolist()]
        return Parsed(entries, np.argsort(order)[image_indices], original)

    def _updated_record(self, record: Record, people: Frame, person: int, original: Original, index: int) -> Record:
        details: _Details = original.details
        body = _written(people, person)
        rest = (record.get(details.keypoints) or [0] * 3 * details.count)[len(body) :]  # of hands and faces
        return {**record, details.keypoints: body + rest}

    def _new_record(self, people: Frame, person: int, original: Original | None) -> Record:
        keypoints = _written(people, person)
        if original is not None:
            details: _Details = original.details
            keypoints += [0] * (3 * details.count - len(keypoints))
            if details.people is not None:
                return {details.keypoints: keypoints}

        record: dict[str, Any] = {"category_id": 1, "keypoints": keypoints}
        box, score = people.boxes[person], people.person_scores[person]
        if np.isfinite(score):
            record["score"] = float(score)
        if np.isfinite(box).all():
            record["box"] = plain(box_sides(box))
        if people.track_ids[person] is not None:
            record["idx"] = people.track_ids[person]
        return record

    def _document(self, sequence: PoseSequence, records: list[PlacedRecord], original: Original | None) -> Any:
        details = None if original is None else original.details
        names = [frame.image for frame in sequence.frames]
        if original is None or details.people is None:
            named = [
                {"image_id": names[frame], **record} if is_new and frame is not None else record
                for record, frame, is_new in records
            ]
            return original.document if original is not None and not original.records and not named else named

        lists: dict[str, list[Record]] = {name: [] for name in original.document}
        for record, frame, _ in records:
            assert frame is not None
            lists[names[frame]].append(record)
        return {name: {**entry, details.people: lists[name]} for name, entry in original.document.items()}


def _people_key(document: dict[str, Any]) -> str | None:
    """Returns the name of the list of people in the first image's entry; None if there is none."""
    entry = next(iter(document.values()), None)
    if not isinstance(entry, dict) or "version" not in entry:
        return None
    return next((key for key in _LISTS if key and isinstance(entry.get(key), list)), None)


def _read_records(
    document: Any, people_key: str | None, path: Path
) -> tuple[list[Record], list[str], list[str], IntArray]:
    """Returns everyone's records, where they are, the names of the images, and the index of each record's image.

    Raises:
        UserError: The document is not AlphaPose's.
    """
    records, wheres, owners = [], [], []
    if people_key is not None:
        for image, entry in document.items():
            for i, record in enumerate(field(entry, people_key, list, f"{path}: {image!r}")):
                wheres.append(f"{path}: {image!r}.{people_key}[{i}]")
                records.append(expect(record, dict, wheres[-1]))
                owners.append(image)
        indices = {image: index for index, image in enumerate(document)}
        return records, wheres, list(document), np.array([indices[image] for image in owners], np.int64)

    if isinstance(document, dict) and "version" in document and "bodies" in document:
        raise UserError(f"{path}: the people of one image, without its name; expected AlphaPose's file of all images")
    if not isinstance(document, list) and document != {}:
        raise UserError(f"{path}: expected AlphaPose's list of people, found {summary(document)}")
    for i, record in enumerate(document):
        wheres.append(f"{path}: [{i}]")
        owners.append(field(record, "image_id", str, wheres[-1]))
        records.append(record)
    return records, wheres, *group_by_name(owners)


def _read_triples(
    records: list[Record], wheres: list[str], key: str, people_key: str | None
) -> tuple[FloatArray, Skeleton]:
    """Returns (M, count, 3) x, y and score of all keypoints, zeros for people without any, and their skeleton."""
    lists = [record.get(key) or [] for record in records]
    first = next((i for i, values in enumerate(lists) if values), None)
    length = 3 * (18 if people_key else 17)
    if first is not None:
        length = len(expect(lists[first], list, wheres[first]))

    skeletons = {18: OPENPOSE18} if people_key else _SKELETONS
    if length % 3 or length // 3 not in skeletons:
        known = ", ".join(str(3 * count) for count in skeletons)
        raise UserError(f"{wheres[first or 0]}: expected {known} numbers, found {length}")
    filled = [values or [0] * length for values in lists]
    table = number_table(filled, (length,), lambda i: wheres[i])
    return table.reshape(-1, length // 3, 3), skeletons[length // 3]  # (M, 3 * count) -> (M, count, 3)


def _frame_numbers(images: list[str]) -> list[int | None]:
    """Returns the index of each image in a video; None for all where one has another name than a video's frame."""
    matches = [_VIDEO_NAME.fullmatch(image) for image in images]
    found = [int(match[1]) for match in matches if match]
    return [None] * len(images) if len(set(found)) < len(images) else [*found]


def _track_id(value: Any, where: str) -> TrackId:
    """Returns a track id, which some trackers put into lists, the first of those that were merged, or write as 3.0."""
    while isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, float):
        value = int(value) if value.is_integer() else None
    return track_id(value, where)


def _written(people: Frame, person: int) -> list[float]:
    """Returns x, y and score of a person's keypoints; the score is 1 where the person has none at all."""
    keypoints, scores = people.keypoints[person], people.scores[person]
    if np.isnan(scores).all():
        scores = np.ones_like(scores)
    triples = np.concatenate([keypoints, scores[:, None]], axis=1)  # (K, 3)
    triples[~np.isfinite(keypoints).all(axis=-1)] = 0
    return plain(triples.reshape(-1))  # (K, 3) -> (3 * K)

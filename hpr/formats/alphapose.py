"""AlphaPose's results: one list of people for all images (AlphaPose's alphapose/utils/pPose_nms.py, write_json)."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.formats import fields
from hpr.formats.records import (
    ImageEntry,
    Original,
    Record,
    RecordFormat,
    frame_numbers,
    gather_records,
    group_by_name,
)
from hpr.poses import Frame, IntArray
from hpr.skeleton import COCO17, HALPE26, HALPE68, HALPE136, OPENPOSE18, WHOLEBODY133

_LISTS = {None: "keypoints", "bodies": "joints", "people": "pose_keypoints_2d"}
"""Name of an image's list of people (None where all images share one) → name of a person's list of keypoints."""

_VIDEO_NAME = re.compile(r"(0|[1-9][0-9]{0,8})(\.\w+)?", re.ASCII)
"""A number without zeros before it, as AlphaPose names the frames of a video."""


class AlphaPose(RecordFormat):
    """Reader and writer of AlphaPose's results, one sequence each."""

    name = "alphapose"
    looks_like = "JSON list of people with image_id (the name of an image), keypoints and score"
    skeletons = (COCO17, HALPE26, HALPE68, WHOLEBODY133, HALPE136)
    takes_skeleton = True
    metric = "oks"
    compared = ("keypoints", "scores")
    score_key = "score"
    track_key = "idx"
    upright = True

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        """See `Format`. Where `image_id` is a number, lists are COCO's results."""
        if isinstance(document, list):
            first = document[0] if document else None
            if not isinstance(first, dict) or not isinstance(first.get("keypoints"), list):
                return False
            return isinstance(first.get("image_id"), str)
        return isinstance(document, dict) and _people_key(document) is not None

    def _parse(self, document: Any, path: Path) -> Original:
        """See `RecordFormat`. Frames are in the order in which images appear, those of a video by their numbers."""
        people_key = _people_key(document) if isinstance(document, dict) else None
        records, wheres, images, indices = _read_records(document, people_key, path)
        key = _LISTS[people_key]
        usual = (OPENPOSE18,) if people_key else self.skeletons
        keypoints, scores, skeleton = fields.read_triples(records, wheres, key, usual, self.skeleton)

        arrays = {
            "scores": scores,
            "boxes": fields.box_corners(fields.boxes(record.get("box") for record in records)),
            "person_scores": np.array([fields.number_or_nan(record.get("score")) for record in records], np.float64),
            "posed": np.array([isinstance(record.get(key), list) for record in records], bool),
        }
        people = self._people(records, wheres, skeleton, keypoints, **arrays)

        matches = [_VIDEO_NAME.fullmatch(image) for image in images]
        numbers: list[int | None] = [int(match[1]) if match else None for match in matches]
        if None in numbers or len(set(numbers)) < len(numbers):
            numbers = frame_numbers(images)
        order = np.argsort([number or 0 for number in numbers], kind="stable")  # all 0 where it is no video
        entries = [ImageEntry(images[index], number=numbers[index]) for index in order.tolist()]
        return Original(entries, np.argsort(order)[indices], records, people, details=people_key, is_counted=True)

    def _updated_record(self, record: Record, people: Frame, person: int, original: Original) -> Record:
        return {**record, _LISTS[original.details]: _written(people, person)}

    def _new_record(self, people: Frame, person: int, original: Original) -> Record:
        keypoints = _written(people, person)
        if original.details is not None:
            return {_LISTS[original.details]: keypoints}
        others = fields.optional_fields(people, person, score="score", box="box", track_id="idx")
        return {"category_id": 1, "keypoints": keypoints, **others}

    def _new_heads(self, frames: Sequence[Frame], indices: list[int], original: Original) -> list[Record]:
        return [{"image_id": frames[index].image} if original.details is None else {} for index in indices]

    def _document(self, records: list[Record], by_frame: list[list[Record]], original: Original) -> Any:
        if original.details is None:
            return records or type(original.document)()  # nobody may be {} as well

        own = {image.name: people for image, people in zip(original.images, by_frame, strict=True)}
        return {name: {**entry, original.details: own[name]} for name, entry in original.document.items()}


def _people_key(document: dict[str, Any]) -> str | None:
    """Returns the name of the list of people in the first image's entry; None if there is none."""
    entry = next(iter(document.values()), None)
    if not isinstance(entry, dict) or "version" not in entry:
        return None
    return next((key for key in _LISTS if key and isinstance(entry.get(key), list)), None)


def _read_records(
    document: Any, people_key: str | None, path: Path
) -> tuple[list[Record], list[str], list[str], IntArray]:
    """Returns everyone's records, where they are, the names of the images, and the index of each record's image."""
    if people_key is not None:
        places = [f"{path}: {image!r}" for image in document]
        lists = fields.column(document.values(), places, people_key, list)
        records, wheres, indices = gather_records(lists, [f"{place}.{people_key}" for place in places])
        return records, wheres, list(document), indices

    if isinstance(document, dict) and "version" in document and "bodies" in document:
        raise UserError(f"{path}: the people of one image, without its name; expected AlphaPose's file of all images")
    if not isinstance(document, list) and document != {}:
        raise UserError(f"{path}: expected AlphaPose's list of people, found {fields.summary(document)}")
    wheres = [f"{path}: [{i}]" for i in range(len(document))]
    names, indices = group_by_name([str(own) for own in fields.column(document, wheres, "image_id", (str, int))])
    return list(document), wheres, names, indices


def _written(people: Frame, person: int) -> list[float]:
    """Returns x, y and score of a person's keypoints; the score is 1 where the person has none at all."""
    keypoints, scores = people.keypoints[person], people.scores[person]
    if np.isnan(scores).all():
        scores = np.ones_like(scores)
    triples = np.concatenate([keypoints, scores[:, None]], axis=1)  # (K, 3)
    triples[~np.isfinite(keypoints).all(axis=-1)] = 0
    return fields.plain(triples.reshape(-1))  # (K, 3) -> (3 * K)

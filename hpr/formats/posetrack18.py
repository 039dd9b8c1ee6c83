"""PoseTrack 2018 and 2021 files: like COCO's, with 17 keypoint triples per annotation (docs/formats.md, section 2)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from hpr.errors import UserError
from hpr.formats.coco_layout import skeleton_of
from hpr.formats.fields import (
    IDENTIFIER,
    box_sides,
    corners,
    expect,
    field,
    image_size,
    keypoints_of,
    numbers,
    plain,
    track_id,
)
from hpr.formats.records import ImageEntry, Original, Parsed, PlacedRecord, Record, RecordFormat, match_image_ids
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.skeleton import POSETRACK15, POSETRACK18

_EARS = POSETRACK18.indices("left_ear", "right_ear")


class _Slots(NamedTuple):
    """How a file keeps keypoints: the index of each POSETRACK18 keypoint's triple (-1 without one), and how many
    triples an annotation has."""

    indices: list[int]
    count: int


_PLAIN_SLOTS = _Slots(list(range(len(POSETRACK18))), len(POSETRACK18))


class PoseTrack18(RecordFormat):
    """Reader and writer of PoseTrack 2018 files, one sequence each.

    A pose that has changed gets all its triples and scores written anew; the format leaves the ears empty.

    Attributes:
        marks_people: Whether images that are written from scratch say whether there is somebody in them.
    """

    name = "posetrack18"
    looks_like = "JSON with images, annotations of 17 keypoints, and no left_eye in categories"
    skeletons = (POSETRACK18,)
    metric = "posetrack"
    indent = 4  # as the published code does
    marks_people: ClassVar[bool] = False

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        """See `Format`."""
        return skeleton_of(document) is POSETRACK18 and not _is_of_2021(document)

    def _parse(self, document: Any, path: Path) -> Parsed:
        """See `RecordFormat`. Images come in the order of the file, each with its annotations in that order."""
        images: dict[Any, ImageEntry] = {}
        for i, image in enumerate(field(document, "images", list, str(path))):
            where = f"{path}: images[{i}]"
            name, image_id = field(image, "file_name", str, where), field(image, "id", IDENTIFIER, where)
            if image_id not in images:
                images[image_id] = ImageEntry(name, image_size(image), None, _ignore_regions(image, where))

        slots = _read_slots(document, path)
        annotations = field(document, "annotations", list, str(path))
        wheres = [f"{path}: annotations[{i}]" for i in range(len(annotations))]
        keypoints, scores, flags = _poses(annotations, wheres, slots)
        image_indices = match_image_ids(annotations, wheres, list(images), "the file's images")

        pairs = list(zip(annotations, wheres, strict=True))
        track_ids = [track_id(annotation.get("track_id"), f"{where}.track_id") for annotation, where in pairs]
        for annotation, where in pairs:
            if annotation.get("bbox_head"):
                numbers(annotation["bbox_head"], 4, f"{where}.bbox_head")
        people = Frame(
            "",
            POSETRACK18,
            keypoints,
            scores,
            flags,
            corners(annotation.get("bbox") for annotation in annotations),
            corners(annotation.get("bbox_head") for annotation in annotations),
            tuple(track_ids),
            records=np.arange(len(annotations)),
        )
        original = Original(self.name, document, annotations, people, (slots, list(images)))
        return Parsed(list(images.values()), image_indices, original)

    def _updated_record(self, record: Record, people: Frame, person: int, original: Original, index: int) -> Record:
        slots, _ = original.details
        keypoints: list[float] = [0] * (3 * slots.count)
        scores: list[float] = [0] * slots.count
        for keypoint in _written_keypoints(people, person):
            slot = slots.indices[keypoint]
            flag = float(people.flags[person, keypoint])
            x, y = people.keypoints[person, keypoint].tolist()
            keypoints[3 * slot : 3 * slot + 3] = [x, y, int(flag) if flag.is_integer() else flag]
            scores[slot] = float(np.nan_to_num(people.scores[person, keypoint]))
        return {**record, "keypoints": keypoints, **({"scores": scores} if record.get("scores") else {})}

    def _new_record(self, people: Frame, person: int, original: Original | None) -> Record:
        slots = _PLAIN_SLOTS if original is None else original.details[0]
        written = _written_keypoints(people, person)
        ordered = np.zeros((len(POSETRACK18), 4))  # x, y, flag and score
        ordered[written, :2] = people.keypoints[person, written]
        ordered[written, 2] = people.flags[person, written]
        ordered[:, 3] = people.scores[person]
        ordered[_EARS, 3] = np.nan
        by_slot = np.zeros((slots.count + 1, 4))  # the last row is for what the file has no slot for
        by_slot[slots.indices] = ordered

        record: dict[str, Any] = {"category_id": 1, "keypoints": plain(by_slot[:-1, :3].reshape(-1))}  # (slots, 3)
        record["scores"] = [] if np.isnan(ordered[:, 3]).all() else plain(by_slot[:-1, 3])
        if people.track_ids[person] is not None:
            record["track_id"] = people.track_ids[person]
        for key, box in (("bbox", people.boxes[person]), ("bbox_head", people.head_boxes[person])):
            if np.isfinite(box).all():
                record[key] = plain(box_sides(box))
        return record

    def _document(self, sequence: PoseSequence, records: list[PlacedRecord], original: Original | None) -> Any:
        if original is None:
            image_ids, free_id = list(range(len(sequence.frames))), 0
        else:
            image_ids = original.details[1]
            ids = [annotation.get("id") for annotation in original.records]
            free_id = max((known for known in ids if isinstance(known, int)), default=-1) + 1

        annotations = []
        for record, frame, is_new in records:
            if is_new and frame is not None:
                record = {"id": free_id, "image_id": image_ids[frame], **record}
                free_id += 1
            annotations.append(record)
        if original is not None:
            return {**original.document, "annotations": annotations}
        categories = [{"id": 1, "name": "person", "keypoints": list(POSETRACK18.names)}]
        return {"images": self._new_images(sequence), "annotations": annotations, "categories": categories}

    def _new_images(self, sequence: PoseSequence) -> list[dict[str, Any]]:
        """Returns the images of a new document."""
        return [
            {
                "id": number,
                "frame_id": number,
                "file_name": frame.image,
                "vid_id": sequence.name,
                "nframes": len(sequence.frames),
                "is_labeled": True,
                **({"has_labeled_person": len(frame) > 0} if self.marks_people else {}),
                **({} if frame.size is None else {"width": frame.size[0], "height": frame.size[1]}),
                "ignore_regions_x": [plain(region[:, 0]) for region in frame.ignore_regions],
                "ignore_regions_y": [plain(region[:, 1]) for region in frame.ignore_regions],
            }
            for number, frame in enumerate(sequence.frames)
        ]


class PoseTrack21(PoseTrack18):
    """Reader and writer of PoseTrack21 files, which are PoseTrack 2018's with a few more fields."""

    name = "posetrack21"
    looks_like = "JSON as of posetrack18, with has_labeled_person in images or person_id in annotations"
    marks_people = True

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        """See `Format`."""
        return skeleton_of(document) is POSETRACK18 and _is_of_2021(document)


def _is_of_2021(document: object) -> bool:
    """Returns whether a document has a field that only PoseTrack21's have."""
    assert isinstance(document, dict)
    for key, name in (("images", "has_labeled_person"), ("annotations", "person_id")):
        entries = document[key] if isinstance(document[key], list) else []
        if any(isinstance(entry, dict) and name in entry for entry in entries):
            return True
    return False


def _read_slots(document: dict[str, Any], path: Path) -> _Slots:
    """Returns how a file keeps keypoints: in PoseTrack's order or in that of its category.

    Raises:
        UserError: The category is COCO's.
    """
    names: Sequence[str] = POSETRACK18.names
    for category in expect(document.get("categories") or [], list, f"{path}: categories"):
        listed = category.get("keypoints") if isinstance(category, dict) else None
        if isinstance(listed, list) and "left_eye" in listed:
            found = "found COCO's (left_eye in categories); read it as coco"
            raise UserError(f"{path}: expected PoseTrack's keypoints, {found}")
        if isinstance(listed, list) and all(name in listed for name in POSETRACK15.names):
            names = listed
    return _Slots([names.index(name) if name in names else -1 for name in POSETRACK18.names], len(names))


def _poses(annotations: list[Any], wheres: list[str], slots: _Slots) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Returns keypoints (M, 17, 2), scores (M, 17) and flags (M, 17) of all annotations, as in `Frame`."""
    triples = np.zeros((len(annotations), 3 * slots.count))
    scores = np.full((len(annotations), slots.count), np.nan)
    for i, (annotation, where) in enumerate(zip(annotations, wheres, strict=True)):
        expect(annotation, dict, where)
        if annotation.get("keypoints"):
            triples[i] = numbers(annotation["keypoints"], 3 * slots.count, f"{where}.keypoints")
        if annotation.get("scores"):
            scores[i] = numbers(annotation["scores"], slots.count, f"{where}.scores")

    # A last column stands for the keypoints that the file has no slot for: slot -1.
    by_slot = triples.reshape(-1, slots.count, 3)  # (M, 3 * slots) -> (M, slots, 3)
    ordered = np.pad(by_slot, ((0, 0), (0, 1), (0, 0)))[:, slots.indices]  # (M, 17, 3)
    ordered_scores = np.pad(scores, ((0, 0), (0, 1)), constant_values=np.nan)[:, slots.indices]
    keypoints = keypoints_of(ordered[..., :2], np.asarray((ordered == 0).all(axis=-1)))
    return keypoints, ordered_scores, np.nan_to_num(ordered[..., 2])


def _ignore_regions(image: dict[str, Any], where: str) -> tuple[FloatArray, ...]:
    """Returns the image's polygons, which the file keeps as a list of x and a list of y for each."""
    columns, rows = (
        expect(image.get(f"ignore_regions_{axis}") or [], list, f"{where}.ignore_regions_{axis}") for axis in "xy"
    )
    if len(columns) != len(rows):
        raise UserError(f"{where}: expected as many ignore_regions_x as _y, found {len(columns)} and {len(rows)}")

    regions = []
    for x, y in zip(columns, rows, strict=True):
        length = len(expect(x, list, f"{where}.ignore_regions_x"))
        regions.append(np.stack([numbers(values, length, f"{where}.ignore_regions") for values in (x, y)], axis=1))
    return tuple(regions)


def _written_keypoints(people: Frame, person: int) -> list[int]:
    """Returns the keypoints that a file can hold of a person."""
    is_finite = np.isfinite(people.keypoints[person]).all(axis=-1)
    return [keypoint for keypoint in np.flatnonzero(is_finite).tolist() if keypoint not in _EARS]

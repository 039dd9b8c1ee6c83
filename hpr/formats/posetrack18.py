"""PoseTrack 2018 and 2021 files: like COCO's, with 17 keypoint triples per annotation (docs/notes/formats.md, 2)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from hpr.errors import UserError
from hpr.formats import fields
from hpr.formats.coco_layout import format_of, items
from hpr.formats.records import ImageEntry, Original, Record, RecordFormat, gather_records, numbered_heads
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.skeleton import POSETRACK15, POSETRACK18, named_skeleton

_EARS = POSETRACK18.indices("left_ear", "right_ear")


class _Details(NamedTuple):
    """How a file keeps keypoints, and the ids of its images."""

    slots: list[int]  # (17,) index of each keypoint's triple; -1 if the file has none
    slot_count: int
    image_ids: list[int | str]


class PoseTrack18(RecordFormat):
    """Reader and writer of PoseTrack 2018 files, one sequence each.

    A pose that has changed gets all its triples and scores written anew; the format leaves the ears empty.
    """

    name = "posetrack18"
    looks_like = "JSON with images, annotations of 17 keypoints, and no left_eye in categories"
    skeletons = (POSETRACK18,)
    metric = "posetrack"
    track_key = "track_id"
    indent = 4  # as the published code does
    marks_people: ClassVar[bool] = False  # whether new files have `has_labeled_person`

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        return format_of(document) == PoseTrack18.name and not _is_of_2021(document)

    def _parse(self, document: Any, path: Path) -> Original:
        """See `RecordFormat`. Images come in the order of the file, each with its annotations in that order."""
        images: dict[Any, ImageEntry] = {}
        for i, image in enumerate(fields.field(document, "images", list, str(path))):
            where = f"{path}: images[{i}]"
            name = fields.field(image, "file_name", str, where)
            entry = ImageEntry(name, fields.image_size(image), None, _ignore_regions(image, where))
            images.setdefault(fields.field(image, "id", fields.IDENTIFIER, where), entry)

        names = _keypoint_names(document, path)
        slots = [names.index(name) if name in names else -1 for name in POSETRACK18.names]
        annotations = fields.field(document, "annotations", list, str(path))
        records, wheres, _ = gather_records([annotations], [f"{path}: annotations"])
        triples = fields.optional_table(records, wheres, "keypoints", (3 * len(names),), 0.0)
        triples = triples.reshape(-1, len(names), 3)  # (P, 3 * slots) -> (P, slots, 3)
        scores = fields.optional_table(records, wheres, "scores", (len(names),))
        indices = fields.match_image_ids(records, wheres, list(images), "the file's images")

        # A last column stands for the keypoints that the file has no slot for: slot -1.
        triples = np.pad(triples, ((0, 0), (0, 1), (0, 0)))[:, slots]  # (P, 17, 3)
        arrays = {
            "scores": np.pad(scores, ((0, 0), (0, 1)), constant_values=np.nan)[:, slots],
            "flags": np.nan_to_num(triples[..., 2]),
            "boxes": fields.box_corners(fields.boxes(record.get("bbox") for record in records)),
            "head_boxes": fields.box_corners(fields.optional_table(records, wheres, "bbox_head", (4,))),
        }
        keypoints = fields.keypoints_of(triples[..., :2], fields.is_zero(triples))
        people = self._people(records, wheres, POSETRACK18, keypoints, **arrays)
        details = _Details(slots, len(names), list(images))
        return Original(list(images.values()), indices, records, people, details)

    def _updated_record(self, record: Record, people: Frame, person: int, original: Original) -> Record:
        slots, count, _ = original.details
        keypoints: list[float] = [0] * (3 * count)
        scores: list[float] = [0] * count
        for keypoint in _written_keypoints(people, person):
            slot, flag = slots[keypoint], float(people.flags[person, keypoint])
            x, y = people.keypoints[person, keypoint].tolist()
            keypoints[3 * slot : 3 * slot + 3] = [x, y, int(flag) if flag.is_integer() else flag]
            scores[slot] = float(np.nan_to_num(people.scores[person, keypoint]))
        return {**record, "keypoints": keypoints, **({"scores": scores} if record.get("scores") else {})}

    def _new_record(self, people: Frame, person: int, original: Original) -> Record:
        slots, count, _ = original.details
        written = _written_keypoints(people, person)
        ordered = np.zeros((len(POSETRACK18), 4))  # x, y, flag and score
        ordered[written, :2] = people.keypoints[person, written]
        ordered[written, 2] = people.flags[person, written]
        ordered[:, 3] = people.scores[person]
        ordered[_EARS, 3] = np.nan
        by_slot = np.zeros((count + 1, 4))  # the last row is for what the file has no slot for
        by_slot[slots] = ordered

        scores = [] if np.isnan(ordered[:, 3]).all() else fields.plain(by_slot[:-1, 3])
        record = {"category_id": 1, "keypoints": fields.plain(by_slot[:-1, :3].reshape(-1)), "scores": scores}
        return record | fields.optional_fields(people, person, track_id="track_id", box="bbox", head_box="bbox_head")

    def _new_heads(self, frames: Sequence[Frame], indices: list[int], original: Original) -> list[Record]:
        return numbered_heads(original, original.details.image_ids, indices, default=0)

    def _document(self, records: list[Record], by_frame: list[list[Record]], original: Original) -> Any:
        return {**original.document, "annotations": records}

    def _new_document(self, sequence: PoseSequence) -> Any:
        images = []
        for number, frame in enumerate(sequence.frames):
            image = {"id": number, "frame_id": number, "file_name": frame.image, "vid_id": sequence.name}
            image |= {"nframes": len(sequence.frames), "is_labeled": True}
            image |= {"has_labeled_person": len(frame) > 0} if self.marks_people else {}
            image |= {} if frame.size is None else {"width": frame.size[0], "height": frame.size[1]}
            image["ignore_regions_x"] = [fields.plain(region[:, 0]) for region in frame.ignore_regions]
            image["ignore_regions_y"] = [fields.plain(region[:, 1]) for region in frame.ignore_regions]
            images.append(image)
        categories = [{"id": 1, "name": "person", "keypoints": list(POSETRACK18.names)}]
        return {"images": images, "annotations": [], "categories": categories}


class PoseTrack21(PoseTrack18):
    """Reader and writer of PoseTrack21 files, which are PoseTrack 2018's with a few more fields."""

    name = "posetrack21"
    looks_like = "JSON as of posetrack18, with has_labeled_person in images or person_id in annotations"
    marks_people = True

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        return format_of(document) == PoseTrack18.name and _is_of_2021(document)


def _is_of_2021(document: Any) -> bool:
    """Returns whether a document has a field that only PoseTrack21's have."""
    is_of_images = any("has_labeled_person" in image for image in items(document["images"], dict))
    return is_of_images or any("person_id" in record for record in items(document["annotations"], dict))


def _keypoint_names(document: dict[str, Any], path: Path) -> Sequence[str]:
    """Returns the keypoints of a file's triples: those of its category, or else PoseTrack's."""
    names: Sequence[str] = POSETRACK18.names
    for category in fields.expect(document.get("categories") or [], list, f"{path}: categories"):
        listed = category.get("keypoints") if isinstance(category, dict) else None
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            continue
        found_names = named_skeleton(list(dict.fromkeys(listed))).names
        if "left_eye" in found_names:
            found = "found COCO's (left_eye in categories); read it as coco"
            raise UserError(f"{path}: expected PoseTrack's keypoints, {found}")
        if set(POSETRACK15.names) <= set(found_names):
            names = found_names
    return names


def _ignore_regions(image: dict[str, Any], where: str) -> tuple[FloatArray, ...]:
    """Returns the image's polygons, which the file keeps as a list of x and a list of y for each."""
    keys = ("ignore_regions_x", "ignore_regions_y")
    columns, rows = (fields.expect(image.get(key) or [], list, f"{where}.{key}") for key in keys)
    if len(columns) != len(rows):
        raise UserError(f"{where}: expected as many ignore_regions_x as _y, found {len(columns)} and {len(rows)}")

    regions = []
    for x, y in zip(columns, rows, strict=True):
        length = len(fields.expect(x, list, f"{where}.{keys[0]}"))
        axes = [fields.numbers(values, length, f"{where}.ignore_regions") for values in (x, y)]
        regions.append(np.stack(axes, axis=1))
    return tuple(regions)


def _written_keypoints(people: Frame, person: int) -> list[int]:
    """Returns the keypoints that a file can hold of a person."""
    is_finite = np.isfinite(people.keypoints[person]).all(axis=-1)
    return [keypoint for keypoint in np.flatnonzero(is_finite).tolist() if keypoint not in _EARS]

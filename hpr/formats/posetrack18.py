"""PoseTrack 2018 and 2021 files: like COCO's, with 17 keypoint triples per annotation (docs/formats.md, section 2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hpr.errors import UserError
from hpr.files import read_json, write_json
from hpr.formats.base import Format
from hpr.formats.coco import skeleton_of
from hpr.formats.fields import IDENTIFIER, expect, field, numbers, plain, sides
from hpr.poses import NO_RECORD, FloatArray, Frame, PoseSequence
from hpr.skeleton import POSETRACK15, POSETRACK18

_EARS = POSETRACK18.indices("left_ear", "right_ear")


@dataclass(frozen=True)
class _Original:
    """A parsed file.

    Attributes:
        document: Its content.
        slots: (17,) for each keypoint of POSETRACK18 its place in the file's triples; -1 if the file has none.
        slot_count: Number of triples of an annotation.
        keypoints: (M, 17, 2) of all annotations, as in `Frame`.
        scores: (M, 17), likewise.
        flags: (M, 17), likewise.
    """

    document: dict[str, Any]
    slots: list[int]
    slot_count: int
    keypoints: FloatArray
    scores: FloatArray
    flags: FloatArray


class PoseTrack18(Format):
    """Reader and writer of PoseTrack 2018 files, one sequence each.

    Attributes:
        marks_people: Whether images that are written from scratch say whether there is somebody in them.
    """

    name = "posetrack18"
    looks_like = "JSON with images, annotations of 17 keypoints, and no left_eye in categories"
    skeletons = (POSETRACK18,)
    metric = "posetrack"
    marks_people: ClassVar[bool] = False

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        """See `Format`."""
        return skeleton_of(document) is POSETRACK18 and not _is_of_2021(document)

    def read(self, path: Path) -> list[PoseSequence]:
        """See `Format`. Images come in the order of the file, each with its annotations in the order of the file."""
        document = expect(read_json(path), dict, str(path))
        images: dict[Any, dict[str, Any]] = {}
        for i, image in enumerate(field(document, "images", list, str(path))):
            field(image, "file_name", str, f"{path}: images[{i}]")
            images.setdefault(field(image, "id", IDENTIFIER, f"{path}: images[{i}]"), {**image, "where": i})

        original = _parsed(document, path)
        rows: dict[Any, list[int]] = {image_id: [] for image_id in images}
        for i, annotation in enumerate(document["annotations"]):
            image_id = field(annotation, "image_id", IDENTIFIER, f"{path}: annotations[{i}]")
            if image_id not in rows:
                raise UserError(f"{path}: annotations[{i}]: image_id {image_id} is not among the file's images")
            rows[image_id].append(i)
        frames = [_frame(image, original, rows[image_id], path) for image_id, image in images.items()]
        return [PoseSequence(path.stem, frames, original)]

    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        """See `Format`. A pose that has changed gets all its triples and scores written anew, the ears empty."""
        (sequence,) = sequences
        if isinstance(sequence.original, _Original):
            write_json(path, _onto(sequence.original, sequence), indent=4)  # indented as the published code does
        else:
            write_json(path, _from_scratch(sequence, self.marks_people))


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


def _parsed(document: dict[str, Any], path: Path) -> _Original:
    """Reads the triples and scores of all annotations."""
    slots, count = _slots(document, path)
    annotations = field(document, "annotations", list, str(path))
    triples = np.zeros((len(annotations), 3 * count))
    scores = np.full((len(annotations), count), np.nan)
    for i, annotation in enumerate(annotations):
        where = f"{path}: annotations[{i}]"
        expect(annotation, dict, where)
        if annotation.get("keypoints"):
            triples[i] = numbers(annotation["keypoints"], 3 * count, f"{where}.keypoints")
        if annotation.get("scores"):
            scores[i] = numbers(annotation["scores"], count, f"{where}.scores")

    # A last column stands for the keypoints that the file has no slot for: slot -1.
    by_slot = np.pad(triples.reshape(-1, count, 3), ((0, 0), (0, 1), (0, 0)))  # (M, 3 * slots) -> (M, slots + 1, 3)
    ordered = by_slot[:, slots]  # (M, 17, 3)
    keypoints, flags = ordered[..., :2].copy(), np.nan_to_num(ordered[..., 2])
    keypoints[~np.isfinite(keypoints).all(axis=-1)] = np.inf
    keypoints[(ordered == 0).all(axis=-1)] = np.nan
    ordered_scores = np.pad(scores, ((0, 0), (0, 1)), constant_values=np.nan)[:, slots]
    return _Original(document, slots, count, keypoints, ordered_scores, flags)


def _slots(document: dict[str, Any], path: Path) -> tuple[list[int], int]:
    """Returns where the file keeps each keypoint, in PoseTrack's order or in that of its category; and how many."""
    names: Sequence[str] = POSETRACK18.names
    for category in expect(document.get("categories") or [], list, f"{path}: categories"):
        listed = category.get("keypoints") if isinstance(category, dict) else None
        if isinstance(listed, list) and "left_eye" in listed:
            raise UserError(
                f"{path}: expected PoseTrack's keypoints, found COCO's (left_eye in categories); read it as coco"
            )
        if isinstance(listed, list) and all(name in listed for name in POSETRACK15.names):
            names = listed
    return [names.index(name) if name in names else -1 for name in POSETRACK18.names], len(names)


def _frame(image: dict[str, Any], original: _Original, rows: list[int], path: Path) -> Frame:
    """Returns an image with the annotations in some rows of the file."""
    annotations = [original.document["annotations"][row] for row in rows]
    wheres = [f"{path}: annotations[{row}]" for row in rows]
    pairs = list(zip(annotations, wheres, strict=True))
    track_ids = [expect(a.get("track_id"), (*IDENTIFIER, type(None)), f"{where}.track_id") for a, where in pairs]
    boxes = np.array([_box(annotation) for annotation in annotations]).reshape(-1, 4)
    head_boxes = np.array([_corners(a.get("bbox_head"), f"{where}.bbox_head") for a, where in pairs]).reshape(-1, 4)
    width, height = image.get("width"), image.get("height")
    return Frame(
        image["file_name"],
        POSETRACK18,
        original.keypoints[rows],
        original.scores[rows],
        original.flags[rows],
        boxes,
        head_boxes,
        tuple(track_ids),
        records=np.array(rows, np.int64),
        ignore_regions=_ignore_regions(image, f"{path}: images[{image['where']}]"),
        size=(width, height) if isinstance(width, int) and isinstance(height, int) else None,
    )


def _corners(box: Any, where: str) -> FloatArray:
    """Returns the corners (4,) of a box, which the file keeps as x, y, width and height; NaN if it has none."""
    if not box:
        return np.full(4, np.nan)
    x, y, width, height = numbers(box, 4, where)
    return np.array([x, y, x + width, y + height])


def _box(annotation: dict[str, Any]) -> FloatArray:
    """Returns the corners (4,) of a person's box; nothing depends on it, so that a broken one counts as none."""
    try:
        return _corners(annotation.get("bbox"), "")
    except UserError:
        return np.full(4, np.nan)


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


def _onto(original: _Original, sequence: PoseSequence) -> dict[str, Any]:
    """Returns the original document with the poses of the sequence."""
    kept: dict[int, dict[str, Any]] = {}
    new: list[dict[str, Any]] = []
    ids = [annotation.get("id") for annotation in original.document["annotations"]]
    free_id = max((known for known in ids if isinstance(known, int)), default=-1) + 1
    image_ids = list(dict.fromkeys(image["id"] for image in original.document["images"]))
    for image_id, own_frame in zip(image_ids, sequence.frames, strict=True):
        frame = own_frame.in_skeleton(POSETRACK18)
        for person, record in enumerate(frame.records.tolist()):
            if record == NO_RECORD:
                pose = _record(frame, person, original.slots, original.slot_count)
                new.append({"id": free_id + len(new), "image_id": image_id, **pose})
            else:
                kept[record] = _updated(original, record, frame, person)
    return {**original.document, "annotations": [kept[record] for record in sorted(kept)] + new}


def _updated(original: _Original, record: int, frame: Frame, person: int) -> dict[str, Any]:
    """Returns an annotation as it is, or with the person's pose if that differs."""
    annotation: dict[str, Any] = original.document["annotations"][record]
    pairs = ((original.keypoints, frame.keypoints), (original.scores, frame.scores), (original.flags, frame.flags))
    if all(np.array_equal(before[record], after[person], equal_nan=True) for before, after in pairs):
        return annotation
    keypoints: list[float] = [0] * (3 * original.slot_count)
    scores: list[float] = [0] * original.slot_count
    for keypoint in _written(frame, person):
        slot = original.slots[keypoint]
        flag = float(frame.flags[person, keypoint])
        x, y = frame.keypoints[person, keypoint].tolist()
        keypoints[3 * slot : 3 * slot + 3] = [x, y, int(flag) if flag.is_integer() else flag]
        scores[slot] = float(np.nan_to_num(frame.scores[person, keypoint]))
    has_scores = bool(annotation.get("scores"))
    return {**annotation, "keypoints": keypoints, **({"scores": scores} if has_scores else {})}


def _written(frame: Frame, person: int) -> list[int]:
    """Returns the keypoints that a file can hold of a person; the format leaves the ears empty."""
    finite = np.isfinite(frame.keypoints[person]).all(axis=-1)
    return [keypoint for keypoint in np.flatnonzero(finite).tolist() if keypoint not in _EARS]


def _from_scratch(sequence: PoseSequence, marks_people: bool) -> dict[str, Any]:
    """Returns a document for sequences of any skeleton; keypoints that PoseTrack does not have are left out.

    Args:
        sequence: To be written.
        marks_people: See `PoseTrack18`.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    slots = list(range(len(POSETRACK18)))
    for number, own_frame in enumerate(sequence.frames):
        frame = own_frame.in_skeleton(POSETRACK18)
        images.append(
            {
                "id": number,
                "frame_id": number,
                "file_name": frame.image,
                "vid_id": sequence.name,
                "nframes": len(sequence.frames),
                "is_labeled": True,
                **({"has_labeled_person": len(frame) > 0} if marks_people else {}),
                **({} if frame.size is None else {"width": frame.size[0], "height": frame.size[1]}),
                "ignore_regions_x": [plain(region[:, 0]) for region in frame.ignore_regions],
                "ignore_regions_y": [plain(region[:, 1]) for region in frame.ignore_regions],
            }
        )
        for person in range(len(frame)):
            annotations.append(
                {"id": len(annotations), "image_id": number, **_record(frame, person, slots, len(slots))}
            )
    categories = [{"id": 1, "name": "person", "keypoints": list(POSETRACK18.names)}]
    return {"images": images, "annotations": annotations, "categories": categories}


def _record(frame: Frame, person: int, slots: list[int], slot_count: int) -> dict[str, Any]:
    """Returns the record of a person who was not read from a file of this format; for the slots see `_Original`."""
    written = _written(frame, person)
    ordered = np.zeros((len(POSETRACK18), 4))  # x, y, flag and score
    ordered[written, :2] = frame.keypoints[person, written]
    ordered[written, 2] = frame.flags[person, written]
    ordered[:, 3] = frame.scores[person]
    ordered[_EARS, 3] = np.nan
    by_slot = np.zeros((slot_count + 1, 4))  # the last for what the file has no slot for
    by_slot[slots] = ordered

    record: dict[str, Any] = {"category_id": 1, "keypoints": plain(by_slot[:-1, :3].reshape(-1))}  # (slots, 3)
    record["scores"] = [] if np.isnan(ordered[:, 3]).all() else plain(by_slot[:-1, 3])
    if frame.track_ids[person] is not None:
        record["track_id"] = frame.track_ids[person]
    for key, box in (("bbox", frame.boxes[person]), ("bbox_head", frame.head_boxes[person])):
        if np.isfinite(box).all():
            record[key] = plain(sides(box))
    return record

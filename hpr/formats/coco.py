"""COCO's and CrowdPose's files: annotations, and lists of results (docs/formats.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from hpr.errors import UserError
from hpr.files import read_json, write_json
from hpr.formats.coco_layout import (
    CocoImage,
    ImageId,
    Layout,
    plain_layout,
    read_images,
    read_layout,
    skeleton_of,
)
from hpr.formats.fields import box_sides, corners, expect, field, id_number, keypoints_of, number_table, plain, summary
from hpr.formats.records import (
    ImageEntry,
    Original,
    Parsed,
    PlacedRecord,
    Record,
    RecordFormat,
    gather_people,
    match_image_ids,
)
from hpr.formats.regions import ignore_polygons
from hpr.poses import BoolArray, FloatArray, Frame, IntArray, PoseSequence, image_stem, match_frames
from hpr.skeleton import COCO17, CROWDPOSE14

__all__ = [
    "Coco",
    "CocoImage",
    "CrowdPose",
    "GroundTruth",
    "Layout",
    "ignore_polygons",
    "plain_layout",
    "ranking_scores",
    "results",
    "skeleton_of",
]


@dataclass(frozen=True)
class GroundTruth:
    """Everything in a file of annotations, also crowds and people without a keypoint.

    Attributes:
        sequence: The images as frames with the people who have keypoints; crowds and the other people are ignore
            regions.
        images: Of the file, in the order of the frames.
        records: The M people and crowds as the file has them.
        wheres: M, where each of them is, for messages.
        image_indices: (M,) which of the images each of them is in.
        triples: (M, K, 3) x, y and v in the order of the skeleton; zeros for who has no keypoints.
    """

    sequence: PoseSequence
    images: list[CocoImage]
    records: list[Record]
    wheres: list[str]
    image_indices: IntArray
    triples: FloatArray

    @property
    def is_posed(self) -> BoolArray:
        """(M,) who has a keypoint that is annotated."""
        return _is_annotated(self.triples)


class _Details(NamedTuple):
    """What the writer has to know of a file.

    Attributes:
        layout: How it keeps people.
        image_ids: Ids of the frames' images.
        triples: (P, slots, 3) x, y and v of the people, in the order of the file.
        has_scores: Whether v is the score of a keypoint.
    """

    layout: Layout
    image_ids: list[ImageId]
    triples: FloatArray
    has_scores: bool


class Coco(RecordFormat):
    """Reader and writer of COCO's annotations and results, one sequence a file.

    Attributes:
        file_names: What files call keypoints of the skeleton, where that is another name.
        image_name: The name of an image, from its id.
    """

    name = "coco"
    looks_like = "JSON with images, annotations and left_eye in categories, or a list of results of 51 numbers each"
    skeletons = (COCO17,)
    metric = "oks"
    reads_beside = ("annotations",)
    compared = ("keypoints", "scores", "flags", "person_scores")
    score_key = "score"
    file_names: ClassVar[Mapping[str, str]] = {}
    image_name: ClassVar[str] = "{:012d}.jpg"

    def __init__(self, annotations: str | None = None) -> None:
        """Prepares to read and write.

        Args:
            annotations: A file that has the images of results: their names and sizes, and which there are. Without it,
                they have the names of COCO 2017, and what is written from scratch is a file of annotations.
        """
        self.annotations = annotations

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        """See `Format`."""
        return skeleton_of(document) is COCO17

    def read_annotated(self, path: Path) -> list[PoseSequence]:
        """See `Format`; crowds and people without keypoints are ignore regions of all images."""
        return [self.ground_truth(path).sequence]

    def ground_truth(self, path: Path, document: Any = None) -> GroundTruth:
        """Reads a file of annotations with everyone in it, also those who are in no frame.

        Args:
            path: The file.
            document: Its content, if it has been parsed already.

        Raises:
            UserError: The file is absent, broken or of another format.
        """
        document = expect(read_json(path) if document is None else document, dict, str(path))
        sequence = self._sequence(document, path)
        original: Original = sequence.original
        details: _Details = original.details

        rows = [row for row, record in enumerate(original.records) if details.layout.has(record)]
        records = [original.records[row] for row in rows]
        wheres = [f"{path}: annotations[{row}]" for row in rows]
        image_indices = match_image_ids(records, wheres, details.image_ids, _FILE_IMAGES)
        triples = np.zeros((len(rows), len(details.layout.skeleton), 3))
        triples[np.isin(rows, original.people.records)] = details.triples[:, details.layout.slots]

        regions: list[list[FloatArray]] = [[] for _ in details.image_ids]
        columns = zip(records, image_indices.tolist(), _is_annotated(triples).tolist(), strict=True)
        for record, index, is_posed in columns:
            if not is_posed:
                regions[index] += ignore_polygons(record)
        frames = [replace(f, ignore_regions=tuple(own)) for f, own in zip(sequence.frames, regions, strict=True)]
        images = read_images(document, path)
        return GroundTruth(replace(sequence, frames=frames), images, records, wheres, image_indices, triples)

    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        """See `Format`. From scratch, results if the annotations are known, else annotations.

        Raises:
            UserError: Also if an image is not among those of the annotations.
        """
        if len(sequences) == 1 and self._original_of(sequences[0]) is not None:
            super().write(sequences, path)
            return

        frames = [frame for sequence in sequences for frame in sequence.frames]
        if self.annotations is None:
            super().write([PoseSequence(path.stem, frames)], path)
            return
        images, layout = self._beside
        write_json(path, results(frames, self._known_ids(frames, images), layout))

    @cached_property
    def document_beside(self) -> dict[str, Any]:
        """The parsed annotations that results are read beside, for scoring as well."""
        path = Path(str(self.annotations))
        return expect(read_json(path), dict, str(path))

    @cached_property
    def _beside(self) -> tuple[list[CocoImage], Layout]:
        """The images of the annotations, and the order of their keypoints."""
        path = Path(str(self.annotations))
        return read_images(self.document_beside, path), self._layout(self.document_beside, path)

    def _layout(self, document: Mapping[str, Any], path: Path) -> Layout:
        return read_layout(document, self._keypoint_names(), self.skeletons[0], self.name, path)

    def _keypoint_names(self) -> list[str]:
        """Returns what files call the keypoints."""
        return [self.file_names.get(name, name) for name in self.skeletons[0].names]

    def _known_ids(self, frames: Sequence[Frame], images: Sequence[CocoImage]) -> list[ImageId | None]:
        """Returns the ids of the frames' images; None for images without people that are unknown."""
        indices = match_frames([frame.image for frame in frames], [image.name for image in images])
        for frame, index in zip(frames, indices, strict=True):
            if index is None and len(frame):
                raise UserError(f"{frame.image}: expected one of the images of {self.annotations}, found no such name")
        return [None if index is None else images[index].id for index in indices]

    # Reading

    def _parse(self, document: Any, path: Path) -> Parsed:
        is_results = isinstance(document, list)
        if is_results:
            layout = self._layout({}, path) if self.annotations is None else self._beside[1]
            records, where = document, f"{path}: "
        else:
            layout = self._layout(expect(document, dict, str(path)), path)
            records, where = field(document, "annotations", list, str(path)), f"{path}: annotations"

        rows = [
            row
            for row, record in enumerate(records)
            if _is_in_frame(record, f"{where}[{row}]", None if is_results else layout)
        ]
        people = [records[row] for row in rows]
        wheres = [f"{where}[{row}]" for row in rows]
        images = self._images_of_results(people, wheres) if is_results else read_images(document, path)
        expected = f"the images of {self.annotations}" if is_results else _FILE_IMAGES
        image_indices = match_image_ids(people, wheres, [image.id for image in images], expected)

        lists = [record["keypoints"] for record in people]
        triples = number_table(lists, (3 * layout.slot_count,), lambda i: f"{wheres[i]}.keypoints")
        triples = triples.reshape(-1, layout.slot_count, 3)  # (P, 3 * slots) -> (P, slots, 3)
        keypoints, scores, flags, has_scores = _poses(triples[:, layout.slots])
        person_scores = number_table([[record.get("score")] for record in people], (1,), lambda i: f"{wheres[i]}.score")

        frame = Frame(
            "",
            layout.skeleton,
            keypoints,
            scores,
            flags,
            corners(record.get("bbox") for record in people),
            records=np.array(rows, np.int64),
            person_scores=person_scores[:, 0],
        )
        details = _Details(layout, [image.id for image in images], triples, has_scores)
        entries = [ImageEntry(image.name, image.size) for image in images]
        return Parsed(entries, image_indices, Original(self.name, document, records, frame, details))

    def _images_of_results(self, people: Sequence[Record], wheres: Sequence[str]) -> list[CocoImage]:
        """Returns the images that results may be of: those of the annotations, else those that people are in."""
        if self.annotations is not None:
            return self._beside[0]

        ids = []
        for record, where in zip(people, wheres, strict=True):
            number = id_number(record.get("image_id"))
            if number is None:
                expected = f"expected a number, found {summary(record.get('image_id'))}"
                raise UserError(f"{where}.image_id: {expected}; set the file of annotations that has its images")
            ids.append(number)
        return [CocoImage(number, self.image_name.format(number)) for number in dict.fromkeys(ids)]

    # Writing

    def _updated_record(self, record: Record, people: Frame, person: int, original: Original, index: int) -> Record:
        details: _Details = original.details
        slotted = details.triples[index].copy()  # slots of other keypoints stay
        slotted[details.layout.slots] = _written(people.select([person]), details.has_scores)[0]
        count = {"num_keypoints": int((slotted[:, 2] > 0).sum())} if "num_keypoints" in record else {}
        return {**record, "keypoints": plain(slotted.reshape(-1)), **count}

    def _new_record(self, people: Frame, person: int, original: Original | None) -> Record:
        own = people.select([person])
        if original is None:
            return _new_annotation(own, plain_layout(self.skeletons[0]), False)
        make = _new_result if isinstance(original.document, list) else _new_annotation
        return make(own, original.details.layout, original.details.has_scores)

    def _document(self, sequence: PoseSequence, records: list[PlacedRecord], original: Original | None) -> Any:
        if original is None:
            ids: Sequence[ImageId] = _new_ids(sequence.frames)
            free_id = 1
        else:
            ids = original.details.image_ids
            known_ids = [record.get("id") for record in original.records if isinstance(record, dict)]
            free_id = max((known_id for known_id in known_ids if isinstance(known_id, int)), default=0) + 1

        is_results = original is not None and isinstance(original.document, list)
        annotations = []
        for placed in records:
            record = placed.record
            if placed.is_new and placed.frame is not None:
                own_id = {} if is_results else {"id": free_id}
                record = {**own_id, "image_id": ids[placed.frame], **record}
                free_id += 1
            annotations.append(record)
        if original is None:
            return self._new_document(sequence.frames, ids, annotations)
        return annotations if is_results else {**original.document, "annotations": annotations}

    def _new_document(self, frames: Sequence[Frame], ids: Sequence[ImageId], annotations: list[Record]) -> Any:
        """Returns a new document; keypoints that the skeleton does not have are left out."""
        images = []
        for image_id, frame in zip(ids, frames, strict=True):
            size = {} if frame.size is None else {"width": frame.size[0], "height": frame.size[1]}
            images.append({"id": image_id, "file_name": frame.image, **size})
        category = {
            **{"id": 1, "name": "person", "supercategory": "person"},
            "keypoints": self._keypoint_names(),
            "skeleton": [[a + 1, b + 1] for a, b in self.skeletons[0].limb_indices],
        }
        return {"images": images, "annotations": annotations, "categories": [category]}


class CrowdPose(Coco):
    """Reader and writer of CrowdPose's annotations and results, which are COCO's with keypoints of their own."""

    name = "crowdpose"
    looks_like = "as coco, with head and neck in categories, crowdIndex in images, or results of 42 numbers each"
    skeletons = (CROWDPOSE14,)
    file_names: ClassVar[Mapping[str, str]] = {"head_top": "head", "head_bottom": "neck"}
    image_name = "{}.jpg"

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        """See `Format`."""
        return skeleton_of(document) is CROWDPOSE14


# Reading

_FILE_IMAGES = "the file's images"


def _is_in_frame(record: Any, where: str, layout: Layout | None) -> bool:
    """Returns whether a record is of somebody in a frame: a person with keypoints, and no crowd.

    Args:
        record: A result or an annotation.
        where: Where it is.
        layout: Of annotations; every result is of a person.

    Raises:
        UserError: It is no object, or its keypoints are no list.
    """
    expect(record, dict, where)
    if (layout is not None and not layout.has(record)) or not record.get("keypoints"):
        return False
    expect(record["keypoints"], list, f"{where}.keypoints")
    return not record.get("iscrowd")


def _is_annotated(triples: FloatArray) -> BoolArray:
    """Returns (M,) whose triples (M, K, 3) have an annotated keypoint."""
    return np.asarray((triples[..., 2] > 0).any(axis=1))


def _poses(triples: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, bool]:
    """Returns keypoints, scores and flags as in `Frame` of (P, K, 3), and whether v is a score in this file."""
    v = triples[..., 2]
    is_missing = np.asarray((triples == 0).all(axis=-1))
    keypoints = keypoints_of(triples[..., :2], is_missing)

    has_scores = not np.isin(v[np.isfinite(v)], (0, 1, 2)).all()
    if has_scores:
        scores = np.where(is_missing | ~np.isfinite(v), np.nan, v)
        return keypoints, scores, (v > 0).astype(np.float64), True
    return keypoints, np.full(v.shape, np.nan), np.nan_to_num(v), False


# Writing


def ranking_scores(frame: Frame) -> FloatArray:
    """Returns (N,) what OKS scores rank people by.

    That is the score of the person; without one the mean score of the keypoints that the file has, and 1 without any.
    """
    is_scored = np.isfinite(frame.scores) & np.isfinite(frame.keypoints).all(axis=-1)  # (N, K)
    counts = np.maximum(is_scored.sum(axis=1, keepdims=True), 1)  # (N, 1)
    means = (np.where(is_scored, frame.scores, 0.0) / counts).sum(axis=1)  # divided first: no sum is too large a number
    known = np.where(is_scored.any(axis=1), means, 1.0)
    return np.where(np.isfinite(frame.person_scores), frame.person_scores, known)


def results(frames: Sequence[Frame], image_ids: Sequence[ImageId | None], layout: Layout) -> list[Record]:
    """Returns results of frames of any skeleton; v is the score of a keypoint if there are any, else its flag.

    Args:
        frames: With the people.
        image_ids: Ids of the frames' images.
        layout: How the results keep keypoints.
    """
    people, frame_indices = gather_people(frames, layout.skeleton)
    has_scores = bool(np.isfinite(people.scores).any())
    lists = plain(_slotted(people, layout, has_scores))
    columns = zip(frame_indices.tolist(), lists, ranking_scores(people).tolist(), people.boxes, strict=True)
    return [
        {"image_id": image_ids[index], **_result(layout, keypoints, score, box)}
        for index, keypoints, score, box in columns
    ]


def _written(people: Frame, has_scores: bool) -> FloatArray:
    """Returns (N, K, 3) x, y and v as a file has them: v is the score if the file's v are scores, else 0, 1 or 2."""
    v = np.where(np.isin(people.flags, (0, 1, 2)), people.flags, people.flags > 0)
    if has_scores:  # a score tells as well whether the keypoint is there, if it can
        v = np.where(people.flags > 0, 1.0, 0.0)
        with np.errstate(invalid="ignore"):
            is_telling = np.isfinite(people.scores) & ((people.scores > 0) == (people.flags > 0))
        v = np.where(is_telling, people.scores, v)
    is_there = np.asarray(np.isfinite(people.keypoints).all(axis=-1, keepdims=True))  # (N, K, 1)
    return np.where(is_there, np.concatenate([people.keypoints, v[..., None]], axis=-1), 0.0)


def _slotted(people: Frame, layout: Layout, has_scores: bool) -> FloatArray:
    """Returns (N, 3 * slots) the numbers that records have as keypoints."""
    slotted = layout.to_slots(_written(people, has_scores))
    return slotted.reshape(len(people), 3 * layout.slot_count)  # (N, slots, 3) -> (N, 3 * slots)


def _result(layout: Layout, keypoints: list[float], score: float, box: FloatArray) -> Record:
    """Returns a result without the id of its image."""
    record: Record = {"category_id": layout.category, "keypoints": keypoints, "score": score}
    return {**record, "bbox": plain(box_sides(box))} if np.isfinite(box_sides(box)).all() else record


def _new_result(person: Frame, layout: Layout, has_scores: bool) -> Record:
    """Returns a result for the only person of a frame."""
    (keypoints,) = plain(_slotted(person, layout, has_scores))
    return _result(layout, keypoints, float(ranking_scores(person)[0]), person.boxes[0])


def _new_annotation(person: Frame, layout: Layout, has_scores: bool) -> Record:
    """Returns an annotation for the only person of a frame; the area is that of the box."""
    (numbers,) = _slotted(person, layout, has_scores)
    record: Record = {"category_id": layout.category, "iscrowd": 0, "keypoints": plain(numbers)}
    record["num_keypoints"] = int((numbers[2::3] > 0).sum())

    sides = box_sides(person.boxes[0])
    if np.isfinite(sides).all():
        box = plain(sides)
        record |= {"bbox": box, "area": box[2] * box[3]}
    score = float(person.person_scores[0])
    return {**record, "score": score} if np.isfinite(score) else record


def _new_ids(frames: Sequence[Frame]) -> list[int]:
    """Returns ids for images: the numbers that they are named by, if all are and no two have the same; else from 1."""
    numbers = [id_number(image_stem(frame.image)) for frame in frames]
    if None in numbers or len(set(numbers)) < len(frames):
        return list(range(1, len(frames) + 1))
    return [number for number in numbers if number is not None]

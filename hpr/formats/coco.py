"""COCO's and CrowdPose's files: annotations, and lists of results (docs/notes/formats.md)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from hpr.errors import UserError
from hpr.files import paused_collector, read_json, write_json
from hpr.formats import fields
from hpr.formats.coco_layout import (
    CocoImage,
    Layout,
    file_layout,
    format_of,
    ignore_polygons,
    items,
    people_rows,
    read_images,
)
from hpr.formats.records import ImageEntry, Original, Record, RecordFormat, gather_people, numbered_heads
from hpr.poses import BoolArray, FloatArray, Frame, IntArray, PoseSequence, image_stem, match_frames
from hpr.skeleton import COCO17, CROWDPOSE14, HALPE26, HALPE136, WHOLEBODY133, Skeleton

__all__ = ["Coco", "CrowdPose", "GroundTruth", "Layout", "ranking_scores", "results"]


@dataclass(frozen=True)
class GroundTruth:
    """Everything in a file of annotations, also crowds and people without a keypoint.

    Attributes:
        sequence: The images as frames with the people who have keypoints; crowds and the other people are ignore
            regions.
        images: Images of the file, in the order of the frames.
        records: The M people and crowds as the file has them.
        wheres: M, where each of them is, for messages.
        image_indices: (M,) which of the images each of them is in.
        triples: (M, K, 3) x, y and v in the order of the skeleton; zeros for who has no keypoints.
        skeleton: The K keypoints.
    """

    sequence: PoseSequence
    images: list[CocoImage]
    records: list[Record]
    wheres: list[str]
    image_indices: IntArray
    triples: FloatArray
    skeleton: Skeleton

    @property
    def is_posed(self) -> BoolArray:
        """(M,) who has a keypoint that is annotated."""
        return np.asarray((self.triples[..., 2] > 0).any(axis=1))


class _Details(NamedTuple):
    """What the writer has to know of a file, with x, y and v (P, K, 3) of the people in the order of the file."""

    layout: Layout
    images: list[CocoImage]
    triples: FloatArray
    people: list[int]  # rows of everyone in the people's category, also crowds
    has_scores: bool  # whether v is the score of a keypoint


class Coco(RecordFormat):
    """Reader and writer of COCO's annotations and results, one sequence a file.

    Attributes:
        file_names: What files call keypoints of the skeleton, where that is another name.
        image_name: The name of an image, from its id.
    """

    name = "coco"
    looks_like = "JSON with images, annotations and names of keypoints in categories, or a list of results"
    skeletons: ClassVar[tuple[Skeleton, ...]] = (COCO17, HALPE26, WHOLEBODY133, HALPE136)
    takes_skeleton = True
    metric = "oks"
    reads_beside = ("annotations",)
    compared = ("keypoints", "scores", "flags", "person_scores")
    score_key = "score"
    file_names: ClassVar[Mapping[str, str]] = {}
    image_name: ClassVar[str] = "{:012d}.jpg"

    def __init__(self, annotations: str | None = None) -> None:
        """Prepares to read and write results beside the annotations of their images, if there are any."""
        self.annotations = annotations

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        return format_of(document) == Coco.name

    def read_annotated(self, path: Path) -> list[PoseSequence]:
        """See `Format`; crowds and people without keypoints are ignore regions of all images."""
        return [self.ground_truth(path).sequence]

    def ground_truth(self, path: Path, document: Any = None) -> GroundTruth:
        """Reads a file of annotations, or its parsed document, with everyone in it, also those who are in no frame.

        Raises:
            UserError: The file is absent, broken or of another format.
        """
        document = fields.expect(read_json(path) if document is None else document, dict, str(path))
        sequence = self._sequence(document, path)
        original: Original = sequence.original
        layout, images, all_triples, rows, _ = original.details
        records, wheres = [original.records[row] for row in rows], [f"{path}: annotations[{row}]" for row in rows]
        indices = fields.match_image_ids(records, wheres, [image.id for image in images], "the file's images")
        triples = np.zeros((len(rows), len(layout.skeleton), 3))
        triples[np.isin(rows, original.people.records)] = all_triples
        truth = GroundTruth(sequence, images, records, wheres, indices, triples, layout.skeleton)

        regions: list[list[FloatArray]] = [[] for _ in images]
        for person in np.flatnonzero(~truth.is_posed).tolist():
            regions[indices[person]] += ignore_polygons(records[person])
        frames = [replace(f, ignore_regions=tuple(own)) for f, own in zip(sequence.frames, regions, strict=True)]
        return replace(truth, sequence=replace(sequence, frames=frames))

    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        """See `Format`. From scratch, results if the annotations are known, else annotations.

        Raises:
            UserError: Also if an image is not among those of the annotations.
        """
        frames = [frame for sequence in sequences for frame in sequence.frames]
        if len(sequences) == 1 and self._has_read(sequences[0]):
            super().write(sequences, path)
        elif self.annotations is None:
            super().write([PoseSequence(path.stem, frames)], path)
        else:
            images, layout = self._beside
            indices = match_frames([frame.image for frame in frames], [image.name for image in images])
            for frame, index in zip(frames, indices, strict=True):
                if index is None and len(frame):
                    expected = f"expected one of the images of {self.annotations}, found no such name"
                    raise UserError(f"{frame.image}: {expected}")
            ids = [None if index is None else images[index].id for index in indices]
            with paused_collector():
                write_json(path, results(frames, ids, layout))

    @cached_property
    def _beside(self) -> tuple[list[CocoImage], Layout]:
        """The images of the annotations, and the order of their keypoints; the whole document may be too large."""
        path = Path(str(self.annotations))
        document = fields.expect(read_json(path), dict, str(path))
        return read_images(document, path), self._layout(document, path, items(document.get("annotations"), dict))

    # Reading

    def _layout(self, document: Mapping[str, Any], path: Path, records: list[Any]) -> Layout:
        return file_layout(dict(document), path, self.skeletons, self.skeleton, records)

    def _parse(self, document: Any, path: Path) -> Original:
        if is_results := isinstance(document, list):
            layout = self._layout({}, path, document) if self.annotations is None else self._beside[1]
            records, where = document, f"{path}: "
            everyone = Layout(layout.skeleton)  # some programs count categories from 0, or write none
            rows, everyone_rows, warnings = people_rows(records, where, everyone, {})
        else:
            records = fields.field(fields.expect(document, dict, str(path)), "annotations", list, str(path))
            layout, where = self._layout(document, path, records), f"{path}: annotations"
            rows, everyone_rows, warnings = people_rows(records, where, layout, document)

        own, wheres = [records[row] for row in rows], [f"{where}[{row}]" for row in rows]
        images = self._images_of_results(own, wheres) if is_results else read_images(document, path)
        expected = f"the images of {self.annotations}" if is_results else "the file's images"
        indices = fields.match_image_ids(own, wheres, [image.id for image in images], expected)

        lists = [record["keypoints"] for record in own]
        triples = fields.number_table(lists, (3 * len(layout.skeleton),), wheres, "keypoints")
        triples = triples.reshape(-1, len(layout.skeleton), 3)  # (P, 3 * K) -> (P, K, 3)
        keypoints, scores, flags, has_scores = _poses(triples)
        boxes = fields.box_corners(fields.boxes(record.get("bbox") for record in own))
        arrays: dict[str, Any] = {"scores": scores, "flags": flags, "boxes": boxes, "records": np.array(rows, np.int64)}

        people = self._people(own, wheres, layout.skeleton, keypoints, **arrays)
        # Without annotations, ids may be the numbers of a video's frames.
        is_numbered = is_results and self.annotations is None
        numbers = [fields.id_number(image.id) if is_numbered else None for image in images]
        entries = [ImageEntry(image.name, image.size, n) for image, n in zip(images, numbers, strict=True)]
        details = _Details(layout, images, triples, everyone_rows, has_scores)
        parsed = Original(entries, indices, records, people, details, warnings=warnings)
        return parsed._replace(upright=is_results, is_counted=layout.is_counted)

    def _images_of_results(self, records: Sequence[Record], wheres: Sequence[str]) -> list[CocoImage]:
        """Returns the images that results may be of: those of the annotations, then others that people are in."""
        known = [] if self.annotations is None else self._beside[0]
        find = fields.image_finder([image.id for image in known])
        others: dict[int, CocoImage] = {}
        for record, where in zip(records, wheres, strict=True):
            image_id = record.get("image_id")
            if known and find(image_id) is not None:
                continue
            if (number := fields.id_number(image_id)) is None:
                found = fields.summary(image_id)
                unknown = f"{found} is not among the images of {self.annotations}"
                expected = unknown if known else f"expected a number, found {found}"
                raise UserError(f"{where}.image_id: {expected}; set the file of annotations that has its images")
            others.setdefault(number, CocoImage(number, self.image_name.format(number)))
        return [*known, *others.values()]

    # Writing

    def _in_file_units(self, people: Frame, indices: IntArray, original: Original) -> "_Written":
        return _Written(people, original.details.has_scores)

    def _updated_record(self, record: Record, people: "_Written", person: int, original: Original) -> Record:
        count = {"num_keypoints": people.counts[person]} if "num_keypoints" in record else {}
        return {**record, "keypoints": people.keypoints[person], **count}

    def _new_record(self, people: "_Written", person: int, original: Original) -> Record:
        layout = original.details.layout
        if isinstance(original.document, list):
            return people.new_result(person, layout)

        record = {"category_id": layout.category, "iscrowd": 0, "keypoints": people.keypoints[person]}
        record["num_keypoints"] = people.counts[person]
        record |= people.box(person)
        if "bbox" in record:
            record["area"] = record["bbox"][2] * record["bbox"][3]
        score = people.scores[person]
        return record if math.isnan(score) else {**record, "score": score}

    def _new_heads(self, frames: Sequence[Frame], indices: list[int], original: Original) -> list[Record]:
        ids = [image.id for image in original.details.images]
        if isinstance(original.document, list):
            return [{"image_id": ids[index]} for index in indices]
        return numbered_heads(original, ids, indices, default=1)

    def _updated_document(self, frames: Sequence[Frame], original: Original) -> Any:
        records = (record for record, _ in self._records(frames, original))  # never all of them at once
        return records if isinstance(original.document, list) else {**original.document, "annotations": records}

    def _new_document(self, sequence: PoseSequence) -> Any:
        numbers = [fields.id_number(image_stem(frame.image)) for frame in sequence.frames]
        if None in numbers or len(set(numbers)) < len(numbers):
            numbers = list(range(1, len(numbers) + 1))

        images = []
        for image_id, frame in zip(numbers, sequence.frames, strict=True):
            size = {} if frame.size is None else {"width": frame.size[0], "height": frame.size[1]}
            images.append({"id": image_id, "file_name": frame.image, **size})
        category = {
            **{"id": 1, "name": "person", "supercategory": "person"},
            "keypoints": [self.file_names.get(name, name) for name in self.skeletons[0].names],
            "skeleton": [[a + 1, b + 1] for a, b in self.skeletons[0].limb_indices],
        }
        return {"images": images, "annotations": [], "categories": [category]}


class CrowdPose(Coco):
    """Reader and writer of CrowdPose's annotations and results, which are COCO's with keypoints of their own."""

    name = "crowdpose"
    looks_like = "as coco, with head and neck in categories, crowdIndex in images, or results of 42 numbers each"
    skeletons: ClassVar[tuple[Skeleton, ...]] = (CROWDPOSE14,)
    file_names: ClassVar[Mapping[str, str]] = {"head_top": "head", "head_bottom": "neck"}
    image_name = "{}.jpg"

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        return format_of(document) == CrowdPose.name


def _poses(triples: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, bool]:
    """Returns keypoints, scores and flags as in `Frame` of (P, K, 3), and whether v is a score in this file."""
    v, is_missing = triples[..., 2], fields.is_zero(triples)
    keypoints = fields.keypoints_of(triples[..., :2], is_missing)
    if np.isin(v[np.isfinite(v)], (0, 1, 2)).all():
        return keypoints, np.full(v.shape, np.nan), np.nan_to_num(v), False
    scores = np.where(is_missing | ~np.isfinite(v), np.nan, v)
    return keypoints, scores, (v > 0).astype(np.float64), True


def ranking_scores(frame: Frame) -> FloatArray:
    """Returns (N,) what OKS ranks people by: their score, else the mean score of the file's keypoints, else 1."""
    is_scored = np.isfinite(frame.scores) & np.isfinite(frame.keypoints).all(axis=-1)  # (N, K)
    counts = np.maximum(is_scored.sum(axis=1, keepdims=True), 1)  # (N, 1)
    means = (np.where(is_scored, frame.scores, 0.0) / counts).sum(axis=1)  # divided first: no sum is too large a number
    known = np.where(is_scored.any(axis=1), means, 1.0)
    return np.where(np.isfinite(frame.person_scores), frame.person_scores, known)


def results(frames: Sequence[Frame], image_ids: Sequence[int | str | None], layout: Layout) -> Iterator[Record]:
    """Yields results of frames of any skeleton; v is the score of a keypoint if there are any, else its flag."""
    people, indices = gather_people(frames, layout.skeleton)
    written = _Written(people, has_scores=bool(np.isfinite(people.scores).any()))
    for person, index in enumerate(indices.tolist()):
        yield {"image_id": image_ids[index], **written.new_result(person, layout)}


class _Written:
    """What a file has of P people: whole tables of it, for speed.

    Attributes:
        keypoints: Lists of x, y and v: the score if the file's v are scores, else 0, 1 or 2.
        counts: Numbers of keypoints that are there.
        scores: Scores of people; NaN where there is none.
        ranks: What results are ranked by.
    """

    def __init__(self, people: Frame, has_scores: bool) -> None:
        scores, flags = people.scores, people.flags
        v = np.where(np.isin(flags, (0, 1, 2)), flags, flags > 0)
        if has_scores:  # a score tells as well whether the keypoint is there, if it can
            with np.errstate(invalid="ignore"):
                is_telling = np.isfinite(scores) & ((scores > 0) == (flags > 0))
            v = np.where(is_telling, scores, flags > 0)

        is_there = np.asarray(np.isfinite(people.keypoints).all(axis=-1))  # (P, K)
        v = np.where(is_there, v, 0.0)
        keypoints = np.where(is_there[..., None], people.keypoints, np.nan)  # NaN is written as 0
        triples = np.concatenate([keypoints, v[..., None]], axis=-1)  # (P, K, 3)
        self.keypoints = fields.PlainRows(triples.reshape(-1, 3 * v.shape[1]))
        self.counts: list[int] = (v > 0).sum(axis=1).tolist()
        self.scores: list[float] = np.where(np.isfinite(people.person_scores), people.person_scores, np.nan).tolist()
        self.ranks: list[float] = ranking_scores(people).tolist()

        sides = fields.box_sides(people.boxes)
        self._has_box = np.asarray(np.isfinite(sides).all(axis=1))  # (P,)
        self._boxes = fields.PlainRows(sides)

    def box(self, person: int) -> Record:
        """Returns a record with a person's box; an empty one where there is none."""
        return {"bbox": self._boxes[person]} if self._has_box[person] else {}

    def new_result(self, person: int, layout: Layout) -> Record:
        """Returns a result without the id of its image."""
        keypoints, score = self.keypoints[person], self.ranks[person]
        return {"category_id": layout.category, "keypoints": keypoints, "score": score, **self.box(person)}

"""COCO's and CrowdPose's files: annotations, and lists of results (docs/formats.md)."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from hpr.errors import UserError
from hpr.files import read_json, write_json
from hpr.formats.base import Format
from hpr.formats.fields import IDENTIFIER, expect, field, numbers, plain, sides, summary
from hpr.poses import NO_RECORD, BoolArray, FloatArray, Frame, IntArray, PoseSequence
from hpr.skeleton import COCO17, CROWDPOSE14, POSETRACK18, Skeleton

ImageId = int | str


class Image(NamedTuple):
    """What a file of annotations says of an image.

    Attributes:
        name: Of its file.
        size: Width and height; None where the file does not say.
        crowd_index: How crowded it is, in CrowdPose; NaN where the file does not say.
    """

    name: str
    size: tuple[int, int] | None = None
    crowd_index: float = float("nan")


@dataclass(frozen=True)
class GroundTruth:
    """The people of a file of annotations, with crowds and those without a keypoint.

    Attributes:
        images: Of the file, by their ids.
        records: The M people as the file has them; their image_id is one of the images.
        wheres: Where each of them is, for messages.
        triples: (M, K, 3) x, y and v in the order of the skeleton; zeros for who has no keypoints.
    """

    images: dict[ImageId, Image]
    records: list[dict[str, Any]]
    wheres: list[str]
    triples: FloatArray


@dataclass(frozen=True)
class Layout:
    """How a file keeps the keypoints of a person.

    Attributes:
        skeleton: Of the K keypoints.
        slots: (K,) for each keypoint its place in a record's triples.
        slot_count: Number of triples of a record.
        categories: Ids of the category that people are in; empty where the file does not say, or everyone is.
    """

    skeleton: Skeleton
    slots: list[int]
    slot_count: int
    categories: tuple[Any, ...] = ()

    def has(self, record: dict[str, Any]) -> bool:
        """Returns whether an annotation is of a person or of a crowd."""
        return not self.categories or record.get("category_id") in self.categories


def plain_layout(skeleton: Skeleton) -> Layout:
    """Returns how people are kept in the order of a skeleton."""
    return Layout(skeleton, list(range(len(skeleton))), len(skeleton), (1,))


@dataclass(frozen=True)
class _People:
    """Some of a file's records.

    Attributes:
        places: (R,) for each record of the file its place among the P people; -1 for who is not one of them.
        records: P, as the file has them.
        wheres: P, for messages.
    """

    places: IntArray
    records: list[dict[str, Any]]
    wheres: list[str]

    @property
    def rows(self) -> IntArray:
        """(P,) places among the records of the file."""
        return np.flatnonzero(self.places >= 0)

    @classmethod
    def of(cls, records: list[Any], where: str, layout: Layout | None = None, posed: bool = False) -> "_People":
        """Returns the people in a list.

        Args:
            records: The list.
            where: It is, for messages.
            layout: Of annotations; every result is of a person.
            posed: Whether only those count who are in a frame.

        Raises:
            UserError: There is something else in the list.
        """
        wheres = [f"{where}[{row}]" for row in range(len(records))]
        chosen = np.zeros(len(records), bool)
        for row, record in enumerate(records):
            expect(record, dict, wheres[row])
            is_person = layout is None or layout.has(record)
            chosen[row] = is_person and (not posed or _is_posed(record, wheres[row]))
        rows = np.flatnonzero(chosen)
        places = np.where(chosen, np.cumsum(chosen) - 1, -1)
        return cls(places, [records[row] for row in rows], [wheres[row] for row in rows])

    @classmethod
    def posed(cls, records: list[Any], where: str, layout: Layout | None = None) -> "_People":
        """Returns the people in a list who are in a frame; see `of`."""
        return cls.of(records, where, layout, posed=True)


@dataclass(frozen=True)
class _Original:
    """A parsed file.

    Attributes:
        document: Its content.
        layout: Of the people's records.
        image_ids: Of the frames.
        places: See `_People`; of the people who are in frames.
        triples: (P, slots, 3) of these, in the order of the file.
        poses: Their keypoints, scores and flags, and their own scores, as in `Frame`.
        has_scores: Whether the file's v is the score of a keypoint.
    """

    document: dict[str, Any] | list[Any]
    layout: Layout
    image_ids: list[ImageId]
    places: IntArray
    triples: FloatArray
    poses: tuple[FloatArray, FloatArray, FloatArray, FloatArray]
    has_scores: bool

    @property
    def records(self) -> list[Any]:
        """The list that people are in, with those who are in no frame."""
        return self.document if isinstance(self.document, list) else self.document["annotations"]


class Coco(Format):
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
    file_names: ClassVar[Mapping[str, str]] = {}
    image_name: ClassVar[str] = "{:012d}.jpg"

    def __init__(self, annotations: str | None = None) -> None:
        """Prepares to read and write.

        Args:
            annotations: A file that has the images of results: their names and sizes, and which there are. Without it,
                they have the names of COCO 2017, and what is written from scratch is a file of annotations.
        """
        self._annotations = annotations

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        """See `Format`."""
        return skeleton_of(document) is COCO17

    def read(self, path: Path) -> list[PoseSequence]:
        """See `Format`. Of annotations every image is a frame; of results too, if the images are known."""
        return [self._sequence(read_json(path), path)]

    def read_annotated(self, path: Path) -> list[PoseSequence]:
        """See `Format`. Only images with somebody's keypoints have ignore regions: no more is looked up in large files.

        The region of a crowd or a person without keypoints is the outline of the segmentation, or else the box.
        """
        document = expect(read_json(path), dict, str(path))
        sequence, everyone = self._sequence(document, path), self._everyone(document, path)
        frames = dict(zip(everyone.images, sequence.frames, strict=True))
        regions: dict[ImageId, list[FloatArray]] = {image_id: [] for image_id in everyone.images}
        is_posed = np.asarray((everyone.triples[..., 2] > 0).any(axis=1)).tolist()
        for record, posed in zip(everyone.records, is_posed, strict=True):
            image_id = _known_id(record["image_id"], regions)
            if not posed and frames[image_id].is_posed.any():
                regions[image_id] += outlines(record)
        with_regions = [replace(frames[key], ignore_regions=tuple(own)) for key, own in regions.items()]
        return [replace(sequence, frames=with_regions)]

    def _sequence(self, document: Any, path: Path) -> PoseSequence:
        """Returns the people who are in a file's frames."""
        if isinstance(document, list):
            layout = self._layout({}, path) if self._annotations is None else self._beside[1]
            people = _People.posed(document, f"{path}: ")
            images, ids = self._images_of_results(people)
        else:
            layout = self._layout(expect(document, dict, str(path)), path)
            people = _People.posed(field(document, "annotations", list, str(path)), f"{path}: annotations", layout)
            images = _images(document, path)
            ids = _image_ids(people, images, "the file's images")

        triples = _triples([record["keypoints"] for record in people.records], people.wheres, layout)
        poses, has_scores = _poses(triples[:, layout.slots])
        values = (*poses, _person_scores(people))
        original = _Original(document, layout, list(images), people.places, triples, values, has_scores)
        return PoseSequence(path.stem, _frames(images, ids, people, original), original)

    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        """See `Format`. From scratch, results if the annotations are known, else annotations.

        Raises:
            UserError: Also if an image is not among those of the annotations.
        """
        originals = [sequence.original for sequence in sequences]
        skeleton = self.skeletons[0]
        if len(originals) == 1 and isinstance(originals[0], _Original) and originals[0].layout.skeleton is skeleton:
            write_json(path, _onto(originals[0], sequences[0].frames))
            return
        frames = [frame for sequence in sequences for frame in sequence.frames]
        if self._annotations is None:
            write_json(path, self._document(frames))
        else:
            images, layout = self._beside
            write_json(path, results(frames, self._known_ids(frames, images), layout))

    def ground_truth(self, path: Path) -> GroundTruth:
        """Reads a file of annotations with everyone in it, also those who are in no frame.

        Raises:
            UserError: The file is absent, broken or of another format.
        """
        return self._everyone(expect(read_json(path), dict, str(path)), path)

    def _everyone(self, document: dict[str, Any], path: Path) -> GroundTruth:
        """Returns everyone in a file of annotations."""
        layout, images = self._layout(document, path), _images(document, path)
        everyone = _People.of(field(document, "annotations", list, str(path)), f"{path}: annotations", layout)
        _image_ids(everyone, images, "the file's images")
        nothing = [0] * (3 * layout.slot_count)
        pairs = zip(everyone.records, everyone.wheres, strict=True)
        lists = [record["keypoints"] if _is_posed(record, where) else nothing for record, where in pairs]
        triples = _triples(lists, everyone.wheres, layout)[:, layout.slots]
        return GroundTruth(images, everyone.records, everyone.wheres, triples)

    @cached_property
    def _beside(self) -> tuple[dict[ImageId, Image], Layout]:
        """The images of the annotations, and the order of their keypoints."""
        path = Path(str(self._annotations))
        document = expect(read_json(path), dict, str(path))
        return _images(document, path), self._layout(document, path)

    def _layout(self, document: dict[str, Any], path: Path) -> Layout:
        """Returns how a file keeps people: in the order of its categories, or else in that of the skeleton."""
        skeleton = self.skeletons[0]
        own = [self.file_names.get(name, name) for name in skeleton.names]
        listed = []
        for i, category in enumerate(expect(document.get("categories") or [], list, f"{path}: categories")):
            if isinstance(category, dict) and isinstance(category.get("keypoints"), list) and category["keypoints"]:
                listed.append((i, category["keypoints"], category.get("id")))
        complete = [(names, category_id) for _, names, category_id in listed if all(name in names for name in own)]
        if listed and not complete:
            i, names, _ = listed[0]
            expected = f"expected all {len(own)} keypoints of {self.name}"
            missing = next(name for name in own if name not in names)
            where = f"{path}: categories[{i}].keypoints"
            raise UserError(f"{where}: {expected}, found no {missing}; read the file in its own format")
        names = complete[0][0] if complete else own
        ids = tuple(category_id for others, category_id in complete if others == names)
        return Layout(skeleton, [names.index(name) for name in own], len(names), ids)

    def _images_of_results(self, people: "_People") -> tuple[dict[ImageId, Image], list[ImageId]]:
        """Returns the images that results may be of, and the image of each of them."""
        if self._annotations is not None:
            images, _ = self._beside
            return images, _image_ids(people, images, f"the images of {self._annotations}")
        ids: list[ImageId] = []
        for record, where in zip(people.records, people.wheres, strict=True):
            number = _number(record.get("image_id"))
            if number is None:
                expected = f"expected a number, found {summary(record.get('image_id'))}"
                raise UserError(f"{where}.image_id: {expected}; set the file of annotations that has its images")
            ids.append(number)
        return {number: Image(self.image_name.format(number)) for number in ids}, ids

    def _known_ids(self, frames: Sequence[Frame], images: Mapping[ImageId, Image]) -> list[ImageId | None]:
        """Returns the ids of the frames' images; None for images without people that are unknown."""
        ids = ids_by_name(frames, images)
        for frame, image_id in zip(frames, ids, strict=True):
            if image_id is None and len(frame):
                raise UserError(f"{frame.image}: expected one of the images of {self._annotations}, found no such name")
        return ids

    def _document(self, frames: Sequence[Frame]) -> dict[str, Any]:
        """Returns annotations of frames of any skeleton; keypoints that this one does not have are left out."""
        skeleton = self.skeletons[0]
        layout = plain_layout(skeleton)
        ids = _new_ids(frames)
        images = [
            {
                "id": image_id,
                "file_name": frame.image,
                **({} if frame.size is None else {"width": frame.size[0], "height": frame.size[1]}),
            }
            for image_id, frame in zip(ids, frames, strict=True)
        ]
        together, places = _together(frames, skeleton)
        records = _new_annotations(together, [ids[place] for place in places], layout, 1)
        category = {
            **{"id": 1, "name": "person", "supercategory": "person"},
            "keypoints": [self.file_names.get(name, name) for name in skeleton.names],
            "skeleton": [[a + 1, b + 1] for a, b in skeleton.limb_indices],
        }
        return {"images": images, "annotations": records, "categories": [category]}


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


_POSETRACK_FIELDS = {
    *("vid_id", "frame_id", "nframes", "is_labeled", "has_labeled_person", "ignore_regions_x"),  # of images
    *("track_id", "person_id", "scores", "bbox_head"),  # of annotations
}
_BY_LENGTH = {3 * len(skeleton): skeleton for skeleton in (COCO17, CROWDPOSE14)}


def skeleton_of(document: object) -> Skeleton | None:
    """Returns the skeleton of a document of COCO's form, which PoseTrack 2018's files have too; None for any other.

    Where nothing in a document of images and annotations tells, it is PoseTrack's.
    """
    if isinstance(document, dict) and {"images", "annotations"} <= document.keys():
        return _skeleton_of_annotations(document)
    if isinstance(document, list) and document and isinstance(document[0], dict):
        is_result = _number(document[0].get("image_id")) is not None
        return _BY_LENGTH.get(_flat_length(document[0])) if is_result else None
    return None


def _skeleton_of_annotations(document: dict[str, Any]) -> Skeleton:
    images, annotations, categories = (_objects(document.get(key)) for key in ("images", "annotations", "categories"))
    names = {name for category in categories for name in _texts(category.get("keypoints"))}
    if "left_eye" in names:
        return COCO17
    if "head_bottom" in names:
        return POSETRACK18
    if {"head", "neck"} <= names or any("crowdIndex" in image for image in images):
        return CROWDPOSE14
    if any(not _POSETRACK_FIELDS.isdisjoint(entry) for entry in (*images, *annotations)):
        return POSETRACK18
    lengths = {_flat_length(annotation) for annotation in annotations} - {0}
    return _BY_LENGTH.get(lengths.pop(), POSETRACK18) if len(lengths) == 1 else POSETRACK18


def _objects(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _texts(value: object) -> list[str]:
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []


def _flat_length(record: dict[str, Any]) -> int:
    """Returns how many numbers a record's keypoints are; 0 if they are something else."""
    keypoints = record.get("keypoints")
    flat = isinstance(keypoints, list) and keypoints and not isinstance(keypoints[0], list | dict | str)
    return len(keypoints) if flat else 0  # type: ignore[arg-type]


def _number(image_id: object) -> int | None:
    """Returns the id of a result's image as a number, which some programs write as a text or with a fraction of 0."""
    if isinstance(image_id, float) and image_id.is_integer():
        return int(image_id)
    if isinstance(image_id, str) and image_id.isdecimal() and len(image_id) < 19:
        return int(image_id)
    return image_id if isinstance(image_id, int) and not isinstance(image_id, bool) else None


def ranking_scores(frame: Frame) -> FloatArray:
    """Returns (N,) what OKS scores rank people by.

    That is the score of the person; without one the mean score of the keypoints that the file has, and 1 without any.
    """
    scored = np.isfinite(frame.scores) & np.isfinite(frame.keypoints).all(axis=-1)  # (N, K)
    counts = np.maximum(scored.sum(axis=1, keepdims=True), 1)  # (N, 1)
    means = (np.where(scored, frame.scores, 0.0) / counts).sum(axis=1)  # divided first: no sum is too large a number
    known = np.where(scored.any(axis=1), means, 1.0)
    return np.where(np.isfinite(frame.person_scores), frame.person_scores, known)


def ids_by_name(frames: Iterable[Frame], images: Mapping[ImageId, Image]) -> list[ImageId | None]:
    """Returns the ids of the frames' images: by the name, else by the name without folder and ending; None if none."""
    by_name = {image.name: image_id for image_id, image in images.items()}
    by_stem: dict[str, ImageId | None] = {}
    for name, image_id in by_name.items():
        stem = _stem(name)
        by_stem[stem] = None if stem in by_stem else image_id  # two images of that name: neither is meant
    return [by_name.get(frame.image, by_stem.get(_stem(frame.image))) for frame in frames]


def results(frames: Sequence[Frame], image_ids: Sequence[ImageId | None], layout: Layout) -> list[dict[str, Any]]:
    """Returns results of frames of any skeleton; v is the score of a keypoint if there are any, else its flag.

    Args:
        frames: With the people.
        image_ids: Of the frames.
        layout: Of the records.
    """
    together, places = _together(frames, layout.skeleton)
    has_scores = bool(np.isfinite(together.scores).any())
    return _new_results(together, [image_ids[place] for place in places], layout, has_scores)


def outlines(record: dict[str, Any]) -> list[FloatArray]:
    """Returns polygons (n, 2) in image_xy about a person or crowd; the box where the segmentation cannot be read."""
    segmentation = record.get("segmentation")
    found: list[FloatArray] = []
    with suppress(TypeError, ValueError, OverflowError):
        if isinstance(segmentation, list):
            found = [np.array(polygon, np.float64).reshape(-1, 2) for polygon in segmentation]
        elif isinstance(segmentation, dict):
            found = _outlines_of_runs(segmentation)
    if found and all(len(polygon) > 2 and np.isfinite(polygon).all() for polygon in found):
        return found
    boxes = _boxes([record])
    x0, y0, x1, y1 = boxes[0].tolist()
    return [np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])] if np.isfinite(boxes).all() else []


_OUTLINE_DETAIL = 2.0
"""Pixels by which an outline's polygon may differ from the mask."""

_LARGEST_MASK = 2**28
"""Pixels; a broken file may ask for more than there is memory for."""


def _outlines_of_runs(segmentation: dict[str, Any]) -> list[FloatArray]:
    """Returns the outlines of a mask that is kept as lengths of runs of 0 and 1, down the columns.

    Raises:
        ValueError: The runs do not add up; likewise TypeError and OverflowError.
    """
    import cv2  # reading poses needs no OpenCV

    height, width = segmentation.get("size", (0, 0))
    if not 0 < height * width <= _LARGEST_MASK:
        raise ValueError("no mask of an image")
    counts = np.asarray(segmentation.get("counts"), np.int64)
    if min(height, width) < 1 or counts.ndim != 1 or counts.min(initial=0) < 0 or counts.sum() != height * width:
        raise ValueError("runs of another size")
    runs = np.repeat(np.arange(len(counts), dtype=np.int64) % 2, counts).astype(np.uint8)
    mask = np.ascontiguousarray(runs.reshape(width, height).T)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    polygons = [cv2.approxPolyDP(contour, _OUTLINE_DETAIL, closed=True)[:, 0] for contour in contours]
    return [np.asarray(polygon, np.float64) for polygon in polygons if len(polygon) > 2]


def _known_id(image_id: Any, images: Mapping[ImageId, Any]) -> ImageId:
    """Returns the id of an image as the file's images have it."""
    number = image_id if image_id in images else _number(image_id)
    assert number is not None
    return number


def _stem(name: str) -> str:
    last = name.rpartition("/")[2]
    return last.rpartition(".")[0] or last


def _is_posed(record: dict[str, Any], where: str) -> bool:
    """Returns whether a person of an annotation is one of a frame: has keypoints and is no crowd."""
    if not record.get("keypoints"):
        return False
    expect(record["keypoints"], list, f"{where}.keypoints")
    return not record.get("iscrowd")


def _triples(lists: list[list[Any]], wheres: list[str], layout: Layout) -> FloatArray:
    """Returns (P, slots, 3) what the records have as keypoints."""
    length = 3 * layout.slot_count
    array = _array(lists, (length,))
    if array is None:  # one after another, to find out which is wrong
        array = np.array([numbers(own, length, f"{where}.keypoints") for own, where in zip(lists, wheres, strict=True)])
    return array.reshape(-1, layout.slot_count, 3)  # (P, 3 * slots) -> (P, slots, 3)


def _array(values: list[Any], shape: tuple[int, ...]) -> FloatArray | None:
    """Returns values of a shape each as one array, null as NaN; None if one is of another shape, or no number."""
    if not values:
        return np.empty((0, *shape))
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return array if array.shape == (len(values), *shape) else None


def _poses(triples: FloatArray) -> tuple[tuple[FloatArray, FloatArray, FloatArray], bool]:
    """Returns keypoints, scores and flags as in `Frame` of (P, K, 3), and whether v is a score in this file."""
    keypoints, v = triples[..., :2].copy(), triples[..., 2]
    missing = (triples == 0).all(axis=-1)
    keypoints[~np.isfinite(keypoints).all(axis=-1)] = np.inf
    keypoints[missing] = np.nan
    has_scores = not np.isin(v[np.isfinite(v)], (0, 1, 2)).all()
    if has_scores:
        scores = np.where(missing | ~np.isfinite(v), np.nan, v)
        return (keypoints, scores, (v > 0).astype(np.float64)), True
    return (keypoints, np.full(v.shape, np.nan), np.nan_to_num(v)), False


def _images(document: dict[str, Any], path: Path) -> dict[ImageId, Image]:
    """Returns the images of annotations by their ids; of two with one id, the first."""
    images: dict[ImageId, Image] = {}
    for i, image in enumerate(field(document, "images", list, str(path))):
        where = f"{path}: images[{i}]"
        name = field(image, "file_name", str, where)
        size = image.get("width"), image.get("height")
        known = size if all(isinstance(side, int) for side in size) else None
        images.setdefault(field(image, "id", IDENTIFIER, where), Image(name, known, _crowd_index(image)))
    return images


def _crowd_index(image: dict[str, Any]) -> float:
    index = image.get("crowdIndex")
    return float(index) if isinstance(index, int | float) and 0 <= index <= 1 else np.nan


def _image_ids(people: _People, images: Mapping[ImageId, Image], what: str) -> list[ImageId]:
    """Returns the image of each of the people, which has to be one of the images."""
    ids = []
    for record, where in zip(people.records, people.wheres, strict=True):
        image_id = field(record, "image_id", (int, str, float), where)
        if image_id not in images:
            number = _number(image_id)
            if number is None or number not in images:
                raise UserError(f"{where}: image_id {summary(image_id)} is not among {what}")
            image_id = number
        ids.append(image_id)
    return ids


def _frames(images: Mapping[ImageId, Image], ids: list[ImageId], people: _People, original: _Original) -> list[Frame]:
    """Returns all images with their people, of whom frames have views of arrays over everyone.

    Args:
        images: By their ids.
        ids: Of the people's images.
        people: Of the file.
        original: With their poses.
    """
    positions = {image_id: position for position, image_id in enumerate(images)}
    position = np.array([positions[image_id] for image_id in ids], np.int64)
    order = np.argsort(position, kind="stable")
    stops = np.cumsum(np.bincount(position, minlength=len(images))).tolist()

    keypoints, scores, flags, person_scores = (array[order] for array in original.poses)
    boxes, rows = _boxes(people.records)[order], people.rows[order]
    nothing, posed = np.full(scores.shape, np.nan), np.ones(len(rows), bool)
    no_boxes = np.full(boxes.shape, np.nan)

    frames = []
    skeleton, start = original.layout.skeleton, 0
    for image, stop in zip(images.values(), stops, strict=True):
        own = slice(start, stop)
        frames.append(
            Frame(
                image.name,
                skeleton,
                keypoints[own],
                scores[own],
                flags[own],
                boxes[own],
                no_boxes[own],
                posed=posed[own],
                records=rows[own],
                confidences=nothing[own],
                size=image.size,
                person_scores=person_scores[own],
            )
        )
        start = stop
    return frames


def _person_scores(people: _People) -> FloatArray:
    """Returns (P,) the people's scores; NaN where there is none."""
    scores = _array([record.get("score") for record in people.records], ())
    if scores is None:  # one after another, to find out which is wrong
        pairs = zip(people.records, people.wheres, strict=True)
        scores = np.array([numbers([record.get("score")], 1, f"{where}.score")[0] for record, where in pairs])
    return scores


def _boxes(records: list[dict[str, Any]]) -> FloatArray:
    """Returns (P, 4) corners of the people's boxes; nothing depends on them, so that a broken one counts as none."""
    boxes = [record.get("bbox") for record in records]
    none = [None] * 4
    sides = _array([box if isinstance(box, list) and len(box) == 4 else none for box in boxes], (4,))
    if sides is None:
        singles = (_array([box], (4,)) for box in boxes)
        sides = np.concatenate([np.full((1, 4), np.nan) if single is None else single for single in singles])
    return np.concatenate([sides[:, :2], sides[:, :2] + sides[:, 2:]], axis=1)


def _together(frames: Sequence[Frame], skeleton: Skeleton) -> tuple[Frame, list[int]]:
    """Returns everyone as if in one image, in a skeleton, and in which of the frames each is."""
    own = [Frame.empty("", skeleton), *(frame.in_skeleton(skeleton) for frame in frames)]
    names = ("keypoints", "scores", "flags", "boxes", "records", "person_scores")
    arrays: dict[str, Any] = {name: np.concatenate([getattr(frame, name) for frame in own]) for name in names}
    places = np.repeat(np.arange(len(frames)), [len(frame) for frame in frames])
    return Frame("", skeleton, **arrays), places.tolist()


def _written(frame: Frame, has_scores: bool) -> FloatArray:
    """Returns (N, K, 3) x, y and v as a file has them: v is the score if the file's v are scores, else 0, 1 or 2."""
    v = np.where(np.isin(frame.flags, (0, 1, 2)), frame.flags, frame.flags > 0)
    if has_scores:  # a score tells as well whether the keypoint is there, if it can
        v = np.where(frame.flags > 0, 1.0, 0.0)
        with np.errstate(invalid="ignore"):
            telling = np.isfinite(frame.scores) & ((frame.scores > 0) == (frame.flags > 0))
        v = np.where(telling, frame.scores, v)
    there = np.asarray(np.isfinite(frame.keypoints).all(axis=-1, keepdims=True))  # (N, K, 1)
    return np.where(there, np.concatenate([frame.keypoints, v[..., None]], axis=-1), 0.0)


def _slotted(triples: FloatArray, layout: Layout) -> FloatArray:
    """Returns (N, slots, 3) of (N, K, 3); zeros in slots of other keypoints."""
    slotted = np.zeros((len(triples), layout.slot_count, 3))
    slotted[:, layout.slots] = triples
    return slotted


def _flat(slotted: FloatArray) -> list[list[float]]:
    """Returns (N, slots, 3) as lists of numbers as a file has them."""
    return plain(slotted.reshape(len(slotted), slotted.shape[1] * 3))  # (N, slots, 3) -> (N, 3 * slots)


def _sides(boxes: FloatArray) -> list[list[float] | None]:
    """Returns x, y, width and height of (N, 4) corners; None where there is no box."""
    whole = sides(boxes)
    there = np.asarray(np.isfinite(whole).all(axis=-1)).tolist()
    return [box if has else None for box, has in zip(plain(whole), there, strict=True)]


def _onto(original: _Original, frames: Sequence[Frame]) -> dict[str, Any] | list[Any]:
    """Returns the original document with the poses of its frames."""
    together, places = _together(frames, original.layout.skeleton)
    known = np.flatnonzero(together.records != NO_RECORD)
    rows = np.concatenate([np.flatnonzero(original.places < 0), together.records[known]])
    kept = {row: original.records[row] for row in rows.tolist()}
    kept |= _updated(original, together, known[_differ(original, together, known)])

    added = np.flatnonzero(together.records == NO_RECORD)
    new, image_ids = together.select(added), [original.image_ids[places[who]] for who in added.tolist()]
    records = [kept[row] for row in sorted(kept)]
    if isinstance(original.document, list):
        return records + _new_results(new, image_ids, original.layout, original.has_scores)
    ids = [record.get("id") for record in original.records if isinstance(record, dict)]
    free_id = max((known_id for known_id in ids if isinstance(known_id, int)), default=0) + 1
    records += _new_annotations(new, image_ids, original.layout, free_id, original.has_scores)
    return {**original.document, "annotations": records}


def _differ(original: _Original, together: Frame, known: IntArray) -> BoolArray:
    """Returns whose pose is not what was read, of the people who were."""
    people = original.places[together.records[known]]
    after = (together.keypoints, together.scores, together.flags, together.person_scores)
    differ = np.zeros(len(known), bool)
    for old, new in zip(original.poses, after, strict=True):
        one, other = old[people], new[known]  # (N, K, 2), (N, K) or (N,)
        same = np.asarray((one == other) | (np.isnan(one) & np.isnan(other)))
        differ |= np.asarray(~same.all(axis=tuple(range(1, same.ndim))))
    return differ


def _updated(original: _Original, together: Frame, changed: IntArray) -> dict[int, dict[str, Any]]:
    """Returns the records of some people with their new poses and scores; slots of other keypoints stay."""
    rows = together.records[changed]
    slotted = original.triples[original.places[rows]]
    slotted[:, original.layout.slots] = _written(together, original.has_scores)[changed]
    counts = (slotted[..., 2] > 0).sum(axis=1).tolist()
    scores = together.person_scores[changed]
    is_new = np.isfinite(scores) & (scores != original.poses[3][original.places[rows]])  # else as the file has it
    updated = {}
    columns = zip(rows.tolist(), _flat(slotted), counts, scores.tolist(), is_new.tolist(), strict=True)
    for row, keypoints, count, score, is_rescored in columns:
        record = original.records[row]
        updated[row] = {**record, "keypoints": keypoints}
        if "num_keypoints" in record:
            updated[row]["num_keypoints"] = count
        if is_rescored:
            updated[row]["score"] = score
    return updated


def _new_results(
    frame: Frame, image_ids: Sequence[ImageId | None], layout: Layout, has_scores: bool
) -> list[dict[str, Any]]:
    """Returns results for the people of a frame, each of an image of its own."""
    category = layout.categories[0] if layout.categories else 1
    lists = _flat(_slotted(_written(frame, has_scores), layout))
    columns = zip(image_ids, lists, ranking_scores(frame).tolist(), _sides(frame.boxes), strict=True)
    return [
        {"image_id": image_id, "category_id": category, "keypoints": keypoints, "score": score}
        | ({} if box is None else {"bbox": box})
        for image_id, keypoints, score, box in columns
    ]


def _new_annotations(
    frame: Frame, image_ids: Sequence[ImageId], layout: Layout, first_id: int, has_scores: bool = False
) -> list[dict[str, Any]]:
    """Returns annotations for the people of a frame, each of an image of its own; the area is that of the box."""
    category = layout.categories[0] if layout.categories else 1
    slotted = _slotted(_written(frame, has_scores), layout)
    counts = (slotted[..., 2] > 0).sum(axis=1).tolist()
    columns = zip(image_ids, _flat(slotted), counts, frame.person_scores.tolist(), _sides(frame.boxes), strict=True)
    records = []
    for number, (image_id, keypoints, count, score, box) in enumerate(columns, first_id):
        record = {"id": number, "image_id": image_id, "category_id": category, "iscrowd": 0}
        record |= {"keypoints": keypoints, "num_keypoints": count}
        record |= {} if box is None else {"bbox": box, "area": box[2] * box[3]}
        records.append(record | ({"score": score} if np.isfinite(score) else {}))
    return records


def _new_ids(frames: Sequence[Frame]) -> list[int]:
    """Returns ids for images: the numbers that they are named by, if all are and no two have the same; else from 1."""
    found = {_number(_stem(frame.image)) for frame in frames}
    if None in found or len(found) < len(frames):
        return list(range(1, len(frames) + 1))
    return [int(_stem(frame.image)) for frame in frames]

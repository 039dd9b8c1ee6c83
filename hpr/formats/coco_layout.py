"""How files of COCO's form, also CrowdPose's and PoseTrack 2018's, keep images, keypoints and regions."""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hpr.errors import UserError
from hpr.formats import fields
from hpr.poses import FloatArray
from hpr.skeleton import CROWDPOSE14, POSETRACK15, POSETRACK18, SKELETONS, Skeleton, named_skeleton

ImageId = int | str


class CocoImage(NamedTuple):
    """What a file of annotations says of an image; NaN and None where it does not say."""

    id: ImageId
    name: str
    size: tuple[int, int] | None = None
    crowd_index: float = float("nan")  # how crowded the image is, in CrowdPose


@dataclass(frozen=True)
class Layout:
    """How a file keeps the keypoints of a person.

    Attributes:
        skeleton: The K keypoints, in the order of the file.
        categories: Ids of the category that people are in; empty where the file does not say, or everyone is.
        is_counted: Whether the file does not name the keypoints.
    """

    skeleton: Skeleton
    categories: tuple[Any, ...] = ()
    is_counted: bool = False

    @property
    def category(self) -> Any:
        """The category of new people."""
        return self.categories[0] if self.categories else 1


def read_images(document: dict[str, Any], path: Path) -> list[CocoImage]:
    """Returns the images of annotations; of two with one id, the first; a UserError says which has no name or id."""
    images: dict[ImageId, CocoImage] = {}
    for i, image in enumerate(fields.field(document, "images", list, str(path))):
        where = f"{path}: images[{i}]"
        name = fields.field(image, "file_name", str, where)
        image_id = fields.field(image, "id", fields.IDENTIFIER, where)
        crowd_index = image.get("crowdIndex")
        is_known = isinstance(crowd_index, int | float) and 0 <= crowd_index <= 1
        crowd_index = float(crowd_index) if is_known else np.nan
        images.setdefault(image_id, CocoImage(image_id, name, fields.image_size(image), crowd_index))
    return list(images.values())


# Regions

_OUTLINE_TOLERANCE = 2.0  # pixels by which an outline's polygon may differ from the mask
_LARGEST_MASK = 2**28  # pixels; a broken file may ask for more than there is memory for


def ignore_polygons(record: dict[str, Any]) -> list[FloatArray]:
    """Returns the ignore region of a crowd or of a person without keypoints: polygons (n, 2) in image_xy.

    These are the outlines of the segmentation; the box where it is absent or cannot be read; nothing without a box.
    """
    segmentation = record.get("segmentation")
    polygons: list[FloatArray] = []
    with suppress(TypeError, ValueError, OverflowError):
        if isinstance(segmentation, list):
            polygons = [np.array(polygon, np.float64).reshape(-1, 2) for polygon in segmentation]
        elif isinstance(segmentation, dict):
            polygons = _mask_outlines(segmentation)
    if polygons and all(len(polygon) > 2 and np.isfinite(polygon).all() for polygon in polygons):
        return polygons

    (box,) = fields.box_corners(fields.boxes([record.get("bbox")]))
    x0, y0, x1, y1 = box.tolist()
    return [np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])] if np.isfinite(box).all() else []


def _mask_outlines(segmentation: dict[str, Any]) -> list[FloatArray]:
    """Returns the outlines of a mask that is kept as lengths of runs of 0 and 1, down the columns.

    Raises:
        ValueError, TypeError, OverflowError: The runs do not add up to the size, or are something else.
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
    polygons = [cv2.approxPolyDP(contour, _OUTLINE_TOLERANCE, closed=True)[:, 0] for contour in contours]
    return [np.asarray(polygon, np.float64) for polygon in polygons if len(polygon) > 2]


# People


class Rows(NamedTuple):
    """Which annotations are of people: those in frames, those and crowds and people without keypoints, and warnings."""

    posed: list[int]
    people: list[int]
    warnings: tuple[str, ...]


def people_rows(records: list[Any], where: str, layout: Layout, document: dict[str, Any]) -> Rows:
    """Sorts annotations by their category, `iscrowd` and list of keypoints."""
    wheres = [f"{where}[{row}]" for row in range(len(records))]
    for record, place in zip(records, wheres, strict=True):
        fields.expect(record, dict, place)
    known = [fields.plain_id(category.get("id")) for category in items(document.get("categories"), dict)]
    own = {fields.plain_id(category) for category in layout.categories}
    ids = _plain_categories([fields.plain_id(record.get("category_id")) for record in records], known, own)
    people = [row for row, category in enumerate(ids) if not own or category in own]
    is_crowd = [fields.flag(record.get("iscrowd")) for record in records]
    posed = [row for row in people if records[row].get("keypoints") and not is_crowd[row]]
    for row in posed:
        fields.expect(records[row]["keypoints"], list, f"{wheres[row]}.keypoints")

    strange = [row for row, category in enumerate(ids) if own and category not in known]
    odd = [row for row, flag in enumerate(is_crowd) if flag is None]
    expected = f"expected {fields.summary(layout.category)}, the people's; they are in no frame"
    warnings = [
        *_strange(records, wheres, strange, "category_id", f"an id of no category; {expected}"),
        *_strange(records, wheres, odd, "iscrowd", "a text or list; expected 0 or 1; they count as people"),
    ]
    if records and not posed and not strange:
        crowds = sum(bool(is_crowd[row]) for row in people)
        others = f"{len(records) - len(people)} are of other categories, {crowds} are crowds"
        bare = f"{len(people) - crowds} have no list of keypoints"
        warnings.append(f"{where}: none of {len(records)} is a person with keypoints: {others}, {bare}")
    return Rows(posed, people, tuple(warnings))


def _plain_categories(ids: list[Any], known: list[Any], own: set[Any]) -> list[Any]:
    """Returns the category ids of annotations as they are meant, where one meaning is plain.

    Some programs count categories from 0 in annotations alone; where there is one category, nothing else can be meant.
    """
    unknown = {category for category in ids if category not in known}
    numbers = [category for category in ids if isinstance(category, int)]
    if 0 in unknown and all(number + 1 in known for number in numbers):
        return [category + 1 if isinstance(category, int) else category for category in ids]
    if len(unknown) == 1 and len(set(ids)) == 1 and len(known) == 1:
        return known * len(ids)
    (only,) = own if len(own) == 1 and len(known) == 1 else (None,)
    return [only if category is None else category for category in ids]


def _strange(records: list[Any], wheres: list[str], rows: list[int], key: str, what: str) -> list[str]:
    """Returns a line about the records of some rows whose field is odd; none without any."""
    if not rows:
        return []
    found = f"{wheres[rows[0]]}.{key}: found {fields.summary(records[rows[0]].get(key))}"
    return [f"{found}, and {len(rows)} of {len(records)} annotations have {what}"]


# Recognition

_POSETRACK_FIELDS = {
    *("vid_id", "frame_id", "nframes", "is_labeled", "has_labeled_person", "ignore_regions_x"),  # of images
    *("track_id", "person_id", "scores", "bbox_head"),  # of annotations
}
_MIN_NAMES = 3
"""Minimum number of known keypoint names for a file to count as people's poses."""


def format_of(document: object) -> str | None:
    """Returns which of the formats of COCO's form a document is in: coco, crowdpose, posetrack18; None for others."""
    if isinstance(document, dict) and {"images", "annotations"} <= document.keys():
        return _format_of_annotations(document)
    if isinstance(document, list) and document and isinstance(document[0], dict):
        length = _flat_length(document[0])
        if fields.id_number(document[0].get("image_id")) is not None and length and length % 3 == 0:
            return "crowdpose" if length == 3 * len(CROWDPOSE14) else "coco"
    return None


def has_names(document: object) -> bool:
    """Returns whether a document says what its keypoints are, or that it is CrowdPose's."""
    content = document if isinstance(document, dict) else {}
    return bool(_names(content)) or any("crowdIndex" in image for image in items(content.get("images"), dict))


def _format_of_annotations(document: dict[str, Any]) -> str:
    images, annotations = items(document["images"], dict), items(document["annotations"], dict)
    names = _names(document)
    known = set(named_skeleton(tuple(dict.fromkeys(names))).names)
    if known and set(POSETRACK15.names) <= known <= set(POSETRACK18.names):
        return "posetrack18"
    if {"head", "neck"} <= set(names) and known == set(CROWDPOSE14.names):
        return "crowdpose"
    if len(known & _BODY) >= _MIN_NAMES:
        return "coco"
    if any("crowdIndex" in image for image in images):
        return "crowdpose"
    if any(not _POSETRACK_FIELDS.isdisjoint(entry) for entry in (*images, *annotations)):
        return "posetrack18"

    lengths = {_flat_length(annotation) for annotation in annotations} - {0}
    is_empty = not images or not isinstance(document["annotations"], list)
    return "crowdpose" if lengths == {3 * len(CROWDPOSE14)} else "posetrack18" if is_empty else "coco"


_BODY = {name for skeleton in SKELETONS.values() for name in skeleton.names}


def _names(document: dict[str, Any]) -> list[str]:
    """Returns all names of keypoints in a document."""
    categories = items(document.get("categories"), dict)
    return [name for category in categories for name in items(category.get("keypoints"), str)]


def items(value: object, kind: type) -> list[Any]:
    """Returns the items of a list that are of a kind; none of what is no list."""
    return [item for item in value if isinstance(item, kind)] if isinstance(value, list) else []


def _flat_length(record: dict[str, Any]) -> int:
    """Returns how many numbers a record's keypoints are; 0 if they are something else."""
    keypoints = record.get("keypoints")
    if not isinstance(keypoints, list) or not keypoints or isinstance(keypoints[0], list | dict | str):
        return 0
    return len(keypoints)


def file_layout(
    document: dict[str, Any], path: Path, usual: Sequence[Skeleton], chosen: Skeleton | None, records: list[Any]
) -> Layout:
    """Returns how a file keeps people: as its categories name keypoints, else as the number of those in records says.

    Raises:
        UserError: The names are of no people, or nobody has said what keypoints of that number are.
    """
    listed = []
    for i, category in enumerate(fields.expect(document.get("categories") or [], list, f"{path}: categories")):
        names = category.get("keypoints") if isinstance(category, dict) else None
        if isinstance(names, list) and names:
            where = f"{path}: categories[{i}].keypoints"
            names = [fields.expect(name, str, where) for name in names]
            listed.append((named_skeleton(names, where), names, category.get("id")))

    lists = [record.get("keypoints") for record in records if isinstance(record, dict)]
    lengths = {len(keypoints) for keypoints in lists if isinstance(keypoints, list) and keypoints}
    length = lengths.pop() if len(lengths) == 1 else 1
    count = None if length % 3 else length // 3
    known = [len(_BODY.intersection(skeleton.names)) for skeleton, _, _ in listed]
    best = max(known, default=0)
    categories = tuple(
        category_id
        for (_, names, category_id), number in zip(listed, known, strict=True)
        if number == best and names == listed[known.index(best)][1]
    )
    if best and chosen is None:
        skeleton, names, _ = listed[known.index(best)]
        if count is not None and count < len(names) and (first := named_skeleton(names[:count])) in SKELETONS.values():
            skeleton = first  # as in Human-Art, whose category lists keypoints that are in another field
        return Layout(skeleton, categories)

    numbered = all(re.fullmatch(r"\D{0,12}\d+", name) for _, names, _ in listed for name in names)
    if chosen is None and not numbered:
        found = ", ".join(listed[0][1][:3])
        advice = "if they are people's, set skeleton=NAME"
        raise UserError(f"{path}: categories: expected names of people's keypoints, found {found}, ...; {advice}")
    if count is None:
        return Layout(chosen or usual[0], categories, is_counted=True)
    skeleton = fields.counted_skeleton(count, usual, chosen, f"{path}: keypoints")
    return Layout(skeleton, categories, is_counted=True)

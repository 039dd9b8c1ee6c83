"""How files of COCO's form, also CrowdPose's and PoseTrack 2018's, keep images, keypoints and regions."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hpr.formats import fields
from hpr.poses import FloatArray
from hpr.skeleton import COCO17, CROWDPOSE14, POSETRACK18, Skeleton

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
        skeleton: Skeleton of the K keypoints.
        slots: (K,) the index of each keypoint's triple in a record.
        slot_count: Number of triples of a record.
        categories: Ids of the category that people are in; empty where the file does not say, or everyone is.
    """

    skeleton: Skeleton
    slots: list[int]
    slot_count: int
    categories: tuple[Any, ...] = ()

    @property
    def category(self) -> Any:
        """The category of new people."""
        return self.categories[0] if self.categories else 1

    def has(self, record: dict[str, Any]) -> bool:
        """Returns whether an annotation is of a person or of a crowd."""
        return not self.categories or record.get("category_id") in self.categories

    def to_slots(self, triples: FloatArray) -> FloatArray:
        """Returns (slot_count, 3) triples of triples (K, 3), with zeros in slots of other keypoints."""
        slotted = np.zeros((self.slot_count, 3))
        slotted[self.slots] = triples
        return slotted


def plain_layout(skeleton: Skeleton) -> Layout:
    """Returns the layout that keeps people in the order of a skeleton."""
    return Layout(skeleton, list(range(len(skeleton))), len(skeleton), (1,))


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


# Recognition

_POSETRACK_FIELDS = {
    *("vid_id", "frame_id", "nframes", "is_labeled", "has_labeled_person", "ignore_regions_x"),  # of images
    *("track_id", "person_id", "scores", "bbox_head"),  # of annotations
}
_BY_LENGTH = {3 * len(skeleton): skeleton for skeleton in (COCO17, CROWDPOSE14)}


def skeleton_of(document: object) -> Skeleton | None:
    """Returns the skeleton of a document of COCO's form; None for any other document.

    Where nothing in a document of images and annotations tells, it is PoseTrack's.
    """
    if isinstance(document, dict) and {"images", "annotations"} <= document.keys():
        return _skeleton_of_annotations(document)
    if isinstance(document, list) and document and isinstance(document[0], dict):
        is_result = fields.id_number(document[0].get("image_id")) is not None
        return _BY_LENGTH.get(_flat_length(document[0])) if is_result else None
    return None


def _skeleton_of_annotations(document: dict[str, Any]) -> Skeleton:
    images, annotations = items(document["images"], dict), items(document["annotations"], dict)
    categories = items(document.get("categories"), dict)
    names = {name for category in categories for name in items(category.get("keypoints"), str)}
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


def items(value: object, kind: type) -> list[Any]:
    """Returns the items of a list that are of a kind; none of what is no list."""
    return [item for item in value if isinstance(item, kind)] if isinstance(value, list) else []


def _flat_length(record: dict[str, Any]) -> int:
    """Returns how many numbers a record's keypoints are; 0 if they are something else."""
    keypoints = record.get("keypoints")
    if not isinstance(keypoints, list) or not keypoints or isinstance(keypoints[0], list | dict | str):
        return 0
    return len(keypoints)

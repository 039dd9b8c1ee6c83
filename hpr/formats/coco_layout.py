"""How files of COCO's form keep images and keypoints: COCO, CrowdPose, and PoseTrack 2018, which looks alike."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hpr.formats import fields
from hpr.poses import FloatArray
from hpr.skeleton import COCO17, CROWDPOSE14, POSETRACK18, Skeleton

ImageId = int | str


class CocoImage(NamedTuple):
    """What a file of annotations says of an image.

    Attributes:
        id: As the file has it.
        name: Name of its file.
        size: Width and height; None where the file does not say.
        crowd_index: How crowded the image is, in CrowdPose; NaN where the file does not say.
    """

    id: ImageId
    name: str
    size: tuple[int, int] | None = None
    crowd_index: float = float("nan")


@dataclass(frozen=True)
class Layout:
    """How a file keeps the keypoints of a person.

    Attributes:
        skeleton: Of the K keypoints.
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
        """Returns (slot_count, 3) of triples (K, 3); zeros in slots of other keypoints."""
        slotted = np.zeros((self.slot_count, 3))
        slotted[self.slots] = triples
        return slotted


def plain_layout(skeleton: Skeleton) -> Layout:
    """Returns the layout that keeps people in the order of a skeleton."""
    return Layout(skeleton, list(range(len(skeleton))), len(skeleton), (1,))


def read_images(document: dict[str, Any], path: Path) -> list[CocoImage]:
    """Returns the images of annotations; of two with one id, the first.

    Raises:
        UserError: An image has no name or no id.
    """
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
    images, annotations = _items(document["images"], dict), _items(document["annotations"], dict)
    categories = _items(document.get("categories"), dict)
    names = {name for category in categories for name in _items(category.get("keypoints"), str)}
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


def _items(value: object, kind: type) -> list[Any]:
    """Returns the items of a list that are of a kind; none of what is no list."""
    return [item for item in value if isinstance(item, kind)] if isinstance(value, list) else []


def _flat_length(record: dict[str, Any]) -> int:
    """Returns how many numbers a record's keypoints are; 0 if they are something else."""
    keypoints = record.get("keypoints")
    if not isinstance(keypoints, list) or not keypoints or isinstance(keypoints[0], list | dict | str):
        return 0
    return len(keypoints)

"""From a person in an image to the pixels that the network sees, and back (docs/published.md, section 2)."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from hpr.images import Image
from hpr.poses import HEAD_SIZE_PER_DIAGONAL, FloatArray
from hpr.skeleton import Skeleton

ScaleRule = Literal["published", "body"]
"""How a person's size is measured: by the head alone (`person_scale`), or by all limbs (`body_scale`)."""

ScaleSetting = ScaleRule | Literal["auto"]
"""A rule, or by the head where poses have both ends of it (`scale_rule`)."""

STANDARD_SCALE = 0.8452830189
"""Size of the people that the network was trained on; discs and training targets have the same scale."""

MEAN_HEAD = 101.4252
"""Diagonal of the head box, in image pixels, that is assumed where a pose has no head: PoseTrack's mean."""

MAX_CROP_PIXELS = 3_000_000
MIN_CROP_SIDE = 8
MARGIN = 250.0
"""Pixels of the resized image around the keypoints' bounding box, as published."""

_DIAGONAL_PER_HEAD = 1.4286
"""Diagonal of the head box per distance between head_bottom and head_top."""

_LARGEST_HEAD = 2500
"""Head sizes from here on, in pixels, are taken for mistakes; the published code stops at them."""

# Typical lengths in diagonals of the head box, about five of which are a person's height; between keypoints of one
# side or in the middle. Arms, legs and trunk have roughly Drillis and Contini's shares of the height, shoulders and
# hips are as wide as those of the drawn people, and a face has 63 mm between its pupils and 145 mm between its ears.
_LIMB_LENGTHS = {
    ("shoulder", "elbow"): 0.85,
    ("elbow", "wrist"): 0.73,
    ("hip", "knee"): 1.22,
    ("knee", "ankle"): 1.20,
    ("shoulder", "hip"): 1.47,
    ("thorax", "pelvis"): 1.45,
    ("left_shoulder", "right_shoulder"): 1.03,
    ("left_hip", "right_hip"): 0.56,
    ("head_bottom", "head_top"): 1 / _DIAGONAL_PER_HEAD,
    ("head_bottom", "nose"): 0.45,
    ("nose", "head_top"): 0.53,
    ("left_ear", "right_ear"): 0.41,
    ("left_eye", "right_eye"): 0.18,
    ("eye", "ear"): 0.28,
    ("nose", "ear"): 0.36,
}

_BOX_LENGTH = 4.5
"""Typical longer side of a person's box in the same unit: 5 for an upright person, about 3 for the upper half."""

_CANVAS_ROOM = 1.25
"""Sides of a crop of fixed size, in sides of the person's box."""

FARTHEST = 1e6
"""Coordinates beyond these, in pixels, are absurd: they are clamped, so that integers stay within their range."""

_MAX_REDUCED_SCALE = 0.75
"""Largest scale of a crop relative to a reduced image; above it, the crop would be visibly less sharp."""

_PRECISION_BITS = 22
"""Fraction bits of Pillow's fixed-point resampling weights."""


@dataclass(frozen=True)
class Crop:
    """A region of an image that was resized for one person.

    The only way between coordinates `image_xy`, in pixels of the image, and `crop_xy`, in pixels of the crop.

    Attributes:
        scale: Resized pixels per image pixel.
        resized: Width and height of the whole image after resizing.
        box: x0, y0, x1, y1 of the crop in the resized image; x1 and y1 are just outside. What lies beyond the image is
            black.
        centre: Where in a pixel its coordinate is: 0 as published, 0.5 for its centre, which resizing leaves in place.
    """

    scale: float
    resized: tuple[float, float]
    box: tuple[int, int, int, int]
    centre: float = 0.0

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.box[3] - self.box[1]

    def to_crop(self, image_xy: FloatArray) -> FloatArray:
        """Converts points (..., 2) from `image_xy` to `crop_xy`."""
        return (image_xy + self.centre) * self.scale - self.centre - self.box[:2]

    def to_image(self, crop_xy: FloatArray) -> FloatArray:
        """Converts points (..., 2) from `crop_xy` to `image_xy`."""
        return (crop_xy + self.box[:2] + self.centre) / self.scale - self.centre

    def pixels(self, image: Image) -> Image:
        """Returns the crop (height, width, 3) of an image (H, W, 3).

        The values are bit for bit those of resizing the whole image with Pillow's BILINEAR, columns before rows (as up
        to version 12), and then cropping; only the sums of the crop are computed.
        """
        sampling = self.sampling(image.shape[1], image.shape[0])
        return sampling.pixels(image[sampling.rows, sampling.columns])

    def sampling(self, width: float, height: float) -> "Sampling":
        """Returns how the crop is computed from an image of that size.

        The size is a fraction where the image is a cut of a reduced one, which ends between two of its pixels.
        """
        x0, y0, x1, y1 = self.box
        right, bottom = (math.ceil(side) for side in self.resized)
        inside = (max(x0, 0), max(y0, 0), min(x1, right), min(y1, bottom))
        columns, across = _resampling(width, self.resized[0], inside[0], inside[2])
        rows, down = _resampling(height, self.resized[1], inside[1], inside[3])
        border = (inside[1] - y0, y1 - inside[3], inside[0] - x0, x1 - inside[2])
        return Sampling(rows, columns, down, across, border)


@dataclass(frozen=True)
class Sampling:
    """Which pixels of an image a crop is computed from, and how.

    Attributes:
        rows: Rows of the image.
        columns: Columns of the image.
        down: (height of the crop within the image, number of rows), fixed-point weights.
        across: (width of the crop within the image, number of columns), fixed-point weights.
        border: Rows above and below the image, and columns left and right of it.
    """

    rows: slice
    columns: slice
    down: "csr_array[np.int32]"
    across: "csr_array[np.int32]"
    border: tuple[int, int, int, int]

    def pixels(self, part: Image) -> Image:
        """Returns the crop (height, width, 3) from the pixels (rows, columns, 3)."""
        part = cv2.transpose(part)  # (columns, rows, 3)
        part = _resample(self.across, part)  # (width, rows, 3)
        part = cv2.transpose(part)  # (rows, width, 3)
        part = _resample(self.down, part)  # (height, width, 3)
        return np.asarray(cv2.copyMakeBorder(part, *self.border, cv2.BORDER_CONSTANT)) if any(self.border) else part


def scale_rule(setting: ScaleSetting, *skeletons: Skeleton) -> ScaleRule:
    """Returns the rule that a setting means for poses that are converted between some skeletons."""
    if setting != "auto":
        return setting
    has_head = all(end in skeleton for skeleton in skeletons for end in ("head_bottom", "head_top"))
    return "published" if has_head else "body"


def person_scale(pose: FloatArray, skeleton: Skeleton, mean_head: float = MEAN_HEAD) -> float:
    """Returns the factor that brings a person to the network's standard size (docs/published.md, section 2.1).

    A mean head is assumed where `head_diagonal` is not known.

    Args:
        pose: (K, 2) in image pixels, NaN where missing.
        skeleton: The K keypoints.
        mean_head: Diagonal of a mean head box, in image pixels.
    """
    diagonal = head_diagonal(pose, skeleton)
    return _scale_of(mean_head if np.isnan(diagonal) else diagonal)


def head_diagonal(pose: FloatArray, skeleton: Skeleton) -> float:
    """Returns the diagonal of the head box of a pose (K, 2) by the ends of the head, in image pixels.

    It is NaN if an end is missing, if both are at the same pixel, or if the head is too large to be true.
    """
    if "head_bottom" in skeleton and "head_top" in skeleton:
        ends = pose[skeleton.indices("head_bottom", "head_top")]  # (2, 2)
        # The published code keeps the ends of the head in whole pixels and truncates towards zero.
        length = float(np.hypot(*(np.trunc(ends[1]) - np.trunc(ends[0]))))
        diagonal = _DIAGONAL_PER_HEAD * length
        if length > 0 and HEAD_SIZE_PER_DIAGONAL * diagonal < _LARGEST_HEAD:  # both false for NaN
            return diagonal
    return float("nan")


def body_scale(
    pose: FloatArray, skeleton: Skeleton, box: FloatArray | None = None, mean_head: float = MEAN_HEAD
) -> float:
    """Returns the factor that brings a person to the network's standard size, estimated from all visible keypoints.

    Every distance between two keypoints of the body says how large the head should be. Most are too short, since limbs
    point towards the camera or away from it; hence the median of the longer half of them. With fewer than two
    distances, the person's box is used; without a box the one distance; without any a mean head is assumed.

    Args:
        pose: (K, 2) in image pixels, NaN where missing.
        skeleton: The K keypoints.
        box: (4,) x0, y0, x1, y1 of the person; NaN or None where unknown.
        mean_head: Diagonal of a mean head box, in image pixels.
    """
    ends, typical = limb_lengths(skeleton)
    with np.errstate(invalid="ignore", over="ignore"):
        lengths = np.linalg.norm(pose[ends[:, 0]] - pose[ends[:, 1]], axis=1)  # (n,)
        is_usable = (lengths >= 1) & (lengths < np.inf)
    diagonals = np.sort(lengths[is_usable] / typical[is_usable])

    longer_side = 0.0 if box is None or not np.isfinite(box).all() else float(np.max(box[2:] - box[:2]))
    if len(diagonals) < 2 and longer_side >= 1:
        diagonal = longer_side / _BOX_LENGTH
    elif len(diagonals):
        diagonal = float(np.median(diagonals[len(diagonals) // 2 :]))
    else:
        diagonal = mean_head
    return _scale_of(diagonal if HEAD_SIZE_PER_DIAGONAL * diagonal < _LARGEST_HEAD else mean_head)


def head_size(pose: FloatArray, skeleton: Skeleton, box: FloatArray) -> float:
    """Returns the head size of a person in image pixels, estimated like `body_scale`."""
    return STANDARD_SCALE * 50 / body_scale(pose, skeleton, box)


def _scale_of(diagonal: float) -> float:
    """Returns the scale of a person whose head box has that diagonal, in image pixels."""
    return STANDARD_SCALE * 50 / (HEAD_SIZE_PER_DIAGONAL * diagonal)


@lru_cache
def limb_lengths(skeleton: Skeleton) -> tuple[NDArray[np.int64], FloatArray]:
    """Returns the keypoint indices (n, 2) of the distances that a skeleton has, and their typical lengths (n,)."""
    found: dict[tuple[str, str], float] = {}
    for names, length in _LIMB_LENGTHS.items():
        for side in ("left_", "right_"):
            a, b = (name if name in skeleton else side + name for name in names)
            if a in skeleton and b in skeleton:
                found[a, b] = length

    ends = np.array([skeleton.indices(*names) for names in found], np.int64).reshape(-1, 2)
    return ends, np.array(list(found.values()))


def person_crop(pose: FloatArray, image_size: tuple[int, int], scale: float, margin: float = MARGIN) -> Crop | None:
    """Returns the crop of a person, or None where it would have more than MAX_CROP_PIXELS or no pixel at all.

    See `person_region` for the arguments.
    """
    crop = person_region(pose, image_size, scale, margin)
    return crop if 0 < crop.width * crop.height <= MAX_CROP_PIXELS else None


def person_region(pose: FloatArray, image_size: tuple[int, int], scale: float, margin: float = MARGIN) -> Crop:
    """Returns the crop of a person, whatever its size (docs/published.md, sections 2.2 and 2.3).

    Args:
        pose: (K, 2) in image pixels, NaN where missing; at least one keypoint is there.
        image_size: Width and height of the image.
        scale: Scale of the person, from `person_scale` or `body_scale`.
        margin: Pixels of the resized image around the keypoints' bounding box.
    """
    width, height = int(image_size[0] * scale), int(image_size[1] * scale)
    low = np.nanmin(pose, axis=0) * scale - margin
    high = np.nanmax(pose, axis=0) * scale + margin
    x0, x1 = (round(min(max(bound, 0.0), float(width))) for bound in (low[0], high[0]))
    y0, y1 = (round(min(max(bound, 0.0), float(height))) for bound in (low[1], high[1]))

    if x1 - x0 < MIN_CROP_SIDE or y1 - y0 < MIN_CROP_SIDE:
        x0, y0, x1, y1 = 0, 0, width, height
    return Crop(scale, (width, height), (x0, y0, x1, y1))


def canvas_crop(box: FloatArray, image_size: tuple[int, int], canvas: tuple[int, int]) -> Crop | None:
    """Returns the crop of a canvas's size into which a person's box with some room around it fits.

    Args:
        box: (4,) x0, y0, x1, y1 in image pixels, from `person_boxes`.
        image_size: Width and height of the image.
        canvas: Height and width of the crop.

    Returns:
        The crop, or None where it would show nothing of the image.
    """
    scale = float(canvas_scales(box[None], canvas)[0])
    resized = (image_size[0] * scale, image_size[1] * scale)
    x, y = ((box[:2] + box[2:]) / 2 * scale).tolist()
    x0, y0 = round(x - canvas[1] / 2), round(y - canvas[0] / 2)
    if x0 >= resized[0] or y0 >= resized[1] or x0 + canvas[1] <= 0 or y0 + canvas[0] <= 0:
        return None
    return Crop(scale, resized, (x0, y0, x0 + canvas[1], y0 + canvas[0]), centre=0.5)


def canvas_scales(boxes: FloatArray, canvas: tuple[int, int]) -> FloatArray:
    """Returns the scales (N,) of the crops of some boxes; see `canvas_crop` for the arguments."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0) * _CANVAS_ROOM  # (N, 2)
    return np.asarray(np.min(canvas[::-1] / sides, axis=1))


def reduction_for(scale: float, reductions: Iterable[int]) -> int:
    """Returns the largest of some reductions of an image at which a crop of a scale still has fewer pixels, or 1.

    Args:
        scale: Resized pixels per pixel of the whole image.
        reductions: What the image's sides can be divided by.
    """
    return max((r for r in reductions if r * scale <= _MAX_REDUCED_SCALE), default=1)


def person_boxes(poses: FloatArray, boxes: FloatArray) -> FloatArray:
    """Returns a box (N, 4) x0, y0, x1, y1 for each person: the given one, or one around the keypoints.

    A box around keypoints is as large as an annotated one, which includes head, hands and feet: a quarter of the longer
    side is added to both sides. Keypoints with low scores count: a box without them misses parts of the person.

    Args:
        poses: (N, K, 2) in image pixels, NaN where missing.
        boxes: (N, 4) x0, y0, x1, y1, NaN where unknown.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        sides = boxes[:, 2:] - boxes[:, :2]
        is_given = (np.isfinite(boxes) & (np.abs(boxes) < FARTHEST)).all(axis=1) & (sides.min(axis=1) >= 1)

    found = np.where(is_given[:, None], boxes, np.nan)
    for person in np.flatnonzero(~is_given & ~np.isnan(poses[..., 0]).all(axis=1)):
        pose = np.clip(poses[person], -FARTHEST, FARTHEST)
        low, high = np.nanmin(pose, axis=0), np.nanmax(pose, axis=0)
        longer = float((high - low).max()) or _BOX_LENGTH * MEAN_HEAD
        half = (np.maximum(high - low, longer / 4) + longer / 4) / 2
        found[person] = *((low + high) / 2 - half), *((low + high) / 2 + half)
    return found


def _resampling(size: float, resized: float, start: int, stop: int) -> tuple[slice, "csr_array[np.int32]"]:
    """Returns which input pixels of an axis the output pixels [start, stop) need, and their weights.

    The weights are those of Pillow's BILINEAR: a triangle that widens when shrinking, cut off at the image border,
    normalised, and rounded to 22-bit fractions: a matrix (stop - start, number of input pixels).
    """
    step = size / resized
    support = max(step, 1.0)
    centre = (np.arange(start, stop) + 0.5) * step  # (outputs,)
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + support + 0.5).astype(np.int64), math.ceil(size))  # exclusive

    taps = first[:, None] + np.arange((last - first).max())  # (outputs, taps)
    weights = np.maximum(1.0 - np.abs((taps - centre[:, None] + 0.5) * (1.0 / support)), 0.0)
    weights[taps >= last[:, None]] = 0.0
    weights /= weights.sum(axis=1, keepdims=True)
    fixed = (weights * (1 << _PRECISION_BITS) + 0.5).astype(np.int32)

    begin, end = int(first.min()), int(last.max())
    columns = np.minimum(taps, end - 1) - begin
    row_starts = np.arange(len(taps) + 1) * taps.shape[1]
    matrix = csr_array((fixed.ravel(), columns.ravel(), row_starts), shape=(len(taps), end - begin))
    return slice(begin, end), matrix


def _resample(weights: "csr_array[np.int32]", pixels: Image) -> Image:
    """Applies weights (outputs, inputs) to the first axis of pixels (inputs, n, 3), rounding to 8 bits."""
    _, n, channels = pixels.shape
    # A sum stays below 255 * 2^22 + 2^21 and so within 32 bits.
    sums = weights @ pixels.reshape(-1, n * channels).astype(np.int32)  # (outputs, n * 3)
    sums += 1 << (_PRECISION_BITS - 1)
    sums >>= _PRECISION_BITS
    return np.asarray(sums, np.uint8).reshape(-1, n, channels)  # (outputs, n * 3) -> (outputs, n, 3)

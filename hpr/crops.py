"""From a person in an image to the pixels the network sees, and back (docs/published.md, section 2)."""

import math
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
"""How large a person is taken to be: by the head alone, or by all limbs (`person_scale`, `body_scale`)."""

STANDARD_SCALE = 0.8452830189
"""Size of the people the network was trained on; the discs and the training targets share it."""

MEAN_HEAD = 101.4252
"""Diagonal of the head box, in image pixels, that is assumed where a pose has no head: PoseTrack's mean."""

MAX_CROP_PIXELS = 3_000_000
MIN_CROP_SIDE = 8
MARGIN = 250.0
"""Pixels of the resized image around the keypoints' bounding box, as published."""

_DIAGONAL_PER_HEAD = 1.4286

# In diagonals of the head box, of which a person's height is about five; between keypoints of one side, or in the
# middle. Arms, legs and trunk have about Drillis and Contini's shares of the height, the widths between shoulders and
# hips are those of the drawn people, and those of the face are 63 mm between the pupils and 145 mm between the ears.
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
"""Longer side of a person's box, in the same unit: 5 of one who stands upright, about 3 of the upper half."""
_PRECISION_BITS = 22  # Pillow's fixed-point resampling weights


@dataclass(frozen=True)
class Crop:
    """A region of an image that was resized for one person.

    `image_xy` is in pixels of the image, `crop_xy` in pixels of the crop.

    Attributes:
        scale: Resized pixels per image pixel.
        resized: Width and height of the whole image after resizing.
        box: x0, y0, x1, y1 of the crop in the resized image; x1 and y1 are just outside.
    """

    scale: float
    resized: tuple[int, int]
    box: tuple[int, int, int, int]

    @property
    def width(self) -> int:
        """In pixels."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> int:
        """In pixels."""
        return self.box[3] - self.box[1]

    @property
    def head_size(self) -> float:
        """Of the person, in image pixels: 0.6 of the head box's diagonal, by which the scale was chosen."""
        return STANDARD_SCALE * 50 / self.scale

    def to_crop(self, image_xy: FloatArray) -> FloatArray:
        """Converts points (..., 2) from `image_xy` to `crop_xy`."""
        return image_xy * self.scale - self.box[:2]

    def to_image(self, crop_xy: FloatArray) -> FloatArray:
        """Converts points (..., 2) from `crop_xy` to `image_xy`."""
        return (crop_xy + self.box[:2]) / self.scale

    def pixels(self, image: Image) -> Image:
        """Returns the crop (height, width, 3) of an image (H, W, 3).

        The values are bit for bit those of resizing the whole image with Pillow's BILINEAR, columns
        before rows (as up to version 12), and then cropping; only the sums of the crop are computed.
        """
        sampling = self.sampling(image.shape[1], image.shape[0])
        return sampling.pixels(image[sampling.rows, sampling.columns])

    def sampling(self, width: float, height: float) -> "Sampling":
        """Returns how the crop is computed from an image's pixels.

        Args:
            width: Of the whole image; a fraction where the image was made smaller and its last column stands for less.
            height: Likewise.
        """
        x0, y0, x1, y1 = self.box
        columns, across = _resampling(width, self.resized[0], x0, x1)
        rows, down = _resampling(height, self.resized[1], y0, y1)
        return Sampling(rows, columns, down, across)


@dataclass(frozen=True)
class Sampling:
    """Which pixels of an image a crop is computed from, and how.

    Attributes:
        rows: Of the image.
        columns: Of the image.
        down: (height of the crop, number of rows), weights as whole numbers.
        across: (width of the crop, number of columns), likewise.
    """

    rows: slice
    columns: slice
    down: "csr_array[np.int32]"
    across: "csr_array[np.int32]"

    def pixels(self, part: Image) -> Image:
        """Returns the crop (height, width, 3) from the pixels (rows, columns, 3)."""
        part = cv2.transpose(part)  # (columns, rows, 3)
        part = _resample(self.across, part)  # (width, rows, 3)
        part = cv2.transpose(part)  # (rows, width, 3)
        return _resample(self.down, part)  # (height, width, 3)


def person_scale(pose: FloatArray, skeleton: Skeleton, mean_head: float = MEAN_HEAD) -> float:
    """Returns the factor that brings a person to the network's standard size (docs/published.md, section 2.1).

    The size of a mean head is assumed without both ends of the head, with both in one place, and with a head larger
    than the published code accepts (it stops there; such a head is an outlier).

    Args:
        pose: (K, 2) in image pixels, NaN where missing.
        skeleton: Of the pose; one without head_bottom and head_top has a mean head.
        mean_head: Diagonal of a mean head box, in image pixels.
    """
    diagonal = head_diagonal(pose, skeleton)
    return _scale_of(mean_head if np.isnan(diagonal) else diagonal)


def head_diagonal(pose: FloatArray, skeleton: Skeleton) -> float:
    """Returns the diagonal of the head box of a pose (K, 2), in pixels, by the head's ends; NaN where they do not say.

    These are not there or in one place, or the head is larger than the published code accepts.
    """
    if "head_bottom" in skeleton and "head_top" in skeleton:
        ends = pose[skeleton.indices("head_bottom", "head_top")]
        # The published code keeps the head's ends in whole pixels, and truncates towards zero.
        length = float(np.hypot(*(np.trunc(ends[1]) - np.trunc(ends[0]))))
        if length > 0 and HEAD_SIZE_PER_DIAGONAL * _DIAGONAL_PER_HEAD * length < 2500:  # neither holds for NaN
            return _DIAGONAL_PER_HEAD * length
    return float("nan")


def body_scale(
    pose: FloatArray, skeleton: Skeleton, box: FloatArray | None = None, mean_head: float = MEAN_HEAD
) -> float:
    """Returns the factor that brings a person to the network's standard size, estimated from all that is to be seen.

    Every length between two keypoints of the body says how large the head should be. Most are too short, since limbs
    point towards the camera or away from it; hence the median of the longer half of them. With fewer than two lengths,
    the person's box says it; without a box the one length; without any a mean head is assumed.

    Args:
        pose: (K, 2) in image pixels, NaN where missing.
        skeleton: Of the pose; any that has limbs of a body or a face.
        box: (4,) x0, y0, x1, y1 of the person; NaN or None where unknown.
        mean_head: Diagonal of a mean head box, in image pixels.
    """
    diagonals = np.sort(_head_diagonals(pose, skeleton))
    longer_side = 0.0 if box is None or not np.isfinite(box).all() else float(np.max(box[2:] - box[:2]))
    if len(diagonals) < 2 and longer_side >= 1:
        diagonal = longer_side / _BOX_LENGTH
    elif len(diagonals):
        diagonal = float(np.median(diagonals[len(diagonals) // 2 :]))
    else:
        diagonal = mean_head
    return _scale_of(diagonal if HEAD_SIZE_PER_DIAGONAL * diagonal < 2500 else mean_head)


def _scale_of(diagonal: float) -> float:
    """Returns the scale of a person whose head box has that diagonal, in image pixels."""
    return STANDARD_SCALE * 50 / (HEAD_SIZE_PER_DIAGONAL * diagonal)


def _head_diagonals(pose: FloatArray, skeleton: Skeleton) -> FloatArray:
    """Returns (n,) how large the head should be by each length of a pose (K, 2) that is a pixel or more."""
    ends, typical = _limbs(skeleton)
    with np.errstate(invalid="ignore", over="ignore"):
        lengths = np.linalg.norm(pose[ends[:, 0]] - pose[ends[:, 1]], axis=1)  # (n,)
        usable = (lengths >= 1) & (lengths < np.inf)
    return np.asarray(lengths[usable] / typical[usable])


@lru_cache
def _limbs(skeleton: Skeleton) -> tuple[NDArray[np.int64], FloatArray]:
    """Returns the places (n, 2) of the ends of the lengths that a skeleton has, and their typical values (n,)."""
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

    Args:
        pose: (K, 2) in image pixels, NaN where missing; at least one keypoint is there.
        image_size: Width and height of the image.
        scale: Of the person, from `person_scale`.
        margin: Pixels of the resized image around the keypoints' bounding box.
    """
    crop = person_region(pose, image_size, scale, margin)
    return crop if 0 < crop.width * crop.height <= MAX_CROP_PIXELS else None


def person_region(pose: FloatArray, image_size: tuple[int, int], scale: float, margin: float = MARGIN) -> Crop:
    """Returns the crop of a person whatever its size (docs/published.md, sections 2.2 and 2.3).

    Args:
        pose: (K, 2) in image pixels, NaN where missing; at least one keypoint is there.
        image_size: Width and height of the image.
        scale: Of the person, from `person_scale`.
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


def _resampling(size: float, resized: int, start: int, stop: int) -> tuple[slice, "csr_array[np.int32]"]:
    """Returns which input pixels of an axis the output pixels [start, stop) need, and their weights.

    The weights are those of Pillow's BILINEAR: a triangle that widens when shrinking, cut off at the
    image border, normalised, and rounded to 22-bit fractions.

    Returns:
        The range of input pixels, and a matrix (stop - start, inputs in range) of whole numbers.
    """
    step = size / resized
    support = max(step, 1.0)
    centre = (np.arange(start, stop) + 0.5) * step
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + support + 0.5).astype(np.int64), math.ceil(size))  # just outside
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
    _, others, channels = pixels.shape
    # A sum stays below 255 * 2^22 + 2^21 and so within 32 bits.
    sums = weights @ pixels.reshape(-1, others * channels).astype(np.int32)  # (outputs, n * 3)
    sums += 1 << (_PRECISION_BITS - 1)
    sums >>= _PRECISION_BITS
    return np.asarray(sums, np.uint8).reshape(-1, others, channels)

"""From a person in an image to the pixels the network sees, and back (docs/published.md, section 2)."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.sparse import csr_array

from hpr.images import Image
from hpr.poses import FloatArray
from hpr.skeleton import Skeleton

STANDARD_SCALE = 0.8452830189
"""Size of the people the network was trained on; the discs and the training targets share it."""

MEAN_HEAD = 101.4252
"""Diagonal of the head box, in image pixels, that is assumed where a pose has no head: PoseTrack's mean."""

MAX_CROP_PIXELS = 3_000_000
MIN_CROP_SIDE = 8
MARGIN = 250.0
"""Pixels of the resized image around the keypoints' bounding box."""

_DIAGONAL_PER_HEAD = 1.4286
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
        x0, y0, x1, y1 = self.box
        columns, across = _resampling(image.shape[1], self.resized[0], x0, x1)
        rows, down = _resampling(image.shape[0], self.resized[1], y0, y1)
        part = cv2.transpose(image[rows, columns])  # (columns, rows, 3)
        part = _resample(across, part)  # (width, rows, 3)
        part = cv2.transpose(part)  # (rows, width, 3)
        return _resample(down, part)  # (height, width, 3)


def person_scale(pose: FloatArray, skeleton: Skeleton, mean_head: float = MEAN_HEAD) -> float:
    """Returns the factor that brings a person to the network's standard size (docs/published.md, section 2.1).

    The size of a mean head is assumed without both ends of the head, with both in one place, and with a head larger
    than the published code accepts (it stops there; such a head is an outlier).

    Args:
        pose: (K, 2) in image pixels, NaN where missing.
        skeleton: Of the pose; one without head_bottom and head_top has a mean head.
        mean_head: Diagonal of a mean head box, in image pixels.
    """
    diagonal = mean_head
    if "head_bottom" in skeleton and "head_top" in skeleton:
        ends = pose[skeleton.indices("head_bottom", "head_top")]
        # The published code keeps the head's ends in whole pixels, and truncates towards zero.
        length = float(np.hypot(*(np.trunc(ends[1]) - np.trunc(ends[0]))))
        if length > 0 and 0.6 * _DIAGONAL_PER_HEAD * length < 2500:  # neither holds for NaN
            diagonal = _DIAGONAL_PER_HEAD * length
    return STANDARD_SCALE * 50 / (0.6 * diagonal)


def person_crop(pose: FloatArray, image_size: tuple[int, int], scale: float) -> Crop | None:
    """Returns the crop of a person, or None where it would have more than MAX_CROP_PIXELS or no pixel at all.

    Args:
        pose: (K, 2) in image pixels, NaN where missing; at least one keypoint is there.
        image_size: Width and height of the image.
        scale: Of the person, from `person_scale`.
    """
    crop = person_region(pose, image_size, scale)
    return crop if 0 < crop.width * crop.height <= MAX_CROP_PIXELS else None


def person_region(pose: FloatArray, image_size: tuple[int, int], scale: float) -> Crop:
    """Returns the crop of a person whatever its size (docs/published.md, sections 2.2 and 2.3).

    Args:
        pose: (K, 2) in image pixels, NaN where missing; at least one keypoint is there.
        image_size: Width and height of the image.
        scale: Of the person, from `person_scale`.
    """
    width, height = int(image_size[0] * scale), int(image_size[1] * scale)
    low = np.nanmin(pose, axis=0) * scale - MARGIN
    high = np.nanmax(pose, axis=0) * scale + MARGIN
    x0, x1 = (round(min(max(bound, 0.0), float(width))) for bound in (low[0], high[0]))
    y0, y1 = (round(min(max(bound, 0.0), float(height))) for bound in (low[1], high[1]))
    if x1 - x0 < MIN_CROP_SIDE or y1 - y0 < MIN_CROP_SIDE:
        x0, y0, x1, y1 = 0, 0, width, height
    return Crop(scale, (width, height), (x0, y0, x1, y1))


def _resampling(size: int, resized: int, start: int, stop: int) -> tuple[slice, "csr_array[np.int32]"]:
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
    last = np.minimum((centre + support + 0.5).astype(np.int64), size)  # just outside
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

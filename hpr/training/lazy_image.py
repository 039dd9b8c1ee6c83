"""Images that are decoded, rotated and cropped on demand: only the pixels that a training example needs are made."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

from hpr.crops import Crop, reduction_for
from hpr.images import Image, ImageSource
from hpr.pixels import REDUCTIONS, reductions_of
from hpr.poses import FloatArray, Frame, IntArray

CUT_STEP = REDUCTIONS[-1]
"""Images are cut at multiples of 8 pixels, so that the cuts stay integral at all reduced JPEG scales."""


class Rotation(NamedTuple):
    """A rotation of an image's content.

    Attributes:
        centre: (x, y), which stays where it is.
        angle: Degrees, anticlockwise.
        fill: RGB colour of what comes from outside the image.
    """

    centre: tuple[float, float]
    angle: float
    fill: tuple[float, float, float]

    def matrix(self, reduction: int = 1) -> FloatArray:
        """Returns the map (2, 3) from pixels to rotated ones in an image whose sides were divided by `reduction`."""
        # Pixel x of the reduced image stands for pixels reduction * x to reduction * (x + 1) - 1.
        x, y = ((value - (reduction - 1) / 2) / reduction for value in self.centre)
        return np.asarray(cv2.getRotationMatrix2D((x, y), self.angle, 1.0))

    def apply(self, points: FloatArray) -> FloatArray:
        """Returns rotated points (..., 2)."""
        matrix = self.matrix()
        return points @ matrix[:, :2].T + matrix[:, 2]


@dataclass(frozen=True)
class LazyImage:
    """An image that may be rotated (`replace(image, rotation=…)`) and then cut, without pixels until they are needed.

    Attributes:
        read: Returns the stored image's pixels with its sides divided by one of `reductions`.
        width: Width in pixels of the stored image.
        height: Height in pixels of the stored image.
        reductions: Numbers that `read` can divide by, 1 first.
        rotation: Rotation of the stored image.
        corner: (x, y) of the first pixel in the rotated image, multiples of `CUT_STEP`.
    """

    read: Callable[[int], Image]
    width: int
    height: int
    reductions: tuple[int, ...] = (1,)
    rotation: Rotation | None = None
    corner: tuple[int, int] = (0, 0)

    @classmethod
    def from_array(cls, image: Image) -> "LazyImage":
        """Wraps an image (H, W, 3)."""
        return cls(lambda reduction: image, image.shape[1], image.shape[0])

    @classmethod
    def from_frame(cls, images: ImageSource, frame: Frame) -> "LazyImage":
        """Returns a frame's image, which is decoded when its pixels are first asked for, and then kept.

        Raises:
            UserError: There is no image, as far as can be seen without decoding it.
        """

        @cache
        def read(reduction: int) -> Image:
            return images.read(frame, reduction)

        size = images.size(frame)
        return cls(read, *size, reductions_of(size))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height

    def cut(self, axis: int, start: int, stop: int) -> "LazyImage":
        """Returns the columns (axis 0) or rows (axis 1) from `start`, a multiple of `CUT_STEP`, up to `stop`."""
        x, y = self.corner
        if axis == 0:
            return replace(self, width=stop - start, corner=(x + start, y))
        return replace(self, height=stop - start, corner=(x, y + start))

    def reduction_for(self, scale: float) -> int:
        """Returns the largest reduction at which a crop of a scale still has fewer pixels than the reduced image."""
        return reduction_for(scale, self.reductions)

    def crop(self, crop: Crop, reduction: int = 1) -> Image:
        """Returns the pixels (height, width, 3) of a crop.

        Args:
            crop: A crop of this image.
            reduction: Number that the image's sides are divided by first. With 1 the pixels are those that refining
                computes; larger ones are faster and differ a little (docs/performance.md).
        """
        sampling = crop.sampling(self.width / reduction, self.height / reduction)
        return sampling.pixels(self._region(sampling.rows, sampling.columns, reduction))

    def _region(self, rows: slice, columns: slice, reduction: int) -> Image:
        """Returns rows and columns of this image with its sides divided by `reduction`."""
        image = self.read(reduction)
        x, y = (start // reduction for start in self.corner)
        rows, columns = slice(rows.start + y, rows.stop + y), slice(columns.start + x, columns.stop + x)
        if self.rotation is None:
            return image[rows, columns]

        size = (columns.stop - columns.start, rows.stop - rows.start)
        matrix = self.rotation.matrix(reduction)
        matrix[:, 2] -= columns.start, rows.start
        source, corner = _source_region(image, matrix, size)
        matrix[:, 2] += matrix[:, :2] @ corner

        # OpenCV warps four channels in less than half the time that it takes for three.
        source = cv2.cvtColor(source, cv2.COLOR_RGB2RGBA)
        region = cv2.warpAffine(source, matrix, size, borderMode=cv2.BORDER_CONSTANT, borderValue=self.rotation.fill)
        return np.asarray(cv2.cvtColor(region, cv2.COLOR_RGBA2RGB), np.uint8)


def _source_region(image: Image, matrix: FloatArray, size: tuple[int, int]) -> tuple[Image, IntArray]:
    """Returns the region of an image that a map (2, 3) to `size` (width, height) reads, and its corner (2,)."""
    width, height = size
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]])
    sources = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    limit = np.array(image.shape[1::-1])

    # Interpolation looks at two more pixels. Where everything is outside the image, one pixel is kept.
    low = np.clip(np.floor(sources.min(axis=0)) - 2, 0, limit - 1).astype(int)
    high = np.clip(np.ceil(sources.max(axis=0)) + 3, low + 1, limit).astype(int)
    return image[low[1] : high[1], low[0] : high[0]], low

"""Images that are turned, cut and cropped for training; their pixels are made only where they are needed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

from hpr.crops import Crop
from hpr.images import REDUCTIONS, Image, ImageSource, ReducingSource
from hpr.poses import FloatArray, Frame, IntArray

CUT_STEP = REDUCTIONS[-1]
"""Images are cut at multiples of so many pixels, where the pixels of reduced images begin, too."""


_FINEST = 0.75
"""Pixels of a crop per pixel of an image that was reduced for it: with more, crops would be sharper than otherwise."""


class Turn(NamedTuple):
    """A rotation of an image's content.

    Attributes:
        middle: x and y, which stay where they are.
        angle: In degrees, against the clock.
        fill: Colour of what comes from outside of the image.
    """

    middle: tuple[float, float]
    angle: float
    fill: tuple[float, float, float]

    def matrix(self, reduction: int = 1) -> FloatArray:
        """Returns the map (2, 3) from pixels to turned ones in an image whose sides were divided by `reduction`."""
        # Pixel x of the reduced image stands for pixels reduction * x to reduction * (x + 1) - 1.
        x, y = ((place - (reduction - 1) / 2) / reduction for place in self.middle)
        return np.asarray(cv2.getRotationMatrix2D((x, y), self.angle, 1.0))

    def moved(self, points: FloatArray) -> FloatArray:
        """Returns where points (..., 2) are afterwards."""
        matrix = self.matrix()
        return points @ matrix[:, :2].T + matrix[:, 2]


@dataclass(frozen=True)
class View:
    """An image as a training example sees it: perhaps turned, and then cut.

    Attributes:
        read: Returns the stored image's pixels, its sides divided by one of the reductions and rounded up.
        width: Of the view, in pixels of the stored image.
        height: Likewise.
        reductions: By what numbers `read` can divide, 1 first.
        turn: How the stored image is turned, about a place in it.
        corner: x and y of the view's first pixel in the turned image, multiples of `CUT_STEP`.
    """

    read: Callable[[int], Image]
    width: int
    height: int
    reductions: tuple[int, ...] = (1,)
    turn: Turn | None = None
    corner: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, image: Image) -> "View":
        """Returns a view of the whole of an image (H, W, 3)."""
        return cls(lambda reduction: image, image.shape[1], image.shape[0])

    @classmethod
    def of_frame(cls, images: ImageSource, frame: Frame) -> "View":
        """Returns a view of a frame, which is decoded when its pixels are asked for first, and then kept.

        Raises:
            UserError: There are no pixels, as far as can be seen without decoding them.
        """
        reductions = images.reductions(frame) if isinstance(images, ReducingSource) else (1,)

        @cache
        def read(reduction: int) -> Image:
            if reduction > 1 and isinstance(images, ReducingSource):
                return images.read_reduced(frame, reduction)
            return images.read(frame)

        return cls(read, *images.size(frame), reductions)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height

    def turned(self, turn: Turn) -> "View":
        """Returns a view, which must be of a whole image, with its content turned."""
        return replace(self, turn=turn)

    def cut(self, axis: int, start: int, stop: int) -> "View":
        """Returns a part of a view.

        Args:
            axis: 0 to cut columns off, 1 for rows.
            start: First column or row, a multiple of `CUT_STEP`.
            stop: Just after the last one.
        """
        x, y = self.corner
        if axis == 0:
            return replace(self, width=stop - start, corner=(x + start, y))
        return replace(self, height=stop - start, corner=(x, y + start))

    def pixels(self) -> Image:
        """Returns all pixels (height, width, 3)."""
        return self._part(slice(0, self.height), slice(0, self.width), 1)

    def reduction_for(self, scale: float) -> int:
        """Returns by how much the sides can be divided so that a crop of that scale still shrinks the image further.

        Args:
            scale: Pixels of the crop per pixel of the view.
        """
        return max(reduction for reduction in self.reductions if reduction == 1 or reduction * scale <= _FINEST)

    def crop(self, crop: Crop, reduction: int = 1) -> Image:
        """Returns the pixels (height, width, 3) of a crop.

        Args:
            crop: Of the view.
            reduction: By what the sides of the image are divided first. 1 makes the pixels that refining makes of an
                image that looks like the view; more are faster and a little different (docs/performance.md).
        """
        sampling = crop.sampling(self.width / reduction, self.height / reduction)
        return sampling.pixels(self._part(sampling.rows, sampling.columns, reduction))

    def _part(self, rows: slice, columns: slice, reduction: int) -> Image:
        """Returns rows and columns of the view with its sides divided by a number."""
        image = self.read(reduction)
        x, y = (start // reduction for start in self.corner)
        rows, columns = slice(rows.start + y, rows.stop + y), slice(columns.start + x, columns.stop + x)
        return image[rows, columns] if self.turn is None else turned_part(image, self.turn, rows, columns, reduction)


def turned_part(image: Image, turn: Turn, rows: slice, columns: slice, reduction: int) -> Image:
    """Returns rows and columns of a turned image.

    Args:
        image: (H, W, 3), with sides divided by the reduction.
        turn: How it is to be turned.
        rows: Of the turned image.
        columns: Likewise.
        reduction: By what the sides were divided.

    Returns:
        (rows, columns, 3).
    """
    size = (columns.stop - columns.start, rows.stop - rows.start)
    matrix = turn.matrix(reduction)
    matrix[:, 2] -= columns.start, rows.start
    source, corner = _source_of(image, matrix, size)
    matrix[:, 2] += matrix[:, :2] @ corner

    # OpenCV turns four channels in less than half the time that it takes for three.
    source = cv2.cvtColor(source, cv2.COLOR_RGB2RGBA)
    part = cv2.warpAffine(source, matrix, size, borderMode=cv2.BORDER_CONSTANT, borderValue=turn.fill)
    return np.asarray(cv2.cvtColor(part, cv2.COLOR_RGBA2RGB), np.uint8)


def _source_of(image: Image, matrix: FloatArray, size: tuple[int, int]) -> tuple[Image, IntArray]:
    """Returns the part of an image that a map (2, 3) to an area of that width and height needs, and its corner (2,)."""
    width, height = size
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]])
    places = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    limit = np.array(image.shape[1::-1])
    # Two pixels more, which interpolation looks at. Where all is outside of the image, one pixel is kept.
    low = np.clip(np.floor(places.min(axis=0)) - 2, 0, limit - 1).astype(int)
    high = np.clip(np.ceil(places.max(axis=0)) + 3, low + 1, limit).astype(int)
    return image[low[1] : high[1], low[0] : high[0]], low

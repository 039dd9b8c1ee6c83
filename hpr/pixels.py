"""Pixels of image files, and the base class of what pixels come from."""

import os
import warnings
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from hpr.errors import UserError
from hpr.files import read_bytes
from hpr.poses import Frame
from hpr.settings import Orientation

Image = NDArray[np.uint8]
"""(H, W, 3) RGB."""

REDUCTIONS = (1, 2, 4, 8)
"""What the sides of an image can be divided by while it is read."""

# OpenCV's flags by reduction. What its names call grey is the flag of the size alone; the first flag says RGB.
_FLAGS = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_8,
}

_EXIF_FORMATS = ("JPEG", "MPO", "PNG", "WEBP")
"""Pillow's names of the formats whose EXIF orientation OpenCV follows if asked; it always turns TIFF."""

_EXIF_ORIENTATION = 0x0112

_JPEG_MAGIC = b"\xff\xd8\xff"
"""First bytes of a JPEG file."""


class ImageSource(ABC):
    """Where the pixels of frames come from. May be used from several threads.

    Attributes:
        name: Name of the source in messages.
        in_order: Whether reading is only fast in the order of the frames' numbers.
    """

    name: str
    in_order: bool = False

    @abstractmethod
    def has(self, frame: Frame) -> bool:
        """Returns whether there are pixels for a frame, as far as can be told without decoding any."""

    @abstractmethod
    def expected(self, frame: Frame) -> str:
        """Returns which image a message says is missing, such as a path.

        Raises:
            UserError: The frame does not say which image it belongs to, or has a name that is refused.
        """

    @abstractmethod
    def read(self, frame: Frame, reduction: int = 1) -> Image:
        """Returns the pixels of a frame.

        Args:
            frame: The frame.
            reduction: One of `reductions_of` the size: the sides are divided by it, so that each pixel of the result is
                the mean of about `reduction` × `reduction` pixels. A JPEG file is then read faster.

        Raises:
            UserError: There are none, or they cannot be decoded.
        """

    @abstractmethod
    def size(self, frame: Frame) -> tuple[int, int]:
        """Returns width and height of an image, where possible without decoding it.

        Raises:
            UserError: As for `read`.
        """


def reductions_of(size: tuple[int, int]) -> tuple[int, ...]:
    """Returns those of `REDUCTIONS` that divide width and height without a remainder."""
    return tuple(reduction for reduction in REDUCTIONS if not any(side % reduction for side in size))


def reduce_image(image: Image, reduction: int) -> Image:
    """Returns an image (H, W, 3) with its sides divided by a reduction: the means of blocks of pixels."""
    if reduction == 1:
        return image
    return np.asarray(
        cv2.resize(image, None, fx=1 / reduction, fy=1 / reduction, interpolation=cv2.INTER_AREA), np.uint8
    )


def read_image(path: Path, reduction: int = 1, orientation: int = 1) -> Image:
    """Returns an image as (H, W, 3) RGB.

    Args:
        path: The image file.
        reduction: What its sides are divided by, one of `reductions_of` its size.
        orientation: EXIF's number, 1 to 8, of how the stored pixels are turned; 1 leaves them as they are.

    Raises:
        UserError: The image is absent or cannot be decoded.
    """
    encoded = np.frombuffer(read_bytes(path, "image"), np.uint8)
    try:
        return _turned(decode_image(encoded, reduction), orientation)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def decode_image(encoded: NDArray[np.uint8], reduction: int = 1) -> Image:
    """Decodes the bytes (n,) of an image file to (H, W, 3) RGB.

    Args:
        encoded: Content of the file.
        reduction: What its sides are divided by, one of `reductions_of` its size.

    Raises:
        ValueError: The bytes are not an image that OpenCV can decode.
    """
    is_jpeg = encoded[: len(_JPEG_MAGIC)].tobytes() == _JPEG_MAGIC
    image = None
    if encoded.size:
        try:
            flags = _FLAGS[reduction if is_jpeg else 1]  # OpenCV would skip pixels of other formats
            image = cv2.imdecode(encoded, flags | cv2.IMREAD_IGNORE_ORIENTATION)
        except cv2.error:  # raised before the pixels are decoded
            limit = "OPENCV_IO_MAX_IMAGE_PIXELS"
            raise ValueError(f"above the limit of {os.environ[limit]} pixels (the variable {limit})") from None
    if image is None:
        raise ValueError("not an image that OpenCV can decode")
    return np.asarray(image if is_jpeg else reduce_image(image, reduction), np.uint8)


def _turned(image: Image, orientation: int) -> Image:
    """Returns the stored pixels of an image as an EXIF orientation, 1 to 8, says that they are shown."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def read_header(path: Path) -> tuple[tuple[int, int], int]:
    """Returns width and height of the stored pixels, and the EXIF orientation, 1 where there is none.

    They are read from the file's header where Pillow knows the format.

    Raises:
        UserError: The image is absent or cannot be decoded.
    """
    read_bytes(path, "image", size=0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large images, but none is decoded here
            with PIL.Image.open(path) as image:
                return image.size, _exif_orientation(image)
    except Exception:  # an unknown format, or whatever Pillow makes of a broken file
        height, width = read_image(path).shape[:2]
        return (width, height), 1


def _exif_orientation(image: PIL.Image.Image) -> int:
    exif: Any = PIL.Image.Exif()
    with suppress(Exception):  # whatever Pillow makes of a broken mark, which OpenCV ignores
        exif.load(image.info["exif"] if image.format in _EXIF_FORMATS else b"")
        if exif.get(_EXIF_ORIENTATION) in range(2, 9):
            return int(exif[_EXIF_ORIENTATION])
    return 1


def is_turned(
    setting: Orientation, frame: Frame, stored: tuple[int, int], turned: tuple[int, int], default: bool
) -> bool:
    """Returns whether the coordinates of a frame are of the turned image, given the sizes of both."""
    if setting == "auto" and stored != turned and frame.size in (stored, turned):
        return frame.size == turned
    return default if setting == "auto" else setting == "exif"

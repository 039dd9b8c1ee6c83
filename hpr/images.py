"""Where pixels come from. No other module joins a folder and an image's name."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hpr.errors import UserError

Image = NDArray[np.uint8]
"""(H, W, 3) RGB."""


@dataclass(frozen=True)
class ImageFolder:
    """A folder of image files that poses name.

    Attributes:
        root: The folder.
        outside: Whether a name may lead out of it: by "..", as an absolute path or through a symbolic link.
    """

    root: str | Path
    outside: bool = False

    def path(self, name: str) -> Path:
        """Returns where an image lies.

        Raises:
            UserError: It lies outside of the folder, and must not; or no file can have such a name.
        """
        path = Path(self.root) / name
        try:
            # Compared as real paths, so that neither ".." nor a link is a way out.
            inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.root))
        except ValueError:  # a zero character, or one that the file system's encoding does not have
            raise UserError(f"{self.root}: no image can have the name {name!r}") from None
        if not (inside or self.outside):
            raise UserError(f"{path}: lies outside of {self.root}; if that is meant, add dataset.outside=true")
        return path

    def has(self, name: str) -> bool:
        """Returns whether there is a file of that name."""
        try:
            return self.path(name).is_file()
        except (UserError, OSError):  # a name may be too long for the system
            return False

    def read(self, name: str) -> Image:
        """Returns an image.

        Raises:
            UserError: It is absent, cannot be decoded, or lies outside of the folder.
        """
        return read_image(self.path(name))


def read_image(path: Path) -> Image:
    """Returns an image as (H, W, 3) RGB, in the orientation its pixels are stored in.

    Pose files hold coordinates of the stored pixels, so an EXIF orientation is ignored.

    Raises:
        UserError: The image is absent or cannot be decoded.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a named pipe would wait for ever
            raise UserError(f"{path}: cannot be read (not a file)")
        encoded = np.fromfile(path, np.uint8)
    except FileNotFoundError:
        raise UserError(f"{path}: no such image") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return decode_image(encoded)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def decode_image(encoded: NDArray[np.uint8]) -> Image:
    """Decodes the bytes (n,) of an image file to (H, W, 3) RGB.

    Raises:
        ValueError: They are not an image that OpenCV can decode.
    """
    image = None
    if encoded.size:
        try:
            image = cv2.imdecode(encoded, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        except cv2.error:  # raised before the pixels are decoded
            limit = "OPENCV_IO_MAX_IMAGE_PIXELS"
            raise ValueError(f"above the limit of {os.environ[limit]} pixels (the variable {limit})") from None
    if image is None:
        raise ValueError("not an image that OpenCV can decode")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)

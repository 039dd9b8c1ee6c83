"""Where pixels come from: a folder, a list of pictures, a video. No other module joins a folder and an image's name."""

import os
import stat
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from threading import Lock
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from hpr.settings import checked
from hpr.errors import UserError
from hpr.poses import PICTURE_ENDINGS, Frame, image_stem

# FFmpeg would print lines of its own beside our one on what is wrong with a video.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

Image = NDArray[np.uint8]
"""(H, W, 3) RGB."""

REDUCTIONS = (1, 2, 4, 8)
"""What the sides of a JPEG image can be divided by as it is decoded; odd sides are rounded up."""

_FASTEST = 1000.0
"""Frames in a second."""

VIDEO_ENDINGS = frozenset(
    (
        *(".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4"),
        *(".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"),
    )
)


@runtime_checkable  # so that pydantic can tell what is one
class ImageSource(Protocol):
    """Where the pixels of frames come from. May be used from several threads."""

    @property
    def name(self) -> str:
        """What messages call the source."""

    @property
    def in_order(self) -> bool:
        """Whether frames have to be asked for in the order of their numbers, to be read fast."""

    def has(self, frame: Frame) -> bool:
        """Returns whether there are pixels for a frame, as far as can be seen without decoding any."""

    def expected(self, frame: Frame) -> str:
        """Returns what a message says is looked for.

        Raises:
            UserError: The frame does not say which image it is of, or says it in a way that is refused.
        """

    def read(self, frame: Frame) -> Image:
        """Returns the pixels of a frame.

        Raises:
            UserError: There are none, or they cannot be decoded.
        """

    def size(self, frame: Frame) -> tuple[int, int]:
        """Returns width and height of what `read` returns, where possible without decoding it.

        Raises:
            UserError: As for `read`.
        """


@runtime_checkable
class ReducingSource(ImageSource, Protocol):
    """A source of files, some of which can be decoded to fewer pixels than they have, which is faster."""

    def reductions(self, frame: Frame) -> tuple[int, ...]:
        """Returns by what whole numbers the sides of a frame can be divided as it is decoded: (1,) or `REDUCTIONS`.

        Raises:
            UserError: As for `read`.
        """

    def read_reduced(self, frame: Frame, reduction: int) -> Image:
        """Returns the pixels of a frame, each the mean of about `reduction` × `reduction` pixels.

        Raises:
            UserError: As for `read`.
        """


@checked
def open_images(location: str | Path | Sequence[str | Path], outside: bool = False) -> ImageSource:
    """Returns the source of images that a place is: a folder, a video, a picture, or a list of pictures.

    Args:
        location: A path, or several paths of pictures. A .txt file has the path of a picture in each line, relative to
            the folder it is in.
        outside: See `ImageFolder`.

    Raises:
        UserError: It is none of these, or cannot be read.
    """
    if not isinstance(location, str | Path):
        return ImageList([Path(path) for path in location], f"the list of {len(location)} pictures")
    path = Path(location)
    ending = path.suffix.lower()
    try:
        is_there, is_folder = path.exists(), path.is_dir()
    except OSError as error:  # the name may be too long for the system
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if is_folder:
        return ImageFolder(path, outside)
    if ending in VIDEO_ENDINGS:
        return Video(path)
    if ending in PICTURE_ENDINGS:
        _check_file(path, "image")
        return ImageList([path], str(path))
    if ending == ".txt":
        return ImageList(_listed(path), str(path))
    if is_there:
        expected = "a folder, a video such as .mp4, a picture such as .jpg, or a .txt file that lists pictures"
        raise UserError(f"{path}: expected {expected}; found a file that ends in '{path.suffix}'")
    return ImageFolder(path, outside)  # says of each image that it is not there


@dataclass(frozen=True)
class ImageFolder:
    """A folder of image files that poses name.

    Where there is no file of a name, the one with another ending is meant: "a/1" or "a/1.png" may be a/1.jpg.

    Attributes:
        root: The folder.
        outside: Whether a name may lead out of it: by "..", as an absolute path or through a symbolic link.
    """

    root: str | Path
    outside: bool = False
    _pictures: dict[Path, dict[str, list[str]]] = field(default_factory=dict, init=False, repr=False, compare=False)

    in_order = False

    @property
    def name(self) -> str:
        """See `ImageSource`."""
        return str(self.root)

    def path(self, name: str) -> Path:
        """Returns where an image lies.

        Raises:
            UserError: It lies outside of the folder, and must not; or no file can have such a name.
        """
        path = Path(self.root) / name
        try:
            inside = self._is_inside(path)
        except ValueError:  # a zero character, or one that the file system's encoding does not have
            raise UserError(f"{self.root}: no image can have the name {name!r}") from None
        if not (inside or self.outside):
            raise UserError(f"{path}: lies outside of {self.root}; if that is meant, add dataset.outside=true")
        return path

    def has(self, frame: Frame) -> bool:
        """See `ImageSource`."""
        try:
            return self._found(frame.image).is_file()
        except (UserError, OSError):  # a name may be too long for the system
            return False

    def expected(self, frame: Frame) -> str:
        """See `ImageSource`."""
        return str(self._found(frame.image))

    def read(self, frame: Frame) -> Image:
        """Returns an image.

        Raises:
            UserError: It is absent, cannot be decoded, or lies outside of the folder.
        """
        return read_image(self._found(frame.image))

    def read_reduced(self, frame: Frame, reduction: int) -> Image:
        """See `ReducingSource`."""
        return read_image(self._found(frame.image), reduction)

    def reductions(self, frame: Frame) -> tuple[int, ...]:
        """See `ReducingSource`."""
        return reductions_of(self._found(frame.image))

    def size(self, frame: Frame) -> tuple[int, int]:
        """See `ImageSource`."""
        return image_size(self._found(frame.image))

    def _is_inside(self, path: Path) -> bool:
        # Compared as real paths, so that neither ".." nor a link is a way out.
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.root))

    def _found(self, name: str) -> Path:
        """Returns the file of a name, or that with another ending; where there is neither, the name's own path."""
        path = self.path(name)
        if _is_file(path) or not (self.outside or self._is_inside(path.parent)):
            return path
        others = self._pictures_in(path.parent).get(image_stem(name), [])
        if len(others) > 1:
            raise UserError(f"{path}: no such image, and both {others[0]} and {others[1]} could be meant; name one")
        return self.path(str(PurePath(name).with_name(others[0]))) if others else path

    def _pictures_in(self, folder: Path) -> dict[str, list[str]]:
        """Returns the names of a folder's pictures by their stems; the folder is listed once."""
        if folder not in self._pictures:
            by_stem: dict[str, list[str]] = {}
            for name in _names_in(folder):
                if PurePath(name).suffix.lower() in PICTURE_ENDINGS:
                    by_stem.setdefault(image_stem(name), []).append(name)
            self._pictures[folder] = by_stem
        return self._pictures[folder]


class ImageList:
    """Picture files that poses name: by whole path, by its last parts, or without the ending.

    The picture whose path has the most parts in common with a name, counted from the end, is meant. A name that is
    empty means the only picture.
    """

    in_order = False

    def __init__(self, paths: Sequence[Path], name: str = "the list of pictures") -> None:
        """Takes the paths.

        Args:
            paths: Of the pictures.
            name: What messages call the list.

        Raises:
            UserError: There are none.
        """
        if not paths:
            raise UserError(f"{name}: expected pictures, found none")
        self.name = name
        self._by_stem: dict[str, list[Path]] = {}
        for path in dict.fromkeys(paths):
            self._by_stem.setdefault(image_stem(path.name), []).append(path)

    def has(self, frame: Frame) -> bool:
        """See `ImageSource`."""
        try:
            return _is_file(self._found(frame.image))
        except UserError:
            return False

    def expected(self, frame: Frame) -> str:
        """See `ImageSource`."""
        return frame.image or "one picture"

    def read(self, frame: Frame) -> Image:
        """See `ImageSource`."""
        return read_image(self._found(frame.image))

    def read_reduced(self, frame: Frame, reduction: int) -> Image:
        """See `ReducingSource`."""
        return read_image(self._found(frame.image), reduction)

    def reductions(self, frame: Frame) -> tuple[int, ...]:
        """See `ReducingSource`."""
        return reductions_of(self._found(frame.image))

    def size(self, frame: Frame) -> tuple[int, int]:
        """See `ImageSource`."""
        return image_size(self._found(frame.image))

    def _found(self, name: str) -> Path:
        """Returns the picture of a name.

        Raises:
            UserError: There is none, or more than one.
        """
        own = PurePath(name)
        paths = self._by_stem.get(image_stem(name), [])
        if not name:
            paths = [path for paths in self._by_stem.values() for path in paths]
        common = [_common_end(path, own) for path in paths]
        best = [path for path, count in zip(paths, common, strict=True) if count == max(common)]
        if not best:
            raise UserError(f"{self.name}: no picture is named '{name}', as the poses have it")
        if len(best) > 1:
            raise UserError(f"{self.name}: both {best[0]} and {best[1]} could be '{name}', which the poses name")
        return best[0]


class Video:
    """A video file, whose frames poses name by their numbers from 0.

    It is decoded from its first frame on, and only the frame that was asked for last is held in memory. An earlier one
    takes long: the video is opened anew. Frames are counted, and turned by the rotation that the file says, as OpenCV
    does by default, and so as in a pose estimator that reads videos with OpenCV.
    """

    in_order = True

    def __init__(self, path: str | Path) -> None:
        """Opens the video.

        Raises:
            UserError: It is absent, or cannot be read.
        """
        self.name = str(path)
        _check_file(Path(path), "video")
        self._lock = Lock()
        self._capture = _opened(self.name)
        self._next = 0
        self._end: int | None = None  # number of frames, known when the last has been read

    @property
    def frame_rate(self) -> float:
        """Frames in a second by the file's header; 25 where it says none that can be."""
        with self._lock:
            rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        return rate if 0 < rate <= _FASTEST else 25.0

    @property
    def frame_count(self) -> int:
        """Number of frames by the file's header, until the last has been read; 0 or less where it says none."""
        with self._lock:
            header = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        return header if self._end is None else self._end

    def has(self, frame: Frame) -> bool:
        """Returns whether there is a frame of that number, by what the file's header says of their number."""
        end = self.frame_count
        return frame.number is not None and frame.number >= 0 and (frame.number < end or end <= 0)

    def expected(self, frame: Frame) -> str:
        """See `ImageSource`."""
        return f"frame {self._number(frame)}"

    def read(self, frame: Frame) -> Image:
        """Returns a frame.

        Raises:
            UserError: The poses do not say which, there is none of that number, or it cannot be decoded.
        """
        number = self._number(frame)
        with self._lock:
            return self._frame(number)

    def size(self, frame: Frame) -> tuple[int, int]:
        """Returns width and height, which all frames have in common."""
        self._number(frame)
        with self._lock:
            sides = [self._capture.get(side) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
        return int(sides[0]), int(sides[1])

    def _number(self, frame: Frame) -> int:
        if frame.number is None:
            example = f" (as for '{frame.image}')" if frame.image else ""
            raise UserError(f"{self.name}: the poses do not say which frame of the video they are of{example}")
        return frame.number

    def _frame(self, number: int) -> Image:
        self._check_number(number)
        if number < self._next - 1:
            self._rewind()
        while self._next <= number:  # passed over, without conversion to pixels of RGB
            if not self._capture.grab():
                self._end = self._next
                self._rewind()
                self._check_number(number)
            self._next += 1

        try:
            is_decoded, image = self._capture.retrieve()  # may be called again for the same frame
        except cv2.error:
            is_decoded = False
        if not is_decoded:
            raise UserError(f"{self.name}: frame {number} cannot be decoded")
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)

    def _rewind(self) -> None:
        self._capture.release()
        self._capture, self._next = _opened(self.name), 0

    def _check_number(self, number: int) -> None:
        if number < 0:
            raise UserError(f"{self.name}: frames are numbered from 0; frame {number} was asked for")
        if self._end is not None and number >= self._end:
            raise UserError(f"{self.name}: has {self._end} frames, numbered from 0; frame {number} was asked for")


def _opened(path: str) -> Any:
    """Returns an OpenCV capture of a video.

    Raises:
        UserError: It cannot be read.
    """
    capture = cv2.VideoCapture(path)
    if not capture.isOpened():
        raise UserError(f"{path}: not a video that OpenCV can decode")
    return capture


def _listed(path: Path) -> list[Path]:
    """Returns the paths in a file that has one in each line.

    Raises:
        UserError: It cannot be read.
    """
    _check_file(path, "list of pictures")
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{path}: cannot be read as UTF-8 text, one path of a picture in each line") from None
    return [path.parent / line.strip() for line in lines if line.strip()]


def _check_file(path: Path, what: str) -> None:
    """Raises UserError where there is no regular file, or none that may be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a named pipe would wait for ever
            raise UserError(f"{path}: cannot be read (not a file)")
        path.open("rb").close()
    except FileNotFoundError:
        raise UserError(f"{path}: no such {what}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:  # a zero character
        raise UserError(f"{str(path)!r}: no file can have such a name") from None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name may be too long for the system
        return False


def _names_in(folder: Path) -> list[str]:
    """Returns the names in a folder in their order; none if it cannot be listed."""
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []


def _common_end(path: PurePath, other: PurePath) -> int:
    """Returns how many of the last parts of two paths are the same."""
    count = 0
    for one, two in zip(reversed(path.parts), reversed(other.parts), strict=False):
        if one != two:
            break
        count += 1
    return count


def image_size(path: Path) -> tuple[int, int]:
    """Returns width and height of an image as `read_image` returns it; from the file's header where Pillow knows it.

    Raises:
        UserError: The image is absent or cannot be decoded.
    """
    _check_file(path, "image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of large images: none is decoded
            with PIL.Image.open(path) as image:
                return image.size
    except Exception:  # whatever Pillow does not know, or makes of a broken file
        height, width = read_image(path).shape[:2]
        return width, height


def reductions_of(path: Path) -> tuple[int, ...]:
    """Returns by what the sides of an image file can be divided as it is decoded: (1,) unless it is JPEG.

    Raises:
        UserError: The image is absent.
    """
    _check_file(path, "image")
    try:
        with path.open("rb") as file:
            return REDUCTIONS if file.read(len(_JPEG)) == _JPEG else (1,)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


_JPEG = b"\xff\xd8\xff"
"""How such files begin."""


def read_image(path: Path, reduction: int = 1) -> Image:
    """Returns an image as (H, W, 3) RGB, in the orientation its pixels are stored in.

    Pose files hold coordinates of the stored pixels, so an EXIF orientation is ignored.

    Args:
        path: Of the file.
        reduction: What its sides are divided by, one of `REDUCTIONS`; only for JPEG.

    Raises:
        UserError: The image is absent or cannot be decoded.
    """
    _check_file(path, "image")
    try:
        return decode_image(np.fromfile(path, np.uint8), reduction)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def decode_image(encoded: NDArray[np.uint8], reduction: int = 1) -> Image:
    """Decodes the bytes (n,) of an image file to (H, W, 3) RGB.

    Args:
        encoded: The file.
        reduction: What its sides are divided by, and rounded up, one of `REDUCTIONS`; only for JPEG.

    Raises:
        ValueError: They are not an image that OpenCV can decode.
    """
    image = None
    if encoded.size:
        try:
            image = cv2.imdecode(encoded, _FLAGS[reduction] | cv2.IMREAD_IGNORE_ORIENTATION)
        except cv2.error:  # raised before the pixels are decoded
            limit = "OPENCV_IO_MAX_IMAGE_PIXELS"
            raise ValueError(f"above the limit of {os.environ[limit]} pixels (the variable {limit})") from None
    if image is None:
        raise ValueError("not an image that OpenCV can decode")
    return np.asarray(image, np.uint8)


_FLAGS = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
"""OpenCV's, by the reduction. What its names call grey is the flag of the size alone; the first flag says RGB."""

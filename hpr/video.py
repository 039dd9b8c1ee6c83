"""Video files as a source of images."""

import os
from pathlib import Path
from threading import Lock
from typing import Any

import cv2
import numpy as np

from hpr.errors import UserError
from hpr.files import read_bytes
from hpr.pixels import Image, ImageSource, is_turned, reduce_image
from hpr.poses import Frame
from hpr.settings import Orientation

# FFmpeg would print lines beside our one-line error; it reads this when the first video is opened.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

VIDEO_ENDINGS = frozenset(
    (
        *(".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4"),
        *(".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"),
    )
)

_MAX_FRAME_RATE = 1000.0
"""Frame rates above this, in frames per second, are taken for errors in the header."""

_DEFAULT_FRAME_RATE = 25.0


class Video(ImageSource):
    """A video file, whose frames poses name by their numbers from 0.

    It is decoded from its first frame on, and only the frame that was read last is held in memory. An earlier frame
    takes long: the video is opened again. Frames are counted as OpenCV does, and so as in a pose estimator that reads
    videos with OpenCV, and turned by the rotation that the file says unless `orientation` or the frame's size says no.
    """

    in_order = True

    def __init__(self, path: str | Path, orientation: Orientation = "auto") -> None:
        """Opens the video.

        Raises:
            UserError: It is absent, or cannot be read.
        """
        self.name = str(path)
        read_bytes(Path(path), "video", size=0)  # which checks that there is such a file
        self._lock, self._orientation = Lock(), orientation
        self._rewind()
        self._end: int | None = None  # number of frames, known once the last has been read

    @property
    def frame_rate(self) -> float:
        """Frames per second by the file's header; 25 where it has no plausible rate."""
        with self._lock:
            rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        return rate if 0 < rate <= _MAX_FRAME_RATE else _DEFAULT_FRAME_RATE

    @property
    def frame_count(self) -> int:
        """Number of frames by the file's header until the last has been read; 0 or less where the header has none."""
        with self._lock:
            header = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        return header if self._end is None else self._end

    def has(self, frame: Frame) -> bool:
        """Returns whether there is a frame of that number, as far as the file's header says."""
        end = self.frame_count
        return frame.number is not None and frame.number >= 0 and (frame.number < end or end <= 0)

    def expected(self, frame: Frame) -> str:
        return f"frame {self._number_of(frame)}"

    def read(self, frame: Frame, reduction: int = 1) -> Image:
        """Returns a frame.

        Raises:
            UserError: The poses do not say which frame, there is none of that number, or it cannot be decoded.
        """
        number = self._number_of(frame)
        with self._lock:
            self._check_number(number)
            if number < self._next - 1:
                self._rewind()

            # Frames in between are decoded, but not converted to RGB.
            while self._next <= number:
                if not self._capture.grab():
                    self._end = self._next
                    self._rewind()
                    self._check_number(number)
                self._next += 1

            self._turn(frame)
            try:
                is_decoded, image = self._capture.retrieve()  # may be called again for the same frame
            except cv2.error:
                is_decoded = False
            if not is_decoded:
                raise UserError(f"{self.name}: frame {number} cannot be decoded")
            return np.asarray(cv2.cvtColor(reduce_image(image, reduction), cv2.COLOR_BGR2RGB), np.uint8)

    def size(self, frame: Frame) -> tuple[int, int]:
        """Returns width and height, which all frames have in common."""
        self._number_of(frame)
        with self._lock:
            self._turn(frame)
            return self._size()

    def _turn(self, frame: Frame) -> None:
        """Sets whether OpenCV turns what it decodes by the file's rotation."""
        sizes = []
        for turns in (0.0, 1.0):
            self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, turns)
            sizes.append(self._size())
        turns = is_turned(self._orientation, frame, sizes[0], sizes[1], default=True)
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, float(turns))

    def _size(self) -> tuple[int, int]:
        width, height = cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT
        return int(self._capture.get(width)), int(self._capture.get(height))

    def _number_of(self, frame: Frame) -> int:
        if frame.number is None:
            example = f" (as for '{frame.image}')" if frame.image else ""
            raise UserError(f"{self.name}: the poses do not say which frame of the video they are of{example}")
        return frame.number

    def _rewind(self) -> None:
        # FFmpeg would take what is before a colon for a protocol, but not in an absolute path.
        self._capture: Any = cv2.VideoCapture(str(Path(self.name).absolute()))
        self._next = 0  # number of the frame that is decoded next
        if not self._capture.isOpened():
            raise UserError(f"{self.name}: not a video that OpenCV can decode")

    def _check_number(self, number: int) -> None:
        if number < 0:
            raise UserError(f"{self.name}: frames are numbered from 0; frame {number} was asked for")
        if self._end is not None and number >= self._end:
            raise UserError(f"{self.name}: has {self._end} frames, numbered from 0; frame {number} was asked for")

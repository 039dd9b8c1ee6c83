"""Clips that browsers play."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from hpr.errors import UserError
from hpr.files import replacing
from hpr.images import Image

_CODECS = {".mp4": "avc1", ".webm": "VP80"}
"""Endings by preference, with their codecs: H.264 plays everywhere, but OpenCV from PyPI cannot write it; VP8 plays in
browsers, and takes half of VP9's time."""

_MIN_SIDE = 8  # pixels; smaller clips cannot be read back


@cache
def clip_ending() -> str:
    """Returns the first ending of _CODECS that the installed OpenCV can write."""
    with TemporaryDirectory() as folder:
        for ending in _CODECS:
            path = Path(folder) / f"clip{ending}"
            writer = _open(path, ending, 25.0, (64, 64))
            writer.write(np.zeros((64, 64, 3), np.uint8))
            writer.release()
            if _count_frames(path):
                return ending
    return ".webm"


def write_clip(pictures: Iterable[Image], frame_rate: float, path: Path) -> int:
    """Writes pictures as a clip, one at a time.

    Args:
        pictures: (H, W, 3) RGB; pictures of another size than the first are resized to it.
        frame_rate: Pictures per second.
        path: Path of the clip, ending in `clip_ending()` or .webm.

    Returns:
        The number of pictures; without any, no file is written.

    Raises:
        UserError: The file cannot be written.
    """
    frames = map(_pad, pictures)
    first = next(frames, None)
    if first is None:
        return 0

    height, width = first.shape[:2]
    with replacing(path, path.suffix) as temporary:
        temporary.touch()  # raises where writing is not allowed; OpenCV would not say why it fails
        writer = _open(temporary, path.suffix, frame_rate, (width, height))
        try:
            if not writer.isOpened():
                found = f"{_CODECS[path.suffix]}, {width} × {height} pixels, {frame_rate:g} a second"
                raise UserError(f"{path}: OpenCV cannot write this clip ({found}); draw a folder of images instead")
            writer.write(first)
            count = 1
            for count, frame in enumerate(frames, 2):  # noqa: B007
                writer.write(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA))
        finally:
            writer.release()

        # OpenCV is silent about a full disk, and the header's number of frames would include lost ones.
        if _count_frames(temporary) < count:
            raise UserError(f"{path}: cannot be written in full (is the disk full?); choose another output folder")
    return count


def _open(path: Path, ending: str, frame_rate: float, size: tuple[int, int]) -> cv2.VideoWriter:
    with _silenced_stderr():
        return cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*_CODECS[ending]), frame_rate, size)


def _count_frames(path: Path) -> int:
    """Returns the number of frames that can be read."""
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.grab():
        count += 1
    capture.release()
    return count


def _pad(picture: Image) -> Image:
    """Returns a picture in BGR, its last column and row repeated to a size that the codecs allow."""
    below, beside = (max(side + side % 2, _MIN_SIDE) - side for side in picture.shape[:2])
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return np.asarray(cv2.copyMakeBorder(bgr, 0, below, 0, beside, cv2.BORDER_REPLICATE), np.uint8)


@contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Suppresses what OpenCV and FFmpeg print to stderr themselves."""
    with suppress(OSError, ValueError):  # there may be no such stream
        sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)

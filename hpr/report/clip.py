"""Clips that browsers play."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np

from hpr.errors import UserError
from hpr.files import replacing
from hpr.images import Image

CLIP_ENDING = ".webm"
"""VP8 in WebM: OpenCV from PyPI writes it, browsers play it, and it takes half of VP9's time."""

_CODEC = cv2.VideoWriter.fourcc(*"VP80")
_MIN_SIDE = 8  # pixels; smaller clips cannot be read back


def write_clip(pictures: Iterable[Image], frame_rate: float, path: Path) -> int:
    """Writes pictures as a clip, one at a time.

    Args:
        pictures: (H, W, 3) RGB; pictures of another size than the first are resized to it.
        frame_rate: Pictures per second.
        path: Path of the clip, ending in CLIP_ENDING.

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
    with replacing(path, CLIP_ENDING) as temporary:
        temporary.touch()  # raises where writing is not allowed; OpenCV would not say why it fails
        with _silenced_stderr():
            writer = cv2.VideoWriter(str(temporary), cv2.CAP_FFMPEG, _CODEC, frame_rate, (width, height))
        try:
            if not writer.isOpened():
                found = f"VP8, {width} × {height} pixels, {frame_rate:g} a second"
                raise UserError(f"{path}: OpenCV cannot write this clip ({found}); draw a folder of images instead")
            writer.write(first)
            count = 1
            for count, frame in enumerate(frames, 2):  # noqa: B007
                writer.write(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA))
        finally:
            writer.release()

        # OpenCV is silent about a full disk, and the header's number of frames would include lost ones.
        capture, num_readable = cv2.VideoCapture(str(temporary)), 0
        while capture.grab():
            num_readable += 1
        capture.release()
        if num_readable < count:
            raise UserError(f"{path}: cannot be written in full (is the disk full?); choose another output folder")
    return count


def _pad(picture: Image) -> Image:
    """Returns a picture in BGR, its last column and row repeated to a size that VP8 allows."""
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

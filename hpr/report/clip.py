"""Clips that a browser plays."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hpr.errors import UserError
from hpr.files import replacing
from hpr.images import Image

CLIP_ENDING = ".webm"
"""VP8 in WebM: of what OpenCV from PyPI can write, Chromium plays VP8 and VP9, and VP8 takes half of VP9's time."""

_CODEC = cv2.VideoWriter.fourcc(*"VP80")
_LEAST_SIDE = 8  # pixels; of smaller ones, what is written cannot be read


def write_clip(pictures: Iterable[Image], frame_rate: float, path: Path) -> int:
    """Writes pictures as a clip, one at a time as they come.

    Args:
        pictures: (H, W, 3) RGB; those of another size than the first are brought to that.
        frame_rate: Pictures in a second.
        path: Of the file, which ends in CLIP_ENDING.

    Returns:
        The number of pictures; without any, there is no file.

    Raises:
        UserError: The file cannot be written.
    """
    stream = iter(pictures)
    first = next(stream, None)
    if first is None:
        return 0
    with replacing(path, CLIP_ENDING) as temporary:
        temporary.touch()  # raises where that is not allowed; OpenCV does not say why it fails
        with _opened(path, temporary, frame_rate, _padded(first)) as writer:
            count = _write(writer, first, stream)
        _check(path, temporary, count)
    return count


def _write(writer: Any, first: Image, others: Iterator[Image]) -> int:
    """Writes the first picture and all others; returns their number."""
    frame, count = _padded(first), 1
    size = frame.shape[1::-1]
    writer.write(frame)
    for picture in others:
        frame = _padded(picture)
        writer.write(frame if frame.shape[1::-1] == size else cv2.resize(frame, size, interpolation=cv2.INTER_AREA))
        count += 1
    return count


@contextmanager
def _opened(path: Path, temporary: Path, frame_rate: float, frame: Image) -> Iterator[Any]:
    """Yields what writes frames (H, W, 3) of BGR, of the size of the first."""
    height, width = frame.shape[:2]
    with _no_words():
        writer = cv2.VideoWriter(str(temporary), cv2.CAP_FFMPEG, _CODEC, frame_rate, (width, height))
    try:
        if not writer.isOpened():
            found = f"{width} × {height} pixels, {frame_rate:g} a second"
            raise UserError(f"{path}: OpenCV cannot write this clip (VP8, {found}); write pictures of a folder instead")
        yield writer
    finally:
        writer.release()


def _check(path: Path, temporary: Path, count: int) -> None:
    """Raises UserError where not all has been written: OpenCV does not say so, on a full disk for example."""
    capture, found = cv2.VideoCapture(str(temporary)), 0
    while capture.grab():  # what the header says may be right where frames are lost
        found += 1
    capture.release()
    if found < count:
        raise UserError(f"{path}: cannot be written in full (is the disk full?); choose another output folder")


def _padded(picture: Image) -> Image:
    """Returns a picture in BGR, with its last column and row repeated to a width and height that VP8 can have."""
    below, beside = (max(side + side % 2, _LEAST_SIDE) - side for side in picture.shape[:2])
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return np.asarray(cv2.copyMakeBorder(bgr, 0, below, 0, beside, cv2.BORDER_REPLICATE), np.uint8)


@contextmanager
def _no_words() -> Iterator[None]:
    """Keeps back what OpenCV itself prints to say that it calls the codec by another name, or why it fails."""
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

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
        with _opened(path, temporary, frame_rate, _even(first)) as writer:
            count = _write(writer, first, stream)
        _check(path, temporary, count)
    return count


def _write(writer: Any, first: Image, others: Iterator[Image]) -> int:
    """Writes the first picture and all others; returns their number."""
    frame, count = _even(first), 1
    size = frame.shape[1::-1]
    writer.write(frame)
    for picture in others:
        frame = _even(picture)
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
    capture = cv2.VideoCapture(str(temporary))
    found = round(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    if abs(found - count) > 1:  # the header has the duration, from which this number is computed
        raise UserError(f"{path}: cannot be written in full (is the disk full?); choose another output folder")


def _even(picture: Image) -> Image:
    """Returns a picture in BGR whose last column and row are there twice where VP8 wants even numbers of them."""
    height, width = picture.shape[:2]
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return np.asarray(cv2.copyMakeBorder(bgr, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), np.uint8)


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

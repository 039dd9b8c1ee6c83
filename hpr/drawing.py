"""Poses on pictures."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hpr.errors import UserError
from hpr.files import json_files, read_image, replacing
from hpr.formats import Format
from hpr.poses import FloatArray, Frame
from hpr.skeleton import JOINTS, LIMBS, NUM_JOINTS

Image = NDArray[np.uint8]

_RIGHT, _LEFT, _MIDDLE = (255, 140, 30), (60, 160, 255), (90, 230, 120)
_TITLE_HEIGHT, _GAP = 28, 4
_PICTURED_FILES, _PICTURE_WIDTH = 3, 560


def draw_poses(image: Image, joints: FloatArray) -> Image:
    """Returns a copy of an image with people's skeletons: right limbs orange, left ones blue, the rest green.

    Args:
        image: (H, W, 3) RGB.
        joints: (N, 15, 2) in image pixels, NaN where missing.
    """
    picture = image.copy()
    thickness = max(1, round(min(image.shape[:2]) / 180))
    for pose in joints:
        for a, b in LIMBS:
            if not np.isnan(pose[[a, b]]).any():
                cv2.line(picture, _pixel(pose[a]), _pixel(pose[b]), _colour(a, b), thickness, cv2.LINE_AA)
        for joint, place in enumerate(pose):
            if not np.isnan(place).any():
                cv2.circle(picture, _pixel(place), thickness + 1, _colour(joint, joint), -1, cv2.LINE_AA)
    return picture


def tile(rows: Sequence[Sequence[Image]], titles: Sequence[str], width: int) -> Image:
    """Returns pictures in rows below their columns' titles.

    Args:
        rows: Of pictures (H, W, 3); those of a row are of one size, and as many as there are titles.
        titles: Of the columns.
        width: Of each picture, in pixels.
    """
    head = np.full((_TITLE_HEIGHT, len(titles) * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for column, title in enumerate(titles):
        place = (column * (width + _GAP) + 4, _TITLE_HEIGHT - 9)
        cv2.putText(head, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
    strips = [head]
    for row in rows:
        height = round(row[0].shape[0] * width / row[0].shape[1])
        resized = [cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA) for picture in row]
        line = cv2.hconcat(
            [cv2.copyMakeBorder(p, 0, _GAP, 0, _GAP, cv2.BORDER_CONSTANT, value=(255,) * 3) for p in resized]
        )
        strips.append(np.asarray(line[:, :-_GAP], np.uint8))
    return np.vstack(strips)


def save_comparison(file_format: Format, before: Path, after: Path, root: Path, path: Path) -> bool:
    """Writes a picture of poses before and after refining: the middle frame with people of the first few files.

    Args:
        file_format: Of the files.
        before: A folder of files, or one file.
        after: The folder with files of the same names.
        root: The folder that the images' names start from.
        path: Of the picture.

    Returns:
        Whether there was a frame to be drawn.

    Raises:
        UserError: The picture cannot be written.
    """
    rows = []
    for file in json_files(before, "dataset.predictions")[:_PICTURED_FILES]:
        first, second = file_format.read(file).frames, file_format.read(after / file.name).frames
        populated = [number for number, frame in enumerate(first) if frame.persons]
        if not populated:
            continue
        middle = populated[len(populated) // 2]
        try:
            image = read_image(root / first[middle].image)
        except UserError:  # has been reported by then
            continue
        rows.append([draw_poses(image, _joints(frames[middle])) for frames in (first, second)])
    if rows:
        save_jpeg(tile(rows, ("input", "refined"), _PICTURE_WIDTH), path)
    return bool(rows)


def save_jpeg(picture: Image, path: Path) -> None:
    """Writes a picture (H, W, 3) RGB.

    Raises:
        UserError: The file cannot be written.
    """
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _joints(frame: Frame) -> FloatArray:
    return np.array([person.joints for person in frame.persons]).reshape(-1, NUM_JOINTS, 2)


def _pixel(place: FloatArray) -> tuple[int, int]:
    # Far outside, OpenCV's 16-bit line clipping would overflow.
    x, y = np.clip(place, -9999, 9999).round().astype(int).tolist()
    return x, y


def _colour(a: int, b: int) -> tuple[int, int, int]:
    sides = {JOINTS[joint].partition("_")[0] for joint in (a, b)}
    return (
        _RIGHT
        if "right" in sides and "left" not in sides
        else _LEFT
        if "left" in sides and "right" not in sides
        else _MIDDLE
    )

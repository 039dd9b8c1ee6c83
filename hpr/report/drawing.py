"""Poses on pictures."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from hpr.errors import UserError
from hpr.files import replacing
from hpr.images import Image, ImageSource
from hpr.poses import FloatArray, Frame
from hpr.skeleton import Skeleton

_RIGHT, _LEFT, _MIDDLE = (255, 140, 30), (60, 160, 255), (90, 230, 120)
_TITLE_HEIGHT, _GAP = 28, 4
_PICTURE_WIDTH = 560


def draw_poses(image: Image, poses: FloatArray, skeleton: Skeleton) -> Image:
    """Returns a copy of an image with people's skeletons: right limbs orange, left ones blue, the rest green.

    Args:
        image: (H, W, 3) RGB.
        poses: (N, K, 2) in image pixels, NaN where missing.
        skeleton: Of the poses.
    """
    picture = image.copy()
    thickness = max(1, round(min(image.shape[:2]) / 180))
    for pose in poses:
        for (a, b), names in zip(skeleton.limb_indices, skeleton.limbs, strict=True):
            if np.isfinite(pose[[a, b]]).all():
                cv2.line(picture, _pixel(pose[a]), _pixel(pose[b]), _colour(*names), thickness, cv2.LINE_AA)
        for name, place in zip(skeleton.names, pose, strict=True):
            if np.isfinite(place).all():
                cv2.circle(picture, _pixel(place), thickness + 1, _colour(name), -1, cv2.LINE_AA)
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


def save_comparison(pairs: Sequence[tuple[Frame, Frame]], images: ImageSource, path: Path) -> bool:
    """Writes a picture of frames before and after refining, side by side.

    Args:
        pairs: Frames of one image each, before and after; one whose image cannot be read is left out.
        images: Where the images are.
        path: Of the picture.

    Returns:
        Whether there was a frame to be drawn.

    Raises:
        UserError: The picture cannot be written.
    """
    rows = []
    for before, after in pairs:
        try:
            image = images.read(before)
        except UserError:  # has been reported by then
            continue
        rows.append([draw_poses(image, frame.poses, frame.skeleton) for frame in (before, after)])
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


def _pixel(place: FloatArray) -> tuple[int, int]:
    # Far outside, OpenCV's 16-bit line clipping would overflow.
    x, y = np.clip(place, -9999, 9999).round().astype(int).tolist()
    return x, y


def _colour(*names: str) -> tuple[int, int, int]:
    """Returns the colour of a keypoint, or of the limb between two."""
    sides = {name.partition("_")[0] for name in names} & {"left", "right"}
    if len(sides) != 1:
        return _MIDDLE
    return _RIGHT if sides == {"right"} else _LEFT

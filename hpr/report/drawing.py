"""Poses drawn on images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from numpy.typing import NDArray

from hpr.files import replacing
from hpr.images import Image
from hpr.poses import FloatArray, Frame, TrackId
from hpr.skeleton import Skeleton

Layout = Literal["side", "blend", "single"]
"""Input and refined poses side by side; the refined ones over the pale input; or the refined ones alone."""

Colour = tuple[int, int, int]

GAP = 4
"""Pixels between two images side by side."""

_RIGHT, _LEFT, _MIDDLE = (255, 140, 30), (60, 160, 255), (90, 230, 120)
_MOVED, _OUTLINE, _TEXT = (255, 60, 200), (20, 20, 30), (255, 255, 255)
_PALE = 0.6
_MAX_LABEL_LENGTH = 12  # characters
_MIN_TITLE_SIZE, _MIN_LABEL_SIZE = 8, 9  # pixels
_SHIFT = 4  # fractional bits of OpenCV's coordinates


@dataclass(frozen=True)
class DrawnPeople:
    """People to be drawn.

    Attributes:
        poses: (N, K, 2) in image pixels, NaN where missing.
        skeleton: Skeleton of the K keypoints.
        scores: (N, K) in [0, 1]; keypoints with a higher score are larger. NaN where there is none.
        track_ids: N ids, written beside the people; None for nothing.
        previous: (N, K, 2) positions before refining; NaN where unknown.
    """

    poses: FloatArray
    skeleton: Skeleton
    scores: FloatArray
    track_ids: Sequence[TrackId]
    previous: FloatArray

    @classmethod
    def from_frame(cls, frame: Frame, before: Frame | None = None) -> "DrawnPeople":
        """Returns the people of a frame; `before` is the same frame before refining."""
        poses = frame.poses
        previous = np.full_like(poses, np.nan) if before is None else previous_poses(before, frame)
        return cls(poses, frame.skeleton, frame.scores, frame.track_ids, previous)

    def scaled(self, factor: FloatArray, shift: FloatArray) -> "DrawnPeople":
        """Returns the people with coordinates times `factor` (2,) plus `shift` (2,)."""
        return replace(self, poses=self.poses * factor + shift, previous=self.previous * factor + shift)


def draw_poses(image: Image, poses: FloatArray, skeleton: Skeleton, thickness: float | None = None) -> Image:
    """Draws people's skeletons on a copy of an image: right limbs orange, left ones blue, the others green.

    Args:
        image: (H, W, 3) RGB.
        poses: (N, K, 2) in image pixels, NaN where missing.
        skeleton: Skeleton of the K keypoints.
        thickness: Maximum thickness of limbs in pixels; None chooses one by the image's size.

    Returns:
        (H, W, 3) RGB.
    """
    unknown = np.full_like(poses, np.nan)
    return draw_people(image, DrawnPeople(poses, skeleton, unknown[..., 0], [None] * len(poses), unknown), thickness)


def draw_people(image: Image, people: DrawnPeople, thickness: float | None = None) -> Image:
    """Draws people as `draw_poses` does, with their scores, track ids and movements.

    A line with a ring at its start leads from the previous position to each keypoint that moved visibly. Small people
    have thinner limbs.
    """
    picture = image.copy()
    max_thickness = _default_thickness(image) if thickness is None else thickness
    limits = [_limb_thickness(pose, max_thickness) for pose in people.poses]
    sizes = 0.6 + 0.8 * np.nan_to_num(people.scores.clip(0, 1), nan=0.5)  # (N, K)

    for previous, pose, own in zip(people.previous, people.poses, limits, strict=True):
        _draw_movement(picture, previous, pose, own)
    for pose, factors, own in zip(people.poses, sizes, limits, strict=True):
        _draw_pose(picture, pose, factors, people.skeleton, own)
    for pose, track_id, own in zip(people.poses, people.track_ids, limits, strict=True):
        if track_id is not None:
            _draw_label(picture, pose, str(track_id)[:_MAX_LABEL_LENGTH], own)
    return picture


def draw_change(image: Image, before: DrawnPeople, after: DrawnPeople | None, layout: Layout) -> Image:
    """Draws people before and after refining.

    Args:
        image: (H, W, 3) RGB.
        before: The input.
        after: The refined people; None draws the input alone.
        layout: How the two are shown.

    Returns:
        (H, W, 3) RGB; side by side (H, 2 * W + GAP, 3).
    """
    if after is None:
        return draw_people(image, before)
    if layout == "single":
        return draw_people(image, replace(after, previous=np.full_like(after.poses, np.nan)))
    if layout == "blend":
        thin = max(1.0, _default_thickness(image) / 2)
        pale = draw_poses(image, before.poses, before.skeleton, thin)
        return draw_people(np.asarray(cv2.addWeighted(pale, _PALE, image, 1 - _PALE, 0), np.uint8), after)

    pictures = [draw_people(image, before), draw_people(image, after)]
    size = round(min(image.shape[:2]) / 22)
    if size >= _MIN_TITLE_SIZE:
        for picture, title in zip(pictures, ("input", "refined"), strict=True):
            write_text(picture, title, (size / 2, size / 2), size)
    return np.hstack([pictures[0], np.full((len(image), GAP, 3), 255, np.uint8), pictures[1]])


def previous_poses(before: Frame, after: Frame) -> FloatArray:
    """Returns (N, K, 2) the poses that the people of a refined frame had before; NaN where that is unknown.

    People are matched by track id if all have different ones, else by index. Refining may have removed people without
    keypoints; if the numbers still differ, nothing is known.
    """
    own = before.in_skeleton(after.skeleton)
    if _are_unique(before.track_ids) and _are_unique(after.track_ids):
        index_of = {track_id: index for index, track_id in enumerate(before.track_ids)}
        poses = np.concatenate([own.poses, np.full((1, len(own.skeleton), 2), np.nan)])  # the last one: unknown
        return poses[[index_of.get(track_id, -1) for track_id in after.track_ids]]

    for candidates in (own.poses, own.poses[before.is_posed]):
        if len(candidates) == len(after):
            return candidates
    return np.full((len(after), len(after.skeleton), 2), np.nan)


def _are_unique(track_ids: Sequence[TrackId]) -> bool:
    return None not in track_ids and len(set(track_ids)) == len(track_ids)


def resize(image: Image, factor: float) -> tuple[Image, FloatArray, FloatArray]:
    """Returns a resized image, and the factor (2,) and shift (2,) for `DrawnPeople.scaled`."""
    if factor == 1:
        return image, np.ones(2), np.zeros(2)
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    ratio = np.array(size) / image.shape[1::-1]
    return np.asarray(resized, np.uint8), ratio, (ratio - 1) / 2  # OpenCV maps the centres of pixels


def save_jpeg(picture: Image, path: Path) -> None:
    """Writes a picture (H, W, 3) RGB.

    Raises:
        UserError: The file cannot be written.
    """
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def write_text(picture: Image, text: str, corner: tuple[float, float], size: int) -> None:
    """Writes outlined text of `size` pixels into a picture, moved inside as far as it fits."""
    for mask, colour in zip(_render_text(text, size), (_OUTLINE, _TEXT), strict=True):
        height, width = min(mask.shape[0], picture.shape[0]), min(mask.shape[1], picture.shape[1])
        x = int(np.clip(corner[0], 0, picture.shape[1] - width))
        y = int(np.clip(corner[1], 0, picture.shape[0] - height))

        part, alpha = picture[y : y + height, x : x + width], mask[:height, :width, None] / 255
        part[:] = (part * (1 - alpha) + np.array(colour) * alpha).round()


@lru_cache(maxsize=256)
def _render_text(text: str, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Returns two masks (h, w) of 0 to 255: the text's outline, and the text itself in bold."""
    font, stroke = PIL.ImageFont.load_default(size), max(1, size // 9)
    _, _, right, bottom = font.getbbox(text, stroke_width=stroke)
    masks = []
    for width in (stroke, 0):
        mask = PIL.Image.new("L", (round(right) + stroke + size // 14 + 2, round(bottom) + stroke + 1))
        PIL.ImageDraw.Draw(mask).text((stroke, 0), text, 255, font, stroke_width=width)
        plain = np.array(mask)
        masks.append(np.maximum(plain, np.roll(plain, max(1, size // 14), axis=1)))
    return masks[0], masks[1]


def _default_thickness(image: Image) -> float:
    return max(1.0, float(min(image.shape[:2])) / 160)


def _limb_thickness(pose: FloatArray, maximum: float) -> float:
    """Returns the thickness of limbs, in pixels, for a pose (K, 2)."""
    present = pose[np.isfinite(pose).all(axis=1)]
    extent = float(np.ptp(present, axis=0).max()) if len(present) > 1 else np.inf
    return max(1.0, min(extent / 45, maximum))


def _draw_pose(picture: Image, pose: FloatArray, factors: FloatArray, skeleton: Skeleton, thickness: float) -> None:
    """Draws limbs and keypoints (K, 2) with a dark outline; `factors` (K,) scale the keypoints."""
    present = np.asarray(np.isfinite(pose).all(axis=1))
    limbs = [(a, b) for a, b in skeleton.limb_indices if present[a] and present[b]]
    names, edge = skeleton.names, max(1.0, thickness / 2)
    radii = (0.9 * thickness + 0.6) * factors

    for a, b in limbs:
        _line(picture, pose[a], pose[b], _OUTLINE, thickness + edge)
    for index in np.flatnonzero(present):
        _circle(picture, pose[index], radii[index] + edge / 2, _OUTLINE)

    for a, b in limbs:
        _line(picture, pose[a], pose[b], _side_colour(names[a], names[b]), thickness)
    for index in np.flatnonzero(present):
        _circle(picture, pose[index], radii[index], _side_colour(names[index]))


def _draw_movement(picture: Image, previous: FloatArray, pose: FloatArray, thickness: float) -> None:
    """Draws a line from the previous (K, 2) to the new position of each keypoint that moved far, and a ring."""
    distances = np.linalg.norm(pose - previous, axis=1)
    moved_far = np.asarray(distances > 4 * thickness)  # False for NaN
    width = max(1.0, 0.6 * thickness)
    for colour, own_width in ((_OUTLINE, width + max(1.0, width / 2)), (_MOVED, width)):
        for start, end in zip(previous[moved_far], pose[moved_far], strict=True):
            _line(picture, start, end, colour, own_width)
        for start in previous[moved_far]:
            _circle(picture, start, 1.6 * thickness, colour, max(1, round(0.6 * own_width)))


def _draw_label(picture: Image, pose: FloatArray, text: str, thickness: float) -> None:
    """Writes above the part of a pose (K, 2) that is inside the picture."""
    height, width = picture.shape[:2]
    inside = pose[((pose >= 0) & (pose < [width, height])).all(axis=1)]  # excludes NaN
    if len(inside):
        size = max(_MIN_LABEL_SIZE, round(5 * thickness))
        write_text(picture, text, (inside[:, 0].mean() - size / 3, inside[:, 1].min() - 1.9 * size), size)


def _line(picture: Image, start: FloatArray, end: FloatArray, colour: Colour, thickness: float) -> None:
    ends = _fixed_point(picture, start), _fixed_point(picture, end)
    cv2.line(picture, *ends, colour, max(1, round(thickness)), cv2.LINE_AA, _SHIFT)


def _circle(picture: Image, centre: FloatArray, radius: float, colour: Colour, thickness: int = -1) -> None:
    fixed = round(radius * 2**_SHIFT)
    cv2.circle(picture, _fixed_point(picture, centre), fixed, colour, thickness, cv2.LINE_AA, _SHIFT)


def _fixed_point(picture: Image, point: FloatArray) -> tuple[int, int]:
    """Returns a point (2,) as OpenCV takes it: whole numbers with _SHIFT fractional bits."""
    size = max(picture.shape[:2])  # farther outside, OpenCV's integers would overflow
    x, y = (np.clip(point, -size, 2 * size) * 2**_SHIFT).round().astype(int).tolist()
    return x, y


def _side_colour(*names: str) -> Colour:
    """Returns the colour of a keypoint, or of the limb between two keypoints."""
    sides = {name.partition("_")[0] for name in names} & {"left", "right"}
    if len(sides) != 1:
        return _MIDDLE
    return _RIGHT if sides == {"right"} else _LEFT

"""Poses drawn on images."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np

from hpr.crops import head_size
from hpr.images import Image
from hpr.poses import FloatArray, Frame, TrackId, match_people
from hpr.report.canvas import (
    DARK,
    WHITE,
    Colour,
    draw_circle,
    draw_line,
    draw_rectangle,
    is_inside,
    render_text,
    write_text,
)
from hpr.skeleton import Skeleton, SkeletonLike, skeleton_of

Layout = Literal["side", "blend", "single"]
"""Input and refined poses side by side; the refined ones over the pale input; or the refined ones alone."""

Colouring = Literal["side", "person", "track"]
"""A colour for each side of the body, for each person of a frame, or for each track id."""

MIN_SCORE = 0.2
"""Keypoints of a lower score are not drawn unless the caller wants it otherwise."""

SIDE_COLOURS: dict[str, Colour] = {
    "right": (255, 160, 0),
    "left": (40, 120, 255),
    "middle": (255, 255, 255),
    "moved": (160, 0, 80),
}
"""What is drawn → its colour. Any two differ by a CIEDE2000 of 31 or more, for colour-blind people as well."""

_PERSON_COLOURS: tuple[Colour, ...] = (
    *((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66)),
    *((0, 114, 178), (213, 94, 0), (204, 121, 167)),
)
"""Okabe and Ito's colours, which colour-blind people can tell apart."""

GAP = 4
"""Pixels between two images side by side."""

_PALE = 0.6
_LIMBS_PER_HEAD = 22  # thickness of a limb
_VISIBLE_MOVEMENT = 0.05  # head sizes
_MAX_LABEL_LENGTH = 12  # characters
_MIN_TITLE_SIZE, _MIN_LABEL_SIZE = 8, 9  # pixels


@dataclass(frozen=True)
class Style:
    """How people are drawn.

    Attributes:
        layout: How input and refined poses are shown.
        colour: What has a colour of its own.
        min_score: Keypoints of a lower score are not drawn.
        boxes: Whether the people's boxes are drawn.
        names: Whether the names of keypoints are written.
    """

    layout: Layout = "side"
    colour: Colouring = "side"
    min_score: float = MIN_SCORE
    boxes: bool = False
    names: bool = False


DEFAULT_STYLE = Style()


@dataclass(frozen=True)
class DrawnPeople:
    """People to be drawn.

    Attributes:
        poses: (N, K, 2) in image pixels, NaN where missing.
        skeleton: Skeleton of the K keypoints.
        scores: (N, K) in [0, 1]; keypoints with a lower score are more transparent. NaN where there is none.
        track_ids: N ids, written beside the people; None for nothing.
        boxes: (N, 4) x0, y0, x1, y1; NaN where unknown.
        previous: (N, K, 2) positions before refining; NaN where unknown.
    """

    poses: FloatArray
    skeleton: Skeleton
    scores: FloatArray
    track_ids: Sequence[TrackId]
    boxes: FloatArray
    previous: FloatArray

    @classmethod
    def from_frame(cls, frame: Frame, before: Frame | None = None, min_score: float = MIN_SCORE) -> "DrawnPeople":
        """Returns the people of a frame without keypoints of a lower score; `before` is the frame before refining."""
        poses = frame.without_uncertain(min_score).poses
        previous = np.full_like(poses, np.nan) if before is None else previous_poses(before, frame, min_score)
        return cls(poses, frame.skeleton, frame.scores, frame.track_ids, frame.boxes, previous)

    def scaled(self, factor: FloatArray, shift: FloatArray) -> "DrawnPeople":
        """Returns the people with coordinates times `factor` (2,) plus `shift` (2,)."""
        poses, previous = (points * factor + shift for points in (self.poses, self.previous))
        boxes = self.boxes * np.tile(factor, 2) + np.tile(shift, 2)
        return replace(self, poses=poses, previous=previous, boxes=boxes)

    def without_labels(self) -> "DrawnPeople":
        """Returns the people without their track ids."""
        return replace(self, track_ids=[None] * len(self.track_ids))

    @property
    def head_sizes(self) -> FloatArray:
        """(N,) head sizes in pixels, estimated from all limbs or from the box."""
        people = zip(self.poses, self.boxes, strict=True)
        return np.array([head_size(pose, self.skeleton, box) for pose, box in people])


def draw_poses(
    image: Image,
    keypoints: FloatArray,
    skeleton: SkeletonLike,
    scores: FloatArray | None = None,
    min_score: float = MIN_SCORE,
) -> Image:
    """Draws people's skeletons on a copy of an image, right limbs orange, left ones blue, the others white.

    Args:
        image: (H, W, 3) RGB uint8.
        keypoints: (N, K, 2) x and y in image pixels, NaN where missing.
        skeleton: The K keypoints: a skeleton, its name, or their names.
        scores: (N, K) in [0, 1]; keypoints with a lower score are more transparent. None draws all alike.
        min_score: Keypoints with a lower score are not drawn.

    Returns:
        (H, W, 3) RGB uint8.

    Raises:
        UserError: There is no skeleton of that name.
        ValueError: The keypoints have another shape than the skeleton's.
    """
    frame = Frame("draw_poses", skeleton_of(skeleton), keypoints, scores)  # type: ignore[arg-type]
    return draw_people(image, DrawnPeople.from_frame(frame, min_score=min_score))


def draw_people(image: Image, people: DrawnPeople, style: Style = DEFAULT_STYLE, width: float = 1.0) -> Image:
    """Draws people on a copy of an image, with their scores, track ids and movements.

    Limbs are as thick as suits the person's size. A line with a ring at its start leads from the previous position to
    each keypoint that moved visibly.

    Args:
        image: (H, W, 3) RGB.
        people: N people.
        style: What is drawn, and how; the layout is of `draw_change` alone.
        width: Factor for the thickness of all lines.

    Returns:
        (H, W, 3) RGB.
    """
    picture = image.copy()
    sizes = people.head_sizes  # (N,)
    thickness = width * np.clip(sizes / _LIMBS_PER_HEAD, 1.0, max(1.0, min(image.shape[:2]) / 40))  # (N,)
    colours = [_person_colour(people, index, style.colour) for index in range(len(people.poses))]

    for box, colour, own in zip(people.boxes, colours, thickness, strict=True):
        if style.boxes and np.isfinite(box).all():
            for shade, extra in ((DARK, 1.0), (colour or WHITE, 0.0)):
                draw_rectangle(picture, box, shade, 0.7 * own + extra)
    for index, own in enumerate(thickness):
        _draw_movement(picture, people.previous[index], people.poses[index], own, _VISIBLE_MOVEMENT * sizes[index])

    present = np.isfinite(people.poses).all(axis=2)  # (N, K)
    opacity = np.where(present, _opacity(people.scores), 0)
    for level in np.unique(opacity[present]):  # certain keypoints on top
        layer = picture if level == 1 else picture.copy()
        for pose, own_opacity, colour, own in zip(people.poses, opacity, colours, thickness, strict=True):
            _draw_pose(layer, pose, people.skeleton, own_opacity, level, colour, own)
        picture = layer if level == 1 else np.asarray(cv2.addWeighted(layer, level, picture, 1 - level, 0), np.uint8)

    for pose, track_id, own in zip(people.poses, people.track_ids, thickness, strict=True):
        size = max(_MIN_LABEL_SIZE, round(5 * own))
        if style.names:
            _draw_names(picture, pose, people.skeleton, size, 2 * own)
        if track_id is not None:
            _draw_label(picture, pose, str(track_id)[:_MAX_LABEL_LENGTH], size)
    return picture


def draw_change(image: Image, before: DrawnPeople, after: DrawnPeople | None, style: Style = DEFAULT_STYLE) -> Image:
    """Draws people before and after refining, with a legend of the colours where there is room.

    Args:
        image: (H, W, 3) RGB.
        before: The input.
        after: The refined people; None draws the input alone.
        style: What is drawn, and how.

    Returns:
        (H, W, 3) RGB; side by side (H, 2 * W + GAP, 3).
    """
    if after is None or style.layout == "single":
        still = replace(after or before, previous=np.full_like((after or before).poses, np.nan))
        pictures = [draw_people(image, still, style)]
    elif style.layout == "blend":
        pale = draw_people(image, before.without_labels(), style, width=0.5)
        under = np.asarray(cv2.addWeighted(pale, _PALE, image, 1 - _PALE, 0), np.uint8)
        pictures = [draw_people(under, after, style)]
    else:
        pictures = [draw_people(image, before, style), draw_people(image, after, style)]

    size = round(min(image.shape[:2]) / 22)
    if size >= _MIN_TITLE_SIZE and style.colour == "side":
        _draw_legend(pictures[-1], size, has_movement=after is not None and style.layout != "single")
    if len(pictures) == 1:
        return pictures[0]

    if size >= _MIN_TITLE_SIZE:
        for picture, title in zip(pictures, ("input", "refined"), strict=True):
            write_text(picture, title, (size / 2, size / 2), size)
    return np.hstack([pictures[0], np.full((len(image), GAP, 3), 255, np.uint8), pictures[1]])


def _draw_legend(picture: Image, size: int, has_movement: bool) -> None:
    """Writes what the colours mean at the bottom of a picture, letters `size` pixels high."""
    x, y = size / 2, picture.shape[0] - 1.6 * size
    for name, colour in SIDE_COLOURS.items():
        if name == "moved" and not has_movement:
            continue
        centre = np.array([x + 0.4 * size, y + 0.6 * size])
        draw_circle(picture, centre, 0.4 * size + 1, WHITE if name == "moved" else DARK)
        draw_circle(picture, centre, 0.4 * size, colour)
        write_text(picture, name, (x + size, y), size)
        x += 2 * size + render_text(name, size)[0].shape[1]


def previous_poses(before: Frame, after: Frame, min_score: float = 0.0) -> FloatArray:
    """Returns (N, K, 2) the poses that the people of a refined frame had before; NaN where that is unknown.

    Keypoints of a lower score than `min_score` are missing. See `match_people` for who is who.
    """
    own = before.in_skeleton(after.skeleton)
    unknown = np.full((1, len(own.skeleton), 2), np.nan)  # the last one, which index -1 means
    return np.concatenate([own.without_uncertain(min_score).poses, unknown])[match_people(before, after)]


def _opacity(scores: FloatArray) -> FloatArray:
    """Returns the opacity of keypoints with some scores, one of 0.4, 0.6, 0.8 and 1; 1 for NaN."""
    quarters = np.ceil(4 * np.nan_to_num(scores, nan=1.0).clip(0.01, 1))  # 1 to 4
    return np.asarray((1 + quarters) / 5)


def _person_colour(people: DrawnPeople, index: int, colouring: Colouring) -> Colour | None:
    """Returns the colour of one of the people; None where sides have colours. Without a track id the index counts."""
    if colouring == "side":
        return None
    track_id = people.track_ids[index] if colouring == "track" else None
    number = index if track_id is None else zlib.crc32(track_id.encode()) if isinstance(track_id, str) else track_id
    return _PERSON_COLOURS[number % len(_PERSON_COLOURS)]


def _draw_pose(
    picture: Image,
    pose: FloatArray,
    skeleton: Skeleton,
    opacity: FloatArray,
    level: float,
    colour: Colour | None,
    thickness: float,
) -> None:
    """Draws the limbs and keypoints of a pose (K, 2) whose opacity (K,) is `level`, with a dark outline.

    A limb is as opaque as the less opaque of its ends; 0 is missing.
    """
    limbs = [(a, b) for a, b in skeleton.limb_indices if min(opacity[a], opacity[b]) == level]
    points = np.flatnonzero(opacity == level)
    names, edge, radius = skeleton.names, max(1.0, thickness / 2), thickness + 0.6

    for a, b in limbs:
        draw_line(picture, pose[a], pose[b], DARK, thickness + edge)
    for index in points:
        draw_circle(picture, pose[index], radius + edge / 2, DARK)
    for a, b in limbs:
        draw_line(picture, pose[a], pose[b], colour or _side_colour(names[a], names[b]), thickness)
    for index in points:
        draw_circle(picture, pose[index], radius, colour or _side_colour(names[index]))


def _draw_movement(
    picture: Image, previous: FloatArray, pose: FloatArray, thickness: float, min_distance: float
) -> None:
    """Draws a line from the previous (K, 2) to the new position of each keypoint that moved far, and a ring."""
    distances = np.linalg.norm(pose - previous, axis=1)
    moved = np.asarray(distances > max(min_distance, 2.0))  # False for NaN
    width = max(1.0, 0.5 * thickness)
    for colour, extra in ((WHITE, max(1.0, 0.8 * width)), (SIDE_COLOURS["moved"], 0.0)):
        for start, end in zip(previous[moved], pose[moved], strict=True):
            draw_line(picture, start, end, colour, width + extra)
            draw_circle(picture, start, 1.4 * thickness, colour, max(1, round(0.6 * width + extra)))


def _draw_label(picture: Image, pose: FloatArray, text: str, size: int) -> None:
    """Writes above the part of a pose (K, 2) that is inside the picture."""
    inside = pose[is_inside(picture, pose)]
    if len(inside):
        write_text(picture, text, (inside[:, 0].mean() - size / 3, inside[:, 1].min() - 1.9 * size), size)


def _draw_names(picture: Image, pose: FloatArray, skeleton: Skeleton, size: int, distance: float) -> None:
    """Writes the names of the keypoints of a pose (K, 2) beside them, on the side away from the others."""
    for keypoint in np.flatnonzero(is_inside(picture, pose)).tolist():
        name = skeleton.names[keypoint].replace("left_", "L ").replace("right_", "R ").replace("_", " ")
        x, y = pose[keypoint]
        is_left = x < np.nanmean(pose[:, 0])
        corner = x - distance - render_text(name, size)[0].shape[1] if is_left else x + distance
        write_text(picture, name, (corner, y - 0.5 * size), size)


def _side_colour(*names: str) -> Colour:
    """Returns the colour of a keypoint, or of the limb between two keypoints."""
    sides = {name.partition("_")[0] for name in names} & {"left", "right"}
    return SIDE_COLOURS[sides.pop() if len(sides) == 1 else "middle"]

"""Poses on pictures."""

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

from hpr.errors import UserError
from hpr.files import replacing
from hpr.images import Image, ImageSource
from hpr.poses import FloatArray, Frame, TrackId
from hpr.skeleton import Skeleton

Layout = Literal["side", "blend", "single"]
"""Input and refined poses side by side; the refined ones over the pale input; or the refined ones alone."""

Colour = tuple[int, int, int]

_RIGHT, _LEFT, _MIDDLE = (255, 140, 30), (60, 160, 255), (90, 230, 120)
_MOVED, _OUTLINE, _TEXT = (255, 60, 200), (20, 20, 30), (255, 255, 255)
_TITLE_HEIGHT, GAP = 28, 4
_PICTURE_WIDTH = 560
_SHIFT = 4  # fractional bits of OpenCV's coordinates
_PALE = 0.6
_LONGEST_LABEL = 12  # characters
_SMALLEST_TITLE, _SMALLEST_LABEL = 8, 9  # pixels


@dataclass(frozen=True)
class People:
    """What is drawn of people.

    Attributes:
        poses: (N, K, 2) in image pixels, NaN where missing.
        skeleton: Of the poses.
        scores: (N, K) in [0, 1], by which keypoints are larger or smaller; NaN where there are none.
        track_ids: N, written beside the people; None for those without.
        old: (N, K, 2) where the keypoints were before they were refined; NaN where that is not known.
    """

    poses: FloatArray
    skeleton: Skeleton
    scores: FloatArray
    track_ids: Sequence[TrackId]
    old: FloatArray

    @classmethod
    def of(cls, frame: Frame, before: Frame | None = None) -> "People":
        """Returns the people of a frame, which may have been refined."""
        poses = frame.poses
        old = np.full_like(poses, np.nan) if before is None else places_before(before, frame)
        return cls(poses, frame.skeleton, frame.scores, frame.track_ids, old)

    def placed(self, factor: FloatArray, shift: FloatArray) -> "People":
        """Returns the people with their coordinates times a factor, plus a shift."""
        return replace(self, poses=self.poses * factor + shift, old=self.old * factor + shift)


def draw_poses(image: Image, poses: FloatArray, skeleton: Skeleton, thickness: float | None = None) -> Image:
    """Returns a copy of an image with people's skeletons: right limbs orange, left ones blue, the rest green.

    Args:
        image: (H, W, 3) RGB.
        poses: (N, K, 2) in image pixels, NaN where missing.
        skeleton: Of the poses.
        thickness: See `draw_people`.
    """
    nothing = np.full_like(poses, np.nan)
    return draw_people(image, People(poses, skeleton, nothing[..., 0], [None] * len(poses), nothing), thickness)


def draw_people(image: Image, people: People, thickness: float | None = None) -> Image:
    """Returns a copy of an image with people: as `draw_poses`, with all that is known of them.

    A line leads to each keypoint that has moved visibly, from a ring at its old place.

    Args:
        image: (H, W, 3) RGB.
        people: Who is drawn.
        thickness: Of limbs in pixels, at most; by default it suits the image. People who are small have thinner ones.
    """
    picture = image.copy()
    widest = _thickness(image) if thickness is None else thickness
    own = [_own_thickness(pose, widest) for pose in people.poses]
    factors = 0.6 + 0.8 * np.nan_to_num(people.scores.clip(0, 1), nan=0.5)
    for old, pose, thick in zip(people.old, people.poses, own, strict=True):
        _draw_moves(picture, old, pose, thick)
    for pose, sizes, thick in zip(people.poses, factors, own, strict=True):
        _draw_pose(picture, pose, sizes, people.skeleton, thick)
    for pose, track_id, thick in zip(people.poses, people.track_ids, own, strict=True):
        if track_id is not None:
            _draw_label(picture, pose, str(track_id)[:_LONGEST_LABEL], thick)
    return picture


def draw_blend(image: Image, before: People, after: People) -> Image:
    """Returns a copy of an image with refined people over the input's, which are thin and pale."""
    thin = max(1.0, _thickness(image) / 2)
    pale = draw_poses(image, before.poses, before.skeleton, thin)
    mixed = np.asarray(cv2.addWeighted(pale, _PALE, image, 1 - _PALE, 0), np.uint8)
    return draw_people(mixed, after)


def draw_change(image: Image, before: People, after: People | None, layout: Layout) -> Image:
    """Returns a picture of people before and after refining.

    Args:
        image: (H, W, 3) RGB.
        before: The input.
        after: Refined; None draws the input alone.
        layout: How the two are shown.

    Returns:
        (H, W, 3) RGB; side by side (H, 2 * W + GAP, 3).
    """
    if after is None:
        return draw_people(image, before)
    if layout == "single":
        return draw_people(image, replace(after, old=np.full_like(after.poses, np.nan)))
    if layout == "blend":
        return draw_blend(image, before, after)
    pictures = [draw_people(image, before), draw_people(image, after)]
    size = round(min(image.shape[:2]) / 22)
    if size >= _SMALLEST_TITLE:
        for picture, title in zip(pictures, ("input", "refined"), strict=True):
            _write(picture, title, (size / 2, size / 2), size)
    return np.hstack([pictures[0], np.full((len(image), GAP, 3), 255, np.uint8), pictures[1]])


def places_before(before: Frame, after: Frame) -> FloatArray:
    """Returns (N, K, 2) where the people of a refined frame had their keypoints; NaN where that is not known.

    People are the same by their track ids if all have one of their own, else by their order; refining may have left
    out those without a keypoint. Where there are still more or fewer of them, nobody is known.
    """
    own = before.in_skeleton(after.skeleton)
    if _are_identities(before.track_ids) and _are_identities(after.track_ids):
        number = {track_id: place for place, track_id in enumerate(before.track_ids)}
        poses = np.concatenate([own.poses, np.full((1, len(own.skeleton), 2), np.nan)])  # the last: nobody
        return poses[[number.get(track_id, -1) for track_id in after.track_ids]]
    for same in (own.poses, own.poses[before.is_posed]):
        if len(same) == len(after):
            return same
    return np.full((len(after), len(after.skeleton), 2), np.nan)


def _are_identities(track_ids: Sequence[TrackId]) -> bool:
    return None not in track_ids and len(set(track_ids)) == len(track_ids)


def enlarged(image: Image, factor: float) -> tuple[Image, FloatArray, FloatArray]:
    """Returns an image that is larger or smaller by a factor, and what `People.placed` needs to follow it."""
    if factor == 1:
        return image, np.ones(2), np.zeros(2)
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    ratio = np.array(size) / image.shape[1::-1]
    return np.asarray(resized, np.uint8), ratio, (ratio - 1) / 2  # of pixels' centres, as OpenCV has it


def tile(rows: Sequence[Sequence[Image]], titles: Sequence[str], width: int) -> Image:
    """Returns pictures in rows below their columns' titles.

    Args:
        rows: Of pictures (H, W, 3); those of a row are of one size, and as many as there are titles.
        titles: Of the columns.
        width: Of each picture, in pixels.
    """
    head = np.full((_TITLE_HEIGHT, len(titles) * (width + GAP) - GAP, 3), 255, np.uint8)
    for column, title in enumerate(titles):
        _write(head, title, (column * (width + GAP) + 4, 6), 15, _OUTLINE, None)
    strips = [head]
    for row in rows:
        height = round(row[0].shape[0] * width / row[0].shape[1])
        resized = [cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA) for picture in row]
        line = cv2.hconcat(
            [cv2.copyMakeBorder(p, 0, GAP, 0, GAP, cv2.BORDER_CONSTANT, value=(255,) * 3) for p in resized]
        )
        strips.append(np.asarray(line[:, :-GAP], np.uint8))
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
        rows.append([draw_people(image, People.of(before)), draw_people(image, People.of(after, before))])
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


def _thickness(image: Image) -> float:
    """Returns what suits an image, in pixels."""
    return max(1.0, float(min(image.shape[:2])) / 160)


def _own_thickness(pose: FloatArray, widest: float) -> float:
    """Returns what suits a pose (K, 2), of which small ones have thinner limbs."""
    present = pose[np.isfinite(pose).all(axis=1)]
    extent = float(np.ptp(present, axis=0).max()) if len(present) > 1 else np.inf
    return max(1.0, min(extent / 45, widest))


def _draw_pose(picture: Image, pose: FloatArray, factors: FloatArray, skeleton: Skeleton, thickness: float) -> None:
    """Draws limbs and keypoints (K, 2), these larger or smaller by factors (K,), each in a dark outline."""
    present = np.asarray(np.isfinite(pose).all(axis=1))
    limbs = [(a, b) for a, b in skeleton.limb_indices if present[a] and present[b]]
    places, names = np.flatnonzero(present), skeleton.names
    edge = max(1.0, thickness / 2)
    for a, b in limbs:
        _line(picture, pose[a], pose[b], _OUTLINE, thickness + edge)
    for place in places:
        _disc(picture, pose[place], (0.9 * thickness + 0.6) * factors[place] + edge / 2, _OUTLINE)
    for a, b in limbs:
        _line(picture, pose[a], pose[b], _colour(names[a], names[b]), thickness)
    for place in places:
        _disc(picture, pose[place], (0.9 * thickness + 0.6) * factors[place], _colour(names[place]))


def _draw_moves(picture: Image, old: FloatArray, new: FloatArray, thickness: float) -> None:
    """Draws a line from each keypoint's old place (K, 2) to its new one, and a ring around the old, if it moved far."""
    distances = np.linalg.norm(new - old, axis=1)
    far = np.asarray(distances > 4 * thickness)  # not so for NaN
    width = max(1.0, 0.6 * thickness)
    for colour, own in ((_OUTLINE, width + max(1.0, width / 2)), (_MOVED, width)):
        for start, end in zip(old[far], new[far], strict=True):
            _line(picture, start, end, colour, own)
        for start in old[far]:
            ring, edge = round(1.6 * thickness * 2**_SHIFT), max(1, round(0.6 * own))
            cv2.circle(picture, _pixel(picture, start), ring, colour, edge, cv2.LINE_AA, _SHIFT)


def _draw_label(picture: Image, pose: FloatArray, text: str, thickness: float) -> None:
    """Writes above a pose (K, 2), as far as it is in the picture."""
    height, width = picture.shape[:2]
    inside = pose[((pose >= 0) & (pose < [width, height])).all(axis=1)]  # not so for NaN
    if len(inside) == 0:
        return
    size = max(_SMALLEST_LABEL, round(5 * thickness))
    _write(picture, text, (inside[:, 0].mean() - size / 3, inside[:, 1].min() - 1.9 * size), size)


def _line(picture: Image, start: FloatArray, end: FloatArray, colour: Colour, thickness: float) -> None:
    cv2.line(
        picture,
        _pixel(picture, start),
        _pixel(picture, end),
        colour,
        max(1, round(thickness)),
        cv2.LINE_AA,
        _SHIFT,
    )


def _disc(picture: Image, place: FloatArray, radius: float, colour: Colour) -> None:
    cv2.circle(picture, _pixel(picture, place), round(radius * 2**_SHIFT), colour, -1, cv2.LINE_AA, _SHIFT)


def _pixel(picture: Image, place: FloatArray) -> tuple[int, int]:
    """Returns a place as OpenCV takes it, in fractions of a pixel."""
    # Far outside, OpenCV's integers would overflow.
    size = max(picture.shape[:2])
    x, y = (np.clip(place, -size, 2 * size) * 2**_SHIFT).round().astype(int).tolist()
    return x, y


def _colour(*names: str) -> Colour:
    """Returns the colour of a keypoint, or of the limb between two."""
    sides = {name.partition("_")[0] for name in names} & {"left", "right"}
    if len(sides) != 1:
        return _MIDDLE
    return _RIGHT if sides == {"right"} else _LEFT


def _write(
    picture: Image,
    text: str,
    place: tuple[float, float],
    size: int,
    colour: Colour = _TEXT,
    outline: Colour | None = _OUTLINE,
) -> None:
    """Writes text whose upper left corner is at a place, moved so that it is in the picture as far as it fits."""
    for mask, own in zip(_rendered(text, size), (outline, colour), strict=True):
        if own is None:
            continue
        height, width = min(mask.shape[0], picture.shape[0]), min(mask.shape[1], picture.shape[1])
        x = int(np.clip(place[0], 0, picture.shape[1] - width))
        y = int(np.clip(place[1], 0, picture.shape[0] - height))
        part, share = picture[y : y + height, x : x + width], mask[:height, :width, None] / 255
        part[:] = (part * (1 - share) + np.array(own) * share).round()


@lru_cache(maxsize=256)
def _rendered(text: str, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Returns how much of each pixel (h, w) a text's outline and the text itself cover, from 0 to 255."""
    font, stroke = PIL.ImageFont.load_default(size), max(1, size // 9)
    _, _, right, bottom = font.getbbox(text, stroke_width=stroke)
    masks = []
    for width in (stroke, 0):
        mask = PIL.Image.new("L", (round(right) + stroke + size // 14 + 2, round(bottom) + stroke + 1))
        PIL.ImageDraw.Draw(mask).text((stroke, 0), text, 255, font, stroke_width=width)
        plain, bolder = np.array(mask), max(1, size // 14)
        masks.append(np.maximum(plain, np.roll(plain, bolder, axis=1)))
    return masks[0], masks[1]

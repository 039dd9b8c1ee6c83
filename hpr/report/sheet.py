"""One picture of the people whom refining changed most."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from hpr.errors import UserError
from hpr.images import Image, ImageSource
from hpr.poses import FloatArray, Frame
from hpr.report.drawing import GAP, People, draw_people, enlarged, places_before, tile

_WIDTH, _MARGIN = 1200, 16
_TALL = 1.3
"""Height of a picture over its width."""

_FEWEST_PIXELS = 60
"""Extent of a pose: smaller people are not worth a look."""

_FARTHEST = 0.5
"""How far a keypoint counts as moved at most, in the pose's extents, so that one far out is not all."""

_DETAIL = 2
"""Pictures are drawn so many times larger, and shrunk."""


@dataclass(frozen=True)
class Change:
    """A person whom refining changed.

    Attributes:
        before: The frame, as it was.
        after: Refined.
        person: Place of the person in the refined frame.
        sequence: The frame's.
        moved: (K,) how far each keypoint moved, in the pose's extents.
        worth: How much it is worth a look.
    """

    before: Frame
    after: Frame
    person: int
    sequence: str
    moved: FloatArray
    worth: float

    def likeness(self, other: "Change") -> float:
        """Returns from 0 to 1 how much two people show the same: a person throughout a clip, the same keypoints."""
        is_same = self.sequence == other.sequence and self._identity == other._identity
        if is_same or self.moved.shape != other.moved.shape:
            return 0.8 * is_same
        lengths = np.linalg.norm(self.moved) * np.linalg.norm(other.moved)
        return 0.7 * float(self.moved @ other.moved / lengths)

    @property
    def _identity(self) -> object:
        return self.after.track_ids[self.person]


def most_changed(frames: Iterable[tuple[str, Frame, Frame]], count: int) -> list[Change]:
    """Returns people whom refining changed much, each of another frame and as unlike one another as can be.

    Args:
        frames: The name of a frame's sequence, the frame before and after refining.
        count: Of people, at most.
    """
    found = [change for name, before, after in frames if (change := _largest_change(name, before, after))]
    chosen: list[Change] = []
    worth = np.array([change.worth for change in found])
    while found and len(chosen) < count and worth.max() > 0:
        best = int(worth.argmax())
        chosen.append(found[best])
        worth *= [1 - change.likeness(found[best]) for change in found]
        worth[best] = 0
    return chosen


def _largest_change(sequence: str, before: Frame, after: Frame) -> Change | None:
    """Returns the person of a frame whom refining changed most; None where it changed nobody."""
    if len(after) == 0:
        return None
    old, new = places_before(before, after), after.poses
    extents = np.array([_extent(pose) for pose in new])
    moved = np.linalg.norm(new - old, axis=2) / np.maximum(extents, 1)[:, None]
    moved = np.nan_to_num(moved).clip(0, _FARTHEST)
    shares = np.isfinite(new[..., 0]).mean(axis=1)  # of a pose that lacks much, one does not see what is better
    worth = moved.sum(axis=1) * shares**2 * (extents >= _FEWEST_PIXELS)
    person = int(worth.argmax())
    if worth[person] == 0:
        return None
    return Change(before, after, person, sequence, moved[person], float(worth[person]))


def _extent(pose: FloatArray) -> float:
    """Returns the longer side of the box around a pose (K, 2) in pixels; 0 of one without keypoints."""
    present = pose[np.isfinite(pose).all(axis=1)]
    return float(np.ptp(present, axis=0).max()) if len(present) else 0.0


def draw_sheet(changes: Sequence[Change], images: ImageSource) -> Image | None:
    """Returns a picture of people before and after refining, cut out of their images, _WIDTH pixels wide.

    Args:
        changes: The people; one whose image cannot be read is left out.
        images: Where the images are.

    Returns:
        (H, W, 3) RGB; None where no image can be read.
    """
    readable = [(change, image) for change in changes if (image := _read(images, change.before)) is not None]
    if not readable:
        return None
    columns = {1: 1, 2: 2, 4: 2}.get(len(readable), 3)
    width = (_WIDTH - (columns - 1) * _MARGIN) // (2 * columns) - GAP // 2
    panes = [_panes(change, image, width) for change, image in readable]
    return _grid([tile([pair], ("input", "refined"), width) for pair in panes], columns)


def _read(images: ImageSource, frame: Frame) -> Image | None:
    try:
        return images.read(frame)
    except UserError:
        return None


def _panes(change: Change, image: Image, width: int) -> list[Image]:
    """Returns the part of an image that shows a person, with the poses before and after."""
    x, y, side = _part(change, image)
    part, factor, shift = enlarged(_cut(image, x, y, round(side), round(_TALL * side)), _DETAIL * width / round(side))
    size, thickness = (width, round(_TALL * width)), _DETAIL * max(2.0, width / 90)
    panes = []
    for people in (People.of(change.before), People.of(change.after, change.before)):
        # Track ids say nothing in a part of one frame.
        anonymous = replace(people, track_ids=[None] * len(people.poses))
        own = anonymous.placed(factor, shift - factor * [x, y])
        panes.append(cv2.resize(draw_people(part, own, thickness), size, interpolation=cv2.INTER_AREA))
    return panes


def _part(change: Change, image: Image) -> tuple[int, int, float]:
    """Returns the upper left corner and the width of the part that shows a person."""
    size = np.array(image.shape[1::-1], float)
    old = places_before(change.before, change.after)[change.person]
    after = _box(change.after.poses[change.person], size)
    both = _box(np.concatenate([old, change.after.poses[change.person]]), size)
    # Where the input is that far off, it is cut rather than the person shown small.
    is_too_large = _width(both) > min(size[0], size[1] / _TALL)
    box = after if is_too_large else both

    part = np.array([1.0, _TALL]) * _width(box)
    corner = box.mean(axis=0) - part / 2
    x, y = np.where(size > part, np.clip(corner, 0, size - part), corner).round().astype(int).tolist()
    return x, y, float(part[0])


def _box(places: FloatArray, size: FloatArray) -> FloatArray:
    """Returns (2, 2) the corners of the box around those of some places (n, 2) that are there, within an image."""
    inside = places[np.isfinite(places).all(axis=1)].clip(0, size)
    return np.array([inside.min(axis=0), inside.max(axis=0)])


def _width(box: FloatArray) -> float:
    """Returns the width of a part that shows a box, and something around it."""
    width, height = np.ptp(box, axis=0) + 0.35 * np.ptp(box, axis=0).max()
    return float(max(width, height / _TALL, 8.0))


def _cut(image: Image, x: int, y: int, width: int, height: int) -> Image:
    """Returns a part of an image; grey where it is beyond the image's edges."""
    part = np.full((height, width, 3), 90, np.uint8)
    left, top = max(0, -x), max(0, -y)
    inner = image[max(0, y) : y + height, max(0, x) : x + width]
    part[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return part


def _grid(cells: Sequence[Image], columns: int) -> Image:
    """Returns pictures of one size in rows, with a margin between them."""
    empty = np.full_like(cells[0], 255)
    rows = []
    for start in range(0, len(cells), columns):
        row = [*cells[start : start + columns]]
        row += [empty] * (columns - len(row))
        between = cv2.BORDER_CONSTANT
        framed = [cv2.copyMakeBorder(cell, 0, _MARGIN // 2, 0, _MARGIN, between, value=(255,) * 3) for cell in row]
        rows.append(np.hstack(framed)[:, :-_MARGIN])
    return np.vstack(rows)

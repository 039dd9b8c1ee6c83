"""Paints one person with OpenCV: shaded limbs, clothes and a face, and which part covers which pixel."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from hpr.images import Image
from hpr.poses import FloatArray
from hpr.skeleton import kind
from hpr.synthetic.body import Build, Posture
from hpr.synthetic.wardrobe import Colour, Outfit

PARTS = (
    "torso",
    "head",
    "neck",
    "backpack",
    "skirt",
    *(f"{side}_{name}" for side in ("left", "right") for name in ("upper_arm", "forearm", "thigh", "shin", "foot")),
)
"""Parts of a person that cover pixels."""

PARTS_PER_PERSON = 100
"""A pixel of person p's part i is owned by 100 * (p + 1) + i."""

_COVERING_PARTS = {
    "shoulder": ("torso", "backpack", "upper_arm"),
    "elbow": ("upper_arm", "forearm"),
    "wrist": ("forearm",),
    "hip": ("torso", "skirt", "thigh"),
    "knee": ("skirt", "thigh", "shin"),
    "ankle": ("shin", "foot"),
    "head_bottom": ("head", "neck", "torso"),
    "nose": ("head",),
    "head_top": ("head",),
}
"""Parts of a keypoint's side or of the body's axis that may cover it without hiding it."""

_SHIFT = 4  # OpenCV takes sub-pixel coordinates in sixteenths
_CIRCLE = np.stack([f(np.linspace(0, 2 * np.pi, 17)[:-1]) for f in (np.cos, np.sin)], axis=1)
_SHADES = ((1.0, 0.0, 0.72), (0.74, 0.22, 0.95), (0.38, 0.40, 1.12))  # size, shift to the light, brightness

Point = FloatArray

Corners = list[tuple[float, float]]
"""Corners of a patch of the torso, from (0, 0) right shoulder to (1, 1) left hip."""


def _rectangle(left: float, top: float, right: float, bottom: float) -> Corners:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


_PATTERNS: dict[str, list[Corners]] = {
    "plain": [],
    "hoops": [_rectangle(0.04, top, 0.96, top + 0.1) for top in np.arange(0.08, 0.95, 0.22)],
    "block": [_rectangle(0.0, 0.12, 1.0, 0.45)],
    "stripes": [_rectangle(left, 0.0, left + 0.12, 1.0) for left in (0.05, 0.3, 0.55, 0.8)],
    "sash": [[(0.0, 0.0), (0.2, 0.0), (1.0, 0.95), (0.8, 0.95)]],
}


@dataclass(frozen=True)
class Seen:
    """A point in space as the camera sees it: pixels (2,), distance in metres, and pixels per metre there."""

    xy: Point
    depth: float
    scale: float


@dataclass
class Canvas:
    """A picture that is being painted.

    Attributes:
        image: (H, W, 3) RGB.
        owner: (H, W) what each pixel shows: 0 the background, -1 an object, else a person's part.
        light: (2,) unit vector in the image towards the light.
    """

    image: Image
    owner: NDArray[np.int16]
    light: FloatArray

    def fill(self, outline: FloatArray, colour: Colour, owner: int | None = None) -> None:
        """Fills a convex outline (n, 2); a part claims its pixels, a mark on a part (None) does not."""
        if not np.isfinite(outline).all() or np.abs(outline).max() > 1e5:
            return
        fixed = np.round(outline * (1 << _SHIFT)).astype(np.int32)
        cv2.fillConvexPoly(self.image, fixed, colour, cv2.LINE_AA, _SHIFT)
        if owner is not None:
            cv2.fillConvexPoly(self.owner, fixed, owner, cv2.LINE_8, _SHIFT)

    def solid(self, outline: FloatArray, radius: float, colour: Colour, owner: int) -> None:
        """Fills a convex outline (n, 2) so that it looks round: dark, and lighter towards the light."""
        centre = outline.mean(axis=0)
        for size, shift, brightness in _SHADES:
            layer = centre + (outline - centre) * size + self.light * shift * radius
            self.fill(layer, _lit(colour, brightness), owner if shift == 0 else None)

    def tube(self, a: Seen, b: Seen, radii: tuple[float, float], colour: Colour, owner: int | None = None) -> None:
        """Draws a limb between two points, with a radius in metres at each."""
        sizes = np.array([radii[0] * a.scale, radii[1] * b.scale])
        for size, shift, brightness in _SHADES:
            move = self.light * shift * sizes.mean()
            outline = _hull([a.xy + move, b.xy + move], (sizes * size).tolist())
            self.fill(outline, _lit(colour, brightness), owner if shift == 0 else None)


class Figure:
    """A person in front of the camera, ready to be painted part by part."""

    def __init__(
        self,
        posture: Posture,
        build: Build,
        outfit: Outfit,
        see: Callable[[Point], Seen],
        camera: Point,
    ) -> None:
        """Projects a person into the image, by a function that projects a point (3,) of the world.

        `camera` is the camera's position (3,), which tells how far chest and head face it.
        """
        self._posture, self._outfit = posture, outfit
        self._see = see
        self._unit = build.height / 1.75
        self._skull = self._unit * build.head
        self._girth = self._unit * outfit.girth
        self.seen = {name: see(point) for name, point in posture.points.items()}
        to_camera = {name: camera - posture.points[name] for name in ("chest", "head_centre")}
        to_camera = {name: direction / np.linalg.norm(direction) for name, direction in to_camera.items()}
        self._chest_facing = float(posture.chest[:, 2] @ to_camera["chest"])
        self._head_facing = float(posture.head[:, 2] @ to_camera["head_centre"])

    @property
    def depth(self) -> float:
        """Distance of the pelvis from the camera in metres."""
        return self.seen["pelvis"].depth

    def paint(self, canvas: Canvas, index: int) -> None:
        """Paints all parts on a canvas, far ones first; `index` is that of the person."""
        parts = self._parts()
        for name in sorted(parts, key=lambda part: -parts[part][0]):
            parts[name][1](canvas, PARTS_PER_PERSON * (index + 1) + PARTS.index(name))

    def head_outline(self) -> FloatArray:
        """Returns the box (4,) x0, y0, x1, y1 of the skull."""
        outline = self._skull_outline()
        return np.concatenate([outline.min(axis=0), outline.max(axis=0)])

    def _parts(self) -> dict[str, tuple[float, Callable[[Canvas, int], None]]]:
        """Returns part name → its depth and the function that paints it."""
        seen, outfit = self.seen, self._outfit
        parts: dict[str, tuple[float, Callable[[Canvas, int], None]]] = {
            "torso": (seen["chest"].depth, self._torso),
            "neck": (seen["neck"].depth, self._neck),
            "head": (seen["head_centre"].depth - 0.05, self._head),
        }
        if outfit.backpack is not None:
            parts["backpack"] = (seen["chest"].depth + 0.12 * np.sign(self._chest_facing), self._backpack)
        if outfit.legs == "skirt":
            knees = (seen["left_knee"].depth + seen["right_knee"].depth) / 2
            parts["skirt"] = ((seen["pelvis"].depth + knees) / 2 - 0.1, self._skirt)
        limbs = {"upper_arm": ("shoulder", "elbow"), "forearm": ("elbow", "hand"), "thigh": ("hip", "knee")}
        limbs |= {"shin": ("knee", "ankle"), "foot": ("heel", "toe")}
        for side in ("left", "right"):
            for name, ends in limbs.items():
                middle = sum(seen[f"{side}_{end}"].depth for end in ends) / 2
                parts[f"{side}_{name}"] = (middle, partial(self._limb, side, name))
        return parts

    def _between(self, a: str, b: str, share: float) -> Seen:
        points = self._posture.points
        return self._see(points[a] + (points[b] - points[a]) * share)

    def _limb(self, side: str, name: str, canvas: Canvas, owner: int) -> None:
        outfit, thick, unit = self._outfit, self._girth, self._unit
        sleeve = outfit.top if outfit.sleeves == "long" else outfit.skin
        upper_leg = outfit.skin if outfit.legs == "skirt" else outfit.bottom
        lower_leg = outfit.bottom if outfit.legs == "trousers" else outfit.skin
        tubes = {
            "upper_arm": [("shoulder", "elbow", (0.054 * thick, 0.043 * thick), sleeve)],
            "forearm": [
                ("wrist", "hand", (0.028 * thick, 0.038 * unit), outfit.skin),
                ("elbow", "wrist", (0.042 * thick, 0.031 * thick), sleeve),
            ],
            "thigh": [("hip", "knee", (0.090 * thick, 0.062 * thick), upper_leg)],
            "shin": [("knee", "ankle", (0.060 * thick, 0.040 * thick), lower_leg)],
            "foot": [("heel", "toe", (0.045 * unit, 0.035 * unit), outfit.shoes)],
        }
        for start, end, radii, colour in tubes[name]:
            canvas.tube(self.seen[f"{side}_{start}"], self.seen[f"{side}_{end}"], radii, colour, owner)

        if name == "upper_arm" and outfit.sleeves == "short":
            cuff = self._between(f"{side}_shoulder", f"{side}_elbow", 0.6)
            radii = (1.12 * (0.054 * thick), 1.2 * (0.043 * thick))
            canvas.tube(self.seen[f"{side}_shoulder"], cuff, radii, outfit.top)

    def _neck(self, canvas: Canvas, owner: int) -> None:
        radii, end = (0.058 * self._girth, 0.050 * self._unit), self._between("head_bottom", "head_centre", 0.4)
        canvas.tube(self.seen["neck"], end, radii, self._outfit.skin, owner)

    def _skirt(self, canvas: Canvas, owner: int) -> None:
        hips = [self.seen["left_hip"], self.seen["right_hip"], self.seen["waist"]]
        hem = [self._between(f"{side}_hip", f"{side}_knee", 0.75) for side in ("left", "right")]
        radii = [0.10 * self._girth] * 2 + [0.11 * self._girth] + [0.12 * self._girth] * 2
        canvas.solid(_hull_of(hips + hem, radii), 0.15 * hips[0].scale, self._outfit.bottom, owner)

    def _torso(self, canvas: Canvas, owner: int) -> None:
        outfit, girth = self._outfit, self._girth
        points = [self.seen[f"{side}_{name}"] for name in ("shoulder", "hip") for side in ("left", "right")]
        points += [self.seen["neck"], self.seen["waist"]]
        radii = [0.060 * girth] * 2 + [0.085 * girth] * 2 + [0.065 * girth, 0.14 * girth]
        if outfit.coat:
            points += [self._between(f"{side}_hip", f"{side}_knee", 0.45) for side in ("left", "right")]
            radii += [0.11 * girth] * 2
        canvas.solid(_hull_of(points, radii), 0.15 * points[0].scale, outfit.top, owner)
        for corners in _PATTERNS[outfit.pattern]:
            canvas.fill(self._patch(corners), outfit.accent)
        self._front_or_back(canvas)

    def _front_or_back(self, canvas: Canvas) -> None:
        """Paints collar and placket on the front, a yoke on the back, and straps of a backpack."""
        points, chest, outfit = self._posture.points, self._posture.chest, self._outfit
        if self._chest_facing < -0.1:
            canvas.fill(self._patch(_rectangle(0.08, 0.03, 0.92, 0.12)), _lit(outfit.top, 0.6))
            return
        if self._chest_facing < 0.1:
            return
        ahead, aside = chest[:, 2] * 0.12 * self._girth, chest[:, 0] * 0.016 * self._unit
        top, bottom = points["neck"] + ahead * 0.6, points["waist"] + ahead
        placket = [top - aside, top + aside, bottom + aside, bottom - aside]
        canvas.fill(np.array([self._see(point).xy for point in placket]), outfit.accent)
        collar = [points["neck"] + chest[:, 0] * side * 0.06 * self._unit for side in (-1, 1)]
        collar.append(points["neck"] + ahead - chest[:, 1] * 0.09 * self._unit)
        canvas.fill(np.array([self._see(point).xy for point in collar]), outfit.skin)
        if outfit.backpack is not None:
            for left in (0.18, 0.72):
                canvas.fill(self._patch(_rectangle(left, 0.0, left + 0.1, 0.6)), outfit.backpack)

    def _patch(self, corners: Corners) -> FloatArray:
        """Returns a patch of the torso in the image."""
        right_top, left_top = self.seen["right_shoulder"].xy, self.seen["left_shoulder"].xy
        right_bottom, left_bottom = self.seen["right_hip"].xy, self.seen["left_hip"].xy
        patch = []
        for across, down in corners:
            right, left = right_top + (right_bottom - right_top) * down, left_top + (left_bottom - left_top) * down
            patch.append(right + (left - right) * across)
        return np.array(patch)

    def _backpack(self, canvas: Canvas, owner: int) -> None:
        if self._chest_facing > 0.3:  # hidden behind the body
            return
        points, chest = self._posture.points, self._posture.chest
        behind = -chest[:, 2] * 0.17 * self._girth
        places = [points[name] + behind + chest[:, 0] * side * 0.11 for name in ("neck", "waist") for side in (-1, 1)]
        seen = [self._see(place) for place in places]
        outline = _hull_of(seen, [0.07 * self._unit] * 4)
        canvas.solid(outline, 0.1 * seen[0].scale, self._outfit.backpack or self._outfit.top, owner)

    def _skull_outline(self, wider: float = 1.0) -> FloatArray:
        """Returns the head's outline (16, 2), an ellipse along the axis of the head."""
        up = self.seen["head_top"].xy - self.seen["head_bottom"].xy
        centre = (self.seen["head_top"].xy + self.seen["head_bottom"].xy) / 2
        height = float(np.linalg.norm(up)) / 2
        width = 0.095 * self._skull * self.seen["head_centre"].scale
        axis = up / max(2 * height, 1e-6)
        axes = np.stack([[-axis[1] * width, axis[0] * width], axis * max(height, 0.8 * width)])  # (2, 2)
        return np.asarray(centre + wider * _CIRCLE @ axes)

    def _head(self, canvas: Canvas, owner: int) -> None:
        outfit, scale = self._outfit, self.seen["head_centre"].scale
        radius = 0.1 * self._skull * scale
        if outfit.long_hair and self._head_facing > 0:
            self._long_hair(canvas, owner)
        canvas.solid(self._skull_outline(), radius, outfit.hair, owner)
        if self._head_facing > -0.35:
            self._face(canvas, radius)
        if outfit.long_hair and self._head_facing <= 0:
            self._long_hair(canvas, owner)
        if outfit.cap is not None:
            outline = self._skull_outline(1.06)
            up = self.seen["head_top"].xy - self.seen["head_bottom"].xy
            height = (outline - outline.mean(axis=0)) @ up / np.maximum(up @ up, 1e-6)
            canvas.fill(outline[height > 0.12], outfit.cap)

    def _long_hair(self, canvas: Canvas, owner: int) -> None:
        points, head = self._posture.points, self._posture.head
        top = self._see(points["head_centre"] - head[:, 2] * 0.04 * self._skull)
        bottom = self._see(points["neck"] - self._posture.chest[:, 2] * 0.07 * self._girth)
        canvas.tube(top, bottom, (0.09 * self._skull, 0.075 * self._skull), self._outfit.hair, owner)

    def _face(self, canvas: Canvas, radius: float) -> None:
        """Paints face, eyes, mouth and nose where they face the camera."""
        points, head, skin = self._posture.points, self._posture.head, self._outfit.skin
        outline = self._skull_outline()
        centre = outline.mean(axis=0)
        front = self._see(points["head_centre"] + head[:, 2] * 0.05 * self._skull - head[:, 1] * 0.015 * self._skull).xy
        narrow = 0.45 + 0.45 * np.clip(self._head_facing, 0, 1)
        sideways = front - self.seen["head_centre"].xy
        canvas.fill((outline - centre) * narrow + centre + 1.2 * sideways, _lit(skin, 0.95))
        places = [(0.035, 0.02, 0.085, 0.013, (30, 25, 25)), (-0.035, 0.02, 0.085, 0.013, (30, 25, 25))]
        places += [(0.018, -0.055, 0.085, 0.010, (150, 60, 60)), (-0.018, -0.055, 0.085, 0.010, (150, 60, 60))]
        for left, up, ahead, size, colour in places:
            if self._head_facing + 4 * left * np.sign(sideways[0] + 1e-9) < 0.05:
                continue
            place = self._see(points["head_centre"] + self._skull * head @ np.array([left, up, ahead]))
            canvas.fill(place.xy + _CIRCLE * max(size * self._skull * place.scale, 0.6), colour)
        canvas.fill(self.seen["nose"].xy + _CIRCLE * 0.16 * radius, _lit(skin, 0.75))


def covers(part: str, keypoint: str) -> bool:
    """Returns whether a part may cover a keypoint without hiding it."""
    side, _, _ = keypoint.partition("_")
    return part.removeprefix(f"{side}_") in _COVERING_PARTS[kind(keypoint)]


def _hull(centres: list[FloatArray], radii: list[float]) -> FloatArray:
    """Returns the convex outline (n, 2) of circles."""
    points = np.concatenate([centre + _CIRCLE * radius for centre, radius in zip(centres, radii, strict=True)])
    return np.asarray(cv2.convexHull(points.astype(np.float32))[:, 0], np.float64)


def _hull_of(seen: list[Seen], radii: list[float]) -> FloatArray:
    """Returns the convex outline (n, 2) of balls around points, with radii in metres."""
    return _hull(
        [point.xy for point in seen], [radius * point.scale for point, radius in zip(seen, radii, strict=True)]
    )


def _lit(colour: Colour, brightness: float) -> Colour:
    red, green, blue = (min(int(value * brightness), 255) for value in colour)
    return red, green, blue

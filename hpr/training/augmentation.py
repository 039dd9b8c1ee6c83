"""Random changes to examples, beyond the mistakes in their estimates."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from hpr.settings import Probability, checked
from hpr.errors import UserError
from hpr.images import Image
from hpr.poses import FloatArray
from hpr.training.colours import UNCHANGED
from hpr.training.dataset import AnnotatedPerson
from hpr.training.views import CUT_STEP, Turn

_Factor = Annotated[float, Field(ge=0.1, le=10)]
_Degrees = Annotated[float, Field(ge=0, le=180)]

_MIN_KEYPOINTS = 3
"""Keypoints of a person that have to stay in a truncated image."""

_HUE_TURNED = 0.3
"""Probability that the hue is changed where colours are."""

_MIN_TRUNCATED_SIDE = 32
"""Pixels of a truncated image's shorter side."""


class Augmentation:
    """Random changes to examples, beyond the mistakes in their estimates."""

    @checked
    def __init__(
        self,
        scale: Annotated[Sequence[_Factor], Field(min_length=2, max_length=2)],
        shift: Annotated[float, Field(ge=0, le=1000)],
        mirror: Probability,
        colour: Probability,
        occlusion: Probability,
        rotation: _Degrees = 0.0,
        truncation: Probability = 0.0,
        exact: Probability = 0.0,
        nearly_exact: Probability = 0.0,
    ) -> None:
        """Sets how much is changed.

        Args:
            scale: Smallest and largest factor of a person's size.
            shift: Standard deviation of a person's place in the canvas, in pixels.
            mirror: Probability of mirroring.
            colour: Standard deviation of the factors of brightness, contrast and saturation, and a tenth of
                that of the hue.
            occlusion: Probability that a patch of one colour hides a part of the image.
            rotation: Largest angle by which a person is turned, in degrees.
            truncation: Probability that the image ends within the person.
            exact: Probability that the estimate is the truth: a good pose has to stay as it is.
            nearly_exact: Probability that every keypoint of the estimate is near the truth.

        Raises:
            UserError: The smallest factor is above the largest, or the estimates are exact and nearly so too often.
        """
        if exact + nearly_exact > 1:
            found = f"{exact} and {nearly_exact}"
            raise UserError(f"augmentation.exact and .nearly_exact: expected 1 or less in all, found {found}")
        if scale[0] > scale[1]:
            raise UserError(f"augmentation.scale={list(scale)}: expected the smaller factor first")
        self.scale = (scale[0], scale[1])
        self.shift = shift
        self.mirror = mirror
        self.exact, self.nearly_exact = exact, nearly_exact
        self._rotation, self._truncation = rotation, truncation
        self._colour = colour
        self._occlusion = occlusion

    def turn(self, person: AnnotatedPerson, random: np.random.Generator) -> AnnotatedPerson:
        """Turns an image about a person's middle; keypoints that leave it are not to be found any more."""
        if self._rotation == 0:
            return person
        x, y = ((np.nanmin(person.pose, axis=0) + np.nanmax(person.pose, axis=0)) / 2).tolist()
        angle = random.uniform(-self._rotation, self._rotation)
        red, green, blue = random.uniform(0, 255, 3).tolist()
        turn = Turn((x, y), angle, (red, green, blue))
        turned = person.moved(person.image.turned(turn), turn.moved)
        return _within(turned)

    def truncate(self, person: AnnotatedPerson, random: np.random.Generator) -> AnnotatedPerson:
        """Ends an image within a person, at one side; keypoints beyond are not to be found any more."""
        if random.random() >= self._truncation:
            return person
        axis, from_start = int(random.integers(2)), bool(random.integers(2))
        low, high = np.nanmin(person.pose[:, axis]), np.nanmax(person.pose[:, axis])
        cut = CUT_STEP * round(random.uniform(low, high) / CUT_STEP)
        start, stop = (cut, person.image.size[axis]) if from_start else (0, cut)
        if stop - start < _MIN_TRUNCATED_SIDE:
            return person

        corner = np.array([start, 0.0]) if axis == 0 else np.array([0.0, start])
        cut_off = _within(person.moved(person.image.cut(axis, start, stop), lambda points: points - corner))
        enough = (~np.isnan(cut_off.pose[:, 0])).sum() >= _MIN_KEYPOINTS
        return cut_off if enough else person

    def colours(self, random: np.random.Generator) -> FloatArray:
        """Draws factors of brightness, contrast and saturation, and turns of the hue (4,); see `colours.recoloured`."""
        if self._colour == 0:
            return np.array(UNCHANGED)
        factors = np.exp(random.normal(0, self._colour, 3))
        is_turned = random.random() < _HUE_TURNED
        hue = np.clip(random.normal(0, 0.1 * self._colour), -0.5, 0.5) if is_turned else 0.0
        return np.array([*factors, hue])

    def occlude(self, pixels: Image, truth: FloatArray, random: np.random.Generator) -> None:
        """Hides a part of pixels (H, W, 3) under a patch; keypoints (K, 2) below it are not to be found any more."""
        if random.random() >= self._occlusion:
            return
        height, width = pixels.shape[:2]
        extent = random.uniform(0.08, 0.35, 2) * min(height, width)
        x, y = random.uniform(0, width), random.uniform(0, height)
        x0, y0 = int(max(x - extent[0] / 2, 0)), int(max(y - extent[1] / 2, 0))
        x1, y1 = int(x + extent[0] / 2), int(y + extent[1] / 2)

        pixels[y0:y1, x0:x1] = random.integers(0, 256, 3)
        with np.errstate(invalid="ignore"):
            hidden = (truth >= [x0, y0]).all(axis=1) & (truth < [x1, y1]).all(axis=1)
        truth[hidden] = np.nan


def _within(person: AnnotatedPerson) -> AnnotatedPerson:
    """Returns a person of whom only the keypoints within the image are to be found."""
    width, height = person.image.size
    pose, neighbours = (_without_outside(points, width, height) for points in (person.pose, person.neighbours))
    return replace(person, pose=pose, neighbours=neighbours)


def _without_outside(points: FloatArray, width: int, height: int) -> FloatArray:
    """Returns points (..., 2) with NaN for those outside of an image."""
    with np.errstate(invalid="ignore"):
        inside = ((points >= 0) & (points <= [width - 1, height - 1])).all(axis=-1, keepdims=True)
    return np.where(inside, points, np.nan)

"""Random changes of training examples, besides the mistakes in their estimates."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from hpr.errors import UserError
from hpr.images import Image
from hpr.poses import FloatArray
from hpr.settings import Probability, Section
from hpr.training.colours import UNCHANGED
from hpr.training.dataset import AnnotatedPerson
from hpr.training.lazy_image import CUT_STEP, Rotation

_Factor = Annotated[float, Field(ge=0.1, le=10)]

_MIN_KEYPOINTS = 3
"""A truncated image still shows at least this many keypoints of the person."""

_MIN_TRUNCATED_SIDE = 32
"""Pixels."""

_HUE_PROBABILITY = 0.3
"""Probability that the hue changes where colours change."""


class Augmentation(Section):
    """Random changes of training examples: conf/augmentation.

    Attributes:
        scale: Smallest and largest factor of a person's size.
        shift: Standard deviation of a person's position on the canvas, in pixels.
        mirror: Probability of mirroring.
        colour: Standard deviation of the logarithm of the factors of brightness, contrast and saturation; a tenth of
            it is that of the hue shift.
        occlusion: Probability that a patch of one colour hides a part of the image.
        rotation: Largest rotation about the person, in degrees.
        truncation: Probability that the image ends within the person.
        exact: Probability that the estimate is the truth, so that the network learns to leave good poses alone.
        nearly_exact: Probability that every keypoint of the estimate is near the truth.
        real: Probability of a real estimate, where the dataset has any, among the other estimates.
    """

    scale: Annotated[Sequence[_Factor], Field(min_length=2, max_length=2)]
    shift: Annotated[float, Field(ge=0, le=1000)]
    mirror: Probability
    colour: Probability
    occlusion: Probability
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    truncation: Probability = 0.0
    exact: Probability = 0.0
    nearly_exact: Probability = 0.0
    real: Probability = 0.0

    def model_post_init(self, _: Any) -> None:
        """Checks settings that depend on each other.

        Raises:
            UserError: The smallest factor is above the largest, or the probabilities of `exact` and `nearly_exact` add
                up to more than 1.
        """
        if self.exact + self.nearly_exact > 1:
            found = f"{self.exact} and {self.nearly_exact}"
            raise UserError(f"augmentation.exact and .nearly_exact: expected 1 or less in all, found {found}")
        if self.scale[0] > self.scale[1]:
            raise UserError(f"augmentation.scale={list(self.scale)}: expected the smaller factor first")

    def rotate(self, person: AnnotatedPerson, random: np.random.Generator) -> AnnotatedPerson:
        """Rotates the image about the person; keypoints that leave it are no longer to be found."""
        if self.rotation == 0:
            return person
        x, y = ((np.nanmin(person.pose, axis=0) + np.nanmax(person.pose, axis=0)) / 2).tolist()
        angle = random.uniform(-self.rotation, self.rotation)
        red, green, blue = random.uniform(0, 255, 3).tolist()
        rotation = Rotation((x, y), angle, (red, green, blue))
        return _only_inside(person.moved(replace(person.image, rotation=rotation), rotation.apply))

    def truncate(self, person: AnnotatedPerson, random: np.random.Generator) -> AnnotatedPerson:
        """Cuts the image off within the person, at one side; keypoints beyond are no longer to be found."""
        if random.random() >= self.truncation:
            return person
        axis, cuts_start = int(random.integers(2)), bool(random.integers(2))
        low, high = np.nanmin(person.pose[:, axis]), np.nanmax(person.pose[:, axis])
        cut = CUT_STEP * round(random.uniform(low, high) / CUT_STEP)
        start, stop = (cut, person.image.size[axis]) if cuts_start else (0, cut)
        if stop - start < _MIN_TRUNCATED_SIDE:
            return person

        corner = np.array([start, 0.0]) if axis == 0 else np.array([0.0, start])
        truncated = _only_inside(person.moved(person.image.cut(axis, start, stop), lambda points: points - corner))
        num_left = (~np.isnan(truncated.pose[:, 0])).sum()
        return truncated if num_left >= _MIN_KEYPOINTS else person

    def draw_colours(self, random: np.random.Generator) -> FloatArray:
        """Draws factors of brightness, contrast and saturation, and a hue shift (4,): see `colours.adjust_colours`."""
        if self.colour == 0:
            return np.array(UNCHANGED)
        factors = np.exp(random.normal(0, self.colour, 3))
        changes_hue = random.random() < _HUE_PROBABILITY
        hue = np.clip(random.normal(0, 0.1 * self.colour), -0.5, 0.5) if changes_hue else 0.0
        return np.array([*factors, hue])

    def occlude(self, pixels: Image, truth: FloatArray, random: np.random.Generator) -> None:
        """Hides a part of the pixels (H, W, 3) under a patch, in place; keypoints (K, 2) below it become NaN."""
        if random.random() >= self.occlusion:
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


def _only_inside(person: AnnotatedPerson) -> AnnotatedPerson:
    """Returns a person whose keypoints to be found, and the neighbours', are only those within the image."""
    last = np.array(person.image.size) - 1

    def inside(points: FloatArray) -> FloatArray:
        with np.errstate(invalid="ignore"):
            is_inside = ((points >= 0) & (points <= last)).all(axis=-1, keepdims=True)
        return np.where(is_inside, points, np.nan)

    return replace(person, pose=inside(person.pose), neighbours=inside(person.neighbours))

"""One training example: a true pose, an estimate with mistakes, and the crop that the estimate leads to."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as transforms

from hpr import maps
from hpr.crops import Crop, person_region
from hpr.poses import FloatArray
from hpr.skeleton import MIRROR
from hpr.training.pose_errors import PoseErrors


class Example(NamedTuple):
    """Arrays of one example, or, stacked by a loader, tensors of B of them.

    Attributes:
        pixels: (H, W, 3) uint8, the crop in the upper left of a canvas.
        size: (2,) height and width of the crop in the canvas.
        estimate: (15, 2) in crop_xy, NaN where missing.
        truth: (15, 2) in crop_xy, NaN where there is no joint to be found.
        scale: Scale jitter.
    """

    pixels: NDArray[np.uint8]
    size: NDArray[np.int64]
    estimate: FloatArray
    truth: FloatArray
    scale: float


class People(Protocol):
    """Where examples come from: annotated people in images."""

    def person(self, index: int) -> tuple[NDArray[np.uint8], FloatArray, FloatArray]:
        """Returns the index-th person, without end.

        Returns:
            The image (H, W, 3) RGB, the true joints (15, 2) in image pixels, NaN where there is none, and
            those of the image's other people (M, 15, 2).
        """


class Augmentation:
    """Random changes to examples, beyond the mistakes in their estimates."""

    def __init__(self, scale: Sequence[float], shift: float, mirror: float, colour: float, occlusion: float) -> None:
        """Sets how much is changed.

        Args:
            scale: Smallest and largest factor of a person's size.
            shift: Standard deviation of a person's place in the canvas, in pixels.
            mirror: Probability of mirroring.
            colour: Standard deviation of the factors of brightness, contrast and saturation, and a tenth of
                that of the hue.
            occlusion: Probability that a patch of one colour hides a part of the image.
        """
        self.scale = (scale[0], scale[1])
        self.shift = shift
        self.mirror = mirror
        self._colour = colour
        self._occlusion = occlusion

    def recolour(self, pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
        """Changes brightness, contrast, saturation and hue of pixels (H, W, 3)."""
        if self._colour == 0:
            return pixels
        factors = np.exp(random.normal(0, self._colour, 3)).tolist()
        image = torch.from_numpy(pixels).permute(2, 0, 1)  # (3, H, W)
        image = transforms.adjust_brightness(image, factors[0])
        image = transforms.adjust_contrast(image, factors[1])
        image = transforms.adjust_saturation(image, factors[2])
        if random.random() < 0.3:
            image = transforms.adjust_hue(image, float(np.clip(random.normal(0, 0.1 * self._colour), -0.5, 0.5)))
        return np.ascontiguousarray(image.permute(1, 2, 0).numpy())

    def occlude(self, pixels: NDArray[np.uint8], truth: FloatArray, random: np.random.Generator) -> None:
        """Hides a part of pixels (H, W, 3) under a patch; joints (15, 2) below it are not to be found any more."""
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


class Examples(Dataset[Example]):
    """The examples of a training, each a function of its index alone, so that a run can be continued anywhere."""

    def __init__(
        self,
        people: People,
        errors: PoseErrors,
        augmentation: Augmentation,
        canvas: Sequence[int],
        mean_head: float,
        seed: int,
    ) -> None:
        """Puts a training set together.

        Args:
            people: Annotated people.
            errors: What the estimates get wrong.
            augmentation: What else is changed.
            canvas: Height and width of all examples, in pixels.
            mean_head: Of the network (`architectures.Architecture`).
            seed: Of mistakes and changes.
        """
        self._people, self._errors, self._augmentation = people, errors, augmentation
        self._canvas = (canvas[0], canvas[1])
        self._mean_head, self._seed = mean_head, seed

    def __getitem__(self, index: int) -> Example:
        """Returns the index-th example, without end."""
        random = np.random.default_rng((self._seed, index))
        image, truth, neighbours = self._people.person(index)
        estimate, _ = self._errors.draw(truth, neighbours, random)
        jitter = random.uniform(*self._augmentation.scale)
        crop = person_region(estimate, (image.shape[1], image.shape[0]), self._mean_head, jitter)
        crop = self._window(crop, crop.to_crop(estimate), random)
        pixels = self._augmentation.recolour(crop.pixels(image), random)
        truth, estimate = crop.to_crop(truth), crop.to_crop(estimate)
        self._augmentation.occlude(pixels, truth, random)
        if random.random() < self._augmentation.mirror:
            pixels, truth, estimate = pixels[:, ::-1], mirrored(truth, crop.width), mirrored(estimate, crop.width)
        canvas = np.zeros((*self._canvas, 3), np.uint8)
        canvas[: crop.height, : crop.width] = pixels
        return Example(canvas, np.array([crop.height, crop.width]), estimate, truth, jitter)

    def _window(self, crop: Crop, pose: FloatArray, random: np.random.Generator) -> Crop:
        """Returns the part of a crop that fits into the canvas, with the pose (15, 2) about its middle."""
        middle = (np.nanmin(pose, axis=0) + np.nanmax(pose, axis=0)) / 2 + random.normal(0, self._augmentation.shift, 2)
        room = np.array([self._canvas[1], self._canvas[0]])
        excess = np.maximum([crop.width - room[0], crop.height - room[1]], 0)
        x, y = np.clip(middle - room / 2, 0, excess).astype(int).tolist()
        x0, y0 = crop.box[0] + x, crop.box[1] + y
        x1, y1 = min(x0 + room[0], crop.box[2]), min(y0 + room[1], crop.box[3])
        return replace(crop, box=(x0, y0, int(x1), int(y1)))


def mirrored(joints: FloatArray, width: int) -> FloatArray:
    """Returns joints (15, 2) as they are in the mirror image of a crop of that width: pixel x becomes width - 1 - x."""
    swapped = joints[list(MIRROR)]
    return np.column_stack([width - 1 - swapped[:, 0], swapped[:, 1]])


def prepare(batch: Example, device: torch.device) -> tuple[Tensor, Tensor, maps.Targets]:
    """Turns B stacked examples into what the network and the losses take.

    Returns:
        Inputs (B, 18, H, W) uint8, where they are image (B, 1, H, W), and the targets.
    """
    pixels, sizes, estimate, truth, scale = (torch.as_tensor(value).to(device, non_blocking=True) for value in batch)
    height, width = pixels.shape[1:3]
    image = maps.inside(sizes, height, width).float()  # (B, 1, H, W)
    inputs = maps.network_input(pixels, estimate).contiguous(memory_format=torch.channels_last)
    return inputs, image, maps.targets(truth, height, width, scale, sizes)

"""One training example: a true pose, an estimate with mistakes, and the crop that the estimate leads to."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as transforms

from hpr import heatmaps
from hpr.checks import Probability, checked
from hpr.crops import Crop, person_region, person_scale
from hpr.errors import UserError
from hpr.images import Image
from hpr.models.network import Refiner
from hpr.models.padding import PaddedBatch
from hpr.poses import FloatArray, IntArray
from hpr.skeleton import Skeleton
from hpr.training.people import AnnotatedPerson, People
from hpr.training.pose_errors import PoseErrors

_MAX_PASSED_OVER = 1000

_Factor = Annotated[float, Field(ge=0.1, le=10)]


class Example(NamedTuple):
    """Arrays of one example, or, stacked by a loader, tensors of B of them.

    Attributes:
        pixels: (H, W, 3) uint8, the crop in the upper left of a canvas.
        size: (2,) height and width of the crop in the canvas.
        estimate: (K, 2) in crop_xy, NaN where missing.
        truth: (K, 2) in crop_xy, NaN where there is no keypoint to be found.
        scale: Scale jitter.
    """

    pixels: NDArray[np.uint8]
    size: IntArray
    estimate: FloatArray
    truth: FloatArray
    scale: float


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
    ) -> None:
        """Sets how much is changed.

        Args:
            scale: Smallest and largest factor of a person's size.
            shift: Standard deviation of a person's place in the canvas, in pixels.
            mirror: Probability of mirroring.
            colour: Standard deviation of the factors of brightness, contrast and saturation, and a tenth of
                that of the hue.
            occlusion: Probability that a patch of one colour hides a part of the image.

        Raises:
            UserError: The smallest factor is above the largest.
        """
        if scale[0] > scale[1]:
            raise UserError(f"augmentation.scale={list(scale)}: expected the smaller factor first")
        self.scale = (scale[0], scale[1])
        self.shift = shift
        self.mirror = mirror
        self._colour = colour
        self._occlusion = occlusion

    def recolour(self, pixels: Image, random: np.random.Generator) -> Image:
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


class Examples(Dataset[Example]):
    """The examples of a training, each a function of its index alone, so that a run can be continued anywhere."""

    def __init__(
        self,
        people: People,
        errors: PoseErrors,
        augmentation: Augmentation,
        canvas: Sequence[int],
        skeleton: Skeleton,
        mean_head: float,
        seed: int,
    ) -> None:
        """Puts a training set together.

        Args:
            people: Annotated people of any skeleton.
            errors: What the estimates get wrong.
            augmentation: What else is changed.
            canvas: Height and width of all examples, in pixels.
            skeleton: Of the network.
            mean_head: Of the network (`registry.Architecture`).
            seed: Of mistakes and changes.
        """
        self._people, self._errors, self._augmentation = people, errors, augmentation
        self._canvas = (canvas[0], canvas[1])
        self._skeleton, self._mean_head, self._seed = skeleton, mean_head, seed

    def __getitem__(self, index: int) -> Example:
        """Returns the index-th example, without end."""
        random = np.random.default_rng((self._seed, index))
        image, truth, neighbours = self._person(index)
        estimate, _ = self._errors.draw(truth, neighbours, self._skeleton, random)

        jitter = random.uniform(*self._augmentation.scale)
        scale = person_scale(estimate, self._skeleton, self._mean_head) * jitter
        crop = person_region(estimate, (image.shape[1], image.shape[0]), scale)
        crop = self._window(crop, crop.to_crop(estimate), random)
        truth, estimate = crop.to_crop(truth), crop.to_crop(estimate)

        pixels = self._augmentation.recolour(crop.pixels(image), random)
        self._augmentation.occlude(pixels, truth, random)
        if random.random() < self._augmentation.mirror:
            pixels = pixels[:, ::-1]
            truth, estimate = (heatmaps.mirror_pose(p, crop.width, self._skeleton) for p in (truth, estimate))
        size = np.array([crop.height, crop.width])
        return Example(self._on_canvas(pixels), size, estimate, truth, jitter)

    def _person(self, index: int) -> AnnotatedPerson:
        """Returns the index-th person in the network's skeleton, or the next one with a keypoint of it.

        Raises:
            UserError: A great many people in a row have none.
        """
        convert = self._people.skeleton.convert
        for place in range(index, index + _MAX_PASSED_OVER):
            image, pose, neighbours = self._people.person(place)
            pose = convert(pose[None], self._skeleton)[0]
            if not np.isnan(pose).all():
                return AnnotatedPerson(image, pose, convert(neighbours, self._skeleton))
        found = f"{_MAX_PASSED_OVER} in a row without any"
        raise UserError(f"training set: expected people with keypoints of {self._skeleton.name}, found {found}")

    def _window(self, crop: Crop, pose: FloatArray, random: np.random.Generator) -> Crop:
        """Returns the part of a crop that fits into the canvas, with the pose (K, 2) about its middle."""
        middle = (np.nanmin(pose, axis=0) + np.nanmax(pose, axis=0)) / 2 + random.normal(0, self._augmentation.shift, 2)
        room = np.array([self._canvas[1], self._canvas[0]])
        excess = np.maximum([crop.width - room[0], crop.height - room[1]], 0)
        x, y = np.clip(middle - room / 2, 0, excess).astype(int).tolist()
        x0, y0 = crop.box[0] + x, crop.box[1] + y
        x1, y1 = min(x0 + room[0], crop.box[2]), min(y0 + room[1], crop.box[3])
        return replace(crop, box=(x0, y0, int(x1), int(y1)))

    def _on_canvas(self, pixels: Image) -> NDArray[np.uint8]:
        """Returns pixels (h, w, 3) in the upper left of a canvas (H, W, 3)."""
        canvas = np.zeros((*self._canvas, 3), np.uint8)
        canvas[: pixels.shape[0], : pixels.shape[1]] = pixels
        return canvas


def prepare(batch: Example, network: Refiner, device: torch.device) -> tuple[PaddedBatch, heatmaps.Targets]:
    """Turns B stacked examples into what the network and the losses take.

    Args:
        batch: From a loader.
        network: To be trained; says how many cells its heatmaps have.
        device: To bring them to.

    Returns:
        The crops (B, 3 + K, H, W) uint8 in the corners of their canvases, and the targets, on the device.
    """
    height, width = batch.pixels.shape[1:3]
    # Computed from the loader's tensors, which are on the host: no device has to be waited for.
    is_padded = bool((torch.as_tensor(batch.size) != torch.tensor([height, width])).any())
    pixels, sizes, estimate, truth, jitter = (torch.as_tensor(value).to(device, non_blocking=True) for value in batch)

    inputs = heatmaps.network_input(pixels, estimate).contiguous(memory_format=torch.channels_last)
    crops = PaddedBatch(inputs, sizes, torch.zeros_like(sizes), is_padded, masks_layers=False)
    # A crop on a canvas of its own size would have as many cells as these.
    cells = heatmaps.rectangles(network.heatmap_size(sizes), *(network.heatmap_size(n) for n in (height, width)))
    return crops, heatmaps.targets(truth, cells, jitter)

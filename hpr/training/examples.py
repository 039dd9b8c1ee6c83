"""One training example: a true pose, an estimate with mistakes, and the crop that the estimate leads to."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from hpr import codec
from hpr.crops import Crop, ScaleRule, body_scale, person_region, person_scale
from hpr.errors import UserError
from hpr.images import Image
from hpr.refine.batching import masked_batch
from hpr.models.network import Refiner
from hpr.models.padding import PaddedBatch
from hpr.poses import BoolArray, FloatArray, IntArray
from hpr.skeleton import Skeleton
from hpr.training.augmentation import Augmentation
from hpr.training.colours import UNCHANGED, recoloured
from hpr.training.dataset import AnnotatedPerson, People
from hpr.pose_errors.draw import Mistake, PoseErrors, false_estimate, out_of_sight, overlap
from hpr.seeds import Purpose, generator

_MAX_PASSED_OVER = 1000

_NEEDED_MARGIN = 64.0
"""Pixels about a person's keypoints that should be on the canvas, for what they look like and for people who shift."""


class Example(NamedTuple):
    """Arrays of one example, or, stacked by a loader, tensors of B of them.

    Attributes:
        pixels: (H, W, 3) uint8, the crop on a canvas.
        size: (2,) height and width of the crop.
        start: (2,) its first row and column on the canvas.
        estimate: (K, 2) in crop_xy, NaN where missing.
        truth: (K, 2) in crop_xy, NaN where there is no keypoint to be found.
        scale: Scale jitter.
        scores: (K,) an estimator's, 0 for absent keypoints.
        labelled: (K,) bool, keypoints that count; see `AnnotatedPerson`.
        ignored: (h, w) bool, heatmap cells of the canvas that do not count, besides those near true keypoints.
        colour: (4,) how the colours are still to be changed; see `colours.recoloured`.
    """

    pixels: NDArray[np.uint8]
    size: IntArray
    start: IntArray
    estimate: FloatArray
    truth: FloatArray
    scale: float
    scores: FloatArray
    labelled: BoolArray
    ignored: BoolArray
    colour: FloatArray


class Examples(Dataset[Example]):
    """The examples of a training, each a function of its index alone, so that a run can be continued anywhere."""

    def __init__(
        self,
        people: People,
        errors: PoseErrors,
        augmentation: Augmentation,
        canvas: Sequence[int],
        network: Refiner,
        scale: ScaleRule,
        seed: int,
    ) -> None:
        """Puts a training set together.

        Args:
            people: Annotated people of any skeleton.
            errors: What the estimates get wrong.
            augmentation: What else is changed.
            canvas: Height and width of all examples, in pixels.
            network: To be trained; says what its crops have to be like.
            scale: How a person's size is measured.
            seed: Of mistakes and changes.
        """
        self._people, self._errors, self._augmentation = people, errors, augmentation
        self.canvas = (canvas[0], canvas[1])
        self._cells = (network.heatmap_size(canvas[0]), network.heatmap_size(canvas[1]))
        self._skeleton, self._mean_head = network.skeleton, network.mean_head
        self._placement = network.backbone.placement
        self._largest = self._largest_crop()
        self._scale, self._seed = scale, seed

    def __getitem__(self, index: int) -> Example:
        """Returns the index-th example, without end."""
        random, jitter = self._drawn(index)
        person = self._person(index)
        reduction = self._reduction(person)
        person = self._augmentation.turn(person, random)
        person = self._augmentation.truncate(person, random)
        estimate, truth, mistakes = self._estimated(person, random)
        # Chance of their own: the other draws are the same whether scores are looked at or not.
        scores = self._errors.scores(mistakes, generator(Purpose.TRAINING_SCORES, self._seed, index))

        crop = person_region(estimate, person.image.size, self._scale_of(estimate) * jitter)
        crop = self._window(crop, crop.to_crop(estimate), random)
        reduction = min(reduction, person.image.reduction_for(crop.scale))
        pixels = person.image.crop(crop, reduction)
        colour = self._augmentation.colours(random)

        poses = crop.to_crop(estimate), crop.to_crop(truth)
        ignored = [crop.to_crop(polygon) for polygon in person.ignored]
        seen = _Cropped(pixels, *poses, scores, person.labelled, ignored)
        self._augmentation.occlude(seen.pixels, seen.truth, random)
        if random.random() < self._augmentation.mirror:
            seen = seen.mirrored(self._skeleton)
        return self._on_canvas(seen, jitter, colour)

    def extent(self, index: int) -> tuple[IntArray, IntArray]:
        """Returns about how large the index-th example is, without its pixels: before it is turned and mistaken.

        Returns:
            Height and width (2,) that its keypoints need with the pixels about them, and those (2,) of its whole crop.
        """
        _, jitter = self._drawn(index)
        person = self._person(index)
        crop = person_region(person.pose, person.image.size, self._scale_of(person.pose) * jitter)
        around = person_region(person.pose, person.image.size, crop.scale, _NEEDED_MARGIN)
        return np.array([around.height, around.width]), np.array([crop.height, crop.width])

    def _drawn(self, index: int) -> tuple[np.random.Generator, float]:
        """Returns the source of chance for an example, and its scale jitter, which is the first that is drawn."""
        random = generator(Purpose.TRAINING_EXAMPLE, self._seed, index)
        return random, random.uniform(*self._augmentation.scale)

    def _estimated(
        self, person: AnnotatedPerson, random: np.random.Generator
    ) -> tuple[FloatArray, FloatArray, IntArray]:
        """Draws an estimate (K, 2); returns it, the truth (K, 2) that it is to become, and the Mistakes in it (K,)."""
        truth, neighbours, skeleton = person.pose, person.neighbours, self._skeleton
        image_size = person.image.size
        kind = random.random()
        near = np.where(np.isnan(truth[:, 0]), Mistake.ABSENT, Mistake.NEAR)
        if kind < self._augmentation.exact:
            return truth, truth, near
        if kind < self._augmentation.exact + self._augmentation.nearly_exact:
            return self._errors.nearly_exact(truth, skeleton, random), truth, near

        if random.random() < self._errors.false_person:
            nobody = false_estimate(truth[None], image_size, random)
            # On somebody, it would be an estimate of them.
            if not any(overlap(nobody, other) for other in (truth, *neighbours)):
                mistakes = np.where(np.isnan(nobody[:, 0]), Mistake.ABSENT, Mistake.EXTRA)
                return nobody, np.full_like(truth, np.nan), mistakes
        hidden = out_of_sight(person.keypoints, truth, image_size, random)
        estimate, mistakes = self._errors.draw(truth, neighbours, skeleton, random, hidden)
        return estimate, truth, mistakes

    def _reduction(self, person: AnnotatedPerson) -> int:
        """Returns by what an image can be divided for the crops of all people in it, so that it is decoded once."""
        poses = [pose for pose in (person.pose, *person.neighbours) if not np.isnan(pose).all()]
        largest = max(self._scale_of(pose) for pose in poses) * self._augmentation.scale[1]
        return person.image.reduction_for(largest)

    def _scale_of(self, estimate: FloatArray) -> float:
        """Returns the scale of a person by an estimate (K, 2)."""
        if self._scale == "body":
            return body_scale(estimate, self._skeleton, mean_head=self._mean_head)
        return person_scale(estimate, self._skeleton, self._mean_head)

    def _person(self, index: int) -> AnnotatedPerson:
        """Returns the index-th person in the network's skeleton, or the next one with a keypoint of it.

        Raises:
            UserError: A great many people in a row have none.
        """
        for place in range(index, index + _MAX_PASSED_OVER):
            person = self._people.person(place).in_skeleton(self._people.skeleton, self._skeleton)
            if not np.isnan(person.pose).all():
                return person
        found = f"{_MAX_PASSED_OVER} in a row without any"
        raise UserError(f"training set: expected people with keypoints of {self._skeleton.name}, found {found}")

    def _window(self, crop: Crop, pose: FloatArray, random: np.random.Generator) -> Crop:
        """Returns the part of a crop that fits into the canvas, with the pose (K, 2) about its middle."""
        middle = (np.nanmin(pose, axis=0) + np.nanmax(pose, axis=0)) / 2 + random.normal(0, self._augmentation.shift, 2)
        room = self._largest[::-1]
        excess = np.maximum([crop.width - room[0], crop.height - room[1]], 0)
        x, y = np.clip(middle - room / 2, 0, excess).astype(int).tolist()
        x0, y0 = crop.box[0] + x, crop.box[1] + y
        x1, y1 = min(x0 + room[0], crop.box[2]), min(y0 + room[1], crop.box[3])
        return replace(crop, box=(x0, y0, int(x1), int(y1)))

    def _largest_crop(self) -> IntArray:
        """Returns height and width (2,) of the largest crop that fits on the canvas where it has to begin."""
        size = np.array(self.canvas)
        while (size + self._placement(size[None])[0] > self.canvas).any():
            size -= size + self._placement(size[None])[0] > self.canvas
        return size

    def _on_canvas(self, seen: "_Cropped", jitter: float, colour: FloatArray) -> Example:
        """Returns the example of a crop, which begins where the network needs it on the canvas."""
        size = np.array(seen.pixels.shape[:2])
        start = self._placement(size[None])[0]
        canvas = np.zeros((*self.canvas, 3), np.uint8)
        canvas[start[0] : start[0] + size[0], start[1] : start[1] + size[1]] = seen.pixels
        cells = codec.cells_within(seen.ignored, *self._cells)
        labels = (seen.scores, seen.labelled, cells)
        return Example(canvas, size, start, seen.estimate, seen.truth, jitter, *labels, colour)


class _Cropped(NamedTuple):
    """A person's crop (h, w, 3) with what the same attributes of `Example` hold, and ignored polygons (n, 2)."""

    pixels: Image
    estimate: FloatArray
    truth: FloatArray
    scores: FloatArray
    labelled: BoolArray
    ignored: list[FloatArray]

    def mirrored(self, skeleton: Skeleton) -> "_Cropped":
        """Returns the mirror image, left and right keypoints swapped."""
        width, sides = self.pixels.shape[1], list(skeleton.mirror)
        return _Cropped(
            self.pixels[:, ::-1],
            codec.mirror_pose(self.estimate, width, skeleton),
            codec.mirror_pose(self.truth, width, skeleton),
            self.scores[sides],
            self.labelled[sides],
            [codec.mirror_points(polygon, width) for polygon in self.ignored],
        )


def prepare(batch: Example, network: Refiner, device: torch.device) -> tuple[PaddedBatch, codec.Targets]:
    """Turns B stacked examples into what the network and the losses take.

    Args:
        batch: From a loader.
        network: To be trained; says how many cells its heatmaps have.
        device: To bring them to.

    Returns:
        The crops (B, 3 + K, H, W) uint8 on their canvases, and the targets, on the device.
    """
    height, width = batch.pixels.shape[1:3]
    # Computed from the loader's tensors, which are on the host: no device has to be waited for.
    is_padded = any(size != [height, width] for size in torch.as_tensor(batch.size).tolist())
    pixels, sizes, starts, estimate, truth, jitter, scores, labelled, ignored = (
        torch.as_tensor(value).to(device, non_blocking=True) for value in batch[:-1]
    )
    colours = torch.as_tensor(batch.colour)
    if any(tuple(factors) != UNCHANGED for factors in colours.tolist()):
        pixels = recoloured(pixels, colours, sizes, starts, is_padded)

    crops = masked_batch(pixels, estimate, sizes, starts, is_padded, network.input_kind, scores)
    # A crop on a canvas of its own size would have as many cells as these; the maps of all crops begin in the corner.
    cells = codec.rectangles(network.heatmap_size(sizes), *(network.heatmap_size(n) for n in (height, width)))
    return crops, codec.targets(truth, cells, jitter, labelled, ignored)

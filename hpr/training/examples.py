"""One training example: a true pose, an estimate with mistakes, and the crop around the estimate."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, default_collate

from hpr import codec
from hpr.crops import Crop, ScaleRule, body_scale, canvas_crop, person_boxes, person_region, person_scale
from hpr.errors import UserError
from hpr.models.network import Refiner
from hpr.models.padding import PaddedBatch
from hpr.pose_errors.draw import (
    Mistake,
    PoseErrors,
    false_estimate,
    mixed_estimate,
    out_of_sight,
    overlap,
    person_size,
)
from hpr.poses import BoolArray, FloatArray, IntArray
from hpr.refine.batching import masked_batch
from hpr.seeds import Purpose, generator
from hpr.training.augmentation import Augmentation
from hpr.training.colours import UNCHANGED, adjust_colours
from hpr.training.dataset import AnnotatedPerson, PeopleDataset

_MAX_SKIPPED = 1000
"""People in a row without a keypoint of the network, after which the dataset is refused."""

_EXAMPLES_FOR_MEANS = 32
"""Input means of 32 examples are within a sixth of the true ones, which are around 1 for values up to 255."""


class Example(NamedTuple):
    """Arrays of one example, or tensors of B examples after collating.

    Attributes:
        pixels: (H, W, 3) uint8, the crop on a canvas.
        size: (2,) height and width of the crop.
        start: (2,) first row and column of the crop on the canvas.
        estimate: (K, 2) in crop_xy, NaN where missing.
        truth: (K, 2) in crop_xy, NaN where there is no keypoint to be found.
        scale: Scale jitter.
        scores: (K,) scores of the estimate, 0 for absent keypoints.
        labelled: (K,) bool, keypoints with a loss; see `AnnotatedPerson`.
        ignored: (h, w) bool, heatmap cells without a loss, unless they are near true keypoints.
        colour: (4,) colour change that is still to be applied; see `colours.adjust_colours`.
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
    """Training examples by index, without end; each is a pure function of its index, so that a run can continue."""

    def __init__(
        self,
        people: PeopleDataset,
        errors: PoseErrors,
        augmentation: Augmentation,
        canvas: Sequence[int],
        network: Refiner,
        scale: ScaleRule,
        seed: int,
    ) -> None:
        """Combines a dataset with pose errors and augmentation.

        Args:
            people: Annotated people of any skeleton.
            errors: Mistakes in the estimates.
            augmentation: Other random changes.
            canvas: Height and width of all examples, in pixels.
            network: The network to be trained; it says what its crops have to be like.
            scale: How a person's size is measured.
            seed: Seed of mistakes and augmentation.
        """
        self._people, self._errors, self._augmentation = people, errors, augmentation
        self._canvas = (canvas[0], canvas[1])
        self._cells = (network.heatmap_size(canvas[0]), network.heatmap_size(canvas[1]))
        self._skeleton, self._placement, self._seed = network.skeleton, network.backbone.placement, seed
        self._fits_canvas, self._grid = network.canvas is not None, network.grid
        if network.canvas not in (None, self._canvas):
            raise UserError(f"canvas={list(canvas)}: expected {list(network.canvas or ())}, as the network's crops are")
        size = body_scale if scale == "body" else person_scale
        self._scale_of = partial(size, skeleton=network.skeleton, mean_head=network.mean_head)

        # Height and width of the largest crop that fits on the canvas where the network places it.
        self._max_crop = np.array(self._canvas)
        while ((excess := self._max_crop + self._placement(self._max_crop[None])[0] - self._canvas) > 0).any():
            self._max_crop -= excess > 0

    def __getitem__(self, index: int) -> Example:
        """Returns an example."""
        # The order of the draws is part of what an index means: do not change it.
        random = generator(Purpose.TRAINING_EXAMPLE, self._seed, index)
        smallest, largest = self._augmentation.scale
        jitter = random.uniform(smallest, largest)
        person = self._person(index)

        # The reduction suits the crops of all people in an image, so that it is decoded once.
        poses = [pose for pose in (person.pose, *person.neighbours) if not np.isnan(pose).all()]
        reduction = person.image.reduction_for(max(self._scale_of(pose) for pose in poses) * largest)

        person = self._augmentation.rotate(person, random)
        person = self._augmentation.truncate(person, random)
        estimate, truth, mistakes, scores = self._draw_estimate(person, random)
        if scores is None:  # they have a generator of their own, so that the other draws do not depend on them
            scores = self._errors.draw_scores(mistakes, generator(Purpose.TRAINING_SCORES, self._seed, index))

        if self._fits_canvas:
            crop = self._canvas_crop(person, estimate, jitter, random)
        else:
            crop = person_region(estimate, person.image.size, self._scale_of(estimate) * jitter)
            crop = self._window(crop, crop.to_crop(estimate), random)
        reduction = min(reduction, person.image.reduction_for(crop.scale))
        pixels = person.image.crop(crop, reduction)
        colour = self._augmentation.draw_colours(random)

        estimate, truth = crop.to_crop(estimate), crop.to_crop(truth)
        ignored = [crop.to_crop(polygon) for polygon in person.ignored]
        labelled = person.labelled
        # Annotators of photographs guess what is hidden; so does a network with crops of one size.
        self._augmentation.occlude(pixels, truth.copy() if self._fits_canvas else truth, random)
        if random.random() < self._augmentation.mirror:
            width, sides = pixels.shape[1], list(self._skeleton.mirror)
            pixels = pixels[:, ::-1]
            estimate, truth = (codec.mirror_pose(pose, width, self._skeleton) for pose in (estimate, truth))
            scores, labelled = scores[sides], labelled[sides]
            ignored = [codec.mirror_points(polygon, width) for polygon in ignored]

        size = np.array(pixels.shape[:2])
        start = self._placement(size[None])[0]
        canvas = np.zeros((*self._canvas, 3), np.uint8)
        canvas[start[0] : start[0] + size[0], start[1] : start[1] + size[1]] = pixels
        cells = codec.cells_within(ignored, *self._cells, self._grid)
        return Example(canvas, size, start, estimate, truth, jitter, scores, labelled, cells, colour)

    def _person(self, index: int) -> AnnotatedPerson:
        """Returns a person in the network's skeleton: the index-th, or the next one with a keypoint of it."""
        for candidate in range(index, index + _MAX_SKIPPED):
            person = self._people.person(candidate).in_skeleton(self._people.skeleton, self._skeleton)
            if not np.isnan(person.pose).all():
                return person
        found = f"{_MAX_SKIPPED} in a row without any"
        raise UserError(f"training set: expected people with keypoints of {self._skeleton.name}, found {found}")

    def _draw_estimate(
        self, person: AnnotatedPerson, random: np.random.Generator
    ) -> tuple[FloatArray, FloatArray, IntArray, FloatArray | None]:
        """Draws an estimate (K, 2) of a person.

        Returns:
            The estimate, the truth (K, 2) to refine it to, the Mistakes in it (K,), and its scores (K,), or None where
            they follow from the mistakes.
        """
        truth, neighbours, skeleton = person.pose, person.neighbours, self._skeleton
        image_size = person.image.size
        near = np.where(np.isnan(truth[:, 0]), Mistake.ABSENT, Mistake.NEAR)

        quality = random.random()
        sure = np.where(np.isnan(truth[:, 0]), 0.0, 1.0) if self._fits_canvas else None  # annotations have no scores
        if quality < self._augmentation.exact:
            return truth, truth, near, sure
        if quality < self._augmentation.exact + self._augmentation.nearly_exact:
            return self._errors.draw_nearly_exact(truth, skeleton, random), truth, near, sure

        if person.estimates is not None and random.random() < self._augmentation.real:
            estimate, scores = mixed_estimate(person.estimates, person_size(truth), random)
            if not np.isnan(estimate).all():
                return estimate, truth, near, scores

        if random.random() < self._errors.false_person:
            nobody = false_estimate(truth[None], image_size, random)
            # On top of somebody it would be an estimate of them.
            if not any(overlap(nobody, other) for other in (truth, *neighbours)):
                mistakes = np.where(np.isnan(nobody[:, 0]), Mistake.ABSENT, Mistake.EXTRA)
                return nobody, np.full_like(truth, np.nan), mistakes, None

        hidden = out_of_sight(person.keypoints, truth, image_size, random)
        estimate, mistakes = self._errors.draw(truth, neighbours, skeleton, random, hidden)
        return estimate, truth, mistakes, None

    def _canvas_crop(
        self, person: AnnotatedPerson, estimate: FloatArray, jitter: float, random: np.random.Generator
    ) -> Crop:
        """Returns the crop of the canvas's size around the annotated box or, as often, the estimate's keypoints."""
        given = np.full(4, np.nan) if random.random() < 0.5 else person.box
        (box,) = person_boxes(estimate[None], given[None])
        limits = np.tile(np.array(person.image.size, float), 2)
        inside = np.clip(box, 0, limits)
        box = inside if (inside[2:] - inside[:2] >= 1).all() else box

        centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 / jitter
        shift = random.normal(0, self._augmentation.shift, 2) * float(half.max()) / self._canvas[0]
        box = np.concatenate([centre + shift - half, centre + shift + half])
        crop = canvas_crop(box, person.image.size, self._canvas)
        return crop or canvas_crop(limits * [0, 0, 1, 1], person.image.size, self._canvas)  # type: ignore[return-value]

    def _window(self, crop: Crop, pose: FloatArray, random: np.random.Generator) -> Crop:
        """Returns the part of a crop that fits on the canvas, with the pose (K, 2) about its centre."""
        centre = (np.nanmin(pose, axis=0) + np.nanmax(pose, axis=0)) / 2 + random.normal(0, self._augmentation.shift, 2)
        room = self._max_crop[::-1]
        excess = np.maximum([crop.width - room[0], crop.height - room[1]], 0)
        x, y = np.clip(centre - room / 2, 0, excess).astype(int).tolist()

        x0, y0 = crop.box[0] + x, crop.box[1] + y
        x1, y1 = min(x0 + room[0], crop.box[2]), min(y0 + room[1], crop.box[3])
        return replace(crop, box=(x0, y0, int(x1), int(y1)))


def prepare(batch: Example, network: Refiner, device: torch.device) -> tuple[PaddedBatch, codec.Targets]:
    """Turns B collated examples into crops (B, 3 + K, H, W) uint8 on their canvases, and the targets of the losses."""
    height, width = batch.pixels.shape[1:3]
    # Computed from the loader's tensors, which are on the host, so that no device has to be waited for.
    is_padded = any(size != [height, width] for size in torch.as_tensor(batch.size).tolist())
    pixels, sizes, starts, estimate, truth, jitter, scores, labelled, ignored = (
        torch.as_tensor(value).to(device, non_blocking=True) for value in batch[:-1]
    )
    colours = torch.as_tensor(batch.colour)
    if any(tuple(factors) != UNCHANGED for factors in colours.tolist()):
        pixels = adjust_colours(pixels, colours, sizes, starts, is_padded)

    crops = masked_batch(pixels, estimate, sizes, starts, is_padded, network.input_kind, scores)
    # A crop alone would have this many cells; the heatmaps of all crops start in the corner.
    cells = codec.rectangles(network.heatmap_size(sizes), *(network.heatmap_size(n) for n in (height, width)))
    return crops, network.targets(truth, cells, jitter, labelled, ignored)


def measure_input_means(network: Refiner, examples: Dataset[Example]) -> None:
    """Sets input means that are only a guess so far, on the host: over the own pixels of the first examples' crops."""
    if not network.unmeasured:
        return

    means = []  # (K,) each
    for index in range(_EXAMPLES_FOR_MEANS):
        crops, _ = prepare(default_collate([examples[index]]), network, torch.device("cpu"))
        valid = crops.valid().double()  # (1, 1, H, W)
        means.append((crops.tensors[:, 3:] * valid).sum(dim=(0, 2, 3)) / valid.sum())

    measured = torch.stack(means).mean(dim=0)
    mean = network.input_mean.flatten().double()
    indices = torch.tensor(network.unmeasured)
    mean[3 + indices] = measured[indices]
    network.set_input_mean(mean.tolist())

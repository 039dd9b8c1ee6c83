"""Crops of different sizes in one batch; every person gets the result they would get alone (`models.padding`)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpr.codec import DISC_RADIUS, network_input
from hpr.crops import STANDARD_SCALE, Crop
from hpr.images import Image
from hpr.models.network import Prediction, Refiner
from hpr.models.padding import PaddedBatch
from hpr.poses import FloatArray
from hpr.refine.results import Outcome, PersonKey, RefinedPose
from hpr.settings import InputKind

STANDARD_HEAD = 50 * STANDARD_SCALE
"""Head size of a person of the network's standard size, in pixels."""

_CANVAS_STEP = 64
"""Canvas sides are multiples of this, so that cuDNN has to choose algorithms for few sizes only."""

_MAX_SUPPORT, _MIN_MOVED_CONFIDENCE = 0.1, 0.5
"""A keypoint of a pose without scores is moved only where the network supports its position no more than this and is at
least this sure of another one: nothing tells then whether the pose is an estimate or an annotation."""


@dataclass(frozen=True)
class PersonCrop:
    """What the network sees of one person.

    Attributes:
        key: Which person; the result carries it as well.
        crop: Region of the image.
        pixels: (h, w, 3) RGB.
        keypoints: (K, 2) in crop_xy, NaN where missing.
        scores: (K,) of the keypoints, 0 to 1, NaN where there is none; None if no keypoint has one.
        head_size: Head size of the person, in pixels of the crop.
    """

    key: PersonKey
    crop: Crop
    pixels: Image
    keypoints: FloatArray
    scores: FloatArray | None = None
    head_size: float = STANDARD_HEAD

    @property
    def has_scores(self) -> bool:
        """Whether scores tell the keypoints that are there apart: any of them is neither absent nor 1."""
        if self.scores is None:
            return False
        scores = self.scores[~np.isnan(self.keypoints[:, 0])]
        return bool(((scores < 1) & ~np.isnan(scores)).any())


_WINDOW_BATCHES = 4


def default_batch_pixels(device: torch.device, network: Refiner) -> int:
    """Returns how many pixels keep a device busy: on a CPU one person's, or eight of the photograph refiner's."""
    if device.type == "cuda":
        return 12_000_000
    return 0 if network.canvas is None else 8 * network.canvas[0] * network.canvas[1]


def windows(people: Iterable[PersonCrop | RefinedPose], batch_pixels: int) -> Iterator[list[PersonCrop] | RefinedPose]:
    """Yields lists of people of a few batches, so that those of similar size can be grouped; results as they come."""
    window: list[PersonCrop] = []
    num_pixels = 0
    for person in people:
        if isinstance(person, RefinedPose):
            yield person
            continue
        window.append(person)
        num_pixels += person.crop.width * person.crop.height
        if num_pixels >= _WINDOW_BATCHES * batch_pixels:
            yield window
            window, num_pixels = [], 0
    if window:
        yield window


def group(people: Sequence[PersonCrop], max_pixels: int, room: int) -> Iterator[list[PersonCrop]]:
    """Yields batches of people of similar size.

    Args:
        people: Crops to group.
        max_pixels: Limit for the pixels of a batch's canvases together; a larger person is a batch of its own.
        room: See `canvas_size`.
    """
    batch: list[PersonCrop] = []
    for person in sorted(people, key=lambda person: person.pixels.shape[:2]):
        height, width = canvas_size([*batch, person], room)
        if batch and height * width * (len(batch) + 1) > max_pixels:
            yield batch
            batch = []
        batch.append(person)

    if batch:
        yield batch


def canvas_size(people: Sequence[PersonCrop], room: int) -> tuple[int, int]:
    """Returns height and width of a batch's canvases: the size of the crops if all have the same.

    On a larger canvas, a backbone may shift crops by `room` pixels (`Backbone.placement_room`).
    """
    sizes = {(person.crop.height, person.crop.width) for person in people}
    if len(sizes) == 1:
        return sizes.pop()
    height, width = (max(side) + room for side in zip(*sizes, strict=True))
    return -(-height // _CANVAS_STEP) * _CANVAS_STEP, -(-width // _CANVAS_STEP) * _CANVAS_STEP


def collate(people: Sequence[PersonCrop], network: Refiner, device: torch.device) -> PaddedBatch:
    """Makes the network's input (B, 3 + K, H, W) of B people, on a device.

    The network determines where crops lie on their canvases, and how poses are drawn.
    """
    height, width = canvas_size(people, network.backbone.placement_room)
    sizes = np.array([person.pixels.shape[:2] for person in people])  # (B, 2)
    is_padded = bool((sizes != (height, width)).any())
    starts = network.backbone.placement(sizes) if is_padded else np.zeros_like(sizes)

    canvases = torch.zeros(len(people), height, width, 3, dtype=torch.uint8, pin_memory=device.type == "cuda")
    for person, canvas, (y, x), (h, w) in zip(people, canvases, starts, sizes, strict=True):
        canvas[y : y + h, x : x + w] = torch.from_numpy(person.pixels)

    def to_device(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    pixels = canvases.to(device, non_blocking=True)
    keypoints = to_device(np.stack([person.keypoints for person in people]))
    scores = None
    if network.input_kind != "discs":
        no_scores = np.full(keypoints.shape[1], np.nan)
        scores = to_device(np.stack([no_scores if person.scores is None else person.scores for person in people]))
    return masked_batch(pixels, keypoints, to_device(sizes), to_device(starts), is_padded, network.input_kind, scores)


def masked_batch(
    pixels: Tensor,
    keypoints: Tensor,
    sizes: Tensor,
    starts: Tensor,
    is_padded: bool,
    kind: InputKind = "discs",
    scores: Tensor | None = None,
) -> PaddedBatch:
    """Makes the network's input (B, 3 + K, H, W) uint8 of crops on canvases; refining and training share it.

    Args:
        pixels: (B, H, W, 3) RGB uint8.
        keypoints: (B, K, 2) in crop_xy, NaN where missing.
        sizes: (B, 2) height and width of each crop.
        starts: (B, 2) first row and column of each crop on its canvas.
        is_padded: Whether any crop is smaller than the canvas.
        kind: How the poses are drawn.
        scores: (B, K) of the keypoints; see `codec.draw_discs`.
    """
    inputs = network_input(pixels, keypoints + starts[:, None].flip(-1), kind, scores)
    return PaddedBatch(inputs, sizes, starts, is_padded)


def any_disc_inside(keypoints: Tensor, sizes: Tensor) -> Tensor:
    """Returns (B,) whether the network would see the disc of any keypoint of a person.

    Args:
        keypoints: (B, K, 2) in crop_xy, NaN where missing.
        sizes: (B, 2) height and width of each crop.
    """
    last = sizes.flip(-1)[:, None] - 1  # (B, 1, 2): last column and row
    nearest = torch.minimum(keypoints.clamp(min=0), last)
    return ((keypoints - nearest).square().sum(dim=-1) <= DISC_RADIUS**2).any(dim=1)  # False for NaN


def separate(people: Sequence[PersonCrop], prediction: Prediction) -> Iterator[RefinedPose]:
    """Waits for the device and yields the result of each person of a batch, in image pixels."""
    keypoints, confidence = prediction.keypoints.cpu().numpy(), prediction.confidence.double().cpu().numpy()
    is_wrong = np.ones(confidence.shape, bool)  # (B, K)
    if prediction.support is not None:
        is_refuted = (prediction.support < _MAX_SUPPORT) & (prediction.confidence > _MIN_MOVED_CONFIDENCE)
        is_wrong = is_refuted.cpu().numpy()

    for person, crop_xy, probabilities, moves in zip(people, keypoints, confidence, is_wrong, strict=True):
        if not person.has_scores:
            stays = ~moves & ~np.isnan(person.keypoints[:, 0])
            crop_xy[stays] = person.keypoints[stays]
        if not (np.isfinite(crop_xy).all() and np.isfinite(probabilities).all()):
            yield RefinedPose(person.key, Outcome.NOT_FINITE)
            continue
        with np.errstate(over="ignore"):  # absurd input coordinates
            distances = np.linalg.norm(crop_xy - person.keypoints, axis=1)  # (K,)
        moved = float(np.nanmean(distances)) / person.head_size
        image_xy = person.crop.to_image(crop_xy)
        yield RefinedPose(person.key, Outcome.REFINED, "", image_xy, probabilities, moved)

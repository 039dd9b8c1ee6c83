"""People of unequal size in one batch, each with the result that it would have alone (`models.padding`)."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hpr.crops import Crop
from hpr.codec import DISC_RADIUS, network_input
from hpr.images import Image
from hpr.models.network import Refiner
from hpr.models.padding import PaddedBatch
from hpr.poses import FloatArray
from hpr.settings import InputKind

_CANVAS_STEP = 64
"""Canvases are of few different sizes, for which cuDNN has to find its algorithms anew."""


@dataclass(frozen=True)
class PersonCrop:
    """What the network sees of one person.

    Attributes:
        key: Whose it is; the result carries it, too.
        crop: Where the pixels are from.
        pixels: (h, w, 3) RGB.
        keypoints: (K, 2) in crop_xy, NaN where missing.
        scores: (K,) of the keypoints, 0 to 1, NaN where there is none; None where there are none at all.
    """

    key: Hashable
    crop: Crop
    pixels: Image
    keypoints: FloatArray
    scores: FloatArray | None = None

    @property
    def area(self) -> int:
        """Pixels of the crop."""
        return self.crop.width * self.crop.height


def group(people: Sequence[PersonCrop], max_pixels: int, room: int) -> Iterator[list[PersonCrop]]:
    """Yields people who go into one batch: of like size, and on canvases of so many pixels in all at most.

    A person larger than that is a batch alone.

    Args:
        people: To be grouped.
        max_pixels: Of a batch.
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
    """Returns height and width of the canvas for a batch: the crops' own where they agree.

    Args:
        people: Of the batch.
        room: Pixels by which a backbone may move crops on a larger canvas (`Backbone.placement_room`).
    """
    sizes = {(person.crop.height, person.crop.width) for person in people}
    if len(sizes) == 1:
        return sizes.pop()
    height, width = (max(side) + room for side in zip(*sizes, strict=True))
    return -(-height // _CANVAS_STEP) * _CANVAS_STEP, -(-width // _CANVAS_STEP) * _CANVAS_STEP


def collate(people: Sequence[PersonCrop], network: Refiner, device: torch.device) -> PaddedBatch:
    """Puts people's crops and drawn poses together, on the device.

    Args:
        people: B of them.
        network: Says where crops have to lie on a canvas.
        device: To bring them to.

    Returns:
        (B, 3 + K, H, W) uint8, the network's input: poses are drawn as `network.input_kind` says.
    """
    height, width = canvas_size(people, network.backbone.placement_room)
    sizes = np.array([person.pixels.shape[:2] for person in people])  # (B, 2)
    is_padded = bool((sizes != (height, width)).any())
    starts = network.backbone.placement(sizes) if is_padded else np.zeros_like(sizes)

    canvas = torch.zeros(len(people), height, width, 3, dtype=torch.uint8, pin_memory=device.type == "cuda")
    for person, place, (y, x), (h, w) in zip(people, canvas, starts, sizes, strict=True):
        place[y : y + h, x : x + w] = torch.from_numpy(person.pixels)
    keypoints = np.stack([person.keypoints for person in people])  # (B, K, 2)

    pixels = canvas.to(device, non_blocking=True)
    places, sides, corners = (
        torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in (keypoints, sizes, starts)
    )
    kind, scores = network.input_kind, None
    if kind == "confident_discs":
        scores = torch.from_numpy(np.stack([_scores(person) for person in people])).to(device)
    return masked_batch(pixels, places, sides, corners, is_padded, kind, scores)


def _scores(person: PersonCrop) -> FloatArray:
    """Returns the scores (K,) of a person's keypoints, NaN where there are none."""
    return np.full(len(person.keypoints), np.nan) if person.scores is None else person.scores


def masked_batch(
    pixels: Tensor,
    keypoints: Tensor,
    sizes: Tensor,
    starts: Tensor,
    is_padded: bool,
    kind: InputKind = "discs",
    scores: Tensor | None = None,
) -> PaddedBatch:
    """Puts crops on canvases and their poses together, as both refining and training feed them to the network.

    Args:
        pixels: (B, H, W, 3) RGB uint8.
        keypoints: (B, K, 2) in crop_xy, NaN where missing.
        sizes: (B, 2) height and width of each crop.
        starts: (B, 2) first row and column of each crop on its canvas.
        is_padded: Whether any crop is smaller than the canvas.
        kind: What is drawn of each keypoint.
        scores: (B, K) of the keypoints; see `codec.draw_discs`.

    Returns:
        (B, 3 + K, H, W) uint8.
    """
    inputs = network_input(pixels, keypoints + starts[:, None].flip(-1), kind, scores)
    return PaddedBatch(inputs, sizes, starts, is_padded)


def with_keypoints(
    batch: PaddedBatch, keypoints: Tensor, kind: InputKind = "discs", scores: Tensor | None = None
) -> PaddedBatch:
    """Returns a batch with other poses drawn over the same pixels.

    Args:
        batch: Of B people, from `collate`.
        keypoints: (B, K, 2) float64 in crop_xy, NaN where missing; on the batch's device.
        kind: What is drawn of each keypoint.
        scores: (B, K) of the keypoints.
    """
    pixels = batch.tensors[:, :3].permute(0, 2, 3, 1)  # (B, 3, H, W) -> (B, H, W, 3)
    return masked_batch(pixels, keypoints, batch.sizes, batch.starts, batch.is_padded, kind, scores)


def any_inside(batch: PaddedBatch, keypoints: Tensor) -> Tensor:
    """Returns (B,) whether the disc of any keypoint (B, K, 2) in crop_xy reaches into its crop: `codec.any_disc`."""
    last = batch.sizes.flip(-1)[:, None] - 1  # (B, 1, 2): of the columns and the rows
    nearest = torch.minimum(keypoints.clamp(min=0), last)
    return ((keypoints - nearest).square().sum(dim=-1) <= DISC_RADIUS**2).any(dim=1)  # never where the keypoint is NaN

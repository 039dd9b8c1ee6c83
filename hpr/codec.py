"""Between poses and maps: poses to input discs, poses to training targets, heatmaps to poses (docs/published.md)."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from hpr.crops import STANDARD_SCALE
from hpr.poses import BoolArray, FloatArray
from hpr.settings import InputKind
from hpr.skeleton import Skeleton

STRIDE = 8
"""Pixels per heatmap cell."""

OFFSET_UNIT = 7.2801
"""Pixels per unit of a predicted offset."""

DISC_RADIUS = 17 * STANDARD_SCALE
"""Radius in pixels of a keypoint's disc in its input map, and of the cells that are near it."""

DISC_VALUE = 255
"""Value of a pixel within a disc."""

# Coordinates beyond these are clamped, so that integers stay within their range; nothing is drawn there anyway.
_FARTHEST = 1e6

_CELL_BITS = 4
"""Fraction bits of the corners of polygons that OpenCV fills."""


# Pose to input maps


def network_input(pixels: Tensor, keypoints: Tensor, kind: InputKind = "discs", scores: Tensor | None = None) -> Tensor:
    """Stacks crops and the maps of their estimated poses, as bytes, which move to a GPU four times as fast as floats.

    Args:
        pixels: (B, H, W, 3) RGB uint8.
        keypoints: (B, K, 2) float64 in crop_xy, NaN where missing.
        kind: How keypoints are drawn.
        scores: (B, K) scores of the keypoints, for discs that show them; NaN, or None for all, where there is none.

    Returns:
        (B, 3 + K, H, W) uint8: RGB, then the keypoints' maps.
    """
    height, width = pixels.shape[1:3]
    maps = draw_discs(keypoints, height, width, scores if kind == "confident_discs" else None)
    return torch.cat([pixels.permute(0, 3, 1, 2), maps], dim=1)  # (B, H, W, 3) -> (B, 3, H, W)


def draw_discs(keypoints: Tensor, height: int, width: int, scores: Tensor | None = None) -> Tensor:
    """Draws the network's input maps (docs/published.md, section 2.4).

    Args:
        keypoints: (B, K, 2) float64 in crop_xy, NaN where missing.
        height: Height of the maps in pixels.
        width: Width of the maps in pixels.
        scores: (B, K) brightness of the discs from 0 to 1; 1 where NaN, or where None. The smallest is still seen: some
            estimators give 0 to keypoints that they are sure of.

    Returns:
        (B, K, height, width) uint8: DISC_VALUE, or a share of it, on every pixel within DISC_RADIUS of the keypoint,
        else 0.
    """
    batch, count, _ = keypoints.shape
    scores = torch.ones_like(keypoints[..., 0]) if scores is None else scores
    values = (scores.nan_to_num(nan=1.0, posinf=1.0, neginf=0.0) * DISC_VALUE).round().clamp(1, DISC_VALUE)
    values = values.to(torch.uint8)[..., None, None]  # (B, K, 1, 1)

    # A stamp of D × D pixels around each keypoint, where its disc is not 0.
    reach = int(DISC_RADIUS) + 1
    steps = torch.arange(-reach, reach + 1, device=keypoints.device)
    clamped = keypoints.nan_to_num(nan=-_FARTHEST).clamp(-_FARTHEST, _FARTHEST)
    pixels = clamped.round().long()[..., None] + steps  # (B, K, 2, D): the stamp's columns and rows
    squared = (pixels - clamped[..., None]) ** 2
    is_near = squared[:, :, 1, :, None] + squared[:, :, 0, None, :] <= DISC_RADIUS**2  # (B, K, D, D)
    columns, rows = pixels[:, :, 0, None, :], pixels[:, :, 1, :, None]
    is_drawn = is_near & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)

    # One spare element takes the other pixels of the stamps, so that no data-dependent shape stalls a GPU.
    size = batch * count * height * width
    plane = torch.arange(batch * count, device=keypoints.device).view(batch, count, 1, 1)
    indices = torch.where(is_drawn, (plane * height + rows) * width + columns, size)
    flat = torch.zeros(size + 1, dtype=torch.uint8, device=keypoints.device)
    flat[indices] = values.expand_as(indices)
    return flat[:size].view(batch, count, height, width)  # (B * K * H * W,) -> (B, K, H, W)


# Pose to targets


@dataclass(frozen=True)
class Targets:
    """What the network should return for B crops.

    Attributes:
        parts: (B, K, h, w), 1 on the cells near a keypoint, else 0.
        offsets: (B, 2 * K, h, w), x and y of each keypoint in turn, in units of OFFSET_UNIT pixels.
        offset_mask: (B, 2 * K, h, w), 1 where an offset is to be learnt, else 0.
        cells: (B, K, h, w), 1 on the cells that count; 0 beyond the crop's border, for keypoints that are not labelled,
            and in ignored regions.
    """

    parts: Tensor
    offsets: Tensor
    offset_mask: Tensor
    cells: Tensor


def targets(
    keypoints: Tensor,
    cells: Tensor,
    scale: float | Tensor = 1.0,
    labelled: Tensor | None = None,
    ignored: Tensor | None = None,
) -> Targets:
    """Makes the training targets of true poses (docs/published.md, section 5).

    Args:
        keypoints: (B, K, 2) float64 in crop_xy, NaN where there is no keypoint.
        cells: (B, 1, h, w) bool, the heatmap cells that belong to the crops, STRIDE pixels each.
        scale: Scale jitter of the crops, a number or (B,).
        labelled: (B, K) bool, keypoints that count; by default all.
        ignored: (B, h, w) bool, cells that do not count unless they are near the true keypoint; by default none.
    """
    batch, count, _ = keypoints.shape
    height, width = cells.shape[2:]
    rows = torch.arange(height, device=keypoints.device) * STRIDE + STRIDE / 2
    columns = torch.arange(width, device=keypoints.device) * STRIDE + STRIDE / 2
    centres = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))  # (2, h, w): x and y

    offsets = keypoints[..., None, None] - centres  # (B, K, 2, h, w)
    radius = DISC_RADIUS * torch.as_tensor(scale, dtype=torch.float64, device=keypoints.device).view(-1, 1, 1, 1)
    near = offsets.square().sum(dim=2) <= radius**2  # (B, K, h, w); False where the keypoint is NaN
    near &= cells  # beyond its border, a crop alone would have no cells
    mask = near[:, :, None].expand_as(offsets)
    offsets = torch.where(mask, offsets / OFFSET_UNIT, 0.0)

    counted = cells.expand(-1, count, -1, -1)  # (B, 1, h, w) -> (B, K, h, w)
    if labelled is not None:
        counted = counted & labelled[:, :, None, None]
    if ignored is not None:
        counted = counted & ~ignored[:, None]
    counted = counted | near

    shape = (batch, 2 * count, height, width)  # (B, K, 2, h, w) -> (B, 2 * K, h, w)
    return Targets(near.float(), offsets.float().reshape(shape), mask.float().reshape(shape), counted.float())


def rectangles(sizes: Tensor, height: int, width: int, starts: Tensor | None = None) -> Tensor:
    """Marks a rectangle on each of B maps (B, 1, height, width).

    Args:
        sizes: (B, 2) integers, height and width of the rectangles.
        height: Height of the maps.
        width: Width of the maps.
        starts: (B, 2) first row and column of the rectangles; by default 0.
    """
    starts = torch.zeros_like(sizes) if starts is None else starts
    ends = starts + sizes
    rows, columns = (
        (indices >= starts[:, axis, None]) & (indices < ends[:, axis, None])
        for axis, indices in enumerate(torch.arange(n, device=sizes.device) for n in (height, width))
    )  # (B, height) and (B, width)
    return rows[:, None, :, None] & columns[:, None, None, :]


def cells_within(polygons: Sequence[FloatArray], height: int, width: int) -> BoolArray:
    """Marks the heatmap cells (height, width) whose centre lies in a polygon, or less than a cell beside it.

    Args:
        polygons: Polygons (n, 2) in crop_xy; those of fewer than three points have no inside.
        height: Height of the heatmap in cells.
        width: Width of the heatmap in cells.
    """
    filled = np.zeros((height, width), np.uint8)
    for polygon in polygons:
        corners = np.nan_to_num((polygon - STRIDE / 2) / STRIDE).clip(-_FARTHEST, _FARTHEST)
        if len(corners) > 2:  # one at a time: OpenCV would leave out the intersection of two
            points = np.round(corners * 2**_CELL_BITS).astype(np.int32)
            cv2.fillPoly(filled, [points], 1, shift=_CELL_BITS)
    return filled.astype(bool)


# Maps to pose


def decode(probabilities: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Reads poses off the network's output: the most probable cell and its offset (docs/published.md, section 3.2).

    Args:
        probabilities: (B, K, h, w), one cell per STRIDE pixels; negative beyond a crop's border.
        offsets: (B, 2 * K, h, w), x and y of each keypoint in turn, in units of OFFSET_UNIT pixels.

    Returns:
        Keypoints (B, K, 2) float64 in crop_xy, and their confidence (B, K), the highest probability.
    """
    batch, count, height, width = probabilities.shape
    flat = probabilities.reshape(batch, count, height * width)  # (B, K, h, w) -> (B, K, h * w)
    cell = flat.argmax(dim=-1, keepdim=True)  # (B, K, 1); of several equal ones the first
    confidence = flat.gather(-1, cell).squeeze(-1)  # (B, K)

    rows = cell // width
    columns_rows = torch.cat([cell - rows * width, rows], dim=-1)  # (B, K, 2); no `%`, which ONNX's exporter lacks
    per_keypoint = offsets.reshape(batch, count, 2, height * width)  # (B, 2 * K, h, w) -> (B, K, 2, h * w)
    offset = per_keypoint.gather(-1, cell[:, :, None].expand(-1, -1, 2, 1)).squeeze(-1)  # (B, K, 2)
    return columns_rows * STRIDE + STRIDE / 2 + OFFSET_UNIT * offset.double(), confidence


# Mirror images


def swap_sides(maps: Tensor, skeleton: Skeleton) -> Tensor:
    """Swaps the maps (B, K, H, W) of left and right keypoints."""
    return maps[:, list(skeleton.mirror)]


def mirror_pose(pose: FloatArray, width: int, skeleton: Skeleton) -> FloatArray:
    """Returns a pose (K, 2) in crop_xy in the mirror image of its crop, where left becomes right."""
    return mirror_points(pose[list(skeleton.mirror)], width)


def mirror_points(points: FloatArray, width: int) -> FloatArray:
    """Returns points (n, 2) in crop_xy in the mirror image of a crop: pixel x becomes width - 1 - x."""
    return np.column_stack([width - 1 - points[:, 0], points[:, 1]])

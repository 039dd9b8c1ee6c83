"""Between poses and maps: keypoint discs for the input, training targets, heatmaps to poses (docs/published.md)."""

from collections.abc import Callable, Sequence
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
"""Pixels per cell of the network's codec."""

OFFSET_UNIT = 7.2801
"""Pixels per unit of a predicted location offset."""

DISC_RADIUS = 17 * STANDARD_SCALE
"""Pixels around a keypoint that its input map marks."""

DISC_VALUE = 255



def network_input(pixels: Tensor, keypoints: Tensor, kind: InputKind = "discs", scores: Tensor | None = None) -> Tensor:
    """Puts crops and their estimated poses together; in bytes, which a GPU moves four times as fast as floats.

    Args:
        pixels: (B, H, W, 3) RGB uint8.
        keypoints: (B, K, 2) float64 in crop_xy, NaN where missing.
        kind: What is drawn of each keypoint.
        scores: (B, K) of the keypoints, for discs that show them; NaN, or None for all, where there is none.

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
        height: Of the maps, in pixels.
        width: Of the maps, in pixels.
        scores: (B, K) factors from 0 to 1 of DISC_VALUE; 1 where NaN, or where there are none. However small, a disc is
            seen: some estimators give 0 to keypoints that they are sure of.

    Returns:
        (B, K, height, width) uint8: DISC_VALUE on every pixel within DISC_RADIUS of the keypoint, else 0.
    """
    if scores is None:
        return _stamped(keypoints, height, width, int(DISC_RADIUS) + 1, _disc)
    values = (scores.nan_to_num(nan=1.0, posinf=1.0, neginf=0.0) * DISC_VALUE).round().clamp(1, DISC_VALUE)
    bright = values.to(torch.uint8)[..., None, None]  # (B, K, 1, 1)
    return _stamped(keypoints, height, width, int(DISC_RADIUS) + 1, lambda squared: _disc(squared).clamp(max=bright))


def _disc(squared: Tensor) -> Tensor:
    """Returns DISC_VALUE where squared distances are within a disc, else 0."""
    return (squared <= DISC_RADIUS**2).to(torch.uint8) * DISC_VALUE


def _stamped(keypoints: Tensor, height: int, width: int, reach: int, values: Callable[[Tensor], Tensor]) -> Tensor:
    """Draws (B, K, height, width) uint8 maps: about each keypoint (B, K, 2), values of squared distances, else 0.

    Args:
        keypoints: float64 in crop_xy, NaN where missing.
        height: Of the maps, in pixels.
        width: Of the maps, in pixels.
        reach: Pixels beyond which all values are 0.
        values: Maps (B, K, D, D) squared distances to uint8.
    """
    batch, count, _ = keypoints.shape
    offsets = torch.arange(-reach, reach + 1, device=keypoints.device)
    # A keypoint far outside draws nothing, wherever it is; clamping keeps whole numbers within their range.
    near = keypoints.nan_to_num(nan=-1e6).clamp(-1e6, 1e6)

    pixels = near.round().long()[..., None] + offsets  # (B, K, 2, D): the disc's columns and rows
    squared = (pixels - near[..., None]) ** 2
    stamps = values(squared[:, :, 1, :, None] + squared[:, :, 0, None, :])  # (B, K, D, D)
    columns, rows = pixels[:, :, 0, None, :], pixels[:, :, 1, :, None]
    inside = (stamps > 0) & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)

    plane = torch.arange(batch * count, device=keypoints.device).view(batch, count, 1, 1)
    size = batch * count * height * width
    # One spare element takes what falls outside, so that no data-dependent shape stalls a GPU.
    flat = torch.zeros(size + 1, dtype=torch.uint8, device=keypoints.device)
    flat[torch.where(inside, (plane * height + rows) * width + columns, size)] = stamps
    return flat[:size].view(batch, count, height, width)  # (B * K * H * W,) -> (B, K, H, W)


def any_disc(pose: FloatArray, height: int, width: int) -> bool:
    """Returns whether the disc of any keypoint of a pose (K, 2) in crop_xy reaches into a crop."""
    nearest = np.clip(pose, 0, [width - 1, height - 1])
    with np.errstate(over="ignore", invalid="ignore"):  # absurd coordinates; NaN for missing keypoints
        return bool((((pose - nearest) ** 2).sum(axis=1) <= DISC_RADIUS**2).any())


def rectangles(sizes: Tensor, height: int, width: int, starts: Tensor | None = None) -> Tensor:
    """Marks a rectangle on each of B maps.

    Args:
        sizes: (B, 2) whole numbers, height and width of the rectangles.
        height: Of the maps.
        width: Of the maps.
        starts: (B, 2) first row and column of the rectangles; by default the corner.

    Returns:
        (B, 1, height, width) bool.
    """
    starts = torch.zeros_like(sizes) if starts is None else starts
    ends = starts + sizes
    rows, columns = (
        (places >= starts[:, i, None]) & (places < ends[:, i, None])
        for i, places in enumerate(torch.arange(n, device=sizes.device) for n in (height, width))
    )  # (B, height) and (B, width)
    return rows[:, None, :, None] & columns[:, None, None, :]


@dataclass(frozen=True)
class Targets:
    """What the network should return for B crops.

    Attributes:
        parts: (B, K, h, w), 1 on the cells near a keypoint, else 0.
        offsets: (B, 2 * K, h, w), x and y of each keypoint in turn, in units of OFFSET_UNIT pixels.
        offset_mask: (B, 2 * K, h, w), 1 where there is an offset to be learnt, else 0.
        cells: (B, K, h, w), 1 on the cells that count, 0 on those beyond the crop's border, of keypoints that are not
            labelled, and in ignored regions.
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
        cells: (B, 1, h, w) bool, the heatmap cells of the crops, STRIDE pixels each.
        scale: Scale jitter of the crops, a number or (B,).
        labelled: (B, K) bool, keypoints that count; by default all.
        ignored: (B, h, w) bool, cells that do not count, save those near the true keypoint; by default none.
    """
    batch, count, _ = keypoints.shape
    height, width = cells.shape[2:]
    rows = torch.arange(height, device=keypoints.device) * STRIDE + STRIDE / 2
    columns = torch.arange(width, device=keypoints.device) * STRIDE + STRIDE / 2
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))  # (2, h, w): x and y of the centres

    offsets = keypoints[..., None, None] - grid  # (B, K, 2, h, w)
    radius = DISC_RADIUS * torch.as_tensor(scale, dtype=torch.float64, device=keypoints.device).view(-1, 1, 1, 1)
    near = offsets.square().sum(dim=2) <= radius**2  # (B, K, h, w); never where the keypoint is NaN
    near &= cells  # beyond its border, a crop alone would have none
    mask = near[:, :, None].expand_as(offsets)
    offsets = torch.where(mask, offsets / OFFSET_UNIT, 0.0)
    shape = (batch, 2 * count, height, width)  # (B, K, 2, h, w) -> (B, 2 * K, h, w)
    counted = _counted(cells.expand(-1, count, -1, -1), labelled, ignored) | near
    return Targets(near.float(), offsets.float().reshape(shape), mask.float().reshape(shape), counted.float())


def _counted(cells: Tensor, labelled: Tensor | None, ignored: Tensor | None) -> Tensor:
    """Returns (B, K, h, w) bool, the cells that count wherever the keypoints are; see `targets`."""
    if labelled is not None:
        cells = cells & labelled[:, :, None, None]
    return cells if ignored is None else cells & ~ignored[:, None]


_CELL_BITS, _FARTHEST_CELL = 4, 1e6
"""Fraction bits of the corners that OpenCV fills a polygon by, and how far off these can be."""


def cells_within(polygons: Sequence[FloatArray], height: int, width: int) -> BoolArray:
    """Marks the heatmap cells whose centre lies in a polygon, or less than a cell beside it.

    Args:
        polygons: Each (n, 2) in crop_xy; those of fewer than three points have no inside.
        height: Of the heatmap, in cells.
        width: Likewise.

    Returns:
        (height, width).
    """
    filled = np.zeros((height, width), np.uint8)
    for polygon in polygons:
        corners = np.nan_to_num((polygon - STRIDE / 2) / STRIDE).clip(-_FARTHEST_CELL, _FARTHEST_CELL)
        if len(corners) > 2:  # one at a time: where two overlap, OpenCV would leave out what is in both
            points = np.round(corners * 2**_CELL_BITS).astype(np.int32)
            cv2.fillPoly(filled, [points], 1, shift=_CELL_BITS)
    return filled.astype(bool)


def swap_sides(maps: Tensor, skeleton: Skeleton) -> Tensor:
    """Swaps the maps (B, K, H, W) of left and right keypoints."""
    return maps[:, list(skeleton.mirror)]


def mirror_pose(pose: FloatArray, width: int, skeleton: Skeleton) -> FloatArray:
    """Returns a pose as it is in the mirror image of its crop: pixel x becomes width - 1 - x, left becomes right.

    Args:
        pose: (K, 2) in crop_xy, NaN where missing.
        width: Of the crop, in pixels.
        skeleton: Of the pose.
    """
    return mirror_points(pose[list(skeleton.mirror)], width)


def mirror_points(points: FloatArray, width: int) -> FloatArray:
    """Returns points (n, 2) in crop_xy as they are in the mirror image of a crop of that width."""
    return np.column_stack([width - 1 - points[:, 0], points[:, 1]])


def decode(probabilities: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Reads poses off the network's output: the most probable cell and its offset (docs/published.md, section 3.2).

    Args:
        probabilities: (B, K, h, w), one cell per STRIDE pixels; negative beyond a crop's border.
        offsets: (B, 2 * K, h, w), x and y of each keypoint in turn, in units of OFFSET_UNIT pixels.

    Returns:
        Keypoints (B, K, 2) float64 in crop_xy, and their confidence (B, K): the highest probability.
    """
    batch, count, height, width = probabilities.shape
    flat = probabilities.reshape(batch, count, height * width)
    cell = flat.argmax(dim=-1, keepdim=True)  # (B, K, 1); of several equal, the first
    confidence = flat.gather(-1, cell).squeeze(-1)

    rows = cell // width
    columns_rows = torch.cat([cell - rows * width, rows], dim=-1)  # (B, K, 2); no `%`, which ONNX's exporter lacks
    per_keypoint = offsets.reshape(batch, count, 2, height * width)  # (B, 2 * K, h, w) -> (B, K, 2, h * w)
    offset = per_keypoint.gather(-1, cell[:, :, None].expand(-1, -1, 2, 1)).squeeze(-1)  # (B, K, 2)
    return columns_rows * STRIDE + STRIDE / 2 + OFFSET_UNIT * offset.double(), confidence

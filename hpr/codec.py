"""Between poses and maps: poses to input discs, poses to training targets, heatmaps to poses (docs/published.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hpr.crops import FARTHEST, STANDARD_SCALE
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

GAUSSIAN_SPREAD = 6.0
"""Standard deviation in pixels of a keypoint's Gaussian in its input map."""

_GAUSSIAN_REACH = 23
"""Pixels from a keypoint beyond which its Gaussian rounds to 0 in bytes."""

TARGET_SPREAD = 1.2
"""Standard deviation in cells of a keypoint's Gaussian in its target."""

_PEAK_WEIGHT = 20.0
"""Weight of a cell at a target's peak in the loss, in addition to the 1 of every cell."""

_OFFSET_TARGET = 0.3
"""Cells whose Gaussian target is above this learn an offset."""


class Grid(NamedTuple):
    """Where heatmap cells lie in a crop.

    Attributes:
        stride: Pixels per cell.
        origin: Coordinate in pixels of the first cell's centre.
        offset_unit: Pixels per unit of a predicted offset.
    """

    stride: int
    origin: float
    offset_unit: float


PUBLISHED_GRID = Grid(STRIDE, STRIDE / 2, OFFSET_UNIT)
FINE_GRID = Grid(4, 1.5, 2.0)
"""For networks whose crops count coordinates from the centre of the first pixel."""

_CELL_BITS = 4
"""Fraction bits of the corners of polygons that OpenCV fills."""


# Pose to input maps


def network_input(pixels: Tensor, keypoints: Tensor, kind: InputKind = "discs", scores: Tensor | None = None) -> Tensor:
    """Stacks crops and the maps of their estimated poses, as bytes, which move to a GPU four times as fast as floats.

    Args:
        pixels: (B, H, W, 3) RGB uint8.
        keypoints: (B, K, 2) float64 in crop_xy, NaN where missing.
        kind: How keypoints are drawn.
        scores: (B, K) scores of the keypoints, for maps that show them; NaN, or None for all, where there is none.

    Returns:
        (B, 3 + K, H, W) uint8: RGB, then the keypoints' maps.
    """
    height, width = pixels.shape[1:3]
    if kind == "gaussians":
        maps = draw_gaussians(keypoints, height, width, scores)
    else:
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
    values = _brightness(keypoints, scores).to(torch.uint8)[..., None, None]  # (B, K, 1, 1)
    offsets, pixels = _stamps(keypoints, int(DISC_RADIUS) + 1)
    squared = offsets**2
    is_near = squared[:, :, 1, :, None] + squared[:, :, 0, None, :] <= DISC_RADIUS**2  # (B, K, D, D)
    return _stamped(torch.where(is_near, values, 0), pixels, height, width)


def draw_gaussians(keypoints: Tensor, height: int, width: int, scores: Tensor | None = None) -> Tensor:
    """Draws a Gaussian around each keypoint, as bright as its score; see `draw_discs`."""
    offsets, pixels = _stamps(keypoints.float(), _GAUSSIAN_REACH)
    across, down = torch.exp(-(offsets**2) / (2 * GAUSSIAN_SPREAD**2)).unbind(dim=2)  # (B, K, D)
    down = down * _brightness(keypoints, scores)[..., None]
    values = (down[..., :, None] * across[..., None, :]).round().to(torch.uint8)  # (B, K, D, D)
    return _stamped(values, pixels, height, width)


def _stamps(keypoints: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """Returns the pixels in a square of D = 2 * reach + 1 around keypoints (B, K, 2): how far off they are, and where.

    Returns:
        Pixels minus keypoint, and pixels, both (B, K, 2, D): the columns and rows of the square.
    """
    clamped = keypoints.nan_to_num(nan=-FARTHEST).clamp(-FARTHEST, FARTHEST)
    steps = torch.arange(-reach, reach + 1, device=keypoints.device)
    pixels = clamped.round().long()[..., None] + steps
    return pixels - clamped[..., None], pixels


def _stamped(values: Tensor, pixels: Tensor, height: int, width: int) -> Tensor:
    """Writes values (B, K, D, D) at pixels (B, K, 2, D), columns and rows, to maps (B, K, height, width) of zeros."""
    batch, count = values.shape[:2]
    columns, rows = pixels[:, :, 0, None, :], pixels[:, :, 1, :, None]
    is_inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)

    # One spare element takes the pixels outside, so that no data-dependent shape stalls a GPU.
    size = batch * count * height * width
    plane = torch.arange(batch * count, device=values.device).view(batch, count, 1, 1)
    indices = torch.where(is_inside, (plane * height + rows) * width + columns, size)
    flat = torch.zeros(size + 1, dtype=torch.uint8, device=values.device)
    flat[indices] = values
    return flat[:size].view(batch, count, height, width)  # (B * K * H * W,) -> (B, K, H, W)


def _brightness(keypoints: Tensor, scores: Tensor | None) -> Tensor:
    """Returns (B, K) values from 1 to DISC_VALUE for scores (B, K), where NaN or None stand for 1."""
    scores = torch.ones_like(keypoints[..., 0]) if scores is None else scores
    return (scores.nan_to_num(nan=1.0, posinf=1.0, neginf=0.0) * DISC_VALUE).round().clamp(1, DISC_VALUE).float()


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


def gaussian_targets(
    keypoints: Tensor, cells: Tensor, labelled: Tensor | None = None, ignored: Tensor | None = None
) -> Targets:
    """Makes targets whose parts are Gaussians of TARGET_SPREAD on `FINE_GRID`; see `targets` for the arguments.

    Cells near a keypoint count more (`Targets.cells`), since there are few of them. An offset is learnt where the
    Gaussian is above a threshold.
    """
    height, width = cells.shape[2:]
    stride, origin, unit = FINE_GRID
    columns, rows = (torch.arange(n, device=keypoints.device) * stride + origin for n in (width, height))
    x, y = keypoints.float()[..., None, None].unbind(dim=2)  # (B, K, 1, 1)
    shape = (*keypoints.shape[:2], height, width)
    offsets = torch.stack([(x - columns).expand(shape), (y - rows[:, None]).expand(shape)], dim=2)  # (B, K, 2, h, w)
    parts = torch.exp(-offsets.square().sum(dim=2) / (2 * (TARGET_SPREAD * stride) ** 2))
    parts = torch.where(cells, parts, 0.0).nan_to_num(nan=0.0)  # (B, K, h, w)

    mask = (parts > _OFFSET_TARGET)[:, :, None].expand_as(offsets)
    offsets = torch.where(mask, offsets / unit, 0.0)
    weights = cells * (1 + _PEAK_WEIGHT * parts)
    if labelled is not None:
        weights = weights * labelled[:, :, None, None]
    if ignored is not None:
        weights = torch.where(ignored[:, None] & (parts < _OFFSET_TARGET), 0.0, weights)
    return Targets(parts, offsets.flatten(1, 2), mask.flatten(1, 2).float(), weights)


def rectangles(sizes: Tensor, height: int, width: int, starts: Tensor | None = None) -> Tensor:
    """Marks a rectangle on each of B maps (B, 1, height, width).

    Rectangles have a height and width, `sizes` (B, 2), and a first row and column, `starts` (B, 2), by default 0.
    """
    starts = torch.zeros_like(sizes) if starts is None else starts
    ends = starts + sizes
    rows, columns = (
        (indices >= starts[:, axis, None]) & (indices < ends[:, axis, None])
        for axis, indices in enumerate(torch.arange(n, device=sizes.device) for n in (height, width))
    )  # (B, height) and (B, width)
    return rows[:, None, :, None] & columns[:, None, None, :]


def cells_within(polygons: Sequence[FloatArray], height: int, width: int, grid: Grid = PUBLISHED_GRID) -> BoolArray:
    """Marks the heatmap cells (height, width) whose centre lies in a polygon, or less than a cell beside it.

    Polygons (n, 2) are in crop_xy; those of fewer than three points have no inside.
    """
    filled = np.zeros((height, width), np.uint8)
    for polygon in polygons:
        corners = np.nan_to_num((polygon - grid.origin) / grid.stride).clip(-FARTHEST, FARTHEST)
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
    flat = probabilities.flatten(2)  # (B, K, h, w) -> (B, K, h * w)
    cell = flat.argmax(dim=-1, keepdim=True)  # (B, K, 1); of several equal ones the first
    return _keypoints_at(cell, offsets, PUBLISHED_GRID), flat.gather(-1, cell).squeeze(-1)


def decode_similarity(
    probabilities: Tensor, offsets: Tensor, maps: Tensor, spreads: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Reads poses off maps of `FINE_GRID`: the cell with the highest expected keypoint similarity, and its offset.

    A map divided by its sum tells where the keypoint may be. Blurred by what keypoint similarity forgives, it tells
    what similarity a position can expect. The confidence is the geometric mean of this and of the map's peak, which
    tells whether the keypoint is there at all.

    Args:
        probabilities: (B, K, h, w).
        offsets: (B, 2 * K, h, w), x and y of each keypoint in turn, in the grid's units.
        maps: (B, K, H, W), the estimate as it was drawn for the network.
        spreads: (K,) standard deviations of keypoint similarity, in cells.

    Returns:
        Keypoints (B, K, 2) float64 in crop_xy, their confidence (B, K), and the support (B, K) of the estimate: the
        expected similarity at its positions, in shares of the highest.
    """
    total = probabilities.sum(dim=(2, 3)).clamp(min=1e-6)  # (B, K)
    expected = _blurred(probabilities, spreads).flatten(2)  # (B, K, h * w)
    highest, cell = expected.max(dim=-1, keepdim=True)  # (B, K, 1)
    confidence = (highest.squeeze(-1) / total * probabilities.amax(dim=(2, 3))).sqrt()

    given = mean_of_cells(maps).flatten(2).argmax(dim=-1, keepdim=True)  # (B, K, 1)
    support = (expected.gather(-1, given) / highest.clamp(min=1e-6)).squeeze(-1)
    return _keypoints_at(cell, offsets, FINE_GRID), confidence.clamp(max=1.0), support


def _keypoints_at(cell: Tensor, offsets: Tensor, grid: Grid) -> Tensor:
    """Returns the keypoints (B, K, 2) float64 that the offsets (B, 2 * K, h, w) at cells (B, K, 1) say."""
    batch, count, _ = cell.shape
    height, width = offsets.shape[2:]
    rows = cell // width
    columns_rows = torch.cat([cell - rows * width, rows], dim=-1)  # (B, K, 2); no `%`, which ONNX's exporter lacks
    per_keypoint = offsets.reshape(batch, count, 2, height * width)  # (B, 2 * K, h, w) -> (B, K, 2, h * w)
    offset = per_keypoint.gather(-1, cell[:, :, None].expand(-1, -1, 2, 1)).squeeze(-1)  # (B, K, 2)
    return columns_rows * grid.stride + grid.origin + grid.offset_unit * offset.double()


def _blurred(maps: Tensor, spreads: Tensor) -> Tensor:
    """Sums each of the maps (B, K, h, w) around each cell, weighted by a Gaussian of its own spread (K,) in cells."""
    reach = int(3 * float(spreads.max())) + 1
    steps = torch.arange(-reach, reach + 1, device=maps.device)
    kernels = torch.exp(-(steps**2) / (2 * spreads[:, None].to(maps.device) ** 2))  # (K, D)
    across = F.conv2d(maps, kernels[:, None, None, :], padding=(0, reach), groups=len(kernels))
    return F.conv2d(across, kernels[:, None, :, None], padding=(reach, 0), groups=len(kernels))


def mean_of_cells(maps: Tensor) -> Tensor:
    """Averages maps (B, K, H, W) uint8 over the cells of `FINE_GRID`: (B, K, H / 4, W / 4) float32.

    Sums of bytes are exact in 16 bits, and faster than converting all pixels to floats.
    """
    side = FINE_GRID.stride
    batch, count, height, width = maps.shape
    rows = maps.reshape(batch, count, height // side, side, width).unbind(3)  # side × (B, K, h, W)
    row_sums = reduce(torch.add, (row.to(torch.int16) for row in rows))
    columns = row_sums.reshape(batch, count, height // side, width // side, side).unbind(4)  # side × (B, K, h, w)
    return torch.as_tensor(reduce(torch.add, columns) / side**2)


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

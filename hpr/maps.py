"""Between poses and maps: the network's input discs, training targets, scoremaps to poses (REFERENCE.md, 2, 3, 5)."""

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from hpr.crops import STANDARD_SCALE
from hpr.skeleton import MIRROR

STRIDE = 8
"""Pixels per cell of the network's output."""

OFFSET_UNIT = 7.2801
"""Pixels per unit of a predicted location offset."""

DISC_RADIUS = 17 * STANDARD_SCALE
"""Pixels around a joint that its input map marks."""

DISC_VALUE = 255


def network_input(pixels: Tensor, joints: Tensor) -> Tensor:
    """Puts crops and their estimated poses together; in bytes, which a GPU moves four times as fast as floats.

    Args:
        pixels: (B, H, W, 3) RGB uint8.
        joints: (B, J, 2) float64 in crop_xy, NaN where missing.

    Returns:
        (B, 3 + J, H, W) uint8: RGB, then the joint maps.
    """
    discs = draw(joints, *pixels.shape[1:3])
    return torch.cat([pixels.permute(0, 3, 1, 2), discs], dim=1)  # (B, H, W, 3) -> (B, 3, H, W)


def draw(joints: Tensor, height: int, width: int) -> Tensor:
    """Draws the network's input maps (REFERENCE.md, 2.4).

    Args:
        joints: (B, J, 2) float64 in crop_xy, NaN where missing.
        height: Of the maps, in pixels.
        width: Of the maps, in pixels.

    Returns:
        (B, J, height, width) uint8: DISC_VALUE on every pixel within DISC_RADIUS of the joint, else 0.
    """
    batch, count, _ = joints.shape
    reach = int(DISC_RADIUS) + 1
    offsets = torch.arange(-reach, reach + 1, device=joints.device)
    # A joint far outside draws nothing, wherever it is; clamping keeps whole numbers within their range.
    near = joints.nan_to_num(nan=-1e6).clamp(-1e6, 1e6)
    pixels = near.round().long()[..., None] + offsets  # (B, J, 2, D): the disc's columns and rows
    squared = (pixels - near[..., None]) ** 2
    inside = squared[:, :, 1, :, None] + squared[:, :, 0, None, :] <= DISC_RADIUS**2  # (B, J, D, D)
    columns, rows = pixels[:, :, 0, None, :], pixels[:, :, 1, :, None]
    inside &= (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    plane = torch.arange(batch * count, device=joints.device).view(batch, count, 1, 1)
    size = batch * count * height * width
    # One spare element takes what falls outside, so that no data-dependent shape stalls a GPU.
    flat = torch.zeros(size + 1, dtype=torch.uint8, device=joints.device)
    flat[torch.where(inside, (plane * height + rows) * width + columns, size)] = DISC_VALUE
    return flat[:size].view(batch, count, height, width)  # (B * J * H * W,) -> (B, J, H, W)


@dataclass(frozen=True)
class Targets:
    """What the network should return for B crops.

    Attributes:
        parts: (B, J, h, w), 1 on the cells near a joint, else 0.
        offsets: (B, 2 * J, h, w), x and y of each joint in turn, in units of OFFSET_UNIT pixels.
        offset_mask: (B, 2 * J, h, w), 1 where there is an offset to be learnt, else 0.
        cells: (B, 1, h, w), 1 on the cells that count, 0 on those beyond the crop's border.
    """

    parts: Tensor
    offsets: Tensor
    offset_mask: Tensor
    cells: Tensor


Lengths = TypeVar("Lengths", int, Tensor)


def output_size(pixels: Lengths) -> Lengths:
    """Returns how many cells the network's output has along a side, or sides, of so many pixels."""
    return 2 * ((pixels + 15) // 16)


def inside(sizes: Tensor, height: int, width: int, starts: Tensor | None = None) -> Tensor:
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


def targets(
    joints: Tensor, height: int, width: int, scale: float | Tensor = 1.0, sizes: Tensor | None = None
) -> Targets:
    """Makes the training targets of true poses (REFERENCE.md, section 5).

    Args:
        joints: (B, J, 2) float64 in crop_xy, NaN where there is no joint.
        height: Of the crops, in pixels.
        width: Of the crops, in pixels.
        scale: Scale jitter of the crops, a number or (B,).
        sizes: (B, 2) height and width of the part of each crop that is image; by default all of it.
    """
    batch, count, _ = joints.shape
    rows = torch.arange(output_size(height), device=joints.device) * STRIDE + STRIDE / 2
    columns = torch.arange(output_size(width), device=joints.device) * STRIDE + STRIDE / 2
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))  # (2, h, w): x and y of the centres
    offsets = joints[..., None, None] - grid  # (B, J, 2, h, w)
    radius = DISC_RADIUS * torch.as_tensor(scale, dtype=torch.float64, device=joints.device).view(-1, 1, 1, 1)
    near = offsets.square().sum(dim=2) <= radius**2  # (B, J, h, w); never where the joint is NaN
    mask = near[:, :, None].expand_as(offsets)
    offsets = torch.where(mask, offsets / OFFSET_UNIT, 0.0)
    shape = (batch, 2 * count, len(rows), len(columns))  # (B, J, 2, h, w) -> (B, 2 * J, h, w)
    cells = torch.ones(batch, 1, len(rows), len(columns), device=joints.device)
    if sizes is not None:
        # A crop of its own size would have as many cells as these (REFERENCE.md, section 5).
        cells = inside(output_size(sizes), len(rows), len(columns)).float()
    return Targets(near.float(), offsets.float().reshape(shape), mask.float().reshape(shape), cells)


def mirror(maps: Tensor) -> Tensor:
    """Mirrors joint maps (B, J, H, W) left to right and swaps the channels of left and right joints."""
    return maps.flip(-1)[:, list(MIRROR)]


def decode(probabilities: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Reads a pose off the network's output (REFERENCE.md, 3.2).

    Args:
        probabilities: (B, J, h, w), one cell per STRIDE pixels.
        offsets: (B, 2 * J, h, w), x and y of each joint in turn, in units of OFFSET_UNIT pixels.

    Returns:
        Joints (B, J, 2) float64 in crop_xy, and their confidence (B, J): the highest probability.
    """
    batch, count, height, width = probabilities.shape
    flat = probabilities.reshape(batch, count, height * width)
    cell = flat.argmax(dim=-1, keepdim=True)  # (B, J, 1); of several equal, the first
    confidence = flat.gather(-1, cell).squeeze(-1)
    columns_rows = torch.cat([cell % width, cell // width], dim=-1)  # (B, J, 2)
    per_joint = offsets.reshape(batch, count, 2, height * width)  # (B, 2J, h, w) -> (B, J, 2, h * w)
    offset = per_joint.gather(-1, cell[:, :, None].expand(-1, -1, 2, 1)).squeeze(-1)  # (B, J, 2)
    return columns_rows * STRIDE + STRIDE / 2 + OFFSET_UNIT * offset.double(), confidence

"""Between poses and maps: discs for the network's input, scoremaps to poses (REFERENCE.md, sections 2 and 3)."""

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

DISC_VALUE = 255.0


def draw(joints: Tensor, height: int, width: int) -> Tensor:
    """Draws the network's input maps (REFERENCE.md, 2.4).

    Args:
        joints: (B, J, 2) float64 in crop_xy, NaN where missing.
        height: Of the maps, in pixels.
        width: Of the maps, in pixels.

    Returns:
        (B, J, height, width) float32: DISC_VALUE on every pixel within DISC_RADIUS of the joint, else 0.
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
    flat = torch.zeros(size + 1, device=joints.device)
    flat[torch.where(inside, (plane * height + rows) * width + columns, size)] = DISC_VALUE
    return flat[:size].view(batch, count, height, width)  # (B * J * H * W,) -> (B, J, H, W)


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

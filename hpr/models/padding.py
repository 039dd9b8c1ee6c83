"""Crops of unequal size in one batch: their canvases and where they lie on them."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hpr.codec import rectangles


@dataclass(frozen=True)
class PaddedBatch:
    """B crops on canvases of one size.

    Attributes:
        tensors: (B, C, H, W).
        sizes: (B, 2) height and width of each crop, integers.
        starts: (B, 2) first row and column of each crop on its canvas.
        is_padded: Whether any crop is smaller than the canvas; known on the host, so that nothing waits for the device.
    """

    tensors: Tensor
    sizes: Tensor
    starts: Tensor
    is_padded: bool = True

    @classmethod
    def whole(cls, tensors: Tensor) -> "PaddedBatch":
        """Returns a batch of crops (B, C, H, W) that fill their canvases."""
        count, _, *sides = tensors.shape
        sizes = torch.stack([torch.full((count,), side, device=tensors.device) for side in sides], dim=1)  # (B, 2)
        return cls(tensors, sizes, torch.zeros_like(sizes), is_padded=False)

    def with_tensors(self, tensors: Tensor) -> "PaddedBatch":
        """Returns the same crops with other values (B, C', H, W)."""
        return replace(self, tensors=tensors)

    def valid(self, stride: int = 1, in_corner: bool = False) -> Tensor:
        """Returns the valid mask of maps at a stride.

        Args:
            stride: Pixels of the canvas per cell.
            in_corner: Whether all crops begin in the corner of the maps, wherever they begin on the canvas.

        Returns:
            (B, 1, ceil(H / stride), ceil(W / stride)) bool: True on each crop's own cells.
        """
        height, width = ((side + stride - 1) // stride for side in self.tensors.shape[2:])
        starts = None if in_corner else self.starts // stride
        return rectangles((self.sizes + stride - 1) // stride, height, width, starts)

    def mirrored(self) -> "PaddedBatch":
        """Mirrors each crop left to right, without moving it on its canvas."""
        if not self.is_padded:
            return self.with_tensors(self.tensors.flip(-1))
        return self.with_tensors(mirror_columns(self.tensors, self.starts[:, 1], self.sizes[:, 1]))

    def followed_by(self, other: "PaddedBatch") -> "PaddedBatch":
        """Concatenates two batches whose canvases have the same size."""
        pairs = ((self.tensors, other.tensors), (self.sizes, other.sizes), (self.starts, other.starts))
        tensors, sizes, starts = (torch.cat(pair) for pair in pairs)
        return PaddedBatch(tensors, sizes, starts, self.is_padded or other.is_padded)


def mirror_columns(maps: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
    """Mirrors maps (B, C, H, W) left to right within `lengths` (B,) columns that begin at `starts` (B,)."""
    width = maps.shape[-1]
    columns = 2 * starts[:, None] + lengths[:, None] - 1 - torch.arange(width, device=maps.device)  # (B, W)
    indices = columns.clamp(0, width - 1)[:, None, None, :].expand_as(maps)  # (B, W) -> (B, C, H, W)
    return maps.gather(-1, indices)

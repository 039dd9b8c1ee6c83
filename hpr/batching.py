"""People of unequal size in one batch, each with the result that it would have alone.

A crop that is smaller than the batch's canvas gets zeros around it in every layer whose neighbourhood reaches
there, as it would alone (`ResNet.forward`). One layer needs more care: TensorFlow's SAME max pool pads a side of odd
length by one on both ends, a side of even length at its end only. A crop whose side is odd after the stem is
therefore put two pixels into the canvas, where the windows of the canvas's even side are its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpr import maps
from hpr.crops import Crop
from hpr.poses import FloatArray
from hpr.skeleton import MIRROR

_STRIDES = (2, 4, 8, 16)
_CANVAS_STEP = 64
"""Canvases are of few different sizes, for which cuDNN has to find its algorithms anew."""


@dataclass(frozen=True)
class Sample:
    """One person as the network sees them.

    Attributes:
        crop: Where the pixels are from.
        pixels: (h, w, 3) RGB.
        joints: (15, 2) in crop_xy, NaN where missing.
    """

    crop: Crop
    pixels: NDArray[np.uint8]
    joints: FloatArray

    @property
    def area(self) -> int:
        """Pixels of the crop."""
        return self.crop.width * self.crop.height


def group(samples: Mapping[int, Sample], max_pixels: int) -> Iterator[list[int]]:
    """Yields the keys of samples that go into one batch: of like size, and on canvases of so many pixels at most.

    A sample larger than that is a batch of its own.
    """
    batch: list[int] = []
    for number in sorted(samples, key=lambda i: samples[i].pixels.shape[:2]):
        height, width = canvas_size([samples[i] for i in (*batch, number)])
        if batch and height * width * (len(batch) + 1) > max_pixels:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def canvas_size(samples: Sequence[Sample]) -> tuple[int, int]:
    """Returns height and width of the canvas for a batch: the samples' own where they agree."""
    sizes = {(sample.crop.height, sample.crop.width) for sample in samples}
    if len(sizes) == 1:
        return sizes.pop()
    height, width = (max(side) + 2 for side in zip(*sizes, strict=True))
    return -(-height // _CANVAS_STEP) * _CANVAS_STEP, -(-width // _CANVAS_STEP) * _CANVAS_STEP


class Batch:
    """The crops of B people on canvases of one size, on the device."""

    def __init__(self, samples: Sequence[Sample], device: torch.device) -> None:
        """Brings people's crops to the device."""
        height, width = canvas_size(samples)
        sizes = np.array([sample.pixels.shape[:2] for sample in samples])  # (B, 2)
        self.fills_canvas = bool((sizes == (height, width)).all())
        # Two pixels in where the side has an odd length after the stem.
        starts = np.zeros_like(sizes) if self.fills_canvas else (sizes + 1) // 2 % 2 * 2
        canvas = torch.zeros(len(samples), height, width, 3, dtype=torch.uint8, pin_memory=device.type == "cuda")
        for sample, place, (y, x), (h, w) in zip(samples, canvas, starts, sizes, strict=True):
            place[y : y + h, x : x + w] = torch.from_numpy(sample.pixels)
        joints = np.stack([sample.joints for sample in samples]) + starts[:, None, ::-1]  # (B, 15, 2)
        self._canvas = canvas.to(device, non_blocking=True)
        self._joints, self._starts, self._sizes = (
            torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in (joints, starts, sizes)
        )

    def inputs(self) -> Tensor:
        """Returns the network's input (B, 18, H, W) uint8."""
        return maps.network_input(self._canvas, self._joints)

    def masks(self) -> list[Tensor]:
        """Returns 1 on each crop's own cells and 0 on the others, at strides 1, 2, 4, 8 and 16, each (B, 1, h, w)."""
        made = []
        for stride in (1, *_STRIDES):
            # From the max pool on, all crops start in the corner.
            starts = self._starts // stride if stride <= 2 else None
            sizes = (self._sizes + stride - 1) // stride
            height, width = (-(-side // stride) for side in self._canvas.shape[1:3])
            made.append(maps.inside(sizes, height, width, starts).float())
        return made

    def mirrored_inputs(self, inputs: Tensor) -> Tensor:
        """Mirrors inputs (B, 18, H, W), each crop within its own place, and swaps left and right joint maps."""
        swapped = inputs[:, [0, 1, 2, *(3 + joint for joint in MIRROR)]]
        return self._mirrored(swapped, self._starts[:, 1], self._sizes[:, 1])

    def mirrored_parts(self, parts: Tensor) -> Tensor:
        """Mirrors part probabilities (B, 15, h, w), each crop's own cells, and swaps left and right joints."""
        lengths = maps.output_size(self._sizes[:, 1])
        return self._mirrored(parts[:, list(MIRROR)], torch.zeros_like(lengths), lengths)

    def without_border(self, parts: Tensor) -> Tensor:
        """Puts the part probabilities (B, 15, h, w) of the cells beyond a crop's border below all others."""
        if self.fills_canvas:
            return parts
        own = maps.inside(maps.output_size(self._sizes), *parts.shape[2:])  # (B, 1, h, w)
        return parts.masked_fill(~own, -1.0)

    def _mirrored(self, maps_: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
        """Mirrors maps (B, C, H, W) about the middle of the columns from `starts` (B,) on, `lengths` (B,) long."""
        if self.fills_canvas:
            return maps_.flip(-1)
        width = maps_.shape[-1]
        columns = 2 * starts[:, None] + lengths[:, None] - 1 - torch.arange(width, device=maps_.device)  # (B, W)
        return maps_.gather(-1, columns.clamp(0, width - 1)[:, None, None, :].expand_as(maps_))

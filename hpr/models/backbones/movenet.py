"""MoveNet Thunder's feature extractor: MobileNetV2 and a feature pyramid, which knows people (Apache-2.0 weights).

Layers carry torchvision's names of MobileNetV2 where it has them. The batch norms of the TensorFlow model are folded
into its kernels, so that some are a thousand times as large as others: too different for one learning rate. Each output
channel therefore has a kernel of norm 1 to be learnt and a constant scale (`ScaledConv2d`).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hpr.models.fused import convolve
from hpr.models.network import Backbone

_STEM = 56
_STAGES = (
    *((32, 1, 1, 1), (40, 2, 2, 6), (56, 3, 2, 6), (112, 4, 2, 6)),
    *((168, 3, 1, 6), (280, 3, 2, 6), (560, 1, 1, 6)),
)
"""Channels, number of blocks, stride and expansion of each stage."""

_TOP = 1280
_LATERAL = (24, 32, 64, 64)
"""Channels of the lateral convolutions at strides 4, 8, 16 and 32."""


class Pyramid(NamedTuple):
    """Features of B crops at several strides.

    Attributes:
        fine: (B, 24, H / 4, W / 4), the pyramid's output.
        middle: (B, 24, H / 8, W / 8), the pyramid.
        middle_stage: (B, 56, H / 8, W / 8), bottom-up.
        coarse: (B, 64, H / 16, W / 16), the pyramid before smoothing.
        coarse_stage: (B, 168, H / 16, W / 16), bottom-up.
    """

    fine: Tensor
    middle: Tensor
    middle_stage: Tensor
    coarse: Tensor
    coarse_stage: Tensor


class ScaledConv2d(nn.Module):
    """A convolution with bias whose kernels are multiplied by a constant for each output channel.

    Attributes:
        weight: (out, in / groups, k, k), of norm 1 for each output channel after `set_kernel`.
        scale: (out,), a buffer.
        bias: (out,).
    """

    scale: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("scale", torch.ones(out_channels))
        self._stride, self._groups = stride, groups
        nn.init.kaiming_normal_(self.weight, nonlinearity="linear")

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in, H, W) to (B, out, H / stride, W / stride), for even H and W padded as by TensorFlow's SAME."""
        weight = self.weight * self.scale[:, None, None, None]
        if self._stride == 2:  # SAME pads an even side at its end only
            return F.conv2d(F.pad(x, (0, 1, 0, 1)), weight, self.bias, 2, groups=self._groups)
        return F.conv2d(x, weight, self.bias, padding="same", groups=self._groups)

    @torch.no_grad()
    def set_kernel(self, kernel: Tensor, bias: Tensor | None) -> None:
        """Takes a kernel (out, in / groups, k, k) as unit kernels and scales, and a bias (out,), 0 for None."""
        scale = kernel.flatten(1).norm(dim=1).clamp(min=1e-6)
        self.weight.copy_(kernel / scale[:, None, None, None])
        self.scale.copy_(scale)
        self.bias.copy_(torch.zeros_like(self.bias) if bias is None else bias)

    @torch.no_grad()
    def folded(self) -> nn.Conv2d:
        """Returns the same function as a plain convolution.

        A 3×3 kernel of stride 2 becomes a 4×4 kernel whose first row and column are 0. Padded by one on all sides, it
        computes SAME without a padded copy of the input, which would take longer than the convolution on a CPU.
        """
        weight = self.weight * self.scale[:, None, None, None]
        if self._stride == 2:
            weight = F.pad(weight, (1, 0, 1, 0))
        out_channels, inner, side, _ = weight.shape
        channels, padding = inner * self._groups, (side - 1) // 2
        conv = nn.Conv2d(channels, out_channels, side, self._stride, padding, groups=self._groups)
        conv.weight.copy_(weight)
        conv.get_parameter("bias").copy_(self.bias)
        return conv


class InvertedResidual(nn.Module):
    """MobileNetV2's block: 1×1 expansion, 3×3 depth-wise, 1×1 projection, and a shortcut where the shape stays."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.expand: nn.Module = ScaledConv2d(in_channels, hidden, 1) if expansion > 1 else nn.Identity()
        self.depthwise = ScaledConv2d(hidden, hidden, 3, stride, groups=hidden)
        self.project = ScaledConv2d(hidden, out_channels, 1)
        self._has_shortcut, self._expands = stride == 1 and in_channels == out_channels, expansion > 1

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in, H, W) to (B, out, H / stride, W / stride)."""
        y = convolve(self.expand, x, "relu6") if self._expands else x
        y = convolve(self.depthwise, y, "relu6")
        return convolve(self.project, y, shortcut=x if self._has_shortcut else None)


class SeparableConv(nn.Module):
    """3×3 depth-wise and 1×1 convolution with ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.depthwise = ScaledConv2d(in_channels, in_channels, 3, groups=in_channels)
        self.pointwise = ScaledConv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in, H, W) to (B, out, H, W)."""
        return convolve(self.pointwise, convolve(self.depthwise, x), "relu")


class MoveNet(Backbone):
    """MobileNetV2 and a top-down pyramid up to stride 4; all crops have one size, so that nothing has to be masked."""

    stride = 4
    exports_any_size = False

    def __init__(self) -> None:
        super().__init__()
        self.stem = ScaledConv2d(3, _STEM, 3, stride=2)
        self.stages, channels = nn.ModuleList(), _STEM
        for out, count, stride, expansion in _STAGES:
            first = InvertedResidual(channels, out, stride, expansion)
            self.stages.append(
                nn.Sequential(first, *(InvertedResidual(out, out, 1, expansion) for _ in range(count - 1)))
            )
            channels = out
        self.top = ScaledConv2d(channels, _TOP, 1)

        taps = (*(_STAGES[stage][0] for stage in (1, 2, 3)), _TOP)  # strides 4, 8, 16 and 32
        self.laterals = nn.ModuleList(ScaledConv2d(tap, out, 1) for tap, out in zip(taps, _LATERAL, strict=True))
        self.smooth = nn.ModuleList(SeparableConv(_LATERAL[level], _LATERAL[max(level - 1, 0)]) for level in (2, 1, 0))

    def forward(self, images: Tensor) -> Pyramid:  # type: ignore[override]
        """Maps images (B, 3, H, W) in -1..1, H and W multiples of 32, to their features."""
        x, stages = convolve(self.stem, images, "relu6"), []
        for stage in self.stages:
            x = stage(x)
            stages.append(x)
        top = convolve(self.top, x, "relu6")

        coarse = convolve(self.laterals[2], stages[3], shortcut=upsampled(self.laterals[3](top)))
        middle = self.smooth[0](coarse)
        middle = self.smooth[1](convolve(self.laterals[1], stages[2], shortcut=upsampled(middle)))
        fine = self.smooth[2](convolve(self.laterals[0], stages[1], shortcut=upsampled(middle)))
        return Pyramid(fine, middle, stages[2], coarse, stages[4])


def fold_scales(module: nn.Module) -> None:
    """Replaces all `ScaledConv2d` within a module by plain convolutions."""
    for name, child in list(module.named_children()):
        if isinstance(child, ScaledConv2d):
            module.add_module(name, child.folded())
        else:
            fold_scales(child)


def upsampled(x: Tensor) -> Tensor:
    """Maps (B, C, h, w) to (B, C, 2h, 2w)."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

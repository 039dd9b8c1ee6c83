"""ResNet-v1 as in the published refiner: fully convolutional, output stride 16 (docs/published.md, section 1)."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hpr.models.batch_norm import ConvNorm
from hpr.models.network import Backbone
from hpr.models.padding import PaddedBatch
from hpr.models.resnet_shapes import EXPANSION, ResNetShape
from hpr.poses import IntArray


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions beside a shortcut; the stride is in the 3×3 and in the shortcut.

    Valid masks are as for `ConvNorm`: `valid` of the input's cells, `valid_after` of the result's.
    """

    def __init__(self, in_channels: int, depth: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(in_channels, depth, 1)
        self.conv2 = ConvNorm(depth, depth, 3, stride, dilation)
        self.conv3 = ConvNorm(depth, EXPANSION * depth, 1)
        # A new network starts as if it had only its stem and shortcuts, and so learns faster.
        nn.init.zeros_(self.conv3.get_parameter("norm.weight"))

        self.stride = stride
        projects = in_channels != EXPANSION * depth
        self.shortcut = ConvNorm(in_channels, EXPANSION * depth, 1, stride) if projects else None

    def forward(self, x: Tensor, valid: Tensor | None = None, valid_after: Tensor | None = None) -> Tensor:
        """Maps (B, in, H, W) to (B, 4 * depth, H', W'), H' = ceil(H / stride) and W' = ceil(W / stride)."""
        shortcut = x[:, :, :: self.stride, :: self.stride]
        if self.shortcut is not None:
            shortcut = self.shortcut(x, valid_after)

        x = self.conv1(x, valid, "relu")
        if valid is not None:
            x = x * valid  # the only convolution that sees neighbouring cells comes next
        x = self.conv2(x, valid_after, "relu")
        y: Tensor = self.conv3(x, valid_after, "relu", shortcut)
        return y


class ResNet(Backbone):
    """Stem and four blocks of bottleneck units.

    A block's stride is in its last unit. Blocks 1 and 2 have stride 2; block 3 would have, but stride 16 is reached by
    then, so block 4 has dilation 2 instead.

    To keep the canvas out of a crop's features, masking the input is not enough, since batch norms turn zeros into
    other values: what lies beyond the border is set to zero again before every layer that sees neighbouring cells. One
    layer needs more care: TensorFlow's SAME max pool pads a side of odd length by one on both ends, one of even length
    at its end only. A crop whose side is odd after the stem therefore begins two pixels into the canvas, where the
    windows of the canvas' even side coincide with its own.
    """

    placement_room = 2
    input_kernels = ("stem.conv.weight",)

    def __init__(self, in_channels: int, shape: ResNetShape) -> None:
        """Builds the network with random weights for a number of input channels."""
        super().__init__()
        self.stem = ConvNorm(in_channels, shape.width, 7, stride=2)

        blocks, channels = [], shape.width
        for i, (count, stride, dilation) in enumerate(zip(shape.units, (2, 2, 1, 1), (1, 1, 1, 2), strict=True)):
            depth = shape.width * 2**i
            strides = [1] * (count - 1) + [stride]
            inputs = [channels] + [EXPANSION * depth] * (count - 1)
            blocks.append(
                nn.Sequential(*(Bottleneck(n, depth, s, dilation) for n, s in zip(inputs, strides, strict=True)))
            )
            channels = EXPANSION * depth
        self.blocks = nn.ModuleList(blocks)
        self.out_channels = channels

    def placement(self, sizes: IntArray) -> IntArray:
        return np.asarray((sizes + 1) // 2 % 2 * 2)

    def forward(self, batch: PaddedBatch) -> Tensor:
        def valid(stride: int, in_corner: bool = True) -> Tensor | None:
            return batch.valid(stride, in_corner).to(batch.tensors.dtype) if batch.is_padded else None

        mask = valid(2, in_corner=False)
        x: Tensor = self.stem(batch.tensors, mask, "relu")
        if mask is not None:
            x = x * mask
        x = max_pool_same(x)  # from here on, all crops begin in the corner

        mask = valid(4)
        for block, stride in zip(self.blocks, (8, 16, 16, 16), strict=True):
            after = valid(stride)
            for unit in block.children():
                assert isinstance(unit, Bottleneck)
                x = unit(x, mask, after if unit.stride > 1 else mask)
            mask = after
        return x if mask is None else x * mask


def max_pool_same(x: Tensor) -> Tensor:
    """3×3 max pool of stride 2 with TensorFlow's SAME padding: (B, C, H, W) to (B, C, ceil(H / 2), ceil(W / 2)).

    An odd side is padded by one on both ends, an even side by one at its end only (there `ceil_mode` lets the last
    window hang over).
    """
    height, width = x.shape[-2:]
    if isinstance(height, torch.SymInt) or isinstance(width, torch.SymInt):  # exported for any size
        return F.max_pool2d(F.pad(x, (width % 2, 1, height % 2, 1), value=-torch.inf), 3, 2)
    return F.max_pool2d(x, 3, 2, padding=(height % 2, width % 2), ceil_mode=True)

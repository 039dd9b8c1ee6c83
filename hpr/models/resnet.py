"""ResNet-v1 as the published refiner builds it: fully convolutional, output stride 16 (REFERENCE.md, section 1)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from hpr.models.architectures import EXPANSION

BATCH_NORM_EPSILON = 1e-5


class ConvNorm(nn.Sequential):
    """A convolution without bias, padded by half its kernel on all sides, and batch norm."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        padding = dilation * (kernel // 2)
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, eps=BATCH_NORM_EPSILON)


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions beside a shortcut; the stride is on the 3×3 and on the shortcut."""

    def __init__(self, in_channels: int, depth: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(in_channels, depth, 1)
        self.conv2 = ConvNorm(depth, depth, 3, stride, dilation)
        self.conv3 = ConvNorm(depth, EXPANSION * depth, 1)
        # A new network starts shallow, as if there were nothing but stem and shortcuts, and so learns faster.
        nn.init.zeros_(self.conv3.norm.weight)
        self.stride = stride
        projects = in_channels != EXPANSION * depth
        self.shortcut = ConvNorm(in_channels, EXPANSION * depth, 1, stride) if projects else None

    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """Maps (B, in, H, W) to (B, 4 * depth, ceil(H / stride), ceil(W / stride)); for `inside`, see `ResNet`."""
        shortcut = self.shortcut(x) if self.shortcut is not None else x[:, :, :: self.stride, :: self.stride]
        x = F.relu_(self.conv1(x))
        if inside is not None:
            x = x * inside  # the one convolution that sees its neighbours follows
        x = F.relu_(self.conv2(x))
        return F.relu_(self.conv3(x) + shortcut)


class ResNet(nn.Module):
    """Stem and four blocks of bottleneck units.

    A block's stride sits in its last unit. Blocks 1 and 2 have stride 2; block 3 would, but stride 16
    is reached by then, so block 4 has dilation 2 instead.
    """

    def __init__(self, in_channels: int, units: Sequence[int], width: int) -> None:
        """Builds the network.

        Args:
            in_channels: Of the input.
            units: Number of bottleneck units in each of the four blocks.
            width: Channels of the stem and of block 1's 3×3 convolutions; 64 in the published network.
        """
        super().__init__()
        self.stem = ConvNorm(in_channels, width, 7, stride=2)
        blocks, channels = [], width
        for i, (count, stride, dilation) in enumerate(zip(units, (2, 2, 1, 1), (1, 1, 1, 2), strict=True)):
            depth = width * 2**i
            strides = [1] * (count - 1) + [stride]
            inputs = [channels] + [EXPANSION * depth] * (count - 1)
            blocks.append(
                nn.Sequential(*(Bottleneck(n, depth, s, dilation) for n, s in zip(inputs, strides, strict=True)))
            )
            channels = EXPANSION * depth
        self.blocks = nn.ModuleList(blocks)
        self.out_channels = channels

    def forward(self, x: Tensor, inside: Sequence[Tensor] | None = None) -> Tensor:
        """Maps (B, in_channels, H, W) to (B, out_channels, ceil(H / 16), ceil(W / 16)).

        Args:
            x: The input.
            inside: Where an input is smaller than the tensor it lies in, 1 on its own cells and 0 on the others, at
                strides 2, 4, 8 and 16, each (B, 1, h, w). The result is then that of the input alone.
        """
        x = F.relu_(self.stem(x))
        if inside is not None:
            x = x * inside[0]
        x = max_pool_same(x)
        for i, block in enumerate(self.blocks):
            mask = None if inside is None else inside[min(i + 1, 3)]
            for unit in block.children():
                x = unit(x, mask)
        return x if inside is None else x * inside[-1]


def max_pool_same(x: Tensor) -> Tensor:
    """3×3 max pool of stride 2 with TensorFlow's SAME padding: (B, C, H, W) to (B, C, ceil(H / 2), ceil(W / 2)).

    An odd side is padded by one on both ends, an even side by one at its end only (which is where
    `ceil_mode` lets the last window hang over).
    """
    height, width = x.shape[-2:]
    return F.max_pool2d(x, 3, 2, padding=(height % 2, width % 2), ceil_mode=True)

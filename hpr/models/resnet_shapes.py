"""Shapes of the ResNet-v1 networks. Needs no torch, so that porting needs none."""

from dataclasses import dataclass

EXPANSION = 4
"""Output channels of a bottleneck unit per channel of its 3×3 convolution."""


@dataclass(frozen=True)
class ResNetShape:
    """Shape of a ResNet-v1.

    Attributes:
        units: Bottleneck units in each of the four blocks.
        width: Channels of the stem; the 3×3 convolutions of the blocks have 1, 2, 4 and 8 times as many.
    """

    units: tuple[int, int, int, int]
    width: int = 64


RESNETS = {
    "resnet50": ResNetShape((3, 4, 6, 3)),
    "resnet101": ResNetShape((3, 4, 23, 3)),
    "resnet152": ResNetShape((3, 8, 36, 3)),
    "demo": ResNetShape((2, 3, 4, 2), width=16),
}

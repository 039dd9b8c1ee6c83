"""The numbers that tell one network from another; free of torch, so that the porting tool can use them."""

from dataclasses import dataclass

from hpr.errors import UserError

EXPANSION = 4
"""Output channels of a bottleneck unit per channel of its 3×3 convolution."""


@dataclass(frozen=True)
class Architecture:
    """Shape of a ResNet-v1.

    Attributes:
        units: Bottleneck units in each of the four blocks.
        width: Channels of the stem; the blocks follow at 1, 2, 4 and 8 times that.
    """

    units: tuple[int, int, int, int]
    width: int = 64


ARCHITECTURES = {
    "resnet50": Architecture((3, 4, 6, 3)),
    "resnet101": Architecture((3, 4, 23, 3)),
    "resnet152": Architecture((3, 8, 36, 3)),
}


def architecture(name: str) -> Architecture:
    """Returns the architecture of that name.

    Raises:
        UserError: There is none.
    """
    if name not in ARCHITECTURES:
        raise UserError(f"unknown architecture '{name}': expected one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]

"""The numbers that tell one network from another; free of torch, so that the porting tool can use them."""

from dataclasses import dataclass

from hpr.errors import UserError

EXPANSION = 4
"""Output channels of a bottleneck unit per channel of its 3×3 convolution."""

MEAN_HEAD = 101.4252
"""Of PoseTrack's training set (REFERENCE.md, 2.1)."""


@dataclass(frozen=True)
class Architecture:
    """Shape of a ResNet-v1.

    Attributes:
        units: Bottleneck units in each of the four blocks.
        width: Channels of the stem; the blocks follow at 1, 2, 4 and 8 times that.
        mean_head: Diagonal of the head box, in image pixels, that is assumed where an estimate has no head:
            the mean of the people that the network is trained on.
    """

    units: tuple[int, int, int, int]
    width: int = 64
    mean_head: float = MEAN_HEAD


ARCHITECTURES = {
    "resnet50": Architecture((3, 4, 6, 3)),
    "resnet101": Architecture((3, 4, 23, 3)),
    "resnet152": Architecture((3, 8, 36, 3)),
    "demo": Architecture((2, 3, 4, 2), width=16, mean_head=55.0),
}


def architecture(name: str) -> Architecture:
    """Returns the architecture of that name.

    Raises:
        UserError: There is none.
    """
    if name not in ARCHITECTURES:
        raise UserError(f"unknown architecture '{name}': expected one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]

"""The networks by name: `ARCHITECTURES`, and `timm/NAME` for any feature extractor of timm."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from hpr.crops import MEAN_HEAD
from hpr.errors import UserError
from hpr.models.backbones.resnet import ResNet
from hpr.models.network import Backbone, Refiner
from hpr.models.photo import PhotoRefiner
from hpr.models.resnet_shapes import RESNETS
from hpr.settings import InputKind
from hpr.skeleton import Skeleton

TIMM = "timm/"
"""Prefix of architectures that timm builds, as in "timm/resnet18.a1_in1k"."""

PHOTO = "photo"
"""Architecture of the photograph refiner."""

_DEMO_MEAN_HEAD = 55.0
"""Mean diagonal of the head box of the drawn people that the demo's weights were trained on, in image pixels."""


@dataclass(frozen=True)
class Architecture:
    """How a network is built.

    Attributes:
        backbone: Builds the backbone for a number of input channels.
        mean_head: Diagonal of the head box, in image pixels, that is assumed where a pose has no head: the mean of
            the people that the network is trained on.
    """

    backbone: Callable[[int], Backbone]
    mean_head: float = MEAN_HEAD


ARCHITECTURES = {
    name: Architecture(partial(ResNet, shape=shape), _DEMO_MEAN_HEAD if name == "demo" else MEAN_HEAD)
    for name, shape in RESNETS.items()
}
"""Architectures by the name that configurations and weight files use. A new network is one more entry."""


def build_network(name: str, skeleton: Skeleton, input_kind: InputKind = "discs") -> Refiner:
    """Builds a network with random weights, in fp32 whatever PyTorch's default type of numbers is.

    Args:
        name: Name of the architecture.
        skeleton: Keypoints of the poses that the network refines.
        input_kind: How poses are drawn for the network.

    Raises:
        UserError: There is no such architecture, or timm is not installed.
    """
    if name == PHOTO:
        return PhotoRefiner(skeleton).float()
    if name.startswith(TIMM):
        # Imported late: timm is optional and takes two seconds to import.
        from hpr.models.backbones.timm import TimmBackbone

        architecture = Architecture(partial(TimmBackbone, name=name.removeprefix(TIMM)))
    elif name in ARCHITECTURES:
        architecture = ARCHITECTURES[name]
    else:
        known = ", ".join([*ARCHITECTURES, PHOTO, f"{TIMM}NAME"])
        raise UserError(f"unknown architecture '{name}': expected one of {known}")

    return Refiner(architecture.backbone, skeleton, architecture.mean_head, input_kind).float()

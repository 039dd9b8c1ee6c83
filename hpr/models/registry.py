"""The networks by name. A module in `hpr/models/backbones` registers what it can build."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from hpr.crops import MEAN_HEAD
from hpr.errors import UserError
from hpr.models.network import Backbone, Refiner
from hpr.settings import InputKind
from hpr.skeleton import Skeleton


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


_ARCHITECTURES: dict[str, Architecture] = {}


def register(name: str, architecture: Architecture) -> None:
    """Makes an architecture known; weight files and configurations call it by its name."""
    _ARCHITECTURES[name] = architecture


def architectures() -> dict[str, Architecture]:
    """Returns all architectures by name."""
    from hpr.models import backbones

    for module in pkgutil.iter_modules(backbones.__path__, f"{backbones.__name__}."):
        importlib.import_module(module.name)
    return _ARCHITECTURES


def build_network(name: str, skeleton: Skeleton, input_kind: InputKind = "discs") -> Refiner:
    """Builds a network with random weights.

    Args:
        name: Of the architecture.
        skeleton: Of the poses that it refines.
        input_kind: How poses are drawn for it.

    Raises:
        UserError: There is no such architecture.
    """
    known = architectures()
    if name not in known:
        raise UserError(f"unknown architecture '{name}': expected one of {', '.join(known)}")
    return Refiner(known[name].backbone, skeleton, known[name].mean_head, input_kind)

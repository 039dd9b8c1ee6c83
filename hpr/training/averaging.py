"""Weights averaged over the steps of a training."""

import copy

import torch
from torch import Tensor, nn

from hpr.models.network import Refiner


class AveragedWeights:
    """An exponential moving average of a network that forgets its beginnings the faster the younger it is.

    The numbers are those of `torch.optim.swa_utils.AveragedModel` with this average. That one keeps its count in a
    tensor and asks the device for it, once for each tensor of the network: 1,050 waits a step for resnet101.

    Attributes:
        network: With averaged weights.
    """

    def __init__(self, network: Refiner, keep: float) -> None:
        """Starts from a network.

        Args:
            network: That is trained.
            keep: Share of the average that an update keeps, once there have been many.
        """
        self.network = copy.deepcopy(network)
        self._keep = keep

    @torch.no_grad()
    def update(self, network: Refiner, count: int) -> None:
        """Lets the average follow a network.

        Args:
            network: That is trained, after a step.
            count: Number of updates before; the first one copies.
        """
        keep = min(self._keep, (1 + count) / (10 + count)) if count else 0.0
        own, current = _tensors(self.network), _tensors(network)
        numbers = [place for place, tensor in enumerate(own) if tensor.is_floating_point()]
        torch._foreach_lerp_([own[place] for place in numbers], [current[place] for place in numbers], 1 - keep)

        for place in set(range(len(own))).difference(numbers):  # batch norms' counts of batches
            own[place].copy_(current[place])


def _tensors(network: nn.Module) -> list[Tensor]:
    """Returns all that a network computes with."""
    return [*network.parameters(), *network.buffers()]

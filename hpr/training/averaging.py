"""An exponential moving average of a network's weights."""

import torch
from torch import nn


@torch.no_grad()
def update_average(averaged: nn.Module, network: nn.Module, decay: float, count: int) -> None:
    """Updates an average of weights after a step; it forgets faster while it is young.

    The numbers are those of `torch.optim.swa_utils.AveragedModel` with this average. That class keeps its count in a
    tensor and reads it from the device once for each tensor of the network: 1,050 waits a step for resnet101.

    Args:
        averaged: The network with averaged weights, changed in place.
        network: The network that is trained.
        decay: Share of the average that an update keeps once there have been many updates.
        count: Number of updates before; the first update copies.
    """
    decay = min(decay, (1 + count) / (10 + count)) if count else 0.0
    tensors = ([*module.parameters(), *module.buffers()] for module in (averaged, network))
    pairs = list(zip(*tensors, strict=True))
    floats = [(own, current) for own, current in pairs if own.is_floating_point()]
    torch._foreach_lerp_([own for own, _ in floats], [current for _, current in floats], 1 - decay)

    for own, current in pairs:
        if not own.is_floating_point():  # batch norms' counts of batches
            own.copy_(current)

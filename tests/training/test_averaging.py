"""Weights averaged over the steps of a training."""

import copy
from collections.abc import Callable

import pytest
import torch
from conftest import small_network
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from hpr.models.network import Refiner
from hpr.training.loop import update_average


def by_the_library(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """The same average, tensor by tensor."""

    def average(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        if not averaged.is_floating_point():
            return current
        return torch.lerp(current, averaged, min(decay, (1 + int(count)) / (10 + int(count))))

    return average


def change(network: Refiner) -> None:
    """Changes a network as a step does."""
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data += torch.randn_like(tensor) if tensor.is_floating_point() else 1


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.9])
def test_the_numbers_are_the_librarys(decay: float) -> None:
    network = small_network()
    averaged = copy.deepcopy(network)
    expected = AveragedModel(network, avg_fn=by_the_library(decay), use_buffers=True)
    for count in range(5):
        change(network)
        update_average(averaged, network, decay, count)
        expected.update_parameters(network)
        own, library = averaged.state_dict(), expected.module.state_dict()
        assert own.keys() == library.keys()
        for name, tensor in own.items():
            torch.testing.assert_close(tensor, library[name], rtol=1e-5, atol=1e-6, msg=name)
    norm = "backbone.stem.norm.num_batches_tracked"
    assert averaged.get_buffer(norm) == network.get_buffer(norm) == 5  # counted and not averaged

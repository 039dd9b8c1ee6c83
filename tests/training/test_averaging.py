"""Weights averaged over the steps of a training."""

from collections.abc import Callable

import pytest
import torch
from conftest import small_network
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from hpr.models.network import Refiner
from hpr.training.averaging import AveragedWeights


def by_the_library(keep: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """The same average, tensor by tensor."""

    def average(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        if not averaged.is_floating_point():
            return current
        return torch.lerp(current, averaged, min(keep, (1 + int(count)) / (10 + int(count))))

    return average


def changed(network: Refiner) -> None:
    """What a step does."""
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data += torch.randn_like(tensor) if tensor.is_floating_point() else 1


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_the_numbers_are_the_librarys(keep: float) -> None:
    network = small_network()
    averaged = AveragedWeights(network, keep)
    expected = AveragedModel(network, avg_fn=by_the_library(keep), use_buffers=True)
    for count in range(12):
        changed(network)
        averaged.update(network, count)
        expected.update_parameters(network)
        own, library = averaged.network.state_dict(), expected.module.state_dict()
        assert own.keys() == library.keys()
        for name, tensor in own.items():
            torch.testing.assert_close(tensor, library[name], rtol=1e-5, atol=1e-6, msg=name)


def test_it_is_a_network_of_its_own() -> None:
    network = small_network()
    averaged = AveragedWeights(network, 0.5)
    before = averaged.network.part_head.weight.clone()
    changed(network)
    assert torch.equal(averaged.network.part_head.weight, before)
    averaged.update(network, 0)
    assert torch.equal(averaged.network.part_head.weight, network.part_head.weight)
    assert averaged.network.part_head.weight is not network.part_head.weight


def test_batches_are_counted_and_not_averaged() -> None:
    network = small_network()
    averaged = AveragedWeights(network, 0.9)
    for count in range(5):
        changed(network)
        averaged.update(network, count)
    norm = "backbone.stem.norm.num_batches_tracked"
    assert averaged.network.get_buffer(norm) == network.get_buffer(norm) == 5

"""A refiner as the start of one for other keypoints."""

import torch
from torch import Tensor

from hpr.models.network import Refiner


@torch.no_grad()
def take_over(network: Refiner, old: Refiner) -> None:
    """Lets a network begin as a trained one of the same backbone and design, for another skeleton.

    Keypoints are matched by name. Of new ones the network looks at nothing yet: their maps' kernels are zero; its heads
    for them stay as they are. What is subtracted from a map is as in the trained network where that has the keypoint.

    Args:
        network: To be trained.
        old: A trained one.
    """
    places = torch.from_numpy(old.skeleton.mapping_to(network.skeleton))  # (K,), -1 for new keypoints
    new, known = (places >= 0).nonzero()[:, 0], places[places >= 0]
    own, state = network.state_dict(), old.state_dict()

    first = f"backbone.{network.backbone.first_kernel}"  # (out, 3 + K, h, w)
    blind = torch.zeros_like(own[first]).index_copy(1, torch.arange(3), state[first][:, :3])
    state[first] = blind.index_copy(1, 3 + new, state[first][:, 3 + known])
    for name in [name for name in own if "_head." in name]:
        axis = 1 if own[name].ndim > 1 else 0  # kernels (in, n * K, 3, 3), biases (n * K,), n maps for each keypoint
        maps = torch.arange(own[name].shape[axis] // len(places))
        old_maps = state[name].index_select(axis, _maps_of(known, maps))
        state[name] = own[name].index_copy(axis, _maps_of(new, maps), old_maps)
    network.load_state_dict(state)

    mean, old_mean = network.input_mean.flatten(), old.input_mean.flatten()
    mean = mean.index_copy(0, torch.arange(3), old_mean[:3]).index_copy(0, 3 + new, old_mean[3 + known])
    unmeasured = sorted(set(network.unmeasured) - set(new.tolist()))
    network.set_input_mean(mean.tolist())
    network.unmeasured = unmeasured


def _maps_of(keypoints: Tensor, maps: Tensor) -> Tensor:
    """Returns the places (k * n,) of keypoints' (k,) maps, each of which has n, numbered from 0."""
    return (keypoints[:, None] * len(maps) + maps).flatten()

"""What is subtracted from the keypoints' maps, where nobody has published it."""

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from hpr.models.network import Refiner
from hpr.training.examples import Example, prepare

_MEASURED = 32
"""Examples that the means are taken over: within about a sixth, of numbers around 1 beside maps of 255."""


def measure_input_means(network: Refiner, examples: Dataset[Example]) -> None:
    """Sets the means of the keypoints' maps that are a guess so far to those over a training's first examples.

    Of each crop's own pixels: with discs, that is the probability that an estimate has the keypoint, times DISC_VALUE,
    times the share of a crop that a disc takes up. The network's weight files hold them.

    Args:
        network: On the host; one whose means are all known stays as it is.
        examples: That it is going to learn from, each a function of its index.
    """
    if not network.unmeasured:
        return
    measured = torch.stack([_means(network, examples[index]) for index in range(_MEASURED)]).mean(dim=0)  # (K,)
    mean = network.input_mean.flatten().double()
    places = torch.tensor(network.unmeasured)
    mean[3 + places] = measured[places]
    network.set_input_mean(mean.tolist())


def _means(network: Refiner, example: Example) -> Tensor:
    """Returns the mean (K,) float64 of each map over a crop's own pixels."""
    crops, _ = prepare(default_collate([example]), network, torch.device("cpu"))
    own = crops.valid().double()  # (1, 1, H, W)
    return (crops.tensors[:, 3:] * own).sum(dim=(0, 2, 3)) / own.sum()

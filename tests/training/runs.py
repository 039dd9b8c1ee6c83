"""Short trainings on dots."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from conftest import small_network
from dots import examples, training_settings
from torch import nn

from hpr.runtime.processes import ALONE
from hpr.skeleton import POSETRACK15, Skeleton
from hpr.training.loop import Trainer, train
from hpr.training.schedules import WarmUpCosine

SGD = partial(torch.optim.SGD, lr=0.0)


def trainer(optimizer: Any = None, rate: float = 0.01, skeleton: Skeleton = POSETRACK15, **changes: Any) -> Trainer:
    torch.manual_seed(0)
    make = optimizer or partial(torch.optim.AdamW, lr=0.0)
    settings, schedule = training_settings(**changes), WarmUpCosine(rate, 2)
    return Trainer(small_network(skeleton), make, schedule, settings, torch.device("cpu"), ALONE)


def run(folder: Path, resume: bool = False, stop_at: int | None = None, **changes: Any) -> Trainer:
    """Trains six steps in a folder, or until after step `stop_at`."""
    model = trainer(**{"steps": 6, **changes})
    source = examples(skeleton=model.network.skeleton)
    train(model, source, None, folder, resume, "demo", stop_requested=lambda: model.progress.step == stop_at)
    return model


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same_state(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)

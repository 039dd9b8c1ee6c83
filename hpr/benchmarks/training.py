"""How long a training step takes, and whether the examples keep up with it."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.data import default_collate
from torch.utils.flop_counter import FlopCounterMode

from hpr.benchmarks.refining import measured_peaks, median_seconds
from hpr.models.refiner import build
from hpr.processes import ALONE
from hpr.training.examples import Augmentation, Examples
from hpr.training.loop import Settings, Trainer, example_batches
from hpr.training.people import SyntheticPeople
from hpr.training.pose_errors import PoseErrors
from hpr.training.schedules import WarmUpCosine

_PASSES_PER_STEP = 3
"""A step is about three forward passes: one forward, and one each for the gradients of weights and of inputs."""


def benchmark_training(
    architecture: str,
    device: str,
    precision: str,
    errors: PoseErrors,
    augmentation: Augmentation,
    canvas: list[int],
    batch_size: int,
    workers: int,
    steps: int,
) -> dict[str, Any]:
    """Measures steps on examples in memory, and a training with examples drawn as it goes.

    Args:
        architecture: Of the network.
        device: "cpu" or "cuda".
        precision: Of the training.
        errors: Of the estimates.
        augmentation: Of the examples.
        canvas: Height and width of the crops.
        batch_size: Examples in a step.
        workers: Processes that make examples.
        steps: Number of steps to measure.

    Returns:
        Seconds per step bare and with the loader, seconds per example drawn, GFLOP and shares of the peaks.
    """
    target = torch.device(device)
    network = build(architecture)
    examples = Examples(SyntheticPeople(0), errors, augmentation, canvas, network.mean_head, seed=0)
    schedule: dict[str, int] = {"validate_every": steps, "checkpoint_every": steps, "log_every": steps}
    settings = Settings(
        steps=steps,
        batch_size=batch_size,
        accumulate=1,
        batch_norm="live",
        precision=precision,
        max_gradient_norm=1.0,
        ema=0.99,
        workers=workers,
        **schedule,
    )
    optimizer: Callable[..., torch.optim.Optimizer] = partial(torch.optim.AdamW, lr=0.0)
    trainer = Trainer(network, optimizer, WarmUpCosine(0.001, 1), settings, target, ALONE)
    start = time.perf_counter()
    batch = default_collate([examples[i] for i in range(batch_size)])
    drawing = (time.perf_counter() - start) / batch_size
    bare = median_seconds(lambda: trainer.step([batch]), target)
    loaded = example_batches(examples, settings, ALONE, 0)
    trainer.step(next(loaded))
    start = time.perf_counter()
    for parts in loaded:
        trainer.step(parts)
    overall = (time.perf_counter() - start) / (steps - 1)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        trainer.network(torch.zeros(1, 18, *canvas, device=target))
    gflop = counter.get_total_flops() * _PASSES_PER_STEP * batch_size / 1e9
    return {
        "seconds_per_step": bare,
        "seconds_per_step_with_loader": overall,
        "seconds_per_example_drawn": drawing,
        "gflop_per_step": gflop,
        "share_of_convolution_peak": gflop / bare / measured_peaks(target, precision)["convolution"],
    }

"""How long a training step takes, and whether the examples keep up with it."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.utils.data import default_collate
from torch.utils.flop_counter import FlopCounterMode

from tools.bench.refining import measured_peaks, median_seconds
from hpr.models.network import Refiner
from hpr.models.padding import PaddedBatch
from hpr.models.registry import build_network
from hpr.report.tables import format_table
from hpr.runtime.precision import PrecisionName
from hpr.runtime.processes import ALONE
from hpr.skeleton import Skeleton
from hpr.training.augmentation import Augmentation
from hpr.training.examples import Examples
from hpr.training.loading import example_batches
from hpr.training.loop import Settings, Trainer
from hpr.training.dataset import SyntheticPeople
from hpr.pose_errors.draw import PoseErrors
from hpr.training.schedules import WarmUpCosine

_PASSES_PER_STEP = 3
"""A step is about three forward passes: one forward, and one each for the gradients of weights and of inputs."""

Result = dict[str, Any]


def benchmark_training(
    architecture: str,
    skeleton: Skeleton,
    device: torch.device,
    precision: PrecisionName,
    errors: PoseErrors,
    augmentation: Augmentation,
    canvas: Sequence[int],
    batch_size: int,
    workers: int,
    steps: int,
) -> Result:
    """Measures steps on examples in memory, and a training with examples drawn as it goes.

    Args:
        architecture: Of the network.
        skeleton: Of the network.
        device: Where to train.
        precision: Of the training.
        errors: Of the estimates.
        augmentation: Of the examples.
        canvas: Height and width of the crops.
        batch_size: Examples in a step.
        workers: Processes that make examples.
        steps: Number of steps to measure, two or more.

    Returns:
        Seconds per step bare and with the loader, seconds per example drawn, GFLOP and shares of the peaks.
    """
    network = build_network(architecture, skeleton)
    examples = Examples(SyntheticPeople(0), errors, augmentation, canvas, network, "body", seed=0)
    settings = _settings(precision, batch_size, workers, steps)
    optimizer: Callable[..., torch.optim.Optimizer] = partial(torch.optim.AdamW, lr=0.0)
    trainer = Trainer(network, optimizer, WarmUpCosine(0.001, 1), settings, device, ALONE)

    start = time.perf_counter()
    batch = default_collate([examples[i] for i in range(batch_size)])
    drawing = (time.perf_counter() - start) / batch_size
    bare = median_seconds(lambda: trainer.step([batch]), device)
    overall = _seconds_with_loader(trainer, examples)

    gflop = _forward_gflop(trainer.network, canvas, device) * _PASSES_PER_STEP * batch_size
    return {
        "seconds_per_step": bare,
        "seconds_per_step_with_loader": overall,
        "seconds_per_example_drawn": drawing,
        "gflop_per_step": gflop,
        "share_of_convolution_peak": gflop / bare / measured_peaks(device, precision)["convolution"],
    }


def _settings(precision: PrecisionName, batch_size: int, workers: int, steps: int) -> Settings:
    """Returns settings of a run that only trains."""
    return Settings(
        steps=steps,
        batch_size=batch_size,
        accumulate=1,
        batch_norm="live",
        precision=precision,
        max_gradient_norm=1.0,
        ema=0.99,
        workers=workers,
        validate_every=steps,
        checkpoint_every=steps,
        log_every=steps,
    )


def _seconds_with_loader(trainer: Trainer, examples: Examples) -> float:
    """Returns the mean time of a step with examples drawn as it goes, after one step that does not count."""
    settings = trainer.settings
    loaded = example_batches(examples, range(settings.steps), settings.batch_size, 1, settings.workers, ALONE)
    trainer.step(next(loaded))
    trainer.look()  # waits for the device
    start = time.perf_counter()
    for parts in loaded:
        trainer.step(parts)
    trainer.look()
    return (time.perf_counter() - start) / (settings.steps - 1)


def _forward_gflop(network: Refiner, canvas: Sequence[int], device: torch.device) -> float:
    """Returns the work of one example's forward pass."""
    inputs = torch.zeros(1, 3 + len(network.skeleton), *canvas, device=device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(PaddedBatch.whole(inputs))
    return int(counter.get_total_flops()) / 1e9


def training_table(result: Result) -> str:
    """Returns the figures as a table."""
    milliseconds = {
        "step": result["seconds_per_step"],
        "step with loader": result["seconds_per_step_with_loader"],
        "drawing an example on one core": result["seconds_per_example_drawn"],
    }
    rows = [[name, f"{1000 * seconds:.1f} ms"] for name, seconds in milliseconds.items()]
    return format_table(
        [*rows, ["of the peak of 3×3 convolutions", f"{100 * result['share_of_convolution_peak']:.1f} %"]]
    )

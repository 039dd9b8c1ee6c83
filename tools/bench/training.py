"""Time of a training step, and whether the loader keeps up with it."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.utils.data import default_collate
from torch.utils.flop_counter import FlopCounterMode

from hpr.models.padding import PaddedBatch
from hpr.models.registry import build_network
from hpr.pose_errors.draw import PoseErrors
from hpr.report.tables import format_table
from hpr.runtime.precision import PrecisionName
from hpr.runtime.processes import ALONE
from hpr.skeleton import Skeleton
from hpr.synthetic.dataset import SyntheticPeople
from hpr.training.augmentation import Augmentation
from hpr.training.examples import Examples
from hpr.training.loading import example_batches
from hpr.training.loop import Trainer, TrainingSettings
from hpr.training.schedules import WarmUpCosine
from tools.bench.refining import measure_peaks, median_seconds

_PASSES_PER_STEP = 3
"""A step takes about three forward passes: one forward, and one each for the gradients of weights and inputs."""

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
    num_workers: int,
    steps: int,
) -> Result:
    """Measures steps on examples in memory, and steps on examples that are drawn at the same time.

    Args:
        architecture: Name of the network.
        skeleton: Skeleton of the network.
        device: Where to train.
        precision: Precision of the training.
        errors: Draws the mistakes of estimates.
        augmentation: Changes the examples.
        canvas: Height and width of the crops, in pixels.
        batch_size: Examples in a step.
        num_workers: Processes that make examples.
        steps: Number of steps to measure, two or more.
    """
    settings = TrainingSettings(
        steps=steps,
        epochs=None,
        batch_size=batch_size,
        accumulate=1,
        batch_norm="live",
        backbone_lr=1.0,
        precision=precision,
        max_gradient_norm=1.0,
        ema=0.99,
        num_workers=num_workers,
        validate_every=steps,
        checkpoint_every=steps,
        log_every=steps,
    )
    network = build_network(architecture, skeleton)
    examples = Examples(SyntheticPeople(0), errors, augmentation, canvas, network, "body", seed=0)
    optimizer: Callable[..., torch.optim.Optimizer] = partial(torch.optim.AdamW, lr=0.0)
    trainer = Trainer(network, optimizer, WarmUpCosine(0.001, 1), settings, device, ALONE)

    start = time.perf_counter()
    batch = default_collate([examples[i] for i in range(batch_size)])
    seconds_per_example = (time.perf_counter() - start) / batch_size
    seconds_per_step = median_seconds(lambda: trainer.step([batch]), device)
    with_loader = _seconds_per_step_with_loader(trainer, examples, settings)

    inputs = torch.zeros(1, 3 + len(skeleton), *canvas, device=device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        trainer.network(PaddedBatch.whole(inputs))
    gflop = counter.get_total_flops() / 1e9 * _PASSES_PER_STEP * batch_size
    return {
        "seconds_per_step": seconds_per_step,
        "seconds_per_step_with_loader": with_loader,
        "seconds_per_example": seconds_per_example,
        "gflop_per_step": gflop,
        "share_of_convolution_peak": gflop / seconds_per_step / measure_peaks(device, precision)["convolution"],
    }


def _seconds_per_step_with_loader(trainer: Trainer, examples: Examples, settings: TrainingSettings) -> float:
    """Returns the mean time of a step with the loader at work, after one step that does not count."""
    assert settings.steps is not None
    assert settings.num_workers is not None
    steps = range(settings.steps)
    batches = example_batches(examples, steps, settings.batch_size, 1, settings.num_workers, ALONE)
    trainer.step(next(batches))
    trainer.synchronize()

    start = time.perf_counter()
    for parts in batches:
        trainer.step(parts)
    trainer.synchronize()
    return (time.perf_counter() - start) / (settings.steps - 1)


def training_table(result: Result) -> str:
    """Formats the figures."""
    milliseconds = {
        "step": result["seconds_per_step"],
        "step with loader": result["seconds_per_step_with_loader"],
        "drawing an example on one core": result["seconds_per_example"],
    }
    rows = [[name, f"{1000 * seconds:.1f} ms"] for name, seconds in milliseconds.items()]
    share = f"{100 * result['share_of_convolution_peak']:.1f} %"
    return format_table([*rows, ["share of the peak of 3×3 convolutions", share]])

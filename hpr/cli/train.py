"""`hpr train`: train a refiner."""

import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from hpr.cli import app
from hpr.cli.components import Component, build
from hpr.cli.progress import describe_pace, progress_bar, say, warn
from hpr.cli.settings import CanvasSize, DatasetSettings, ModelSettings
from hpr.crops import ScaleRule
from hpr.errors import UserError, counted
from hpr.metrics.scores import Scores
from hpr.models.checkpoints import start_network
from hpr.models.losses import Losses
from hpr.report.tables import metrics_table
from hpr.runtime.device import select_device
from hpr.runtime.folders import lock_folder
from hpr.runtime.memory import keep_freed_memory
from hpr.runtime.precision import slow_precision
from hpr.runtime.processes import Processes
from hpr.runtime.signals import stop_signals
from hpr.settings import Count, NonNegative, Section, Seed
from hpr.skeleton import get_skeleton
from hpr.training.callbacks import Callback
from hpr.training.checkpoint import CHECKPOINT, start_folder
from hpr.training.dataset import PeopleDataset
from hpr.training.examples import Examples, measure_input_means
from hpr.training.loop import Trainer, TrainingSettings, train
from hpr.training.validation import Validation, ValidationResult


class TrainingDataset(DatasetSettings):
    """A data set to train on (conf/dataset)."""

    predictions: str | None = None
    parts: dict[str, NonNegative] | None = None
    validated: str | None = None
    sets: dict[str, Any] | None = None
    steps: Count | None = None


class TrainSettings(Section):
    """conf/train.yaml; the objective that a data set brings is not used."""

    model: ModelSettings
    dataset: TrainingDataset
    pose_errors: Component
    validation_errors: Component
    augmentation: Component
    scale: ScaleRule
    optimizer: Component
    schedule: Component
    canvas: CanvasSize
    training: TrainingSettings
    seed: Seed
    device: str
    resume: bool
    output_dir: str
    objective: Component | None = None


def train_refiner(settings: TrainSettings) -> int:
    """Trains and prints the progress; Ctrl-C and SIGTERM save the state and stop.

    Returns:
        The exit status: 0 at the last step, 130 if a signal stopped the run before.

    Raises:
        UserError: An input is absent or broken, or the run's folder holds another run.
    """
    keep_freed_memory()
    processes = Processes.from_environment()
    device = processes.own_device(select_device(settings.device))
    torch.manual_seed(settings.seed)
    processes.join(device)
    try:
        with stop_signals(finish_step=True) as stop_requested:
            return _train(settings, device, processes, stop_requested)
    finally:
        processes.leave()


def _train(
    settings: TrainSettings, device: torch.device, processes: Processes, stop_requested: Callable[[], bool]
) -> int:
    """Builds what the settings describe and trains it in this process; returns the exit status."""
    model, dataset, folder = settings.model, settings.dataset, Path(processes.agreed(settings.output_dir))
    if dataset.training is None or dataset.validation is None:
        trainable = "synthetic, posetrack18, posetrack17, posetrack21, coco, crowdpose, mpii, photos or mix"
        raise UserError(f"dataset={dataset.name}: nothing to train on in it; use dataset={trainable}")

    # The network and what it learns from.
    skeleton = get_skeleton(model.skeleton)
    network = start_network(model.architecture, skeleton, model.weights, model.input)
    people: PeopleDataset = build("dataset.training", dataset.training, seed=settings.seed)
    training = settings.training.with_steps(people, dataset.name, dataset.steps)
    settings = settings.model_copy(update={"training": training})
    missing = [name for name in skeleton.names if name not in people.skeleton]
    if missing and processes.is_first:
        warn(f"dataset={dataset.name} does not have {', '.join(missing)}; these are not learnt")
    errors = build("pose_errors", settings.pose_errors)
    augmentation = build("augmentation", settings.augmentation)
    examples = Examples(people, errors, augmentation, settings.canvas, network, settings.scale, settings.seed)
    measure_input_means(network, examples)

    # How it learns.
    schedule = build("schedule", settings.schedule)
    trainer = Trainer(network, _build_optimizer(settings.optimizer), schedule, training, device, processes)

    with lock_folder(folder) if processes.is_first else nullcontext():
        if processes.is_first:
            start_folder(folder, settings.model_dump(), settings.resume)
        with progress_bar("clips", shown=processes.is_first, doing="preparing the validation") as progress:
            validation: Validation = build(
                "dataset.validation",
                dataset.validation,
                folder=folder,
                errors=build("validation_errors", settings.validation_errors),
                scale=settings.scale,
                progress=progress,
                processes=processes,
            )

        if processes.is_first:
            if warning := slow_precision(trainer.precision, device):
                warn(warning)
            what = f"{model.architecture} for {model.skeleton} on {dataset.name}"
            how = f"{counted(trainer.num_steps, 'step')} on {device} in {trainer.precision}"
            print(f"run {folder}: {what}, {how}, {trainer.num_workers} processes for examples")
        callbacks = [Console(validation.before, training.log_every)] if processes.is_first else []
        scores = train(
            trainer, examples, validation, folder, settings.resume, model.architecture, callbacks, stop_requested
        )
        if processes.is_first:
            _print_end(trainer, validation.before, scores, folder)
    return 0 if trainer.progress.step >= trainer.num_steps else 130


def _build_optimizer(component: Component) -> Callable[..., torch.optim.Optimizer]:
    """Returns a function that makes the optimizer, tried on one weight, since PyTorch checks its settings late."""
    optimizer: Callable[..., torch.optim.Optimizer] = build("optimizer", component)
    try:
        optimizer([torch.nn.Parameter(torch.zeros(1))])
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"optimizer: {error}") from None
    return optimizer


class Console(Callback):
    """Shows a bar with loss and learning rate, or lines in a log, and a table at each validation."""

    def __init__(self, before: Scores, log_every: int) -> None:
        self._before, self._log_every = before, log_every

    def on_start(self, step: int, num_steps: int) -> None:
        self._bar = tqdm(total=num_steps, initial=step, unit=" steps", disable=None)
        self._first_step, self._num_steps, self._start = step, num_steps, time.monotonic()

    def on_step(self, step: int, losses: Losses, gradient_norm: Tensor, lr: float) -> None:
        self._bar.update()
        if step % self._log_every == 0 or step == 1:
            loss = f"{losses.total.item():.4f}"
            self._bar.set_postfix(loss=loss, lr=f"{lr:.1e}")
            if self._bar.disable:  # not a terminal but, for example, the log of a cluster
                done, seconds = step - self._first_step, time.monotonic() - self._start
                pace = describe_pace("steps", done, seconds, self._num_steps - step)
                say(f"step {step} of {self._num_steps}: loss {loss}, learning rate {lr:.1e}, {pace}")

    def on_validation(self, step: int, result: ValidationResult) -> None:
        say(f"\nstep {step}\n{metrics_table({'input': self._before, 'refined': result.scores})}")

    def on_end(self) -> None:
        self._bar.close()


def _print_end(trainer: Trainer, before: Scores, scores: Scores | None, folder: Path) -> None:
    """Prints the last scores and how to refine, or how to continue a run that was stopped."""
    step = trainer.progress.step
    if scores is None and step >= trainer.num_steps:
        print(f"\nnothing to do: the run in {folder} has done its {counted(trainer.num_steps, 'step')}")
        return
    if scores is None:
        print(f"\nstopped after step {step}; continue with the same settings and")
        print(f"  resume=true output_dir={folder}")
        return

    print(f"\nafter {counted(step, 'step')}, on the validation\n{metrics_table({'input': before, 'refined': scores})}")
    print(f"\nwrote {folder}: best.safetensors, last.safetensors, last.pt, config.yaml, curves; refine with")
    print(f"  hpr refine POSES IMAGES model.weights={shlex.quote(f'{folder}/best.safetensors')}")


def complete_overrides(overrides: Sequence[str]) -> list[str]:
    """Returns the overrides with the folder of the last run where they say to resume, but not which run."""
    names = {override.partition("=")[0] for override in overrides}
    runs = Path("output/train").glob(f"*/{CHECKPOINT}")
    if "resume=true" in overrides and "output_dir" not in names:
        last = max(runs, key=lambda path: path.stat().st_mtime, default=None)
        return [*overrides, *([f"output_dir={last.parent}"] if last else [])]
    return list(overrides)


COMMAND = app.Command("train", TrainSettings, train_refiner, complete=complete_overrides)

"""Train a refiner: hpr-train, python train.py [+experiment=modern_1gpu|fine_tune|…] [dataset=posetrack18|…]."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from hpr.settings import CanvasSide, Count, NonNegative, Seed, Workers
from hpr.cli import app
from hpr.cli.progress import Pace, progress_bar, say
from hpr.cli.settings import Component, DatasetSettings, ModelSettings, Section
from hpr.crops import ScaleRule
from hpr.errors import UserError
from hpr.metrics.comparison import TrainingScores
from hpr.models.loading import start_network
from hpr.models.losses import Losses
from hpr.models.network import Refiner
from hpr.runtime.device import select_device
from hpr.runtime.folders import sole_use
from hpr.runtime.memory import keep_freed_memory
from hpr.runtime.precision import PrecisionSetting, slow_precision, training_precision
from hpr.runtime.processes import Processes
from hpr.skeleton import Skeleton, get_skeleton
from hpr.training.buckets import BLOCK, BucketedExamples
from hpr.training.examples import Example, Examples
from hpr.training.history import History
from hpr.training.input_means import measure_input_means
from hpr.training.loop import CommonSettings, Settings, Trainer, train
from hpr.training.monitoring import Monitor
from hpr.training.dataset import People
from hpr.training.checkpoint import start_folder
from hpr.training.schedules import steps_of
from hpr.training.validation import Validated, Validation, score_table


class _TrainingDataset(DatasetSettings):
    root: str | None = None
    images: str | list[str] | None = None
    predictions: str | None = None
    scale: ScaleRule
    parts: dict[str, NonNegative] | None = None
    validated: str | None = None
    sets: dict[str, Any] | None = None
    steps: Count | None = None


_Size = Annotated[list[CanvasSide], Field(min_length=2, max_length=2)]


class _TrainingSettings(CommonSettings):
    """What a run is asked for; what is left open depends on the data and the machine.

    Attributes:
        steps: Number of steps; None where it is given in epochs.
        epochs: How often each person is seen; None where it is given in steps.
        precision: A precision, or "auto": see `training_precision`.
        workers: Processes that make examples; None for this process's share of the cores.
    """

    steps: Count | None
    epochs: Annotated[float, Field(gt=0, le=1e6)] | None
    precision: PrecisionSetting
    workers: Workers | None

    def checked_length(self) -> None:
        """Refuses a run with two lengths.

        Raises:
            UserError: Steps and epochs are given.
        """
        if self.steps is not None and self.epochs is not None:
            both = f"training.steps={self.steps} and training.epochs={self.epochs:g}"
            raise UserError(f"{both}: expected one of the two; set the other to null")

    def on(self, device: torch.device, processes: Processes, people: People, dataset: _TrainingDataset) -> Settings:
        """Returns how to train on the people of a data set, with nothing left open.

        Raises:
            UserError: It is not said how long.
        """
        workers = processes.spare_cores if self.workers is None else self.workers
        precision = training_precision(self.precision, device)
        given = self.model_dump(exclude={"steps", "epochs", "workers", "precision"})
        return Settings(steps=self._steps_on(people, dataset), precision=precision, workers=workers, **given)

    def _steps_on(self, people: People, dataset: _TrainingDataset) -> int:
        if self.steps is not None:
            return self.steps
        if self.epochs is None:
            if dataset.steps is not None:
                return dataset.steps
            recipes = "take a recipe, such as +experiment=modern_1gpu or +experiment=fine_tune"
            raise UserError(f"dataset={dataset.name}: how long to train is not set; {recipes}, or set training.steps")
        if not isinstance(people, Sized):
            found = f"training.epochs={self.epochs:g}: dataset={dataset.name} has no end"
            raise UserError(f"{found}; set training.epochs=null training.steps=NUMBER")
        return steps_of(self.epochs, len(people), self.batch_size)


_TRAINABLE = "synthetic, posetrack18, posetrack17, posetrack21, coco, crowdpose, mpii or mix"


class TrainSettings(Section):
    """conf/train.yaml."""

    model: ModelSettings
    dataset: _TrainingDataset
    pose_errors: Component
    validation_errors: Component
    augmentation: Component
    scale: ScaleRule
    optimizer: Component
    schedule: Component
    canvas: _Size
    canvases: Annotated[list[_Size], Field(min_length=2, max_length=BLOCK)] | None
    training: _TrainingSettings
    seed: Seed
    device: str
    resume: bool
    output_dir: str
    objective: Component | None = None


def train_refiner(settings: TrainSettings) -> TrainingScores | None:
    """Trains as the settings say and prints how it goes; Ctrl-C saves the state and stops.

    Returns:
        The last validation's scores in the first process; None in others, and where the run was stopped.

    Raises:
        UserError: An input is absent or broken, or the run's folder holds another run.
    """
    keep_freed_memory()
    processes = Processes.from_environment()
    device = processes.own_device(select_device(settings.device))
    torch.manual_seed(settings.seed)
    processes.join(device)
    try:
        with _stop_requests() as stopping:
            return _train(settings, device, processes, stopping)
    finally:
        processes.leave()


def _train(
    settings: TrainSettings, device: torch.device, processes: Processes, stopping: Callable[[], bool]
) -> TrainingScores | None:
    settings.training.checked_length()
    folder, dataset = Path(processes.agreed(settings.output_dir)), settings.dataset
    if dataset.training is None:
        raise UserError(f"dataset={dataset.name}: nothing to train on in it; use dataset={_TRAINABLE}")
    skeleton = get_skeleton(settings.model.skeleton)
    model = settings.model
    network = start_network(model.architecture, skeleton, model.weights, model.input)
    people: People = app.build("dataset.training", dataset.training, seed=settings.seed)
    training = settings.training.on(device, processes, people, dataset)
    if processes.is_first:
        _warn_of_unlearnt(people.skeleton, skeleton, dataset.name)
    examples = _examples(settings, people, network)
    optimizer = _optimizer(settings.optimizer)
    schedule = app.build("schedule", settings.schedule)
    trainer = Trainer(network, optimizer, schedule, training, device, processes)

    with sole_use(folder) if processes.is_first else nullcontext():
        return _run(settings, trainer, examples, folder, processes, stopping)


def _examples(settings: TrainSettings, people: People, network: Refiner) -> Dataset[Example]:
    """Returns what the network learns from; on the way, input means that nobody knows are measured."""
    errors = app.build("pose_errors", settings.pose_errors)
    augmentation = app.build("augmentation", settings.augmentation)

    def on(canvas: Sequence[int]) -> Examples:
        return Examples(people, errors, augmentation, canvas, network, settings.scale, settings.seed)

    examples = on(settings.canvas)
    measure_input_means(network, examples)
    if settings.canvases is None:
        return examples
    return BucketedExamples([on(canvas) for canvas in settings.canvases], settings.seed)


def _warn_of_unlearnt(annotated: Skeleton, skeleton: Skeleton, dataset: str) -> None:
    """Says which keypoints of the network nobody is annotated with."""
    if names := [name for name in skeleton.names if name not in annotated]:
        print(f"warning: dataset={dataset} does not have {', '.join(names)}; these are not learnt")


def _optimizer(component: Component) -> Callable[..., torch.optim.Optimizer]:
    """Returns what makes the optimizer, tried on one weight: PyTorch checks its settings when it is made.

    Raises:
        UserError: A setting is unknown or its value is not allowed.
    """
    optimizer: Callable[..., torch.optim.Optimizer] = app.build("optimizer", component)
    for name in _SHARES & component.keys():
        if not isinstance(component[name], int | float) or not 0 <= component[name] <= 1:
            raise UserError(f"optimizer.{name}={component[name]}: expected a number from 0 to 1")
    try:
        optimizer([torch.nn.Parameter(torch.zeros(1))])
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"optimizer: {error}") from None
    return optimizer


_SHARES = {"weight_decay", "momentum"}


def _run(
    settings: TrainSettings,
    trainer: Trainer,
    examples: Dataset[Example],
    folder: Path,
    processes: Processes,
    stopping: Callable[[], bool],
) -> TrainingScores | None:
    """Trains in a folder that is this run's alone."""
    if processes.is_first:
        start_folder(folder, _kept(settings, trainer.settings), settings.resume)
    validation = _validation(settings, folder, processes)
    architecture, log_every = settings.model.architecture, settings.training.log_every
    monitors: list[Monitor] = []
    if processes.is_first:
        _print_start(settings, trainer, folder)
        what = f"{architecture} for {settings.model.skeleton} on {settings.dataset.name}"
        monitors = [_Console(validation, log_every), History(folder, what, validation.before, log_every)]
    scores = train(trainer, examples, validation, folder, settings.resume, architecture, monitors, stopping)
    if processes.is_first:
        _print_end(settings, trainer, validation, scores, folder)
    return scores


def _kept(settings: TrainSettings, training: Settings) -> dict[str, Any]:
    """Returns the settings as a run's folder keeps them: with the number of steps that follows from them."""
    kept = settings.model_dump()
    kept["training"]["steps"] = training.steps
    return kept


def _validation(settings: TrainSettings, folder: Path, processes: Processes) -> Validation:
    """Prepares the clips to validate on, in all processes."""
    errors = app.build("validation_errors", settings.validation_errors)
    assert settings.dataset.validation is not None
    showing = progress_bar("clips", doing="preparing the validation") if processes.is_first else _silence()
    with showing as progress:
        validation: Validation = app.build(
            "dataset.validation",
            settings.dataset.validation,
            folder=folder,
            errors=errors,
            scale=settings.scale,
            progress=progress,
            processes=processes,
        )
    return validation


def _silence() -> AbstractContextManager[Callable[[int], None]]:
    """Returns what shows no progress, in processes that print nothing."""
    return nullcontext(lambda count: None)


class _Console:
    """Shows a bar with loss and rate, and a table at each validation."""

    def __init__(self, validation: Validation, log_every: int) -> None:
        self._validation, self._log_every = validation, log_every

    def on_start(self, step: int, steps: int) -> None:
        """See `training.monitoring.Monitor`."""
        self._bar = tqdm(total=steps, initial=step, unit=" steps", disable=None)
        self._pace = Pace("steps", steps, step)

    def on_step(self, step: int, losses: Losses, gradient_norm: Tensor, rate: float) -> None:
        """See `training.monitoring.Monitor`."""
        self._bar.update()
        if step % self._log_every == 0 or step == 1:
            loss = f"{losses.total.item():.4f}"
            self._bar.set_postfix(loss=loss, rate=f"{rate:.1e}")
            if self._bar.disable:  # not a terminal but, say, the log of a cluster
                pace = self._pace.after(step)
                say(f"step {step} of {self._bar.total}: loss {loss}, learning rate {rate:.1e}, {pace}")

    def on_validation(self, step: int, validated: Validated) -> None:
        """See `training.monitoring.Monitor`."""
        say(f"\nstep {step}\n{score_table(self._validation.before, validated.scores)}")

    def on_end(self) -> None:
        """See `training.monitoring.Monitor`."""
        self._bar.close()


@contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """Yields what tells whether Ctrl-C or SIGTERM came; a second one ends the program at once."""
    requests: list[int] = []

    def note(number: int, frame: Any) -> None:
        if requests:
            os._exit(130)
        requests.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(requests)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_start(settings: TrainSettings, trainer: Trainer, folder: Path) -> None:
    training, device = trainer.settings, trainer.device
    if warning := slow_precision(training.precision, device):
        print(f"warning: {warning}")
    what = f"{settings.model.architecture} for {settings.model.skeleton} on {settings.dataset.name}"
    how = f"{training.steps} steps on {device} in {training.precision}"
    print(f"run {folder}: {what}, {how}, {training.workers} processes for examples")


def _print_end(
    settings: TrainSettings, trainer: Trainer, validation: Validation, scores: TrainingScores | None, folder: Path
) -> None:
    if scores is None and trainer.progress.step >= trainer.settings.steps:
        print(f"\nnothing to do: the run in {folder} has done its {trainer.settings.steps} steps")
        return
    if scores is None:
        print(f"\nstopped after step {trainer.progress.step}; go on with the same settings and")
        print(f"  resume=true output_dir={folder}")
        return
    table = score_table(validation.before, scores)
    print(f"\nafter {trainer.progress.step} steps, on the validation\n{table}")
    written = "best.safetensors, last.safetensors, last.pt, config.yaml, curves, pictures, report.html"
    print(f"\nwrote {folder}: {written}; refine with")
    model = settings.model
    skeleton = "" if model.skeleton == "posetrack15" else f" model.skeleton={model.skeleton}"
    print(f"  python refine.py model={model.architecture}{skeleton} model.weights={folder}/best.safetensors")


COMMAND = app.Command("train", TrainSettings, train_refiner)

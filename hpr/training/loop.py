"""The training loop.

A step is handed to the device and not waited for. Only where there is something to be seen does the host wait: see
`Trainer.look`.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.utils.data import Dataset

from hpr.settings import BatchSize, Count, Positive, Workers
from hpr.errors import UserError
from hpr.metrics.comparison import TrainingScores
from hpr.codec import Targets
from hpr.models.batch_norm import share_batch_norms
from hpr.models.losses import Losses, loss_counts, refinement_losses
from hpr.models.network import Refiner
from hpr.models.padding import PaddedBatch
from hpr.runtime.precision import PrecisionName, dtype_of, fp32_arithmetic
from hpr.runtime.processes import Processes
from hpr.training.averaging import AveragedWeights
from hpr.training.examples import Example, prepare
from hpr.training.loading import example_batches
from hpr.training.monitoring import Curves, Monitor, Several
from hpr.training.checkpoint import CHECKPOINT, Progress, load_checkpoint, save_checkpoint, save_weights
from hpr.training.validation import Validation

BatchNormMode = Literal["live", "frozen"]

MIN_CPU_CHANNELS = 8
"""Input channels of 1×1 convolutions that PyTorch can train on any CPU.

With fewer, in channels-last and with a stride, the gradient of the weights corrupts memory on CPUs with AVX2 but
without AVX-512 (oneDNN in PyTorch 2.15): the program hangs, aborts or learns from wrong numbers.
"""


LOOK_EVERY = {"cpu": 1, "cuda": 10}
"""Steps from one look at the device to the next; a CPU is done with a step when it returns."""


class Schedule(Protocol):
    """Learning rate by step."""

    def rate(self, step: int, total: int) -> float:
        """Returns the learning rate of a step in a run of so many."""


class CommonSettings(BaseModel):
    """How a run is trained, besides what can be left open until the data and the machine are known.

    Attributes:
        batch_size: Examples in a step, over all processes and accumulated parts.
        accumulate: Parts that each process takes its share of a batch in, to fit its memory.
        batch_norm: "live" to learn from scratch, "frozen" to go on from trained weights.
        max_gradient_norm: Longer gradients are shortened to this; None leaves them as they are.
        ema: Share of the averaged weights that a step keeps.
        validate_every: Steps.
        checkpoint_every: Steps.
        log_every: Steps.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    batch_size: BatchSize
    accumulate: Count
    batch_norm: BatchNormMode
    max_gradient_norm: Positive | None
    ema: Annotated[float, Field(ge=0, lt=1)]
    validate_every: Count
    checkpoint_every: Count
    log_every: Count


class Settings(CommonSettings):
    """How a run is trained.

    Attributes:
        steps: Number of steps.
        precision: "fp32", "tf32", "bf16" or "fp16".
        workers: Processes that make examples; 0 makes them in this one.
    """

    steps: Count
    precision: PrecisionName
    workers: Workers


class Trainer:
    """A network under training, with everything that has to be kept to go on later.

    Attributes:
        settings: How to train.
        device: Where to.
        processes: Who takes part.
        network: That is trained.
        progress: How far it is.
    """

    def __init__(
        self,
        network: Refiner,
        optimizer: Callable[..., Optimizer],
        schedule: Schedule,
        settings: Settings,
        device: torch.device,
        processes: Processes,
    ) -> None:
        """Prepares a training.

        Args:
            network: To be trained.
            optimizer: Makes the optimizer of groups of parameters.
            schedule: Learning rate by step.
            settings: How to train.
            device: Where to.
            processes: Who else takes part.

        Raises:
            UserError: A step cannot be split evenly, or the network is too narrow to be trained on a CPU.
        """
        if device.type == "cpu":
            _check_width(network)
        _check_split(settings, processes)
        self.settings, self.device, self.processes = settings, device, processes
        self.progress = Progress()
        self._schedule = schedule

        # Each process sees a few examples of a step: batch norms take their statistics over all of them.
        if settings.batch_norm == "live" and processes.count > 1:
            share_batch_norms(network)
        # Channels last is the order that convolutions are fast in.
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._averaged = AveragedWeights(self.network, settings.ema)
        self._optimizer = optimizer(parameter_groups(self.network))
        # fp16 has no numbers small enough for some gradients: the loss is scaled up, and the gradients down again.
        self._scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
        self._replica: nn.Module = self.network
        if processes.count > 1:
            self._replica = DistributedDataParallel(self.network, [device] if device.type == "cuda" else None)
        # Of the latest step, or of the first whose numbers are not finite: see `look`.
        self._seen = torch.zeros(4, device=device)

    @property
    def averaged(self) -> Refiner:
        """The network with averaged weights, which is what refines."""
        return self._averaged.network

    @property
    def rate(self) -> float:
        """The learning rate of the latest step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def state(self) -> dict[str, Any]:
        """Returns what a checkpoint holds the state of."""
        names = ("network", "averaged", "optimizer", "scaler")
        return dict(zip(names, (self.network, self.averaged, self._optimizer, self._scaler), strict=True))

    def step(self, batches: list[Example]) -> tuple[Losses, Tensor]:
        """Does one step, without a wait for the device.

        Args:
            batches: This process's share of the step, in parts.

        Returns:
            The losses of the whole step over all processes, and the gradient's length; on the device.
        """
        # The rate is a function of the step alone, so that a run can be continued anywhere.
        for group in self._optimizer.param_groups:
            group["lr"] = self._schedule.rate(self.progress.step, self.settings.steps)
        # Frozen batch norms use their stored statistics and do not update them.
        set_mode(self.network, self.settings.batch_norm)

        # The losses are means over the whole step: what they are divided by has to be known before the first part.
        prepared = [prepare(batch, self.network, self.device) for batch in batches]
        counts = torch.stack([loss_counts(targets) for _, targets in prepared]).sum(dim=0)
        counts = self.processes.summed(counts)

        # Parts add up their gradients; the last one exchanges them with the other processes.
        total = torch.zeros(2, device=self.device)
        for number, (crops, targets) in enumerate(prepared, start=1):
            with self._without_exchange() if number < len(prepared) else nullcontext():
                losses = self._accumulate_gradients(crops, targets, counts)
            total += torch.stack([losses.part.detach(), losses.offset.detach()])
        losses = Losses(*self.processes.summed(total))

        # Gradients are brought back to their true length, which is then limited: one odd batch must not undo much.
        self._scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.max_gradient_norm or math.inf)
        # The scaler leaves out a step whose gradients are not finite, and scales less from then on.
        self._scaler.step(self._optimizer)
        self._scaler.update()
        # The memory is freed rather than filled with zeros.
        self._optimizer.zero_grad(set_to_none=True)

        self._averaged.update(self.network, self.progress.step)
        self._note(losses, norm)
        self.progress.step += 1
        return losses, norm

    def look(self, asked_to_stop: bool = False) -> bool:
        """Waits for the device to be done with the steps so far, and for the other processes to be here.

        Weights that a step has spoilt are not to be saved or tried: this comes before.

        Args:
            asked_to_stop: Whether this process was told to stop.

        Returns:
            Whether any process was.

        Raises:
            UserError: The loss or the gradient of a step is not finite.
        """
        asked = self.processes.summed(torch.full((1,), float(asked_to_stop), device=self.device))
        step, part, offset, norm, requests = torch.cat([self._seen, asked]).tolist()
        if not math.isfinite(part + offset):
            terms = f"part {part}, offset {offset}"
            raise UserError(f"step {step:.0f}: the loss is not finite ({terms}); lower the learning rate")
        if not math.isfinite(norm):
            raise UserError(f"step {step:.0f}: the gradient is not finite (length {norm}); lower the learning rate")
        return bool(requests)

    def _note(self, losses: Losses, norm: Tensor) -> None:
        """Keeps a step's numbers for the next look, on the device, unless those of an earlier one are not finite."""
        if self._scaler.is_enabled():  # which leaves out steps with such gradients
            norm = torch.zeros_like(norm)
        step = torch.full_like(norm, self.progress.step)
        numbers = torch.stack([step, losses.part, losses.offset, norm])
        self._seen = torch.where(self._seen.isfinite().all(), numbers, self._seen)

    def _accumulate_gradients(self, crops: PaddedBatch, targets: Targets, counts: Tensor) -> Losses:
        """Runs the network forward and backward on a part of a step and returns the part's share of the losses."""
        dtype = dtype_of(self.settings.precision)
        # Weights stay in fp32 and are converted for each convolution; the losses are computed in fp32.
        half = torch.autocast(self.device.type, dtype) if dtype != torch.float32 else nullcontext()
        # The canvases are of one size, or of few: what cuDNN finds to be the fastest for it serves all steps.
        with fp32_arithmetic(tf32=self.settings.precision != "fp32", benchmark=True):
            with half:
                logits, offsets = self._replica(crops)
            losses = refinement_losses(logits, offsets, targets, counts)
            # The gradients of all processes are averaged; their sum is wanted.
            torch.autograd.backward(self._scaler.scale(losses.total * self.processes.count))
        return losses

    def _without_exchange(self) -> AbstractContextManager[None]:
        """Lets this process keep its gradients to itself for now."""
        return self._replica.no_sync() if isinstance(self._replica, DistributedDataParallel) else nullcontext()


def train(
    trainer: Trainer,
    examples: Dataset[Example],
    validation: Validation | None,
    folder: Path,
    resume: bool,
    architecture: str,
    monitors: Sequence[Monitor] = (),
    stopping: Callable[[], bool] = lambda: False,
) -> TrainingScores | None:
    """Trains until the last step, or until told to stop; keeps the best weights and the latest state.

    Args:
        trainer: What is trained, and how.
        examples: What it learns from.
        validation: Held-out clips, in all processes or in none.
        folder: Of the run.
        resume: Whether to go on from the folder's checkpoint.
        architecture: Name of the network's architecture.
        monitors: Are told how it goes, in the first process alone; curves for TensorBoard are written anyway.
        stopping: Asked after a step, on a GPU after every few, whether to stop here; the state is saved.

    Returns:
        The scores of the last validation in the first process, None in others or where the run was stopped.

    Raises:
        UserError: The loss is not finite, an example cannot be read, or the folder cannot be written to.
    """
    settings, processes = trainer.settings, trainer.processes
    if resume:
        trainer.progress = load_checkpoint(folder / CHECKPOINT, trainer.state(), trainer.device)
    progress, scores = trainer.progress, None
    told = Several(Curves(folder / "curves", settings.log_every), *monitors) if processes.is_first else Several()

    told.on_start(progress.step, settings.steps)
    own_batches = example_batches(
        examples,
        range(progress.step, settings.steps),
        settings.batch_size,
        settings.accumulate,
        settings.workers,
        processes,
    )
    try:
        for batches in own_batches:
            losses, norm = trainer.step(batches)
            is_last = progress.step == settings.steps
            # Where one process is told to stop, all do.
            stopped = (is_last or _is_looked_at(trainer)) and trainer.look(stopping())
            told.on_step(progress.step, losses, norm, trainer.rate)

            # Each process refines its share of the validation; the first one alone has the scores, and saves.
            is_due = is_last or progress.step % settings.validate_every == 0
            validated = validation.after(trainer.averaged, str(trainer.device)) if validation and is_due else None
            if validated is not None:
                scores = validated.scores
                told.on_validation(progress.step, validated)
                _keep_best(trainer, scores, folder, architecture)
            if processes.is_first and (is_last or stopped or progress.step % settings.checkpoint_every == 0):
                save_checkpoint(folder / CHECKPOINT, trainer.state(), progress)
                save_weights(folder / "last.safetensors", trainer.averaged, str(folder), progress.step, architecture)
            if stopped and not is_last:
                scores = None
                break
        processes.wait()
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        # PyTorch raises this wherever the main process happens to be, so that the state cannot be saved any more.
        raise UserError(
            f"a process that prepares examples was lost ({str(error).splitlines()[0]}); with too little memory, "
            "set fewer training.workers; resume=true goes on from the last checkpoint"
        ) from None
    finally:
        own_batches.close()
        told.on_end()
    return scores


def _is_looked_at(trainer: Trainer) -> bool:
    """Returns whether to wait for the latest step: something is to be saved, tried or shown, or it has been a while."""
    step, settings = trainer.progress.step, trainer.settings
    intervals = (settings.checkpoint_every, settings.validate_every, settings.log_every)
    return step == 1 or any(step % every == 0 for every in (*intervals, LOOK_EVERY.get(trainer.device.type, 1)))


def _keep_best(trainer: Trainer, scores: TrainingScores, folder: Path, architecture: str) -> None:
    """Writes the averaged weights if they have the highest scores so far."""
    progress = trainer.progress
    if scores.mean > progress.best:
        progress.best = scores.mean
        save_weights(folder / "best.safetensors", trainer.averaged, str(folder), progress.step, architecture)


def _check_width(network: nn.Module) -> None:
    """Refuses a network that a CPU cannot train; see `MIN_CPU_CHANNELS`."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.in_channels < MIN_CPU_CHANNELS:
            found = f"{name} has {module.in_channels} input channels"
            raise UserError(
                f"model: expected {MIN_CPU_CHANNELS} or more to train on a CPU, {found}; use a wider network"
            )


def _check_split(settings: Settings, processes: Processes) -> None:
    """Refuses steps that cannot be split evenly over processes and parts."""
    parts = processes.count * settings.accumulate
    if settings.batch_size % parts:
        split = f"{processes.count} processes × accumulate={settings.accumulate}"
        raise UserError(f"batch_size={settings.batch_size}: expected a multiple of {parts} ({split})")


def parameter_groups(network: nn.Module) -> list[dict[str, Any]]:
    """Returns the kernels, and the biases and batch norms, which no weight decay is good for."""
    parameters = list(network.parameters())
    kernels, others = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
    return [{"params": kernels}, {"params": others, "weight_decay": 0.0}]


def set_mode(network: nn.Module, batch_norm: BatchNormMode) -> None:
    """Puts a network into training mode, its batch norms only if they are live."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train(batch_norm == "live")

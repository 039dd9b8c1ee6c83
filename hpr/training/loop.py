"""The training loop."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import torch
from tensorboardX import SummaryWriter
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from hpr.errors import UserError
from hpr.inference import fp32_arithmetic
from hpr.models.losses import Losses, loss_counts, refinement_losses
from hpr.models.refiner import Refiner
from hpr.processes import Processes
from hpr.training.examples import Example, prepare
from hpr.training.runs import CHECKPOINT, Progress, load_checkpoint, save_checkpoint, save_weights
from hpr.training.validation import Scores, Validation, table

AUTOCAST = {"fp32": None, "tf32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
BATCH_NORMS = ("live", "frozen")

MIN_CPU_CHANNELS = 8
"""Input channels of 1×1 convolutions that PyTorch can train on any CPU.

With fewer, in channels-last and with a stride, the gradient of the weights corrupts memory on CPUs with AVX2 but
without AVX-512 (oneDNN in PyTorch 2.15): the program hangs, aborts or learns from wrong numbers.
"""


class Schedule(Protocol):
    """Learning rate by step."""

    def rate(self, step: int, total: int) -> float:
        """Returns the learning rate of a step in a run of so many."""


@dataclass(frozen=True)
class Settings:
    """How a run is trained.

    Attributes:
        steps: Number of steps.
        batch_size: Examples in a step, over all processes and accumulated parts.
        accumulate: Parts that each process takes its share of a batch in, to fit its memory.
        batch_norm: "live" to learn from scratch, "frozen" to go on from trained weights.
        precision: "fp32", "tf32", "bf16" or "fp16".
        max_gradient_norm: Longer gradients are shortened to this.
        ema: Share of the averaged weights that a step keeps.
        workers: Processes that make examples; 0 makes them in this one.
        validate_every: Steps.
        checkpoint_every: Steps.
        log_every: Steps.
    """

    steps: int
    batch_size: int
    accumulate: int
    batch_norm: str
    precision: str
    max_gradient_norm: float
    ema: float
    workers: int
    validate_every: int
    checkpoint_every: int
    log_every: int

    def __post_init__(self) -> None:
        """Checks the values that a user may have got wrong."""
        if self.batch_norm not in BATCH_NORMS:
            raise UserError(f"batch_norm={self.batch_norm}: expected one of {', '.join(BATCH_NORMS)}")
        if self.precision not in AUTOCAST:
            raise UserError(f"precision={self.precision}: expected one of {', '.join(AUTOCAST)}")


class Trainer:
    """A network on its way, with everything that has to be kept to go on later."""

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
        parts = processes.count * settings.accumulate
        if settings.batch_size % parts:
            split = f"{processes.count} processes × accumulate={settings.accumulate}"
            raise UserError(f"batch_size={settings.batch_size}: expected a multiple of {parts} ({split})")
        self.settings, self.device, self.processes = settings, device, processes
        self._schedule = schedule
        if settings.batch_norm == "live" and processes.count > 1 and device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._averaged = AveragedModel(self.network, avg_fn=_ema(settings.ema), use_buffers=True)
        self._optimizer = optimizer(parameter_groups(self.network))
        self._scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
        self._replica: nn.Module = self.network
        if processes.count > 1:
            self._replica = DistributedDataParallel(self.network, [device] if device.type == "cuda" else None)
        self.progress = Progress()

    @property
    def averaged(self) -> Refiner:
        """The network with averaged weights, which is what refines."""
        network = self._averaged.module
        assert isinstance(network, Refiner)
        return network

    def step(self, batches: list[Example]) -> tuple[Losses, float]:
        """Does one step.

        Args:
            batches: This process's share of the step, in parts.

        Returns:
            The losses of the whole step over all processes, and the gradient's length.

        Raises:
            UserError: A loss is not finite.
        """
        rate = self._schedule.rate(self.progress.step, self.settings.steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        set_mode(self.network, self.settings.batch_norm)
        prepared = [prepare(batch, self.device) for batch in batches]
        counts = self.processes.summed(torch.stack([loss_counts(targets) for *_, targets in prepared]).sum(dim=0))
        total = torch.zeros(2, device=self.device)
        for i, (inputs, image, targets) in enumerate(prepared):
            with self._arithmetic(), self._without_exchange(last=i == len(prepared) - 1):
                with torch.autocast(self.device.type, self._autocast, enabled=self._autocast is not None):
                    logits, offsets = self._replica(inputs, image)
                losses = refinement_losses(logits, offsets, targets, counts)
                # The gradients of all processes are averaged; their sum is wanted.
                torch.autograd.backward(self._scaler.scale(losses.total * self.processes.count))
            total += torch.stack([losses.part.detach(), losses.offset.detach()])
        part, offset = self.processes.summed(total)
        if not torch.isfinite(part + offset):
            terms = f"part {part.item()}, offset {offset.item()}"
            raise UserError(f"step {self.progress.step}: the loss is not finite ({terms}); lower the learning rate")
        self._scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.max_gradient_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        self._averaged.update_parameters(self.network)
        self.progress.step += 1
        return Losses(part, offset), float(norm)

    def parts(self) -> dict[str, Any]:
        """Returns what a checkpoint holds the state of."""
        names = ("network", "averaged", "optimizer", "scaler")
        return dict(zip(names, (self.network, self._averaged, self._optimizer, self._scaler), strict=True))

    @property
    def rate(self) -> float:
        """The learning rate of the latest step."""
        return float(self._optimizer.param_groups[0]["lr"])

    @property
    def _autocast(self) -> torch.dtype | None:
        return AUTOCAST[self.settings.precision]

    def _arithmetic(self) -> contextlib.AbstractContextManager[None]:
        return fp32_arithmetic(tf32=self.settings.precision != "fp32")

    def _without_exchange(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """Lets the processes exchange gradients with the last part of a step only."""
        if isinstance(self._replica, DistributedDataParallel) and not last:
            return self._replica.no_sync()
        return contextlib.nullcontext()


def train(
    trainer: Trainer,
    examples: Dataset[Example],
    validation: Validation | None,
    folder: Path,
    resume: bool,
    architecture: str,
    stopping: Callable[[], bool] = lambda: False,
) -> Scores | None:
    """Trains until the last step, or until told to stop; keeps the best weights and the latest state.

    Args:
        trainer: What is trained, and how.
        examples: What it learns from.
        validation: Held-out clips; the first process alone needs them.
        folder: Of the run.
        resume: Whether to go on from the folder's checkpoint.
        architecture: Name of the network's architecture.
        stopping: Asked after each step whether to stop here; the state is saved.

    Returns:
        The scores of the last validation in the first process, None in others or where the run was stopped.

    Raises:
        UserError: The loss is not finite, an example cannot be read, or the folder cannot be written to.
    """
    settings, processes, progress = trainer.settings, trainer.processes, trainer.progress
    if resume:
        trainer.progress = progress = load_checkpoint(folder / CHECKPOINT, trainer.parts(), trainer.device)
    scores: Scores | None = None
    # Curves of the steps after the checkpoint are dropped where a run goes on.
    writer = SummaryWriter(str(folder / "curves"), purge_step=progress.step) if processes.is_first else None
    bar = tqdm(total=settings.steps, initial=progress.step, unit=" steps", disable=None if processes.is_first else True)
    for batches in example_batches(examples, settings, processes, progress.step):
        losses, norm = trainer.step(batches)
        step = progress.step
        bar.update()
        if step % settings.log_every == 0 or step == 1:
            bar.set_postfix(loss=f"{losses.total.item():.4f}", rate=f"{trainer.rate:.1e}")
            _log(writer, step, {"part": losses.part, "offset": losses.offset, "gradient": norm, "rate": trainer.rate})
        # Where one process is told to stop, all do.
        stopped = bool(processes.summed(torch.tensor(float(stopping()), device=trainer.device)))
        done = step == settings.steps
        if processes.is_first and validation is not None and (done or step % settings.validate_every == 0):
            scores = _validate(trainer, validation, folder, architecture, writer)
        if processes.is_first and (done or stopped or step % settings.checkpoint_every == 0):
            save_checkpoint(folder / CHECKPOINT, trainer.parts(), progress)
            save_weights(folder / "last.safetensors", trainer.averaged, str(folder), step, architecture)
        if stopped and not done:
            scores = None
            break
    processes.wait()
    bar.close()
    if writer is not None:
        writer.close()
    return scores


def _check_width(network: nn.Module) -> None:
    """Refuses a network that a CPU cannot train; see `MIN_CPU_CHANNELS`."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.in_channels < MIN_CPU_CHANNELS:
            found = f"{name} has {module.in_channels} input channels"
            raise UserError(
                f"model: expected {MIN_CPU_CHANNELS} or more to train on a CPU, {found}; use a wider network"
            )


def parameter_groups(network: nn.Module) -> list[dict[str, Any]]:
    """Returns the kernels, and the biases and batch norms, which no weight decay is good for."""
    parameters = list(network.parameters())
    kernels, others = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
    return [{"params": kernels}, {"params": others, "weight_decay": 0.0}]


def _ema(keep: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Returns an exponential moving average that forgets its beginnings the faster the younger it is."""

    def average(averaged: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        if not averaged.is_floating_point():  # batch norm's count of batches
            return current
        share = min(keep, (1 + int(count)) / (10 + int(count)))
        return torch.lerp(current, averaged, share)

    return average


def set_mode(network: nn.Module, batch_norm: str) -> None:
    """Puts a network into training mode, its batch norms only if they are live."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train(batch_norm == "live")


def _validate(
    trainer: Trainer, validation: Validation, folder: Path, architecture: str, writer: SummaryWriter | None
) -> Scores:
    """Scores the averaged weights, prints and logs the scores, and keeps the weights if they are the best so far."""
    scores, progress = validation.after(trainer.averaged, str(trainer.device)), trainer.progress
    tqdm.write(f"\nstep {progress.step}\n{table(validation.before, scores)}")
    _log(writer, progress.step, {"mAP": scores.mean_ap, "MOTA": scores.mota, "PCKh": scores.pckh})
    if scores.mean > progress.best:
        progress.best = scores.mean
        save_weights(folder / "best.safetensors", trainer.averaged, str(folder), progress.step, architecture)
    return scores


def _log(writer: SummaryWriter | None, step: int, values: dict[str, float | Tensor]) -> None:
    if writer is not None:
        for name, value in values.items():
            writer.add_scalar(name, float(value), step)


def example_batches(
    examples: Dataset[Example], settings: Settings, processes: Processes, start: int
) -> Iterator[list[Example]]:
    """Yields this process's share of each step from the start-th on, in parts, made by worker processes."""
    size = settings.batch_size // (processes.count * settings.accumulate)
    # Parts of a step follow each other; each process takes a row of them.
    indices = (
        list(range(first, first + size))
        for step in range(start, settings.steps)
        for part in range(settings.accumulate)
        for first in [step * settings.batch_size + (processes.rank * settings.accumulate + part) * size]
    )
    loader = DataLoader(
        examples,
        batch_sampler=_Batches(indices),
        num_workers=settings.workers,
        worker_init_fn=_start_worker,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if settings.workers else None,
    )
    row: list[Example] = []
    try:
        for batch in loader:
            row.append(batch)
            if len(row) == settings.accumulate:
                yield row
                row = []
    except UserError as error:  # from a worker it comes with the worker's traceback around it
        raise UserError(str(error).strip().splitlines()[-1].removeprefix("hpr.errors.UserError: ")) from None


class _Batches:
    """Lists of indices for a DataLoader."""

    def __init__(self, indices: Iterator[list[int]]) -> None:
        self._indices = indices

    def __iter__(self) -> Iterator[list[int]]:
        return self._indices


def _start_worker(worker: int) -> None:
    """Leaves the cores to the other workers, and Ctrl-C to the main process."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

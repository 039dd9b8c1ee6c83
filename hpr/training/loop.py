"""The training loop.

A step is queued on the device without waiting for it. The host waits only where results are needed, in
`Trainer.synchronize`.
"""

import copy
import math
from collections.abc import Callable, Sequence, Sized
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.utils.data import Dataset

from hpr.codec import Targets
from hpr.errors import UserError
from hpr.metrics.scores import Scores
from hpr.models.batch_norm import synchronize_batch_norms
from hpr.models.losses import Losses, loss_counts, refinement_losses
from hpr.models.network import Refiner
from hpr.models.padding import PaddedBatch
from hpr.runtime.precision import DTYPES, PrecisionSetting, fp32_arithmetic, select_precision
from hpr.runtime.processes import Processes
from hpr.settings import BatchSize, Count, NonNegative, Positive, Section, Workers
from hpr.training.callbacks import Callback, TensorBoard
from hpr.training.checkpoint import CHECKPOINT, Progress, load_checkpoint, save_checkpoint, save_weights
from hpr.training.dataset import PeopleDataset
from hpr.training.examples import Example, prepare
from hpr.training.loading import example_batches
from hpr.training.schedules import Schedule
from hpr.training.validation import Validation

BatchNormMode = Literal["live", "frozen"]

MIN_CPU_CHANNELS = 8
"""Input channels of 1×1 convolutions that PyTorch can train on any CPU.

With fewer, in channels-last and with a stride, the gradient of the weights corrupts memory on CPUs with AVX2 but
without AVX-512 (oneDNN in PyTorch 2.15): the program hangs, aborts or learns from wrong numbers.
"""

SYNCHRONIZE_EVERY = {"cpu": 1, "cuda": 10}
"""Steps between two synchronizations; a CPU has finished a step when it returns."""


class TrainingSettings(Section):
    """How to train: `training` in conf/train.yaml.

    Attributes:
        steps: Number of optimizer steps; None where it follows from `epochs` or the dataset.
        epochs: Passes over the dataset; None where it follows from `steps` or the dataset.
        batch_size: Examples in a step, over all ranks and accumulated parts.
        accumulate: Parts that each rank takes its share of a batch in, to fit its memory.
        batch_norm: "live" to train from scratch, "frozen" to continue from trained weights.
        precision: "fp32", "tf32", "bf16", "fp16", or "auto": see `select_precision`.
        backbone_lr: Learning rate of the backbone, in learning rates of the heads; 0 freezes it.
        max_gradient_norm: Gradients are clipped to this norm; None leaves them as they are.
        ema: Decay of the averaged weights.
        num_workers: Processes that make examples; 0 makes them in this one; None takes this rank's share of the cores.
        validate_every, checkpoint_every, log_every: Steps.
    """

    steps: Count | None
    epochs: Annotated[float, Field(gt=0, le=1e6)] | None
    batch_size: BatchSize
    accumulate: Count
    batch_norm: BatchNormMode
    precision: PrecisionSetting
    backbone_lr: NonNegative
    max_gradient_norm: Positive | None
    ema: Annotated[float, Field(ge=0, lt=1)]
    num_workers: Workers | None
    validate_every: Count
    checkpoint_every: Count
    log_every: Count

    def with_steps(self, people: PeopleDataset, dataset: str, default: int | None) -> "TrainingSettings":
        """Returns the settings with the number of steps for a dataset with a name and, perhaps, a default number.

        Raises:
            UserError: The number of steps is not set, is set twice, or is set in epochs of an endless dataset.
        """
        steps = self.steps
        if self.epochs is not None:
            if steps is not None:
                both = f"training.steps={steps} and training.epochs={self.epochs:g}"
                raise UserError(f"{both}: expected one of the two; set the other to null")
            if not isinstance(people, Sized):
                found = f"training.epochs={self.epochs:g}: dataset={dataset} has no end"
                raise UserError(f"{found}; set training.epochs=null training.steps=NUMBER")
            steps = max(math.ceil(self.epochs * len(people) / self.batch_size), 1)
        elif steps is None:
            steps = default
        if steps is None:
            recipes = "take a recipe, such as +experiment=modern_1gpu or +experiment=fine_tune"
            raise UserError(f"dataset={dataset}: how long to train is not set; {recipes}, or set training.steps")
        return self.model_copy(update={"steps": steps})


class Trainer:
    """A network under training, with everything that is needed to resume.

    Attributes:
        settings: How to train.
        num_steps: Number of steps of the whole run.
        precision: Precision of the network's computations.
        num_workers: Processes that make examples.
        network: The network that is trained.
        averaged: The network with averaged weights, which is used for refining.
        progress: Progress of the run.
        state: The objects whose state a checkpoint holds, by name.
        lr: Learning rate of the latest step.
    """

    def __init__(
        self,
        network: Refiner,
        optimizer: Callable[..., Optimizer],
        schedule: Schedule,
        settings: TrainingSettings,
        device: torch.device,
        processes: Processes,
    ) -> None:
        """Prepares a training.

        Args:
            network: Network to be trained.
            optimizer: Makes the optimizer from groups of parameters.
            schedule: Maps step and number of steps to the learning rate.
            settings: How to train; with a number of steps, see `TrainingSettings.with_steps`.
            device: Device to train on.
            processes: The ranks.

        Raises:
            UserError: A batch cannot be split evenly, or the network is too narrow to be trained on a CPU.
        """
        _check_width(network, device)
        parts = processes.count * settings.accumulate
        if settings.batch_size % parts:
            split = f"{processes.count} processes × accumulate={settings.accumulate}"
            raise UserError(f"batch_size={settings.batch_size}: expected a multiple of {parts} ({split})")
        assert settings.steps is not None
        self.settings, self.device, self.processes = settings, device, processes
        self.num_steps = settings.steps
        self.precision = select_precision(settings.precision, device, for_training=True)
        self.num_workers = processes.spare_cores if settings.num_workers is None else settings.num_workers
        self.progress, self.lr, self._schedule = Progress(), 0.0, schedule

        # Each rank sees a few examples of a step: batch norms take their statistics over all of them.
        if settings.batch_norm == "live" and processes.count > 1:
            synchronize_batch_norms(network)
        # Convolutions are fastest in channels-last order.
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged: Refiner = copy.deepcopy(self.network)
        # Biases and batch norms have no weight decay.
        self.network.backbone.requires_grad_(settings.backbone_lr > 0)
        groups: dict[tuple[float, bool], dict[str, Any]] = {}
        for name, parameter in self.network.named_parameters():
            factor, is_kernel = settings.backbone_lr if name.startswith("backbone.") else 1.0, parameter.ndim > 1
            group = {"params": [], "lr_factor": factor, **({} if is_kernel else {"weight_decay": 0.0})}
            groups.setdefault((factor, is_kernel), group)["params"].append(parameter)
        self._optimizer = optimizer(list(groups.values()))
        # fp16 underflows for some gradients: the loss is scaled up, and the gradients are scaled down again.
        self._scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "fp16")
        self.state = {"network": self.network, "averaged": self.averaged}
        self.state |= {"optimizer": self._optimizer, "scaler": self._scaler}
        self._replica: nn.Module = self.network
        if processes.count > 1:
            self._replica = DistributedDataParallel(self.network, [device] if device.type == "cuda" else None)
        # Step, part loss, offset loss and gradient norm of the latest step, or of the first step with a NaN.
        self._last_stats = torch.zeros(4, device=device)

    def step(self, batches: list[Example]) -> tuple[Losses, Tensor]:
        """Does one optimizer step on this rank's share of it, in parts, without waiting for the device.

        Returns:
            The losses of the whole step over all ranks, and the gradient's norm before clipping; on the device.
        """
        # The learning rate is a function of the step alone, so that a run can continue anywhere.
        self.lr = self._schedule(self.progress.step, self.num_steps)
        for group in self._optimizer.param_groups:
            group["lr"] = self.lr * group.get("lr_factor", 1.0)
        # Frozen batch norms use their stored statistics and do not update them.
        set_mode(self.network, self.settings.batch_norm)
        if self.settings.backbone_lr == 0:
            self.network.backbone.eval()

        # The losses are means over the whole step: their denominators are needed before the first part.
        prepared = [prepare(batch, self.network, self.device) for batch in batches]
        counts = torch.stack([loss_counts(targets) for _, targets in prepared]).sum(dim=0)
        counts = self.processes.summed(counts)

        # Parts accumulate gradients; the last one all-reduces them.
        total = torch.zeros(2, device=self.device)
        for number, (crops, targets) in enumerate(prepared, start=1):
            waits = number < len(prepared) and isinstance(self._replica, DistributedDataParallel)
            with self._replica.no_sync() if waits else nullcontext():  # type: ignore[operator]
                losses = self._accumulate_gradients(crops, targets, counts)
            total += torch.stack([losses.part.detach(), losses.offset.detach()])
        losses = Losses(*self.processes.summed(total))

        # Gradients are unscaled before they are clipped: one odd batch must not undo much.
        self._scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.max_gradient_norm or math.inf)
        # The scaler skips a step whose gradients are not finite, and lowers its scale.
        self._scaler.step(self._optimizer)
        self._scaler.update()
        # Memory is freed rather than filled with zeros.
        self._optimizer.zero_grad(set_to_none=True)

        update_average(self.averaged, self.network, self.settings.ema, self.progress.step)

        # For `synchronize`, the first numbers that are not finite are kept, on the device. The scaler skips steps with
        # such gradients.
        checked_norm = torch.zeros_like(norm) if self._scaler.is_enabled() else norm
        stats = torch.stack([torch.full_like(norm, self.progress.step), losses.part, losses.offset, checked_norm])
        self._last_stats = torch.where(self._last_stats.isfinite().all(), stats, self._last_stats)
        self.progress.step += 1
        return losses, norm

    def synchronize(self, stop_requested: bool = False) -> bool:
        """Waits for the device and all ranks; returns whether any rank wants to stop.

        Call before saving, validating or logging. Steps are queued without waiting, so a NaN surfaces here;
        `_last_stats` keeps the numbers of the first bad step.

        Raises:
            UserError: The loss or the gradient's norm is not finite.
        """
        stop = self.processes.summed(torch.full((1,), float(stop_requested), device=self.device))
        step, part, offset, norm, num_stop = torch.cat([self._last_stats, stop]).tolist()
        if not math.isfinite(part + offset):
            terms = f"part {part}, offset {offset}"
            raise UserError(f"step {step:.0f}: the loss is not finite ({terms}); lower the learning rate")
        if not math.isfinite(norm):
            raise UserError(f"step {step:.0f}: the gradient is not finite (norm {norm}); lower the learning rate")
        return bool(num_stop)

    def _accumulate_gradients(self, crops: PaddedBatch, targets: Targets, counts: Tensor) -> Losses:
        """Runs the network forward and backward on a part of a step and returns the part's share of the losses."""
        dtype = DTYPES[self.precision]
        # Weights stay in fp32 and are converted for each convolution; the losses are computed in fp32.
        autocast = torch.autocast(self.device.type, dtype) if dtype != torch.float32 else nullcontext()
        # All canvases have one size: the algorithms that cuDNN's benchmark finds serve all steps.
        with fp32_arithmetic(tf32=self.precision != "fp32", benchmark=True):
            with autocast:
                logits, offsets = self._replica(crops)
            losses = refinement_losses(logits, offsets, targets, counts)
            # DistributedDataParallel averages the gradients of all ranks; their sum is needed.
            torch.autograd.backward(self._scaler.scale(losses.total * self.processes.count))
        return losses


def train(
    trainer: Trainer,
    examples: Dataset[Example],
    validation: Validation | None,
    folder: Path,
    resume: bool,
    architecture: str,
    callbacks: Sequence[Callback] = (),
    stop_requested: Callable[[], bool] = lambda: False,
) -> Scores | None:
    """Trains until the last step or until asked to stop; saves checkpoints and the best and latest weights.

    A lost rank ends the run: torchrun stops the others, and the run is resumed from its last checkpoint.

    Args:
        trainer: The network and how to train it.
        examples: Training examples.
        validation: Held-out people, on all ranks or on none.
        folder: The run's folder.
        resume: Whether to resume from the folder's checkpoint.
        architecture: Name of the network's architecture.
        callbacks: Hooks, called on rank 0 only; TensorBoard's files are always written.
        stop_requested: Asked when the trainer synchronizes; the state is saved before stopping.

    Returns:
        The scores of the last validation on rank 0; None on other ranks, or where the run was stopped.

    Raises:
        UserError: The loss is not finite, an example cannot be read, or the folder cannot be written to.
    """
    settings, processes = trainer.settings, trainer.processes
    if resume:
        trainer.progress = load_checkpoint(folder / CHECKPOINT, trainer.state, trainer.device)
    progress, scores = trainer.progress, None
    callbacks = [TensorBoard(folder / "curves", settings.log_every), *callbacks] if processes.is_first else []

    for callback in callbacks:
        callback.on_start(progress.step, trainer.num_steps)
    intervals = [settings.checkpoint_every, settings.validate_every, settings.log_every]
    intervals.append(SYNCHRONIZE_EVERY.get(trainer.device.type, 1))
    steps = range(progress.step, trainer.num_steps)
    own_batches = example_batches(
        examples, steps, settings.batch_size, settings.accumulate, trainer.num_workers, processes
    )
    try:
        for batches in own_batches:
            losses, norm = trainer.step(batches)
            step, is_last = progress.step, progress.step == trainer.num_steps
            # Wait where something is saved, validated or logged, and now and then: all ranks stop if one is asked to.
            waits = is_last or step == 1 or any(step % every == 0 for every in intervals)
            is_stopped = waits and trainer.synchronize(stop_requested())
            for callback in callbacks:
                callback.on_step(step, losses, norm, trainer.lr)

            if validation and (is_last or step % settings.validate_every == 0):
                scores = _validate(trainer, validation, callbacks, folder, architecture)
            if processes.is_first and (is_last or is_stopped or step % settings.checkpoint_every == 0):
                save_checkpoint(folder / CHECKPOINT, trainer.state, progress)
                save_weights(folder / "last.safetensors", trainer.averaged, step, architecture)
            if is_stopped and not is_last:
                scores = None
                break
        processes.wait()
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        # PyTorch raises this wherever the main process happens to be, so that the state cannot be saved any more.
        raise UserError(
            f"a process that prepares examples was lost ({str(error).splitlines()[0]}); with too little memory, "
            "set fewer training.num_workers; resume=true continues from the last checkpoint"
        ) from None
    finally:
        own_batches.close()
        for callback in callbacks:
            callback.on_end()
    return scores


def _validate(
    trainer: Trainer, validation: Validation, callbacks: Sequence[Callback], folder: Path, architecture: str
) -> Scores | None:
    """Validates the averaged weights and saves them if they are the best so far; rank 0 returns the scores."""
    result = validation.after(trainer.averaged, str(trainer.device))  # each rank refines its share
    if result is None:
        return None
    for callback in callbacks:
        callback.on_validation(trainer.progress.step, result)

    progress, scores = trainer.progress, result.scores
    if scores.selection > progress.best:
        progress.best = scores.selection
        save_weights(folder / "best.safetensors", trainer.averaged, progress.step, architecture)
    return scores


def _check_width(network: nn.Module, device: torch.device) -> None:
    """Refuses a network that a CPU cannot train; see `MIN_CPU_CHANNELS`."""
    for name, module in network.named_modules() if device.type == "cpu" else ():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.in_channels < MIN_CPU_CHANNELS:
            expected = f"expected {MIN_CPU_CHANNELS} or more to train on a CPU"
            raise UserError(f"model: {expected}, {name} has {module.in_channels} input channels; use a wider network")


@torch.no_grad()
def update_average(averaged: nn.Module, network: nn.Module, decay: float, count: int) -> None:
    """Updates an average of weights after a step; it forgets faster while it is young.

    The numbers are those of `torch.optim.swa_utils.AveragedModel` with this average. That class keeps its count in a
    tensor and reads it from the device once for each tensor of the network: 1,050 waits a step for resnet101.

    Args:
        averaged: The network with averaged weights, changed in place.
        network: The network that is trained.
        decay: Share of the average that an update keeps once there have been many updates.
        count: Number of updates before; the first update copies.
    """
    decay = min(decay, (1 + count) / (10 + count)) if count else 0.0
    tensors = ([*module.parameters(), *module.buffers()] for module in (averaged, network))
    pairs = list(zip(*tensors, strict=True))
    floats = [(own, current) for own, current in pairs if own.is_floating_point()]
    torch._foreach_lerp_([own for own, _ in floats], [current for _, current in floats], 1 - decay)

    for own, current in pairs:
        if not own.is_floating_point():  # batch norms' counts of batches
            own.copy_(current)


def set_mode(network: nn.Module, batch_norm: BatchNormMode) -> None:
    """Puts a network into training mode, its batch norms only if they are live."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train(batch_norm == "live")

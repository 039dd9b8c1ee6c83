"""Hooks of a training run, and the one that writes TensorBoard's files."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from hpr.errors import UserError
from hpr.models.losses import Losses
from hpr.training.validation import ValidationResult


class Callback:
    """Hooks that rank 0 calls during training. By default they do nothing."""

    def on_start(self, step: int, num_steps: int) -> None:
        """Training starts, of `num_steps` steps, of which a run that is resumed has done `step` before."""

    def on_step(self, step: int, losses: Losses, gradient_norm: Tensor, lr: float) -> None:
        """A step is done. Its losses and the gradient's norm before clipping are on the device: reading them waits."""

    def on_validation(self, step: int, result: ValidationResult) -> None:
        """The averaged weights have been validated after a step."""

    def on_end(self) -> None:
        """Training ends, also by an error."""


class TensorBoard(Callback):
    """Writes losses, scores and pictures for TensorBoard.

    Every event is written at once: the thread of tensorboardX's `SummaryWriter` would block forever on a full disk.
    """

    def __init__(self, folder: Path, log_every: int) -> None:
        """Sets the folder, and the number of steps between two points of a curve."""
        self._folder, self._log_every = folder, log_every

    def on_start(self, step: int, num_steps: int) -> None:
        """See `Callback`; TensorBoard drops what an earlier run wrote after the checkpoint.

        Raises:
            UserError: The folder cannot be written to, here or in a later call.
        """
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        with self._writing():
            self._folder.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(str(self._folder / "events"))
            self._write(step, session_log=SessionLog(status=SessionLog.START))

    def on_step(self, step: int, losses: Losses, gradient_norm: Tensor, lr: float) -> None:
        if step % self._log_every == 0 or step == 1:
            self._write_scalars(step, part=losses.part, offset=losses.offset, gradient=gradient_norm, lr=lr)

    def on_validation(self, step: int, result: ValidationResult) -> None:
        from tensorboardX.summary import image

        # TensorBoard's library would report a NaN as if the training had made it.
        known = {name: value for name, value in result.scores.metrics.items() if not math.isnan(value)}
        self._write_scalars(step, **known)
        if result.picture is not None:
            self._write(step, summary=image("people", result.picture, dataformats="HWC"))

    def on_end(self) -> None:
        with suppress(OSError):  # all events have been written
            self._writer.close()

    def _write_scalars(self, step: int, **values: Tensor | float) -> None:
        from tensorboardX.summary import scalar

        for name, value in values.items():
            self._write(step, summary=scalar(name, float(value)))

    def _write(self, step: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        with self._writing():
            self._writer.write_event(Event(step=step, wall_time=time.time(), **content))
            self._writer.flush()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"{self._folder}: cannot be written ({error.strerror or error})") from None

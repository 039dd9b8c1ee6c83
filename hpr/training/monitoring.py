"""How the outside learns of a training under way."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, SupportsFloat

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import scalar
from torch import Tensor

from hpr.errors import UserError
from hpr.models.losses import Losses
from hpr.report.page import encoded_jpeg
from hpr.training.validation import Validated


class Monitor(Protocol):
    """Is told how a training goes, in the first process alone."""

    def on_start(self, step: int, steps: int) -> None:
        """The training begins.

        Args:
            step: Number of steps that an earlier run has done.
            steps: Number of steps in all.
        """

    def on_step(self, step: int, losses: Losses, gradient_norm: Tensor, rate: float) -> None:
        """A step is done.

        Args:
            step: Number of steps done.
            losses: Of the step, on the device: to look at them is to wait for it.
            gradient_norm: Length of the gradient, likewise.
            rate: Learning rate.
        """

    def on_validation(self, step: int, validated: Validated) -> None:
        """The averaged weights have been tried.

        Args:
            step: Number of steps done.
            validated: What they make of the held-out clips.
        """

    def on_end(self) -> None:
        """The training ends, whether all steps are done or not."""


class Several:
    """Passes on to several monitors, or to none."""

    def __init__(self, *monitors: Monitor) -> None:
        """Sets to which."""
        self._monitors = monitors

    def on_start(self, step: int, steps: int) -> None:
        """See `Monitor`."""
        for monitor in self._monitors:
            monitor.on_start(step, steps)

    def on_step(self, step: int, losses: Losses, gradient_norm: Tensor, rate: float) -> None:
        """See `Monitor`."""
        for monitor in self._monitors:
            monitor.on_step(step, losses, gradient_norm, rate)

    def on_validation(self, step: int, validated: Validated) -> None:
        """See `Monitor`."""
        for monitor in self._monitors:
            monitor.on_validation(step, validated)

    def on_end(self) -> None:
        """See `Monitor`."""
        for monitor in self._monitors:
            monitor.on_end()


class Curves:
    """Writes curves for TensorBoard, at once: tensorboardX's own thread would block for ever on a full disk."""

    def __init__(self, folder: Path, log_every: int) -> None:
        """Sets the folder and every how many steps a point is written."""
        self._folder, self._log_every = folder, log_every

    def on_start(self, step: int, steps: int) -> None:
        """See `Monitor`. Curves of the steps after the checkpoint are dropped where a run goes on.

        Raises:
            UserError: The folder cannot be written to; likewise below.
        """
        with self._writing():
            self._folder.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(str(self._folder / "events"))
            self._writer.write_event(Event(step=step, session_log=SessionLog(status=SessionLog.START)))

    def on_step(self, step: int, losses: Losses, gradient_norm: Tensor, rate: float) -> None:
        """See `Monitor`."""
        if step % self._log_every == 0 or step == 1:
            self._write(step, part=losses.part, offset=losses.offset, gradient=gradient_norm, rate=rate)

    def on_validation(self, step: int, validated: Validated) -> None:
        """See `Monitor`."""
        self._write(step, **validated.scores.metrics)
        if validated.people is not None:
            height, width, _ = validated.people.shape
            content = encoded_jpeg(validated.people)
            image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=content)
            self._write_summary(step, Summary(value=[Summary.Value(tag="people", image=image)]))

    def on_end(self) -> None:
        """See `Monitor`."""
        with suppress(OSError):  # all points have been written
            self._writer.close()

    def _write(self, step: int, **values: SupportsFloat) -> None:
        for name, value in values.items():
            self._write_summary(step, scalar(name, float(value)))

    def _write_summary(self, step: int, summary: Summary) -> None:
        with self._writing():
            self._writer.write_event(Event(step=step, wall_time=time.time(), summary=summary))
            self._writer.flush()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"{self._folder}: cannot be written ({error.strerror or error})") from None

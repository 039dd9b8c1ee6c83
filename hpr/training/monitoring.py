"""How the outside learns of a training under way."""

from pathlib import Path
from typing import Protocol, SupportsFloat

from tensorboardX import SummaryWriter

from hpr.evaluation.comparison import ObjectiveScores
from hpr.models.losses import Losses


class Monitor(Protocol):
    """Is told how a training goes, in the first process alone."""

    def on_start(self, step: int, steps: int) -> None:
        """The training begins.

        Args:
            step: Number of steps that an earlier run has done.
            steps: Number of steps in all.
        """

    def on_step(self, step: int, losses: Losses, gradient_norm: float, rate: float) -> None:
        """A step is done.

        Args:
            step: Number of steps done.
            losses: Of the step, on the device: to look at them is to wait for it.
            gradient_norm: Length of the gradient.
            rate: Learning rate.
        """

    def on_validation(self, step: int, scores: ObjectiveScores) -> None:
        """The averaged weights have been scored.

        Args:
            step: Number of steps done.
            scores: Of the refined poses.
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

    def on_step(self, step: int, losses: Losses, gradient_norm: float, rate: float) -> None:
        """See `Monitor`."""
        for monitor in self._monitors:
            monitor.on_step(step, losses, gradient_norm, rate)

    def on_validation(self, step: int, scores: ObjectiveScores) -> None:
        """See `Monitor`."""
        for monitor in self._monitors:
            monitor.on_validation(step, scores)

    def on_end(self) -> None:
        """See `Monitor`."""
        for monitor in self._monitors:
            monitor.on_end()


class Curves:
    """Writes curves for TensorBoard."""

    def __init__(self, folder: Path, log_every: int) -> None:
        """Sets the folder and every how many steps a point is written."""
        self._folder, self._log_every = folder, log_every

    def on_start(self, step: int, steps: int) -> None:
        """See `Monitor`. Curves of the steps after the checkpoint are dropped where a run goes on."""
        self._writer = SummaryWriter(str(self._folder), purge_step=step)

    def on_step(self, step: int, losses: Losses, gradient_norm: float, rate: float) -> None:
        """See `Monitor`."""
        if step % self._log_every == 0 or step == 1:
            self._write(step, part=losses.part, offset=losses.offset, gradient=gradient_norm, rate=rate)

    def on_validation(self, step: int, scores: ObjectiveScores) -> None:
        """See `Monitor`."""
        self._write(step, mAP=scores.mean_ap, MOTA=scores.mota, PCKh=scores.pckh)

    def on_end(self) -> None:
        """See `Monitor`."""
        self._writer.close()

    def _write(self, step: int, **values: SupportsFloat) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, float(value), step)

"""What a training has come through, for people to look at: pictures of the same people, and a page."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from hpr.errors import UserError
from hpr.metrics.comparison import TrainingScores
from hpr.files import read_json, write_json
from hpr.images import read_image
from hpr.models.losses import Losses
from hpr.report.charts import Points, lines_svg
from hpr.report.drawing import save_jpeg
from hpr.report.page import SHEET_SIDE, Chart, Fact, Page, Panel, Picture, Section, Table, panel, save_page
from hpr.report.tables import number
from hpr.training.validation import Validated

_PICTURES, _POINTS = 6, 400
"""How many pictures over time a page has, and how many points a curve."""


@dataclass
class _Record:
    """What is kept in the run's folder, so that a run that goes on has all of it.

    Attributes:
        losses: Step, part loss and offset loss.
        scores: Step, then a score for each metric.
    """

    losses: list[list[float]] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)

    def until(self, step: int) -> "_Record":
        """Returns what was recorded up to a step."""
        return _Record(*([row for row in rows if row[0] <= step] for rows in (self.losses, self.scores)))


class History:
    """Keeps losses, scores and pictures of a run, and writes its page at each validation and at the end."""

    def __init__(self, folder: Path, what: str, before: TrainingScores, log_every: int) -> None:
        """Prepares for a run.

        Args:
            folder: Of the run; `report.html`, `history.json` and `pictures` are written to it.
            what: Is trained, in a few words.
            before: Scores of the estimates as they are.
            log_every: Every how many steps the losses are kept.
        """
        self._folder, self._what, self._before, self._log_every = folder, what, before, log_every
        self._record, self._steps = _Record(), 0

    def on_start(self, step: int, steps: int) -> None:
        """See `training.monitoring.Monitor`. What came after the checkpoint is dropped where a run goes on."""
        path, columns = self._folder / "history.json", 1 + len(self._before.metrics)
        self._record = _read(path, columns).until(step) if step else _Record()
        self._steps = steps
        known = {self._picture(scored) for scored in self._scored}
        for path in (self._folder / "pictures").glob("step_*.jpg"):
            if path not in known:
                with suppress(OSError):
                    path.unlink()

    def on_step(self, step: int, losses: Losses, gradient_norm: Tensor, rate: float) -> None:
        """See `training.monitoring.Monitor`."""
        if step % self._log_every == 0 or step == 1:
            self._record.losses.append([step, losses.part.item(), losses.offset.item()])

    def on_validation(self, step: int, validated: Validated) -> None:
        """See `training.monitoring.Monitor`.

        Raises:
            UserError: The folder cannot be written to.
        """
        self._record.scores.append([step, *validated.scores.metrics.values()])
        if validated.people is not None:
            save_jpeg(validated.people, self._picture(step))
        self._write()

    def on_end(self) -> None:
        """See `training.monitoring.Monitor`."""
        with suppress(UserError):  # what may have ended the training is what is to be said
            self._write()

    @property
    def _scored(self) -> list[int]:
        """The steps at which the network was validated."""
        return [int(row[0]) for row in self._record.scores]

    def _picture(self, step: int) -> Path:
        return self._folder / "pictures" / f"step_{step:06d}.jpg"

    def _write(self) -> None:
        write_json(self._folder / "history.json", {"losses": self._record.losses, "scores": self._record.scores})
        save_page(self._page(), self._folder / "report.html")

    def _page(self) -> Page:
        losses, scores = self._record.losses, self._record.scores
        done = max([0.0, *(row[0] for row in losses + scores)])
        facts = [Fact(f"{done:,.0f} of {self._steps:,}", "steps")]
        for name, before, latest in self._latest():
            facts.append(Fact(f"{number(before)} → {number(latest)}", name, number(latest - before, sign=True)))
        sections = [self._scores_section(), self._losses_section(), *self._people_sections()]
        return Page("Training", f"{self._what}; run {self._folder}", facts, [], sections)

    def _latest(self) -> list[tuple[str, float, float]]:
        """Returns each metric's name and its values for the estimates and at the last validation."""
        if not self._record.scores:
            return []
        latest = self._record.scores[-1][1:]
        before = self._before.metrics
        return list(zip(before, before.values(), latest, strict=True))

    def _scores_section(self) -> Section:
        title, scores = "Scores of the validation", self._record.scores
        if not scores:
            return Section(title, ["The network was not validated yet."])
        curves = {name: _points(scores, column) for column, name in enumerate(self._before.metrics, 1)}
        rows = []
        for name, before, latest in self._latest():
            rows.append((name, number(before), number(latest), number(latest - before, sign=True)))
        table = Table(f"After {scores[-1][0]:,.0f} steps (%)", ("", "input", "refined", "difference"), rows)
        return Section(title, charts=[Chart("Refined, over time", lines_svg(curves, "%", "steps"))], tables=[table])

    def _losses_section(self) -> Section:
        losses = self._record.losses
        if not losses:
            return Section("Losses", ["No step was done."])
        charts = []
        for column, name in enumerate(("part", "offset"), 1):
            charts.append(Chart(f"{name.capitalize()} loss", lines_svg({name: _points(losses, column)}, "", "steps")))
        return Section("Losses", charts=charts)

    def _people_sections(self) -> list[Section]:
        """Returns pictures of the same people over time, the latest first."""
        steps = [step for step in self._scored if self._picture(step).is_file()]
        panels = [found for step in _spread(steps, _PICTURES) if (found := _panel(self._picture(step), step))]
        pictures = [Picture(panel.label, panels=[panel], is_sheet=True) for panel in reversed(panels)]
        return [Section("The same people over time", pictures=pictures)] if pictures else []


def _read(path: Path, columns: int) -> _Record:
    """Reads what an earlier run has kept; nothing where it is absent or damaged, which costs curves and no more.

    Args:
        path: The file.
        columns: Of the rows of scores.
    """
    try:
        content = read_json(path)
        losses, scores = (_rows(content[name], length) for name, length in (("losses", 3), ("scores", columns)))
    except (UserError, KeyError, TypeError, ValueError):
        return _Record()
    return _Record(losses, scores)


def _rows(content: Any, length: int) -> list[list[float]]:
    rows = [list(row) for row in content]
    if any(len(row) != length or not all(isinstance(value, int | float) for value in row) for row in rows):
        raise ValueError("not what was written")
    return rows


def _points(rows: Sequence[Sequence[float]], column: int) -> Points:
    """Returns a column of rows by their step."""
    return [(row[0], row[column]) for row in _spread(rows, _POINTS)]


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """Returns so many of some items, evenly spread, with the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(number * (len(items) - 1) / (most - 1))] for number in range(most)]


def _panel(path: Path, step: int) -> Panel | None:
    try:
        return panel(f"step {step:,}", read_image(path), SHEET_SIDE)
    except UserError:  # somebody's hand
        return None

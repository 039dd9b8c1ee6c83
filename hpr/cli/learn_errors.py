"""Measure mistakes: hpr-learn-errors, python tools/learn_errors.py dataset.annotations=DIR dataset.predictions=DIR."""

import re
import shlex
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from hpr.cli import app
from hpr.cli.progress import progress_bar
from hpr.cli.settings import PredictionSettings, Section
from hpr.errors import UserError
from hpr.metrics.frame_pairs import frame_pairs
from hpr.metrics.posetrack import FilesByName
from hpr.files import replacing
from hpr.formats import Format
from hpr.report.tables import format_table, number
from hpr.pose_errors.measure import ErrorCounter, ErrorRates
from hpr.pose_errors.draw import KEYPOINT_KINDS

_GROUP = "pose_errors"
"""The folder in which Hydra looks for what train.py's setting of that name can be."""


class LearnErrorsSettings(Section):
    """conf/learn_errors.yaml; the model or objective that a data set brings plays no part."""

    dataset: PredictionSettings
    model: dict[str, Any] | None = None
    objective: dict[str, Any] | None = None
    output: str


def learn_errors(settings: LearnErrorsSettings) -> ErrorRates:
    """Measures the mistakes, prints and writes them, says how to train with them, and returns them."""
    output, dataset = _checked_output(settings.output), settings.dataset
    if dataset.annotations is None:
        raise UserError("dataset.annotations is not set; add dataset.annotations=DIR to the command")
    file_format: Format = app.build("dataset.format", dataset.format)
    with progress_bar("files", doing="measuring") as progress:
        predictions = FilesByName(file_format, Path(dataset.predictions))
        found = frame_pairs(file_format, dataset.annotations, predictions, dataset.predictions, progress)

    counter = ErrorCounter()
    for truth, predicted in found.pairs:
        counter.add(truth, predicted)
    try:
        rates = counter.rates()
    except UserError as error:
        raise UserError(f"{dataset.predictions} and {dataset.annotations}: {error}") from None

    for warning in found.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    with replacing(output) as temporary:
        temporary.write_text(_text(rates, dataset, _command(output)))
    _print(rates)
    print(f"\nwrote {output}; train with it by\n  {_command(output)}")
    return rates


def _checked_output(text: str) -> Path:
    """Returns where to write to.

    Raises:
        UserError: train.py would not find it there.
    """
    path = Path(text)
    if path.absolute().parent.name != _GROUP or not re.fullmatch(r"[A-Za-z][\w-]*\.yaml", path.name):
        expected = f"expected a .yaml file in a folder named {_GROUP}, such as output/{_GROUP}/learnt.yaml"
        raise UserError(f"output={text}: {expected}; train.py looks for it there")
    if files("hpr.conf").joinpath(_GROUP, path.name).is_file():
        raise UserError(f"output={text}: hpr has {_GROUP} of that name, which train.py would take; choose another name")
    return path


def _command(output: Path) -> str:
    """Returns how to train with a file."""
    return f"python train.py --config-dir {shlex.quote(str(output.parent.parent))} {_GROUP}={output.stem}"


def _text(rates: ErrorRates, dataset: PredictionSettings, command: str) -> str:
    """Returns the content of a file that the command trains with."""
    lines = [
        f"# {_in_a_line(command)}",
        f"# Measured by tools/learn_errors.py: {rates.matched_people} estimates of {rates.true_people} people.",
        f"# predictions: {_in_a_line(dataset.predictions)}",
        f"# annotations: {_in_a_line(dataset.annotations)}",
        "_target_: hpr.pose_errors.draw.PoseErrors",
    ]
    return "\n".join([*lines, *(f"{name}: {_value(value)}" for name, value in rates.arguments.items()), ""])


def _in_a_line(value: object) -> str:
    return " ".join(str(value).split())


def _value(value: float | Mapping[str, float]) -> str:
    """Returns a number, or a table of numbers, as YAML."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {_value(own)}' for name, own in value.items())}}}"
    return str(value)


def _print(rates: ErrorRates) -> None:
    """Prints what was measured."""
    rows = [["%", *rates.tables, "keypoints"]]
    for kind in KEYPOINT_KINDS:
        rows.append([kind, *(_percent(table[kind]) for table in rates.tables.values()), str(rates.counts[kind])])
    print(format_table(rows))

    print(f"\n{rates.matched_people} of {rates.true_people} people have an estimate")
    shares = ", ".join(f"{name} {_percent(share)}%" for name, share in rates.people.items())
    factors = ", ".join(f"{name} {value:.2g}" for name, value in rates.factors.items())
    print(f"{shares}\n{factors}")
    scores = ", ".join(f"{name} {value:.2f}" for name, value in rates.scores.items())
    known = "" if rates.has_scores else " (plausible ones: no scores from 0 to 1 were found)"
    print(f"scores: {scores}, spread {rates.score_spread:.2f}{known}")


def _percent(share: float) -> str:
    return number(100 * share)


COMMAND = app.Command("learn_errors", LearnErrorsSettings, learn_errors)

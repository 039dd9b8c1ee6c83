"""`hpr learn-errors`: measure the mistakes of a pose estimator, to train a refiner on them."""

import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from hpr.cli import app
from hpr.cli.components import build
from hpr.cli.progress import progress_bar, warn
from hpr.cli.settings import PredictionSettings, ScoringSettings
from hpr.errors import UserError
from hpr.files import replacing
from hpr.formats import Format
from hpr.metrics.scoring import open_truth
from hpr.metrics.truth import FilesByName
from hpr.pose_errors.draw import KEYPOINT_KINDS
from hpr.pose_errors.measure import ErrorCounter, ErrorRates
from hpr.report.tables import format_table, number

_GROUP = "pose_errors"  # folder in which Hydra looks for the choices of the setting of that name


class LearnErrorsSettings(ScoringSettings):
    """conf/learn_errors.yaml."""

    output: str


def learn_errors(settings: LearnErrorsSettings) -> None:
    """Measures the mistakes, prints and writes them, and says how to train with them."""
    dataset, annotations, output = settings.dataset, settings.annotations(), _check_output(settings.output)
    file_format: Format = build("dataset.format", dataset.format)
    with progress_bar("files", doing="measuring") as progress:
        truth = open_truth(file_format, annotations)
        pairs, warnings = truth.pairs(FilesByName(file_format, Path(dataset.predictions)), progress)

    counter = ErrorCounter()
    for pair in pairs:
        counter.add(pair.truth, pair.estimate)
    try:
        rates = counter.rates()
    except UserError as error:
        raise UserError(f"{dataset.predictions} and {annotations}: {error}") from None

    command = f"hpr train --config-dir {shlex.quote(str(output.parent.parent))} {_GROUP}={output.stem}"
    with replacing(output) as temporary:
        temporary.write_text(_as_yaml(rates, dataset, command))

    warn(*warnings, file=sys.stderr)
    _print_rates(rates)
    print(f"\nwrote {output}; train with it by\n  {command}")


def _check_output(output: str) -> Path:
    """Returns the path to write to; refuses one where `hpr train` would not find the file."""
    path = Path(output)
    if path.absolute().parent.name != _GROUP or not re.fullmatch(r"[A-Za-z][\w-]*\.yaml", path.name):
        expected = f"expected a .yaml file in a folder named {_GROUP}, such as output/{_GROUP}/learnt.yaml"
        raise UserError(f"output={output}: {expected}; hpr train looks for it there")
    if (app.CONF / _GROUP / path.name).is_file():
        raise UserError(f"output={output}: hpr has {_GROUP} of that name, which hpr train would use; take another name")
    return path


def _as_yaml(rates: ErrorRates, dataset: PredictionSettings, command: str) -> str:
    """Returns the content of the file that the command trains with."""
    comments = [
        command,
        f"Measured by hpr learn-errors: {rates.matched_people} estimates of {rates.true_people} people.",
        f"predictions: {dataset.predictions}",
        f"annotations: {dataset.annotations}",
    ]
    lines = [f"# {' '.join(comment.split())}" for comment in comments]

    lines.append("_target_: hpr.pose_errors.draw.PoseErrors")
    for name, value in rates.arguments.items():
        is_table = isinstance(value, Mapping)
        text = f"{{{', '.join(f'{kind}: {rate}' for kind, rate in value.items())}}}" if is_table else value
        lines.append(f"{name}: {text}")
    return "\n".join([*lines, ""])


def _print_rates(rates: ErrorRates) -> None:
    """Prints the rates: a table by kind of keypoint, then those of whole people, factors and scores."""
    rows = [["%", *rates.tables, "keypoints"]]
    for kind in KEYPOINT_KINDS:
        percentages = (number(100 * table[kind]) for table in rates.tables.values())
        rows.append([kind, *percentages, str(rates.counts[kind])])
    print(format_table(rows))

    print(f"\n{rates.matched_people} of {rates.true_people} people have an estimate")
    print(", ".join(f"{name} {number(100 * share)}%" for name, share in rates.people.items()))
    print(", ".join(f"{name} {value:.2g}" for name, value in rates.factors.items()))
    scores = ", ".join(f"{name} {value:.2f}" for name, value in rates.scores.items())
    known = "" if rates.has_scores else " (plausible ones: no scores from 0 to 1 were found)"
    print(f"scores: {scores}, spread {rates.score_spread:.2f}{known}")


COMMAND = app.Command("learn_errors", LearnErrorsSettings, learn_errors)

"""Score predictions: hpr-evaluate, python tools/evaluate.py dataset.annotations=DIR dataset.predictions=DIR."""

import sys
from pathlib import Path
from typing import Any

from hpr.cli import app
from hpr.cli.progress import progress_bar
from hpr.cli.settings import PredictionSettings, Section
from hpr.errors import UserError
from hpr.metrics.comparison import Scores, score_table
from hpr.metrics.posetrack import Evaluation, FilesByName, table
from hpr.metrics.scoring import compared
from hpr.files import write_json
from hpr.formats import Format


class EvaluateSettings(Section):
    """conf/evaluate.yaml; the model or objective that a data set brings plays no part."""

    dataset: PredictionSettings
    model: dict[str, Any] | None = None
    objective: dict[str, Any] | None = None
    output: str | None


def evaluate(settings: EvaluateSettings) -> Scores:
    """Scores the predictions, prints the table, writes the scores if the settings say where, and returns them."""
    dataset = settings.dataset
    if dataset.annotations is None:
        raise UserError("dataset.annotations is not set; add dataset.annotations=DIR to the command")
    file_format: Format = app.build("dataset.format", dataset.format)
    with progress_bar("sequences", doing="scoring") as progress:
        predicted = FilesByName(file_format, Path(dataset.predictions))
        scores = compared(file_format, dataset.annotations, predicted, dataset.predictions, progress).before
    if settings.output is not None:
        write_json(Path(settings.output), scores.as_json(), indent=4)

    for warning in scores.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(table(scores) if isinstance(scores, Evaluation) else score_table(scores))
    if settings.output is not None:
        print(f"\nwrote {settings.output}")
    return scores


COMMAND = app.Command("evaluate", EvaluateSettings, evaluate)

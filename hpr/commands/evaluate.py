"""Score predictions: hpr-evaluate, python tools/evaluate.py dataset.annotations=DIR dataset.predictions=DIR."""

import sys
from pathlib import Path
from typing import Any

from hpr.commands import app
from hpr.commands.progress import progress_bar
from hpr.commands.settings import PredictionSettings, Section
from hpr.errors import UserError
from hpr.evaluation.posetrack import Evaluation, evaluate_files, table
from hpr.files import write_json


class EvaluateSettings(Section):
    """conf/evaluate.yaml; the model that dataset=sample brings plays no part."""

    dataset: PredictionSettings
    model: dict[str, Any] | None = None
    output: str | None


def evaluate(settings: EvaluateSettings) -> Evaluation:
    """Scores the predictions, prints the table, writes the scores if the settings say where, and returns them."""
    dataset = settings.dataset
    if dataset.annotations is None:
        raise UserError("dataset.annotations is not set; add dataset.annotations=DIR to the command")
    file_format = app.build("dataset.format", dataset.format)
    with progress_bar("sequences", doing="scoring") as progress:
        evaluation = evaluate_files(file_format, Path(dataset.annotations), Path(dataset.predictions), progress)
    if settings.output is not None:
        write_json(Path(settings.output), evaluation.as_json(), indent=4)

    for warning in evaluation.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(table(evaluation))
    if settings.output is not None:
        print(f"\nwrote {settings.output}")
    return evaluation


COMMAND = app.Command("evaluate", EvaluateSettings, evaluate)

"""`hpr evaluate`: score predictions against annotations."""

import math
import sys
from pathlib import Path

from hpr.cli import app
from hpr.cli.components import build
from hpr.cli.progress import progress_bar, warn
from hpr.cli.settings import ScoringSettings
from hpr.files import write_json
from hpr.formats import Format
from hpr.metrics.scoring import open_truth
from hpr.metrics.truth import FilesByName
from hpr.report.tables import score_table


class EvaluateSettings(ScoringSettings):
    """conf/evaluate.yaml."""

    output: str | None


def evaluate(settings: EvaluateSettings) -> int:
    """Scores the predictions, prints the scores and, if `output` is set, writes all of them to a file.

    Returns:
        The exit status: 3 if there is no score, since nobody is annotated, else 0.
    """
    dataset, annotations = settings.dataset, settings.annotations()
    file_format: Format = build("dataset.format", dataset.format)
    predictions = FilesByName(file_format, Path(dataset.predictions))
    with progress_bar("files", doing="scoring") as progress:
        scores = open_truth(file_format, annotations).score(predictions, progress)
    if settings.output is not None:
        write_json(Path(settings.output), scores.as_json(), indent=4)

    warn(*scores.warnings, file=sys.stderr)
    print(score_table(scores))
    if settings.output is not None:
        print(f"\nwrote {settings.output}")
    return 3 if math.isnan(scores.selection) else 0


COMMAND = app.Command("evaluate", EvaluateSettings, evaluate)

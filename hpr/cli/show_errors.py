"""Draw the mistakes that training makes in true poses: hpr-show-errors, python tools/show_errors.py."""

from pathlib import Path

from hpr.settings import Seed
from hpr.cli import app
from hpr.cli.settings import Component, Section
from hpr.report.drawing import save_jpeg
from hpr.training.gallery import mistakes_picture


class ShowErrorsSettings(Section):
    """conf/show_errors.yaml."""

    pose_errors: Component
    seed: Seed
    output: str


def show_errors(settings: ShowErrorsSettings) -> None:
    """Draws and writes the picture."""
    errors = app.build("pose_errors", settings.pose_errors)
    save_jpeg(mistakes_picture(errors, settings.seed), Path(settings.output))
    print(f"wrote {settings.output}")


COMMAND = app.Command("show_errors", ShowErrorsSettings, show_errors)

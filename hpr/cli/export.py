"""Write a network as an ONNX file: hpr-export, python tools/export.py [model=demo] [output=…] [size=[H,W]]."""

import math
from pathlib import Path
from typing import Annotated

from pydantic import Field

from hpr.settings import CanvasSide
from hpr.cli import app
from hpr.cli.settings import ModelSettings, Section
from hpr.crops import MAX_CROP_PIXELS
from hpr.errors import UserError
from hpr.models.export import Exported
from hpr.models.export import export as export_network
from hpr.models.loading import load_network
from hpr.skeleton import get_skeleton


class ExportSettings(Section):
    """conf/export.yaml."""

    model: ModelSettings
    output: str
    size: Annotated[list[CanvasSide], Field(min_length=2, max_length=2)] | None


def export(settings: ExportSettings) -> Exported:
    """Writes the file, prints how far it is from PyTorch and returns that.

    Raises:
        UserError: The crops are too large, there are no such weights, a library is missing, or the file cannot be
            written.
    """
    model, path = settings.model, Path(settings.output)
    if settings.size is not None and math.prod(settings.size) > MAX_CROP_PIXELS:
        height, width = settings.size
        raise UserError(f"size=[{height},{width}]: expected {MAX_CROP_PIXELS:,} pixels or fewer")
    if model.weights is None:
        raise UserError("model.weights=null: expected a file of weights to export")
    network = load_network(Path(model.weights), model.architecture, get_skeleton(model.skeleton), model.input)
    exported = export_network(network, path, settings.size)

    sizes = ", ".join(f"{height}×{width}" for height, width in exported.crops)
    print(f"{'wrote':<12} {path} ({exported.bytes / 1e6:.1f} MB)")
    print(f"{'compared':<12} ONNX Runtime with PyTorch, crops of {sizes}")
    largest = f"{exported.probability:.1e} of a probability, {exported.offset:.1e} px of an offset"
    print(f"{'differences':<12} at most {largest}")
    return exported


COMMAND = app.Command("export", ExportSettings, export)

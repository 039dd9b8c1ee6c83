"""`hpr export`: write a network as an ONNX file."""

import math
from pathlib import Path

from hpr.cli import app
from hpr.cli.settings import CanvasSize, ModelSettings
from hpr.crops import MAX_CROP_PIXELS
from hpr.errors import UserError
from hpr.models.checkpoints import load_network
from hpr.models.export import export as export_network
from hpr.settings import Section
from hpr.skeleton import get_skeleton


class ExportSettings(Section):
    """conf/export.yaml."""

    model: ModelSettings
    output: str
    size: CanvasSize | None


def export(settings: ExportSettings) -> None:
    """Writes the file and prints how far its results are from PyTorch's.

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
    largest = f"{exported.probability:.1e} of a probability, {exported.offset:.1e} px of an offset"
    print(f"{'wrote':<12} {path} ({path.stat().st_size / 1e6:.1f} MB)")
    print(f"{'compared':<12} ONNX Runtime with PyTorch, crops of {sizes}")
    print(f"{'differences':<12} at most {largest}")


COMMAND = app.Command("export", ExportSettings, export)

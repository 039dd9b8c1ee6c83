"""`hpr port`: turn a TensorFlow checkpoint into a safetensors file."""

from pathlib import Path

from hpr.cli import app
from hpr.models import tensorflow
from hpr.settings import Section


class PortSettings(Section):
    """conf/port.yaml."""

    checkpoint: str
    output: str | None


def port(settings: PortSettings) -> None:
    """Ports the checkpoint and prints what became of its variables."""
    checkpoint = Path(settings.checkpoint)
    output = Path(settings.output) if settings.output else tensorflow.default_output(checkpoint)
    ported = tensorflow.port(checkpoint, output)

    provenance = ported.provenance
    print(f"{provenance.kind:<12} {provenance.architecture}, step {provenance.step}")
    print(f"{'ported':<12} {ported.used} variables, {ported.size:,} numbers")
    print(f"{'left out':<12} {ported.optimizer_slots} optimizer slots")
    if ported.unused:
        print(f"{'':<12} {', '.join(ported.unused)}")
    print(f"{'wrote':<12} {output}")


COMMAND = app.Command("port", PortSettings, port)

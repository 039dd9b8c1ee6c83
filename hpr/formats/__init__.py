"""Files of poses: one module per format, each with a reader and a writer."""

from pathlib import Path
from typing import Protocol

from hpr.formats.posetrack17 import PoseTrack17
from hpr.formats.posetrack18 import PoseTrack18
from hpr.poses import Sequence

__all__ = ["Format", "PoseTrack17", "PoseTrack18"]


class Format(Protocol):
    """What every format can do."""

    def read(self, path: Path, scoring: bool = False) -> Sequence:
        """Reads a file: what can be refined, or what is scored."""

    def write(self, sequence: Sequence, path: Path) -> None:
        """Writes a sequence that `read` returned, with the poses it holds now."""

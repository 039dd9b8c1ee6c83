"""Files of poses: one module per format. No other module knows how a file is built."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from hpr.errors import UserError
from hpr.files import read_json
from hpr.formats.posetrack17 import PoseTrack17
from hpr.formats.posetrack18 import PoseTrack18
from hpr.poses import PoseSequence

__all__ = ["FORMATS", "Format", "PoseTrack17", "PoseTrack18", "pose_files", "recognise"]


class Format(Protocol):
    """What every format can do.

    Attributes:
        removes_unposed: Whether refining removes people without a present keypoint, as the published code does in
            files of this format.
    """

    removes_unposed: bool

    def recognises(self, document: object) -> bool:
        """Returns whether parsed JSON looks like a file of this format."""

    def read(self, path: Path) -> list[PoseSequence]:
        """Reads a file as it is.

        Raises:
            UserError: The file is absent, broken or of another format.
        """

    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        """Writes the sequences of one file.

        Onto the original where `read` returned them: of people whose keypoints, scores or flags have changed these are
        written, all other people and fields are carried over, and people who are not in their frame any more are left
        out. From scratch otherwise.

        Raises:
            UserError: The file cannot be written.
        """


FORMATS: dict[str, Format] = {"posetrack18": PoseTrack18(), "posetrack17": PoseTrack17()}


def recognise(path: Path) -> str:
    """Returns the name of the format that a file is in.

    Raises:
        UserError: The file is absent, not JSON or of no known format.
    """
    document = read_json(path)
    for name, file_format in FORMATS.items():
        if file_format.recognises(document):
            return name
    raise UserError(f"{path}: expected a file of one of {', '.join(FORMATS)}, found none of them")


def pose_files(location: Path) -> list[Path]:
    """Returns the .json files of a folder in the order of their names; of a file, itself.

    Raises:
        UserError: There is no such folder, or no .json file in it.
    """
    if location.is_file():
        return [location]
    if not location.is_dir():
        raise UserError(f"{location}: no such file or folder; expected a folder of .json files, or one such file")
    paths = sorted(location.glob("*.json"))
    if not paths:
        count = sum(1 for _ in location.iterdir())
        raise UserError(f"{location}: expected .json files in it, found none in {count} entries")
    return paths

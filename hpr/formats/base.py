"""What every format of pose files can do, and which files of a location are its sources."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from hpr.errors import UserError
from hpr.poses import PoseSequence
from hpr.skeleton import Skeleton


class Format(ABC):
    """What every format can do.

    A source is what `read` reads and `write` writes at once: a file, or a folder that has a file for each image.

    Attributes:
        name: What configurations call the format.
        looks_like: What a source is, in a few words, for people whose files were not recognised.
        removes_unposed: Whether refining removes people without a present keypoint, as the published code does.
        skeletons: Those that a source can be in; the first is that of what is written from scratch.
        ending: Ending of the files.
        is_folder: Whether what is written from scratch is a folder with a file for each image.
        metric: How poses of this format are scored: "posetrack", "oks" or "pckh".
        reads_beside: What the constructor takes: "annotations", a file of ground truth with the names of the images,
            "images", where the images are, whose sizes normalised coordinates need, and "orientation" of these.
        upright: Whether the programs that write this format read images by OpenCV, turned as EXIF says.
        takes_skeleton: Whether files do not name their keypoints, or not all.
        skeleton: What the user says that the keypoints are; None for what the files say, else by their number.
    """

    name: ClassVar[str]
    looks_like: ClassVar[str]
    removes_unposed: ClassVar[bool] = False
    skeletons: ClassVar[tuple[Skeleton, ...]]
    ending: ClassVar[str] = ".json"
    is_folder: ClassVar[bool] = False
    metric: ClassVar[str]
    reads_beside: ClassVar[tuple[str, ...]] = ()
    upright: ClassVar[bool] = False
    takes_skeleton: ClassVar[bool] = False
    skeleton: Skeleton | None = None

    def sources(self, location: Path) -> list[Path]:
        """Returns the sources in a location that a user names: the file itself, or the files of a folder.

        Raises:
            UserError: There is none.
        """
        return pose_files(location, self.ending)

    def output_name(self, source: Path) -> str:
        """Returns the name of the file or folder that the refined poses of a source are written to."""
        return source.name

    @staticmethod
    @abstractmethod
    def recognises(path: Path, document: object) -> bool:
        """Returns whether a file, or the first one of a folder, looks like this format; the document is its JSON."""

    @abstractmethod
    def read(self, path: Path) -> list[PoseSequence]:
        """Reads a source as it is.

        Raises:
            UserError: The source is absent, broken or of another format.
        """

    def read_whole_parts(self, path: Path, broken: list[str]) -> list[PoseSequence]:
        """Reads a source without its broken files, if it has several; `broken` receives what is wrong with each.

        Raises:
            UserError: As for `read`, if nothing else is left.
        """
        del broken
        return self.read(path)

    def read_annotated(self, path: Path) -> list[PoseSequence]:
        """Reads ground truth: as `read`, with ignore regions also for crowds and people without keypoints.

        Raises:
            UserError: The source is absent, broken or of another format.
        """
        return self.read(path)

    @abstractmethod
    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        """Writes the sequences of one source.

        Sequences that `read` returned are written onto the original, all others from scratch (docs/notes/formats.md).

        Raises:
            UserError: The source cannot be written.
        """


def pose_files(location: Path, ending: str = ".json") -> list[Path]:
    """Returns the files of a folder that have an ending, in the order of their names; a file is returned itself.

    Raises:
        UserError: There is no such folder, or no such file in it.
    """
    if location.is_file():
        return [location]
    if not location.is_dir():
        raise UserError(f"{location}: no such file or folder; expected a folder of {ending} files, or one such file")

    paths = sorted(location.glob(f"*{ending}"))
    if not paths:
        count = sum(1 for _ in location.iterdir())
        raise UserError(f"{location}: expected {ending} files in it, found none in {count} entries")
    return paths

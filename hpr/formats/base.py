"""What every format of pose files can do."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from hpr.formats.sources import pose_files
from hpr.poses import PoseSequence
from hpr.skeleton import Skeleton


class Format(ABC):
    """What every format can do.

    A source is what `read` reads and `write` writes at once: a file, or a folder that has a file for each image.

    Attributes:
        name: What configurations call it.
        looks_like: What a source is, in a few words, for people whose files were not recognised.
        removes_unposed: Whether refining removes people without a present keypoint, as the published code does in
            files of this format.
        skeletons: Those that a source can be in; the first is that of what is written from scratch.
        ending: Of the files.
        is_folder: Whether what is written from scratch is a folder with a file for each image.
        metric: How its poses are scored: "posetrack", "oks" or "pckh".
        reads_beside: What the constructor takes: "annotations", a file of ground truth that the names of images are
            in, and "images", where the images are, whose sizes normalised coordinates need.
    """

    name: ClassVar[str]
    looks_like: ClassVar[str]
    removes_unposed: ClassVar[bool] = False
    skeletons: ClassVar[tuple[Skeleton, ...]]
    ending: ClassVar[str] = ".json"
    is_folder: ClassVar[bool] = False
    metric: ClassVar[str]
    reads_beside: ClassVar[tuple[str, ...]] = ()

    def sources(self, location: Path) -> list[Path]:
        """Returns the sources in a location that a user names: a file, or the .json files of a folder.

        Raises:
            UserError: There is none.
        """
        return pose_files(location)

    @staticmethod
    @abstractmethod
    def recognises(path: Path, document: object) -> bool:
        """Returns whether a file looks like this format.

        Args:
            path: Of the file; of a folder, its first file.
            document: The file's content, if it is JSON, else None.
        """

    @abstractmethod
    def read(self, path: Path) -> list[PoseSequence]:
        """Reads a source as it is.

        Raises:
            UserError: The source is absent, broken or of another format.
        """

    def read_annotated(self, path: Path) -> list[PoseSequence]:
        """Reads ground truth: as `read`, with ignore regions also for crowds and people without keypoints.

        Raises:
            UserError: The source is absent, broken or of another format.
        """
        return self.read(path)

    @abstractmethod
    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        """Writes the sequences of one source.

        Onto the original where `read` returned them: of people whose keypoints, scores or flags have changed these are
        written, and the person's own score if it has changed and has a field. All other people and fields are carried
        over, and people who are not in their frame any more are left out. From scratch otherwise.

        Raises:
            UserError: The source cannot be written.
        """

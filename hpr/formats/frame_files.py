"""What the formats share that have a file for each image: a source is a folder of such files, or one of them."""

import json
import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from hpr.errors import UserError
from hpr.files import read_json, replacing, replacing_folder
from hpr.formats.base import frame_folders
from hpr.formats.records import Original, Parsed, PlacedRecords, Record, RecordFormat, records_by_frame, split_people
from hpr.poses import BoolArray, FloatArray, Frame, IntArray, PoseSequence, image_stem


@dataclass(frozen=True)
class Scale:
    """How coordinates in a file that are relative to the image become pixels.

    Attributes:
        low: Coordinate of the left and upper edge; the right and lower edge is at 1.
        inset: What the width and height are reduced by: 1 where the edges are the centres of the outer pixels.
    """

    low: float = 0.0
    inset: int = 0

    def to_pixels(self, people: Frame, sizes: FloatArray) -> Frame:
        """Returns N people in pixels, given the sizes (N, 2) of their images."""
        units = self._units(sizes)
        return _mapped(people, lambda values: (values - self.low) * units)

    def from_pixels(self, people: Frame, sizes: FloatArray) -> Frame:
        """Returns N people in the file's coordinates, given the sizes (N, 2) of their images."""
        units = self._units(sizes)
        return _mapped(people, lambda values: values / units + self.low)

    def _units(self, sizes: FloatArray) -> FloatArray:
        """Returns (N, 1, 2) pixels per unit of x and y."""
        return (np.maximum(sizes - self.inset, 1.0) / (1.0 - self.low))[:, None]


def _mapped(people: Frame, change: Callable[[FloatArray], FloatArray]) -> Frame:
    """Returns people with other coordinates."""
    with np.errstate(over="ignore", invalid="ignore"):
        corners = change(people.boxes.reshape(-1, 2, 2))  # (N, 4) -> (N, 2, 2)
        return replace(people, keypoints=change(people.keypoints), boxes=corners.reshape(-1, 4))  # back to (N, 4)


class _Files(NamedTuple):
    """The files of a source, one for each frame.

    Attributes:
        names: Names of the files.
        is_folder: Whether the source is a folder.
        scale: What the coordinates are relative to; None for pixels.
        sizes: (F, 2) sizes of the images where they are needed, else None.
    """

    names: list[str]
    is_folder: bool
    scale: Scale | None
    sizes: FloatArray | None


class FrameFiles(RecordFormat):
    """A format that has a file for each image.

    Attributes:
        scale_from_scratch: That of the coordinates in what is written from scratch; None for pixels.
        relative_hint: Which program writes relative coordinates, for errors.
    """

    reads_beside: ClassVar[tuple[str, ...]] = ("images",)
    is_folder = True
    scale_from_scratch: ClassVar[Scale | None] = None
    relative_hint: ClassVar[str] = ""

    def __init__(self, images: str | None = None) -> None:
        """Takes where the images are, whose sizes are needed for coordinates that are relative to them."""
        self._images = images

    def sources(self, location: Path) -> list[Path]:
        """See `Format`. A folder of files is one source."""
        return frame_folders(location, self.ending)

    def read(self, path: Path) -> list[PoseSequence]:
        """See `Format`. The frames come in the natural order of the files' names, in which 9 is before 10."""
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
        paths = sorted(path.glob(f"*{self.ending}"), key=_natural_order) if path.is_dir() else [path]
        contents = [self._load(file) for file in paths]
        images, indices, records, people, _ = self._parse_files(paths, contents)

        sizes, scale = None, self._scale(people)
        if scale is not None:
            sizes = self._sizes(split_people(people, images, indices), path)
            pairs = zip(images, sizes.astype(int).tolist(), strict=True)
            images = [image._replace(size=(width, height)) for image, (width, height) in pairs]
            people = scale.to_pixels(people, sizes[indices])

        details = _Files([file.name for file in paths], path.is_dir(), scale, sizes)
        original = Original(self.name, contents, records, people, details)
        name = path.name if path.is_dir() else path.stem
        return [PoseSequence(name, split_people(people, images, indices), original)]

    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        """See `Format`. From scratch, a folder is written, with a file for each frame that is named like its image."""
        (sequence,) = sequences
        frames, original = self._with_original(sequence)
        contents = self._document(self._placed_records(frames, original), original)
        if original.details.is_folder:
            with replacing_folder(path) as folder:
                for name, content in zip(original.details.names, contents, strict=True):
                    (folder / name).write_bytes(self._encoded(content))
            return
        (content,) = contents
        with replacing(path) as temporary:
            temporary.write_bytes(self._encoded(content))

    # What a format says

    def _load(self, path: Path) -> Any:
        """Returns the content of a file."""
        return read_json(path)

    def _encoded(self, content: Any) -> bytes:
        """Returns the bytes of a file."""
        return json.dumps(content, separators=(",", ":")).encode()

    @abstractmethod
    def _parse_files(self, paths: list[Path], contents: list[Any]) -> Parsed:
        """Parses the files of a source; coordinates stay as the files have them."""

    def _scale(self, people: Frame) -> Scale | None:
        """Returns what the coordinates of a source are relative to; None for pixels."""
        del people
        return None

    @abstractmethod
    def _with_records(self, content: Any, records: list[Record]) -> Any:
        """Returns the content of a file with other people; from scratch if it is None."""

    def _file_name(self, image: str) -> str:
        """Returns the name of an image's file, for a new file."""
        return f"{image}{self.ending}"

    # The round trip

    def _document(self, records: PlacedRecords, original: Original) -> Any:
        """Returns the contents of all files."""
        lists = records_by_frame(records, len(original.document))
        return [self._with_records(content, own) for content, own in zip(original.document, lists, strict=True)]

    def _new_document(self, sequence: PoseSequence) -> Any:
        """Returns the contents of new files."""
        return [self._with_records(None, []) for _ in sequence.frames]

    def _parse(self, document: Any, path: Path) -> Parsed:
        return self._parse_files([path] * len(document), document)

    def _with_original(self, sequence: PoseSequence) -> tuple[list[Frame], Original]:
        frames, original = super()._with_original(sequence)
        if original.details is None and not self._has_read(sequence):
            names = [self._file_name(image_stem(frame.image)) for frame in frames]
            _check_names(names, sequence.name)
            sizes = None if self.scale_from_scratch is None else self._sizes(frames)
            original = replace(original, details=_Files(names, True, self.scale_from_scratch, sizes))
        return frames, original

    def _in_file_units(self, people: Frame, indices: IntArray, original: Original) -> Frame:
        files: _Files | None = original.details
        if files is None or files.scale is None or files.sizes is None:
            return people
        return files.scale.from_pixels(people, files.sizes[indices])

    def _sizes(self, frames: Sequence[Frame], path: Path | None = None) -> FloatArray:
        """Returns the sizes (F, 2) of the images of frames, in a source or to be written.

        Raises:
            UserError: They are not known, and the user does not say where the images are.
        """
        sizes = [frame.size for frame in frames]
        if None in sizes:
            if self._images is None:
                where, relative = path or frames[sizes.index(None)].image, "the coordinates are relative to the images'"
                raise UserError(f"{where}: {relative} sizes{self.relative_hint}; set dataset.images")
            from hpr.images import open_images  # only where sizes are needed

            source = open_images(self._images, outside=True)  # no file name can lead out of a folder; links may
            sizes = [frame.size or source.size(frame) for frame in frames]
        return np.array(sizes, np.float64).reshape(-1, 2)


def written_pose(people: Frame, person: int) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Returns a person's keypoints (K, 2), scores (K,) and which of them are there (K,), all without NaN.

    A missing keypoint is at (0, 0). Programs take a score near 0 for a missing keypoint, so that one without a score
    gets 1.
    """
    is_there = np.isfinite(people.keypoints[person]).all(axis=-1)
    keypoints = np.where(is_there[:, None], people.keypoints[person], 0.0)
    scores = people.scores[person]
    return keypoints, np.where(np.isnan(scores), is_there.astype(np.float64), scores), is_there


# Names of files and images


def video_numbers(images: list[str], pattern: re.Pattern[str]) -> list[int] | None:
    """Returns the numbers in the names of a video's frames; None if they are not all named so, after one video.

    Args:
        images: Names.
        pattern: With the groups "video" and "number".
    """
    matches = [match for match in map(pattern.fullmatch, images) if match]
    if len(matches) < len(images) or len({match["video"] for match in matches}) != 1:
        return None
    return [int(match["number"]) for match in matches]


def _check_names(names: list[str], sequence: str) -> None:
    """Refuses names of files that cannot be written into one folder."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        expected = "expected images of different names for a file each"
        raise UserError(f"{sequence}: {expected}, found two for {twice}; write each folder of images on its own")
    for name in names:
        if "\0" in name or not name.encode(errors="ignore").decode() == name:  # half of a surrogate pair
            raise UserError(f"{sequence}: no file can have the name {name!r}")


def _natural_order(path: Path) -> list[Any]:
    """Returns a key by which numbers in names are compared as numbers."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), part) if i % 2 else part for i, part in enumerate(parts)]


def first_with_people(path: Path, document: object) -> object:
    """Returns the document of a file, or of the first file after it in its folder that is no empty list."""
    if document != []:
        return document
    for other in sorted(path.parent.glob(f"*{path.suffix}"), key=_natural_order):
        try:
            found = read_json(other)
        except UserError:
            return document
        if found != []:
            return found
    return document

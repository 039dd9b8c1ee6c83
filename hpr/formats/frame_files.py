"""What the formats share that have a file for each image: a source is a folder of such files, or one of them."""

import json
import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hpr.errors import UserError
from hpr.files import read_json, replacing, replacing_folder
from hpr.formats.base import Format
from hpr.formats.fields import numbers, summary
from hpr.formats.sources import frame_folders
from hpr.poses import NO_RECORD, BoolArray, FloatArray, Frame, PoseSequence

Record = Any
"""What a file has for a person: an object of its JSON, or a line."""


@dataclass(frozen=True)
class Scale:
    """How coordinates in a file that are relative to the image become pixels.

    Attributes:
        low: Of the left and upper edge; the right and lower edge is at 1.
        inset: What the width and height are reduced by: 1 where the edges are the centres of the outer pixels.
    """

    low: float = 0.0
    inset: int = 0

    def to_pixels(self, frame: Frame) -> Frame:
        """Returns a frame in pixels; its size is known."""
        unit = self._unit(frame)
        return _mapped(frame, lambda values: (values - self.low) * unit)

    def from_pixels(self, frame: Frame) -> Frame:
        """Returns a frame in the file's coordinates; its size is known."""
        unit = self._unit(frame)
        return _mapped(frame, lambda values: values / unit + self.low)

    def _unit(self, frame: Frame) -> FloatArray:
        """Returns (2,) pixels per unit of x and y."""
        assert frame.size is not None
        return np.maximum(np.array(frame.size, np.float64) - self.inset, 1.0) / (1.0 - self.low)


def _mapped(frame: Frame, change: Callable[[FloatArray], FloatArray]) -> Frame:
    """Returns a frame with other coordinates."""
    with np.errstate(over="ignore", invalid="ignore"):
        corners = change(frame.boxes.reshape(-1, 2, 2))  # (N, 4) -> (N, 2, 2)
        return replace(frame, keypoints=change(frame.keypoints), boxes=corners.reshape(-1, 4))  # back to (N, 4)


@dataclass(frozen=True)
class FrameFile:
    """A file as it was read.

    Attributes:
        name: Of the file.
        content: What `FrameFiles._load` has made of it.
        frame: In pixels.
    """

    name: str
    content: Any
    frame: Frame


@dataclass(frozen=True)
class _Original:
    """The files of a source.

    Attributes:
        format_name: Of the format that they are in.
        files: One for each frame.
        is_folder: Whether the source is a folder.
        scale: Of their coordinates; None for pixels.
    """

    format_name: str
    files: list[FrameFile]
    is_folder: bool
    scale: Scale | None


class FrameFiles(Format):
    """A format that has a file for each image.

    Attributes:
        ending: Of the files.
        scale_from_scratch: That of the coordinates in what is written from scratch; None for pixels.
        images: Where the images are; None if the user does not say.
    """

    ending: ClassVar[str] = ".json"
    scale_from_scratch: ClassVar[Scale | None] = None
    images: str | None = None

    def sources(self, location: Path) -> list[Path]:
        """See `Format`. A folder of files is one source."""
        return frame_folders(location, self.ending)

    def read(self, path: Path) -> list[PoseSequence]:
        """See `Format`. The frames come in the natural order of the files' names, in which 9 is before 10."""
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
        paths = sorted(path.glob(f"*{self.ending}"), key=_natural_order) if path.is_dir() else [path]
        contents = [self._load(file) for file in paths]
        frames = self._frames(paths, contents)

        scale = self._scale(frames, path)
        if scale is not None:
            frames = [scale.to_pixels(frame) for frame in self._with_sizes(frames, path)]
        triples = zip(paths, contents, frames, strict=True)
        files = [FrameFile(file.name, content, frame) for file, content, frame in triples]
        name = path.name if path.is_dir() else path.stem
        return [PoseSequence(name, frames, _Original(self.name, files, path.is_dir(), scale))]

    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        """See `Format`. From scratch, a folder is written, with a file for each frame that is named like its image."""
        (sequence,) = sequences
        original = sequence.original
        if not self._has_read(original):
            self._write_folder(self._from_scratch(sequence), path)
            return
        pairs = zip(original.files, sequence.frames, strict=True)
        contents = ((file.name, self._onto(file, frame, original.scale)) for file, frame in pairs)
        if original.is_folder:
            self._write_folder(contents, path)
            return
        ((_, content),) = contents
        with replacing(path) as temporary:
            temporary.write_bytes(self._encoded(content))

    def _has_read(self, original: Any) -> bool:
        """Returns whether what a sequence keeps is from files of this format."""
        return isinstance(original, _Original) and original.format_name == self.name

    def _write_folder(self, contents: Iterable[tuple[str, Any]], path: Path) -> None:
        """Writes files into a new folder, by their names."""
        with replacing_folder(path) as folder:
            for name, content in contents:
                (folder / name).write_bytes(self._encoded(content))

    def _load(self, path: Path) -> Any:
        """Returns the content of a file."""
        return read_json(path)

    def _encoded(self, content: Any) -> bytes:
        """Returns the bytes of a file."""
        return json.dumps(content, separators=(",", ":")).encode()

    @abstractmethod
    def _frames(self, paths: list[Path], contents: list[Any]) -> list[Frame]:
        """Returns the frame of each file of a source, with coordinates as the file has them."""

    def _scale(self, frames: list[Frame], path: Path) -> Scale | None:
        """Returns what the coordinates of a source are relative to; None for pixels.

        Raises:
            UserError: The sizes of images are needed, and the user does not say where the images are.
        """
        del frames, path
        return None

    @abstractmethod
    def _records(self, content: Any) -> list[Record]:
        """Returns what a file has for each person."""

    @abstractmethod
    def _with_records(self, content: Any, records: list[Record]) -> Any:
        """Returns the content of a file with other people; from scratch if it is None."""

    @abstractmethod
    def _record(self, frame: Frame, person: int, former: Record | None) -> Record:
        """Returns the record of a person, in the file's coordinates: a former one with a new pose, or a new one."""

    def _file_name(self, image: str) -> str:
        """Returns the name of an image's file, for a new file."""
        return f"{image}{self.ending}"

    def _with_sizes(self, frames: list[Frame], where: Path | str) -> list[Frame]:
        """Returns frames with the sizes of their images."""
        if all(frame.size for frame in frames):
            return frames
        if self.images is None:
            raise UserError(f"{where}: the coordinates are relative to the images' sizes; set dataset.images")
        from hpr.images import open_images  # only where sizes are needed

        source = open_images(self.images, outside=True)  # the name of a file cannot lead out of a folder; links may
        return [frame if frame.size else replace(frame, size=source.size(frame)) for frame in frames]

    def _onto(self, file: FrameFile, frame: Frame, scale: Scale | None) -> Any:
        """Returns the content of a file with the people of a frame."""
        own = frame.in_skeleton(file.frame.skeleton)
        records = updated_records(self._records(file.content), file.frame, own, self._writer(own, file.frame, scale))
        return self._with_records(file.content, records)

    def _writer(self, frame: Frame, before: Frame, scale: Scale | None) -> Callable[[int, Record | None], Record]:
        """Returns what makes the records of a frame's people."""
        scaled = frame if scale is None else scale.from_pixels(replace(frame, size=before.size))
        return lambda person, former: self._record(scaled, person, former)

    def _from_scratch(self, sequence: PoseSequence) -> Iterator[tuple[str, Any]]:
        """Yields names and contents of new files."""
        frames = [frame.in_skeleton(self.skeletons[0]) for frame in sequence.frames]
        names = [self._file_name(image_stem(frame.image)) for frame in frames]
        _check_names(names, sequence.name)
        scale = self.scale_from_scratch
        if scale is not None:
            frames = [scale.from_pixels(frame) for frame in self._with_sizes(frames, sequence.name)]
        for name, frame in zip(names, frames, strict=True):
            records = [self._record(frame, person, None) for person in range(len(frame))]
            yield name, self._with_records(None, records)


def updated_records(
    records: list[Record], before: Frame, frame: Frame, make: Callable[[int, Record | None], Record]
) -> list[Record]:
    """Returns the records of the people of a frame: unchanged ones as they were, in their order, then new people's.

    Args:
        records: Of the file.
        before: The frame as it was read.
        frame: As it is now, in the same skeleton.
        make: Returns the new record of a person, given the former one if there is one.
    """
    kept: dict[int, Record] = {}
    new: list[Record] = []
    for person, record in enumerate(frame.records.tolist()):
        if record == NO_RECORD:
            new.append(make(person, None))
        else:
            same = _is_same(before, record, frame, person)
            kept[record] = records[record] if same else make(person, records[record])
    return [kept[record] for record in sorted(kept)] + new


def _is_same(before: Frame, record: int, frame: Frame, person: int) -> bool:
    """Returns whether a person's pose is as it was."""
    pairs = ((before.keypoints, frame.keypoints), (before.scores, frame.scores), (before.flags, frame.flags))
    return all(np.array_equal(old[record], new[person], equal_nan=True) for old, new in pairs)


def number_table(lists: list[Any], length: int, where: Callable[[int], str]) -> FloatArray:
    """Returns M lists of numbers as (M, length); null becomes NaN.

    Args:
        lists: Each should be a list of `length` numbers.
        length: See above.
        where: Returns the place of a list, for an error.

    Raises:
        UserError: One is something else.
    """
    try:
        table = np.asarray(lists, np.float64)
    except (TypeError, ValueError, OverflowError):
        table = np.empty(0)
    if lists and table.shape == (len(lists), length):
        return table
    rows = [numbers(values, length, where(row)) for row, values in enumerate(lists)]
    return np.array(rows, np.float64).reshape(-1, length)  # also for no row


def optional_number(value: Any, where: str) -> float:
    """Returns a number; NaN for null or what is absent.

    Raises:
        UserError: It is something else.
    """
    if value is None:
        return float("nan")
    try:
        if isinstance(value, int | float):
            return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        pass
    raise UserError(f"{where}: expected a number, found {summary(value)}")


def placed(coordinates: FloatArray, missing: Any) -> FloatArray:
    """Returns keypoints (N, K, 2) as in `Frame`: NaN where (N, K) `missing`, infinite where they are no numbers."""
    keypoints = np.where(np.isfinite(coordinates).all(axis=-1, keepdims=True), coordinates, np.inf)
    keypoints[missing] = np.nan
    return keypoints


def written_pose(frame: Frame, person: int) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Returns a person's keypoints (K, 2), scores (K,) and which of them are there (K,), all without NaN.

    A missing keypoint is at (0, 0). Programs take a score near 0 for a missing keypoint, so that one without a score
    gets 1.
    """
    there = np.isfinite(frame.keypoints[person]).all(axis=-1)
    keypoints = np.where(there[:, None], frame.keypoints[person], 0.0)
    scores = frame.scores[person]
    return keypoints, np.where(np.isnan(scores), there.astype(np.float64), scores), there


def gathered(listed: list[list[Record]], places: Iterable[str]) -> tuple[list[Record], list[str]]:
    """Returns the records of all people of a source, and where each is, for an error.

    Args:
        listed: The records of each file.
        places: Where each list is.
    """
    people: list[Record] = []
    wheres: list[str] = []
    for records, place in zip(listed, places, strict=True):
        people += records
        wheres += [f"{place}[{i}]" for i in range(len(records))]
    return people, wheres


def parts(counts: Iterable[int]) -> Iterator[slice]:
    """Yields where each file's people are among those of a source, given the number of people of each file."""
    start = 0
    for count in counts:
        yield slice(start, start + count)
        start += count


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


_IMAGE_ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".jp2"}


def image_stem(image: str) -> str:
    """Returns an image's name without folders and without the ending of an image."""
    name = image.replace("\\", "/").rpartition("/")[2]
    stem, dot, ending = name.rpartition(".")
    return stem if stem and f"{dot}{ending}".lower() in _IMAGE_ENDINGS else name


def _check_names(names: list[str], sequence: str) -> None:
    """Checks that files of such names can be written into one folder."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(
            f"{sequence}: expected images of different names for a file each, found two for {twice}; "
            "write each folder of images on its own"
        )
    for name in names:
        try:
            broken = "\0" in name or not name.encode()
        except UnicodeEncodeError:  # half of a surrogate pair
            broken = True
        if broken:
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

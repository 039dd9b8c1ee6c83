"""What the formats share that have a file for each image: a source is a folder of such files, or one of them."""

import json
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from hpr.errors import UserError
from hpr.files import name_without_ending, read_json, replacing, replacing_folder
from hpr.formats.base import pose_files
from hpr.formats.records import Original, Record, RecordFormat
from hpr.poses import BoolArray, FloatArray, Frame, IntArray, PoseSequence, image_stem
from hpr.settings import Orientation

if TYPE_CHECKING:
    from hpr.images import ImageSource


@dataclass(frozen=True)
class Scale:
    """How coordinates in a file that are relative to the image become pixels.

    Attributes:
        low: Coordinate of the left and upper edge; the right and lower edge is at 1.
        inset: What the width and height are reduced by: 1 where the edges are the centres of the outer pixels.
    """

    low: float = 0.0
    inset: int = 0

    def convert(self, people: Frame, sizes: FloatArray, to_pixels: bool) -> Frame:
        """Returns N people in pixels, or back in the file's coordinates, given the sizes (N, 2) of their images."""
        units = (np.maximum(sizes - self.inset, 1.0) / (1.0 - self.low))[:, None]  # (N, 1, 2) pixels per unit of x, y

        def change(values: FloatArray) -> FloatArray:
            return (values - self.low) * units if to_pixels else values / units + self.low

        with np.errstate(over="ignore", invalid="ignore"):
            corners = change(people.boxes.reshape(-1, 2, 2))  # (N, 4) -> (N, 2, 2)
            return replace(people, keypoints=change(people.keypoints), boxes=corners.reshape(-1, 4))  # back to (N, 4)


class _Files(NamedTuple):
    """The files of a source, one for each frame."""

    names: list[str]
    is_folder: bool
    is_list: bool  # whether they are the items of a list in one file
    scale: Scale | None  # what the coordinates are relative to; None for pixels
    sizes: FloatArray | None  # (F, 2) sizes of the images, where they are needed


class FrameFiles(RecordFormat):
    """A format that has a file for each image.

    Attributes:
        scale_from_scratch: That of the coordinates in what is written from scratch; None for pixels.
        relative_hint: Which program writes relative coordinates, for errors.
        name_ending: What names of files have between the image's name and the ending.
    """

    reads_beside: ClassVar[tuple[str, ...]] = ("images", "orientation")
    upright = True
    is_folder = True
    scale_from_scratch: ClassVar[Scale | None] = None
    relative_hint: ClassVar[str] = ""
    name_ending: ClassVar[str] = ""

    def __init__(self, images: str | None = None, orientation: Orientation = "auto") -> None:
        """Takes where the images are, whose sizes are needed for coordinates that are relative to them."""
        self._images, self._orientation = images, orientation

    def sources(self, location: Path) -> list[Path]:
        """See `Format`. A folder of files is one source, and so is each such folder in a folder, or file of frames."""
        folders: list[Path] = []
        if location.is_dir() and not any(location.glob(f"*{self.ending}")):
            folders = [path for path in sorted(location.iterdir()) if path.is_dir()]
            folders = [folder for folder in folders if any(folder.glob(f"*{self.ending}"))]
        if not folders:
            pose_files(location, self.ending)  # raises where there is none
        found = folders or [location.absolute()]

        files = pose_files(found[0], self.ending) if len(found) == 1 and found[0].is_dir() else []
        for file in files:
            with suppress(UserError):  # it may be broken
                return files if self._has_frames(self._load(file), file) else found
        return found

    def read(self, path: Path) -> list[PoseSequence]:
        """See `Format`. The frames come in the natural order of the files' names, in which 9 is before 10."""
        return self._read_files(path, self._frame_paths(path))

    def read_whole_parts(self, path: Path, broken: list[str]) -> list[PoseSequence]:
        """See `Format`. Where files do not fit together, those in the skeleton of most files are left."""
        try:
            return self.read(path)
        except UserError:
            if not path.is_dir():
                raise

        problems: list[str] = []
        frames: dict[Path, Frame] = {}
        for file in self._frame_paths(path):
            try:
                (frames[file],) = self._read_files(path, [file], is_part=True)[0].frames
            except UserError as error:
                problems.append(str(error))
        if not frames:
            raise UserError(problems[0])

        posed = {file: len(frame.skeleton) for file, frame in frames.items() if len(frame)}
        usual = Counter(posed.values()).most_common(1)[0][0] if posed else 0
        others = {file: count for file, count in posed.items() if count != usual}
        problems += [f"{file}: found people of {n} keypoints, in other files of {usual}" for file, n in others.items()]
        sequences = self._read_files(path, [file for file in frames if file not in others])
        broken += problems
        return sequences

    def _frame_paths(self, path: Path) -> list[Path]:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
        return sorted(path.glob(f"*{self.ending}"), key=_natural_order) if path.is_dir() else [path]

    def _read_files(self, path: Path, files: list[Path], is_part: bool = False) -> list[PoseSequence]:
        """Reads some files of a source; a part of one has no list of frames."""
        paths, contents = files, [self._load(file) for file in files]
        is_list = len(files) == 1 and not is_part and self._has_frames(contents[0], files[0])
        if is_list:
            paths, contents = [files[0] / f"{index}" for index in range(len(contents[0]))], contents[0]
        parsed = self._parse_files(paths, contents)._replace(upright=self.upright)
        folder = (path if path.is_dir() else path.absolute().parent).name

        sizes, scale = None, self._scale(parsed.people)
        if scale is not None:
            sizes = self._sizes(parsed.sequence(path.name, folder).frames, path)
            pairs = zip(parsed.images, sizes.astype(int).tolist(), strict=True)
            images = [image._replace(size=(width, height)) for image, (width, height) in pairs]
            people = scale.convert(parsed.people, sizes[parsed.image_indices], to_pixels=True)
            parsed = parsed._replace(images=images, people=people)

        details = _Files([file.name for file in files], path.is_dir(), is_list, scale, sizes)
        original = parsed._replace(details=details, document=contents, format_name=self.name)
        return [original.sequence(name_without_ending(path), folder)]

    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        """See `Format`. From scratch, a folder is written, with a file for each frame that is named like its image."""
        (sequence,) = sequences
        frames, original = self._with_original(sequence)
        if original.details is None:  # one document, such as that of a video
            super().write(sequences, path)
            return

        contents = [self._encoded(content) for content in self._updated_document(frames, original)]
        if original.details.is_list:
            contents = [b"[" + b",".join(contents) + b"]"]
        if original.details.is_folder:
            with replacing_folder(path) as folder:
                for name, content in zip(original.details.names, contents, strict=True):
                    (folder / name).write_bytes(content)
        else:
            with replacing(path) as temporary:
                temporary.write_bytes(contents[0])

    # What a format says

    def _load(self, path: Path) -> Any:
        return read_json(path)

    def _encoded(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode()

    def _has_frames(self, content: Any, path: Path) -> bool:
        """Returns whether a file has a list of frames, so that it is a source of its own."""
        del content, path
        return False

    @abstractmethod
    def _parse_files(self, paths: list[Path], contents: list[Any]) -> Original:
        """Parses the files of a source; coordinates stay as the files have them."""

    def _scale(self, people: Frame) -> Scale | None:
        """Returns what the coordinates of a source are relative to; None for pixels."""
        del people
        return None

    @abstractmethod
    def _with_records(self, content: Any, records: list[Record]) -> Any:
        """Returns the content of a file with other people; from scratch if it is None."""

    # The round trip

    def _document(self, records: list[Record], by_frame: list[list[Record]], original: Original) -> Any:
        """Returns the contents of all files."""
        return [self._with_records(content, own) for content, own in zip(original.document, by_frame, strict=True)]

    def _new_document(self, sequence: PoseSequence) -> Any:
        return [self._with_records(None, []) for _ in sequence.frames]

    def _parse(self, document: Any, path: Path) -> Original:
        return self._parse_files([path] * len(document), document)

    def _with_original(self, sequence: PoseSequence) -> tuple[list[Frame], Original]:
        frames, original = super()._with_original(sequence)
        if self._has_read(sequence):
            return frames, original

        names = [f"{image_stem(frame.image)}{self.name_ending}{self.ending}" for frame in frames]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            expected = "expected images of different names for a file each"
            advice = "write each folder of images on its own"
            raise UserError(f"{sequence.name}: {expected}, found two for {twice}; {advice}")
        for name in names:
            if "\0" in name or not name.encode(errors="ignore").decode() == name:  # half of a surrogate pair
                raise UserError(f"{sequence.name}: no file can have the name {name!r}")

        sizes = None if self.scale_from_scratch is None else self._sizes(frames)
        return frames, original._replace(details=_Files(names, True, False, self.scale_from_scratch, sizes))

    def _in_file_units(self, people: Frame, indices: IntArray, original: Original) -> Frame:
        files: _Files | None = original.details
        if files is None or files.scale is None or files.sizes is None:
            return people
        return files.scale.convert(people, files.sizes[indices], to_pixels=False)

    @cached_property
    def _source(self) -> "ImageSource":
        from hpr.images import open_images  # only where sizes are needed

        # No file name can lead out of a folder; links may.
        return open_images(self._images or (), outside=True, orientation=self._orientation)

    def _sizes(self, frames: Sequence[Frame], path: Path | None = None) -> FloatArray:
        """Returns the sizes (F, 2) of the images of frames; refuses those that nothing tells."""
        sizes = [frame.size for frame in frames]
        if None in sizes:
            if self._images is None:
                where, relative = path or frames[sizes.index(None)].image, "the coordinates are relative to the images'"
                raise UserError(f"{where}: {relative} sizes{self.relative_hint}; set images")
            sizes = [frame.size or self._source.size(frame) for frame in frames]
        return np.array(sizes, np.float64).reshape(-1, 2)


def written_pose(people: Frame, person: int) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Returns a person's keypoints (K, 2), scores (K,) and which are there (K,) as files have them, without NaN."""
    is_there = np.isfinite(people.keypoints[person]).all(axis=-1)
    keypoints = np.where(is_there[:, None], people.keypoints[person], 0.0)
    scores = people.scores[person]
    return keypoints, np.where(np.isnan(scores), is_there.astype(np.float64), scores), is_there


# Names of files and images


def video_numbers(images: list[str], pattern: re.Pattern[str]) -> list[int] | None:
    """Returns the numbers in the names of a video's frames; None if they are not all named so, after one video.

    The pattern has the groups "video" and "number".
    """
    matches = [match for match in map(pattern.fullmatch, images) if match]
    if len(matches) < len(images) or len({match["video"] for match in matches}) != 1:
        return None
    return [int(match["number"]) for match in matches]


def _natural_order(path: Path) -> list[Any]:
    """Returns a key by which numbers in names are compared as numbers."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), part) if i % 2 else part for i, part in enumerate(parts)]


def first_record(path: Path, document: object) -> dict[str, Any]:
    """Returns the first record of a JSON list, or of the first file beside it that is no empty list; {} without any."""
    others = sorted(path.parent.glob(f"*{path.suffix}"), key=_natural_order) if document == [] else []
    found = document
    for other in others:
        with suppress(UserError):  # another file may tell
            if (found := read_json(other)) != []:
                break
    first = found[0] if isinstance(found, list) and found else None
    return first if isinstance(first, dict) else {}

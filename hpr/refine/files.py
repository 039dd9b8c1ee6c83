"""Files of poses: read once, and written as soon as all their parts are refined."""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.files import name_without_ending
from hpr.formats import Format
from hpr.formats.arrays import Arrays
from hpr.formats.conversion import without_original
from hpr.images import ImageSource, are_apart
from hpr.poses import Frame, PoseSequence
from hpr.refine.sharing import Part, RefinedPart, join_parts
from hpr.refine.tally import Tally


@dataclass(frozen=True)
class PoseFile:
    """A file of poses that has been read.

    Attributes:
        path: The file, or a folder with a file for each image.
        sequences: Its content.
        output_name: Name of the file or folder that its refined poses are written to.
    """

    path: Path
    sequences: list[PoseSequence]
    output_name: str


def read_files(
    file_format: Format,
    location: Path,
    progress: Callable[[int], Any] = lambda files: None,
    broken: list[str] | None = None,
) -> list[PoseFile]:
    """Reads a file of poses, or all files of a folder.

    Args:
        file_format: Format of the files.
        location: A file, or a folder.
        progress: Called with the number of files read since the last call.
        broken: Receives what is wrong with each broken file, also of those for each image; if None, one is an error.

    Raises:
        UserError: There is no file, a file is broken, or all are.
    """
    files = []
    for path in file_format.sources(location):
        try:
            sequences = file_format.read(path) if broken is None else file_format.read_whole_parts(path, broken)
            files.append(PoseFile(path, sequences, file_format.output_name(path)))
        except UserError as error:
            if broken is None:
                raise
            broken.append(str(error))
        progress(1)

    if not files:
        raise UserError(f"{location}: not one of the files can be read; the first: {broken[0] if broken else ''}")
    return files


def check_images(files: Sequence[PoseFile], images: ImageSource) -> list[str]:
    """Checks that a source of images has at least one of the images that the files name.

    Returns:
        A warning if an image has another size than its file of poses says.

    Raises:
        UserError: It has none, or the first lies outside of the folder, or images of different folders would be one.
    """
    frames = [frame for file in files for sequence in file.sequences for frame in sequence.frames]
    found = [frame for frame in frames if images.has(frame)]
    if frames and not found:
        others = f" and {len(frames) - 1} more images" if len(frames) > 1 else ""
        raise UserError(f"{images.name}: expected {images.expected(frames[0])}{others}, found none")

    names: dict[str, str] = {}
    for frame in () if images.in_order else found:
        other = names.setdefault(where := images.expected(frame), frame.image)
        if are_apart(frame.image, other):
            both = f"both '{other}' and '{frame.image}', which the poses name"
            raise UserError(f"{where}: could be {both}; set images to a folder that has both")
    return size_warnings(found, images)


def size_warnings(frames: Sequence[Frame], images: ImageSource) -> list[str]:
    """Returns a warning if an image that can be read has another size than its file of poses says."""
    others = []
    for frame in frames:
        with suppress(UserError):  # refining counts images that cannot be read
            if frame.size and min(frame.size) > 0 and images.has(frame) and images.size(frame) != frame.size:
                others.append((images.expected(frame), images.size(frame), frame.size))
    if not others:
        return []

    where, (width, height), said = others[0]
    more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
    found = f"has {width} × {height} pixels, the file of poses says {said[0]} × {said[1]}"
    return [f"{where}{more}: {found}; poses may not fit the picture"]


class FileAssembly:
    """Joins refined parts to files, and writes each file as soon as it is complete, in a thread of its own."""

    def __init__(
        self,
        file_format: Format,
        files: Sequence[PoseFile],
        shares: Sequence[Sequence[Part]],
        output: Path,
        on_written: Callable[[PoseFile, dict[str, Tally]], Any] = lambda file, tallies: None,
        side_files: Path | None = None,
    ) -> None:
        """Starts the thread that writes.

        Args:
            file_format: Format of the files.
            files: All files that are refined.
            shares: The parts of all processes; a file is complete with all of its parts.
            output: Folder to write to.
            on_written: Called with each file that has been written, and the tally of each of its sequences by name.
            side_files: Folder for numpy arrays of all keypoints of each file; None for no such arrays.
        """
        self._format, self._files, self._output = file_format, files, output
        self._on_written, self._side_files = on_written, side_files
        self._num_parts = Counter(part.file for parts in shares for part in parts)
        self._parts: dict[int, list[RefinedPart]] = {}
        self._writing: deque[tuple[PoseFile, dict[str, Tally], Future[None]]] = deque()
        self._writer = ThreadPoolExecutor(1)

    def __enter__(self) -> "FileAssembly":
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.shutdown()

    def add(self, refined: RefinedPart) -> dict[str, Tally]:
        """Takes a refined part; returns the tallies of sequences, by name, that have been written since the last call.

        Raises:
            UserError: A file cannot be written.
        """
        index = refined.part.file
        self._parts.setdefault(index, []).append(refined)
        if len(self._parts[index]) == self._num_parts[index]:
            file, parts = self._files[index], self._parts.pop(index)
            tallies = {sequence.name: Tally() for sequence in file.sequences}
            for one in sorted(parts, key=lambda one: one.part):
                tallies[file.sequences[one.part.sequence].name].add(one.tally)
            self._writing.append((file, tallies, self._writer.submit(self._write, file, parts)))
        return self._wait_for_oldest() if len(self._writing) > 1 else {}

    def finish(self) -> dict[str, Tally]:
        """Waits until all complete files are written; returns tallies as `add` does."""
        tallies: dict[str, Tally] = {}
        while self._writing:
            tallies |= self._wait_for_oldest()
        return tallies

    def incomplete(self) -> list[RefinedPart]:
        """Returns the parts of files that lack others."""
        return [refined for parts in self._parts.values() for refined in parts]

    def _write(self, file: PoseFile, parts: Sequence[RefinedPart]) -> None:
        sequences, path = join_parts(file.sequences, parts), self._output / file.output_name
        if self._format.removes_unposed:
            for sequence, given in zip(sequences, file.sequences, strict=True):
                pairs = zip(sequence.frames, given.frames, strict=True)
                sequence.frames[:] = [frame.select(before.is_posed) for frame, before in pairs]

        if self._side_files is not None:
            scored = [replace(sequence, frames=[_scored(frame) for frame in sequence.frames]) for sequence in sequences]
            name = f"{name_without_ending(file.path)}.npz"
            Arrays().write(without_original(scored), self._side_files / name)
        self._format.write(sequences, path)

    def _wait_for_oldest(self) -> dict[str, Tally]:
        file, tallies, writing = self._writing.popleft()
        writing.result()  # raises what went wrong
        self._on_written(file, tallies)
        return tallies


def _scored(frame: Frame) -> Frame:
    """Returns a frame with the network's confidences as scores, where there are any."""
    return replace(frame, scores=np.where(np.isnan(frame.confidences), frame.scores, frame.confidences))

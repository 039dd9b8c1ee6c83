"""Refining whole files of poses: read once, refined as one stream, written as each is complete."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.formats import Format
from hpr.formats.arrays import Arrays
from hpr.formats.conversion import without_original
from hpr.images import ImageSource
from hpr.refine.engine import PoseRefiner
from hpr.refine.objective import Objective
from hpr.poses import Frame, PoseSequence
from hpr.refine.sharing import Part
from hpr.refine.stream import refine_parts
from hpr.refine.tally import Tally


@dataclass(frozen=True)
class PoseFile:
    """A file of poses that has been read.

    Attributes:
        path: Of the file.
        sequences: In it.
    """

    path: Path
    sequences: list[PoseSequence]


@dataclass(frozen=True)
class RefinedPiece:
    """A part of a file, refined.

    Attributes:
        part: Which part.
        frames: With the refined poses.
        tally: What happened to them.
    """

    part: Part
    frames: list[Frame]
    tally: Tally


def read_files(
    file_format: Format,
    location: Path,
    progress: Callable[[int], Any] = lambda files: None,
    broken: list[str] | None = None,
) -> list[PoseFile]:
    """Reads a file of poses, or all of a folder.

    Args:
        file_format: Of the files.
        location: A file, or a folder.
        progress: Called with the number of files read.
        broken: Gets what is wrong with each broken file; by default, a broken file is an error.

    Raises:
        UserError: There is none, or one is broken.
    """
    files = []
    for path in file_format.sources(location):
        try:
            files.append(PoseFile(path, file_format.read(path)))
        except UserError as error:
            if broken is None:
                raise
            broken.append(str(error))
        progress(1)
    if not files:
        raise UserError(f"{location}: not one of the files can be read; the first: {broken[0] if broken else ''}")
    return files


def check_images(files: Sequence[PoseFile], images: ImageSource) -> None:
    """Refuses a source of images that has not one of those that the files name.

    Raises:
        UserError: There is none of them, or the first lies outside of the folder.
    """
    frames = [frame for file in files for sequence in file.sequences for frame in sequence.frames]
    if frames and not any(images.has(frame) for frame in frames):
        expected = images.expected(frames[0])
        raise UserError(f"{images.name}: expected {expected} and {len(frames) - 1} more images, found none")


def refine_share(
    refiner: PoseRefiner,
    files: Sequence[PoseFile],
    parts: Sequence[Part],
    images: ImageSource,
    objective: Objective,
    progress: Callable[[int], Any] = lambda people: None,
    strict: bool = False,
) -> Iterator[RefinedPiece]:
    """Refines the parts of some files that a process has for its share; see `stream.refine_parts`."""
    frames = [files[part.file].sequences[part.sequence].frames[part.start : part.stop] for part in parts]
    for refined in refine_parts(refiner, frames, images, objective, progress, strict):
        yield RefinedPiece(parts[refined.number], refined.frames, refined.tally)


class FileAssembly:
    """Puts refined pieces together and writes every file as soon as it has all of them, in a thread of its own."""

    def __init__(
        self,
        file_format: Format,
        files: Sequence[PoseFile],
        shares: Sequence[Sequence[Part]],
        output: Path,
        written: Callable[[PoseFile, dict[str, Tally]], Any] = lambda file, tallies: None,
        side_files: Path | None = None,
    ) -> None:
        """Prepares to write.

        Args:
            file_format: Of the files.
            files: What is refined.
            shares: The parts of all processes; a file that is shared is complete with the pieces of all of them.
            output: The folder to write to, files of the same names.
            written: Called with each file that has been written, and what happened in each of its sequences.
            side_files: A folder to write all keypoints of each file to, as numpy arrays.
        """
        self._format, self._files, self._output = file_format, files, output
        self._on_written, self._side_files = written, side_files
        self._expected = Counter(part.file for parts in shares for part in parts)
        self._pieces: dict[int, list[RefinedPiece]] = {}
        self._writing: deque[tuple[PoseFile, dict[str, Tally], Future[None]]] = deque()
        self._writer = ThreadPoolExecutor(1)

    def __enter__(self) -> "FileAssembly":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.shutdown()

    def put(self, piece: RefinedPiece) -> dict[str, Tally]:
        """Takes a piece.

        Returns:
            What happened in each sequence, by name, whose file has been written since the last call.

        Raises:
            UserError: A file cannot be written.
        """
        file = piece.part.file
        pieces = self._pieces.setdefault(file, [])
        pieces.append(piece)
        if len(pieces) == self._expected[file]:
            sequences, tallies = _assembled(self._files[file], self._pieces.pop(file), self._format.removes_unposed)
            path = self._output / self._files[file].path.name
            writing = self._writer.submit(self._write, sequences, path)
            self._writing.append((self._files[file], tallies, writing))
        return self._written() if len(self._writing) > 1 else {}

    def _write(self, sequences: list[PoseSequence], path: Path) -> None:
        if self._side_files is not None:
            with_confidences = [replace(s, frames=[_scored(frame) for frame in s.frames]) for s in sequences]
            Arrays().write(without_original(with_confidences), self._side_files / f"{path.stem}.npz")
        self._format.write(sequences, path)

    def rest(self) -> dict[str, Tally]:
        """Waits for the last files; returns what `put` does."""
        tallies: dict[str, Tally] = {}
        while self._writing:
            tallies |= self._written()
        return tallies

    def incomplete(self) -> list[RefinedPiece]:
        """Returns the pieces of files that lack others."""
        return [piece for pieces in self._pieces.values() for piece in pieces]

    def _written(self) -> dict[str, Tally]:
        """Waits for the file that was begun first."""
        file, tallies, writing = self._writing.popleft()
        writing.result()  # raises what went wrong
        self._on_written(file, tallies)
        return tallies


def _scored(frame: Frame) -> Frame:
    """Returns a frame with the network's confidences as scores, where there are any."""
    return replace(frame, scores=np.where(np.isnan(frame.confidences), frame.scores, frame.confidences))


def _assembled(
    file: PoseFile, pieces: Sequence[RefinedPiece], removes_unposed: bool
) -> tuple[list[PoseSequence], dict[str, Tally]]:
    """Returns the refined sequences of a file and what happened in each, by name."""
    sequences, tallies = [], {}
    for number, sequence in enumerate(file.sequences):
        own = [piece for piece in pieces if piece.part.sequence == number]
        own.sort(key=lambda piece: piece.part.start)
        frames = [frame for piece in own for frame in piece.frames]
        if removes_unposed:
            pairs = zip(frames, sequence.frames, strict=True)
            frames = [frame.select(before.is_posed) for frame, before in pairs]
        sequences.append(replace(sequence, frames=frames))
        tallies[sequence.name] = Tally()
        for piece in own:
            tallies[sequence.name].add(piece.tally)
    return sequences, tallies

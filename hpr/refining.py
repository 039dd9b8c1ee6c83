"""Refining whole files of predictions: read, refine frame by frame, write, and keep count."""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hpr.batching import Sample
from hpr.errors import UserError
from hpr.files import json_files, read_image
from hpr.formats import Format
from hpr.inference import Outcome, Pose, PoseRefiner, gather
from hpr.poses import FloatArray, Frame, Sequence
from hpr.processes import ALONE, Processes

S = TypeVar("S")
T = TypeVar("T")


@dataclass
class Tally:
    """Counts of what happened to a number of poses.

    Attributes:
        frames: Images seen.
        outcomes: Persons by what became of them.
        kept: Joints that were in the estimate and are in the result.
        dropped: Joints that were in the estimate and are not in the result.
        added: Joints that were not in the estimate and are in the result.
        bad_images: What is wrong with each image that could not be read.
    """

    frames: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    kept: int = 0
    dropped: int = 0
    added: int = 0
    bad_images: list[str] = field(default_factory=list)

    @property
    def persons(self) -> int:
        """Everyone seen."""
        return self.outcomes.total()

    @property
    def passed_through(self) -> int:
        """Persons whose pose is as it was."""
        return self.persons - self.outcomes[Outcome.REFINED]

    def add_person(self, before: FloatArray, after: FloatArray, outcome: Outcome) -> None:
        """Counts one person with joints (15, 2) before and after."""
        had, has = ~np.isnan(before[:, 0]), ~np.isnan(after[:, 0])
        self.outcomes[outcome] += 1
        self.kept += int((had & has).sum())
        self.dropped += int((had & ~has).sum())
        self.added += int((~had & has).sum())

    def add(self, other: "Tally") -> None:
        """Adds the counts of other poses."""
        self.frames += other.frames
        self.outcomes += other.outcomes
        self.kept += other.kept
        self.dropped += other.dropped
        self.added += other.added
        self.bad_images += other.bad_images

    def as_json(self) -> dict[str, Any]:
        """Returns the counts as they stand in report.json."""
        reasons = {outcome.value: n for outcome, n in self.outcomes.items() if outcome is not Outcome.REFINED}
        return {
            "frames": self.frames,
            "persons": {
                "seen": self.persons,
                "refined": self.outcomes[Outcome.REFINED],
                "passed_through": self.passed_through,
                "reasons": reasons,
            },
            "joints": {"kept": self.kept, "dropped": self.dropped, "added": self.added},
            "bad_images": self.bad_images,
        }


def refine_files(
    refiner: PoseRefiner,
    file_format: Format,
    predictions: Path,
    root: Path,
    output: Path,
    threshold: float,
    processes: Processes = ALONE,
) -> Iterator[tuple[str, Tally]]:
    """Refines every pose of a folder of prediction files and writes files of the same names.

    All files are read once before the first is refined, so that a broken one stops the run while
    nothing has been written. An image that cannot be read leaves its poses as they were.

    Args:
        refiner: The engine.
        file_format: Reads and writes the files.
        predictions: A folder of .json files, or one such file.
        root: The folder that the images' names start from.
        output: The folder to write to.
        threshold: Joints are kept if their confidence is above this.
        processes: Who shares the work; this process refines its part of the files.

    Yields:
        What happened in each sequence, with its name, once it has been written.

    Raises:
        UserError: Something is wrong with an argument or a file; nothing has been written. Or a file cannot be.
    """
    paths = json_files(predictions, "dataset.predictions")
    if output.resolve() == paths[0].parent.resolve():
        raise UserError(f"{output}: these are the predictions to be refined; set another output_dir")
    if not 0 <= threshold < 1:
        raise UserError(f"objective.threshold={threshold}: expected a probability from 0 to below 1")
    persons = _survey(file_format, paths, root)
    width = max(len("sequence"), *(len(path.stem) for path in paths))
    if processes.is_first:
        _print_row(width, ("sequence", "frames", "persons", "refined", "as were", "kept", "dropped", "added"))
    paths = _shares(persons, processes.count)[processes.rank]
    total = sum(persons[path] for path in paths)
    hidden = None if processes.is_first else True
    with tqdm(total=total, unit=" persons", disable=hidden, leave=False) as bar, ThreadPoolExecutor(1) as writer:
        sequences = (file_format.read(path) for path in paths)
        refined = refine_sequences(refiner, sequences, root, threshold, bar.update)
        behind: deque[tuple[str, Tally, Future[None]]] = deque()
        for path, (sequence, tally) in zip(paths, refined, strict=True):
            behind.append((sequence.name, tally, writer.submit(file_format.write, sequence, output / path.name)))
            while len(behind) > 1:
                yield _written(*behind.popleft(), width)
        while behind:
            yield _written(*behind.popleft(), width)


def _shares(persons: Mapping[Path, int], count: int) -> list[list[Path]]:
    """Splits files over processes: the largest first, each to whoever has the fewest persons by then."""
    shares: list[list[Path]] = [[] for _ in range(count)]
    loads = [0] * count
    for path in sorted(persons, key=lambda path: -persons[path]):
        least = loads.index(min(loads))
        shares[least].append(path)
        loads[least] += persons[path]
    return [sorted(share) for share in shares]


def _written(name: str, tally: Tally, writing: "Future[None]", width: int) -> tuple[str, Tally]:
    """Waits for a file to be written."""
    writing.result()  # raises what went wrong
    _print_tally(width, name, tally)
    return name, tally


def refine_sequences(
    refiner: PoseRefiner,
    sequences: Iterable[Sequence],
    root: Path,
    threshold: float,
    progress: Callable[[int], Any] = lambda persons: None,
) -> Iterator[tuple[Sequence, Tally]]:
    """Refines every pose of sequences, as one stream in which images are read ahead.

    Args:
        refiner: The engine.
        sequences: What to refine.
        root: The folder that the images' names start from.
        threshold: Joints are kept if their confidence is above this.
        progress: Called with the number of persons done after each frame.

    Yields:
        Each sequence with the refined poses, and what happened.
    """
    begun: deque[Sequence] = deque()

    def frames() -> Iterator[Frame]:
        for sequence in sequences:
            begun.append(sequence)
            yield from sequence.frames

    done: list[Frame] = []
    tally = Tally()
    for loaded, poses in _refine_frames(refiner, frames(), root):
        while len(done) == len(begun[0].frames):
            yield replace(begun.popleft(), frames=done), tally
            done, tally = [], Tally()
        done.append(_finished(loaded, poses, threshold, tally))
        progress(len(poses))
    for sequence in begun:  # the last, and those without frames after it
        yield replace(sequence, frames=done), tally
        done, tally = [], Tally()


@dataclass(frozen=True)
class _Loaded:
    """A frame whose image has been looked for.

    Attributes:
        frame: The frame.
        image: (H, W, 3) RGB, or None if there is none, or nobody in it.
        problem: What is wrong with the image, or None.
    """

    frame: Frame
    image: NDArray[np.uint8] | None = None
    problem: str | None = None


def _refine_frames(
    refiner: PoseRefiner, frames: Iterable[Frame], root: Path
) -> Iterator[tuple[_Loaded, list[Pose | Outcome]]]:
    """Yields each frame with its refined poses."""
    waiting: deque[_Loaded] = deque()
    poses: list[Pose | Outcome] = []
    for pose in refiner.refine(_people(refiner, frames, root, waiting)):
        while len(poses) == len(waiting[0].frame.persons):
            yield waiting.popleft(), poses
            poses = []
        poses.append(pose)
    while waiting:
        yield waiting.popleft(), poses
        poses = []


def _people(
    refiner: PoseRefiner, frames: Iterable[Frame], root: Path, waiting: deque[_Loaded]
) -> Iterator[Sample | Outcome]:
    """Yields what the network needs of each person, or why there is nothing; frames are noted in `waiting`.

    Images are read and people cut out in threads: so many of each ahead of their use, whatever a frame holds.
    """

    def load(frame: Frame) -> _Loaded:
        if not frame.persons:
            return _Loaded(frame)
        try:
            return _Loaded(frame, read_image(root / frame.image))
        except UserError as error:
            return _Loaded(frame, problem=str(error))

    def cut(person: tuple[NDArray[np.uint8] | None, FloatArray]) -> Sample | Outcome:
        image, joints = person
        return Outcome.BAD_IMAGE if image is None else refiner.prepare(image, joints)

    def persons() -> Iterator[tuple[NDArray[np.uint8] | None, FloatArray]]:
        for loaded in _ahead(pool, load, frames, threads):
            waiting.append(replace(loaded, image=None))  # lets go of the image
            yield from ((loaded.image, person.joints) for person in loaded.frame.persons)

    # On a CPU the network itself uses all cores.
    threads = min(16, os.cpu_count() or 1) if refiner.device.type == "cuda" else 1
    with ThreadPoolExecutor(threads) as pool:
        try:
            yield from _ahead(pool, cut, persons(), 2 * threads)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _ahead(pool: ThreadPoolExecutor, work: Callable[[S], T], items: Iterable[S], count: int) -> Iterator[T]:
    """Yields what the work makes of each item, in order; up to `count` items are worked on ahead of their use."""
    running: deque[Future[T]] = deque()
    for item in items:
        running.append(pool.submit(work, item))
        if len(running) > count:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def _finished(loaded: _Loaded, poses: list[Pose | Outcome], threshold: float, tally: Tally) -> Frame:
    """Returns a frame with its refined poses and counts what happened to it."""
    frame = loaded.frame
    tally.frames += 1
    if not frame.persons:
        return frame
    if loaded.problem is not None:
        tqdm.write(f"warning: {loaded.problem}; its {len(poses)} poses stay as they were")
        tally.bad_images.append(loaded.problem)
    refined = gather(np.stack([person.joints for person in frame.persons]), poses, threshold)
    persons = []
    for i, (person, outcome) in enumerate(zip(frame.persons, refined.outcomes, strict=True)):
        tally.add_person(person.joints, refined.joints[i], outcome)
        confidence = refined.confidence[i] if outcome is Outcome.REFINED else None
        persons.append(replace(person, joints=refined.joints[i], confidence=confidence))
    return replace(frame, persons=persons)


def _survey(file_format: Format, paths: list[Path], root: Path) -> dict[Path, int]:
    """Reads every file and returns its number of persons; refuses a root under which no image is found."""
    persons = {}
    missing: list[Path] = []
    found = 0
    for path in tqdm(paths, desc="checking the files", unit=" files", disable=None, leave=False):
        sequence = file_format.read(path)
        persons[path] = sum(1 for _ in sequence.persons())
        for frame in sequence.frames:
            if (root / frame.image).is_file():
                found += 1
            else:
                missing.append(root / frame.image)
    if missing and not found:
        raise UserError(f"dataset.root={root}: expected {missing[0]} and {len(missing) - 1} more images, found none")
    return persons


def _print_tally(width: int, name: str, tally: Tally) -> None:
    refined = tally.outcomes[Outcome.REFINED]
    counts = (tally.frames, tally.persons, refined, tally.passed_through, tally.kept, tally.dropped, tally.added)
    _print_row(width, (name, *counts))


def _print_row(width: int, cells: tuple[Any, ...]) -> None:
    tqdm.write(f"{cells[0]:<{width}}" + "".join(f"{cell:>9}" for cell in cells[1:]))

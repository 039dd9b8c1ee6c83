"""How several processes share the work: parts of files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from hpr.poses import Frame, PoseSequence
from hpr.refine.tally import Tally

_MAX_WHOLE = 1.25
"""Sequences up to 1.25 × a process's fair share are not split: a split file has to wait for several processes."""


@dataclass(frozen=True, order=True)
class Part:
    """Consecutive frames of one sequence.

    Attributes:
        file: Index of the file in the list of files.
        sequence: Index of the sequence in the file.
        start: Index of the first frame.
        stop: Index behind the last frame.
        people: Number of people in the frames.
    """

    file: int
    sequence: int
    start: int
    stop: int
    people: int


@dataclass(frozen=True)
class RefinedPart:
    """A part with refined poses.

    Attributes:
        part: Which frames.
        frames: The frames with refined poses.
        tally: Counts of what happened to the poses.
    """

    part: Part
    frames: list[Frame]
    tally: Tally


def share(files: Sequence[Sequence[PoseSequence]], processes: int) -> list[list[Part]]:
    """Divides the sequences of some files among processes so that each has about as many people.

    Sequences with many more people than a process's fair share are split between frames. Then the largest part goes
    first, each to the process with the fewest people so far. The parts of a process are in the order of the files.
    """
    total = sum(sequence.people for sequences in files for sequence in sequences)
    parts: list[Part] = []
    for file, sequences in enumerate(files):
        for index, sequence in enumerate(sequences):
            is_whole = sequence.people * processes <= _MAX_WHOLE * total
            parts += _split(file, index, sequence, 1 if is_whole else -(-sequence.people * processes // total))

    shares: list[list[Part]] = [[] for _ in range(processes)]
    loads = [0] * processes
    for part in sorted(parts, key=lambda part: -part.people):
        least = loads.index(min(loads))
        shares[least].append(part)
        loads[least] += part.people
    return [sorted(own) for own in shares]


def join_parts(sequences: Sequence[PoseSequence], parts: Iterable[RefinedPart]) -> list[PoseSequence]:
    """Returns the sequences of a file with their refined frames, from all parts of the file in any order."""
    frames: list[list[Frame]] = [[] for _ in sequences]
    for refined in sorted(parts, key=lambda refined: refined.part):
        frames[refined.part.sequence] += refined.frames
    return [replace(sequence, frames=own) for sequence, own in zip(sequences, frames, strict=True)]


def _split(file: int, index: int, sequence: PoseSequence, count: int) -> list[Part]:
    """Splits a sequence into at most `count` parts with equally many people, up to one frame's people."""
    num_people = np.array([len(frame) for frame in sequence.frames], np.int64)
    middles = np.cumsum(num_people) - num_people / 2  # people before the middle of each frame
    part_indices = np.minimum(middles * count // max(sequence.people, 1), count - 1)
    bounds = np.searchsorted(part_indices, np.arange(count + 1)).tolist()
    return [
        Part(file, index, start, stop, int(num_people[start:stop].sum()))
        for start, stop in pairwise(bounds)
        if stop > start or count == 1  # a sequence without frames is a part as well
    ]

"""Who refines what, where several processes share the work."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hpr.poses import PoseSequence

_WHOLE = 1.25
"""A sequence of up to so many fair shares is not cut: a file in pieces has to wait for every process."""


@dataclass(frozen=True)
class Part:
    """Consecutive frames of one sequence.

    Attributes:
        file: Place of the file in the list of files.
        sequence: Place of the sequence in the file.
        start: First frame.
        stop: Just behind the last frame.
        people: Number of people in them.
    """

    file: int
    sequence: int
    start: int
    stop: int
    people: int


def share(files: Sequence[Sequence[PoseSequence]], processes: int) -> list[list[Part]]:
    """Splits the sequences of some files over processes, balanced by people.

    Sequences with many more people than a process's fair share are cut between frames. The parts are dealt out largest
    first, each to the process that has the fewest people by then.

    Args:
        files: The sequences of each file.
        processes: Number of processes.

    Returns:
        The parts of each process, in the order of the files.
    """
    total = sum(sequence.people for sequences in files for sequence in sequences)
    parts: list[Part] = []
    for file, sequences in enumerate(files):
        for number, sequence in enumerate(sequences):
            is_whole = sequence.people * processes <= _WHOLE * total
            parts += _cut(file, number, sequence, 1 if is_whole else -(-sequence.people * processes // total))
    shares: list[list[Part]] = [[] for _ in range(processes)]
    loads = [0] * processes
    for part in sorted(parts, key=lambda part: -part.people):
        least = loads.index(min(loads))
        shares[least].append(part)
        loads[least] += part.people
    return [sorted(own, key=lambda part: (part.file, part.sequence, part.start)) for own in shares]


def _cut(file: int, number: int, sequence: PoseSequence, count: int) -> list[Part]:
    """Cuts a sequence into up to so many parts of as many people each, give or take a frame's."""
    sizes = np.array([len(frame) for frame in sequence.frames], np.int64)
    middles = np.cumsum(sizes) - sizes / 2  # people before the middle of each frame
    numbers = np.minimum(middles * count // max(sequence.people, 1), count - 1)
    bounds = np.searchsorted(numbers, np.arange(count + 1)).tolist()
    return [
        Part(file, number, start, stop, int(sizes[start:stop].sum()))
        for start, stop in pairwise(bounds)
        if stop > start or count == 1  # a sequence without frames is a part, too
    ]

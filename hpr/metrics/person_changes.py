"""What refining did to each person: how far the pose moved and, with annotations, what became right and wrong."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from hpr.crops import head_size
from hpr.metrics.frames import MATCH_DISTANCE, distances_in_heads
from hpr.metrics.truth import NamedSequences, Truth
from hpr.poses import FloatArray, Frame, FrameKey, PoseSequence, head_sizes, match_people
from hpr.skeleton import Skeleton, kind

ReadFile = Callable[[str], Sequence[PoseSequence]]
"""Returns the sequences of a file by its name."""


class Found(NamedTuple):
    """How many annotated keypoints of a person an estimate has.

    Attributes:
        right: Number of keypoints within half a head size of the annotated ones, as in PCKh.
        wrong: Number of those that are farther off.
    """

    right: int
    wrong: int


@dataclass(frozen=True)
class PersonChange:
    """A person before and after refining.

    Attributes:
        file: Name of the file.
        key: Indices of the sequence in the file, and of the frame in it.
        sequence: Name of the sequence.
        before: The frame with this person alone.
        after: The refined frame with this person alone; with nobody where the person has been removed.
        moved: Mean distance, in head sizes, of the keypoints that moved; NaN without any.
        truth: The annotated frame with this person alone.
        found: Keypoints found before and after.
    """

    file: str
    key: FrameKey
    sequence: str
    before: Frame
    after: Frame
    moved: float
    truth: Frame | None = None
    found: tuple[Found, Found] | None = None


class KeypointErrors(NamedTuple):
    """Distances of one kind of keypoint from its annotation, of all people who have both a truth and an estimate.

    Attributes:
        before, after: (n,) in head sizes; NaN where the estimate lacks the annotated keypoint.
    """

    before: FloatArray
    after: FloatArray


@dataclass(frozen=True)
class AnnotatedChanges:
    """What refining did to annotated people.

    Attributes:
        better: Number of people who gained: right keypoints less wrong ones.
        worse: Number of people who lost.
        same: Number of all others.
        best, worst: The people who gained and lost most, the most first.
        errors: Kind of keypoint → its errors.
    """

    better: int = 0
    worse: int = 0
    same: int = 0
    best: Sequence[PersonChange] = ()
    worst: Sequence[PersonChange] = ()
    errors: Mapping[str, KeypointErrors] = field(default_factory=dict)


class _Ranked(NamedTuple):
    """Who gained how much: indices of the person in the frame before refining and in the annotated frame."""

    gain: float
    file: str
    key: FrameKey
    person: int
    truth: Frame | None = None
    annotated: int = 0
    found: tuple[Found, Found] | None = None


def moved_most(before: NamedSequences, read_after: ReadFile, most: int) -> list[PersonChange]:
    """Returns the people whose poses moved farthest, the farthest first; a tracked person of a sequence counts once."""

    def people() -> Iterator[_Ranked]:
        for file, sequences in before.items():
            refined = read_after(file)
            for s, sequence in enumerate(sequences):
                for f, frame in enumerate(sequence.frames):
                    heads = _movements(frame, refined[s].frames[f])
                    for person in np.flatnonzero(heads > 0).tolist():  # False for NaN
                        yield _Ranked(heads[person], file, FrameKey(s, f), person)

    return _largest(people(), before, read_after, most)


def annotated_changes(truth: Truth, before: NamedSequences, read_after: ReadFile, most: int) -> AnnotatedChanges:
    """Compares annotated people before and after refining with their annotations.

    An annotated person and an estimate belong together if they have the most right keypoints before and after. People
    without an estimate of theirs, and what is not annotated, do not count.

    Args:
        truth: The annotations.
        before: Files that were refined.
        read_after: Returns files of the same names, with the same sequences and frames.
        most: How many of the people who gained most, and of those who lost most, are kept.

    Raises:
        UserError: The annotations are broken, or no image of theirs has an estimate.
    """
    people: list[_Ranked] = []
    errors: dict[str, list[FloatArray]] = {}
    for annotated, estimate, file, key in truth.pairs(before)[0]:
        if file is None or key is None:  # nothing was predicted for the image
            continue
        refined = read_after(file)[key.sequence].frames[key.frame]
        for index, person, distances in _paired(annotated, estimate, refined):
            old, new = (Found(int((d <= MATCH_DISTANCE).sum()), int((d > MATCH_DISTANCE).sum())) for d in distances)
            gain = (new.right - new.wrong) - (old.right - old.wrong)
            people.append(_Ranked(gain, file, key, person, annotated, index, (old, new)))
            for name, point, pair in zip(annotated.skeleton.names, annotated.poses[index], distances.T, strict=True):
                errors.setdefault(kind(name), []).extend([pair] if np.isfinite(point).all() else [])

    gained = [one for one in people if one.gain > 0]
    lost = [one._replace(gain=-one.gain) for one in people if one.gain < 0]
    return AnnotatedChanges(
        len(gained),
        len(lost),
        len(people) - len(gained) - len(lost),
        _largest(gained, before, read_after, most),
        _largest(lost, before, read_after, most),
        {name: KeypointErrors(*np.array(pairs).T) for name, pairs in errors.items() if pairs},
    )


def _paired(truth: Frame, before: Frame, after: Frame) -> Iterator[tuple[int, int, FloatArray]]:
    """Yields the indices of annotated people and of their estimates, and the distances (2, K) before and after.

    Distances are in head sizes, NaN where the truth or the estimate lacks the keypoint. Keypoints are the truth's.
    """
    sizes = head_sizes(truth.head_boxes)  # (G,)
    for person in np.flatnonzero(~(sizes > 0)).tolist():  # without a head box: by the limbs
        sizes[person] = head_size(truth.poses[person], truth.skeleton, truth.boxes[person])

    distances = distances_in_heads(_aligned(before, after, truth.skeleton), truth.poses, sizes)  # (2, P, G, K)
    right = (distances <= MATCH_DISTANCE).sum(axis=(0, -1)).T  # (G, P)
    for index, person in zip(*linear_sum_assignment(right, maximize=True), strict=True):
        if right[index, person]:
            yield int(index), int(person), distances[:, person, index]


def _movements(before: Frame, after: Frame) -> FloatArray:
    """Returns (P,) the mean distance, in head sizes, of the keypoints of each person that moved; NaN without any."""
    old, new = _aligned(before, after, before.skeleton)
    with np.errstate(invalid="ignore", over="ignore"):
        distances = np.linalg.norm(new - old, axis=-1)  # (P, K)
    is_moved = np.isfinite(distances) & (distances > 0)  # what refining left alone is where it was

    movements = np.full(len(before), np.nan)
    for person in np.flatnonzero(is_moved.any(axis=1)):
        size = head_size(before.poses[person], before.skeleton, before.boxes[person])
        movements[person] = distances[person, is_moved[person]].mean() / size
    return movements


def _aligned(before: Frame, after: Frame, skeleton: Skeleton) -> FloatArray:
    """Returns (2, P, K, 2) the poses of the P people of a frame before and after refining; NaN for who is gone."""
    people = match_people(before, after)
    refined = np.full((len(before), len(skeleton), 2), np.nan)
    refined[people[people >= 0]] = after.skeleton.convert(after.poses, skeleton)[people >= 0]
    return np.stack([before.skeleton.convert(before.poses, skeleton), refined])


def _largest(people: Iterable[_Ranked], before: NamedSequences, read_after: ReadFile, most: int) -> list[PersonChange]:
    """Returns the people with the largest gains; someone with a track id counts once in a sequence."""
    best: dict[object, _Ranked] = {}
    for one in people:
        track_id = before[one.file][one.key.sequence].frames[one.key.frame].track_ids[one.person]
        who = (one.file, one.key, one.person) if track_id is None else (one.file, one.key.sequence, track_id)
        if who not in best or one.gain > best[who].gain:
            best[who] = one

    changes = []
    for one in nlargest(most, best.values(), key=lambda one: one.gain):
        sequence = before[one.file][one.key.sequence]
        frame = sequence.frames[one.key.frame]
        after = read_after(one.file)[one.key.sequence].frames[one.key.frame]
        own = frame.select(np.array([one.person]))
        refined = after.select(match_people(frame, after) == one.person)
        moved = float(_movements(frame, after)[one.person])
        truth = None if one.truth is None else one.truth.select(np.array([one.annotated]))
        changes.append(PersonChange(one.file, one.key, sequence.name, own, refined, moved, truth, one.found))
    return changes

"""Refining frames as one stream: images read ahead, people in batches, each result put in its place by its key."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np

from hpr.errors import UserError
from hpr.images import Image, ImageSource
from hpr.refine.batching import PersonCrop
from hpr.refine.engine import FAILURES, Outcome, PassedThrough, PoseRefiner, RefinedPose, gather
from hpr.refine.objective import Objective
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.refine.rescore import rescored
from hpr.refine.tally import Place, Tally
from hpr.skeleton import Skeleton

S = TypeVar("S")
T = TypeVar("T")


class PersonKey(NamedTuple):
    """Whose pose it is: the place of the part in the stream, of the frame in it and of the person in that."""

    part: int
    frame: int
    person: int


@dataclass(frozen=True)
class RefinedPart:
    """A part of the stream, refined.

    Attributes:
        number: Of the part.
        frames: With the refined poses.
        tally: What happened to them.
    """

    number: int
    frames: list[Frame]
    tally: Tally


def refine_sequences(
    refiner: PoseRefiner, sequences: Sequence[PoseSequence], images: ImageSource, objective: Objective
) -> list[PoseSequence]:
    """Refines every pose of some sequences."""
    parts = refine_parts(refiner, [sequence.frames for sequence in sequences], images, objective)
    frames = {part.number: part.frames for part in parts}
    return [replace(sequence, frames=frames[number]) for number, sequence in enumerate(sequences)]


def refine_parts(
    refiner: PoseRefiner,
    parts: Sequence[Sequence[Frame]],
    images: ImageSource,
    objective: Objective,
    progress: Callable[[int], Any] = lambda people: None,
    strict: bool = False,
) -> Iterator[RefinedPart]:
    """Refines every pose of some lists of frames.

    Args:
        refiner: The engine.
        parts: Lists of frames.
        images: Where their images are. One that cannot be read leaves its poses as they were.
        objective: Which keypoints are in the result, and with what scores.
        progress: Called with the number of people done.
        strict: Whether to stop at the first pose that should have been refined and was not.

    Yields:
        Each part as soon as everyone in it is done.

    Raises:
        UserError: With `strict`, a pose was not refined.
    """
    pending = {number: _Pending(frames) for number, frames in enumerate(parts)}
    for number in [number for number, part in pending.items() if part.missing == 0]:
        yield pending.pop(number).finished(number, refiner.skeleton, objective)

    for result in refiner.refine(_people(refiner, parts, images)):
        key = result.key
        assert isinstance(key, PersonKey)
        if strict and isinstance(result, PassedThrough) and result.outcome in FAILURES:
            image = parts[key.part][key.frame].image
            raise UserError(result.detail or f"{image}: person {key.person}: {result.outcome.value}")
        pending[key.part].put(key, result)
        progress(1)
        if pending[key.part].missing == 0:
            yield pending.pop(key.part).finished(key.part, refiner.skeleton, objective)


class _Pending:
    """A part whose results are coming in."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self._frames = frames
        self._results: dict[tuple[int, int], RefinedPose | PassedThrough] = {}
        self.people = sum(len(frame) for frame in frames)

    @property
    def missing(self) -> int:
        """Number of people who are still under way."""
        return self.people - len(self._results)

    def put(self, key: PersonKey, result: RefinedPose | PassedThrough) -> None:
        self._results[key.frame, key.person] = result

    def finished(self, number: int, skeleton: Skeleton, objective: Objective) -> RefinedPart:
        """Returns the frames with their refined poses, and counts what happened."""
        tally, frames = Tally(), []
        for place, frame in enumerate(self._frames):
            results = [self._results[place, person] for person in range(len(frame))]
            frames.append(refined_frame(frame, results, skeleton, objective, tally))
        return RefinedPart(number, frames, tally)


def refined_frame(
    frame: Frame, results: Sequence[RefinedPose | PassedThrough], skeleton: Skeleton, objective: Objective, tally: Tally
) -> Frame:
    """Returns a frame with its refined poses and counts what happened.

    Keypoints that the network does not know stay as they are, and those that only the network knows stand behind the
    frame's own: the skeletons are joined. A refined keypoint has flag 1, and its score is the objective's.

    Args:
        frame: As it was read.
        results: One for each of its N people.
        skeleton: Of the network.
        objective: Which keypoints are in the result, and with what scores.
        tally: Of the frames before it in its part. Gets the counts of people, of the keypoints that the frame's
            skeleton had, of confidences, and how far poses moved.
    """
    place = Place(tally.frames, frame.image)
    tally.frames += 1
    own_count = len(frame.skeleton)
    joined = frame.skeleton.joined(skeleton)
    frame = frame.in_skeleton(joined)
    if len(frame) == 0:
        return frame
    given = joined.convert(frame.poses, skeleton)
    refined = gather(given, results, objective)
    changed = np.array([outcome is Outcome.REFINED for outcome in refined.outcomes])
    known = skeleton.mapping_to(joined) >= 0  # (K,) keypoints that the network knows
    counted = known & (np.arange(len(joined)) < own_count)

    poses = skeleton.convert(refined.keypoints, joined)
    after = np.where(changed[:, None], ~np.isnan(poses[..., 0]), frame.present)
    replaced = changed[:, None] & known  # (N, K)
    tally.outcomes.update(refined.outcomes)
    tally.count_keypoints(frame.present[:, counted], after[:, counted])
    heads = []
    for pose, result in zip(given, results, strict=True):
        if isinstance(result, RefinedPose):
            heads.append(_movement(pose, result))
            tally.count_movement(heads[-1])
            tally.count_confidences(result.confidence)
        elif result.detail:
            tally.bad_images[result.detail] += 1
    tally.note_frame(place, refined.outcomes, heads)
    result_frame = replace(
        frame,
        keypoints=np.where(replaced[..., None], poses, frame.keypoints),
        flags=np.where(replaced, after, frame.flags),
        confidences=skeleton.convert(refined.confidence, joined),
    )
    return rescored(frame, result_frame, own_count, objective.score)


def _movement(pose: FloatArray, result: RefinedPose) -> float:
    """Returns how far the keypoints of a pose (K, 2) have moved on average, in head sizes.

    All that the network proposes counts, also what is not kept.
    """
    with np.errstate(over="ignore"):  # absurd coordinates
        distances = np.linalg.norm(result.keypoints - pose, axis=1)  # (K,)
    return float(np.nanmean(distances)) / result.head_size


@dataclass(frozen=True)
class _Loaded:
    """A frame whose image has been looked for.

    Attributes:
        part: Number of its part.
        number: Its place in the part.
        poses: (N, K, 2) of its people, in the network's order.
        scores: (N, K) of the keypoints, NaN where there is none.
        scales: N, of the people.
        image: (H, W, 3) RGB, or None if it cannot be read.
        problem: What is wrong with the image.
    """

    part: int
    number: int
    poses: FloatArray
    scores: FloatArray
    scales: list[float]
    image: Image | None
    problem: str = ""


def _people(
    refiner: PoseRefiner, parts: Sequence[Sequence[Frame]], images: ImageSource
) -> Iterator[PersonCrop | PassedThrough]:
    """Yields what the network needs of each person, or why there is nothing.

    Images are read and people cut out in threads: so many of each ahead of their use, whatever a frame holds.
    """

    def frames() -> Iterator[tuple[int, int, Frame]]:
        for part, part_frames in enumerate(parts):
            yield from ((part, number, frame) for number, frame in enumerate(part_frames) if len(frame))

    def load(item: tuple[int, int, Frame]) -> _Loaded:
        part, number, frame = item
        poses, scores = (frame.skeleton.convert(own, refiner.skeleton) for own in (frame.poses, frame.scores))
        scales = refiner.scales(frame)
        try:
            return _Loaded(part, number, poses, scores, scales, images.read(frame))
        except UserError as error:
            return _Loaded(part, number, poses, scores, scales, None, str(error))

    def people() -> Iterator[tuple[_Loaded, int]]:
        for loaded in _ahead(loading, load, frames(), threads):
            yield from ((loaded, person) for person in range(len(loaded.poses)))

    def cut(item: tuple[_Loaded, int]) -> PersonCrop | PassedThrough:
        loaded, person = item
        key = PersonKey(loaded.part, loaded.number, person)
        if loaded.image is None:
            return PassedThrough(key, Outcome.BAD_IMAGE, loaded.problem)
        scale, scores = loaded.scales[person], loaded.scores[person]
        return refiner.prepare(loaded.image, loaded.poses[person], key, scale, scores)

    # On a CPU the network itself uses all cores.
    threads = min(16, os.cpu_count() or 1) if refiner.device.type == "cuda" else 1
    with ThreadPoolExecutor(threads) as pool, ThreadPoolExecutor(1) as one_thread:
        loading = one_thread if images.in_order else pool
        try:
            yield from _ahead(pool, cut, people(), 2 * threads)
        finally:
            for executor in (pool, one_thread):
                executor.shutdown(wait=False, cancel_futures=True)


def _ahead(pool: ThreadPoolExecutor, work: Callable[[S], T], items: Iterable[S], count: int) -> Iterator[T]:
    """Yields what the work makes of each item, in order; up to `count` items are worked on ahead of their use."""
    running: deque[Future[T]] = deque()
    for item in items:
        running.append(pool.submit(work, item))
        if len(running) > count:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()

"""Refining frames as one stream: images are decoded ahead, people are batched across frames."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch

from hpr.errors import UserError
from hpr.images import Image, ImageSource
from hpr.poses import FloatArray, Frame, FrameKey, PoseSequence
from hpr.refine.batching import PersonCrop
from hpr.refine.engine import PoseRefiner
from hpr.refine.merge import apply_refined
from hpr.refine.objective import Objective
from hpr.refine.results import FAILURES, Outcome, PersonKey, RefinedPose, RefinedPoses
from hpr.refine.sharing import Part, RefinedPart, join_parts, share
from hpr.refine.tally import Tally
from hpr.skeleton import Skeleton

S = TypeVar("S")
T = TypeVar("T")


def refine_sequences(
    refiner: PoseRefiner, sequences: Sequence[PoseSequence], images: ImageSource, objective: Objective
) -> list[PoseSequence]:
    """Refines all poses of some sequences; see `refine_parts`."""
    (parts,) = share([sequences], 1)
    return join_parts(sequences, refine_parts(refiner, [sequences], parts, images, objective))


def refine_parts(
    refiner: PoseRefiner,
    files: Sequence[Sequence[PoseSequence]],
    parts: Sequence[Part],
    images: ImageSource,
    objective: Objective,
    progress: Callable[[int], Any] = lambda people: None,
    strict: bool = False,
) -> Iterator[RefinedPart]:
    """Refines all poses of some parts of files.

    Args:
        refiner: The engine.
        files: The sequences of each file.
        parts: Which frames of the files to refine, from `share`.
        images: Where the images are. Poses of an image that cannot be read are unchanged.
        objective: Which keypoints are kept and how they are scored.
        progress: Called with the number of people done since the last call.
        strict: Raise an error at the first pose that should have been refined but was not.

    Yields:
        Each part as soon as everyone in it is done.

    Raises:
        UserError: `strict`, and a pose was not refined.
    """
    frames = [files[part.file][part.sequence].frames[part.start : part.stop] for part in parts]
    results: list[dict[PersonKey, RefinedPose]] = [{} for _ in parts]

    def finish(index: int) -> RefinedPart:
        return _refined_part(index, parts[index], frames[index], results[index], refiner.skeleton, objective)

    yield from (finish(index) for index, part in enumerate(parts) if part.people == 0)

    for result in refiner.refine_crops(iter_crops(refiner, frames, images)):
        index, frame = result.key.frame
        if strict and result.outcome in FAILURES:
            where = f"{frames[index][frame].image}: person {result.key.person}"
            raise UserError(result.detail or f"{where}: {result.outcome.value}")

        results[index][result.key] = result
        progress(1)
        if len(results[index]) == parts[index].people:
            yield finish(index)
            results[index].clear()


def _refined_part(
    index: int,
    part: Part,
    frames: Sequence[Frame],
    results: dict[PersonKey, RefinedPose],
    skeleton: Skeleton,
    objective: Objective,
) -> RefinedPart:
    """Puts the results of a part's people into its frames and counts what happened.

    Args:
        index: Of the part in the stream, by which its people's keys begin.
        part: Which frames.
        frames: The frames as they were read.
        results: One for each person in them.
        skeleton: The network's.
        objective: Which keypoints are kept and how they are scored.
    """
    refined_frames, tally = [], Tally()
    for number, frame in enumerate(frames):
        keys = [PersonKey(FrameKey(index, number), person) for person in range(len(frame))]
        refined = RefinedPoses.stack([results[key] for key in keys], skeleton)
        after = apply_refined(frame, refined, skeleton, objective)
        tally.count(frame, refined, after, skeleton)
        refined_frames.append(after)
    return RefinedPart(part, refined_frames, tally)


def iter_crops(
    refiner: PoseRefiner, parts: Sequence[Sequence[Frame]], images: ImageSource
) -> Iterator[PersonCrop | RefinedPose]:
    """Yields what the network sees of each person, or an outcome where there is nothing to refine.

    Images are decoded and people cropped ahead in threads, in two bounded stages: one frame may hold a hundred people.

    Args:
        refiner: Makes the crops.
        parts: Lists of frames. The key of a person is the index of the list, of the frame in it and of the person.
        images: Where the images are.
    """
    workers = _num_workers(refiner.device)
    decode_workers = 1 if images.in_order else workers  # seeking back in a video is slow
    jobs = ((FrameKey(p, f), frame) for p, part in enumerate(parts) for f, frame in enumerate(part) if len(frame))

    with ThreadPoolExecutor(decode_workers) as decoders, ThreadPoolExecutor(workers) as croppers:
        decoded = prefetch(decoders, partial(_decode_frame, refiner, images), jobs, workers)
        people = ((frame, person) for frame in decoded for person in range(len(frame.poses)))
        yield from prefetch(croppers, partial(_crop_person, refiner), people, 2 * workers)


def _num_workers(device: torch.device) -> int:
    """Returns the number of threads for decoding and for cropping; on a CPU the network itself uses all cores."""
    return min(16, os.cpu_count() or 1) if device.type == "cuda" else 1


@dataclass(frozen=True)
class _DecodedFrame:
    """A frame with its image, and its poses in the network's skeleton.

    Attributes:
        key: Which frame.
        image: (H, W, 3) RGB; None if it cannot be read.
        problem: What is wrong with the image; may be empty.
        poses: (N, K, 2) in image pixels.
        scores: (N, K) of the keypoints, NaN where there is none.
        scales: N, of the people.
    """

    key: FrameKey
    image: Image | None
    problem: str
    poses: FloatArray
    scores: FloatArray
    scales: list[float]


def _decode_frame(refiner: PoseRefiner, images: ImageSource, job: tuple[FrameKey, Frame]) -> _DecodedFrame:
    key, frame = job
    image, problem = None, ""
    try:
        image = images.read(frame)
    except UserError as error:
        problem = str(error)
    return _DecodedFrame(key, image, problem, *refiner.network_poses(frame))


def _crop_person(refiner: PoseRefiner, job: tuple[_DecodedFrame, int]) -> PersonCrop | RefinedPose:
    frame, person = job
    key = PersonKey(frame.key, person)
    if frame.image is None:
        return RefinedPose(key, Outcome.BAD_IMAGE, frame.problem)
    return refiner.crop_person(frame.image, frame.poses[person], key, frame.scales[person], frame.scores[person])


def prefetch(pool: ThreadPoolExecutor, work: Callable[[S], T], items: Iterable[S], depth: int) -> Iterator[T]:
    """Yields `work(item)` of each item in order; the pool works on up to `depth` items ahead."""
    running: deque[Future[T]] = deque()
    try:
        for item in items:
            running.append(pool.submit(work, item))
            if len(running) > depth:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        for future in running:
            future.cancel()

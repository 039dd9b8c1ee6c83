"""Refining frames as one stream: images are decoded ahead, people are batched across frames."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np

from hpr.crops import canvas_scales, reduction_for
from hpr.errors import UserError
from hpr.images import Image, ImageSource
from hpr.pixels import REDUCTIONS, reductions_of
from hpr.poses import FloatArray, Frame, FrameKey, PoseSequence
from hpr.refine.batching import PersonCrop
from hpr.refine.engine import PoseRefiner
from hpr.refine.merge import apply_refined
from hpr.refine.objective import Objective
from hpr.refine.results import FAILURES, Outcome, PersonKey, RefinedPose, RefinedPoses
from hpr.refine.sharing import Part, RefinedPart, join_parts, share
from hpr.refine.tally import Tally

S = TypeVar("S")
T = TypeVar("T")


def refine_sequences(
    refiner: PoseRefiner,
    sequences: Sequence[PoseSequence],
    images: ImageSource,
    objective: Objective,
    min_score: float = 0.0,
) -> list[PoseSequence]:
    """Refines all poses of some sequences; see `refine_parts`."""
    (parts,) = share([sequences], 1)
    return join_parts(sequences, refine_parts(refiner, [sequences], parts, images, objective, min_score))


def refine_parts(
    refiner: PoseRefiner,
    files: Sequence[Sequence[PoseSequence]],
    parts: Sequence[Part],
    images: ImageSource,
    objective: Objective,
    min_score: float = 0.0,
    progress: Callable[[int], Any] = lambda people: None,
    strict: bool = False,
) -> Iterator[RefinedPart]:
    """Refines all poses of some parts of files; yields each part as soon as everyone in it is done.

    Args:
        refiner: The engine.
        files: The sequences of each file.
        parts: Which frames of the files to refine, from `share`.
        images: Where the images are. Poses of an image that cannot be read are unchanged.
        objective: Which keypoints are kept and how they are scored.
        min_score: Keypoints of a lower score are missing for the network.
        progress: Called with the number of people done since the last call.
        strict: Raise an error at the first pose that should have been refined but was not.

    Raises:
        UserError: `strict`, and a pose was not refined.
    """
    frames = [files[part.file][part.sequence].frames[part.start : part.stop] for part in parts]
    results: list[dict[PersonKey, RefinedPose]] = [{} for _ in parts]

    def finish(index: int) -> RefinedPart:
        refined_frames, tally = [], Tally()
        for number, frame in enumerate(frames[index]):
            keys = [PersonKey(FrameKey(index, number), person) for person in range(len(frame))]
            refined = RefinedPoses.stack([results[index][key] for key in keys], refiner.skeleton)
            after = apply_refined(frame, refined, refiner.skeleton, objective, min_score)
            tally.count(frame, refined, after, refiner.skeleton, min_score)
            refined_frames.append(after)
        return RefinedPart(parts[index], refined_frames, tally)

    yield from (finish(index) for index, part in enumerate(parts) if part.people == 0)

    seen = [[frame.without_uncertain(min_score) for frame in part] for part in frames]
    for result in refiner.refine_crops(iter_crops(refiner, seen, images)):
        index, frame = result.key.frame
        if strict and result.outcome in FAILURES:
            where = f"{frames[index][frame].image}: person {result.key.person}"
            raise UserError(result.detail or f"{where}: {result.outcome.value}")

        results[index][result.key] = result
        progress(1)
        if len(results[index]) == parts[index].people:
            yield finish(index)
            results[index].clear()


def iter_crops(
    refiner: PoseRefiner, parts: Sequence[Sequence[Frame]], images: ImageSource
) -> Iterator[PersonCrop | RefinedPose]:
    """Yields what the network sees of each person, or an outcome where there is nothing to refine.

    Images are decoded and people cropped ahead in threads, in two bounded stages: one frame may hold a hundred people.
    The key of a person is the index of the part, of the frame in it and of the person.
    """
    # On a CPU, the network uses all cores. While it waits for the crops of a batch, all cores decode and crop.
    workers = min(16 if refiner.device.type == "cuda" else 4, os.cpu_count() or 1)
    decode_workers = 1 if images.in_order else workers  # seeking back in a video is slow
    jobs = ((FrameKey(p, f), frame) for p, part in enumerate(parts) for f, frame in enumerate(part) if len(frame))

    with ThreadPoolExecutor(decode_workers) as decoders, ThreadPoolExecutor(workers) as croppers:
        decoded = prefetch(decoders, partial(_decode_frame, refiner, images), jobs, workers)
        people = (person for frame in decoded for person in frame)
        yield from prefetch(croppers, lambda make_crop: make_crop(), people, 2 * workers)


def _decode_frame(
    refiner: PoseRefiner, images: ImageSource, job: tuple[FrameKey, Frame]
) -> list[Callable[[], PersonCrop | RefinedPose]]:
    """Reads the image of a frame; returns a function for each person that makes their crop."""
    frame_key, frame = job
    keys = [PersonKey(frame_key, person) for person in range(len(frame))]
    poses, scores, scales, boxes = refiner.network_poses(frame)
    try:
        image, reduction = _read_image(images, frame, boxes, refiner.canvas)
    except UserError as error:
        return [partial(RefinedPose, key, Outcome.BAD_IMAGE, str(error)) for key in keys]

    people = zip(poses, keys, scales, scores, boxes, strict=True)
    return [partial(refiner.crop_person, image, *person, reduction) for person in people]


def _read_image(
    images: ImageSource, frame: Frame, boxes: FloatArray, canvas: tuple[int, int] | None
) -> tuple[Image, int]:
    """Reads the image of a frame; returns it and what its sides were divided by.

    For crops of a canvas's size, an image of large people is read faster with fewer pixels, which are still more than
    the crops have. Other crops are those of the whole image to the last bit.
    """
    if canvas is None:
        return images.read(frame), 1

    scale = float(np.fmax.reduce(canvas_scales(boxes, canvas)))  # of the smallest person; NaN without keypoints
    reduction = reduction_for(scale, REDUCTIONS)
    if reduction > 1:
        reduction = reduction_for(scale, reductions_of(images.size(frame)))
    return images.read(frame, reduction), reduction


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

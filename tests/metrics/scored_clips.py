"""Clips of people to be scored, for the tests of the scores."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from hpr.metrics.posetrack import PoseTrackTruth
from hpr.metrics.scores import Scores
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.skeleton import POSETRACK15, Skeleton

HEAD_BOX = np.array([0.0, 0.0, 30.0, 40.0])  # diagonal 50, so the head size is 30: keypoints match within 15 pixels


def people(count: int, seed: int = 0) -> FloatArray:
    """Poses (count, 15, 2) far from each other."""
    return np.random.default_rng(seed).uniform(0, 500, (count, 15, 2)) + 1000 * np.arange(count)[:, None, None]


class Person(NamedTuple):
    """Someone in a frame: keypoints (K, 2), a track id, a score for all or for each, and a head box."""

    keypoints: FloatArray
    track: int | None = 0
    scores: Any = 0.5
    head_box: FloatArray = HEAD_BOX


def frame(image: str, persons: list[Person], skeleton: Skeleton = POSETRACK15) -> Frame:
    keypoints = np.array([person.keypoints for person in persons]).reshape(-1, len(skeleton), 2)
    scores = np.array([np.broadcast_to(np.asarray(person.scores, float), len(skeleton)) for person in persons])
    return Frame(
        image,
        skeleton,
        keypoints,
        scores.reshape(keypoints.shape[:2]),
        head_boxes=np.array([person.head_box for person in persons]).reshape(-1, 4),
        track_ids=tuple(person.track for person in persons),
    )


def sequence(*frames: list[Person], name: str = "clip", skeleton: Skeleton = POSETRACK15) -> PoseSequence:
    return PoseSequence(name, [frame(f"{i:06d}.jpg", persons, skeleton) for i, persons in enumerate(frames)])


def wild_clip(seed: int, frames: int = 5) -> tuple[PoseSequence, PoseSequence]:
    """Truth and prediction of people who come and go, near each other, with errors and identity switches."""
    random = np.random.default_rng(seed)
    truth, predicted = [], []
    bodies = random.uniform(0, 60, (3, 15, 2))
    for _ in range(frames):
        bodies = bodies + random.normal(0, 4, bodies.shape)
        there = [i for i in range(3) if random.random() < 0.8]
        truth.append([Person(_thinned(bodies[i], random), i) for i in there])
        names = random.permutation(4)
        estimates = [
            _thinned(bodies[i] + random.normal(0, 8, (15, 2)), random) for i in range(3) if random.random() < 0.8
        ]
        predicted.append([Person(pose, int(names[i]), random.random(15)) for i, pose in enumerate(estimates)])
    return sequence(*truth), sequence(*predicted)


def _thinned(pose: FloatArray, random: np.random.Generator) -> FloatArray:
    return np.where(random.random((15, 1)) < 0.8, pose, np.nan)


def score(*pairs: tuple[PoseSequence, PoseSequence], mota_threshold: float = 0.0) -> Scores:
    """Scores pairs of truth and prediction, each in a file of its own."""
    truth, predicted = ({str(i): [pair[side]] for i, pair in enumerate(pairs)} for side in (0, 1))
    return PoseTrackTruth(truth).score(predicted, mota_threshold=mota_threshold)


def total(truth: PoseSequence, predicted: PoseSequence) -> dict[str, float]:
    """Returns the totals over keypoints; they are what one keypoint has where all fare alike."""
    return {metric: row["total"] for metric, row in score((truth, predicted)).by_keypoint.items()}


def without_track_ids(poses: PoseSequence) -> PoseSequence:
    return replace(poses, frames=[replace(f, track_ids=(None,) * len(f)) for f in poses.frames])

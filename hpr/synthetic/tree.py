"""Clips of drawn people on disk, as a PoseTrack 2018 tree: images, annotations, and predictions with errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpr.files import replacing
from hpr.formats import PoseTrack18
from hpr.pose_errors.draw import PoseErrors, false_estimate, out_of_sight
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.seeds import Purpose, generator
from hpr.skeleton import POSETRACK15
from hpr.synthetic.scene import OUTSIDE, Clip, PersonTruth

MIN_KEYPOINTS = 4
"""People with fewer visible keypoints are not annotated; an ignore region takes their place."""

FRAMES_PER_SECOND = 10.0

_IDENTITY_SWITCH = 0.02

_DUPLICATE_SCORE = 0.7
"""Factor applied to the scores of a second estimate of the same person."""


def write_tree(
    folder: Path,
    seeds: Sequence[tuple[int, ...]],
    frames: int,
    errors: PoseErrors,
    held_out: bool,
    size: tuple[int, int] | None = None,
    progress: Callable[[int], Any] = lambda clips: None,
    purpose: Purpose = Purpose.SAMPLE_SCENE,
) -> None:
    """Writes clips to `folder/images/<clip>`, `folder/annotations` and `folder/predictions`.

    Args:
        folder: Output folder.
        seeds: One seed per clip; the clip is named after it.
        frames: Number of frames of each clip.
        errors: Mistakes of the predictions. In 2 % of the frames, two people also swap their track ids.
        held_out: Whether people wear clothes that training never draws.
        size: Width and height of the images; None draws them for each clip.
        progress: Called with the number of clips done.
        purpose: Random stream of the clips; equal seeds of two purposes draw different clips.

    Raises:
        UserError: The folder cannot be written to.
    """
    for seed in seeds:
        name = "clip_" + "_".join(f"{number:04d}" for number in seed)
        clip = Clip((purpose, *seed), held_out, size)
        estimator = _Estimator(errors, {}, generator(Purpose.CLIP_ESTIMATE, purpose, *seed))
        truth, predictions = [], []
        for index in range(frames):
            encoded, people = clip.encoded_frame(index / FRAMES_PER_SECOND)
            image = f"images/{name}/{index:06d}.jpg"
            with replacing(folder / image) as temporary:
                temporary.write_bytes(encoded)

            annotated = [person for person in people if keypoint_count(person) >= MIN_KEYPOINTS]
            hidden = [person for person in people if 0 < keypoint_count(person) < MIN_KEYPOINTS]
            regions = tuple(_region(person, clip.size) for person in hidden)
            truth.append(_truth(image, annotated, regions, clip.size))
            predictions.append(estimator.frame(image, annotated, regions, clip.size))

        PoseTrack18().write([PoseSequence(name, truth)], folder / "annotations" / f"{name}.json")
        PoseTrack18().write([PoseSequence(name, predictions)], folder / "predictions" / f"{name}.json")
        progress(1)


def keypoint_count(person: PersonTruth) -> int:
    """Returns the number of keypoints that an annotator would mark."""
    return int((~np.isnan(person.annotated[:, 0])).sum())


def _region(person: PersonTruth, size: tuple[int, int]) -> FloatArray:
    """Returns the corners (4, 2) of a box around the part of a person that is inside the image."""
    inside = person.keypoints[person.occlusion != OUTSIDE]
    x0, y0 = np.maximum(inside.min(axis=0) - 15, 0).round()
    x1, y1 = np.minimum(inside.max(axis=0) + 15, size).round()
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def _truth(image: str, people: list[PersonTruth], regions: tuple[FloatArray, ...], size: tuple[int, int]) -> Frame:
    """Returns the annotation of a frame."""
    poses = _poses(people)
    return Frame(
        image,
        POSETRACK15,
        poses.round(2),
        boxes=_boxes(poses),
        head_boxes=np.array([person.head_box for person in people]).reshape(-1, 4).round(2),
        track_ids=tuple(person.track_id for person in people),
        ignore_regions=regions,
        size=size,
    )


@dataclass
class _Estimator:
    """Draws the estimates of a clip's frames, one frame after the other.

    Attributes:
        errors: Draws the mistakes of each pose.
        tracks: True → predicted track id; changes when identities are switched.
        random: Generator of random numbers.
    """

    errors: PoseErrors
    tracks: dict[int, int]
    random: np.random.Generator

    def frame(
        self, image: str, people: list[PersonTruth], regions: tuple[FloatArray, ...], size: tuple[int, int]
    ) -> Frame:
        """Returns the prediction for a frame."""
        for person in people:
            self.tracks.setdefault(person.track_id, person.track_id)
        if len(people) > 1 and self.random.random() < _IDENTITY_SWITCH:
            a, b = (people[i].track_id for i in self.random.choice(len(people), 2, replace=False))
            self.tracks[a], self.tracks[b] = self.tracks[b], self.tracks[a]

        estimates = self._estimate_people(people, size)
        poses = np.array([pose for pose, _, _ in estimates]).reshape(-1, len(POSETRACK15), 2)
        scores = np.array([scores for _, scores, _ in estimates]).reshape(-1, len(POSETRACK15))
        return Frame(
            image,
            POSETRACK15,
            poses.round(2),
            np.where(np.isnan(poses[..., 0]), 0, scores).round(3),
            boxes=_boxes(poses),
            track_ids=tuple(track_id for _, _, track_id in estimates),
            ignore_regions=regions,
            size=size,
        )

    def _estimate_people(
        self, people: list[PersonTruth], size: tuple[int, int]
    ) -> list[tuple[FloatArray, FloatArray, int]]:
        """Returns poses (15, 2), scores (15,) and track ids; some people are missed, found twice or do not exist."""
        poses, errors, estimates = _poses(people), self.errors, []

        def estimate(index: int) -> tuple[FloatArray, FloatArray]:
            pose, neighbours = poses[index], np.delete(poses, index, axis=0)
            hidden = out_of_sight(people[index].keypoints, pose, size, self.random)
            drawn, mistakes = errors.draw(pose, neighbours, POSETRACK15, self.random, hidden)
            return drawn, errors.draw_scores(mistakes, self.random)

        def new_track() -> int:
            return 1000 + int(self.random.integers(1000))

        for i, person in enumerate(people):
            if self.random.random() >= errors.missed_person:
                estimates.append((*estimate(i), self.tracks[person.track_id]))
            if self.random.random() < errors.duplicate_person:
                track_id = new_track()
                pose, scores = estimate(i)
                estimates.append((pose, _DUPLICATE_SCORE * scores, track_id))
            if self.random.random() < errors.false_person:
                scores = self.random.uniform(0.05, 0.65, len(POSETRACK15))
                estimates.append((false_estimate(poses, size, self.random), scores, new_track()))
        return estimates


def _poses(people: list[PersonTruth]) -> FloatArray:
    """Returns the annotated keypoints (N, 15, 2)."""
    return np.array([person.annotated for person in people]).reshape(-1, len(POSETRACK15), 2)


def _boxes(poses: FloatArray) -> FloatArray:
    """Returns the boxes (N, 4) of keypoints (N, K, 2), with corner and extent rounded to a tenth of a pixel."""
    if len(poses) == 0:
        return np.empty((0, 4))
    low, high = np.nanmin(poses, axis=1), np.nanmax(poses, axis=1)
    return np.concatenate([low.round(1), low.round(1) + (high - low).round(1)], axis=1)

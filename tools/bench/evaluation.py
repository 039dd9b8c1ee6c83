"""How long scoring takes, from files to numbers."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpr.metrics.posetrack import evaluate_files
from hpr.formats import PoseTrack18
from hpr.poses import FloatArray, Frame, PoseSequence, TrackId
from hpr.skeleton import POSETRACK15, POSETRACK18

_HEAD = (40.0, 50.0)
"""Width and height of all head boxes, in pixels."""


def benchmark_evaluation(sequences: int, frames: int, people: int) -> dict[str, Any]:
    """Writes drawn files with PoseTrack's amount of errors and identity switches, and scores them.

    Returns:
        Number of sequences, of frames in each and of people in each frame, megabytes of the files, and seconds.
    """
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(sequences):
            _write_clip(Path(folder), f"{number:03d}", frames, people, random)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.json"))
        start = time.perf_counter()
        evaluate_files(PoseTrack18(), Path(folder) / "truth", Path(folder) / "predictions")
        seconds = time.perf_counter() - start
    return {"sequences": sequences, "frames": frames, "people": people, "megabytes": size / 1e6, "seconds": seconds}


def _write_clip(folder: Path, name: str, frames: int, people: int, random: np.random.Generator) -> None:
    """Writes ground truth and prediction of people who drift and now and then swap their track ids."""
    bodies = random.uniform(100, 1800, (people, 1, 2)) + random.normal(0, 60, (people, 15, 2))
    speed = random.normal(0, 3, (people, 1, 2))
    tracks = np.arange(people)
    truth, predictions = [], []
    for number in range(frames):
        if random.random() < 0.05:
            tracks = random.permutation(tracks)
        image = f"images/val/{name}/{number:06d}.jpg"
        true_frame, predicted_frame = _draw_frame(image, bodies + number * speed, tracks.tolist(), random)
        truth.append(true_frame)
        predictions.append(predicted_frame)

    for kind, content in (("truth", truth), ("predictions", predictions)):
        PoseTrack18().write([PoseSequence(name, content)], folder / kind / f"{name}.json")


def _draw_frame(
    image: str, bodies: FloatArray, tracks: Sequence[TrackId], random: np.random.Generator
) -> tuple[Frame, Frame]:
    """Returns ground truth and prediction of people (N, 15, 2); 8% of them and 10% of the keypoints are missed."""
    annotated, predicted, scores, kept = [], [], [], []
    for body, track in zip(bodies, tracks, strict=True):
        annotated.append(_thinned(body, random))
        if random.random() < 0.92:
            predicted.append(_thinned(body + random.normal(0, 12, body.shape), random))
            scores.append(random.random(len(POSETRACK18)))
            kept.append(track)

    corners = bodies[:, 0]
    heads = np.hstack([corners, corners + _HEAD])  # (N, 4)
    truth = Frame(image, POSETRACK18, np.array(annotated), head_boxes=heads, track_ids=tuple(range(len(bodies))))
    if not kept:
        return truth, Frame.empty(image, POSETRACK18)
    return truth, Frame(image, POSETRACK18, np.array(predicted), np.array(scores), track_ids=tuple(kept))


def _thinned(body: FloatArray, random: np.random.Generator) -> FloatArray:
    """Returns a pose (17, 2) of POSETRACK18 for one (15, 2) of POSETRACK15, with a tenth of its keypoints missing."""
    pose: FloatArray = POSETRACK15.convert(body[None], POSETRACK18)[0]
    pose[random.random(len(pose)) < 0.1] = np.nan
    return pose

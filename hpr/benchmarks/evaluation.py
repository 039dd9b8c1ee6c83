"""How long scoring takes, from files to numbers."""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from hpr.evaluation.posetrack import evaluate_files
from hpr.formats import PoseTrack18
from hpr.skeleton import POSETRACK18_KEYPOINTS, POSETRACK18_SLOTS


def benchmark_evaluation(sequences: int, frames: int, people: int) -> dict[str, Any]:
    """Writes drawn files with PoseTrack's amount of errors and identity switches, and scores them.

    Returns:
        Number of files, their megabytes, seconds, and joints scored per second.
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
    """Writes truth and prediction of people who drift, with 8% of the people and 10% of the joints missing."""
    bodies = random.uniform(100, 1800, (people, 1, 2)) + random.normal(0, 60, (people, 15, 2))
    speed = random.normal(0, 3, (people, 1, 2))
    tracks = np.arange(people)
    truth: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    for frame in range(frames):
        if random.random() < 0.05:
            tracks = random.permutation(tracks)
        for person, joints in enumerate(bodies + frame * speed):
            box = [*joints[0].tolist(), 40.0, 50.0]
            common = {"image_id": frame, "category_id": 1}
            keypoints = _keypoints(joints, random)
            truth.append({**common, "track_id": person, "keypoints": keypoints, "scores": [], "bbox_head": box})
            if random.random() < 0.92:
                keypoints = _keypoints(joints + random.normal(0, 12, (15, 2)), random)
                scores = random.random(len(POSETRACK18_KEYPOINTS)).tolist()
                predictions.append(
                    {**common, "track_id": int(tracks[person]), "keypoints": keypoints, "scores": scores}
                )
    images = [{"id": i, "frame_id": i, "file_name": f"images/val/{name}/{i:06d}.jpg"} for i in range(frames)]
    for kind, annotations in (("truth", truth), ("predictions", predictions)):
        (folder / kind).mkdir(exist_ok=True)
        (folder / kind / f"{name}.json").write_text(json.dumps({"images": images, "annotations": annotations}))


def _keypoints(joints: np.ndarray[Any, Any], random: np.random.Generator) -> list[float]:
    triples = np.zeros((len(POSETRACK18_KEYPOINTS), 3))
    triples[list(POSETRACK18_SLOTS)] = np.c_[joints, np.ones(len(joints))]
    triples[random.random(len(triples)) < 0.1] = 0
    return [float(value) for value in triples.ravel()]

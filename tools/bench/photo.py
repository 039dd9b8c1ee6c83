"""The photograph refiner on this machine: its network by PyTorch and by ONNX Runtime, and end to end."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from hpr.images import open_images, read_image
from hpr.models.checkpoints import load_network
from hpr.poses import Frame, FrameKey, PoseSequence
from hpr.refine.batching import PersonCrop, collate
from hpr.refine.engine import PoseRefiner
from hpr.refine.objective import MAP
from hpr.refine.results import PersonKey
from hpr.refine.stream import refine_sequences
from hpr.report.tables import format_table
from hpr.skeleton import COCO17
from tools.bench.refining import write_frame

_BATCH = 8


def benchmark_photo(device: str, precision: str, flip: bool, frames: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Measures people per second, one person in each 1080p frame.

    Args:
        device: As for `PoseRefiner`.
        precision: As for `PoseRefiner`.
        flip: Whether to average with the mirror image.
        frames: Number of photographs, and of the video's frames.
        rounds: The median of so many measurements counts.
        folder: Where the photographs and the video are written.

    Returns:
        By runtime: people per second of the network alone (also compiled by `torch.compile` on a CPU), of a folder of
        photographs and of a video, and how much longer these take than the network alone.
    """
    paths = [folder / f"{index:06}.jpg" for index in range(frames)]
    video = cv2.VideoWriter(str(folder / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (1920, 1080))
    for path in paths:
        write_frame(path)
        video.write(cv2.imread(str(path)))
    video.release()
    random, people = np.random.default_rng(0), []
    for index, path in enumerate(paths):
        height = random.uniform(200, 900)
        low = random.uniform([50, 20], [1500, 1060 - height])
        pose = random.uniform(low, low + [height / 3, height], (1, 17, 2))
        box = np.concatenate([low, low + [height / 3, height]])[None]
        people.append(Frame(path.name, COCO17, pose, np.full((1, 17), 0.8), boxes=box, number=index))
    sequence = PoseSequence("benchmark", people)

    refiners = {"PyTorch": PoseRefiner(load_network("photo"), device, precision, flip)}
    loaded = PoseRefiner.load("photo", device, precision, flip=flip)
    refiners |= {loaded.runtime: loaded}
    return {
        name: _measure(refiner, sequence, folder, rounds, compiled=name == "PyTorch" and refiner.device.type == "cpu")
        for name, refiner in refiners.items()
    }


def _measure(refiner: PoseRefiner, sequence: PoseSequence, folder: Path, rounds: int, compiled: bool) -> dict[str, Any]:
    frame, count = sequence.frames[0], len(sequence.frames)
    ((pose,), (scores,), (scale,), (box,)) = refiner.network_poses(frame)
    image, key = read_image(folder / frame.image), PersonKey(FrameKey(0, 0), 0)
    person = refiner.crop_person(image, pose, key, scale, scores, box)
    assert isinstance(person, PersonCrop)
    batch = collate([person] * _BATCH, refiner._network, refiner.device)

    def network() -> None:
        for _ in range(-(-count // _BATCH)):
            refiner.predict(batch).keypoints.cpu()

    def refine(location: Path) -> Callable[[], object]:
        return lambda: refine_sequences(refiner, [sequence], open_images(str(location)), MAP)

    alone = _seconds(network, rounds) / count
    result = {"network": 1 / alone}
    for name, location in (("photographs", folder), ("video", folder / "clip.avi")):
        seconds = _seconds(refine(location), rounds) / count
        alone = statistics.mean([alone, _seconds(network, rounds) / count])  # the speed of a machine drifts
        result |= {name: 1 / seconds, f"{name}: time over network's": seconds / alone}
    if compiled:
        start = time.perf_counter()
        refiner._forward = torch.compile(refiner._network)
        network()
        result |= {"seconds to compile": time.perf_counter() - start}
        result |= {"network compiled": count / _seconds(network, rounds)}
    return result


def _seconds(work: Callable[[], object], rounds: int) -> float:
    """Returns the median seconds of some work, after a first time."""
    work()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def photo_table(result: dict[str, Any]) -> str:
    """Formats the figures with a row for each runtime."""
    columns = list(next(iter(result.values())))
    rows = [
        [name, *(f"{own[column]:.2f}" if column in own else "" for column in columns)] for name, own in result.items()
    ]
    return format_table([["people per second", *columns], *rows])

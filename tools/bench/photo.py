"""The photograph refiner on this machine: its network by PyTorch and by ONNX Runtime, and end to end."""

import copy
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from hpr.images import open_images, read_image
from hpr.models.export import INPUT, onnx_model
from hpr.models.network import Refiner
from hpr.models.padding import PaddedBatch
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
        rounds: Number of measurements, of which the median is taken.
        folder: Where the photographs and the video are written.

    Returns:
        By runtime, on a CPU also `torch.compile` and, where it is installed, ONNX Runtime: people per second of the
        network alone, of a folder of photographs and of a video; how much longer these take than the network alone;
        and the seconds that preparing the runtime takes.
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
        high = low + np.array([height / 3, height])
        pose, box = random.uniform(low, high, (1, 17, 2)), np.concatenate([low, high])[None]
        people.append(Frame(path.name, COCO17, pose, np.full((1, 17), 0.8), boxes=box, number=index))
    sequence = PoseSequence("benchmark", people)

    refiner = PoseRefiner.load("photo", device, precision, flip=flip)
    runtimes: dict[str, Callable[[Refiner], Any]] = {"PyTorch": lambda network: network.forward}
    if refiner.device.type == "cpu":
        runtimes["torch.compile"] = lambda network: torch.compile(network.forward)
        if refiner.precision == "fp32" and all(map(find_spec, ("onnx", "onnxruntime", "onnxscript"))):
            runtimes["ONNX Runtime"] = _by_onnx_runtime

    frame = people[0]
    ((pose,), (scores,), (scale,), (box,)) = refiner.network_poses(frame)
    image, key = read_image(folder / frame.image), PersonKey(FrameKey(0, 0), 0)
    person = refiner.crop_person(image, pose, key, scale, scores, box)
    assert isinstance(person, PersonCrop)
    batch = collate([person] * _BATCH, refiner._network, refiner.device)

    result = {}
    for name, make in runtimes.items():
        start = time.perf_counter()
        with patch.object(refiner._network, "forward", make(refiner._network)):
            refiner.predict(batch)
            seconds = time.perf_counter() - start
            result[name] = {**_measure(refiner, batch, sequence, folder, rounds), "seconds to prepare": seconds}
    return result


def _by_onnx_runtime(network: Refiner) -> Callable[[PaddedBatch], tuple[Tensor, Tensor]]:
    """Returns a network's forward pass by ONNX Runtime."""
    import onnxruntime

    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = copy.deepcopy(network).to(memory_format=torch.contiguous_format)

        def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
            logits, offsets = self.network(PaddedBatch.whole(crops))
            return logits, offsets

    content = onnx_model(Graph().eval(), ("logits", "offsets"), network.canvas).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other threads decode and crop
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def forward(batch: PaddedBatch) -> tuple[Tensor, Tensor]:
        outputs: list[Any] = session.run(None, {INPUT: batch.tensors.contiguous().numpy()})
        return torch.from_numpy(outputs[0]), torch.from_numpy(outputs[1])

    return forward


def _measure(
    refiner: PoseRefiner, batch: PaddedBatch, sequence: PoseSequence, folder: Path, rounds: int
) -> dict[str, float]:
    count = len(sequence.frames)

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
    columns = list(result["PyTorch"])
    rows = [[name, *(f"{value:.2f}" for value in own.values())] for name, own in result.items()]
    return format_table([["people per second", *columns], *rows])

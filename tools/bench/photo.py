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


def benchmark_photo(
    device: str, precision: str, flip: bool, frames: int, people: int, rounds: int, folder: Path
) -> dict[str, Any]:
    """Measures people per second in 1080p frames.

    Args:
        device: As for `PoseRefiner`.
        precision: As for `PoseRefiner`.
        flip: Whether to average with the mirror image.
        frames: Number of photographs, and of the video's frames.
        people: Number of people in each.
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
    random, posed = np.random.default_rng(0), []
    for index, path in enumerate(paths):
        height = random.uniform(200, 900, people)
        low = np.stack([random.uniform(50, 1500, people), random.uniform(20, 1060 - height)], axis=1)  # (P, 2)
        high = low + np.stack([height / 3, height], axis=1)
        poses = random.uniform(low[:, None], high[:, None], (people, 17, 2))
        boxes = np.concatenate([low, high], axis=1)  # (P, 4)
        posed.append(Frame(path.name, COCO17, poses, np.full((people, 17), 0.8), boxes=boxes, number=index))
    sequence = PoseSequence("benchmark", posed)

    refiner = PoseRefiner.load("photo", device, precision, flip=flip)
    runtimes: dict[str, Callable[[Refiner], Any]] = {"PyTorch": lambda network: network.forward}
    if refiner.device.type == "cpu":
        runtimes["torch.compile"] = lambda network: torch.compile(network.forward)
        if refiner.precision == "fp32" and all(map(find_spec, ("onnx", "onnxruntime", "onnxscript"))):
            runtimes["ONNX Runtime"] = _by_onnx_runtime

    frame = posed[0]
    poses, scores, scales, boxes = refiner.network_poses(frame)
    image, key = read_image(folder / frame.image), PersonKey(FrameKey(0, 0), 0)
    person = refiner.crop_person(image, poses[0], key, scales[0], scores[0], boxes[0])
    assert isinstance(person, PersonCrop)
    size = max(1, refiner.batch_pixels // (person.crop.width * person.crop.height))
    batch = collate([person] * size, refiner._network, refiner.device)

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
    count, size = sequence.people, len(batch.tensors)
    num_batches = -(-count // size)

    def network() -> None:
        for _ in range(num_batches):
            refiner.predict(batch).keypoints.cpu()

    def refine(location: Path) -> Callable[[], object]:
        return lambda: refine_sequences(refiner, [sequence], open_images(str(location)), MAP)

    alone = _seconds(network, rounds) / (num_batches * size)
    result = {"network": 1 / alone}
    for name, location in (("photographs", folder), ("video", folder / "clip.avi")):
        seconds = _seconds(refine(location), rounds) / count
        again = _seconds(network, rounds) / (num_batches * size)
        alone = statistics.mean([alone, again])  # the speed of a machine drifts
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

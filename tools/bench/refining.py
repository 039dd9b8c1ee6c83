"""People refined per second, compared with the network alone and with the published code's way of working."""

import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from hpr import codec
from hpr.crops import MARGIN, STANDARD_SCALE, Crop, person_crop, person_scale
from hpr.errors import UserError
from hpr.images import Image, ImageFolder, read_image
from hpr.models.network import Refiner
from hpr.models.padding import PaddedBatch
from hpr.models.registry import build_network
from hpr.poses import FloatArray, Frame, FrameKey, PoseSequence
from hpr.refine.batching import PersonCrop, collate
from hpr.refine.engine import PoseRefiner
from hpr.refine.objective import MAP
from hpr.refine.results import PersonKey
from hpr.refine.stream import refine_sequences
from hpr.report.tables import format_table
from hpr.runtime.precision import DTYPES, PrecisionName, fp32_arithmetic
from hpr.skeleton import POSETRACK15

_IMAGE_SIZE = (1920, 1080)
_KEY = PersonKey(FrameKey(0, 0), 0)

Result = dict[str, Any]


def benchmark_refining(
    architecture: str,
    device: str,
    precision: str,
    crops: list[list[int]],
    people: list[int],
    rounds: int,
    progress: Callable[[int], Any] = lambda measurements: None,
) -> Result:
    """Measures the engine on 1080p JPEG frames, with flip and random weights.

    Args:
        architecture: Name of the network.
        device: As for `PoseRefiner`.
        precision: As for `PoseRefiner`; the published way computes in fp32.
        crops: Widths and heights of the people's crops, in pixels.
        people: Numbers of people in a frame.
        rounds: About as many people are refined in each measurement.
        progress: Called with the number of measurements done, one per crop size and number of people.

    Returns:
        The machine, its peaks, and the figures of each crop size.

    Raises:
        UserError: There is no such device or precision, or a crop of that size does not fit into a frame.
    """
    if any(len(size) != 2 for size in crops):
        raise UserError(f"refining.crops={crops}: expected pairs of width and height, such as [[536,634]]")
    if min(people, default=0) < 1:
        raise UserError(f"refining.people={people}: expected one number or more from 1 up")
    poses = [pose_with_crop((width, height)) for width, height in crops]

    network = build_network(architecture, POSETRACK15).eval().requires_grad_(False)
    refiner = PoseRefiner(network, device, precision)
    peaks = measure_peaks(refiner.device, refiner.precision)
    rows = [_measure_crop(network, refiner, pose, people, rounds, progress) for pose in poses]
    return {
        "model": architecture,
        "device": refiner.device_name,
        "threads": torch.get_num_threads(),
        "precision": refiner.precision,
        "peak_gflops": peaks,
        "crops": rows,
        "peak_memory_mb": _peak_memory(refiner.device),
    }


def _measure_crop(
    network: Refiner,
    refiner: PoseRefiner,
    pose: FloatArray,
    people: list[int],
    rounds: int,
    progress: Callable[[int], Any],
) -> Result:
    """Returns the figures for people of one pose (15, 2), whose crops have one size."""
    device = refiner.device
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.jpg"
        write_frame(path)
        image = read_image(path)
        person = refiner.crop_person(image, pose, _KEY)
        assert isinstance(person, PersonCrop)

        network.to(device)
        published = median_seconds(lambda: _refine_as_published(network, path, pose, device), device)
        batch_size = max(1, refiner.batch_pixels // (person.crop.width * person.crop.height))
        batch = collate([person] * batch_size, network, device)
        with FlopCounterMode(display=False) as counter:
            refiner.predict(batch)
        gflop = counter.get_total_flops() / batch_size / 1e9

        # The speed of a machine drifts: the network alone is measured around each measurement it is compared with.
        alone = [median_seconds(lambda: refiner.predict(batch), device) / batch_size]
        engine, ratios = {}, {}
        for count in people:
            engine[str(count)] = _seconds_per_person(refiner, path.parent, pose, count, max(1, rounds // count))
            alone.append(median_seconds(lambda: refiner.predict(batch), device) / batch_size)
            ratios[str(count)] = engine[str(count)] / statistics.mean(alone[-2:])
            progress(1)

        stages = {
            "decode": median_seconds(lambda: read_image(path), device),
            "crop": median_seconds(lambda: refiner.crop_person(image, pose, _KEY), device),
            "collate": median_seconds(lambda: collate([person], network, device), device),
            "network and pose": median_seconds(lambda: refiner.predict(collate([person], network, device)), device),
        }
    return {
        "size": [person.crop.width, person.crop.height],
        "gflop_per_person": gflop,
        "published_people_per_second": 1 / published,
        "network_people_per_second": 1 / statistics.median(alone),
        "network_gflops": gflop / statistics.median(alone),
        "engine_people_per_second": {count: 1 / seconds for count, seconds in engine.items()},
        "engine_time_over_network_time": ratios,
        "stages_seconds": stages,
    }


def write_frame(path: Path) -> None:
    """Writes a 1080p JPEG file of blurred noise."""
    noise = np.random.default_rng(0).integers(0, 256, (_IMAGE_SIZE[1] // 8, _IMAGE_SIZE[0] // 8, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, _IMAGE_SIZE, interpolation=cv2.INTER_CUBIC))


def pose_with_crop(size: tuple[int, int]) -> FloatArray:
    """Returns a pose (15, 2) in the middle of the image whose crop, at a scale of about 0.85, has a size.

    Raises:
        UserError: No pose in a frame has such a crop.
    """
    head = 50 / (0.6 * 1.4286)
    extent = (np.array(size) - 2 * MARGIN) / STANDARD_SCALE
    low = np.array(_IMAGE_SIZE) / 2 - extent / 2
    pose = low + np.random.default_rng(1).uniform(0, 1, (len(POSETRACK15), 2)) * extent
    pose[0], pose[1] = low, low + extent
    bottom, top = POSETRACK15.indices("head_bottom", "head_top")
    pose[bottom] = np.round(low)
    pose[top] = pose[bottom] + [0, round(head)]

    # The head has whole pixels; the far corner corrects what that does to the scale.
    crop = _published_crop(pose)
    if crop is not None:
        pose[1] += (np.array(size) - [crop.width, crop.height]) / crop.scale
        crop = _published_crop(pose)
    if crop is None or (crop.width, crop.height) != size:
        expected = "widths of 510 to 1600 and heights of 560 to 900 pixels, which fit into a 1080p frame"
        raise UserError(f"refining.crops: expected {expected}; found {size[0]} x {size[1]}")
    return pose


def _published_crop(pose: FloatArray) -> Crop | None:
    return person_crop(pose, _IMAGE_SIZE, person_scale(pose, POSETRACK15))


def _seconds_per_person(refiner: PoseRefiner, root: Path, pose: FloatArray, people: int, frames: int) -> float:
    """Returns the seconds per person of refining frames from files."""
    shifts = np.array([[i % 4, i // 4] for i in range(people)])  # (N, 2)
    frame = Frame("frame.jpg", POSETRACK15, pose + shifts[:, None])
    refine_sequences(refiner, [PoseSequence("warm-up", [frame])], ImageFolder(root), MAP)
    start = time.perf_counter()
    refine_sequences(refiner, [PoseSequence("benchmark", [frame] * frames)], ImageFolder(root), MAP)
    return (time.perf_counter() - start) / (people * frames)


@torch.inference_mode()
def _refine_as_published(network: Refiner, path: Path, pose: FloatArray, device: torch.device) -> FloatArray:
    """Does for one person what the published code does (docs/published.md, sections 2 and 3)."""
    image = read_image(path)
    crop = _published_crop(pose)
    assert crop is not None
    x0, y0, x1, y1 = crop.box
    resized = cv2.resize(image, crop.resized, interpolation=cv2.INTER_LINEAR)
    pixels, keypoints = resized[y0:y1, x0:x1], crop.to_crop(pose)

    with fp32_arithmetic(tf32=False):
        parts, offsets = _run_as_published(network, pixels, keypoints, device)
        mirrored = codec.mirror_pose(keypoints, pixels.shape[1], POSETRACK15)
        mirrored_parts, _ = _run_as_published(network, pixels[:, ::-1], mirrored, device)
    parts = (parts + codec.swap_sides(mirrored_parts.flip(-1), POSETRACK15)) / 2
    return np.asarray(codec.decode(parts, offsets)[0][0].cpu())


def _run_as_published(network: Refiner, pixels: Image, pose: FloatArray, device: torch.device) -> tuple[Tensor, Tensor]:
    """Draws discs pixel by pixel and runs the network; returns probabilities and offsets."""
    height, width = pixels.shape[:2]
    discs = np.zeros((len(pose), height, width), np.float32)
    reach = int(codec.DISC_RADIUS) + 1
    for disc, (x, y) in zip(discs, pose, strict=True):
        for row in range(max(round(y) - reach, 0), min(round(y) + reach + 1, height)):
            for column in range(max(round(x) - reach, 0), min(round(x) + reach + 1, width)):
                if (column - x) ** 2 + (row - y) ** 2 <= codec.DISC_RADIUS**2:
                    disc[row, column] = codec.DISC_VALUE

    image = np.ascontiguousarray(pixels).transpose(2, 0, 1).astype(np.float32)
    inputs = torch.from_numpy(np.concatenate([image, discs]))[None].to(device)  # (1, 3 + K, H, W)
    logits, offsets = network(PaddedBatch.whole(inputs))
    return logits.sigmoid(), offsets


def median_seconds(work: Callable[[], object], device: torch.device) -> float:
    """Returns the median time of some runs after one that does not count."""
    times = []
    for _ in _repeat(seconds=3.0, least=3, most=30):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def _repeat(seconds: float, least: int, most: int) -> Iterator[int]:
    start = time.perf_counter()
    for i in range(most):
        if i >= least and time.perf_counter() - start > seconds:
            return
        yield i


def measure_peaks(device: torch.device, precision: PrecisionName) -> dict[str, float]:
    """Measures what large matrix products and 3×3 convolutions reach, in GFLOP/s."""
    dtype, is_cuda = DTYPES[precision], device.type == "cuda"
    n, batch = (8192, 64) if is_cuda else (2048, 2)
    matrix = torch.rand(n, n, device=device, dtype=dtype)
    image = torch.rand(batch, 256, 64, 64, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    kernel = torch.rand(256, 256, 3, 3, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), fp32_arithmetic(tf32=precision == "tf32"):
        matmul = 2 * n**3 / median_seconds(lambda: matrix @ matrix, device)
        convolution = 2 * image.numel() * 256 * 9 / median_seconds(lambda: F.conv2d(image, kernel, padding=1), device)
    return {"matmul": matmul / 1e9, "convolution": convolution / 1e9}


def _peak_memory(device: torch.device) -> float:
    """Returns the peak memory in MB: the device's, or this process's on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def refining_table(result: Result) -> str:
    """Formats the figures as people per second.

    Columns: the published way; the network alone; the engine by people per frame; the engine's time over the network's
    (mean of these); and the network's speed, also as a share of the peak of convolutions.
    """
    counts = list(result["crops"][0]["engine_people_per_second"])
    rows = [
        ["crop", "GFLOP", "published", "network", *(f"{n}/frame" for n in counts), "time/net", "GFLOP/s", "of conv"]
    ]
    for crop in result["crops"]:
        share = crop["network_gflops"] / result["peak_gflops"]["convolution"]
        cells = [f"{crop['size'][0]}x{crop['size'][1]}", f"{crop['gflop_per_person']:.0f}"]
        cells += [f"{crop[f'{name}_people_per_second']:.2f}" for name in ("published", "network")]
        cells += [f"{rate:.2f}" for rate in crop["engine_people_per_second"].values()]
        cells += [f"{statistics.mean(crop['engine_time_over_network_time'].values()):.2f}"]
        rows.append([*cells, f"{crop['network_gflops']:.0f}", f"{100 * share:.0f} %"])

    stages = result["crops"][0]["stages_seconds"]
    times = "   ".join(f"{name} {1000 * seconds:.1f}" for name, seconds in stages.items())
    return f"{format_table(rows)}\n\nstages of one person of the first row, in ms\n{times}"

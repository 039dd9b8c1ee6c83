"""How many people per second are refined, against a plain mode that works as the published code does."""

import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
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
from hpr.refine.batching import PersonCrop, collate
from hpr.refine.engine import PoseRefiner
from hpr.models.network import Refiner
from hpr.models.padding import PaddedBatch
from hpr.models.registry import build_network
from hpr.refine.objective import MAP
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.refine.stream import refine_sequences
from hpr.report.charts import save_grouped_bars
from hpr.report.tables import format_table
from hpr.runtime.precision import PrecisionName, dtype_of, fp32_arithmetic
from hpr.skeleton import POSETRACK15

_IMAGE_SIZE = (1920, 1080)
_GIGA = 1e9

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
    """Measures the engine and the plain mode on 1080p JPEG frames, with flip and random weights.

    Args:
        architecture: Of the network.
        device: As for `PoseRefiner`.
        precision: As for `PoseRefiner`; the plain mode computes in fp32.
        crops: Widths and heights of the people's crops, in pixels.
        people: Numbers of people in a frame.
        rounds: Frames are refined for about so many people in each measurement.
        progress: Called with the number of measurements done, one for each size of crop and number of people.

    Returns:
        The machine, its peaks, and the figures of each crop size.

    Raises:
        UserError: There is no such device, precision or number, or a crop of that size does not fit into a frame.
    """
    if any(len(size) != 2 for size in crops):
        raise UserError(f"refining.crops={crops}: expected pairs of width and height, such as [[536,634]]")
    if min(people, default=0) < 1:
        raise UserError(f"refining.people={people}: expected one number or more from 1 up")
    poses = [_pose((width, height)) for width, height in crops]
    network = build_network(architecture, POSETRACK15).eval().requires_grad_(False)
    refiner = PoseRefiner(network, device, precision)
    peaks = measured_peaks(refiner.device, refiner.precision)
    result: Result = {
        "model": architecture,
        "device": refiner.device_name,
        "threads": torch.get_num_threads(),
        "precision": refiner.precision,
        "peak_gflops": peaks,
        "crops": [_measure_crop(network, refiner, pose, people, rounds, peaks, progress) for pose in poses],
    }
    result["peak_memory_mb"] = _peak_memory(refiner.device)
    return result


def _measure_crop(
    network: Refiner,
    refiner: PoseRefiner,
    pose: FloatArray,
    people: list[int],
    rounds: int,
    peaks: Result,
    progress: Callable[[int], Any],
) -> Result:
    """Returns the figures for people of one pose (15, 2), whose crops are all of one size."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        image = np.random.default_rng(0).integers(0, 256, (_IMAGE_SIZE[1] // 8, _IMAGE_SIZE[0] // 8, 3), dtype=np.uint8)
        cv2.imwrite(str(root / "frame.jpg"), cv2.resize(image, _IMAGE_SIZE, interpolation=cv2.INTER_CUBIC))
        person = refiner.prepare(read_image(root / "frame.jpg"), pose, key=0)
        assert isinstance(person, PersonCrop)
        device = refiner.device
        network.to(device)
        plain = median_seconds(lambda: _refine_plainly(network, root / "frame.jpg", pose, device), device)
        batch_size = max(1, refiner.batch_pixels // person.area)
        batch = collate([person] * batch_size, network, device)
        gflop = _flops(refiner, batch) / batch_size / _GIGA
        engine: dict[str, float] = {}
        # Machines drift: the bare network is measured before and after each measurement that is compared with it.
        bare_times = [median_seconds(lambda: refiner.predict(batch), device) / batch_size]
        for count in people:
            engine[str(count)] = _stream(refiner, root, pose, count, max(1, rounds // count))
            bare_times.append(median_seconds(lambda: refiner.predict(batch), device) / batch_size)
            progress(1)
        bare = statistics.median(bare_times)
        around = [statistics.mean(pair) for pair in pairwise(bare_times)]
        stages = _stages(refiner, network, root / "frame.jpg", pose)
    return {
        "size": [person.crop.width, person.crop.height],
        "gflop_per_person": gflop,
        "plain_persons_per_second": 1 / plain,
        "network_persons_per_second": 1 / bare,
        "network_gflops": gflop / bare,
        "share_of_matmul_peak": gflop / bare / peaks["matmul"],
        "share_of_convolution_peak": gflop / bare / peaks["convolution"],
        "engine_persons_per_second": {count: 1 / seconds for count, seconds in engine.items()},
        "engine_time_over_network_time": {
            count: seconds / near for (count, seconds), near in zip(engine.items(), around, strict=True)
        },
        "stages_seconds": stages,
    }


def _pose(size: tuple[int, int]) -> FloatArray:
    """Returns a pose (15, 2) in the middle of the image whose crop, at a scale of about 0.85, is of that size.

    Raises:
        UserError: No pose in a frame has such a crop.
    """
    pose = np.empty((len(POSETRACK15), 2))
    head = 50 / (0.6 * 1.4286)
    extent = (np.array(size) - 2 * MARGIN) / STANDARD_SCALE
    low = np.array(_IMAGE_SIZE) / 2 - extent / 2
    pose[:] = low + np.random.default_rng(1).uniform(0, 1, (len(POSETRACK15), 2)) * extent
    pose[0], pose[1] = low, low + extent
    bottom, top = POSETRACK15.indices("head_bottom", "head_top")
    pose[bottom] = np.round(low)
    pose[top] = pose[bottom] + [0, round(head)]
    # The head is of whole pixels: what that makes of the scale is put right at the far corner.
    crop = _crop(pose)
    if crop is not None:
        pose[1] += (np.array(size) - [crop.width, crop.height]) / crop.scale
        crop = _crop(pose)
    if crop is None or (crop.width, crop.height) != size:
        expected = "widths of 510 to 1600 and heights of 560 to 900 pixels, what fits into a frame of 1080p"
        raise UserError(f"refining.crops: expected {expected}; found {size[0]} x {size[1]}")
    return pose


def _crop(pose: FloatArray) -> Crop | None:
    return person_crop(pose, _IMAGE_SIZE, person_scale(pose, POSETRACK15))


def _stream(refiner: PoseRefiner, root: Path, pose: FloatArray, people: int, frames: int) -> float:
    """Returns the seconds per person of refining frames from files."""
    shifts = np.array([[i % 4, i // 4] for i in range(people)])  # (N, 2)
    frame = Frame("frame.jpg", POSETRACK15, pose + shifts[:, None])
    warm_up, sequence = PoseSequence("warm-up", [frame]), PoseSequence("benchmark", [frame] * frames)
    refine_sequences(refiner, [warm_up], ImageFolder(root), MAP)
    start = time.perf_counter()
    refine_sequences(refiner, [sequence], ImageFolder(root), MAP)
    return (time.perf_counter() - start) / (people * frames)


def _stages(refiner: PoseRefiner, network: Refiner, path: Path, pose: FloatArray) -> dict[str, float]:
    """Returns the seconds that each stage takes for one person, on its own."""
    image, device = read_image(path), refiner.device
    person = refiner.prepare(image, pose, key=0)
    assert isinstance(person, PersonCrop)
    batch = collate([person], network, device)
    return {
        "decode": median_seconds(lambda: read_image(path), device),
        "crop": median_seconds(lambda: refiner.prepare(image, pose, key=0), device),
        "collate": median_seconds(lambda: collate([person], network, device), device),
        "mirror": median_seconds(lambda: network.mirror_inputs(batch), device),
        "network and pose": median_seconds(lambda: refiner.predict(batch), device),
    }


@torch.inference_mode()
def _refine_plainly(network: Refiner, path: Path, pose: FloatArray, device: torch.device) -> FloatArray:
    """Does for one person what the published code does (docs/published.md, sections 2 and 3)."""
    image = read_image(path)
    crop = _crop(pose)
    assert crop is not None
    x0, y0, x1, y1 = crop.box
    resized = cv2.resize(image, crop.resized, interpolation=cv2.INTER_LINEAR)
    pixels, in_crop = resized[y0:y1, x0:x1], crop.to_crop(pose)
    with fp32_arithmetic(tf32=False):
        parts, offsets = _run_plainly(network, pixels, in_crop, device)
        mirrored = codec.mirror_pose(in_crop, pixels.shape[1], POSETRACK15)
        mirrored_parts, _ = _run_plainly(network, pixels[:, ::-1], mirrored, device)
    parts = (parts + codec.swap_sides(mirrored_parts.flip(-1), POSETRACK15)) / 2
    return np.asarray(codec.decode(parts, offsets)[0][0].cpu())


def _run_plainly(network: Refiner, pixels: Image, pose: FloatArray, device: torch.device) -> tuple[Tensor, Tensor]:
    height, width = pixels.shape[:2]
    discs = np.zeros((len(pose), height, width), np.float32)
    for disc, (x, y) in zip(discs, pose, strict=True):
        reach = int(codec.DISC_RADIUS) + 1
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


def _flops(refiner: PoseRefiner, batch: PaddedBatch) -> int:
    with FlopCounterMode(display=False) as counter:
        refiner.predict(batch)
    return int(counter.get_total_flops())


def measured_peaks(device: torch.device, precision: PrecisionName) -> dict[str, float]:
    """Measures what large products and 3×3 convolutions reach, in GFLOP/s."""
    dtype = dtype_of(precision)
    n = 8192 if device.type == "cuda" else 2048
    matrix = torch.rand(n, n, device=device, dtype=dtype)
    batch = 64 if device.type == "cuda" else 2
    image = torch.rand(batch, 256, 64, 64, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    kernel = torch.rand(256, 256, 3, 3, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), fp32_arithmetic(tf32=precision == "tf32"):
        matmul = 2 * n**3 / median_seconds(lambda: matrix @ matrix, device)
        convolution = 2 * image.numel() * 256 * 9 / median_seconds(lambda: F.conv2d(image, kernel, padding=1), device)
    return {"matmul": matmul / _GIGA, "convolution": convolution / _GIGA}


def _peak_memory(device: torch.device) -> float:
    """Returns the most memory that was in use, in MB: the device's, or on a CPU this process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def refining_table(result: Result) -> str:
    """Returns the figures as a table of people per second.

    Its last columns are the engine's time per person over the bare network's (mean of the columns before), the engine's
    speed over the plain mode's, and the bare network's speed, also as a share of the convolution peak.
    """
    counts = list(result["crops"][0]["engine_persons_per_second"])
    head = ["crop", "GFLOP", "plain", "network", *(f"{count}/frame" for count in counts)]
    rows = [[*head, "time/net", "/plain", "GFLOP/s", "of conv"]]
    for crop in result["crops"]:
        engine = list(crop["engine_persons_per_second"].values())
        cells = [f"{crop['size'][0]}x{crop['size'][1]}", f"{crop['gflop_per_person']:.0f}"]
        cells += [f"{crop[f'{name}_persons_per_second']:.2f}" for name in ("plain", "network")]
        cells += [f"{rate:.2f}" for rate in engine]
        cells += [f"{statistics.mean(crop['engine_time_over_network_time'].values()):.2f}"]
        cells += [f"{max(engine) / crop['plain_persons_per_second']:.1f}", f"{crop['network_gflops']:.0f}"]
        rows.append([*cells, f"{100 * crop['share_of_convolution_peak']:.0f} %"])
    stages = result["crops"][0]["stages_seconds"]
    times = "   ".join(f"{name} {1000 * seconds:.1f}" for name, seconds in stages.items())
    return f"{format_table(rows)}\n\nstages of one person of the first row, each on its own, in ms\n{times}"


def save_chart(result: Result, path: Path) -> None:
    """Draws people per second by crop size, for the plain mode, the engine and the bare network.

    Raises:
        UserError: The file cannot be written.
    """
    names = [f"{crop['size'][0]} × {crop['size'][1]}" for crop in result["crops"]]
    series = {"plain": [crop["plain_persons_per_second"] for crop in result["crops"]]}
    for count in result["crops"][0]["engine_persons_per_second"]:
        series[f"{count} per frame"] = [crop["engine_persons_per_second"][count] for crop in result["crops"]]
    series["network only"] = [crop["network_persons_per_second"] for crop in result["crops"]]
    title = f"{result['model']}, {result['precision']}, {result['device']}"
    save_grouped_bars(names, {"persons per second": series}, path, digits=2, title=title)

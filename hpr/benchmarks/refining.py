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
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from hpr import maps
from hpr.batching import Batch, Sample
from hpr.crops import MARGIN, STANDARD_SCALE, person_crop
from hpr.errors import UserError
from hpr.files import read_image, replacing
from hpr.inference import PoseRefiner, fp32_arithmetic
from hpr.models.refiner import Refiner, build
from hpr.poses import FloatArray, Frame, Person, Sequence
from hpr.refining import refine_sequences
from hpr.skeleton import HEAD_BOTTOM, HEAD_TOP, MIRROR, NUM_JOINTS

_IMAGE_SIZE = (1920, 1080)
_GIGA = 1e9

Result = dict[str, Any]


def benchmark_refining(
    architecture: str, device: str, precision: str, crops: list[list[int]], people: list[int], rounds: int
) -> Result:
    """Measures the engine and the plain mode on 1080p JPEG frames, with flip and random weights.

    Args:
        architecture: Of the network.
        device: As for `PoseRefiner`.
        precision: As for `PoseRefiner`; the plain mode computes in fp32.
        crops: Widths and heights of the people's crops, in pixels.
        people: Numbers of people in a frame.
        rounds: Frames are refined for about so many people in each measurement.

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
    network = build(architecture).eval().requires_grad_(False)
    refiner = PoseRefiner(build(architecture), device, precision)
    peaks = measured_peaks(refiner.device, precision)
    result: Result = {
        "model": architecture,
        "device": refiner.device_name,
        "threads": torch.get_num_threads(),
        "precision": precision,
        "peak_gflops": peaks,
        "crops": [_measure_crop(network, refiner, pose, people, rounds, peaks) for pose in poses],
    }
    result["peak_memory_mb"] = _peak_memory(refiner.device)
    return result


def _measure_crop(
    network: Refiner, refiner: PoseRefiner, pose: FloatArray, people: list[int], rounds: int, peaks: Result
) -> Result:
    """Returns the figures for people of one pose (15, 2), whose crops are all of one size."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        image = np.random.default_rng(0).integers(0, 256, (_IMAGE_SIZE[1] // 8, _IMAGE_SIZE[0] // 8, 3), dtype=np.uint8)
        cv2.imwrite(str(root / "frame.jpg"), cv2.resize(image, _IMAGE_SIZE, interpolation=cv2.INTER_CUBIC))
        sample = refiner.prepare(read_image(root / "frame.jpg"), pose)
        assert isinstance(sample, Sample)
        device = refiner.device
        network.to(device)
        plain = median_seconds(lambda: _refine_plainly(network, root / "frame.jpg", pose, device), device)
        batch_size = max(1, refiner.batch_pixels // sample.area)
        batch = Batch([sample] * batch_size, device)
        gflop = _flops(refiner, batch) / batch_size / _GIGA
        engine: dict[str, float] = {}
        # Machines drift: the bare network is measured before and after each measurement that is compared with it.
        bare_times = [median_seconds(lambda: refiner.predict(batch), device) / batch_size]
        for count in people:
            engine[str(count)] = _stream(refiner, root, pose, count, max(1, rounds // count))
            bare_times.append(median_seconds(lambda: refiner.predict(batch), device) / batch_size)
        bare = statistics.median(bare_times)
        around = [statistics.mean(pair) for pair in pairwise(bare_times)]
        stages = _stages(refiner, root / "frame.jpg", pose)
    return {
        "size": [sample.crop.width, sample.crop.height],
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
    pose = np.empty((NUM_JOINTS, 2))
    head = 50 / (0.6 * 1.4286)
    extent = (np.array(size) - 2 * MARGIN) / STANDARD_SCALE
    low = np.array(_IMAGE_SIZE) / 2 - extent / 2
    pose[:] = low + np.random.default_rng(1).uniform(0, 1, (NUM_JOINTS, 2)) * extent
    pose[0], pose[1] = low, low + extent
    pose[HEAD_BOTTOM] = np.round(low)
    pose[HEAD_TOP] = pose[HEAD_BOTTOM] + [0, round(head)]
    # The head is of whole pixels: what that makes of the scale is put right at the far corner.
    crop = person_crop(pose, _IMAGE_SIZE)
    if crop is not None:
        pose[1] += (np.array(size) - [crop.width, crop.height]) / crop.scale
        crop = person_crop(pose, _IMAGE_SIZE)
    if crop is None or (crop.width, crop.height) != size:
        expected = "widths of 510 to 1600 and heights of 560 to 900 pixels, what fits into a frame of 1080p"
        raise UserError(f"refining.crops: expected {expected}; found {size[0]} x {size[1]}")
    return pose


def _stream(refiner: PoseRefiner, root: Path, pose: FloatArray, people: int, frames: int) -> float:
    """Returns the seconds per person of refining frames from files."""
    persons = [Person(pose + np.array([i % 4, i // 4]), np.ones(NUM_JOINTS), i) for i in range(people)]
    sequence = Sequence("benchmark", [Frame("frame.jpg", persons)] * frames, {})
    list(refine_sequences(refiner, [Sequence("warm-up", sequence.frames[:1], {})], root, 0.0))
    start = time.perf_counter()
    list(refine_sequences(refiner, [sequence], root, 0.0))
    return (time.perf_counter() - start) / (people * frames)


def _stages(refiner: PoseRefiner, path: Path, pose: FloatArray) -> dict[str, float]:
    """Returns the seconds that each stage takes for one person, on its own."""
    image = read_image(path)
    sample = refiner.prepare(image, pose)
    assert isinstance(sample, Sample)
    batch = Batch([sample], refiner.device)
    return {
        "decode": median_seconds(lambda: read_image(path), refiner.device),
        "crop": median_seconds(lambda: refiner.prepare(image, pose), refiner.device),
        "to device": median_seconds(lambda: Batch([sample], refiner.device), refiner.device),
        "maps": median_seconds(lambda: batch.mirrored_inputs(batch.inputs()), refiner.device),
        "network and pose": median_seconds(lambda: refiner.predict(batch), refiner.device),
    }


@torch.inference_mode()
def _refine_plainly(network: Refiner, path: Path, pose: FloatArray, device: torch.device) -> FloatArray:
    """Does for one person what the published code does (REFERENCE.md, 2 and 3)."""
    image = read_image(path)
    crop = person_crop(pose, _IMAGE_SIZE)
    assert crop is not None
    x0, y0, x1, y1 = crop.box
    resized = cv2.resize(image, crop.resized, interpolation=cv2.INTER_LINEAR)
    pixels, joints = resized[y0:y1, x0:x1], crop.to_crop(pose)
    with fp32_arithmetic(tf32=False):
        parts, offsets = _run_plainly(network, pixels, joints, device)
        swapped = joints[list(MIRROR)]
        mirrored = np.column_stack([pixels.shape[1] - 1 - swapped[:, 0], swapped[:, 1]])
        parts = (parts + maps.mirror(_run_plainly(network, pixels[:, ::-1], mirrored, device)[0])) / 2
    return np.asarray(maps.decode(parts, offsets)[0][0].cpu())


def _run_plainly(
    network: Refiner, pixels: NDArray[np.uint8], joints: FloatArray, device: torch.device
) -> tuple[Tensor, Tensor]:
    height, width = pixels.shape[:2]
    discs = np.zeros((NUM_JOINTS, height, width), np.float32)
    for disc, (x, y) in zip(discs, joints, strict=True):
        reach = int(maps.DISC_RADIUS) + 1
        for row in range(max(round(y) - reach, 0), min(round(y) + reach + 1, height)):
            for column in range(max(round(x) - reach, 0), min(round(x) + reach + 1, width)):
                if (column - x) ** 2 + (row - y) ** 2 <= maps.DISC_RADIUS**2:
                    disc[row, column] = maps.DISC_VALUE
    image = np.ascontiguousarray(pixels).transpose(2, 0, 1).astype(np.float32)
    logits, offsets = network(torch.from_numpy(np.concatenate([image, discs]))[None].to(device))
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


def _flops(refiner: PoseRefiner, batch: Batch) -> int:
    with FlopCounterMode(display=False) as counter:
        refiner.predict(batch)
    return int(counter.get_total_flops())


def measured_peaks(device: torch.device, precision: str) -> dict[str, float]:
    """Measures what large products and 3×3 convolutions reach, in GFLOP/s."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
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
    head += ["time/net", "/plain", "GFLOP/s", "of conv"]
    rows = ["".join(f"{cell:>11}" for cell in head)]
    for crop in result["crops"]:
        engine = list(crop["engine_persons_per_second"].values())
        cells = [f"{crop['size'][0]}x{crop['size'][1]}", f"{crop['gflop_per_person']:.0f}"]
        cells += [f"{crop[f'{name}_persons_per_second']:.2f}" for name in ("plain", "network")]
        cells += [f"{rate:.2f}" for rate in engine]
        cells += [f"{statistics.mean(crop['engine_time_over_network_time'].values()):.2f}"]
        cells += [f"{max(engine) / crop['plain_persons_per_second']:.1f}", f"{crop['network_gflops']:.0f}"]
        cells += [f"{100 * crop['share_of_convolution_peak']:.0f} %"]
        rows.append("".join(f"{cell:>11}" for cell in cells))
    stages = result["crops"][0]["stages_seconds"]
    rows.append("\nstages of one person of the first row, each on its own, in ms")
    rows.append("   ".join(f"{name} {1000 * seconds:.1f}" for name, seconds in stages.items()))
    return "\n".join(rows)


def save_chart(result: Result, path: Path) -> None:
    """Draws people per second by crop size, for the plain mode, the engine and the bare network.

    Raises:
        UserError: The file cannot be written.
    """
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots()
    names = [f"{crop['size'][0]} × {crop['size'][1]}" for crop in result["crops"]]
    series = {"plain": [crop["plain_persons_per_second"] for crop in result["crops"]]}
    for count in result["crops"][0]["engine_persons_per_second"]:
        series[f"{count} per frame"] = [crop["engine_persons_per_second"][count] for crop in result["crops"]]
    series["network only"] = [crop["network_persons_per_second"] for crop in result["crops"]]
    width = 0.8 / len(series)
    for i, (name, values) in enumerate(series.items()):
        bars = axes.bar(np.arange(len(names)) + (i - (len(series) - 1) / 2) * width, values, 0.9 * width, label=name)
        axes.bar_label(bars, fmt="%.2f", fontsize=7, padding=2)
    axes.set_xticks(np.arange(len(names)), names)
    axes.set_ylabel("persons per second")
    axes.set_title(f"{result['model']}, {result['precision']}, {result['device']}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)

"""Where the time of refining goes: the slowest kernels on a GPU, or the slowest operations on a CPU."""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from hpr.images import ImageFolder
from hpr.models.registry import build_network
from hpr.poses import Frame, PoseSequence
from hpr.refine.engine import PoseRefiner
from hpr.refine.objective import MAP
from hpr.refine.stream import refine_sequences
from hpr.report.tables import format_table
from hpr.skeleton import POSETRACK15
from tools.bench.refining import pose_with_crop, write_frame

_MAX_NAME = 100

Result = dict[str, Any]


def profile_refining(
    architecture: str, device: str, precision: str, crop: list[int], people: int, rounds: int
) -> Result:
    """Profiles the engine on 1080p JPEG frames, with flip and random weights, after a warm-up.

    Args:
        architecture: Name of the network.
        device: As for `PoseRefiner`.
        precision: As for `PoseRefiner`.
        crop: Width and height of the people's crops, in pixels.
        people: Number of people in a frame.
        rounds: About as many people are refined.

    Returns:
        The time that passed, and the time and the calls of each kernel, or each operation without those it calls; the
        slowest first.

    Raises:
        UserError: There is no such device or precision, or a crop of that size does not fit into a frame.
    """
    network = build_network(architecture, POSETRACK15).eval().requires_grad_(False)
    refiner = PoseRefiner(network, device, precision)
    frame = Frame("frame.jpg", POSETRACK15, np.stack([pose_with_crop((crop[0], crop[1]))] * people))
    frames = [frame] * max(1, rounds // people)
    is_cuda = refiner.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_cuda else [])]

    with tempfile.TemporaryDirectory() as folder:
        write_frame(Path(folder) / "frame.jpg")
        refine_sequences(refiner, [PoseSequence("warm-up", frames)], ImageFolder(Path(folder)), MAP)
        with profile(activities=activities, acc_events=True) as profiler:
            start = time.perf_counter()
            refine_sequences(refiner, [PoseSequence("profile", frames)], ImageFolder(Path(folder)), MAP)
            if is_cuda:
                torch.cuda.synchronize(refiner.device)
            seconds = time.perf_counter() - start

    wanted = "CUDA" if is_cuda else "CPU"
    events = [event for event in profiler.key_averages() if event.device_type.name == wanted]
    kernels = [(event.key, _milliseconds(event, is_cuda), event.count) for event in events]
    return {
        "frames": len(frames),
        "people": people,
        "milliseconds": 1000 * seconds,
        "kernels": sorted(kernels, key=lambda kernel: -kernel[1]),
    }


def _milliseconds(event: Any, is_cuda: bool) -> float:
    return float(event.self_device_time_total if is_cuda else event.self_cpu_time_total) / 1000


def profile_table(result: Result, num_rows: int = 15) -> str:
    """Formats the slowest kernels, with their shares of the time of all kernels."""
    kernels = result["kernels"]
    total = sum(milliseconds for _, milliseconds, _ in kernels)
    rows = [["kernel", "ms", "share", "calls"], [f"all {len(kernels)}", f"{total:.1f}", "", ""]]
    for name, milliseconds, calls in kernels[:num_rows]:
        rows.append([name[:_MAX_NAME], f"{milliseconds:.1f}", f"{100 * milliseconds / total:.1f} %", str(calls)])
    passed = f"{result['frames']} frames with {result['people']} people took {result['milliseconds']:.0f} ms"
    return f"{passed}\n{format_table(rows)}"

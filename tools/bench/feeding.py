"""How many training examples a core makes of photographs, and where its time goes."""

import cProfile
import inspect
import math
import pstats
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hpr.crops import Sampling, ScaleRule
from hpr.files import replacing
from hpr.formats import PoseTrack18
from hpr.images import ImageFolder, decode_image
from hpr.models.network import Refiner
from hpr.poses import Frame, PoseSequence
from hpr.report.tables import format_table
from hpr.skeleton import POSETRACK15
from hpr.training.augmentation import Augmentation
from hpr.training.examples import Examples
from hpr.training.dataset import AnnotatedPeople
from hpr.pose_errors.draw import PoseErrors
from hpr.seeds import Purpose
from hpr.synthetic.scene import Clip
from hpr.synthetic.tree import MIN_KEYPOINTS, keypoint_count
from hpr.training.views import turned_part

FRAME_SIZE = (1920, 1080)
PEOPLE_IN_FRAME = 4

_JPEG_QUALITY = 95
"""Drawn frames of 1080p are then of 0.2 megabytes, as photographs are."""

_RATE = 1000.0
"""Examples per second that a fast GPU takes."""

_STEPS: Mapping[str, Callable[..., Any]] = {
    "decode": decode_image,
    "turn": turned_part,
    "crop": Sampling.pixels,
    "mistakes": PoseErrors.draw,
}
"""What takes time in an example, in this order; none of them is a part of another."""

Result = dict[str, Any]


def benchmark_feeding(
    folder: Path,
    network: Refiner,
    errors: PoseErrors,
    augmentation: Augmentation,
    canvas: Sequence[int],
    scale: ScaleRule,
    frames: int,
    examples: int,
) -> Result:
    """Measures one core at making examples of JPEG files of 1920 × 1080 pixels with four drawn people each.

    Args:
        folder: An empty folder for the files.
        network: Says what crops have to be like.
        errors: Of the estimates.
        augmentation: Of the examples.
        canvas: Height and width of the crops.
        scale: How a person's size is measured.
        frames: Number of files.
        examples: Number of examples to measure.

    Returns:
        Examples per second and core, cores for 1,000 a second, seconds of an example by step, and megabytes of a file.
    """
    megabytes = write_photographs(folder, frames)
    people = AnnotatedPeople(PoseTrack18(), folder / "annotations", ImageFolder(folder), seed=0)
    made = Examples(people, errors, augmentation, canvas, network, scale, seed=0)
    _ = made[0]  # what is made once is not counted

    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)  # as in a worker
    try:
        seconds = _seconds(lambda: [made[index] for index in range(examples)]) / examples
        shares = _shares(lambda: [made[index] for index in range(examples)])
    finally:
        cv2.setNumThreads(threads)
    return {
        "examples_per_second_and_core": 1 / seconds,
        "cores_for_1000_per_second": math.ceil(_RATE * seconds),
        "seconds_per_example": {"all": seconds, **{name: share * seconds for name, share in shares.items()}},
        "megabytes_per_file": megabytes,
    }


def write_photographs(folder: Path, count: int) -> float:
    """Writes frames of four people or more, of whom four are annotated, as JPEG files with annotations of PoseTrack.

    Args:
        folder: Gets `images` and `annotations`.
        count: Number of frames.

    Returns:
        Mean size of a file in megabytes.
    """
    frames: list[Frame] = []
    number = written = 0
    while len(frames) < count:
        encoded, people = Clip((Purpose.BENCHMARK_SCENE, 0, number), size=FRAME_SIZE).encoded_frame(0.5)
        number += 1
        poses = [person.annotated for person in people if keypoint_count(person) >= MIN_KEYPOINTS]
        if len(poses) >= PEOPLE_IN_FRAME:
            name = f"images/{len(frames):06d}.jpg"
            written += _write_jpeg(folder / name, np.frombuffer(encoded, np.uint8))
            frames.append(Frame(name, POSETRACK15, np.array(poses[:PEOPLE_IN_FRAME]), size=FRAME_SIZE))
    PoseTrack18().write([PoseSequence("photographs", frames)], folder / "annotations" / "photographs.json")
    return written / 1e6 / count


def _write_jpeg(path: Path, encoded: NDArray[np.uint8]) -> int:
    """Writes an image, encoded anew in a high quality, and returns the number of bytes."""
    image = cv2.cvtColor(decode_image(encoded), cv2.COLOR_RGB2BGR)
    content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return len(content)


def _seconds(work: Callable[[], Any]) -> float:
    """Returns how long a core works, whatever else runs on the machine."""
    start = time.process_time()
    work()
    return time.process_time() - start


def _shares(work: Callable[[], Any]) -> dict[str, float]:
    """Returns what shares of some work the steps take, and all else."""
    profile = cProfile.Profile(time.process_time)
    profile.runcall(work)
    stats = pstats.Stats(profile)
    spent = {place: times[3] for place, times in stats.stats.items()}  # type: ignore[attr-defined]
    shares = {name: spent.get(_place(step), 0.0) / stats.total_tt for name, step in _STEPS.items()}  # type: ignore[attr-defined]
    return {**shares, "rest": 1 - sum(shares.values())}


def _place(function: Callable[..., Any]) -> tuple[str, int, str]:
    """Returns what a profile knows a function by."""
    code = inspect.unwrap(function).__code__
    return code.co_filename, code.co_firstlineno, code.co_name


def feeding_table(result: Result) -> str:
    """Returns the figures as a table."""
    seconds = result["seconds_per_example"]
    rows = [["an example on one core", f"{1000 * seconds['all']:.1f} ms"]]
    rows += [[f"  {name}", f"{1000 * value:.1f} ms"] for name, value in seconds.items() if name != "all"]
    rows += [
        ["examples per second and core", f"{result['examples_per_second_and_core']:.0f}"],
        ["cores for 1,000 per second", str(result["cores_for_1000_per_second"])],
    ]
    return format_table(rows)

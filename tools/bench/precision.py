"""What a lower precision does to the poses and the scores of annotated clips."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpr.metrics.posetrack import NamedSequences
from hpr.formats import Format
from hpr.images import ImageSource
from hpr.refine.engine import PoseRefiner
from hpr.models.loading import load_network
from hpr.refine.objective import MOTA
from hpr.poses import FloatArray
from hpr.report.tables import format_table
from hpr.skeleton import Skeleton
from hpr.training.validation import Validation

Result = dict[str, Any]


def benchmark_precisions(
    weights: Path,
    device: str,
    precisions: Sequence[str],
    file_format: Format,
    images: ImageSource,
    predictions: Path,
    truth: Path,
    progress: Callable[[int], Any] = lambda precisions: None,
) -> list[Result]:
    """Refines predictions in several precisions and compares each with fp32.

    Args:
        weights: Of the network.
        device: As for `PoseRefiner`.
        precisions: As for `PoseRefiner`.
        file_format: Of the files.
        images: Where the images are.
        predictions: A folder of files.
        truth: A folder of annotations in files of the same names.
        progress: Called with the number of precisions done.

    Returns:
        For fp32 and each of the precisions: how far a keypoint moves in image pixels, on average and in the middle, the
        share of keypoints that move by more than a pixel, how many of the decisions to keep a keypoint for MOTA change,
        mAP and MOTA in percent, and people per second.
    """
    paths = file_format.sources(predictions)
    estimates = {path.name: file_format.read(path) for path in paths}
    clips = Validation({path.name: file_format.read(truth / path.name) for path in paths}, estimates, images)
    network = load_network(weights)

    results: list[Result] = []
    exact: tuple[FloatArray, FloatArray] | None = None
    for precision in dict.fromkeys(("fp32", *precisions)):
        refiner = PoseRefiner(network, device, precision)
        start = time.perf_counter()
        refined = clips.refined(refiner)
        seconds = time.perf_counter() - start

        assert refined is not None  # no other process takes part
        poses, confidence = _refined_people(refined, refiner.skeleton)
        exact = exact or (poses, confidence)
        scores = clips.scores(refined)
        results.append(
            {
                "precision": precision,
                "device": refiner.device_name,
                **_differences(exact, (poses, confidence)),
                "mAP": scores.metrics["mAP"],
                "MOTA": scores.metrics["MOTA"],
                "persons_per_second": len(poses) / seconds,
            }
        )
        progress(1)
    return results


def _refined_people(files: NamedSequences, skeleton: Skeleton) -> tuple[FloatArray, FloatArray]:
    """Returns keypoints (N, K, 2) and confidence (N, K) of all people that were refined."""
    poses, confidences = [], []
    frames = [frame for sequences in files.values() for sequence in sequences for frame in sequence.frames]
    for frame in frames:
        people = frame.select(np.asarray(~np.isnan(frame.confidences).all(axis=1)))
        poses.append(people.skeleton.convert(people.keypoints, skeleton))
        confidences.append(people.skeleton.convert(people.confidences, skeleton))
    return np.concatenate(poses), np.concatenate(confidences)


def _differences(exact: tuple[FloatArray, FloatArray], other: tuple[FloatArray, FloatArray]) -> dict[str, float]:
    """Returns how keypoints (N, K, 2) and confidences (N, K) differ from the exact ones."""
    shift = np.linalg.norm(other[0] - exact[0], axis=-1)  # (N, K)
    before, after = (confidence > MOTA.keep for confidence in (exact[1], other[1]))
    return {
        "mean_shift": float(np.nanmean(shift)),
        "median_shift": float(np.nanmedian(shift)),
        "share_above_a_pixel": float((shift > 1).mean()),
        "decisions_changed": int((before != after).sum()),
        "decisions": before.size,
    }


def precision_table(results: Sequence[Result]) -> str:
    """Returns the figures as a table, a row for each precision."""
    rows = [["precision", "shift/px", "median", "> 1 px", "kept", "mAP", "MOTA", "persons/s"]]
    for result in results:
        shifts = [f"{result['mean_shift']:.4f}", f"{result['median_shift']:.4f}"]
        changes = [f"{100 * result['share_above_a_pixel']:.2f} %", f"{result['decisions_changed']} differ"]
        scores = [f"{result[name]:.2f}" for name in ("mAP", "MOTA", "persons_per_second")]
        rows.append([result["precision"], *shifts, *changes, *scores])
    return format_table(rows)

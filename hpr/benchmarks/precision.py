"""What a lower precision does to the poses and the scores of annotated clips."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from hpr.files import json_files
from hpr.formats import Format
from hpr.inference import PoseRefiner
from hpr.models.loading import load_network
from hpr.poses import FloatArray, Sequence
from hpr.training.validation import MOTA_THRESHOLD, Validation

Result = dict[str, Any]


def benchmark_precisions(
    weights: Path, device: str, precisions: list[str], file_format: Format, root: Path, predictions: Path, truth: Path
) -> list[Result]:
    """Refines predictions in several precisions and compares each with fp32.

    Args:
        weights: Of the network.
        device: As for `PoseRefiner`.
        precisions: As for `PoseRefiner`.
        file_format: Of the files.
        root: The folder that the images' names start from.
        predictions: A folder of files.
        truth: A folder of annotations in files of the same names.

    Returns:
        For fp32 and each of the precisions: how far a joint moves in image pixels, on average and in the middle, the
        share of joints that move by more than a pixel, how many of the decisions to keep a joint for MOTA change, mAP
        and MOTA in percent, and people per second.
    """
    paths = json_files(predictions, "predictions")
    annotated = [file_format.read(truth / path.name, scoring=True) for path in paths]
    clips = Validation(annotated, [file_format.read(path) for path in paths], root)
    results: list[Result] = []
    exact: tuple[FloatArray, FloatArray] | None = None
    for precision in dict.fromkeys(("fp32", *precisions)):
        refiner = PoseRefiner(load_network(weights), device, precision)
        start = time.perf_counter()
        refined = clips.refined(refiner)
        seconds = time.perf_counter() - start
        joints, confidence = _poses(refined)
        exact = exact or (joints, confidence)
        shift = np.linalg.norm(joints - exact[0], axis=-1)  # (N, 15)
        scores = clips.scores(refined)
        results.append(
            {
                "precision": precision,
                "device": refiner.device_name,
                "mean_shift": float(np.nanmean(shift)),
                "median_shift": float(np.nanmedian(shift)),
                "share_above_a_pixel": float((shift > 1).mean()),
                "decisions_changed": int(((confidence > MOTA_THRESHOLD) != (exact[1] > MOTA_THRESHOLD)).sum()),
                "decisions": confidence.size,
                "mAP": scores.mean_ap,
                "MOTA": scores.mota,
                "persons_per_second": len(joints) / seconds,
            }
        )
    return results


def _poses(sequences: list[Sequence]) -> tuple[FloatArray, FloatArray]:
    """Returns joints (N, 15, 2) and confidence (N, 15) of all people that were refined."""
    people = [(person.joints, person.confidence) for sequence in sequences for person in sequence.persons()]
    joints, confidence = zip(*((pose, sure) for pose, sure in people if sure is not None), strict=True)
    return np.array(joints), np.array(confidence)


def precision_table(results: list[Result]) -> str:
    """Returns the figures as a table, a row for each precision."""
    titles = ("precision", "shift/px", "median", "> 1 px", "kept", "mAP", "MOTA", "persons/s")
    rows = ["".join(f"{title:>11}" for title in titles)]
    for result in results:
        cells = [result["precision"], f"{result['mean_shift']:.4f}", f"{result['median_shift']:.4f}"]
        cells += [f"{100 * result['share_above_a_pixel']:.2f} %", f"{result['decisions_changed']} differ"]
        cells += [f"{result['mAP']:.2f}", f"{result['MOTA']:.2f}", f"{result['persons_per_second']:.2f}"]
        rows.append("".join(f"{cell:>11}" for cell in cells))
    return "\n".join(rows)

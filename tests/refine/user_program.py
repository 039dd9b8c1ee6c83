"""What a user's program may look like to a strict type checker: mypy checks it with all tests, and test_api runs it."""

import sys
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray

from hpr import Objective, Outcome, PoseRefiner, RefinedPoses


def main(path: str, folder: str) -> None:
    """Refines one pose given in several ways."""
    refiner: PoseRefiner = PoseRefiner.load("photo", device="cpu", scale="auto", iterations=1)
    picture = PIL.Image.open(path)
    pixels: NDArray[np.uint8] = np.asarray(picture.convert("RGB"))
    keypoints: NDArray[np.float32] = np.full((1, 17, 2), np.nan, np.float32)
    keypoints[0, :3] = [[40, 30], [45, 25], [35, 25]]
    scores: NDArray[np.float32] = np.full((1, 17), 0.6, np.float32)
    boxes = np.array([[20, 5, 60, 80]], np.float32)

    first: RefinedPoses = refiner(pixels, keypoints, skeleton="coco17", scores=scores, boxes=boxes)
    second = refiner(picture, torch.from_numpy(keypoints), skeleton="coco17", scores=torch.from_numpy(scores))
    third = refiner(path, keypoints.tolist(), skeleton="coco17", scores=scores.tolist(), objective="rescore")
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255
    fourth = refiner(tensor, keypoints.astype(np.float64), skeleton="coco17", objective=Objective(keep=0.1, add=0.5))
    several: list[RefinedPoses] = refiner(
        [Path(path), pixels], [keypoints, keypoints], skeleton="coco17", scores=[scores, None]
    )

    for refined in (first, second, third, fourth, *several):
        assert refined.outcomes == [Outcome.REFINED]
        shapes: tuple[tuple[int, ...], ...] = (
            refined.keypoints.shape,
            refined.scores.shape,
            refined.person_scores.shape,
        )
        assert shapes == ((1, 17, 2), (1, 17), (1,))
    drawn: NDArray[np.uint8] = first.plot(pixels)
    PIL.Image.fromarray(drawn).save(Path(folder) / "drawn.png")
    first.save(Path(folder) / "refined.npz")


if __name__ == "__main__":
    main(*sys.argv[1:])

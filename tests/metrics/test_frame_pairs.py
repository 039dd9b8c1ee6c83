"""Annotations and predictions side by side."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpr.errors import UserError
from hpr.metrics import frame_pairs as pairing
from hpr.metrics.frame_pairs import FramePairs
from hpr.metrics.posetrack import FilesByName
from hpr.formats import Format, PoseTrack18, get_format
from hpr.poses import Frame, PoseSequence
from hpr.skeleton import POSETRACK15, POSETRACK18, Skeleton


def frame(name: str, people: int, skeleton: Skeleton) -> Frame:
    keypoints = np.random.default_rng(people).uniform(0, 100, (people, len(skeleton), 2)).round(1)
    return Frame(name, skeleton, keypoints, track_ids=tuple(range(people)))


def write(folder: Path, file_format: Format, images: dict[str, int], name: str, skeleton: Skeleton) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    file_format.write([PoseSequence(path.stem, [frame(*image, skeleton) for image in images.items()])], path)
    return path


def frame_pairs(
    file_format: Format, truth: Path, estimates: Path, progress: Callable[[int], Any] = lambda files: None
) -> FramePairs:
    predicted = FilesByName(file_format, estimates)
    return pairing.frame_pairs(file_format, str(truth), predicted, str(estimates), progress)


def found(pairs: FramePairs) -> list[tuple[str, int, int]]:
    return [(truth.image.rpartition("/")[2], len(truth), len(predicted)) for truth, predicted in pairs.pairs]


@pytest.mark.parametrize(
    ("predicted", "expected", "warnings"),
    [
        ({"a.jpg": 1}, [("a.jpg", 2, 1), ("b.jpg", 1, 0)], ["1 of 2 images of"]),
        ({"b.jpg": 3, "c.jpg": 1, "a.jpg": 1}, [("a.jpg", 2, 1), ("b.jpg", 1, 3)], ["1 images are not in"]),
        ({"folder/a.png": 1, "b.png": 2}, [("a.jpg", 2, 1), ("b.jpg", 1, 2)], []),
    ],
)
def test_by_image(
    predicted: dict[str, int], expected: list[tuple[str, int, int]], warnings: Sequence[str], tmp_path: Path
) -> None:
    coco, arrays = get_format("coco"), get_format("npz")
    truth = write(tmp_path, coco, {"a.jpg": 2, "b.jpg": 1}, "truth.json", coco.skeletons[0])
    estimates = write(tmp_path, arrays, predicted, "estimates.npz", POSETRACK18)
    pairs = frame_pairs(arrays, truth, estimates)
    assert found(pairs) == expected
    assert len(pairs.warnings) == len(warnings)
    assert all(words in warning for words, warning in zip(warnings, pairs.warnings, strict=True))


def test_no_image_of_that_name(tmp_path: Path) -> None:
    coco, arrays = get_format("coco"), get_format("npz")
    truth = write(tmp_path, coco, {"a.jpg": 2}, "truth.json", coco.skeletons[0])
    estimates = write(tmp_path, arrays, {"z.jpg": 2}, "estimates.npz", POSETRACK18)
    with pytest.raises(UserError, match=r"expected an image named like z\.jpg, found none"):
        frame_pairs(arrays, truth, estimates)


def test_by_file(tmp_path: Path) -> None:
    """Images without an annotated person are left out, as in scoring."""
    own = PoseTrack18()
    for folder, people in (("truth", (2, 0, 1)), ("estimates", (1, 1, 0))):
        images = {f"clip/{number}.jpg": count for number, count in enumerate(people)}
        write(tmp_path / folder, own, images, "clip.json", POSETRACK15)
    write(tmp_path / "truth", own, {"other/0.jpg": 1}, "other.json", POSETRACK15)
    done: list[int] = []
    pairs = frame_pairs(own, tmp_path / "truth", tmp_path / "estimates", done.append)
    assert found(pairs) == [("0.jpg", 2, 1), ("2.jpg", 1, 0)]
    assert pairs.warnings == ["1 files have no prediction and are left out, such as other.json"]
    assert done == [1]


def test_nobody_annotated(tmp_path: Path) -> None:
    own = PoseTrack18()
    for folder, people in (("truth", 0), ("estimates", 1)):
        write(tmp_path / folder, own, {"clip/0.jpg": people}, "clip.json", POSETRACK15)
    with pytest.raises(UserError, match="expected annotated people, found none"):
        frame_pairs(own, tmp_path / "truth", tmp_path / "estimates")

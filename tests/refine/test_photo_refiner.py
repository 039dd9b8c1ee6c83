"""The photograph refiner that comes with the package, on a photograph that comes with matplotlib."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from matplotlib.cbook import get_sample_data

from hpr import PoseRefiner, RefinedPoses
from hpr.images import Image, ImageFolder, read_image
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.refine.objective import MAP
from hpr.refine.results import Outcome
from hpr.refine.stream import refine_sequences
from hpr.skeleton import PHOTO19

PHOTOGRAPH = Path(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))
UPPER_BODY = {"nose": (268, 226), "left_eye": (307, 187), "right_eye": (220, 188), "left_ear": (362, 216)}
UPPER_BODY |= {"right_ear": (168, 224), "left_shoulder": (444, 410), "right_shoulder": (94, 412)}
"""Keypoints that were placed by hand, whose uncertainty is about ten pixels at this size."""


@pytest.fixture(scope="module")
def image() -> Image:
    return read_image(PHOTOGRAPH)


@pytest.fixture(scope="module")
def refiner() -> PoseRefiner:
    return PoseRefiner.load("photo", "cpu")


def truth() -> FloatArray:
    pose = np.full((19, 2), np.nan)
    pose[PHOTO19.indices(*UPPER_BODY)] = list(UPPER_BODY.values())
    return pose


def estimates(count: int, spread: float) -> tuple[FloatArray, FloatArray]:
    """Returns estimates (N, 19, 2) with errors of a spread in pixels, and their scores (N, 19)."""
    random = np.random.default_rng(0)
    scores = np.where(np.isnan(truth()[:, 0]), np.nan, random.uniform(0.3, 0.9, (count, 19)))
    return truth() + random.normal(0, spread, (count, 19, 2)), scores


def errors(poses: FloatArray) -> FloatArray:
    """Returns the mean distances (N,) of poses (N, 19, 2) to the truth."""
    return np.asarray(np.nanmean(np.linalg.norm(poses - truth(), axis=2), axis=1))


@pytest.mark.parametrize("settings", [{}, {"precision": "bf16"}, {"flip": False}], ids=str)
def test_poses_come_nearer_to_the_truth(settings: dict[str, Any], image: Image) -> None:
    given, scores = estimates(4, 30.0)
    found = PoseRefiner.load("photo", "cpu", **settings)(image, given, scores=scores)
    assert found.outcomes == [Outcome.REFINED] * 4
    assert errors(given).min() > 25
    assert (errors(found.keypoints) < 0.6 * errors(given)).all()
    assert errors(found.keypoints).mean() < errors(given).mean() / 2
    confidence = np.median(found.confidence, axis=0)
    assert (confidence[PHOTO19.indices(*UPPER_BODY)] > 0.3).all()
    assert (confidence[PHOTO19.indices("left_knee", "right_ankle")] < 0.3).all(), "beyond the image"


def test_a_swapped_and_a_lost_keypoint(refiner: PoseRefiner, image: Image) -> None:
    sides, (pose, *_) = PHOTO19.indices("left_shoulder", "right_shoulder"), estimates(1, 0.0)[0]
    pose[sides] = pose[sides[::-1]]
    pose[PHOTO19.index("nose")] = np.nan
    found = refiner(image, pose[None], scores=np.where(np.isnan(pose[:, 0]), np.nan, 0.6)[None])
    assert errors(found.keypoints)[0] < 16


@pytest.mark.parametrize("score", [None, 1.0, np.nan])
def test_a_pose_whose_scores_tell_nothing_stays(score: float | None, refiner: PoseRefiner, image: Image) -> None:
    """It may be an annotation; but a keypoint that is plainly somewhere else is moved."""
    scores = None if score is None else np.full((1, 19), score)
    found = refiner(image, truth()[None], scores=scores)
    known = PHOTO19.indices(*UPPER_BODY)
    np.testing.assert_allclose(found.keypoints[0, known], truth()[known], atol=1e-9)
    assert found.moved == pytest.approx([0.0])
    wrong = truth()
    wrong[PHOTO19.index("left_shoulder")] = 480, 60
    again = refiner(image, wrong[None], scores=scores)
    assert errors(again.keypoints)[0] < errors(wrong[None])[0] / 4


def test_people_of_a_batch_are_as_alone(refiner: PoseRefiner, image: Image) -> None:
    """Of more than one batch, at several sizes and at the image's border."""
    given, scores = estimates(5, 20.0)
    given = given * np.linspace(0.3, 1.0, 5)[:, None, None] - [60, 0]
    together = PoseRefiner.load("photo", "cpu", batch_pixels=3 * 256 * 256)(image, given, scores=scores)
    for index in range(5):
        alone = refiner(image, given[index : index + 1], scores=scores[index : index + 1])
        assert isinstance(alone, RefinedPoses)
        shifts = np.abs(alone.keypoints[0] - together.keypoints[index])
        assert np.nanquantile(shifts, 0.9) < 0.01  # of two cells that are alike, rounding chooses
        np.testing.assert_allclose(alone.confidence[0], together.confidence[index], atol=1e-4)


def test_odd_poses(refiner: PoseRefiner) -> None:
    keypoints = np.full((5, 19, 2), np.nan)
    keypoints[1:, 0] = [[30, 20], [9000, 9000], [np.inf, 20], [1e300, 20]]
    keypoints[3:, 1] = 40, 30
    found = refiner(np.zeros((90, 70, 3), np.uint8), keypoints)
    expected = [Outcome.NO_KEYPOINTS, Outcome.REFINED, Outcome.OUTSIDE, Outcome.REFINED, Outcome.REFINED]
    assert found.outcomes == expected


class Noted(ImageFolder):
    """Notes by how much images are reduced."""

    asked: list[int] = []  # noqa: RUF012

    def read(self, frame: Frame, reduction: int = 1) -> Image:
        self.asked.append(reduction)
        return super().read(frame, reduction)


@pytest.mark.parametrize(
    ("name", "width", "scales", "expected"),
    [
        pytest.param("a.jpg", 2048, [], None, id="nobody"),
        pytest.param("a.jpg", 2048, [np.nan], 1, id="without a keypoint"),
        pytest.param("a.jpg", 2048, [4], 4, id="as large as the image"),
        pytest.param("a.jpg", 2048, [4, np.nan, 2], 2, id="the smaller one decides"),
        pytest.param("a.jpg", 2048, [4, 0.5], 1, id="a small one"),
        pytest.param("a.jpg", 2050, [4], 2, id="no larger reduction divides the width"),
        pytest.param("a.jpg", 2049, [4], 1, id="an odd width"),
        pytest.param("a.png", 2048, [4], 4, id="not JPEG"),
    ],
)
def test_large_people_are_decoded_with_fewer_pixels(
    name: str,
    width: int,
    scales: list[float],
    expected: int | None,
    image: Image,
    refiner: PoseRefiner,
    tmp_path: Path,
) -> None:
    """Their poses are those of the whole image, but for half a pixel of 600."""
    large = cv2.resize(image, (width, 2400), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / name), cv2.cvtColor(large, cv2.COLOR_RGB2BGR))
    given, scores = estimates(len(scales), 15.0)
    keypoints = given * np.reshape(scales, (-1, 1, 1))
    frame = Frame(name, PHOTO19, keypoints, scores)

    Noted.asked.clear()
    (refined,) = refine_sequences(refiner, [PoseSequence("a", [frame])], Noted(tmp_path), MAP)
    assert Noted.asked == ([] if expected is None else [expected])
    whole = refiner(read_image(tmp_path / name), keypoints, scores=scores)
    for scale, found, pose in zip(scales, refined.frames[0].keypoints, whole.keypoints, strict=True):
        shifts = np.linalg.norm(found - pose, axis=1)[PHOTO19.indices(*UPPER_BODY)] / scale
        assert np.isnan(scale) or np.median(shifts) <= (0.0 if expected == 1 else 0.5)

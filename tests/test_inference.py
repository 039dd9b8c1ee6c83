from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CASES, GOLDEN, joints_of, small_network

from hpr import PoseRefiner
from hpr.benchmarks.precision import benchmark_precisions
from hpr.cli import ASSETS
from hpr.errors import UserError
from hpr.files import read_image
from hpr.formats import PoseTrack18
from hpr.inference import Outcome, fp32_arithmetic, select_device
from hpr.skeleton import HEAD_BOTTOM, HEAD_TOP

SAMPLE = ASSETS / "sample"
IMAGE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)


def small_refiner(**settings: Any) -> PoseRefiner:
    torch.manual_seed(0)
    return PoseRefiner(small_network(), **{"device": "cpu", **settings})


@pytest.fixture(scope="module", params=["refined", "refined_flip"])
def published(request: pytest.FixtureRequest, weights: Path) -> tuple[PoseRefiner, str]:
    """The engine with the stand-in weights, without and with flip, and the name of what it has to return."""
    return PoseRefiner.load(weights, device="cpu", flip=request.param == "refined_flip"), request.param


@pytest.mark.slow
def test_golden_poses(published: tuple[PoseRefiner, str], case: dict[str, Any]) -> None:
    refiner, golden = published
    poses = refiner(read_image(GOLDEN / "images" / case["image"]), joints_of(case)[None])
    expected = np.array(case[golden])
    np.testing.assert_allclose(poses.joints[0], expected[:, 1:3], rtol=0, atol=0.005)
    np.testing.assert_allclose(poses.confidence[0], expected[:, 3], rtol=0, atol=1e-4)
    assert poses.outcomes == [Outcome.REFINED]


def test_nobody() -> None:
    poses = small_refiner()(IMAGE, np.empty((0, 15, 2)))
    assert poses.joints.shape == (0, 15, 2)
    assert poses.confidence.shape == (0, 15)
    assert poses.outcomes == []


def test_poses_that_cannot_be_refined_stay_as_they_were() -> None:
    joints = np.full((3, 15, 2), np.nan)
    joints[1, 0] = 30, 40
    joints[2, [0, 1]] = [[0, 0], [9000, 9000]]
    image = np.zeros((9000, 9000, 3), np.uint8)
    poses = small_refiner()(image, joints, threshold=-1)
    assert poses.outcomes == [Outcome.NO_JOINTS, Outcome.REFINED, Outcome.CROP_SIZE]
    np.testing.assert_array_equal(poses.joints[[0, 2]], joints[[0, 2]])
    assert np.isnan(poses.confidence[[0, 2]]).all()
    assert not np.isnan(poses.joints[1]).any()


@pytest.mark.parametrize(
    ("head_top", "size"),
    [
        pytest.param((30, 5000), (160, 120), id="head of 5000 pixels"),
        pytest.param((30, 21), (160, 120), id="head of one pixel"),
        pytest.param((1e300, 20), (160, 120), id="absurd coordinate"),
        pytest.param((np.inf, 20), (160, 120), id="infinite coordinate counts as missing"),
        pytest.param((30, 60), (1, 1), id="image of one pixel"),
        pytest.param((30, 60), (7, 300), id="image narrower than 8 pixels"),
    ],
)
def test_extreme_input_gets_a_finite_pose(head_top: tuple[float, float], size: tuple[int, int]) -> None:
    joints = np.full((1, 15, 2), np.nan)
    joints[0, [HEAD_BOTTOM, HEAD_TOP]] = [[30, 20], head_top]
    poses = small_refiner()(np.zeros((size[1], size[0], 3), np.uint8), joints, threshold=-1)
    if poses.outcomes == [Outcome.REFINED]:
        assert np.isfinite(poses.joints).all()
        assert np.isfinite(poses.confidence).all()
    else:
        assert poses.outcomes == [Outcome.CROP_SIZE]


def people() -> np.ndarray[Any, np.dtype[np.float64]]:
    random = np.random.default_rng(1)
    joints = random.uniform(0, 1, (5, 15, 2)) * [60, 110] + random.uniform(0, 90, (5, 1, 2)) * [1, 0]
    joints[random.uniform(size=(5, 15)) < 0.2] = np.nan
    return joints


def test_a_pose_does_not_depend_on_its_company() -> None:
    refiner, joints = small_refiner(), people()
    together = refiner(IMAGE, joints)
    for i, pose in enumerate(joints):
        alone = refiner(IMAGE, pose[None])
        np.testing.assert_allclose(together.joints[i], alone.joints[0], rtol=0, atol=0.005)
        np.testing.assert_allclose(together.confidence[i], alone.confidence[0], rtol=0, atol=1e-4)


def test_threshold_is_exclusive() -> None:
    refiner, joints = small_refiner(), people()[:1]
    everything = refiner(IMAGE, joints, threshold=-1)
    assert not np.isnan(everything.joints).any()
    median = float(np.median(everything.confidence))
    kept = refiner(IMAGE, joints, threshold=median)
    np.testing.assert_array_equal(np.isnan(kept.joints[..., 0]), everything.confidence <= median)
    np.testing.assert_array_equal(kept.confidence, everything.confidence)


def test_the_input_is_left_alone() -> None:
    joints, image = people(), IMAGE.copy()
    before = joints.copy()
    small_refiner()(image, joints)
    np.testing.assert_array_equal(joints, before)
    np.testing.assert_array_equal(image, IMAGE)


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_lower_precision_is_near(precision: str) -> None:
    exact = small_refiner()(IMAGE, people())
    near = small_refiner(precision=precision)(IMAGE, people())
    assert np.nanmedian(np.abs(exact.confidence - near.confidence)) < 0.02


@pytest.mark.parametrize(
    ("image", "joints", "message"),
    [
        (
            IMAGE[..., 0],
            np.zeros((1, 15, 2)),
            r"image: expected uint8 of shape \(H, W, 3\), found uint8 of shape \(120, 160\)",
        ),
        (IMAGE / 255, np.zeros((1, 15, 2)), "found float64"),
        (IMAGE, np.zeros((15, 2)), r"joints: expected shape \(N, 15, 2\), found \(15, 2\)"),
        (IMAGE, np.zeros((1, 17, 3)), r"found \(1, 17, 3\)"),
    ],
)
def test_wrong_arguments(image: Any, joints: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_refiner()(image, joints)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "fp64"}, "precision=fp64: expected one of auto, fp32, tf32, bf16, fp16"),
        ({"device": "gpu"}, "device=gpu: expected auto, cpu, cuda or cuda:INDEX"),
        ({"device": "meta"}, "device=meta: expected auto"),
        ({"device": "cuda:99"}, "device=cuda:99: PyTorch sees"),
    ],
)
def test_wrong_settings(settings: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        small_refiner(**settings)


def test_auto_precision_on_a_cpu() -> None:
    assert small_refiner(precision="auto").precision == "fp32"


def test_auto_device() -> None:
    assert select_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("before", [True, False])
def test_fp32_arithmetic_leaves_no_trace(before: bool) -> None:
    matmul = torch.backends.cuda.matmul
    original = matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = before
        with fp32_arithmetic(tf32=not before):
            assert matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is (not before)
            assert torch.backends.cudnn.enabled
        assert matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is before
    finally:
        matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = original


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("case", CASES[:3], ids=lambda case: case["name"])
def test_golden_poses_on_cuda(weights: Path, case: dict[str, Any]) -> None:
    refiner = PoseRefiner.load(weights, device="cuda", precision="fp32")
    poses = refiner(read_image(GOLDEN / "images" / case["image"]), joints_of(case)[None])
    np.testing.assert_allclose(poses.joints[0], np.array(case["refined_flip"])[:, 1:3], rtol=0, atol=0.005)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_auto_precision_on_cuda_is_near() -> None:
    folders = {"root": SAMPLE, "predictions": SAMPLE / "predictions", "truth": SAMPLE / "annotations"}
    weights = ASSETS / "demo.safetensors"
    exact, auto = benchmark_precisions(weights, "cuda", ["auto"], PoseTrack18(), **folders)
    assert auto["mean_shift"] < 0.05
    assert abs(auto["mAP"] - exact["mAP"]) < 0.1
    assert abs(auto["MOTA"] - exact["MOTA"]) < 0.1

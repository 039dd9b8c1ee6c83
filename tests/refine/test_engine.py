"""The engine: refined poses against the golden data, and poses that it does not refine."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CASES, GOLDEN, joints_of, small_network

from hpr import Objective, PoseRefiner, RefinedPoses
from hpr.crops import STANDARD_SCALE, Crop, ScaleRule, body_scale
from hpr.images import read_image
from hpr.models.batch_norm import BatchNorm
from hpr.models.network import Prediction
from hpr.models.padding import PaddedBatch
from hpr.poses import FloatArray, Frame, FrameKey
from hpr.refine.batching import PersonCrop
from hpr.refine.results import Outcome, PersonKey, RefinedPose
from hpr.skeleton import COCO17, POSETRACK15, POSETRACK18, SKELETONS, Skeleton

KEY = PersonKey(FrameKey(0, 0), 0)
HEAD_BOTTOM, HEAD_TOP = POSETRACK15.indices("head_bottom", "head_top")
IMAGE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)


def small_refiner(skeleton: Skeleton = POSETRACK15, **settings: Any) -> PoseRefiner:
    torch.manual_seed(0)
    return PoseRefiner(small_network(skeleton), **{"device": "cpu", **settings})


def crop_of(engine: PoseRefiner, pose: FloatArray, key: PersonKey = KEY, scale: float | None = None) -> PersonCrop:
    made = engine.crop_person(IMAGE, pose, key, scale)
    assert isinstance(made, PersonCrop)
    return made


@pytest.fixture(scope="module", params=["refined", "refined_flip"])
def published(request: pytest.FixtureRequest, weights: Path) -> tuple[PoseRefiner, str]:
    """The engine with the stand-in weights, without and with flip, and the name of what it has to return."""
    return PoseRefiner.load(weights, device="cpu", flip=request.param == "refined_flip"), request.param


@pytest.mark.slow
def test_golden_poses(published: tuple[PoseRefiner, str], case: dict[str, Any]) -> None:
    refiner, golden = published
    poses = refiner(read_image(GOLDEN / "images" / case["image"]), joints_of(case)[None])
    expected = np.array(case[golden])
    np.testing.assert_allclose(poses.keypoints[0], expected[:, 1:3], rtol=0, atol=0.005)
    np.testing.assert_allclose(poses.confidence[0], expected[:, 3], rtol=0, atol=1e-4)
    assert poses.outcomes == [Outcome.REFINED]


def test_odd_poses() -> None:
    """Those that cannot be refined are unchanged; the others become finite, and infinity counts as missing."""
    keypoints = np.full((5, 15, 2), np.nan)
    keypoints[1:, HEAD_BOTTOM] = 30, 20
    keypoints[2:, HEAD_TOP] = [[9000, 9000], [np.inf, 20], [30, 21]]
    given = keypoints.copy()
    poses = small_refiner()(np.zeros((9000, 9000, 3), np.uint8), given)
    np.testing.assert_array_equal(given, keypoints)
    assert poses.outcomes == [Outcome.NO_KEYPOINTS, Outcome.REFINED, Outcome.CROP_SIZE, *[Outcome.REFINED] * 2]
    np.testing.assert_array_equal(poses.keypoints[[0, 2]], keypoints[[0, 2]])
    assert np.isnan(poses.confidence[[0, 2]]).all()
    assert np.isfinite(poses.keypoints[[1, 3, 4]]).all()
    assert np.isfinite(poses.confidence[[1, 3, 4]]).all()


def people(skeleton: Skeleton = POSETRACK15) -> FloatArray:
    random, count = np.random.default_rng(1), len(skeleton)
    keypoints = random.uniform(0, 1, (5, count, 2)) * [60, 110] + random.uniform(0, 90, (5, 1, 2)) * [1, 0]
    keypoints[random.uniform(size=(5, count)) < 0.2] = np.nan
    return np.asarray(keypoints)


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=list(SKELETONS))
@pytest.mark.parametrize("count", [0, 5])
def test_poses_of_any_skeleton(count: int, skeleton: Skeleton) -> None:
    """Also of one without head top and head bottom, which give a person's scale."""
    poses = small_refiner(skeleton)(IMAGE, people(skeleton)[:count])
    assert isinstance(poses, RefinedPoses)
    assert poses.keypoints.shape == (count, len(skeleton), 2)
    assert poses.confidence.shape == (count, len(skeleton))
    assert poses.outcomes == [Outcome.REFINED] * count
    assert np.isfinite(poses.keypoints).all()
    assert ((poses.confidence >= 0) & (poses.confidence <= 1)).all()


@pytest.mark.parametrize("skeleton", [POSETRACK15, COCO17], ids=lambda skeleton: skeleton.name)
def test_flip_swaps_sides(skeleton: Skeleton) -> None:
    """With flip, the parts of an image and of its mirror image are averaged: the mirror image has the same, swapped."""
    refiner, (pose, *_) = small_refiner(skeleton), people(skeleton)
    crop = crop_of(refiner, pose)
    width = crop.pixels.shape[1] // 16 * 16  # of whole cells, which are the same from left and right
    pixels, keypoints = crop.pixels[:, :width], crop.keypoints
    other = keypoints[list(skeleton.mirror)] * [-1, 1] + [width - 1, 0]
    box = Crop(1.0, (0, 0), (0, 0, width, len(pixels)))
    crops = [
        PersonCrop(KEY, box, pixels, keypoints),
        PersonCrop(KEY._replace(person=1), box, np.ascontiguousarray(pixels[:, ::-1]), other),
    ]
    straight, mirrored = sorted(refiner.refine_crops(crops), key=lambda result: result.key)
    np.testing.assert_allclose(mirrored.confidence, straight.confidence[list(skeleton.mirror)], rtol=0, atol=1e-5)


def test_thresholds_are_exclusive() -> None:
    """Keypoints that were missing may have a threshold of their own."""
    refiner, keypoints = small_refiner(), people()[1:]
    everything = refiner(IMAGE, keypoints)
    assert not np.isnan(everything.keypoints).any()
    missing, median = np.isnan(keypoints[..., 0]), float(np.median(everything.confidence))
    assert missing.any()
    for keep, add in ((0.0, median), (median, 0.0), (median, median)):
        found = refiner(IMAGE, keypoints, objective=Objective(keep=keep, add=add))
        kept = everything.confidence > np.where(missing, add, keep)
        assert not kept.all()
        np.testing.assert_array_equal(found.keypoints, np.where(kept[..., None], everything.keypoints, np.nan))
        np.testing.assert_array_equal(found.confidence, everything.confidence)


class TestCropPerson:
    @pytest.mark.parametrize(
        ("keypoints", "size", "outcome"),
        [
            pytest.param([], (120, 160), Outcome.NO_KEYPOINTS, id="nothing to start from"),
            pytest.param([(0, 0), (0, 1)], (7, 300), Outcome.TINY_IMAGE, id="an image of a few columns"),
            pytest.param([(0, 0), (0, 1)], (300, 7), Outcome.TINY_IMAGE, id="an image of a few rows"),
            # Without a disc to see, the network would invent a pose.
            pytest.param([(-5000, 60)], (120, 160), Outcome.OUTSIDE, id="far to the left"),
            pytest.param([(80, 1e300)], (120, 160), Outcome.OUTSIDE, id="absurdly far below"),
            pytest.param([(-30, 60)], (120, 160), Outcome.OUTSIDE, id="its disc just does not reach the image"),
            pytest.param([(-10, 60)], (120, 160), None, id="its disc reaches into the image"),
            pytest.param([(80, 60)], (120, 160), None, id="inside"),
        ],
    )
    def test_outcomes(self, keypoints: list[Any], size: tuple[int, int], outcome: Outcome | None) -> None:
        pose = np.full((15, 2), np.nan)
        pose[: len(keypoints)] = np.array(keypoints).reshape(-1, 2)
        made = small_refiner().crop_person(np.zeros((*size, 3), np.uint8), pose, KEY)
        assert isinstance(made, PersonCrop) if outcome is None else made == RefinedPose(KEY, outcome)

    @pytest.mark.parametrize("margin", [20.0, 30.0])
    def test_margin(self, margin: float) -> None:
        crop = crop_of(small_refiner(margin=margin), np.full((15, 2), 60.0), KEY, 1.0).crop
        assert crop.box == (60 - margin, 60 - margin, 60 + margin, 60 + margin)


class TestScale:
    @pytest.mark.parametrize("rule", ["published", "body"])
    def test_people_of_a_frame(self, rule: str) -> None:
        """A frame's infinite and unflagged keypoints do not count; keypoints unknown to the network and boxes do."""
        engine = small_refiner(scale=rule)
        assert engine.network_poses(Frame.empty("a.jpg", COCO17))[2] == []
        keypoints, flags = people(POSETRACK18), np.ones((5, 17))
        head = POSETRACK18.indices("head_bottom", "head_top")
        keypoints[:, head] = [[40, 30], [40, 10]]
        keypoints[0, head[0]], flags[1, head[0]] = np.inf, 0
        boxes = np.array([[np.nan] * 4, [50, 10, 90, 100], *[[-np.inf, 0, np.inf, np.nan]] * 3])
        frame = Frame("a.jpg", POSETRACK18, keypoints, flags=flags, boxes=boxes)

        poses, scores, scales, found = engine.network_poses(frame)
        np.testing.assert_array_equal(poses, POSETRACK18.convert(frame.poses, POSETRACK15))
        assert scores.shape == (5, 15)
        np.testing.assert_array_equal(found[1], boxes[1])
        assert np.isfinite(found).all()
        if rule == "body":
            assert scales == [body_scale(pose, POSETRACK18, box) for pose, box in zip(frame.poses, boxes, strict=True)]
            assert len(set(scales)) == 5
        else:
            mean, own = (STANDARD_SCALE * 50 / (0.6 * diagonal) for diagonal in (101.4252, 1.4286 * 20))
            assert scales == pytest.approx([mean, mean, own, own, own])

    @pytest.mark.parametrize("rule", ["published", "body"])
    def test_the_networks_mean_head_is_assumed_without_a_head_or_limb(self, rule: ScaleRule) -> None:
        """The demo's people are smaller than PoseTrack's."""
        network = small_network()
        network.mean_head = 55.0
        engine, keypoints = PoseRefiner(network, "cpu", scale=rule), np.full((1, 15, 2), np.nan)
        keypoints[0, 0] = 30, 40
        expected = pytest.approx(STANDARD_SCALE * 50 / (0.6 * 55))
        assert engine.network_poses(Frame("a.jpg", POSETRACK15, keypoints))[2] == [expected]
        assert crop_of(engine, keypoints[0]).crop.scale == expected


def test_wrong_settings() -> None:
    with pytest.raises(ValueError, match="scale: expected one of auto, published, body; found 'head'"):
        small_refiner(scale="head")
    with pytest.raises(ValueError, match="iterations: expected 1 or more; found 0"):
        small_refiner(iterations=0)


def test_how_far_a_pose_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mean over the keypoints that the input has, whatever is kept of them; in head sizes."""
    engine, pose = small_refiner(), people()[1]
    own = crop_of(engine, pose)
    shifted = np.where(np.isnan(own.keypoints), 0.0, np.add(own.keypoints, (3.0, 4.0)))
    unsure = Prediction(torch.from_numpy(shifted)[None], torch.full((1, 15), 0.5))
    monkeypatch.setattr(engine, "predict", lambda batch: unsure)
    assert np.isnan(pose).any()
    (found,) = engine.refine_crops([own])
    assert found.moved == pytest.approx(5 / (50 * STANDARD_SCALE))
    refined = engine(IMAGE, pose[None], objective="mota")
    assert refined.moved == pytest.approx([found.moved])
    assert np.isnan(refined.keypoints).all()


@pytest.mark.parametrize("settings", [{}, {"precision": "bf16"}, {"flip": False}], ids=str)
@pytest.mark.parametrize("training", [False, True])
def test_the_network_is_left_alone(training: bool, settings: dict[str, Any]) -> None:
    network = small_network().train(training)
    network.get_submodule("backbone.stem").requires_grad_(False)
    modules = [(type(module), module.training) for module in network.modules()]
    parameters = [(p, p.requires_grad, p.data_ptr(), p.dtype) for p in network.parameters()]
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    PoseRefiner(network, "cpu", **settings)(IMAGE, people())

    assert [(type(module), module.training) for module in network.modules()] == modules
    assert BatchNorm in {kind for kind, _ in modules}
    for own, before in zip(network.parameters(), parameters, strict=True):
        assert (id(own), own.requires_grad, own.data_ptr(), own.dtype) == (id(before[0]), *before[1:])
        assert own.is_contiguous()
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("name", ["photo", "demo"])
def test_autocast_of_the_program_changes_nothing(name: str) -> None:
    refiner, keypoints = PoseRefiner.load(name, "cpu"), people(COCO17)
    expected = refiner(IMAGE, keypoints, skeleton="coco17")
    with torch.autocast("cpu", torch.bfloat16):
        found = refiner(IMAGE, keypoints, skeleton="coco17")
    np.testing.assert_array_equal(found.keypoints, expected.keypoints)
    np.testing.assert_array_equal(found.confidence, expected.confidence)


@pytest.mark.parametrize("name", ["photo", "demo"])
def test_default_type_of_the_program_changes_nothing(name: str) -> None:
    expected = PoseRefiner.load(name, "cpu")(IMAGE, people(COCO17), skeleton="coco17")
    torch.set_default_dtype(torch.float64)
    try:
        found = PoseRefiner.load(name, "cpu")(IMAGE, people(COCO17), skeleton="coco17")
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(found.keypoints, expected.keypoints)
    np.testing.assert_array_equal(found.confidence, expected.confidence)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("golden", ["refined", "refined_flip"])
def test_golden_poses_on_cuda(weights: Path, golden: str) -> None:
    refiner = PoseRefiner.load(weights, "cuda", "fp32", flip=golden == "refined_flip")
    poses = [refiner(read_image(GOLDEN / "images" / case["image"]), joints_of(case)[None]) for case in CASES]
    expected = np.array([case[golden] for case in CASES])  # (N, K, 4): index, x, y, confidence
    shifts = np.abs(np.concatenate([own.keypoints for own in poses]) - expected[..., 1:3])
    changes = np.abs(np.concatenate([own.confidence for own in poses]) - expected[..., 3])
    print(f"{golden}: {len(CASES)} cases, off by at most {shifts.max():.5f} px and {changes.max():.1e} in confidence")
    assert shifts.max() <= 0.005
    assert changes.max() <= 1e-4


def test_a_network_that_returns_no_numbers_leaves_poses_as_they_were() -> None:
    torch.manual_seed(0)
    network = small_network()
    with torch.no_grad():
        network.part_head.get_parameter("bias")[3] = torch.nan
    keypoints = people()[:2]
    poses = PoseRefiner(network, "cpu")(IMAGE, keypoints)
    assert poses.outcomes == [Outcome.NOT_FINITE] * 2
    np.testing.assert_array_equal(poses.keypoints, keypoints)
    assert np.isnan(poses.confidence).all()


class TestIterations:
    """A further iteration starts from the keypoints of which the previous one was confident."""

    def engines(self, bias: float, **settings: Any) -> list[PoseRefiner]:
        """Returns engines of one to three iterations; the larger the bias, the more confident is the network."""
        torch.manual_seed(0)
        network = small_network()
        with torch.no_grad():
            network.part_head.get_parameter("bias").fill_(bias)
        return [PoseRefiner(network, "cpu", iterations=count, **settings) for count in (1, 2, 3)]

    def crops(self, engine: PoseRefiner) -> list[PersonCrop]:
        return [crop_of(engine, pose, KEY._replace(person=index)) for index, pose in enumerate(people())]

    def refined(self, engine: PoseRefiner, crops: list[PersonCrop]) -> list[RefinedPose]:
        results = sorted(engine.refine_crops(crops), key=lambda result: result.key)
        assert [result.outcome for result in results] == [Outcome.REFINED] * 5
        return results

    @pytest.mark.parametrize("flip", [False, True])
    def test_equals_repeated_refining(self, flip: bool) -> None:
        once, *others = self.engines(-3.5, flip=flip)
        crops = self.crops(once)
        before = self.refined(once, crops)
        sure = np.array([result.confidence > 0.3 for result in before])
        assert 0 < sure.sum() < sure.size

        for engine in others:
            starts = [own.crop.to_crop(first.keypoints) for first, own in zip(before, crops, strict=True)]
            for start, first in zip(starts, before, strict=True):
                start[first.confidence <= 0.3] = np.nan
            again = [replace(own, keypoints=start) for own, start in zip(crops, starts, strict=True)]
            expected = self.refined(once, again)
            for own, other, first in zip(self.refined(engine, crops), expected, before, strict=True):
                np.testing.assert_allclose(own.keypoints, other.keypoints, rtol=0, atol=1e-4)
                np.testing.assert_allclose(own.confidence, other.confidence, rtol=0, atol=1e-5)
                assert not np.array_equal(own.keypoints, first.keypoints)
            before = expected

    def test_without_a_confident_keypoint_the_last_result_stands(self) -> None:
        once, *others = self.engines(-20.0)
        expected = self.refined(once, self.crops(once))
        for engine in others:
            for own, other in zip(self.refined(engine, self.crops(once)), expected, strict=True):
                assert (own.confidence < 0.3).all()
                np.testing.assert_array_equal(own.keypoints, other.keypoints)
                np.testing.assert_array_equal(own.confidence, other.confidence)

    @pytest.mark.parametrize("coordinate", [-30.0, 1000.0, np.nan])
    def test_keypoints_that_left_the_crop(self, coordinate: float, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a disc to see, the network would invent a pose."""
        _, twice, _ = self.engines(0.0)
        positions = iter([coordinate, 5.0])

        def predict(batch: PaddedBatch) -> Prediction:
            return Prediction(torch.full((1, 15, 2), next(positions)), torch.ones(1, 15))

        monkeypatch.setattr(twice, "predict", predict)
        own = self.crops(twice)[0]
        (found,) = twice.refine_crops([own])
        if np.isnan(coordinate):
            assert found == RefinedPose(own.key, Outcome.NOT_FINITE)
        else:
            np.testing.assert_allclose(own.crop.to_crop(found.keypoints), coordinate)

"""The engine: refined poses against the golden data, and what it does with everything else."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CASES, GOLDEN, ROOT, joints_of, small_network
from torch import nn

from hpr import PoseRefiner, RefinedPoses
from hpr.crops import STANDARD_SCALE, Crop, body_scale, person_scale
from hpr.images import read_image
from hpr.refine.batching import PersonCrop
from hpr.refine.engine import Outcome, PassedThrough, RefinedPose, gather
from hpr.models.batch_norm import BatchNorm
from hpr.models.network import Refiner
from hpr.models.padding import PaddedBatch
from hpr.refine.objective import MAP, MOTA, Objective
from hpr.poses import FloatArray, Frame
from hpr.skeleton import COCO17, POSETRACK15, POSETRACK18, SKELETONS, Skeleton

HEAD_BOTTOM, HEAD_TOP = POSETRACK15.indices("head_bottom", "head_top")
IMAGE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)


def small_refiner(skeleton: Skeleton = POSETRACK15, **settings: Any) -> PoseRefiner:
    torch.manual_seed(0)
    return PoseRefiner(small_network(skeleton), **{"device": "cpu", **settings})


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


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=list(SKELETONS))
def test_nobody(skeleton: Skeleton) -> None:
    count = len(skeleton)
    poses = small_refiner(skeleton)(IMAGE, np.empty((0, count, 2)))
    assert isinstance(poses, RefinedPoses)
    assert poses.keypoints.shape == (0, count, 2)
    assert poses.confidence.shape == (0, count)
    assert poses.outcomes == []


def test_poses_that_cannot_be_refined_stay_as_they_were() -> None:
    keypoints = np.full((3, 15, 2), np.nan)
    keypoints[1, 0] = 30, 40
    keypoints[2, [0, 1]] = [[0, 0], [9000, 9000]]
    image = np.zeros((9000, 9000, 3), np.uint8)
    poses = small_refiner()(image, keypoints, threshold=-1)
    assert poses.outcomes == [Outcome.NO_KEYPOINTS, Outcome.REFINED, Outcome.CROP_SIZE]
    np.testing.assert_array_equal(poses.keypoints[[0, 2]], keypoints[[0, 2]])
    assert np.isnan(poses.confidence[[0, 2]]).all()
    assert not np.isnan(poses.keypoints[1]).any()


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
    keypoints = np.full((1, 15, 2), np.nan)
    keypoints[0, [HEAD_BOTTOM, HEAD_TOP]] = [[30, 20], head_top]
    poses = small_refiner()(np.zeros((size[1], size[0], 3), np.uint8), keypoints, threshold=-1)
    if poses.outcomes == [Outcome.REFINED]:
        assert np.isfinite(poses.keypoints).all()
        assert np.isfinite(poses.confidence).all()
    else:
        assert poses.outcomes[0] in (Outcome.CROP_SIZE, Outcome.TINY_IMAGE, Outcome.OUTSIDE)
        np.testing.assert_array_equal(poses.keypoints, np.where(np.isinf(keypoints), np.nan, keypoints))


def people(skeleton: Skeleton = POSETRACK15) -> FloatArray:
    random, count = np.random.default_rng(1), len(skeleton)
    keypoints = random.uniform(0, 1, (5, count, 2)) * [60, 110] + random.uniform(0, 90, (5, 1, 2)) * [1, 0]
    keypoints[random.uniform(size=(5, count)) < 0.2] = np.nan
    return np.asarray(keypoints)


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=list(SKELETONS))
def test_poses_of_any_skeleton(skeleton: Skeleton) -> None:
    """Also of one without head top and head bottom, which give a person's scale."""
    refiner, keypoints = small_refiner(skeleton), people(skeleton)
    assert refiner.skeleton == skeleton
    poses = refiner(IMAGE, keypoints, threshold=-1)
    assert poses.keypoints.shape == (5, len(skeleton), 2)
    assert poses.confidence.shape == (5, len(skeleton))
    assert poses.outcomes == [Outcome.REFINED] * 5
    assert np.isfinite(poses.keypoints).all()
    assert ((poses.confidence >= 0) & (poses.confidence <= 1)).all()


def test_a_network_for_coco() -> None:
    poses = small_refiner(COCO17)(IMAGE, people(COCO17))
    assert poses.keypoints.shape == (5, 17, 2)


def test_a_pose_does_not_depend_on_its_company() -> None:
    refiner, keypoints = small_refiner(), people()
    together = refiner(IMAGE, keypoints)
    for i, pose in enumerate(keypoints):
        alone = refiner(IMAGE, pose[None])
        np.testing.assert_allclose(together.keypoints[i], alone.keypoints[0], rtol=0, atol=0.005)
        np.testing.assert_allclose(together.confidence[i], alone.confidence[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("skeleton", [POSETRACK15, COCO17], ids=lambda skeleton: skeleton.name)
def test_flip_swaps_sides(skeleton: Skeleton) -> None:
    """With flip, the parts of an image and of its mirror image are averaged: the mirror image has the same, swapped."""
    refiner, (pose, *_) = small_refiner(skeleton), people(skeleton)
    crop = refiner.prepare(IMAGE, pose, 0)
    assert isinstance(crop, PersonCrop)
    width = crop.pixels.shape[1] // 16 * 16  # of whole cells, which are the same from left and right
    pixels, keypoints = crop.pixels[:, :width], crop.keypoints
    other = keypoints[list(skeleton.mirror)] * [-1, 1] + [width - 1, 0]
    box = Crop(1.0, (0, 0), (0, 0, width, len(pixels)))
    crops = [PersonCrop(0, box, pixels, keypoints), PersonCrop(1, box, np.ascontiguousarray(pixels[:, ::-1]), other)]
    straight, mirrored = sorted(refiner.refine(crops), key=lambda result: str(result.key))
    assert isinstance(straight, RefinedPose)
    assert isinstance(mirrored, RefinedPose)
    np.testing.assert_allclose(mirrored.confidence, straight.confidence[list(skeleton.mirror)], rtol=0, atol=1e-5)


def test_threshold_is_exclusive() -> None:
    refiner, keypoints = small_refiner(), people()[:1]
    everything = refiner(IMAGE, keypoints, threshold=-1)
    assert not np.isnan(everything.keypoints).any()
    median = float(np.median(everything.confidence))
    kept = refiner(IMAGE, keypoints, threshold=median)
    np.testing.assert_array_equal(np.isnan(kept.keypoints[..., 0]), everything.confidence <= median)
    np.testing.assert_array_equal(kept.confidence, everything.confidence)


def test_another_threshold_for_what_was_missing() -> None:
    refiner, keypoints = small_refiner(), people()[1:]
    everything = refiner(IMAGE, keypoints, threshold=-1)
    missing, median = np.isnan(keypoints[..., 0]), float(np.median(everything.confidence))
    assert missing.any()
    for threshold, add_threshold in ((-1.0, median), (median, -1.0)):
        found = refiner(IMAGE, keypoints, threshold, add_threshold=add_threshold).keypoints
        kept = everything.confidence > np.where(missing, add_threshold, threshold)
        assert not kept.all()
        np.testing.assert_array_equal(found, np.where(kept[..., None], everything.keypoints, np.nan))


def test_the_input_is_left_alone() -> None:
    keypoints, image = people(), IMAGE.copy()
    before = keypoints.copy()
    small_refiner()(image, keypoints)
    np.testing.assert_array_equal(keypoints, before)
    np.testing.assert_array_equal(image, IMAGE)


@pytest.mark.parametrize(
    ("image", "keypoints", "message"),
    [
        (
            IMAGE[..., 0],
            np.zeros((1, 15, 2)),
            r"image: expected uint8 of shape \(H, W, 3\), found uint8 of shape \(120, 160\)",
        ),
        (IMAGE / 255, np.zeros((1, 15, 2)), "found float64"),
        (IMAGE, np.zeros((15, 2)), r"keypoints: expected shape \(N, 15, 2\), found \(15, 2\)"),
        (IMAGE, np.zeros((1, 17, 3)), r"found \(1, 17, 3\)"),
        (IMAGE, np.zeros((1, 17, 2)), r"expected shape \(N, 15, 2\), found \(1, 17, 2\)"),
    ],
)
def test_wrong_arguments(image: Any, keypoints: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_refiner()(image, keypoints)


class TestPrepare:
    def test_nothing_to_start_from(self) -> None:
        assert small_refiner().prepare(IMAGE, np.full((15, 2), np.nan), "key") == PassedThrough(
            "key", Outcome.NO_KEYPOINTS
        )

    def test_margin(self) -> None:
        pose = np.full((15, 2), 60.0)
        crops = [small_refiner(margin=margin).prepare(IMAGE, pose, 0, 1.0) for margin in (20.0, 30.0)]
        sizes = [(crop.crop.width, crop.crop.height) for crop in crops if isinstance(crop, PersonCrop)]
        assert sizes == [(40, 40), (60, 60)]

    def test_too_large_a_crop(self) -> None:
        pose = np.full((15, 2), np.nan)
        pose[[0, 1]] = [[0, 0], [9000, 9000]]
        image = np.zeros((9000, 9000, 3), np.uint8)
        assert small_refiner().prepare(image, pose, 7) == PassedThrough(7, Outcome.CROP_SIZE)

    @pytest.mark.parametrize(
        ("place", "outcome"),
        [
            pytest.param((-5000, 60), Outcome.OUTSIDE, id="far to the left"),
            pytest.param((80, 1e300), Outcome.OUTSIDE, id="absurdly far below"),
            pytest.param((-30, 60), Outcome.OUTSIDE, id="its disc just does not reach the image"),
            pytest.param((-10, 60), None, id="its disc reaches into the image"),
            pytest.param((80, 60), None, id="within"),
        ],
    )
    def test_a_pose_outside_of_the_image(self, place: tuple[float, float], outcome: Outcome | None) -> None:
        """Without a disc to see, the network would invent a pose."""
        pose = np.full((15, 2), np.nan)
        pose[0] = place
        made = small_refiner().prepare(IMAGE, pose, 0)
        assert isinstance(made, PersonCrop) if outcome is None else made == PassedThrough(0, outcome)

    @pytest.mark.parametrize("size", [(1, 1), (7, 300), (300, 7)])
    def test_an_image_of_a_few_pixels(self, size: tuple[int, int]) -> None:
        pose = np.full((15, 2), np.nan)
        pose[[HEAD_BOTTOM, HEAD_TOP]] = [[0, 0], [0, 1]]
        image = np.zeros((*size, 3), np.uint8)
        assert small_refiner().prepare(image, pose, 0) == PassedThrough(0, Outcome.TINY_IMAGE)

    def test_a_crop(self) -> None:
        pose = people()[0]
        crop = small_refiner().prepare(IMAGE, pose, ("a", 3))
        assert isinstance(crop, PersonCrop)
        assert crop.key == ("a", 3)
        assert crop.pixels.shape == (crop.crop.height, crop.crop.width, 3)
        assert crop.area == crop.crop.height * crop.crop.width
        np.testing.assert_array_equal(crop.keypoints, crop.crop.to_crop(pose))

    def test_the_networks_mean_head_is_assumed(self) -> None:
        """Where the pose has no head: the demo's people are smaller than PoseTrack's."""
        network = small_network()
        network.mean_head = 55.0
        pose = people()[0]
        pose[[HEAD_BOTTOM, HEAD_TOP]] = np.nan
        crop, other = (PoseRefiner(n, "cpu").prepare(IMAGE, pose, 0) for n in (network, small_network()))
        assert isinstance(crop, PersonCrop)
        assert isinstance(other, PersonCrop)
        assert crop.crop.scale / other.crop.scale == pytest.approx(101.4252 / 55)


class TestScale:
    def test_rules(self) -> None:
        pose = people()[0]
        crops = [small_refiner(scale=rule).prepare(IMAGE, pose, 0) for rule in ("published", "body")]
        expected = [person_scale(pose, POSETRACK15), body_scale(pose, POSETRACK15)]
        assert [crop.crop.scale for crop in crops if isinstance(crop, PersonCrop)] == expected
        assert expected[0] != expected[1]

    def test_one_that_is_given(self) -> None:
        crop = small_refiner().prepare(IMAGE, people()[0], 0, 0.75)
        assert isinstance(crop, PersonCrop)
        assert crop.crop.scale == 0.75

    @pytest.mark.parametrize("rule", ["published", "body"])
    def test_of_the_people_in_a_frame(self, rule: str) -> None:
        """A frame's infinite and unflagged keypoints do not count."""
        engine = small_refiner(scale=rule)
        assert engine.scales(Frame.empty("a.jpg", COCO17)) == []
        keypoints, flags = people(POSETRACK18), np.ones((5, 17))
        head = POSETRACK18.indices("head_bottom", "head_top")
        keypoints[:, head] = [[40, 30], [40, 10]]
        keypoints[0, head[0]], flags[1, head[0]] = np.inf, 0
        frame = Frame("a.jpg", POSETRACK18, keypoints, flags=flags)
        found = engine.scales(frame)
        if rule == "body":
            assert found == [body_scale(pose, POSETRACK18) for pose in frame.poses]
            assert len(set(found)) == 5
        else:
            mean, own = (STANDARD_SCALE * 50 / (0.6 * diagonal) for diagonal in (101.4252, 1.4286 * 20))
            assert found == pytest.approx([mean, mean, own, own, own])

    def test_the_networks_mean_head_is_assumed(self) -> None:
        """Where there is neither a limb nor a box."""
        network = small_network()
        network.mean_head = 55.0
        keypoints = np.full((1, 15, 2), np.nan)
        keypoints[0, 0] = 30, 40
        expected = STANDARD_SCALE * 50 / (0.6 * 55)
        engine = PoseRefiner(network, "cpu", scale="body")
        assert engine.scales(Frame("a.jpg", POSETRACK15, keypoints)) == pytest.approx([expected])
        crop = engine.prepare(IMAGE, keypoints[0], 0)
        assert isinstance(crop, PersonCrop)
        assert crop.crop.scale == pytest.approx(expected)

    def test_another_rule(self) -> None:
        with pytest.raises(ValueError, match="scale: expected one of published, body; found 'head'"):
            small_refiner(scale="head")

    def test_weights_are_loaded_with_a_rule(self) -> None:
        weights = ROOT / "hpr" / "assets" / "demo.safetensors"
        assert PoseRefiner.load(weights, "cpu", scale="body").scale == "body"
        assert PoseRefiner.load(weights, "cpu").scale == "published"


class TestGather:
    def test_nobody(self) -> None:
        poses = gather(np.empty((0, 15, 2)), [], Objective(keep=0.5, add=0.5))
        assert poses.keypoints.shape == (0, 15, 2)
        assert poses.confidence.shape == (0, 15)
        assert poses.outcomes == []

    def test_refined_and_passed_through(self) -> None:
        before = np.arange(12.0).reshape(2, 3, 2)
        refined = RefinedPose(0, -before[0], np.array([0.4, 0.5, 0.6]), 10.0)
        gone = PassedThrough(1, Outcome.BAD_IMAGE, "gone.png")
        poses = gather(before, [refined, gone], Objective(keep=0.5, add=0.5))
        np.testing.assert_array_equal(poses.keypoints[0], [[np.nan, np.nan], [np.nan, np.nan], [-4, -5]])
        np.testing.assert_array_equal(poses.keypoints[1], before[1])
        np.testing.assert_array_equal(poses.confidence, [[0.4, 0.5, 0.6], [np.nan] * 3])
        assert poses.outcomes == [Outcome.REFINED, Outcome.BAD_IMAGE]
        np.testing.assert_array_equal(before, np.arange(12.0).reshape(2, 3, 2))

    @pytest.mark.parametrize(
        ("objective", "kept"),
        [
            (MAP, [1, 2, 4, 5]),
            (MOTA, [2, 5]),
            (Objective(keep=0.0, add=0.7), [1, 2, 5]),
            (Objective(keep=0.7, add=0.0), [2, 4, 5]),
            (Objective(keep=0.3, add=0.8), [1, 2]),
        ],
    )
    def test_keeping_and_adding(self, objective: Objective, kept: list[int]) -> None:
        """Three keypoints of the input and three that are missing in it."""
        before = np.arange(12.0).reshape(1, 6, 2)
        before[:, 3:] = np.nan
        refined = RefinedPose(0, np.ones((6, 2)), np.array([0.0, 0.7, 0.8, 0.0, 0.7, 0.8]), 10.0)
        (found,) = gather(before, [refined], objective).keypoints
        assert np.flatnonzero(found[:, 0] == 1).tolist() == kept
        assert np.isnan(np.delete(found, kept, axis=0)).all()


class TestIterations:
    """A further pass starts from the keypoints that the one before was sure of."""

    def crops(self, engine: PoseRefiner) -> list[PersonCrop]:
        crops = [engine.prepare(IMAGE, pose, key) for key, pose in enumerate(people())]
        return [crop for crop in crops if isinstance(crop, PersonCrop)]

    def refined(self, engine: PoseRefiner, crops: list[PersonCrop]) -> list[RefinedPose]:
        results = sorted(engine.refine(crops), key=lambda result: str(result.key))
        return [result for result in results if isinstance(result, RefinedPose)]

    def again(self, first: RefinedPose, own: PersonCrop) -> PersonCrop:
        """What a second pass sees, by hand."""
        sure = np.where(first.confidence[:, None] > 0.3, own.crop.to_crop(first.keypoints), np.nan)
        return replace(own, keypoints=sure)

    def engines(self, bias: float, **settings: Any) -> tuple[PoseRefiner, ...]:
        """Of one to three passes of a network that is more or less sure of all it finds."""
        torch.manual_seed(0)
        network = small_network()
        with torch.no_grad():
            network.part_head.get_parameter("bias").fill_(bias)
        return tuple(PoseRefiner(network, "cpu", iterations=count, **settings) for count in (1, 2, 3))

    @pytest.mark.parametrize("flip", [False, True])
    def test_as_by_hand(self, flip: bool) -> None:
        once, twice, thrice = self.engines(-3.5, flip=flip)
        crops = self.crops(once)
        before = self.refined(once, crops)
        sure = np.array([result.confidence > 0.3 for result in before])
        assert 0 < sure.sum() < sure.size
        for engine in (twice, thrice):
            expected = self.refined(once, [self.again(*pair) for pair in zip(before, crops, strict=True)])
            found = self.refined(engine, crops)
            assert len(found) == len(crops) == 5
            for own, other, first in zip(found, expected, before, strict=True):
                np.testing.assert_allclose(own.keypoints, other.keypoints, rtol=0, atol=1e-4)
                np.testing.assert_allclose(own.confidence, other.confidence, rtol=0, atol=1e-5)
                assert (own.keypoints != first.keypoints).any()
            before = expected

    def test_without_a_sure_keypoint_the_last_result_stands(self) -> None:
        once, twice, thrice = self.engines(-20.0)
        crops = self.crops(once)
        for engine in (twice, thrice):
            for own, other in zip(self.refined(engine, crops), self.refined(once, crops), strict=True):
                assert (own.confidence < 0.3).all()
                np.testing.assert_array_equal(own.keypoints, other.keypoints)
                np.testing.assert_array_equal(own.confidence, other.confidence)

    @pytest.mark.parametrize("place", [-30.0, 1000.0, np.nan])
    def test_keypoints_that_left_the_crop(self, place: float, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a disc to see, the network would invent a pose."""
        _, twice, _ = self.engines(0.0)
        passes: list[torch.Tensor] = []

        def predict(batch: PaddedBatch) -> tuple[torch.Tensor, torch.Tensor]:
            passes.append(batch.tensors)
            count = len(batch.tensors)
            return torch.full((count, 15, 2), place if len(passes) == 1 else 5.0), torch.ones(count, 15)

        monkeypatch.setattr(twice, "predict", predict)
        crops = self.crops(twice)[:1]
        (found,) = twice.refine(crops)
        if np.isnan(place):
            assert found == PassedThrough(0, Outcome.NOT_FINITE)
        else:
            assert isinstance(found, RefinedPose)
            np.testing.assert_allclose(crops[0].crop.to_crop(found.keypoints), place)

    def test_poses_do_not_depend_on_their_company(self) -> None:
        (_, _, alone), (_, _, together) = self.engines(-3.5), self.engines(-3.5, batch_pixels=10**9)
        crops = self.crops(alone)
        crops = [replace(own, key=key) for key, own in enumerate(crops)]
        for own, other in zip(self.refined(alone, crops), self.refined(together, crops), strict=True):
            assert own.key == other.key
            np.testing.assert_allclose(own.keypoints, other.keypoints, rtol=0, atol=0.005)

    def test_one_pass_is_the_default(self) -> None:
        assert small_refiner().iterations == 1
        weights = ROOT / "hpr" / "assets" / "demo.safetensors"
        assert PoseRefiner.load(weights, "cpu", iterations=2).iterations == 2

    def test_no_pass(self) -> None:
        with pytest.raises(ValueError, match="iterations: expected 1 or more; found 0"):
            small_refiner(iterations=0)


class TestTheNetworkIsLeftAlone:
    def state(self, network: Refiner) -> dict[str, torch.Tensor]:
        return {name: tensor.clone() for name, tensor in network.state_dict().items()}

    @pytest.mark.parametrize("settings", [{}, {"precision": "bf16"}, {"flip": False}], ids=str)
    @pytest.mark.parametrize("training", [False, True])
    def test_by_the_engine(self, training: bool, settings: dict[str, Any]) -> None:
        network = small_network().train(training)
        network.get_submodule("backbone.stem").requires_grad_(False)
        before, modules = self.state(network), [type(module) for module in network.modules()]
        modes = {name: module.training for name, module in network.named_modules()}
        trainable = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
        pointers = [parameter.data_ptr() for parameter in network.parameters()]

        PoseRefiner(network, "cpu", **settings)(IMAGE, people())

        after = self.state(network)
        assert after.keys() == before.keys()
        assert all(torch.equal(after[name], before[name]) for name in before)
        assert all(after[name].dtype == before[name].dtype for name in before)
        assert [type(module) for module in network.modules()] == modules
        assert BatchNorm in modules
        assert {name: module.training for name, module in network.named_modules()} == modes
        assert {name: p.requires_grad for name, p in network.named_parameters()} == trainable
        assert len(set(trainable.values())) == 2
        assert [parameter.data_ptr() for parameter in network.parameters()] == pointers
        assert all(parameter.is_contiguous() for parameter in network.parameters())

    def test_and_its_training_leaves_the_engine_alone(self) -> None:
        network = small_network()
        refiner = PoseRefiner(network, "cpu")
        before = refiner(IMAGE, people())
        for parameter in network.parameters():
            nn.init.zeros_(parameter)
        network.train()
        after = refiner(IMAGE, people())
        np.testing.assert_array_equal(after.keypoints, before.keypoints)
        np.testing.assert_array_equal(after.confidence, before.confidence)

    def test_two_engines_of_one_network_are_equal(self) -> None:
        network = small_network().train()
        first, second = (PoseRefiner(network, "cpu")(IMAGE, people()) for _ in range(2))
        np.testing.assert_array_equal(first.keypoints, second.keypoints)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("case", CASES[:3], ids=lambda case: case["name"])
def test_golden_poses_on_cuda(weights: Path, case: dict[str, Any]) -> None:
    refiner = PoseRefiner.load(weights, device="cuda", precision="fp32")
    poses = refiner(read_image(GOLDEN / "images" / case["image"]), joints_of(case)[None])
    np.testing.assert_allclose(poses.keypoints[0], np.array(case["refined_flip"])[:, 1:3], rtol=0, atol=0.005)


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

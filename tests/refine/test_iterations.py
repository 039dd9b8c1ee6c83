"""A further iteration starts from the keypoints of which the previous one was confident."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import small_network

from hpr.models.padding import PaddedBatch
from hpr.poses import FrameKey
from hpr.refine.batching import PersonCrop
from hpr.refine.engine import PoseRefiner
from hpr.refine.results import Outcome, PersonKey, RefinedPose

IMAGE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)


def crops_of(engine: PoseRefiner) -> list[PersonCrop]:
    """Returns the crops of five people."""
    random = np.random.default_rng(1)
    poses = random.uniform(0, 1, (5, 15, 2)) * [60, 110] + random.uniform(0, 90, (5, 1, 2)) * [1, 0]
    crops = [engine.crop_person(IMAGE, pose, PersonKey(FrameKey(0, 0), index)) for index, pose in enumerate(poses)]
    return [crop for crop in crops if isinstance(crop, PersonCrop)]


def refined(engine: PoseRefiner, crops: list[PersonCrop]) -> list[RefinedPose]:
    results = sorted(engine.refine_crops(crops), key=lambda result: result.key)
    assert [result.outcome for result in results] == [Outcome.REFINED] * 5
    return results


def next_crop(first: RefinedPose, own: PersonCrop) -> PersonCrop:
    """Returns what a second iteration sees."""
    start = np.where(first.confidence[:, None] > 0.3, own.crop.to_crop(first.keypoints), np.nan)
    return replace(own, keypoints=start)


def engines(bias: float, **settings: Any) -> tuple[PoseRefiner, ...]:
    """Returns engines of one to three iterations; the larger the bias, the more confident is the network."""
    torch.manual_seed(0)
    network = small_network()
    with torch.no_grad():
        network.part_head.get_parameter("bias").fill_(bias)
    return tuple(PoseRefiner(network, "cpu", iterations=count, **settings) for count in (1, 2, 3))


@pytest.mark.parametrize("flip", [False, True])
def test_equals_repeated_refining(flip: bool) -> None:
    once, twice, thrice = engines(-3.5, flip=flip)
    crops = crops_of(once)
    before = refined(once, crops)
    sure = np.array([result.confidence > 0.3 for result in before])
    assert 0 < sure.sum() < sure.size

    for engine in (twice, thrice):
        expected = refined(once, [next_crop(*pair) for pair in zip(before, crops, strict=True)])
        for own, other, first in zip(refined(engine, crops), expected, before, strict=True):
            np.testing.assert_allclose(own.keypoints, other.keypoints, rtol=0, atol=1e-4)
            np.testing.assert_allclose(own.confidence, other.confidence, rtol=0, atol=1e-5)
            assert not np.array_equal(own.keypoints, first.keypoints)
        before = expected


def test_without_a_confident_keypoint_the_last_result_stands() -> None:
    once, twice, thrice = engines(-20.0)
    crops = crops_of(once)
    expected = refined(once, crops)
    for engine in (twice, thrice):
        for own, other in zip(refined(engine, crops), expected, strict=True):
            assert (own.confidence < 0.3).all()
            np.testing.assert_array_equal(own.keypoints, other.keypoints)
            np.testing.assert_array_equal(own.confidence, other.confidence)


@pytest.mark.parametrize("coordinate", [-30.0, 1000.0, np.nan])
def test_keypoints_that_left_the_crop(coordinate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a disc to see, the network would invent a pose."""
    _, twice, _ = engines(0.0)
    passes: list[torch.Tensor] = []

    def predict(batch: PaddedBatch) -> tuple[torch.Tensor, torch.Tensor]:
        passes.append(batch.tensors)
        count = len(batch.tensors)
        return torch.full((count, 15, 2), coordinate if len(passes) == 1 else 5.0), torch.ones(count, 15)

    monkeypatch.setattr(twice, "predict", predict)
    own = crops_of(twice)[0]
    (found,) = twice.refine_crops([own])
    if np.isnan(coordinate):
        assert found == RefinedPose(own.key, Outcome.NOT_FINITE)
    else:
        np.testing.assert_allclose(own.crop.to_crop(found.keypoints), coordinate)

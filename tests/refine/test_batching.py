"""Crops of different sizes in one batch: every person gets the result they would get alone."""

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, small_network
from hypothesis import given, settings
from hypothesis import strategies as st

from hpr.codec import draw_discs
from hpr.crops import Crop
from hpr.models.checkpoints import load_network
from hpr.models.network import Refiner
from hpr.models.padding import PaddedBatch
from hpr.poses import FrameKey
from hpr.refine.batching import PersonCrop, canvas_size, collate, group
from hpr.refine.engine import PoseRefiner
from hpr.refine.results import Outcome, PersonKey, RefinedPose
from hpr.skeleton import COCO17, POSETRACK15, Skeleton

CPU = torch.device("cpu")
DEMO = ROOT / "hpr" / "assets" / "demo.safetensors"
ROOM = 2

ROUNDING = 1e-5
"""Sums in another order change a confidence by up to 1.6e-6 (in 150 drawn batches, with AVX2 and with AVX-512); without
the masks, everyone who is padded changes by more than 4e-3."""


def key_of(person: int) -> PersonKey:
    return PersonKey(FrameKey(0, 0), person)


def person(height: int, width: int, index: int = 0, skeleton: Skeleton = POSETRACK15) -> PersonCrop:
    random, count = np.random.default_rng((index, height, width)), len(skeleton)
    keypoints = random.uniform(-10, 10, (count, 2)) + random.uniform(0, 1, (count, 2)) * [width, height]
    keypoints[random.random(count) < 0.2] = np.nan
    pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PersonCrop(key_of(index), Crop(1.0, (width, height), (0, 0, width, height)), pixels, keypoints)


def refiners(network: Refiner | None = None, device: str = "cpu", **changes: Any) -> tuple[PoseRefiner, PoseRefiner]:
    """Returns an engine that refines people one at a time, and one that refines all in one batch."""
    torch.manual_seed(0)
    network = network or small_network()
    alone, together = (PoseRefiner(network, device, batch_pixels=pixels, **changes) for pixels in (0, 10**9))
    return alone, together


def assert_same(first: Iterable[RefinedPose], second: Iterable[RefinedPose], num_people: int) -> None:
    """Compares the results of people 0, 1, 2 …, in whatever order they came."""
    ones, others = ({result.key: result for result in results} for results in (first, second))
    assert ones.keys() == others.keys() == {key_of(index) for index in range(num_people)}
    for key, one in ones.items():
        assert one.outcome is others[key].outcome is Outcome.REFINED
        np.testing.assert_allclose(one.keypoints, others[key].keypoints, rtol=0, atol=0.005)
        np.testing.assert_allclose(one.confidence, others[key].confidence, rtol=0, atol=ROUNDING)


def assert_padding_changes_nothing(network: Refiner | None, sizes: list[tuple[int, int]], **settings: Any) -> None:
    alone, together = refiners(network, **settings)
    people = [person(*size, index, alone.skeleton) for index, size in enumerate(sizes)]
    assert_same(alone.refine_crops(people), together.refine_crops(people), len(people))


SIDES = st.integers(8, 90)


@pytest.mark.parametrize("flip", [False, True])
@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=6))
def test_padding_changes_nothing(flip: bool, sizes: list[tuple[int, int]]) -> None:
    """Whatever the parities of the sides at every stride."""
    assert_padding_changes_nothing(None, sizes, flip=flip)


@pytest.mark.parametrize(
    ("network", "sizes"),
    [
        pytest.param(small_network(), [(32 + i, 63 - i) for i in range(32)], id="every remainder of the stride"),
        pytest.param(small_network(COCO17), [(40 + 3 * i, 50 - i) for i in range(6)], id="another skeleton"),
        pytest.param(load_network(DEMO), [(40 + 3 * i, 50 - i) for i in range(3)], id="the bundled network"),
    ],
)
def test_padding_changes_nothing_of(network: Refiner, sizes: list[tuple[int, int]]) -> None:
    assert_padding_changes_nothing(network, sizes)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_padding_changes_nothing_on_cuda() -> None:
    alone, together = refiners(device="cuda", precision="fp32")
    people = [person(32 + i, 63 - i, i) for i in range(32)]
    results = [sorted(engine.refine_crops(people), key=lambda result: result.key) for engine in (alone, together)]
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one.keypoints, other.keypoints, rtol=0, atol=0.005)


class TestGroup:
    def test_without_pixels(self) -> None:
        """Sorted by size, one at a time."""
        assert list(group([], 0, ROOM)) == []
        people = [person(*size, index) for index, size in enumerate([(20, 30), (10, 30), (20, 30)])]
        assert [[member.key.person for member in batch] for batch in group(people, 0, ROOM)] == [[1], [0], [2]]

    def test_limit_holds_and_nobody_is_lost(self) -> None:
        people = [person(20 + 7 * i % 60, 20 + 11 * i % 90, i) for i in range(40)]
        batches = list(group(people, 50_000, ROOM))
        assert sorted(member.key.person for batch in batches for member in batch) == list(range(40))
        assert len(batches) < 20
        for batch in batches:
            height, width = canvas_size(batch, ROOM)
            assert len(batch) == 1 or len(batch) * height * width <= 50_000

    @settings(deadline=None)
    @given(sizes=st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), min_size=1, max_size=5))
    def test_canvases_have_room(self, sizes: list[tuple[int, int]]) -> None:
        height, width = canvas_size([person(*size) for size in sizes], ROOM)
        if len(set(sizes)) > 1:
            assert height % 64 == width % 64 == 0
            assert height >= max(size[0] for size in sizes) + 2
            assert width >= max(size[1] for size in sizes) + 2
        else:
            assert (height, width) == sizes[0]


def test_collated_crops_lie_where_the_backbone_wants_them() -> None:
    """The drawn pose is shifted as well, with all of its discs, even those beyond the crop's border."""
    network = small_network(COCO17)
    sizes = [(40, 50), (41, 53), (42, 49), (43, 52), (44, 47)]
    people = [person(*size, index, COCO17) for index, size in enumerate(sizes)]
    batch = collate(people, network, CPU)
    assert batch.is_padded
    assert batch.tensors.shape == (5, 20, 64, 64)
    assert batch.sizes.tolist() == [list(size) for size in sizes]
    assert batch.starts.tolist() == network.backbone.placement(np.array(sizes)).tolist()
    assert len({tuple(start) for start in batch.starts.tolist()}) > 1
    assert not (batch.tensors[:, :3] * ~batch.valid()).any()

    for own, member, (y, x) in zip(batch.tensors, people, batch.starts.tolist(), strict=True):
        height, width, _ = member.pixels.shape
        np.testing.assert_array_equal(own[:3, y : y + height, x : x + width].permute(1, 2, 0), member.pixels)
        discs = draw_discs(torch.from_numpy(member.keypoints + np.array([x, y]))[None], 64, 64)
        assert torch.equal(own[3:], discs[0])


class TestOutOfMemory:
    """A device with memory for a few people at a time."""

    def limited(
        self, most: int, monkeypatch: pytest.MonkeyPatch, iterations: int = 1
    ) -> tuple[PoseRefiner, PoseRefiner, list[int]]:
        """Returns an engine without and one with such a limit, and a list for the sizes of the latter's batches."""
        alone, together = refiners(iterations=iterations)
        predict, sizes = together.predict, list[int]()

        def limited_predict(batch: PaddedBatch) -> Any:
            if len(batch.tensors) > most:
                raise torch.OutOfMemoryError
            sizes.append(len(batch.tensors))
            return predict(batch)

        monkeypatch.setattr(together, "predict", limited_predict)
        return alone, together, sizes

    @pytest.mark.parametrize(("most", "count", "iterations"), [(3, 10, 1), (2, 5, 2)])
    def test_batches_are_halved(self, most: int, count: int, iterations: int, monkeypatch: pytest.MonkeyPatch) -> None:
        alone, limited, sizes = self.limited(most, monkeypatch, iterations)
        people = [person(20 + i, 40, i) for i in range(count)]
        before = limited.batch_pixels
        assert_same(alone.refine_crops(people), limited.refine_crops(people), count)
        assert max(sizes) <= most
        assert sum(sizes) == count * iterations
        assert limited.batch_pixels < before

    @pytest.mark.cuda
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_batches_are_halved_on_cuda(self) -> None:
        """A share of the GPU's memory that holds one person of many."""
        alone, together = refiners(device="cuda", precision="fp32")
        people = [person(300, 400, index) for index in range(64)]
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.empty_cache()
        try:
            torch.cuda.reset_peak_memory_stats()
            first = list(alone.refine_crops(people))
            most = 4 * torch.cuda.max_memory_reserved()
            torch.cuda.empty_cache()
            torch.cuda.set_per_process_memory_fraction(most / total)
            second = list(together.refine_crops(people))
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        halvings = math.log2(10**9 / together.batch_pixels)
        print(f"{len(people)} people in {most / 1e6:.0f} MB: batches were halved {halvings:.0f} times")
        assert halvings > 0.9
        assert {result.outcome for result in second} == {Outcome.REFINED}
        ones, others = ({result.key: result.keypoints for result in results} for results in (first, second))
        shifts = np.array([np.abs(ones[key] - others[key]) for key in ones])
        assert len(others) == len(people)
        assert (shifts < 0.005).mean() > 0.99  # of two cells with equal probabilities, rounding chooses

    def test_one_person_too_many_is_not_refined(self, monkeypatch: pytest.MonkeyPatch) -> None:
        _, limited, _ = self.limited(0, monkeypatch)
        without = RefinedPose(key_of(1), Outcome.NO_KEYPOINTS)
        results = list(limited.refine_crops([person(20, 20), without]))
        assert sorted(results, key=lambda result: result.key) == [RefinedPose(key_of(0), Outcome.MEMORY), without]


class TestWindows:
    """People are batched within a window of a few batches; results do not wait for everyone."""

    def test_results_come_while_there_is_more(self) -> None:
        engine = PoseRefiner(small_network(), "cpu", batch_pixels=30 * 30)
        taken = []

        def people() -> Iterator[PersonCrop]:
            for index in itertools.count():
                taken.append(index)
                yield person(30, 30, index)

        results = list(itertools.islice(engine.refine_crops(people()), 10))
        assert {result.key for result in results} == {key_of(index) for index in range(10)}
        assert len(taken) <= 12

"""People of unequal size together: as if each were alone."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, small_network
from hypothesis import given, settings
from hypothesis import strategies as st

from hpr.crops import Crop
from hpr.codec import draw_discs
from hpr.refine.batching import PersonCrop, canvas_size, collate, group
from hpr.refine.engine import Outcome, PassedThrough, PoseRefiner, RefinedPose
from hpr.models.loading import load_network
from hpr.models.padding import PaddedBatch
from hpr.skeleton import COCO17, POSETRACK15, Skeleton

CPU = torch.device("cpu")
ROOM = 2
Results = list[RefinedPose | PassedThrough]

ROUNDING = 1e-5
"""Of a confidence: sums in another order differ by up to 1.6e-6 (in 150 drawn batches, with AVX2 and with AVX-512);
without the masks everyone who is padded differs by more than 4e-3."""


def person(height: int, width: int, key: int = 0, skeleton: Skeleton = POSETRACK15) -> PersonCrop:
    random, count = np.random.default_rng((key, height, width)), len(skeleton)
    keypoints = random.uniform(-10, 10, (count, 2)) + random.uniform(0, 1, (count, 2)) * [width, height]
    keypoints[random.random(count) < 0.2] = np.nan
    pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PersonCrop(key, Crop(1.0, (width, height), (0, 0, width, height)), pixels, keypoints)


def refiners(skeleton: Skeleton = POSETRACK15, **changes: Any) -> tuple[PoseRefiner, PoseRefiner]:
    """One that takes people one at a time, and one that takes all of them together."""
    torch.manual_seed(0)
    network = small_network(skeleton)
    alone, together = (PoseRefiner(network, "cpu", batch_pixels=pixels, **changes) for pixels in (0, 10**9))
    return alone, together


def assert_same(first: Results, second: Results) -> None:
    """Compares results whose keys are 0, 1, 2 …, in whatever order they came."""
    assert len(first) == len(second)
    ones, others = ({result.key: result for result in results} for results in (first, second))
    for key in range(len(first)):
        one, other = ones[key], others[key]
        assert isinstance(one, RefinedPose)
        assert isinstance(other, RefinedPose)
        np.testing.assert_allclose(one.keypoints, other.keypoints, rtol=0, atol=0.005)
        np.testing.assert_allclose(one.confidence, other.confidence, rtol=0, atol=ROUNDING)


SIDES = st.integers(8, 90)


@pytest.mark.parametrize("flip", [False, True])
@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=6))
def test_padding_changes_nothing(flip: bool, sizes: list[tuple[int, int]]) -> None:
    """Whatever the sides' parities at every stride."""
    alone, together = refiners(flip=flip)
    people = [person(*size, key) for key, size in enumerate(sizes)]
    assert_same(list(alone.refine(people)), list(together.refine(people)))


def test_every_remainder_of_the_stride() -> None:
    alone, together = refiners()
    people = [person(32 + i, 63 - i, i) for i in range(32)]
    assert_same(list(alone.refine(people)), list(together.refine(people)))


def test_another_skeleton() -> None:
    alone, together = refiners(COCO17)
    people = [person(40 + 3 * i, 50 - i, i, COCO17) for i in range(6)]
    assert_same(list(alone.refine(people)), list(together.refine(people)))


def test_the_bundled_network() -> None:
    network = load_network(ROOT / "hpr" / "assets" / "demo.safetensors")
    alone, together = (PoseRefiner(network, "cpu", batch_pixels=pixels) for pixels in (0, 10**9))
    people = [person(40 + 3 * i, 50 - i, i) for i in range(3)]
    assert_same(list(alone.refine(people)), list(together.refine(people)))


def test_it_is_the_masks_that_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, together = refiners()
    people = [person(40, 50, 0), person(75, 61, 1)]
    expected = list(alone.refine(people))
    assert_same(expected, list(together.refine(people)))
    valid = PaddedBatch.valid
    monkeypatch.setattr(PaddedBatch, "valid", lambda *arguments: torch.ones_like(valid(*arguments)))
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_same(expected, list(together.refine(people)))


class TestGroup:
    def test_nobody(self) -> None:
        assert list(group([], 1000, ROOM)) == []

    def test_one_at_a_time(self) -> None:
        people = [person(20, 30, 3), person(10, 30, 5), person(20, 30, 9)]
        assert [[member.key for member in batch] for batch in group(people, 0, ROOM)] == [[5], [3], [9]]

    def test_limit_holds_and_nobody_is_lost(self) -> None:
        people = [person(20 + 7 * i % 60, 20 + 11 * i % 90, i) for i in range(40)]
        batches = list(group(people, 50_000, ROOM))
        assert {member.key for batch in batches for member in batch} == set(range(40))
        assert sum(len(batch) for batch in batches) == 40
        for batch in batches:
            height, width = canvas_size(batch, ROOM)
            assert len(batch) == 1 or len(batch) * height * width <= 50_000
        assert len(batches) < 20

    def test_equal_sizes_are_not_padded(self) -> None:
        people = [person(21, 33, key) for key in range(3)]
        assert canvas_size(people, ROOM) == (21, 33)
        assert not collate(people, small_network(), CPU).is_padded

    @settings(deadline=None)
    @given(sizes=st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), min_size=1, max_size=5))
    def test_canvases_have_room_wherever_a_crop_begins(self, sizes: list[tuple[int, int]]) -> None:
        height, width = canvas_size([person(*size) for size in sizes], ROOM)
        if len(set(sizes)) > 1:
            assert height % 64 == width % 64 == 0
            assert height >= max(size[0] for size in sizes) + 2
            assert width >= max(size[1] for size in sizes) + 2
        else:
            assert (height, width) == sizes[0]


class TestCollate:
    def test_one_crop(self) -> None:
        own = person(21, 33)
        batch = collate([own], small_network(), CPU)
        assert batch.tensors.shape == (1, 18, 21, 33)
        assert batch.tensors.dtype == torch.uint8
        np.testing.assert_array_equal(batch.tensors[0, :3].permute(1, 2, 0), own.pixels)
        assert torch.equal(batch.tensors[:, 3:], draw_discs(torch.from_numpy(own.keypoints)[None], 21, 33))
        assert batch.sizes.tolist() == [[21, 33]]
        assert batch.starts.tolist() == [[0, 0]]

    def test_crops_lie_where_the_backbone_wants_them(self) -> None:
        """The drawn pose comes along, with all of its discs, beyond the crop's border, too."""
        network = small_network(COCO17)
        sizes = [(40, 50), (41, 53), (42, 49), (43, 52), (44, 47)]
        people = [person(*size, key, COCO17) for key, size in enumerate(sizes)]
        batch = collate(people, network, CPU)
        assert batch.is_padded
        assert batch.tensors.shape == (5, 20, 64, 64)
        assert batch.sizes.tolist() == [list(size) for size in sizes]
        assert batch.starts.tolist() == network.backbone.placement(np.array(sizes)).tolist()
        assert len({tuple(start) for start in batch.starts.tolist()}) > 1
        for own, member, (y, x) in zip(batch.tensors, people, batch.starts.tolist(), strict=True):
            height, width, _ = member.pixels.shape
            np.testing.assert_array_equal(own[:3, y : y + height, x : x + width].permute(1, 2, 0), member.pixels)
            discs = draw_discs(torch.from_numpy(member.keypoints + np.array([x, y]))[None], 64, 64)
            assert torch.equal(own[3:], discs[0])
        outside = ~batch.valid()
        assert not (batch.tensors[:, :3] * outside).any()


class TestOutOfMemory:
    """A device that takes only so many people at a time."""

    def limited(self, most: int, monkeypatch: pytest.MonkeyPatch) -> tuple[PoseRefiner, list[int]]:
        _, together = refiners()
        predict, sizes = together.predict, []

        def tight(batch: PaddedBatch) -> Any:
            count = len(batch.tensors)
            if count > most:
                raise torch.OutOfMemoryError
            sizes.append(count)
            return predict(batch)

        monkeypatch.setattr(together, "predict", tight)
        return together, sizes

    def test_batch_is_halved(self, monkeypatch: pytest.MonkeyPatch) -> None:
        alone, _ = refiners()
        tight, sizes = self.limited(3, monkeypatch)
        people = [person(20 + i, 40, i) for i in range(10)]
        before = tight.batch_pixels
        assert_same(list(alone.refine(people)), list(tight.refine(people)))
        assert max(sizes) <= 3
        assert tight.batch_pixels < before

    def test_one_person_too_many_stays_as_they_were(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tight, _ = self.limited(0, monkeypatch)
        without = PassedThrough("b", Outcome.NO_KEYPOINTS)
        results = list(tight.refine([replace(person(20, 20), key="a"), without]))
        assert {result.key: result for result in results} == {
            "a": PassedThrough("a", Outcome.MEMORY),
            "b": without,
        }

    def test_of_several_passes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the second pass is one too many, too."""
        alone, _ = refiners(iterations=2)
        tight, sizes = self.limited(2, monkeypatch)
        tight.iterations = 2
        people = [person(20 + i, 40, i) for i in range(5)]
        assert_same(list(alone.refine(people)), list(tight.refine(people)))
        assert sizes == [2, 2, 1, 1, 2, 2] or sum(sizes) == 10


class TestWindows:
    """People are put together within a window of a few batches; whoever comes later does not wait for all."""

    def test_nobody(self) -> None:
        assert list(refiners()[0].refine([])) == []

    def test_results_come_while_there_is_more(self) -> None:
        engine = PoseRefiner(small_network(), "cpu", batch_pixels=30 * 30)
        taken = []

        def people() -> Any:
            for key in itertools.count():
                taken.append(key)
                yield person(30, 30, key)

        results = list(itertools.islice(engine.refine(people()), 10))
        assert {result.key for result in results} == set(range(10))
        assert len(taken) <= 12

    @pytest.mark.parametrize("batch_pixels", [0, 5_000, 10**9])
    def test_everyone_comes_back_with_their_key(self, batch_pixels: int) -> None:
        engine = PoseRefiner(small_network(), "cpu", batch_pixels=batch_pixels)
        people = [
            PassedThrough(("none", key), Outcome.CROP_SIZE) if key % 4 == 0 else person(20 + key % 3, 30, key)
            for key in range(23)
        ]
        results = list(engine.refine(people))
        assert {result.key for result in results} == {own.key for own in people}
        assert len(results) == len(people)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_padding_changes_nothing_on_cuda() -> None:
    torch.manual_seed(0)
    network = small_network()
    alone, together = (PoseRefiner(network, "cuda", batch_pixels=pixels) for pixels in (0, 10**9))
    people = [person(32 + i, 63 - i, i) for i in range(32)]
    first, second = ({result.key: result for result in engine.refine(people)} for engine in (alone, together))
    apart = []
    for key in range(32):
        one, other = first[key], second[key]
        assert isinstance(one, RefinedPose)
        assert isinstance(other, RefinedPose)
        apart.append(float(np.abs(one.keypoints - other.keypoints).max()))
    assert max(apart) < 0.005

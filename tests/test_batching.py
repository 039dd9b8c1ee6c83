"""People of unequal size together: as if each were alone."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from conftest import small_network
from hypothesis import given, settings
from hypothesis import strategies as st

from hpr.batching import Batch, Sample, canvas_size, group
from hpr.crops import Crop
from hpr.inference import Outcome, Pose, PoseRefiner

CPU = torch.device("cpu")

ROUNDING = 1e-5
"""Of a confidence: sums in another order differ by up to 1.6e-6 (in 150 drawn batches, with AVX2 and with AVX-512);
without the masks everyone who is padded differs by more than 4e-3."""


def sample(height: int, width: int, seed: int = 0) -> Sample:
    random = np.random.default_rng((seed, height, width))
    joints = random.uniform(-10, 10, (15, 2)) + random.uniform(0, 1, (15, 2)) * [width, height]
    joints[random.random(15) < 0.2] = np.nan
    pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Sample(Crop(1.0, (width, height), (0, 0, width, height)), pixels, joints)


def refiners(**changes: Any) -> tuple[PoseRefiner, PoseRefiner]:
    """One that takes people one at a time, and one that takes all of them together."""
    torch.manual_seed(0)
    network = small_network()
    alone, together = (
        PoseRefiner(copy.deepcopy(network), "cpu", batch_pixels=pixels, **changes) for pixels in (0, 10**9)
    )
    return alone, together


def assert_same(first: list[Pose | Outcome], second: list[Pose | Outcome]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert isinstance(one, Pose)
        assert isinstance(other, Pose)
        np.testing.assert_allclose(one.joints, other.joints, rtol=0, atol=0.005)
        np.testing.assert_allclose(one.confidence, other.confidence, rtol=0, atol=ROUNDING)


SIDES = st.integers(8, 90)


@pytest.mark.parametrize("flip", [False, True])
@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=6))
def test_padding_changes_nothing(flip: bool, sizes: list[tuple[int, int]]) -> None:
    """Whatever the sides' parities at every stride."""
    alone, together = refiners(flip=flip)
    people = [sample(*size, seed) for seed, size in enumerate(sizes)]
    assert_same(list(alone.refine(people)), list(together.refine(people)))


def test_every_remainder_of_the_stride() -> None:
    alone, together = refiners()
    people = [sample(32 + i, 63 - i) for i in range(32)]
    assert_same(list(alone.refine(people)), list(together.refine(people)))


def test_it_is_the_masks_that_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, together = refiners()
    people = [sample(40, 50), sample(75, 61)]
    expected = list(alone.refine(people))
    monkeypatch.setattr(Batch, "masks", lambda batch: [torch.ones(2, 1, 1, 1)] * 5)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_same(expected, list(together.refine(people)))


class TestGroup:
    def test_nobody(self) -> None:
        assert list(group({}, 1000)) == []

    def test_one_at_a_time(self) -> None:
        people = {3: sample(20, 30), 5: sample(10, 30), 9: sample(20, 30)}
        assert list(group(people, 0)) == [[5], [3], [9]]

    def test_limit_holds_and_nobody_is_lost(self) -> None:
        people = {i: sample(20 + 7 * i % 60, 20 + 11 * i % 90) for i in range(40)}
        batches = list(group(people, 50_000))
        assert sorted(i for batch in batches for i in batch) == list(range(40))
        for batch in batches:
            height, width = canvas_size([people[i] for i in batch])
            assert len(batch) == 1 or len(batch) * height * width <= 50_000
        assert len(batches) < 20

    def test_equal_sizes_are_not_padded(self) -> None:
        people = [sample(21, 33, seed) for seed in range(3)]
        assert canvas_size(people) == (21, 33)
        assert Batch(people, CPU).fills_canvas


class TestOutOfMemory:
    """A device that takes only so many people at a time."""

    def limited(self, most: int, monkeypatch: pytest.MonkeyPatch) -> tuple[PoseRefiner, list[int]]:
        _, together = refiners()
        forward, sizes = together.predict, []

        def tight(batch: Batch) -> Any:
            count = len(batch.inputs())
            if count > most:
                raise torch.OutOfMemoryError
            sizes.append(count)
            return forward(batch)

        monkeypatch.setattr(together, "predict", tight)
        return together, sizes

    def test_batch_is_halved(self, monkeypatch: pytest.MonkeyPatch) -> None:
        alone, _ = refiners()
        tight, sizes = self.limited(3, monkeypatch)
        people = [sample(20 + i, 40) for i in range(10)]
        before = tight.batch_pixels
        assert_same(list(alone.refine(people)), list(tight.refine(people)))
        assert max(sizes) <= 3
        assert tight.batch_pixels < before

    def test_one_person_too_many_stays_as_they_were(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tight, _ = self.limited(0, monkeypatch)
        assert list(tight.refine([sample(20, 20), Outcome.NO_JOINTS])) == [Outcome.MEMORY, Outcome.NO_JOINTS]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_padding_changes_nothing_on_cuda() -> None:
    torch.manual_seed(0)
    network = small_network()
    alone, together = (PoseRefiner(copy.deepcopy(network), "cuda", batch_pixels=pixels) for pixels in (0, 10**9))
    people = [sample(32 + i, 63 - i) for i in range(32)]
    first, second = list(alone.refine(people)), list(together.refine(people))
    apart = [
        float(np.abs(a.joints - b.joints).max())
        for a, b in zip(first, second, strict=True)
        if isinstance(a, Pose) and isinstance(b, Pose)
    ]
    assert len(apart) == 32
    assert max(apart) < 0.005

"""Canvases of several sizes: who is on which, and that everything follows from the numbers of step and process."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import islice

import numpy as np
import pytest
from dots import batch, examples
from hypothesis import given, settings
from hypothesis import strategies as st

from hpr.runtime.processes import ALONE, Processes
from hpr.skeleton import POSETRACK15
from hpr.training.augmentation import Augmentation
from hpr.training.buckets import BLOCK, BucketedExamples
from hpr.training.loading import example_batches
from hpr.training.dataset import AnnotatedPerson
from hpr.training.views import View

EXACT = Augmentation(scale=(1.0, 1.0), shift=0.0, mirror=0.0, colour=0.0, occlusion=0.0, exact=1.0)
TALL, WIDE, SMALL = (320, 160), (160, 320), (160, 160)


class Shapes:
    """People who lie, stand and crouch, in images of their own sizes, by a pattern of whole numbers."""

    skeleton = POSETRACK15

    def __init__(self, pattern: Sequence[int]) -> None:
        self._pattern = pattern

    def person(self, index: int) -> AnnotatedPerson:
        height, width = (TALL, WIDE, SMALL)[self._pattern[index % len(self._pattern)]]
        pose = np.random.default_rng(index).uniform(0.1, 0.9, (15, 2)) * [width, height]
        pose[12], pose[14] = (width / 2, height / 2), (width / 2, height / 2 + 49)  # a head that makes the scale 1
        return AnnotatedPerson(View.of(np.full((height, width, 3), 255, np.uint8)), pose, np.empty((0, 15, 2)), pose)


@cache
def bucketed(pattern: tuple[int, ...] = (0, 1, 2), seed: int = 0) -> BucketedExamples:
    people = Shapes(pattern)
    sizes = (TALL, WIDE, SMALL)
    return BucketedExamples([examples(EXACT, people, chance=0.0, canvas=size) for size in sizes], seed)


def parts(
    made: BucketedExamples, steps: range, processes: Processes = ALONE, accumulate: int = 1
) -> list[list[tuple[int, int]]]:
    return list(made.parts(steps, 12, accumulate, processes))


@pytest.mark.parametrize(
    ("pattern", "steps"),
    [((2,), [8, 0, 0]), ((0,), [0, 8, 0]), ((0, 1), [0, 4, 4]), ((2, 2, 2, 1), [6, 0, 2]), ((0, 1, 2), [2, 3, 3])],
)
def test_steps_of_a_block_are_shared_out_by_size(pattern: tuple[int, ...], steps: list[int]) -> None:
    """Canvases are in order of their areas."""
    assert sorted(bucketed(pattern).steps) == sorted(steps)
    assert bucketed(pattern).steps[0] == steps[0]


def test_everyone_is_on_the_canvas_of_their_shape() -> None:
    made = bucketed((0, 1, 2, 2))
    for keys in parts(made, range(BLOCK)):
        for canvas, index in keys:
            example = made[canvas, index]
            assert (example.size >= 0.9 * np.array(example.pixels.shape[:2])).all()


@given(
    pattern=st.lists(st.integers(0, 2), min_size=1, max_size=7).map(tuple),
    seed=st.integers(0, 3),
    layout=st.sampled_from([(1, 1), (1, 3), (2, 1), (2, 3), (3, 2)]),
)
@settings(max_examples=15, deadline=None)
def test_every_block_has_its_own_examples_once(pattern: tuple[int, ...], seed: int, layout: tuple[int, int]) -> None:
    count, accumulate = layout
    made, steps = bucketed(pattern, seed), range(2 * BLOCK)
    of_ranks = [parts(made, steps, Processes(rank, count, rank), accumulate) for rank in range(count)]
    for block in range(2):
        own = slice(block * BLOCK * accumulate, (block + 1) * BLOCK * accumulate)
        found = Counter(index for of_rank in of_ranks for keys in of_rank[own] for _, index in keys)
        assert found == Counter(range(block * BLOCK * 12, (block + 1) * BLOCK * 12))

    # All parts of all processes have one canvas in a step, and as many examples.
    for step in range(len(steps)):
        own = slice(step * accumulate, (step + 1) * accumulate)
        assert len({canvas for of_rank in of_ranks for keys in of_rank[own] for canvas, _ in keys}) == 1
        assert {len(keys) for of_rank in of_ranks for keys in of_rank[own]} == {12 // count // accumulate}


@pytest.mark.parametrize("start", [1, 7, 8, 13])
def test_it_goes_on_at_any_step(start: int) -> None:
    rank = Processes(1, 2, 1)
    assert parts(bucketed(), range(20), rank)[start:] == parts(bucketed(), range(start, 20), rank)


def test_another_seed_has_another_order() -> None:
    orders = [[keys[0][0] for keys in parts(bucketed((0, 1, 2), seed), range(4 * BLOCK))] for seed in (0, 1)]
    assert orders[0] != orders[1]
    assert Counter(orders[0]) == Counter(orders[1])


def test_batches_of_a_loader() -> None:
    loaded = example_batches(bucketed(), range(3, 40), 12, 2, 0, ALONE)
    first = [parts[0] for parts in islice(loaded, 6)]
    loaded.close()
    assert len({tuple(part.pixels.shape[1:3]) for part in first}) > 1
    keys = parts(bucketed(), range(3, 4), accumulate=2)[0]
    expected = batch(0, len(keys), [bucketed()[key] for key in keys])  # type: ignore[arg-type]
    for found, wanted in zip(first[0], expected, strict=True):
        np.testing.assert_array_equal(found, wanted)

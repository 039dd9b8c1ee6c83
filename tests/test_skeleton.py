"""Skeletons: everything that is derived from the names of their keypoints."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpr.errors import UserError
from hpr.skeleton import COCO17, POSETRACK15, POSETRACK18, SKELETONS, Skeleton, get_skeleton, kind, mirrored

EMPTY = Skeleton((), (), ())
PAIR = Skeleton(("left_eye", "right_eye"), (("left_eye", "right_eye"),), (0.1, 0.1))
ONE_SIDED = Skeleton(("nose", "left_ear"), (), (0.1, 0.1))


@pytest.mark.parametrize(
    ("skeleton", "count", "mirror", "limbs"),
    [
        pytest.param(EMPTY, 0, (), (), id="no keypoint"),
        pytest.param(PAIR, 2, (1, 0), ((0, 1),), id="a pair"),
        pytest.param(ONE_SIDED, 2, (0, 1), (), id="a side without its opposite is its own mirror image"),
        pytest.param(
            POSETRACK15,
            15,
            (5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13, 14),
            (
                *((0, 1), (1, 2), (2, 8), (8, 7), (7, 6), (5, 4), (4, 3), (3, 9), (9, 10), (10, 11)),
                *((8, 12), (9, 12), (12, 13), (13, 14), (2, 3)),
            ),
            id="posetrack15",
        ),
    ],
)
def test_derived(skeleton: Skeleton, count: int, mirror: tuple[int, ...], limbs: tuple[tuple[int, int], ...]) -> None:
    assert len(skeleton) == count
    assert skeleton.mirror == mirror
    assert skeleton.limb_indices == limbs


@pytest.mark.parametrize("name", SKELETONS)
def test_both_sides_are_alike(name: str) -> None:
    skeleton = SKELETONS[name]
    for index, other in enumerate(skeleton.mirror):
        assert skeleton.mirror[other] == index
        assert skeleton.names[other] == mirrored(skeleton.names[index])
        assert kind(skeleton.names[other]) == kind(skeleton.names[index])
        assert (other == index) == (not skeleton.names[index].startswith(("left_", "right_")))

    limbs = {frozenset(limb) for limb in skeleton.limb_indices}
    assert len(limbs) == len(skeleton.limbs)
    assert {frozenset(skeleton.mirror[index] for index in limb) for limb in limbs} == limbs
    loose = re.compile(r".*_ear|face_.*|.*_hand_.*")
    assert set().union(*limbs) >= {i for i, name in enumerate(skeleton.names) if not loose.fullmatch(name)}


def test_slots_of_posetrack_2017_in_2018() -> None:
    """As listed in docs/formats.md, section 1."""
    slots = [16, 14, 12, 11, 13, 15, 10, 8, 6, 5, 7, 9, 1, 0, 2]
    assert POSETRACK18.mapping_to(POSETRACK15).tolist() == slots
    backwards = [slots.index(slot) if slot in slots else -1 for slot in range(17)]
    assert POSETRACK15.mapping_to(POSETRACK18).tolist() == backwards
    assert [slot for slot, index in enumerate(backwards) if index == -1] == [3, 4]  # the ears


def test_sigmas_are_those_of_coco() -> None:
    """Two times these are the numbers of pycocotools: .26 .25 .25 .35 .35 .79 .79 .72 .72 .62 .62 1.07 … over 10."""
    expected = [0.026, 0.025, 0.025, 0.035, 0.035]
    expected += [sigma for sigma in (0.079, 0.072, 0.062, 0.107, 0.087, 0.089) for _ in "lr"]
    assert list(COCO17.sigmas) == expected
    for skeleton in SKELETONS.values():
        assert all(sigma > 0 for sigma in skeleton.sigmas)
        for name, sigma in zip(skeleton.names, skeleton.sigmas, strict=True):
            assert sigma == skeleton.sigmas[skeleton.index(mirrored(name))]


@pytest.mark.parametrize("shape", [(0, 15), (0, 15, 2), (2, 15), (2, 15, 2), (1, 15, 2, 3)], ids=str)
def test_convert_takes_any_shape(shape: tuple[int, ...]) -> None:
    converted = POSETRACK15.convert(np.ones(shape), COCO17, missing=-7.0)
    assert converted.shape == (shape[0], 17, *shape[2:])
    known = np.array([name in POSETRACK15 for name in COCO17.names])
    assert (converted[:, known] == 1).all()
    assert (converted[:, ~known] == -7).all()


NAMES = sorted({name for skeleton in SKELETONS.values() for name in skeleton.names})
SUBSETS = st.lists(st.sampled_from(NAMES), unique=True).map(
    lambda names: Skeleton(tuple(names), (), tuple(0.1 for _ in names))
)


@settings(deadline=None)
@given(one=SUBSETS, other=SUBSETS, people=st.integers(0, 3))
def test_convert_and_back_keeps_the_common_keypoints(one: Skeleton, other: Skeleton, people: int) -> None:
    values = np.arange(people * len(one) * 2, dtype=np.float64).reshape(people, len(one), 2)
    converted = one.convert(values, other)
    assert converted.shape == (people, len(other), 2)
    assert not np.shares_memory(converted, values)
    back = other.convert(converted, one)
    assert [one.mirror[index] for index in one.mirror] == list(range(len(one)))
    for index, name in enumerate(one.names):
        expected = values[:, index] if name in other else np.full((people, 2), np.nan)
        np.testing.assert_array_equal(back[:, index], expected)


def test_indices_of_names() -> None:
    assert POSETRACK15.index("nose") == 13
    assert POSETRACK15.indices() == []
    assert POSETRACK15.indices("head_top", "right_ankle") == [14, 0]
    assert "nose" in POSETRACK15
    assert "left_eye" not in POSETRACK15
    with pytest.raises(KeyError):
        POSETRACK15.index("left_eye")


@pytest.mark.parametrize(
    ("names", "limbs", "sigmas", "message"),
    [
        pytest.param(("a", "b", "a"), (), (1, 1, 1), "custom: expected every keypoint once, found a, b, a", id="twice"),
        pytest.param(("a", "b"), (), (1,), "expected one sigma for each keypoint, found 1 for 2", id="sigmas"),
        pytest.param(("a", "b"), (("a", "c"), ("d", "b")), (1, 1), "its limbs name c, d, not a keypoint", id="limbs"),
    ],
)
def test_parts_that_do_not_fit(
    names: tuple[str, ...], limbs: tuple[tuple[str, str], ...], sigmas: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Skeleton(names, limbs, sigmas)


def test_skeletons_by_name() -> None:
    counts = [15, 17, 17, 16, 14, 14, 18, 25, 25, 15, 26, 68, 136, 133, 17, 19]
    assert [len(skeleton) for skeleton in SKELETONS.values()] == counts
    for name, skeleton in SKELETONS.items():
        assert get_skeleton(name) is skeleton
        assert skeleton.name == name
    with pytest.raises(UserError, match=r"unknown skeleton 'dog': expected one of posetrack15, .*halpe26"):
        get_skeleton("dog")


def test_adjacent_keypoints() -> None:
    adjacent = [{POSETRACK15.names[index] for index in indices} for indices in POSETRACK15.adjacent]
    assert adjacent[POSETRACK15.index("right_knee")] == {"right_ankle", "right_hip"}
    assert adjacent[POSETRACK15.index("left_wrist")] == {"left_elbow"}
    assert Skeleton(("a", "b"), (), (1.0, 1.0)).adjacent == ((), ())

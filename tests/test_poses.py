"""Frames: the people that a file lists for an image, which keypoints refining starts from, and matching by name."""

from typing import Any

import numpy as np
import pytest

from hpr.poses import CUTOFF, NO_RECORD, Frame, head_sizes, image_stem, match_frames
from hpr.skeleton import COCO17, MPII16, POSETRACK15, SKELETONS, Skeleton

ARRAYS = ("keypoints", "scores", "flags", "boxes", "head_boxes", "posed", "records", "confidences", "person_scores")
NO_KEYPOINT = Skeleton((), (), ())


def full(people: int, skeleton: Skeleton = POSETRACK15) -> Frame:
    """A frame in which no two values are equal."""
    random, count = np.random.default_rng(people), len(skeleton)
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("scores", "flags", "confidences"), (people, count))
    shapes |= {
        "keypoints": (people, count, 2),
        "boxes": (people, 4),
        "head_boxes": (people, 4),
        "person_scores": (people,),
    }
    arrays: dict[str, Any] = {name: random.uniform(0.1, 1, shape) for name, shape in shapes.items()}
    arrays |= {"posed": np.arange(people) % 2 == 0, "records": np.arange(people) + 100}
    arrays |= {"track_ids": tuple(range(10, 10 + people)), "ignore_regions": (random.uniform(0, 100, (3, 2)),)}
    return Frame("a.jpg", skeleton, **arrays, size=(640, 480), number=7)


@pytest.mark.parametrize("skeleton", [NO_KEYPOINT, *SKELETONS.values()], ids=lambda skeleton: skeleton.name)
def test_empty(skeleton: Skeleton) -> None:
    frame, count = Frame.empty("a.jpg", skeleton), len(skeleton)
    assert frame.image == "a.jpg"
    assert len(frame) == 0
    assert {len(getattr(frame, name)) for name in ARRAYS} == {0}
    assert (frame.track_ids, frame.ignore_regions, frame.size, frame.number) == ((), (), None, None)
    assert frame.present.shape == (0, count)
    assert frame.is_posed.shape == (0,)
    assert frame.poses.shape == (0, count, 2)
    assert len(frame.select(np.zeros(0, bool))) == 0


def test_defaults() -> None:
    keypoints = np.ones((2, 15, 2))
    keypoints[1, 3] = np.nan
    keypoints[1, 4] = np.inf
    frame = Frame("a.jpg", POSETRACK15, keypoints)
    assert len(frame) == 2
    for name in ("scores", "boxes", "head_boxes", "confidences"):
        assert np.isnan(getattr(frame, name)).all(), name
    expected = np.ones((2, 15))
    expected[1, 3] = 0
    np.testing.assert_array_equal(frame.flags, expected)
    assert frame.track_ids == (None, None)
    assert frame.posed.tolist() == [True, True]
    assert frame.records.tolist() == [NO_RECORD, NO_RECORD]
    assert [getattr(frame, name).dtype for name in ("flags", "posed", "records")] == [np.float64, np.bool_, np.int64]


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        pytest.param("keypoints", (0, 17, 2), r"\(0, 15, 2\)", id="nobody, of another skeleton"),
        pytest.param("keypoints", (2, 15), r"\(2, 15, 2\)", id="keypoints without coordinates"),
        pytest.param("keypoints", (2, 14, 2), r"\(2, 15, 2\)", id="a keypoint too few"),
        pytest.param("scores", (2,), r"\(2, 15\)", id="a score for each person"),
        pytest.param("flags", (3, 15), r"\(2, 15\)", id="flags of somebody else"),
        pytest.param("head_boxes", (1, 4), r"\(2, 4\)", id="head boxes"),
        pytest.param("records", (1,), r"\(2,\)", id="records"),
    ],
)
def test_wrong_shapes(name: str, shape: tuple[int, ...], expected: str) -> None:
    arrays: dict[str, Any] = {"keypoints": np.zeros((2, 15, 2)), name: np.zeros(shape)}
    found = str(shape).replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(ValueError, match=f"b/a.jpg: expected {name} of shape {expected}, found {found}"):
        Frame("b/a.jpg", POSETRACK15, **arrays)
    with pytest.raises(ValueError, match=r"a\.jpg: expected 2 track_ids, found 1"):
        Frame("a.jpg", POSETRACK15, np.zeros((2, 15, 2)), track_ids=(1,))


@pytest.mark.parametrize(
    ("x", "y", "flag", "present"),
    [
        pytest.param(np.nan, np.nan, 1, False, id="a flag alone"),
        pytest.param(10, 20, 0.01, True, id="a score in place of the flag"),
        pytest.param(10, 20, 0, False, id="flag 0"),
        pytest.param(10, 20, -1, False, id="negative flag"),
        pytest.param(0, 0, 1, True, id="in the corner"),
        pytest.param(-499.9, 20, 1, True, id="outside the image"),
        pytest.param(CUTOFF, 20, 1, False, id="x at the cutoff"),
        pytest.param(10, -500, 1, False, id="y at the cutoff"),
        pytest.param(1e300, 20, 1, True, id="far away"),
        pytest.param(np.inf, 20, 1, False, id="x infinite"),
    ],
)
def test_keypoints_that_refining_starts_from(x: float, y: float, flag: float, present: bool) -> None:
    keypoints = np.full((2, 15, 2), np.nan)
    keypoints[1, 4] = x, y
    flags = np.zeros((2, 15))
    flags[1, 4] = flag
    frame = Frame("a.jpg", POSETRACK15, keypoints, flags=flags)
    expected = np.zeros((2, 15), bool)
    expected[1, 4] = present
    np.testing.assert_array_equal(frame.present, expected)
    assert frame.is_posed.tolist() == [False, present]
    assert np.isfinite(frame.poses).all(axis=-1).tolist() == expected.tolist()
    np.testing.assert_array_equal(frame.poses[1, 4], [x, y] if present else [np.nan, np.nan])
    np.testing.assert_array_equal(frame.keypoints, keypoints)  # unchanged


@pytest.mark.parametrize(
    ("people", "indices"),
    [
        pytest.param(np.zeros(0, int), [], id="nobody"),
        pytest.param(np.zeros(4, bool), [], id="an empty mask"),
        pytest.param(np.ones(4, bool), [0, 1, 2, 3], id="everyone"),
        pytest.param(np.array([False, True, True, False]), [1, 2], id="a mask"),
        pytest.param(np.array([3, 0]), [3, 0], id="indices in another order"),
    ],
)
def test_select(people: Any, indices: list[int]) -> None:
    frame = full(4)
    chosen = frame.select(people)
    assert len(chosen) == len(indices)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(chosen, name), getattr(frame, name)[indices], err_msg=name)
        assert not np.shares_memory(getattr(chosen, name), getattr(frame, name))
    assert chosen.track_ids == tuple(frame.track_ids[index] for index in indices)
    for name in ("image", "skeleton", "ignore_regions", "size", "number"):
        assert getattr(chosen, name) is getattr(frame, name), name


@pytest.mark.parametrize("people", [0, 3])
def test_in_another_skeleton(people: int) -> None:
    frame = full(people, COCO17)
    other = frame.in_skeleton(MPII16)
    assert other.skeleton is MPII16
    mapping = COCO17.mapping_to(MPII16)
    known = mapping >= 0
    for name in ("keypoints", "scores", "flags", "confidences"):
        np.testing.assert_array_equal(getattr(other, name)[:, known], getattr(frame, name)[:, mapping[known]])
    for name in ("keypoints", "scores", "confidences"):
        assert np.isnan(getattr(other, name)[:, ~known]).all()
    assert (other.flags[:, ~known] == 0).all()
    for name in ("boxes", "head_boxes", "posed", "records", "track_ids", "ignore_regions", "size", "person_scores"):
        assert getattr(other, name) is getattr(frame, name), name
    assert frame.in_skeleton(COCO17) is frame


def test_image_stem() -> None:
    """A dot begins an ending only where that is a picture's."""
    names = ["", "a", "clip/a.jpg", "a.JP2", "a.avif", "cam1.0001", "cam1.0001.png", "a.json"]
    assert [image_stem(name) for name in names] == ["", "a", "a", "a", "a", "cam1.0001", "cam1.0001", "a.json"]


@pytest.mark.parametrize(
    ("names", "others", "indices"),
    [
        pytest.param([], [], [], id="nothing"),
        pytest.param([], ["a.jpg"], [], id="no name"),
        pytest.param(["a.jpg"], [], [None], id="nothing to match with"),
        pytest.param(["b.jpg", "a.jpg"], ["a.jpg", "b.jpg"], [1, 0], id="same names"),
        pytest.param(["x/a", "b.png", "c"], ["a.jpg", "y/b.jp2", "d"], [0, 1, None], id="stems"),
        pytest.param(["a"], ["x/a.jpg", "y/a.jpg"], [None], id="an ambiguous stem"),
        pytest.param(["y/a.jpg", "y/a.png"], ["x/a.jpg", "y/a.jpg"], [1, None], id="the same name before a stem"),
        pytest.param(["a.jpg"], ["b.jpg", "a.jpg", "a.jpg"], [1], id="the first of two of the same name"),
        pytest.param(["cam1.0001", "cam1"], ["cam1.0001.jpg"], [0, None], id="a dot that begins no ending"),
    ],
)
def test_match_frames(names: list[str], others: list[str], indices: list[int | None]) -> None:
    assert match_frames(names, others) == indices


def test_head_sizes() -> None:
    boxes = np.array([[10, 20, 40, 60], [0, 0, 0, 0], [np.nan] * 4])
    np.testing.assert_allclose(head_sizes(boxes), [30.0, 0.0, np.nan])
    assert head_sizes(boxes[:0]).shape == (0,)

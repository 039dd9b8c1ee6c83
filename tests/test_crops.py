"""The size of people, their crops, and the crops' pixels and coordinates."""

from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import GOLDEN, joints_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from hpr.crops import (
    MAX_CROP_PIXELS,
    MEAN_HEAD,
    Crop,
    body_scale,
    canvas_crop,
    person_boxes,
    person_crop,
    person_region,
    person_scale,
)
from hpr.images import read_image
from hpr.poses import FloatArray
from hpr.skeleton import COCO17, MPII16, POSETRACK15, POSETRACK18, SKELETONS, Skeleton, kind
from hpr.synthetic.scene import Clip

HEAD_BOTTOM, HEAD_TOP = POSETRACK15.indices("head_bottom", "head_top")
MEAN_HEAD_SCALE = 0.8452830189 * 50 / (0.6 * 101.4252)


def pose(*points: tuple[int, float, float]) -> FloatArray:
    keypoints = np.full((15, 2), np.nan)
    for keypoint, x, y in points:
        keypoints[keypoint] = x, y
    return keypoints


def crop_of(keypoints: FloatArray, image_size: tuple[int, int]) -> Crop | None:
    return person_crop(keypoints, image_size, person_scale(keypoints, POSETRACK15))


def resized(image: NDArray[np.uint8], sides: tuple[float, float]) -> NDArray[np.uint8]:
    """Resizes columns first, as Pillow did up to version 12; version 13 takes the cheaper order first."""
    size = int(sides[0]), int(sides[1])
    columns = Image.fromarray(image).resize((size[0], image.shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(columns.resize(size, Image.Resampling.BILINEAR))


def test_golden_crops(case: dict[str, Any]) -> None:
    image = read_image(GOLDEN / "images" / case["image"])
    crop = crop_of(joints_of(case), (image.shape[1], image.shape[0]))
    assert crop is not None
    assert abs(crop.scale - case["scale"]) < 1e-12
    assert [crop.resized[1], crop.resized[0]] == case["resized_hw"]
    assert list(crop.box[:2]) == case["crop_xy"]
    assert [crop.height, crop.width] == case["crop_hw"]
    whole = resized(image, crop.resized)
    x0, y0, x1, y1 = crop.box
    np.testing.assert_array_equal(crop.pixels(image), whole[y0:y1, x0:x1])
    if case["name"] in ("plain", "odd_size", "tiny_image"):
        np.testing.assert_array_equal(crop.pixels(image), np.load(GOLDEN / f"{case['name']}.npz")["rgb"])


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_pixels_are_those_of_resizing_the_whole_image(data: st.DataObject) -> None:
    width, height, new_width, new_height = (data.draw(st.integers(1, 400)) for _ in range(4))
    x0, y0 = data.draw(st.integers(0, new_width - 1)), data.draw(st.integers(0, new_height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, new_width)), data.draw(st.integers(y0 + 1, new_height))
    seed = data.draw(st.integers(0, 1000))
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    if data.draw(st.booleans()):
        image = np.where(image > 127, 255, 0).astype(np.uint8)  # the values where sums could overflow
    whole = resized(image, (new_width, new_height))
    part = Crop(1.0, (new_width, new_height), (x0, y0, x1, y1)).pixels(image)
    np.testing.assert_array_equal(part, whole[y0:y1, x0:x1])


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        pytest.param((), MEAN_HEAD_SCALE, id="no keypoint"),
        pytest.param(((HEAD_TOP, 5, 5),), MEAN_HEAD_SCALE, id="head top alone"),
        pytest.param(((HEAD_TOP, 5, 5), (HEAD_BOTTOM, 5, 5)), MEAN_HEAD_SCALE, id="both at one point"),
        pytest.param(((HEAD_TOP, -0.9, 5), (HEAD_BOTTOM, 0.9, 5)), MEAN_HEAD_SCALE, id="truncated towards zero"),
        pytest.param(((HEAD_TOP, 0, 0), (HEAD_BOTTOM, 3, 4)), 0.8452830189 * 50 / (0.6 * 1.4286 * 5), id="5 pixels"),
        pytest.param(((HEAD_TOP, 0, 0), (HEAD_BOTTOM, 0, 1)), 0.8452830189 * 50 / (0.6 * 1.4286), id="1 pixel"),
        pytest.param(((HEAD_TOP, 0, 0), (HEAD_BOTTOM, 0, 2917)), MEAN_HEAD_SCALE, id="too large to be true"),
        pytest.param(((HEAD_TOP, 0, 0), (HEAD_BOTTOM, 0, 1e300)), MEAN_HEAD_SCALE, id="absurd"),
    ],
)
def test_scale(head: tuple[tuple[int, float, float], ...], expected: float) -> None:
    assert person_scale(pose(*head), POSETRACK15) == pytest.approx(expected, abs=1e-12)


def head_of(scale: float) -> float:
    """Returns the diagonal of the head box that a scale belongs to."""
    return 0.8452830189 * 50 / (0.6 * scale)


@pytest.mark.parametrize("skeleton", [POSETRACK15, POSETRACK18, COCO17, MPII16], ids=lambda skeleton: skeleton.name)
def test_scale_of_other_skeletons(skeleton: Skeleton) -> None:
    """A mean head is assumed where the skeleton has none."""
    whole = POSETRACK15.convert(pose((HEAD_TOP, 0, 0), (HEAD_BOTTOM, 3, 4), (0, 50, 50))[None], skeleton)[0]
    expected = 1.4286 * 5 if "head_top" in skeleton else 55.0
    assert head_of(person_scale(whole, skeleton, 55.0)) == pytest.approx(expected, abs=1e-12)


def standing() -> FloatArray:
    """A man of 1.75 m who faces the camera with his arms a little away from him, at a centimetre per pixel: (15, 2).

    The lengths are those of a body in space, as in an anatomist's drawing. The diagonal of his head box is 35 px.
    """
    points = {"head_top": (0, 0), "nose": (0, 15.5), "head_bottom": (0, 24.5), "shoulder": (18, 34)}
    points |= {"elbow": (24, 63), "wrist": (28, 88.5), "hip": (10, 84.5), "knee": (11, 127), "ankle": (12, 168)}
    found = [np.array(points[kind(name)]) * [-1 if name.startswith("right_") else 1, 1] for name in POSETRACK15.names]
    return 200 + np.array(found)


def without(pose: FloatArray, *kinds: str) -> FloatArray:
    left = pose.copy()
    left[[kind(name) in kinds for name in POSETRACK15.names]] = np.nan
    return left


HEAD = ("head_bottom", "head_top")
LEGS = ("hip", "knee", "ankle")
LEG = {"left_hip": (0, 0), "left_knee": (0, 61), "left_ankle": (0, 91)}


class TestBodyScale:
    @pytest.mark.parametrize(
        "absent",
        [
            pytest.param(HEAD, id="no head"),
            pytest.param((*HEAD, "nose"), id="COCO's body"),
            pytest.param(LEGS, id="upper body"),
            pytest.param((*HEAD, *LEGS), id="upper body without a head"),
            pytest.param((*HEAD, "nose", "elbow", "wrist", "shoulder"), id="legs"),
            pytest.param((*LEGS, "elbow", "wrist", "shoulder"), id="head"),
            pytest.param((*HEAD, "nose", *LEGS, "wrist"), id="shoulders and elbows"),
        ],
    )
    def test_people_who_stand(self, absent: tuple[str, ...]) -> None:
        assert head_of(body_scale(without(standing(), *absent), POSETRACK15)) == pytest.approx(35, rel=0.1)

    @pytest.mark.parametrize(
        "limbs", ["shoulder elbow", "elbow wrist", "hip knee", "shoulder elbow wrist", "hip knee ankle"]
    )
    def test_foreshortened_limbs(self, limbs: str) -> None:
        """A limb that points to the camera has no length; most others still have theirs."""
        pose = without(standing(), *HEAD)
        for side in ("left_", "right_"):
            for start, end in pairwise(POSETRACK15.indices(*(side + name for name in limbs.split()))):
                pose[end] = pose[start] + 1
        assert head_of(body_scale(pose, POSETRACK15)) == pytest.approx(35, rel=0.1)

    def test_one_keypoint_far_off(self) -> None:
        for keypoint in range(15):
            pose = standing()
            pose[keypoint] += 400
            assert head_of(body_scale(pose, POSETRACK15)) == pytest.approx(35, rel=0.1)

    @settings(deadline=None, max_examples=100)
    @given(st.integers(0, 1000), st.floats(0.5, 5), st.floats(0, 6.3), st.sampled_from(list(SKELETONS)))
    def test_scale_depends_on_size_only(self, seed: int, size: float, angle: float, name: str) -> None:
        """Position, rotation and mirroring of a pose do not matter."""
        skeleton, random = SKELETONS[name], np.random.default_rng(seed)
        pose = np.asarray(7.0 * random.integers(0, 15, (len(skeleton), 2)), np.float64)
        pose[random.uniform(size=len(skeleton)) < 0.5] = np.nan
        first = head_of(body_scale(pose, skeleton, mean_head=50))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        moved = size * pose[list(skeleton.mirror)] @ turn - 77
        second = head_of(body_scale(moved, skeleton, mean_head=50 * size))
        assert second == pytest.approx(first * size, rel=1e-6)

    @pytest.mark.parametrize("seed", range(20))
    def test_drawn_people(self, seed: int) -> None:
        """The limbs of bodies that move in space say roughly what the head says, with and without it."""
        _, drawn = Clip((99, seed)).encoded_frame(0.5)
        for person in drawn:
            own = head_of(person_scale(person.keypoints, POSETRACK15))
            for absent in ((), HEAD):
                estimate = head_of(body_scale(without(person.keypoints, *absent), POSETRACK15))
                assert 1 / 1.6 < estimate / own < 1.6

    @pytest.mark.parametrize(
        ("points", "box", "diagonal"),
        [
            pytest.param({}, None, 55.0, id="nothing: a mean head"),
            pytest.param({"nose": (9, 9)}, [np.nan] * 4, 55.0, id="no box"),
            pytest.param({"nose": (9, 9)}, [10, 20, 55, 110], 20.0, id="one keypoint and a box"),
            pytest.param({"nose": (9, 9)}, [10, 20, 100, 65], 20.0, id="a box that is wider than high"),
            pytest.param({"nose": (9, 9)}, [10, 20, 10.5, 20], 55.0, id="a box without extent"),
            pytest.param({"nose": (9, 9)}, [-np.inf, 0, np.inf, 9], 55.0, id="a box without end"),
            pytest.param({"nose": (9, 9)}, [0, 0, 1e6, 9], 55.0, id="a box too large to be true"),
            pytest.param({"left_hip": (0, 0), "left_knee": (0, 61)}, None, 50.0, id="one limb"),
            pytest.param({"left_hip": (0, 0), "left_knee": (0, 61)}, [0, 0, 90, 90], 20.0, id="one limb and a box"),
            pytest.param({"left_hip": (0, 0), "right_knee": (0, 61)}, None, 55.0, id="no limb"),
            pytest.param({"left_hip": (0, 0), "left_knee": (0, 0.9)}, None, 55.0, id="a limb under a pixel"),
            pytest.param({"left_hip": (-1e308, 0), "left_knee": (1e308, 0)}, None, 55.0, id="beyond numbers"),
            pytest.param(LEG, [0, 0, 900, 900], 50.0, id="two limbs: the longer"),
        ],
    )
    def test_few_keypoints(self, points: dict[str, tuple[float, float]], box: Any, diagonal: float) -> None:
        given = pose(*((POSETRACK15.index(name), *point) for name, point in points.items()))
        scale = body_scale(given, POSETRACK15, None if box is None else np.array(box, float), mean_head=55)
        assert head_of(scale) == pytest.approx(diagonal)

    def test_a_face(self) -> None:
        """A face 15 cm wide, seen from in front, with COCO's keypoints."""
        names = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
        face = np.full((17, 2), np.nan)
        face[COCO17.indices(*names)] = 5 * np.array([(0, 4), (3.1, 0), (-3.1, 0), (7.2, 2), (-7.2, 2)])
        assert head_of(body_scale(face, COCO17)) == pytest.approx(5 * 35, rel=0.15)

    @pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=list(SKELETONS))
    def test_skeletons(self, skeleton: Skeleton) -> None:
        """Each has limbs of known length."""
        found = POSETRACK15.convert(standing()[None], skeleton)[0]
        assert head_of(body_scale(found, skeleton)) == pytest.approx(35, rel=0.06)

    def test_a_skeleton_without_limbs(self) -> None:
        hands = Skeleton(("thumb", "wrist"), (), (0.1, 0.1))
        assert head_of(body_scale(np.array([[0.0, 0], [50, 0]]), hands, mean_head=30)) == pytest.approx(30)


@pytest.mark.parametrize(
    ("keypoints", "image_size", "box"),
    [
        pytest.param(pose((0, 50, 50)), (2000, 2000), (0, 0, 285, 285), id="one keypoint near the corner"),
        pytest.param(pose((0, -450, 50)), (640, 480), (0, 0, 444, 333), id="all outside: the whole image"),
        pytest.param(pose((0, -352, 50)), (640, 480), (0, 0, 444, 333), id="under 8 pixels: the whole image"),
        pytest.param(pose((0, 1e300, 50)), (640, 480), (0, 0, 444, 333), id="absurd coordinate: the whole image"),
        pytest.param(pose((0, 1, 1)), (3, 3), (0, 0, 2, 2), id="tiny image"),
        pytest.param(pose((0, 0, 0)), (1, 1), None, id="resized to nothing"),
        pytest.param(pose((0, 0, 0), (1, 7000, 4000)), (7680, 4320), None, id="above 3,000,000 pixels"),
    ],
)
def test_boxes(keypoints: FloatArray, image_size: tuple[int, int], box: tuple[int, int, int, int] | None) -> None:
    crop = crop_of(keypoints, image_size)
    assert (crop and crop.box) == box


def test_coordinates_round_trip() -> None:
    crop = Crop(0.7, (640, 480), (13, 31, 200, 300))
    points = np.array([[0.0, 0.0], [123.4, -5.6], [np.nan, np.nan]])
    np.testing.assert_allclose(crop.to_image(crop.to_crop(points)), points, atol=1e-12)
    np.testing.assert_allclose(crop.to_crop(np.array([13 / 0.7, 31 / 0.7])), [0, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("image_size", "is_cropped"), [((1500, 2000), True), ((1501, 2000), False), ((4000, 4000), False)], ids=str
)
def test_a_region_may_be_larger_than_a_crop(image_size: tuple[int, int], is_cropped: bool) -> None:
    keypoints = pose((0, 0, 0), (1, *image_size))
    region = person_region(keypoints, image_size, 1.0)
    assert region.box == (0, 0, *image_size)
    assert (region.width * region.height <= MAX_CROP_PIXELS) == is_cropped
    assert person_crop(keypoints, image_size, 1.0) == (region if is_cropped else None)


NO_BOX = [np.nan] * 4
TWO = [(0, 0), (40, 80)]
AROUND_TWO = [-10, -10, 50, 90]
ROOM = 4.5 * MEAN_HEAD / 4


@pytest.mark.parametrize(
    ("points", "box", "expected"),
    [
        pytest.param(TWO, [10, 20, 50, 90], [10, 20, 50, 90], id="given"),
        pytest.param([], [10, 20, 50, 90], [10, 20, 50, 90], id="a box alone"),
        pytest.param(TWO, NO_BOX, AROUND_TWO, id="a quarter of the longer side more"),
        pytest.param(TWO, [10, 20, 50, np.nan], AROUND_TWO, id="not a number"),
        pytest.param(TWO, [10, 20, 10.5, 90], AROUND_TWO, id="degenerate"),
        pytest.param(TWO, [0, 0, 1e300, 90], AROUND_TWO, id="absurd"),
        pytest.param(TWO, [-1e308, 0, 1e308, 90], AROUND_TWO, id="beyond numbers"),
        pytest.param([(0, 0), (0, 80)], NO_BOX, [-20, -10, 20, 90], id="a line"),
        pytest.param([(0, 0), (1e300, 0)], NO_BOX, [-1.25e5, -2.5e5, 1.125e6, 2.5e5], id="a keypoint far off"),
        pytest.param([(30, 40)], NO_BOX, [30 - ROOM, 40 - ROOM, 30 + ROOM, 40 + ROOM], id="one keypoint"),
        pytest.param([], NO_BOX, NO_BOX, id="nothing"),
    ],
)
def test_person_boxes(points: list[tuple[float, float]], box: list[float], expected: list[float]) -> None:
    keypoints = np.full((5, 2), np.nan)
    keypoints[: len(points)] = np.reshape(points, (-1, 2))
    np.testing.assert_allclose(person_boxes(keypoints[None], np.array([box], float)), [expected])


def blobs(width: int, height: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.asarray(cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 4.0), None, 0, 255, cv2.NORM_MINMAX))


class TestCanvasCrop:
    """Crops of one size, whose coordinates count from the centre of the first pixel."""

    @settings(deadline=None, max_examples=60)
    @given(st.tuples(st.floats(-60, 300), st.floats(-60, 200)), st.tuples(st.floats(1, 400), st.floats(1, 400)))
    def test_is_an_affine_image(self, corner: tuple[float, float], sides: tuple[float, float]) -> None:
        """Of boxes that may lie across the border, in images that may be shrunk or magnified."""
        image, middle = blobs(300, 200), np.add(corner, np.divide(sides, 2))
        crop = canvas_crop(np.array([*corner, *np.add(corner, sides)]), (300, 200), (96, 64))
        if crop is None:
            assert (middle < 0).any() or (middle > [300, 200]).any()
            return
        assert (crop.width, crop.height) == (64, 96)
        np.testing.assert_allclose(crop.to_crop(middle - 0.5), [31.5, 47.5], atol=0.51)
        points = np.array([[0.0, 0.0], [63.0, 95.0], [-5.0, 3.0]])
        np.testing.assert_allclose(crop.to_crop(crop.to_image(points)), points, atol=1e-9)

        x, y = np.moveaxis(crop.to_image(np.stack(np.meshgrid(np.arange(64.0), np.arange(96.0)), axis=2)), 2, 0)
        found, beside = crop.pixels(image).astype(int), 2 / min(crop.scale, 1)
        inside = (x > beside) & (x < 299 - beside) & (y > beside) & (y < 199 - beside)
        if crop.scale < 1:  # pixels of a shrunk image are means: compare with one that is blurred
            image = cv2.GaussianBlur(image, (0, 0), 0.41 / crop.scale)
        expected = cv2.remap(image, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
        assert np.abs(found - expected)[inside].max(initial=0) < 12
        assert not found[(x < -beside) | (x > 299 + beside) | (y < -beside) | (y > 199 + beside)].any()

    def test_at_scale_1_it_equals_the_pixels(self) -> None:
        image = blobs(300, 200)
        crop = canvas_crop(np.array([120.0, 20, 184, 84]), (300, 200), (80, 80))
        assert crop is not None
        assert (crop.scale, crop.box) == (1.0, (112, 12, 192, 92))
        np.testing.assert_array_equal(crop.pixels(image), image[12:92, 112:192])

    @pytest.mark.parametrize("box", [[400, 0, 450, 50], [0, -90, 50, -40], [-90, 0, -40, 50], [0, 300, 50, 350]])
    def test_beyond_the_image(self, box: list[float]) -> None:
        assert canvas_crop(np.array(box, float), (300, 200), (96, 64)) is None

from typing import Any

import numpy as np
import pytest
from conftest import CASES, GOLDEN, joints_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from hpr.crops import MAX_CROP_PIXELS, MEAN_HEAD, Crop, person_crop, person_region, person_scale
from hpr.images import read_image
from hpr.poses import FloatArray
from hpr.skeleton import COCO17, MPII16, POSETRACK15, POSETRACK18, Skeleton

HEAD_BOTTOM, HEAD_TOP = POSETRACK15.indices("head_bottom", "head_top")
MEAN_HEAD_SCALE = 0.8452830189 * 50 / (0.6 * 101.4252)


def pose(*points: tuple[int, float, float]) -> FloatArray:
    keypoints = np.full((15, 2), np.nan)
    for keypoint, x, y in points:
        keypoints[keypoint] = x, y
    return keypoints


def crop_of(keypoints: FloatArray, image_size: tuple[int, int]) -> Crop | None:
    return person_crop(keypoints, image_size, person_scale(keypoints, POSETRACK15))


def resized(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resizes columns first, as Pillow did up to version 12; version 13 takes the cheaper order first."""
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


@pytest.mark.parametrize("name", ["plain", "odd_size", "tiny_image"])
def test_golden_pixels(name: str) -> None:
    case = next(case for case in CASES if case["name"] == name)
    image = read_image(GOLDEN / "images" / case["image"])
    crop = crop_of(joints_of(case), (image.shape[1], image.shape[0]))
    assert crop is not None
    np.testing.assert_array_equal(crop.pixels(image), np.load(GOLDEN / f"{name}.npz")["rgb"])


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
        pytest.param(((HEAD_TOP, 5, 5), (HEAD_BOTTOM, 5, 5)), MEAN_HEAD_SCALE, id="both in one place"),
        pytest.param(((HEAD_TOP, 5.9, 5), (HEAD_BOTTOM, 5.1, 5)), MEAN_HEAD_SCALE, id="both in one pixel"),
        pytest.param(((HEAD_TOP, -0.9, 5), (HEAD_BOTTOM, 0.9, 5)), MEAN_HEAD_SCALE, id="truncated towards zero"),
        pytest.param(((HEAD_TOP, 0, 0), (HEAD_BOTTOM, 3, 4)), 0.8452830189 * 50 / (0.6 * 1.4286 * 5), id="5 pixels"),
        pytest.param(((HEAD_TOP, 0, 0), (HEAD_BOTTOM, 0, 1)), 0.8452830189 * 50 / (0.6 * 1.4286), id="1 pixel"),
        pytest.param(
            ((HEAD_TOP, 0, 0), (HEAD_BOTTOM, 0, 2916)), 0.8452830189 * 50 / (0.6 * 1.4286 * 2916), id="largest"
        ),
        pytest.param(((HEAD_TOP, 0, 0), (HEAD_BOTTOM, 0, 2917)), MEAN_HEAD_SCALE, id="too large to be true"),
        pytest.param(((HEAD_TOP, 0, 0), (HEAD_BOTTOM, 0, 1e300)), MEAN_HEAD_SCALE, id="absurd"),
    ],
)
def test_scale(head: tuple[tuple[int, float, float], ...], expected: float) -> None:
    assert person_scale(pose(*head), POSETRACK15) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("mean_head", [MEAN_HEAD, 55.0])
@pytest.mark.parametrize("skeleton", [POSETRACK15, POSETRACK18, COCO17, MPII16], ids=lambda skeleton: skeleton.name)
def test_scale_of_other_skeletons(skeleton: Skeleton, mean_head: float) -> None:
    """A mean head is assumed where the skeleton has none."""
    missing = np.full((len(skeleton), 2), np.nan)
    expected = 0.8452830189 * 50 / (0.6 * mean_head)
    assert person_scale(missing, skeleton, mean_head) == pytest.approx(expected, abs=1e-12)
    whole = POSETRACK15.convert(pose((HEAD_TOP, 0, 0), (HEAD_BOTTOM, 3, 4), (0, 50, 50))[None], skeleton)[0]
    if "head_top" in skeleton:
        expected = 0.8452830189 * 50 / (0.6 * 1.4286 * 5)
    assert person_scale(whole, skeleton, mean_head) == pytest.approx(expected, abs=1e-12)


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


def test_points_go_to_the_crop_and_back() -> None:
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

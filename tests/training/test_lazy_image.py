"""Images that are rotated, cut and cropped: content stays in its position, however few pixels are decoded."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpr.crops import Crop
from hpr.images import Image, ImageFolder
from hpr.pixels import REDUCTIONS
from hpr.poses import Frame
from hpr.skeleton import POSETRACK15
from hpr.training.lazy_image import CUT_STEP, LazyImage, Rotation

FILL = (10.0, 200.0, 30.0)


def noise(height: int, width: int) -> Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), 2.0), np.uint8)


def opened(images: ImageFolder, name: str = "a.jpg") -> LazyImage:
    return LazyImage.from_frame(images, Frame.empty(name, POSETRACK15))


def whole(lazy: LazyImage, scale: float) -> Crop:
    width, height = int(lazy.width * scale), int(lazy.height * scale)
    return Crop(scale, (width, height), (0, 0, width, height))


@pytest.mark.parametrize("start", [0, CUT_STEP])
def test_an_image_alone_and_cut(start: int) -> None:
    image = noise(80, 96)
    lazy, expected = LazyImage.from_array(image).cut(0, 2 * start, 96).cut(1, start, 64), image[start:64, 2 * start :]
    assert (lazy.size, lazy.reductions) == ((96 - 2 * start, 64 - start), (1,))
    np.testing.assert_array_equal(lazy.crop(whole(lazy, 1.0)), expected)
    crop = Crop(0.7, (28, 21), (3, 4, 20, 19))
    np.testing.assert_array_equal(lazy.crop(crop), crop.pixels(expected))


@pytest.mark.parametrize(
    ("size", "scale", "expected"),
    [((41, 32), 0.1, 1), ((40, 32), 0.4, 1), ((40, 32), 0.375, 2), ((40, 32), 0.18, 4), ((40, 32), 0.05, 8)],
)
def test_how_far_an_image_can_be_reduced(size: tuple[int, int], scale: float, expected: int, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), noise(*size[::-1]))
    assert opened(ImageFolder(tmp_path)).reduction_for(scale) == expected


@pytest.mark.parametrize("reduction", REDUCTIONS[1:])
@pytest.mark.parametrize("angle", [None, 17.0, -40.0])
@pytest.mark.parametrize("cut", [None, (0, 64, 232), (1, 0, 152)])
def test_content_stays_in_its_position(
    reduction: int, angle: float | None, cut: tuple[int, int, int] | None, tmp_path: Path
) -> None:
    """A tenth of a pixel of the crop, in either direction, on the whole and in each quarter."""
    columns, rows = np.meshgrid(np.arange(240, dtype=np.uint8), np.arange(200, dtype=np.uint8))
    image = np.stack([np.full_like(rows, 128), rows, columns], axis=2)  # green grows downwards, red to the right
    cv2.imwrite(str(tmp_path / "a.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 100])
    lazy = opened(ImageFolder(tmp_path))
    if angle is not None:
        lazy = replace(lazy, rotation=Rotation((110.3, 91.8), angle, (0.0, 0.0, 0.0)))
    lazy = lazy if cut is None else lazy.cut(*cut)
    scale = 0.75 / reduction
    crop = whole(lazy, scale)

    full, reduced = (lazy.crop(crop, by).astype(float) for by in (1, reduction))
    inside = cv2.erode((full[..., 2] > 120).astype(np.uint8), np.ones((5, 5)), borderValue=0) > 0
    shift = (reduced - full)[..., :2] * scale  # in pixels of the crop
    half = crop.width // 2
    for part in (np.s_[:, :], np.s_[:, :half], np.s_[:, half:]):
        if inside[part].sum() >= 20:
            assert np.abs(shift[part][inside[part]].mean(axis=0)).max() < 0.1


@given(
    centre=st.tuples(st.floats(-50, 150), st.floats(-50, 150)),
    angle=st.floats(-180, 180),
    rows=st.tuples(st.integers(0, 6), st.integers(1, 7)),
    columns=st.tuples(st.integers(0, 9), st.integers(1, 10)),
)
@settings(max_examples=60, deadline=None)
def test_a_region_is_that_of_the_whole_rotated_image(
    centre: tuple[float, float], angle: float, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    image, rotation = noise(56, 80), Rotation(centre, angle, FILL)
    expected = cv2.warpAffine(image, rotation.matrix(), (80, 56), borderMode=cv2.BORDER_CONSTANT, borderValue=FILL)
    (top, bottom), (left, right) = ((CUT_STEP * own[0], CUT_STEP * max(own[0] + 1, own[1])) for own in (rows, columns))
    lazy = replace(LazyImage.from_array(image), rotation=rotation)
    cut = lazy.cut(0, left, right).cut(1, top, bottom)
    found = cut.crop(whole(cut, 1.0))
    apart = np.abs(found.astype(int) - expected[top:bottom, left:right])
    # OpenCV rounds positions to a fraction of a pixel, which may fall to either side.
    assert np.quantile(apart, 0.99) <= 2


class _Counting(ImageFolder):
    decoded = 0

    def read(self, frame: Frame, reduction: int = 1) -> Image:
        type(self).decoded += 1
        return super().read(frame, reduction)


def test_an_image_is_decoded_once_and_only_when_it_is_needed(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), noise(30, 40))
    _Counting.decoded = 0
    lazy = opened(_Counting(tmp_path))
    assert (lazy.size, _Counting.decoded) == ((40, 30), 0)
    for _ in range(2):
        replace(lazy, rotation=Rotation((1, 1), 5, FILL)).crop(whole(lazy, 1.0))
    assert _Counting.decoded == 1

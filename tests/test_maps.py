from typing import Any

import numpy as np
import pytest
import torch
from conftest import joints_of
from hypothesis import given, settings
from hypothesis import strategies as st

from hpr import maps
from hpr.crops import Crop
from hpr.skeleton import JOINTS


def test_golden_discs(case: dict[str, Any]) -> None:
    height, width = case["crop_hw"]
    x, y = case["crop_xy"]
    crop = Crop(case["scale"], (0, 0), (x, y, x + width, y + height))
    discs = maps.draw(torch.from_numpy(crop.to_crop(joints_of(case)))[None], height, width)
    assert (discs[0] == 255).sum(dim=(1, 2)).tolist() == case["disc_pixels"]
    assert set(np.unique(discs)) <= {0.0, 255.0}


COORDINATES = st.one_of(st.floats(-60, 120), st.sampled_from([np.nan, 1e300, -1e300, 1e9, -0.5, 0.0, 30.5]))


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(COORDINATES, COORDINATES), min_size=1, max_size=4), st.integers(1, 60), st.integers(1, 60))
def test_discs_are_the_pixels_within_the_radius(points: list[tuple[float, float]], height: int, width: int) -> None:
    joints = np.array(points)
    joints[np.isnan(joints).any(axis=1)] = np.nan
    rows, columns = np.mgrid[:height, :width]
    with np.errstate(over="ignore", invalid="ignore"):
        squared = (columns - joints[:, 0, None, None]) ** 2 + (rows - joints[:, 1, None, None]) ** 2
        expected = np.where(squared <= (17 * 0.8452830189) ** 2, 255, 0)
    np.testing.assert_array_equal(maps.draw(torch.from_numpy(joints)[None], height, width)[0], expected)


def test_mirror_swaps_sides_and_columns() -> None:
    image = torch.zeros(1, 15, 2, 5)
    image[0, JOINTS.index("right_ankle"), 1, 0] = 1
    image[0, JOINTS.index("nose"), 0, 2] = 2
    expected = torch.zeros(1, 15, 2, 5)
    expected[0, JOINTS.index("left_ankle"), 1, 4] = 1
    expected[0, JOINTS.index("nose"), 0, 2] = 2
    assert torch.equal(maps.mirror(image), expected)
    assert torch.equal(maps.mirror(maps.mirror(image)), image)


@pytest.mark.parametrize(
    ("peaks", "offset", "expected"),
    [
        pytest.param([], (0.0, 0.0), (4.0, 4.0, 0.0), id="no peak: the first cell"),
        pytest.param([(2, 3, 0.9)], (0.0, 0.0), (28.0, 20.0, 0.9), id="centre of a cell"),
        pytest.param([(2, 3, 0.9)], (0.5, -1.0), (28 + 3.64005, 20 - 7.2801, 0.9), id="with an offset"),
        pytest.param([(2, 3, 0.9), (1, 4, 0.9)], (0.0, 0.0), (36.0, 12.0, 0.9), id="of two equal, the upper"),
        pytest.param([(2, 3, 0.9), (2, 1, 0.9)], (0.0, 0.0), (12.0, 20.0, 0.9), id="of two equal, the left"),
    ],
)
def test_decode(
    peaks: list[tuple[int, int, float]], offset: tuple[float, float], expected: tuple[float, float, float]
) -> None:
    probabilities = torch.zeros(1, 2, 4, 6)
    offsets = torch.full((1, 4, 4, 6), 77.0)
    for row, column, probability in peaks or [(0, 0, 0.0)]:
        probabilities[0, 1, row, column] = probability
        offsets[0, 2, row, column], offsets[0, 3, row, column] = offset
    joints, confidence = maps.decode(probabilities, offsets)
    assert joints.shape == (1, 2, 2)
    assert [*joints[0, 1].tolist(), confidence[0, 1].item()] == pytest.approx(expected, abs=1e-5)

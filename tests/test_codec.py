"""Poses to input discs and to targets; heatmaps to poses."""

from typing import Any

import numpy as np
import pytest
import torch
from conftest import discs_of
from hypothesis import given, settings
from hypothesis import strategies as st

from hpr import codec
from hpr.skeleton import COCO17, POSETRACK15, Skeleton


def test_golden_discs(case: dict[str, Any]) -> None:
    discs = discs_of(case)
    assert (discs[0] == 255).sum(dim=(1, 2)).tolist() == case["disc_pixels"]
    assert set(np.unique(discs)) <= {0.0, 255.0}


COORDINATES = st.one_of(st.floats(-60, 120), st.sampled_from([np.nan, 1e300, -1e300, 1e9, -0.5, 0.0, 30.5]))


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(COORDINATES, COORDINATES), min_size=1, max_size=4), st.integers(1, 60), st.integers(1, 60))
def test_discs_are_the_pixels_within_the_radius(points: list[tuple[float, float]], height: int, width: int) -> None:
    keypoints = np.array(points)
    keypoints[np.isnan(keypoints).any(axis=1)] = np.nan
    rows, columns = np.mgrid[:height, :width]
    with np.errstate(over="ignore", invalid="ignore"):
        squared = (columns - keypoints[:, 0, None, None]) ** 2 + (rows - keypoints[:, 1, None, None]) ** 2
        expected = np.where(squared <= (17 * 0.8452830189) ** 2, 255, 0)
    discs = codec.draw_discs(torch.from_numpy(keypoints)[None], height, width)
    np.testing.assert_array_equal(discs[0], expected)


def test_confident_discs_are_as_bright_as_the_scores() -> None:
    """Without a score a disc is bright; one of score 0 is still seen."""
    keypoints = torch.tensor([[[10.0, 10.0]] * 5 + [[torch.nan, torch.nan]]], dtype=torch.float64)
    scores = torch.tensor([[0.0, 0.5, 1.0, 7.0, torch.nan, 0.5]])
    pixels = torch.zeros(1, 20, 30, 3, dtype=torch.uint8)
    maps = codec.network_input(pixels, keypoints, "confident_discs", scores)[:, 3:]
    assert maps.amax(dim=(2, 3)).tolist() == [[1, 128, 255, 255, 255, 0]]
    assert torch.equal(maps[0, 0] > 0, maps[0, 2] > 0)
    assert torch.equal(codec.network_input(pixels, keypoints, "discs", scores), codec.network_input(pixels, keypoints))


@pytest.mark.parametrize("count", [0, 1, 17])
@pytest.mark.parametrize("batch", [0, 2])
def test_network_input(batch: int, count: int) -> None:
    pixels = torch.randint(0, 256, (batch, 20, 30, 3), dtype=torch.uint8)
    keypoints = torch.rand(batch, count, 2, dtype=torch.float64) * 20
    inputs = codec.network_input(pixels, keypoints)
    assert inputs.shape == (batch, 3 + count, 20, 30)
    assert inputs.dtype == torch.uint8
    assert torch.equal(inputs[:, :3].permute(0, 2, 3, 1), pixels)
    assert torch.equal(inputs[:, 3:], codec.draw_discs(keypoints, 20, 30))


@pytest.mark.parametrize(
    ("sizes", "starts", "expected"),
    [
        pytest.param([], None, [], id="no map"),
        pytest.param([[0, 0]], None, ["...", "..."], id="empty"),
        pytest.param([[1, 2]], None, ["##.", "..."], id="in the corner"),
        pytest.param([[1, 2]], [[1, 1]], ["...", ".##"], id="elsewhere"),
        pytest.param([[5, 5]], [[0, 1]], [".##", ".##"], id="larger than the map"),
    ],
)
def test_rectangles(sizes: list[list[int]], starts: list[list[int]] | None, expected: list[str]) -> None:
    given_starts = None if starts is None else torch.tensor(starts)
    found = codec.rectangles(torch.tensor(sizes, dtype=torch.int64).reshape(-1, 2), 2, 3, given_starts)
    assert found.shape == (len(sizes), 1, 2, 3)
    drawn = ["".join(".#"[int(cell)] for cell in row) for marked in found for row in marked[0]]
    assert drawn == expected


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
def test_decode(peaks: list[tuple[int, int, float]], offset: tuple[float, float], expected: tuple[float, ...]) -> None:
    probabilities = torch.zeros(1, 2, 4, 6)
    offsets = torch.full((1, 4, 4, 6), 77.0)
    for row, column, probability in peaks or [(0, 0, 0.0)]:
        probabilities[0, 1, row, column] = probability
        offsets[0, 2, row, column], offsets[0, 3, row, column] = offset
    keypoints, confidence = codec.decode(probabilities, offsets)
    assert keypoints.shape == (1, 2, 2)
    assert [*keypoints[0, 1].tolist(), confidence[0, 1].item()] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("skeleton", [POSETRACK15, COCO17], ids=lambda skeleton: skeleton.name)
def test_decoded_targets_are_the_pose(skeleton: Skeleton) -> None:
    """The offset of any near cell leads to the keypoint."""
    keypoints = torch.rand(3, len(skeleton), 2, dtype=torch.float64) * torch.tensor([90.0, 60.0])
    made = codec.targets(keypoints, torch.ones(3, 1, 8, 12, dtype=torch.bool))
    assert made.parts.shape == (3, len(skeleton), 8, 12)
    assert made.offsets.shape == made.offset_mask.shape == (3, 2 * len(skeleton), 8, 12)
    decoded, confidence = codec.decode(made.parts, made.offsets)
    torch.testing.assert_close(decoded, keypoints, rtol=0, atol=1e-4)
    assert (confidence == 1).all()


class TestMaskedCells:
    """Cells of keypoints that are not labelled, and in ignored regions, do not count."""

    def test_no_person(self) -> None:
        none = torch.ones(0, 15, 2, 4, dtype=torch.bool)
        made = codec.targets(none[..., 0].double(), none[:, :1], labelled=none[..., 0, 0], ignored=none[:, 0])
        assert made.cells.shape == made.parts.shape == (0, 15, 2, 4)
        assert made.offsets.shape == made.offset_mask.shape == (0, 30, 2, 4)

    def test_by_keypoint(self) -> None:
        keypoints = torch.full((2, 3, 2), torch.nan, dtype=torch.float64)
        labelled = torch.tensor([[True, False, True], [False, False, False]])
        cells = codec.rectangles(torch.tensor([[1, 3], [8, 12]]), 8, 12)
        made = codec.targets(keypoints, cells, labelled=labelled)
        assert torch.equal(made.cells > 0, cells & labelled[:, :, None, None])
        assert not any(maps.any() for maps in (made.parts, made.offset_mask, made.offsets))

    def test_true_keypoints_count_in_an_ignored_region(self) -> None:
        keypoints = torch.tensor([[[50.0, 40.0], [torch.nan, torch.nan]]] * 2, dtype=torch.float64)
        ignored = torch.tensor([True, False])[:, None, None].expand(2, 8, 12)
        made = codec.targets(keypoints, torch.ones(2, 1, 8, 12, dtype=torch.bool), ignored=ignored)
        assert torch.equal(made.cells[0], made.parts[0])
        assert made.parts[0, 0].any()
        assert made.cells[1].all()
        assert torch.equal(made.offset_mask[0], made.offset_mask[1])

    @pytest.mark.parametrize(
        ("polygons", "count"),
        [
            ([], 0),
            ([np.empty((0, 2))], 0),
            ([[(0, 0), (90, 60)]], 0),
            ([[(-1e9, -1e9), (1e9, -1e9), (1e9, 1e9), (-1e9, 1e9)]] * 2, 8 * 12),
            ([[(-50, -50), (-40, -50), (-40, -40)]], 0),
            ([[(np.inf, 0), (np.nan, 0), (0, np.nan)]], 12),
        ],
    )
    def test_count_of_cells_within(self, polygons: list[list[tuple[float, float]]], count: int) -> None:
        found = codec.cells_within([np.array(polygon, float) for polygon in polygons], 8, 12)
        assert found.shape == (8, 12)
        assert found.sum() == count

    @pytest.mark.parametrize("grid", [codec.PUBLISHED_GRID, codec.FINE_GRID], ids=["published", "fine"])
    def test_cells_within_a_region(self, grid: codec.Grid) -> None:
        """All whose centre lies within, and none that is a cell or more beside it."""
        found = codec.cells_within([np.array([[30.0, 10], [70, 10], [70, 50], [30, 50]])], 16, 24, grid)
        rows, columns = np.mgrid[:16, :24] * grid.stride + grid.origin
        outside = np.maximum(np.abs(columns - 50) - 20, np.abs(rows - 30) - 20)
        assert found[outside <= 0].all()
        assert not found[outside >= grid.stride].any()


def test_targets_grow_with_the_scale_jitter() -> None:
    """As in docs/published.md, section 5: a cell is near if its centre is within the radius times the jitter."""
    keypoints = torch.tensor([[[50.0, 40.0]], [[50.0, 40.0]]], dtype=torch.float64)
    cells = torch.ones(2, 1, 10, 12, dtype=torch.bool)
    made = codec.targets(keypoints, cells, torch.tensor([0.5, 1.5]))
    rows, columns = np.mgrid[4:84:8, 4:100:8]
    distance = np.hypot(columns - 50, rows - 40)
    for i, jitter in enumerate((0.5, 1.5)):
        np.testing.assert_array_equal(made.parts[i, 0].numpy() > 0, distance <= 17 * 0.8452830189 * jitter)
        alone = codec.targets(keypoints[:1], cells[:1], jitter)
        assert torch.equal(alone.offsets[0], made.offsets[i])


class TestGaussians:
    """The photograph refiner's maps."""

    @settings(deadline=None, max_examples=50)
    @given(st.lists(st.tuples(COORDINATES, COORDINATES, st.sampled_from([np.nan, 0.0, 0.3, 1.0, 7.0])), max_size=4))
    def test_inputs(self, points: list[tuple[float, float, float]]) -> None:
        """As bright as the score in the middle, where one of 0 is still seen."""
        given = np.array(points).reshape(-1, 3)
        keypoints, scores = given[:, :2], given[:, 2].copy()
        keypoints[np.isnan(keypoints).any(axis=1)] = np.nan
        pixels = torch.zeros(1, 40, 50, 3, dtype=torch.uint8)
        poses = torch.from_numpy(keypoints)[None]
        found = codec.network_input(pixels, poses, "gaussians", torch.from_numpy(scores)[None])[0, 3:]

        rows, columns = np.mgrid[:40, :50]
        brightness = np.clip(np.round(255 * np.nan_to_num(scores, nan=1.0)), 1, 255)[:, None, None]
        with np.errstate(over="ignore", invalid="ignore"):
            squared = (columns - keypoints[:, 0, None, None]) ** 2 + (rows - keypoints[:, 1, None, None]) ** 2
            expected = np.nan_to_num(brightness * np.exp(-squared / 72))
        assert found.dtype == torch.uint8
        np.testing.assert_allclose(found, expected, rtol=0, atol=0.51)
        assert torch.equal(
            codec.network_input(pixels, poses, "gaussians"),
            codec.network_input(pixels, poses, "gaussians", torch.ones(poses.shape[:2])),
        )

    @settings(deadline=None, max_examples=100)
    @given(st.lists(st.tuples(st.floats(0, 95), st.floats(4, 59)), min_size=5, max_size=5), st.floats(0.5, 6.0))
    def test_decoded_targets_are_the_pose(self, points: list[tuple[float, float]], spread: float) -> None:
        """Also at two borders, where a part of the Gaussian is missing; in a corner it is at most a cell beside it."""
        keypoints = torch.tensor([points], dtype=torch.float64)
        made = codec.gaussian_targets(keypoints, torch.ones(1, 1, 16, 24, dtype=torch.bool))
        maps, spreads = codec.draw_gaussians(keypoints, 64, 96), torch.full((5,), spread)
        decoded, confidence, support = codec.decode_similarity(made.parts, made.offsets, maps, spreads)
        torch.testing.assert_close(decoded, keypoints, rtol=0, atol=0.05)
        assert ((confidence > 0) & (confidence <= 1)).all()
        assert ((support > 0.5) & (support <= 1)).all()

    def test_weights(self) -> None:
        """Of a keypoint, one that is known not to be there, and one that is not labelled; on half of the canvas."""
        keypoints = torch.full((2, 3, 2), torch.nan, dtype=torch.float64)
        keypoints[:, 0] = torch.tensor([21.5, 13.5])  # the centre of cell (3, 5)
        cells = codec.rectangles(torch.tensor([[8, 12], [8, 7]]), 8, 12)
        ignored = torch.tensor([True, False])[:, None, None].expand(2, 8, 12)
        made = codec.gaussian_targets(keypoints, cells, torch.tensor([[True, True, False]] * 2), ignored)
        mask, offsets = (maps.reshape(2, 3, 2, 8, 12) for maps in (made.offset_mask, made.offsets))

        assert made.parts[:, 0, 3, 5].tolist() == [1, 1]
        assert made.parts[0, 0, 3, 4].item() == pytest.approx(np.exp(-1 / (2 * 1.2**2)))
        assert offsets[0, 0, :, 4, 4].tolist() == [2, -2]  # 4 px to the right and 4 px up
        for maps in (made.parts[:, 1:], mask[:, 1:], offsets[:, 1:], made.cells[:, 2], made.cells[0, 1]):
            assert not maps.any()
        near = made.parts[:, 0] > 0.3
        assert torch.equal(mask[:, 0].bool(), near[:, None].expand(2, 2, 8, 12))
        assert torch.equal(made.cells[0, 0] > 0, near[0])  # of an ignored region, the keypoint alone
        assert torch.equal(made.cells[1, 1], cells[1, 0].float())
        torch.testing.assert_close(made.cells[1, 0], cells[1, 0] * (1 + 20 * made.parts[1, 0]))
        assert not made.parts[1, :, :, 7:].any()

    @settings(deadline=None, max_examples=50)
    @given(st.integers(0, 1000), st.sampled_from([0.0, 0.05, 1.0]))
    def test_decode_any_maps(self, seed: int, share: float) -> None:
        """Confidence and support are shares; an estimate that is where the pose is found has all the support."""
        random = torch.Generator().manual_seed(seed)
        parts = torch.rand(2, 3, 8, 12, generator=random) * (torch.rand(2, 3, 8, 12, generator=random) < share)
        offsets, spreads = torch.zeros(2, 6, 8, 12), torch.tensor([0.5, 2.0, 5.0])
        nothing = torch.zeros(2, 3, 32, 48, dtype=torch.uint8)
        keypoints, confidence, support = codec.decode_similarity(parts, offsets, nothing, spreads)
        for shares in (confidence, support):
            assert ((shares >= 0) & (shares <= 1)).all()
        assert (confidence <= parts.amax(dim=(2, 3)).sqrt() + 1e-6).all()
        again = codec.decode_similarity(parts, offsets, codec.draw_gaussians(keypoints, 32, 48), spreads)
        has_map = parts.sum(dim=(2, 3)) > 0
        assert again[2][has_map].tolist() == pytest.approx([1.0] * int(has_map.sum()))

    def test_the_position_with_the_highest_expected_similarity(self) -> None:
        """Between two peaks for a forgiving keypoint, at the higher one for a strict keypoint."""
        parts = torch.zeros(1, 2, 8, 12)
        parts[:, :, 4, 3], parts[:, :, 4, 7] = 0.8, 0.7
        nothing = torch.zeros(1, 2, 32, 48, dtype=torch.uint8)
        found, confidence, _ = codec.decode_similarity(
            parts, torch.zeros(1, 4, 8, 12), nothing, torch.tensor([0.5, 4.0])
        )
        assert found[0, 0].tolist() == [13.5, 17.5]
        assert 13.5 < found[0, 1, 0] < 29.5
        strict, forgiving = 0.8 / 1.5, (0.8 * np.exp(-(2**2) / 32) + 0.7 * np.exp(-(2**2) / 32)) / 1.5
        assert confidence[0].tolist() == pytest.approx([(strict * 0.8) ** 0.5, (forgiving * 0.8) ** 0.5], rel=1e-3)

"""Crops of unequal size on canvases of one size."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from hpr.models.padding import PaddedBatch


def padded(height: int, width: int, *crops: tuple[int, ...]) -> PaddedBatch:
    """Crops, each given by height, width, first row and first column, on canvases of random numbers."""
    table = torch.tensor(crops, dtype=torch.int64).reshape(-1, 4)
    return PaddedBatch(torch.rand(len(crops), 2, height, width), table[:, :2], table[:, 2:])


@st.composite
def batches(draw: st.DrawFn, even: bool = False) -> PaddedBatch:
    """Up to four crops, which begin at even pixels, or anywhere."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    crops = []
    for _ in range(draw(st.integers(0, 4))):
        starts = [draw(st.integers(0, side - 1)) for side in (height, width)]
        starts = [start // 2 * 2 if even else start for start in starts]
        sizes = [draw(st.integers(1, side - start)) for side, start in zip((height, width), starts, strict=True)]
        crops.append((*sizes, *starts))
    return padded(height, width, *crops)


@settings(deadline=None, max_examples=200)
@given(batch=batches(even=True), stride=st.sampled_from([1, 2, 4, 8, 16]), in_corner=st.booleans())
def test_valid_cells_are_those_with_a_pixel_of_the_crop(batch: PaddedBatch, stride: int, in_corner: bool) -> None:
    """Down to stride 2 wherever the crops begin, further down where they begin in the corner."""
    in_corner, (count, _, height, width) = in_corner or stride > 2, batch.tensors.shape
    pixels = torch.zeros(count, 1, height + -height % stride, width + -width % stride)
    starts = torch.zeros_like(batch.starts) if in_corner else batch.starts
    for own, (h, w), (y, x) in zip(pixels, batch.sizes.tolist(), starts.tolist(), strict=True):
        own[0, y : y + h, x : x + w] = 1
    assert torch.equal(batch.valid(stride, in_corner), functional.max_pool2d(pixels, stride) > 0)


@settings(deadline=None)
@given(batch=batches())
def test_each_crop_is_mirrored_where_it_lies(batch: PaddedBatch) -> None:
    """Beyond the crops' borders, where nothing counts, the canvas may have other values."""
    mirrored = batch.mirrored()
    pairs = zip(batch.tensors, mirrored.tensors, batch.sizes.tolist(), batch.starts.tolist(), strict=True)
    for before, after, (height, width), (y, x) in pairs:
        region = (..., slice(y, y + height), slice(x, x + width))
        assert torch.equal(after[region], before[region].flip(-1))
    assert mirrored.sizes is batch.sizes
    assert mirrored.starts is batch.starts


@pytest.mark.parametrize("count", [0, 1, 3])
def test_whole(count: int) -> None:
    batch = PaddedBatch.whole(torch.rand(count, 2, 5, 7))
    assert not batch.is_padded
    assert batch.sizes.tolist() == [[5, 7]] * count
    assert batch.starts.tolist() == [[0, 0]] * count
    assert batch.valid(2).shape == (count, 1, 3, 4)
    assert batch.valid(2).all()
    assert torch.equal(batch.mirrored().tensors, batch.tensors.flip(-1))


@pytest.mark.parametrize("counts", [(0, 0), (0, 2), (2, 0), (1, 2)], ids=str)
def test_followed_by(counts: tuple[int, int]) -> None:
    whole = PaddedBatch.whole(torch.rand(counts[0], 2, 5, 7))
    some = padded(5, 7, *[(2, 3, 0, 2)] * counts[1])
    both = whole.followed_by(some)
    assert torch.equal(both.tensors, torch.cat([whole.tensors, some.tensors]))
    assert torch.equal(both.valid(), torch.cat([whole.valid(), some.valid()]))
    assert both.is_padded
    assert some.followed_by(whole).is_padded
    assert not whole.followed_by(whole).is_padded

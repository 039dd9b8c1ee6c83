"""Colours of batches: what changes, by how much, and where."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from dots import only
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from hpr.training.colours import UNCHANGED, adjust_colours

SIZE, START = torch.tensor([[20, 16]]), torch.tensor([[2, 4]])


def pixels() -> Tensor:
    """One crop of 20 × 16 on a canvas of 32 × 24, of muted colours, so that none is cut off."""
    canvas = torch.zeros(1, 32, 24, 3, dtype=torch.uint8)
    random = np.random.default_rng(0)
    canvas[:, 2:22, 4:20] = torch.from_numpy(random.integers(90, 150, (20, 16, 3), np.uint8))
    return canvas


def changed(*colours: float) -> Tensor:
    return adjust_colours(pixels(), torch.tensor([colours], dtype=torch.float64), SIZE, START, is_padded=True)


def inside(canvas: Tensor) -> Tensor:
    """(3, 20, 16) of the crop."""
    return canvas[0, 2:22, 4:20].permute(2, 0, 1)


def test_unchanged() -> None:
    assert torch.equal(changed(*UNCHANGED), pixels())


@pytest.mark.parametrize("factors", [(1, 1, 1), (1.3, 1, 1), (1, 0.6, 1), (1, 1, 1.4), (1.2, 0.8, 0.5)])
def test_as_torchvision_within_the_crop(factors: Sequence[float]) -> None:
    """It cuts fractions off after each change, which is a level each."""
    expected = transforms.adjust_brightness(inside(pixels()), factors[0])
    expected = transforms.adjust_saturation(transforms.adjust_contrast(expected, factors[1]), factors[2])
    assert (inside(changed(*factors, 0)).int() - expected.int()).abs().max() <= 3


@pytest.mark.parametrize(("hue", "brighter", "darker"), [(0.05, 1, 2), (-0.05, 2, 1)])
def test_hue_goes_the_way_of_hsv(hue: float, brighter: int, darker: int) -> None:
    """From red towards yellow, or towards purple; the luma stays."""
    red = torch.tensor([[[[150, 90, 90]]]], dtype=torch.uint8)
    colours = torch.tensor([[1.0, 1.0, 1.0, hue]], dtype=torch.float64)
    found = adjust_colours(red, colours, torch.tensor([[1, 1]]), torch.tensor([[0, 0]]), is_padded=False)[0, 0, 0]
    in_hsv = transforms.adjust_hue(red[0].permute(2, 0, 1), hue).flatten()
    assert found[brighter] > 90 > found[darker]
    assert in_hsv[brighter] > in_hsv[darker]
    luma = torch.tensor([0.299, 0.587, 0.114])
    assert float(found.float() @ luma) == pytest.approx(float(red.flatten().float() @ luma), abs=1.5)


def test_padding_stays_empty() -> None:
    # A lower contrast lifts black within the crop.
    found = changed(1.0, 0.2, 1.0, 0.0)
    assert (inside(found) > 0).all()
    outside = found.clone()
    outside[:, 2:22, 4:20] = 0
    assert not outside.any()


def test_each_crop_by_its_own() -> None:
    """As if it were alone, and by its own pixels rather than the canvas's."""
    colours = torch.tensor([[1.2, 0.5, 1.3, 0.02], [0.9, 1.4, 0.8, 0.0]], dtype=torch.float64)
    both = adjust_colours(pixels().repeat(2, 1, 1, 1), colours, SIZE.repeat(2, 1), START.repeat(2, 1), is_padded=True)
    for number in range(2):
        assert torch.equal(both[number], changed(*colours[number].tolist())[0])
    alone = inside(pixels()).permute(1, 2, 0)[None].contiguous()
    alone = adjust_colours(alone, colours[:1], SIZE, START * 0, is_padded=False)
    assert (inside(both[:1]).int() - alone[0].permute(2, 0, 1).int()).abs().max() <= 1


def test_spread_of_drawn_colours() -> None:
    random, augmentation = np.random.default_rng(0), only(colour=0.2)
    drawn = torch.from_numpy(np.array([augmentation.draw_colours(random) for _ in range(400)]))
    torch.testing.assert_close(drawn[:, :3].log().std(dim=0), torch.full((3,), 0.2).double(), atol=0.03, rtol=0)
    turned = drawn[:, 3] != 0
    assert 0.2 < turned.double().mean() < 0.4
    assert float(drawn[turned, 3].std()) == pytest.approx(0.02, abs=0.005)

"""Convolutions with what follows them in one pass: the same numbers as one after another."""

import copy
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hpr.models import fused
from hpr.models.fused import Activation, convolve

ACTIVATIONS = {"none": lambda x: x, "relu": F.relu, "relu6": F.relu6}

CONVOLUTIONS = [
    nn.Conv2d(8, 8, 1),
    nn.Conv2d(8, 8, 3, padding=1, groups=8),
    nn.Conv2d(8, 8, 3, padding=2, dilation=2, bias=False),
    nn.Conv2d(8, 8, 7, stride=2, padding=3),
]


def crops(*shape: int) -> Tensor:
    return 10 * torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("has_shortcut", [False, True])
@pytest.mark.parametrize("activation", get_args(Activation))
@pytest.mark.parametrize("conv", CONVOLUTIONS, ids=str)
def test_one_pass(
    conv: nn.Conv2d, activation: Activation, has_shortcut: bool, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    x = crops(2, 8, 13, 10).to(dtype)
    conv = copy.deepcopy(conv).to(dtype).to(memory_format=layout)
    with torch.inference_mode():
        plain = conv(x)
        # Every second cell of a larger map, as the shortcut of a unit with a stride.
        shortcut = crops(2, 8, *(2 * side for side in plain.shape[2:])).to(dtype)[:, :, ::2, ::2]
        expected = ACTIVATIONS[activation](plain + shortcut if has_shortcut else plain)
        found = convolve(conv, x, activation, shortcut if has_shortcut else None)
    assert found.dtype == dtype
    # In bf16, what is added up one after another is rounded between: to 1/8 for values up to 32.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 if dtype == torch.float32 else 0.25)


def test_where_it_is_computed_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, x = nn.Conv2d(8, 8, 1), crops(1, 8, 4, 4)
    with torch.inference_mode():
        one_pass = convolve(conv, x, "relu")
        with torch.profiler.profile() as profile:
            convolve(conv, x, "relu")
    names = [event.key for event in profile.key_averages()]
    assert "mkldnn::_convolution_pointwise" in names
    assert "aten::relu_" not in names

    trained = convolve(conv, x, "relu")
    assert trained.requires_grad
    torch.testing.assert_close(trained.detach(), one_pass)

    monkeypatch.setattr(fused, "_IS_AVAILABLE", False)
    with torch.inference_mode():
        torch.testing.assert_close(convolve(conv, x, "relu"), one_pass)

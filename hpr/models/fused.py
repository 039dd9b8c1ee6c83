"""Convolutions that are computed together with what follows them, for inference on a CPU."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["none", "relu", "relu6"]

_POST_OPS: dict[Activation, tuple[str, list[float]]] = {
    "none": ("none", []),
    "relu": ("relu", []),
    "relu6": ("hardtanh", [0.0, 6.0]),
}
"""oneDNN's names of the activations, and their numbers."""

_IS_AVAILABLE = hasattr(torch.ops.mkldnn, "_convolution_pointwise")


def convolve(
    conv: nn.Module,
    x: Tensor,
    activation: Activation = "none",
    shortcut: Tensor | None = None,
    norm: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Returns activation(norm(conv(x)) + shortcut), (B, out, H', W').

    In inference mode on a CPU, oneDNN computes all of it while the convolution's result is in the processor's cache:
    the activations alone would take a fifth of the time. `torch.compile` uses the same operator.

    Args:
        conv: A convolution from `in` to `out` channels.
        x: (B, in, H, W).
        activation: What is applied last.
        shortcut: (B, out, H', W'), or None for 0.
        norm: Maps (B, out, H', W') to the same shape; None for a convolution that a batch norm was folded into.
    """
    if norm is None and isinstance(conv, nn.Conv2d) and _is_fusible(conv, x, activation, shortcut is not None):
        arguments = (conv.weight, conv.bias, conv.padding, conv.stride, conv.dilation, conv.groups)
        name, numbers = _POST_OPS[activation]
        fused = torch.ops.mkldnn._convolution_pointwise
        if shortcut is None:
            result: Tensor = fused(x, *arguments, name, numbers, "")
        else:
            unary = None if activation == "none" else name
            result = fused.binary(x, shortcut, *arguments, "add", 1.0, unary, numbers, "")
        return result

    y: Tensor = conv(x) if norm is None else norm(conv(x))
    if shortcut is not None:
        y = y + shortcut
    if activation == "none":
        return y
    return F.relu_(y) if activation == "relu" else F.relu6(y)


def _is_fusible(conv: nn.Conv2d, x: Tensor, activation: Activation, has_shortcut: bool) -> bool:
    """Returns whether oneDNN has all of it in one operator."""
    if torch.compiler.is_compiling() or not (_IS_AVAILABLE and x.is_cpu and torch.is_inference_mode_enabled()):
        return False
    if has_shortcut:  # it ignores relu6's limits, and lacks bf16 for other memory formats and for groups
        is_channels_last = conv.weight.stride(3) == conv.weight.shape[1]
        if activation == "relu6" or conv.groups > 1 or not is_channels_last:
            return False
    if x.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return x.dtype == torch.float32

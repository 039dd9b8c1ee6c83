"""Batch norm whose statistics are those of the crops in a padded batch, over all processes of a training.

`ConvNorm` is a convolution with such a batch norm, which can be folded into it.
"""

from functools import partial
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from hpr.models.fused import Activation, convolve


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that leaves padding out of its statistics in training.

    Attributes:
        is_synchronized: Whether the statistics are over all processes; each sees a few examples of a step.
    """

    is_synchronized = False

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Maps (B, C, H, W) to the same shape; `valid` (B, 1, H, W) is 1 on each crop's own cells, else 0."""
        if not self.training or (valid is None and not self.is_synchronized):
            return super().forward(x)

        valid = x.new_ones(len(x), 1, *x.shape[2:]) if valid is None else valid.to(x.dtype)
        y: Tensor
        y, mean, variance, count = _MaskedNorm.apply(x, valid, self.weight, self.bias, self.eps, self.is_synchronized)

        assert self.momentum is not None
        with torch.no_grad():
            self.get_buffer("running_mean").lerp_(mean, self.momentum)
            self.get_buffer("running_var").lerp_(variance * count / (count - 1).clamp(min=1), self.momentum)
            self.get_buffer("num_batches_tracked").add_(1)
        return y


class ConvNorm(nn.Module):
    """A convolution without bias, padded by half its kernel on all sides, and batch norm.

    `valid` (B, 1, H', W') is 1 on each crop's own cells of the result; None for crops that fill their canvas.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        padding = dilation * (kernel // 2)
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, bias=False)
        self.norm: BatchNorm | None = BatchNorm(out_channels)

    def forward(
        self, x: Tensor, valid: Tensor | None = None, activation: Activation = "none", shortcut: Tensor | None = None
    ) -> Tensor:
        """Maps (B, in, H, W) to (B, out, H', W'), adds a shortcut and applies an activation."""
        norm = None if self.norm is None else partial(self.norm, valid=valid)
        return convolve(self.conv, x, activation, shortcut, norm)

    def fold(self) -> None:
        """Puts the batch norm into the convolution, which then has a bias."""
        assert self.norm is not None
        self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), None


class _MaskedNorm(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, with mean and variance of the valid cells.

    Written out, since the gradients that autograd would compose take about twice the time and memory.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, valid: Tensor, weight: Tensor, bias: Tensor, eps: float, is_synchronized: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns the result (B, C, H, W), and mean (C,), variance (C,) and number (1,) of the valid cells."""
        wide = torch.promote_types(x.dtype, torch.float32)
        own = (x * valid).to(wide)
        # Sums can be added up over processes; `torch.var_mean` takes forty times as long on a CPU.
        first, second = own.sum(dim=(0, 2, 3)), own.square().sum(dim=(0, 2, 3))  # (C,)
        sums = torch.cat([first, second, valid.sum(dtype=wide).view(1)])
        if is_synchronized:
            dist.all_reduce(sums)

        channels = len(first)
        first, second, count = sums[:channels], sums[channels:-1], sums[-1:]
        mean = first / count
        variance = (second / count - mean.square()).clamp(min=0)

        y = F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)
        ctx.save_for_backward(x, valid, weight, mean, torch.rsqrt(variance + eps), count)
        ctx.is_synchronized = is_synchronized
        ctx.mark_non_differentiable(mean, variance, count)
        return y, mean, variance, count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the gradients of x, weight and bias.

        With the gradient g of the result and n valid cells, the gradient of x is
        weight * inverse * (g - valid * (sum(g) + normalised * sum(g * normalised)) / n).
        """
        x, valid, weight, mean, inverse, count = ctx.saved_tensors
        gradient = gradients[0]
        bias_gradient = gradient.sum(dim=(0, 2, 3), dtype=mean.dtype)  # (C,)
        weight_gradient = inverse * ((gradient * x).sum(dim=(0, 2, 3), dtype=mean.dtype) - mean * bias_gradient)

        sums = torch.cat([bias_gradient, weight_gradient])
        if ctx.is_synchronized:
            dist.all_reduce(sums)
        all_bias, all_weight = sums[: len(mean)], sums[len(mean) :]

        # The correction is one factor of x and one constant for each channel.
        slope = weight * inverse.square() * all_weight / count
        constant = weight * inverse * all_bias / count - slope * mean
        per_channel = [values.to(x.dtype)[:, None, None] for values in (constant, slope, weight * inverse)]
        correction = torch.addcmul(per_channel[0], x, per_channel[1]).mul_(valid)
        return gradient * per_channel[2] - correction, None, weight_gradient, bias_gradient, None, None


def synchronize_batch_norms(network: nn.Module) -> None:
    """Makes the batch norms of a network take their statistics over all processes."""
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.is_synchronized = True

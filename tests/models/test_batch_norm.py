"""Batch norm of padded crops: statistics and gradients are those of the crops alone."""

import pytest
import torch
from torch import Tensor, nn

from hpr.models.batch_norm import BatchNorm, synchronize_batch_norms
from hpr.models.registry import build_network
from hpr.skeleton import POSETRACK15


def both() -> tuple[BatchNorm, nn.BatchNorm2d]:
    """Our batch norm and PyTorch's, with the same weights."""
    torch.manual_seed(0)
    ours, theirs = BatchNorm(4), nn.BatchNorm2d(4)
    nn.init.normal_(ours.weight)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def padded() -> tuple[Tensor, Tensor]:
    """Features (2, 4, 6, 7) of crops of 6 × 5 and 3 × 7 cells, with noise beyond them, and their valid mask."""
    torch.manual_seed(1)
    valid = torch.ones(2, 1, 6, 7)
    valid[0, :, :, 5:] = valid[1, :, 3:] = 0
    return 3 * torch.randn(2, 4, 6, 7) + 1, valid


def test_without_padding_and_in_evaluation_it_is_pytorchs() -> None:
    ours, theirs = both()
    x, valid = padded()
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.running_var, theirs.running_var)  # type: ignore[arg-type]
    assert torch.equal(ours.eval()(x, valid), theirs.eval()(x))


def test_statistics_are_those_of_the_crops_own_cells() -> None:
    ours, theirs = both()
    x, valid = padded()
    own = x.permute(0, 2, 3, 1)[valid[:, 0] > 0]  # (n, 4)
    expected = theirs(own[:, :, None, None])[:, :, 0, 0]
    torch.testing.assert_close(ours(x, valid).permute(0, 2, 3, 1)[valid[:, 0] > 0], expected)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    assert ours.num_batches_tracked == 1

    # Values beyond the border change nothing.
    other = torch.where(valid > 0, x, 1000.0)
    torch.testing.assert_close(ours(other, valid) * valid, ours(x, valid) * valid)


def test_gradients() -> None:
    ours = both()[0].double()
    x, valid = (part.double() for part in padded())

    def result(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        y: Tensor = torch.func.functional_call(ours, {"weight": weight, "bias": bias}, (x, valid))
        return y

    parameters = [p.detach().requires_grad_() for p in (ours.weight, ours.bias)]
    assert torch.autograd.gradcheck(result, (x.requires_grad_(), *parameters))


@pytest.mark.parametrize("name", ["demo", "photo"])
def test_all_batch_norms_of_a_network_are_synchronized(name: str) -> None:
    network = build_network(name, POSETRACK15)
    synchronize_batch_norms(network)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(isinstance(norm, BatchNorm) and norm.is_synchronized for norm in norms)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    ours, exact = both()[0], both()[0]
    x, valid = padded()
    y = ours(x.to(dtype), valid)
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), exact(x.to(dtype).float(), valid), rtol=0.02, atol=0.05)

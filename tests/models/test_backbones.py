"""Backbones: what each has to keep to, so that batching and heatmaps need not know which one it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import lively, small_network
from hypothesis import given, settings
from hypothesis import strategies as st
from padded_crops import assert_same_as_alone, on_canvas
from torch import Tensor, nn
from torch.nn import functional

from hpr.errors import UserError
from hpr.models.backbones.resnet import max_pool_same
from hpr.models.network import Backbone
from hpr.models.padding import PaddedBatch
from hpr.models.registry import ARCHITECTURES, Architecture, build_network
from hpr.refine.engine import PoseRefiner
from hpr.skeleton import COCO17, POSETRACK15


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    torch.manual_seed(0)
    return lively(build_network("demo", COCO17)).backbone


def test_architectures() -> None:
    mean_heads = {name: architecture.mean_head for name, architecture in ARCHITECTURES.items()}
    assert mean_heads == {"resnet50": 101.4252, "resnet101": 101.4252, "resnet152": 101.4252, "demo": 55.0}
    with pytest.raises(UserError, match=r"unknown architecture 'resnet18': expected one of resnet50, .*, timm/NAME"):
        build_network("resnet18", POSETRACK15)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (16, 33), (47, 30)])
def test_declared_stride_and_channels(name: str, height: int, width: int) -> None:
    with torch.device("meta"):
        backbone = build_network(name, COCO17).backbone
        features = backbone(PaddedBatch.whole(torch.rand(2, 20, height, width)))
    assert features.shape == (2, backbone.out_channels, -(-height // 16), -(-width // 16))
    assert all(backbone.get_parameter(kernel).shape[1] == 20 for kernel in backbone.input_kernels)


def test_placement(backbone: Backbone) -> None:
    """Batching leaves room for it."""
    sizes = np.arange(1, 81).reshape(40, 2)
    starts = backbone.placement(sizes)
    assert starts.shape == sizes.shape
    assert starts.dtype == sizes.dtype
    assert starts.max() == backbone.placement_room == 2
    assert backbone.placement(sizes[:0]).shape == (0, 2)


@settings(deadline=None, max_examples=15)
@given(sizes=st.lists(st.tuples(st.integers(1, 70), st.integers(1, 70)), min_size=1, max_size=3))
def test_padded_crops_have_the_features_that_they_have_alone(sizes: list[tuple[int, int]], backbone: Backbone) -> None:
    assert_same_as_alone(backbone, [torch.randn(20, *size) for size in sizes], 1e-3)


def test_masks_are_needed(backbone: Backbone) -> None:
    """Zeros on the canvas are not enough; crops that fill their canvases need no mask."""
    batch = on_canvas([torch.randn(20, 40, 50)], backbone, 128, 128)
    with torch.inference_mode():
        unmasked = backbone(PaddedBatch.whole(batch.tensors))
        assert torch.equal(backbone(replace(batch, is_padded=False)), unmasked)
        assert not torch.equal(backbone(batch), unmasked)


@pytest.mark.parametrize("is_padded", [False, True])
def test_folded_batch_norms_compute_the_same(is_padded: bool) -> None:
    network = small_network(COCO17)
    backbone, crop = network.backbone, torch.randn(20, 70, 41)
    batch = on_canvas([crop], backbone, 128, 128) if is_padded else PaddedBatch.whole(crop[None])
    with torch.inference_mode():
        before = backbone(batch)
        network.fold_batch_norms()
        after = backbone(batch)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4 * before.abs().max().item())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())


@pytest.mark.parametrize("size", range(1, 12))
def test_max_pool_pads_as_tensorflow_does(size: int) -> None:
    x = torch.rand(1, 2, size, 7)
    total = max((-(-size // 2) - 1) * 2 + 3 - size, 0)
    padded = functional.pad(x, (1, 1, total // 2, total - total // 2), value=-torch.inf)
    assert torch.equal(max_pool_same(x), functional.max_pool2d(padded, 3, 2))


class Squares(Backbone):
    """A minimal backbone: looks at squares of 16 pixels, each on its own."""

    out_channels = 4

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(in_channels, self.out_channels, 16, stride=16)

    def forward(self, batch: PaddedBatch) -> Tensor:
        height, width = batch.tensors.shape[2:]
        features: Tensor = self.layer(functional.pad(batch.tensors, (0, -width % 16, 0, -height % 16)))
        return features * batch.valid(16) if batch.is_padded else features


def test_another_backbone_is_one_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """It refines, one person at a time and many, and learns."""
    monkeypatch.setitem(ARCHITECTURES, "squares", Architecture(Squares, mean_head=80.0))
    network = build_network("squares", COCO17).eval()
    assert network.mean_head == 80.0
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    keypoints = np.random.default_rng(1).uniform(0, 1, (4, 17, 2)) * [160, 120]
    alone, together = (PoseRefiner(network, "cpu", batch_pixels=pixels)(image, keypoints) for pixels in (0, 10**9))
    assert np.isfinite(alone.keypoints).all()
    np.testing.assert_allclose(together.keypoints, alone.keypoints, rtol=0, atol=0.005)

    logits, offsets = network(PaddedBatch.whole(torch.rand(1, 20, 33, 50)))
    (logits.square().sum() + offsets.square().sum()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())

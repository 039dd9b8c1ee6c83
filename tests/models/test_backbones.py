"""Backbones: what each has to keep to, so that batching and heatmaps need not know which one it is."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import lively, small_network
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from hpr.errors import UserError
from hpr.refine.engine import Outcome, PoseRefiner
from hpr.models import registry
from hpr.models.backbones.resnet import fold_batch_norms, max_pool_same
from hpr.models.network import Backbone, Refiner
from hpr.models.padding import PaddedBatch
from hpr.models.registry import Architecture, architectures, build_network, register
from hpr.skeleton import COCO17, POSETRACK15

CHEAP_PARAMETERS = 5_000_000
"""A network of more is built and run without numbers only."""


def without_numbers(name: str) -> Refiner:
    with torch.device("meta"):
        return build_network(name, COCO17)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


NAMES = list(architectures())
CHEAP = [name for name in NAMES if parameters(without_numbers(name)) < CHEAP_PARAMETERS]


def on_canvas(crops: list[Tensor], backbone: Backbone, height: int, width: int) -> PaddedBatch:
    """Puts crops (C, h, w) where the backbone wants them on canvases of zeros."""
    sizes = np.array([crop.shape[1:] for crop in crops])
    starts = backbone.placement(sizes)
    canvases = torch.zeros(len(crops), len(crops[0]), height, width)
    for canvas, crop, (y, x) in zip(canvases, crops, starts.tolist(), strict=True):
        canvas[:, y : y + crop.shape[1], x : x + crop.shape[2]] = crop
    return PaddedBatch(canvases, torch.from_numpy(sizes), torch.from_numpy(starts))


@pytest.fixture(scope="module")
def backbones() -> Callable[[str], Backbone]:
    """Builds each cheap backbone once."""
    built: dict[str, Backbone] = {}

    def backbone(name: str) -> Backbone:
        if name not in built:
            torch.manual_seed(0)
            built[name] = lively(build_network(name, COCO17)).backbone
        return built[name]

    return backbone


def test_there_are_cheap_ones() -> None:
    assert "demo" in CHEAP
    assert {"resnet50", "resnet101", "resnet152"} <= set(NAMES) - set(CHEAP)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (16, 33), (47, 30)])
def test_declared_stride_and_channels(name: str, height: int, width: int) -> None:
    network = without_numbers(name)
    with torch.device("meta"):
        features = network.backbone(PaddedBatch.whole(torch.rand(2, 20, height, width)))
        logits, offsets = network(PaddedBatch.whole(torch.rand(2, 20, height, width)))
    backbone = network.backbone
    cells = (-(-height // backbone.stride), -(-width // backbone.stride))
    assert features.shape == (2, backbone.out_channels, *cells)
    assert logits.shape == (2, 17, network.heatmap_size(height), network.heatmap_size(width))
    assert offsets.shape == (2, 34, *logits.shape[2:])


@pytest.mark.parametrize("name", NAMES)
def test_placement(name: str) -> None:
    """Batching leaves two pixels of room for it."""
    backbone = without_numbers(name).backbone
    sizes = np.arange(1, 81).reshape(40, 2)
    starts = backbone.placement(sizes)
    assert starts.shape == sizes.shape
    assert starts.dtype == sizes.dtype
    assert set(np.unique(starts)) <= {0, 2}
    assert backbone.placement(sizes[:0]).shape == (0, 2)


@pytest.mark.parametrize("name", CHEAP)
@settings(deadline=None, max_examples=15)
@given(sizes=st.lists(st.tuples(st.integers(1, 70), st.integers(1, 70)), min_size=1, max_size=3))
def test_features_of_padded_crops_are_those_of_each_alone(
    name: str, sizes: list[tuple[int, int]], backbones: Callable[[str], Backbone]
) -> None:
    backbone = backbones(name)
    crops = [torch.randn(20, *size) for size in sizes]
    with torch.inference_mode():
        together = backbone(on_canvas(crops, backbone, 80, 96))
        for features, crop in zip(together, crops, strict=True):
            alone = backbone(PaddedBatch.whole(crop[None]))[0]
            _, height, width = alone.shape
            rounding = 1e-3 * alone.abs().max().item()
            torch.testing.assert_close(features[:, :height, :width], alone, rtol=0, atol=rounding)
            assert not features[:, height:].any()
            assert not features[:, :, width:].any()


@pytest.mark.parametrize("name", CHEAP)
def test_it_is_the_masks_that_do_it(name: str, backbones: Callable[[str], Backbone]) -> None:
    """Zeros on the canvas alone are not enough, and crops that fill their canvases need no mask."""
    backbone = backbones(name)
    batch = on_canvas([torch.randn(20, 40, 50)], backbone, 128, 128)
    with torch.inference_mode():
        unmasked = backbone(PaddedBatch.whole(batch.tensors))
        assert torch.equal(backbone(replace(batch, is_padded=False)), unmasked)
        assert not torch.equal(backbone(batch), unmasked)


@pytest.mark.parametrize("name", CHEAP)
@pytest.mark.parametrize("is_padded", [False, True])
def test_folded_batch_norms_compute_the_same(name: str, is_padded: bool) -> None:
    backbone = lively(build_network(name, COCO17)).backbone
    crop = torch.randn(20, 70, 41)
    batch = on_canvas([crop], backbone, 128, 128) if is_padded else PaddedBatch.whole(crop[None])
    with torch.inference_mode():
        before = backbone(batch)
        backbone.fold_batch_norms()
        after = backbone(batch)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4 * before.abs().max().item())


def test_folded_network_has_no_batch_norms() -> None:
    network = small_network()
    inputs = PaddedBatch.whole(torch.rand(1, 18, 70, 41) * 255)
    before = network(inputs)
    fold_batch_norms(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    for folded, plain in zip(network(inputs), before, strict=True):
        torch.testing.assert_close(folded, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CHEAP)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    network = lively(build_network(name, COCO17))
    logits, offsets = network(PaddedBatch.whole(torch.rand(1, 20, 64, 64) * 255))
    (logits.square().sum() + offsets.square().sum()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("size", range(1, 12))
def test_max_pool_pads_as_tensorflow_does(size: int) -> None:
    x = torch.rand(1, 2, size, 7)
    total = max((-(-size // 2) - 1) * 2 + 3 - size, 0)
    padded = functional.pad(x, (1, 1, total // 2, total - total // 2), value=-torch.inf)
    assert torch.equal(max_pool_same(x), functional.max_pool2d(padded, 3, 2))


def test_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"unknown architecture 'resnet18'.*resnet50, resnet101"):
        build_network("resnet18", POSETRACK15)


@pytest.mark.parametrize(("name", "mean_head"), [("demo", 55.0), ("resnet101", 101.4252)])
def test_the_mean_head_belongs_to_the_architecture(name: str, mean_head: float) -> None:
    assert without_numbers(name).mean_head == mean_head


class Squares(Backbone):
    """The least that a backbone can be: looks at squares of 16 pixels, each on its own."""

    out_channels = 4

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(in_channels, self.out_channels, 16, stride=16)

    def forward(self, batch: PaddedBatch) -> Tensor:
        height, width = batch.tensors.shape[2:]
        features: Tensor = self.layer(functional.pad(batch.tensors, (0, -width % 16, 0, -height % 16)))
        return features * batch.valid(16) if batch.is_padded else features


@pytest.fixture
def squares(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(registry, "_ARCHITECTURES", dict(architectures()))
    register("squares", Architecture(Squares, mean_head=80.0))
    return "squares"


def test_another_backbone_is_one_class(squares: str) -> None:
    """Which refines, alone and with others, and learns."""
    network = build_network(squares, COCO17).eval()
    assert network.mean_head == 80.0
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    keypoints = np.random.default_rng(1).uniform(0, 1, (4, 17, 2)) * [160, 120]
    alone, together = (PoseRefiner(network, "cpu", batch_pixels=pixels)(image, keypoints) for pixels in (0, 10**9))
    assert alone.outcomes == [Outcome.REFINED] * 4
    np.testing.assert_allclose(together.keypoints, alone.keypoints, rtol=0, atol=0.005)

    logits, offsets = network(PaddedBatch.whole(torch.rand(1, 20, 33, 50)))
    (logits.square().sum() + offsets.square().sum()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())

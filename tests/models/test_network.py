"""The network: its parts and its output, alone and against the golden data."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CASES, GOLDEN, discs_of, small_network
from torch import Tensor

from hpr.codec import draw_discs, rectangles
from hpr.models.checkpoints import load_network
from hpr.models.network import Backbone, Refiner, input_means
from hpr.models.padding import PaddedBatch
from hpr.models.registry import build_network
from hpr.skeleton import COCO17, MPII16, POSETRACK15, POSETRACK18, SKELETONS, Skeleton


def inputs(count: int, skeleton: Skeleton, height: int, width: int) -> PaddedBatch:
    return PaddedBatch.whole(torch.rand(count, 3 + len(skeleton), height, width) * 255)


@pytest.mark.parametrize("height", [1, 2, 3, 8, 15, 16, 17, 33, 34, 35])
@pytest.mark.parametrize("count", [0, 2])
def test_output_has_two_cells_per_sixteen_pixels(count: int, height: int) -> None:
    width, network = 50 - height, small_network()
    logits, offsets = network(inputs(count, POSETRACK15, height, width))
    assert logits.shape == (count, 15, 2 * -(-height // 16), 2 * -(-width // 16))
    assert offsets.shape == (count, 30, *logits.shape[2:])
    assert (network.heatmap_size(height), network.heatmap_size(width)) == logits.shape[2:]
    assert network.heatmap_size(torch.tensor([height, width])).tolist() == list(logits.shape[2:])


@pytest.fixture(scope="module")
def published(weights: Path) -> Refiner:
    """The published network with the stand-in weights, as trained (batch norms not folded)."""
    return load_network(weights).eval()


@pytest.mark.parametrize("name", ["plain", "odd_size", "tiny_image"])
def test_golden_output(name: str, published: Refiner) -> None:
    case = next(case for case in CASES if case["name"] == name)
    golden = np.load(GOLDEN / f"{name}.npz")
    pixels = torch.from_numpy(golden["rgb"]).permute(2, 0, 1)[None].float()
    batch = PaddedBatch.whole(torch.cat([pixels, discs_of(case)], dim=1))

    with torch.inference_mode():
        logits, offsets = published(batch)
        mirrored, _ = published(published.mirror_inputs(batch))
    mean = (logits.sigmoid() + published.mirror_heatmaps(mirrored.sigmoid(), batch)) / 2
    np.testing.assert_allclose(mean[0].permute(1, 2, 0), golden["part_prob_flip_mean"], atol=1e-4)
    np.testing.assert_allclose(offsets[0].permute(1, 2, 0), golden["locref"], atol=5e-4)


class TestMirror:
    @pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=list(SKELETONS))
    def test_inputs(self, skeleton: Skeleton) -> None:
        """Pixels are mirrored; discs are those of the mirrored pose."""
        keypoints = torch.rand(1, len(skeleton), 2, dtype=torch.float64) * torch.tensor([30, 20])
        mirrored = keypoints[:, list(skeleton.mirror)] * torch.tensor([-1, 1]) + torch.tensor([29, 0])
        pixels = torch.randint(0, 256, (1, 3, 20, 30), dtype=torch.uint8)
        batch = PaddedBatch.whole(torch.cat([pixels, draw_discs(keypoints, 20, 30)], dim=1))
        found = small_network(skeleton).mirror_inputs(batch).tensors
        assert torch.equal(found[:, :3], pixels.flip(-1))
        assert torch.equal(found[:, 3:], draw_discs(mirrored, 20, 30))

    def test_padded_crops_are_mirrored_within_their_own_cells(self) -> None:
        network = small_network()
        sizes = torch.tensor([[20, 30], [40, 17]])
        batch = PaddedBatch(torch.rand(2, 18, 64, 64), sizes, torch.tensor([[2, 0], [0, 2]]))
        maps = torch.rand(2, 15, 8, 8)
        found = network.mirror_heatmaps(maps, batch)
        for own, before, width in zip(found, maps, (4, 4), strict=True):  # cells of 30 and of 17 pixels
            assert torch.equal(own[..., :width], before[list(POSETRACK15.mirror), :, :width].flip(-1))


def test_pixels_beyond_a_crops_border_change_nothing() -> None:
    network = small_network()
    sizes = torch.tensor([[20, 30], [40, 17]])
    batch = PaddedBatch(torch.rand(2, 18, 64, 64) * 255, sizes, torch.tensor(network.backbone.placement(sizes.numpy())))
    noise = torch.where(batch.valid(), batch.tensors, torch.rand(2, 18, 64, 64) * 255)
    with torch.inference_mode():
        found = network(batch.with_tensors(noise))
        expected = network(batch)
    cells = rectangles(network.heatmap_size(sizes), 8, 8)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one * cells, other * cells)


@pytest.mark.parametrize("skeleton", [Skeleton((), (), ()), POSETRACK15, POSETRACK18, COCO17, MPII16], ids=len)
def test_input_means_go_by_name(skeleton: Skeleton) -> None:
    means = input_means(skeleton)
    published = input_means(POSETRACK15)
    assert len(means) == 3 + len(skeleton)
    assert means[:3] == published[:3]
    average = float(np.mean(published[3:]))
    for name, mean in zip(skeleton.names, means[3:], strict=True):
        assert mean == pytest.approx(published[3 + POSETRACK15.index(name)] if name in POSETRACK15 else average)


def test_training_starts_from_the_prior() -> None:
    network = build_network("demo", COCO17)
    torch.testing.assert_close(network.part_head.get_parameter("bias").sigmoid(), torch.full((17,), 0.005))


def test_lower_precision_keeps_the_means() -> None:
    network = small_network()
    before = network.input_mean.clone()
    network.compute_in(torch.bfloat16)
    assert torch.equal(network.input_mean, before)
    assert {p.dtype for p in network.parameters()} == {torch.bfloat16}
    logits, offsets = network(inputs(1, POSETRACK15, 32, 32))
    assert logits.dtype == offsets.dtype == torch.bfloat16


def test_backbone_of_another_stride_is_refused() -> None:
    class Coarse(Backbone):
        stride, out_channels = 32, 8

        def forward(self, batch: PaddedBatch) -> Tensor:
            raise NotImplementedError

    with pytest.raises(ValueError, match="backbone: expected a stride of 16, found 32"):
        Refiner(lambda channels: Coarse(), POSETRACK15)

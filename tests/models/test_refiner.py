from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import CASES, GOLDEN, joints_of, small_network
from torch import nn

from hpr import maps
from hpr.crops import Crop
from hpr.errors import UserError
from hpr.inference import fold_batch_norms
from hpr.models.loading import load_network
from hpr.models.refiner import Refiner, build
from hpr.models.resnet import max_pool_same


@pytest.mark.parametrize("height", [1, 2, 3, 8, 15, 16, 17, 33, 34, 35])
def test_output_has_two_cells_per_sixteen_pixels(height: int) -> None:
    width = 50 - height
    logits, offsets = small_network()(torch.rand(2, 18, height, width) * 255)
    assert logits.shape == (2, 15, 2 * -(-height // 16), 2 * -(-width // 16))
    assert offsets.shape == (2, 30, *logits.shape[2:])


@pytest.mark.parametrize("size", range(1, 12))
def test_max_pool_pads_as_tensorflow_does(size: int) -> None:
    x = torch.rand(1, 2, size, 7)
    total = max((-(-size // 2) - 1) * 2 + 3 - size, 0)
    padded = F.pad(x, (1, 1, total // 2, total - total // 2), value=-torch.inf)
    assert torch.equal(max_pool_same(x), F.max_pool2d(padded, 3, 2))


@pytest.mark.parametrize("name", ["plain", "odd_size", "tiny_image"])
def test_golden_output(name: str, weights_network: Refiner) -> None:
    case = next(case for case in CASES if case["name"] == name)
    golden = np.load(GOLDEN / f"{name}.npz")
    height, width = case["crop_hw"]
    crop = Crop(case["scale"], (0, 0), (*case["crop_xy"], case["crop_xy"][0] + width, case["crop_xy"][1] + height))
    discs = maps.draw(torch.from_numpy(crop.to_crop(joints_of(case)))[None], height, width)
    pixels = torch.from_numpy(golden["rgb"]).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        logits, offsets = weights_network(torch.cat([pixels, discs], dim=1))
        mirrored, _ = weights_network(torch.cat([pixels.flip(-1), maps.mirror(discs)], dim=1))
    mean = (logits.sigmoid() + maps.mirror(mirrored.sigmoid())) / 2
    np.testing.assert_allclose(mean[0].permute(1, 2, 0), golden["part_prob_flip_mean"], atol=1e-4)
    np.testing.assert_allclose(offsets[0].permute(1, 2, 0), golden["locref"], atol=5e-4)


@pytest.fixture(scope="module")
def weights_network(weights: Path) -> Refiner:
    """The published network with the stand-in weights, as trained (batch norms not folded)."""
    return load_network(weights).eval()


def test_folded_batch_norms_compute_the_same() -> None:
    network = small_network()
    inputs = torch.rand(1, 18, 70, 41) * 255
    before = network(inputs)
    fold_batch_norms(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    for folded, plain in zip(network(inputs), before, strict=True):
        torch.testing.assert_close(folded, plain, rtol=1e-4, atol=1e-4)


def test_every_parameter_gets_a_gradient() -> None:
    network = small_network()
    logits, offsets = network(torch.rand(1, 18, 64, 64) * 255)
    (logits.square().sum() + offsets.square().sum()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"resnet18.*resnet50, resnet101"):
        build("resnet18")

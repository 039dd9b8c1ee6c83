"""slim's ImageNet backbone as the start of a refiner."""

from pathlib import Path

import pytest
import torch
from torch import nn

from hpr.models import weights
from hpr.models.checkpoints import start_network
from hpr.skeleton import COCO17, POSETRACK15, Skeleton


@pytest.mark.parametrize("skeleton", [POSETRACK15, COCO17])
def test_an_imagenet_backbone_sees_what_it_saw(skeleton: Skeleton, tmp_path: Path) -> None:
    """On a plain picture the stem returns what slim's would for the picture minus ImageNet's mean."""
    source = start_network("demo", skeleton, None).eval()
    tensors = {n: t.numpy() for n, t in source.state_dict().items() if n.startswith("backbone") and "batches" not in n}
    kernel = tensors["backbone.stem.conv.weight"][:, :3].copy()
    tensors["backbone.stem.conv.weight"] = kernel
    path = tmp_path / "imagenet.safetensors"
    weights.save(path, tensors, weights.Provenance("resnet_v1_50.ckpt", "unknown", "demo", "backbone"))

    network = start_network("demo", skeleton, path).eval()
    picture = torch.rand(1, 3, 32, 32) * 255
    mean = torch.tensor([123.68, 116.779, 103.939]).view(1, 3, 1, 1)
    norm = source.get_submodule("backbone.stem.norm")
    expected = norm(nn.functional.conv2d(picture - mean, torch.from_numpy(kernel), stride=2, padding=3))
    inputs = torch.cat([picture, torch.zeros(1, len(skeleton), 32, 32)], dim=1)
    found = network.get_submodule("backbone.stem")(inputs - network.input_mean)
    torch.testing.assert_close(found[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], rtol=1e-3, atol=1e-3)

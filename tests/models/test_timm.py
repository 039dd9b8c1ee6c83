"""timm's feature extractors as backbones: padded crops, ImageNet weights as a start, and what is refused."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from conftest import lively
from padded_crops import assert_same_as_alone, on_canvas
from safetensors.torch import save_file
from torch import nn

from hpr.errors import UserError
from hpr.models import weights
from hpr.models.batch_norm import BatchNorm
from hpr.models.checkpoints import load_network, network_tensors, start_network
from hpr.models.padding import PaddedBatch
from hpr.models.registry import build_network
from hpr.skeleton import COCO17, MPII16, POSETRACK15

timm = pytest.importorskip("timm")

MASKABLE = ("resnet18.a1_in1k", "test_resnet", "test_convnext", "tf_efficientnet_lite0", "repvgg_a0")
GLOBAL = ("seresnet18", "test_efficientnet", "test_nfnet", "test_vit")
SIZES = [(40, 33), (64, 50), (1, 16)]


@pytest.mark.parametrize("name", [*MASKABLE, *GLOBAL])
def test_padded_crops_have_the_features_that_they_have_alone(name: str) -> None:
    backbone = lively(build_network(f"timm/{name}", COCO17)).backbone
    assert backbone.is_maskable == (name in MASKABLE)
    crops = [torch.randn(20, *size) for size in SIZES]
    assert_same_as_alone(backbone, crops, 1e-4)
    batch = on_canvas(crops, backbone)
    with torch.inference_mode():  # without masks, the canvas changes the features
        assert not torch.equal(backbone(replace(batch, is_padded=False)), backbone(batch))


@pytest.mark.parametrize("name", ["test_resnet", "repvgg_a0"])
def test_live_batch_norms_see_the_crops_only(name: str) -> None:
    """Whether canvases are larger or not; also where timm's norms have an activation."""
    network = build_network(f"timm/{name}", POSETRACK15)
    crops = [torch.randn(18, *size) for size in SIZES]
    found = [network.backbone(on_canvas(crops, network.backbone, 64, width))[..., :4] for width in (64, 128)]
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-4 * found[0].abs().max().item())
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(isinstance(norm, BatchNorm) and norm.num_batches_tracked == 2 for norm in norms)


def test_live_batch_norms_need_more_than_one_crop_at_a_time() -> None:
    """Of networks that cannot be masked."""
    network = build_network("timm/seresnet18", POSETRACK15)
    batch = on_canvas([torch.randn(18, 40, 33)] * 2, network.backbone)
    with pytest.raises(UserError, match=r"timm/seresnet18: .* set training.batch_norm=frozen or use another"):
        network(batch)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    logits, offsets = network(batch)
    (logits.square().sum() + offsets.square().sum()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("name", [name for name in MASKABLE if name != "test_resnet"])
def test_started_from_imagenet_it_sees_what_timms_network_sees(name: str, ending: str, tmp_path: Path) -> None:
    """The same features at first, from RGB in 0..255, and nothing of the keypoints' maps."""
    own = lively(timm.create_model(name))
    path = tmp_path / f"a.{ending}"
    (torch.save if ending == "pth" else save_file)(own.state_dict(), path)
    network = start_network(f"timm/{name}", COCO17, path).eval()

    rgb = torch.randint(0, 256, (1, 3, 64, 96)).float()
    config = own.default_cfg
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        pyramid = own.forward_intermediates((rgb / 255 - mean) / std, intermediates_only=True)
        expected = next(features for features in pyramid if features.shape[2] == 4)
        noise = [torch.randint(0, 256, (1, 17, 64, 96)).float() for _ in range(2)]
        batches = [PaddedBatch.whole(torch.cat([rgb, maps], dim=1)) for maps in noise]
        found = network.backbone(batches[0].with_tensors(batches[0].tensors - network.input_mean))
        outputs = [network(batch) for batch in batches]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3 * expected.abs().max().item())
    assert all(torch.equal(one, other) for one, other in zip(*outputs, strict=True))


def test_the_mean_is_kept_in_weight_files(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "a.pth")
    network = start_network("timm/test_resnet", POSETRACK15, tmp_path / "a.pth")
    path = tmp_path / "a.safetensors"
    provenance = weights.Provenance.of_refiner("test", "1", "timm/test_resnet", POSETRACK15)
    weights.save(path, network_tensors(network), provenance)

    loaded = load_network(path)
    assert loaded.input_mean.flatten()[:3].tolist() == [127.5] * 3  # as its default_cfg says
    assert torch.equal(loaded.input_mean, network.input_mean)
    with pytest.raises(UserError, match=r"use model=timm model\.architecture=timm/test_resnet"):
        load_network(path, "demo")

    # Training can also start from a timm refiner for other keypoints.
    other = start_network("timm/test_resnet", MPII16, path)
    kernel = other.get_parameter(f"backbone.{other.backbone.input_kernels[0]}")
    assert torch.equal(kernel[:, :3], network.get_parameter("backbone.network.conv1.0.weight")[:, :3])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "expected a feature extractor of timm with features at stride 16"),
        ("nothing", r"Unknown model \(nothing\)"),
        ("resnet18.nothing", "Invalid pretrained tag"),
        ("swin_tiny_patch4_window7_224", "does not take crops of any size"),
        ("hrnet_w18_small", "does not take crops of any size"),
    ],
)
def test_refused_networks(name: str, message: str) -> None:
    with pytest.raises(UserError, match=f"timm/{name}: .*{message}") as error:
        build_network(f"timm/{name}", POSETRACK15)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [None, b"", b"hello", b"\x80\x02cos\nsystem\n.", {"step": 3}, {"conv1.0.weight": torch.ones(3)}],
    ids=["absent", "empty", "text", "code", "no tensors", "another network's"],
)
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_refused_files(content: object, ending: str, tmp_path: Path) -> None:
    message = "no such weights" if content is None else "no weights of timm's test_resnet"
    path = tmp_path / f"a.{ending}"
    if isinstance(content, dict):
        torch.save(content, path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"a.{ending}: {message}") as error:
        start_network("timm/test_resnet", POSETRACK15, path)
    assert "\n" not in str(error.value)


def test_pretrained_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm loads them; where it cannot, that is one line."""
    own, create = timm.create_model("test_resnet"), timm.create_model
    download = Mock(side_effect=[OSError("no\nconnection"), own])

    def create_or_download(name: str, pretrained: bool = False, **settings: object) -> Any:
        return download() if pretrained else create(name, **settings)

    monkeypatch.setattr(timm, "create_model", create_or_download)
    with pytest.raises(UserError) as error:
        start_network("timm/test_resnet", POSETRACK15, "pretrained")
    expected = "model.weights=pretrained: no weights of timm's test_resnet (OSError: no connection); use others"
    assert str(error.value) == expected

    network = start_network("timm/test_resnet", POSETRACK15, "pretrained")
    found = network.get_parameter("backbone.network.layer1.0.conv1.weight")
    assert torch.equal(found, own.get_parameter("layer1.0.conv1.weight"))


@pytest.mark.parametrize("path", ["pretrained", "a.pth"])
def test_only_timms_networks_start_from_such_weights(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.pth").touch()
    with pytest.raises(UserError, match=f"model.weights={path}: only timm's networks start from such weights"):
        start_network("resnet50", POSETRACK15, path)
    with pytest.raises(UserError, match=f"{path}: expected a refiner's weights, found a backbone's, which only"):
        load_network(Path(path))


def test_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"timm/resnet18 needs timm, which is missing: pip install timm"):
        build_network("timm/resnet18", POSETRACK15)

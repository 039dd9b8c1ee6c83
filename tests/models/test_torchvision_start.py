"""torchvision's ImageNet weights as a start: what agrees with torchvision's own networks, and where what differs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from hpr.models import weight_files as weights
from hpr.errors import UserError
from hpr.images import read_image
from hpr.models.loading import load_network, start_network, weights_of
from hpr.models.network import Refiner
from hpr.models.padding import PaddedBatch
from hpr.skeleton import COCO17, POSETRACK15

REAL = Path("/work/shared/real/coco/000000000785.jpg")
MEAN, DEVIATION = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
MODELS = {
    "resnet50": "resnet50",
    "torchvision_resnet18": "resnet18",
    "torchvision_resnet50": "resnet50",
    "convnext_tiny": "convnext_tiny",
}
needs_real_files = pytest.mark.skipif(not REAL.is_file(), reason="needs the real files")
LAYERS = (
    (["layers.3", "layers.4", "layers.5"], ["layer1", "layer2", "layer3"]),
    (["layers.1", "layers.3", "layers.5"], ["features.1", "features.3", "features.5"]),
)
PICTURES = [pytest.param("noise", id="noise"), pytest.param("real", marks=needs_real_files, id="real pixels")]


def picture(kind: str, height: int = 97, width: int = 81) -> Tensor:
    """Returns (1, 3, height, width) RGB in 0..255."""
    if kind == "noise":
        return torch.randint(0, 256, (1, 3, height, width)).float()
    image = torch.from_numpy(read_image(REAL)).permute(2, 0, 1)[None].float()
    return image[:, :, 60 : 60 + height, 180 : 180 + width]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[nn.Module, Path]]:
    """Makes one of torchvision's models, as if trained, and the file of its weights; each once."""
    folder, made = tmp_path_factory.mktemp("torchvision"), {}

    def model(name: str) -> tuple[nn.Module, Path]:
        if name not in made:
            torch.manual_seed(0)
            own = torchvision.models.get_model(name, weights=None).eval()
            for module in own.modules():
                if isinstance(module, nn.BatchNorm2d):
                    assert module.running_mean is not None
                    assert module.running_var is not None
                    nn.init.normal_(module.running_mean, std=0.1)
                    nn.init.uniform_(module.running_var, 0.8, 1.2)
                    nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.save(own.state_dict(), folder / f"{name}.pth")
            made[name] = own, folder / f"{name}.pth"
        return made[name]

    return model


@pytest.fixture(scope="module")
def started(trained: Callable[..., Any]) -> Callable[[str], Refiner]:
    """Starts a network from the weights of one of torchvision's models, each once."""
    made: dict[str, Refiner] = {}

    def network(name: str) -> Refiner:
        if name not in made:
            made[name] = start_network(name, COCO17, trained(MODELS[name])[1]).eval()
        return made[name]

    return network


def inputs(rgb: Tensor, network: Refiner) -> PaddedBatch:
    """Returns a network's input, with noise for the keypoints' maps."""
    maps = torch.randint(0, 256, (1, len(network.skeleton), *rgb.shape[2:])).float()
    return PaddedBatch.whole(torch.cat([rgb, maps], dim=1))


def outputs(network: nn.Module, names: list[str], run: Callable[[], Any]) -> list[Tensor]:
    """Returns what some parts of a network return in a run."""
    found: dict[str, Tensor] = {}
    hooks = [
        network.get_submodule(name).register_forward_hook(lambda _, __, output, name=name: found.update({name: output}))
        for name in names
    ]
    with torch.inference_mode():
        run()
    for hook in hooks:
        hook.remove()
    return [found[name] for name in names]


def assert_agree(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("name", ["torchvision_resnet18", "torchvision_resnet50", "convnext_tiny"])
def test_torchvisions_own_networks_agree_to_the_last_layer(
    name: str, kind: str, trained: Callable[..., Any], started: Callable[[str], Refiner]
) -> None:
    own, network = trained(MODELS[name])[0], started(name)
    rgb = picture(kind, 96, 64)
    parts, theirs = LAYERS[name == "convnext_tiny"]
    found = outputs(network.backbone, parts, lambda: network(inputs(rgb, network)))
    expected = outputs(own, theirs, lambda: own((rgb / 255 - MEAN) / DEVIATION))
    for one, other in zip(found, expected, strict=True):
        assert_agree(one, other)


@pytest.mark.parametrize("kind", PICTURES)
def test_the_dilated_last_layer_agrees(
    kind: str, trained: Callable[..., Any], started: Callable[[str], Refiner]
) -> None:
    """With torchvision's own way to have dilation in place of the last stride."""
    own, _ = trained("resnet50")
    dilated = torchvision.models.resnet50(weights=None, replace_stride_with_dilation=[False, False, True]).eval()
    dilated.load_state_dict(own.state_dict())
    network, rgb = started("torchvision_resnet50"), picture(kind, 96, 80)
    (found,) = outputs(network.backbone, ["layers.6"], lambda: network(inputs(rgb, network)))
    (expected,) = outputs(dilated, ["layer4"], lambda: dilated((rgb / 255 - MEAN) / DEVIATION))
    assert_agree(found, expected)


@pytest.mark.parametrize("kind", PICTURES)
def test_the_published_network_agrees_until_the_strides_differ(
    kind: str, trained: Callable[..., Any], started: Callable[[str], Refiner]
) -> None:
    """Which its blocks have in their last units, where torchvision's next layers have them in their first."""
    own, network, rgb = trained("resnet50")[0], started("resnet50"), picture(kind)
    parts = ["blocks.0.0", "blocks.0.1", "blocks.0.2", "blocks.1.0.conv1", "blocks.1.0.shortcut", "blocks.1.0"]
    found = outputs(network.backbone, parts, lambda: network(inputs(rgb, network)))
    names = ["layer1.0", "layer1.1", "layer1.2", "layer2.0.bn1", "layer2.0.downsample", "layer2.0"]
    expected = outputs(own, names, lambda: own((rgb / 255 - MEAN) / DEVIATION))

    assert_agree(found[0], expected[0])
    assert_agree(found[1], expected[1])
    # The last unit's stride takes every other cell of what torchvision's has.
    assert_agree(found[2], expected[2][:, :, ::2, ::2])
    # torchvision's batch norm is followed by a ReLU in place.
    assert_agree(found[3].relu(), expected[3][:, :, ::2, ::2])
    assert_agree(found[4], expected[4])
    # The 3×3 of torchvision's next unit looks at cells half as far apart.
    assert (found[5] - expected[5]).abs().max() > 0.01 * expected[5].abs().max()


def test_max_pools_of_an_even_side_begin_elsewhere(
    trained: Callable[..., Any], started: Callable[[str], Refiner]
) -> None:
    """TensorFlow pads an even side at its end only: windows lie one cell of the stem further on."""
    own, network, rgb = trained("resnet50")[0], started("resnet50"), picture("noise", 96, 64)
    (stem, first) = outputs(network.backbone, ["stem", "blocks.0.0"], lambda: network(inputs(rgb, network)))
    (stems, firsts) = outputs(own, ["bn1", "layer1.0"], lambda: own((rgb / 255 - MEAN) / DEVIATION))
    assert_agree(stem.relu(), stems.relu())
    assert (first - firsts).abs().max() > 0.01 * firsts.abs().max()


@pytest.mark.parametrize("name", MODELS)
def test_at_first_the_network_is_its_image_part(name: str, started: Callable[[str], Refiner]) -> None:
    network = started(name)
    rgb = picture("noise", 64, 48)
    with torch.inference_mode():
        one, other = (network(inputs(rgb, network)) for _ in range(2))
        changed = network(inputs(255 - rgb, network))
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])
    assert not torch.equal(one[0], changed[0])
    first = network.get_parameter(f"backbone.{network.backbone.first_kernel}")
    assert not first[:, 3:].any()
    assert first[:, :3].abs().sum() > 0


def test_what_the_file_says_is_kept(trained: Callable[..., Any], tmp_path: Path) -> None:
    """The network subtracts torchvision's mean from then on."""
    network = start_network("torchvision_resnet18", POSETRACK15, trained("resnet18")[1])
    path = tmp_path / "a.safetensors"
    provenance = weights.Provenance.of_refiner("test", "1", "torchvision_resnet18", POSETRACK15)
    weights.save(path, weights_of(network), provenance)
    loaded = load_network(path)
    torch.testing.assert_close(loaded.input_mean.flatten()[:3], 255 * MEAN.flatten())
    assert torch.equal(loaded.input_mean, network.input_mean)
    assert loaded.unmeasured == []


class TestCache:
    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        folder = tmp_path / "hub" / "checkpoints"
        folder.mkdir(parents=True)
        return folder

    def test_empty(self, folder: Path) -> None:
        with pytest.raises(UserError) as refused:
            start_network("resnet50", POSETRACK15, "torchvision")
        expected = f"expected resnet50-11ad3fa6.pth or resnet50-0676ba61.pth in {folder}, found none; put https://"
        assert expected in str(refused.value)

    @pytest.mark.parametrize("name", ["resnet18-f37072fd.pth"])
    def test_what_torchvision_has_put_there(self, name: str, folder: Path, trained: Callable[..., Any]) -> None:
        own, path = trained("resnet18")
        (folder / name).write_bytes(path.read_bytes())
        network = start_network("torchvision_resnet18", POSETRACK15, "torchvision")
        expected = own.get_parameter("layer1.0.conv1.weight")
        assert torch.equal(network.get_parameter("backbone.layers.3.0.conv1.weight"), expected)


def refused(path: Path | str, architecture: str = "torchvision_resnet18") -> str:
    with pytest.raises(UserError) as found:
        start_network(architecture, POSETRACK15, path)
    assert "\n" not in str(found.value)
    return str(found.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"PK\x03\x04 and no more", b"\x80\x02cos\nsystem\n."],
    ids=["empty", "text", "zip", "code"],
)
def test_files_that_are_no_weights(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    assert refused(tmp_path / "a.pth").startswith(f"{tmp_path / 'a.pth'}: not a complete file of torchvision's weights")


def test_an_absent_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "a.pth") == f"{tmp_path / 'a.pth'}: no such weights; set model.weights"


@pytest.mark.parametrize("content", [3, [torch.zeros(1)], {"step": 3}, {"model": {"a": torch.zeros(1)}}], ids=str)
def test_other_content(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pth")
    assert "expected torchvision's weights, tensors by name; found something else" in refused(tmp_path / "a.pth")


def test_a_half_file(trained: Callable[..., Any], tmp_path: Path) -> None:
    content = trained("resnet18")[1].read_bytes()
    (tmp_path / "a.pth").write_bytes(content[: len(content) // 2])
    assert "not a complete file" in refused(tmp_path / "a.pth")


def test_another_models_weights(trained: Callable[..., Any]) -> None:
    """Also those of a deeper network, which has all of the tensors."""
    message = refused(trained("resnet50")[1], "torchvision_resnet101")
    assert "expected torchvision's resnet101, found " in message
    message = refused(trained("resnet18")[1], "resnet50")
    assert "expected torchvision's resnet50, found " in message


def test_a_network_that_torchvision_does_not_have(trained: Callable[..., Any]) -> None:
    assert "torchvision has no weights for demo; use another model" in refused(trained("resnet18")[1], "demo")


def test_they_are_no_refiners(trained: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match="a refiner's weights, found torchvision's, which only training can use"):
        load_network(trained("resnet18")[1])


@pytest.mark.parametrize("name", ["torchvision_resnet50", "convnext_tiny"])
def test_padded_crops_come_out_as_alone(name: str, started: Callable[[str], Refiner]) -> None:
    """As in test_backbones.py, for a network that is too large to be tried there."""
    network = started(name)
    sizes = torch.tensor([[40, 33], [64, 50]])
    canvas = torch.zeros(2, 20, 64, 64)
    crops = [torch.randn(1, 20, *size) * 50 for size in sizes.tolist()]
    for own, crop in zip(canvas, crops, strict=True):
        own[:, : crop.shape[2], : crop.shape[3]] = crop[0]
    with torch.inference_mode():
        together = network.backbone(PaddedBatch(canvas, sizes, torch.zeros_like(sizes)))
        for features, crop in zip(together, crops, strict=True):
            alone = network.backbone(PaddedBatch.whole(crop))[0]
            assert_agree(features[:, : alone.shape[1], : alone.shape[2]], alone)

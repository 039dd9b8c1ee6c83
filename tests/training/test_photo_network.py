"""The photograph refiner's network: MoveNet's features, their port, and a training that starts from them."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import lively, pose_errors
from dots import DotPeople, batch, only, state, trainer
from torch import Tensor

from hpr.codec import network_input
from hpr.errors import UserError
from hpr.models.backbones.movenet import InvertedResidual, MoveNet, ScaledConv2d, SeparableConv, fold_scales
from hpr.models.checkpoints import start_network
from hpr.models.padding import PaddedBatch
from hpr.models.photo import PhotoRefiner
from hpr.models.registry import build_network
from hpr.skeleton import PHOTO19
from hpr.training.examples import Examples
from tools import port_movenet_weights

MODEL = "StatefulPartitionedCall/center_net_mobile_net_v2fpn_feature_extractor/model_1/"


@pytest.fixture(scope="module")
def movenet() -> MoveNet:
    """Random kernels of fp16 numbers, whose scales differ by as much as a folded batch norm's."""
    torch.manual_seed(0)
    network = MoveNet()
    for conv in network.modules():
        if isinstance(conv, ScaledConv2d):
            kernel = conv.weight * torch.empty(len(conv.weight), 1, 1, 1).uniform_(0.5, 2)
            bias = None if conv is network.smooth.get_submodule("0.depthwise") else torch.randn(len(kernel)) / 10
            conv.set_kernel(kernel.half().float(), bias if bias is None else bias.half().float())
    for block in network.smooth:
        assert isinstance(block, SeparableConv)
        block.depthwise.bias.data.zero_()  # which have none in the file
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize("size", [(256, 256), (288, 224)])
def test_folding_keeps_the_function(size: tuple[int, int], movenet: MoveNet) -> None:
    height, width = size
    images = torch.rand(1, 3, height, width) * 2 - 1
    folded = copy.deepcopy(movenet)
    fold_scales(folded)
    assert not any(isinstance(module, ScaledConv2d) for module in folded.modules())
    shapes = [(24, 4), (24, 8), (56, 8), (64, 16), (168, 16)]
    for (channels, stride), own, other in zip(shapes, movenet(images), folded(images), strict=True):
        assert own.shape == (1, channels, height // stride, width // stride)
        assert own.std() > 0.01
        torch.testing.assert_close(other, own, rtol=1e-3, atol=1e-3 * float(own.std()))

    network = lively(PhotoRefiner(PHOTO19))
    network.backbone.load_state_dict(movenet.state_dict())
    folded_network = copy.deepcopy(network)
    folded_network.fold_batch_norms()
    pixels = torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8)
    inputs = PaddedBatch.whole(network_input(pixels, torch.rand(2, 19, 2).double() * 200, "gaussians"))
    with torch.no_grad():
        for own, other, count in zip(network(inputs), folded_network(inputs), (19, 38), strict=True):
            assert own.shape == (2, count, height // 4, width // 4)
            torch.testing.assert_close(other, own, rtol=1e-3, atol=1e-3 * float(own.std()))


def test_strides_pad_as_tensorflow_does() -> None:
    """An even side is padded at its end only: a kernel's first weight sees the first pixel."""
    conv = ScaledConv2d(1, 1, 3, stride=2)
    for row, column in ((0, 0), (1, 2)):
        kernel = torch.zeros(1, 1, 3, 3)
        kernel[0, 0, row, column] = 5.0
        conv.set_kernel(kernel, None)
        image = torch.rand(1, 1, 6, 8)
        padded = torch.nn.functional.pad(image, (0, 2, 0, 2))
        torch.testing.assert_close(conv(image), 5 * padded[..., row : row + 6 : 2, column : column + 8 : 2])


def kernel_of(conv: ScaledConv2d) -> np.ndarray[Any, Any]:
    """Returns a kernel as TensorFlow has it: (k, k, in, out), or (k, k, channels, 1) where it is depth-wise."""
    kernel: Tensor = conv.weight * conv.scale[:, None, None, None]
    is_depthwise = kernel.shape[1] == 1
    return kernel.permute((2, 3, 0, 1) if is_depthwise else (2, 3, 1, 0)).half().numpy()


def arrays_of(network: MoveNet) -> dict[str, np.ndarray[Any, Any]]:
    """Returns the arrays of MoveNet's file for a network, and some that have nothing to do with it."""
    convs = [("model/Conv1", "Conv2D", network.stem), ("model/Conv_1", "Conv2D", network.top)]
    blocks = [block for stage in network.stages.children() for block in stage.children()]
    for index, block in enumerate(blocks):
        assert isinstance(block, InvertedResidual)
        name = f"model/block_{index}" if index else "model/expanded_conv"
        if isinstance(block.expand, ScaledConv2d):
            convs.append((f"{name}_expand", "Conv2D", block.expand))
        convs += [(f"{name}_depthwise", "depthwise", block.depthwise), (f"{name}_project", "Conv2D", block.project)]
    found: dict[str, np.ndarray[Any, Any]] = {}
    for name, kind, conv in convs:
        found |= {f"{name}/{kind}_weights": kernel_of(conv), f"{name}/{kind}_bn_offset": conv.bias.numpy()}
    for name, lateral in zip(("conv2d_3", "conv2d_2", "conv2d_1", "conv2d"), network.laterals, strict=True):
        assert isinstance(lateral, ScaledConv2d)
        found[f"{name}/Conv2D/ReadVariableOp"] = kernel_of(lateral)
        found[f"{name}/BiasAdd/ReadVariableOp"] = lateral.bias.numpy()
    for number, block in zip(("", "_1", "_2"), network.smooth, strict=True):
        assert isinstance(block, SeparableConv)
        name = f"separable_conv2d{number}/separable_conv2d"
        found[f"{name}/ReadVariableOp"] = kernel_of(block.depthwise)
        found |= {f"{name}_weights": kernel_of(block.pointwise), f"{name}_bn_offset": block.pointwise.bias.numpy()}
    found["up_sampling2d/mul"] = np.ones(2)
    return {f"{MODEL}{name}": array for name, array in found.items()} | {"center/bias": np.ones(1)}


def write(arrays: dict[str, np.ndarray[Any, Any]], path: Path) -> Path:
    """Writes a TensorFlow.js model of fp16 numbers in two parts, which end anywhere."""
    content = b"".join(array.astype(np.float16).tobytes() for array in arrays.values())
    for number, part in enumerate((content[:1001], content[1001:])):
        path.with_name(f"{number}.bin").write_bytes(part)
    quantization = {"dtype": "float16", "original_dtype": "float32"}
    entries = [
        {"name": name, "shape": list(array.shape), "dtype": "float32", "quantization": quantization}
        for name, array in arrays.items()
    ]
    path.write_text(json.dumps({"weightsManifest": [{"paths": ["0.bin", "1.bin"], "weights": entries}]}))
    return path


@pytest.fixture(scope="module")
def ported(movenet: MoveNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("movenet")
    source = write(arrays_of(movenet), folder / "movenet.json")
    port_movenet_weights.main(str(source), str(folder / "movenet.safetensors"))
    return folder / "movenet.safetensors"


def test_a_port_has_the_kernels_of_the_file(ported: Path, movenet: MoveNet) -> None:
    network = start_network("photo", PHOTO19, ported)
    assert isinstance(network.backbone, MoveNet)
    for own, other in zip(network.backbone.modules(), movenet.modules(), strict=True):
        if isinstance(own, ScaledConv2d) and isinstance(other, ScaledConv2d):
            np.testing.assert_array_equal(kernel_of(own.requires_grad_(False)), kernel_of(other))
            assert torch.equal(own.bias, other.bias)
            norms = own.weight.flatten(1).norm(dim=1)
            torch.testing.assert_close(norms, torch.ones_like(norms))


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (f"{MODEL}model/block_3_expand/Conv2D_weights", None, "block_3_expand/Conv2D_weights"),
        (f"{MODEL}model/block_99_expand/Conv2D_weights", np.ones(2), "not used: .*block_99_expand/Conv2D_weights"),
        (f"{MODEL}model/Conv1/Conv2D_weights", np.ones((3, 3, 4, 56)), r"Conv1/Conv2D_weights: expected shape \(56, 3"),
    ],
)
def test_arrays_that_do_not_fit(name: str, array: Any, message: str, movenet: MoveNet) -> None:
    arrays = {**arrays_of(movenet), name: array}
    if array is None:
        del arrays[name]
    with pytest.raises((ValueError, KeyError), match=message):
        port_movenet_weights.port(arrays, MoveNet())


@pytest.mark.parametrize("backbone_lr", [0.0, 0.2])
def test_a_step_from_ported_features(backbone_lr: float, ported: Path) -> None:
    """The heads are random; a frozen backbone stays as it is to the last bit, and so does its average."""
    model = trainer(network=lambda: start_network("photo", PHOTO19, ported), batch_size=2, backbone_lr=backbone_lr)
    network, before = model.network, state(model.network)
    people = Examples(DotPeople(), pose_errors(), only(mirror=0.5), (256, 256), network, "body", seed=0)
    model.step([batch(0, 2, people)])
    model.synchronize()

    for own in (network, model.averaged):
        moved = {name for name, tensor in own.state_dict().items() if not torch.equal(tensor, before[name])}
        assert {name for name in before if name.startswith("pose_head.") and name.endswith("conv.weight")} <= moved
        assert any(name.startswith("backbone.") for name in moved) == (backbone_lr > 0)
        assert not any(name.endswith(".scale") for name in moved)
    rates = {group["lr_factor"]: group["lr"] for group in model._optimizer.param_groups}
    assert rates == {1.0: model.lr, backbone_lr: model.lr * backbone_lr}


def test_the_canvas_is_the_networks() -> None:
    with pytest.raises(UserError, match=r"canvas=\[96, 80\]: expected \[256, 256\], as the network's crops are"):
        Examples(DotPeople(), pose_errors(), only(), (96, 80), build_network("photo", PHOTO19), "body", seed=0)

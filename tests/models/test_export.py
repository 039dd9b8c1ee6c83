"""Networks as ONNX files: ONNX Runtime computes what PyTorch does, for crops of all sizes."""

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import fail, small_network, succeed

from hpr.codec import decode
from hpr.errors import UserError
from hpr.models.checkpoints import load_network
from hpr.models.export import INPUT, OUTPUTS, export
from hpr.models.network import Refiner
from hpr.models.padding import PaddedBatch
from hpr.models.places import ASSETS
from hpr.models.registry import build_network
from hpr.skeleton import COCO17, MPII16, POSETRACK15

onnx: Any = pytest.importorskip("onnx")
onnxruntime: Any = pytest.importorskip("onnxruntime")

SIZES = [(8, 8), (9, 16), (16, 33), (47, 30), (35, 65), (66, 34)]
"""Odd and even at every stride of the network."""


def session(path: Path) -> Any:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def assert_same(network: Refiner, path: Path, sizes: list[tuple[int, int]]) -> None:
    """Compares a file with its network on noise."""
    runtime = session(path)
    for (height, width), batch in itertools.product(sizes, (1, 3)):
        crops = torch.randint(0, 256, (batch, 3 + len(network.skeleton), height, width), dtype=torch.uint8)
        with torch.inference_mode():
            logits, offsets = network(PaddedBatch.whole(crops))
        found = [torch.from_numpy(array) for array in runtime.run(OUTPUTS, {INPUT: crops.numpy()})]
        torch.testing.assert_close(found[0], logits.sigmoid(), rtol=0, atol=1e-4)
        torch.testing.assert_close(found[1], offsets, rtol=0, atol=1e-4 * max(1, offsets.abs().max().item()))
        keypoints, confidence = decode(found[0], found[1])
        torch.testing.assert_close(found[2], keypoints.float())
        assert torch.equal(found[3], confidence)


def axes(path: Path) -> list[tuple[str, str, list[object]]]:
    return [(value.name, value.type, value.shape) for value in session(path).get_inputs()]


def test_command_writes_a_file_for_crops_of_any_size(tmp_path: Path) -> None:
    path = tmp_path / "new" / "demo.onnx"
    printed = succeed("export", "model=demo", f"output={path}")
    assert f"wrote        {path} (" in printed
    assert "compared     ONNX Runtime with PyTorch, crops of 8×9, " in printed
    assert "of a probability" in printed
    assert list(path.parent.iterdir()) == [path]
    onnx.checker.check_model(str(path), full_check=True)

    assert_same(load_network(ASSETS / "demo.safetensors").eval(), path, SIZES)
    assert axes(path) == [(INPUT, "tensor(uint8)", ["batch", 18, "height", "width"])]
    assert session(path).get_modelmeta().custom_metadata_map == {
        "skeleton": "posetrack15",
        "keypoints": ",".join(POSETRACK15.names),
        "mirror": "5,4,3,2,1,0,11,10,9,8,7,6,12,13,14",
        "stride": "8",
        "offset_unit": "7.2801",
        "disc_radius": str(17 * 0.8452830189),
        "disc_value": "255",
        "mean_head": "55.0",
        "input_means": "subtracted in the graph",
    }


def test_network_that_needs_a_size(tmp_path: Path) -> None:
    network, path = build_network("timm/test_convnext", MPII16).eval(), tmp_path / "network.onnx"
    with pytest.raises(UserError, match=r"for crops of one size; set size=\[H,W\]"):
        export(network, path)
    assert not path.exists()
    export(network, path, (70, 41))
    assert_same(network, path, [(70, 41)])


def test_one_size_of_another_skeleton(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that does not compute the same is not written."""
    network, path = small_network(COCO17), tmp_path / "network.onnx"
    traced: list[Any] = []
    trace, run = torch.onnx.export, onnxruntime.InferenceSession.run

    def trace_once(*arguments: Any, **settings: Any) -> Any:
        traced[:] = traced or [trace(*arguments, **settings)]
        return traced[0]

    def run_wrongly(own: Any, *arguments: Any) -> Any:
        return [array + np.float32(2e-4) for array in run(own, *arguments)]

    monkeypatch.setattr(torch.onnx, "export", trace_once)
    with monkeypatch.context() as patch:
        patch.setattr(onnxruntime.InferenceSession, "run", run_wrongly)
        with pytest.raises(UserError, match=r"not written, .* PyTorch's by 0\.0002; expected 0\.0001 at most"):
            export(network, path, [33, 46])
    assert list(tmp_path.iterdir()) == []

    exported = export(network, path, [33, 46])
    assert exported.crops == [(33, 46)]
    assert exported.probability < 1e-4
    assert_same(network, path, [(33, 46)])
    assert axes(path) == [(INPUT, "tensor(uint8)", ["batch", 20, 33, 46])]
    shapes = {output.name: output.shape[1:] for output in session(path).get_outputs()}
    assert shapes == {"probabilities": [17, 6, 6], "offsets": [34, 6, 6], "keypoints": [17, 2], "confidence": [17]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["size=[15,64]"], "size.0=15: expected "),
        (["size=[8192,8000]"], "size=[8192,8000]: expected 3,000,000 pixels or fewer"),
        (["model.weights=null"], "model.weights=null: expected a file of weights to export"),
        (["model.weights=absent.safetensors"], "absent.safetensors: no such weights"),
    ],
)
def test_wrong_settings(settings: list[str], message: str) -> None:
    assert message in fail("export", "model=demo", *settings)


@pytest.mark.parametrize("name", ["onnx", "onnxruntime", "onnxscript"])
def test_without_the_libraries(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    line = fail("export", "model=demo", f"output={tmp_path / 'demo.onnx'}")
    assert f"exporting needs {name}, which is missing: pip install onnx onnxruntime onnxscript" in line
    assert list(tmp_path.iterdir()) == []

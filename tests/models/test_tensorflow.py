"""Porting TensorFlow checkpoints: every variable, and damaged files in one line."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import standin
from conftest import GOLDEN, ROOT, command, port
from safetensors import safe_open

from hpr.errors import UserError
from hpr.models import tensorflow
from hpr.models.resnet_shapes import RESNETS
from hpr.models.weights import load
from hpr.skeleton import POSETRACK15

UNIT = "resnet_v1_101/block2/unit_3/bottleneck_v1"


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Variables of a checkpoint at tmp_path/snapshot-7, which a test may change."""
    (tmp_path / "snapshot-7.index").touch()
    variables = {
        name: np.broadcast_to(np.float32(0), shape)
        for name, shape in json.loads((GOLDEN / "variables.json").read_text())
    }
    reader = Mock(get_tensor=variables.__getitem__)
    reader.get_variable_to_shape_map = lambda: {name: list(value.shape) for name, value in variables.items()}
    monkeypatch.setattr(tensorflow, "_open_checkpoint", lambda path: reader)
    return variables


def refused(tmp_path: Path) -> str:
    with pytest.raises(UserError) as error:
        tensorflow.port(tmp_path / "snapshot-7", tmp_path / "out.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["snapshot-7.index"]
    return str(error.value)


def test_name_table_is_the_published_one() -> None:
    table = tensorflow.variables("resnet_v1_101", RESNETS["resnet101"], refiner=True)
    expected = json.loads((GOLDEN / "variables.json").read_text())
    assert [[variable.name, list(variable.shape)] for variable in table] == expected
    assert len(table) == 525


def test_ported_snapshot(weights: Path) -> None:
    with safe_open(weights, "numpy") as file:
        metadata = file.metadata()
    assert metadata == {
        "format": "pt",
        "source": "snapshot-515000",
        "step": "515000",
        "architecture": "resnet101",
        "kind": "refiner",
        "skeleton": "posetrack15",
        "keypoints": ",".join(POSETRACK15.names),
    }
    tensors, _ = load(weights)
    assert sum(tensor.size for tensor in tensors.values()) == 43_482_029

    variables, scope = standin.refiner(), "resnet_v1_101"
    unit = f"{scope}/block3/unit_23/bottleneck_v1"
    stem = np.concatenate([variables[f"{scope}/conv1/weights"], variables[f"{scope}/conv1_extra/weights"]], axis=2)
    expected = {
        "backbone.stem.conv.weight": stem,
        "backbone.blocks.2.22.conv2.conv.weight": variables[f"{unit}/conv2/weights"],
        "backbone.blocks.2.22.conv3.norm.running_var": variables[f"{unit}/conv3/BatchNorm/moving_variance"],
        "offset_head.weight": variables["pose/locref_pred/block4/weights"],  # [height, width, out, in]
    }
    for name, value in expected.items():
        np.testing.assert_array_equal(tensors[name], value.transpose(3, 2, 0, 1) if value.ndim == 4 else value)


def test_command_says_what_it_did(snapshot: Path, tmp_path: Path) -> None:
    output = port(f"checkpoint={snapshot}.index", f"output={tmp_path / 'a' / 'b.safetensors'}")
    assert output.split("\n")[:3] == [
        "refiner      resnet101, step 515000",
        "ported       525 variables, 43,482,029 numbers",
        "left out     317 optimizer slots",
    ]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.safetensors"]


@pytest.mark.slow
def test_zip_as_downloaded(snapshot: Path, weights: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "snapshot-515000.zip", "w") as archive:
        for path in snapshot.parent.glob("snapshot-515000.*"):
            if path != weights:
                archive.write(path, f"snapshot-515000/{path.name}")
    port(f"checkpoint={tmp_path / 'snapshot-515000.zip'}")
    tensors, provenance = load(tmp_path / "snapshot-515000.safetensors")
    expected, _ = load(weights)
    assert provenance.step == "515000"
    assert tensors.keys() == expected.keys()
    assert all(np.array_equal(tensors[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_imagenet_backbone(tmp_path: Path) -> None:
    assert command("tests/standin.py", "imagenet", tmp_path / "resnet_v1_50.ckpt").returncode == 0
    output = port(f"checkpoint={tmp_path / 'resnet_v1_50.ckpt'}")
    assert "resnet_v1_50/logits/biases, resnet_v1_50/logits/weights" in output
    tensors, provenance = load(tmp_path / "resnet_v1_50.safetensors")
    assert (provenance.kind, provenance.architecture, provenance.step) == ("backbone", "resnet50", "unknown")
    kernel = standin.imagenet()["resnet_v1_50/conv1/weights"]
    np.testing.assert_array_equal(tensors["backbone.stem.conv.weight"], kernel.transpose(3, 2, 0, 1))


@pytest.mark.parametrize(
    ("removed", "added", "message"),
    [
        ("", {}, "expected variables of one resnet_v1_50, _101 or _152, found 0 other variables"),
        ("", {"vgg_16/conv1/weights": 1}, "resnet_v1_50, _101 or _152, found 1 other variables"),
        ("", {"resnet_v1_18/conv1/weights": 1}, "unknown architecture 'resnet18'"),
        (f"{UNIT}/conv2/weights", {}, f"no variable {UNIT}/conv2/weights among its 524"),
        ("resnet_v1_101/conv1_extra/weights", {}, "no variable resnet_v1_101/conv1_extra/weights among"),
        ("pose/part_pred/block4/biases", {"pose/part_pred/block4/biases": 14}, "has shape [14], expected [15]"),
    ],
)
def test_other_networks(
    removed: str, added: dict[str, int], message: str, checkpoint: dict[str, Any], tmp_path: Path
) -> None:
    for name in [name for name in checkpoint if removed in (name, "")]:
        del checkpoint[name]
    checkpoint.update({name: np.zeros(size, np.float32) for name, size in added.items()})
    assert message in refused(tmp_path)


def test_step_from_the_name(checkpoint: dict[str, Any], tmp_path: Path) -> None:
    checkpoint["something/else"] = np.zeros(3)
    checkpoint["something/else/Momentum"] = np.zeros(3)
    ported = tensorflow.port(tmp_path / "snapshot-7", tmp_path / "out.safetensors")
    assert ported.provenance.step == "7"
    assert (ported.used, ported.optimizer_slots, ported.unused) == (525, 1, ("something/else",))


@pytest.mark.slow
def test_truncated_checkpoint(snapshot: Path, tmp_path: Path) -> None:
    shutil.copy(f"{snapshot}.index", tmp_path)
    data = Path(f"{snapshot}.data-00000-of-00001").read_bytes()
    (tmp_path / "snapshot-515000.data-00000-of-00001").write_bytes(data[: len(data) // 2])
    message = port(f"checkpoint={tmp_path / 'snapshot-515000'}", status=1)
    assert "cannot be read" in message
    assert "download the checkpoint again" in message
    assert list(tmp_path.glob("*.safetensors")) == list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("snapshot-9", None, "snapshot-9: no such checkpoint", id="absent"),
        pytest.param("a.ckpt", b"hello", "not a complete TensorFlow checkpoint", id="text"),
        pytest.param("a.zip", b"PK\x03\x04 and no more", "cannot be unpacked", id="damaged zip"),
    ],
)
def test_unreadable_checkpoints(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert message in port(f"checkpoint={tmp_path / name}", status=1)
    assert [path.name for path in tmp_path.iterdir()] == [name] * (content is not None)


def test_without_tensorflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "snapshot-7.index").touch()
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert "pip install tensorflow-cpu" in refused(tmp_path)


def test_porting_needs_no_torch_and_nothing_else_needs_tensorflow() -> None:
    imports = "import sys; sys.modules['torch'] = None; import hpr.cli.port; assert 'tensorflow' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", imports], check=False, cwd=ROOT).returncode == 0
    for path in [*ROOT.glob("hpr/**/*.py"), *ROOT.glob("*.py"), *ROOT.glob("tools/*.py")]:
        assert ("  import tensorflow\n" in path.read_text()) == (path.name == "tensorflow.py"), path

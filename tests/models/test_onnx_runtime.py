"""The photograph refiner's network by ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpr.models import onnx_runtime
from hpr.models.checkpoints import load_network
from hpr.models.places import find_weights, weights_cache
from hpr.refine.engine import PoseRefiner

IMAGE = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
POSES = np.random.default_rng(1).uniform([20, 20], [180, 280], (9, 17, 2))


def refine(refiner: PoseRefiner) -> tuple[Any, Any]:
    found = refiner(IMAGE, POSES, scores=np.full((9, 17), 0.5), skeleton="coco17")
    return found.keypoints, found.confidence


@pytest.mark.parametrize("flip", [False, True])
def test_the_poses_are_pytorchs(flip: bool) -> None:
    """Nine people are a batch of eight and one of one."""
    loaded, plain = PoseRefiner.load("photo", "cpu", flip=flip), PoseRefiner(load_network("photo"), "cpu", flip=flip)
    assert (loaded.runtime, plain.runtime) == ("ONNX Runtime", "PyTorch")
    for found, expected, tolerance in zip(refine(loaded), refine(plain), (1e-2, 1e-5), strict=True):
        np.testing.assert_allclose(found, expected, atol=tolerance)


def test_the_graph_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    PoseRefiner.load("photo", "cpu")
    assert list(weights_cache().glob("photo-*.onnx"))
    monkeypatch.setattr(onnx_runtime, "onnx_model", None)
    assert PoseRefiner.load("photo", "cpu").runtime == "ONNX Runtime"


def test_where_it_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert PoseRefiner.load("demo", "cpu").runtime == "PyTorch"  # crops of any size
    assert PoseRefiner.load("photo", "cpu", "bf16").runtime == "PyTorch"

    (tmp_path / "hpr").touch()  # no folder can be made there
    with monkeypatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert PoseRefiner.load("photo", "cpu").runtime == "PyTorch"
    network = load_network("photo")
    monkeypatch.setattr(onnx_runtime, "find_spec", lambda name: None)
    assert onnx_runtime.onnx_forward(network, find_weights("photo")) is None

"""From a weight file to a network: what fits is loaded whole, everything else is refused in one line."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpr.models import weights
from hpr.errors import UserError
from hpr.models.checkpoints import load_network, start_network
from hpr.models.network import Refiner
from hpr.models.registry import build_network
from hpr.skeleton import COCO17, MPII16, POSETRACK15, POSETRACK18, SKELETONS, Skeleton
from hpr.models.weights import Provenance


def tensors_of(network: Refiner) -> weights.Tensors:
    return {name: tensor.numpy() for name, tensor in network.state_dict().items() if "batches_tracked" not in name}


@pytest.fixture(scope="module")
def demo() -> Refiner:
    torch.manual_seed(0)
    return build_network("demo", POSETRACK15)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.safetensors"


def saved(path: Path, network: Refiner, **changes: Any) -> Path:
    """Writes the weights of a network, with changes to what they say of themselves."""
    provenance = replace(Provenance.of_refiner("test", "7", "demo", network.skeleton), **changes)
    weights.save(path, tensors_of(network), provenance)
    return path


def refused(path: Path, architecture: str = "demo", skeleton: Skeleton = POSETRACK15) -> str:
    """Returns why weights are not loaded, be it for refining or for training."""
    with pytest.raises(UserError) as for_refining:
        load_network(path, architecture, skeleton)
    with pytest.raises(UserError) as for_training:
        start_network(architecture, skeleton, path)
    message = str(for_refining.value)
    assert message == str(for_training.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("skeleton", [POSETRACK15, COCO17], ids=lambda skeleton: skeleton.name)
@pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=["fp32", "fp16"])
def test_saved_and_loaded_is_the_same(skeleton: Skeleton, dtype: Any, path: Path) -> None:
    network = build_network("demo", skeleton)
    tensors = {name: tensor.astype(dtype) for name, tensor in tensors_of(network).items()}
    weights.save(path, tensors, Provenance.of_refiner("test", "7", "demo", skeleton))
    networks = [
        load_network(path),
        load_network(path, "demo"),
        load_network(path, "demo", skeleton),
        load_network(path, None, skeleton),
        start_network("demo", skeleton, path),
        start_network("demo", skeleton, str(path)),
    ]
    for loaded in networks:
        assert loaded.skeleton is skeleton
        assert loaded.mean_head == network.mean_head
        for name, tensor in tensors_of(loaded).items():
            assert tensor.dtype == np.float32
            np.testing.assert_array_equal(tensor, tensors[name].astype(np.float32), err_msg=name)


def test_provenance_of_a_refiner() -> None:
    provenance = Provenance.of_refiner("a run", "unknown", "resnet50", MPII16)
    assert provenance.skeleton == "mpii16"
    assert provenance.keypoints.split(",") == list(MPII16.names)
    assert (provenance.kind, provenance.architecture) == ("refiner", "resnet50")
    assert provenance.checked_skeleton(Path("a")) is MPII16


def test_what_weights_say_is_kept(demo: Refiner, path: Path) -> None:
    _, provenance = weights.load(saved(path, demo))
    assert provenance == Provenance.of_refiner("test", "7", "demo", POSETRACK15)


def test_another_skeleton(demo: Refiner, path: Path) -> None:
    """Training may start from them: test_transfer.py."""
    expected = "expected weights for the keypoints of coco17, found posetrack15's; use model.skeleton=posetrack15"
    with pytest.raises(UserError, match=expected):
        load_network(saved(path, demo), "demo", COCO17)


def test_a_skeleton_with_as_many_keypoints(path: Path) -> None:
    network = build_network("demo", COCO17)
    with pytest.raises(UserError, match="expected weights for the keypoints of posetrack18, found coco17's"):
        load_network(saved(path, network), "demo", POSETRACK18)


@pytest.mark.parametrize("name", ["", "posetrack", "COCO17"])
def test_an_unknown_skeleton(name: str, demo: Refiner, path: Path) -> None:
    message = refused(saved(path, demo, skeleton=name))
    assert message == f"unknown skeleton '{name}': expected one of {', '.join(SKELETONS)}"


@pytest.mark.parametrize(
    "keypoints",
    [
        pytest.param("", id="none"),
        pytest.param("nose", id="one"),
        pytest.param(",".join(reversed(POSETRACK15.names)), id="in another order"),
        pytest.param(",".join(COCO17.names), id="of another skeleton"),
        pytest.param(",".join(POSETRACK15.names) + ",tail", id="one more"),
        pytest.param(", ".join(POSETRACK15.names), id="with spaces"),
    ],
)
def test_a_skeleton_with_other_keypoints(keypoints: str, demo: Refiner, path: Path) -> None:
    message = refused(saved(path, demo, keypoints=keypoints))
    expected = f"expected the keypoints of posetrack15 in its order, found '{keypoints}'; port or train"
    assert message.startswith(expected)


def test_a_name_that_is_not_that_of_the_keypoints(path: Path) -> None:
    """The tensors would fit: PoseTrack 2018 has as many keypoints as COCO."""
    network = build_network("demo", COCO17)
    assert "expected the keypoints of posetrack18 in its order" in refused(saved(path, network, skeleton="posetrack18"))


def test_another_architecture(demo: Refiner, path: Path) -> None:
    message = refused(saved(path, demo), "resnet50", POSETRACK15)
    assert message == "expected weights of resnet50, found demo's; use model=demo or another file"


def test_an_unknown_architecture(demo: Refiner, path: Path) -> None:
    with pytest.raises(UserError, match="unknown architecture 'resnet18'"):
        load_network(saved(path, demo, architecture="resnet18"))


def test_a_backbone_cannot_refine(demo: Refiner, path: Path) -> None:
    saved(path, demo, kind="backbone", skeleton="", keypoints="")
    with pytest.raises(UserError, match=r"a.safetensors: expected a refiner's weights, found a backbone's"):
        load_network(path)


def test_no_tensors(demo: Refiner, path: Path) -> None:
    weights.save(path, {}, Provenance.of_refiner("test", "7", "demo", POSETRACK15))
    count, first = len(tensors_of(demo)), "backbone.blocks.0.0.conv1.conv.weight"
    assert refused(path).startswith(
        f"{count} tensors do not fit the network, first {first}: expected shape (16, 16, 1, 1)"
    )


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        pytest.param("offset_head.bias", None, "expected shape (30,), found None", id="missing"),
        pytest.param("offset_head.bias", 31, "expected shape (30,), found (31,)", id="of another shape"),
        pytest.param("odd", 2, "expected shape None, found (2,)", id="left over"),
    ],
)
def test_a_tensor_that_does_not_fit(name: str, shape: int | None, message: str, demo: Refiner, path: Path) -> None:
    tensors = {**tensors_of(demo), name: np.zeros(shape or 0, np.float32)}
    if shape is None:
        del tensors[name]
    weights.save(path, tensors, Provenance.of_refiner("test", "7", "demo", POSETRACK15))
    assert refused(path) == f"1 tensors do not fit the network, first {name}: {message}"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        pytest.param("part_head.weight", lambda t: t * np.nan, "numbers that are not finite", id="NaN"),
        pytest.param("backbone.stem.norm.bias", lambda t: t + np.inf, "16 numbers that are not finite", id="infinite"),
        pytest.param("part_head.bias", lambda t: t.astype(np.int64), "numbers of type int64", id="whole numbers"),
        pytest.param("backbone.stem.conv.weight", np.zeros_like, "nothing but zeros", id="zeros"),
    ],
)
def test_numbers_that_no_training_leaves(name: str, change: Any, message: str, demo: Refiner, path: Path) -> None:
    tensors = tensors_of(demo)
    tensors[name] = change(tensors[name])
    weights.save(path, tensors, Provenance.of_refiner("test", "7", "demo", POSETRACK15))
    found = refused(path)
    assert found.startswith(f"{name}: expected trained weights, found ")
    assert message in found


@pytest.mark.parametrize("taught", [False, True])
def test_numbers_that_numpy_does_not_have(taught: bool, demo: Refiner, path: Path) -> None:
    """Also where another library has taught numpy these."""
    from safetensors.torch import save_file

    if taught:
        pytest.importorskip("ml_dtypes")

    provenance = Provenance.of_refiner("test", "7", "demo", POSETRACK15)
    state = {name: tensor.bfloat16() for name, tensor in demo.state_dict().items() if "batches_tracked" not in name}
    save_file(state, path, {"format": "pt", **asdict(provenance)})
    assert "save it in fp32 or fp16" in refused(path)


def test_no_file(path: Path) -> None:
    assert refused(path).startswith("no such weights")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08" + b"\x00" * 7 + b"not json"], ids=ascii)
def test_a_damaged_file(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    assert refused(path).startswith("not a complete safetensors file")


def test_a_truncated_file(demo: Refiner, path: Path) -> None:
    saved(path, demo)
    path.write_bytes(path.read_bytes()[:-1])
    assert refused(path).startswith("not a complete safetensors file")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"joints": "nose", "source": "a"}], ids=str)
def test_a_file_that_does_not_say_what_it_is(metadata: dict[str, str] | None, demo: Refiner, path: Path) -> None:
    from safetensors.numpy import save_file

    save_file(tensors_of(demo), path, metadata)
    assert refused(path).startswith("these weights do not say what they are")


def test_weights_are_written_whole_or_not_at_all(demo: Refiner, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        saved(tmp_path / "file" / "a.safetensors", demo)
    path = saved(tmp_path / "new" / "a.safetensors", demo)
    assert [entry.name for entry in path.parent.iterdir()] == ["a.safetensors"]

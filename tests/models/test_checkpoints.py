"""From weight files to networks and back: files that fit are loaded completely, others are refused in one line."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file

from hpr.codec import network_input
from hpr.errors import UserError
from hpr.models import weights
from hpr.models.checkpoints import load_network, network_tensors, start_network
from hpr.models.network import Refiner
from hpr.models.padding import PaddedBatch
from hpr.models.registry import build_network
from hpr.models.weights import Provenance
from hpr.poses import FloatArray
from hpr.skeleton import COCO17, CROWDPOSE14, MPII16, POSETRACK15, POSETRACK18, Skeleton

NAMES = POSETRACK15.names


@pytest.fixture(scope="module")
def demo() -> Refiner:
    torch.manual_seed(0)
    return build_network("demo", POSETRACK15)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.safetensors"


def saved(path: Path, network: Refiner, tensors: weights.Tensors | None = None, **changes: Any) -> Path:
    """Writes the weights of a network, or given tensors, with changes to the provenance."""
    provenance = replace(Provenance.of_refiner("test", "7", "demo", network.skeleton), **changes)
    weights.save(path, network_tensors(network) if tensors is None else tensors, provenance)
    return path


def refused(path: Path, architecture: str = "demo", skeleton: Skeleton = POSETRACK15) -> str:
    """Returns why neither refining nor training takes the weights."""
    with pytest.raises(UserError) as for_refining:
        load_network(path, architecture, skeleton)
    with pytest.raises(UserError) as for_training:
        start_network(architecture, skeleton, path)
    message = str(for_refining.value)
    assert message == str(for_training.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_a_checkpoint_names_the_weights_beside_it(path: Path, demo: Refiner) -> None:
    expected = f"expected weights, found a checkpoint, which only resume=true reads; use {saved(path, demo)}"
    path.with_suffix(".pt").touch()
    assert refused(path.with_suffix(".pt")) == expected


@pytest.mark.parametrize("skeleton", [POSETRACK15, COCO17], ids=lambda skeleton: skeleton.name)
@pytest.mark.parametrize("dtype", [np.float32, np.float16], ids=["fp32", "fp16"])
def test_round_trip(skeleton: Skeleton, dtype: Any, path: Path) -> None:
    network = build_network("demo", skeleton)
    tensors = {name: tensor.astype(dtype) for name, tensor in network_tensors(network).items()}
    saved(path, network, tensors)
    assert weights.load(path)[1] == Provenance.of_refiner("test", "7", "demo", skeleton)
    for loaded in (load_network(path, "demo", skeleton, "discs"), start_network("demo", skeleton, str(path))):
        assert loaded.skeleton is skeleton
        assert loaded.mean_head == network.mean_head
        for name, tensor in network_tensors(loaded).items():
            assert tensor.dtype == np.float32
            np.testing.assert_array_equal(tensor, tensors[name].astype(np.float32), err_msg=name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(({"skeleton": name}, f"unknown skeleton '{name}': expected one of posetrack15, ") for name in ("", "COCO19")),
        *(
            ({"keypoints": names}, f"expected the keypoints of posetrack15 in its order, found '{names}'; port or")
            for names in ("", ",".join(reversed(NAMES)), ", ".join(NAMES), ",".join([*NAMES, "tail"]))
        ),
        ({"input": "rings"}, "expected an input of discs, confident_discs, gaussians, found 'rings'"),
        ({"architecture": "resnet50"}, "expected weights of demo, found resnet50's; use model=resnet50 or another"),
    ],
)
def test_provenance_that_does_not_fit(changes: dict[str, Any], message: str, demo: Refiner, path: Path) -> None:
    assert refused(saved(path, demo, **changes)).startswith(message)


def test_another_skeleton_or_input_or_kind(demo: Refiner, path: Path) -> None:
    saved(path, demo)
    expected = "expected weights for the keypoints of coco17, found posetrack15's; use model.skeleton=posetrack15"
    with pytest.raises(UserError, match=expected):
        load_network(path, "demo", COCO17)
    with pytest.raises(UserError, match="expected weights of input=confident_discs, found discs; set"):
        start_network("demo", POSETRACK15, path, "confident_discs")

    saved(path, demo, kind="backbone", skeleton="", keypoints="")
    with pytest.raises(UserError, match=r"a.safetensors: expected a refiner's weights, found a backbone's"):
        load_network(path)

    # The tensors of a skeleton with as many keypoints would fit.
    network = build_network("demo", COCO17)
    with pytest.raises(UserError, match="expected weights for the keypoints of posetrack18, found coco17's"):
        load_network(saved(path, network), "demo", POSETRACK18)
    assert "expected the keypoints of posetrack18 in its order" in refused(saved(path, network, skeleton="posetrack18"))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        pytest.param(None, None, "194 tensors do not fit the network, first backbone.blocks.0", id="none"),
        pytest.param("offset_head.bias", None, "first {}: expected shape (30,), found None", id="missing"),
        pytest.param("offset_head.bias", lambda t: t[1:], "first {}: expected shape (30,), found (29,)", id="shape"),
        pytest.param("odd", lambda t: np.zeros(2), "first {}: expected shape None, found (2,)", id="left over"),
        pytest.param("input_mean", lambda t: np.zeros(2), "{}: expected shape (18,), found (2,)", id="another mean"),
        pytest.param("part_head.weight", lambda t: t * np.nan, "numbers that are not finite", id="NaN"),
        pytest.param("backbone.stem.norm.bias", lambda t: t + np.inf, "16 numbers that are not finite", id="infinite"),
        pytest.param("part_head.bias", lambda t: t.astype(np.int64), "numbers of type int64", id="integers"),
        pytest.param("backbone.stem.conv.weight", np.zeros_like, "{}: expected trained weights, found nothing", id="0"),
    ],
)
def test_tensors_that_do_not_fit(name: str | None, change: Any, message: str, demo: Refiner, path: Path) -> None:
    tensors = network_tensors(demo) if name else {}
    if name and change is None:
        del tensors[name]
    elif name:
        tensors[name] = change(tensors.get(name))
    assert message.format(name) in refused(saved(path, demo, tensors))


def test_other_files(demo: Refiner, path: Path) -> None:
    assert refused(path).startswith("no such weights")
    truncated = saved(path, demo).read_bytes()[:-1]
    for content in (b"", b"hello", b"\x08" + b"\x00" * 7 + b"not json", truncated):
        path.write_bytes(content)
        assert refused(path).startswith("not a complete safetensors file")

    for metadata in (None, {"format": "pt"}, {"joints": "nose", "source": "a"}):
        save_file(network_tensors(demo), path, metadata)
        assert refused(path).startswith("these weights do not say what they are")

    provenance = asdict(Provenance.of_refiner("test", "7", "demo", POSETRACK15))
    save_torch_file({name: tensor.bfloat16() for name, tensor in demo.state_dict().items()}, path, provenance)
    assert "save it in fp32 or fp16" in refused(path)
    pytest.importorskip("ml_dtypes")  # which teaches numpy bfloat16
    assert "save it in fp32 or fp16" in refused(path)


class TestStartFromAnotherSkeleton:
    def trained(self, skeleton: Skeleton) -> Refiner:
        """A network that subtracts nothing from the maps, so that an empty map changes nothing."""
        network = build_network("demo", skeleton).eval()
        network.set_input_mean([1.0, 2.0, 3.0] + [0.0] * len(skeleton))
        return network

    def outputs(self, network: Refiner, poses: FloatArray) -> list[torch.Tensor]:
        """Returns the maps of one crop, as (K, n, h, w)."""
        pixels = torch.arange(64 * 48 * 3).remainder(251).to(torch.uint8).view(1, 64, 48, 3)
        with torch.no_grad():
            found = network.eval()(PaddedBatch.whole(network_input(pixels, torch.from_numpy(poses))))
        return [maps[0].unflatten(0, (len(network.skeleton), -1)) for maps in found]

    @pytest.mark.parametrize("skeleton", [COCO17, MPII16, CROWDPOSE14, POSETRACK18], ids=lambda skeleton: skeleton.name)
    def test_shared_keypoints_are_found_as_before(self, skeleton: Skeleton, path: Path) -> None:
        old = self.trained(POSETRACK15)
        new = start_network("demo", skeleton, saved(path, old))
        mapping = POSETRACK15.mapping_to(skeleton)
        shared, known = np.flatnonzero(mapping >= 0), mapping[mapping >= 0]
        poses = np.random.default_rng(0).uniform(0, 48, (1, len(skeleton), 2))
        before = np.full((1, len(POSETRACK15), 2), np.nan)
        before[:, known] = poses[:, shared]
        # New keypoints are not seen yet: they change nothing.
        for maps, own in zip(self.outputs(old, before), self.outputs(new, poses), strict=True):
            torch.testing.assert_close(own[shared], maps[known])

    def test_known_means_are_kept_and_others_measured(self, path: Path) -> None:
        old = self.trained(COCO17)
        old.set_input_mean([1.0, 2.0, 3.0, *np.arange(17.0)])
        new = start_network("demo", MPII16, saved(path, old))
        assert new.unmeasured == MPII16.indices("pelvis", "thorax")
        assert new.input_mean.flatten()[:3].tolist() == [1, 2, 3]
        assert new.input_mean[0, 3 + MPII16.index("left_knee")].item() == COCO17.index("left_knee")

    def test_no_keypoint_in_common(self, path: Path) -> None:
        face = Skeleton(("chin",), (), (0.1,), "face")
        with pytest.raises(UserError, match="expected weights that share keypoints with face, found posetrack15's"):
            start_network("demo", face, saved(path, self.trained(POSETRACK15)))


@pytest.mark.parametrize("skeleton", [POSETRACK15, COCO17], ids=lambda skeleton: skeleton.name)
def test_start_from_slims_backbone(skeleton: Skeleton, path: Path) -> None:
    """In a picture, the stem returns what slim's would for the picture minus ImageNet's mean."""
    source = build_network("demo", skeleton).eval()
    tensors = {name: tensor for name, tensor in network_tensors(source).items() if name.startswith("backbone")}
    kernel = tensors["backbone.stem.conv.weight"][:, :3].copy()
    tensors["backbone.stem.conv.weight"] = kernel
    weights.save(path, tensors, Provenance("resnet_v1_50.ckpt", "unknown", "demo", "backbone"))

    network = start_network("demo", skeleton, path).eval()
    picture = torch.rand(1, 3, 32, 32) * 255
    mean = torch.tensor([123.68, 116.779, 103.939]).view(1, 3, 1, 1)
    convolved = torch.nn.functional.conv2d(picture - mean, torch.from_numpy(kernel), stride=2, padding=3)
    expected = source.get_submodule("backbone.stem.norm")(convolved)
    inputs = torch.cat([picture, torch.zeros(1, len(skeleton), 32, 32)], dim=1)
    found = network.get_submodule("backbone.stem")(inputs - network.input_mean)
    torch.testing.assert_close(found[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], rtol=1e-3, atol=1e-3)

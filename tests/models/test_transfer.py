"""A refiner as the start of one for other keypoints."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hpr.models import weights

from hpr.errors import UserError
from hpr.codec import network_input
from hpr.models.checkpoints import start_network, network_tensors
from hpr.models.network import Refiner
from hpr.models.padding import PaddedBatch
from hpr.models.registry import build_network
from hpr.skeleton import COCO17, CROWDPOSE14, MPII16, POSETRACK15, POSETRACK18, Skeleton
from hpr.models.weights import Provenance

POSEFIX = Design("gaussians", "integral")


def saved(path: Path, network: Refiner) -> Path:
    provenance = Provenance.of_refiner("test", "7", "demo", network.skeleton, network.design)
    weights.save(path, network_tensors(network), provenance)
    return path


def trained(skeleton: Skeleton, design: Design) -> Refiner:
    """A network that subtracts nothing from the maps: one that is empty has no part in what it computes."""
    network = build_network("demo", skeleton, design).eval()
    network.set_input_mean([1.0, 2.0, 3.0] + [0.0] * len(skeleton))
    return network


def outputs(network: Refiner, poses: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[torch.Tensor]:
    """Returns its maps, as (K, n, h, w)."""
    pixels = torch.arange(64 * 48 * 3).remainder(251).to(torch.uint8).view(1, 64, 48, 3)
    batch = PaddedBatch.whole(network_input(pixels, torch.from_numpy(poses), network.design.input))
    with torch.no_grad():
        found = network.eval()(batch)
    return [maps[0].unflatten(0, (len(network.skeleton), -1)) for maps in found]


@pytest.mark.parametrize("design", [Design("discs", "offsets"), POSEFIX])
@pytest.mark.parametrize("skeleton", [COCO17, MPII16, CROWDPOSE14, POSETRACK18])
def test_shared_keypoints_are_found_as_before(skeleton: Skeleton, design: Design, tmp_path: Path) -> None:
    old = trained(POSETRACK15, design)
    new = start_network("demo", skeleton, saved(tmp_path / "a.safetensors", old))
    places = POSETRACK15.mapping_to(skeleton)
    shared, known = np.flatnonzero(places >= 0), places[places >= 0]
    poses = np.random.default_rng(0).uniform(0, 48, (1, len(skeleton), 2))
    poses[:, places < 0] = np.nan
    before = np.full((1, len(POSETRACK15), 2), np.nan)
    before[:, known] = poses[:, shared]
    for maps, own in zip(outputs(old, before), outputs(new, poses), strict=True):
        torch.testing.assert_close(own[shared], maps[known])


def test_nothing_is_seen_of_new_keypoints_yet(tmp_path: Path) -> None:
    new = start_network("demo", COCO17, saved(tmp_path / "a.safetensors", trained(POSETRACK15, Design())))
    poses = np.full((1, len(COCO17), 2), 20.0)
    without = poses.copy()
    without[:, COCO17.indices("left_eye", "right_eye", "left_ear", "right_ear")] = np.nan
    for maps, own in zip(outputs(new, without), outputs(new, poses), strict=True):
        assert torch.equal(maps, own)


def test_means_that_are_known_are_kept_and_others_measured(tmp_path: Path) -> None:
    old = trained(COCO17, Design())
    old.set_input_mean([1.0, 2.0, 3.0, *np.arange(17.0)])
    new = start_network("demo", MPII16, saved(tmp_path / "a.safetensors", old))
    assert new.unmeasured == MPII16.indices("pelvis", "thorax")
    assert new.input_mean.flatten()[:3].tolist() == [1, 2, 3]
    assert new.input_mean[0, 3 + MPII16.index("left_knee")].item() == COCO17.index("left_knee")


def test_a_face_is_no_start_for_a_body(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    face = Skeleton(("chin",), (), (0.1,), "face")
    path = saved(tmp_path / "a.safetensors", trained(POSETRACK15, Design()))
    with pytest.raises(UserError, match="expected weights that share keypoints with face, found posetrack15's"):
        start_network("demo", face, path)

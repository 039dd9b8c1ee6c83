"""Files of a run: resumed bit for bit, weights that refine, one run a folder, damaged files."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import full_disk, small_network
from dots import DotPeople, examples, pixels_of, run, same_state, state, trainer

from hpr.errors import UserError
from hpr.models import weights
from hpr.refine.engine import PoseRefiner
from hpr.skeleton import COCO17, POSETRACK15, Skeleton
from hpr.training.checkpoint import start_folder
from hpr.training.loop import train


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stopped_run_is_resumed_bit_for_bit(num_workers: int, tmp_path: Path) -> None:
    straight = run(tmp_path / "a", num_workers=num_workers)
    stopped = run(tmp_path / "b", stop_at=3, num_workers=num_workers)
    assert stopped.progress.step == 3
    torch.manual_seed(99)  # the resuming program is in another state
    resumed = run(tmp_path / "b", resume=True, num_workers=num_workers)
    assert resumed.progress.step == 6
    assert same_state(state(straight.network), state(resumed.network))
    assert same_state(state(straight.averaged), state(resumed.averaged))
    a, b = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in "ab")
    assert str(a["optimizer"]) == str(b["optimizer"])
    assert not same_state(state(stopped.network), state(straight.network))


@pytest.mark.parametrize("skeleton", [POSETRACK15, COCO17])
def test_weights_are_a_refiners(skeleton: Skeleton, tmp_path: Path) -> None:
    model = run(tmp_path, network=partial(small_network, skeleton))
    tensors, provenance = weights.load(tmp_path / "last.safetensors")
    assert (provenance.kind, provenance.step, provenance.architecture) == ("refiner", "6", "demo")
    assert provenance.checked_skeleton(tmp_path) is skeleton
    averaged = state(model.averaged)
    assert all(np.array_equal(tensor, averaged[name].numpy()) for name, tensor in tensors.items())
    assert list(tmp_path.glob(".*")) == []

    person = DotPeople(skeleton).person(0)
    refined = PoseRefiner(model.averaged, "cpu")(pixels_of(person.image), person.pose[None])
    assert refined.keypoints.shape == (1, len(skeleton), 2)


@pytest.mark.parametrize("share", [None, 0.1, 0.5, 0.9])
def test_a_damaged_checkpoint(share: float | None, tmp_path: Path) -> None:
    """Cut off, or with a changed block at a share of its length."""
    run(tmp_path, steps=1)
    content = bytearray((tmp_path / "last.pt").read_bytes())
    if share is None:
        del content[1000:]
    else:
        start = int(share * len(content))
        content[start : start + 4096] = bytes(255 - byte for byte in content[start : start + 4096])
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"last.pt: not this run's checkpoint"):
        run(tmp_path, resume=True)


def test_a_folder_holds_one_run(tmp_path: Path) -> None:
    start_folder(tmp_path, {"seed": 0, "training": {"steps": 6, "num_workers": 2}}, resume=False)
    assert "commit:" in (tmp_path / "config.yaml").read_text()
    run(tmp_path, steps=1)
    with pytest.raises(UserError, match="a run is there; continue it by resume=true"):
        start_folder(tmp_path, {"seed": 0}, resume=False)
    start_folder(tmp_path, {"seed": 0, "training": {"steps": 6, "num_workers": 0}}, resume=True)
    with pytest.raises(UserError, match=r"this run had training.steps=6, not 7"):
        start_folder(tmp_path, {"seed": 0, "training": {"steps": 7, "num_workers": 2}}, resume=True)
    with pytest.raises(UserError, match="no run to resume"):
        start_folder(tmp_path / "other", {}, resume=True)
    with pytest.raises(UserError, match="no checkpoint to resume from"):
        run(tmp_path / "other", resume=True)


@pytest.mark.parametrize("text", ["", "[1, 2]", "seed: [", "5", "\x00"])
def test_broken_settings_of_a_run(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"config.yaml: not the settings of a run"):
        start_folder(tmp_path, {"seed": 0}, resume=True)


@pytest.mark.parametrize(("room", "name"), [(10, "curves"), (50_000, "last.pt")])
def test_a_full_disk(room: int, name: str, tmp_path: Path) -> None:
    with full_disk(room), pytest.raises(UserError, match=rf"{name}: cannot be written \(File too large\)"):
        train(trainer(), examples(), None, tmp_path, False, "demo")
    assert [path.name for path in tmp_path.iterdir()] == ["curves"]

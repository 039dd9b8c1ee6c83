"""Networks and skeletons other than the published ones, from training to refined files, by the commands alone."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, fail, succeed
from hpr.design import DecoderKind, DesignChoice

from hpr import PoseRefiner
from hpr.formats import PoseTrack18
from hpr.images import ImageFolder
from hpr.models.checkpoints import load_network
from hpr.models.weights import load
from hpr.skeleton import COCO17, POSETRACK18, get_skeleton

DECODERS: tuple[DecoderKind, ...] = ("offsets", "votes", "soft_argmax")
SURE = 0.5
TOY = ["canvas=[96,96]", "training.steps=4", "training.batch_size=4", "training.workers=0", "device=cpu"]
TOY += ["dataset.validation.clips=1", "dataset.validation.frames=2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        pytest.param(["model=timm"], id="another backbone"),
        pytest.param(["model=demo", "model.skeleton=coco17"], id="another skeleton"),
        pytest.param(["model=timm", "model.skeleton=mpii16"], id="both"),
        pytest.param(["model=timm", "model.architecture=timm/test_convnext"], id="a network without batch norms"),
        pytest.param(["model=demo_confidence", "model.skeleton=coco17"], id="discs with scores"),
        pytest.param(["model=demo_posefix"], id="another input and output"),
    ],
)
def test_trains_and_refines(model: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    printed = succeed("train.py", *model, "model.weights=null", *TOY, f"output_dir={run}")
    assert f"model.weights={run}/best.safetensors" in printed
    weights = run / "last.safetensors"
    _, provenance = load(weights)
    assert {provenance.input, provenance.decoder} <= {"discs", "offsets"} or "demo_" in model[0]
    skeleton = get_skeleton(provenance.skeleton)
    assert PoseRefiner.load(weights, "cpu").skeleton == skeleton

    clips = run / "validation"
    settings = ["dataset=posetrack18", f"dataset.root={clips}", f"dataset.predictions={clips / 'predictions'}"]
    settings += [*model, f"model.weights={weights}", "objective=map", f"output_dir={tmp_path / 'out'}", "device=cpu"]
    succeed("refine.py", *settings)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["persons"]["refined"] == report["persons"]["seen"] > 0

    (path,) = (clips / "predictions").iterdir()
    (before,), (after,) = (PoseTrack18().read(file) for file in (path, tmp_path / "out" / "predictions" / path.name))
    known = skeleton.mapping_to(POSETRACK18) >= 0
    for old, new in zip(before.frames, after.frames, strict=True):
        np.testing.assert_array_equal(old.keypoints[:, ~known], new.keypoints[:, ~known])
        assert not np.array_equal(old.keypoints[:, known], new.keypoints[:, known], equal_nan=True)


@pytest.mark.slow
def test_weights_of_another_skeleton_are_a_start(tmp_path: Path) -> None:
    start = ("model=demo", "model.weights=${asset:demo.safetensors}", "model.skeleton=coco17")
    succeed("train.py", *start, *TOY, f"output_dir={tmp_path}")
    network = load_network(tmp_path / "last.safetensors", "demo", COCO17)
    assert len(network.skeleton) == 17


@pytest.mark.slow
def test_weights_of_another_design_are_refused(tmp_path: Path) -> None:
    """By refining and by training; another way to read poses off is not another design."""
    asset = "model.weights=${asset:demo.safetensors}"
    expected = "expected weights of input=gaussians and decoder=integral, found input=discs and decoder=offsets"
    for program in ("refine.py", "train.py"):
        assert expected in fail(program, "model=demo_posefix", asset, f"output_dir={tmp_path}", "device=cpu")
    assert "model.decoder" in fail("refine.py", "model.decoder=middle")


def test_other_ways_to_read_poses_off_need_no_training() -> None:
    """The bundled weights will do; what they find is near."""
    sample = ROOT / "hpr" / "assets" / "sample"
    (clip,) = PoseTrack18().read(sorted((sample / "predictions").iterdir())[0])
    frame = clip.frames[0].select(np.arange(2))
    image, found = ImageFolder(sample).read(frame), []
    for decoder in DECODERS:
        network = load_network(ROOT / "hpr" / "assets" / "demo.safetensors", design=DesignChoice(decoder=decoder))
        refined = PoseRefiner(network, "cpu", flip=False, scale="body")(image, frame.poses, skeleton=frame.skeleton)
        found.append(refined.keypoints[refined.confidence > SURE])
    for others in found[1:]:
        assert 0 < np.median(np.abs(others - found[0])) < 2

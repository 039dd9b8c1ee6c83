"""Networks and skeletons other than the published ones: `hpr train`, then `hpr refine`."""

from pathlib import Path

import numpy as np
import pytest
from conftest import read_report, succeed

from hpr import PoseRefiner
from hpr.formats import PoseTrack18
from hpr.models.weights import load
from hpr.skeleton import POSETRACK18, get_skeleton

TOY = ["canvas=[96,96]", "training.steps=2", "training.batch_size=4", "training.num_workers=0", "device=cpu"]
TOY += ["dataset.validation.clips=1", "dataset.validation.frames=2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        pytest.param(["model=timm", "model.skeleton=mpii16"], id="another backbone and skeleton"),
        pytest.param(["model=timm", "model.architecture=timm/test_convnext"], id="a network without batch norms"),
        pytest.param(["model=demo_confidence", "model.skeleton=coco17"], id="discs with scores"),
    ],
)
def test_trains_and_refines(model: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    printed = succeed("train.py", *model, "model.weights=null", *TOY, f"output_dir={run}")
    assert f"model.weights={run}/best.safetensors" in printed
    weights = run / "last.safetensors"
    _, provenance = load(weights)
    assert provenance.input == ("confident_discs" if "demo_confidence" in model[0] else "discs")
    skeleton = get_skeleton(provenance.skeleton)
    assert PoseRefiner.load(weights, "cpu").skeleton == skeleton

    clips = run / "validation"
    settings = ["dataset=posetrack18", f"dataset.root={clips}", f"dataset.predictions={clips / 'predictions'}"]
    settings += [*model, f"model.weights={weights}", "objective=map", "flip=false", "margin=50", "device=cpu"]
    settings.append(f"output_dir={tmp_path / 'out'}")
    succeed("refine.py", *settings)
    report = read_report(tmp_path / "out")
    assert report["persons"]["refined"] == report["persons"]["seen"] > 0

    (path,) = (clips / "predictions").iterdir()
    (before,), (after,) = (PoseTrack18().read(file) for file in (path, tmp_path / "out" / "predictions" / path.name))
    known = skeleton.mapping_to(POSETRACK18) >= 0
    for old, new in zip(before.frames, after.frames, strict=True):
        np.testing.assert_array_equal(old.keypoints[:, ~known], new.keypoints[:, ~known])
        assert not np.array_equal(old.keypoints[:, known], new.keypoints[:, known], equal_nan=True)

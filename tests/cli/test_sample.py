"""What comes with the package: a sample that the demo weights have never seen, and the bare commands on it."""

from pathlib import Path

import numpy as np
import pytest
from conftest import SAMPLE, compose, read_report, succeed

from hpr.formats import PoseTrack18
from hpr.images import read_image
from hpr.models import weights
from hpr.models.places import ASSETS


def test_what_is_bundled() -> None:
    assert (ASSETS / "demo.safetensors").stat().st_size <= 8_000_000
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*.*")) <= 2_000_000
    assert 2 <= len(list((SAMPLE / "annotations").iterdir())) <= 4
    _, provenance = weights.load(ASSETS / "demo.safetensors")
    assert (provenance.architecture, provenance.kind, provenance.skeleton) == ("demo", "refiner", "posetrack15")


def test_sample_is_not_what_training_draws(tmp_path: Path) -> None:
    """It is what hpr make-sample writes: from seeds that training and validation never draw, in held-out clothes."""
    settings = compose("make_sample")
    assert settings.seed not in (compose("train").seed, 1)
    assert settings.held_out
    succeed("make-sample", f"output_dir={tmp_path}", "clips=1", "frames=2", "width=640", "height=360")
    name = "clip_0002_0000"
    for kind in ("annotations", "predictions"):
        (drawn,), (bundled,) = (PoseTrack18().read(root / kind / f"{name}.json") for root in (tmp_path, SAMPLE))
        assert len(drawn.frames) == 2
        for first, second in zip(drawn.frames, bundled.frames, strict=False):
            assert np.allclose(first.keypoints, second.keypoints, atol=0.02, equal_nan=True)
    image = f"images/{name}/000000.jpg"
    apart = np.abs(read_image(tmp_path / image).astype(int) - read_image(SAMPLE / image))
    assert apart.mean() < 1  # JPEG encoders may differ


@pytest.mark.slow
def test_bare_command_raises_the_scores(tmp_path: Path) -> None:
    output = succeed("refine.py", "objective=mota", cwd=tmp_path)
    folder = tmp_path / "output" / "refined_mota"
    metrics = read_report(folder)["metrics"]
    assert all(metrics["after"][score] >= metrics["before"][score] + 10 for score in ("MOTA", "mAP"))
    assert {path.name for path in folder.iterdir()} == {"predictions", "report.json", "report.html", ".journal"}
    assert "hpr refine POSES IMAGES" in output


def test_sample_can_be_scored(tmp_path: Path) -> None:
    assert "AP recall" in succeed("evaluate", "dataset=sample", cwd=tmp_path)

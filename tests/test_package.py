"""The package as a whole: what importing it takes."""

import pytest
from conftest import command

import hpr

HEAVY = ("torch", "torchvision", "timm", "tensorflow", "hydra", "omegaconf", "cv2", "matplotlib", "tensorboardX")


def test_what_needs_no_heavy_library() -> None:
    rooms = "skeleton, hpr.poses, hpr.errors, hpr.files, hpr.formats, hpr.models.weights, hpr.report.tables"
    blocked = "".join(f"sys.modules[{name!r}] = None\n" for name in HEAVY)
    result = command("-c", f"import sys\n{blocked}import hpr.{rooms}; assert hpr.__version__")
    assert result.returncode == 0, result.stderr


def test_refining_starts_without_what_reports_scores_and_training_need() -> None:
    """They are imported where they are used."""
    late = {"jinja2", "matplotlib", "motmetrics", "onnx", "pycocotools", "shapely", "tensorboardX"}
    late |= {"tensorflow", "timm", "torchvision"}
    result = command("-c", f"import sys, hpr.cli.refine; print(sorted({late} & set(sys.modules)))")
    assert result.stdout == "[]\n", result.stderr


def test_what_is_there() -> None:
    names = {"Objective", "Outcome", "PoseRefiner", "RefinedPoses", "draw_poses"}
    assert set(hpr.__all__) == names
    assert names <= set(dir(hpr))
    assert {getattr(hpr, name).__name__ for name in names} == names


def test_what_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'hpr' has no attribute 'Refiner'"):
        _ = hpr.Refiner

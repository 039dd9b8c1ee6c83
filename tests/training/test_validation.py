"""Scores of held-out clips before and after refining."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import small_network
from dots import pose_errors

from hpr.errors import UserError
from hpr.evaluation.comparison import ObjectiveScores
from hpr.evaluation.posetrack import evaluate_files
from hpr.formats import PoseTrack18
from hpr.images import ImageFolder
from hpr.inference.engine import PoseRefiner
from hpr.objective import MOTA
from hpr.skeleton import COCO17, POSETRACK15, Skeleton
from hpr.training.synthetic.tree import write_tree
from hpr.training.validation import Validation, annotated_validation, score_table, synthetic_validation


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small clips on disk."""
    folder = tmp_path_factory.mktemp("tree")
    write_tree(folder, [(3, 0), (3, 1)], frames=2, errors=pose_errors(0.05), held_out=False, size=(200, 150))
    return folder


def validation(tree: Path, predictions: Path | None) -> Validation:
    images = ImageFolder(tree)
    return annotated_validation(PoseTrack18(), tree / "annotations", predictions, images, tree, pose_errors(0.05))


def test_scores_before_are_those_of_the_files(tree: Path) -> None:
    total = evaluate_files(PoseTrack18(), tree / "annotations", tree / "predictions").total
    before = validation(tree, tree / "predictions").before
    assert before.metrics["mAP"] == total["AP"]["total"]
    assert before.metrics["MOTA"] == total["MOTA"]["total"]
    assert before.metrics["PCKh"] == total["AP_recall"]["total"]


def test_estimates_are_drawn_where_there_are_none(tree: Path) -> None:
    first, second = (validation(tree, None) for _ in range(2))
    assert first.before == second.before
    assert 20 < first.before.metrics["mAP"] < 95
    exact = annotated_validation(
        PoseTrack18(), tree / "annotations", None, ImageFolder(tree), tree, pose_errors(0.0)
    ).before
    assert exact.metrics["mAP"] > first.before.metrics["mAP"]
    assert exact.metrics["PCKh"] > 90


@pytest.mark.parametrize("skeleton", [POSETRACK15, COCO17])
def test_a_network_is_scored_and_left_as_it_was(skeleton: Skeleton, tree: Path) -> None:
    clips, network = validation(tree, tree / "predictions"), small_network(skeleton)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    validated = clips.after(network, "cpu")
    assert validated is not None
    assert validated.scores != clips.before
    assert validated.people is not None
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_mota_is_of_the_confident_keypoints(tree: Path) -> None:
    """Random weights are sure of no keypoint, and what is not predicted is no false positive."""
    clips = validation(tree, tree / "predictions")
    refined = clips.refined(PoseRefiner(small_network(), "cpu"))
    assert refined is not None
    frames = [frame for sequences in refined.values() for clip in sequences for frame in clip.frames]
    assert sum(int((frame.confidences > MOTA.keep).sum()) for frame in frames) == 0
    assert clips.scores(refined).metrics["MOTA"] == pytest.approx(0.0, abs=20)


def test_synthetic_clips(tmp_path: Path) -> None:
    done: list[int] = []
    clips = synthetic_validation(2, 2, tmp_path, pose_errors(0.05), done.append)
    assert done == [1, 1]
    assert 20 < clips.before.metrics["mAP"] < 95
    names = {path.name for path in (tmp_path / "validation" / "annotations").iterdir()}
    assert names == {"clip_0000.json", "clip_0001.json"}


def test_files_are_counted(tree: Path) -> None:
    done: list[int] = []
    images = ImageFolder(tree)
    annotated_validation(PoseTrack18(), tree / "annotations", None, images, tree, pose_errors(), done.append)
    assert done == [1, 1]


def test_predictions_without_annotations(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"clip_0003_0000\.json: no such file"):
        annotated_validation(PoseTrack18(), tmp_path, tree / "predictions", ImageFolder(tree), tmp_path, pose_errors())


def test_table() -> None:
    table = score_table(ObjectiveScores(58.31, 47.0, 62.5), ObjectiveScores(2.9, -26.3, np.nan))
    assert table.split("\n") == [
        "             mAP    MOTA    PCKh",
        "input       58.3    47.0    62.5",
        "refined      2.9   -26.3       –",
    ]

"""Scores of held-out clips before and after refining."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from conftest import small_network
from dots import pose_errors

from hpr.errors import UserError
from hpr.metrics.comparison import ObjectiveScores
from hpr.metrics.posetrack import evaluate_files
from hpr.formats import PoseTrack18
from hpr.formats.coco import Coco, CrowdPose
from hpr.formats.mpii import Mpii
from hpr.images import ImageFolder
from hpr.refine.engine import PoseRefiner
from hpr.refine.objective import MOTA
from hpr.poses import Frame, PoseSequence
from hpr.runtime.processes import Processes
from hpr.skeleton import COCO17, MPII16, POSETRACK15, Skeleton
from hpr.synthetic.tree import write_tree
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


@dataclass(frozen=True)
class _Together(Processes):
    """One of two processes, whose values meet in a list."""

    sent: list[object] = field(default_factory=list)

    def wait(self) -> None:
        pass

    def gathered(self, value: object) -> list[object]:
        self.sent.append(value)
        return self.sent


def test_two_processes_are_one(tree: Path) -> None:
    """Each refines its own share; the first has all of it, and the scores."""
    network, sent = small_network(), list[object]()
    paths = sorted((tree / "annotations").iterdir())
    clips = {path.name: [PoseSequence("a", [read(path)[0].select(np.array([0]))])] for path in paths}
    images = ImageFolder(tree)
    second, first = (Validation(clips, clips, images, processes=_Together(rank, 2, rank, sent=sent)) for rank in (1, 0))
    alone = Validation(clips, clips, images)
    assert second.after(network, "cpu") is None
    shared, whole = first.after(network, "cpu"), alone.after(network, "cpu")
    assert len(sent) == 2
    assert all(len(part) > 0 for part in sent if isinstance(part, list))
    assert shared is not None
    assert whole is not None
    assert shared.scores.metrics == whole.scores.metrics
    np.testing.assert_array_equal(np.asarray(shared.people), np.asarray(whole.people))


@pytest.mark.parametrize(("share", "count"), [(1.0, 2), (0.5, 1), (0.01, 1)])
def test_a_share_of_the_clips(share: float, count: int, tree: Path) -> None:
    images, annotations = ImageFolder(tree), tree / "annotations"
    for predictions in (None, tree / "predictions"):
        done: list[int] = []
        annotated_validation(
            PoseTrack18(), annotations, predictions, images, tree, pose_errors(), done.append, share=share
        )
        assert done == [1] * count


class TestImages:
    """Data sets of single images, in their own skeletons."""

    FORMATS: ClassVar = {"coco": Coco(), "crowdpose": CrowdPose(), "mpii": Mpii()}

    def images(self, name: str, tree: Path, folder: Path, errors: float, **arguments: Any) -> Validation:
        path = folder / "annotations.json"
        frames = [frame for path in sorted((tree / "annotations").iterdir()) for frame in read(path)]
        self.FORMATS[name].write([PoseSequence("a", [unknown(frame) for frame in frames])], path)
        images = ImageFolder(tree)
        return annotated_validation(self.FORMATS[name], path, None, images, folder, pose_errors(errors), **arguments)

    @pytest.mark.parametrize(("name", "chief"), [("coco", "AP"), ("crowdpose", "AP"), ("mpii", "PCKh")])
    def test_scores(self, name: str, chief: str, tree: Path, tmp_path: Path) -> None:
        poor, exact = (self.images(name, tree, tmp_path, errors).before for errors in (0.2, 0.0))
        assert next(iter(exact.metrics)) == chief
        assert exact.mean == exact.metrics[chief] > 60
        assert poor.mean < exact.mean

    @pytest.mark.parametrize("name", FORMATS)
    def test_a_network_of_any_skeleton(self, name: str, tree: Path, tmp_path: Path) -> None:
        clips = self.images(name, tree, tmp_path, 0.1, share=0.01)
        validated = clips.after(small_network(self.FORMATS[name].skeletons[0]), "cpu")
        assert validated is not None
        assert validated.scores.metrics.keys() == clips.before.metrics.keys()
        assert validated.people is not None
        table = score_table(clips.before, validated.scores).split("\n")
        assert table[0].split() == list(clips.before.metrics)

    def test_an_estimators_own(self, tree: Path, tmp_path: Path) -> None:
        """Exact ones, of half of the images: OKS is of the images that are validated on."""
        self.images("coco", tree, tmp_path, 0.0)
        path = tmp_path / "annotations.json"
        arguments = (ImageFolder(tree), tmp_path, pose_errors())
        for share in (1.0, 0.5):
            clips = annotated_validation(Coco(), path, path, *arguments, share=share)
            assert clips.before.mean == pytest.approx(100.0)

    def test_all_images_are_for_training(self, tree: Path, tmp_path: Path) -> None:
        path, frame = tmp_path / "a.json", Frame("000000101.jpg", MPII16, np.ones((1, 16, 2)))
        Mpii().write([PoseSequence("a", [frame])], path)
        with pytest.raises(UserError, match="expected people with keypoints to validate on, found none"):
            annotated_validation(
                Mpii(), path, None, ImageFolder(tree), tmp_path, pose_errors(), validation_file=tmp_path / "none"
            )


def read(path: Path) -> list[Frame]:
    return [frame for frame in PoseTrack18().read(path)[0].frames if len(frame)]


def unknown(frame: Frame) -> Frame:
    """A frame whose people are in no file yet."""
    return replace(frame, records=np.full(len(frame), -1))

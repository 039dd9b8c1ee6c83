"""Scores of held-out people before and after refining."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trees
from conftest import lively, pose_errors, small_network
from dots import same_state, state

from hpr.errors import UserError
from hpr.formats import FORMATS, PoseTrack18
from hpr.formats.coco import Coco
from hpr.images import ImageFolder
from hpr.metrics.posetrack import PoseTrackTruth
from hpr.metrics.scoring import open_truth
from hpr.metrics.truth import FilesByName
from hpr.poses import PoseSequence
from hpr.runtime.processes import Processes
from hpr.skeleton import COCO17, POSETRACK15, Skeleton
from hpr.synthetic.validation import synthetic_validation
from hpr.training.validation import PEOPLE_DRAWN, Validation, annotated_validation


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small clips on disk."""
    folder = tmp_path_factory.mktemp("tree")
    trees.draw(folder, (3, 4))
    return folder


def validation(tree: Path, predictions: Path | None, errors: float = 0.05, **arguments: Any) -> Validation:
    location, images = tree / "annotations", ImageFolder(tree)
    return annotated_validation(PoseTrack18(), location, predictions, images, tree, pose_errors(errors), **arguments)


def test_scores_before_are_those_of_the_files(tree: Path) -> None:
    truth = open_truth(PoseTrack18(), str(tree / "annotations"))
    expected = truth.score(FilesByName(PoseTrack18(), tree / "predictions"))
    assert validation(tree, tree / "predictions").before.metrics == expected.metrics


def test_estimates_are_drawn_where_there_are_none(tree: Path) -> None:
    first, second = (validation(tree, None).before for _ in range(2))
    assert repr(first) == repr(second)  # NaN is not equal to itself
    assert 20 < first.metrics["mAP"] < 95
    exact = validation(tree, None, errors=0.0).before
    assert exact.metrics["mAP"] > first.metrics["mAP"]
    assert exact.metrics["PCKh"] > 90


@pytest.mark.parametrize("skeleton", [POSETRACK15, COCO17])
def test_a_network_is_scored_and_left_as_it_was(skeleton: Skeleton, tree: Path) -> None:
    clips, network = validation(tree, tree / "predictions", share=0.5), small_network(skeleton)
    before = state(network)
    result = clips.after(network, "cpu")
    assert result is not None
    assert result.scores != clips.before
    assert same_state(state(network), before)
    # Random weights are sure of no keypoint, and for MOTA a keypoint that they are not sure of is no false positive.
    assert result.scores.metrics["MOTA"] == pytest.approx(0.0, abs=20)


def test_synthetic_clips(tmp_path: Path) -> None:
    done: list[int] = []
    clips = synthetic_validation(2, 2, tmp_path, pose_errors(0.05), done.append)
    assert done == [1, 1]
    assert 20 < clips.before.metrics["mAP"] < 95
    names = {path.name for path in (tmp_path / "validation" / "annotations").iterdir()}
    assert names == {"clip_0000.json", "clip_0001.json"}


def test_predictions_without_annotations(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"clip_0003_0003\.json: no such file"):
        annotated_validation(PoseTrack18(), tmp_path, tree / "predictions", ImageFolder(tree), tmp_path, pose_errors())


@pytest.mark.parametrize(("share", "count"), [(1.0, 2), (0.5, 1), (0.01, 1)])
def test_a_share_of_the_clips(share: float, count: int, tree: Path) -> None:
    for predictions in (None, tree / "predictions"):
        done: list[int] = []
        validation(tree, predictions, progress=done.append, share=share)
        assert done == [1] * count


@dataclass(frozen=True)
class Together(Processes):
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
    frames = [frame.select(np.array([0])) for frame in trees.read(tree)]
    clips = {f"{index}.json": [PoseSequence("a", [frame])] for index, frame in enumerate(frames)}
    images, truth = ImageFolder(tree), PoseTrackTruth(clips)
    second, first = (Validation(truth, clips, images, processes=Together(rank, 2, rank, sent=sent)) for rank in (1, 0))
    assert second.after(network, "cpu") is None
    shared, whole = first.after(network, "cpu"), Validation(truth, clips, images).after(network, "cpu")
    assert len(sent) == 2
    assert all(len(part) > 0 for part in sent if isinstance(part, list))
    assert shared is not None
    assert whole is not None
    assert repr(shared.scores) == repr(whole.scores)  # NaN is not equal to itself
    np.testing.assert_array_equal(np.asarray(shared.picture), np.asarray(whole.picture))


def test_picture_of_few_people(tree: Path) -> None:
    """Input, refined pose and truth of the same people at each validation."""
    clips = validation(tree, tree / "predictions", share=0.5)
    pictures = []
    for network in (small_network(), lively(small_network())):
        result = clips.after(network, "cpu")
        assert result is not None
        assert result.picture is not None
        pictures.append(np.split(result.picture.astype(int), 3, axis=1))

    height, width, _ = pictures[0][0].shape
    assert width == 220
    assert height in range(220, 220 * PEOPLE_DRAWN + 1, 220)
    assert all(np.abs(column - pictures[0][0]).max() > 50 for column in pictures[0][1:])
    is_same = [np.array_equal(*columns) for columns in zip(*pictures, strict=True)]
    assert is_same == [True, False, True]


class TestImages:
    """Data sets of single images, in their own skeletons."""

    def images(self, name: str, tree: Path, folder: Path, errors: float, **arguments: Any) -> Validation:
        path = folder / "annotations.json"
        unknown = [replace(frame, records=np.full(len(frame), -1)) for frame in trees.read(tree)]
        file_format, images = FORMATS[name](), ImageFolder(tree)
        file_format.write([PoseSequence("a", unknown)], path)
        return annotated_validation(file_format, path, None, images, folder, pose_errors(errors), **arguments)

    @pytest.mark.parametrize(("name", "metric"), [("coco", "AP"), ("crowdpose", "AP"), ("mpii", "PCKh")])
    def test_scores_of_estimates_and_of_a_network(self, name: str, metric: str, tree: Path, tmp_path: Path) -> None:
        poor, exact = (self.images(name, tree, tmp_path, errors).before for errors in (0.2, 0.0))
        assert next(iter(exact.metrics)) == metric
        assert exact.selection == exact.metrics[metric] > 60
        assert poor.selection < exact.selection

        few = self.images(name, tree, tmp_path, 0.1, share=0.01)
        result = few.after(small_network(FORMATS[name]().skeletons[0]), "cpu")
        assert result is not None
        assert result.scores.metrics.keys() == few.before.metrics.keys()
        assert result.picture is not None

    def test_an_estimators_own(self, tree: Path, tmp_path: Path) -> None:
        """Exact ones, of half of the images: OKS is of the images that are validated on."""
        self.images("coco", tree, tmp_path, 0.0)
        path = tmp_path / "annotations.json"
        for share in (1.0, 0.5):
            clips = annotated_validation(Coco(), path, path, ImageFolder(tree), tmp_path, pose_errors(), share=share)
            assert clips.before.selection == pytest.approx(100.0)

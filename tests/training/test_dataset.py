"""Whom a training learns from."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from dots import QUIET, examples, pose_errors

from hpr.errors import UserError
from hpr.formats import PoseTrack18
from hpr.images import ImageFolder
from hpr.poses import Frame, PoseSequence
from hpr.skeleton import POSETRACK15, POSETRACK18
from hpr.training.dataset import PEOPLE_PER_IMAGE, AnnotatedPeople, SyntheticPeople
from hpr.synthetic.tree import write_tree


def test_synthetic_people() -> None:
    people = SyntheticPeople(seed=0)
    person = people.person(5)
    image, pose, others, keypoints = person.image, person.pose, person.neighbours, person.keypoints
    assert person.labelled.all()
    assert person.ignored == ()
    again = SyntheticPeople(seed=0).person(5)
    np.testing.assert_array_equal(image.pixels(), again.image.pixels())
    np.testing.assert_array_equal(pose, again.pose)
    assert (~np.isnan(pose[:, 0])).sum() >= 4
    assert others.shape[1:] == (15, 2)
    present = ~np.isnan(pose[:, 0])
    np.testing.assert_array_equal(keypoints[present], pose[present])
    assert not np.isnan(keypoints).any()  # also those that are hidden
    assert people.skeleton is POSETRACK15
    assert people.person(4).image is people.person(PEOPLE_PER_IMAGE).image  # drawn once


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small clips on disk."""
    folder = tmp_path_factory.mktemp("tree")
    write_tree(folder, [(3, 0), (3, 1)], frames=2, errors=pose_errors(), held_out=False, size=(200, 150))
    return folder


def frames_of(tree: Path) -> list[Frame]:
    paths = sorted((tree / "annotations").iterdir())
    return [frame for path in paths for frame in PoseTrack18().read(path)[0].frames]


class _CountingFormat(PoseTrack18):
    """Counts what it reads."""

    def __init__(self) -> None:
        self.read_files: list[str] = []

    def read(self, path: Path) -> list[PoseSequence]:
        self.read_files.append(path.name)
        return super().read(path)


class TestAnnotatedPeople:
    def people(self, tree: Path, seed: int = 0) -> AnnotatedPeople:
        return AnnotatedPeople(PoseTrack18(), tree / "annotations", ImageFolder(tree), seed)

    def test_everyone_comes_once_before_anyone_comes_again(self, tree: Path) -> None:
        expected = sorted(pose.tobytes() for frame in frames_of(tree) for pose in frame.poses)
        people, count = self.people(tree), len(expected)
        rounds = [[people.person(index).pose.tobytes() for index in range(n * count, (n + 1) * count)] for n in (0, 1)]
        assert sorted(rounds[0]) == sorted(rounds[1]) == expected
        assert rounds[0] != rounds[1]

    def test_those_of_an_image_follow_each_other(self, tree: Path) -> None:
        people, count = self.people(tree), sum(len(frame) for frame in frames_of(tree))
        views = [people.person(index).image for index in range(count)]
        changes = sum(one is not two for one, two in pairwise(views))
        visits = sum(-(-len(frame) // PEOPLE_PER_IMAGE) for frame in frames_of(tree))
        assert changes + 1 <= visits < count

    def test_a_person_is_of_their_image(self, tree: Path) -> None:
        people = self.people(tree)
        assert people.skeleton is POSETRACK18
        for index in range(5):
            person = people.person(index)
            image, pose, neighbours = person.image, person.pose, person.neighbours
            np.testing.assert_array_equal(person.keypoints, pose)
            (frame,) = (f for f in frames_of(tree) if any(np.array_equal(pose, p, equal_nan=True) for p in f.poses))
            np.testing.assert_array_equal(image.pixels(), ImageFolder(tree).read(frame))
            assert len(neighbours) == len(frame) - 1

    @pytest.mark.parametrize("index", [0, 7, 100])
    def test_an_index_always_gives_the_same(self, index: int, tree: Path) -> None:
        first, second = self.people(tree), self.people(tree)
        second.person(55)
        np.testing.assert_array_equal(first.person(index).pose, second.person(index).pose)
        other = [self.people(tree, seed=1).person(i).pose.tobytes() for i in range(5)]
        assert other != [first.person(i).pose.tobytes() for i in range(5)]

    def test_a_file_is_read_once(self, tree: Path) -> None:
        counting = _CountingFormat()
        people = AnnotatedPeople(counting, tree / "annotations", ImageFolder(tree), seed=0)
        people.person(3)
        assert counting.read_files == ["clip_0003_0000.json", "clip_0003_0001.json"]

    def test_they_become_examples_of_the_networks_skeleton(self, tree: Path) -> None:
        example = examples(QUIET, self.people(tree), chance=0.0)[0]
        pose = POSETRACK18.convert(self.people(tree).person(0).pose[None], POSETRACK15)[0]
        np.testing.assert_array_equal(np.isnan(example.truth), np.isnan(pose))

    @pytest.mark.parametrize("frames", [[], [Frame.empty("a.jpg", POSETRACK18)]])
    def test_nobody(self, frames: Sequence[Frame], tmp_path: Path) -> None:
        PoseTrack18().write([PoseSequence("a", list(frames))], tmp_path / "a.json")
        with pytest.raises(UserError, match=f"^{tmp_path}: expected people with keypoints, found none$"):
            AnnotatedPeople(PoseTrack18(), tmp_path, ImageFolder(tmp_path), seed=0)

    def test_no_annotations(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"none: no such file or folder; expected a folder of \.json files"):
            AnnotatedPeople(PoseTrack18(), tmp_path / "none", ImageFolder(tmp_path), seed=0)

    def test_no_image(self, tree: Path, tmp_path: Path) -> None:
        people = AnnotatedPeople(PoseTrack18(), tree / "annotations", ImageFolder(tmp_path), seed=0)
        with pytest.raises(UserError, match="no such image"):
            people.person(0)

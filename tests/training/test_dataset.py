"""Whom a training learns from, in which order, and what is held out."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import ClassVar
from unittest.mock import Mock

import numpy as np
import pytest
import trees
from dots import DotPeople, pixels_of

from hpr.errors import UserError
from hpr.formats import PoseTrack18
from hpr.formats.mpii import Mpii
from hpr.images import ImageFolder
from hpr.poses import Frame, PoseSequence
from hpr.skeleton import COCO17, MPII16, POSETRACK15, POSETRACK18
from hpr.synthetic.dataset import SyntheticPeople
from hpr.training.dataset import PEOPLE_PER_IMAGE, AnnotatedPeople, Mixture, first_present, is_for_training


def test_synthetic_people() -> None:
    people = SyntheticPeople(seed=0)
    person, again = people.person(5), SyntheticPeople(seed=0).person(5)
    np.testing.assert_array_equal(pixels_of(person.image), pixels_of(again.image))
    np.testing.assert_array_equal(person.pose, again.pose)
    assert person.labelled.all()
    assert person.ignored == ()
    assert person.neighbours.shape[1:] == (15, 2)

    present = ~np.isnan(person.pose[:, 0])
    assert present.sum() >= 4
    np.testing.assert_array_equal(person.keypoints[present], person.pose[present])
    assert not np.isnan(person.keypoints).any()  # including those that are hidden
    assert people.skeleton is POSETRACK15
    assert people.person(4).image is people.person(PEOPLE_PER_IMAGE).image  # drawn once


class TestAnnotatedPeople:
    def test_a_person_is_in_their_image(self, tmp_path: Path) -> None:
        frames, images = trees.draw(tmp_path), ImageFolder(tmp_path)
        people = AnnotatedPeople(PoseTrack18(), tmp_path / "annotations", images, seed=0)
        assert people.skeleton is POSETRACK18
        frame_of = {pose.tobytes(): frame for frame in frames for pose in frame.poses}
        for person in map(people.person, range(len(people))):
            frame = frame_of.pop(person.pose.tobytes())
            np.testing.assert_array_equal(person.keypoints, person.pose)
            np.testing.assert_array_equal(pixels_of(person.image), images.read(frame))
            assert len(person.neighbours) == len(frame) - 1
        assert not frame_of

    @pytest.mark.parametrize("frames", [[], [Frame.empty("a.jpg", POSETRACK18)]])
    def test_nobody(self, frames: Sequence[Frame], tmp_path: Path) -> None:
        PoseTrack18().write([PoseSequence("a", list(frames))], tmp_path / "a.json")
        with pytest.raises(UserError, match=f"^{tmp_path}: expected people with keypoints, found none$"):
            AnnotatedPeople(PoseTrack18(), tmp_path, ImageFolder(tmp_path), seed=0)

    def test_no_image(self, path: Path) -> None:
        people = AnnotatedPeople(Counts([1]), path, ImageFolder(path.parent), seed=0)
        with pytest.raises(UserError, match="no such image"):
            pixels_of(people.person(0).image)


class Blank(ImageFolder):
    """Images without files; counts how often they are opened."""

    opened: Counter[str]

    def __init__(self) -> None:
        super().__init__("nowhere")
        object.__setattr__(self, "opened", Counter())

    def size(self, frame: Frame) -> tuple[int, int]:
        self.opened[frame.image] += 1
        return 4, 4


class Counts(Mpii):
    """A format whose files hold frames of given numbers of people, who can be told apart by their keypoints."""

    def __init__(self, counts: list[int]) -> None:
        self._frames = []
        for index, count in enumerate(counts):
            people = 100.0 * index + 1 + np.arange(count)[:, None, None]
            self._frames.append(Frame(f"{index}.jpg", MPII16, np.broadcast_to(people, (count, 16, 2))))

    def read_annotated(self, path: Path) -> list[PoseSequence]:
        return [PoseSequence("a", self._frames)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An annotation file, for formats that do not look into it."""
    (tmp_path / "a.json").touch()
    return tmp_path / "a.json"


class TestOrder:
    @pytest.mark.parametrize("counts", [[1], [3], [5, 1, 9, 4]])
    def test_four_of_an_image_in_a_row(self, counts: list[int], path: Path) -> None:
        images = Blank()
        people = AnnotatedPeople(Counts(counts), path, images, seed=0)
        total, visits = sum(counts), sum(-(-count // PEOPLE_PER_IMAGE) for count in counts)
        for epoch in (0, 1, 2):
            found = [people.person(epoch * total + index).pose[0, 0] for index in range(total)]
            assert len(set(found)) == total
            assert 1 + sum(a // 100 != b // 100 for a, b in pairwise(found)) <= visits
        assert images.opened.total() <= 3 * visits

    def test_the_order_depends_on_epoch_and_seed(self, path: Path) -> None:
        orders = []
        for seed in (0, 0, 1):
            people = AnnotatedPeople(Counts([2] * 9), path, Blank(), seed=seed)
            orders.append([float(people.person(index).pose[0, 0]) for index in range(36)])
        assert orders[0] == orders[1] != orders[2]
        assert orders[0][:18] != orders[0][18:]


class TestHeldOut:
    def test_a_tenth_of_the_images(self) -> None:
        assert 2600 < sum(is_for_training(f"{number:09d}.jpg") for number in range(3000)) < 2800

    @pytest.mark.parametrize("has_validation_file", [False, True])
    def test_nobody_is_in_both(self, has_validation_file: bool, path: Path) -> None:
        validation = path.with_name("valid.json")
        if has_validation_file:
            validation.touch()
        people = AnnotatedPeople(Counts([1] * 40), path, Blank(), seed=0, validation_file=validation)
        expected = {index for index in range(40) if has_validation_file or is_for_training(f"{index}.jpg")}
        assert {people.person(index).pose[0, 0] // 100 for index in range(80)} == expected

    def test_the_first_that_is_there(self, path: Path) -> None:
        assert first_present("anything") == Path("anything")
        assert first_present([path.with_name("b"), path]) == path
        with pytest.raises(UserError, match=r"^expected .*/b or .*/c, found none; set root"):
            first_present([path.with_name("b"), path.with_name("c")])


class TestMixture:
    PARTS: ClassVar = {"a": lambda seed: DotPeople(POSETRACK15), "b": lambda seed: DotPeople(COCO17)}

    def test_skeletons_are_joined_by_name(self) -> None:
        mixed = Mixture(self.PARTS, {"a": 1.0, "b": 1.0}, seed=0)
        assert set(mixed.skeleton.names) == set(POSETRACK15.names) | set(COCO17.names)
        seen = set()
        for person in map(mixed.person, range(0, 80, 4)):
            labelled = {name for name, known in zip(mixed.skeleton.names, person.labelled, strict=True) if known}
            seen.add(len(labelled))
            assert labelled in (set(POSETRACK15.names), set(COCO17.names))
            np.testing.assert_array_equal(np.isnan(person.pose[:, 0]), ~person.labelled)
        assert seen == {15, 17}

    @pytest.mark.parametrize("weights", [{"a": 1.0}, {"a": 1.0, "b": 0.0}, {"a": 3.0, "b": 1.0}, {"a": 1e-9, "b": 5.0}])
    def test_weights(self, weights: dict[str, float]) -> None:
        mixed = Mixture(self.PARTS, weights, seed=0)
        from_b = sum(mixed.person(4 * visit).labelled.sum() == 17 for visit in range(1000))
        assert from_b == pytest.approx(1000 * weights.get("b", 0.0) / sum(weights.values()), abs=1.01)

    def test_everyone_comes_once_before_one_comes_again(self) -> None:
        noted = Mock(wraps=DotPeople(), skeleton=POSETRACK15)
        mixed = Mixture({"a": lambda seed: noted, "b": lambda seed: DotPeople()}, {"a": 1.0, "b": 2.0}, seed=3)
        for index in range(4000):
            mixed.person(index)
        indices = [call.args[0] for call in noted.person.call_args_list]
        assert indices == list(range(len(indices)))
        assert len(indices) == pytest.approx(4000 / 3, abs=8)

        again, late = (Mixture(self.PARTS, {"a": 1.0, "b": 2.0}, seed=3) for _ in range(2))
        late.person(70_000)
        np.testing.assert_array_equal(again.person(5).pose, late.person(5).pose)

    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            ({"c": 1.0}, r"dataset\.parts\.c: expected one of a, b"),
            ({"a": 0.0}, r"dataset\.parts: expected a weight above 0"),
        ],
    )
    def test_refused(self, weights: dict[str, float], message: str) -> None:
        with pytest.raises(UserError, match=message):
            Mixture(self.PARTS, weights, seed=0)

"""Frames as one stream: places, counts, and images read ahead."""

import itertools
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import small_network
from hypothesis import given, settings
from hypothesis import strategies as st

from hpr.crops import Crop
from hpr.images import Image, ImageFolder, read_image
from hpr.inference.batching import PersonCrop
from hpr.inference.engine import Outcome, PassedThrough, PoseRefiner, RefinedPose
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.refining.stream import RefinedPart, refine_parts, refine_sequences, refined_frame
from hpr.refining.tally import Tally
from hpr.skeleton import COCO17, POSETRACK15, POSETRACK18, Skeleton

EMPTY = Frame.empty("none.jpg", POSETRACK15)
SHIFT = np.array([1.0, 2.0])


def refiner(batch_pixels: int = 0, skeleton: Skeleton = POSETRACK15) -> PoseRefiner:
    torch.manual_seed(0)
    return PoseRefiner(small_network(skeleton), "cpu", batch_pixels=batch_pixels)


def pose(seed: int, count: int = 15) -> FloatArray:
    random = np.random.default_rng(seed)
    return np.asarray(random.uniform(0, 1, (count, 2)) * [60, 80] + random.uniform(0, 40))


def frame(image: str, *seeds: int, skeleton: Skeleton = POSETRACK15) -> Frame:
    """A frame with a person for each seed."""
    keypoints = np.array([pose(seed, len(skeleton)) for seed in seeds]).reshape(-1, len(skeleton), 2)
    scores = np.arange(keypoints.shape[0] * keypoints.shape[1]).reshape(keypoints.shape[:2]) / 1000
    return Frame(image, skeleton, keypoints, scores, track_ids=seeds, records=np.array(seeds, np.int64))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (100, 120, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
    return folder


def parts() -> list[list[Frame]]:
    """With frames and whole parts in which nobody is, and one image that is not there."""
    nobody = frame("3.png", 0, 7)
    keypoints = nobody.keypoints.copy()
    keypoints[0] = np.nan
    return [
        [EMPTY, frame("0.png", 1, 2), EMPTY],
        [],
        [frame("1.png", 3), frame("gone.png", 4), frame("2.png", 5, 6)],
        [EMPTY],
        [Frame("3.png", POSETRACK15, keypoints)],
        [],
    ]


def in_place(refined: Iterable[RefinedPart]) -> dict[int, RefinedPart]:
    found = list(refined)
    assert len({part.number for part in found}) == len(found)
    return {part.number: part for part in found}


class Shuffled(PoseRefiner):
    """Moves every pose by SHIFT and returns the results in an order of its own."""

    def __init__(self, seed: int) -> None:
        self.device = torch.device("cpu")
        self._random = np.random.default_rng(seed)

    @property
    def skeleton(self) -> Skeleton:
        return POSETRACK15

    def prepare(self, image: Image, pose: FloatArray, key: Hashable) -> PersonCrop | PassedThrough:
        return PersonCrop(key, Crop(1.0, (1, 1), (0, 0, 1, 1)), image, pose)

    def refine(self, people: Iterable[PersonCrop | PassedThrough]) -> Iterator[RefinedPose | PassedThrough]:
        everyone = list(people)
        for place in self._random.permutation(len(everyone)).tolist():
            person = everyone[place]
            assert isinstance(person, PersonCrop)
            yield RefinedPose(person.key, person.keypoints + SHIFT, np.ones(15))


@pytest.mark.parametrize("given", [[], [[]], [[EMPTY]], [[EMPTY], []]], ids=len)
def test_nothing_to_do(given: list[list[Frame]], root: Path) -> None:
    refined = in_place(refine_parts(refiner(), given, ImageFolder(root), 0.0))
    assert [refined[number].frames for number in range(len(given))] == given
    assert all(part.tally.people == 0 for part in refined.values())
    assert [part.tally.frames for part in refined.values()] == [len(frames) for frames in given]
    sequences = [PoseSequence(str(number), frames) for number, frames in enumerate(given)]
    assert refine_sequences(refiner(), sequences, ImageFolder(root), 0.0) == sequences


def assert_refined(found: dict[int, RefinedPart], given: list[list[Frame]], root: Path) -> None:
    """Checks that each person has what the engine makes of that person alone."""
    engine = refiner()
    assert sorted(found) == list(range(len(given)))
    for number, frames in enumerate(given):
        for after, before in zip(found[number].frames, frames, strict=True):
            assert after.image == before.image
            assert after.track_ids == before.track_ids
            np.testing.assert_array_equal(after.records, before.records)
            expected = before.keypoints
            if before.image != "gone.png" and len(before):
                expected = engine(read_image(root / before.image), before.keypoints, -1.0).keypoints
            np.testing.assert_allclose(after.keypoints, expected, rtol=0, atol=0.005)


@pytest.mark.parametrize("batch_pixels", [0, 20_000, 10**9])
def test_everything_comes_back_in_its_place(batch_pixels: int, root: Path) -> None:
    given, steps = parts(), list[int]()
    found = in_place(refine_parts(refiner(batch_pixels), given, ImageFolder(root), -1.0, steps.append))
    assert [found[number].tally.frames for number in range(6)] == [3, 0, 3, 1, 1, 0]
    assert sum(steps) == 8
    third = found[2].tally
    assert third.outcomes == {Outcome.REFINED: 3, Outcome.BAD_IMAGE: 1}
    ((problem, people),) = third.bad_images.items()
    assert "gone.png: no such image" in problem
    assert people == 1
    assert_refined(found, given, root)


@settings(deadline=None, max_examples=50)
@given(counts=st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=5), seed=st.integers(0, 1000))
def test_in_whatever_order_the_engine_returns_results(counts: list[list[int]], seed: int, root: Path) -> None:
    """Parts, frames and people of any number: each result goes to its own place."""
    seeds = itertools.count()
    given = [[frame("0.png", *itertools.islice(seeds, count)) for count in own] for own in counts]
    found = in_place(refine_parts(Shuffled(seed), given, ImageFolder(root), 0.5))
    assert sorted(found) == list(range(len(given)))
    for number, frames in enumerate(given):
        for after, before in zip(found[number].frames, frames, strict=True):
            np.testing.assert_array_equal(after.keypoints, before.keypoints + SHIFT)
            assert after.track_ids == before.track_ids
        assert found[number].tally.refined == sum(counts[number])


def test_sequences_keep_everything_but_their_frames(root: Path) -> None:
    given = [PoseSequence(f"s{number}", frames, original=object()) for number, frames in enumerate(parts())]
    found = refine_sequences(refiner(), given, ImageFolder(root), -1.0)
    assert [(sequence.name, sequence.original) for sequence in found] == [(s.name, s.original) for s in given]
    refined = {n: RefinedPart(n, sequence.frames, Tally()) for n, sequence in enumerate(found)}
    assert_refined(refined, parts(), root)


def test_parts_come_as_soon_as_they_are_done(root: Path) -> None:
    """One after the other on a CPU, and those without people at once."""
    given = parts()
    numbers = [part.number for part in refine_parts(refiner(), given, ImageFolder(root), 0.0)]
    assert numbers == [1, 3, 5, 0, 2, 4]
    done: list[int] = []
    first = next(refine_parts(refiner(), [given[0], given[2]], ImageFolder(root), 0.0, done.append))
    assert first.number == 0
    assert sum(done) == 2


def test_the_input_is_left_alone(root: Path) -> None:
    given, before = parts(), parts()
    list(refine_parts(refiner(), given, ImageFolder(root), 0.5))
    for frames, frames_before in zip(given, before, strict=True):
        for one, other in zip(frames, frames_before, strict=True):
            np.testing.assert_array_equal(one.keypoints, other.keypoints)
            np.testing.assert_array_equal(one.flags, other.flags)


class Counting(ImageFolder):
    """Notes the images that are read."""

    read_names: list[str] = []  # noqa: RUF012

    def read(self, name: str) -> Image:
        self.read_names.append(name)
        return super().read(name)


def test_images_are_read_a_few_frames_ahead_only(root: Path) -> None:
    frames = [frame(f"{number % 4}.png", number) for number in range(40)]
    images = Counting(root)
    images.read_names.clear()
    done: list[int] = []
    ahead = []

    def progress(count: int) -> None:
        done.append(count)
        ahead.append(len(images.read_names) - len(done))

    list(refine_parts(refiner(), [frames], images, 0.0, progress))
    assert len(done) == 40
    assert max(ahead) <= 4


def test_images_without_people_are_not_read(root: Path) -> None:
    images = Counting(root)
    images.read_names.clear()
    list(refine_parts(refiner(), parts(), images, 0.0))
    assert sorted(images.read_names) == ["0.png", "1.png", "2.png", "3.png", "gone.png"]


def test_a_crowd_is_cut_out_a_few_at_a_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many people a frame holds, the memory for their crops is bounded."""
    engine = refiner()
    alive: set[int] = set()
    most = [0]

    def counted(image: Image, keypoints: FloatArray, key: Hashable) -> PersonCrop | PassedThrough:
        made = prepare(image, keypoints, key)
        alive.add(id(made))
        weakref.finalize(made, alive.discard, id(made))
        most[0] = max(most[0], len(alive))
        return made

    prepare: Callable[..., PersonCrop | PassedThrough] = engine.prepare
    monkeypatch.setattr(engine, "prepare", counted)
    frames = [frame("0.png", *range(40))] * 2
    (part,) = refine_parts(engine, [frames], ImageFolder(root), 0.0)
    assert part.tally.people == 80
    assert [len(own) for own in part.frames] == [40, 40]
    assert 1 <= most[0] <= 8


def test_a_stream_may_be_left_early(root: Path) -> None:
    frames = [frame(f"{number % 4}.png", number) for number in range(40)]
    images = Counting(root)
    images.read_names.clear()
    stream = refine_parts(refiner(), [frames[:1], frames[1:]], images, 0.0)
    assert next(stream).number == 0
    stream.close()  # type: ignore[attr-defined]
    assert len(images.read_names) < 10


class TestBadImages:
    def test_poses_stay_as_they_were(self, root: Path) -> None:
        given = frame("gone.png", 1, 2)
        (part,) = refine_parts(refiner(), [[given]], ImageFolder(root), 0.5)
        for name in ("keypoints", "scores", "flags", "records"):
            np.testing.assert_array_equal(getattr(part.frames[0], name), getattr(given, name))
        assert np.isnan(part.frames[0].confidences).all()
        assert part.tally.outcomes == {Outcome.BAD_IMAGE: 2}
        assert (part.tally.kept, part.tally.dropped, part.tally.added) == (30, 0, 0)
        assert dict(part.tally.bad_images) == {f"{root / 'gone.png'}: no such image": 2}

    def test_one_image_for_several_frames(self, root: Path) -> None:
        """Everyone in it is counted, in the same part and in another."""
        given = [[frame("gone.png", 1, 2), frame("0.png", 3), frame("gone.png", 4)], [frame("gone.png", 5)]]
        found = in_place(refine_parts(refiner(), given, ImageFolder(root), 0.5))
        problem = f"{root / 'gone.png'}: no such image"
        assert [dict(found[number].tally.bad_images) for number in (0, 1)] == [{problem: 3}, {problem: 1}]
        total = Tally()
        for part in found.values():
            total.add(part.tally)
        assert dict(total.bad_images) == {problem: 4}
        assert total.as_json()["bad_images"] == [problem]

    def test_an_image_outside_of_the_folder(self, root: Path) -> None:
        (root / "inner").mkdir(exist_ok=True)
        given = [[frame("../0.png", 1)]]
        (refused,) = refine_parts(refiner(), given, ImageFolder(root / "inner"), 0.0)
        (problem,) = refused.tally.bad_images
        assert problem.endswith("if that is meant, add dataset.outside=true")
        (allowed,) = refine_parts(refiner(), given, ImageFolder(root / "inner", outside=True), 0.0)
        assert allowed.tally.outcomes == {Outcome.REFINED: 1}


class TestOtherSkeletons:
    """The network's and the frame's need not be the same: keypoints go by name."""

    ears = POSETRACK18.indices("left_ear", "right_ear")
    head = POSETRACK18.indices("head_bottom", "head_top")

    def refined(self, skeleton: Skeleton, given: Frame, root: Path, threshold: float = -1.0) -> RefinedPart:
        (part,) = refine_parts(refiner(skeleton=skeleton), [[given]], ImageFolder(root), threshold)
        return part

    def test_posetrack18_frames_keep_their_ears(self, root: Path) -> None:
        given = frame("0.png", 1, 2, skeleton=POSETRACK18)
        part = self.refined(POSETRACK15, given, root)
        (found,) = part.frames
        assert found.skeleton is POSETRACK18
        np.testing.assert_array_equal(found.keypoints[:, self.ears], given.keypoints[:, self.ears])
        np.testing.assert_array_equal(found.flags[:, self.ears], given.flags[:, self.ears])
        assert np.isnan(found.confidences[:, self.ears]).all()
        known = [place for place in range(17) if place not in self.ears]
        assert (found.keypoints[:, known] != given.keypoints[:, known]).all()
        assert not np.isnan(found.confidences[:, known]).any()
        assert (part.tally.kept, part.tally.dropped, part.tally.added) == (30, 0, 0)
        expected = refiner()(read_image(root / "0.png"), POSETRACK18.convert(given.poses, POSETRACK15), threshold=-1.0)
        np.testing.assert_array_equal(found.in_skeleton(POSETRACK15).keypoints, expected.keypoints)

    def test_ears_stay_where_everything_else_is_dropped(self, root: Path) -> None:
        given = frame("0.png", 1, skeleton=POSETRACK18)
        part = self.refined(POSETRACK15, given, root, threshold=1.0)
        assert np.flatnonzero(part.frames[0].present[0]).tolist() == self.ears
        assert (part.tally.kept, part.tally.dropped, part.tally.added) == (0, 15, 0)

    def test_ears_alone_are_nothing_to_start_from(self, root: Path) -> None:
        keypoints = np.full((1, 17, 2), np.nan)
        keypoints[0, self.ears] = [[10, 20], [30, 20]]
        part = self.refined(POSETRACK15, Frame("0.png", POSETRACK18, keypoints), root)
        assert part.tally.outcomes == {Outcome.NO_KEYPOINTS: 1}
        np.testing.assert_array_equal(part.frames[0].keypoints, keypoints)

    def test_a_coco_network_leaves_posetracks_heads_alone(self, root: Path) -> None:
        given = frame("0.png", 1, 2, skeleton=POSETRACK18)
        (found,) = self.refined(COCO17, given, root).frames
        assert found.skeleton is POSETRACK18
        for name in ("keypoints", "flags", "scores"):
            np.testing.assert_array_equal(getattr(found, name)[:, self.head], getattr(given, name)[:, self.head])
        known = [place for place in range(17) if place not in self.head]
        assert (found.keypoints[:, known] != given.keypoints[:, known]).all()
        assert np.isnan(found.confidences[:, self.head]).all()

    def test_a_coco_network_for_coco_frames(self, root: Path) -> None:
        given = frame("0.png", 1, skeleton=COCO17)
        (found,) = self.refined(COCO17, given, root).frames
        expected = refiner(skeleton=COCO17)(read_image(root / "0.png"), given.keypoints, threshold=-1.0)
        np.testing.assert_array_equal(found.keypoints, expected.keypoints)
        np.testing.assert_array_equal(found.confidences, expected.confidence)

    def test_what_the_frame_does_not_have_is_left_out(self, root: Path) -> None:
        given = frame("0.png", 1, skeleton=POSETRACK15)
        (found,) = self.refined(COCO17, given, root).frames
        assert found.keypoints.shape == (1, 15, 2)
        places = POSETRACK15.indices("head_bottom", "head_top")
        np.testing.assert_array_equal(found.keypoints[:, places], given.keypoints[:, places])


class TestRefinedFrame:
    """What a frame becomes, by hand: two of three people are refined."""

    keypoints = np.arange(90.0).reshape(3, 15, 2) + 1

    def refined(self, given: Frame, confidence: Any = 0.6, threshold: float = 0.5) -> tuple[Frame, Tally]:
        results: list[RefinedPose | PassedThrough] = [
            RefinedPose(person, -np.arange(30.0).reshape(15, 2), np.broadcast_to(confidence, 15).astype(float))
            for person in range(len(given))
        ]
        if len(given) == 3:
            results[1] = PassedThrough(1, Outcome.CROP_SIZE)
        tally = Tally()
        return refined_frame(given, results, POSETRACK15, threshold, tally), tally

    def test_nobody(self) -> None:
        given = Frame.empty("a.jpg", POSETRACK15)
        found, tally = self.refined(given)
        assert found is given
        assert tally == Tally(frames=1)

    def test_kept_keypoints_have_flag_1_and_the_score_of_their_place(self) -> None:
        flags, scores = np.full((3, 15), 0.3), np.linspace(0, 1, 45).reshape(3, 15)
        given = Frame("a.jpg", POSETRACK15, self.keypoints, scores, flags, track_ids=(1, 2, 3))
        found, tally = self.refined(given)
        for person in (0, 2):
            np.testing.assert_array_equal(found.keypoints[person], -np.arange(30.0).reshape(15, 2))
            assert (found.flags[person] == 1).all()
            assert (found.confidences[person] == 0.6).all()
        np.testing.assert_array_equal(found.keypoints[1], self.keypoints[1])
        assert (found.flags[1] == 0.3).all()
        assert np.isnan(found.confidences[1]).all()
        np.testing.assert_array_equal(found.scores, scores)
        assert found.track_ids == (1, 2, 3)
        assert tally.outcomes == {Outcome.REFINED: 2, Outcome.CROP_SIZE: 1}
        assert (tally.kept, tally.dropped, tally.added) == (45, 0, 0)
        assert not tally.bad_images

    def test_dropped_and_added_keypoints(self) -> None:
        keypoints, flags = self.keypoints.copy(), np.ones((3, 15))
        keypoints[:, 0] = np.nan  # missing
        keypoints[:, 1] = np.inf  # no number
        keypoints[:, 2] = -600  # below the cutoff
        flags[:, 0], flags[:, 3] = 0, 0  # not flagged
        confidence = np.full(15, 0.6)
        confidence[[1, 5, 6]] = 0.5  # at the threshold: dropped
        given = Frame("a.jpg", POSETRACK15, keypoints, flags=flags)
        found, tally = self.refined(given, confidence)
        for person in (0, 2):
            assert np.flatnonzero(np.isnan(found.keypoints[person, :, 0])).tolist() == [1, 5, 6]
            assert np.flatnonzero(found.flags[person] == 0).tolist() == [1, 5, 6]
            np.testing.assert_array_equal(found.confidences[person], confidence)
        np.testing.assert_array_equal(found.keypoints[1], keypoints[1])
        np.testing.assert_array_equal(found.flags[1], flags[1])
        # Of each of the two: nine kept, two dropped, and 0, 2 and 3 added; eleven of the third stay.
        assert (tally.kept, tally.dropped, tally.added) == (2 * 9 + 11, 2 * 2, 2 * 3)

    def test_nothing_else_changes(self) -> None:
        given = Frame(
            "a.jpg",
            POSETRACK15,
            self.keypoints,
            boxes=np.ones((3, 4)),
            head_boxes=np.zeros((3, 4)),
            posed=np.array([True, False, True]),
            records=np.array([4, 5, 6]),
            ignore_regions=(np.zeros((3, 2)),),
            size=(640, 480),
        )
        found, _ = self.refined(given)
        names = ("image", "skeleton", "boxes", "head_boxes", "posed", "records", "ignore_regions", "size", "track_ids")
        assert all(getattr(found, name) is getattr(given, name) for name in names)


class TestTally:
    def test_nothing(self) -> None:
        tally = Tally()
        assert (tally.people, tally.refined, tally.passed_through) == (0, 0, 0)
        tally.add(Tally())
        assert tally == Tally()
        assert tally.as_json() == {
            "frames": 0,
            "persons": {"seen": 0, "refined": 0, "passed_through": 0, "reasons": {}},
            "joints": {"kept": 0, "dropped": 0, "added": 0},
            "bad_images": [],
        }

    def test_counts_of_several(self) -> None:
        first, second = Tally(frames=1), Tally(frames=2)
        first.outcomes.update([Outcome.REFINED, Outcome.REFINED, Outcome.CROP_SIZE])
        second.outcomes.update([Outcome.REFINED, Outcome.BAD_IMAGE])
        first.count_keypoints(np.array([[True, True, False, False]]), np.array([[True, False, True, False]]))
        second.count_keypoints(np.array([[True, True]]), np.array([[False, False]]))
        second.bad_images["gone.png"] += 1
        total = Tally()
        total.add(first)
        total.add(second)
        assert (total.people, total.refined, total.passed_through) == (5, 3, 2)
        assert total.as_json() == {
            "frames": 3,
            "persons": {
                "seen": 5,
                "refined": 3,
                "passed_through": 2,
                "reasons": {Outcome.CROP_SIZE.value: 1, Outcome.BAD_IMAGE.value: 1},
            },
            "joints": {"kept": 1, "dropped": 3, "added": 1},
            "bad_images": ["gone.png"],
        }
        assert first.people == 3  # what was added is as it was


def test_parts_of_frames_with_the_same_people_are_kept_apart(root: Path) -> None:
    """Keys are places, not who or what is there."""
    same = frame("0.png", 1)
    other = replace(same, image="1.png")
    found = in_place(refine_parts(refiner(10**9), [[same, other], [other, same]], ImageFolder(root), -1.0))
    for number, order in ((0, (0, 1)), (1, (1, 0))):
        for place, image in enumerate(order):
            expected = refiner()(read_image(root / f"{image}.png"), same.keypoints, -1.0).keypoints
            np.testing.assert_allclose(found[number].frames[place].keypoints, expected, rtol=0, atol=0.005)

"""Frames as one stream: places, counts, and images read ahead."""

import itertools
import json
import threading
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

from hpr.crops import Crop, ScaleRule, body_scale, person_scale
from hpr.errors import UserError
from hpr.images import Image, ImageFolder, read_image
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.refine.batching import PersonCrop
from hpr.refine.engine import Outcome, PassedThrough, PoseRefiner, RefinedPose
from hpr.refine.files import PoseFile, check_images
from hpr.refine.objective import MAP, Objective
from hpr.refine.stream import RefinedPart, refine_parts, refine_sequences, refined_frame
from hpr.refine.tally import EXAMPLES, MOVED_MOST, Place, Tally
from hpr.skeleton import COCO17, POSETRACK15, POSETRACK18, SKELETONS, Skeleton
from hpr.video import Video

EMPTY = Frame.empty("none.jpg", POSETRACK15)
SHIFT = np.array([1.0, 2.0])
EVERYTHING, HALF = Objective(keep=-1.0, add=-1.0), Objective(keep=0.5, add=0.5)
MEAN_HEAD_SCALE = 0.8452830189 * 50 / (0.6 * 101.4252)


def refiner(batch_pixels: int = 0, skeleton: Skeleton = POSETRACK15, scale: ScaleRule = "published") -> PoseRefiner:
    torch.manual_seed(0)
    return PoseRefiner(small_network(skeleton), "cpu", batch_pixels=batch_pixels, scale=scale)


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

    def scales(self, frame: Frame) -> list[float]:
        return [1.0] * len(frame)

    def prepare(
        self,
        image: Image,
        pose: FloatArray,
        key: Hashable,
        scale: float | None = None,
        scores: FloatArray | None = None,
    ) -> PersonCrop | PassedThrough:
        assert scale == 1.0
        return PersonCrop(key, Crop(1.0, (1, 1), (0, 0, 1, 1)), image, pose)

    def refine(self, people: Iterable[PersonCrop | PassedThrough]) -> Iterator[RefinedPose | PassedThrough]:
        everyone = list(people)
        for place in self._random.permutation(len(everyone)).tolist():
            person = everyone[place]
            assert isinstance(person, PersonCrop)
            yield RefinedPose(person.key, person.keypoints + SHIFT, np.ones(15), person.crop.head_size)


@pytest.mark.parametrize("given", [[], [[]], [[EMPTY]], [[EMPTY], []]], ids=len)
def test_nothing_to_do(given: list[list[Frame]], root: Path) -> None:
    refined = in_place(refine_parts(refiner(), given, ImageFolder(root), MAP))
    assert [refined[number].frames for number in range(len(given))] == given
    assert all(part.tally.people == 0 for part in refined.values())
    assert [part.tally.frames for part in refined.values()] == [len(frames) for frames in given]
    sequences = [PoseSequence(str(number), frames) for number, frames in enumerate(given)]
    assert refine_sequences(refiner(), sequences, ImageFolder(root), MAP) == sequences


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
    found = in_place(refine_parts(refiner(batch_pixels), given, ImageFolder(root), EVERYTHING, steps.append))
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
    found = in_place(refine_parts(Shuffled(seed), given, ImageFolder(root), MAP))
    assert sorted(found) == list(range(len(given)))
    for number, frames in enumerate(given):
        for after, before in zip(found[number].frames, frames, strict=True):
            np.testing.assert_array_equal(after.keypoints, before.keypoints + SHIFT)
            assert after.track_ids == before.track_ids
        assert found[number].tally.refined == sum(counts[number])


def test_sequences_keep_everything_but_their_frames(root: Path) -> None:
    given = [PoseSequence(f"s{number}", frames, original=object()) for number, frames in enumerate(parts())]
    found = refine_sequences(refiner(), given, ImageFolder(root), EVERYTHING)
    assert [(sequence.name, sequence.original) for sequence in found] == [(s.name, s.original) for s in given]
    refined = {n: RefinedPart(n, sequence.frames, Tally()) for n, sequence in enumerate(found)}
    assert_refined(refined, parts(), root)


def test_parts_come_as_soon_as_they_are_done(root: Path) -> None:
    """One after the other on a CPU, and those without people at once."""
    given = parts()
    numbers = [part.number for part in refine_parts(refiner(), given, ImageFolder(root), MAP)]
    assert numbers == [1, 3, 5, 0, 2, 4]
    done: list[int] = []
    first = next(refine_parts(refiner(), [given[0], given[2]], ImageFolder(root), MAP, done.append))
    assert first.number == 0
    assert sum(done) == 2


def test_the_input_is_left_alone(root: Path) -> None:
    given, before = parts(), parts()
    list(refine_parts(refiner(), given, ImageFolder(root), MAP))
    for frames, frames_before in zip(given, before, strict=True):
        for one, other in zip(frames, frames_before, strict=True):
            np.testing.assert_array_equal(one.keypoints, other.keypoints)
            np.testing.assert_array_equal(one.flags, other.flags)


class Counting(ImageFolder):
    """Notes the images that are read."""

    read_names: list[str] = []  # noqa: RUF012

    def read(self, frame: Frame) -> Image:
        self.read_names.append(frame.image)
        return super().read(frame)


def test_images_are_read_a_few_frames_ahead_only(root: Path) -> None:
    frames = [frame(f"{number % 4}.png", number) for number in range(40)]
    images = Counting(root)
    images.read_names.clear()
    done: list[int] = []
    ahead = []

    def progress(count: int) -> None:
        done.append(count)
        ahead.append(len(images.read_names) - len(done))

    list(refine_parts(refiner(), [frames], images, MAP, progress))
    assert len(done) == 40
    assert max(ahead) <= 4


def test_images_without_people_are_not_read(root: Path) -> None:
    images = Counting(root)
    images.read_names.clear()
    list(refine_parts(refiner(), parts(), images, MAP))
    assert sorted(images.read_names) == ["0.png", "1.png", "2.png", "3.png", "gone.png"]


def test_a_crowd_is_cut_out_a_few_at_a_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many people a frame holds, the memory for their crops is bounded."""
    engine = refiner()
    alive: set[int] = set()
    most = [0]

    def counted(*arguments: Any) -> PersonCrop | PassedThrough:
        made = prepare(*arguments)
        alive.add(id(made))
        weakref.finalize(made, alive.discard, id(made))
        most[0] = max(most[0], len(alive))
        return made

    prepare: Callable[..., PersonCrop | PassedThrough] = engine.prepare
    monkeypatch.setattr(engine, "prepare", counted)
    frames = [frame("0.png", *range(40))] * 2
    (part,) = refine_parts(engine, [frames], ImageFolder(root), MAP)
    assert part.tally.people == 80
    assert [len(own) for own in part.frames] == [40, 40]
    assert 1 <= most[0] <= 8


def test_a_stream_may_be_left_early(root: Path) -> None:
    frames = [frame(f"{number % 4}.png", number) for number in range(40)]
    images = Counting(root)
    images.read_names.clear()
    stream = refine_parts(refiner(), [frames[:1], frames[1:]], images, MAP)
    assert next(stream).number == 0
    stream.close()  # type: ignore[attr-defined]
    assert len(images.read_names) < 10


class TestBadImages:
    def test_poses_stay_as_they_were(self, root: Path) -> None:
        given = frame("gone.png", 1, 2)
        (part,) = refine_parts(refiner(), [[given]], ImageFolder(root), MAP)
        for name in ("keypoints", "scores", "flags", "records"):
            np.testing.assert_array_equal(getattr(part.frames[0], name), getattr(given, name))
        assert np.isnan(part.frames[0].confidences).all()
        assert part.tally.outcomes == {Outcome.BAD_IMAGE: 2}
        assert (part.tally.kept, part.tally.dropped, part.tally.added) == (30, 0, 0)
        assert dict(part.tally.bad_images) == {f"{root / 'gone.png'}: no such image": 2}

    def test_one_image_for_several_frames(self, root: Path) -> None:
        """Everyone in it is counted, in the same part and in another."""
        given = [[frame("gone.png", 1, 2), frame("0.png", 3), frame("gone.png", 4)], [frame("gone.png", 5)]]
        found = in_place(refine_parts(refiner(), given, ImageFolder(root), MAP))
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
        (refused,) = refine_parts(refiner(), given, ImageFolder(root / "inner"), MAP)
        (problem,) = refused.tally.bad_images
        assert problem.endswith("if that is meant, add dataset.outside=true")
        (allowed,) = refine_parts(refiner(), given, ImageFolder(root / "inner", outside=True), MAP)
        assert allowed.tally.outcomes == {Outcome.REFINED: 1}


class TestOtherSkeletons:
    """The network's and the frame's need not be the same: keypoints go by name."""

    ears = POSETRACK18.indices("left_ear", "right_ear")
    head = POSETRACK18.indices("head_bottom", "head_top")

    def refined(self, skeleton: Skeleton, given: Frame, root: Path, threshold: float = -1.0) -> RefinedPart:
        objective = Objective(keep=threshold, add=threshold)
        (part,) = refine_parts(refiner(skeleton=skeleton), [[given]], ImageFolder(root), objective)
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
        assert found.skeleton == POSETRACK18.joined(COCO17)
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

    @pytest.mark.parametrize("threshold", [-1.0, 1.0])
    def test_what_only_the_network_knows_stands_behind_the_rest(self, threshold: float, root: Path) -> None:
        """Of the four of a COCO network that PoseTrack 2017 does not have."""
        given = frame("0.png", 1, 2, skeleton=POSETRACK15)
        part = self.refined(COCO17, given, root, threshold)
        (found,) = part.frames
        assert found.skeleton.names == (*POSETRACK15.names, "left_eye", "right_eye", "left_ear", "right_ear")
        start = POSETRACK15.convert(given.poses, COCO17)
        expected = refiner(skeleton=COCO17)(read_image(root / "0.png"), start, threshold)
        np.testing.assert_array_equal(found.in_skeleton(COCO17).keypoints, expected.keypoints)
        np.testing.assert_array_equal(found.in_skeleton(COCO17).confidences, expected.confidence)
        assert (found.flags[:, 15:] == (threshold < 0)).all()
        assert np.isnan(found.scores[:, 15:]).all()
        head = POSETRACK15.indices("head_bottom", "head_top")
        np.testing.assert_array_equal(found.keypoints[:, head], given.keypoints[:, head])
        assert part.tally.kept + part.tally.dropped == 2 * 13  # the frame's own that the network knows
        assert part.tally.added == 0

    def test_a_posetrack_network_adds_heads_to_coco(self, root: Path) -> None:
        given = frame("0.png", 1, skeleton=COCO17)
        part = self.refined(POSETRACK15, given, root)
        (found,) = part.frames
        assert found.skeleton == COCO17.joined(POSETRACK15)
        assert found.present[0, found.skeleton.indices("head_bottom", "head_top")].all()
        assert (part.tally.kept, part.tally.dropped, part.tally.added) == (13, 0, 0)
        face = COCO17.indices("left_eye", "right_eye", "left_ear", "right_ear")
        np.testing.assert_array_equal(found.in_skeleton(COCO17).keypoints[:, face], given.keypoints[:, face])

    def test_all_frames_of_a_part_have_one_skeleton(self, root: Path) -> None:
        """Also those without people, and those whose image is not there."""
        given = [frame(image, *seeds, skeleton=COCO17) for image, *seeds in (("0.png",), ("0.png", 1), ("gone.png", 2))]
        (part,) = refine_parts(refiner(), [given], ImageFolder(root), EVERYTHING)
        assert {own.skeleton for own in part.frames} == {COCO17.joined(POSETRACK15)}
        nobody, _, passed = part.frames
        assert len(nobody) == 0
        np.testing.assert_array_equal(passed.in_skeleton(COCO17).keypoints, given[2].keypoints)
        assert (passed.flags[:, 17:] == 0).all()
        assert np.isnan(passed.keypoints[:, 17:]).all()
        assert (part.tally.kept, part.tally.dropped, part.tally.added) == (26, 0, 0)


class TestJoinedSkeletons:
    @pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=list(SKELETONS))
    def test_nothing_new(self, skeleton: Skeleton) -> None:
        assert skeleton.joined(skeleton) is skeleton
        assert skeleton.joined(Skeleton((), (), ())) is skeleton
        assert POSETRACK18.joined(POSETRACK15) is POSETRACK18

    def test_by_hand(self) -> None:
        first = Skeleton(("nose", "neck"), (("nose", "neck"),), (0.1, 0.2), "a")
        second = Skeleton(
            ("top", "neck", "nose", "tail"), (("neck", "nose"), ("nose", "top")), (0.3, 0.4, 0.5, 0.6), "b"
        )
        assert first.joined(second) == Skeleton(
            ("nose", "neck", "top", "tail"), (("nose", "neck"), ("nose", "top")), (0.1, 0.2, 0.3, 0.6), "a+b"
        )

    @pytest.mark.parametrize("first", SKELETONS.values(), ids=list(SKELETONS))
    def test_of_any_two(self, first: Skeleton) -> None:
        for second in SKELETONS.values():
            joined = first.joined(second)
            assert joined.names[: len(first)] == first.names
            assert set(joined.names) == {*first.names, *second.names}
            limbs = [frozenset(limb) for limb in joined.limbs]
            others = second.limbs if set(second.names) - set(first.names) else ()
            assert set(limbs) == {frozenset(limb) for limb in (*first.limbs, *others)}
            assert len(set(limbs)) == len(limbs)
            assert joined.joined(second) is joined
            assert [joined.mirror[place] for place in joined.mirror] == list(range(len(joined)))


class TestScale:
    """Whose size is measured how: by the network's head, or by the frame's whole body."""

    def crops(self, engine: PoseRefiner, given: Frame, root: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        scales: list[float] = []
        prepare: Callable[..., PersonCrop | PassedThrough] = engine.prepare

        def noted(*arguments: Any) -> PersonCrop | PassedThrough:
            made = prepare(*arguments)
            assert isinstance(made, PersonCrop)
            scales.append(made.crop.scale)
            return made

        monkeypatch.setattr(engine, "prepare", noted)
        list(refine_parts(engine, [[given]], ImageFolder(root), MAP))
        return scales

    def test_by_the_head(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        given = frame("0.png", 1, 2, skeleton=POSETRACK18)
        expected = [person_scale(pose, POSETRACK18) for pose in given.poses]
        assert self.crops(refiner(), given, root, monkeypatch) == expected
        assert self.crops(refiner(), frame("0.png", 1, skeleton=COCO17), root, monkeypatch) == [MEAN_HEAD_SCALE]

    def test_by_the_body(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """By the frame's keypoints: of these, the network knows the nose alone."""
        keypoints = np.full((2, 17, 2), np.nan)
        face = COCO17.indices("nose", "left_eye", "right_eye", "left_ear", "right_ear")
        keypoints[0, face] = [[50, 60], [54, 56], [46, 56], [60, 58], [40, 58]]
        keypoints[1, 0] = 70, 60
        boxes = np.array([[np.nan] * 4, [50, 10, 90, 100]])
        given = Frame("0.png", COCO17, keypoints, boxes=boxes)
        expected = [body_scale(keypoints[0], COCO17), body_scale(keypoints[1], COCO17, boxes[1])]
        assert self.crops(refiner(scale="body"), given, root, monkeypatch) == expected
        assert len({*expected, MEAN_HEAD_SCALE}) == 3

    def test_a_box_that_is_no_number(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        given = replace(frame("0.png", 1), boxes=np.array([[-np.inf, 0, np.inf, np.nan]]))
        (found,) = self.crops(refiner(scale="body"), given, root, monkeypatch)
        assert found == body_scale(given.poses[0], POSETRACK15)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (128, 96))
    for number in range(12):
        noise = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        writer.write(cv2.resize(noise, (128, 96), interpolation=cv2.INTER_CUBIC))
    writer.release()
    return path


class TestVideos:
    """Frames of a video are asked for by one thread, in their order."""

    def frames(self, *numbers: int | None) -> list[Frame]:
        return [replace(frame("", seed), number=number) for seed, number in enumerate(numbers)]

    @pytest.mark.parametrize("start", [0, 5])
    def test_each_pose_sees_its_frame(self, start: int, clip: Path) -> None:
        """Also where another process has the first part of the video."""
        given = [[EMPTY, *self.frames(start, start + 2), EMPTY], self.frames(start + 3, start + 6)]
        found = in_place(refine_parts(refiner(), given, Video(clip), EVERYTHING))
        for number, frames in enumerate(given):
            for after, before in zip(found[number].frames, frames, strict=True):
                if len(before):
                    expected = refiner()(Video(clip).read(before), before.keypoints, -1.0).keypoints
                    np.testing.assert_array_equal(after.keypoints, expected)

    def test_one_thread_asks_in_order(self, clip: Path) -> None:
        asked: list[tuple[int, int | None]] = []

        class Noted(Video):
            def read(self, frame: Frame) -> Image:
                asked.append((threading.get_ident(), frame.number))
                return super().read(frame)

        engine = Shuffled(0)
        engine.device = torch.device("cuda")  # for which images are read in several threads
        list(refine_parts(engine, [self.frames(*range(6)), [EMPTY], self.frames(*range(6, 12))], Noted(clip), MAP))
        assert [number for _, number in asked] == list(range(12))
        assert len({thread for thread, _ in asked}) == 1

    def test_frames_without_people_are_not_read(self, clip: Path) -> None:
        empty = replace(EMPTY, number=99)
        (part,) = refine_parts(refiner(), [[empty, *self.frames(11), empty]], Video(clip), MAP)
        assert part.tally.outcomes == {Outcome.REFINED: 1}

    def test_a_video_that_has_none_of_the_frames(self, clip: Path) -> None:
        def files(*numbers: int | None) -> list[PoseFile]:
            return [PoseFile(Path("a"), [PoseSequence("a", self.frames(*numbers))])]

        check_images(files(12, 11), Video(clip))
        with pytest.raises(UserError) as error:
            check_images(files(12, 13), Video(clip))
        assert str(error.value) == f"{clip}: expected frame 12 and 1 more images, found none"
        with pytest.raises(UserError, match="the poses do not say which frame"):
            check_images(files(None), Video(clip))

    def test_frames_that_the_video_does_not_have(self, clip: Path) -> None:
        (part,) = refine_parts(refiner(), [self.frames(3, 11, 12, None)], Video(clip), EVERYTHING)
        assert part.tally.outcomes == {Outcome.REFINED: 2, Outcome.BAD_IMAGE: 2}
        assert list(part.tally.bad_images) == [
            f"{clip}: has 12 frames, numbered from 0; frame 12 was asked for",
            f"{clip}: the poses do not say which frame of the video they are of",
        ]


class TestRefinedFrame:
    """What a frame becomes, by hand: two of three people are refined."""

    keypoints = np.arange(90.0).reshape(3, 15, 2) + 1

    def refined(self, given: Frame, confidence: Any = 0.6, objective: Objective = HALF) -> tuple[Frame, Tally]:
        found, sure = -np.arange(30.0).reshape(15, 2), np.broadcast_to(confidence, 15).astype(float)
        results: list[RefinedPose | PassedThrough] = [
            RefinedPose(person, found, sure, 10.0) for person in range(len(given))
        ]
        if len(given) == 3:
            results[1] = PassedThrough(1, Outcome.CROP_SIZE)
        tally = Tally()
        return refined_frame(given, results, POSETRACK15, objective, tally), tally

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
        assert tally.examples == {Outcome.CROP_SIZE: [(0, "a.jpg")]}
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

    def test_keeping_and_adding_are_apart(self) -> None:
        keypoints = self.keypoints.copy()
        keypoints[:, :6] = np.nan
        confidence = np.tile([0.2, 0.5, 0.8], 5)
        found, tally = self.refined(Frame("a.jpg", POSETRACK15, keypoints), confidence, Objective(keep=0.2, add=0.5))
        for person in (0, 2):
            kept = ~np.isnan(found.keypoints[person, :, 0])
            assert np.flatnonzero(kept).tolist() == [2, 5, 7, 8, 10, 11, 13, 14]
            np.testing.assert_array_equal(found.flags[person], kept)
        assert (tally.kept, tally.dropped, tally.added) == (2 * 6 + 9, 2 * 3, 2 * 2)

    def test_how_far_poses_moved(self) -> None:
        """By what the network proposes, whatever is kept of it; of keypoints that are in the input."""
        keypoints = -np.arange(30.0).reshape(15, 2) + [[3, 4]]  # 5 pixels off
        keypoints[0] = np.nan
        for keep in (0.0, 0.9):
            _, tally = self.refined(
                Frame("a.jpg", POSETRACK15, keypoints[None]), objective=Objective(keep=keep, add=keep)
            )
            assert tally.moved == {50: 1}
            assert tally.moved_most == [(0.5, 0, "a.jpg")]
            assert tally.confidences == {12: 15}
        _, tally = self.refined(Frame("a.jpg", POSETRACK15, np.repeat(keypoints[None], 3, axis=0)))
        assert tally.moved == {50: 2}  # one of the three is passed through

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
            "movement": {"median": None, "p95": None, "above_half_a_head": None, "poses": 0},
        }
        assert Tally.from_entry(json.loads(json.dumps(tally.as_entry()))) == tally

    @pytest.mark.parametrize(
        ("moved", "median", "p95", "above"),
        [
            ([0], 0.0, 0.0, 0.0),
            ([0.5], 0.5, 0.5, 0.0),
            ([0.5001], 0.51, 0.51, 1.0),
            ([0.1, 0.2, 0.3, 7], 0.2, 7.0, 0.25),
            ([0.015] * 95 + [1e300] * 5, 0.02, 0.02, 0.05),
            ([0.015] * 94 + [np.inf] * 6, 0.02, 10.0, 0.06),
        ],
    )
    def test_movement(self, moved: list[float], median: float, p95: float, above: float) -> None:
        halves = Tally(), Tally()
        for place, distance in enumerate(moved):
            halves[place % 2].count_movement(distance)
        total = Tally()
        for half in halves:
            total.add(half)
        found = total.as_json()["movement"]
        assert found == {"median": median, "p95": p95, "above_half_a_head": above, "poses": len(moved)}
        assert Tally.from_entry(json.loads(json.dumps(total.as_entry()))) == total

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
            "movement": {"median": None, "p95": None, "above_half_a_head": None, "poses": 0},
        }
        assert first.people == 3  # what was added is as it was

    def test_frames_that_moved_most(self) -> None:
        tally = Tally()
        for number in range(100):
            outcomes = [Outcome.REFINED, Outcome.REFINED, Outcome.NO_KEYPOINTS]
            tally.note_frame(
                Place(number, f"{number}.jpg"), outcomes, [(37 * number % 100) / 10, 1e300 * (number == 7)]
            )
            tally.frames += 1
        assert [frame.heads for frame in tally.moved_most][:3] == [10.0, 4.95, 4.9]
        assert tally.moved_most[0].image == "7.jpg"
        assert len(tally.moved_most) == MOVED_MOST
        assert tally.examples == {Outcome.NO_KEYPOINTS: [Place(n, f"{n}.jpg") for n in range(EXAMPLES)]}
        assert Tally.from_entry(json.loads(json.dumps(tally.as_entry()))).moved_most == tally.moved_most

    def test_places_in_later_parts_of_a_sequence(self) -> None:
        """A sequence that is cut between frames is as if it were whole."""
        whole, total = Tally(), Tally()
        for part in range(3):
            own = Tally()
            for number in range(4):
                heads = [0.1 * ((5 * number + 3 * part) % 7)]
                outcomes = [Outcome.REFINED, *[Outcome.TINY_IMAGE] * (number % 2)]
                for tally, place in ((own, number), (whole, 4 * part + number)):
                    tally.note_frame(Place(place, "same.jpg"), outcomes, heads)
                    tally.frames += 1
            total.add(own)
        assert total == whole
        assert total.examples[Outcome.TINY_IMAGE][-1].frame == 9

    def test_confidences(self) -> None:
        halves = Tally(), Tally()
        halves[0].count_confidences(np.array([0.0, 0.049, 0.05, 0.999]))
        halves[1].count_confidences(np.array([1.0, 0.5]))
        total = Tally()
        for half in halves:
            total.add(half)
        assert total.confidences == {0: 2, 1: 1, 10: 1, 19: 2}
        assert Tally.from_entry(json.loads(json.dumps(total.as_entry()))) == total


def test_parts_of_frames_with_the_same_people_are_kept_apart(root: Path) -> None:
    """Keys are places, not who or what is there."""
    same = frame("0.png", 1)
    other = replace(same, image="1.png")
    found = in_place(refine_parts(refiner(10**9), [[same, other], [other, same]], ImageFolder(root), EVERYTHING))
    for number, order in ((0, (0, 1)), (1, (1, 0))):
        for place, image in enumerate(order):
            expected = refiner()(read_image(root / f"{image}.png"), same.keypoints, -1.0).keypoints
            np.testing.assert_allclose(found[number].frames[place].keypoints, expected, rtol=0, atol=0.005)

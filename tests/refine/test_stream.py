"""Frames as one stream: every result in its frame, images decoded ahead, and other skeletons."""

import itertools
import threading
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import small_network
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hpr.images import Image, ImageFolder, ImageSource, read_image
from hpr.poses import Frame, PoseSequence
from hpr.refine.batching import PersonCrop
from hpr.refine.engine import PoseRefiner
from hpr.refine.objective import MAP, Objective
from hpr.refine.results import Outcome, RefinedPose
from hpr.refine.sharing import Part, RefinedPart
from hpr.refine.stream import refine_parts
from hpr.skeleton import COCO17, POSETRACK15, POSETRACK18, Skeleton
from hpr.video import Video

EMPTY = Frame.empty("none.jpg", POSETRACK15)
SHIFT = np.array([1.0, 2.0])
NOTHING = Objective(keep=0.999, add=0.999)


def refiner(batch_pixels: int = 0, skeleton: Skeleton = POSETRACK15) -> PoseRefiner:
    torch.manual_seed(0)
    return PoseRefiner(small_network(skeleton), "cpu", batch_pixels=batch_pixels, scale="published")


def frame(image: str, *seeds: int, skeleton: Skeleton = POSETRACK15) -> Frame:
    """Returns a frame with a person for each seed."""
    poses = []
    for seed in seeds:
        random = np.random.default_rng(seed)
        poses.append(random.uniform(0, 1, (len(skeleton), 2)) * [60, 80] + random.uniform(0, 40))
    keypoints = np.array(poses).reshape(-1, len(skeleton), 2)
    scores = np.arange(keypoints.shape[0] * keypoints.shape[1]).reshape(keypoints.shape[:2]) / 1000
    return Frame(image, skeleton, keypoints, scores, track_ids=seeds, records=np.array(seeds, np.int64))


def stream(
    engine: PoseRefiner, given: list[list[Frame]], images: ImageSource, objective: Objective = MAP, **settings: Any
) -> Iterator[RefinedPart]:
    """Refines lists of frames, each as a part."""
    sequences = [PoseSequence(str(index), frames) for index, frames in enumerate(given)]
    parts = [Part(0, index, 0, len(own.frames), own.people) for index, own in enumerate(sequences)]
    return refine_parts(engine, [sequences], parts, images, objective, **settings)


def in_order(refined: Iterable[RefinedPart]) -> list[RefinedPart]:
    parts = sorted(refined, key=lambda refined: refined.part.sequence)
    assert [refined.part.sequence for refined in parts] == list(range(len(parts)))
    return parts


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for index in range(4):
        pixels = np.random.default_rng(index).integers(0, 256, (100, 120, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), pixels)
    return folder


def frames_of_six_parts() -> list[list[Frame]]:
    """Frames and parts without people, an image that is not there, and one image with poses of the same people."""
    without_keypoints = frame("3.png", 0, 7)
    without_keypoints.keypoints[0] = np.nan
    return [
        [EMPTY, frame("0.png", 1, 2), EMPTY],
        [],
        [frame("1.png", 3), frame("gone.png", 4), frame("2.png", 5, 6)],
        [EMPTY],
        [Frame("3.png", POSETRACK15, without_keypoints.keypoints)],
        [frame("2.png", 3), frame("1.png", 3)],
    ]


@pytest.mark.parametrize("batch_pixels", [0, 20_000, 10**9])
def test_everyone_gets_what_they_would_get_alone(batch_pixels: int, root: Path) -> None:
    given, steps, engine = frames_of_six_parts(), list[int](), refiner()
    parts = in_order(stream(refiner(batch_pixels), given, ImageFolder(root), progress=steps.append))
    assert [refined.tally.frames for refined in parts] == [3, 0, 3, 1, 1, 2]
    assert sum(steps) == 10
    assert parts[2].tally.outcomes == {Outcome.REFINED: 3, Outcome.BAD_IMAGE: 1}
    assert parts[4].tally.outcomes == {Outcome.NO_KEYPOINTS: 1, Outcome.REFINED: 1}

    for refined, frames in zip(parts, given, strict=True):
        for after, before in zip(refined.frames, frames, strict=True):
            assert (after.image, after.track_ids) == (before.image, before.track_ids)
            np.testing.assert_array_equal(after.records, before.records)
            expected = before.keypoints
            if before.image != "gone.png" and len(before):
                expected = engine(read_image(root / before.image), before.keypoints).keypoints
            np.testing.assert_allclose(after.keypoints, expected, rtol=0, atol=0.005)

    for frames, unchanged in zip(given, frames_of_six_parts(), strict=True):
        for own, other in zip(frames, unchanged, strict=True):
            np.testing.assert_array_equal(own.keypoints, other.keypoints)
            np.testing.assert_array_equal(own.flags, other.flags)


class Shuffled(PoseRefiner):
    """Moves every pose by SHIFT and returns the results in random order."""

    def refine_crops(self, people: Iterable[PersonCrop | RefinedPose]) -> Iterator[RefinedPose]:
        everyone = list(people)
        for index in np.random.default_rng(len(everyone)).permutation(len(everyone)).tolist():
            person = everyone[index]
            assert isinstance(person, PersonCrop)
            pose = person.crop.to_image(person.keypoints) + SHIFT
            yield RefinedPose(person.key, Outcome.REFINED, "", pose, np.ones(15), 0.0)


@settings(deadline=None, max_examples=50)
@given(counts=st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=5))
@example(counts=[])
@example(counts=[[], [0]])
def test_the_order_of_results_does_not_matter(counts: list[list[int]], root: Path) -> None:
    seeds = itertools.count()
    given = [[frame("0.png", *itertools.islice(seeds, count)) for count in own] for own in counts]
    parts = in_order(stream(Shuffled(small_network(), "cpu"), given, ImageFolder(root)))
    for refined, frames, own in zip(parts, given, counts, strict=True):
        assert (refined.tally.refined, refined.tally.frames) == (sum(own), len(own))
        for after, before in zip(refined.frames, frames, strict=True):
            np.testing.assert_allclose(after.keypoints, before.keypoints + SHIFT)
            assert after.track_ids == before.track_ids


def test_parts_come_as_soon_as_they_are_done(root: Path) -> None:
    """Parts without people come first, then one after the other on a CPU."""
    given, done = frames_of_six_parts(), list[int]()
    parts = stream(refiner(), given, ImageFolder(root), progress=done.append)
    assert [(next(parts).part.sequence, sum(done)) for _ in range(3)] == [(1, 0), (3, 0), (0, 2)]
    assert [refined.part.sequence for refined in parts] == [2, 4, 5]


class Noted(ImageFolder):
    """Notes the images that are read."""

    names: list[str] = []  # noqa: RUF012

    def read(self, frame: Frame, reduction: int = 1) -> Image:
        self.names.append(frame.image)
        return super().read(frame, reduction)


@pytest.fixture
def images(root: Path) -> Noted:
    Noted.names.clear()
    return Noted(root)


def test_images_are_decoded_a_few_frames_ahead_only(images: Noted) -> None:
    ahead = list[int]()
    frames = [frame(f"{index % 4}.png", index) for index in range(40)]
    for _ in stream(refiner(), [frames], images, progress=lambda _: ahead.append(len(images.names) - len(ahead) - 1)):
        pass
    assert len(ahead) == 40
    assert max(ahead) <= 6


def test_images_without_people_are_not_read(images: Noted) -> None:
    list(stream(refiner(), frames_of_six_parts(), images))
    assert sorted(set(images.names)) == ["0.png", "1.png", "2.png", "3.png", "gone.png"]


def test_a_stream_may_be_left_early(images: Noted) -> None:
    frames = [frame(f"{index % 4}.png", index) for index in range(40)]
    parts = stream(refiner(), [frames[:1], frames[1:]], images)
    assert next(parts).part.sequence == 0
    parts.close()  # type: ignore[attr-defined]
    assert len(images.names) < 10


def test_a_crowd_is_cropped_a_few_people_at_a_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory for crops is bounded, however many people a frame holds."""
    engine = refiner()
    crop_person, alive, most = engine.crop_person, set[int](), 0

    def counted(*arguments: Any) -> PersonCrop | RefinedPose:
        nonlocal most
        made = crop_person(*arguments)
        alive.add(id(made))
        weakref.finalize(made, alive.discard, id(made))
        most = max(most, len(alive))
        return made

    monkeypatch.setattr(engine, "crop_person", counted)
    (refined,) = stream(engine, [[frame("0.png", *range(40))] * 2], ImageFolder(root))
    assert [len(own) for own in refined.frames] == [40, 40]
    assert 1 <= most <= 8


class TestOtherSkeletons:
    """The skeletons of network and frame may differ: keypoints go by name."""

    @pytest.mark.parametrize(
        ("network", "own", "num_counted"),
        [
            pytest.param(POSETRACK15, POSETRACK18, 15, id="ears are unknown to the network"),
            pytest.param(COCO17, COCO17, 17, id="the same skeleton"),
            pytest.param(COCO17, POSETRACK15, 13, id="the head's ends are unknown, eyes and ears are new"),
        ],
    )
    @pytest.mark.parametrize("objective", [MAP, NOTHING], ids=["all kept", "all dropped"])
    def test_by_name(
        self, network: Skeleton, own: Skeleton, num_counted: int, objective: Objective, root: Path
    ) -> None:
        given = frame("0.png", 1, 2, skeleton=own)
        engine, image = refiner(skeleton=network), read_image(root / "0.png")
        (refined,) = stream(engine, [[given]], ImageFolder(root), objective)
        (found,), tally = refined.frames, refined.tally

        assert found.skeleton == own.joined(network)
        expected = engine(image, own.convert(given.poses, network), objective=objective)
        in_network = found.in_skeleton(network)
        np.testing.assert_array_equal(in_network.keypoints, expected.keypoints)
        np.testing.assert_array_equal(in_network.confidences, expected.confidence)
        assert (in_network.flags == (objective is MAP)).all()

        unknown = [index for index, name in enumerate(own.names) if name not in network]
        for name in ("keypoints", "flags", "scores"):
            np.testing.assert_array_equal(getattr(found, name)[:, unknown], getattr(given, name)[:, unknown])
        assert np.isnan(found.confidences[:, unknown]).all()
        assert np.isnan(found.scores[:, len(own) :]).all()
        counted = (tally.kept, tally.dropped, tally.added)
        assert counted == ((2 * num_counted, 0, 0) if objective is MAP else (0, 2 * num_counted, 0))

    def test_unknown_keypoints_alone_are_nothing_to_start_from(self, root: Path) -> None:
        keypoints = np.full((1, 17, 2), np.nan)
        keypoints[0, POSETRACK18.indices("left_ear", "right_ear")] = [[10, 20], [30, 20]]
        (refined,) = stream(refiner(), [[Frame("0.png", POSETRACK18, keypoints)]], ImageFolder(root))
        assert refined.tally.outcomes == {Outcome.NO_KEYPOINTS: 1}
        np.testing.assert_array_equal(refined.frames[0].keypoints, keypoints)

    def test_all_frames_of_a_part_have_one_skeleton(self, root: Path) -> None:
        """Even frames without people, and those whose image is not there."""
        given = [frame(image, *seeds, skeleton=COCO17) for image, *seeds in (("0.png",), ("0.png", 1), ("gone.png", 2))]
        (refined,) = stream(refiner(), [given], ImageFolder(root))
        assert {own.skeleton for own in refined.frames} == {COCO17.joined(POSETRACK15)}
        nobody, _, unchanged = refined.frames
        assert len(nobody) == 0
        np.testing.assert_array_equal(unchanged.in_skeleton(COCO17).keypoints, given[2].keypoints)
        assert (unchanged.flags[:, 17:] == 0).all()
        assert np.isnan(unchanged.keypoints[:, 17:]).all()
        assert (refined.tally.kept, refined.tally.dropped, refined.tally.added) == (26, 0, 0)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (128, 96))
    for index in range(12):
        noise = np.random.default_rng(index).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        writer.write(cv2.resize(noise, (128, 96), interpolation=cv2.INTER_CUBIC))
    writer.release()
    return path


class TestVideos:
    """One thread reads the frames of a video in order."""

    def frames(self, *numbers: int | None) -> list[Frame]:
        return [replace(frame("", seed), number=number) for seed, number in enumerate(numbers)]

    def test_each_pose_sees_its_frame(self, clip: Path) -> None:
        """Even if another process has the first part of the video; frames without people are not read."""
        without_people = replace(EMPTY, number=99)
        given = [[without_people, *self.frames(5, 7)], self.frames(8, 11)]
        for refined, frames in zip(in_order(stream(refiner(), given, Video(clip))), given, strict=True):
            assert refined.tally.outcomes == {Outcome.REFINED: 2}
            for after, before in zip(refined.frames, frames, strict=True):
                if len(before):
                    expected = refiner()(Video(clip).read(before), before.keypoints).keypoints
                    np.testing.assert_array_equal(after.keypoints, expected)

    def test_one_thread_reads_in_order(self, clip: Path) -> None:
        asked: list[tuple[int, int | None]] = []

        class NotedVideo(Video):
            def read(self, frame: Frame, reduction: int = 1) -> Image:
                asked.append((threading.get_ident(), frame.number))
                return super().read(frame, reduction)

        engine = Shuffled(small_network(), "cpu")
        engine.device = torch.device("cuda")  # images are decoded in several threads for it
        list(stream(engine, [self.frames(*range(6)), [EMPTY], self.frames(*range(6, 12))], NotedVideo(clip)))
        assert [number for _, number in asked] == list(range(12))
        assert len({thread for thread, _ in asked}) == 1

"""Sequences as one stream: order, counts, and images read ahead."""

import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import small_network
from numpy.typing import NDArray

import hpr.refining
from hpr.batching import Sample
from hpr.files import read_image
from hpr.inference import Outcome, PoseRefiner
from hpr.poses import Frame, Person, Sequence
from hpr.refining import refine_sequences

EMPTY = Frame("none.jpg", [])


def refiner(batch_pixels: int) -> PoseRefiner:
    torch.manual_seed(0)
    return PoseRefiner(small_network(), "cpu", batch_pixels=batch_pixels)


def person(seed: int) -> Person:
    random = np.random.default_rng(seed)
    return Person(random.uniform(0, 1, (15, 2)) * [60, 80] + random.uniform(0, 40), np.ones(15), record=seed)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (100, 120, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), pixels)
    return tmp_path


def sequences() -> list[Sequence]:
    """With frames and whole sequences in which nobody is, and one image that is not there."""
    frames = [
        [EMPTY, Frame("0.png", [person(1), person(2)]), EMPTY],
        [],
        [Frame("1.png", [person(3)]), Frame("gone.png", [person(4)]), Frame("2.png", [person(5), person(6)])],
        [EMPTY],
        [Frame("3.png", [Person(np.full((15, 2), np.nan), np.ones(15), 0), person(7)])],
        [],
    ]
    return [Sequence(f"s{number}", part, {}) for number, part in enumerate(frames)]


@pytest.mark.parametrize("parts", [[], [[]], [[EMPTY]]], ids=["no sequence", "no frame", "nobody"])
def test_nothing_to_do(parts: list[list[Frame]], root: Path) -> None:
    given = [Sequence("a", frames, {}) for frames in parts]
    done = list(refine_sequences(refiner(0), given, root, 0.0))
    assert [sequence for sequence, _ in done] == given
    assert all(tally.persons == 0 for _, tally in done)


@pytest.mark.parametrize("batch_pixels", [0, 20_000, 10**9])
def test_everything_comes_back_in_its_place(batch_pixels: int, root: Path) -> None:
    engine, given = refiner(batch_pixels), sequences()
    steps: list[int] = []
    done = list(refine_sequences(engine, given, root, -1.0, steps.append))
    assert [sequence.name for sequence, _ in done] == [f"s{number}" for number in range(6)]
    assert [tally.frames for _, tally in done] == [3, 0, 3, 1, 1, 0]
    assert sum(steps) == 8
    third = done[2][1]
    assert third.outcomes == {Outcome.REFINED: 3, Outcome.BAD_IMAGE: 1}
    assert "gone.png: no such image" in third.bad_images[0]
    for (sequence, _), before in zip(done, given, strict=True):
        for frame, frame_before in zip(sequence.frames, before.frames, strict=True):
            assert frame.image == frame_before.image
            for after, estimate in zip(frame.persons, frame_before.persons, strict=True):
                expected = estimate.joints
                if frame.image != "gone.png":
                    image = read_image(root / frame.image)
                    expected = engine(image, estimate.joints[None], -1.0).joints[0]
                np.testing.assert_allclose(after.joints, expected, rtol=0, atol=0.005)


def test_images_are_read_a_few_frames_ahead_only(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counted(path: Path) -> NDArray[np.uint8]:
        read.append(path)
        return read_image(path)

    monkeypatch.setattr(hpr.refining, "read_image", counted)
    frames = [Frame(f"{number % 4}.png", [person(number)]) for number in range(40)]
    done: list[int] = []
    ahead = []

    def progress(count: int) -> None:
        done.append(count)
        ahead.append(len(read) - len(done))

    list(refine_sequences(refiner(0), [Sequence("a", frames, {})], root, 0.0, progress))
    assert len(done) == 40
    assert max(ahead) <= 4


def test_a_crowd_is_cut_out_a_few_at_a_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many people a frame holds, the memory for their crops is bounded."""
    engine = refiner(0)
    alive: set[int] = set()
    most = [0]

    def counted(image: NDArray[np.uint8], joints: NDArray[np.float64]) -> Sample | Outcome:
        made = prepare(image, joints)
        alive.add(id(made))
        weakref.finalize(made, alive.discard, id(made))
        most[0] = max(most[0], len(alive))
        return made

    prepare = engine.prepare
    monkeypatch.setattr(engine, "prepare", counted)
    frames = [Frame("0.png", [person(number) for number in range(40)])] * 2
    ((sequence, tally),) = refine_sequences(engine, [Sequence("a", frames, {})], root, 0.0)
    assert tally.persons == 80
    assert [len(frame.persons) for frame in sequence.frames] == [40, 40]
    assert 1 <= most[0] <= 8

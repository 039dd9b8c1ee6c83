"""Pictures of the same people at each validation."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from hpr.images import ImageFolder
from hpr.poses import Frame, PoseSequence
from hpr.skeleton import POSETRACK15
from hpr.training.shown import PEOPLE, people_picture, shown_people

Files = dict[str, list[PoseSequence]]


def clips(people: list[list[int]], shift: float = 0.0) -> Files:
    """Files of a clip each, of frames with so many people."""
    files = {}
    for clip, counts in enumerate(people):
        frames = []
        for number, count in enumerate(counts):
            keypoints = np.random.default_rng([clip, number]).uniform(40, 160, (count, 15, 2)) + shift
            frames.append(Frame(f"{clip}_{number}.png", POSETRACK15, keypoints))
        files[f"{clip}.json"] = [PoseSequence(f"{clip}", frames)]
    return files


def places(people: list[list[int]]) -> list[tuple[str, int, int]]:
    return [(one.file, one.frame, one.person) for one in shown_people(clips(people), clips(people))]


@pytest.mark.parametrize(
    ("people", "expected"),
    [
        ([], []),
        ([[]], []),
        ([[0, 0]], []),
        ([[0, 1]], [("0.json", 1, 0)]),
        ([[2], [0, 1]], [("0.json", 0, 0), ("0.json", 0, 1), ("1.json", 1, 0)]),
    ],
)
def test_few_people_are_all_shown(people: list[list[int]], expected: list[tuple[str, int, int]]) -> None:
    assert places(people) == expected


def test_many_people_are_from_all_over_and_always_the_same() -> None:
    people = [[3, 3, 3]] * 20
    found = places(people)
    assert len(found) == PEOPLE
    assert found == places(people)
    assert (found[0], found[-1]) == (("0.json", 0, 0), ("19.json", 2, 2))


def test_people_without_a_keypoint_and_clips_without_truth_are_left_out() -> None:
    truth, estimates = clips([[1], [2, 2]]), clips([[2], [1]])
    frame = estimates["0.json"][0].frames[0]
    estimates["0.json"][0].frames[0] = replace(
        frame, keypoints=np.where([[[True]], [[False]]], np.nan, frame.keypoints)
    )
    for sequence in truth["1.json"]:
        sequence.frames[:] = [replace(frame, image=f"odd{frame.image}") for frame in sequence.frames]
    found = shown_people(truth, estimates)
    assert [(one.file, one.person) for one in found] == [("0.json", 1)]


def test_a_picture(tmp_path: Path) -> None:
    truth, estimates, refined = clips([[2]]), clips([[2]], shift=5.0), clips([[2]], shift=-5.0)
    shown = shown_people(truth, estimates)
    assert people_picture(shown, refined, ImageFolder(tmp_path)) is None
    cv2.imwrite(str(tmp_path / "0_0.png"), np.full((200, 200, 3), 128, np.uint8))
    picture = people_picture(shown, refined, ImageFolder(tmp_path))
    assert picture is not None
    height, width, _ = picture.shape
    assert height > 2 * 200
    columns = [picture[30:, start : start + 200].astype(int) for start in range(0, width - 199, 224)]
    assert len(columns) == 3
    assert all(np.abs(one - columns[0]).max() > 50 for one in columns[1:])

    others = clips([[2]], shift=-9.0)
    later = people_picture(shown, others, ImageFolder(tmp_path))
    assert later is not None
    changed = np.flatnonzero((later != picture).any(axis=(0, 2)))
    assert changed.min() >= 224  # the refined poses alone; the rest is at its place
    assert changed.max() < 2 * 224

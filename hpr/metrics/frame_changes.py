"""What refining did to each frame whose truth is known."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from hpr.crops import STANDARD_SCALE, body_scale
from hpr.metrics.frame_pairs import frame_pairs
from hpr.metrics.posetrack import NamedSequences
from hpr.formats import Format
from hpr.poses import FloatArray, Frame

MATCH_DISTANCE = 0.5
"""A keypoint is right within this many head sizes, as in PCKh."""

_HEAD_SIZE_PER_DIAGONAL = 0.6


class Found(NamedTuple):
    """How many keypoints of the annotated people an estimate has.

    Attributes:
        right: Near enough.
        wrong: Farther off.
    """

    right: int
    wrong: int


@dataclass(frozen=True)
class FrameChange:
    """A frame before and after refining.

    Attributes:
        sequence: Name of its sequence.
        frame: Its place in this.
        truth: Who is annotated.
        poses: The estimates before and after.
        before: How many keypoints these had.
        after: How many they have.
    """

    sequence: str
    frame: int
    truth: Frame
    poses: tuple[Frame, Frame]
    before: Found
    after: Found

    @property
    def gain(self) -> int:
        """Keypoints that became right or are not wrong any more, less those the other way; below 0 it got worse."""
        return (self.after.right - self.after.wrong) - (self.before.right - self.before.wrong)


@dataclass
class FrameChanges:
    """What refining did to frames.

    Attributes:
        better: Number of frames that gained.
        worse: Number of those that lost.
        same: Number of all others.
        worst: Those that lost most, the worst first.
    """

    better: int = 0
    worse: int = 0
    same: int = 0
    worst: list[FrameChange] = field(default_factory=list)

    def add(self, change: FrameChange, most: int) -> None:
        """Counts a frame, and keeps it if it is among those that lost most."""
        self.better += change.gain > 0
        self.worse += change.gain < 0
        self.same += change.gain == 0
        if change.gain < 0:
            self.worst = sorted([*self.worst, change], key=lambda one: one.gain)[:most]


def frame_changes(
    file_format: Format, annotations: str, before: NamedSequences, after: NamedSequences, most: int
) -> FrameChanges:
    """Compares the frames of files before and after refining with their annotations.

    Args:
        file_format: Of the files.
        annotations: Where the ground truth is.
        before: Files that were refined.
        after: Files of the same names, with the same frames.
        most: How many of the frames that lost most are kept.

    Raises:
        UserError: The annotations are absent or broken, or no image of theirs has an estimate.
    """
    places = _places(before, after)
    changes = FrameChanges()
    for truth, estimate in frame_pairs(file_format, annotations, before, "the predictions").pairs:
        if (place := places.get(id(estimate))) is not None:  # the truth's other images have no estimate to be refined
            sequence, number, refined = place
            found = found_keypoints(truth, estimate), found_keypoints(truth, refined)
            changes.add(FrameChange(sequence, number, truth, (estimate, refined), *found), most)
    return changes


def _places(before: NamedSequences, after: NamedSequences) -> Mapping[int, tuple[str, int, Frame]]:
    """Returns the sequence of each frame, its place in this and the refined frame, by the frame's identity."""
    places = {}
    for name, sequences in before.items():
        for sequence, refined in zip(sequences, after[name], strict=True):
            for number, frames in enumerate(zip(sequence.frames, refined.frames, strict=True)):
                places[id(frames[0])] = (sequence.name, number, frames[1])
    return places


def found_keypoints(truth: Frame, estimate: Frame) -> Found:
    """Counts the keypoints of annotated people that an estimate of the frame has, each person with its own estimate.

    People pair so that as many keypoints as possible are right. What is not annotated does not count.
    """
    poses = estimate.skeleton.convert(estimate.poses, truth.skeleton)  # (P, K, 2)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        offsets = poses[None] - truth.poses[:, None]  # (G, P, K, 2)
        heads = np.linalg.norm(offsets, axis=-1) / _head_sizes(truth)[:, None, None]
    right = heads <= MATCH_DISTANCE  # (G, P, K)
    wrong = heads > MATCH_DISTANCE
    pairs = linear_sum_assignment(right.sum(axis=-1), maximize=True)
    return Found(int(right[pairs].sum()), int(wrong[pairs].sum()))


def _head_sizes(truth: Frame) -> FloatArray:
    """Returns (G,) sizes of people's heads in pixels: by their head boxes, else by all of their limbs."""
    sizes = _HEAD_SIZE_PER_DIAGONAL * np.linalg.norm(truth.head_boxes[:, 2:] - truth.head_boxes[:, :2], axis=1)
    for person in np.flatnonzero(~(sizes > 0)):
        sizes[person] = STANDARD_SCALE * 50 / body_scale(truth.poses[person], truth.skeleton, truth.boxes[person])
    return np.asarray(sizes, np.float64)

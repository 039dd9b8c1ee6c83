"""What refining did to each annotated frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from hpr.crops import STANDARD_SCALE, body_scale
from hpr.metrics.frames import MATCH_DISTANCE
from hpr.metrics.truth import NamedSequences, Truth
from hpr.poses import Frame, head_sizes


class Found(NamedTuple):
    """How many keypoints of the annotated people an estimate has.

    Attributes:
        right: Number of keypoints within half a head size of the annotated ones, as in PCKh.
        wrong: Number of those that are farther off.
    """

    right: int
    wrong: int


class FrameChange(NamedTuple):
    """A frame before and after refining.

    Attributes:
        sequence: Name of its sequence.
        frame: Its index in the sequence.
        truth: The annotated people.
        poses: The estimates before and after.
        before, after: Keypoints found before and after.
    """

    sequence: str
    frame: int
    truth: Frame
    poses: tuple[Frame, Frame]
    before: Found
    after: Found

    @property
    def gain(self) -> int:
        """Change of right keypoints less wrong ones; negative where the frame got worse."""
        return (self.after.right - self.after.wrong) - (self.before.right - self.before.wrong)


@dataclass(frozen=True)
class FrameChanges:
    """What refining did to frames.

    Attributes:
        better: Number of frames that gained.
        worse: Number of frames that lost.
        same: Number of all others.
        worst: The frames that lost most, the worst first.
    """

    better: int = 0
    worse: int = 0
    same: int = 0
    worst: Sequence[FrameChange] = ()


def frame_changes(truth: Truth, before: NamedSequences, after: NamedSequences, most: int) -> FrameChanges:
    """Compares the frames of files before and after refining with their annotations.

    Args:
        truth: The annotations.
        before: Files that were refined.
        after: Files of the same names, with the same sequences and frames.
        most: How many of the frames that lost most are kept.

    Raises:
        UserError: The annotations are broken, or no image of theirs has an estimate.
    """
    changes = []
    for annotated, estimate, file, key in truth.pairs(before)[0]:
        if file is not None and key is not None:  # else nothing was predicted for the image
            clip, refined = before[file][key.sequence], after[file][key.sequence].frames[key.frame]
            found = found_keypoints(annotated, estimate), found_keypoints(annotated, refined)
            changes.append(FrameChange(clip.name, key.frame, annotated, (estimate, refined), *found))

    gains = [change.gain for change in changes]
    better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    worst = sorted((change for change in changes if change.gain < 0), key=lambda change: change.gain)[:most]
    return FrameChanges(better, worse, len(changes) - better - worse, worst)


def found_keypoints(truth: Frame, estimate: Frame) -> Found:
    """Counts the keypoints of annotated people that an estimate of the frame has, each person with its own estimate.

    People pair so that as many keypoints as possible are right. What is not annotated does not count.
    """
    sizes = head_sizes(truth.head_boxes)  # (G,)
    for person in np.flatnonzero(~(sizes > 0)):  # without a head box: by the limbs
        sizes[person] = STANDARD_SCALE * 50 / body_scale(truth.poses[person], truth.skeleton, truth.boxes[person])

    poses = estimate.skeleton.convert(estimate.poses, truth.skeleton)  # (P, K, 2)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        offsets = poses[None] - truth.poses[:, None]  # (G, P, K, 2)
        distances = np.linalg.norm(offsets, axis=-1) / sizes[:, None, None]

    right = distances <= MATCH_DISTANCE  # (G, P, K)
    wrong = distances > MATCH_DISTANCE
    pairs = linear_sum_assignment(right.sum(axis=-1), maximize=True)
    return Found(int(right[pairs].sum()), int(wrong[pairs].sum()))

"""From one format to another, and what is lost on the way."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from hpr.poses import NO_RECORD, PoseSequence, image_stem


def without_original(sequences: Iterable[PoseSequence]) -> list[PoseSequence]:
    """Returns sequences as if they had not been read from a file, so that they are written from scratch."""
    found = []
    for sequence in sequences:
        frames = [replace(frame, records=np.full(len(frame), NO_RECORD)) for frame in sequence.frames]
        found.append(replace(sequence, frames=frames, original=None))
    return found


def losses(before: Sequence[PoseSequence], after: Sequence[PoseSequence]) -> list[str]:
    """Returns what a file does not hold any more of what was to be written to it, and how much of it there was."""
    wanted, found = _contents(before), _contents(after)
    lost = [f"{count - found[what]} of {count} {what}" for what, count in wanted.items() if found[what] < count]

    # Not every format keeps folders and endings of images.
    stems, kept = ({image_stem(frame.image) for own in each for frame in own.frames} for each in (before, after))
    names = stems - kept
    lost += [f"names of images, such as {min(names)}"] if names else []

    upright = [{f.upright for own in each for f in own.frames if f.number is None} for each in (before, after)]
    sizes = [frame.size for sequence in after for frame in sequence.frames]
    if None in sizes and upright[0] and upright[0] != upright[1]:
        meant = "exif" if True in upright[0] else "stored"
        lost.append(f"how EXIF turns photographs, if it does; read the result with orientation={meant}")
    return lost


def _contents(sequences: Sequence[PoseSequence]) -> Counter[str]:
    """Counts what some sequences hold, by what users call it."""
    counts: Counter[str] = Counter()
    for frame in (frame for sequence in sequences for frame in sequence.frames):
        is_there = ~np.isnan(frame.keypoints[..., 0])  # (N, K)
        counts["images"] += 1
        counts["people"] += len(frame)
        for name, people in zip(frame.skeleton.names, is_there.T, strict=True):
            counts[f"keypoints {name}"] += int(people.sum())

        counts["scores of keypoints"] += int((np.isfinite(frame.scores) & is_there).sum())
        # A flag of 1 says no more than that the keypoint is there.
        counts["visibility flags of keypoints"] += int(((frame.flags != 0) & (frame.flags != 1)).sum())
        counts["boxes of people"] += int(np.isfinite(frame.boxes[:, 0]).sum())
        counts["boxes of heads"] += int(np.isfinite(frame.head_boxes[:, 0]).sum())
        counts["scores of people"] += int(np.isfinite(frame.person_scores).sum())
        counts["track ids"] += sum(track_id is not None for track_id in frame.track_ids)
        counts["ignore regions"] += len(frame.ignore_regions)
        counts["places in a video"] += int(frame.number is not None)
    return counts

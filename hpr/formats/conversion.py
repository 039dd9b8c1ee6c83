"""From one format to another, and what is lost on the way."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from hpr.poses import NO_RECORD, FloatArray, Frame, PoseSequence, image_stem

_FIELDS = {
    "scores": "scores of keypoints",
    "flags": "visibility flags of keypoints",
    "boxes": "boxes of people",
    "head_boxes": "boxes of heads",
    "person_scores": "scores of people",
    "track_ids": "track ids",
    "ignore_regions": "ignore regions",
    "number": "places in a video",
}
"""What users call the fields of `Frame` that not every format has a place for."""


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
        counts["images"] += 1
        counts["people"] += len(frame)
        for keypoint, name in enumerate(frame.skeleton.names):
            counts[f"keypoints {name}"] += int((~np.isnan(frame.keypoints[:, keypoint, 0])).sum())
        for field, words in _FIELDS.items():
            counts[words] += _count(frame, field)
    return counts


def _count(frame: Frame, field: str) -> int:
    """Returns how many values of a field there are."""
    if field == "track_ids":
        return sum(track_id is not None for track_id in frame.track_ids)
    if field == "ignore_regions":
        return len(frame.ignore_regions)
    if field == "number":
        return int(frame.number is not None)
    values: FloatArray = getattr(frame, field)
    if field == "flags":  # a flag of 1 says no more than that the keypoint is there
        return int(((values != 0) & (values != 1)).sum())
    if field == "scores":
        return int((np.isfinite(values) & ~np.isnan(frame.keypoints[..., 0])).sum())
    return int(np.isfinite(values if values.ndim == 1 else values[:, 0]).sum())

"""Whether poses look like the skeleton that their file was read in."""

from collections.abc import Sequence

import numpy as np

from hpr.crops import limb_lengths
from hpr.errors import UserError
from hpr.poses import FloatArray, PoseSequence
from hpr.skeleton import PHOTO19, SKELETONS, Skeleton

_ODD, _ODD_FOR_ONE = 0.55, 0.4
"""Oddness from which poses of _MIN_PEOPLE or more are odd, and what it takes more for one person, less for several."""

_BETTER, _USUAL = 0.6, 0.45
"""Another skeleton fits better if its oddness is below this share, and below what is usual. Of 3,563 people with real
estimates, 7 alone would be taken for another skeleton, and no group of five."""

_MIN_PEOPLE = 5

_MIN_LIMBS, _MAX_PEOPLE = 4, 2000


def check_skeletons(sequences: Sequence[PoseSequence], chosen: bool) -> list[str]:
    """Returns warnings about poses that do not look like their skeleton, over all people of some files.

    Args:
        sequences: As they were read.
        chosen: Whether the user has named the skeleton.

    Raises:
        UserError: The skeleton was taken by the number of keypoints, and another one of as many fits better.
    """
    frames = [frame for sequence in sequences for frame in sequence.frames if len(frame)]
    warnings = list(dict.fromkeys(warning for sequence in sequences for warning in sequence.warnings))
    is_counted = not chosen and any(getattr(sequence.original, "is_counted", False) for sequence in sequences)
    for skeleton in {frame.skeleton.names: frame.skeleton for frame in frames}.values():
        poses = np.concatenate([frame.poses for frame in frames if frame.skeleton.names == skeleton.names])
        poses = poses[:: len(poses) // _MAX_PEOPLE + 1]
        if doubt := _doubt(poses, skeleton):
            if is_counted and "; set" in doubt:
                raise UserError(f"{sequences[0].name}: {doubt}")
            warnings.append(doubt)
    return warnings


def _doubt(poses: FloatArray, skeleton: Skeleton) -> str | None:
    """Returns in what way poses (N, K, 2) do not look like a skeleton; None if they do."""
    odd, bound = oddness(poses, skeleton), _ODD + _ODD_FOR_ONE / np.sqrt(max(len(poses), 1))
    alike = [other for other in SKELETONS.values() if len(other) == len(skeleton) and other is not PHOTO19]
    others = {other.name: oddness(poses, other) for other in alike if other != skeleton}
    better = [name for name, own in others.items() if own < min(_BETTER * odd, _USUAL)]
    if odd > (_ODD if len(poses) >= _MIN_PEOPLE else bound) and better:
        names = " or ".join(better)
        return f"the {len(skeleton)} keypoints look like {names} rather than {skeleton.name}; set skeleton=NAME"
    if odd > bound:
        return f"the lengths of limbs do not look like {skeleton.name}; skeleton may be another one"
    if _is_face_swapped(poses, skeleton):
        return f"left and right of the faces are not those of the bodies as {skeleton.name}; check skeleton"
    return None


def oddness(poses: FloatArray, skeleton: Skeleton) -> float:
    """Returns how far the lengths in poses (N, K, 2) are from those of a body: about 0.3 for people, 0 where unknown.

    The sum of the mean logarithmic deviation from typical proportions, in the median of the people, and of that of the
    distance that is too long in the median.
    """
    ends, typical = limb_lengths(skeleton)
    with np.errstate(invalid="ignore", over="ignore"):
        lengths = np.linalg.norm(poses[:, ends[:, 0]] - poses[:, ends[:, 1]], axis=-1)  # (N, n)
        is_usable = (lengths > 0) & (lengths < np.inf)
    logs = np.log(np.where(is_usable, lengths, np.nan) / typical)[is_usable.sum(axis=1) >= _MIN_LIMBS]
    if not len(logs):
        return 0.0
    logs -= np.nanmedian(logs, axis=1, keepdims=True)
    logs = logs[:, ~np.isnan(logs).all(axis=0)]
    return float(np.median(np.nanmean(np.abs(logs), axis=1)) + 0.3 * np.nanmedian(logs, axis=0).max())


def _is_face_swapped(poses: FloatArray, skeleton: Skeleton) -> bool:
    """Returns whether most faces have their left where the shoulders have their right."""
    for part in ("ear", "eye"):
        names = (f"left_{part}", f"right_{part}", "left_shoulder", "right_shoulder")
        if not all(name in skeleton for name in names):
            continue
        left, right, left_shoulder, right_shoulder = poses[:, skeleton.indices(*names)].transpose(1, 0, 2)
        face, body = left - right, left_shoulder - right_shoulder
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            lengths = np.linalg.norm(face, axis=1), np.linalg.norm(body, axis=1)
            is_broad = lengths[0] > 0.1 * lengths[1]  # no profile
            cosines = ((face * body).sum(axis=1) / lengths[0] / lengths[1])[is_broad]
        cosines = cosines[np.isfinite(cosines)]
        if len(cosines):
            return bool(np.median(cosines) < -0.5)
    return False

"""PCKh at 0.5, the score of MPII Human Pose: the share of the annotated keypoints that are found near enough.

As MPII's evaluation toolkit computes it (docs/notes/scores.md). The toolkit and HRNet's code base score one
prediction for each annotated person, in the same order. Here, where truth and prediction are such lists, annotated and
predicted people pair by their index in it; otherwise those of an image pair so that as many keypoints as possible are
found (the Hungarian method).
"""

import math

import numpy as np
from scipy.optimize import linear_sum_assignment

from hpr.errors import UserError
from hpr.metrics.frames import MATCH_DISTANCE, distances_in_heads
from hpr.metrics.scores import Scores
from hpr.metrics.truth import SILENT, FramePair, ImageTruth, NamedSequences, Progress, keyed_frames
from hpr.poses import BoolArray, FloatArray, Frame, IntArray, head_sizes
from hpr.skeleton import MPII16

# HRNet's code base (lib/dataset/mpii.py) takes the head top alone for its column Head.
_GROUPS = {
    "Head": ("head_bottom", "head_top"),
    "Shoulder": ("right_shoulder", "left_shoulder"),
    "Elbow": ("right_elbow", "left_elbow"),
    "Wrist": ("right_wrist", "left_wrist"),
    "Hip": ("right_hip", "left_hip"),
    "Knee": ("right_knee", "left_knee"),
    "Ankle": ("right_ankle", "left_ankle"),
}
_SCORED = MPII16.indices(*(name for names in _GROUPS.values() for name in names))
_MEAN = "Mean"


class PckhTruth(ImageTruth):
    """Annotated images with head boxes; those without a person are not annotated, as MPII's test images."""

    all_images_annotated = False

    def score(self, predicted: NamedSequences, progress: Progress = SILENT, mota_threshold: float = 0.0) -> Scores:
        """See `Truth`."""
        predicted = dict(predicted)  # each file is read once
        pairs, warnings = self.pairs(predicted, progress)
        # The same number of people for the same images in the same order.
        estimates = [(frame.image, frame.records.tolist()) for _, _, frame in keyed_frames(predicted)]
        in_order = estimates == [(frame.image, frame.records.tolist()) for frame in self.frames]
        found, annotated = np.zeros(len(MPII16)), np.zeros(len(MPII16))
        people = headless = 0

        for pair in pairs:
            is_annotated = _annotated(pair.truth)  # (G, 16)
            is_posed = is_annotated[:, _SCORED].any(axis=1)
            has_head = np.isfinite(pair.truth.head_boxes).all(axis=1)
            scored = np.flatnonzero(is_posed & has_head)

            found += _found(pair, scored, in_order)
            annotated += is_annotated[scored].sum(axis=0)
            people += len(scored)
            headless += int((is_posed & ~has_head).sum())

        if headless:
            odd = "have no head box in the ground truth, as MPII's .mat has, and are not scored"
            warnings.insert(0, f"{self.origin}: {headless} people {odd}")
        if not people:
            nobody = f"{self.origin}: nobody is annotated, so that nobody can be scored"
            raise UserError(warnings[0] if headless else nobody)

        row = _percent(found, annotated)
        logged = {"PCKh": row[_MEAN], **{name: row[name] for name in _GROUPS}}
        return Scores({"PCKh": row}, _MEAN, logged, row[_MEAN], people=people, warnings=warnings)


def _annotated(frame: Frame) -> BoolArray:
    """Returns (G, 16) which keypoints the ground truth has."""
    own = frame.in_skeleton(MPII16)
    return np.asarray(np.isfinite(own.keypoints).all(axis=-1) & (own.flags > 0))


def _found(pair: FramePair, scored: IntArray, in_order: bool) -> FloatArray:
    """Returns (16,) for how many people each keypoint is found; in order, a prediction has its person's index."""
    truth, estimate = pair.truth.in_skeleton(MPII16), pair.estimate.in_skeleton(MPII16)
    distances = distances_in_heads(estimate.keypoints, truth.keypoints, head_sizes(truth.head_boxes))
    matches = ((distances <= MATCH_DISTANCE) & _annotated(truth)).swapaxes(0, 1)  # (P, G, 16) -> (G, P, 16)

    people, estimates = scored, scored
    if not in_order:
        rows, estimates = linear_sum_assignment(matches[scored][..., _SCORED].sum(axis=-1), maximize=True)
        people = scored[rows]
    return np.asarray(matches[people, estimates].sum(axis=0), np.float64)


def _percent(found: FloatArray, annotated: FloatArray) -> dict[str, float]:
    """Returns the values of all columns."""
    with np.errstate(invalid="ignore"):  # keypoints that nobody is annotated with
        shares = 100.0 * found / annotated  # (16,)

    values = {}
    for column, names in _GROUPS.items():
        known = [share for share in shares[MPII16.indices(*names)].tolist() if not math.isnan(share)]
        values[column] = sum(known) / len(known) if known else math.nan
    values[_MEAN] = 100.0 * float(found[_SCORED].sum()) / float(annotated[_SCORED].sum())
    return values

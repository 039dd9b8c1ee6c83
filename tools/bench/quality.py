"""Scores of refined poses of drawn people, whose estimates are poor to exact, under each objective."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hpr.files import write_json
from hpr.formats import PoseTrack18
from hpr.formats.coco import Coco
from hpr.images import ImageFolder, read_image
from hpr.metrics.oks import OksTruth
from hpr.metrics.posetrack import PoseTrackTruth
from hpr.metrics.truth import NamedSequences
from hpr.pose_errors.draw import KEYPOINT_KINDS, PoseErrors
from hpr.poses import BoolArray, FloatArray, Frame, PoseSequence
from hpr.refine.engine import PoseRefiner
from hpr.refine.objective import Objective
from hpr.refine.stream import refine_sequences
from hpr.report.canvas import save_jpeg
from hpr.report.tables import format_table, number
from hpr.seeds import Purpose
from hpr.skeleton import COCO17, POSETRACK15
from hpr.synthetic.tree import write_tree

SCORES = ("mAP", "mAP13", "MOTA", "OKS", "false", "inside", "outside")
"""mAP; mAP of the 13 keypoints besides the head's ends; MOTA; COCO's AP; and the share of false keypoints that is left:
of all, of those inside the image, which something hides, and of those at its border or outside."""

_HEAD_ENDS = ("head_bottom", "head_top")
_EXACT_SCORE = 0.9
_AREA_PER_BOX = 0.53


@dataclass(frozen=True)
class Kind:
    """A kind of estimates.

    Attributes:
        name: Name of the kind.
        errors: Mistakes in the estimates.
        is_exact: Whether the estimates are the ground truth instead.
        has_head: Whether the estimates have the ends of the head.
        factor: Factor by which images and poses are resized.
    """

    name: str
    errors: PoseErrors
    is_exact: bool = False
    has_head: bool = True
    factor: float = 1.0


def usual_kinds(make_errors: Callable[..., PoseErrors]) -> list[Kind]:
    """Returns the kinds of estimates that are measured; `make_errors` takes changed arguments of `PoseErrors`."""
    usual = make_errors()
    never, always = (dict.fromkeys(KEYPOINT_KINDS, chance) for chance in (0.0, 1.0))
    tables = dict.fromkeys(("jitter", "miss", "inversion", "swap", "absent"), never)
    people = dict.fromkeys(("shift", "missed_person", "false_person", "duplicate_person"), 0.0)
    return [
        Kind("poor", make_errors(strength=1.5)),
        Kind("usual", usual),
        Kind("good", make_errors(strength=0.3)),
        Kind("exact", usual, is_exact=True),
        Kind("hidden", make_errors(**tables, **people, extra=always)),
        Kind("usual x 1/3", usual, factor=1 / 3),
        Kind("usual x 3", usual, factor=3.0),
        Kind("no head", usual, has_head=False),
        Kind("no head x 1/3", usual, has_head=False, factor=1 / 3),
        Kind("no head x 3", usual, has_head=False, factor=3.0),
    ]


def benchmark_quality(
    make_refiner: Callable[[int], PoseRefiner],
    kinds: Sequence[Kind],
    objectives: Mapping[str, Objective],
    clips: int,
    frames: int,
    seed: int,
    folder: Path,
    progress: Callable[[int], Any] = lambda frames: None,
) -> Iterator[tuple[str, dict[str, dict[str, float]]]]:
    """Draws clips in clothes that training never draws, refines estimates of them, and scores the result.

    Args:
        make_refiner: Makes the engine for a number of iterations.
        kinds: Kinds of estimates, all of the same clips.
        objectives: Objectives by name.
        clips: Number of clips.
        frames: Number of frames of each clip.
        seed: Seed of the clips.
        folder: Folder for the clips.
        progress: Called with the number of frames refined; each counts once for each kind and objective.

    Yields:
        The name of each kind, and its scores: "input" or an objective → SCORES.
    """
    for kind in kinds:
        root = folder / kind.name
        seeds = [(seed, index) for index in range(clips)]
        write_tree(root, seeds, frames, kind.errors, held_out=True, purpose=Purpose.BENCHMARK_SCENE)
        truth, estimates = _read_kind(kind, root)

        scores = {"input": _score(truth, estimates, estimates, root)}
        for name, objective in objectives.items():
            refiner = make_refiner(objective.iterations)
            refined = {
                file: refine_sequences(refiner, sequences, ImageFolder(root), objective)
                for file, sequences in estimates.items()
            }
            progress(clips * frames)
            scores[name] = _score(truth, estimates, refined, root)
        yield kind.name, scores


def _read_kind(kind: Kind, root: Path) -> tuple[NamedSequences, NamedSequences]:
    """Reads ground truth and estimates of a drawn tree, whose images are resized as the kind wants it."""
    if kind.factor != 1:
        method = cv2.INTER_AREA if kind.factor < 1 else cv2.INTER_LINEAR
        for path in (root / "images").rglob("*.jpg"):
            image = cv2.resize(read_image(path), None, fx=kind.factor, fy=kind.factor, interpolation=method)
            save_jpeg(np.asarray(image, np.uint8), path)

    def read(folder: str, change: Callable[[Frame], Frame]) -> dict[str, list[PoseSequence]]:
        files: dict[str, list[PoseSequence]] = {}
        for path in sorted((root / folder).iterdir()):
            sequences = PoseTrack18().read(path)
            files[path.name] = [
                replace(s, frames=[_resize(change(f), kind.factor) for f in s.frames]) for s in sequences
            ]
        return files

    source = "annotations" if kind.is_exact else "predictions"
    return read("annotations", lambda frame: frame), read(source, lambda frame: _as_estimate(frame, kind))


def _as_estimate(frame: Frame, kind: Kind) -> Frame:
    """Returns a frame's estimates, with scores or without the head's ends where the kind wants it."""
    if kind.is_exact:
        return replace(frame, scores=np.where(frame.present, _EXACT_SCORE, 0.0))
    if kind.has_head:
        return frame
    is_end = np.isin(frame.skeleton.names, _HEAD_ENDS)  # (K,)
    keypoints = np.where(is_end[:, None], np.nan, frame.keypoints)
    return replace(frame, keypoints=keypoints, flags=np.where(is_end, 0.0, frame.flags))


def _resize(frame: Frame, factor: float) -> Frame:
    return replace(
        frame,
        keypoints=frame.keypoints * factor,
        boxes=frame.boxes * factor,
        head_boxes=frame.head_boxes * factor,
        ignore_regions=tuple(region * factor for region in frame.ignore_regions),
        size=frame.size and (round(frame.size[0] * factor), round(frame.size[1] * factor)),
    )


def _score(truth: NamedSequences, estimates: NamedSequences, poses: NamedSequences, folder: Path) -> dict[str, float]:
    """Returns SCORES of some poses, in percent."""
    scores = PoseTrackTruth(truth).score(poses).by_keypoint
    others = [value for name, value in scores["AP"].items() if name not in ("total", *_HEAD_ENDS)]

    path = folder / "coco.json"
    write_json(path, _coco_annotations(_frames(truth)))
    oks = OksTruth(Coco().ground_truth(path), Coco(), str(path), whole=True).score(poses).table["OKS"]["AP"]

    values = (scores["AP"]["total"], float(np.mean(others)), scores["MOTA"]["total"], oks)
    return dict(zip(SCORES, (*values, *_false_shares(truth, estimates, poses)), strict=True))


def _false_shares(
    truth: NamedSequences, estimates: NamedSequences, poses: NamedSequences
) -> tuple[float, float, float]:
    """Returns the percentages of the estimates' false keypoints that some poses have; see SCORES.

    NaN where people were missed or found twice, so that it is unknown whose an estimate is, or without false keypoints.
    """
    left, outside = [np.empty(0, bool)], [np.empty(0, bool)]
    for frames in zip(_frames(truth), _frames(estimates), _frames(poses), strict=True):
        if len({len(frame) for frame in frames}) > 1:
            return math.nan, math.nan, math.nan
        true, estimated, final = (f.skeleton.convert(f.poses, POSETRACK15) for f in frames)
        is_false = np.isnan(true[..., 0]) & ~np.isnan(estimated[..., 0])
        left.append(~np.isnan(final[is_false][:, 0]))
        points, size = estimated[is_false], np.array(frames[0].size)
        outside.append(np.asarray(((points < 1) | (points >= size - 1)).any(axis=1)))
    is_left, is_outside = np.concatenate(left), np.concatenate(outside)
    return _percent(is_left), _percent(is_left[~is_outside]), _percent(is_left[is_outside])


def _percent(values: BoolArray) -> float:
    return 100 * float(values.mean()) if len(values) else math.nan


def _frames(files: NamedSequences) -> list[Frame]:
    return [frame for name in sorted(files) for sequence in files[name] for frame in sequence.frames]


def _coco_annotations(frames: Sequence[Frame]) -> dict[str, Any]:
    """Returns annotations of the 13 keypoints that COCO shares with the drawn people."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, frame in enumerate(frames, 1):
        assert frame.size is not None
        images.append({"id": image_id, "file_name": frame.image, "width": frame.size[0], "height": frame.size[1]})
        poses = frame.skeleton.convert(frame.poses, COCO17)
        for pose in poses[~np.isnan(poses).all(axis=(1, 2))]:
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **_coco_person(pose)})
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.names), "skeleton": []}
    return {"images": images, "annotations": annotations, "categories": [category]}


def _coco_person(pose: FloatArray) -> dict[str, Any]:
    """Returns the annotation of a person (17, 2)."""
    is_present = ~np.isnan(pose[:, 0])
    low, high = np.nanmin(pose, axis=0), np.nanmax(pose, axis=0)
    extent = np.maximum(high - low, 1)
    keypoints = np.column_stack([np.nan_to_num(pose), np.where(is_present, 2, 0)])  # (17, 3)
    return {
        "category_id": 1,
        "iscrowd": 0,
        "keypoints": keypoints.ravel().tolist(),
        "num_keypoints": int(is_present.sum()),
        "bbox": [*low.tolist(), *extent.tolist()],
        "area": float(_AREA_PER_BOX * np.prod(extent)),
    }


def quality_table(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Formats the scores of one kind of estimates, a row for the input and for each objective."""
    rows = [["", *SCORES]]
    rows += [[name, *(number(value) for value in values.values())] for name, values in scores.items()]
    return format_table(rows)

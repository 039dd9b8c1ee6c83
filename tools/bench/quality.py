"""What refining does to estimates of drawn people, from poor to exact, under each objective."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hpr.metrics.comparison import Comparison
from hpr.metrics.oks import OksComparison
from hpr.metrics.posetrack import NamedSequences
from hpr.files import write_json
from hpr.formats import PoseTrack18
from hpr.formats.coco import Coco
from hpr.images import ImageFolder, read_image
from hpr.refine.engine import Outcome, PassedThrough, PoseRefiner, RefinedPose
from hpr.refine.objective import MAP, Objective
from hpr.poses import BoolArray, FloatArray, Frame, PoseSequence
from hpr.refine.stream import refine_sequences, refined_frame
from hpr.refine.tally import Tally
from hpr.report.drawing import save_jpeg
from hpr.report.tables import format_table, number
from hpr.skeleton import COCO17, POSETRACK15
from hpr.pose_errors.draw import KEYPOINT_KINDS, PoseErrors
from hpr.seeds import Purpose
from hpr.synthetic.tree import write_tree

SCORES = ("mAP", "mAP13", "MOTA", "OKS", "false", "inside", "outside")
"""mAP, that of the 13 keypoints besides the head's ends, MOTA, COCO's AP, and what share of false keypoints is left: of
all, of those within the image, which something hides, and of those at its border or beyond."""

_HEAD_ENDS = ("head_bottom", "head_top")
_SURE = 0.9
_AREA_OF_BOX = 0.53


@dataclass(frozen=True)
class Kind:
    """A kind of estimates.

    Attributes:
        name: What it is called.
        errors: Mistakes in the estimates.
        is_exact: Whether the estimates are the truth instead.
        has_head: Whether they have the ends of the head.
        factor: Of the size of images and poses.
    """

    name: str
    errors: PoseErrors
    is_exact: bool = False
    has_head: bool = True
    factor: float = 1.0


@dataclass(frozen=True)
class Refined:
    """Estimates of one kind, and what the network makes of them.

    Attributes:
        truth: Of the clips.
        given: The estimates.
        found: All keypoints, whatever their confidence, by the number of iterations.
        folder: For files on the way.
    """

    truth: NamedSequences
    given: NamedSequences
    found: Mapping[int, NamedSequences]
    folder: Path

    def under(self, objective: Objective, iterations: int) -> NamedSequences:
        """Returns what an objective makes of what the network found."""

        def chosen(before: PoseSequence, after: PoseSequence) -> PoseSequence:
            pairs = zip(before.frames, after.frames, strict=True)
            return replace(before, frames=[_chosen(objective, *pair) for pair in pairs])

        return {
            name: [chosen(*pair) for pair in zip(clips, self.found[iterations][name], strict=True)]
            for name, clips in self.given.items()
        }

    def scores(self, poses: NamedSequences) -> dict[str, float]:
        """Returns SCORES of some poses, in percent."""
        precision = Comparison(self.truth, poses).before.total
        others = [value for name, value in precision["AP"].items() if name not in ("total", *_HEAD_ENDS)]
        values = (precision["AP"]["total"], float(np.mean(others)), precision["MOTA"]["total"])
        return dict(zip(SCORES, (*values, self._oks(poses), *self._false_shares(poses)), strict=True))

    def _oks(self, poses: NamedSequences) -> float:
        """Returns COCO's AP of the 13 keypoints that both skeletons have."""
        path = self.folder / "coco.json"
        write_json(path, _coco_truth(_frames(self.truth)))
        return OksComparison(path, poses, Coco()).before.values["OKS"]["AP"]

    def _false_shares(self, poses: NamedSequences) -> tuple[float, float, float]:
        """Returns how many percent of the estimated keypoints without a true one are in some poses; see SCORES.

        NaN where people are missed or seen twice, so that nobody knows whose an estimate is, or there are none.
        """
        left, outside = [np.empty(0, bool)], [np.empty(0, bool)]
        for frames in zip(_frames(self.truth), _frames(self.given), _frames(poses), strict=True):
            if len({len(frame) for frame in frames}) > 1:
                return math.nan, math.nan, math.nan
            true, given, final = (f.skeleton.convert(f.poses, POSETRACK15) for f in frames)
            is_false = np.isnan(true[..., 0]) & ~np.isnan(given[..., 0])
            left.append(~np.isnan(final[is_false][:, 0]))
            outside.append(_at_border(given[is_false], frames[0].size))
        is_left, is_outside = np.concatenate(left), np.concatenate(outside)
        return _percent(is_left), _percent(is_left[~is_outside]), _percent(is_left[is_outside])


def _at_border(points: FloatArray, size: tuple[int, int] | None) -> BoolArray:
    """Returns which points (n, 2) lie in the outermost pixels of an image of that width and height, or beyond."""
    assert size is not None  # drawn files have it
    return np.asarray(((points < 1) | (points >= np.array(size) - 1)).any(axis=1))


def _percent(values: BoolArray) -> float:
    return 100 * float(values.mean()) if len(values) else math.nan


def usual_kinds(errors: Callable[..., PoseErrors]) -> list[Kind]:
    """Returns the kinds of estimates that are looked at.

    Args:
        errors: Makes usual mistakes, with some of their arguments changed.
    """
    usual = errors()
    never, always = (dict.fromkeys(KEYPOINT_KINDS, chance) for chance in (0.0, 1.0))
    tables = dict.fromkeys(("jitter", "miss", "inversion", "swap", "absent"), never)
    people = dict.fromkeys(("shift", "missed_person", "false_person", "duplicate_person"), 0.0)
    return [
        Kind("poor", errors(strength=1.5)),
        Kind("usual", usual),
        Kind("good", errors(strength=0.3)),
        Kind("exact", usual, is_exact=True),
        Kind("hidden", errors(**tables, **people, extra=always)),
        Kind("usual x 1/3", usual, factor=1 / 3),
        Kind("usual x 3", usual, factor=3.0),
        Kind("no head", usual, has_head=False),
        Kind("no head x 1/3", usual, has_head=False, factor=1 / 3),
        Kind("no head x 3", usual, has_head=False, factor=3.0),
    ]


def benchmark_quality(
    refiner: Callable[[int], PoseRefiner],
    wanted: Sequence[Kind],
    objectives: Mapping[str, tuple[Objective, int]],
    clips: int,
    frames: int,
    seed: int,
    folder: Path,
    progress: Callable[[int], Any] = lambda frames: None,
) -> Iterator[tuple[str, dict[str, dict[str, float]]]]:
    """Draws clips, in clothes that training never draws, refines estimates of them, and scores these.

    Args:
        refiner: Makes the engine for a number of iterations.
        wanted: Kinds of estimates, all of the same clips.
        objectives: Name → objective and number of iterations.
        clips: Number of clips.
        frames: Of each clip.
        seed: Of the clips.
        folder: To write the clips to.
        progress: Called with the number of frames refined; each is once for each kind and number of iterations.

    Yields:
        Each kind's name, and its scores: "input" or an objective → SCORES.
    """
    for kind in wanted:
        root = folder / kind.name
        seeds = [(seed, number) for number in range(clips)]
        write_tree(root, seeds, frames, kind.errors, held_out=True, purpose=Purpose.BENCHMARK_SCENE)
        counts = sorted({count for _, count in objectives.values()})
        refined = _refined(kind, root, {count: refiner(count) for count in counts}, progress)

        scores = {"input": refined.scores(refined.given)}
        for name, (objective, count) in objectives.items():
            scores[name] = refined.scores(refined.under(objective, count))
        yield kind.name, scores


def _refined(kind: Kind, root: Path, refiners: Mapping[int, PoseRefiner], progress: Callable[[int], Any]) -> Refined:
    """Reads a drawn tree, brings it to the kind's size, and refines its estimates."""
    source = "annotations" if kind.is_exact else "predictions"
    read = {
        folder: {path.name: PoseTrack18().read(path) for path in sorted((root / folder).iterdir())}
        for folder in ("annotations", source)
    }
    if kind.factor != 1:
        for path in (root / "images").rglob("*.jpg"):
            save_jpeg(_resized(read_image(path), kind.factor), path)

    truth = _changed(read["annotations"], lambda frame: _scaled(frame, kind.factor))
    given = _changed(read[source], lambda frame: _scaled(_estimated(frame, kind), kind.factor))
    clips, images = [clip for sequences in given.values() for clip in sequences], ImageFolder(root)
    found = {}
    for count, refiner in refiners.items():
        poses = _counted(refine_sequences(refiner, clips, images, MAP), progress)
        found[count] = {name: [next(poses) for _ in sequences] for name, sequences in given.items()}
    return Refined(truth, given, found, root)


def _counted(clips: Iterable[PoseSequence], progress: Callable[[int], Any]) -> Iterator[PoseSequence]:
    """Yields clips and says how many frames each has."""
    for clip in clips:
        progress(len(clip.frames))
        yield clip


def _changed(files: NamedSequences, change: Callable[[Frame], Frame]) -> dict[str, list[PoseSequence]]:
    return {
        name: [replace(clip, frames=[change(frame) for frame in clip.frames]) for clip in clips]
        for name, clips in files.items()
    }


def _estimated(frame: Frame, kind: Kind) -> Frame:
    """Returns a frame's estimates, without the head's ends or with scores where the kind wants it."""
    if kind.is_exact:
        return replace(frame, scores=np.where(frame.present, _SURE, 0.0))
    if kind.has_head:
        return frame
    keypoints = frame.keypoints.copy()
    ends = frame.skeleton.indices(*_HEAD_ENDS)
    keypoints[:, ends] = np.nan
    flags = frame.flags.copy()
    flags[:, ends] = 0
    return replace(frame, keypoints=keypoints, flags=flags)


def _scaled(frame: Frame, factor: float) -> Frame:
    """Returns a frame of an image that was enlarged or shrunk."""
    return replace(
        frame,
        keypoints=frame.keypoints * factor,
        boxes=frame.boxes * factor,
        head_boxes=frame.head_boxes * factor,
        ignore_regions=tuple(region * factor for region in frame.ignore_regions),
        size=frame.size and (round(frame.size[0] * factor), round(frame.size[1] * factor)),
    )


def _resized(image: Any, factor: float) -> Any:
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=method)


def _chosen(objective: Objective, before: Frame, after: Frame) -> Frame:
    """Returns a frame's poses under an objective; `after` has all keypoints."""
    poses = after.skeleton.convert(after.keypoints, POSETRACK15)
    confidences = after.skeleton.convert(after.confidences, POSETRACK15)
    results = [
        PassedThrough(None, Outcome.OUTSIDE) if np.isnan(own).all() else RefinedPose(None, pose, own, 1.0)
        for pose, own in zip(poses, confidences, strict=True)
    ]
    return refined_frame(before, results, POSETRACK15, objective, Tally())


def _frames(files: NamedSequences) -> list[Frame]:
    """Returns all frames, by the names of the files."""
    return [frame for name in sorted(files) for clip in files[name] for frame in clip.frames]


def _coco_truth(frames: Sequence[Frame]) -> dict[str, Any]:
    """Returns annotations as COCO has them."""
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
    present = ~np.isnan(pose[:, 0])
    low, high = np.nanmin(pose, axis=0), np.nanmax(pose, axis=0)
    extent = np.maximum(high - low, 1)
    keypoints = np.column_stack([np.nan_to_num(pose), np.where(present, 2, 0)])  # (17, 3)
    return {
        "category_id": 1,
        "iscrowd": 0,
        "keypoints": keypoints.ravel().tolist(),
        "num_keypoints": int(present.sum()),
        "bbox": [*low.tolist(), *extent.tolist()],
        "area": float(_AREA_OF_BOX * np.prod(extent)),
    }


def quality_table(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Returns the scores of one kind of estimates as a table, a row for the input and for each objective."""
    rows = [["", *SCORES]]
    rows += [[name, *(number(value) for value in values.values())] for name, values in scores.items()]
    return format_table(rows)

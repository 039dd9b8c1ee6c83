"""COCO's and CrowdPose's AP and AR by object keypoint similarity, as pycocotools computes them (docs/formats.md)."""

import io
import math
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO  # type: ignore[import-untyped]
from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped]

from hpr.errors import UserError
from hpr.metrics.posetrack import NamedSequences, or_none
from hpr.formats.coco import Coco, CrowdPose, GroundTruth, ids_by_name, plain_layout, results
from hpr.formats.fields import numbers
from hpr.poses import PoseSequence

EASY_BELOW, HARD_ABOVE = 0.1, 0.8
"""Crowd indices of CrowdPose's easy and hard images."""

METRIC = "OKS"
"""The one row of the tables."""

_STATISTICS = {"AP": 0, "AP50": 1, "AP75": 2, "APM": 3, "APL": 4, "AR": 5}
"""Places among the numbers that pycocotools sums up."""

_COCO_COLUMNS = ("AP", "AP50", "AP75", "APM", "APL", "AR")
_CROWDPOSE_COLUMNS = ("AP", "AP50", "AP75", "easy", "medium", "hard", "AR")

_AREA_OF_BOX = 0.53
"""A person's area as a share of the box's, where annotations have none, as in CrowdPose's tool."""


@dataclass
class OksScores:
    """Scores of the people in some sequences.

    Attributes:
        columns: What there is a score for.
        values: Metric → column → percent; NaN where there is no value.
        warnings: What is odd about the files, or was left out.
    """

    columns: tuple[str, ...]
    values: dict[str, dict[str, float]]
    warnings: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Returns the scores as they stand in report.json; null where there is no value."""
        row = self.values[METRIC]
        return {METRIC: {name: or_none(row[name]) for name in self.columns}}

    def as_json(self) -> dict[str, Any]:
        """Returns the scores as they are written to a file; null where there is no value."""
        return {"total": self.summary(), "warnings": self.warnings}


class OksComparison:
    """Ground truth to score poses against, before and after they are refined.

    Attributes:
        before: Scores of the poses that are to be refined.
    """

    before: OksScores

    def __init__(self, annotations: Path, predicted: NamedSequences, file_format: Coco, whole: bool = True) -> None:
        """Scores the predictions as they are.

        Args:
            annotations: A file of ground truth, which is read once.
            predicted: Files of predictions.
            file_format: Of the annotations; its skeleton is scored.
            whole: Whether all annotated images are scored, also those without a prediction.

        Raises:
            UserError: The annotations are absent, broken or of another format, or none of their images is predicted.
        """
        self._truth = _Truth(annotations, file_format, whole)
        self.before = self.after(predicted)

    def after(self, refined: NamedSequences) -> OksScores:
        """Scores refined files."""
        return self._truth.scores([sequence for name in refined for sequence in refined[name]])


def evaluate(annotations: Path, sequences: Sequence[PoseSequence], file_format: Coco) -> OksScores:
    """Scores the people in some sequences. See `OksComparison`."""
    return _Truth(annotations, file_format).scores(sequences)


class _Truth:
    """Ground truth as pycocotools takes it, with numbers of our own for images and people.

    Theirs may be texts, which cannot be sorted together with numbers, and pycocotools takes a person with the number 0
    for nobody.
    """

    def __init__(self, path: Path, file_format: Coco, whole: bool = True) -> None:
        self._whole = whole
        self._path, self._layout = path, plain_layout(file_format.skeletons[0])
        self._is_crowdpose = isinstance(file_format, CrowdPose)
        self._annotated = file_format.ground_truth(path)
        images = self._annotated.images
        # In the order of their own numbers, since people of equal scores are ranked in this order.
        order = sorted(images, key=lambda image_id: (isinstance(image_id, str), image_id))
        self._numbers = {image_id: number for number, image_id in enumerate(order, 1)}
        self._coco = self._indexed(self._people())

    def scores(self, sequences: Sequence[PoseSequence]) -> OksScores:
        """Scores the people in some sequences.

        Raises:
            UserError: Not one of their images is annotated.
        """
        frames = [frame for sequence in sequences for frame in sequence.frames]
        ids = ids_by_name(frames, self._annotated.images)
        named = [(frame, self._numbers[image]) for frame, image in zip(frames, ids, strict=True) if image is not None]
        warnings = self._warnings([frame.image for frame in frames], ids)
        people = results([frame for frame, _ in named], [number for _, number in named], self._layout)
        if any("bbox" not in person for person in people):  # pycocotools measures all people in one way
            people = [{key: value for key, value in person.items() if key != "bbox"} for person in people]

        columns = _CROWDPOSE_COLUMNS if self._is_crowdpose else _COCO_COLUMNS
        with redirect_stdout(io.StringIO()):
            found = self._coco.loadRes(people) if people else self._indexed([])
            scored = set(self._numbers.values()) if self._whole else {number for _, number in named}
            row = self._statistics(found, sorted(scored))
            if self._is_crowdpose:
                row |= self._by_crowd(found, scored)
        return OksScores(columns, {METRIC: {name: row[name] for name in columns}}, warnings)

    def _statistics(self, found: COCO, images: list[int]) -> dict[str, float]:
        """Returns the scores of people in some images."""
        evaluation = COCOeval(self._coco, found, "keypoints")
        evaluation.params.imgIds = images
        evaluation.params.kpt_oks_sigmas = np.array(self._layout.skeleton.sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        statistics = {name: float(evaluation.stats[place]) for name, place in _STATISTICS.items()}
        return {name: math.nan if value < 0 else 100 * value for name, value in statistics.items()}

    def _by_crowd(self, found: COCO, scored: set[int]) -> dict[str, float]:
        """Returns AP of the easy, medium and hard images among those that are scored."""
        levels: dict[str, list[int]] = {"easy": [], "medium": [], "hard": []}
        for image_id, image in self._annotated.images.items():
            if not math.isnan(image.crowd_index) and self._numbers[image_id] in scored:
                levels[_level(image.crowd_index)].append(self._numbers[image_id])
        return {name: self._statistics(found, images)["AP"] for name, images in levels.items()}

    def _warnings(self, names: Sequence[str], ids: Sequence[int | str | None]) -> list[str]:
        """Returns what is to be said of images that are not on both sides."""
        unknown = [name for name, image_id in zip(names, ids, strict=True) if image_id is None]
        known = set(ids) - {None}
        if names and not known:
            raise UserError(f"{self._path}: expected an image named like {names[0]}, found none")
        warnings = []
        if unknown:
            warnings.append(f"{len(unknown)} images are not in {self._path} and are not scored, such as {unknown[0]}")
        absent = [image.name for image_id, image in self._annotated.images.items() if image_id not in known]
        if absent and self._whole:
            many = f"{len(absent)} of {len(self._numbers)} images of {self._path}"
            warnings.append(f"{many} are not in the files of poses and count as without a person, such as {absent[0]}")
        return warnings

    def _indexed(self, people: list[dict[str, Any]]) -> COCO:
        """Returns people of the images as pycocotools takes them."""
        coco = COCO()
        images = [{"id": number} for number in self._numbers.values()]
        coco.dataset = {"info": {}, "images": images, "categories": [{"id": 1}], "annotations": people}
        with redirect_stdout(io.StringIO()):
            coco.createIndex()
        return coco

    def _people(self) -> list[dict[str, Any]]:
        """Returns the annotations with what pycocotools needs, and files may not have."""
        found = self._annotated
        triples = np.where(np.isfinite(found.triples), found.triples, 0.0)
        flat = triples.reshape(len(triples), 3 * triples.shape[1]).tolist()  # (M, K, 3) -> (M, 3 * K)
        counts = (triples[..., 2] > 0).sum(axis=1).tolist()
        boxes, areas = self._boxes_and_areas(found)
        people = []
        for i, record in enumerate(found.records):
            person: dict[str, Any] = {"id": i + 1, "image_id": self._numbers[record["image_id"]], "category_id": 1}
            person |= {"keypoints": flat[i], "bbox": boxes[i], "area": areas[i]}
            count = record.get("num_keypoints")
            person["num_keypoints"] = count if isinstance(count, int) else counts[i]
            people.append(person | {"iscrowd": int(bool(record.get("iscrowd")))})
        return people

    def _boxes_and_areas(self, found: GroundTruth) -> tuple[list[list[float]], list[float]]:
        """Returns boxes, and areas: in CrowdPose and where there is none, a share of the box's."""
        boxes, areas = [], []
        for record, where in zip(found.records, found.wheres, strict=True):
            has_box = bool(record.get("bbox"))
            box = numbers(record["bbox"], 4, f"{where}.bbox").tolist() if has_box else [0.0] * 4
            area = numbers([record.get("area")], 1, f"{where}.area").item()
            if self._is_crowdpose or math.isnan(area):
                if not has_box:
                    raise UserError(f"{where}: expected a bbox, from which the person's area is taken, found none")
                area = _AREA_OF_BOX * box[2] * box[3]
            boxes.append(box)
            areas.append(area)
        return boxes, areas


def _level(crowd_index: float) -> str:
    if crowd_index < EASY_BELOW:
        return "easy"
    return "hard" if crowd_index > HARD_ABOVE else "medium"

"""COCO's and CrowdPose's AP and AR by object keypoint similarity, as pycocotools does (docs/notes/scores.md)."""

import io
import math
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from pycocotools.coco import COCO  # type: ignore[import-untyped]
from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped]

from hpr.errors import UserError
from hpr.formats import fields
from hpr.formats.coco import Coco, CrowdPose, GroundTruth, Layout, results
from hpr.metrics.scores import Scores
from hpr.metrics.truth import SILENT, ImageTruth, NamedSequences, Progress, keyed_frames
from hpr.poses import FloatArray, Frame

EASY_BELOW, HARD_ABOVE = 0.1, 0.8
"""Crowd indices of CrowdPose's easy and hard images."""

_COCO_COLUMNS = ("AP", "AP50", "AP75", "APM", "APL", "AR")
"""The first numbers that pycocotools summarises, in its order."""

_CROWDPOSE_COLUMNS = ("AP", "AP50", "AP75", "easy", "medium", "hard", "AR")

_AREA_OF_BOX = 0.53
"""A person's area as a share of the box's, where annotations have none, as in CrowdPose's tool."""

_FARTHEST = 1e12
"""Pixels; larger coordinates, which only broken files have, count as this far away."""


class OksTruth(ImageTruth):
    """Annotations of COCO or CrowdPose, as pycocotools takes them.

    Images and people get numbers of our own: ids in files may be texts, which cannot be sorted together with numbers,
    and pycocotools takes a person with the number 0 for nobody.
    """

    def __init__(self, truth: GroundTruth, file_format: Coco, origin: str, whole: bool = True) -> None:
        """Prepares for scoring in the skeleton of the annotations' format; see `ImageTruth` for the others."""
        super().__init__(truth.sequence.frames, origin, whole)
        self._annotated = truth
        own = file_format.skeletons[0]  # others that are annotated beside these are not scored
        skeleton = own if set(own.names) <= set(truth.skeleton.names) else truth.skeleton
        self._layout = Layout(skeleton, (1,))
        self._triples = truth.skeleton.convert(truth.triples, skeleton, 0.0)  # (M, K, 3)
        self._is_crowdpose = isinstance(file_format, CrowdPose)

        # In the order of their own ids, since people of equal scores are ranked in this order.
        ids = [image.id for image in truth.images]
        order = sorted(range(len(ids)), key=lambda index: (isinstance(ids[index], str), ids[index]))
        self._numbers = {index: number for number, index in enumerate(order, 1)}

    @cached_property
    def _coco(self) -> COCO:
        """The annotations with all fields that pycocotools needs and files may lack.

        They are made when they are first scored, since pairing frames needs neither boxes nor areas.
        """
        truth = self._annotated
        triples = _bounded(np.where(np.isfinite(self._triples), self._triples, 0.0))
        flat = triples.reshape(len(triples), 3 * triples.shape[1]).tolist()  # (M, K, 3) -> (M, 3 * K)
        counts = (triples[..., 2] > 0).sum(axis=1).tolist()

        people = []
        rows = zip(truth.records, truth.wheres, truth.image_indices.tolist(), flat, counts, strict=True)
        for number, (record, where, image, keypoints, count) in enumerate(rows, 1):
            box, area = self._box_and_area(record, where)
            own_count = record.get("num_keypoints")
            person = {"id": number, "image_id": self._numbers[image], "category_id": 1, "keypoints": keypoints}
            person |= {"bbox": box, "area": area, "iscrowd": int(bool(fields.flag(record.get("iscrowd"))))}
            people.append(person | {"num_keypoints": own_count if isinstance(own_count, int) else count})
        return self._indexed(people)

    def score(self, predicted: NamedSequences, progress: Progress = SILENT, mota_threshold: float = 0.0) -> Scores:
        """See `Truth`."""
        frames = [frame for _, _, frame in keyed_frames(predicted, progress)]
        indices, warnings = self.match(frames)
        known = [(frame, index) for frame, index in zip(frames, indices, strict=True) if index is not None]
        numbers = [self._numbers[index] for _, index in known]

        people = list(results([_bounded_frame(frame) for frame, _ in known], numbers, self._layout))
        if any("bbox" not in person for person in people):  # pycocotools measures all people in one way
            people = [{key: value for key, value in person.items() if key != "bbox"} for person in people]

        scored = set(self._numbers.values()) if self.whole else set(numbers)
        with redirect_stdout(io.StringIO()):
            estimates = self._coco.loadRes(people) if people else self._indexed([])
            values = self._statistics(estimates, scored)
            if self._is_crowdpose:
                for level, images in self._by_crowd_level(scored).items():
                    values[level] = self._statistics(estimates, images)["AP"]

        row = {name: values[name] for name in (_CROWDPOSE_COLUMNS if self._is_crowdpose else _COCO_COLUMNS)}
        logged = {name: row[name] for name in ("AP", "AP50", "AP75", "AR")}
        warnings += [*self._annotated.sequence.warnings, *self._annotation_warnings]
        return Scores({"OKS": row}, "AP", logged, row["AP"], warnings=warnings)

    @cached_property
    def _annotation_warnings(self) -> list[str]:
        """What is odd about the annotations: nobody counts, or areas that are no people's."""
        people = [person for person in self._coco.anns.values() if person["num_keypoints"] and not person["iscrowd"]]
        if not people:
            return [f"{self.origin}: nobody is annotated with keypoints, so that there is no score"]
        if self._is_crowdpose:
            return []
        rows = [person["id"] - 1 for person in people]
        areas = {row: fields.as_number(self._annotated.records[row].get("area")) for row in rows}
        odd = [row for row in rows if areas[row] <= 1]
        absent = [row for row in rows if math.isnan(areas[row])]
        warnings = []
        if odd:
            where = f"{self._annotated.wheres[odd[0]]}.area"
            found = f"found {areas[odd[0]]:g}, and {len(odd)} of {len(rows)} people have 0 or 1; expected pixels"
            warnings.append(f"{where}: {found}; they count as pycocotools takes them: hardly any pose is near enough")
        if absent:
            many = f"{len(absent)} of {len(rows)} people have no area; {_AREA_OF_BOX} times the box's is taken"
            warnings.append(f"{self._annotated.wheres[absent[0]]}: {many}")
        return warnings

    def _statistics(self, estimates: COCO, images: set[int]) -> dict[str, float]:
        """Returns the scores of estimated people in some images."""
        evaluation = COCOeval(self._coco, estimates, "keypoints")
        evaluation.params.imgIds = sorted(images)
        evaluation.params.kpt_oks_sigmas = np.array(self._layout.skeleton.sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()

        values = evaluation.stats[: len(_COCO_COLUMNS)].tolist()
        return {name: math.nan if value < 0 else 100 * value for name, value in zip(_COCO_COLUMNS, values, strict=True)}

    def _by_crowd_level(self, scored: set[int]) -> dict[str, set[int]]:
        """Returns the easy, medium and hard images among those that are scored."""
        levels: dict[str, set[int]] = {"easy": set(), "medium": set(), "hard": set()}
        for index, image in enumerate(self._annotated.images):
            if not math.isnan(image.crowd_index) and self._numbers[index] in scored:
                is_easy, is_hard = image.crowd_index < EASY_BELOW, image.crowd_index > HARD_ABOVE
                levels["easy" if is_easy else "hard" if is_hard else "medium"].add(self._numbers[index])
        return levels

    def _indexed(self, people: Sequence[dict[str, Any]]) -> COCO:
        """Returns people of the images as pycocotools takes them."""
        coco = COCO()
        images = [{"id": number} for number in self._numbers.values()]
        coco.dataset = {"info": {}, "images": images, "categories": [{"id": 1}], "annotations": people}
        with redirect_stdout(io.StringIO()):
            coco.createIndex()
        return coco

    def _box_and_area(self, record: dict[str, Any], where: str) -> tuple[list[float], float]:
        """Returns a person's box, and the area: in CrowdPose and where there is none, a share of the box's."""
        has_box = bool(record.get("bbox"))
        box = _bounded(fields.numbers(record["bbox"], 4, f"{where}.bbox")).tolist() if has_box else [0.0] * 4
        given = record.get("area")
        area = float(_bounded(np.array(fields.as_number(given))))
        if math.isnan(area) and isinstance(given, str | list | dict):
            raise UserError(f"{where}.area: expected a number, found {fields.summary(given)}")
        if self._is_crowdpose or math.isnan(area):
            if not has_box:
                raise UserError(f"{where}: expected a bbox, from which the person's area is taken, found none")
            area = _AREA_OF_BOX * box[2] * box[3]
        return box, max(area, 0.0)


def _bounded(values: FloatArray) -> FloatArray:
    """Returns finite numbers whose squares pycocotools can add: what is farther away is as wrong."""
    return np.where(np.isfinite(values), np.clip(values, -_FARTHEST, _FARTHEST), values)


def _bounded_frame(frame: Frame) -> Frame:
    """Returns a frame without huge numbers, which would be whole numbers of hundreds of digits in the results."""
    return replace(
        frame,
        keypoints=_bounded(frame.keypoints),
        scores=_bounded(frame.scores),
        boxes=_bounded(frame.boxes),
        person_scores=_bounded(frame.person_scores),
    )

"""MMPose's predictions: of an image, a list of people; of a video, a list of frames (docs/formats.md)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.files import read_json
from hpr.formats.base import pose_files
from hpr.formats.fields import expect, field, keypoints_of, number_table, numbers, optional_number, plain, summary
from hpr.formats.frame_files import FrameFiles, first_with_people, image_entries, written_pose
from hpr.formats.records import (
    ImageEntry,
    Original,
    Parsed,
    PlacedRecord,
    Record,
    RecordFormat,
    gather_records,
    records_by_frame,
)
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.skeleton import COCO17, CROWDPOSE14, HALPE26, MPII16, Skeleton

_DEMO = "instance_info"
_DEMO_NAME = "results_"

_OWN_NAMES = {
    HALPE26.name: {"head": "head_top", "neck": "head_bottom", "hip": "pelvis"},
    MPII16.name: {"upper_neck": "head_bottom"},
    CROWDPOSE14.name: {"top_head": "head_top", "neck": "head_bottom"},
}
"""What MMPose's configurations of data sets call keypoints that have another name here."""


class MMPose(FrameFiles):
    """Reader and writer of MMPose's predictions.

    A source is a folder that has a file for each image, or the file of a video or of an image.
    """

    name = "mmpose"
    looks_like = "JSON with people of keypoints and keypoint_scores, for each frame or each image"
    skeletons = (COCO17, HALPE26, MPII16, CROWDPOSE14)
    metric = "oks"
    score_key = "bbox_score"

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        """See `Format`. A list without people is recognised by the files beside it."""
        if isinstance(document, dict):
            return isinstance(document.get(_DEMO), list)
        document = first_with_people(path, document)
        first = document[0] if isinstance(document, list) and document else None
        if not isinstance(first, dict):
            return False
        return {"frame_id", "instances"} <= first.keys() or {"keypoints", "keypoint_scores"} <= first.keys()

    def sources(self, location: Path) -> list[Path]:
        """See `Format`. Each video is one source, and a folder of images is one."""
        found = super().sources(location)
        if len(found) == 1 and found[0].is_dir():
            files = pose_files(found[0])
            if _is_video(_entries(read_json(files[0]), str(files[0]))):
                return files
        return found

    def read(self, path: Path) -> list[PoseSequence]:
        """See `Format`."""
        if not path.is_dir():
            document = read_json(path)
            if _is_video(_entries(document, str(path))):
                return [self._sequence(document, path)]
        return super().read(path)

    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        """See `Format`. From scratch, a file is written: of a video, or of an image if it is one without a number."""
        original = self._original_of(sequences[0])
        is_folder_or_image = original is not None and original.details is not None
        writer = FrameFiles if is_folder_or_image else RecordFormat
        writer.write(self, sequences, path)

    def _parse(self, document: Any, path: Path) -> Parsed:
        """Parses a video.

        The inferencer counts frames from 0; the demo scripts count from 1 (MMPose's base_mmpose_inferencer.py and
        topdown_demo_with_mmdet.py).
        """
        entries, place = _entries(document, str(path)), _place(document, str(path))
        wheres = [f"{place}[{i}]" for i in range(len(entries))]
        ids = [_frame_id(entry, where) for entry, where in zip(entries, wheres, strict=True)]
        first = 1 if isinstance(document, dict) and 0 not in ids else 0
        listed = [field(entry, "instances", list, where) for entry, where in zip(entries, wheres, strict=True)]

        video, numbers = _image_name(path, document), [frame_id - first for frame_id in ids]
        images = image_entries([f"{video}_{number:012d}" for number in numbers], numbers)
        meta = _meta_skeleton(document, str(path))
        return self._parse_people(document, images, listed, [f"{where}.instances" for where in wheres], meta)

    def _parse_files(self, paths: list[Path], contents: list[Any]) -> Parsed:
        pairs = list(zip(paths, contents, strict=True))
        listed = [_entries(content, str(path)) for path, content in pairs]
        for path, entries in zip(paths, listed, strict=True):
            if _is_video(entries):
                advice = "keep videos and images in folders of their own"
                raise UserError(f"{path}: expected the people of an image, found the frames of a video; {advice}")

        wheres = [_place(content, str(path)) for path, content in pairs]
        metas = [_meta_skeleton(content, str(path)) for path, content in pairs]
        meta = next((meta for meta in metas if meta is not None), None)
        images = [ImageEntry(_image_name(path, content)) for path, content in pairs]
        return self._parse_people(contents, images, listed, wheres, meta)

    def _parse_people(
        self,
        document: Any,
        images: list[ImageEntry],
        listed: list[list[Record]],
        places: list[str],
        meta: Skeleton | None,
    ) -> Parsed:
        """Parses the people of a source.

        Args:
            document: Its content.
            images: Its images.
            listed: The people of each.
            places: Where each list is, for an error.
            meta: The skeleton that the source names.
        """
        records, wheres, image_indices = gather_records(listed, places)
        pairs = list(zip(records, wheres, strict=True))
        poses = [field(record, "keypoints", list, where) for record, where in pairs]
        skeleton = meta or _skeleton(poses, wheres)

        coordinates = number_table(poses, (len(skeleton), 2), lambda i: f"{wheres[i]}.keypoints")
        scores = _scores(records, len(skeleton), wheres)
        people = Frame(
            "",
            skeleton,
            keypoints_of(coordinates, np.asarray((coordinates == 0).all(axis=-1)) & (scores == 0)),
            scores,
            boxes=np.array([_box(record, where) for record, where in pairs]).reshape(-1, 4),
            records=np.arange(len(records)),
            person_scores=np.array([_person_score(record, where) for record, where in pairs], np.float64),
        )
        return Parsed(images, image_indices, Original(self.name, document, records, people))

    def _updated_record(self, record: Record, people: Frame, person: int, original: Original, index: int) -> Record:
        return {**record, **_pose(people, person)}

    def _new_record(self, people: Frame, person: int, original: Original | None) -> Record:
        record, score = _pose(people, person), float(people.person_scores[person])
        if np.isfinite(score):
            record["bbox_score"] = score
        if np.isfinite(people.boxes[person]).all():
            record["bbox"] = [plain(people.boxes[person])]
        return record

    def _with_records(self, content: Any, records: list[Record]) -> Any:
        return {**content, _DEMO: records} if isinstance(content, dict) else records

    def _document(self, sequence: PoseSequence, records: list[PlacedRecord], original: Original | None) -> Any:
        """Returns the contents of images' files, the document of a video, or a new one, whose frames count from 0."""
        if original is not None and original.details is not None:
            return super()._document(sequence, records, original)

        frames = sequence.frames
        lists = records_by_frame(records, len(frames))
        if original is not None:
            entries = _entries(original.document, "")
            videos = [{**entry, "instances": own} for entry, own in zip(entries, lists, strict=True)]
            return self._with_records(original.document, videos)

        ids = [frame.number for frame in frames if frame.number is not None]
        if len(frames) == 1 and not ids:
            return lists[0]
        if len(set(ids)) < len(frames):
            ids = list(range(len(frames)))
        return [{"frame_id": frame_id, "instances": own} for frame_id, own in zip(ids, lists, strict=True)]


def _entries(document: Any, where: str) -> list[Any]:
    """Returns a document's list of people or frames, which the demo scripts put beside what they know of the model."""
    if isinstance(document, dict):
        found: list[Any] = field(document, _DEMO, list, where)
        return found
    return list(expect(document, list, where))


def _place(document: Any, where: str) -> str:
    """Returns where the entries of a document are, for an error."""
    return f"{where}: {_DEMO}" if isinstance(document, dict) else f"{where}: "


def _is_video(entries: list[Any]) -> bool:
    """Returns whether entries are the frames of a video; a list of nothing is an image without people."""
    return bool(entries) and isinstance(entries[0], dict) and "instances" in entries[0]


def _image_name(path: Path, document: Any) -> str:
    """Returns the name of the image or video that a file is about; the demo scripts put a word before it."""
    stem = path.name.removesuffix(MMPose.ending)
    return stem.removeprefix(_DEMO_NAME) if isinstance(document, dict) else stem


def _frame_id(entry: Any, where: str) -> int:
    """Returns the number of a frame as the file has it."""
    value = expect(entry, dict, where).get("frame_id")
    if not isinstance(value, int) or value < 0:
        raise UserError(f"{where}.frame_id: expected a whole number from 0, found {summary(value)}")
    return value


def _meta_skeleton(document: Any, where: str) -> Skeleton | None:
    """Returns the skeleton whose keypoints a document names; None if it names none.

    Raises:
        UserError: They are those of another skeleton.
    """
    meta = document.get("meta_info") if isinstance(document, dict) else None
    named = meta.get("keypoint_id2name") if isinstance(meta, dict) else None
    if not isinstance(named, dict):
        return None

    indices = sorted(named, key=lambda index: (len(index), index))  # "10" after "9"
    names = [named[index] for index in indices]
    for skeleton in MMPose.skeletons:
        own = _OWN_NAMES.get(skeleton.name, {})
        if [own.get(name, name) if isinstance(name, str) else name for name in names] == list(skeleton.names):
            return skeleton
    found = f"those of {summary(meta.get('dataset_name'))}" if isinstance(meta, dict) else ""
    known = ", ".join(skeleton.name for skeleton in MMPose.skeletons)
    raise UserError(f"{where}: meta_info.keypoint_id2name: expected the keypoints of {known}, found {found}")


def _skeleton(poses: list[list[Any]], wheres: list[str]) -> Skeleton:
    """Returns the skeleton of a source that does not name it, by the length of the first pose; COCO17 if none."""
    if not poses:
        return COCO17
    for skeleton in MMPose.skeletons:
        if len(poses[0]) == len(skeleton):
            return skeleton
    known = ", ".join(f"{len(skeleton)} ({skeleton.name})" for skeleton in MMPose.skeletons)
    raise UserError(f"{wheres[0]}.keypoints: expected a number of keypoints of {known}, found {summary(poses[0])}")


def _scores(records: list[Record], count: int, wheres: list[str]) -> FloatArray:
    """Returns the scores of all people's keypoints, (P, K); NaN where the file holds none."""
    rows = [row for row, record in enumerate(records) if record.get("keypoint_scores") is not None]
    lists = [records[row]["keypoint_scores"] for row in rows]
    scores = np.full((len(records), count), np.nan)
    scores[rows] = number_table(lists, (count,), lambda i: f"{wheres[rows[i]]}.keypoint_scores")
    return scores


def _box(record: dict[str, Any], where: str) -> FloatArray:
    """Returns the corners (4,) of a person, which the file has in a list of one; NaN if it has none."""
    box = record.get("bbox")
    if isinstance(box, list) and len(box) == 1:
        box = box[0]
    return np.full(4, np.nan) if not box else numbers(box, 4, f"{where}.bbox")


def _person_score(record: dict[str, Any], where: str) -> float:
    """Returns the score of a person's box, be it in a list of one; NaN if there is none."""
    score = record.get("bbox_score")
    if isinstance(score, list) and len(score) == 1:
        (score,) = score
    return optional_number(score, f"{where}.bbox_score")


def _pose(people: Frame, person: int) -> dict[str, Any]:
    """Returns the fields of a record that have a person's pose."""
    keypoints, scores, is_there = written_pose(people, person)
    return {"keypoints": plain(keypoints), "keypoint_scores": plain(np.where(is_there, scores, 0.0))}

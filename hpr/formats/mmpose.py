"""MMPose's predictions: of an image, a list of people; of a video, a list of frames (docs/formats.md)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.files import read_json, write_json
from hpr.formats.fields import expect, field, numbers, plain, summary
from hpr.formats.frame_files import (
    FrameFiles,
    Record,
    first_with_people,
    gathered,
    number_table,
    optional_number,
    parts,
    placed,
    updated_records,
    written_pose,
)
from hpr.formats.sources import pose_files
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.skeleton import COCO17, CROWDPOSE14, HALPE26, MPII16, Skeleton

_DEMO = "instance_info"
_DEMO_NAME = "results_"

# What MMPose's configurations of data sets call keypoints that have another name here.
_OWN_NAMES = {
    HALPE26.name: {"head": "head_top", "neck": "head_bottom", "hip": "pelvis"},
    MPII16.name: {"upper_neck": "head_bottom"},
    CROWDPOSE14.name: {"top_head": "head_top", "neck": "head_bottom"},
}


@dataclass(frozen=True)
class _Video:
    """A file of a video: its document, and its frames as they were read."""

    document: Any
    frames: list[Frame]


class MMPose(FrameFiles):
    """Reader and writer of MMPose's predictions.

    A source is a folder that has a file for each image, or the file of a video or of an image.
    """

    name = "mmpose"
    looks_like = "JSON with people of keypoints and keypoint_scores, for each frame or each image"
    skeletons = (COCO17, HALPE26, MPII16, CROWDPOSE14)
    metric = "oks"

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
        if path.is_dir():
            return super().read(path)
        document = read_json(path)
        entries = _entries(document, str(path))
        if not _is_video(entries):
            return super().read(path)
        frames = _video_frames(document, entries, path)
        return [PoseSequence(path.stem, frames, _Video(document, frames))]

    def write(self, sequences: Sequence[PoseSequence], path: Path) -> None:
        """See `Format`. From scratch, a file is written: of a video, or of an image if it is one without a number."""
        (sequence,) = sequences
        if isinstance(sequence.original, _Video):
            write_json(path, self._onto_video(sequence.original, sequence.frames))
        elif self._has_read(sequence.original):
            super().write(sequences, path)
        else:
            write_json(path, self._video_from_scratch(sequence.frames))

    def _onto_video(self, original: _Video, frames: list[Frame]) -> Any:
        """Returns the document of a video with the people of the frames."""
        entries = []
        triples = zip(_entries(original.document, ""), original.frames, frames, strict=True)
        for entry, before, frame in triples:
            own = frame.in_skeleton(before.skeleton)
            records = updated_records(entry["instances"], before, own, self._writer(own, before, None))
            entries.append({**entry, "instances": records})
        return _with_entries(original.document, entries)

    def _video_from_scratch(self, frames: list[Frame]) -> Any:
        """Returns the inferencer's document of some frames, counted from 0."""
        own = [frame.in_skeleton(COCO17) for frame in frames]
        people = [[self._record(frame, person, None) for person in range(len(frame))] for frame in own]
        ids = [frame.number for frame in frames if frame.number is not None]
        if len(frames) == 1 and not ids:
            return people[0]
        if len(set(ids)) < len(frames):
            ids = list(range(len(frames)))
        pairs = zip(ids, people, strict=True)
        return [{"frame_id": frame_id, "instances": records} for frame_id, records in pairs]

    def _frames(self, paths: list[Path], contents: list[Any]) -> list[Frame]:
        listed = []
        for path, content in zip(paths, contents, strict=True):
            listed.append(_entries(content, str(path)))
            if _is_video(listed[-1]):
                advice = "keep videos and images in folders of their own"
                raise UserError(f"{path}: expected the people of an image, found the frames of a video; {advice}")
        wheres = [_place(content, str(path)) for path, content in zip(paths, contents, strict=True)]
        metas = [_meta_skeleton(content, str(path)) for path, content in zip(paths, contents, strict=True)]
        images = [_image(path, content) for path, content in zip(paths, contents, strict=True)]
        return _people_frames(images, listed, wheres, next((meta for meta in metas if meta is not None), None))

    def _records(self, content: Any) -> list[Record]:
        return _entries(content, "")

    def _with_records(self, content: Any, records: list[Record]) -> Any:
        return _with_entries(content, records)

    def _record(self, frame: Frame, person: int, former: Record | None) -> Record:
        keypoints, scores, there = written_pose(frame, person)
        pose = {"keypoints": plain(keypoints), "keypoint_scores": plain(np.where(there, scores, 0.0))}
        record: dict[str, Any] = pose
        score = float(frame.person_scores[person])
        if np.isfinite(score) and (former is None or score != _person_score(former, "")):
            record["bbox_score"] = score
        if former is not None:
            return {**former, **record}
        if np.isfinite(frame.boxes[person]).all():
            record["bbox"] = [plain(frame.boxes[person])]
        return record


def _entries(document: Any, where: str) -> list[Any]:
    """Returns a document's list of people or frames, which the demo scripts put beside what they know of the model."""
    if isinstance(document, dict):
        found: list[Any] = field(document, _DEMO, list, where)
        return found
    return list(expect(document, list, where))


def _with_entries(document: Any, entries: list[Any]) -> Any:
    """Returns a document with other people or frames."""
    return {**document, _DEMO: entries} if isinstance(document, dict) else entries


def _place(document: Any, where: str) -> str:
    """Returns where the entries of a document are, for an error."""
    return f"{where}: {_DEMO}" if isinstance(document, dict) else f"{where}: "


def _is_video(entries: list[Any]) -> bool:
    """Returns whether entries are the frames of a video; a list of nothing is an image without people."""
    return bool(entries) and isinstance(entries[0], dict) and "instances" in entries[0]


def _image(path: Path, document: Any) -> str:
    """Returns the name of the image or video that a file is about; the demo scripts put a word before it."""
    stem = path.name.removesuffix(MMPose.ending)
    return stem.removeprefix(_DEMO_NAME) if isinstance(document, dict) else stem


def _video_frames(document: Any, entries: list[Any], path: Path) -> list[Frame]:
    """Returns the frames of a video.

    The inferencer counts them from 0; the demo scripts count from 1 (MMPose's base_mmpose_inferencer.py and
    topdown_demo_with_mmdet.py).
    """
    place = _place(document, str(path))
    wheres = [f"{place}[{i}]" for i in range(len(entries))]
    ids = [_frame_id(entry, where) for entry, where in zip(entries, wheres, strict=True)]
    first = 1 if isinstance(document, dict) and 0 not in ids else 0
    listed = [field(entry, "instances", list, where) for entry, where in zip(entries, wheres, strict=True)]

    video = _image(path, document)
    names = [f"{video}_{frame_id - first:012d}" for frame_id in ids]
    inner = [f"{where}.instances" for where in wheres]
    frames = _people_frames(names, listed, inner, _meta_skeleton(document, str(path)))
    return [replace(frame, number=frame_id - first) for frame, frame_id in zip(frames, ids, strict=True)]


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


def _people_frames(images: list[str], listed: list[list[Any]], places: list[str], meta: Skeleton | None) -> list[Frame]:
    """Returns the frames of a source.

    Args:
        images: Their names.
        listed: The people of each.
        places: Where each list is, for an error.
        meta: The skeleton that the source names.
    """
    people, wheres = gathered(listed, places)
    pairs = list(zip(people, wheres, strict=True))
    poses = [field(person, "keypoints", list, where) for person, where in pairs]
    skeleton = meta or _skeleton(poses, wheres)

    coordinates = _coordinates(poses, len(skeleton), wheres)
    scores = _scores(people, len(skeleton), wheres)
    keypoints = placed(coordinates, (coordinates == 0).all(axis=-1) & (scores == 0))
    boxes = np.array([_box(person, where) for person, where in pairs]).reshape(-1, 4)
    person_scores = np.array([_person_score(person, where) for person, where in pairs])
    return [
        Frame(
            image,
            skeleton,
            keypoints[part],
            scores[part],
            boxes=boxes[part],
            records=np.arange(part.stop - part.start),
            person_scores=person_scores[part],
        )
        for image, part in zip(images, parts(map(len, listed)), strict=True)
    ]


def _skeleton(poses: list[list[Any]], wheres: list[str]) -> Skeleton:
    """Returns the skeleton of a source that does not name it, by the length of the first pose; COCO17 if none."""
    if not poses:
        return COCO17
    for skeleton in MMPose.skeletons:
        if len(poses[0]) == len(skeleton):
            return skeleton
    known = ", ".join(f"{len(skeleton)} ({skeleton.name})" for skeleton in MMPose.skeletons)
    raise UserError(f"{wheres[0]}.keypoints: expected a number of keypoints of {known}, found {summary(poses[0])}")


def _coordinates(poses: list[list[Any]], count: int, wheres: list[str]) -> FloatArray:
    """Returns x and y of all people's keypoints, (M, K, 2)."""
    try:
        table = np.asarray(poses, np.float64)
    except (TypeError, ValueError, OverflowError):
        table = np.empty(0)
    if poses and table.shape == (len(poses), count, 2):
        return table

    rows = []  # person by person, to say where the error is
    for pose, where in zip(poses, wheres, strict=True):
        if len(pose) != count:
            raise UserError(f"{where}.keypoints: expected {count} keypoints, found {summary(pose)}")
        rows += [numbers(point, 2, f"{where}.keypoints[{i}]") for i, point in enumerate(pose)]
    return np.array(rows, np.float64).reshape(-1, count, 2)  # (M * K, 2) -> (M, K, 2)


def _scores(people: list[dict[str, Any]], count: int, wheres: list[str]) -> FloatArray:
    """Returns the scores of all people's keypoints, (M, K); NaN where the file holds none."""
    rows = [row for row, person in enumerate(people) if person.get("keypoint_scores") is not None]
    scores = np.full((len(people), count), np.nan)
    lists = [people[row]["keypoint_scores"] for row in rows]
    scores[rows] = number_table(lists, count, lambda i: f"{wheres[rows[i]]}.keypoint_scores")
    return scores


def _box(person: dict[str, Any], where: str) -> FloatArray:
    """Returns the corners (4,) of a person, which the file has in a list of one; NaN if it has none."""
    box = person.get("bbox")
    if isinstance(box, list) and len(box) == 1:
        box = box[0]
    return np.full(4, np.nan) if not box else numbers(box, 4, f"{where}.bbox")


def _person_score(person: dict[str, Any], where: str) -> float:
    """Returns the score of a person's box, be it in a list of one; NaN if there is none."""
    score = person.get("bbox_score")
    if isinstance(score, list) and len(score) == 1:
        (score,) = score
    return optional_number(score, f"{where}.bbox_score")

"""MMPose's predictions: of an image, a list of people; of a video, a list of frames (docs/notes/formats.md)."""

from pathlib import Path
from typing import Any

import numpy as np

from hpr.errors import UserError
from hpr.files import read_json
from hpr.formats import fields
from hpr.formats.frame_files import FrameFiles, first_record, written_pose
from hpr.formats.records import ImageEntry, Original, Record, RecordFormat, gather_records
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.skeleton import COCO17, HALPE26, MPII16, WHOLEBODY133, Skeleton, named_skeleton

_DEMO = "instance_info"
_DEMO_NAME = "results_"


class MMPose(FrameFiles):
    """Reader and writer of MMPose's predictions.

    A source is a folder that has a file for each image, or the file of a video or of an image. From scratch, a file is
    written: of a video, or of an image if it is one without a number.
    """

    name = "mmpose"
    looks_like = "JSON with people of keypoints and keypoint_scores, for each frame or each image"
    skeletons = (COCO17, HALPE26, MPII16, WHOLEBODY133)
    takes_skeleton = True
    metric = "oks"
    reads_beside = ()
    is_folder = False
    score_key = "bbox_score"

    @staticmethod
    def recognises(path: Path, document: object) -> bool:
        """See `Format`. A list without people is recognised by the files beside it."""
        if isinstance(document, dict):
            return isinstance(document.get(_DEMO), list)
        keys = first_record(path, document).keys()
        return {"frame_id", "instances"} <= keys or {"keypoints", "keypoint_scores"} <= keys

    def read(self, path: Path) -> list[PoseSequence]:
        files = self._frame_paths(path) if path.is_dir() else [path]
        if len(files) == 1:
            document = read_json(files[0])
            if self._has_frames(document, files[0]):
                return [self._sequence(document, files[0])]
        return super().read(path)

    def _has_frames(self, content: Any, path: Path) -> bool:
        return _is_video(_entries(content, path)[0])

    def _with_original(self, sequence: PoseSequence) -> tuple[list[Frame], Original]:
        return RecordFormat._with_original(self, sequence)  # a new document is of a video, or of one image

    def _parse(self, document: Any, path: Path) -> Original:
        """Parses a video. The inferencer counts frames from 0, the demo scripts from 1 (docs/notes/formats.md, 7.4)."""
        entries, place = _entries(document, path)
        wheres = [f"{place}[{i}]" for i in range(len(entries))]
        ids = [fields.expect(entry, dict, where).get("frame_id") for entry, where in zip(entries, wheres, strict=True)]
        for frame_id, where in zip(ids, wheres, strict=True):
            if not isinstance(frame_id, int) or frame_id < 0:
                found = fields.summary(frame_id)
                raise UserError(f"{where}.frame_id: expected a whole number from 0, found {found}")
        first = 1 if isinstance(document, dict) and 0 not in ids else 0
        listed = fields.column(entries, wheres, "instances", list)

        video, numbers = _image_name(path, document), [frame_id - first for frame_id in ids]
        images = [ImageEntry(f"{video}_{number:012d}", number=number) for number in numbers]
        return self._parse_people(images, listed, [f"{where}.instances" for where in wheres], _meta(document, path))

    def _parse_files(self, paths: list[Path], contents: list[Any]) -> Original:
        pairs = list(zip(paths, contents, strict=True))
        listed = [_entries(content, path) for path, content in pairs]
        for path, (entries, _) in zip(paths, listed, strict=True):
            if _is_video(entries):
                advice = "keep videos and images in folders of their own"
                raise UserError(f"{path}: expected the people of an image, found the frames of a video; {advice}")

        metas = [_meta(content, path) for path, content in pairs]
        meta = next((meta for meta in metas if meta is not None), None)
        images = [ImageEntry(_image_name(path, content)) for path, content in pairs]
        return self._parse_people(images, [entries for entries, _ in listed], [place for _, place in listed], meta)

    def _parse_people(
        self, images: list[ImageEntry], listed: list[list[Record]], places: list[str], meta: Skeleton | None
    ) -> Original:
        """Parses the people of each image, whose lists are at `places`; meta is the skeleton that the source names."""
        records, wheres, indices = gather_records(listed, places)
        poses = fields.column(records, wheres, "keypoints", list)
        skeleton, is_counted = self.skeleton or meta or COCO17, bool(poses and meta is None)
        if poses and (meta is None or self.skeleton is not None):
            place = f"{wheres[0]}.keypoints"
            skeleton = fields.counted_skeleton(len(poses[0]), self.skeletons, self.skeleton, place)
        coordinates = fields.number_table(poses, (len(skeleton), 2), wheres, "keypoints")

        scores = fields.optional_table(records, wheres, "keypoint_scores", (len(skeleton),))
        keypoints = fields.keypoints_of(coordinates, fields.is_zero(coordinates) & (scores == 0))
        boxes = fields.boxes(_unwrapped(record.get("bbox")) for record in records)
        unwrapped = [{**record, "bbox_score": _unwrapped(record.get("bbox_score"))} for record in records]
        people = self._people(unwrapped, wheres, skeleton, keypoints, scores=scores, boxes=boxes)
        return Original(images, indices, records, people, is_counted=is_counted)

    def _updated_record(self, record: Record, people: Frame, person: int, original: Original) -> Record:
        return {**record, **_pose(people, person)}

    def _new_record(self, people: Frame, person: int, original: Original) -> Record:
        record = {**_pose(people, person), **fields.optional_fields(people, person, score="bbox_score")}
        box: FloatArray = people.boxes[person]
        return {**record, "bbox": [fields.plain(box)]} if np.isfinite(box).all() else record

    def _with_records(self, content: Any, records: list[Record]) -> Any:
        return {**content, _DEMO: records} if isinstance(content, dict) else records

    def _document(self, records: list[Record], by_frame: list[list[Record]], original: Original) -> Any:
        """Returns the contents of images' files, or the document of a video or of a new image."""
        if original.details is not None:
            return super()._document(records, by_frame, original)

        entries, _ = _entries(original.document, Path())
        if not entries:
            return records
        frames = [{**entry, "instances": own} for entry, own in zip(entries, by_frame, strict=True)]
        return self._with_records(original.document, frames)

    def _new_document(self, sequence: PoseSequence) -> Any:
        """See `RecordFormat`. Frames of a video count from 0; an image has the list of people alone."""
        numbers = [frame.number for frame in sequence.frames if frame.number is not None]
        count = len(sequence.frames)
        if count == 1 and not numbers:
            return []
        ids = numbers if len(set(numbers)) == count else range(count)
        return [{"frame_id": frame_id, "instances": []} for frame_id in ids]


def _entries(document: Any, path: Path) -> tuple[list[Any], str]:
    """Returns a document's people or frames, which the demo scripts put beside other fields, and where they are."""
    if isinstance(document, dict):
        return list(fields.field(document, _DEMO, list, str(path))), f"{path}: {_DEMO}"
    return list(fields.expect(document, list, str(path))), f"{path}: "


def _is_video(entries: list[Any]) -> bool:
    """Returns whether entries are the frames of a video; a list of nothing is an image without people."""
    return bool(entries) and isinstance(entries[0], dict) and "instances" in entries[0]


def _image_name(path: Path, document: Any) -> str:
    """Returns the name of the image or video that a file is about; the demo scripts put a word before it."""
    stem = path.name.removesuffix(MMPose.ending)
    return stem.removeprefix(_DEMO_NAME) if isinstance(document, dict) else stem


def _meta(document: Any, path: Path) -> Skeleton | None:
    """Returns the skeleton whose keypoints a document names; None if it names none."""
    meta = document.get("meta_info") if isinstance(document, dict) else None
    named = meta.get("keypoint_id2name") if isinstance(meta, dict) else None
    if not isinstance(meta, dict) or not isinstance(named, dict):
        return None

    names = [named[index] for index in sorted(named, key=lambda index: (len(index), index))]  # "10" after "9"
    place = f"{path}: meta_info.keypoint_id2name"
    return named_skeleton([fields.expect(name, str, place) for name in names], place)


def _unwrapped(value: Any) -> Any:
    """Returns the only item of a list of one, and anything else as it is."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _pose(people: Frame, person: int) -> dict[str, Any]:
    """Returns the fields of a record that have a person's pose."""
    keypoints, scores, is_there = written_pose(people, person)
    return {"keypoints": fields.plain(keypoints), "keypoint_scores": fields.plain(np.where(is_there, scores, 0.0))}

"""What the tests of the formats share: reading and writing, changes to what was read, and small PoseTrack documents."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpr.errors import UserError
from hpr.formats import Format
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.skeleton import Skeleton


def written(path: Path, document: Any) -> Path:
    """Writes a document and returns where it is."""
    path.write_text(json.dumps(document))
    return path


def read(file_format: Format, path: Path) -> PoseSequence:
    """Reads a source of one sequence."""
    (sequence,) = file_format.read(path)
    return sequence


def read_document(file_format: Format, folder: Path, document: Any) -> PoseSequence:
    """Writes a document to a.json and reads it."""
    return read(file_format, written(folder / "a.json", document))


def rewritten(file_format: Format, sequence: PoseSequence, path: Path) -> Any:
    """Writes a sequence and returns the document."""
    file_format.write([sequence], path)
    return json.loads(path.read_text())


def refusal(file_format: Format, path: Path) -> str:
    """Reads a source that has to be refused in one line, and returns what follows its path in that line."""
    with pytest.raises(UserError) as error:
        file_format.read(path)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


def changed(sequence: PoseSequence, change: Callable[[Frame], Frame]) -> PoseSequence:
    """Returns a sequence with other frames."""
    return replace(sequence, frames=[change(frame) for frame in sequence.frames])


def with_frame(sequence: PoseSequence, index: int, frame: Frame) -> PoseSequence:
    """Returns a sequence with one other frame."""
    return replace(sequence, frames=[*sequence.frames[:index], frame, *sequence.frames[index:][1:]])


def with_keypoints(frame: Frame, people: int | slice, **places: tuple[float, float]) -> Frame:
    """Returns a frame in which some people have keypoints elsewhere; (NaN, NaN) for a missing one."""
    keypoints, flags = frame.keypoints.copy(), frame.flags.copy()
    for name, place in places.items():
        index = frame.skeleton.index(name)
        keypoints[people, index], flags[people, index] = place, not np.isnan(place).any()
    return replace(frame, keypoints=keypoints, flags=flags)


def moved(sequence: PoseSequence, **places: tuple[float, float]) -> PoseSequence:
    """Returns a sequence in which everyone has some keypoints elsewhere."""
    return changed(sequence, lambda frame: with_keypoints(frame, slice(None), **places))


def some_keypoints(skeleton: Skeleton, **places: tuple[float, float]) -> FloatArray:
    """Returns a pose (K, 2) with some keypoints."""
    keypoints = np.full((len(skeleton), 2), np.nan)
    for name, place in places.items():
        keypoints[skeleton.index(name)] = place
    return keypoints


def with_another(frame: Frame, keypoints: FloatArray, **arrays: Any) -> Frame:
    """Returns a frame with one more person (K, 2), of whom the file does not know."""
    new = Frame(frame.image, frame.skeleton, keypoints[None], **arrays)
    names = ("keypoints", "scores", "flags", "boxes", "head_boxes", "posed", "records", "confidences", "person_scores")
    both: dict[str, Any] = {name: np.concatenate([getattr(frame, name), getattr(new, name)]) for name in names}
    return replace(frame, track_ids=(*frame.track_ids, *new.track_ids), **both)


def document18(**annotation: Any) -> dict[str, Any]:
    """A PoseTrack 2018 document with one image and one annotation."""
    keypoints = [0.0] * 51
    keypoints[0:3] = [11.5, 12.5, 1]  # nose
    keypoints[48:51] = [21.5, 22.5, 1]  # right ankle
    scores = [0.0] * 17
    scores[0], scores[2], scores[16] = 0.25, 0.5, 0.75
    default = {"id": 5, "image_id": 7, "track_id": 3, "keypoints": keypoints, "scores": scores, "bbox": [1, 2, 3, 4]}
    return {
        "images": [{"id": 7, "file_name": "images/val/clip/000.jpg", "frame_id": 7}],
        "annotations": [{**default, **annotation}],
        "categories": [{"id": 1, "keypoints": ["nose"]}],
    }


def document17(points: Any, image: Any = "a/b/clip/000.jpg", **record: Any) -> dict[str, Any]:
    """A PoseTrack 2017 document with one image and one person."""
    person = {"score": [0.5], "track_id": [3], "annopoints": [{"point": points, "odd": 1}], **record}
    return {"annolist": [{"image": image, "imgnum": [1], "annorect": [person]}], "info": "kept"}


def point(keypoint: int, x: Any, y: Any, **score: Any) -> dict[str, Any]:
    """A point of a PoseTrack 2017 document."""
    return {"id": [keypoint], "x": [x], "y": [y], **score}


def pose_fields(name: str, triples: list[Any]) -> dict[str, Any]:
    """The fields with which a person's record has a pose, given x, y and score or flag of each keypoint."""
    x, y, third = (list(values) for values in zip(*triples, strict=True))
    places = [[x, y] for x, y, _ in triples]
    fields: dict[str, dict[str, Any]] = {
        "openpose": {"pose_keypoints_2d": [value for triple in triples for value in triple]},
        "mmpose": {"keypoints": places, "keypoint_scores": third},
        "ultralytics": {"keypoints": {"x": x, "y": y, "visible": third}},
        "mpii": {"joints": places, "joints_vis": third},
    }
    return fields.get(name, {"keypoints": fields["openpose"]["pose_keypoints_2d"]})


def one_person(name: str, **fields: Any) -> Any:
    """A document of a format with one image and one person, whose record has other fields; `...` for none."""
    others: dict[str, dict[str, Any]] = {
        "alphapose": {"image_id": "a.jpg"},
        "posetrack18": document18()["annotations"][0],
        "posetrack17": document17([point(0, 7, 8)])["annolist"][0]["annorect"][0],
        "coco": {"id": 5, "image_id": 7, "category_id": 1},
        "mpii": {"image": "a.jpg"},
    }
    pose = pose_fields(name, [(7, 8, 1)] * {"openpose": 25, "mpii": 16}.get(name, 17))
    record = {**({} if "posetrack" in name else pose), **others.get(name, {}), **fields}
    people = [{key: value for key, value in record.items() if value is not ...}]
    if name in ("coco", "posetrack18"):
        return {"images": [{"id": 7, "file_name": "a.jpg"}], "annotations": people}
    if name == "posetrack17":
        return {"annolist": [{"image": "a.jpg", "annorect": people}]}
    return {"people": people} if name == "openpose" else people

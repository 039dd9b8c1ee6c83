"""Small documents of both PoseTrack formats, and changes to what was read from them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from hpr.formats import Format
from hpr.poses import FloatArray, Frame, PoseSequence
from hpr.skeleton import POSETRACK15, Skeleton


def written(path: Path, document: Any) -> Path:
    """Writes a document and returns where it is."""
    path.write_text(json.dumps(document))
    return path


def read(file_format: Format, path: Path) -> PoseSequence:
    """Reads a file of one sequence."""
    (sequence,) = file_format.read(path)
    return sequence


def rewritten(file_format: Format, sequence: PoseSequence, path: Path) -> Any:
    """Writes a sequence and returns the document."""
    file_format.write([sequence], path)
    return json.loads(path.read_text())


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


def document17(points: Any, image: Any = "a/b/clip/000.jpg") -> dict[str, Any]:
    """A PoseTrack 2017 document with one image and one person."""
    person = {"score": [0.5], "track_id": [3], "annopoints": [{"point": points, "odd": 1}]}
    return {"annolist": [{"image": image, "imgnum": [1], "annorect": [person]}], "info": "kept"}


def point(keypoint: int, x: Any, y: float, **score: Any) -> dict[str, Any]:
    """A point of a PoseTrack 2017 document."""
    return {"id": [keypoint], "x": [x], "y": [y], **score}


def changed(sequence: PoseSequence, change: Callable[[Frame], Frame]) -> PoseSequence:
    """Returns a sequence with other frames."""
    return replace(sequence, frames=[change(frame) for frame in sequence.frames])


def moved(sequence: PoseSequence, keypoints: FloatArray, skeleton: Skeleton = POSETRACK15) -> PoseSequence:
    """Returns a sequence with everyone in the same new pose (K, 2), each of its keypoints flagged."""

    def move(frame: Frame) -> Frame:
        poses = np.repeat(skeleton.convert(keypoints[None], frame.skeleton), len(frame), axis=0)
        return replace(frame, keypoints=poses, flags=(~np.isnan(poses[..., 0])).astype(np.float64))

    return changed(sequence, move)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 20) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def put_something_wild(document: Any, data: st.DataObject) -> None:
    """Walks down a document some way and puts anything that JSON can say there."""
    node = document
    for _ in range(data.draw(st.integers(0, 6))):
        keys = list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if not isinstance(node[key], dict | list) or data.draw(st.booleans()):
            node[key] = data.draw(JSON)
            return
        node = node[key]

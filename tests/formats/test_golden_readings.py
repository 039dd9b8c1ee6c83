"""What is read from the golden files of all formats."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from documents import read
from test_every_format import TOLERANCES, example

from hpr.poses import Frame
from hpr.skeleton import BODY25, COCO17, CROWDPOSE14, HALPE26, MPII16, OPENPOSE18, POSETRACK18, Skeleton

NAN = np.nan
NONE, NO_BOX = (NAN, NAN, NAN, 0), [NAN] * 4


def told(frame: Frame) -> str:
    """Tells the image of a frame, its number and size if they are known, and the records of its people."""
    number = "" if frame.number is None else f" #{frame.number}"
    size = "" if frame.size is None else " {}x{}".format(*frame.size)
    return f"{frame.image}{number}{size} {frame.records.tolist()}"


@pytest.mark.parametrize(
    ("name", "skeleton", "frames"),
    [
        ("posetrack21", POSETRACK18, "000000.jpg #0 []; 000001.jpg #1 [0, 1]; 000002.jpg #2 [2]"),
        (
            "coco annotations",
            COCO17,
            "139.jpg #139 640x426 [0, 2]; 285.jpg #285 586x640 []; #632 640x483 [1, 5]",
        ),
        ("coco results", COCO17, "000000000632.jpg #632 [0, 3]; 000000000139.jpg #139 [1, 2]"),  # named as in COCO 2017
        ("crowdpose annotations", CROWDPOSE14, "004.jpg 640x480 [0]; 023.jpg 640x480 [1, 2]; 101.jpg 640x480 [3, 4]"),
        ("crowdpose results", CROWDPOSE14, "100004.jpg #100004 [0]; 100023.jpg #100023 [1]; 100101.jpg #100101 [2, 3]"),
        ("openpose clip", BODY25, "clip_000000000000 #0 [0, 1]; 000000000001 #1 []; 000000000010 #10 [2]"),
        ("openpose coco", OPENPOSE18, "9 [0]; 10 [1, 2]"),
        ("openpose scale_3", BODY25, "a_640x480 640x480 [0]; b_333x501 333x501 [1]"),
        ("openpose file", BODY25, "clip_000000000010 #10 [0]"),
        ("alphapose results", COCO17, "a.jpg [0, 2]; b.jpg [1]"),
        ("alphapose cmu", OPENPOSE18, "3.jpg #3 [2]; 12.jpg #12 [0, 1]"),  # by number, although 12 comes first
        ("mmpose predictions", COCO17, "a_640x480 [0, 1]; b_333x501 []"),
        ("mmpose clip.json", HALPE26, "clip_000000000000 #0 [0]; 000000000001 #1 []; 000000000002 #2 [1]"),
        ("mmpose results_clip.json", COCO17, "clip_000000000000 #0 [0]; clip_000000000001 #1 []"),
        ("mmpose results_a_640x480.json", COCO17, "a_640x480 [0]"),
        ("ultralytics results", COCO17, "a_640x480 [0, 1]; b_333x501 []"),
        ("ultralytics normalised", COCO17, "a_640x480 640x480 [0]; b_333x501 333x501 [1]"),
        ("labels data_set", COCO17, "a_640x480 640x480 [0, 1]; b_333x501 333x501 [2]; d_97x61 97x61 []"),
        ("mpii", MPII16, "015601864.jpg [0, 2]; 015599452.jpg [1]; test.jpg [3]"),
    ],
)
def test_frames(name: str, skeleton: Skeleton, frames: str, tmp_path: Path) -> None:
    """The ends of the images' names, which images there are, and who is in them."""
    found = read(*example(name, tmp_path)).frames
    assert all(frame.skeleton is skeleton for frame in found)
    for frame, expected in zip(found, frames.split("; "), strict=True):
        assert told(frame).endswith(expected)


@pytest.mark.parametrize(
    ("name", "frame", "keypoints"),
    [
        ("posetrack21", 1, {"left_elbow": [(290, 170, NAN, 0), NONE]}),
        ("coco annotations", 0, {"nose": [(210, 60, NAN, 2), NONE], "right_ear": [(196, 58, NAN, 1), NONE]}),
        ("coco annotations", 0, {"left_ear": [NONE, NONE], "right_ankle": [NONE, NONE]}),
        ("coco results", 0, {"nose": [(403.5, 116, 0.9, 1), NONE]}),
        ("coco results", 0, {"left_eye": [(300.5, 120.25, 0.04, 1), (224, -42, 0.6, 1)]}),
        ("coco results_flags", 0, {"nose": [(211, 62, NAN, 1)], "left_ear": [(300.5, 120.25, NAN, 1)]}),
        ("coco results_flags", 1, {"left_ear": [NONE]}),
        ("crowdpose annotations", 0, {"head_top": [(208, 40, NAN, 2)], "head_bottom": [(208, 84, NAN, 1)]}),
        ("alphapose results", 0, {"nose": [(100.25, 50.5, 0.9, 1), NONE]}),
        ("alphapose results", 0, {"right_ankle": [(116.25, 82.5, 0.74, 1), (26.25, 37.5, 0.74, 1)]}),
        ("alphapose results", 1, {name: [NONE] for name in ("left_ear", "right_ear", "left_ankle", "right_ankle")}),
        ("alphapose cmu", 0, {"nose": [(70.25, 80.5, 0.9, 1)], "thorax": [(75.75, 91.5, 0.845, 1)]}),
        ("alphapose cmu", 0, {"right_shoulder": [(76.25, 92.5, 0.84, 1)], "left_shoulder": [(75.25, 90.5, 0.85, 1)]}),
        ("alphapose cmu", 0, {"right_ear": [(74.25, 88.5, 0.86, 1)], "left_ear": [(73.25, 86.5, 0.87, 1)]}),
        ("mmpose clip.json", 0, {"pelvis": [(320, 240, 0.653, 1)]}),
        ("mpii", 0, {"right_ankle": [(619, 393, NAN, 1), (199, 29, NAN, 1)]}),  # pixels count from 0
        ("mpii", 0, {"left_wrist": [(664, 288, NAN, 1), (214, 44, NAN, 0)]}),  # kept, but nothing starts from it
        ("mpii", 1, {"right_ankle": [NONE], "right_hip": [(99.5, 49.25, NAN, 1)]}),
    ],
)
def test_keypoints(name: str, frame: int, keypoints: dict[str, Any], tmp_path: Path) -> None:
    """The x, y, score and flag of everyone."""
    found = read(*example(name, tmp_path)).frames[frame]
    rows = np.dstack([found.keypoints, found.scores, found.flags])[:, found.skeleton.indices(*keypoints)]
    np.testing.assert_allclose(rows, np.stack(list(keypoints.values()), axis=1), rtol=1e-12)


BOXES = [[270.25, 90.5, 372, 391], [60, 95, 150, 300]]


@pytest.mark.parametrize(
    ("name", "frame", "fields"),
    [
        (
            "posetrack21",
            1,
            {"head_boxes": [[246, 82, 277, 120], [26, 72, 37, 90]], "track_ids": (0, 1), "is_posed": [1, 0]},
        ),
        ("coco annotations", 0, {"boxes": [[164.5, 40.25, 254.5, 302.75], [500, 100, 510, 130]], "is_posed": [1, 0]}),
        ("coco annotations", 0, {"scores": np.full((2, 17), NAN), "person_scores": [NAN, NAN]}),
        ("coco results", 0, {"person_scores": [0.875, 0.625], "boxes": [NO_BOX, NO_BOX]}),
        ("coco results_flags", 0, {"boxes": [[160, 40, 260, 300]], "flags": np.ones((1, 17))}),
        ("openpose clip", 0, {"track_ids": (None, None)}),
        ("openpose coco", 1, {"track_ids": (7, 0)}),
        ("alphapose results", 0, {"boxes": [[90.5, 40.25, 150.5, 160.75], NO_BOX], "person_scores": [2.875, 0.75]}),
        ("alphapose results", 0, {"track_ids": (3, 7)}),
        ("mmpose predictions", 0, {"boxes": BOXES, "person_scores": [0.91, 0.5]}),
        ("ultralytics results", 0, {"boxes": BOXES, "person_scores": [0.91234, 0.5], "track_ids": (3, 12)}),
        ("ultralytics normalised", 0, {"boxes": BOXES[:1]}),
        ("labels data_set", 0, {"boxes": BOXES, "person_scores": [NAN, NAN], "track_ids": (None, None)}),
        ("labels data_set", 0, {"flags": [[1, 2, 2, 0, *[2, 2, 1] * 3, 2, 2, 0, 2], [1, *[2, 2, 1] * 5, 2]]}),
        ("labels predictions", 0, {"boxes": BOXES, "person_scores": [0.91234, 0.5], "track_ids": (None, None)}),
        ("mpii", 0, {"head_boxes": [NO_BOX, NO_BOX], "is_posed": [1, 1]}),
        ("mpii", 1, {"head_boxes": [[94, 29, 124, 69]]}),
        ("mpii", 2, {"posed": [0], "is_posed": [0], "keypoints": np.full((1, 16, 2), NAN)}),
    ],
)
def test_fields(name: str, frame: int, fields: dict[str, Any], tmp_path: Path) -> None:
    file_format, path = example(name, tmp_path)
    found, tolerance = read(file_format, path).frames[frame], TOLERANCES.get(file_format.name, 0)
    for field, values in fields.items():
        if field == "track_ids":
            assert found.track_ids == values
        else:
            np.testing.assert_allclose(getattr(found, field), values, rtol=0, atol=tolerance, err_msg=field)


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (("mmpose clip.json",), ()),
        (("mmpose predictions", "ultralytics results", "ultralytics normalised"), ("left_ear", "left_ankle")),
        (("labels data_set", "labels predictions"), ("left_ear", "left_ankle")),
        (
            ("openpose clip", "openpose scale_3", "openpose scale_4"),
            ("left_ankle", "right_ear", "left_big_toe", "left_small_toe", "left_heel"),
        ),
    ],
)
def test_the_same_person_in_several_formats(names: tuple[str, ...], missing: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        file_format, path = example(name, tmp_path)
        frame = read(file_format, path).frames[0]
        found = frame.keypoints[0, frame.skeleton.indices("nose", "right_ankle", "left_shoulder")]
        tolerance = TOLERANCES.get(file_format.name, 0)
        np.testing.assert_allclose(found, [[320, 114], [296, 381], [350, 144]], rtol=0, atol=tolerance, err_msg=name)
        assert np.flatnonzero(np.isnan(frame.keypoints[0, :, 0])).tolist() == frame.skeleton.indices(*missing)
        np.testing.assert_array_equal(frame.flags[0] == 0, np.isnan(frame.keypoints[0, :, 0]))
        np.testing.assert_array_equal(frame.scores[0, 0], np.nan if name == "labels data_set" else 0.9)

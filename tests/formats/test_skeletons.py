"""What the keypoints of a file are: its names, the user's word, or their number; and who in a file is a person."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from documents import one_person, pose_fields, read, read_document, rewritten, written
from hypothesis import given
from hypothesis import strategies as st

from hpr.errors import UserError
from hpr.formats import get_format
from hpr.formats.coco import Coco
from hpr.formats.coco_layout import format_of
from hpr.refine.plausible import check_skeletons
from hpr.skeleton import AIC14, COCO17, CROWDPOSE14, SKELETONS, Skeleton, get_skeleton, named_skeleton

BODY = dict(
    zip(
        COCO17.names,
        [
            *([160, 60], [166, 54], [154, 54], [174, 58], [146, 58], [190, 100], [130, 100], [205, 145], [115, 145]),
            *([210, 190], [110, 190], [178, 200], [142, 200], [180, 260], [140, 260], [182, 320], [138, 320]),
        ],
        strict=True,
    )
) | {"head_top": [160, 30], "head_bottom": [160, 92], "thorax": [160, 100], "pelvis": [160, 200], "chest": [160, 150]}
BODY |= {"spine": [160, 150], "neck_base": [160, 80], "head": [160, 45]}


def flat(skeleton: Skeleton) -> list[float]:
    """A person's keypoints in an order, as x, y and score."""
    return [value for name in skeleton.names for value in (*BODY.get(name, (0, 0)), 0.9 if name in BODY else 0)]


def document(names: list[str], keypoints: list[float] | None = None, **annotation: Any) -> dict[str, Any]:
    record = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12}
    record["keypoints"] = flat(named_skeleton(names)) if keypoints is None else keypoints
    categories = [{"id": 1, "name": "person", "keypoints": names}]
    return {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [record | annotation], "categories": categories}


STYLES = [
    lambda n: n,
    lambda n: n.replace("_", " ").title(),
    lambda n: n.replace("_", "-"),
    lambda n: n.title().replace("_", ""),
    lambda n: n[0] + n.title().replace("_", "")[1:],
    lambda n: n.replace("left_", "L").replace("right_", "R"),
    lambda n: "_".join(reversed(n.split("_"))) if "left" in n or "right" in n else n,
]


@given(st.lists(st.sampled_from(COCO17.names), min_size=3, unique=True), st.sampled_from(STYLES))
def test_names_in_any_style(names: list[str], style: Any) -> None:
    skeleton = named_skeleton([style(name) for name in names])
    assert skeleton.names == tuple(names)
    assert (skeleton is COCO17) == (tuple(names) == COCO17.names)
    assert format_of(document([style(name) for name in names])) == "coco"


@pytest.mark.parametrize(
    ("names", "known"),
    [
        ([*AIC14.names[:12], "Head top", "Neck"], AIC14.names),
        ([*CROWDPOSE14.names[:12], "head", "neck"], CROWDPOSE14.names),
        (["RHip", "RFoot", "LHand", "Neck", "tail"], ("right_hip", "right_ankle", "left_wrist", "neck", "tail")),
        (
            ["left_hand", "left_wrist", "left_foot", "left_ankle"],
            ("left_hand", "left_wrist", "left_foot", "left_ankle"),
        ),
    ],
    ids=str,
)
def test_names_of_data_sets(names: list[str], known: tuple[str, ...]) -> None:
    assert named_skeleton(names).names == known


@pytest.mark.parametrize(
    ("name", "own"), [("BODY_25B", "body25b"), ("COCO-18", "openpose18"), ("PoseTrack-17", "posetrack18")]
)
def test_names_of_skeletons(name: str, own: str) -> None:
    assert get_skeleton(name).name == own


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    "names", [COCO17.names, COCO17.names[5:11], AIC14.names, ("tail", *COCO17.names[::-1])], ids=len
)
def test_coco_files_are_read_by_name(names: tuple[str, ...], style: Any, tmp_path: Path) -> None:
    content = document([style(name) for name in names])
    sequence = read_document(Coco(), tmp_path, content)
    (frame,) = sequence.frames
    assert frame.skeleton.names[-5:] == names[-5:]
    expected = [BODY.get(name, [np.nan, np.nan]) for name in frame.skeleton.names]
    np.testing.assert_array_equal(frame.keypoints[0], expected)
    assert rewritten(Coco(), sequence, tmp_path / "b.json") == content
    assert check_skeletons([sequence], chosen=False) == []


@pytest.mark.parametrize("name", ["alphapose", "openpose", "mmpose", "ultralytics", "coco"])
@pytest.mark.parametrize("skeleton", [s for s in SKELETONS.values() if s.name != "photo19"], ids=lambda s: s.name)
def test_the_users_word(name: str, skeleton: Skeleton, tmp_path: Path) -> None:
    values = flat(skeleton)
    triples = list(zip(values[::3], values[1::3], values[2::3], strict=True))
    path = written(tmp_path / "a.json", one_person(name, **pose_fields(name, triples)))
    for word in (skeleton.name, list(skeleton.names)):
        (frame,) = read(get_format(name, skeleton=word), path).frames
        assert frame.skeleton is skeleton
        np.testing.assert_array_equal(frame.keypoints[0, skeleton.index("left_hip")], BODY["left_hip"])
    with pytest.raises(UserError, match=r"keypoints of (mpi15|aic14), found"):
        get_format(name, skeleton="aic14" if len(skeleton) == 15 else "mpi15").read(path)


def test_formats_that_name_their_keypoints_take_no_word() -> None:
    with pytest.raises(UserError, match=r"^skeleton=coco17: files of npz say what their keypoints are"):
        get_format("npz", skeleton="coco17")
    with pytest.raises(UserError, match=r"^skeleton: expected every keypoint once, found 'nose' twice"):
        get_format("coco", skeleton=["nose", "nose"])


@pytest.mark.parametrize(
    ("true", "read_as", "answer"),
    [("body25b", "openpose", "body25b"), ("h36m17", "alphapose", "h36m17"), ("posetrack18", "coco", "posetrack18")],
)
def test_a_number_that_means_something_else(true: str, read_as: str, answer: str, tmp_path: Path) -> None:
    fields = {"pose_keypoints_2d" if read_as == "openpose" else "keypoints": flat(SKELETONS[true])}
    document = one_person(read_as, **fields)
    people: list[Any] = document if isinstance(document, list) else document.get("annotations", document.get("people"))
    people *= 5
    path = written(tmp_path / "a.json", document)
    sequences = get_format(read_as).read(path)
    with pytest.raises(UserError, match=rf"keypoints look like .*{answer}.* rather than .*; set skeleton=NAME"):
        check_skeletons(sequences, chosen=False)
    (warning,) = check_skeletons(sequences, chosen=True)
    assert "look like" in warning
    assert check_skeletons(get_format(read_as, skeleton=true).read(path), chosen=True) == []


def test_a_face_the_wrong_way_round() -> None:
    swapped = flat(COCO17)
    for left in (1, 3):
        i, j = 3 * left, 3 * left + 3
        swapped[i : i + 3], swapped[j : j + 3] = swapped[j : j + 3], swapped[i : i + 3]
    frame = Coco()._parse([{"image_id": 1, "keypoints": swapped}], Path("a.json")).sequence("a")
    (warning,) = check_skeletons([frame], chosen=False)
    assert warning.startswith("left and right of the faces")


def test_fourteen_results_are_refused_unless_something_tells(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", [{"image_id": 1, "category_id": 1, "keypoints": flat(AIC14), "score": 1}])
    with pytest.raises(UserError, match=r"may be crowdpose14 or aic14; set skeleton=NAME"):
        get_format("auto", location=str(path))
    (frame,) = read(get_format("auto", location=str(path), skeleton="aic14"), path).frames
    assert frame.skeleton is AIC14
    (frame,) = read(get_format("crowdpose"), path).frames
    assert frame.skeleton is CROWDPOSE14


def test_lines_of_labels_that_fit_two_counts(tmp_path: Path) -> None:
    words = ["0", "0.5", "0.5", "0.2", "0.4", *["0.5", "0.25", "2"] * 12]
    path = tmp_path / "a.txt"
    path.write_text("\ufeff" + " ".join(words) + "\n")
    with pytest.raises(UserError, match=r"line 1: 41 numbers may be 12 keypoints of 3 numbers instead of 17 of 2; set"):
        get_format("ultralytics_labels", images=str(tmp_path)).read(path)
    from hpr.formats.ultralytics_labels import UltralyticsLabels

    own = get_format("ultralytics_labels", skeleton=list(COCO17.names[:12]))
    assert isinstance(own, UltralyticsLabels)
    people = own._parse_files([path], [own._load(path)]).people
    assert (people.keypoints[0] == [0.5, 0.25]).all()
    assert (people.flags[0] == 2).all()


@pytest.mark.parametrize(
    "iscrowd", [0, 0.0, "0", "0.0", "false", " No ", "", None, float("nan"), [0], [], ["0"], False, ...]
)
@pytest.mark.parametrize("category", [1, "1", 1.0, [1], "01", None, 0, "0", 7, "person", ...])
def test_people_do_not_vanish(iscrowd: Any, category: Any, tmp_path: Path) -> None:
    content = document(list(COCO17.names))
    changes = {"iscrowd": iscrowd, "category_id": category}
    record = {k: v for k, v in {**content["annotations"][0], **changes}.items() if v is not ...}
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**content, "annotations": [record]}))
    truth = Coco().ground_truth(path)
    assert truth.sequence.people == len(truth.records) == 1
    assert truth.sequence.warnings == ()


@pytest.mark.parametrize("iscrowd", [1, 1.0, "1", "true", [1], True])
def test_crowds_are_crowds(iscrowd: Any, tmp_path: Path) -> None:
    sequence = read_document(Coco(), tmp_path, document(list(COCO17.names), iscrowd=iscrowd))
    assert sequence.people == 0
    assert sequence.warnings[0].endswith("0 are of other categories, 1 are crowds, 0 have no list of keypoints")


def test_one_line_where_the_meaning_is_not_plain(tmp_path: Path) -> None:
    content = document(list(COCO17.names))
    content["categories"].append({"id": 2, "name": "dog"})
    content["annotations"] += [{**content["annotations"][0], "category_id": "9"}, {"image_id": 1, "category_id": 2}]
    sequence = read_document(Coco(), tmp_path, content)
    assert sequence.people == 1
    (warning,) = sequence.warnings
    assert warning.startswith(
        f"{tmp_path / 'a.json'}: annotations[1].category_id: found '9', and 1 of 3 annotations have"
    )
    content["annotations"] = [{**content["annotations"][0], "iscrowd": "maybe"}]
    sequence = read_document(Coco(), tmp_path, content)
    assert sequence.people == 1
    assert "iscrowd: found 'maybe', and 1 of 1 annotations" in sequence.warnings[0]


def test_categories_that_annotations_count_from_0(tmp_path: Path) -> None:
    content = document(list(COCO17.names), category_id=0)
    content["categories"].append({"id": 2, "name": "dog"})
    content["annotations"].append({"id": 2, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]})
    sequence = read_document(Coco(), tmp_path, content)
    assert [frame.records.tolist() for frame in sequence.frames] == [[0]]


def test_comfys_list_of_frames(tmp_path: Path) -> None:
    people = [{"pose_keypoints_2d": [value / 400 for value in flat(get_skeleton("openpose18"))]}]
    content = [{"people": own, "canvas_width": 400, "canvas_height": 400, "odd": 1} for own in (people, [], people)]
    path = written(tmp_path / "poses.json", content)
    own = get_format("auto", location=str(tmp_path))
    assert own.name == "openpose"
    assert own.sources(tmp_path) == [path]
    sequence = read(own, path)
    assert [(f.image, f.number, len(f), f.size) for f in sequence.frames] == [
        (str(i), i, count, (400, 400)) for i, count in enumerate((1, 0, 1))
    ]
    assert rewritten(own, sequence, tmp_path / "b.json") == content

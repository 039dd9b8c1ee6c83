"""Finding files of poses and telling their format."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from documents import document17, document18, one_person, point, written

from hpr.errors import UserError
from hpr.formats import FORMATS, get_format, pose_files, recognise
from hpr.poses import Frame, PoseSequence
from hpr.skeleton import COCO17

REAL = Path("/work/shared/real")


def coco(**annotation: Any) -> dict[str, Any]:
    """COCO annotations without the names of keypoints."""
    return {"images": [{"id": 7}], "annotations": [{"id": 5, "keypoints": [0] * 51, **annotation}], "categories": []}


def result(**fields: Any) -> dict[str, Any]:
    return {"image_id": 7, "category_id": 1, "keypoints": [0] * 51, "score": 0.5, **fields}


@pytest.mark.parametrize(
    ("document", "name"),
    [
        # Nothing that tells
        *((None, None), (5, None), ("images annotations", None), ([], None), ({}, None), ([5], None), ([[]], None)),
        *(([{}], None), ({"images": []}, None), ([{"image_id": 1}], None), ([{"image": "a"}], None)),
        *(([{"joints": []}], None), ({"people": 3}, None), ({"people": [{"keypoints": []}]}, None)),
        # COCO's form
        ({"images": [], "annotations": []}, "posetrack18"),
        ({"images": 5, "annotations": None, "categories": [5]}, "posetrack18"),
        (document18(), "posetrack18"),
        (coco(), "coco"),
        ({**coco(), "categories": [{"keypoints": list(COCO17.names)}]}, "coco"),
        (coco(track_id=1), "posetrack18"),
        (coco(scores=[]), "posetrack18"),
        (coco(person_id=1), "posetrack21"),
        (coco(keypoints=[0] * 42), "crowdpose"),
        (coco(keypoints=[0] * 45), "coco"),
        ({"images": [{"crowdIndex": 0}], "annotations": []}, "crowdpose"),
        ({"images": [{"has_labeled_person": True}], "annotations": []}, "posetrack21"),
        ({"images": [{"vid_id": "1"}], "annotations": [5]}, "posetrack18"),
        *(([result()], "coco"), ([result(image_id="000123")], "coco"), ([result(image_id=7.0)], "coco")),
        *(([result(keypoints=[0] * 42)], "crowdpose"), ([result(keypoints=[0] * 78)], "coco")),
        *(([result(image_id=True)], None), ([result(keypoints=[[0]] * 51)], None)),
        # Others
        ({"annolist": []}, "posetrack17"),
        (document17([point(0, 1, 2)]), "posetrack17"),
        *(({"people": []}, "openpose"), ({"version": 1.3, "people": [{"pose_keypoints_2d": []}]}, "openpose")),
        *(([result(image_id="a.jpg")], "alphapose"), ({"a.jpg": {"version": "0.3", "bodies": []}}, "alphapose")),
        *(({"a.jpg": {"bodies": []}}, None), ([{"image": "a.jpg", "joints": [], "keypoints": []}], "mpii")),
        ([{"image": "a.jpg", "center": [1, 2]}], "mpii"),
        *(({"instance_info": []}, "mmpose"), ([{"frame_id": 0, "instances": []}], "mmpose")),
        ([{"keypoints": [[1, 2]] * 17, "keypoint_scores": [1] * 17}], "mmpose"),
        ([{"box": {}, "keypoints": {"x": [], "y": []}}], "ultralytics"),
        ([{"name": "person", "class": 0, "keypoints": {"x": [], "y": []}}], "ultralytics"),
    ],
    ids=lambda value: json.dumps(value)[:50],
)
def test_documents(document: object, name: str | None, tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", document)
    if name is not None:
        assert recognise(path) == name
        return
    with pytest.raises(UserError) as error:
        recognise(path)
    found = str(error.value).removeprefix(f"{path}: ")
    assert found.startswith(("found ", "no people in it"))
    assert len(found) <= 200


@pytest.mark.parametrize("name", ["mmpose", "ultralytics"])
def test_a_folder_whose_first_image_shows_nobody(name: str, tmp_path: Path) -> None:
    """The file beside it tells."""
    written(tmp_path / "a.json", [])
    written(tmp_path / "b.json", one_person(name, box={}))
    assert recognise(tmp_path) == name


@pytest.mark.parametrize(
    ("text", "is_labels"),
    [("", False), ("person\nball\n", False), ("0 1 1 1 1\n", False), ("0 " * 56, True), ("0 " * 40, True)],
    ids=lambda value: repr(value)[:12],
)
def test_labels(text: str, is_labels: bool, tmp_path: Path) -> None:
    recognises = FORMATS["ultralytics_labels"].recognises
    (tmp_path / "b.txt").write_text(text)
    assert recognises(tmp_path / "b.txt", None) == is_labels
    (tmp_path / "a.txt").write_text("")
    assert recognises(tmp_path / "a.txt", None) == is_labels  # by the file beside it


@pytest.mark.parametrize(("file", "name"), [("a.npz", "npz"), ("a.mat", "mpii")])
def test_by_the_ending(file: str, name: str, tmp_path: Path) -> None:
    (tmp_path / file).touch()
    assert recognise(tmp_path / file) == recognise(tmp_path) == name


@pytest.mark.parametrize("name", ["posetrack18", "posetrack17", "posetrack21", "coco", "crowdpose", "openpose"])
def test_images_without_people(name: str, tmp_path: Path) -> None:
    get_format(name).write([PoseSequence("a", [Frame.empty("a.jpg", COCO17)])], tmp_path / "a.json")
    assert recognise(tmp_path / "a.json") == name


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real files")
@pytest.mark.parametrize("file", ["coco/person_keypoints.json", "crowdpose/crowdpose.json", "posetrack18/annotations"])
def test_real_files(file: str, tmp_path: Path) -> None:
    name = recognise(REAL / file)
    assert name == file.split("/", maxsplit=1)[0]
    (path,) = pose_files(REAL / file)
    (sequence,) = get_format(name).read(path)
    assert sequence.people > 0
    get_format(name).write([sequence], tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == json.loads(path.read_text())


def test_the_sample_is_posetrack18() -> None:
    assert recognise(ROOT / "hpr" / "assets" / "sample" / "predictions") == "posetrack18"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", None, "a.json: no such file"),
        ("a.json", "keypoints: none\n", "a.json: not valid JSON at line 1, column 1"),
        ("a.json.gz", "", r"found a file that ends with '.gz'; expected .json, .npz, .mat, .txt"),
        ("report.json", '{"persons": {}, "joints": {}, "movement": {}}', "poses are in the folder predictions"),
        ("a" * 400, None, r"aaa: cannot be read \(File name too long\)"),
    ],
)
def test_files_that_cannot_be_read(name: str, content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        recognise(tmp_path / name)


def test_an_unknown_format() -> None:
    with pytest.raises(UserError, match=r"unknown format 'no': expected one of auto, posetrack18"):
        get_format("no")


@pytest.mark.parametrize(
    ("name", "files", "sources"),
    [
        ("npz", ["b.npz", "a.npz", "c.json"], ["a.npz", "b.npz"]),
        ("mpii", ["gt_valid.mat"], ["gt_valid.mat"]),
        ("mpii", ["gt_valid.mat", "valid.json", "train.json"], ["train.json", "valid.json"]),  # as in HRNet's folder
        ("openpose", ["a/1.json", "b/1.json"], ["a", "b"]),
        ("openpose", ["1.json", "2.json"], [""]),
    ],
)
def test_sources(name: str, files: list[str], sources: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected \.\w+ files in it, found none"):
        get_format(name).sources(tmp_path)
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    assert get_format(name).sources(tmp_path) == [tmp_path / source for source in sources]


class TestPoseFiles:
    @pytest.mark.parametrize("names", [[], ["a.txt", "b.JSON", "c.json.bak"]], ids=len)
    def test_none(self, names: list[str], tmp_path: Path) -> None:
        for name in names:
            (tmp_path / name).touch()
        with pytest.raises(UserError) as error:
            pose_files(tmp_path)
        assert str(error.value) == f"{tmp_path}: expected .json files in it, found none in {len(names)} entries"

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(UserError) as error:
            pose_files(tmp_path / "no" / "where")
        expected = "no such file or folder; expected a folder of .json files, or one such file"
        assert str(error.value) == f"{tmp_path}/no/where: {expected}"

    def test_a_folder_in_the_order_of_names(self, tmp_path: Path) -> None:
        for name in ("b.json", "a.txt", "c.json", "a.json", "10.json"):
            (tmp_path / name).touch()
        assert [path.name for path in pose_files(tmp_path)] == ["10.json", "a.json", "b.json", "c.json"]
        assert pose_files(tmp_path / "b.json") == [tmp_path / "b.json"]
